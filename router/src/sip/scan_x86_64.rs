//! The one SIMD scanner: bitmaps of bytes that matter, 16 at a time, with SSE2.
//!
//! It pays: see the `scan` and `parse` rows of the benches. SSE2 belongs to every x86-64, so nothing is detected at run time, and
//! [`super::scan_portable`] does the same on other machines.

#![expect(unsafe_code, reason = "calls of functions with a target feature")]

use super::scan::word;
use core::arch::x86_64::{
    __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    _mm_sub_epi8,
};

/// Bitmaps of CR and LF in 64 bytes; bit 0 is the first byte.
#[inline]
pub(super) fn block_bits(block: &[u8; 64]) -> (u64, u64) {
    // SAFETY: SSE2 is part of the x86-64 baseline, and nothing else is asked of the caller.
    unsafe { block_bits_sse2(block) }
}

/// One bit for each of 16 bytes that is a delimiter.
#[inline]
pub(super) fn delimiters(part: &[u8; 16]) -> u32 {
    // SAFETY: as above.
    unsafe { delimiters_sse2(part) }
}

/// One bit for each of 16 bytes that is `@` or must not stand in a URI.
#[inline]
pub(super) fn at_or_not_in_uri(part: &[u8; 16]) -> u32 {
    // SAFETY: as above.
    unsafe { at_or_not_in_uri_sse2(part) }
}

/// One bit for each of 16 bytes that is one of `needles`.
#[inline]
pub(super) fn any<const N: usize>(part: &[u8; 16], needles: [u8; N]) -> u32 {
    // SAFETY: as above.
    unsafe { any_sse2(part, needles) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn block_bits_sse2(block: &[u8; 64]) -> (u64, u64) {
    let mut cr = 0;
    let mut lf = 0;
    let mut at = 0;
    while at < 64 {
        let part = load(block, at);
        cr |= u64::from(mask(equal(part, b'\r'))) << at;
        lf |= u64::from(mask(equal(part, b'\n'))) << at;
        at += 16;
    }
    (cr, lf)
}

#[inline]
#[target_feature(enable = "sse2")]
fn delimiters_sse2(part: &[u8; 16]) -> u32 {
    let part = load(part, 0);
    // `;` `<` `=` `>` `?` are neighbours.
    let marks = within(part, b';', b'?');
    let rest = _mm_or_si128(equal(part, b','), equal(part, b'"'));
    mask(_mm_or_si128(_mm_or_si128(marks, rest), within(part, 0, b' ')))
}

#[inline]
#[target_feature(enable = "sse2")]
fn at_or_not_in_uri_sse2(part: &[u8; 16]) -> u32 {
    let part = load(part, 0);
    let low = within(part, 0, b' ');
    let quotes = _mm_or_si128(equal(part, b'"'), _mm_or_si128(equal(part, b'<'), equal(part, b'>')));
    let rest = _mm_or_si128(equal(part, b'@'), equal(part, 0x7f));
    mask(_mm_or_si128(low, _mm_or_si128(quotes, rest)))
}

#[inline]
#[target_feature(enable = "sse2")]
fn any_sse2<const N: usize>(part: &[u8; 16], needles: [u8; N]) -> u32 {
    let part = load(part, 0);
    let mut found = _mm_set1_epi8(0);
    for needle in needles {
        found = _mm_or_si128(found, equal(part, needle));
    }
    mask(found)
}

/// 16 bytes from `at`: two 8-byte loads of neighbours compile to one of 16.
#[inline]
#[target_feature(enable = "sse2")]
fn load(bytes: &[u8], at: usize) -> __m128i {
    _mm_set_epi64x(word(bytes, at + 8) as i64, word(bytes, at) as i64)
}

#[inline]
#[target_feature(enable = "sse2")]
fn equal(part: __m128i, byte: u8) -> __m128i {
    _mm_cmpeq_epi8(part, _mm_set1_epi8(byte as i8))
}

/// Bytes from `first` to `last`, without sign: those that do not change when cut to the range's length.
#[inline]
#[target_feature(enable = "sse2")]
fn within(part: __m128i, first: u8, last: u8) -> __m128i {
    let from_first = _mm_sub_epi8(part, _mm_set1_epi8(first as i8));
    _mm_cmpeq_epi8(_mm_min_epu8(from_first, _mm_set1_epi8((last - first) as i8)), from_first)
}

#[inline]
#[target_feature(enable = "sse2")]
fn mask(found: __m128i) -> u32 {
    u32::from(_mm_movemask_epi8(found) as u16)
}
