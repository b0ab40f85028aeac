//! What must be true of every message, whoever wrote it: the oracles behind the fuzz targets and behind the test of their corpus.
//!
//! Each takes bytes and panics where something is wrong. They know nothing of fuzzing, so that any toolchain can run them.

use crate::{escape, line_diff, named_plan, splice};
use sluice::forward::Forwarder;
use sluice::io::{Datagram, Flow, HEADROOM, ListenerIndex, TAILROOM, Verdict};
use sluice::proxy::decision::{Decision, Proof, Step};
use sluice::proxy::rules::Action;
use sluice::proxy::seal::Key;
use sluice::proxy::snapshot::{Plan, Snapshot, is_usable};
use sluice::sip::Message;
use sluice::sip::header_field::{self, Name};
use sluice::sip::host;
use sluice::sip::route_set::RouteSet;
use sluice::sip::scan::LineEnds;
use sluice::sip::span::Span;
use sluice::sip::start_line::StartLine;
use sluice::sip::uri;
use sluice::sip::via::{self, Rport, Via};
use sluice::stats::{Counter, Reason, Stats, Totals};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::OnceLock;

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
    let Some(start_line) = fresh.start_line() else {
        assert!(fault.is_some(), "no start-line and no fault");
        return;
    };
    for message in [&fresh, &used] {
        inside(message.start_line_span, 0, bytes.len());
        assert!(message.body_start <= message.end && message.end <= bytes.len(), "the body's place");
    }
    assert_eq!(used.start_line(), Some(start_line));
    assert_eq!(used.fields(), fresh.fields());
    assert_eq!(
        (used.body_start, used.end, used.max_forwards, used.cseq, used.from_tag, used.to_tag),
        (fresh.body_start, fresh.end, fresh.max_forwards, fresh.cseq, fresh.from_tag, fresh.to_tag)
    );
    if let StartLine::Request { method_span, uri, .. } = start_line {
        inside(method_span, 0, fresh.start_line_span.end());
        inside(uri, method_span.end(), fresh.start_line_span.end());
        read_uri(bytes, uri);
    }
    let mut at = fresh.start_line_span.end() + 2;
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
}

/// Sends messages through a node, one after the other, and looks at what becomes of each.
///
/// `input` is sections with the byte 0x1e between them. The first byte of a section says how the message comes in (the lower three bits choose a flow, the
/// others a plan); the rest is its text. In the text the bytes 1 to 5 stand for what left last: 1 the value of its topmost Via, 2 the value of the Via below, 3 and 4 the URIs of its
/// Record-Routes, 5 its To tag; 6 stands for 600 letters. So mutations of a response or of a request within a dialog meet seals that prove.
///
/// # Panics
/// Something is wrong with what became of one of them.
pub fn forward(input: &[u8]) {
    let mut before = Vec::new();
    let mut issued = Issued::default();
    for section in input.split(|byte| *byte == 0x1e).take(SECTIONS_MAX) {
        let Some((choice, text)) = section.split_first() else { continue };
        let node = &nodes()[usize::from(choice >> 3) % nodes().len()];
        let Some(flow) = node.flow(usize::from(choice & 7)) else { continue };
        let bytes = expand(text, &before);
        if let Some(left) = node.pass(flow, &bytes, &mut issued) {
            before = left;
        }
    }
}

/// Messages of one run. Two are a request and its response; a call of an INVITE, its 200, a BYE and its 200 takes four.
const SECTIONS_MAX: usize = 4;

/// Most bytes of a UDP payload over IPv4.
const PAYLOAD_BYTES_MAX: usize = 65_507;

