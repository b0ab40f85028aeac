//! RFC 3261 section 25 by the letter, as far as a proxy reads it: recursive descent, one rule a method, in the order and with the names of the ABNF.
//!
//! Where the RFCs allow a reader more than the letter, it is said at the rule. `None` is "not by the grammar".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
    MaxForwards,
    Route,
    ContentLength,
    ProxyRequire,
    Other,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Name,
    /// With its line end.
    pub(crate) line: Range<usize>,
    /// Without white space around.
    pub(crate) value: Range<usize>,
}

#[derive(Debug)]
pub(crate) enum Start {
    Request { method: Range<usize> },
    Response,
}

#[derive(Debug)]
pub(crate) struct Message<'b> {
    pub(crate) bytes: &'b [u8],
    pub(crate) start: Start,
    /// Where the start-line ends and the first header field begins.
    pub(crate) head: usize,
    pub(crate) request_uri: Range<usize>,
    pub(crate) uri: Option<Uri>,
    pub(crate) fields: Vec<Field>,
    pub(crate) vias: Vec<Via>,
    pub(crate) routes: Vec<Route>,
    pub(crate) from_tag: &'b [u8],
    pub(crate) to_tag: &'b [u8],
    pub(crate) to_is_broken: bool,
    pub(crate) call_id: &'b [u8],
    pub(crate) cseq: u32,
    pub(crate) max_forwards: Option<(Range<usize>, u64)>,
    /// Where the message ends (18.3).
    pub(crate) end: usize,
    /// What stands once stands twice, CSeq has another method, or the body is shorter than Content-Length.
    pub(crate) malformed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) text: Vec<u8>,
    pub(crate) address: Option<IpAddr>,
}

#[derive(Clone, Debug)]
pub(crate) struct Param {
    /// In lower case.
    pub(crate) name: String,
    pub(crate) value: Vec<u8>,
    /// From the `;` to the end of the value.
    pub(crate) whole: Range<usize>,
}

#[derive(Debug)]
pub(crate) struct Via {
    /// Index of its header field.
    pub(crate) field: usize,
    pub(crate) range: Range<usize>,
    pub(crate) host: Host,
    pub(crate) port: Option<u16>,
    params: Vec<Param>,
}

#[derive(Clone, Debug)]
pub(crate) struct Uri {
    pub(crate) range: Range<usize>,
    pub(crate) scheme: String,
    pub(crate) user: Vec<u8>,
    pub(crate) host: Option<Host>,
    pub(crate) port: Option<u16>,
    /// With its colon.
    pub(crate) port_range: Option<Range<usize>>,
    pub(crate) params: Vec<Param>,
    /// From the `?` on.
    pub(crate) headers: Range<usize>,
}

#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) field: usize,
    pub(crate) range: Range<usize>,
    pub(crate) uri: Uri,
}

