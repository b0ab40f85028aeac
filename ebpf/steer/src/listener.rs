//! What the program takes: datagrams to an address and a port.

use core::net::{IpAddr, SocketAddr};

/// The key of the map of listeners: an address and a port. There are no wildcards; user space adds every address of its own.
///
/// In memory: 16 bytes of address, IPv4 as an IPv4-mapped one (RFC 4291 section 2.5.5.2); the port in network order; six zeros, for the map compares
/// keys byte by byte. It is held as the words, read as little-endian, that the program has at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ListenerKey {
    address: [u64; 2],
    port: u64,
}

impl ListenerKey {
    /// How many bytes a key has.
    pub const BYTES: usize = size_of::<Self>();

    /// The key of the listener on `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let ip = u128::from_le_bytes(ip.octets());
        Self::from_words([ip as u64, (ip >> 64) as u64], address.port().swap_bytes())
    }

    /// The key of an address, as two words, and a port, all read from a packet as little-endian.
    #[inline(always)]
    #[must_use]
    pub fn from_words(address: [u64; 2], port: u16) -> Self {
        Self { address, port: u64::from(port) }
    }

    /// The key as the map holds it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (words, _) = bytes.as_chunks_mut();
        for (bytes, word) in words.iter_mut().zip([self.address[0], self.address[1], self.port]) {
            *bytes = word.to_le_bytes();
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_the_map_holds_them() {
        let bytes = |address: &str| ListenerKey::new(address.parse().unwrap()).to_bytes();
        let mut expected = [0; ListenerKey::BYTES];
        expected[10..18].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1, 0x13, 0xc4]);
        assert_eq!(bytes("192.0.2.1:5060"), expected);
        let mut expected = [0; ListenerKey::BYTES];
        expected[..18].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x13, 0xc5]);
        assert_eq!(bytes("[2001:db8::1]:5061"), expected);
    }
}
