//! What becomes of a response (RFC 3261 16.7 steps 3, 8, 9, 16.11; 18.2.2): our Via goes, and the one below it says where to.

use super::Incoming;
use super::decision::{NextHop, Proof, Step, Stop, Witness};
use super::identity::Owner;
use super::seal::{Back, read_return_seal, spells};
use super::snapshot::is_usable;
use crate::edit::Edits;
use crate::io::ListenerIndex;
use crate::sip::header_field::Name;
use crate::sip::host;
use crate::sip::message::Field;
use crate::sip::scan;
use crate::sip::span::Span;
use crate::sip::via::{self, Rport, Via};
use crate::stats::{Absorbed, Reason};
use core::net::IpAddr;

/// Decides, and writes the edit that takes our Via off. Returns the listener to leave by, towards `to`.
///
/// # Errors
/// What stops it.
#[inline(always)]
pub fn decide<W: Witness>(
    incoming: Incoming<'_>,
    edits: &mut Edits,
    to: &mut NextHop,
    witness: &mut W,
) -> Result<ListenerIndex, Stop> {
    match forward(incoming, edits, to, witness) {
        Ok(Some(egress)) => Ok(egress),
        Ok(None) => Err(Stop::Absorb(Absorbed::OwnResponse)),
        Err(reason) => Err(Stop::Drop(reason)),
    }
}

#[inline(always)]
fn forward<W: Witness>(
    incoming: Incoming<'_>,
    edits: &mut Edits,
    to: &mut NextHop,
    witness: &mut W,
) -> Result<Option<ListenerIndex>, Reason> {
    let Incoming { snapshot, bytes, message, .. } = incoming;
    let index = message.first(Name::Via).ok_or(Reason::MissingVia)?;
    let field = &message.fields()[index];
    let ours = read(bytes, field, field.value.start())?;
    match snapshot.identity.owner(bytes, &ours.sent_by, false) {
        Some(Owner::Listener(_)) => {}
        Some(Owner::Domain) | None => return Err(Reason::ResponseViaNotOurs),
    }
    let next = match ours.next {
        Some(at) => Some((field, at)),
        None => message.next(Name::Via, index + 1).map(|i| {
            let field = &message.fields()[i];
            (field, field.value.start())
        }),
    };
    let Some((next_field, next_at)) = next else { return Ok(None) };
    let next_via = read(bytes, next_field, next_at)?;
    let (egress, proof) = prove(incoming, &ours, &next_via)?;
    witness.step(Step::ViaRemoved { via: ours.span, proof });
    edits.delete(match ours.next {
        Some(at) => Span::new(field.value.start(), scan::skip(bytes, at, field.value.end(), scan::LWS)),
        None => field.line,
    });
    let (ip, port) = address(bytes, &next_via).ok_or(Reason::ResponseNextHop)?;
    to.set(ip, port);
    let reaches = snapshot.listener(egress).is_some_and(|l| l.reaches(ip));
    if reaches && is_usable(ip, port) { Ok(Some(egress)) } else { Err(Reason::ResponseNextHop) }
}

#[inline(always)]
fn read(bytes: &[u8], field: &Field, at: usize) -> Result<Via, Reason> {
    via::read(bytes, at, field.value.end()).filter(|via| via.proper).ok_or(Reason::BadVia)
}

/// The listener that the return seal names, if the seal proves that the request came in by it with this Via, or if no proof is asked for.
#[inline(always)]
fn prove(incoming: Incoming<'_>, ours: &Via, next: &Via) -> Result<(ListenerIndex, Proof), Reason> {
    let Incoming { snapshot, flow, bytes, message } = incoming;
    let Some((key_id, listener_id, hash)) = read_return_seal(ours.seal.of(bytes)) else {
        return if snapshot.seal_responses {
            Err(Reason::ResponseForged)
        } else {
            Ok((flow.listener, Proof::Absent))
        };
    };
    let listener = snapshot.listener_by_id(listener_id);
    if !snapshot.seal_responses {
        return Ok((listener.unwrap_or(flow.listener), Proof::NotAsked));
    }
    let key = snapshot.keys.by_id(key_id).ok_or(Reason::ResponseForged)?;
    let call = key.call(message.value(Name::CallId, bytes));
    let hop = key.hop(call, bytes, next);
    let received = match next.received {
        Some(param) => Some(host::address(param.value.of(bytes)).ok_or(Reason::ResponseForged)?),
        None => None,
    };
    let rport = match next.rport {
        Rport::Value(port) => Some(port),
        Rport::Absent | Rport::Asked => None,
    };
    let back = Back { received, rport, maddr: next.maddr.map(|maddr| maddr.value.of(bytes)) };
    let proven = spells(hash, key.return_seal(hop, listener_id, &back));
    let listener = listener.filter(|_| proven).ok_or(Reason::ResponseForged)?;
    Ok((listener, Proof::Proven))
}

/// 18.2.2: `maddr`, else `received`, else sent-by; the port of `rport` (RFC 3581), else of sent-by, else 5060.
#[inline(always)]
fn address(bytes: &[u8], via: &Via) -> Option<(IpAddr, u16)> {
    let sent_by_port = via.sent_by.port.unwrap_or(5060);
    if let Some(maddr) = via.maddr {
        return Some((host::address(maddr.value.of(bytes))?, sent_by_port));
    }
    let ip = match via.received {
        Some(received) => host::address(received.value.of(bytes))?,
        None => via.sent_by.host.address?,
    };
    Some((ip, if let Rport::Value(port) = via.rport { port } else { sent_by_port }))
}
