//! Our Via on a request, and what is filled in on the one below it (RFC 3261 16.6 step 8, 16.11, 18.2.1; RFC 3581).

use super::seal::{Back, Key};
use super::snapshot::Listener;
use crate::edit::{Edits, Text};
use crate::sip::scan::hex_digits;
use crate::sip::via::{Rport, Via};
use core::net::{IpAddr, SocketAddr};

/// The Via below ours, as it stands when we send it on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filled<'b> {
    /// What it says of the way back.
    pub back: Back<'b>,
    /// Whether anything was changed.
    pub changed: bool,
}

/// Fills `received` and `rport` in the topmost Via of a request from `source`.
///
/// `received` goes in when sent-by is not literally the source address (18.2.1), and always when `rport` asks for a value (RFC 3581 4). One
/// that the sender wrote itself is overwritten: where it differs from the source it is a lie.
#[inline]
pub fn fill<'b>(edits: &mut Edits, bytes: &'b [u8], via: &Via, source: SocketAddr) -> Filled<'b> {
    let ip = source.ip();
    let asked = via.rport == Rport::Asked;
    let mut changed = asked;
    if asked {
        edits.insert(via.rport_param.end(), |text| {
            text.put(b"=");
            text.put_decimal(u32::from(source.port()));
        });
    }
    let literal = via.sent_by.host.address == Some(ip);
    let received = match via.received {
        Some(param) => {
            if crate::sip::host::address(param.value.of(bytes)) != Some(ip) {
                edits.replace(param.whole, |text| put_received(text, ip));
                changed = true;
            }
            Some(ip)
        }
        None if asked || !literal => {
            edits.insert(via.span.end(), |text| put_received(text, ip));
            changed = true;
            Some(ip)
        }
        None => None,
    };
    let rport = match via.rport {
        Rport::Absent => None,
        Rport::Asked => Some(source.port()),
        Rport::Value(port) => Some(port),
    };
    let maddr = via.maddr.map(|maddr| maddr.value.of(bytes));
    Filled { back: Back { received, rport, maddr }, changed }
}

#[inline]
fn put_received(text: &mut Text, ip: IpAddr) {
    text.put(b";received=");
    text.put_address(ip);
}

/// What goes into our Via.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The hash after the magic cookie.
    pub branch: u64,
    /// The hash of the return seal.
    pub return_seal: u64,
    /// The id of the listener that the request came in by.
    pub ingress_id: u16,
    /// The loop mark, in hexadecimal.
    pub mark: [u8; 16],
}

/// What follows [`Listener::via_head`], with letters where the hashes and the ids go.
const VIA_TAIL: &[u8; 68] = b"bbbbbbbbbbbbbbbb;seal=kkllllrrrrrrrrrrrrrrrr;mark=mmmmmmmmmmmmmmmm\r\n";

/// Writes our Via, with its CRLF.
#[inline]
pub fn put_via(text: &mut Text, egress: &Listener, key: &Key, stamp: &Stamp) {
    text.put(&egress.via_head);
    text.put_within(|tail| {
        *tail = *VIA_TAIL;
        let ids = hex_digits(u64::from(key.id) << 16 | u64::from(stamp.ingress_id));
        tail[..16].copy_from_slice(&hex_digits(stamp.branch));
        tail[22..28].copy_from_slice(&ids[10..]);
        tail[28..44].copy_from_slice(&hex_digits(stamp.return_seal));
        tail[50..66].copy_from_slice(&stamp.mark);
        tail.len()
    });
}
