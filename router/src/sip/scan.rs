//! Bytes and classes of bytes: where lines end, what a token is made of, what counts as white space.

#[cfg(not(target_arch = "x86_64"))]
use super::scan_portable as native;
#[cfg(target_arch = "x86_64")]
use super::scan_x86_64 as native;

/// One octet of `token` (RFC 3261 25.1): alphanum and ``-.!%*_+`'~``.
pub const TOKEN: u8 = 1 << 0;
/// One octet that a host name may hold: alphanum, `-`, `.`, and `_`, which is not in the grammar but in use.
pub const HOST: u8 = 1 << 1;
/// One octet that ends a parameter's name or value: `;`, `,`, `=`, `"`, `<`, `>`, `?`, SP and all controls (HTAB, CR and LF among them).
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
        if byte < 0x20 {
            table[i] |= NOT_IN_URI | DELIMITER;
        }
        i += 1;
    }
    mark(&mut table, b"-.!%*_+`'~", TOKEN);
    mark(&mut table, b"-._", HOST);
    mark(&mut table, b";,=\" <>?", DELIMITER);
    mark(&mut table, b" \t\r\n", LWS);
    mark(&mut table, b" \"<>\x7f", NOT_IN_URI);
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

/// The first [`DELIMITER`] at or after `at` and before `end`; `end` if there is none.
#[inline]
#[must_use]
pub fn find_delimiter(bytes: &[u8], at: usize, end: usize) -> usize {
    find_with(bytes, at, end, native::delimiters, |byte| is(byte, DELIMITER))
}

/// The first `@`, or octet that no URI may hold ([`NOT_IN_URI`]), at or after `at` and before `end`; `end` if there is none.
#[inline]
#[must_use]
pub fn find_at_or_not_in_uri(bytes: &[u8], at: usize, end: usize) -> usize {
    find_with(bytes, at, end, native::at_or_not_in_uri, |byte| byte == b'@' || is(byte, NOT_IN_URI))
}

/// The first of `needles` at or after `at` and before `end`; `end` if there is none.
#[inline]
#[must_use]
pub fn find_any<const N: usize>(bytes: &[u8], at: usize, end: usize, needles: [u8; N]) -> usize {
    find_with(bytes, at, end, |part| native::any(part, needles), |byte| needles.contains(&byte))
}

/// The first byte for which `bits` has a bit, 16 bytes at a time; the last few bytes of the message are asked one by one.
#[inline(always)]
fn find_with(
    bytes: &[u8],
    mut at: usize,
    end: usize,
    bits: impl Fn(&[u8; 16]) -> u32,
    is: impl Fn(u8) -> bool,
) -> usize {
    while at < end {
        let Some(part) = bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) else {
            let rest = bytes.get(at..end.min(bytes.len())).unwrap_or_default();
            return rest.iter().position(|byte| is(*byte)).map_or(end, |i| at + i);
        };
        let found = bits(part);
        if found != 0 {
            return (at + found.trailing_zeros() as usize).min(end);
        }
        at += 16;
    }
    end
}

/// `start..end` without white space at its ends.
#[inline]
#[must_use]
pub fn trim(bytes: &[u8], start: usize, end: usize) -> (usize, usize) {
    let mut start = start;
    let mut end = end.min(bytes.len());
    while start < end && is(bytes[start], LWS) {
        start += 1;
    }
    while end > start && is(bytes[end - 1], LWS) {
        end -= 1;
    }
    (start, end.max(start))
}

/// The number that a run of digits spells; `None` when it is empty, holds anything else, or exceeds `max`.
#[inline]
#[must_use]
pub fn decimal(digits: &[u8], max: u64) -> Option<u64> {
    if digits.len() <= 8 {
        let (count, value) = leading_decimal(word(digits, 0));
        return (count > 0 && count as usize == digits.len() && value <= max).then_some(value);
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

/// How many decimal digits `word` begins with, and the number that they spell.
///
/// Three multiplications join neighbours: ones to pairs, pairs to fours, fours to eight.
#[inline]
#[must_use]
pub fn leading_decimal(word: u64) -> (u32, u64) {
    let x = word ^ 0x3030_3030_3030_3030;
    let not_digits = (x | ((x & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080;
    let count = not_digits.trailing_zeros() / 8;
    if count == 0 {
        return (0, 0);
    }
    let x = x << (64 - 8 * count);
    let x = (x & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let x = x.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    (count, x.wrapping_mul(10_000 << 32 | 1) >> 32)
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

/// A text of at most eight bytes as the word that [`lower_word`] makes of it. `text` must be lower-case.
#[must_use]
pub const fn lower_key(text: &[u8]) -> u64 {
    let mut word = [0u8; 8];
    let mut i = 0;
    while i < text.len() && i < 8 {
        word[i] = text[i];
        i += 1;
    }
    u64::from_le_bytes(word)
}

/// The first eight bytes of a name `len` bytes long that begins at `at`, in lower case, with zeros where it is shorter.
#[inline]
#[must_use]
pub fn lower_word(bytes: &[u8], at: usize, len: usize) -> u64 {
    (word(bytes, at) | LOWER) & (u64::MAX >> (64 - 8 * len.clamp(1, 8)))
}

/// Whether the eight bytes at `at` are `text`, in any case.
///
/// By [`LOWER`], so `text` must be lower-case letters, digits, and of the rest only octets that no other one is joined with there: `/`, `.`, SP.
#[inline]
#[must_use]
pub fn word_is(bytes: &[u8], at: usize, text: &[u8; 8]) -> bool {
    word(bytes, at) | LOWER == u64::from_le_bytes(*text) | LOWER
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
            native::block_bits(block)
        } else {
            let mut padded = [0u8; 64];
            padded[..rest.len()].copy_from_slice(rest);
            native::block_bits(&padded)
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
        assert_eq!(decimal(b"12345678", u64::MAX), Some(12_345_678));
        assert_eq!(decimal(b"123456789", u64::MAX), Some(123_456_789));
        for byte in 0..=255u8 {
            let digits = if byte.is_ascii_digit() { 2 } else { 1 };
            assert_eq!(leading_decimal(word(&[b'7', byte, b'x'], 0)).0, digits, "{byte}");
        }
        assert_eq!(leading_decimal(word(b"5060;lr", 0)), (4, 5060));
    }

    #[test]
    fn searches_agree_with_the_obvious_loop() {
        let mut text = [0u8; 70];
        for seed in 0..=255u8 {
            for (i, byte) in text.iter_mut().enumerate() {
                *byte = if i % 23 == usize::from(seed) % 23 { seed } else { b'a' + (i % 20) as u8 };
            }
            for (at, end) in [(0, 70), (3, 70), (50, 70), (66, 70), (0, 5), (7, 7), (10, 40)] {
                let slow = |is: &dyn Fn(u8) -> bool| (at..end).find(|i| is(text[*i])).unwrap_or(end);
                assert_eq!(find_delimiter(&text, at, end), slow(&|b| is(b, DELIMITER)), "{seed}");
                assert_eq!(
                    find_at_or_not_in_uri(&text, at, end),
                    slow(&|b| b == b'@' || is(b, NOT_IN_URI)),
                    "{seed}"
                );
                assert_eq!(find_any(&text, at, end, *b"\"<;"), slow(&|b| b"\"<;".contains(&b)), "{seed}");
            }
        }
    }

    #[test]
    fn words_past_the_end_are_zero() {
        assert_eq!(word(b"abc", 1), u64::from_le_bytes(*b"bc\0\0\0\0\0\0"));
        assert_eq!(word(b"abc", 9), 0);
    }
}
