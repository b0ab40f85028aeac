//! Bytes and classes of bytes: where lines end, what a token is made of, what counts as white space.

use super::message::Message;
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
#[inline(always)]
#[must_use]
pub fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// The first place at or after `at` and before `end` whose byte is of `class`; `end` if there is none.
#[inline(always)]
#[must_use]
pub fn find(bytes: &[u8], at: usize, end: usize, class: u8) -> usize {
    let end = end.min(bytes.len());
    let mut i = at;
    while i < end && !is(bytes[i], class) {
        i += 1;
    }
    i
}

/// The first place at or after `at` and before `end` whose byte is *not* of `class`; `end` if there is none.
#[inline(always)]
#[must_use]
pub fn skip(bytes: &[u8], at: usize, end: usize, class: u8) -> usize {
    let end = end.min(bytes.len());
    let mut i = at;
    while i < end && is(bytes[i], class) {
        i += 1;
    }
    i
}

/// The first [`DELIMITER`] at or after `at` and before `end`; `end` if there is none.
#[inline(always)]
#[must_use]
pub fn find_delimiter(bytes: &[u8], at: usize, end: usize) -> usize {
    find_with(bytes, at, end, native::delimiters, |byte| is(byte, DELIMITER))
}

/// The first `@`, or octet that no URI may hold ([`NOT_IN_URI`]), at or after `at` and before `end`; `end` if there is none.
#[inline(always)]
#[must_use]
pub fn find_at_or_not_in_uri(bytes: &[u8], at: usize, end: usize) -> usize {
    find_with(bytes, at, end, native::at_or_not_in_uri, |byte| byte == b'@' || is(byte, NOT_IN_URI))
}

/// The first of `needles` at or after `at` and before `end`; `end` if there is none.
#[inline(always)]
#[must_use]
pub fn find_any<const N: usize>(bytes: &[u8], at: usize, end: usize, needles: [u8; N]) -> usize {
    find_with(bytes, at, end, |part| native::any(part, needles), |byte| needles.contains(&byte))
}

/// The place of the first `needle` in `head`, sixteen bytes as [`long_word`] reads them; `None` if there is none.
#[inline(always)]
#[must_use]
pub fn find_in(head: u128, needle: u8) -> Option<usize> {
    let found = native::any(&head.to_le_bytes(), [needle]);
    (found != 0).then_some(found.trailing_zeros() as usize)
}

/// `N` bytes from `at`; `None` where there are less.
#[inline(always)]
#[must_use]
pub fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    native::part(bytes, at)
}

/// [`super::message::clean::read`] with the best instructions that this machine has.
#[inline(always)]
pub(super) fn read_clean(message: &mut super::Message, bytes: &[u8]) -> bool {
    native::read_clean(message, bytes)
}

/// Something to do with the best instructions that this machine has.
///
/// A trait and not a closure, because only of a method can one say that it is always inlined, which is what compiles it for those instructions.
pub trait Work {
    /// What comes of it.
    type Output;

    /// Does it. Implementations are `#[inline(always)]`, and so is what they call and want to have compiled in the same way.
    fn run(self) -> Self::Output;
}

/// Does `work` with the best instructions that this machine has: what of it is inlined need not ask for them again.
#[inline(always)]
pub fn at_best<W: Work>(work: W) -> W::Output {
    native::at_best(work)
}

