//! What a message that leaves must be, compared with the one that came.

use super::{Parts, name_of, same, split, trim};
use crate::escape;
use sluice::sip::Message;
use sluice::sip::header_field::Name;
use sluice::sip::host;
use sluice::sip::start_line::StartLine;
use sluice::sip::via::{self, Rport, Via};
use sluice::stats::Reason;
use std::collections::HashMap;
use std::net::SocketAddr;

/// What left with a return seal, and where a response to it may go.
#[derive(Default)]
pub(super) struct Issued(HashMap<Vec<u8>, Vec<Option<SocketAddr>>>);

impl Issued {
    /// Whether a response may go to `to`: a request with the seal of its topmost Via came from there. Of seals that were not issued here nothing is said.
    pub(super) fn allows(&self, message: &Message, bytes: &[u8], to: SocketAddr) -> bool {
        let ours = message.field(Name::Via).expect("a Via").value;
        let ours = via::read(bytes, ours.start(), ours.end()).expect("a Via that reads");
        self.0.get(ours.seal.of(bytes)).is_none_or(|addresses| addresses.contains(&Some(to)))
    }
}

/// What a reply of our own is: a response without body, not much larger than the request, that reads without fault unless the request was at fault.
pub(super) fn replied(request: &[u8], reply: &[u8], reason: Reason) {
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
pub(super) fn request_forwarded(message: &Message, bytes: &[u8], left: &[u8], issued: &mut Issued) {
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
    let given = ours.maddr.is_some() || ours.received.is_some() || ours.rport != Rport::Absent;
    assert!(
        !given && ours.next.is_none(),
        "our Via has more than we gave it: {}",
        escape(ours.span.of(left))
    );
    assert!(!ours.span.of(left).contains(&b'\n'), "our Via is one line");
    assert_eq!(below.branch.of(left), old.branch.of(bytes), "the branch below");
    assert_eq!(below.sent_by.host.span.of(left), old.sent_by.host.span.of(bytes), "the sent-by below");
    assert!(below.rport != Rport::Asked, "rport is filled");
    issued.0.entry(ours.seal.of(left).to_vec()).or_default().push(return_address(left, &below));
}

/// What a forwarded response is: the same, but for the topmost Via.
pub(super) fn response_forwarded(message: &Message, bytes: &[u8], left: &[u8]) {
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

/// The same of a message that was forwarded, so without what lies after its end.
fn split_forwarded(message: &Message, bytes: &[u8]) -> Parts {
    split(&bytes[..message.end]).expect("a message")
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
    values.iter().map(|value| escape(trim(value, b" \t\r\n"))).collect()
}
