//! Frames as they come from a neighbour: Ethernet, IPv4, UDP with its checksum.

use std::net::SocketAddrV4;

/// Bytes of the three headers.
pub const HEADERS_BYTES: usize = 14 + 20 + 8;

/// The two ends of a link, by their MAC addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Who sends.
    pub from: [u8; 6],
    /// Who receives.
    pub to: [u8; 6],
}

/// The frame with `payload` from one address to the other.
///
/// # Panics
/// The payload is too long for a packet.
#[must_use]
pub fn frame(link: Link, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let udp_bytes = u16::try_from(8 + payload.len()).expect("a payload that a packet can hold");
    let addresses = [from.ip().octets(), to.ip().octets()].concat();

    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_bytes).to_be_bytes());
    // Do not fragment; 64 hops; UDP; the checksum's place.
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(&addresses);
    let sum = checksum([&ip[..]]);
    ip[10..12].copy_from_slice(&sum);

    let mut udp =
        [from.port().to_be_bytes(), to.port().to_be_bytes(), udp_bytes.to_be_bytes(), [0, 0]].concat();
    let pseudo = [&addresses[..], &[0, 17], &udp_bytes.to_be_bytes()].concat();
    let sum = checksum([&pseudo, &udp, payload]);
    // None at all is written as 0 (RFC 768).
    udp[6..8].copy_from_slice(if sum == [0, 0] { &[0xff, 0xff] } else { &sum });

    [&link.to[..], &link.from, &[0x08, 0x00], &ip, &udp, payload].concat()
}

/// The Internet checksum (RFC 1071) of pieces of which all but the last have an even length.
fn checksum<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> [u8; 2] {
    let words = pieces.into_iter().flat_map(|piece| piece.chunks(2));
    let mut sum: u64 =
        words.map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice::wire::{self, Checksum};

    #[test]
    fn the_router_reads_it_and_finds_its_checksum_right() {
        let link = Link { from: [2, 0, 0, 0, 0, 1], to: [2, 0, 0, 0, 0, 2] };
        for payload in [&b"odd"[..], b"even", b""] {
            let mut bytes =
                frame(link, "203.0.113.9:5060".parse().unwrap(), "192.0.2.1:5061".parse().unwrap(), payload);
            let received = wire::read(&bytes).unwrap();
            assert_eq!(received.source, "203.0.113.9:5060".parse().unwrap());
            assert_eq!(received.destination, "192.0.2.1:5061".parse().unwrap());
            assert_eq!(&bytes[received.payload.clone()], payload);
            assert_ne!(received.check(&bytes), Checksum::Wrong);
            assert_eq!(checksum([&bytes[14..34]]), [0, 0]);
            bytes[40] ^= 1;
            assert_eq!(wire::read(&bytes).unwrap().check(&bytes), Checksum::Wrong);
        }
    }
}
