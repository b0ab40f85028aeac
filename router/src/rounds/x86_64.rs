//! AES rounds by AES-NI.

#![expect(unsafe_code, reason = "calls of functions with a target feature, and loads")]

use super::portable::Portable;
use super::{Aligned, Job, Rounds};
use core::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_load_si128,
    _mm_loadu_si128, _mm_or_si128, _mm_storeu_si128, _mm_unpacklo_epi64, _mm_xor_si128,
};

/// Does a job by AES-NI where the CPU has it.
#[inline(always)]
pub(super) fn run<J: Job>(job: J) -> J::Output {
    if is_x86_feature_detected!("aes") {
        // SAFETY: the CPU has AES-NI, and nothing else is asked of the caller.
        unsafe { run_aes(job) }
    } else {
        run_portable(job)
    }
}

#[target_feature(enable = "aes")]
fn run_aes<J: Job>(job: J) -> J::Output {
    job.run(AesNi(()))
}

#[cold]
#[inline(never)]
fn run_portable<J: Job>(job: J) -> J::Output {
    job.run(Portable)
}

/// Rounds by instructions. Only [`run_aes`] makes one, so who has one runs where there is AES-NI.
#[derive(Clone, Copy)]
struct AesNi(());

impl Rounds for AesNi {
    type Block = __m128i;

    #[inline(always)]
    fn load(self, bytes: &[u8; 16]) -> __m128i {
        // SAFETY: sixteen bytes are read, which the reference is to; they need not be aligned. SSE2 is part of the x86-64 baseline.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn key(self, bytes: &Aligned) -> __m128i {
        // SAFETY: as above, and what is aligned is aligned.
        unsafe { _mm_load_si128(bytes.0.as_ptr().cast()) }
    }

    #[inline(always)]
    fn words(self, first: u64, second: u64) -> __m128i {
        // SAFETY: SSE2 is part of the x86-64 baseline, and nothing else is asked of the caller.
        unsafe { _mm_unpacklo_epi64(_mm_cvtsi64_si128(first as i64), _mm_cvtsi64_si128(second as i64)) }
    }

    #[inline(always)]
    fn store(self, block: __m128i) -> [u8; 16] {
        let mut bytes = [0; 16];
        // SAFETY: sixteen bytes are written, which is what there is; they need not be aligned. SSE2 as above.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), block) };
        bytes
    }

    #[inline(always)]
    fn first_word(self, block: __m128i) -> u64 {
        // SAFETY: as above.
        unsafe { _mm_cvtsi128_si64(block) as u64 }
    }

    #[inline(always)]
    fn xor(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_xor_si128(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_or_si128(a, b) }
    }

    #[inline(always)]
    fn round(self, block: __m128i, key: __m128i) -> __m128i {
        // SAFETY: the CPU has AES-NI, else there were no `self`, and nothing else is asked of the caller.
        unsafe { _mm_aesenc_si128(block, key) }
    }

    #[inline(always)]
    fn last_round(self, block: __m128i, key: __m128i) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_aesenclast_si128(block, key) }
    }
}

#[cfg(test)]
pub(super) fn run_by_instructions<J: Job>(job: J) -> Option<J::Output> {
    // SAFETY: the CPU has AES-NI, and nothing else is asked of the caller.
    is_x86_feature_detected!("aes").then(|| unsafe { run_aes(job) })
}