impl<'b> Message<'b> {
    pub(crate) fn read(bytes: &'b [u8]) -> Option<Self> {
        let (lines, body) = lines(bytes)?;
        let (first, rest) = lines.split_first()?;
        let mut at = Reader { bytes, at: first.start, end: first.end - 2 };
        let (start, request_uri) = at.start_line()?;
        let uri = match start {
            Start::Request { .. } => {
                Some(Reader { at: request_uri.start, end: request_uri.end, ..at }.uri()?)
            }
            Start::Response => None,
        };
        if uri.as_ref().is_some_and(|uri| uri.range.end != request_uri.end) {
            return None;
        }
        let mut message = Self {
            bytes,
            start,
            head: first.end,
            request_uri,
            uri,
            fields: vec![],
            vias: vec![],
            routes: vec![],
            from_tag: b"",
            to_tag: b"",
            to_is_broken: false,
            call_id: b"",
            cseq: 0,
            max_forwards: None,
            end: bytes.len(),
            malformed: false,
        };
        for line in rest {
            message.field(line.clone(), body)?;
        }
        let has = |name| message.fields.iter().any(|field| field.name == name);
        let mandatory = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq];
        mandatory.into_iter().all(has).then_some(message)
    }

    pub(crate) fn method(&self) -> &[u8] {
        match &self.start {
            Start::Request { method } => &self.bytes[method.clone()],
            Start::Response => b"",
        }
    }

    pub(crate) fn value(&self, field: &Field) -> &[u8] {
        &self.bytes[field.value.clone()]
    }

    pub(crate) fn fields_called(&self, name: Name) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| field.name == name)
    }

    /// `message-header = field-name HCOLON header-value`
    fn field(&mut self, line: Range<usize>, body: usize) -> Option<()> {
        let bytes = self.bytes;
        let mut at = Reader { bytes, at: line.start, end: line.end - 2 };
        let name = at.token()?;
        at.sws();
        at.eat(b":")?;
        at.sws();
        let mut value = at.at..at.end;
        while value.end > value.start && b" \t\r\n".contains(&bytes[value.end - 1]) {
            value.end -= 1;
        }
        let name = match &*String::from_utf8_lossy(&bytes[name]).to_ascii_lowercase() {
            "via" | "v" => Name::Via,
            "from" | "f" => Name::From,
            "to" | "t" => Name::To,
            "call-id" | "i" => Name::CallId,
            "cseq" => Name::CSeq,
            "max-forwards" => Name::MaxForwards,
            "route" => Name::Route,
            "content-length" | "l" => Name::ContentLength,
            "proxy-require" => Name::ProxyRequire,
            _ => Name::Other,
        };
        let index = self.fields.len();
        let repeated = self.fields.iter().any(|field| field.name == name);
        self.fields.push(Field { name, line, value: value.clone() });
        let mut at = Reader { bytes, at: value.start, end: value.end };
        let text = &bytes[value.clone()];
        match name {
            Name::Via => {
                self.vias.extend(at.list(|at| at.via(index))?);
                return Some(());
            }
            Name::Route => {
                self.routes.extend(at.list(|at| at.route(index))?);
                return Some(());
            }
            Name::ProxyRequire => {
                at.list(Reader::token)?;
                return Some(());
            }
            Name::Other => return Some(()),
            _ if repeated => {
                self.malformed = true;
                return Some(());
            }
            Name::From => self.from_tag = at.tag()?,
            Name::To => self.to_tag = at.tag()?,
            Name::CallId => {
                at.call_id()?;
                self.call_id = text;
            }
            Name::CSeq => {
                let (number, method) = at.cseq()?;
                self.cseq = number;
                let is_request = matches!(self.start, Start::Request { .. });
                self.malformed |= is_request && bytes[method] != *self.method();
            }
            Name::MaxForwards => self.max_forwards = Some((value, number(text, 255)?)),
            Name::ContentLength => {
                let length = number(text, u64::from(u32::MAX))? as usize;
                self.malformed |= body + length > bytes.len();
                self.end = (body + length).min(bytes.len());
            }
        }
        (at.at == at.end || matches!(name, Name::MaxForwards | Name::ContentLength)).then_some(())
    }
}

/// The lines before the empty one, folds joined, each with its line end; and where the body begins. A CR or LF that stands alone is no part of the grammar.
fn lines(bytes: &[u8]) -> Option<(Vec<Range<usize>>, usize)> {
    let mut lines: Vec<Range<usize>> = vec![];
    let mut start = 0;
    loop {
        let end = start + bytes.get(start..)?.windows(2).position(|w| w == b"\r\n")? + 2;
        let text = &bytes[start..end - 2];
        if text.contains(&b'\r') || text.contains(&b'\n') {
            return None;
        }
        if text.is_empty() {
            return Some((lines, end));
        }
        match lines.last_mut() {
            Some(line) if b" \t".contains(&text[0]) && line.start > 0 => line.end = end,
            _ if b" \t".contains(&text[0]) => return None,
            _ => lines.push(start..end),
        }
        start = end;
    }
}

#[derive(Clone, Copy, Debug)]
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    end: usize,
}

const MARK: &[u8] = b"-_.!~*'()";

