//! What only this cluster can have written: the keyed hashes behind the branch, the two seals and the To tag.
//!
//! All hang on two digests. *Call* is of the Call-ID. *Hop* is of Call and the values of one Via: sent-by and branch. From Hop follow the branch that
//! we give a request (RFC 3261 16.11), the return seal in our Via and the tag of our replies; from Call follows the route seal in our Record-Route.
//! Values, not bytes, go in: many user agents write a Via of a response anew, with other white space, case and order of parameters, and must still prove it.
//!
//! The hash is SipHash-1-3 with a key for each purpose, drawn from the one secret; 64 bits leave the node. Two nodes with one secret compute the same.

use crate::edit::text::parse_hex;
use crate::sip::scan::{self, LOWER};
use crate::sip::span::Span;
use crate::sip::via::Via;
use core::fmt;
use core::hash::Hasher as _;
use core::net::IpAddr;
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher24};

/// Length of a return seal: key id, listener id, hash.
pub const RETURN_SEAL_BYTES: usize = 2 + 4 + 16;
/// Length of a route seal: key id, position, hash.
pub const ROUTE_SEAL_BYTES: usize = 2 + 1 + 16;
/// Length of a To tag of ours: a letter and the hash.
pub const TAG_BYTES: usize = 1 + 16;
/// The letter that a To tag of ours begins with.
pub const TAG_PREFIX: u8 = b's';

/// Which value of a Record-Route pair a route seal stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Position {
    /// The only one: ingress and egress are the same listener.
    Single = b'0',
    /// The upper one, of the egress listener.
    Egress = b'1',
    /// The lower one, of the ingress listener.
    Ingress = b'2',
}

/// One secret of the cluster, under its id, with the keys drawn from it.
#[derive(Clone)]
pub struct Key {
    /// Its id, which every seal names.
    pub id: u8,
    call: Drawn,
    hop: Drawn,
    branch: Drawn,
    return_seal: Drawn,
    route_seal: Drawn,
    tag: Drawn,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key {{ id: {}, .. }}", self.id)
    }
}

impl Key {
    /// The key `id` with a secret of 16 bytes.
    #[must_use]
    pub fn new(id: u8, secret: &[u8; 16]) -> Self {
        let draw = |purpose: &str| {
            let mut hasher = SipHasher24::new_with_key(secret);
            hasher.write(b"sluice ");
            hasher.write(purpose.as_bytes());
            let hash = hasher.finish128();
            Drawn(hash.h1, hash.h2)
        };
        Self {
            id,
            call: draw("call"),
            hop: draw("hop"),
            branch: draw("branch"),
            return_seal: draw("return seal"),
            route_seal: draw("route seal"),
            tag: draw("to tag"),
        }
    }

    /// The digest of a Call-ID, byte for byte (RFC 3261 20.8).
    #[inline]
    #[must_use]
    pub fn call(&self, call_id: &[u8]) -> u64 {
        self.call.words().0.hash(call_id)
    }

    /// The digest of a Via's sent-by and branch within a call.
    #[inline]
    #[must_use]
    pub fn hop(&self, call: u64, bytes: &[u8], via: &Via) -> u64 {
        let host = via.sent_by.host;
        // Lengths tell the pieces apart; a missing port and 5060 are one value.
        let host_len = if host.address.is_some() { 0 } else { host.span.len() as u64 };
        let port = u64::from(via.sent_by.port.unwrap_or(5060));
        let mut words = self.hop.words();
        words.put(call);
        words.put(port << 32 | host_len << 16 | via.branch.len() as u64);
        match host.address {
            Some(IpAddr::V4(address)) => words.put(u64::from(address.to_bits()) | 1 << 32),
            Some(IpAddr::V6(address)) => {
                words.put(address.to_bits() as u64);
                words.put((address.to_bits() >> 64) as u64);
            }
            None => words.put_lower(bytes, host.span),
        }
        words.put_lower(bytes, via.branch);
        words.finish()
    }

    /// The hash after the magic cookie of our branch, for a request whose topmost Via has the magic cookie.
    #[inline]
    #[must_use]
    pub fn branch(&self, hop: u64, cseq_number: u32) -> u64 {
        self.branch.of_two(hop, u64::from(cseq_number))
    }