/// A message that leaves something behind in every part of a worker's scratch.
const DIRTY: &[u8] = b"INVITE sip:+4930@example.com;maddr=192.0.2.1;transport=udp SIP/2.0\r\n\
Via: SIP/2.0/UDP a.example;branch=z9hG4bKdirty;rport;maddr=192.0.2.7;received=192.0.2.8, SIP/2.0/UDP b.example;branch=1\r\n\
Max-Forwards: 7\r\nRoute: <sip:192.0.2.1;lr;r2=on>, <sip:10.0.0.1;lr;r2=on>\r\nFrom: <sip:a@a>;tag=dirty\r\n\
To: <sip:b@b>;tag=dirt\r\nCall-ID: dirty\r\nCSeq: 77 INVITE\r\nProxy-Require: dirt\r\nContent-Length: 4\r\n\r\ndirt";

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
        for param in [via.received, via.maddr].into_iter().flatten() {
            inside(param.whole, from, end);
            inside(param.value, param.whole.start(), param.whole.end());
            let _ = host::address(param.value.of(bytes));
        }
        assert!(via.params >= from && via.params <= end);
        at = via.next;
        assert!(at.is_none_or(|next| next > from && next <= end), "the next Via is further on");
    }
    if let Some(tag) = header_field::read_tag(bytes, value) {
        inside(tag, start, end);
    }
    if let Some(cseq) = header_field::read_cseq(bytes, value) {
        inside(cseq.method, start, end);
    }
    let open = bytes[start..end].iter().position(|byte| *byte == b'<').map_or(start, |at| start + at + 1);
    let close = bytes[open..end].iter().position(|byte| *byte == b'>').map_or(end, |at| open + at);
    read_uri(bytes, Span::new(open, close));
}

fn read_uri(bytes: &[u8], span: Span) {
    let Some(uri) = uri::read(bytes, span.start(), span.end()) else { return };
    assert_eq!(uri.span, span);
    for part in [uri.user, uri.headers] {
        inside(part, span.start(), span.end());
    }
    for param in [uri.transport, uri.maddr, uri.seal].into_iter().flatten() {
        inside(param.whole, span.start(), span.end());
        inside(param.name, param.whole.start(), param.whole.end());
        inside(param.value, param.whole.start(), param.whole.end());
    }
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

/// A node of [`named_plan`], with keys that no vector holds a seal of.
struct Node {
    plan: Plan,
    snapshot: Snapshot,
    /// Where its rules send requests to.
    targets: Vec<SocketAddr>,
}

/// The flows that a section may choose: strangers and trusted sources, IPv4 and IPv6, and one from port 0, to which nothing can be sent.
const FLOWS: [(&str, u16); 8] = [
    ("203.0.113.9:5060", 0),
    ("10.0.1.1:5060", 1),
    ("[2001:db8:7::9]:5060", 2),
    ("[fd00::9]:5060", 3),
    ("10.9.9.9:5070", 0),
    ("203.0.113.9:40000", 0),
    ("198.51.100.7:5060", 0),
    ("203.0.113.9:0", 0),
];

const PLANS: [&str; 12] = [
    "default",
    "never",
    "unsealed",
    "key2",
    "key2_only",
    "single",
    "no_rules",
    "down",
    "rules",
    "names",
    "port",
    "one_listener",
];

fn nodes() -> &'static [Node] {
    static NODES: OnceLock<Vec<Node>> = OnceLock::new();
    NODES.get_or_init(|| PLANS.into_iter().map(|name| Node::new(named_plan(name))).collect())
}

/// What left with a return seal, and where a response to it may go.
#[derive(Default)]
struct Issued(HashMap<Vec<u8>, Vec<Option<SocketAddr>>>);

/// What one run of `forward` did.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    verdict: Verdict,
    payload: Vec<u8>,
    totals: Totals,
}

impl Node {
    fn new(mut plan: Plan) -> Self {
        let key = |id| Key::new(id, if id == 1 { b"the fuzzers' key" } else { b"their other key " });
        plan.keys.current = key(plan.keys.current.id);
        plan.keys.other = plan.keys.other.map(|other| key(other.id));
        let hops = plan.rules.iter().filter_map(|rule| match &rule.action {
            Action::NextHop(address) => Some(*address),
            _ => None,
        });
        let members = plan.target_sets.iter().flat_map(|set| &set.members).map(|member| member.address);
        let targets = hops.chain(members).collect();
        Self { snapshot: Snapshot::new(plan.clone()).expect("a good plan"), plan, targets }
    }

    fn flow(&self, choice: usize) -> Option<Flow> {
        let (source, listener) = FLOWS[choice];
        let destination = self.plan.listeners.get(usize::from(listener))?.address;
        let source = source.parse().expect("a socket address");
        Some(Flow { source, destination, listener: ListenerIndex(listener) })
    }