impl<'b> Reader<'b> {
    fn peek(&self) -> Option<u8> {
        (self.at < self.end).then(|| self.bytes[self.at])
    }

    fn eat(&mut self, text: &[u8]) -> Option<()> {
        let there = self.bytes[self.at..self.end].get(..text.len())?;
        there.eq_ignore_ascii_case(text).then(|| self.at += text.len())
    }

    /// All bytes that are alphanumeric or in `others`.
    fn run(&mut self, others: &[u8]) -> Range<usize> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte)) {
            self.at += 1;
        }
        start..self.at
    }

    /// The same with `escaped = "%" HEXDIG HEXDIG`.
    fn run_escaped(&mut self, others: &[u8]) -> Option<Range<usize>> {
        let start = self.at;
        loop {
            self.run(others);
            if self.peek() != Some(b'%') {
                return Some(start..self.at);
            }
            let digits = self.bytes[..self.end].get(self.at + 1..self.at + 3)?;
            digits.iter().all(u8::is_ascii_hexdigit).then(|| self.at += 3)?;
        }
    }

    /// `SWS = [LWS]`; the folds were checked when the lines were split.
    fn sws(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.at += 1;
        }
    }

    fn lws(&mut self) -> Option<()> {
        let start = self.at;
        self.sws();
        (self.at > start).then_some(())
    }

    fn token(&mut self) -> Option<Range<usize>> {
        let token = self.run(b"-.!%*_+`'~");
        (!token.is_empty()).then_some(token)
    }

    /// `value *(COMMA value)`
    fn list<T>(&mut self, mut value: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut all = vec![value(self)?];
        loop {
            self.sws();
            if self.at == self.end {
                return Some(all);
            }
            self.eat(b",")?;
            self.sws();
            all.push(value(self)?);
        }
    }

    fn start_line(&mut self) -> Option<(Start, Range<usize>)> {
        if self.eat(b"SIP/").is_some() {
            self.eat(b"2.0 ")?;
            let code = self.run(b"");
            let status = number(&self.bytes[code.clone()], 699)?;
            // The space before an empty reason phrase may be missing.
            let ends = matches!(self.peek(), None | Some(b' '));
            return (code.len() == 3 && status >= 100 && ends).then_some((Start::Response, 0..0));
        }
        let method = self.token()?;
        self.eat(b" ")?;
        let start = self.at;
        let len = self.bytes[start..self.end].iter().position(|byte| *byte == b' ')?;
        self.at += len;
        self.eat(b" SIP/2.0")?;
        (self.at == self.end && len > 0).then_some((Start::Request { method }, start..start + len))
    }

    /// `SIP-URI / SIPS-URI / absoluteURI`
    fn uri(&mut self) -> Option<Uri> {
        let start = self.at;
        let scheme = self.run(b"+-.");
        let text = String::from_utf8_lossy(&self.bytes[scheme.clone()]).to_ascii_lowercase();
        self.eat(b":")?;
        let mut uri = Uri {
            range: start..start,
            scheme: text,
            user: vec![],
            host: None,
            port: None,
            port_range: None,
            params: vec![],
            headers: 0..0,
        };
        if uri.is_sip() || uri.is_sips() {
            self.sip_uri(&mut uri)?;
        } else {
            uri.scheme.starts_with(|first: char| first.is_ascii_alphabetic()).then_some(())?;
            let opaque = self.run_escaped(&[MARK, b";/?:@&=+$,"].concat())?;
            (!opaque.is_empty()).then_some(())?;
            let number = self.bytes[opaque.clone()].split(|byte| *byte == b';').next()?;
            if uri.scheme == "tel" {
                uri.user = number.to_vec();
            }
        }
        uri.range = start..self.at;
        if uri.headers.is_empty() {
            uri.headers = self.at..self.at;
        }
        Some(uri)
    }

    /// `[ userinfo ] hostport uri-parameters [ headers ]`
    fn sip_uri(&mut self, uri: &mut Uri) -> Option<()> {
        let before = *self;
        let user = self.run_escaped(&[MARK, b"&=+$,;?/"].concat());
        let password = self.eat(b":").and_then(|()| self.run_escaped(&[MARK, b"&=+$,"].concat()));
        match user.filter(|user| !user.is_empty()) {
            Some(user) if self.eat(b"@").is_some() => {
                let end = password.map_or(user.end, |password| password.end);
                uri.user = self.bytes[user.start..end].to_vec();
            }
            _ => *self = before,
        }
        uri.host = Some(self.host()?);
        let colon = self.at;
        if self.eat(b":").is_some() {
            uri.port = Some(self.port()?);
            uri.port_range = Some(colon..self.at);
        }
        let paramchar = [MARK, b"[]/:&+$"].concat();
        while self.peek() == Some(b';') {
            let whole = self.at;
            self.at += 1;
            let name = self.run_escaped(&paramchar)?;
            let mut value = self.at..self.at;
            if self.eat(b"=").is_some() {
                value = self.run_escaped(&paramchar)?;
                (!value.is_empty()).then_some(())?;
            }
            (!name.is_empty()).then_some(())?;
            push_param(&mut uri.params, self.bytes, name, value, whole..self.at)?;
        }
        if self.peek() == Some(b'?') {
            let start = self.at;
            self.at += 1;
            self.run_escaped(&[MARK, b"[]/?:+$&="].concat())?;
            uri.headers = start..self.at;
        }
        Some(())
    }

    /// `host = hostname / IPv4address / IPv6reference`; a hostname may end with a dot, and three colons in an IPv6 address are two (RFC 5118 4.10).
    fn host(&mut self) -> Option<Host> {
        let start = self.at;
        if self.eat(b"[").is_some() {
            self.run(b":.");
            self.eat(b"]")?;
        } else {
            self.run(b"-.");
        }
        Host::of(&self.bytes[start..self.at])
    }

    /// `port = 1*DIGIT`; of one with more than eight digits, which all but the last five are zeros of, there is no opinion.
    fn port(&mut self) -> Option<u16> {
        let digits = self.run(b"");
        number(&self.bytes[digits.clone()], 65_535).filter(|_| digits.len() <= 8).map(|port| port as u16)
    }

    /// `via-parm = sent-protocol LWS sent-by *( SEMI via-params )`
    fn via(&mut self, field: usize) -> Option<Via> {
        let start = self.at;
        self.eat(b"SIP")?;
        self.slash()?;
        self.eat(b"2.0")?;
        self.slash()?;
        self.token()?;
        self.lws()?;
        let host = self.host()?;
        let mut end = self.at;
        self.sws();
        let mut port = None;
        if self.eat(b":").is_some() {
            self.sws();
            port = Some(self.port()?);
            end = self.at;
        }
        self.at = end;
        let params = self.params()?;
        let range = start..params.last().map_or(end, |param: &Param| param.whole.end);
        let via = Via { field, range, host, port, params };
        let rport_fits = via.param("rport").is_none_or(|p| p.is_empty() || number(p, 65_535).is_some());
        rport_fits.then_some(via)
    }

    /// `SLASH = SWS "/" SWS`
    fn slash(&mut self) -> Option<()> {
        self.sws();
        self.eat(b"/")?;
        self.sws();
        Some(())
    }

    /// `*( SEMI generic-param )`, each name once (7.3.1)
    fn params(&mut self) -> Option<Vec<Param>> {
        let mut params = vec![];
        loop {
            let before = self.at;
            self.sws();
            let whole = self.at;
            if self.eat(b";").is_none() {
                self.at = before;
                return Some(params);
            }
            self.sws();
            let name = self.token()?;
            let mut end = self.at;
            let mut value = end..end;
            self.sws();
            if self.eat(b"=").is_some() {
                self.sws();
                value = self.gen_value()?;
                end = self.at;
            }
            self.at = end;
            push_param(&mut params, self.bytes, name, value, whole..end)?;
        }
    }

    /// `gen-value = token / host / quoted-string`, and an IPv6 address without brackets, as in `received`
    fn gen_value(&mut self) -> Option<Range<usize>> {
        if self.peek() == Some(b'"') {
            return self.quoted_string();
        }
        let value = self.run(b"-.!%*_+`'~[]:");
        let text = &self.bytes[value.clone()];
        let is_host = text.contains(&b'[') || text.contains(&b']') || text.contains(&b':');
        (!text.is_empty() && (!is_host || address(text).is_some())).then_some(value)
    }

    /// `quoted-string = SWS DQUOTE *(qdtext / quoted-pair ) DQUOTE`
    fn quoted_string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        self.eat(b"\"")?;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(start..self.at);
                }
                b'\\' => {
                    self.at += 1;
                    let escaped = self.peek()?;
                    (escaped < 0x80 && !b"\r\n".contains(&escaped)).then(|| self.at += 1)?;
                }
                b' ' | b'\t' | b'\r' | b'\n' | 0x21..=0x7e | 0x80.. => self.at += 1,
                _ => return None,
            }
        }
    }

    /// `route-param = name-addr *( SEMI rr-param )`; a bare URI, whose parameters are the header field's, is read too (ROUTING "Parse").
    fn route(&mut self, field: usize) -> Option<Route> {
        let start = self.at;
        let uri = self.name_addr()?;
        let mut end = self.at;
        let params = self.params()?;
        end = params.last().map_or(end, |param| param.whole.end);
        let uri = uri?;
        Some(Route { field, range: start..end, uri })
    }

    /// `name-addr / addr-spec`. The URI inside is `Some(None)` where it is not by the grammar: From and To are nothing that a proxy follows.
    fn name_addr(&mut self) -> Option<Option<Uri>> {
        let before = *self;
        if self.peek() == Some(b'"') {
            self.quoted_string()?;
            self.sws();
        } else {
            while self.token().is_some() {
                self.sws();
            }
        }
        if self.eat(b"<").is_none() {
            *self = before;
            // An addr-spec outside <> ends where the header field's parameters begin (20).
            let stop = |byte: &u8| b";, \t\r\n?".contains(byte);
            let len = self.bytes[self.at..self.end].iter().position(stop).unwrap_or(self.end - self.at);
            let mut inner = Reader { end: self.at + len, ..*self };
            let uri = inner.uri().filter(|uri| uri.range.end == inner.end);
            let text = &self.bytes[self.at..self.at + len];
            let is_uri = text.contains(&b':') && !text.iter().any(|byte| b"\"<>".contains(byte));
            self.at += len;
            return (is_uri && self.peek() != Some(b'?')).then_some(uri);
        }
        let len = self.bytes[self.at..self.end].iter().position(|byte| *byte == b'>')?;
        let mut inner = Reader { end: self.at + len, ..*self };
        let text = &self.bytes[self.at..self.at + len];
        let uri = inner.uri().filter(|uri| uri.range.end == inner.end);
        self.at += len + 1;
        (!text.iter().any(|byte| b" \t\r\n\"<".contains(byte))).then_some(uri)
    }

    /// The tag of From or To: `( name-addr / addr-spec ) *( SEMI from-param )`
    fn tag(&mut self) -> Option<&'b [u8]> {
        self.name_addr()?;
        let params = self.params()?;
        (self.at == self.end).then_some(())?;
        let Some(tag) = params.iter().find(|param| param.name == "tag") else { return Some(b"") };
        let is_token = !tag.value.is_empty() && !tag.value.starts_with(b"\"");
        is_token.then(|| &self.bytes[tag.whole.end - tag.value.len()..tag.whole.end])
    }

    /// `callid = word [ "@" word ]`
    fn call_id(&mut self) -> Option<()> {
        const WORD: &[u8] = b"-.!%*_+`'~()<>:\\\"/[]?{}";
        (!self.run(WORD).is_empty()).then_some(())?;
        if self.eat(b"@").is_some() {
            (!self.run(WORD).is_empty()).then_some(())?;
        }
        Some(())
    }

    /// `1*DIGIT LWS Method`
    fn cseq(&mut self) -> Option<(u32, Range<usize>)> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        let value = number(&self.bytes[start..self.at], u64::from(u32::MAX))?;
        self.lws()?;
        Some((value as u32, self.token()?))
    }
}

