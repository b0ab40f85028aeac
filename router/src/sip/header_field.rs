//! The name of a header field, and the small values: CSeq, tags, numbers (RFC 3261 7.3.1, 20).

use super::params;
use super::scan::{self, LOWER, LWS, word_of};
use super::span::Span;
use super::start_line::Method;
use super::uri;

/// The header fields that a proxy reads. All others pass untouched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Name {
    /// Via, v
    Via,
    /// From, f
    From,
    /// To, t
    To,
    /// Call-ID, i
    CallId,
    /// CSeq
    CSeq,
    /// Max-Forwards
    MaxForwards,
    /// Route
    Route,
    /// Content-Length, l
    ContentLength,
    /// Proxy-Require
    ProxyRequire,
    /// Any other.
    Other,
}

impl Name {
    /// One bit for each name.
    #[inline(always)]
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Whether it may stand more than once.
    #[inline(always)]
    #[must_use]
    pub const fn is_repeatable(self) -> bool {
        matches!(self, Self::Via | Self::Route | Self::ProxyRequire)
    }

    /// The name that is the first `len` bytes of `head`, a line's first sixteen as [`scan::long_word`] reads them.
    ///
    /// The length says which names it may be, one word which of them it is; the three longer names take a second look, at their last eight bytes.
    #[inline(always)]
    #[must_use]
    pub fn of(head: u128, len: usize) -> Self {
        let is = |text: &[u8]| {
            let unused = 64 - 8 * text.len() as u32;
            (head as u64 | LOWER) << unused == word_of(text) << unused
        };
        let ends_with = |text: &[u8; 8]| (head >> (8 * len - 64)) as u64 | LOWER == word_of(text);
        match len {
            1 if is(b"v") => Self::Via,
            1 if is(b"f") => Self::From,
            1 if is(b"t") => Self::To,
            1 if is(b"i") => Self::CallId,
            1 if is(b"l") => Self::ContentLength,
            2 if is(b"to") => Self::To,
            3 if is(b"via") => Self::Via,
            4 if is(b"from") => Self::From,
            4 if is(b"cseq") => Self::CSeq,
            5 if is(b"route") => Self::Route,
            7 if is(b"call-id") => Self::CallId,
            12 if is(b"max-forw") && ends_with(b"forwards") => Self::MaxForwards,
            13 if is(b"proxy-re") && ends_with(b"-require") => Self::ProxyRequire,
            14 if is(b"content-") && ends_with(b"t-length") => Self::ContentLength,
            _ => Self::Other,
        }
    }
}

/// How the name of a header field that a proxy reads begins a line, with the colon and one SP after it.
#[repr(C, align(64))]
pub(super) struct KnownName {
    /// What is or-ed to the line's first bytes: bit 5 of each letter, nothing for the other octets, and all bits past the end.
    pub(super) letters: [u8; 16],
    /// What they then are.
    pub(super) text: [u8; 16],
    /// How many there are of them, and so where the value begins.
    pub(super) value_at: u32,
    /// A bit for each octet before the colon.
    pub(super) bits: u32,
    /// Which name it is.
    pub(super) name: Name,
}