    /// Forwards `bytes` in a frame with so much room, filled with `junk`.
    fn run(
        &self,
        forwarder: &mut Forwarder,
        flow: Flow,
        bytes: &[u8],
        room: (usize, usize),
        junk: u8,
    ) -> Outcome {
        let stats = Stats::new();
        let mut frame = vec![junk; room.0 + bytes.len() + room.1].into_boxed_slice();
        frame[room.0..room.0 + bytes.len()].copy_from_slice(bytes);
        let mut datagram = Datagram::new(&mut frame, room.0, room.0 + bytes.len(), flow);
        let verdict = forwarder.forward(&self.snapshot, &stats, 0, &mut datagram);
        let payload = match verdict {
            Verdict::Transmit { .. } => datagram.payload().to_vec(),
            Verdict::Release => Vec::new(),
        };
        Outcome { verdict, payload, totals: stats.read() }
    }

    /// Takes one message through all checks, and returns what leaves.
    fn pass(&self, flow: Flow, bytes: &[u8], issued: &mut Issued) -> Option<Vec<u8>> {
        let mut forwarder = Forwarder::new();
        let outcome = self.run(&mut forwarder, flow, bytes, (HEADROOM, TAILROOM), b'#');
        let totals = &outcome.totals;
        assert!(totals.balance(), "received is not the sum of all fates: {totals:?}");
        assert_eq!(totals.counter(Counter::Received), 1);
        // The scratch of another message, other bytes around, other room.
        let _ = self.run(&mut forwarder, flow, DIRTY, (HEADROOM, TAILROOM), 0);
        let again = self.run(&mut forwarder, flow, bytes, (HEADROOM, TAILROOM), b'\n');
        assert_eq!(again, outcome, "the same message twice");
        let too_large = totals.replied(Reason::TooLarge) + totals.dropped(Reason::TooLarge) > 0;
        for headroom in [0, 77] {
            let other = self.run(&mut forwarder, flow, bytes, (headroom, 9_000), b';');
            assert!(
                too_large || other == outcome,
                "{headroom} bytes of headroom lead to {other:?}, not {outcome:?}"
            );
        }
        let mut steps = Vec::new();
        let decision = forwarder.decide(&self.snapshot, &flow, bytes, &mut steps);
        let Verdict::Transmit { egress, to } = outcome.verdict else { return None };
        let listener = self.snapshot.listener(egress).expect("a listener to leave by");
        assert!(is_usable(to) && listener.reaches(to.ip()), "{to} by {}", listener.name);
        if !too_large {
            let end = if matches!(decision, Decision::Forward { .. }) {
                forwarder.message().end
            } else {
                bytes.len()
            };
            same(&outcome.payload, &splice(&bytes[..end], forwarder.edits()), "the slow way");
        }
        let trusted =
            self.snapshot.listener(flow.listener).is_some_and(|l| self.snapshot.trusts(l, flow.source.ip()));
        match decision {
            _ if too_large => replied(bytes, &outcome.payload, Reason::TooLarge),
            Decision::Reply { reason, .. } => {
                assert!(trusted || to.ip() == flow.source.ip(), "a stranger's reply goes to {to}");
                replied(bytes, &outcome.payload, reason);
            }
            Decision::Forward { .. } => {
                let message = forwarder.message();
                if matches!(message.start_line(), Some(StartLine::Request { .. })) {
                    assert!(trusted || self.may_leave(to, &steps), "a stranger reaches {to}: {steps:?}");
                    request_forwarded(message, bytes, &outcome.payload, issued);
                } else {
                    response_forwarded(
                        message,
                        bytes,
                        &outcome.payload,
                        to,
                        self.plan.seal_responses,
                        issued,
                    );
                }
            }
            Decision::Absorb(_) | Decision::Drop(_) => panic!("{decision:?}, and yet something leaves"),
        }
        Some(outcome.payload)
    }

    /// Whether a stranger's request may go to `to`: a rule sends it there, or it proved that it belongs to a dialog of ours.
    fn may_leave(&self, to: SocketAddr, steps: &[Step]) -> bool {
        let proven = steps.iter().any(|step| {
            matches!(step, Step::Popped { proof: Proof::Proven, .. } | Step::StrictRouteUndone { .. })
        });
        proven || !self.plan.seal_routes || self.targets.contains(&to)
    }
}

