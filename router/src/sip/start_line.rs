//! Request-Line and Status-Line (RFC 3261 7.1, 7.2).

use super::scan::{self, Lanes, TOKEN, word_of};
use super::span::Span;
use crate::stats::Reason;

/// A request's method. Methods are case-sensitive (RFC 3261 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Method {
    /// RFC 3261
    Invite,
    /// RFC 3261
    Ack,
    /// RFC 3261
    Bye,
    /// RFC 3261
    Cancel,
    /// RFC 3261
    Register,
    /// RFC 3261
    Options,
    /// RFC 3262
    Prack,
    /// RFC 6665
    Subscribe,
    /// RFC 6665
    Notify,
    /// RFC 3903
    Publish,
    /// RFC 6086
    Info,
    /// RFC 3515
    Refer,
    /// RFC 3428
    Message,
    /// RFC 3311
    Update,
    /// Any other token.
    Other,
}

impl Method {
    /// The methods that have a name here; [`Method::Other`] is not among them.
    pub const NAMED: [(Self, &'static str); 14] = [
        (Self::Invite, "INVITE"),
        (Self::Ack, "ACK"),
        (Self::Bye, "BYE"),
        (Self::Cancel, "CANCEL"),
        (Self::Register, "REGISTER"),
        (Self::Options, "OPTIONS"),
        (Self::Prack, "PRACK"),
        (Self::Subscribe, "SUBSCRIBE"),
        (Self::Notify, "NOTIFY"),
        (Self::Publish, "PUBLISH"),
        (Self::Info, "INFO"),
        (Self::Refer, "REFER"),
        (Self::Message, "MESSAGE"),
        (Self::Update, "UPDATE"),
    ];

    /// The method that `token` names.
    #[inline]
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self::at(token, 0, token.len())
    }

    /// The method that the `len` bytes at `at` name.
    #[inline(always)]
    #[must_use]
    pub fn at(bytes: &[u8], at: usize, len: usize) -> Self {
        if len > 8 {
            let is_subscribe = len == 9 && bytes.get(at..at + 9) == Some(b"SUBSCRIBE");
            return if is_subscribe { Self::Subscribe } else { Self::Other };
        }
        let mask = u64::MAX.checked_shr(64 - 8 * len as u32).unwrap_or(0);
        let word = scan::word(bytes, at) & mask;
        // A NUL at its end would look like the end.
        if word > mask >> 8 { Self::of_word(word) } else { Self::Other }
    }

    /// The method that is the text of `word`, with zeros where it is shorter.
    #[inline(always)]
    fn of_word(word: u64) -> Self {
        let named = Self::nearest(word);
        if named.text == word { named.method } else { Self::Other }
    }

    /// The only method that `word` may be the text of.
    #[inline(always)]
    fn nearest(word: u64) -> &'static NamedMethod {
        static TABLE: [NamedMethod; 16] = Method::table();
        &TABLE[Self::place(word)]
    }

    /// No two methods share a place; their first four letters tell them apart.
    #[inline(always)]
    const fn place(word: u64) -> usize {
        ((word as u32).wrapping_mul(41_783) >> 28) as usize
    }

    /// The methods of up to eight letters, each at its place. No word that is asked for is 0.
    const fn table() -> [NamedMethod; 16] {
        let mut table = [NamedMethod { text: 0, method: Self::Other, len: 0 }; 16];
        let mut i = 0;
        while i < Self::NAMED.len() {
            let (method, name) = Self::NAMED[i];
            if name.len() <= 8 {
                let word = word_of(name.as_bytes());
                assert!(table[Self::place(word)].len == 0);
                table[Self::place(word)] = NamedMethod { text: word, method, len: name.len() as u8 };
            }
            i += 1;
        }
        table
    }

    /// Whether a request of this method without a To tag can create a dialog (RFC 3261, 6665, 3515).
    #[inline]
    #[must_use]
    pub const fn creates_dialog(self) -> bool {
        matches!(self, Self::Invite | Self::Subscribe | Self::Refer | Self::Notify)
    }
}

/// A method of up to eight letters.
#[derive(Clone, Copy)]
struct NamedMethod {
    text: u64,
    method: Method,
    len: u8,
}