/// Questions about many bytes at once. Bit 0 of an answer is for the first byte.
///
/// A value of a type that implements this is the proof that the machine can do what its methods do.
pub(super) trait Lanes: Copy {
    /// [`super::message::clean::read_lines`], as a function of its own.
    fn read_lines(self, message: &mut Message, bytes: &[u8]) -> bool;
    /// The LFs of the last 64 bytes; `None` where one of them has no CR before it, or one of the first 64 bytes is a CR without a LF after it.
    fn line_feeds(self, window: &[u8; 65]) -> Option<u64>;
    /// The bytes that are `byte`.
    fn equal(self, block: &[u8; 64], byte: u8) -> u64;
    /// The bytes that are `"` or a backslash.
    fn quotes(self, part: &[u8; 32]) -> u32;
    /// The bytes that are SP or less.
    fn blanks(self, block: &[u8; 64]) -> u64;
    /// The bytes that are not ASCII, and those below `@` that are none of `-`, `.`, `/`, the digits and `:`. All of the class [`DELIMITER`] are among them.
    fn stops(self, part: &[u8; 32]) -> u32;
    /// Whether `head`, or-ed with `letters`, is `text`.
    fn is_same(self, head: &[u8; 16], letters: &[u8; 16], text: &[u8; 16]) -> bool;
    /// The bytes that are a colon, and those that are SP or less.
    fn colons_and_blanks(self, head: &[u8; 16]) -> (u32, u32);
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
        let Some(part) = part(bytes, at) else {
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

/// The first control or SP at or after `at` and before `end`; `end` if there is none.
#[inline(always)]
#[must_use]
pub fn find_blank(bytes: &[u8], at: usize, end: usize) -> usize {
    find_with(bytes, at, end, native::blanks, |byte| byte <= b' ')
}

/// `start..end` without white space at its ends.
#[inline(always)]
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
#[inline(always)]
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
#[inline(always)]
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
#[inline(always)]
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> u64 {
    match part(bytes, at) {
        Some(part) => u64::from_le_bytes(*part),
        None => last_bytes(bytes, at) as u64,
    }
}

/// Sixteen bytes from `at`, likewise.
#[inline(always)]
#[must_use]
pub fn long_word(bytes: &[u8], at: usize) -> u128 {
    match part(bytes, at) {
        Some(part) => u128::from_le_bytes(*part),
        None => last_bytes(bytes, at),
    }
}

/// The same where less are left: the message's last sixteen, with those before `at` shifted out.
#[cold]
#[inline(never)]
pub(super) fn last_bytes(bytes: &[u8], at: usize) -> u128 {
    let rest = bytes.get(at..).unwrap_or_default();
    match bytes.last_chunk() {
        _ if rest.is_empty() => 0,
        Some(part) => u128::from_le_bytes(*part) >> (128 - 8 * rest.len().min(16)),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u128::from(*byte)),
    }
}

/// The dotted quad that the 16 bytes at `at` begin with, and its length; bytes past the end of `bytes` read as 0.
///
/// Each part is one to three digits and at most 255. What comes after it, which may be a further dot, is the caller's to look at.
#[inline(always)]
#[must_use]
pub fn dotted_quad(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let last;
    let part = match part(bytes, at) {
        Some(part) => part,
        None => {
            last = last_bytes(bytes, at).to_le_bytes();
            &last
        }
    };
    // Where it ends is known before what it says, and what comes after it need not wait for that.
    let ends = native::quad_ends(part);
    let len = 31 - ends.leading_zeros() as usize;
    Some((native::quad_address(part, ends)?, len))
}

/// 16 hexadecimal digits, lower-case, most significant first.
#[inline(always)]
#[must_use]
pub fn hex_digits(number: u64) -> [u8; 16] {
    native::hex_digits(number)
}

/// A text of at most eight bytes as the word that [`word`] makes of it, with zeros where it is shorter; lower-case, also the one of [`lower_word`].
#[must_use]
pub const fn word_of(text: &[u8]) -> u64 {
    let mut word = [0u8; 8];
    let mut i = 0;
    while i < text.len() && i < 8 {
        word[i] = text[i];
        i += 1;
    }
    u64::from_le_bytes(word)
}

/// The first eight bytes of a name `len` bytes long that begins at `at`, in lower case, with zeros where it is shorter.
#[inline(always)]
#[must_use]
pub fn lower_word(bytes: &[u8], at: usize, len: usize) -> u64 {
    (word(bytes, at) | LOWER) & (u64::MAX >> (64 - 8 * len.clamp(1, 8)))
}

/// Bit 5 of each of the first eight bytes of `text` that is a letter: or-ed to a word, it makes just these lower-case, so that a comparison with `text`, which must be
/// lower-case, is exact.
#[must_use]
pub const fn letters(text: &[u8]) -> u64 {
    let mut mask = [0u8; 8];
    let mut i = 0;
    while i < text.len() && i < 8 {
        mask[i] = if text[i].is_ascii_alphabetic() { 0x20 } else { 0 };
        i += 1;
    }
    u64::from_le_bytes(mask)
}

/// Whether the bytes at `at` begin with `text`, its letters in any case. `text` is lower-case and at most eight bytes long.
#[inline(always)]
#[must_use]
pub fn begins_with(bytes: &[u8], at: usize, text: &'static [u8]) -> bool {
    (word(bytes, at) | letters(text)) & (u64::MAX >> (64 - 8 * text.len())) == word_of(text)
}

/// Whether `text`, at most eight bytes long, stands at `at` to the letter.
#[inline(always)]
#[must_use]
pub fn is_at(bytes: &[u8], at: usize, text: &'static [u8]) -> bool {
    word(bytes, at) & (u64::MAX >> (64 - 8 * text.len())) == word_of(text)
}

/// Whether `text` begins with `head`.
///
/// 16 to 32 bytes are compared as two halves, which may overlap; a call of `memcmp` costs more than that.
#[inline(always)]
#[must_use]
pub fn starts_with(text: &[u8], head: &[u8]) -> bool {
    let last = head.len().wrapping_sub(16);
    if last > 16 {
        return text.starts_with(head);
    }
    let half = |text, at| part::<16>(text, at).map(|part| u128::from_ne_bytes(*part));
    match (half(text, last), half(text, 0)) {
        (Some(text_last), Some(text_first)) => {
            half(head, 0) == Some(text_first) && half(head, last) == Some(text_last)
        }
        _ => false,
    }
}

/// Whether the 16 bytes at `at` hold a [`DELIMITER`]; bytes past the end of `bytes` are some.
#[inline(always)]
#[must_use]
pub fn delimiters_in_16(bytes: &[u8], at: usize) -> bool {
    native::delimiters(&long_word(bytes, at).to_le_bytes()) != 0
}

/// Sets bit 5 of each of eight bytes: makes ASCII letters lower-case.
///
/// It also joins a few pairs that are no letters (`[` and `{`, CR and `-`), so a comparison by it is exact only against a
/// constant of letters, digits and `-`, in text that holds no lone CR.
pub const LOWER: u64 = 0x2020_2020_2020_2020;

/// Whether `text` is `lower` in any case. `lower` must be lower-case.
#[inline(always)]
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

/// How many blocks of 64 bytes are searched for line ends at once.
///
/// 768 bytes hold the header fields of most requests, so one call does. More would search bodies in vain, fewer would call again.
pub(super) const BLOCKS: usize = 12;

/// Where CR and LF stand in a stretch of [`BLOCKS`] blocks.
///
/// Each block becomes two bitmaps, one of CR and one of LF. A line end is proper where the first, shifted by one, meets the second.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bitmaps {
    /// How many blocks there are, the last one perhaps cut short.
    count: usize,
    /// A bit for each LF and for each byte after a CR; with proper line ends both are the same byte.
    events: [u64; BLOCKS],
    /// Whether somewhere they are not.
    faulty: bool,
    /// 1 where the byte before the next block is a CR.
    carry: u64,
}