/// The text with its stand-ins replaced by what `before` holds.
fn expand(text: &[u8], before: &[u8]) -> Vec<u8> {
    let mut message = Message::new();
    let _ = message.read(before);
    let vias: Vec<_> = message.fields().iter().filter(|field| field.name == Name::Via).collect();
    let nth_via = |n: usize| vias.get(n).map(|field| field.value.of(before)).unwrap_or_default();
    let (lines, _) = split(before).unwrap_or_default();
    let routes: Vec<_> = lines.iter().filter(|line| name_of(line) == b"record-route").collect();
    let nth_route = |n: usize| {
        let line = routes.get(n).map(|line| line.as_slice()).unwrap_or_default();
        let start = line.iter().position(|byte| *byte == b'<').map_or(0, |at| at + 1);
        let len = line[start..].iter().position(|byte| *byte == b'>').unwrap_or(0);
        &line[start..start + len]
    };
    let to = message.field(Name::To).and_then(|to| header_field::read_tag(before, to.value));
    let mut out = Vec::new();
    for byte in text {
        match byte {
            1 | 2 => out.extend_from_slice(nth_via(usize::from(*byte) - 1)),
            3 | 4 => out.extend_from_slice(nth_route(usize::from(*byte) - 3)),
            5 => out.extend_from_slice(to.map(|tag| tag.of(before)).unwrap_or_default()),
            6 => out.extend_from_slice(&[b'a'; 600]),
            other => out.push(*other),
        }
    }
    out.truncate(PAYLOAD_BYTES_MAX);
    out
}

/// What a reply of our own is: a response without body, not much larger than the request, that reads without fault unless the request was at fault.
fn replied(request: &[u8], reply: &[u8], reason: Reason) {
    const ADDED_BYTES_MAX: usize = 512;
    assert!(reply.len() <= request.len() + ADDED_BYTES_MAX, "{} bytes from {}", reply.len(), request.len());
    let mut message = Message::new();
    let fault = message.read(reply).err();
    assert!(matches!(message.start_line(), Some(StartLine::Response { .. })), "{}", escape(reply));
    assert!(reply.ends_with(b"\r\nContent-Length: 0\r\n\r\n"), "{}", escape(reply));
    let faulty = Message::new().read(request).is_err() || matches!(reason, Reason::BadVia | Reason::BadRoute);
    assert!(fault.is_none() || faulty, "the reply does not read: {fault:?}\n{}", escape(reply));
}

/// What a forwarded request is: the same, but for Request-URI, Via, Route, Record-Route and Max-Forwards, and with a Via of ours on top.
fn request_forwarded(message: &Message, bytes: &[u8], left: &[u8], issued: &mut Issued) {
    let mut after = Message::new();
    after.read(left).unwrap_or_else(|fault| panic!("what leaves does not read: {fault:?}\n{}", escape(left)));
    assert!(matches!(after.start_line(), Some(StartLine::Request { .. })), "{}", escape(left));
    let hops = message.max_forwards.map_or(70, |hops| hops - 1);
    assert_eq!(after.max_forwards, Some(hops), "Max-Forwards");
    let ((before, body), (lines, body_left)) =
        (split_forwarded(message, bytes), split(left).expect("a message"));
    same(&body_left, &body, "the body");
    let changing: [&[u8]; 5] = [b"via", b"v", b"route", b"record-route", b"max-forwards"];
    same(
        &others(&lines, &changing),
        &others(&before, &changing),
        "header fields that are no business of ours",
    );
    let (vias, vias_left) = (only(&before, &[b"via", b"v"]), only(&lines, &[b"via", b"v"]));
    assert_eq!(vias_left.len(), vias.len() + 1, "one Via is added");
    assert_eq!(vias_left[2..], vias[1..], "the lower Vias");
    let records = only(&before, &[b"record-route"]);
    assert!(only(&lines, &[b"record-route"]).ends_with(&records), "Record-Routes of others");
    let mut read = after
        .fields()
        .iter()
        .filter(|field| field.name == Name::Via)
        .map(|field| via::read(left, field.value.start(), field.value.end()).expect("a Via that reads"));
    let (ours, below) = (read.next().expect("our Via"), read.next().expect("the Via below"));
    let old = message.field(Name::Via).expect("a Via").value;
    let old = via::read(bytes, old.start(), old.end()).expect("a Via that reads");
    assert!(ours.proper && below.proper);
    assert_eq!(below.branch.of(left), old.branch.of(bytes), "the branch below");
    assert_eq!(below.sent_by.host.span.of(left), old.sent_by.host.span.of(bytes), "the sent-by below");
    assert!(below.rport != Rport::Asked, "rport is filled");
    issued.0.entry(ours.seal.of(left).to_vec()).or_default().push(return_address(left, &below));
}

