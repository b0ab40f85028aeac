//! The one SIMD scanner: bitmaps of bytes that matter, 16 at a time with SSE2, or, where the line ends of a whole message are
//! looked for, 32 at a time with AVX2.
//!
//! It pays: see the `scan` and `parse` rows of the benches. SSE2 belongs to every x86-64; for AVX2 the CPU is asked, which the
//! standard library does once. [`super::scan_portable`] does the same on other machines.

#![expect(unsafe_code, reason = "calls of functions with a target feature, and loads")]

use super::Message;
use super::message::clean;
use super::quad;
use super::scan::{Bitmaps, Lanes, Work};
use core::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi8, _mm_and_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_cmpgt_epi32,
    _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_loadu_si128, _mm_madd_epi16, _mm_maddubs_epi16, _mm_min_epu8,
    _mm_movemask_epi8, _mm_or_si128, _mm_packs_epi32, _mm_packus_epi16, _mm_set1_epi8, _mm_set1_epi16,
    _mm_set1_epi32, _mm_shuffle_epi8, _mm_srli_epi16, _mm_sub_epi8, _mm_testz_si128, _mm_unpackhi_epi64,
    _mm_unpacklo_epi8, _mm_xor_si128, _mm256_add_epi8, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8,
    _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_sub_epi8, _mm256_testz_si256, _mm256_xor_si256,
};
use core::sync::atomic::{AtomicU8, Ordering};

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

