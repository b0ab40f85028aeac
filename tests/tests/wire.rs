//! Frames in, edits, frames out: random ones, against headers and checksums written in the slowest way.
//!
//! | test | proves |
//! |---|---|
//! | `out_is_as_computed_anew` | whatever came (IPv4 or IPv6, tags, extension headers, padding, surplus; checksum right, absent or left to hardware), however it was edited, cut and moved, and by whichever family and tags it leaves: the frame is to the byte what the oracle writes for the edited payload; and the checksum was updated, not computed, wherever that holds |
//! | `a_flipped_bit_stays_visible` | a bit that flips anywhere in the payload between check and edits, in the tail between edits and transmission, or that came flipped, leaves with a checksum that is wrong by exactly that bit |
//! | `broken_frames_stay_in_their_bounds` | frames with bytes broken in them, cut anywhere: nothing panics, and no place is outside of the frame; what is taken, the oracle takes too |
//!
//! `proptest` prints what failed at its simplest, and keeps its seed in `tests/vectors/wire.regressions`. `PROPTEST_CASES` sets how many cases are tried.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use sluice::edit::Edits;
use sluice::io::{Datagram, Flow, ListenerIndex};
use sluice::sip::span::Span;
use sluice::wire::vlan::{CUSTOMER, SERVICE, Tag, Tags};
use sluice::wire::{self, Basis, Checksum, Envelope, HEADERS_BYTES_MAX, Outgoing, Received, checksum::Sum};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// The oracle: a frame as a list of fields.
#[derive(Clone, Debug)]
struct Slow {
    macs: ([u8; 6], [u8; 6]),
    tags: Vec<(u16, u16)>,
    source: SocketAddr,
    destination: SocketAddr,
    identification: u16,
    /// Extension headers, of which the first is of type 60.
    extensions: Vec<u8>,
    payload: Vec<u8>,
    checksum: Checksum,
    /// Bytes that IP carries behind the UDP datagram.
    surplus: usize,
}

impl Slow {
    /// The sum of all words, one by one (RFC 1071 1), of 0..=65,534.
    fn sum(parts: &[&[u8]]) -> u16 {
        let all = parts.concat();
        let words =
            all.chunks(2).map(|pair| u64::from(pair[0]) * 256 + pair.get(1).map_or(0, |b| u64::from(*b)));
        (words.sum::<u64>() % 65_535) as u16
    }

    fn octets(address: &SocketAddr) -> Vec<u8> {
        match address.ip() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        }
    }

    /// The pseudo-header, with a length of 32 bits as RFC 8200 has it; RFC 768's has the same sum.
    fn pseudo_header(&self) -> Vec<u8> {
        let length = (8 + self.payload.len()) as u32;
        [
            &Self::octets(&self.source)[..],
            &Self::octets(&self.destination),
            &length.to_be_bytes(),
            &[0, 0, 0, 17],
        ]
        .concat()
    }

    fn udp(&self) -> Vec<u8> {
        let length = (8 + self.payload.len()) as u16;
        let words = [self.source.port(), self.destination.port(), length].map(u16::to_be_bytes);
        let pseudo = self.pseudo_header();
        let checksum = match self.checksum {
            Checksum::Absent if self.source.is_ipv4() => 0,
            // Zero is 65,535 in both: no sum here is of zeros only.
            Checksum::Partial => match Self::sum(&[&pseudo]) {
                0 => 65_535,
                sum => sum,
            },
            _ => 65_535 - Self::sum(&[&pseudo, words.as_flattened(), &self.payload]),
        };
        [words.as_flattened(), &checksum.to_be_bytes(), &self.payload, &vec![0xdd; self.surplus]].concat()
    }

    fn ip(&self) -> Vec<u8> {
        let (source, destination) = (Self::octets(&self.source), Self::octets(&self.destination));
        let carried = [&self.extensions[..], &self.udp()].concat();
        if self.source.is_ipv6() {
            let next = if self.extensions.is_empty() { 17 } else { 60 };
            let length = (carried.len() as u16).to_be_bytes();
            let fields = [0x60, 0, 0, 0, length[0], length[1], next, 64];
            return [&fields[..], &source, &destination, &carried].concat();
        }
        let (length, identification) = ((20 + carried.len()) as u16, self.identification);
        let ([a, b], [c, d]) = (length.to_be_bytes(), identification.to_be_bytes());
        let fields = [0x45, 0, a, b, c, d, 0, 0, 64, 17];
        let checksum = 65_535 - Self::sum(&[&fields, &source, &destination]);
        [&fields[..], &checksum.to_be_bytes(), &source, &destination, &carried].concat()
    }

    fn frame(&self) -> Vec<u8> {
        let tags = self.tags.iter().flat_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()]);
        let ether_type: u16 = if self.source.is_ipv4() { 0x0800 } else { 0x86dd };
        let tags: Vec<u8> = tags.flatten().collect();
        [&self.macs.0[..], &self.macs.1, &tags, &ether_type.to_be_bytes(), &self.ip()].concat()
    }

    fn tags(&self) -> Tags {
        let mut tags = Tags::NONE;
        self.tags.iter().for_each(|(tpid, tci)| tags.push(Tag { tpid: *tpid, tci: *tci }).unwrap());
        tags
    }
}

