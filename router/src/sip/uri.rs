//! SIP, SIPS and tel URIs (RFC 3261 19.1, 25.1; RFC 3966).

use super::host::HostPort;
use super::params::{self, Param};
use super::scan::{self, NOT_IN_URI, word_of};
use super::span::Span;

/// The scheme of a URI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other: no more than its name is read.
    Other,
}

/// A URI, as far as routing needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uri {
    /// All of it.
    pub span: Span,
    /// Its scheme.
    pub scheme: Scheme,
    /// `userinfo` without the `@`; of a tel URI its number. Empty where there is none.
    pub user: Span,
    /// Host and port. Of tel and other schemes there is none.
    pub host_port: Option<HostPort>,
    /// Whether `;lr` is there, whatever its value.
    pub lr: bool,
    /// Whether `;r2=on` is there (RFC 5658 leaves the mark to the implementation; this one is Kamailio's and OpenSIPS's).
    pub r2: bool,
    /// `;transport=`
    pub transport: Option<Param>,
    /// `;maddr=`
    pub maddr: Option<Param>,
    /// Our own route seal, `;seal=`.
    pub seal: Option<Param>,
    /// `;method=`, all of it; empty where there is none.
    pub method: Span,
    /// `?name=value` header fields, from the `?`. Empty where there are none.
    pub headers: Span,
}

/// Reads the URI that is all of `start..end`. `None` where it is not by the grammar.
///
/// URIs of other schemes than sip and sips are taken as they are, as long as they hold no octet that no URI may.
#[inline]
#[must_use]
pub fn read(bytes: &[u8], start: usize, end: usize) -> Option<Uri> {
    let mut uri = Uri::NOTHING;
    uri.read(bytes, start, end).then_some(uri)
}

impl Uri {
    /// None, to be filled by [`Self::read`].
    pub const NOTHING: Self = Self {
        span: Span::empty_at(0),
        scheme: Scheme::Other,
        user: Span::empty_at(0),
        host_port: None,
        lr: false,
        r2: false,
        transport: None,
        maddr: None,
        seal: None,
        method: Span::empty_at(0),
        headers: Span::empty_at(0),
    };

    /// [`read`] into [`Self::NOTHING`]: it is filled where it lies, and not moved. Says whether it is by the grammar.
    #[inline(always)]
    pub fn read(&mut self, bytes: &[u8], start: usize, end: usize) -> bool {
        let Some((scheme, scheme_len)) = bytes.get(start..end).and_then(read_scheme) else { return false };
        self.span = Span::new(start, end);
        self.scheme = scheme;
        self.user = Span::empty_at(start);
        self.method = Span::empty_at(start);
        self.headers = Span::empty_at(end);
        let at = start + scheme_len;
        match scheme {
            Scheme::Sip | Scheme::Sips => read_sip(self, bytes, at, end).is_some(),
            Scheme::Tel | Scheme::Other => read_other(self, bytes, at, end),
        }
    }
}

/// What follows the colon in URIs of other schemes than sip and sips.
fn read_other(uri: &mut Uri, bytes: &[u8], at: usize, end: usize) -> bool {
    if at == end || scan::find(bytes, at, end, NOT_IN_URI) != end {
        return false;
    }
    if uri.scheme == Scheme::Tel {
        let number_end = at + memchr::memchr(b';', &bytes[at..end]).unwrap_or(end - at);
        uri.user = Span::new(at, number_end);
    }
    true
}

/// The scheme, and its length with the colon.
#[inline]
fn read_scheme(text: &[u8]) -> Option<(Scheme, usize)> {
    if scan::begins_with(text, 0, b"sip:") {
        return Some((Scheme::Sip, 4));
    }
    if scan::begins_with(text, 0, b"sips:") {
        return Some((Scheme::Sips, 5));
    }
    if scan::begins_with(text, 0, b"tel:") {
        return Some((Scheme::Tel, 4));
    }
    let colon = memchr::memchr(b':', text)?;
    let name = &text[..colon];
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    (name.first()?.is_ascii_alphabetic() && name.iter().all(legal)).then_some((Scheme::Other, colon + 1))
}

