//! IPv4 without options (RFC 791 3.1).
//!
//! ```text
//! | version, IHL: 1 | TOS: 1 | total length: 2 | identification: 2 | flags, fragment offset: 2 |
//! | TTL: 1 | protocol: 1 | header checksum: 2 | source: 4 | destination: 4 | what it carries
//! ```
//!
//! Only whole UDP datagrams are taken: fragments are put together elsewhere. TOS and TTL are not looked at, as in any host that a packet has come to.

use super::checksum::Sum;
use super::{Odd, udp};
use core::net::Ipv4Addr;
use core::ops::Range;

/// Bytes of the header.
pub const BYTES: usize = 20;

/// EtherType of IPv4.
pub const ETHER_TYPE: u16 = 0x0800;

/// Version 4, and a header of five words of 32 bits.
const VERSION_AND_IHL: u8 = 0x45;

/// What RFC 1700 recommends.
const TTL: u8 = 64;

/// More fragments, and the fragment offset; not "don't fragment", nor the bit that must be 0 and that no receiver looks at.
const IS_FRAGMENT: u16 = 0x3fff;

/// The header, as far as it differs from one of our datagrams to the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4 {
    /// Bytes of header and what it carries.
    pub total_length: u16,
    /// What tells the fragments of one datagram from those of another.
    pub identification: u16,
    /// Who it is from.
    pub source: Ipv4Addr,
    /// Who it is for.
    pub destination: Ipv4Addr,
}

impl Ipv4 {
    /// Reads the header at the beginning of `bytes`, and says where there what it carries stands. What follows that is padding.
    ///
    /// # Errors
    /// Those of the name `Ipv4`.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<(Self, Range<usize>), Odd> {
        let Some(header) = bytes.first_chunk::<BYTES>() else { return Err(Odd::Ipv4Short) };
        let &[version_and_ihl, _, a, b, c, d, e, f, _, protocol, _, _, g, h, i, j, k, l, m, n] = header;
        let [total_length, identification, fragment] = [[a, b], [c, d], [e, f]].map(u16::from_be_bytes);
        if version_and_ihl != VERSION_AND_IHL {
            return Err(odd_begin(version_and_ihl));
        }
        if !Sum::of_header(header).is_zero() {
            return Err(Odd::Ipv4Checksum);
        }
        let end = usize::from(total_length);
        if end < BYTES || end > bytes.len() {
            return Err(Odd::Ipv4Length);
        }
        if fragment & IS_FRAGMENT != 0 {
            return Err(Odd::Ipv4Fragment);
        }
        if protocol != udp::PROTOCOL {
            return Err(Odd::Ipv4Protocol);
        }
        let (source, destination) = (Ipv4Addr::new(g, h, i, j), Ipv4Addr::new(k, l, m, n));
        Ok((Self { total_length, identification, source, destination }, BYTES..end))
    }

    /// Writes the header with its checksum: UDP, TOS 0, may be fragmented, not a fragment, TTL 64.
    #[inline]
    pub fn write(&self, room: &mut [u8; BYTES]) {
        let ([a, b], [c, d]) = (self.total_length.to_be_bytes(), self.identification.to_be_bytes());
        let ([g, h, i, j], [k, l, m, n]) = (self.source.octets(), self.destination.octets());
        let header =
            |p, q| [VERSION_AND_IHL, 0, a, b, c, d, 0, 0, TTL, udp::PROTOCOL, p, q, g, h, i, j, k, l, m, n];
        let [p, q] = Sum::of_header(&header(0, 0)).complement().to_be_bytes();
        *room = header(p, q);
    }
}