/// What comes, what is done to it, and what it leaves with.
#[derive(Clone, Debug)]
struct Journey {
    came: Slow,
    /// Ethernet's padding, and then what was in the frame before.
    padding: usize,
    /// Room in the frame before and after the payload, besides that for headers.
    room: (usize, usize),
    /// Bytes cut off the end, before the edits.
    cut: usize,
    /// Stretches to keep, to delete, and texts to put in, in turn from the payload's beginning.
    edits: Vec<(usize, usize, Vec<u8>)>,
    leaves: Slow,
}

impl Journey {
    /// The edits, and the payload as they leave it.
    fn edited(&self, payload: &[u8]) -> (Edits, Vec<u8>) {
        let (mut edits, mut result, mut at) = (Edits::new(), Vec::new(), 0);
        for (keep, delete, text) in &self.edits {
            let start = (at + keep).min(payload.len());
            let end = (start + delete).min(payload.len());
            edits.replace(Span::new(start, end), |to| to.put(text));
            result.extend_from_slice(&payload[at..start]);
            result.extend_from_slice(text);
            at = end;
        }
        result.extend_from_slice(&payload[at..]);
        (edits, result)
    }
}

/// When a bit flips.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    /// Before it is received.
    OnTheWire,
    /// In memory, between check and edits.
    BeforeEdits,
    /// In memory, after the edits, in what they leave alone.
    AfterEdits,
}

/// A journey under way, as an I/O layer has it: the frame in memory, and what it knows of it.
struct Way {
    chunk: Vec<u8>,
    received: Received,
    /// Where the payload stands in `chunk`.
    payload: Range<usize>,
    basis: Basis,
}

impl Way {
    /// Takes the frame in, and applies the edits; none if they do not fit. The payload's bit `flip` flips before the check, or right after it.
    fn new(journey: &Journey, flip: Option<(When, usize)>) -> Option<Self> {
        let mut chunk = vec![0xaa; HEADERS_BYTES_MAX + journey.room.0];
        let mut frame = [journey.came.frame(), vec![0; journey.padding]].concat();
        let flip_now = |now: When, bytes: &mut [u8], payload: &Range<usize>| match flip {
            Some((when, bit)) if when == now => bytes[payload.start + bit / 8] ^= 1 << (bit % 8),
            _ => {}
        };
        let received = wire::read(&frame).expect("a good frame");
        flip_now(When::OnTheWire, &mut frame, &received.payload);
        let start = chunk.len();
        chunk.extend(&frame);
        chunk.extend(vec![0xbb; journey.room.1]);

        let checksum = received.check(&frame);
        let payload = start + received.payload.start..start + received.payload.end;
        flip_now(When::BeforeEdits, &mut chunk, &payload);

        let flow =
            Flow { source: received.source, destination: received.destination, listener: ListenerIndex(0) };
        let room = &mut chunk[HEADERS_BYTES_MAX..];
        let place = payload.start - HEADERS_BYTES_MAX..payload.end - HEADERS_BYTES_MAX;
        let mut datagram = Datagram::new(room, place.start, place.end, flow).noting_front();
        assert!(datagram.front().is_none(), "before any edit");
        let len = datagram.payload().len();
        datagram.truncate(len - journey.cut.min(len));
        let (mut edits, _) = journey.edited(datagram.payload());
        edits.apply(&mut datagram).ok()?;
        let (front, place) = (datagram.front(), datagram.range());
        assert!(front.is_some());
        let payload = place.start + HEADERS_BYTES_MAX..place.end + HEADERS_BYTES_MAX;
        let basis = received.basis(checksum, front);
        Some(Self { chunk, received, payload, basis })
    }