    /// The same for a request without it: over the longer list of RFC 3261 16.11.
    ///
    /// The To tag, which the RFC lists too, is left out: the ACK for a non-2xx has one where its INVITE had none, and the two must get the same branch.
    #[must_use]
    pub fn branch_without_cookie(
        &self,
        hop: u64,
        cseq_number: u32,
        from_tag: &[u8],
        request_uri: &[u8],
    ) -> u64 {
        let mut words = self.branch.words();
        words.put(hop);
        words.put(u64::from(cseq_number) | (from_tag.len() as u64) << 32);
        words.0.write(from_tag);
        words.0.write(request_uri);
        words.finish()
    }

    /// The hash of a return seal: the listener a request came in by, and all of the Via below ours, as we send it on, that a response is sent by.
    #[inline]
    #[must_use]
    pub fn return_seal(&self, hop: u64, listener_id: u16, back: &Back<'_>) -> u64 {
        let mut words = self.return_seal.words();
        words.put(hop);
        let rport = back.rport.map_or(0, |port| u64::from(port) | 1 << 16);
        let (kind, address) = match back.received {
            None => (0, 0),
            Some(IpAddr::V4(address)) => (1, u128::from(address.to_bits())),
            Some(IpAddr::V6(address)) => (2, address.to_bits()),
        };
        words.put(rport | u64::from(listener_id) << 32 | kind << 48);
        words.put(address as u64);
        if kind == 2 {
            words.put((address >> 64) as u64);
        }
        match back.maddr {
            None => words.finish(),
            Some(maddr) => words.finish_with_maddr(maddr),
        }
    }

    /// The hash of a route seal.
    #[inline]
    #[must_use]
    pub fn route_seal(&self, call: u64, ingress_id: u16, egress_id: u16, position: Position) -> u64 {
        self.route_seal
            .of_two(call, u64::from(ingress_id) | u64::from(egress_id) << 16 | (position as u64) << 32)
    }

    /// The hash in the To tag of a reply of our own: over what the ACK for it repeats (RFC 3261 17.1.1.3).
    #[inline]
    #[must_use]
    pub fn tag(&self, hop: u64, cseq_number: u32) -> u64 {
        self.tag.of_two(hop, u64::from(cseq_number))
    }
}

/// What a Via says, beside sent-by and branch, of the way back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Back<'b> {
    /// `received`
    pub received: Option<IpAddr>,
    /// `rport`
    pub rport: Option<u16>,
    /// `maddr`, as text.
    pub maddr: Option<&'b [u8]>,
}

/// A key for one purpose, as the two words that SipHash takes.
///
/// Words and not a hasher ready for use: of one that is begun on the spot the compiler knows that no bytes wait in it for their word
/// to be full, and what is left of putting a word is the round itself: 16 instructions instead of 30.
#[derive(Clone, Copy)]
struct Drawn(u64, u64);

impl Drawn {
    /// Begins a hash.
    #[inline]
    fn words(self) -> Words {
        Words(SipHasher13::new_with_keys(self.0, self.1))
    }

    /// The hash of two words.
    #[inline]
    fn of_two(self, first: u64, second: u64) -> u64 {
        let mut words = self.words();
        words.put(first);
        words.put(second);
        words.finish()
    }
}

/// A hash of whole words, each as its eight bytes in little-endian order.
struct Words(SipHasher13);

impl Words {
    #[inline(always)]
    fn put(&mut self, word: u64) {
        self.0.write_u64(word.to_le());
    }

    /// A text, eight bytes at a time, in lower case and with zeros after its end. Its length has to be put too.
    ///
    /// Always inlined: called, it would find the hash in memory and know nothing of it.
    #[inline(always)]
    fn put_lower(&mut self, bytes: &[u8], text: Span) {
        let (whole, rest) = text.of(bytes).as_chunks::<8>();
        for word in whole {
            self.put(u64::from_le_bytes(*word) | LOWER);
        }
        if !rest.is_empty() {
            self.put(scan::lower_word(bytes, text.end() - rest.len(), rest.len()));
        }
    }

    #[inline]
    fn finish(self) -> u64 {
        self.0.finish()
    }

    /// With `maddr` after the words. Hardly any Via has one, and no other has to pay for its odd length.
    #[cold]
    fn finish_with_maddr(mut self, maddr: &[u8]) -> u64 {
        self.0.write(b"maddr");
        maddr.iter().for_each(|byte| self.0.write_u8(byte.to_ascii_lowercase()));
        self.0.finish()
    }
}

/// The live keys: the one that seals, and the one that it replaces or that will replace it.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Seals and proves.
    pub current: Key,
    /// Proves only.
    pub other: Option<Key>,
}

