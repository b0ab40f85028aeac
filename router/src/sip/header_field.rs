//! The name of a header field, and the small values: CSeq, tags, numbers (RFC 3261 7.3.1, 20).

use super::params;
use super::scan::{self, LOWER, LWS, lower_key};
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

/// The name at `at`, and its colon's place, where it is one of those that nearly every message holds, with the colon right after it.
///
/// Name and colon are compared as one word. `None` says nothing: [`name`] has the last word.
#[inline]
#[must_use]
pub fn common_name(bytes: &[u8], at: usize) -> Option<(Name, usize)> {
    const fn mask(len: u32) -> u64 {
        u64::MAX >> (64 - 8 * len)
    }
    let word = scan::word(bytes, at) | LOWER;
    let is = |text: &'static [u8]| word & mask(text.len() as u32) == lower_key(text);
    match word as u8 {
        b'v' if is(b"via:") => Some((Name::Via, at + 3)),
        b't' if is(b"to:") => Some((Name::To, at + 2)),
        b'f' if is(b"from:") => Some((Name::From, at + 4)),
        b'c' if is(b"cseq:") => Some((Name::CSeq, at + 4)),
        b'c' if is(b"call-id:") => Some((Name::CallId, at + 7)),
        b'r' if is(b"route:") => Some((Name::Route, at + 5)),
        b'm' if is(b"max-forw") && is_rest(bytes, at + 8, b"ards:") => Some((Name::MaxForwards, at + 12)),
        b'c' if is(b"content-") && is_rest(bytes, at + 8, b"length:") => Some((Name::ContentLength, at + 14)),
        _ => None,
    }
}

#[inline]
fn is_rest(bytes: &[u8], at: usize, text: &'static [u8]) -> bool {
    (scan::word(bytes, at) | LOWER) & (u64::MAX >> (64 - 8 * text.len())) == lower_key(text)
}

/// The lower-cased name `len` bytes long that begins at `at`.
///
/// One 8-byte word tells most names; the four longer ones take a second look.
#[inline]
#[must_use]
pub fn name(bytes: &[u8], at: usize, len: usize) -> Name {
    const VIA: u64 = lower_key(b"via");
    const V: u64 = lower_key(b"v");
    const FROM: u64 = lower_key(b"from");
    const F: u64 = lower_key(b"f");
    const TO: u64 = lower_key(b"to");
    const T: u64 = lower_key(b"t");
    const CALL_ID: u64 = lower_key(b"call-id");
    const I: u64 = lower_key(b"i");
    const CSEQ: u64 = lower_key(b"cseq");
    const ROUTE: u64 = lower_key(b"route");
    const L: u64 = lower_key(b"l");
    const MAX_FORW: u64 = lower_key(b"max-forw");
    const CONTENT_: u64 = lower_key(b"content-");
    const PROXY_RE: u64 = lower_key(b"proxy-re");

    let word = scan::lower_word(bytes, at, len);
    let rest_is = |rest: &[u8]| scan::is_ignoring_case(bytes.get(at + 8..at + len).unwrap_or_default(), rest);
    match word {
        VIA | V if len < 8 => Name::Via,
        FROM | F if len < 8 => Name::From,
        TO | T if len < 8 => Name::To,
        CALL_ID | I if len < 8 => Name::CallId,
        CSEQ if len < 8 => Name::CSeq,
        ROUTE if len < 8 => Name::Route,
        L if len < 8 => Name::ContentLength,
        MAX_FORW if len == 12 && rest_is(b"ards") => Name::MaxForwards,
        CONTENT_ if len == 14 && rest_is(b"length") => Name::ContentLength,
        PROXY_RE if len == 13 && rest_is(b"quire") => Name::ProxyRequire,
        _ => Name::Other,
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
    let digits_end = scan::skip(bytes, value.start(), value.end(), scan::DIGIT);
    let number = scan::decimal(&bytes[value.start()..digits_end], u64::from(u32::MAX))? as u32;
    let method_at = scan::skip(bytes, digits_end, value.end(), LWS);
    let method_end = scan::skip(bytes, method_at, value.end(), scan::TOKEN);
    (method_at > digits_end && method_end > method_at && method_end == value.end())
        .then(|| CSeq { number, method: Span::new(method_at, method_end) })
}

/// Whether two methods are the same; the second one's text decides where it is none that has a name here.
#[inline]
#[must_use]
pub fn same_method(bytes: &[u8], method: Method, span: Span, other: Span) -> bool {
    match Method::of(other.of(bytes)) {
        Method::Other => method == Method::Other && span.of(bytes) == other.of(bytes),
        named => named == method,
    }
}

/// The `tag` of a From or To value (RFC 3261 19.3); empty where there is none. `None` where the value is not by the grammar.
#[inline]
#[must_use]
pub fn read_tag(bytes: &[u8], value: Span) -> Option<Span> {
    let end = value.end();
    let mut at = uri::read_name_addr::<false>(bytes, value.start(), end)?.params;
    if at == end {
        return Some(Span::empty_at(end));
    }
    // Nearly all end in `;tag=VALUE`.
    const TAG_MASK: u64 = 0xff_ffff_ffff;
    if (scan::word(bytes, at) | 0x2020_2000) & TAG_MASK == u64::from_le_bytes(*b";tag=\0\0\0") {
        let stop = scan::find_delimiter(bytes, at + 5, end);
        if stop == end && stop > at + 5 {
            return Some(Span::new(at + 5, end));
        }
    }
    let mut tag = Span::empty_at(end);
    while at < end {
        if bytes[at] != b';' {
            return None;
        }
        let param = params::read(bytes, at, end)?;
        if param.name.len() == 3 && param.key(bytes) == lower_key(b"tag") {
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
        let of = |text: &str| name(text.as_bytes(), 0, text.len());
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