    /// Writes the headers and returns the frame that leaves.
    fn send(&mut self, leaves: &Slow) -> Vec<u8> {
        let (destination_mac, source_mac) = leaves.macs;
        let envelope = Envelope { source_mac, destination_mac, vlans: leaves.tags() };
        let Slow { source, destination, identification, .. } = *leaves;
        let outgoing = Outgoing { source, destination, identification, basis: self.basis };
        let place = wire::write(&mut self.chunk, self.payload.clone(), &envelope, &outgoing);
        self.chunk[place.expect("room for all headers")].to_vec()
    }
}

fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/wire.regressions");
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..ProptestConfig::default()
    }
}

/// Addresses and ports of one family. Words of zeros and ones are where sums go wrong.
fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let word = || prop_oneof![Just(0_u16), Just(0xffff_u16), any::<u16>()];
    let v6 = move || (any::<[u16; 8]>(), word()).prop_map(|(ip, port)| SocketAddr::new(ip.into(), port));
    let v4 = move || (any::<[u8; 4]>(), word()).prop_map(|(ip, port)| SocketAddr::new(ip.into(), port));
    prop_oneof![(v4(), v4()), (v6(), v6())]
}

fn payload(bytes: Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), bytes.clone()),
        vec(prop_oneof![Just(0_u8), Just(0xff_u8)], bytes.clone()),
        bytes.prop_map(|len| vec![0; len])
    ]
}

