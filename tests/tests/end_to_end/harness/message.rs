//! A SIP message split the slow and obvious way: the tests' own reader, which shares no code with the
//! router's. It keeps the bytes of every header field as they came, so that two can be compared.

use std::fmt;
use std::net::SocketAddr;

/// One message: start-line, header fields in their order, body.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Without its CRLF.
    pub(crate) start_line: String,
    /// In the order they stand.
    pub(crate) fields: Vec<Field>,
    /// What follows the empty line.
    pub(crate) body: String,
}

impl Message {
    /// Splits a datagram.
    pub(crate) fn parse(datagram: &[u8]) -> Self {
        let text = std::str::from_utf8(datagram).expect("the tests send UTF-8 only");
        let (head, body) = text.split_once("\r\n\r\n").expect("an empty line after the header fields");
        let mut lines = head.split("\r\n");
        let start_line = lines.next().expect("split gives at least one part").to_owned();
        let mut fields: Vec<Field> = Vec::new();
        for line in lines {
            match fields.last_mut() {
                Some(folded) if line.starts_with([' ', '\t']) => {
                    folded.raw.push_str("\r\n");
                    folded.raw.push_str(line);
                }
                _ => fields.push(Field { raw: line.to_owned() }),
            }
        }
        Self { start_line, fields, body: body.to_owned() }
    }

    /// The datagram again.
    pub(crate) fn datagram(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// The status of a response, `None` for a request.
    pub(crate) fn status(&self) -> Option<u16> {
        let rest = self.start_line.strip_prefix("SIP/2.0 ")?;
        Some(rest[..3].parse().expect("a status of three digits"))
    }

    /// Whether this is a request.
    pub(crate) fn is_request(&self) -> bool {
        self.status().is_none()
    }

    /// A request's Request-URI.
    pub(crate) fn request_uri(&self) -> &str {
        self.start_line.split(' ').nth(1).expect("a start-line of three parts")
    }

    /// The method: a request's own, a response's from its CSeq.
    pub(crate) fn method(&self) -> &str {
        self.cseq().1
    }

    /// CSeq number and method.
    pub(crate) fn cseq(&self) -> (u32, &str) {
        let cseq = self.value("CSeq").expect("a CSeq");
        let (number, method) = cseq.split_once(' ').expect("CSeq has a number and a method");
        (number.parse().expect("a CSeq number"), method.trim())
    }

    /// What tells the messages of one direction of a call apart, retransmissions not: `INVITE 1`,
    /// `200 INVITE 1`.
    pub(crate) fn key(&self) -> String {
        let (number, method) = self.cseq();
        match self.status() {
            Some(status) => format!("{status} {method} {number}"),
            None => format!("{method} {number}"),
        }
    }

    /// The value of the first header field of that name, trimmed.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.is(name)).map(Field::value)
    }

    /// The Call-ID.
    pub(crate) fn call_id(&self) -> &str {
        self.value("Call-ID").expect("a Call-ID")
    }

    /// Whether To has a tag: the request is inside a dialog.
    pub(crate) fn has_to_tag(&self) -> bool {
        self.value("To").expect("a To").contains(";tag=")
    }

    /// All values of a header field that is a list, from comma lists and from repeated lines alike.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.fields.iter().filter(|field| field.is(name));
        lines.flat_map(|field| split_outside(field.value(), ',')).map(str::trim).collect()
    }

    /// The Via values, topmost first.
    pub(crate) fn vias(&self) -> Vec<Via> {
        self.values("Via").into_iter().map(Via::parse).collect()
    }

    /// The values of Route or Record-Route, topmost first.
    pub(crate) fn route_values(&self, name: &str) -> Vec<RouteValue> {
        self.values(name).into_iter().map(RouteValue::parse).collect()
    }

    /// Max-Forwards as a number.
    pub(crate) fn max_forwards(&self) -> Option<u8> {
        self.value("Max-Forwards").map(|value| value.parse().expect("Max-Forwards is a number"))
    }

    /// The bytes of all header fields but those named, in their order.
    pub(crate) fn raw_fields_except(&self, names: &[&str]) -> Vec<&str> {
        let kept = self.fields.iter().filter(|field| !names.iter().any(|name| field.is(name)));
        kept.map(|field| field.raw.as_str()).collect()
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\r\n", self.start_line)?;
        for field in &self.fields {
            write!(f, "{}\r\n", field.raw)?;
        }
        write!(f, "\r\n{}", self.body)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One header field with its folded lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// The bytes, without the last CRLF.
    pub(crate) raw: String,
}

impl Field {
    /// A header field written the usual way.
    pub(crate) fn new(name: &str, value: &str) -> Self {
        Self { raw: format!("{name}: {value}") }
    }

