//! Headers that are read once for all datagrams of one flow, and compared with those of each.

use super::checksum::{Sum, is_sum_of_zero, word_sum};
use super::{Arrived, Received, ethernet, ipv4, udp, vlan};

/// The headers of an untagged IPv4 datagram, as far as those that follow it on its flow have the same: all but lengths, identification, TTL and checksums.
///
/// What it reads is what [`read`](super::read) reads, in an eighth of the instructions: five words are compared, where that takes each field by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recurring {
    /// The words that the headers begin with, and 0 wherever they may differ.
    words: Words,
    /// The sum of the IPv4 header's words that are the same, in the machine's order, not folded.
    ip: u64,
    /// The sum of the pseudo-header without the length.
    pseudo_header: Sum,
    /// The sum of the ports.
    ports: Sum,
}

/// Bytes of the headers.
const BYTES: usize = UDP + udp::BYTES;
const IP: usize = ethernet::BYTES;
const UDP: usize = IP + ipv4::BYTES;

/// The headers but for their last two bytes, the UDP checksum: words in the machine's order.
type Words = [u64; BYTES / 8];

/// The bits that are the same in all.
const SAME: Words = {
    let mut bytes = [0xff; BYTES];
    let differing = [IP + 2, IP + 3, IP + 4, IP + 5, IP + 8, IP + 10, IP + 11, UDP + 4, UDP + 5];
    let mut at = 0;
    while at < differing.len() {
        bytes[differing[at]] = 0;
        at += 1;
    }
    words(&bytes)
};

impl Recurring {
    /// Headers that no frame has: bits that may differ are set.
    pub const NONE: Self = Self { words: [!0; BYTES / 8], ip: 0, pseudo_header: Sum::ZERO, ports: Sum::ZERO };

    /// The headers of `frame`, which were read as `received`; [`Self::NONE`] if they are not of this kind.
    #[must_use]
    pub fn of(frame: &[u8], received: &Received) -> Self {
        let is_untagged_ipv4 = received.source.is_ipv4() && received.vlans == vlan::Tags::NONE;
        let Some(headers) = frame.first_chunk::<BYTES>().filter(|_| is_untagged_ipv4) else {
            return Self::NONE;
        };
        let arrived = received.arrived();
        let words = masked(&words(headers));
        // Version and TOS, and the addresses.
        let ip = u64::from(u16::from_ne_bytes([headers[IP], headers[IP + 1]]))
            + word_sum(u64::from_ne_bytes(bytes_at(headers, IP + 12)));
        Self { words, ip, pseudo_header: arrived.pseudo_header, ports: arrived.ports }
    }

    /// Reads the headers of `frame` if they are these, else not at all; nor if there is anything odd about them.
    #[inline]
    #[must_use]
    pub fn read(&self, frame: &[u8]) -> Option<Arrived> {
        let headers = frame.first_chunk::<BYTES>()?;
        let there = masked(&words(headers));
        let differing = there.iter().zip(&self.words).fold(0, |bits, (a, b)| bits | (a ^ b));
        // Total length, identification, fragment offset, TTL and protocol; and the checksum. The version is not 0, so the sum is not.
        let changing = word_sum(u64::from_ne_bytes(bytes_at(headers, IP + 2)));
        let checksum = u64::from(u16::from_ne_bytes(bytes_at(headers, IP + 10)));
        if differing != 0 || !is_sum_of_zero(self.ip + changing + checksum) {
            return None;
        }
        let word = |at| u16::from_be_bytes(bytes_at(headers, at));
        let (total_length, udp_length) = (usize::from(word(IP + 2)), word(UDP + 4));
        let length = usize::from(udp_length);
        let is_within = IP + total_length <= frame.len() && ipv4::BYTES + length <= total_length;
        (is_within && length >= udp::BYTES).then(|| Arrived {
            payload: BYTES..UDP + length,
            checksum: word(UDP + 6),
            pseudo_header: self.pseudo_header,
            ports: self.ports,
            udp_length,
            is_ipv4: true,
        })
    }

