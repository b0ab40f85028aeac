//! Headers that are written once for all datagrams of one way, and adapted to each.

use super::checksum::Sum;
use super::{Basis, Envelope, HEADERS_BYTES_MAX, Outgoing, Unwritable, ethernet, ipv4, ipv6, udp};
use core::ops::Range;

/// The headers of datagrams between two addresses and ports, by one link: all but lengths, identification and checksums.
///
/// What it writes is what [`write`](super::write()) writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prepared {
    /// The headers of an empty datagram, at the end.
    bytes: [u8; HEADERS_BYTES_MAX],
    headers_bytes: usize,
    is_ipv4: bool,
    /// The sum of the IPv4 header without what changes.
    ip: Sum,
    /// The sum of UDP's pseudo-header and header without what changes.
    udp: Sum,
}

/// Where the headers that change begin, from the end.
const UDP: usize = HEADERS_BYTES_MAX - udp::BYTES;
const IPV4: usize = UDP - ipv4::BYTES;
const IPV6: usize = UDP - ipv6::BYTES;

impl Prepared {
    /// Headers for `envelope`, between two addresses and ports.
    ///
    /// # Errors
    /// [`Unwritable::Families`].
    pub fn new(envelope: &Envelope, outgoing: &Outgoing) -> Result<Self, Unwritable> {
        let mut bytes = [0; HEADERS_BYTES_MAX];
        let empty = Outgoing { identification: 0, basis: Basis::Payload, ..*outgoing };
        let place = super::write(&mut bytes, HEADERS_BYTES_MAX..HEADERS_BYTES_MAX, envelope, &empty)?;
        let is_ipv4 = outgoing.source.is_ipv4();
        let ip_checksum = if is_ipv4 { word(&bytes, IPV4 + 10) } else { 0 };
        let udp_length = Sum::of_word(udp::BYTES as u16);
        Ok(Self {
            headers_bytes: place.len(),
            is_ipv4,
            ip: Sum::of_word(!ip_checksum) - Sum::of_word((ipv4::BYTES + udp::BYTES) as u16),
            // The length stands in the header and in the pseudo-header.
            udp: Sum::of_word(!word(&bytes, UDP + 6)) - udp_length - udp_length,
            bytes,
        })
    }

    /// Writes the headers in front of the payload at `payload`, and returns the whole frame's place. There must be room for [`HEADERS_BYTES_MAX`], all of which is written to.
    ///
    /// # Errors
    /// [`Unwritable::NoRoom`], [`Unwritable::TooLong`]. Nothing has been written then.
    #[inline]
    pub fn write(
        &self,
        frame: &mut [u8],
        payload: Range<usize>,
        identification: u16,
        basis: Basis,
    ) -> Result<Range<usize>, Unwritable> {
        let Range { start, end } = payload;
        let (room, rest) = frame.split_at_mut_checked(start).ok_or(Unwritable::NoRoom)?;
        let payload = end.checked_sub(start).and_then(|len| rest.get(..len)).ok_or(Unwritable::NoRoom)?;
        let room = room.last_chunk_mut::<HEADERS_BYTES_MAX>().ok_or(Unwritable::NoRoom)?;
        // The longest of all lengths, so that none exceeds 16 bits.
        let total =
            u16::try_from(ipv4::BYTES + udp::BYTES + payload.len()).map_err(|_| Unwritable::TooLong)?;
        let length = total - ipv4::BYTES as u16;
        *room = self.bytes;
        if self.is_ipv4 {
            let checksum = (self.ip + Sum::of_word(total) + Sum::of_word(identification)).complement();
            set_word(room, IPV4 + 2, total);
            set_word(room, IPV4 + 4, identification);
            set_word(room, IPV4 + 10, checksum);
        } else {
            set_word(room, IPV6 + 4, length);
        }
        set_word(room, UDP + 4, length);
        let is_absent = self.is_ipv4 && basis == Basis::Absent;
        set_word(room, UDP + 6, if is_absent { 0 } else { self.udp_checksum(length, basis.sum(payload)) });
        Ok(start - self.headers_bytes..end)
    }

