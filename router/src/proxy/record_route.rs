//! Our Record-Route: single, or a pair where a request changes listeners (RFC 3261 16.6 step 4, RFC 5658), and its seal.

use super::decision::Proof;
use super::seal::{Call, Key, Keys, Position, read_route_seal, spells};
use super::snapshot::Listener;
use crate::edit::Text;

/// Writes the Record-Route of a request, each value with its CRLF: one where it leaves by the listener it came in by, else two, the egress's on top.
///
/// Both lines stand above any other Record-Route because they are put in above everything.
pub fn put_record_route(text: &mut Text, key: Option<(&Key, Call)>, ingress: &Listener, egress: &Listener) {
    let mut put = |listener: &Listener, pair: &[u8], position| {
        text.put(b"Record-Route: ");
        text.put(&listener.route_head);
        text.put(pair);
        if let Some((key, call)) = key {
            text.put(b";seal=");
            text.put_hex_digits(u64::from(key.id), 2);
            text.put(&[position as u8]);
            text.put_hex(key.route_seal(call, ingress.id, egress.id, position));
        }
        text.put(b">\r\n");
    };
    if ingress.id == egress.id {
        put(egress, b"", Position::Single);
    } else {
        put(egress, b";r2=on", Position::Egress);
        put(ingress, b";r2=on", Position::Ingress);
    }
}

/// Whether `seal` proves that this cluster wrote the URI that it stands in into a Record-Route of this call.
///
/// `call` is the digest of `call_id` by the current key. `this` is the listener that the URI names, `partner` the one that the other value of the pair names, if there is one.
#[inline]
#[must_use]
pub fn prove<'b>(
    keys: &Keys,
    (call, call_id): (Call, impl FnOnce() -> &'b [u8]),
    seal: &[u8],
    this: &Listener,
    partner: Option<&Listener>,
) -> Proof {
    let Some((key_id, position, hash)) = read_route_seal(seal) else { return Proof::Absent };
    let Some(key) = keys.by_id(key_id) else { return Proof::Wrong };
    let (ingress, egress) = match (position, partner) {
        (Position::Single, _) => (this, this),
        (Position::Egress, Some(partner)) => (partner, this),
        (Position::Ingress, Some(partner)) => (this, partner),
        (Position::Egress | Position::Ingress, None) => return Proof::Wrong,
    };
    let call = if key.id == keys.current.id { call } else { key.call(call_id()) };
    if spells(hash, key.route_seal(call, ingress.id, egress.id, position)) {
        Proof::Proven
    } else {
        Proof::Wrong
    }
}
