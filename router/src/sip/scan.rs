//! Bytes and classes of bytes: where lines end, what a token is made of, what counts as white space.

/// One octet of `token` (RFC 3261 25.1): alphanum and ``-.!%*_+`'~``.
pub const TOKEN: u8 = 1 << 0;
/// One octet that a host name may hold: alphanum, `-`, `.`, and `_`, which is not in the grammar but in use.
pub const HOST: u8 = 1 << 1;
/// One octet that ends a parameter's name or value: `;`, `,`, `=`, `"`, SP, HTAB, CR, LF, `<`, `>`, `?`.
pub const DELIMITER: u8 = 1 << 2;
/// SP, HTAB, CR and LF. Inside a header field CR and LF stand only in a fold, which the scan has checked.
pub const LWS: u8 = 1 << 3;
/// One octet that a SIP or SIPS URI must not hold unescaped anywhere: controls, SP, `"`, `<`, `>`.
pub const NOT_IN_URI: u8 = 1 << 4;
/// A decimal digit.
pub const DIGIT: u8 = 1 << 5;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        let byte = i as u8;
        if byte.is_ascii_alphanumeric() {
            table[i] |= TOKEN | HOST;
        }
        if byte.is_ascii_digit() {
            table[i] |= DIGIT;
        }
        if byte < 0x20 || byte == 0x7f {
            table[i] |= NOT_IN_URI;
        }
        i += 1;
    }
    mark(&mut table, b"-.!%*_+`'~", TOKEN);
    mark(&mut table, b"-._", HOST);
    mark(&mut table, b";,=\" \t\r\n<>?", DELIMITER);
    mark(&mut table, b" \t\r\n", LWS);
    mark(&mut table, b" \"<>", NOT_IN_URI);
    table
}

const fn mark(table: &mut [u8; 256], bytes: &[u8], class: u8) {
    let mut i = 0;
    while i < bytes.len() {
        table[bytes[i] as usize] |= class;
        i += 1;
    }
}

/// Whether `byte` is of `class` (one of the constants above, or several or-ed: any of them).
#[inline]
#[must_use]
pub fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// The first place at or after `at` and before `end` whose byte is of `class`; `end` if there is none.
#[inline]
#[must_use]
pub fn find(bytes: &[u8], at: usize, end: usize, class: u8) -> usize {
    let end = end.min(bytes.len());
    let mut i = at;
    while i < end && !is(bytes[i], class) {
        i += 1;
    }
    i.min(end.max(at))
}

/// The first place at or after `at` and before `end` whose byte is *not* of `class`; `end` if there is none.
#[inline]
#[must_use]
pub fn skip(bytes: &[u8], at: usize, end: usize, class: u8) -> usize {
    let end = end.min(bytes.len());
    let mut i = at;
    while i < end && is(bytes[i], class) {
        i += 1;
    }
    i.min(end.max(at))
}

/// `start..end` without white space at its ends.
#[inline]
#[must_use]
pub fn trim(bytes: &[u8], start: usize, end: usize) -> (usize, usize) {
    let start = skip(bytes, start, end, LWS);
    let mut end = end.min(bytes.len());
    while end > start && is(bytes[end - 1], LWS) {
        end -= 1;
    }
    (start, end.max(start))
}

/// The number that a run of digits spells; `None` when it is empty, holds anything else, or exceeds `max`.
#[inline]
#[must_use]
pub fn decimal(digits: &[u8], max: u64) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
        if value > max {
            return None;
        }
    }
    Some(value)
}

/// Eight bytes from `at`, little-endian; bytes past the end of `bytes` read as 0.
#[inline]
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> u64 {
    if let Some(chunk) = bytes.get(at..at + 8) {
        return u64::from_le_bytes(chunk.try_into().unwrap_or_default());
    }
    let mut padded = [0u8; 8];
    let rest = bytes.get(at..).unwrap_or_default();
    let len = rest.len().min(8);
    padded[..len].copy_from_slice(&rest[..len]);
    u64::from_le_bytes(padded)
}

/// Sets bit 5 of each of eight bytes: makes ASCII letters lower-case.
///
/// It also joins a few pairs that are no letters (`[` and `{`, CR and `-`), so a comparison by it is exact only against a
/// constant of letters, digits and `-`, in text that holds no lone CR.
pub const LOWER: u64 = 0x2020_2020_2020_2020;

/// Whether `text` is `lower` in any case. `lower` must be lower-case.
#[inline]
#[must_use]
pub fn is_ignoring_case(text: &[u8], lower: &[u8]) -> bool {
    text.len() == lower.len() && text.iter().zip(lower).all(|(a, b)| a.to_ascii_lowercase() == *b)
}

/// The end of one line: where its LF is, and whether a CR stands right before it and nowhere else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineEnd {
    /// Offset of the LF, or, where `proper` is false, of the byte at which the fault was seen.
    pub at: usize,
    /// Whether this is CRLF. If not, it is a LF without CR, or the byte after a CR without LF.
    pub proper: bool,
}

