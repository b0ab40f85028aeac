//! Whole frames, written out by hand here and compared byte for byte.

use super::*;

/// A small generator with a fixed seed (xorshift64*), so that runs repeat.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    pub(crate) fn byte(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }
}

const US: Mac = [2, 0, 0, 0, 0, 1];
const NEIGHBOUR: Mac = [2, 0, 0, 0, 0, 9];
const OUTER: Tag = Tag { tpid: vlan::SERVICE, tci: 0x2064 };
const INNER: Tag = Tag { tpid: vlan::CUSTOMER, tci: 0x0007 };

/// 192.0.2.9:5060 to 192.0.2.1:5061, "hello", padded to 60 bytes. The checksums were computed by hand:
/// c000+0209+c000+0201+0011+000d + 13c4+13c5+000d + 6865+6c6c+6f00 = 2ef8f, folded ef91; and the IP header's likewise.
const HELLO_V4: [u8; 60] = [
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x08, 0x00, // Ethernet
    0x45, 0, 0, 33, 0x12, 0x34, 0, 0, 64, 17, 0xe4, 0x8d, 192, 0, 2, 9, 192, 0, 2, 1, // IPv4
    0x13, 0xc4, 0x13, 0xc5, 0, 13, 0x10, 0x6e, b'h', b'e', b'l', b'l', b'o', // UDP
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// The same from 2001:db8::9 to 2001:db8::1 by way of two VLANs: 2(2001+0db8) + 9+1+000d+0011 + the same = 1c701, folded c702.
const HELLO_V6: [u8; 75] = [
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, // Ethernet
    0x88, 0xa8, 0x20, 0x64, 0x81, 0x00, 0x00, 0x07, 0x86, 0xdd, // VLAN tags
    0x60, 0, 0, 0, 0, 13, 17, 64, // IPv6
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, //
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, //
    0x13, 0xc4, 0x13, 0xc5, 0, 13, 0x38, 0xfd, b'h', b'e', b'l', b'l', b'o', // UDP
];

fn tags(list: &[Tag]) -> Tags {
    let mut tags = Tags::NONE;
    list.iter().for_each(|tag| tags.push(*tag).unwrap());
    tags
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What [`write()`] is told to write [`HELLO_V4`] or [`HELLO_V6`].
fn hello(is_v6: bool, basis: Basis) -> (Envelope, Outgoing) {
    let (source, destination, list): (_, _, &[Tag]) = if is_v6 {
        ("[2001:db8::9]:5060", "[2001:db8::1]:5061", &[OUTER, INNER])
    } else {
        ("192.0.2.9:5060", "192.0.2.1:5061", &[])
    };
    let (source, destination) = (address(source), address(destination));
    (
        Envelope { source_mac: NEIGHBOUR, destination_mac: US, vlans: tags(list) },
        Outgoing { source, destination, identification: 0x1234, basis },
    )
}

fn read_hello(is_v6: bool) -> (Vec<u8>, Received) {
    let frame = if is_v6 { HELLO_V6.to_vec() } else { HELLO_V4.to_vec() };
    let received = read(&frame).unwrap();
    (frame, received)
}

#[test]
fn frames_are_read() {
    for is_v6 in [false, true] {
        let (frame, received) = read_hello(is_v6);
        let (envelope, outgoing) = hello(is_v6, Basis::Payload);
        assert_eq!(&frame[received.payload.clone()], b"hello");
        assert_eq!((received.source, received.destination), (outgoing.source, outgoing.destination));
        assert_eq!((received.source_mac, received.destination_mac), (NEIGHBOUR, US));
        assert_eq!(received.vlans, envelope.vlans);
        assert_eq!(received.checksum, if is_v6 { 0x38fd } else { 0x106e });
        assert_eq!(received.check(&frame), Checksum::Right);
    }
}

#[test]
fn frames_are_written() {
    for (is_v6, expected) in [(false, &HELLO_V4[..47]), (true, &HELLO_V6[..])] {
        let (envelope, outgoing) = hello(is_v6, Basis::Payload);
        for room in 0..HEADERS_BYTES_MAX + 3 {
            let mut frame = vec![0xee; room];
            frame.extend(b"hello, world");
            let needed = expected.len() - 5;
            let written = write(&mut frame, room..room + 5, &envelope, &outgoing);
            assert_eq!(&frame[room..], b"hello, world");
            if room < needed {
                assert_eq!(written, Err(Unwritable::NoRoom), "{room}");
            } else {
                assert_eq!(written, Ok(room - needed..room + 5));
                assert_eq!(&frame[room - needed..room + 5], expected);
                assert!(frame[..room - needed].iter().all(|byte| *byte == 0xee));
            }
        }
    }
    assert_eq!(HEADERS_BYTES_MAX, 70);
    assert_eq!(HELLO_V6.len() - 5, HEADERS_BYTES_MAX, "and is needed");
}

#[test]
fn places_that_are_not_in_the_frame() {
    let (envelope, outgoing) = hello(false, Basis::Payload);
    let mut frame = [0; 100];
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
    for payload in [80..101, 100..101, 101..101, 101..102, 90..80, usize::MAX..usize::MAX, 90..usize::MAX] {
        let written = write(&mut frame, payload, &envelope, &outgoing);
        assert_eq!(written, Err(Unwritable::NoRoom));
    }
    assert_eq!(write(&mut frame, 100..100, &envelope, &outgoing), Ok(58..100), "an empty one is one");
}

#[test]
fn lengths_of_more_than_16_bits() {
    for (is_v6, most) in [(false, 65_507), (true, 65_527)] {
        let (envelope, outgoing) = hello(is_v6, Basis::Payload);
        let mut frame = vec![0x5a; HEADERS_BYTES_MAX + 65_540];
        for len in most - 2..most + 9 {
            let payload = HEADERS_BYTES_MAX..HEADERS_BYTES_MAX + len;
            let written = write(&mut frame, payload.clone(), &envelope, &outgoing);
            if len > most {
                assert_eq!(written, Err(Unwritable::TooLong), "{len}");
                continue;
            }
            let whole = &frame[written.unwrap()];
            let received = read(whole).unwrap();
            assert_eq!((received.payload.len(), received.check(whole)), (len, Checksum::Right));
        }
    }
}

#[test]
fn two_families_are_none() {
    let (v4, v6) = (hello(false, Basis::Payload), hello(true, Basis::Payload));
    for (source, destination) in [(v4.1.source, v6.1.destination), (v6.1.source, v4.1.destination)] {
        let outgoing = Outgoing { source, destination, ..v4.1 };
        assert_eq!(write(&mut [0; 100], 90..95, &v4.0, &outgoing), Err(Unwritable::Families));
    }
}

#[test]
fn odd_frames_by_layer() {
    let with = |frame: &[u8], changes: &[(usize, u8)]| {
        let mut frame = frame.to_vec();
        changes.iter().for_each(|(at, byte)| frame[*at] = *byte);
        read(&frame).map(|_| ())
    };
    assert_eq!(with(&HELLO_V4, &[(12, 0x08), (13, 0x06)]), Err(Odd::EtherType), "ARP");
    assert_eq!(with(&HELLO_V4, &[(12, 0x00), (13, 0x2e)]), Err(Odd::EtherType), "a length");
    assert_eq!(with(&HELLO_V4, &[(12, 0x86), (13, 0xdd)]), Err(Odd::Ipv6Version));
    assert_eq!(with(&HELLO_V4, &[(14, 0x46)]), Err(Odd::Ipv4Options));
    assert_eq!(with(&HELLO_V4, &[(24, 0)]), Err(Odd::Ipv4Checksum));
    assert_eq!(with(&HELLO_V4, &[(39, 14)]), Err(Odd::UdpLength), "into the padding");
    assert_eq!(with(&HELLO_V4, &[(39, 7)]), Err(Odd::UdpLength));
    assert_eq!(with(&HELLO_V4, &[(39, 12)]), Ok(()), "a surplus");
    assert_eq!(with(&HELLO_V6, &[(20, 0x88), (21, 0xa8)]), Err(Odd::VlanTags));
    assert_eq!(with(&HELLO_V6, &[(20, 0x08), (21, 0x00)]), Err(Odd::Ipv4Version));
    assert_eq!(with(&HELLO_V6, &[(28, 6)]), Err(Odd::Ipv6NextHeader));
    assert_eq!(with(&HELLO_V6, &[(28, 44)]), Err(Odd::Ipv6Fragment));
    assert_eq!(with(&HELLO_V6, &[(27, 14)]), Err(Odd::Ipv6Length));
    assert_eq!(with(&HELLO_V6, &[(27, 7)]), Err(Odd::UdpShort));
    assert_eq!(with(&HELLO_V6, &[(13, 0x00)]), Err(Odd::EtherType), "another TPID");
}

#[test]
fn every_prefix_has_its_cause() {
    for len in 0..HELLO_V4.len() {
        let cause = match len {
            0..14 => Some(Odd::EthernetShort),
            14..34 => Some(Odd::Ipv4Short),
            34..47 => Some(Odd::Ipv4Length),
            _ => None,
        };
        assert_eq!(read(&HELLO_V4[..len]).err(), cause, "{len}");
    }
    for len in 0..HELLO_V6.len() {
        let cause = match len {
            0..14 => Odd::EthernetShort,
            14..22 => Odd::VlanShort,
            22..62 => Odd::Ipv6Short,
            _ => Odd::Ipv6Length,
        };
        assert_eq!(read(&HELLO_V6[..len]).err(), Some(cause), "{len}");
    }
}

#[test]
fn causes_have_names_of_their_own() {
    for (i, odd) in Odd::ALL.iter().enumerate() {
        assert_eq!(*odd as usize, i);
        assert!(Odd::ALL[..i].iter().all(|other| other.name() != odd.name()));
    }
}

#[test]
fn every_flipped_bit_makes_the_checksum_wrong() {
    for is_v6 in [false, true] {
        let (frame, received) = read_hello(is_v6);
        let udp = received.payload.start - udp::BYTES;
        for bit in udp * 8..received.payload.end * 8 {
            let mut frame = frame.clone();
            frame[bit / 8] ^= 1 << (bit % 8);
            // The length cannot be flipped without notice; what is read may be a shorter datagram.
            if let Ok(received) = read(&frame) {
                assert_eq!(received.check(&frame), Checksum::Wrong, "bit {bit}");
            }
        }
    }
}

#[test]
fn absent_partial_and_frames_of_others() {
    for is_v6 in [false, true] {
        let (mut frame, received) = read_hello(is_v6);
        assert_eq!(received.check(&frame[..received.payload.end - 1]), Checksum::Wrong);
        // The pseudo-header's sum: that above up to 000d, or 0011.
        let partial = if is_v6 { 0x5b9a } else { 0x8429 };
        let mut with = |checksum: u16| {
            let at = received.payload.start;
            frame[at - 2..at].copy_from_slice(&checksum.to_be_bytes());
            read(&frame).unwrap().check(&frame)
        };
        let right = received.checksum;
        assert_eq!(with(partial), Checksum::Partial);
        assert_eq!(with(!partial), Checksum::Wrong);
        assert_eq!(with(0), if is_v6 { Checksum::Wrong } else { Checksum::Absent });
        assert_eq!(with(right), Checksum::Right);
        // A payload that makes the right checksum 0, which is sent as 0xffff.
        let at = received.payload.start;
        let checksum = u16::from_be_bytes([frame[at - 2], frame[at - 1]]);
        let first = Sum::of(&frame[at..at + 2]) + Sum::of_word(checksum);
        frame[at..at + 2].copy_from_slice(&first.value().to_be_bytes());
        frame[at - 2..at].fill(0xff);
        assert_eq!(read(&frame).unwrap().check(&frame), Checksum::Right);
        let (envelope, outgoing) = hello(is_v6, Basis::Payload);
        let mut room = [&[0; HEADERS_BYTES_MAX][..], &frame[received.payload.clone()]].concat();
        let written = write(&mut room, HEADERS_BYTES_MAX..HEADERS_BYTES_MAX + 5, &envelope, &outgoing);
        assert_eq!(read(&room[written.unwrap()]).unwrap().checksum, 0xffff);
    }
}

#[test]
fn what_a_checksum_is_made_from() {
    let (frame, received) = read_hello(false);
    let front = Front { bytes: 3, sum: Sum::of(b"hel"), payload_bytes: 5 };
    assert_eq!(received.basis(Checksum::Absent, Some(front)), Basis::Absent);
    assert_eq!(received.basis(Checksum::Absent, None), Basis::Absent);
    assert_eq!(received.basis(Checksum::Partial, Some(front)), Basis::Payload);
    assert_eq!(received.basis(Checksum::Right, None), Basis::Payload);
    assert_eq!(received.basis(Checksum::Right, Some(front)), Basis::Tail { bytes: 2, sum: Sum::of(b"lo") });
    for strange in [Front { payload_bytes: 4, ..front }, Front { bytes: 6, ..front }] {
        assert_eq!(received.basis(Checksum::Right, Some(strange)), Basis::Payload, "cut");
    }
    let mut corrupt = frame.clone();
    corrupt[received.payload.end - 1] ^= 0x10;
    let basis = received.basis(received.check(&corrupt), Some(front));
    assert_eq!(basis, Basis::Tail { bytes: 2, sum: Sum::of(b"lo") }, "what came, not what is there");
}

#[test]
fn none_stays_none_over_ipv4_only() {
    let mut frame = [0x41; 100];
    for (is_v6, sent) in [(false, Checksum::Absent), (true, Checksum::Right)] {
        let (envelope, outgoing) = hello(is_v6, Basis::Absent);
        let written = write(&mut frame, 75..99, &envelope, &outgoing).unwrap();
        let whole = &frame[written];
        assert_eq!(read(whole).unwrap().check(whole), sent);
    }
}

/// What is read of a frame with bytes broken in it, or cut, is in it, and can be checked and answered.
#[test]
fn broken_frames_stay_in_their_bounds() {
    let mut random = Random(3);
    let mut taken = 0;
    for round in 0..200_000 {
        let mut frame = if round % 2 == 0 { HELLO_V4.to_vec() } else { HELLO_V6.to_vec() };
        for _ in 0..random.below(4) {
            let at = random.below(frame.len());
            frame[at] = if random.below(2) == 0 { random.byte() } else { frame[at] ^ 1 << random.below(8) };
        }
        // Most changes to an IPv4 header end with its checksum, so that is made right again now and then.
        if random.below(3) == 0 && round % 2 == 0 {
            frame[24..26].fill(0);
            let checksum = Sum::of(&frame[14..34]).complement();
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        if random.below(4) == 0 {
            frame.truncate(random.below(frame.len() + 1));
        }
        let Ok(received) = read(&frame) else { continue };
        taken += 1;
        assert!(received.payload.start <= received.payload.end && received.payload.end <= frame.len());
        let checksum = received.check(&frame);
        let front = Front { bytes: random.below(9), sum: Sum::of_word(1), payload_bytes: 5 };
        let basis = received.basis(checksum, Some(front));
        let (envelope, outgoing) = hello(round % 4 < 2, basis);
        let written = write(&mut frame, received.payload.clone(), &envelope, &outgoing);
        assert!(written.is_err() || written.is_ok_and(|place| place.end == received.payload.end));
    }
    assert!(taken > 20_000, "{taken}");
}