    /// The checksum of a datagram with this length and this payload. RFC 768: one of 0 is sent as its other self.
    #[inline]
    fn udp_checksum(&self, length: u16, payload: Sum) -> u16 {
        let length = Sum::of_word(length);
        match (self.udp + length + length + payload).complement() {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// The word in network order at `at`.
fn word(bytes: &[u8; HEADERS_BYTES_MAX], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes a word in network order at `at`, which is a constant within the room.
#[inline]
fn set_word(room: &mut [u8; HEADERS_BYTES_MAX], at: usize, word: u16) {
    [room[at], room[at + 1]] = word.to_be_bytes();
}

const _: () = assert!(IPV6 >= ethernet::BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::Random;
    use crate::wire::vlan::{CUSTOMER, SERVICE, Tag, Tags};
    use core::net::{IpAddr, SocketAddr};

    /// Between random addresses, by links with and without tags, with every kind of basis and payloads of all lengths: the same bytes.
    #[test]
    fn it_writes_what_write_writes() {
        let mut random = Random(768);
        for round in 0..4_000 {
            let mut address = |is_ipv4: bool| {
                let bits = (0..16).fold(0_u128, |bits, _| bits << 8 | u128::from(random.byte()));
                let ip: IpAddr =
                    if is_ipv4 { (bits as u32).to_be_bytes().into() } else { bits.to_be_bytes().into() };
                SocketAddr::new(ip, (bits >> 64) as u16)
            };
            let is_ipv4 = round % 2 == 0;
            let (source, destination) = (address(is_ipv4), address(is_ipv4));
            let mut vlans = Tags::NONE;
            for tpid in [SERVICE, CUSTOMER].into_iter().take(round / 2 % 3) {
                vlans.push(Tag { tpid, tci: random.next() as u16 }).unwrap();
            }
            let mac = [2, 3, 4, 5, 6, random.byte()];
            let envelope = Envelope { source_mac: mac, destination_mac: [7; 6], vlans };
            let payload_bytes = random.below(if round % 8 == 0 { 65_508 } else { 1_500 });
            let mut ours: Vec<u8> =
                (0..HEADERS_BYTES_MAX + 9 + payload_bytes).map(|_| random.byte()).collect();
            let mut theirs = ours.clone();
            let sum = Sum::of_word(random.next() as u16);
            let basis = match random.below(3) {
                0 => Basis::Absent,
                1 => Basis::Payload,
                _ => Basis::Tail { bytes: random.below(payload_bytes + 1), sum },
            };
            let identification = random.next() as u16;
            let outgoing = Outgoing { source, destination, identification, basis };
            let prepared = Prepared::new(&envelope, &Outgoing { identification: 7, ..outgoing }).unwrap();
            let payload = HEADERS_BYTES_MAX + 9..ours.len();
            let wrote = prepared.write(&mut ours, payload.clone(), identification, basis);
            assert_eq!(wrote, crate::wire::write(&mut theirs, payload, &envelope, &outgoing));
            let place = wrote.unwrap();
            assert_eq!(ours[place.clone()], theirs[place], "{outgoing:?}");
        }
    }

    /// Sums of the class of zero come out as the same one of its two selves.
    #[test]
    fn checksums_of_zero_are_the_same() {
        let (source, destination) = ("192.0.2.1:5060".parse().unwrap(), "198.51.100.7:5060".parse().unwrap());
        let envelope = Envelope { source_mac: [2; 6], destination_mac: [4; 6], vlans: Tags::NONE };
        let outgoing = |identification, basis| Outgoing { source, destination, identification, basis };
        let prepared = Prepared::new(&envelope, &outgoing(0, Basis::Payload)).unwrap();
        let (mut of_ip, mut of_udp) = (0, 0);
        for word in 0..=u16::MAX {
            let mut ours = [&[0; HEADERS_BYTES_MAX][..], &word.to_be_bytes()].concat();
            let mut theirs = ours.clone();
            let payload = HEADERS_BYTES_MAX..ours.len();
            let place = prepared.write(&mut ours, payload.clone(), word, Basis::Payload).unwrap();
            crate::wire::write(&mut theirs, payload, &envelope, &outgoing(word, Basis::Payload)).unwrap();
            assert_eq!(ours[place.clone()], theirs[place], "{word}");
            of_ip += usize::from(ours[IPV4 + 10..][..2] == [0, 0]);
            of_udp += usize::from(ours[UDP + 6..][..2] == [0xff, 0xff]);
        }
        assert!(of_ip > 0 && of_udp > 0);
    }

    #[test]
    fn what_cannot_be_written() {
        let v4: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:5060".parse().unwrap();
        let envelope = Envelope { source_mac: [2; 6], destination_mac: [4; 6], vlans: Tags::NONE };
        let outgoing =
            |destination| Outgoing { source: v4, destination, identification: 0, basis: Basis::Payload };
        assert!(matches!(Prepared::new(&envelope, &outgoing(v6)), Err(Unwritable::Families)));
        let prepared = Prepared::new(&envelope, &outgoing(v4)).unwrap();
        let mut frame = vec![0; HEADERS_BYTES_MAX + 65_536];
        for (payload, why) in [
            (HEADERS_BYTES_MAX - 1..HEADERS_BYTES_MAX, Unwritable::NoRoom),
            (HEADERS_BYTES_MAX..frame.len() + 1, Unwritable::NoRoom),
            (Range { start: HEADERS_BYTES_MAX + 1, end: HEADERS_BYTES_MAX }, Unwritable::NoRoom),
            (HEADERS_BYTES_MAX..HEADERS_BYTES_MAX + 65_508, Unwritable::TooLong),
        ] {
            assert_eq!(
                prepared.write(&mut frame, payload.clone(), 0, Basis::Payload),
                Err(why),
                "{payload:?}"
            );
        }
        assert!(frame.iter().all(|byte| *byte == 0));
    }
}
