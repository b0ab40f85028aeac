//! What [`super::scan_x86_64`] does with SSE2, in plain words: eight bytes at a time, or one by one.

use super::Message;
use super::message::clean;
use super::scan::{self, Bitmaps, Lanes, word};

/// `N` bytes from `at`; `None` where there are less.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

/// Does `work`.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn at_best<W: scan::Work>(work: W) -> W::Output {
    work.run()
}

/// [`clean::read`] in plain words.
#[inline]
pub(super) fn read_clean(message: &mut Message, bytes: &[u8]) -> bool {
    clean::read(Plain, message, bytes).is_some()
}

/// [`Lanes`] that every machine has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain;

impl Lanes for Plain {
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
        bits(block, |other| other == byte)
    }

    #[inline(always)]
    fn quotes(self, part: &[u8; 32]) -> u32 {
        bits(part, |byte| byte == b'"' || byte == b'\\') as u32
    }

    #[inline(always)]
    fn blanks(self, block: &[u8; 64]) -> u64 {
        bits(block, |byte| byte <= b' ')
    }

    #[inline(always)]
    fn stops(self, part: &[u8; 32]) -> u32 {
        bits(part, |byte| !matches!(byte, b'@'..=0x7f | b'-'..=b':')) as u32
    }

    #[inline(always)]
    fn is_same(self, head: &[u8; 16], letters: &[u8; 16], text: &[u8; 16]) -> bool {
        let [head, letters, text] = [head, letters, text].map(|part| u128::from_le_bytes(*part));
        head | letters == text
    }

    #[inline(always)]
    fn colons_and_blanks(self, head: &[u8; 16]) -> (u32, u32) {
        (bits(head, |byte| byte == b':') as u32, blanks(head))
    }
}

/// Fills `bitmaps` with the line ends of the blocks of `bytes` from `at` on.
#[inline]
pub(super) fn fill(bitmaps: &mut Bitmaps, bytes: &[u8], at: usize) {
    bitmaps.fill(bytes, at, block_bits);
}

/// Bitmaps of CR and LF in 64 bytes; bit 0 is the first byte.
#[inline]
pub(super) fn block_bits(block: &[u8; 64]) -> (u64, u64) {
    let mut cr = 0;
    let mut lf = 0;
    let mut at = 0;
    while at < 64 {
        let part = word(block, at);
        cr |= equal_bits(part, b'\r') << at;
        lf |= equal_bits(part, b'\n') << at;
        at += 8;
    }
    (cr, lf)
}

/// One bit for each of 16 bytes that is SP or less.
#[inline]
pub(super) fn blanks(part: &[u8; 16]) -> u32 {
    bits(part, |byte| byte <= b' ') as u32
}

/// One bit for each of 16 bytes that is a delimiter.
#[inline]
pub(super) fn delimiters(part: &[u8; 16]) -> u32 {
    bits(part, |byte| scan::is(byte, scan::DELIMITER)) as u32
}

/// One bit for each of 16 bytes that is `@` or must not stand in a URI.
#[inline]
pub(super) fn at_or_not_in_uri(part: &[u8; 16]) -> u32 {
    bits(part, |byte| byte == b'@' || scan::is(byte, scan::NOT_IN_URI)) as u32
}

/// One bit for each of 16 bytes that is one of `needles`.
#[inline]
pub(super) fn any<const N: usize>(part: &[u8; 16], needles: [u8; N]) -> u32 {
    bits(part, |byte| needles.contains(&byte)) as u32
}

#[inline(always)]
fn bits<const N: usize>(part: &[u8; N], is: impl Fn(u8) -> bool) -> u64 {
    part.iter().enumerate().fold(0, |bits, (i, byte)| bits | u64::from(is(*byte)) << i)
}

