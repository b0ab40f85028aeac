//! The oracle of the parser.

use super::{DIRTY, name_of, split, trim};
use crate::escape;
use sluice::sip::Message;
use sluice::sip::header_field::{self, Name};
use sluice::sip::host;
use sluice::sip::params::Param;
use sluice::sip::route_set::RouteSet;
use sluice::sip::scan::LineEnds;
use sluice::sip::span::Span;
use sluice::sip::start_line::{Method, StartLine};
use sluice::sip::uri::{self, Scheme};
use sluice::sip::via::{self, Via};

/// Reads `bytes` as a message and, field by field, as everything that a value can be read as.
///
/// Every span lies in what it was read from, every walk ends, what is read hangs on nothing that was read before, and lines end where a
/// byte-by-byte loop says.
///
/// # Panics
/// One of these is not so.
pub fn parse(bytes: &[u8]) {
    // In memory of its own length, so that a sanitizer sees a read past the end.
    let bytes = &*Box::<[u8]>::from(bytes);
    line_ends(bytes);
    let (mut fresh, mut used) = (Message::new(), Message::new());
    let _ = used.read(DIRTY);
    let fault = fresh.read(bytes).err();
    assert_eq!(used.read(bytes).err(), fault, "a fault hangs on the message before");
    let mut careful = Message::new();
    assert_eq!(careful.read_carefully(bytes).err(), fault, "the quick way takes what is no message");
    let Some(start_line) = fresh.start_line() else {
        assert!(fault.is_some(), "no start-line and no fault");
        return;
    };
    for message in [&fresh, &used, &careful] {
        inside(message.start_line_span, 0, bytes.len());
        assert!(message.body_start <= message.end && message.end <= bytes.len(), "the body's place");
    }
    for other in [&used, &careful] {
        assert_eq!(other.start_line(), Some(start_line));
        assert_eq!(other.start_line_span, fresh.start_line_span);
        assert_eq!(other.fields(), fresh.fields());
        assert_eq!(
            (other.body_start, other.end, other.max_forwards, other.cseq, other.from_tag, other.to_tag),
            (fresh.body_start, fresh.end, fresh.max_forwards, fresh.cseq, fresh.from_tag, fresh.to_tag)
        );
    }
    read_start_line(bytes, &fresh, start_line, fault.is_none());
    let mut at = fresh.start_line_span.end() + 2;
    let folded = matches!(bytes.get(at), Some(b' ' | b'\t'));
    assert!(!folded || fault.is_some(), "a start-line has no folds");
    for (index, field) in fresh.fields().iter().enumerate() {
        inside(field.line, at, fresh.body_start);
        inside(field.value, field.line.start(), field.line.end());
        assert!(field.line.of(bytes).ends_with(b"\r\n"), "a line ends with CRLF");
        at = field.line.end();
        let first = fresh.first(field.name).expect("a field that is there");
        assert!(first <= index && fresh.fields()[first].name == field.name);
        read_value(bytes, field.value);
    }
    read_routes(&fresh, bytes);
    if fault.is_none() {
        fields(&fresh, bytes);
    }
}

fn read_start_line(bytes: &[u8], message: &Message, start_line: StartLine, good: bool) {
    let line = message.start_line_span.of(bytes);
    match start_line {
        StartLine::Request { method, method_span, uri } => {
            inside(method_span, 0, line.len());
            inside(uri, method_span.end(), line.len());
            read_uri(bytes, uri);
            let name = method_span.of(bytes);
            let named = Method::NAMED.into_iter().find(|(_, text)| text.as_bytes() == name);
            assert_eq!(method, named.map_or(Method::Other, |(method, _)| method));
            let spelled = [name, b" ", uri.of(bytes), b" SIP/2.0"].concat();
            assert!(!good || spelled.eq_ignore_ascii_case(line), "{}", escape(line));
        }
        StartLine::Response { status } => {
            let spelled = format!("SIP/2.0 {status:03}");
            let head = line.get(..spelled.len()).unwrap_or_default();
            assert!(spelled.as_bytes().eq_ignore_ascii_case(head), "{}", escape(line));
            assert!(matches!(line.get(spelled.len()), None | Some(b' ')), "{}", escape(line));
        }
    }
}

/// The text of a parameter's name stands before its value, whatever white space there is. An empty value says nothing.
fn named(bytes: &[u8], value: Span, name: &str) {
    let before = trim(&bytes[..value.start()], b" \t\r\n").strip_suffix(b"=");
    let before = before.map(|before| trim(before, b" \t\r\n")).unwrap_or_default();
    let found = before.len().checked_sub(name.len()).map(|at| &before[at..]).unwrap_or_default();
    assert!(value.is_empty() || found.eq_ignore_ascii_case(name.as_bytes()), "{name} in {}", escape(before));
}

fn is_param(bytes: &[u8], param: Param, name: &str) {
    assert!(
        param.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()),
        "{name}: {}",
        escape(param.whole.of(bytes))
    );
    assert_eq!(bytes[param.whole.start()], b';');
    inside(param.name, param.whole.start() + 1, param.whole.end());
    inside(param.value, param.name.end(), param.whole.end());
    if param.has_value {
        named(bytes, param.value, name);
    }
}

fn line_ends(bytes: &[u8]) {
    let mut expected = Vec::new();
    for at in 0..bytes.len() {
        let (after_cr, is_lf) = (at > 0 && bytes[at - 1] == b'\r', bytes[at] == b'\n');
        if after_cr || is_lf {
            expected.push((at, after_cr && is_lf));
        }
    }
    let found: Vec<_> = LineEnds::new(bytes, 0).map(|end| (end.at, end.proper)).collect();
    assert_eq!(found, expected, "line ends");
}

