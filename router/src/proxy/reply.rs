//! Replies of our own, written over the request (RFC 3261 8.2.6, 8.2.7, 18.2.2).

use super::Incoming;
use super::branch::Filling;
use super::rules::{Action, Rule};
use super::seal::{Key, TAG_BYTES, TAG_PREFIX};
use super::snapshot::is_usable;
use crate::edit::Edits;

use crate::sip::header_field::{self, Name};
use crate::sip::host;
use crate::sip::message::Message;
use crate::sip::span::Span;
use crate::sip::start_line::{Method, StartLine};
use crate::sip::via::{self, Rport, Via};
use crate::stats::Reason;
use core::net::{IpAddr, SocketAddr};

/// What is sent back of the methods, bodies and extensions that this proxy deals with, in the answer to OPTIONS.
///
/// It forwards any method and any body, and has no extension of its own to offer.
const CAPABILITIES: &[u8] =
    b"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, SUBSCRIBE, NOTIFY, PUBLISH, INFO, \
REFER, MESSAGE, UPDATE\r\nAccept: */*\r\nSupported:\r\n";

/// What a 503 asks for before the next try, in seconds (RFC 3261 21.5.4): long enough to spare us, short enough for a route that is mended.
const RETRY_AFTER: &[u8] = b"Retry-After: 30\r\n";

/// Writes the edits that make a reply of the request, and returns where it goes.
///
/// # Errors
/// It cannot be answered: it is an ACK, or its topmost Via cannot be read, or the address there cannot be sent to.
pub fn compose(
    incoming: &Incoming<'_>,
    trusted: bool,
    reason: Reason,
    rule: Option<&Rule>,
    edits: &mut Edits,
) -> Result<SocketAddr, Reason> {
    let Incoming { snapshot, flow, bytes, message } = *incoming;
    let Some(StartLine::Request { method, .. }) = message.start_line() else { return Err(reason) };
    let via_field = message.field(Name::Via).ok_or(reason)?;
    let via = via::read(bytes, via_field.value.start(), via_field.value.end()).ok_or(reason)?;
    let (status, phrase) = status_line(reason, rule);
    if method == Method::Ack || status == 0 {
        return Err(reason);
    }
    let to = destination(&via, bytes, flow.source, trusted).ok_or(reason)?;
    edits.clear();
    edits.replace(message.start_line_span, |text| {
        text.put(b"SIP/2.0 ");
        text.put_decimal(u32::from(status));
        text.put(b" ");
        text.put(phrase.as_bytes());
    });
    Filling::of(&via, bytes, flow.source).write(&via, edits);
    let tag = tag(&snapshot.keys.current, bytes, message, &via);
    let kept_end = keep_fields(message, bytes, &tag, edits);
    // From the last kept field on everything goes, the empty line and the body too, and comes anew.
    edits.replace(Span::new(kept_end, bytes.len()), |text| {
        match (reason, rule.map(|rule| &rule.action)) {
            (_, Some(Action::Redirect { contacts })) => text.put(contacts.as_bytes()),
            (Reason::Options, _) => text.put(CAPABILITIES),
            (Reason::ProxyRequire, _) => put_unsupported(text, message, bytes),
            _ if status == 503 => text.put(RETRY_AFTER),
            _ => {}
        }
        text.put(b"Content-Length: 0\r\n\r\n");
    });
    Ok(to)
}

fn status_line(reason: Reason, rule: Option<&Rule>) -> (u16, &str) {
    match rule.map(|rule| &rule.action) {
        Some(Action::Reply { status, phrase }) => (*status, phrase),
        _ => (reason.status(), reason.phrase()),
    }
}

