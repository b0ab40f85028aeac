//! The one SIMD scanner: bitmaps of bytes that matter, 16 at a time with SSE2, or, where the line ends of a whole message are
//! looked for, 32 at a time with AVX2.
//!
//! It pays: see the `scan` and `parse` rows of the benches. SSE2 belongs to every x86-64; for AVX2 the CPU is asked, which the
//! standard library does once. [`super::scan_portable`] does the same on other machines.

#![expect(unsafe_code, reason = "calls of functions with a target feature, and loads")]

use super::quad;
use super::scan::Bitmaps;
use core::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi8, _mm_and_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_cmpgt_epi32,
    _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_loadu_si128, _mm_madd_epi16, _mm_maddubs_epi16, _mm_min_epu8,
    _mm_movemask_epi8, _mm_or_si128, _mm_packs_epi32, _mm_packus_epi16, _mm_set1_epi8, _mm_set1_epi16,
    _mm_set1_epi32, _mm_shuffle_epi8, _mm_srli_epi16, _mm_sub_epi8, _mm_unpackhi_epi64, _mm_unpacklo_epi8,
    _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_set1_epi8,
};

/// `N` bytes from `at`; `None` where there are less.
#[inline(always)]
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    // One comparison, where the slice's own methods need two.
    if bytes.len() < N || at > bytes.len() - N {
        return None;
    }
    // SAFETY: `N` bytes from `at` on lie in `bytes`, and an array of bytes asks for no alignment.
    Some(unsafe { &*bytes.as_ptr().add(at).cast() })
}

/// Fills `bitmaps` with the line ends of the blocks of `bytes` from `at` on.
#[inline]
pub(super) fn fill(bitmaps: &mut Bitmaps, bytes: &[u8], at: usize) {
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2, and nothing else is asked of the caller.
        unsafe { fill_avx2(bitmaps, bytes, at) }
    } else {
        fill_sse2(bitmaps, bytes, at);
    }
}

#[target_feature(enable = "avx2")]
fn fill_avx2(bitmaps: &mut Bitmaps, bytes: &[u8], at: usize) {
    bitmaps.fill(bytes, at, |block| block_bits_avx2(block));
}

#[cold]
fn fill_sse2(bitmaps: &mut Bitmaps, bytes: &[u8], at: usize) {
    bitmaps.fill(bytes, at, block_bits);
}

/// Bitmaps of CR and LF in 64 bytes; bit 0 is the first byte.
#[inline]
pub(super) fn block_bits(block: &[u8; 64]) -> (u64, u64) {
    // SAFETY: SSE2 is part of the x86-64 baseline, and nothing else is asked of the caller.
    unsafe { block_bits_sse2(block) }
}

