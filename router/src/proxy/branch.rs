//! Our Via on a request, and what is filled in on the one below it (RFC 3261 16.6 step 8, 16.11, 18.2.1; RFC 3581).

use super::seal::{Back, Key};
use super::snapshot::Listener;
use crate::edit::{Edits, Text};
use crate::sip::scan::hex_digits;
use crate::sip::span::Span;
use crate::sip::via::{Rport, Via};
use core::net::{IpAddr, SocketAddr};

const RECEIVED: &[u8; 10] = b";received=";

/// What is filled in on the topmost Via of a request: what the way back needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filling<'b> {
    source: SocketAddr,
    received: Received,
    /// Whether `rport` gets its value.
    rport: bool,
    /// What the Via then says of the way back.
    pub back: Back<'b>,
}

/// What becomes of `received`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Received {
    /// It stays as it is, or away.
    Kept,
    /// It goes to the end of the Via.
    Added,
    /// It takes the place of the sender's own.
    Instead(Span),
}

impl<'b> Filling<'b> {
    /// What the Via of a request from `source` lacks.
    ///
    /// `received` goes in when sent-by is not literally the source address (18.2.1), and always when `rport` asks for a value (RFC 3581 4). One
    /// that the sender wrote itself is overwritten: where it differs from the source it is a lie.
    #[inline(always)]
    #[must_use]
    pub fn of(via: &Via, bytes: &'b [u8], source: SocketAddr) -> Self {
        let ip = source.ip();
        let asked = via.rport == Rport::Asked;
        let received = match via.received {
            None if asked || via.sent_by.host.address != Some(ip) => Received::Added,
            Some(param) if crate::sip::host::address(param.value.of(bytes)) != Some(ip) => {
                Received::Instead(param.whole)
            }
            _ => Received::Kept,
        };
        let rport = match via.rport {
            Rport::Absent => None,
            Rport::Asked => Some(source.port()),
            Rport::Value(port) => Some(port),
        };
        let says_received = via.received.is_some() || received == Received::Added;
        let maddr = via.maddr.map(|maddr| maddr.value.of(bytes));
        let back = Back { received: says_received.then_some(ip), rport, maddr };
        Self { source, received, rport: asked, back }
    }

    /// Whether anything changes.
    #[inline(always)]
    #[must_use]
    pub fn changes(&self) -> bool {
        self.rport || self.received != Received::Kept
    }

    /// Writes it.
    #[inline(always)]
    pub fn write(&self, via: &Via, edits: &mut Edits) {
        let (rport_end, end, ip) = (via.rport_param.end, via.span.end, self.source.ip());
        if self.rport && self.received == Received::Added && rport_end == end {
            return edits.insert(via.span.end(), |text| match ip {
                IpAddr::V4(ip) => text.put_port_and_address(b'=', self.source.port(), RECEIVED, ip),
                IpAddr::V6(_) => {
                    self.put_rport(text);
                    put_received(text, ip);
                }
            });
        }
        if self.rport {
            edits.insert(via.rport_param.end(), |text| self.put_rport(text));
        }
        match self.received {
            Received::Kept => {}
            Received::Added => edits.insert(via.span.end(), |text| put_received(text, ip)),
            Received::Instead(param) => edits.replace(param, |text| put_received(text, ip)),
        }
    }

    #[inline(always)]
    fn put_rport(&self, text: &mut Text) {
        text.put(b"=");
        text.put_decimal(u32::from(self.source.port()));
    }
}

#[inline(always)]
fn put_received(text: &mut Text, ip: IpAddr) {
    text.put(RECEIVED);
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
#[inline(always)]
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