/// Walks over the line ends of a message, 64 bytes at a time.
///
/// Each block becomes two bitmaps, one of CR and one of LF; a line end is proper where the first, shifted by one, meets the second.
/// So header bytes are touched once, and the cost of a line is a bit scan instead of a search.
#[derive(Debug)]
pub struct LineEnds<'a> {
    bytes: &'a [u8],
    /// Offset of the block that `events` is of.
    block: usize,
    /// Bits not walked yet: LFs, and bytes at which CR and LF do not pair.
    events: u64,
    /// Of those, the ones that do not pair.
    faults: u64,
    /// Bit 0 says that the byte before the next block is a CR.
    carry: u64,
}

impl<'a> LineEnds<'a> {
    /// From `at` on.
    #[inline]
    #[must_use]
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        let mut ends = Self { bytes, block: at, events: 0, faults: 0, carry: 0 };
        ends.load();
        ends
    }

    #[inline]
    fn load(&mut self) {
        let rest = self.bytes.get(self.block..).unwrap_or_default();
        let (cr, lf) = if let Some(block) = rest.first_chunk::<64>() {
            block_bits(block)
        } else {
            let mut padded = [0u8; 64];
            padded[..rest.len()].copy_from_slice(rest);
            block_bits(&padded)
        };
        let after_cr = cr << 1 | self.carry;
        self.carry = cr >> 63;
        self.faults = after_cr ^ lf;
        self.events = after_cr | lf;
    }
}

impl Iterator for LineEnds<'_> {
    type Item = LineEnd;

    #[inline]
    fn next(&mut self) -> Option<LineEnd> {
        while self.events == 0 {
            self.block += 64;
            if self.block >= self.bytes.len() {
                return None;
            }
            self.load();
        }
        let bit = self.events.trailing_zeros();
        self.events &= self.events - 1;
        let at = self.block + bit as usize;
        // A CR as the very last byte leaves its event one past the end.
        (at < self.bytes.len()).then_some(LineEnd { at, proper: self.faults >> bit & 1 == 0 })
    }
}

/// Bitmaps of CR and LF in 64 bytes; bit 0 is the first byte.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[inline]
pub(super) fn block_bits_portable(block: &[u8; 64]) -> (u64, u64) {
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

#[cfg(not(target_arch = "x86_64"))]
use block_bits_portable as block_bits;

#[cfg(target_arch = "x86_64")]
use super::scan_x86_64::block_bits;

/// One bit for each of eight bytes that equals `byte`, bit 0 for the first. Exact, unlike the shorter test for "any".
#[cfg(any(test, not(target_arch = "x86_64")))]
#[inline]
fn equal_bits(part: u64, byte: u8) -> u64 {
    let x = part ^ (0x0101_0101_0101_0101 * u64::from(byte));
    let low = (x & 0x7f7f_7f7f_7f7f_7f7f) + 0x7f7f_7f7f_7f7f_7f7f;
    let zeros = !(low | x | 0x7f7f_7f7f_7f7f_7f7f);
    (zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_across_blocks() {
        for shift in 0..130 {
            let mut text = vec![b'x'; shift];
            text.extend_from_slice(b"\r\ny\nz\rw\r");
            let ends: Vec<_> = LineEnds::new(&text, 0).map(|e| (e.at - shift, e.proper)).collect();
            assert_eq!(ends, [(1, true), (3, false), (6, false)], "shift {shift}");
        }
    }

    #[test]
    fn decimal_is_exact_at_its_bound() {
        assert_eq!(decimal(b"255", 255), Some(255));
        assert_eq!(decimal(b"256", 255), None);
        assert_eq!(decimal(b"0068", 255), Some(68));
        assert_eq!(decimal(b"99999999999999999999999999", u64::from(u32::MAX)), None);
        assert_eq!(decimal(b"", 9), None);
        assert_eq!(decimal(b"-1", 9), None);
    }

    #[test]
    fn portable_and_native_bits_agree() {
        let mut block = [0u8; 64];
        for seed in 0..200u8 {
            for (i, byte) in block.iter_mut().enumerate() {
                *byte = [b'\r', b'\n', 0x0c, 0x0e, 0x8d, b'x'][(i * 7 + i * i * usize::from(seed)) % 6];
            }
            assert_eq!(block_bits(&block), block_bits_portable(&block));
        }
    }

    #[test]
    fn portable_bits() {
        assert_eq!(equal_bits(u64::from_le_bytes(*b"\rab\r\x0c\x0e\n\r"), b'\r'), 0b1000_1001);
    }

    #[test]
    fn words_past_the_end_are_zero() {
        assert_eq!(word(b"abc", 1), u64::from_le_bytes(*b"bc\0\0\0\0\0\0"));
        assert_eq!(word(b"abc", 9), 0);
    }
}