/// Deletes all but Via, From, To, Call-ID and CSeq, each of the last four once, and puts our tag on a To that has none. Returns the end of the last kept field.
fn keep_fields(message: &Message, bytes: &[u8], tag: &[u8; TAG_BYTES], edits: &mut Edits) -> usize {
    let mut kept_end = message.start_line_span.end() + 2;
    for (index, field) in message.fields().iter().enumerate() {
        let once = message.first(field.name) == Some(index);
        let kept = match field.name {
            Name::Via => true,
            Name::From | Name::To | Name::CallId | Name::CSeq => once,
            _ => false,
        };
        if !kept {
            continue;
        }
        if field.line.start() > kept_end {
            edits.delete(Span::new(kept_end, field.line.start()));
        }
        kept_end = field.line.end();
        if field.name == Name::To && !has_tag(bytes, field.value) {
            edits.insert(field.value.end(), |text| {
                text.put(b";tag=");
                text.put(tag);
            });
        }
    }
    kept_end
}

/// Whether a To has a tag. One that is not by the grammar may have something like it, and a second would make it worse.
fn has_tag(bytes: &[u8], to: Span) -> bool {
    match header_field::read_tag(bytes, to) {
        Some(tag) => !tag.is_empty(),
        None => to.of(bytes).windows(5).any(|w| w.eq_ignore_ascii_case(b";tag=")),
    }
}

/// All option tags of Proxy-Require; this proxy supports none.
fn put_unsupported(text: &mut crate::edit::Text, message: &Message, bytes: &[u8]) {
    for field in message.fields().iter().filter(|field| field.name == Name::ProxyRequire) {
        text.put(b"Unsupported: ");
        text.put(field.value.of(bytes));
        text.put(b"\r\n");
    }
}

/// Where a reply goes (18.2.2, RFC 3581 4): the source address, at the port of `rport`, which is the source's where it was asked for, else of sent-by.
///
/// `maddr` is honoured for trusted sources only. A stranger could have replies sent to anybody by it; this is a security default.
fn destination(via: &Via, bytes: &[u8], source: SocketAddr, trusted: bool) -> Option<SocketAddr> {
    let port = match via.rport {
        Rport::Asked => source.port(),
        Rport::Value(port) => port,
        Rport::Absent => via.sent_by.port.unwrap_or(5060),
    };
    let maddr = via.maddr.filter(|_| trusted);
    let address = match maddr {
        Some(maddr) => {
            SocketAddr::new(host::address(maddr.value.of(bytes))?, via.sent_by.port.unwrap_or(5060))
        }
        None => SocketAddr::new(source.ip(), port),
    };
    let same_family = address.is_ipv4() == source.is_ipv4();
    (same_family && is_usable(address.ip(), address.port())).then_some(address)
}

/// The tag that our reply to this request has, and that the ACK for it must have.
#[must_use]
pub fn tag(key: &Key, bytes: &[u8], message: &Message, via: &Via) -> [u8; TAG_BYTES] {
    let call = key.call(message.value(Name::CallId, bytes));
    let hash = key.tag(key.hop(call, bytes, via), message.cseq.number);
    let mut tag = [TAG_PREFIX; TAG_BYTES];
    tag[1..].copy_from_slice(&crate::sip::scan::hex_digits(hash));
    tag
}

/// Whether this ACK is for a reply of our own: its To tag is the one that we would give, with any live key.
#[must_use]
pub fn is_ack_of_own(incoming: &Incoming<'_>, via: &Via) -> bool {
    let Incoming { snapshot, bytes, message, .. } = *incoming;
    let to_tag = message.to_tag.of(bytes);
    to_tag.len() == TAG_BYTES
        && to_tag[0] == TAG_PREFIX
        && snapshot.keys.all().any(|key| tag(key, bytes, message, via) == to_tag)
}

/// Whether a stranger's Via asks for responses to be sent to somebody else.
#[must_use]
pub fn maddr_points_elsewhere(via: &Via, bytes: &[u8], source: IpAddr) -> bool {
    via.maddr.is_some_and(|maddr| host::address(maddr.value.of(bytes)) != Some(source))
}
