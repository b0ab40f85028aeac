//! IPv6, and the extension headers that a receiver skips (RFC 8200 3, 4).
//!
//! ```text
//! | version, traffic class, flow label: 4 | payload length: 2 | next header: 1 | hop limit: 1 |
//! | source: 16 | destination: 16 | extension headers | what it carries
//! ```
//!
//! Hop-by-hop options, destination options, and a routing header that has come to its end are skipped. As RFC 8200 4.2 demands, an option that is not known stops the packet
//! unless its type says "skip"; those that are known here are the two that pad. Fragments are put together elsewhere.

use super::{Odd, udp};
use core::net::Ipv6Addr;
use core::ops::Range;

/// Bytes of the header, without extension headers.
pub const BYTES: usize = 40;

/// EtherType of IPv6.
pub const ETHER_TYPE: u16 = 0x86dd;

/// As for IPv4.
const HOP_LIMIT: u8 = 64;

/// Most extension headers before UDP. RFC 8200 4.1 has an order in which hop-by-hop options and the routing header come once and
/// destination options twice; more than that is nobody's use and everybody's time.
const EXTENSIONS_MAX: usize = 4;

/// Numbers of the extension headers (RFC 8200 4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// The option that is one zero byte, and the only one without a length.
const PAD1: u8 = 0;

/// Bits of an option's type that say what becomes of the packet where it is not known; none of them: it is skipped.
const NOT_SKIPPED: u8 = 0xc0;

/// The header, as far as it differs from one of our datagrams to the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv6 {
    /// Bytes of extension headers and what follows them.
    pub payload_length: u16,
    /// Who it is from.
    pub source: Ipv6Addr,
    /// Who it is for.
    pub destination: Ipv6Addr,
}

impl Ipv6 {
    /// Reads the header at the beginning of `bytes`, and says where there, behind extension headers, what it carries stands. What
    /// follows that is padding.
    ///
    /// # Errors
    /// Those of the name `Ipv6`.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<(Self, Range<usize>), Odd> {
        let Some((header, rest)) = bytes.split_first_chunk::<BYTES>() else { return Err(Odd::Ipv6Short) };
        let (&[version, _, _, _, a, b, next, _], addresses) =
            header.split_first_chunk::<8>().ok_or(Odd::Ipv6Short)?;
        let (source, destination) = addresses.split_first_chunk::<16>().ok_or(Odd::Ipv6Short)?;
        let destination = destination.first_chunk::<16>().ok_or(Odd::Ipv6Short)?;
        if version >> 4 != 6 {
            return Err(Odd::Ipv6Version);
        }
        let payload_length = u16::from_be_bytes([a, b]);
        let payload = rest.get(..usize::from(payload_length)).ok_or(Odd::Ipv6Length)?;
        let extension_bytes = if next == udp::PROTOCOL { 0 } else { extensions(next, payload)? };
        let header = Self { payload_length, source: (*source).into(), destination: (*destination).into() };
        Ok((header, BYTES + extension_bytes..BYTES + payload.len()))
    }

    /// Writes the header: UDP follows, traffic class and flow label 0, hop limit 64.
    #[inline]
    pub fn write(&self, room: &mut [u8; BYTES]) {
        let [a, b] = self.payload_length.to_be_bytes();
        // The lengths of all three parts are known here, so that nothing can be out of range.
        let (fields, addresses) = room.split_at_mut(8);
        let (source, destination) = addresses.split_at_mut(16);
        fields.copy_from_slice(&[0x60, 0, 0, 0, a, b, udp::PROTOCOL, HOP_LIMIT]);
        source.copy_from_slice(&self.source.octets());
        destination.copy_from_slice(&self.destination.octets());
    }
}