#[inline(always)]
fn read_sip(uri: &mut Uri, bytes: &[u8], at: usize, end: usize) -> Option<()> {
    // "@" stands nowhere else unescaped, so the first one ends the userinfo.
    let mut host_at = at;
    let stop = scan::find_at_or_not_in_uri(bytes, at, end);
    if stop < end {
        if bytes[stop] != b'@' || stop == at {
            return None;
        }
        uri.user = Span::new(at, stop);
        host_at = stop + 1;
    }
    let host_port = uri.host_port.insert(HostPort::NOTHING);
    if !host_port.read(bytes, host_at, end, false) {
        return None;
    }
    let host_end = host_port.end;
    if host_end == end {
        return Some(());
    }
    // Nor does what ends a line, or a URI, stand anywhere behind it: this text may become a Request-URI.
    if stop < end && scan::find_at_or_not_in_uri(bytes, host_end, end) != end {
        return None;
    }
    read_sip_params(uri, bytes, host_end, end)
}

/// What follows host and port.
fn read_sip_params(uri: &mut Uri, bytes: &[u8], at: usize, end: usize) -> Option<()> {
    let mut i = at;
    while i < end && bytes[i] == b';' {
        i = read_param(uri, bytes, i, end)?;
    }
    if i < end && bytes[i] == b'?' {
        uri.headers = Span::new(i, end);
        i = end;
    }
    (i == end).then_some(())
}

/// Notes the parameter at `at` if routing has to do with it, and returns where it ends.
#[inline]
fn read_param(uri: &mut Uri, bytes: &[u8], at: usize, end: usize) -> Option<usize> {
    // Neither white space nor quotes are left in it: `read_sip` has looked.
    let param = params::read(bytes, at, end)?;
    const LR: u64 = word_of(b"lr");
    const R2: u64 = word_of(b"r2");
    const SEAL: u64 = word_of(b"seal");
    const METHOD: u64 = word_of(b"method");
    const MADDR: u64 = word_of(b"maddr");
    const TRANSPOR: u64 = word_of(b"transpor");
    let len = param.name.len();
    // 19.1.1: no parameter twice.
    match param.key(bytes) {
        LR if len == 2 => uri.lr = true,
        R2 if len == 2 => uri.r2 = scan::is_ignoring_case(param.value.of(bytes), b"on"),
        SEAL if len == 4 => set_once(&mut uri.seal, param)?,
        METHOD if len == 6 => uri.method = param.whole,
        MADDR if len == 5 => set_once(&mut uri.maddr, param)?,
        TRANSPOR if len == 9 && bytes[param.name.end() - 1] | 0x20 == b't' => {
            set_once(&mut uri.transport, param)?;
        }
        _ => {}
    }
    Some(param.whole.end())
}

fn set_once(place: &mut Option<Param>, param: Param) -> Option<()> {
    place.replace(param).is_none().then_some(())
}

/// An address with its brackets and name taken off: the URI in `Route: "Name" <sip:...>;param`, or a bare one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NameAddr {
    /// The URI's text.
    pub uri: Span,
    /// Where the parameters of the header field begin (the first `;`, or the end of the value).
    pub params: usize,
}

/// Takes `name-addr / addr-spec` apart (RFC 3261 20, 25.1) in `start..end`, which begins with no white space.
///
/// Without brackets, everything from the first `;` on belongs to the header field and not to the URI (RFC 3261 20). In a list, which Route is and From and To are
/// not, a comma outside of quotes and brackets ends the value. A display name is one quoted string or tokens; of others no proxy may
/// pass the fault on (RFC 4475 3.1.2.15). White space inside the brackets is let pass (RFC 4475 3.1.2.14).
#[inline]
#[must_use]
pub fn read_name_addr<const IN_LIST: bool>(bytes: &[u8], start: usize, end: usize) -> Option<NameAddr> {
    let open = match bytes.get(start).filter(|_| start < end)? {
        b'<' => start,
        b'"' => {
            let open = scan::skip(bytes, params::quoted_end(bytes, start, end)?, end, scan::LWS);
            (open < end && bytes[open] == b'<').then_some(open)?
        }
        _ => match read_unquoted::<IN_LIST>(bytes, start, end)? {
            Ok(open) => open,
            Err(bare) => return Some(bare),
        },
    };
    let close = scan::find_any(bytes, open + 1, end, [b'>']);
    if close == end {
        return None;
    }
    let (uri_start, uri_end) = scan::trim(bytes, open + 1, close);
    let mut params = close + 1;
    if params < end && bytes[params] != b';' {
        params = scan::skip(bytes, params, end, scan::LWS);
    }
    Some(NameAddr { uri: Span::new(uri_start, uri_end), params })
}