fn slow(payload: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Slow> {
    let tags = vec((prop_oneof![Just(CUSTOMER), Just(SERVICE)], any::<u16>()), 0..3);
    let extensions = prop_oneof![
        Just(vec![]),
        Just(vec![17, 0, 1, 4, 0, 0, 0, 0]),
        Just(vec![43, 0, 0, 0, 0, 0, 0, 0, 17, 1, 4, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]),
    ];
    let checksum = prop_oneof![
        6 => Just(Checksum::Right),
        1 => Just(Checksum::Absent),
        1 => Just(Checksum::Partial)
    ];
    let surplus = prop_oneof![3 => Just(0), 1 => 0_usize..9];
    let parts = (any::<([u8; 6], [u8; 6])>(), tags, addresses(), any::<u16>(), extensions, payload);
    (parts, checksum, surplus).prop_map(|(parts, checksum, surplus)| {
        let (macs, tags, (source, destination), identification, extensions, payload) = parts;
        let extensions = if source.is_ipv6() { extensions } else { vec![] };
        let checksum = match checksum {
            Checksum::Absent if source.is_ipv6() => Checksum::Right,
            checksum => checksum,
        };
        Slow { macs, tags, source, destination, identification, extensions, payload, checksum, surplus }
    })
}

fn journey() -> impl Strategy<Value = Journey> {
    let edits = vec((0_usize..90, 0_usize..40, payload(0..60)), 0..7);
    let room =
        (prop_oneof![Just(0_usize), 0_usize..30, Just(512)], prop_oneof![Just(512_usize), 0_usize..300]);
    let cut = prop_oneof![4 => Just(0), 1 => 0_usize..50];
    (slow(payload(0..400)), slow(Just(vec![])), 0_usize..20, room, cut, edits).prop_map(
        |(came, leaves, padding, room, cut, edits)| {
            let mut journey = Journey { came, padding, room, cut, edits, leaves };
            let len = journey.came.payload.len();
            journey.cut = journey.cut.min(len);
            let (_, payload) = journey.edited(&journey.came.payload[..len - journey.cut]);
            // What leaves is plain, and has a checksum unless both sides can do without.
            let is_absent = journey.came.checksum == Checksum::Absent && journey.leaves.source.is_ipv4();
            let checksum = if is_absent { Checksum::Absent } else { Checksum::Right };
            let plain = Slow { extensions: vec![], surplus: 0, payload, checksum, ..journey.leaves };
            Journey { leaves: plain, ..journey }
        },
    )
}

proptest! {
    #![proptest_config(config(4_000))]

    #[test]
    fn out_is_as_computed_anew(journey in journey()) {
        let came = &journey.came;
        let frame = came.frame();
        let received = wire::read(&frame).expect("a good frame");
        prop_assert_eq!(&frame[received.payload.clone()], &came.payload[..]);
        prop_assert_eq!((received.source, received.destination), (came.source, came.destination));
        prop_assert_eq!((received.destination_mac, received.source_mac), came.macs);
        prop_assert_eq!(received.vlans, came.tags());
        // A right checksum may look like one left to hardware, once in 65,535 times and in small examples.
        let checksum = received.check(&frame);
        let looks_partial = received.checksum % 65_535 == Slow::sum(&[&came.pseudo_header()]);
        let expected = if looks_partial && came.checksum == Checksum::Right { Checksum::Partial } else { came.checksum };
        prop_assert_eq!(checksum, expected);

        let Some(mut way) = Way::new(&journey, None) else { return Ok(()) };
        let updated = checksum == Checksum::Right && journey.cut == 0;
        prop_assert_eq!(matches!(way.basis, Basis::Tail { .. }), updated);
        if let Basis::Tail { bytes, sum } = way.basis {
            let tail = &came.payload[came.payload.len() - bytes..];
            prop_assert!((sum - Sum::of(tail)).is_zero());
        }
        let sent = way.send(&journey.leaves);
        prop_assert_eq!(&sent, &journey.leaves.frame());

        let again = wire::read(&sent).expect("what was written");
        prop_assert_eq!(&sent[again.payload.clone()], &journey.leaves.payload[..]);
        prop_assert_eq!((again.source, again.destination), (journey.leaves.source, journey.leaves.destination));
        prop_assert_eq!(again.vlans, journey.leaves.tags());
        prop_assert_ne!(again.check(&sent), Checksum::Wrong);
    }

    #[test]
    fn a_flipped_bit_stays_visible(
        journey in journey(),
        bit in any::<prop::sample::Index>(),
        when in prop_oneof![Just(When::OnTheWire), Just(When::BeforeEdits), Just(When::AfterEdits)],
    ) {
        let mut journey = Journey { cut: 0, ..journey };
        journey.came.checksum = Checksum::Right;
        journey.leaves.checksum = Checksum::Right;
        let bits = journey.came.payload.len() * 8;
        prop_assume!(bits > 0);
        let (frame, bit) = (journey.came.frame(), bit.index(bits));
        prop_assume!(wire::read(&frame).unwrap().check(&frame) == Checksum::Right);
        let Some(mut way) = Way::new(&journey, Some((when, bit))) else { return Ok(()) };
        let Basis::Tail { bytes, .. } = way.basis else { panic!("{:?}", way.basis) };
        if when == When::AfterEdits {
            prop_assume!(bytes > 0);
            let tail = way.payload.end - bytes;
            way.chunk[tail + bit / 8 % bytes] ^= 1 << (bit % 8);
        }
        prop_assert_eq!(way.received.payload.len(), journey.came.payload.len());

        // What is wrong is what the sum of the whole differs by: one bit of one word.
        let sent = way.send(&journey.leaves);
        let again = wire::read(&sent).expect("what was written");
        prop_assert_ne!(again.check(&sent), Checksum::Right);
        let udp = &sent[again.payload.start - 8..again.payload.end];
        let leaves = Slow { payload: sent[again.payload.clone()].to_vec(), ..journey.leaves };
        let off = Slow::sum(&[&leaves.pseudo_header(), udp]);
        prop_assert!(off.is_power_of_two() || (65_535 - off).is_power_of_two(), "{off:#x}");
    }

    #[test]
    fn broken_frames_stay_in_their_bounds(
        came in slow(payload(0..80)),
        breaks in vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        mends in any::<bool>(),
    ) {
        let mut frame = came.frame();
        for (at, byte, headers) in breaks {
            let len = if headers { frame.len() - came.payload.len() } else { frame.len() };
            let at = at.index(len);
            frame[at] ^= byte;
        }
        let ip = 14 + 4 * came.tags.len();
        if mends && came.source.is_ipv4() {
            frame[ip + 10..ip + 12].fill(0);
            let checksum = 65_535 - Slow::sum(&[&frame[ip..ip + 20]]);
            frame[ip + 10..ip + 12].copy_from_slice(&checksum.to_be_bytes());
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len() + 1));
        }
        let Ok(received) = wire::read(&frame) else { return Ok(()) };
        let Range { start, end } = received.payload;
        prop_assert!(start <= end && end <= frame.len());
        // Read backwards from the payload: the UDP header before it says its length, ports and checksum.
        let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        prop_assert_eq!(usize::from(word(start - 4)), 8 + end - start);
        prop_assert_eq!(
            (word(start - 8), word(start - 6), word(start - 2)),
            (received.source.port(), received.destination.port(), received.checksum)
        );
        let slow = Slow { source: received.source, destination: received.destination, payload: frame[start..end].to_vec(), ..came };
        let (sum, partial) = (
            Slow::sum(&[&slow.pseudo_header(), &frame[start - 8..end]]),
            Slow::sum(&[&slow.pseudo_header()]),
        );
        let expected = match received.checksum {
            0 if slow.source.is_ipv4() => Checksum::Absent,
            0 => Checksum::Wrong,
            checksum if checksum % 65_535 == partial => Checksum::Partial,
            _ if sum == 0 => Checksum::Right,
            _ => Checksum::Wrong,
        };
        prop_assert_eq!(received.check(&frame), expected);
    }
}

