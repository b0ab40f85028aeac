//! The one SIMD scanner: bitmaps of CR and LF in 64 bytes, with SSE2.
//!
//! It pays: on the canonical BYE the portable form executes more than three times as many instructions in [`super::scan::LineEnds`]
//! (`bench`, the `scan` rows). SSE2 belongs to every x86-64, so nothing is detected at run time.

use super::scan::word;
use core::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};

/// Bitmaps of CR and LF in 64 bytes; bit 0 is the first byte.
#[inline]
#[expect(unsafe_code, reason = "a call of a function with a target feature")]
pub(super) fn block_bits(block: &[u8; 64]) -> (u64, u64) {
    // SAFETY: SSE2 is part of the x86-64 baseline, and nothing else is asked of the caller.
    unsafe { block_bits_sse2(block) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn block_bits_sse2(block: &[u8; 64]) -> (u64, u64) {
    let mut cr = 0;
    let mut lf = 0;
    let mut at = 0;
    while at < 64 {
        // Two 8-byte loads of neighbours compile to one of 16.
        let part = _mm_set_epi64x(word(block, at + 8) as i64, word(block, at) as i64);
        cr |= equal(part, b'\r') << at;
        lf |= equal(part, b'\n') << at;
        at += 16;
    }
    (cr, lf)
}

#[inline]
#[target_feature(enable = "sse2")]
fn equal(part: __m128i, byte: u8) -> u64 {
    u64::from(_mm_movemask_epi8(_mm_cmpeq_epi8(part, _mm_set1_epi8(byte as i8))) as u16)
}