/// What begins with neither quote nor bracket: tokens before a bracket, whose place it returns, or else a bare URI.
fn read_unquoted<const IN_LIST: bool>(
    bytes: &[u8],
    start: usize,
    end: usize,
) -> Option<Result<usize, NameAddr>> {
    let stop = scan::find_any(bytes, start, end, if IN_LIST { *b"<\";," } else { *b"<\";;" });
    match bytes.get(stop).filter(|_| stop < end) {
        Some(b'<') => {
            let tokens = scan::skip(bytes, start, stop, scan::TOKEN | scan::LWS) == stop;
            tokens.then_some(Ok(stop))
        }
        Some(b'"') => None,
        _ => {
            let (uri_start, uri_end) = scan::trim(bytes, start, stop);
            Some(Err(NameAddr { uri: Span::new(uri_start, uri_end), params: stop }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Uri> {
        read(text.as_bytes(), 0, text.len())
    }

    #[test]
    fn parts_of_a_uri() {
        let text = "sip:bob;x=1@Host.example:5070;LR;maddr=192.0.2.1;transport=udp;r2=ON?a=b";
        let uri = parse(text).unwrap();
        assert_eq!(uri.user.of(text.as_bytes()), b"bob;x=1");
        assert_eq!(uri.host_port.unwrap().port, Some(5070));
        assert!(uri.lr && uri.r2);
        assert_eq!(uri.maddr.unwrap().value.of(text.as_bytes()), b"192.0.2.1");
        assert_eq!(uri.headers.of(text.as_bytes()), b"?a=b");
    }

    #[test]
    fn marks_have_many_spellings() {
        for text in ["sip:a;lr", "sip:a;lr=on", "sip:a;lr=true", "sip:a;LR", "SIP:a;x;lR"] {
            assert!(parse(text).unwrap().lr, "{text}");
        }
        assert!(!parse("sip:a;r2=off").unwrap().r2);
        assert!(!parse("sip:lr@a;xlr").unwrap().lr);
    }

    #[test]
    fn what_is_no_uri() {
        for text in [
            "",
            "sip:",
            "sip:@a",
            "sip:a b",
            "sip:a; lr",
            "sip:2001:db8::10",
            "sip:[::1",
            "<sip:a>",
            "a",
            "sip:a;",
            "sip:a;;",
            "sip:a;maddr=b;maddr=b",
            "sip:u@a;x=\r\n y",
            "sip:u@a;x= y",
            "sip:u@a;x=\"y\"",
            "sip:u@a@b",
            "sip:a;x=",
            "sip:a>b",
            "1x:y",
            "x:",
            "sip:a:99999",
            "sip:a?b c",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn name_addrs() {
        let take = |text: &'static str| {
            read_name_addr::<false>(text.as_bytes(), 0, text.len())
                .map(|n| (std::str::from_utf8(n.uri.of(text.as_bytes())).unwrap(), &text[n.params..]))
        };
        assert_eq!(take("\"a, <b>\" <sip:x;lr>;y"), Some(("sip:x;lr", ";y")));
        assert_eq!(take("sip:x;tag=1"), Some(("sip:x", ";tag=1")));
        assert_eq!(take("caller<sip:x>"), Some(("sip:x", "")));
        assert_eq!(take("Bell A < sip:x > ;tag"), Some(("sip:x", ";tag")));
        for bad in ["Bell, A <sip:x>", "\"Bell\" A <sip:x>", "Bell \"A\" <sip:x>", "sip:x\"", ""] {
            assert_eq!(take(bad), None, "{bad}");
        }
        let in_list = read_name_addr::<true>(b"sip:x , <sip:y>", 0, 15).unwrap();
        assert_eq!((in_list.uri, in_list.params), (Span::new(0, 5), 6));
        assert_eq!(take("\"a <sip:x>"), None);
        assert_eq!(take("<sip:x"), None);
    }
}