/// A start-line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartLine {
    /// `Method SP Request-URI SP SIP-Version`
    Request {
        /// The method.
        method: Method,
        /// Its text.
        method_span: Span,
        /// The Request-URI's text, not read yet.
        uri: Span,
    },
    /// `SIP-Version SP Status-Code SP Reason-Phrase`
    Response {
        /// 100 to 699.
        status: u16,
    },
}

/// Reads the line `..end`, which has its CRLF cut off.
///
/// # Errors
/// [`Reason::NotSip`] where it is nothing like SIP and deserves no answer; else the start-line (which then is a request's, with as much as could
/// be read) and the reason.
#[inline]
pub fn read(bytes: &[u8], end: usize) -> Result<StartLine, (Reason, Option<StartLine>)> {
    // A method may begin with any letters, "SIP" among them, but holds no slash.
    if end >= 4 && scan::begins_with(bytes, 0, b"sip/") {
        return read_status_line(bytes.get(..end).unwrap_or_default()).map_err(|reason| (reason, None));
    }
    read_request_line(bytes, end)
}

/// The same, of a line that is good; `None` where it is not, or not sure to be.
#[inline(always)]
pub(super) fn read_clean<V: Lanes>(lanes: V, bytes: &[u8], end: usize) -> Option<StartLine> {
    let version_at = end.checked_sub(8)?;
    if version_at < 64 && scan::begins_with(bytes, version_at, b" sip/2.0") {
        let spaces = lanes.equal(scan::part(bytes, 0)?, b' ');
        let method_end = spaces.trailing_zeros() as usize;
        // Two SP, with something in between.
        let rest = spaces & spaces.wrapping_sub(1);
        if matches!(method_end, 1..=8)
            && rest.trailing_zeros() as usize == version_at
            && method_end + 1 < version_at
        {
            let word = scan::word(bytes, 0) & u64::MAX >> (64 - 8 * method_end);
            let named = Method::nearest(word);
            // What is longer ends with a NUL, which is no letter.
            if named.text == word && usize::from(named.len) == method_end {
                let method = named.method;
                let uri = Span::new(method_end + 1, version_at);
                return Some(StartLine::Request { method, method_span: Span::new(0, method_end), uri });
            }
        }
    }
    match read_clean_status(bytes) {
        Some(start_line) => Some(start_line),
        None => read(bytes, end).ok(),
    }
}

/// `SIP/2.0`, SP, a status and SP, whatever comes then; `None` for all else.
#[inline(always)]
fn read_clean_status(bytes: &[u8]) -> Option<StartLine> {
    let digits = scan::word(bytes, 8) as u32 ^ u32::from_le_bytes(*b"000 ");
    // No byte is over 9, and the fourth is none at all.
    let is_good = digits < 1 << 24 && (digits | (digits + 0x76_7676)) & 0x80_8080 == 0;
    let status = (digits & 0xff) * 100 + (digits >> 8 & 0xff) * 10 + (digits >> 16);
    (is_good && matches!(status, 100..=699) && scan::begins_with(bytes, 0, b"sip/2.0 "))
        .then_some(StartLine::Response { status: status as u16 })
}

#[inline]
fn read_status_line(line: &[u8]) -> Result<StartLine, Reason> {
    if !scan::begins_with(line, 0, b"sip/2.0 ") {
        return Err(Reason::BadVersion);
    }
    // The reason phrase may be empty, but its SP is part of the grammar (RFC 4475 3.1.1.13).
    let digits = line.get(8..11).ok_or(Reason::BadStatusCode)?;
    let status = scan::decimal(digits, 699).filter(|s| *s >= 100).ok_or(Reason::BadStatusCode)?;
    match line.get(11) {
        None | Some(b' ') => Ok(StartLine::Response { status: status as u16 }),
        Some(_) => Err(Reason::BadStatusCode),
    }
}

#[inline]
fn read_request_line(bytes: &[u8], end: usize) -> Result<StartLine, (Reason, Option<StartLine>)> {
    let method_end = scan::find_any(bytes, 0, end, [b' ']);
    let version_at = end.saturating_sub(8);
    if method_end > 0 && method_end + 1 < version_at && scan::begins_with(bytes, version_at, b" sip/2.0") {
        let method_span = Span::new(0, method_end);
        let method = Method::at(bytes, 0, method_end);
        // A method that has a name here is a token; and no SP stands in the URI.
        if (method != Method::Other || scan::skip(bytes, 0, method_end, TOKEN) == method_end)
            && scan::find_any(bytes, method_end + 1, version_at, [b' ']) == version_at
        {
            let uri = Span::new(method_end + 1, version_at);
            return Ok(StartLine::Request { method, method_span, uri });
        }
    }
    Err(fault(bytes.get(..end).unwrap_or_default()))
}

