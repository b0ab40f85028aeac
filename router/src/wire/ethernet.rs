//! Ethernet: destination, source, EtherType (IEEE 802.3 3.1.1; RFC 894, RFC 2464).
//!
//! ```text
//! | destination: 6 | source: 6 | EtherType: 2 | what it carries
//! ```
//!
//! What stands after what the EtherType names is padding up to 60 bytes, and told from it by the lengths further in. The frame check sequence never gets here.

use super::Odd;
use core::ops::Range;

/// Bytes of the header.
pub const BYTES: usize = 14;

/// An interface's address.
pub type Mac = [u8; 6];

/// The header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ethernet {
    /// Who it is for.
    pub destination: Mac,
    /// Who it is from.
    pub source: Mac,
    /// What it carries.
    pub ether_type: u16,
}

impl Ethernet {
    /// Reads the header at the beginning of `bytes`, and says where there what it carries stands.
    ///
    /// # Errors
    /// [`Odd::EthernetShort`].
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<(Self, Range<usize>), Odd> {
        let Some(&[a, b, c, d, e, f, g, h, i, j, k, l, high, low]) = bytes.first_chunk::<BYTES>() else {
            return Err(Odd::EthernetShort);
        };
        let ether_type = u16::from_be_bytes([high, low]);
        let header = Self { destination: [a, b, c, d, e, f], source: [g, h, i, j, k, l], ether_type };
        Ok((header, BYTES..bytes.len()))
    }

    /// Writes the header.
    #[inline]
    pub fn write(&self, room: &mut [u8; BYTES]) {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (self.destination, self.source);
        let [high, low] = self.ether_type.to_be_bytes();
        *room = [a, b, c, d, e, f, g, h, i, j, k, l, high, low];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_OF_ONE: [u8; BYTES] = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 7, 0x08, 0x00];
    const ONE: Ethernet =
        Ethernet { destination: [2, 0, 0, 0, 0, 9], source: [2, 0, 0, 0, 0, 7], ether_type: 0x0800 };

    #[test]
    fn read_and_written() {
        assert_eq!(Ethernet::read(&BYTES_OF_ONE), Ok((ONE, 14..14)));
        assert_eq!(Ethernet::read(&[&BYTES_OF_ONE[..], &[1, 2]].concat()), Ok((ONE, 14..16)));
        let mut room = [0xff; BYTES];
        ONE.write(&mut room);
        assert_eq!(room, BYTES_OF_ONE);
    }

    #[test]
    fn short() {
        for len in 0..BYTES {
            assert_eq!(Ethernet::read(&BYTES_OF_ONE[..len]), Err(Odd::EthernetShort));
        }
    }
}