/// One bit for each of eight bytes that equals `byte`, bit 0 for the first. Exact, unlike the shorter test for "any".
#[inline]
fn equal_bits(part: u64, byte: u8) -> u64 {
    let x = part ^ (0x0101_0101_0101_0101 * u64::from(byte));
    let low = (x & 0x7f7f_7f7f_7f7f_7f7f) + 0x7f7f_7f7f_7f7f_7f7f;
    let zeros = !(low | x | 0x7f7f_7f7f_7f7f_7f7f);
    (zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use super::quad::{address as quad_address, ends as quad_ends};

/// The 16 hexadecimal digits of `number`, lower-case, most significant first: nibbles are spread over two words and made digits eight at a time.
#[inline]
pub(super) fn hex_digits(number: u64) -> [u8; 16] {
    let mut digits = [0u8; 16];
    digits[..8].copy_from_slice(&hex8((number >> 32) as u32));
    digits[8..].copy_from_slice(&hex8(number as u32));
    digits
}

#[inline]
fn hex8(number: u32) -> [u8; 8] {
    let mut x = u64::from(number);
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // 1 in each byte whose nibble is 10 or more; those are letters, 39 further on than the digits.
    let letters = (x + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (x + 0x3030_3030_3030_3030 + letters * (b'a' - b'9' - 1) as u64).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_bits() {
        assert_eq!(equal_bits(u64::from_le_bytes(*b"\rab\r\x0c\x0e\n\r"), b'\r'), 0b1000_1001);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn lanes_agree() {
        use super::super::scan_x86_64::{Avx2, Sse2};
        let mut window = [0u8; 65];
        for seed in 0..=255u8 {
            for (i, byte) in window.iter_mut().enumerate() {
                *byte = match i % 5 {
                    0 => seed.wrapping_mul(31).wrapping_add(i as u8),
                    1 if seed % 3 == 0 => b'\n',
                    4 if i < 64 || seed % 2 == 0 => [b'\r', b'\n', b'"', b'x'][usize::from(seed / 3 % 4)],
                    _ => b'a' + i as u8 % 26,
                };
                if i % 5 == 0 && seed % 2 == 0 {
                    *byte = if seed % 3 == 0 { b'\r' } else { b'y' };
                }
            }
            agree(Plain, Sse2, &window);
            if let Some(avx2) = Avx2::new() {
                agree(Plain, avx2, &window);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn agree(a: impl Lanes, b: impl Lanes, window: &[u8; 65]) {
        let (block, half, head) =
            (window.first_chunk().unwrap(), window.last_chunk().unwrap(), window.first_chunk().unwrap());
        assert_eq!(a.line_feeds(window), b.line_feeds(window));
        assert_eq!(a.equal(block, b'a'), b.equal(block, b'a'));
        assert_eq!(a.blanks(block), b.blanks(block));
        assert_eq!(a.quotes(half), b.quotes(half));
        assert_eq!(a.stops(half), b.stops(half));
        for letters in [[0; 16], [0x20; 16]] {
            let lower = head.map(|byte| byte | letters[0]);
            assert!(a.is_same(head, &letters, &lower) && b.is_same(head, &letters, &lower));
            for i in 0..16 {
                let mut other = lower;
                other[i] ^= 0x40;
                assert!(!a.is_same(head, &letters, &other) && !b.is_same(head, &letters, &other));
            }
        }
        assert_eq!(a.colons_and_blanks(head), b.colons_and_blanks(head));
        // What these are by their definition.
        for (i, byte) in half.iter().enumerate() {
            let stops = !matches!(byte, b'@'..=0x7f | b'-'..=b':');
            assert_eq!(a.stops(half) >> i & 1 == 1, stops);
            assert!(stops || !scan::is(*byte, scan::DELIMITER));
        }
        let proper = (0..64).all(|i| (window[i] == b'\r') == (window[i + 1] == b'\n'));
        assert_eq!(a.line_feeds(window).is_some(), proper);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn agrees_with_sse2() {
        use super::super::scan_x86_64 as sse2;
        let mut block = [0u8; 64];
        for seed in 0..200u8 {
            for (i, byte) in block.iter_mut().enumerate() {
                *byte = [b'\r', b'\n', 0x0c, 0x0e, 0x8d, b'x'][(i * 7 + i * i * usize::from(seed)) % 6];
            }
            assert_eq!(block_bits(&block), sse2::block_bits(&block));
            let text = block.repeat(20);
            for len in [0, 1, 63, 64, 65, 700, 768, 1000, 1280] {
                let (mut plain, mut simd) = (Bitmaps::new(seed & 1 == 1), Bitmaps::new(seed & 1 == 1));
                for at in [0, 64, 768] {
                    fill(&mut plain, &text[..len], at);
                    sse2::fill(&mut simd, &text[..len], at);
                    assert_eq!(plain, simd, "{seed} {len} {at}");
                }
            }
        }
        for byte in 0..=255u8 {
            let part: [u8; 16] = core::array::from_fn(|i| byte.wrapping_add(i as u8));
            assert_eq!(blanks(&part), sse2::blanks(&part), "{byte}");
            assert_eq!(delimiters(&part), sse2::delimiters(&part), "{byte}");
            assert_eq!(at_or_not_in_uri(&part), sse2::at_or_not_in_uri(&part), "{byte}");
            assert_eq!(any(&part, *b"\"<;"), sse2::any(&part, *b"\"<;"), "{byte}");
        }
        for number in
            (0..64).flat_map(|i| [1u64 << i, u64::MAX >> i, 0x0123_4567_89ab_cdef_u64.rotate_left(i)])
        {
            assert_eq!(hex_digits(number), sse2::hex_digits(number));
        }
    }
}
