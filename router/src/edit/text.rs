//! A text of bounded length, and how values are spelled in it.

use crate::sip::scan::hex_digits;
use crate::sip::span::Span;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most bytes that all edits of one message may put in.
///
/// Two Record-Routes and a Via with 255-byte names come to 1,100; the rest is room for a Request-URI that strict routing moves into the Route set,
/// and for a redirect's Contacts. What is longer is answered 513.
pub const TEXT_BYTES_MAX: usize = 4096;

/// The longest room that [`Text::put_within`] hands out: the part of our Via that follows its head.
const ROOM_BYTES_MAX: usize = 80;

/// Text that is written once from front to back. Writing past the bound writes nothing and is remembered.
#[derive(Clone, Debug)]
pub struct Text {
    /// With a room more than the bound, so that one is there wherever the text ends.
    bytes: [u8; TEXT_BYTES_MAX + ROOM_BYTES_MAX],
    len: usize,
    full: bool,
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

impl Text {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; TEXT_BYTES_MAX + ROOM_BYTES_MAX], len: 0, full: false }
    }

    /// Back to nothing.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.len = 0;
        self.full = false;
    }

    /// How many bytes it holds.
    #[inline(always)]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether something did not fit.
    #[inline(always)]
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// All of it.
    #[inline(always)]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.min(TEXT_BYTES_MAX)]
    }

    /// The part of it that `span` names.
    #[inline(always)]
    #[must_use]
    pub fn part(&self, span: Span) -> &[u8] {
        span.of(&self.bytes)
    }

    /// All of it, and what stands in the room after it, which is nothing to look at: so that a part near the end can be copied by fixed lengths.
    #[inline(always)]
    pub(super) fn rooms(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends `bytes`.
    #[inline(always)]
    pub fn put(&mut self, bytes: &[u8]) {
        match self.bytes[..TEXT_BYTES_MAX].get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                copy(room, bytes);
                self.len += bytes.len();
            }
            None => self.full = true,
        }
    }

    /// Appends the first bytes of a room that `write` fills, as many as it says.
    ///
    /// What it leaves after them is overwritten by what is put next. So a text of unknown length, but not beyond `N`, is written with
    /// moves of known lengths.
    #[inline(always)]
    pub fn put_within<const N: usize>(&mut self, write: impl FnOnce(&mut [u8; N]) -> usize) {
        const { assert!(N <= ROOM_BYTES_MAX) };
        let Some(room) = self.bytes.get_mut(self.len..).and_then(<[u8]>::first_chunk_mut) else {
            return self.full = true;
        };
        let len = self.len + write(room).min(N);
        if len <= TEXT_BYTES_MAX {
            self.len = len;
        } else {
            self.full = true;
        }
    }

    /// Appends `number` in decimal.
    #[inline(always)]
    pub fn put_decimal(&mut self, number: u32) {
        if let Ok(number) = u8::try_from(number) {
            return self.put_octet(number);
        }
        if number >= 100_000_000 {
            return self.put_long_decimal(number);
        }
        self.put_within::<8>(|room| {
            let count;
            (*room, count) = decimal8(number);
            count
        });
    }

    /// Appends a number of up to three digits, which is what most are.
    #[inline(always)]
    fn put_octet(&mut self, number: u8) {
        self.put_within::<4>(|room| {
            let count;
            (*room, count) = OCTETS[usize::from(number)];
            usize::from(count)
        });
    }

    /// No port, status or hop count is as long.
    #[cold]
    fn put_long_decimal(&mut self, number: u32) {
        use core::fmt::Write;
        if write!(self, "{number}").is_err() {
            self.full = true;
        }
    }

    /// Appends `number` as 16 lower-case hexadecimal digits.
    #[inline(always)]
    pub fn put_hex(&mut self, number: u64) {
        self.put(&hex_digits(number));
    }

    /// Appends `number` as `digits` lower-case hexadecimal digits, at most 16.
    #[inline(always)]
    pub fn put_hex_digits(&mut self, number: u64, digits: usize) {
        self.put(&hex_digits(number)[16 - digits.min(16)..]);
    }

    /// Appends `head`, `port` in decimal, `middle` and an IPv4 address, all in one room.
    #[inline(always)]
    pub fn put_port_and_address(&mut self, head: u8, port: u16, middle: &[u8; 10], address: Ipv4Addr) {
        self.put_within::<48>(|room| {
            room[0] = head;
            let (digits, count) = decimal8(u32::from(port));
            room[1..9].copy_from_slice(&digits);
            // At most five digits, so all that follows lies in the room.
            let at = 1 + count.min(5);
            room[at..at + 10].copy_from_slice(middle);
            let place = room[at + 10..].first_chunk_mut::<16>();
            at + 10 + place.map_or(0, |place| put_octets(place, address))
        });
    }

    /// Appends an address, IPv6 without brackets.
    #[inline(always)]
    pub fn put_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.put_within::<16>(|room| put_octets(room, v4)),
            IpAddr::V6(v6) => self.put_v6(v6),
        }
    }

    fn put_v6(&mut self, address: Ipv6Addr) {
        use core::fmt::Write;
        if write!(self, "{address}").is_err() {
            self.full = true;
        }
    }
}

impl core::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

/// The decimal digits of each octet with a dot after them, and how many digits there are.
static OCTETS: [([u8; 4], u8); 256] = octets();