/// The header fields that a slow and obvious reader finds: name up to the colon, value without white space around.
fn fields(message: &Message, bytes: &[u8]) {
    let (lines, _) = split(bytes).expect("a message without fault has an empty line");
    let known = lines.iter().skip(1).filter_map(|line| {
        let name = NAMES.iter().find(|(names, _)| names.contains(&&*name_of(line)))?.1;
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((name, trim(&line[colon + 1..], b" \t\r\n").to_vec()))
    });
    let read = message.fields().iter().map(|field| (field.name, field.value.of(bytes).to_vec()));
    let (known, read): (Vec<_>, Vec<_>) = (known.collect(), read.collect());
    assert!(known == read, "{}\nread as {read:?}", escape(bytes));
}

/// The names of the header fields that a proxy reads.
const NAMES: [(&[&[u8]], Name); 9] = [
    (&[b"via", b"v"], Name::Via),
    (&[b"from", b"f"], Name::From),
    (&[b"to", b"t"], Name::To),
    (&[b"call-id", b"i"], Name::CallId),
    (&[b"cseq"], Name::CSeq),
    (&[b"max-forwards"], Name::MaxForwards),
    (&[b"route"], Name::Route),
    (&[b"content-length", b"l"], Name::ContentLength),
    (&[b"proxy-require"], Name::ProxyRequire),
];

fn inside(span: Span, start: usize, end: usize) {
    assert!(
        span.start() >= start && span.start() <= span.end() && span.end() <= end,
        "{span:?} in {start}..{end}"
    );
}

/// Reads a value as all that the grammar has readers for.
fn read_value(bytes: &[u8], value: Span) {
    let (start, end) = (value.start(), value.end());
    let mut at = Some(start);
    while let Some(from) = at {
        let Some(via) = via::read(bytes, from, end) else { break };
        inside(via.span, from, end);
        for span in [via.transport, via.branch, via.seal, via.mark, via.rport_param, via.sent_by.host.span] {
            inside(span, from, end);
        }
        for (param, name) in [(via.received, "received"), (via.maddr, "maddr")] {
            let Some(param) = param else { continue };
            inside(param.whole, from, end);
            is_param(bytes, param, name);
            let _ = host::address(param.value.of(bytes));
        }
        for (value, name) in [(via.branch, "branch"), (via.seal, "seal"), (via.mark, "mark")] {
            named(bytes, value, name);
        }
        if via.proper {
            read_protocol(bytes, &via);
        }
        assert!(via.params >= from && via.params <= end);
        at = via.next;
        assert!(at.is_none_or(|next| next > from && next <= end), "the next Via is further on");
    }
    if let Some(tag) = header_field::read_tag(bytes, value) {
        inside(tag, start, end);
        named(bytes, tag, "tag");
    }
    if let Some(cseq) = header_field::read_cseq(bytes, value) {
        inside(cseq.method, start, end);
    }
    let open = bytes[start..end].iter().position(|byte| *byte == b'<').map_or(start, |at| start + at + 1);
    let close = bytes[open..end].iter().position(|byte| *byte == b'>').map_or(end, |at| open + at);
    read_uri(bytes, Span::new(open, close));
}

/// `SIP/2.0/` stands before the transport, whatever white space there is.
fn read_protocol(bytes: &[u8], via: &Via) {
    let head = Span::new(via.span.start(), via.transport.start()).of(bytes);
    let head: Vec<u8> = head.iter().copied().filter(|byte| !b" \t\r\n".contains(byte)).collect();
    assert!(head.eq_ignore_ascii_case(b"SIP/2.0/"), "{}", escape(&head));
}

fn read_uri(bytes: &[u8], span: Span) {
    let Some(uri) = uri::read(bytes, span.start(), span.end()) else { return };
    assert_eq!(uri.span, span);
    for part in [uri.user, uri.headers] {
        inside(part, span.start(), span.end());
    }
    let text = span.of(bytes);
    let scheme = text.split(|byte| *byte == b':').next().unwrap_or_default().to_ascii_lowercase();
    assert_eq!(
        uri.scheme,
        match &*scheme {
            b"sip" => Scheme::Sip,
            b"sips" => Scheme::Sips,
            b"tel" => Scheme::Tel,
            _ => Scheme::Other,
        }
    );
    assert!(text.iter().all(|byte| *byte > b' ' && !b"\"<>\x7f".contains(byte)), "{}", escape(text));
    for (param, name) in [(uri.transport, "transport"), (uri.maddr, "maddr"), (uri.seal, "seal")] {
        let Some(param) = param else { continue };
        inside(param.whole, span.start(), span.end());
        is_param(bytes, param, name);
    }
    let mut params = text.split(|byte| b";?".contains(byte));
    let says = |param: &[u8]| param.to_ascii_lowercase().split(|byte| *byte == b'=').next() == Some(b"lr");
    assert!(!uri.lr || params.any(says), "lr in {}", escape(text));
    let mut params = text.split(|byte| b";?".contains(byte));
    assert!(!uri.r2 || params.any(|param| param.eq_ignore_ascii_case(b"r2=on")), "r2 in {}", escape(text));
    if let Some(host_port) = uri.host_port {
        inside(host_port.host.span, span.start(), host_port.end);
        assert!(host_port.end <= span.end());
    }
}

fn read_routes(message: &Message, bytes: &[u8]) {
    let mut values = RouteSet::new(message, bytes);
    let (mut at, mut field) = (0, 0);
    while let Ok(Some(value)) = values.next_value() {
        assert!(value.field >= field && value.span.start() >= at, "Route values go forwards");
        (field, at) = (value.field, value.span.end());
        inside(value.span, 0, message.fields()[field].value.end());
        inside(value.uri.span, value.span.start(), value.span.end());
        assert!(value.next >= value.span.end());
    }
}