/// What a forwarded response is: the same, but for the topmost Via. It goes where the request with that seal came from.
fn response_forwarded(
    message: &Message,
    bytes: &[u8],
    left: &[u8],
    to: SocketAddr,
    sealed: bool,
    issued: &Issued,
) {
    let mut after = Message::new();
    after.read(left).unwrap_or_else(|fault| panic!("what leaves does not read: {fault:?}\n{}", escape(left)));
    assert_eq!(after.start_line(), message.start_line());
    let ((before, body), (lines, body_left)) =
        (split_forwarded(message, bytes), split(left).expect("a message"));
    same(&body_left, &body, "the body");
    let vias: [&[u8]; 2] = [b"via", b"v"];
    same(&others(&lines, &vias), &others(&before, &vias), "header fields");
    let values =
        |lines: &[Vec<u8>]| only(lines, &vias).iter().flat_map(|l| via_values(l)).collect::<Vec<_>>();
    assert_eq!(values(&lines), values(&before)[1..], "one Via goes");
    let ours = message.field(Name::Via).expect("a Via").value;
    let ours = via::read(bytes, ours.start(), ours.end()).expect("a Via that reads");
    if let (true, Some(expected)) = (sealed, issued.0.get(ours.seal.of(bytes))) {
        assert!(expected.contains(&Some(to)), "a response to {expected:?} goes to {to}");
    }
}

/// 18.2.2 and RFC 3581 4, once more.
fn return_address(bytes: &[u8], via: &Via) -> Option<SocketAddr> {
    let port = via.sent_by.port.unwrap_or(5060);
    if let Some(maddr) = via.maddr {
        return host::address(maddr.value.of(bytes)).map(|ip| SocketAddr::new(ip, port));
    }
    let ip =
        via.received.map_or(via.sent_by.host.address, |received| host::address(received.value.of(bytes)));
    let port = if let Rport::Value(rport) = via.rport { rport } else { port };
    ip.map(|ip| SocketAddr::new(ip, port))
}

/// The start-line and header fields of a message, with their folds and without their last CRLF, and the body.
type Parts = (Vec<Vec<u8>>, Vec<u8>);

fn split(bytes: &[u8]) -> Option<Parts> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut rest = &bytes[..end];
    loop {
        let len = rest.windows(2).position(|w| w == b"\r\n").unwrap_or(rest.len());
        match lines.last_mut() {
            Some(last) if matches!(rest.first(), Some(b' ' | b'\t')) => {
                last.extend_from_slice(b"\r\n");
                last.extend_from_slice(&rest[..len]);
            }
            _ => lines.push(rest[..len].to_vec()),
        }
        if len == rest.len() {
            return Some((lines, bytes[end + 4..].to_vec()));
        }
        rest = &rest[len + 2..];
    }
}

/// The same of a message that was forwarded, so without what lies after its end.
fn split_forwarded(message: &Message, bytes: &[u8]) -> Parts {
    split(&bytes[..message.end]).expect("a message")
}

fn name_of(line: &[u8]) -> Vec<u8> {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    name.trim_ascii_end().to_ascii_lowercase()
}

/// The header fields that are called none of `names`.
fn others(lines: &[Vec<u8>], names: &[&[u8]]) -> Vec<u8> {
    let lines = lines.iter().skip(1).filter(|line| !names.contains(&&*name_of(line)));
    lines.flat_map(|line| [line, &b"\r\n"[..]].concat()).collect()
}

/// The header fields that are called one of `names`.
fn only(lines: &[Vec<u8>], names: &[&[u8]]) -> Vec<Vec<u8>> {
    lines.iter().skip(1).filter(|line| names.contains(&&*name_of(line))).cloned().collect()
}

/// The values of a Via line: split at commas outside of quotes.
fn via_values(line: &[u8]) -> Vec<String> {
    let at = line.iter().position(|byte| *byte == b':').map_or(0, |at| at + 1);
    let (mut values, mut quoted, mut escaped) = (vec![Vec::new()], false, false);
    for byte in &line[at..] {
        if *byte == b',' && !quoted {
            values.push(Vec::new());
            continue;
        }
        quoted ^= *byte == b'"' && !escaped;
        escaped = quoted && *byte == b'\\' && !escaped;
        values.last_mut().expect("a value").push(*byte);
    }
    values.iter().map(|value| escape(value.trim_ascii())).collect()
}

fn same(got: &[u8], expected: &[u8], what: &str) {
    assert!(got == expected, "{what}:\n{}", line_diff(expected, got));
}