    /// Whether the name is this one, in any case or in its compact form.
    pub(crate) fn is(&self, name: &str) -> bool {
        let (written, _) = self.parts();
        written.eq_ignore_ascii_case(name)
            || compact_form(name).is_some_and(|compact| written.eq_ignore_ascii_case(compact))
    }

    /// What follows the colon, trimmed.
    fn value(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        let (name, value) = self.raw.split_once(':').expect("a colon in every header field");
        (name.trim(), value.trim())
    }
}

/// The compact form of those names that the tests look at (RFC 3261 7.3.3).
fn compact_form(name: &str) -> Option<&'static str> {
    match name {
        "Via" => Some("v"),
        "From" => Some("f"),
        "To" => Some("t"),
        "Call-ID" => Some("i"),
        "Contact" => Some("m"),
        "Content-Length" => Some("l"),
        _ => None,
    }
}

/// A `;name=value` or `;name`, the name in lower case.
pub(crate) type Param = (String, Option<String>);

/// One Via value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Via {
    /// As written.
    pub(crate) text: String,
    /// `host:port` as written.
    pub(crate) sent_by: String,
    /// In their order.
    pub(crate) params: Vec<Param>,
}

impl Via {
    /// Splits one value.
    pub(crate) fn parse(text: &str) -> Self {
        let (head, params) = split_params(text);
        let sent_by = head.split_whitespace().next_back().expect("a sent-by").to_owned();
        Self { text: text.to_owned(), sent_by, params }
    }

    /// A parameter: `None` when absent, `Some(None)` when it has no value.
    pub(crate) fn param(&self, name: &str) -> Option<Option<&str>> {
        find_param(&self.params, name)
    }

    /// The branch.
    pub(crate) fn branch(&self) -> &str {
        self.param("branch").flatten().expect("a branch")
    }

    /// What the next hop, seeing the request come from `source`, must fill in (RFC 3261 18.2.1,
    /// RFC 3581 4): the values of `received` and `rport`.
    pub(crate) fn fill_from(&self, source: SocketAddr) -> (Option<String>, Option<String>) {
        let asks_for_rport = self.param("rport") == Some(None);
        let (host, _) = split_port(&self.sent_by);
        let says_its_address = host.trim_matches(['[', ']']) == source.ip().to_string();
        let received = (asks_for_rport || !says_its_address).then(|| source.ip().to_string());
        let rport = asks_for_rport.then(|| source.port().to_string());
        (received, rport)
    }

    /// The parameters but for `received` and `rport`.
    pub(crate) fn params_of_sender(&self) -> Vec<&Param> {
        self.params.iter().filter(|(name, _)| name != "received" && name != "rport").collect()
    }
}

/// One Route or Record-Route value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteValue {
    /// The URI, without angle brackets.
    pub(crate) uri: String,
    /// `host:port` as written.
    pub(crate) host_port: String,
    /// The URI's parameters, in their order.
    pub(crate) params: Vec<Param>,
}

impl RouteValue {
    /// Splits one value, or a bare URI.
    pub(crate) fn parse(text: &str) -> Self {
        let uri = match text.split_once('<') {
            Some((_, rest)) => rest.split_once('>').expect("'<' is closed").0,
            None => text,
        };
        let (head, params) = split_params(uri);
        let (_, address) = head.split_once(':').expect("a URI has a scheme");
        let host_port = address.rsplit_once('@').map_or(address, |(_, host_port)| host_port);
        Self { uri: uri.to_owned(), host_port: host_port.to_owned(), params }
    }

    /// A parameter of the URI: `None` when absent, `Some(None)` when it has no value.
    pub(crate) fn param(&self, name: &str) -> Option<Option<&str>> {
        find_param(&self.params, name)
    }
}

fn find_param<'a>(params: &'a [Param], name: &str) -> Option<Option<&'a str>> {
    let (_, value) = params.iter().find(|(written, _)| written == name)?;
    Some(value.as_deref())
}

/// Splits `head;name=value;name` at the semicolons outside quotes and angle brackets.
fn split_params(text: &str) -> (&str, Vec<Param>) {
    let mut parts = split_outside(text, ';').into_iter();
    let head = parts.next().expect("split gives at least one part").trim();
    let params = parts.map(|param| match param.split_once('=') {
        Some((name, value)) => (name.trim().to_ascii_lowercase(), Some(value.trim().to_owned())),
        None => (param.trim().to_ascii_lowercase(), None),
    });
    (head, params.collect())
}

/// Splits `host:port`, where the host may be an IPv6 reference.
fn split_port(host_port: &str) -> (&str, Option<&str>) {
    match host_port.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host_port, None),
    }
}

/// Splits at `separator` where it stands neither in quotes nor in angle brackets.
pub(crate) fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped, mut angled, mut start) = (false, false, false, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => angled = true,
            '>' if !quoted => angled = false,
            _ if c == separator && !quoted && !angled => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}