/// The first and the last bit of a payload, one that is edited to another parity, and each prefix of it: what chance may leave out.
#[test]
fn the_smallest_of_both_parities() {
    let address = |text: &str| text.parse().unwrap();
    let came = Slow {
        macs: ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]),
        tags: vec![],
        source: address("192.0.2.9:5060"),
        destination: address("192.0.2.1:5060"),
        identification: 1,
        extensions: vec![],
        payload: b"abcdefg".to_vec(),
        checksum: Checksum::Right,
        surplus: 0,
    };
    let v6 = (address("[2001:db8::1]:5060"), address("[2001:db8::2]:5060"));
    let mut seen = 0;
    for (len, keep, delete, insert) in (0..8 * 8 * 8 * 8).map(|i| (i % 8, i / 8 % 8, i / 64 % 8, i / 512)) {
        if keep + delete > len {
            continue;
        }
        for (source, destination) in [(came.destination, came.source), v6] {
            let came = Slow { payload: came.payload[..len].to_vec(), ..came.clone() };
            let payload =
                [&came.payload[..keep], &vec![b'+'; insert], &came.payload[keep + delete..]].concat();
            let leaves = Slow { source, destination, payload, ..came.clone() };
            for room in [(0, 8), (3, 8), (8, 0)] {
                let edits = vec![(keep, delete, vec![b'+'; insert])];
                let journey =
                    Journey { came: came.clone(), padding: 13, room, cut: 0, edits, leaves: leaves.clone() };
                let mut way = Way::new(&journey, None).expect("room for it");
                assert_eq!(way.send(&leaves), leaves.frame(), "{len} {keep} {delete} {insert} {room:?}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 120 * 8 * 2 * 3);
}