impl Host {
    pub(crate) fn of(text: &[u8]) -> Option<Self> {
        let host = Self { text: text.to_vec(), address: address(text) };
        if host.address.is_some() {
            return (text[0] == b'[' || !text.contains(&b':')).then_some(host);
        }
        // hostname = *( domainlabel "." ) toplabel [ "." ], where the toplabel begins with a letter.
        let name = text.strip_suffix(b".").unwrap_or(text);
        let label = |label: &[u8]| {
            let ends = [label.first(), label.last()];
            let legal = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
            label.iter().all(legal) && ends.iter().all(|b| b.is_some_and(u8::is_ascii_alphanumeric))
        };
        let top = name.rsplit(|byte| *byte == b'.').next()?;
        let is_name = top.first()?.is_ascii_alphabetic() && name.split(|byte| *byte == b'.').all(label);
        is_name.then_some(host)
    }
}

impl Via {
    /// The value of a parameter, empty where it has none.
    pub(crate) fn param(&self, name: &str) -> Option<&[u8]> {
        self.params.iter().find(|param| param.name == name).map(|param| &*param.value)
    }

    pub(crate) fn whole_param(&self, name: &str) -> Range<usize> {
        self.params.iter().find(|param| param.name == name).expect("the parameter").whole.clone()
    }
}