/// Bytes of the extension headers at the beginning of `bytes`, of which the first is of the type `next`, and UDP follows the last.
#[cold]
fn extensions(mut next: u8, bytes: &[u8]) -> Result<usize, Odd> {
    let mut at = 0;
    for place in 0..=EXTENSIONS_MAX {
        if next == udp::PROTOCOL {
            return Ok(at);
        }
        let rest = bytes.get(at..).unwrap_or_default();
        match next {
            // RFC 8200 4.1: nowhere but first.
            HOP_BY_HOP if place > 0 => return Err(Odd::Ipv6Extension),
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING => {}
            FRAGMENT => return Err(Odd::Ipv6Fragment),
            _ => return Err(Odd::Ipv6NextHeader),
        }
        let &[following, length, _, segments_left] = rest.first_chunk::<4>().ok_or(Odd::Ipv6Extension)?;
        let len = 8 * (usize::from(length) + 1);
        let header = rest.get(..len).ok_or(Odd::Ipv6Extension)?;
        if next != ROUTING {
            skip_options(header.get(2..).unwrap_or_default())?;
        } else if segments_left != 0 {
            return Err(Odd::Ipv6Routing);
        }
        next = following;
        at += len;
    }
    Err(Odd::Ipv6Extension)
}

/// Looks through the options of an extension header for one that may not be skipped (RFC 8200 4.2).
fn skip_options(mut options: &[u8]) -> Result<(), Odd> {
    while let Some((kind, rest)) = options.split_first() {
        if *kind == PAD1 {
            options = rest;
            continue;
        }
        if kind & NOT_SKIPPED != 0 {
            return Err(Odd::Ipv6Option);
        }
        let (length, rest) = rest.split_first().ok_or(Odd::Ipv6Extension)?;
        options = rest.get(usize::from(*length)..).ok_or(Odd::Ipv6Extension)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Ipv6 = Ipv6 {
        payload_length: 12,
        source: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        destination: Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 0xfffe),
    };

    /// The header before `payload`, and then `padding` bytes that are none of its.
    fn packet(next: u8, payload: &[u8], padding: usize) -> Vec<u8> {
        let mut bytes = [0x60, 0, 0, 0, 0, payload.len() as u8, next, 64].to_vec();
        bytes.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0xff, 0xfe]);
        bytes.extend(payload);
        bytes.resize(bytes.len() + padding, 0xee);
        bytes
    }

    /// Where UDP stands behind `extensions`, in the payload.
    fn read_behind(next: u8, extensions: &[&[u8]]) -> Result<usize, Odd> {
        let payload = [&extensions.concat()[..], b"12345678"].concat();
        let (header, range) = Ipv6::read(&packet(next, &payload, 3))?;
        assert_eq!((header.source, header.destination), (ONE.source, ONE.destination));
        assert_eq!(range.end, BYTES + payload.len());
        Ok(range.start - BYTES)
    }

    const PADDED: [u8; 8] = [17, 0, 1, 4, 0, 0, 0, 0];

    #[test]
    fn read_and_written() {
        for padding in [0, 7] {
            assert_eq!(Ipv6::read(&packet(17, b"0123456789ab", padding)), Ok((ONE, 40..52)));
        }
        let mut room = [0xff; BYTES];
        ONE.write(&mut room);
        assert_eq!(room, packet(17, b"0123456789ab", 0)[..BYTES]);
    }

    #[test]
    fn traffic_class_flow_label_and_hop_limit_do_not_matter() {
        let mut bytes = packet(17, b"0123456789ab", 0);
        bytes[..4].copy_from_slice(&[0x6f, 0xff, 0xff, 0xff]);
        bytes[7] = 1;
        assert_eq!(Ipv6::read(&bytes), Ok((ONE, 40..52)));
    }

    #[test]
    fn extension_headers_are_skipped() {
        let then = |next, rest: &[u8]| [&[next, (rest.len() / 8) as u8], rest].concat();
        for next in [HOP_BY_HOP, DESTINATION_OPTIONS] {
            assert_eq!(read_behind(next, &[&PADDED]), Ok(8));
            assert_eq!(read_behind(next, &[&then(17, &[0; 14])]), Ok(16), "many of one byte");
            assert_eq!(read_behind(next, &[&then(17, &[5, 2, 0, 0, 0, 0])]), Ok(8), "router alert: skip");
        }
        // Of a routing header only the segments left are looked at.
        assert_eq!(read_behind(ROUTING, &[&then(17, &[4, 0, 0xff, 0xff, 0xff, 0xff])]), Ok(8));
        let all: [&[u8]; 4] = [
            &then(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]),
            &then(ROUTING, &[0x3e, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            &then(DESTINATION_OPTIONS, &[4, 0, 0xc0, 0xc0, 0xc0, 0xc0]),
            &then(17, &[0, 1, 3, 0, 0, 0]),
        ];
        assert_eq!(read_behind(HOP_BY_HOP, &all), Ok(40));
    }

    #[test]
    fn every_cause() {
        let bytes = packet(17, b"0123456789ab", 0);
        for len in 0..BYTES {
            assert_eq!(Ipv6::read(&bytes[..len]), Err(Odd::Ipv6Short));
        }
        for len in BYTES..bytes.len() {
            assert_eq!(Ipv6::read(&bytes[..len]), Err(Odd::Ipv6Length));
        }
        for version in (0..16).filter(|version| *version != 6) {
            let mut bytes = bytes.clone();
            bytes[0] = version << 4;
            assert_eq!(Ipv6::read(&bytes), Err(Odd::Ipv6Version));
        }
        for next in 0..=u8::MAX {
            let cause = match next {
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | udp::PROTOCOL => continue,
                FRAGMENT => Odd::Ipv6Fragment,
                _ => Odd::Ipv6NextHeader,
            };
            assert_eq!(read_behind(next, &[]), Err(cause));
            let to_it = [next, 0, 1, 4, 0, 0, 0, 0];
            assert_eq!(read_behind(DESTINATION_OPTIONS, &[&to_it]), Err(cause), "behind another");
        }
    }

    #[test]
    fn extension_headers_that_stop_a_packet() {
        for kind in 0..=u8::MAX {
            let read = read_behind(DESTINATION_OPTIONS, &[&[17, 0, kind, 4, 0, 0, 0, 0]]);
            assert_eq!(read, if kind < 0x40 { Ok(8) } else { Err(Odd::Ipv6Option) });
        }
        for segments_left in 1..=u8::MAX {
            let routing = [17, 0, 4, segments_left, 0, 0, 0, 0];
            assert_eq!(read_behind(ROUTING, &[&routing]), Err(Odd::Ipv6Routing));
        }
        let behind = [HOP_BY_HOP, 0, 1, 4, 0, 0, 0, 0];
        assert_eq!(read_behind(DESTINATION_OPTIONS, &[&behind, &PADDED]), Err(Odd::Ipv6Extension));
        assert_eq!(read_behind(HOP_BY_HOP, &[&behind, &PADDED]), Err(Odd::Ipv6Extension));
        let again = [DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0];
        assert_eq!(read_behind(DESTINATION_OPTIONS, &[&again, &again, &again, &PADDED]), Ok(32));
        let five: [&[u8]; 5] = [&again, &again, &again, &again, &PADDED];
        assert_eq!(read_behind(DESTINATION_OPTIONS, &five), Err(Odd::Ipv6Extension));
        // Longer than the packet, or an option longer than its header, or without its length.
        assert_eq!(read_behind(HOP_BY_HOP, &[&[17, 2, 1, 4, 0, 0, 0, 0]]), Err(Odd::Ipv6Extension));
        assert_eq!(read_behind(HOP_BY_HOP, &[&[17, 0, 1, 5, 0, 0, 0, 0]]), Err(Odd::Ipv6Extension));
        assert_eq!(read_behind(HOP_BY_HOP, &[&[17, 0, 1, 3, 0, 0, 0, 1]]), Err(Odd::Ipv6Extension));
        for len in 0..8 {
            let bytes = packet(HOP_BY_HOP, &PADDED[..len], 0);
            assert_eq!(Ipv6::read(&bytes), Err(Odd::Ipv6Extension), "cut to {len}");
        }
    }
}