/// Why a header that does not begin with [`VERSION_AND_IHL`] is not taken.
#[cold]
fn odd_begin(version_and_ihl: u8) -> Odd {
    match (version_and_ihl >> 4, version_and_ihl & 0x0f) {
        (4, 6..) => Odd::Ipv4Options,
        (4, _) => Odd::Ipv4HeaderLength,
        _ => Odd::Ipv4Version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that is everywhere; its checksum is 0xb861.
    const BYTES_OF_ONE: [u8; BYTES] = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0,
        0xa8, 0x00, 0xc7,
    ];
    const ONE: Ipv4 = Ipv4 {
        total_length: 115,
        identification: 0,
        source: Ipv4Addr::new(192, 168, 0, 1),
        destination: Ipv4Addr::new(192, 168, 0, 199),
    };

    /// The header with `change` made to it and 95 bytes behind it, the checksum being right.
    fn read_changed(change: impl FnOnce(&mut [u8; BYTES])) -> Result<(Ipv4, Range<usize>), Odd> {
        let mut header = BYTES_OF_ONE;
        change(&mut header);
        [header[10], header[11]] = [0, 0];
        [header[10], header[11]] = Sum::of(&header).complement().to_be_bytes();
        Ipv4::read(&[&header[..], &[0; 95]].concat())
    }

    #[test]
    fn read_and_written() {
        assert_eq!(Ipv4::read(&[&BYTES_OF_ONE[..], &[0; 95]].concat()), Ok((ONE, 20..115)));
        assert_eq!(Ipv4::read(&[&BYTES_OF_ONE[..], &[0; 99]].concat()), Ok((ONE, 20..115)));
        let mut room = [0xff; BYTES];
        ONE.write(&mut room);
        let mut expected = BYTES_OF_ONE;
        (expected[6], expected[10]) = (0x00, 0xf8);
        assert_eq!(room, expected, "the same, but that it may be fragmented");
    }

    #[test]
    fn what_does_not_matter() {
        assert_eq!(read_changed(|h| h[1] = 0xb8), Ok((ONE, 20..115)));
        assert_eq!(read_changed(|h| h[8] = 1), Ok((ONE, 20..115)));
        assert_eq!(read_changed(|h| h[6] = 0xc0), Ok((ONE, 20..115)));
    }

    #[test]
    fn every_cause() {
        for len in 0..BYTES {
            assert_eq!(Ipv4::read(&BYTES_OF_ONE[..len]), Err(Odd::Ipv4Short));
        }
        for len in BYTES..115 {
            let bytes = [&BYTES_OF_ONE[..], &[0; 95]].concat();
            assert_eq!(Ipv4::read(&bytes[..len]), Err(Odd::Ipv4Length));
        }
        for begin in 0..=u8::MAX {
            let cause = match begin {
                0x40..=0x44 => Odd::Ipv4HeaderLength,
                0x45 => continue,
                0x46..=0x4f => Odd::Ipv4Options,
                _ => Odd::Ipv4Version,
            };
            assert_eq!(read_changed(|h| h[0] = begin), Err(cause));
        }
        for length in 0..20 {
            assert_eq!(read_changed(|h| h[3] = length), Err(Odd::Ipv4Length));
        }
        assert_eq!(read_changed(|h| h[2] = 1), Err(Odd::Ipv4Length));
        assert_eq!(read_changed(|h| h[6] = 0x20), Err(Odd::Ipv4Fragment), "the first");
        assert_eq!(read_changed(|h| h[7] = 185), Err(Odd::Ipv4Fragment), "the last");
        assert_eq!(read_changed(|h| h[6] = 0x10), Err(Odd::Ipv4Fragment), "the offset's highest bit");
        assert_eq!(read_changed(|h| h[9] = 6), Err(Odd::Ipv4Protocol));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        for bit in 0..BYTES * 8 {
            let mut bytes = [&BYTES_OF_ONE[..], &[0; 95]].concat();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let begins_well = bit >= 8;
            let read = Ipv4::read(&bytes).map(|_| ());
            assert_eq!(read == Err(Odd::Ipv4Checksum), begins_well, "{bit}: {read:?}");
        }
    }

    /// A header that sums up to nothing but its checksum: the field is 0, and not made 0xffff as UDP's is.
    #[test]
    fn a_checksum_of_zero_stays() {
        let zero = (0..=u16::MAX).map(|identification| {
            let mut room = [0; BYTES];
            Ipv4 { identification, ..ONE }.write(&mut room);
            room
        });
        let zero: Vec<_> = zero.filter(|room| room[10..12] == [0, 0]).collect();
        assert!(!zero.is_empty());
        for header in zero {
            assert!(Ipv4::read(&[&header[..], &[0; 95]].concat()).is_ok());
        }
    }
}