impl KnownName {
    /// The only name that a line that begins with `head` may have.
    #[inline(always)]
    pub(super) fn of(head: &[u8; 16]) -> &'static Self {
        static TABLE: [KnownName; 32] = KnownName::table();
        &TABLE[Self::place(head[0], head[1])]
    }

    /// Whether the name at least begins `head`, and a colon stands after it.
    #[cold]
    #[inline(never)]
    pub(super) fn is_name_of(&self, head: u128) -> bool {
        let differs = (head | u128::from_le_bytes(self.letters)) ^ u128::from_le_bytes(self.text);
        // Without the SP after the colon.
        differs << (136 - 8 * self.value_at) == 0
    }

    /// No two names share a place; letters do in both cases.
    #[inline(always)]
    const fn place(first: u8, second: u8) -> usize {
        let two = u16::from_le_bytes([first, second]) & 0x1f1f;
        ((two as u32).wrapping_mul(47 << 20) >> 27) as usize
    }

    const fn table() -> [Self; 32] {
        const NAMES: [(&[u8], Name); 14] = [
            (b"via: ", Name::Via),
            (b"v: ", Name::Via),
            (b"from: ", Name::From),
            (b"f: ", Name::From),
            (b"to: ", Name::To),
            (b"t: ", Name::To),
            (b"call-id: ", Name::CallId),
            (b"i: ", Name::CallId),
            (b"cseq: ", Name::CSeq),
            (b"max-forwards: ", Name::MaxForwards),
            (b"route: ", Name::Route),
            (b"content-length: ", Name::ContentLength),
            (b"l: ", Name::ContentLength),
            (b"proxy-require: ", Name::ProxyRequire),
        ];
        // Nothing equals this: what is or-ed sets bits that the text has not.
        let mut table =
            [const { Self { letters: [0xff; 16], text: [0; 16], value_at: 0, bits: 0, name: Name::Other } };
                32];
        let mut i = 0;
        while i < NAMES.len() {
            let (text, name) = NAMES[i];
            let place = Self::place(text[0], text[1]);
            assert!(table[place].value_at == 0);
            let mut known = Self {
                letters: [0xff; 16],
                text: [0xff; 16],
                value_at: text.len() as u32,
                bits: (1 << (text.len() - 2)) - 1,
                name,
            };
            let mut at = 0;
            while at < text.len() {
                known.letters[at] = if text[at].is_ascii_alphabetic() { 0x20 } else { 0 };
                known.text[at] = text[at];
                at += 1;
            }
            table[place] = known;
            i += 1;
        }
        table
    }
}

/// `CSeq` (RFC 3261 20.16).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CSeq {
    /// The sequence number. The RFC asks for less than 2^31 of those who choose one; all that fits 32 bits is let pass (RFC 4475 3.1.1.8).
    pub number: u32,
    /// The method's text.
    pub method: Span,
}

/// `1*DIGIT LWS Method`
#[inline]
#[must_use]
pub fn read_cseq(bytes: &[u8], value: Span) -> Option<CSeq> {
    let (count, number) = scan::leading_decimal(scan::word(bytes, value.start()));
    let digits_end = value.start() + count as usize;
    // Nearly all have less than eight digits, one SP, and a method that has a name here, and so is a token.
    if matches!(count, 1..8) && bytes.get(digits_end) == Some(&b' ') && digits_end < value.end() {
        let method = Span::new(digits_end + 1, value.end());
        if Method::at(bytes, method.start(), method.len()) != Method::Other {
            return Some(CSeq { number: number as u32, method });
        }
    }
    read_any_cseq(bytes, value)
}

#[cold]
fn read_any_cseq(bytes: &[u8], value: Span) -> Option<CSeq> {
    let digits_end = scan::skip(bytes, value.start(), value.end(), scan::DIGIT);
    let number = scan::decimal(&bytes[value.start()..digits_end], u64::from(u32::MAX))? as u32;
    let method_at = scan::skip(bytes, digits_end, value.end(), LWS);
    let method_end = scan::skip(bytes, method_at, value.end(), scan::TOKEN);
    (method_at > digits_end && method_end > method_at && method_end == value.end())
        .then(|| CSeq { number, method: Span::new(method_at, method_end) })
}

/// The number that is all of `value`, at most `max`.
#[inline(always)]
#[must_use]
pub fn read_number(bytes: &[u8], value: Span, max: u32) -> Option<u32> {
    let digits = value.of(bytes);
    // Nine digits always fit; numbers are short, so the plain loop is the fast one.
    if !matches!(digits.len(), 1..=9) {
        return scan::decimal(digits, max.into()).map(|number| number as u32);
    }
    let mut number = 0;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u32::from(digit);
    }
    (number <= max).then_some(number)
}

/// Whether no white space stands in `value`. Other controls are let pass.
#[inline]
#[must_use]
pub fn is_one_word(bytes: &[u8], value: Span) -> bool {
    let end = value.end();
    scan::find_blank(bytes, value.start(), end) == end || scan::find(bytes, value.start(), end, LWS) == end
}

/// Whether two spans hold the same octets.
#[inline]
#[must_use]
pub fn same_text(bytes: &[u8], a: Span, b: Span) -> bool {
    a.of(bytes) == b.of(bytes)
}