    /// A number that frames of the same flow have in common, and most of different flows have not, whose upper bits are to be used.
    #[inline]
    #[must_use]
    pub fn hash(frame: &[u8]) -> u64 {
        let Some(headers) = frame.first_chunk::<BYTES>() else { return 0 };
        // Addresses, and ports.
        let addresses = u64::from_ne_bytes(bytes_at(headers, IP + 12));
        let ports = u64::from(u32::from_ne_bytes(bytes_at(headers, UDP)));
        (addresses ^ ports.rotate_left(24)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// So many bytes at `at`, a constant with which they are within the headers.
#[inline(always)]
const fn bytes_at<const N: usize>(headers: &[u8; BYTES], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = headers[at + i];
        i += 1;
    }
    bytes
}

#[inline(always)]
const fn words(headers: &[u8; BYTES]) -> Words {
    let mut words = [0; BYTES / 8];
    let mut i = 0;
    while i < words.len() {
        words[i] = u64::from_ne_bytes(bytes_at(headers, 8 * i));
        i += 1;
    }
    words
}

#[inline(always)]
fn masked(words: &Words) -> Words {
    core::array::from_fn(|i| words[i] & SAME[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::Random;
    use crate::wire::vlan::{CUSTOMER, Tag, Tags};
    use crate::wire::{Basis, Checksum, Envelope, HEADERS_BYTES_MAX, Outgoing, read, write};

    /// A frame with so many bytes of payload and padding behind it, between addresses that hang on `flow`.
    fn frame(flow: u16, vlans: Tags, payload_bytes: usize, identification: u16) -> Vec<u8> {
        let address = |host: u16| format!("10.{}.{}.{host}:5060", flow >> 8, flow & 0xff).parse().unwrap();
        let (source, destination) = (address(9), address(1));
        let envelope = Envelope { source_mac: [2; 6], destination_mac: [4; 6], vlans };
        let outgoing = Outgoing { source, destination, identification, basis: Basis::Payload };
        let mut frame = vec![b'a'; HEADERS_BYTES_MAX + payload_bytes];
        let place = HEADERS_BYTES_MAX..frame.len();
        let start = write(&mut frame, place, &envelope, &outgoing).unwrap().start;
        frame.extend([0; 7]);
        frame.split_off(start)
    }

    /// Makes the IPv4 header's checksum right again.
    fn mend(frame: &mut [u8]) {
        frame[IP + 10..IP + 12].fill(0);
        let checksum = Sum::of(&frame[IP..UDP]).complement();
        frame[IP + 10..IP + 12].copy_from_slice(&checksum.to_be_bytes());
    }

    /// Frames of the flow and others, changed in up to three bytes and cut: what is taken is what `read` takes, of just these addresses.
    #[test]
    fn what_it_reads_is_what_read_reads() {
        let mut random = Random(1);
        let (mut taken, mut refused) = (0, 0);
        for round in 0..300_000 {
            let first = frame(7, Tags::NONE, 3, 1);
            let known = read(&first).unwrap();
            let recurring = Recurring::of(&first, &known);
            let flow = if random.below(8) == 0 { random.below(9) as u16 } else { 7 };
            let mut other = frame(flow, Tags::NONE, random.below(40), random.next() as u16);
            for _ in 0..random.below(4) {
                let at = random.below(BYTES);
                other[at] =
                    if random.below(2) == 0 { random.byte() } else { other[at] ^ 1 << random.below(8) };
            }
            if random.below(4) > 0 {
                mend(&mut other);
            }
            if random.below(8) == 0 {
                other.truncate(random.below(other.len() + 1));
            }
            match (recurring.read(&other), read(&other)) {
                (Some(arrived), Ok(received)) => {
                    assert_eq!(arrived, received.arrived(), "{round}");
                    assert_eq!(arrived.check(&other), received.check(&other));
                    let ends = |it: &Received| (it.source, it.destination, it.source_mac, it.destination_mac);
                    assert_eq!((ends(&received), received.vlans), (ends(&known), Tags::NONE));
                    taken += 1;
                }
                (Some(_), Err(odd)) => panic!("{round}: {odd:?}: {other:x?}"),
                (None, Ok(received)) => {
                    // The TOS, and the bits for "don't fragment" and for nothing, which nobody looks at, count as another flow's here.
                    let differs = [0..IP + 2, IP + 6..IP + 8, IP + 9..IP + 10, IP + 12..UDP + 4]
                        .into_iter()
                        .any(|place| other[place.clone()] != first[place]);
                    assert!(differs, "{round}: {received:?}");
                    refused += 1;
                }
                (None, Err(_)) => refused += 1,
            }
        }
        assert!(taken > 50_000 && refused > 50_000, "{taken} {refused}");
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let frame = frame(7, Tags::NONE, 5, 1);
        let recurring = Recurring::of(&frame, &read(&frame).unwrap());
        let check = |frame: &[u8]| recurring.read(frame).map(|arrived| arrived.check(frame));
        assert_eq!(check(&frame), Some(Checksum::Right));
        for bit in 0..(BYTES + 5) * 8 {
            let mut frame = frame.clone();
            frame[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(check(&frame), None | Some(Checksum::Wrong)), "{bit}");
        }
    }

    #[test]
    fn what_is_of_another_kind_never_recurs() {
        let mut tags = Tags::NONE;
        tags.push(Tag { tpid: CUSTOMER, tci: 1 }).unwrap();
        let tagged = frame(7, tags, 5, 1);
        assert_eq!(Recurring::of(&tagged, &read(&tagged).unwrap()), Recurring::NONE);
        assert_eq!(Recurring::NONE.read(&tagged), None);
        for byte in [0, 0xff] {
            assert_eq!(Recurring::NONE.read(&[byte; 99]), None);
        }
        assert_eq!((Recurring::hash(&tagged[..BYTES - 1]), Recurring::NONE.read(&[])), (0, None));
    }

    #[test]
    fn flows_spread_over_the_hash() {
        let places: std::collections::BTreeSet<u64> =
            (0..64).map(|flow| Recurring::hash(&frame(flow, Tags::NONE, 5, flow)) >> 58).collect();
        assert!(places.len() > 24, "{}", places.len());
        let same = |identification| Recurring::hash(&frame(3, Tags::NONE, 5, identification));
        assert_eq!(same(1), same(2));
    }
}
