//! UDP: ports, length, checksum (RFC 768).
//!
//! ```text
//! | source port: 2 | destination port: 2 | length: 2 | checksum: 2 | payload
//! ```
//!
//! The length may be less than what IP carries; the rest is no part of the datagram, as receivers without UDP options have always seen it (RFC 9868 6).

use super::Odd;
use core::ops::Range;

/// Bytes of the header.
pub const BYTES: usize = 8;

/// The protocol's number in IPv4 and IPv6.
pub const PROTOCOL: u8 = 17;

/// The header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Udp {
    /// Port of the sender; 0 if it has none.
    pub source: u16,
    /// Port of the receiver.
    pub destination: u16,
    /// Bytes of header and payload.
    pub length: u16,
    /// The checksum; 0 if there is none.
    pub checksum: u16,
}

impl Udp {
    /// Reads the header at the beginning of `bytes`, and says where there the payload stands.
    ///
    /// # Errors
    /// [`Odd::UdpShort`], [`Odd::UdpLength`].
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<(Self, Range<usize>), Odd> {
        let Some(&[a, b, c, d, e, f, g, h]) = bytes.first_chunk::<BYTES>() else { return Err(Odd::UdpShort) };
        let [source, destination, length, checksum] =
            [[a, b], [c, d], [e, f], [g, h]].map(u16::from_be_bytes);
        let end = usize::from(length);
        if end < BYTES || end > bytes.len() {
            return Err(Odd::UdpLength);
        }
        Ok((Self { source, destination, length, checksum }, BYTES..end))
    }

    /// Writes the header.
    #[inline]
    pub fn write(&self, room: &mut [u8; BYTES]) {
        let fields = [self.source, self.destination, self.length, self.checksum];
        let [[a, b], [c, d], [e, f], [g, h]] = fields.map(u16::to_be_bytes);
        *room = [a, b, c, d, e, f, g, h];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_OF_ONE: [u8; 11] = [0x13, 0xc4, 0xe0, 0x01, 0, 11, 0xab, 0xcd, b's', b'i', b'p'];
    const ONE: Udp = Udp { source: 5060, destination: 0xe001, length: 11, checksum: 0xabcd };

    #[test]
    fn read_and_written() {
        assert_eq!(Udp::read(&BYTES_OF_ONE), Ok((ONE, 8..11)));
        assert_eq!(Udp::read(&[&BYTES_OF_ONE[..], &[0; 5]].concat()), Ok((ONE, 8..11)));
        let mut room = [0xff; BYTES];
        ONE.write(&mut room);
        assert_eq!(room, BYTES_OF_ONE[..BYTES]);
    }

    #[test]
    fn short() {
        for len in 0..BYTES {
            assert_eq!(Udp::read(&BYTES_OF_ONE[..len]), Err(Odd::UdpShort));
        }
        for len in BYTES..BYTES_OF_ONE.len() {
            assert_eq!(Udp::read(&BYTES_OF_ONE[..len]), Err(Odd::UdpLength));
        }
    }

    #[test]
    fn lengths() {
        for length in 0..=u16::MAX {
            let mut bytes = BYTES_OF_ONE;
            [bytes[4], bytes[5]] = length.to_be_bytes();
            let read = Udp::read(&bytes).map(|(_, payload)| payload.end);
            let expected = if matches!(length, 8..=11) { Ok(length.into()) } else { Err(Odd::UdpLength) };
            assert_eq!(read, expected);
        }
    }
}