impl Bitmaps {
    /// Empty ones, to be filled from where the byte before is a CR or not.
    #[inline(always)]
    pub(super) const fn new(after_cr: bool) -> Self {
        Self { count: 0, events: [0; BLOCKS], faulty: false, carry: after_cr as u64 }
    }

    /// Those of the blocks of `bytes` from `at` on, by what tells CR and LF of one block.
    #[inline(always)]
    pub(super) fn fill(&mut self, bytes: &[u8], at: usize, block_bits: impl Fn(&[u8; 64]) -> (u64, u64)) {
        let (blocks, tail) = bytes.get(at..).unwrap_or_default().as_chunks::<64>();
        let (mut carry, mut faults) = (self.carry, 0);
        let mut pair = |(cr, lf): (u64, u64)| {
            let after_cr = cr << 1 | carry;
            carry = cr >> 63;
            faults |= after_cr ^ lf;
            after_cr | lf
        };
        for (events, block) in self.events.iter_mut().zip(blocks) {
            *events = pair(block_bits(block));
        }
        if let Some(events) = self.events.get_mut(blocks.len()) {
            *events = pair(tail_bits(bytes, tail, block_bits));
        }
        self.count = (blocks.len() + 1).min(BLOCKS);
        self.carry = carry;
        self.faulty = faults != 0;
    }
}