/// The `tag` of a From or To value (RFC 3261 19.3); empty where there is none. `None` where the value is not by the grammar.
#[inline]
#[must_use]
pub fn read_tag(bytes: &[u8], value: Span) -> Option<Span> {
    // Nearly all end in a bracket, or in `;tag=VALUE` right after it.
    let end = value.end();
    if let Some(at) = after_brackets(bytes, value.start(), end) {
        if at == end {
            return Some(Span::empty_at(end));
        }
        if scan::begins_with(bytes, at, b";tag=") {
            let stop = scan::find_delimiter(bytes, at + 5, end);
            if stop == end && stop > at + 5 {
                return Some(Span::new(at + 5, end));
            }
        }
    }
    read_any_tag(bytes, value)
}

/// One past the `>` of a value that begins with `<`, or with a quoted string without escapes, one SP and `<`.
#[inline(always)]
fn after_brackets(bytes: &[u8], start: usize, end: usize) -> Option<usize> {
    let mut open = start;
    if bytes.get(start) == Some(&b'"') {
        let quote = scan::find_any(bytes, start + 1, end, *b"\"\\");
        if bytes.get(quote..)?.first_chunk() != Some(b"\" <") {
            return None;
        }
        open = quote + 2;
    } else if bytes.get(start) != Some(&b'<') {
        return None;
    }
    let close = scan::find_any(bytes, open + 1, end, [b'>']);
    (close < end).then_some(close + 1)
}

/// [`read_tag`] of any value, by the letter of the grammar.
#[cold]
fn read_any_tag(bytes: &[u8], value: Span) -> Option<Span> {
    let end = value.end();
    let mut at = uri::read_name_addr::<false>(bytes, value.start(), end)?.params;
    let mut tag = Span::empty_at(end);
    while at < end {
        if bytes[at] != b';' {
            return None;
        }
        let param = params::read(bytes, at, end)?;
        if param.name.len() == 3 && param.key(bytes) == word_of(b"tag") {
            if !param.has_value || !tag.is_empty() {
                return None;
            }
            tag = param.value;
        }
        at = scan::skip(bytes, param.whole.end(), end, LWS);
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_all_spellings() {
        let of = |text: &str| Name::of(scan::long_word(text.as_bytes(), 0), text.len());
        let all = [
            (Name::Via, "Via", "v"),
            (Name::From, "From", "f"),
            (Name::To, "To", "t"),
            (Name::CallId, "Call-ID", "i"),
            (Name::CSeq, "CSeq", "cseq"),
            (Name::MaxForwards, "Max-Forwards", "MaX-fOrWaRdS"),
            (Name::Route, "Route", "ROUTE"),
            (Name::ContentLength, "Content-Length", "l"),
            (Name::ProxyRequire, "Proxy-Require", "PROXY-REQUIRE"),
        ];
        for (expected, long, other) in all {
            for text in [long, other, &long.to_uppercase(), &long.to_lowercase(), &other.to_uppercase()] {
                assert_eq!(of(text), expected, "{text}");
            }
            for text in [format!("{long}x"), format!("x{long}"), format!("{long}-{long}")] {
                assert_eq!(of(&text), Name::Other, "{text}");
            }
        }
        for text in ["Record-Route", "Content-Type", "Max-Forward", "Proxy-Requires", "Contact", "c", "Toto"]
        {
            assert_eq!(of(text), Name::Other, "{text}");
        }
    }

    #[test]
    fn cseqs() {
        let read = |text: &str| read_cseq(text.as_bytes(), Span::new(0, text.len())).map(|c| c.number);
        assert_eq!(read("0009\r\n  INVITE"), Some(9));
        assert_eq!(read("4294967295 BYE"), Some(u32::MAX));
        for bad in
            ["4294967296 BYE", "36893488147419103232 REGISTER", "1", "1BYE", "x BYE", "1 BYE x", "-1 BYE", ""]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn tags() {
        let read = |text: &'static str| {
            read_tag(text.as_bytes(), Span::new(0, text.len())).map(|s| s.of(text.as_bytes()))
        };
        assert_eq!(read("<sip:a;tag=no>;x;TAG = yes"), Some(&b"yes"[..]));
        assert_eq!(read("\";tag=no\" <sip:a>"), Some(&b""[..]));
        assert_eq!(read("sip:a;tag=yes"), Some(&b"yes"[..]));
        assert_eq!(read("<sip:a>;tag=1;tag=2"), None);
        assert_eq!(read("<sip:a>;tag"), None);
        assert_eq!(read("\"x <sip:a>"), None);
    }
}