impl Uri {
    pub(crate) fn param(&self, name: &str) -> Option<&[u8]> {
        self.params.iter().find(|param| param.name == name).map(|param| &*param.value)
    }

    pub(crate) fn whole_param(&self, name: &str) -> Range<usize> {
        self.params.iter().find(|param| param.name == name).expect("the parameter").whole.clone()
    }

    pub(crate) fn is_sip(&self) -> bool {
        self.scheme == "sip"
    }

    pub(crate) fn is_sips(&self) -> bool {
        self.scheme == "sips"
    }

    pub(crate) fn is_r2(&self) -> bool {
        self.param("r2").is_some_and(|value| value.eq_ignore_ascii_case(b"on"))
    }
}

/// Each name once (7.3.1, 19.1.1).
fn push_param(
    params: &mut Vec<Param>,
    bytes: &[u8],
    name: Range<usize>,
    value: Range<usize>,
    whole: Range<usize>,
) -> Option<()> {
    let name = String::from_utf8_lossy(&bytes[name]).to_ascii_lowercase();
    let first = params.iter().all(|param| param.name != name);
    params.push(Param { name, value: bytes[value].to_vec(), whole });
    first.then_some(())
}

/// The address that a text spells, with or without brackets; an IPv4-mapped one is the IPv4 address.
pub(crate) fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if inner.is_none()
        && let Some(v4) = ipv4(text)
    {
        return Some(v4.into());
    }
    let v6 = inner.unwrap_or(text);
    let v6: Ipv6Addr = v6.parse().or_else(|_| v6.replacen(":::", "::", 1).parse()).ok()?;
    Some(IpAddr::from(v6).to_canonical())
}

/// `1*3DIGIT "." 1*3DIGIT "." 1*3DIGIT "." 1*3DIGIT`, so with leading zeros too.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u8> = text
        .split('.')
        .map(|part| {
            let legal = (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| legal)
        })
        .collect::<Option<_>>()?;
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(parts).ok()?))
}

/// `1*DIGIT`, at most `max`.
pub(crate) fn number(digits: &[u8], max: u64) -> Option<u64> {
    let digits_only = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let significant = digits.iter().skip_while(|digit| **digit == b'0').copied().collect();
    let text = String::from_utf8(significant).ok()?;
    let value = if text.is_empty() { Some(0) } else { text.parse().ok() };
    value.filter(|value| digits_only && *value <= max)
}
