//! Dotted quads: the 81 shapes that four parts of one to three digits can have, and the plain way to read one.

use core::num::NonZeroU64;

/// A dotted quad that was read: its address, and its length in the text. One word, because what is returned through memory in several parts and read back
/// in one costs more than reading it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quad(NonZeroU64);

impl Quad {
    /// `None` for a length of 0.
    #[inline(always)]
    pub(super) fn new(address: u32, len: u32) -> Option<Self> {
        NonZeroU64::new(u64::from(len) << 32 | u64::from(address)).filter(|_| len > 0).map(Self)
    }

    /// The address, as [`core::net::Ipv4Addr::from_bits`] takes it.
    #[inline(always)]
    #[must_use]
    pub fn address(self) -> u32 {
        self.0.get() as u32
    }

    /// How many bytes it is long.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(self) -> usize {
        (self.0.get() >> 32) as usize
    }
}

/// What the bits of a shape are multiplied with so that the upper eight bits of 32 tell them apart.
const FACTOR: u32 = 0x372d_a969;

/// Where a shuffle puts nothing.
const NOTHING: u8 = 0x80;

/// A shape: its bits, which are those of the four bytes that end a part, and the shuffle that brings each part, right-aligned, into a word of its own.
#[derive(Clone, Copy)]
struct Shape {
    ends: u32,
    shuffle: [u8; 16],
}

static SHAPES: [Shape; 256] = shapes();

const fn shapes() -> [Shape; 256] {
    let mut shapes = [Shape { ends: 0, shuffle: [NOTHING; 16] }; 256];
    let mut number = 0;
    while number < 81 {
        let (mut rest, mut at, mut part, mut ends, mut shuffle) = (number, 0u8, 0, 0u32, [NOTHING; 16]);
        while part < 4 {
            let len = rest % 3 + 1;
            rest /= 3;
            let mut digit = 0;
            while digit < len {
                shuffle[part * 4 + 4 - len + digit] = at;
                (at, digit) = (at + 1, digit + 1);
            }
            ends |= 1 << at;
            (at, part) = (at + 1, part + 1);
        }
        let place = &mut shapes[place(ends)];
        assert!(place.ends == 0, "two shapes in one place");
        *place = Shape { ends, shuffle };
        number += 1;
    }
    shapes
}

#[inline]
const fn place(ends: u32) -> usize {
    (ends.wrapping_mul(FACTOR) >> 24) as usize
}

/// The shuffle for parts that end before these bytes; `None` where that is no shape of a dotted quad.
#[inline]
pub(super) fn shape(ends: u32) -> Option<&'static [u8; 16]> {
    let shape = &SHAPES[place(ends)];
    (shape.ends == ends).then_some(&shape.shuffle)
}

/// The dotted quad that `part` begins with, and its length, read byte by byte.
pub(super) fn read(part: &[u8; 16]) -> Option<Quad> {
    let (mut address, mut number, mut begin, mut dots) = (0u32, 0u32, 0, 0);
    let is_inside = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let stop = part.iter().position(|byte| !is_inside(byte))?;
    for (i, byte) in part[..stop].iter().enumerate() {
        if *byte == b'.' {
            if dots == 3 || number > 255 || i.wrapping_sub(begin + 1) > 2 {
                return None;
            }
            address = address << 8 | number;
            (number, begin, dots) = (0, i + 1, dots + 1);
        } else {
            number = number.wrapping_mul(10).wrapping_add(u32::from(byte - b'0'));
        }
    }
    let whole = dots == 3 && number <= 255 && stop.wrapping_sub(begin + 1) <= 2;
    Quad::new(address << 8 | number, stop as u32).filter(|_| whole)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::scan_x86_64;
    use super::read;

    #[test]
    fn both_ways_agree() {
        let both = |text: &str, expected: Option<(u32, usize)>| {
            let mut part = [0; 16];
            part[..text.len()].copy_from_slice(text.as_bytes());
            let both = [read(&part), scan_x86_64::dotted_quad(&part)];
            assert_eq!(
                both.map(|quad| quad.map(|quad| (quad.address(), quad.len()))),
                [expected; 2],
                "{text}"
            );
        };
        let parts = ["0", "7", "00", "42", "001", "99", "100", "255", "256", "999", "", "1234"];
        for first in parts {
            for second in parts {
                for third in parts {
                    for (fourth, after) in
                        parts.iter().flat_map(|part| ["", ":", ">", "x"].map(|after| (part, after)))
                    {
                        let quad = [first, second, third, fourth];
                        let text = format!("{}{after}", quad.join("."));
                        let good = |part: &&str| {
                            (1..=3).contains(&part.len()) && part.parse::<u32>().is_ok_and(|n| n < 256)
                        };
                        let address =
                            quad.iter().fold(0, |all, part| all << 8 | part.parse::<u32>().unwrap_or(0));
                        let expected = quad.iter().all(good).then_some((address, text.len() - after.len()));
                        if text.len() <= 16 {
                            both(&text, expected);
                        }
                    }
                }
            }
        }
        for text in [
            "",
            ".",
            "1.2.3",
            "1.2.3.4.",
            "1.2.3.4.5",
            "....",
            "1..2.3",
            "255.255.255.2555",
            "1111111111111111",
        ] {
            both(text, None);
        }
    }
}