impl Keys {
    /// The key called `id`, if it is live.
    #[inline]
    #[must_use]
    pub fn by_id(&self, id: u8) -> Option<&Key> {
        if self.current.id == id {
            return Some(&self.current);
        }
        self.other.as_ref().filter(|key| key.id == id)
    }

    /// All live keys.
    pub fn all(&self) -> impl Iterator<Item = &Key> {
        core::iter::once(&self.current).chain(&self.other)
    }
}

/// A return seal, read: key id, listener id, the text of the hash.
#[inline]
#[must_use]
pub fn read_return_seal(text: &[u8]) -> Option<(u8, u16, &[u8])> {
    if text.len() != RETURN_SEAL_BYTES {
        return None;
    }
    let ids = parse_hex(&text[..6])?;
    Some(((ids >> 16) as u8, ids as u16, &text[6..]))
}

/// Whether `text` spells `hash`, in either case.
#[inline]
#[must_use]
pub fn spells(text: &[u8], hash: u64) -> bool {
    let hash = scan::hex_digits(hash);
    let differs = |at: usize| (scan::word(text, at) | LOWER) ^ scan::word(&hash, at);
    text.len() == hash.len() && differs(0) | differs(8) == 0
}

/// A route seal, read: key id, position, the text of the hash.
#[inline]
#[must_use]
pub fn read_route_seal(text: &[u8]) -> Option<(u8, Position, &[u8])> {
    if text.len() != ROUTE_SEAL_BYTES {
        return None;
    }
    let position = match text[2] {
        b'0' => Position::Single,
        b'1' => Position::Egress,
        b'2' => Position::Ingress,
        _ => return None,
    };
    Some((parse_hex(&text[..2])? as u8, position, &text[3..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::via;

    fn hop(text: &str) -> u64 {
        let via = via::read(text.as_bytes(), 0, text.len()).unwrap();
        Key::new(1, &[7; 16]).hop(5, text.as_bytes(), &via)
    }

    #[test]
    fn hop_is_over_values() {
        let plain = hop("SIP/2.0/UDP Pbx.example:5060;branch=z9hG4bKabc;rport");
        for same in [
            "SIP/2.0/UDP pbx.example;branch=z9hG4bKabc",
            "sip / 2.0 / udp  PBX.EXAMPLE : 5060 ; rport=9 ; BRANCH = z9hg4bkABC ; received=192.0.2.1",
        ] {
            assert_eq!(hop(same), plain, "{same}");
        }
        for other in [
            "SIP/2.0/UDP pbx.example:5061;branch=z9hG4bKabc",
            "SIP/2.0/UDP pbx.example2;branch=z9hG4bKabc",
            "SIP/2.0/UDP pbx.example;branch=z9hG4bKabcd",
            "SIP/2.0/UDP pbx.example",
        ] {
            assert_ne!(hop(other), plain, "{other}");
        }
        let v6 = hop("SIP/2.0/UDP [2001:db8::1];branch=z9hG4bKabc");
        assert_eq!(v6, hop("SIP/2.0/UDP [2001:0DB8:0:0::1];branch=z9hG4bKabc"));
    }

    #[test]
    fn purposes_and_secrets_differ() {
        let (a, b) = (Key::new(1, &[7; 16]), Key::new(1, &[8; 16]));
        assert_ne!(a.branch(1, 1), b.branch(1, 1));
        assert_ne!(a.branch(1, 1), a.tag(1, 1));
        let seal = |listener_id, received: Option<&str>, rport, maddr: Option<&'static str>| {
            let received = received.map(|text| text.parse().unwrap());
            a.return_seal(1, listener_id, &Back { received, rport, maddr: maddr.map(str::as_bytes) })
        };
        let seals = [
            seal(1, None, None, None),
            seal(2, None, None, None),
            seal(1, Some("0.0.0.0"), None, None),
            seal(1, Some("::"), None, None),
            seal(1, None, Some(0), None),
            seal(1, None, None, Some("a")),
            seal(1, None, None, Some("b")),
        ];
        assert!((0..seals.len()).all(|i| !seals[i + 1..].contains(&seals[i])));
        assert_eq!(seal(1, None, None, Some("Host")), seal(1, None, None, Some("hOST")));
        assert_ne!(a.route_seal(1, 1, 2, Position::Egress), a.route_seal(1, 2, 1, Position::Egress));
        assert_ne!(a.route_seal(1, 1, 1, Position::Single), a.route_seal(1, 1, 1, Position::Egress));
    }
}