/// Does `work` compiled for AVX2 where the CPU has it.
#[inline(always)]
pub(super) fn at_best<W: Work>(work: W) -> W::Output {
    match Avx2::new() {
        // SAFETY: the CPU has what the value stands for, and nothing else is asked of the caller.
        Some(_) => unsafe { with_avx2(work) },
        None => with_sse2(work),
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2")]
fn with_avx2<W: Work>(work: W) -> W::Output {
    work.run()
}

#[cold]
#[inline(never)]
fn with_sse2<W: Work>(work: W) -> W::Output {
    work.run()
}

/// [`clean::read`] with AVX2, or with SSE2.
#[inline(always)]
pub(super) fn read_clean(message: &mut Message, bytes: &[u8]) -> bool {
    match Avx2::new() {
        // SAFETY: the CPU has what the value stands for, and nothing else is asked of the caller.
        Some(avx2) => unsafe { read_clean_avx2(avx2, message, bytes) },
        None => read_clean_sse2(message, bytes),
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2")]
fn read_clean_avx2(avx2: Avx2, message: &mut Message, bytes: &[u8]) -> bool {
    clean::read(avx2, message, bytes).is_some()
}

#[target_feature(enable = "avx2,bmi1,bmi2")]
fn read_lines_avx2(avx2: Avx2, message: &mut Message, bytes: &[u8]) -> bool {
    clean::read_lines(avx2, message, bytes).is_some()
}

#[cold]
pub(super) fn read_clean_sse2(message: &mut Message, bytes: &[u8]) -> bool {
    clean::read(Sse2, message, bytes).is_some()
}

/// The CPU has AVX2, BMI1 and BMI2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    /// Asks the CPU, once: one byte to look at, where the standard library has three questions.
    #[inline(always)]
    pub(super) fn new() -> Option<Self> {
        static ANSWER: AtomicU8 = AtomicU8::new(0);
        match ANSWER.load(Ordering::Relaxed) {
            YES => Some(Self(())),
            0 => Self::ask(&ANSWER),
            _ => None,
        }
    }

    #[cold]
    fn ask(answer: &AtomicU8) -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2");
        answer.store(if has { YES } else { NO }, Ordering::Relaxed);
        has.then_some(Self(()))
    }
}

const YES: u8 = 1;
const NO: u8 = 2;

impl Lanes for Avx2 {
    // Asks for no AVX2, so neither it nor what it calls is inlined.
    #[inline(never)]
    fn read_lines(self, message: &mut Message, bytes: &[u8]) -> bool {
        // SAFETY: a value of this type says that the CPU has AVX2, BMI1 and BMI2.
        unsafe { read_lines_avx2(self, message, bytes) }
    }

    #[inline(always)]
    fn line_feeds(self, window: &[u8; 65]) -> Option<u64> {
        // SAFETY: a value of this type says that the CPU has AVX2.
        unsafe { line_feeds_avx2(window) }
    }

    #[inline(always)]
    fn equal(self, block: &[u8; 64], byte: u8) -> u64 {
        // SAFETY: as above.
        unsafe { masks_avx2(equal_avx2(load_avx2(block, 0), byte), equal_avx2(load_avx2(block, 32), byte)) }
    }

    #[inline(always)]
    fn quotes(self, part: &[u8; 32]) -> u32 {
        // SAFETY: as above.
        unsafe { quotes_avx2(part) }
    }

    #[inline(always)]
    fn blanks(self, block: &[u8; 64]) -> u64 {
        // SAFETY: as above.
        unsafe { blanks_avx2(block) }
    }

    #[inline(always)]
    fn stops(self, part: &[u8; 32]) -> u32 {
        // SAFETY: as above.
        unsafe { stops_avx2(part) }
    }

    #[inline(always)]
    fn is_same(self, head: &[u8; 16], letters: &[u8; 16], text: &[u8; 16]) -> bool {
        // SAFETY: as above.
        unsafe { is_same_avx2(head, letters, text) }
    }

    #[inline(always)]
    fn colons_and_blanks(self, head: &[u8; 16]) -> (u32, u32) {
        Sse2.colons_and_blanks(head)
    }
}

/// What every x86-64 has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sse2;

impl Lanes for Sse2 {
    #[inline]
    fn read_lines(self, message: &mut Message, bytes: &[u8]) -> bool {
        clean::read_lines(self, message, bytes).is_some()
    }

    #[inline(always)]
    fn line_feeds(self, window: &[u8; 65]) -> Option<u64> {
        let (cr, _) = block_bits(window.first_chunk()?);
        let (_, lf) = block_bits(window.last_chunk()?);
        (cr == lf).then_some(lf)
    }

    #[inline(always)]
    fn equal(self, block: &[u8; 64], byte: u8) -> u64 {
        by_sixteens(block, |part| any(part, [byte]))
    }

    #[inline(always)]
    fn quotes(self, part: &[u8; 32]) -> u32 {
        by_sixteens(part, |part| any(part, *b"\"\\")) as u32
    }

    #[inline(always)]
    fn blanks(self, block: &[u8; 64]) -> u64 {
        by_sixteens(block, blanks)
    }

    #[inline(always)]
    fn stops(self, part: &[u8; 32]) -> u32 {
        // SAFETY: SSE2 is part of the x86-64 baseline, and nothing else is asked of the caller.
        by_sixteens(part, |part| unsafe { stops_sse2(part) }) as u32
    }

    #[inline(always)]
    fn is_same(self, head: &[u8; 16], letters: &[u8; 16], text: &[u8; 16]) -> bool {
        // SAFETY: SSE2 is part of the x86-64 baseline, and nothing else is asked of the caller.
        unsafe { same_sse2(head, letters, text) == 0xffff }
    }

    #[inline(always)]
    fn colons_and_blanks(self, head: &[u8; 16]) -> (u32, u32) {
        (any(head, [b':']), blanks(head))
    }
}

/// The answers for the parts of `block`, put together.
#[inline(always)]
fn by_sixteens(block: &[u8], bits: impl Fn(&[u8; 16]) -> u32) -> u64 {
    let (parts, _) = block.as_chunks();
    parts.iter().rev().fold(0, |all, part| all << 16 | u64::from(bits(part)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn line_feeds_avx2(window: &[u8; 65]) -> Option<u64> {
    let after = |at| equal_avx2(load_avx2(window, at), b'\r');
    let (low, high) = (equal_avx2(load_avx2(window, 1), b'\n'), equal_avx2(load_avx2(window, 33), b'\n'));
    let faults = _mm256_or_si256(_mm256_xor_si256(low, after(0)), _mm256_xor_si256(high, after(32)));
    (_mm256_testz_si256(faults, faults) != 0).then(|| masks_avx2(low, high))
}

#[inline]
#[target_feature(enable = "avx2")]
fn quotes_avx2(part: &[u8; 32]) -> u32 {
    let part = load_avx2(part, 0);
    _mm256_movemask_epi8(_mm256_or_si256(equal_avx2(part, b'"'), equal_avx2(part, b'\\'))).cast_unsigned()
}

#[inline]
#[target_feature(enable = "avx2")]
fn blanks_avx2(block: &[u8; 64]) -> u64 {
    masks_avx2(within_avx2(load_avx2(block, 0), 0, b' '), within_avx2(load_avx2(block, 32), 0, b' '))
}

/// `@` and more have no sign and are greater than `?`; `-` to `:` become the greatest that have none.
#[inline]
#[target_feature(enable = "avx2")]
fn stops_avx2(part: &[u8; 32]) -> u32 {
    let part = load_avx2(part, 0);
    let all = |byte: u8| _mm256_set1_epi8(byte.cast_signed());
    let letters = _mm256_cmpgt_epi8(part, all(b'?'));
    let rest = _mm256_cmpgt_epi8(_mm256_add_epi8(part, all(0x7f - b':')), all(0x7f - b':' + b'-' - 1));
    !_mm256_movemask_epi8(_mm256_or_si256(letters, rest)).cast_unsigned()
}

#[inline]
#[target_feature(enable = "sse2")]
fn stops_sse2(part: &[u8; 16]) -> u32 {
    let part = load(part, 0);
    mask(_mm_or_si128(within(part, b'@', 0x7f), within(part, b'-', b':'))) ^ 0xffff
}

#[inline]
#[target_feature(enable = "sse2")]
fn same_sse2(head: &[u8; 16], letters: &[u8; 16], text: &[u8; 16]) -> u32 {
    mask(_mm_cmpeq_epi8(_mm_or_si128(load(head, 0), load(letters, 0)), load(text, 0)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn is_same_avx2(head: &[u8; 16], letters: &[u8; 16], text: &[u8; 16]) -> bool {
    let differs = _mm_xor_si128(_mm_or_si128(load(head, 0), load(letters, 0)), load(text, 0));
    _mm_testz_si128(differs, differs) != 0
}

#[inline]
#[target_feature(enable = "avx2")]
fn equal_avx2(part: __m256i, byte: u8) -> __m256i {
    _mm256_cmpeq_epi8(part, _mm256_set1_epi8(byte.cast_signed()))
}

#[inline]
#[target_feature(enable = "avx2")]
fn within_avx2(part: __m256i, first: u8, last: u8) -> __m256i {
    let from_first = _mm256_sub_epi8(part, _mm256_set1_epi8(first.cast_signed()));
    _mm256_cmpeq_epi8(_mm256_min_epu8(from_first, _mm256_set1_epi8((last - first).cast_signed())), from_first)
}

#[inline]
#[target_feature(enable = "avx2")]
fn masks_avx2(low: __m256i, high: __m256i) -> u64 {
    let mask = |part| u64::from(_mm256_movemask_epi8(part).cast_unsigned());
    mask(low) | mask(high) << 32
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
    let bits = |byte| masks_avx2(equal_avx2(low, byte), equal_avx2(high, byte));
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

/// 32 bytes from `at`, which are there.
#[inline]
#[target_feature(enable = "avx2")]
fn load_avx2<const N: usize>(block: &[u8; N], at: usize) -> __m256i {
    let part: &[u8; 32] = block[at..].first_chunk().unwrap_or(&[0; 32]);
    // SAFETY: as above.
    unsafe { _mm256_loadu_si256(part.as_ptr().cast()) }
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

/// The ends of the parts of digits that `part` begins with, as [`quad::ends`] has them.
#[inline(always)]
pub(super) fn quad_ends(part: &[u8; 16]) -> u32 {
    // SAFETY: SSE2 is part of the x86-64 baseline, and nothing else is asked of the caller.
    unsafe { quad_ends_sse2(part) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn quad_ends_sse2(part: &[u8; 16]) -> u32 {
    let part = load(part, 0);
    let dots = mask(equal(part, b'.'));
    let others = !(mask(within(part, b'0', b'9')) | dots);
    // All up to the lowest of the others, and of those the dots and that one.
    (others ^ others.wrapping_sub(1)) & (dots | others)
}

/// The address of the dotted quad whose parts end so, or `None`.
#[inline(always)]
pub(super) fn quad_address(part: &[u8; 16], ends: u32) -> Option<u32> {
    match Avx2::new() {
        // SAFETY: the CPU has AVX2, and nothing else is asked of the caller.
        Some(_) => unsafe { quad_address_avx2(part, ends) },
        None => quad::address(part, ends),
    }
}

/// The ends name the lengths of the four parts; a shuffle brings each part into a word of its own, where three products make it a number.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn quad_address_avx2(part: &[u8; 16], ends: u32) -> Option<u32> {
    let digits = _mm_sub_epi8(load(part, 0), _mm_set1_epi8(b'0' as i8));
    let digits = _mm_shuffle_epi8(digits, load(quad::shape(ends)?, 0));
    // In each word: nothing, hundreds, tens, ones.
    let pairs = _mm_maddubs_epi16(digits, _mm_set1_epi32(i32::from_le_bytes([0, 100, 10, 1])));
    let numbers = _mm_madd_epi16(pairs, _mm_set1_epi16(1));
    if _mm_movemask_epi8(_mm_cmpgt_epi32(numbers, _mm_set1_epi32(255))) != 0 {
        return None;
    }
    let words = _mm_packs_epi32(numbers, numbers);
    Some((_mm_cvtsi128_si64(_mm_packus_epi16(words, words)) as u32).swap_bytes())
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