/// One bit for each of 16 bytes that is SP or less.
#[inline]
pub(super) fn blanks(part: &[u8; 16]) -> u32 {
    // SAFETY: as above.
    unsafe { blanks_sse2(part) }
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
#[target_feature(enable = "avx2")]
fn block_bits_avx2(block: &[u8; 64]) -> (u64, u64) {
    let low = load_avx2(block, 0);
    let high = load_avx2(block, 32);
    let bits = |byte| u64::from(equal_mask_avx2(low, byte)) | u64::from(equal_mask_avx2(high, byte)) << 32;
    (bits(b'\r'), bits(b'\n'))
}

#[inline]
#[target_feature(enable = "sse2")]
fn blanks_sse2(part: &[u8; 16]) -> u32 {
    mask(within(load(part, 0), 0, b' '))
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

/// 16 bytes from `at`, a multiple of 16.
#[inline]
#[target_feature(enable = "sse2")]
fn load<const N: usize>(bytes: &[u8; N], at: usize) -> __m128i {
    let part: &[u8; 16] = bytes[at..].first_chunk().unwrap_or(&[0; 16]);
    // SAFETY: the reference says that 16 bytes are there to read, and the load asks for no alignment.
    unsafe { _mm_loadu_si128(part.as_ptr().cast()) }
}

/// 32 bytes from `at`, which is 0 or 32.
#[inline]
#[target_feature(enable = "avx2")]
fn load_avx2(block: &[u8; 64], at: usize) -> __m256i {
    let part: &[u8; 32] = block[at..].first_chunk().unwrap_or(&[0; 32]);
    // SAFETY: as above.
    unsafe { _mm256_loadu_si256(part.as_ptr().cast()) }
}

/// One bit for each of 32 bytes that equals `byte`.
#[inline]
#[target_feature(enable = "avx2")]
fn equal_mask_avx2(part: __m256i, byte: u8) -> u32 {
    _mm256_movemask_epi8(_mm256_cmpeq_epi8(part, _mm256_set1_epi8(byte as i8))).cast_unsigned()
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

/// The dotted quad that `part` begins with, and its length; `None` where there is none. What comes after it is the caller's to look at.
#[inline]
pub(super) fn dotted_quad(part: &[u8; 16]) -> Option<(u32, usize)> {
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2, and nothing else is asked of the caller.
        unsafe { dotted_quad_avx2(part) }
    } else {
        quad::read(part)
    }
}

/// The bits of dots and of the end name the lengths of the four parts; a shuffle brings each part into a word of its own, where three products make it a number.
#[target_feature(enable = "avx2")]
fn dotted_quad_avx2(part: &[u8; 16]) -> Option<(u32, usize)> {
    let part = load(part, 0);
    let dots = mask(equal(part, b'.'));
    let stop = (!(mask(within(part, b'0', b'9')) | dots)).trailing_zeros();
    let ends = dots & ((1 << stop) - 1) | 1 << stop;
    let shape = quad::shape(ends)?;
    let digits = _mm_sub_epi8(part, _mm_set1_epi8(b'0' as i8));
    let digits = _mm_shuffle_epi8(digits, load(shape, 0));
    // In each word: nothing, hundreds, tens, ones.
    let pairs = _mm_maddubs_epi16(digits, _mm_set1_epi32(i32::from_le_bytes([0, 100, 10, 1])));
    let numbers = _mm_madd_epi16(pairs, _mm_set1_epi16(1));
    if _mm_movemask_epi8(_mm_cmpgt_epi32(numbers, _mm_set1_epi32(255))) != 0 {
        return None;
    }
    let words = _mm_packs_epi32(numbers, numbers);
    let address = _mm_cvtsi128_si64(_mm_packus_epi16(words, words)) as u32;
    Some((address.swap_bytes(), stop as usize))
}

/// The 16 hexadecimal digits of `number`, lower-case, most significant first.
#[inline]
pub(super) fn hex_digits(number: u64) -> [u8; 16] {
    // SAFETY: SSE2 is part of the x86-64 baseline, and nothing else is asked of the caller.
    unsafe { hex_digits_sse2(number) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn hex_digits_sse2(number: u64) -> [u8; 16] {
    let octets = _mm_cvtsi64_si128(number.swap_bytes().cast_signed());
    let nibbles = _mm_unpacklo_epi8(_mm_srli_epi16(octets, 4), octets);
    let nibbles = _mm_and_si128(nibbles, _mm_set1_epi8(0x0f));
    let is_letter = _mm_cmpgt_epi8(nibbles, _mm_set1_epi8(9));
    let letters = _mm_and_si128(is_letter, _mm_set1_epi8((b'a' - b'9' - 1) as i8));
    let digits = _mm_add_epi8(_mm_add_epi8(nibbles, _mm_set1_epi8(b'0' as i8)), letters);
    let halves =
        [digits, _mm_unpackhi_epi64(digits, digits)].map(|half| _mm_cvtsi128_si64(half).to_le_bytes());
    let mut text = [0; 16];
    text[..8].copy_from_slice(&halves[0]);
    text[8..].copy_from_slice(&halves[1]);
    text
}