/// Why a line that is not a good Request-Line is not one, and what can be read of it.
#[cold]
fn fault(line: &[u8]) -> (Reason, Option<StartLine>) {
    let method_end = scan::skip(line, 0, line.len(), TOKEN);
    let is_request = method_end > 0 && line.get(method_end) == Some(&b' ');
    // "SIP/" is what tells a broken request from noise.
    if !is_request || memchr::memmem::find(line, b"SIP/").is_none() {
        return (Reason::NotSip, None);
    }
    let version_at = memchr::memrchr(b' ', line).map_or(0, |at| at + 1);
    let version = line.get(version_at..).unwrap_or_default();
    let uri = Span::new(method_end + 1, version_at.saturating_sub(1).max(method_end + 1));
    let has_version = version.len() > 4 && scan::is_ignoring_case(&version[..4], b"sip/");
    let reason = if !has_version {
        Reason::BadStartLine
    } else if !scan::is_ignoring_case(version, b"sip/2.0") {
        Reason::BadVersion
    } else if uri.is_empty() || line[uri.start()] == b' ' || line[uri.end() - 1] == b' ' {
        Reason::BadStartLine
    } else {
        Reason::BadRequestUri
    };
    let method_span = Span::new(0, method_end);
    (reason, Some(StartLine::Request { method: Method::at(line, 0, method_end), method_span, uri }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(line: &str) -> Option<Reason> {
        read(line.as_bytes(), line.len()).err().map(|(reason, _)| reason)
    }

    #[test]
    fn methods_have_their_own_names() {
        for (method, name) in Method::NAMED {
            assert_eq!(Method::of(name.as_bytes()), method);
            assert_eq!(Method::of(name.to_lowercase().as_bytes()), Method::Other);
        }
        for other in [&b"INVITER"[..], b"INVITE\0", b"SUBSCRIBE\0", b"REGISTERS", b"\0", b""] {
            assert_eq!(Method::of(other), Method::Other);
        }
    }

    #[test]
    fn lines() {
        assert_eq!(reason("BYE sip:a SIP/2.0"), None);
        assert_eq!(reason("BYE sip:a sip/2.0"), None);
        assert_eq!(reason("BYE  sip:a SIP/2.0"), Some(Reason::BadStartLine));
        assert_eq!(reason("BYE sip:a  SIP/2.0"), Some(Reason::BadStartLine));
        assert_eq!(reason("BYE sip:a SIP/2.0 "), Some(Reason::BadStartLine));
        assert_eq!(reason("BYE sip:a; lr SIP/2.0"), Some(Reason::BadRequestUri));
        assert_eq!(reason("BYE sip:a SIP/7.0"), Some(Reason::BadVersion));
        assert_eq!(reason("BYE SIP/2.0"), Some(Reason::BadStartLine));
        assert_eq!(reason("GET / HTTP/1.1"), Some(Reason::NotSip));
        assert_eq!(reason("SIP/2.0 100 "), None);
        assert_eq!(reason("SIP/2.0 200"), None);
        assert_eq!(reason("SIP/2.0 4294967301 x"), Some(Reason::BadStatusCode));
        assert_eq!(reason("SIP/2.0 099 x"), Some(Reason::BadStatusCode));
        assert_eq!(reason("SIP/3.0 200 x"), Some(Reason::BadVersion));
    }

    #[test]
    fn clean_statuses() {
        for status in 0..1000u32 {
            let text = format!("sip/2.0 {status:03} OK");
            let is_good = (100..700).contains(&status);
            assert_eq!(read_clean_status(text.as_bytes()), read(text.as_bytes(), text.len()).ok(), "{text}");
            assert_eq!(read_clean_status(text.as_bytes()).is_some(), is_good, "{text}");
        }
        for at in 0..12 {
            for octet in 0..=255 {
                let mut text = *b"SIP/2.0 200 OK";
                text[at] = octet;
                if let Some(start_line) = read_clean_status(&text) {
                    assert_eq!(read(&text, text.len()), Ok(start_line), "{}", text.escape_ascii());
                }
            }
        }
    }
}
