//! Dotted quads: the 81 shapes that four parts of one to three digits can have, and the plain way to read one.

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

/// The ends of the parts of digits that `part` begins with: a bit for each dot before the first byte that is neither dot nor digit, and one for that.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[inline]
pub(super) fn ends(part: &[u8; 16]) -> u32 {
    let mut ends = 0;
    for (at, byte) in part.iter().enumerate() {
        if !byte.is_ascii_digit() {
            ends |= 1 << at;
        }
        if !byte.is_ascii_digit() && *byte != b'.' {
            return ends;
        }
    }
    ends | 1 << 16
}

/// The address that the four parts of `part` that end so spell; `None` where that is no dotted quad.
pub(super) fn address(part: &[u8; 16], ends: u32) -> Option<u32> {
    let (words, _) = shape(ends)?.as_chunks::<4>();
    words.iter().try_fold(0u32, |address, places| {
        let digits = places.iter().filter(|place| **place != NOTHING);
        let number =
            digits.fold(0, |number, place| number * 10 + u32::from(part[usize::from(*place)] - b'0'));
        (number <= 255).then_some(address << 8 | number)
    })
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::scan_x86_64;
    use super::{address, ends};

    #[test]
    fn both_ways_agree() {
        let both = |text: &str, expected: Option<(u32, usize)>| {
            let mut part = [0; 16];
            part[..text.len()].copy_from_slice(text.as_bytes());
            let plain = ends(&part);
            assert_eq!(scan_x86_64::quad_ends(&part), plain, "{text}");
            let both = [address(&part, plain), scan_x86_64::quad_address(&part, plain)];
            let len = 31 - plain.leading_zeros() as usize;
            assert_eq!(both.map(|address| address.map(|address| (address, len))), [expected; 2], "{text}");
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