const fn octets() -> [([u8; 4], u8); 256] {
    let mut table = [([b'.'; 4], 0); 256];
    let mut i = 0;
    while i < 256 {
        let digits = [b'0' + (i / 100) as u8, b'0' + (i / 10 % 10) as u8, b'0' + (i % 10) as u8];
        let count = if i >= 100 {
            3
        } else if i >= 10 {
            2
        } else {
            1
        };
        let mut at = 0;
        while at < count {
            table[i].0[at] = digits[3 - count + at];
            at += 1;
        }
        table[i].1 = count as u8;
        i += 1;
    }
    table
}

/// Writes a dotted quad, and returns its length. Each octet writes four bytes, of which the next one overwrites what is too much.
#[inline(always)]
fn put_octets(room: &mut [u8; 16], address: Ipv4Addr) -> usize {
    let mut len = 0;
    for octet in address.octets() {
        let (digits, count) = OCTETS[usize::from(octet)];
        if let Some(place) = room.get_mut(len..len + 4) {
            place.copy_from_slice(&digits);
        }
        len += usize::from(count) + 1;
    }
    len - 1
}

/// The decimal digits of a number below 10^8, and how many they are.
///
/// The reverse of [`crate::sip::scan::leading_decimal`]: eight are parted into fours, pairs and ones, all of a kind at once, by
/// multiplying with a reciprocal. Leading zeros, which stand in the lowest bytes, are shifted out.
#[inline(always)]
fn decimal8(number: u32) -> ([u8; 8], usize) {
    let number = u64::from(number);
    let x = (number / 10_000) | ((number % 10_000) << 32);
    let upper = ((x * 10_486) >> 20) & 0x0000_007f_0000_007f; // of each four, by 100
    let x = upper | (x - upper * 100) << 16;
    let upper = ((x * 103) >> 10) & 0x000f_000f_000f_000f; // of each pair, by 10
    let x = upper | (x - upper * 10) << 8;
    // The last digit stays where it is 0.
    let zeros = (x | 1 << 56).trailing_zeros() / 8;
    (((x + 0x3030_3030_3030_3030) >> (8 * zeros)).to_le_bytes(), 8 - zeros as usize)
}

/// Copies one text over another of the same length.
///
/// Up to 64 bytes go as two parts of a fixed length, which overlap: most of our texts are as long, and a call of `memcpy` costs twice the move.
#[inline(always)]
pub(super) fn copy(to: &mut [u8], from: &[u8]) {
    let len = from.len();
    if len > 64 {
        to.copy_from_slice(from);
    } else if len >= 32 {
        copy_ends::<32>(to, from);
    } else if len >= 16 {
        copy_ends::<16>(to, from);
    } else if len >= 8 {
        copy_ends::<8>(to, from);
    } else if len >= 4 {
        copy_ends::<4>(to, from);
    } else if len >= 2 {
        copy_ends::<2>(to, from);
    } else {
        to.copy_from_slice(from);
    }
}

/// Copies the first and the last `N` bytes.
#[inline(always)]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk()) {
        *to = *from;
    }
}

/// The number that exactly `text` spells in hexadecimal, at most 16 digits of either case.
#[inline(always)]
#[must_use]
pub fn parse_hex(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 16 {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for number in [0, 1, 9, 10, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX, 0xa0] {
            assert_eq!(hex_digits(number), format!("{number:016x}").as_bytes());
            assert_eq!(parse_hex(&hex_digits(number)), Some(number));
        }
        let mut text = Text::new();
        text.put_decimal(0);
        text.put_decimal(u32::MAX);
        text.put_address("192.0.2.10".parse().unwrap());
        text.put_address("2001:db8::1".parse().unwrap());
        text.put_hex_digits(0xabcd, 4);
        assert_eq!(text.bytes(), b"04294967295192.0.2.102001:db8::1abcd");
        assert_eq!(parse_hex(b"12g4"), None);
        assert_eq!(parse_hex(b""), None);
    }

    #[test]
    fn decimals_and_addresses_of_every_length() {
        let powers = (0..10).flat_map(|i| [10u32.pow(i) - 1, 10u32.pow(i), 10u32.pow(i) + 1]);
        for number in (0..=65_535).chain(powers).chain([12_345_678, 99_999_999, u32::MAX]) {
            let mut text = Text::new();
            text.put_decimal(number);
            text.put_address(IpAddr::from((number ^ number << 16).to_be_bytes()));
            let address = core::net::Ipv4Addr::from(number ^ number << 16);
            assert_eq!(text.bytes(), format!("{number}{address}").as_bytes());
        }
    }

    #[test]
    fn copies_of_every_length() {
        let from: [u8; 150] = core::array::from_fn(|i| i as u8 + 1);
        for len in 0..=from.len() {
            let mut to = [0; 150];
            copy(&mut to[..len], &from[..len]);
            assert!(to[..len] == from[..len] && to[len..].iter().all(|byte| *byte == 0), "{len}");
        }
    }

    /// A text is full where one more byte does not fit, and not before: rooms reach further.
    #[test]
    fn the_bound_is_exact() {
        type Put = fn(&mut Text);
        for before in TEXT_BYTES_MAX - 20..=TEXT_BYTES_MAX {
            let puts: [(usize, Put); 5] = [
                (1, |text| text.put_decimal(7)),
                (5, |text| text.put_decimal(12_345)),
                (9, |text| text.put_decimal(123_456_789)),
                (7, |text| text.put_address(IpAddr::from([1, 2, 3, 4]))),
                (16, |text| text.put_hex(1)),
            ];
            for (len, put) in puts {
                let mut text = Text::new();
                text.put(&[b'x'; TEXT_BYTES_MAX][..before]);
                put(&mut text);
                assert_eq!(text.is_full(), before + len > TEXT_BYTES_MAX, "{before} {len}");
                assert_eq!(text.len(), if text.is_full() { before } else { before + len });
            }
        }
    }
}
