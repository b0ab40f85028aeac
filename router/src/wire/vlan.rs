//! VLAN tags: 802.1Q, and 802.1ad outside of one (IEEE 802.1Q 9.6).
//!
//! ```text
//! ... source | TPID: 2 | TCI: 2 | EtherType: 2 ...         the EtherType may be the TPID of the next tag
//! ```
//!
//! Read like the other headers, a tag is what follows its TPID: the TCI, and the EtherType of what it carries. Up to two are taken, of either TPID in either order.

use super::Odd;
use core::ops::Range;

/// Bytes of a tag.
pub const BYTES: usize = 4;

/// TPID of a customer's tag, and of one that stands alone (802.1Q).
pub const CUSTOMER: u16 = 0x8100;

/// TPID of a service tag (802.1ad).
pub const SERVICE: u16 = 0x88a8;

/// Most tags of a frame: one service tag and one customer's tag.
pub const TAGS_MAX: usize = 2;

/// What follows a TPID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vlan {
    /// Priority, drop eligibility and VLAN identifier: 3, 1 and 12 bits.
    pub tci: u16,
    /// What it carries.
    pub ether_type: u16,
}

impl Vlan {
    /// Reads the tag at the beginning of `bytes`, behind its TPID, and says where there what it carries stands.
    ///
    /// # Errors
    /// [`Odd::VlanShort`].
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<(Self, Range<usize>), Odd> {
        let Some(&[a, b, c, d]) = bytes.first_chunk::<BYTES>() else { return Err(Odd::VlanShort) };
        let header = Self { tci: u16::from_be_bytes([a, b]), ether_type: u16::from_be_bytes([c, d]) };
        Ok((header, BYTES..bytes.len()))
    }

    /// Writes the tag, behind its TPID.
    #[inline]
    pub fn write(&self, room: &mut [u8; BYTES]) {
        let ([a, b], [c, d]) = (self.tci.to_be_bytes(), self.ether_type.to_be_bytes());
        *room = [a, b, c, d];
    }
}

/// Whether an EtherType is the TPID of a tag.
#[inline]
#[must_use]
pub const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, CUSTOMER | SERVICE)
}

/// A tag of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tag {
    /// [`CUSTOMER`] or [`SERVICE`].
    pub tpid: u16,
    /// Priority, drop eligibility and VLAN identifier: 3, 1 and 12 bits.
    pub tci: u16,
}

impl Tag {
    /// The VLAN identifier. 0 is none: the tag only gives a priority.
    #[inline]
    #[must_use]
    pub const fn id(self) -> u16 {
        self.tci & 0x0fff
    }
}

/// The tags of a frame, outermost first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tags {
    tags: [Tag; TAGS_MAX],
    count: u8,
}

impl Tags {
    /// No tag.
    pub const NONE: Self = Self { tags: [Tag { tpid: 0, tci: 0 }; TAGS_MAX], count: 0 };

    /// Puts a tag inside of those that are there.
    ///
    /// # Errors
    /// [`Odd::VlanTags`]: there are two.
    #[inline]
    pub fn push(&mut self, tag: Tag) -> Result<(), Odd> {
        let place = self.tags.get_mut(usize::from(self.count)).ok_or(Odd::VlanTags)?;
        *place = tag;
        self.count += 1;
        Ok(())
    }

    /// The tags, outermost first.
    #[inline]
    #[must_use]
    pub fn list(&self) -> &[Tag] {
        self.tags.get(..usize::from(self.count)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_written() {
        let bytes = [0x60, 0x2a, 0x86, 0xdd, 0x60];
        let vlan = Vlan { tci: 0x602a, ether_type: 0x86dd };
        assert_eq!(Vlan::read(&bytes), Ok((vlan, 4..5)));
        assert_eq!(Tag { tpid: CUSTOMER, tci: vlan.tci }.id(), 42);
        let mut room = [0xff; BYTES];
        vlan.write(&mut room);
        assert_eq!(room, bytes[..BYTES]);
    }

    #[test]
    fn short() {
        for len in 0..BYTES {
            assert_eq!(Vlan::read(&[0; BYTES][..len]), Err(Odd::VlanShort));
        }
    }

    #[test]
    fn two_tags_and_no_more() {
        let (outer, inner) = (Tag { tpid: SERVICE, tci: 1 }, Tag { tpid: CUSTOMER, tci: 2 });
        let mut tags = Tags::NONE;
        assert_eq!(tags.list(), []);
        assert_eq!(tags.push(outer), Ok(()));
        assert_eq!(tags.list(), [outer]);
        assert_eq!(tags.push(inner), Ok(()));
        assert_eq!(tags.push(inner), Err(Odd::VlanTags));
        assert_eq!(tags.list(), [outer, inner]);
        assert_eq!([0x8100, 0x88a8, 0x9100, 0x0800].map(is_tag), [true, true, false, false]);
    }
}
