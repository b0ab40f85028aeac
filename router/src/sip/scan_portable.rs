//! What [`super::scan_x86_64`] does with SSE2, in plain words: eight bytes at a time, or one by one.

use super::scan::{self, Bitmaps, word};

/// `N` bytes from `at`; `None` where there are less.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
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
    bits(part, |byte| byte <= b' ')
}

/// One bit for each of 16 bytes that is a delimiter.
#[inline]
pub(super) fn delimiters(part: &[u8; 16]) -> u32 {
    bits(part, |byte| scan::is(byte, scan::DELIMITER))
}

/// One bit for each of 16 bytes that is `@` or must not stand in a URI.
#[inline]
pub(super) fn at_or_not_in_uri(part: &[u8; 16]) -> u32 {
    bits(part, |byte| byte == b'@' || scan::is(byte, scan::NOT_IN_URI))
}

/// One bit for each of 16 bytes that is one of `needles`.
#[inline]
pub(super) fn any<const N: usize>(part: &[u8; 16], needles: [u8; N]) -> u32 {
    bits(part, |byte| needles.contains(&byte))
}

#[inline]
fn bits(part: &[u8; 16], is: impl Fn(u8) -> bool) -> u32 {
    part.iter().enumerate().fold(0, |bits, (i, byte)| bits | u32::from(is(*byte)) << i)
}

/// One bit for each of eight bytes that equals `byte`, bit 0 for the first. Exact, unlike the shorter test for "any".
#[inline]
fn equal_bits(part: u64, byte: u8) -> u64 {
    let x = part ^ (0x0101_0101_0101_0101 * u64::from(byte));
    let low = (x & 0x7f7f_7f7f_7f7f_7f7f) + 0x7f7f_7f7f_7f7f_7f7f;
    let zeros = !(low | x | 0x7f7f_7f7f_7f7f_7f7f);
    (zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// The dotted quad that `part` begins with, and its length; `None` where there is none.
#[inline]
pub(super) fn dotted_quad(part: &[u8; 16]) -> Option<(u32, usize)> {
    super::quad::read(part)
}

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