/// The CRs and LFs of `tail`, the last bytes of `bytes`, which are less than a block.
#[inline(always)]
fn tail_bits(bytes: &[u8], tail: &[u8], block_bits: impl Fn(&[u8; 64]) -> (u64, u64)) -> (u64, u64) {
    if let Some(block) = bytes.last_chunk() {
        // The message's last 64 bytes, with those before the tail shifted out, in two steps because 64 may be all.
        let (cr, lf) = block_bits(block);
        let before = 63 - tail.len() % 64;
        return (cr >> 1 >> before, lf >> 1 >> before);
    }
    let mut padded = [0; 64];
    for (to, from) in padded.iter_mut().zip(tail) {
        *to = *from;
    }
    block_bits(&padded)
}

/// Walks over the line ends of a message.
///
/// Header bytes are touched once, by `Bitmaps`, and the cost of a line is a bit scan instead of a search.
#[derive(Debug)]
pub struct LineEnds<'a> {
    bytes: &'a [u8],
    /// Those of the stretch that is walked.
    bitmaps: Bitmaps,
    /// Its offset.
    stretch: usize,
    /// Which of its blocks is walked.
    index: usize,
    /// What is left of that.
    events: u64,
}

impl<'a> LineEnds<'a> {
    /// From `at` on.
    #[inline(always)]
    #[must_use]
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        let bitmaps = Bitmaps::new(at > 0 && bytes.get(at - 1) == Some(&b'\r'));
        let mut ends = Self { bytes, bitmaps, stretch: at, index: 0, events: 0 };
        native::fill(&mut ends.bitmaps, bytes, at);
        ends.events = ends.bitmaps.events[0];
        ends
    }

    /// Goes on to the next stretch, if there is one.
    #[cold]
    fn refill(&mut self) -> Option<()> {
        if self.bitmaps.count < BLOCKS {
            return None;
        }
        self.stretch += BLOCKS * 64;
        self.index = 0;
        native::fill(&mut self.bitmaps, self.bytes, self.stretch);
        Some(())
    }

    /// Looks at the bytes themselves, because some line end hereabouts is not proper.
    #[cold]
    fn examine(&self, at: usize) -> Option<LineEnd> {
        // A CR as the very last byte leaves its event one past the end.
        let is_lf = *self.bytes.get(at)? == b'\n';
        Some(LineEnd { at, proper: is_lf && at > 0 && self.bytes[at - 1] == b'\r' })
    }
}

impl Iterator for LineEnds<'_> {
    type Item = LineEnd;

    #[inline(always)]
    fn next(&mut self) -> Option<LineEnd> {
        while self.events == 0 {
            self.index += 1;
            if self.index >= self.bitmaps.count {
                self.refill()?;
            }
            self.events = *self.bitmaps.events.get(self.index)?;
        }
        let at = self.stretch + self.index * 64 + self.events.trailing_zeros() as usize;
        self.events &= self.events - 1;
        if self.bitmaps.faulty { self.examine(at) } else { Some(LineEnd { at, proper: true }) }
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
    fn line_ends_across_stretches() {
        for len in [700, 767, 768, 769, 1535, 1536, 1600] {
            let text = b"xyz\r\n".repeat(len / 5);
            assert_eq!(LineEnds::new(&text, 0).filter(|end| end.proper).count(), len / 5);
            let mut text = vec![b'x'; len];
            text.extend_from_slice(b"\r\n\n");
            let ends: Vec<_> = LineEnds::new(&text, 0).map(|e| (e.at - len, e.proper)).collect();
            assert_eq!(ends, [(1, true), (2, false)], "{len}");
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
    fn beginnings_are_exact_but_for_case() {
        assert!(begins_with(b"xSiP/2.0 200", 1, b"sip/2.0 "));
        for octet in 0..=255u8 {
            for at in 0..8 {
                let mut text = *b"sip/2.0 ";
                let same = octet.eq_ignore_ascii_case(&text[at]);
                text[at] = octet;
                assert_eq!(begins_with(&text, 0, b"sip/2.0 "), same, "{octet} at {at}");
            }
        }
    }

    #[test]
    fn words_past_the_end_are_zero() {
        assert_eq!(word(b"abc", 1), u64::from_le_bytes(*b"bc\0\0\0\0\0\0"));
        assert_eq!(word(b"abc", 9), 0);
    }
}
