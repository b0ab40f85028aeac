//! A text of bounded length, and how values are spelled in it.

use core::net::IpAddr;

/// Most bytes that all edits of one message may put in.
///
/// Two Record-Routes and a Via with 255-byte names come to 1,100; the rest is room for a Request-URI that strict routing moves into the Route set,
/// and for a redirect's Contacts. What is longer is answered 513.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Text that is written once from front to back. Writing past the bound writes nothing and is remembered.
#[derive(Clone, Debug)]
pub struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
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
        Self { bytes: [0; TEXT_BYTES_MAX], len: 0, full: false }
    }

    /// Back to nothing.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
        self.full = false;
    }

    /// How many bytes it holds.
    #[inline]
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
    #[inline]
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// All of it.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.min(TEXT_BYTES_MAX)]
    }

    /// Appends `bytes`.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.full = true,
        }
    }

    /// Appends `number` in decimal.
    #[inline]
    pub fn put_decimal(&mut self, number: u32) {
        let mut digits = [0u8; 10];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.put(&digits[at..]);
    }

    /// Appends `number` as 16 lower-case hexadecimal digits.
    #[inline]
    pub fn put_hex(&mut self, number: u64) {
        self.put(&hex(number));
    }

    /// Appends `number` as `digits` lower-case hexadecimal digits, at most 16.
    #[inline]
    pub fn put_hex_digits(&mut self, number: u64, digits: usize) {
        self.put(&hex(number)[16 - digits.min(16)..]);
    }

    /// Appends an address, IPv6 without brackets.
    pub fn put_address(&mut self, address: IpAddr) {
        use core::fmt::Write;
        match address {
            IpAddr::V4(v4) => {
                // Each octet writes four bytes, of which the next one overwrites what is too much.
                let mut text = [0u8; 20];
                let mut len = 0;
                for octet in v4.octets() {
                    let (digits, count) = OCTETS[usize::from(octet)];
                    text[len..len + 4].copy_from_slice(&digits);
                    len += usize::from(count) + 1;
                }
                self.put(&text[..len - 1]);
            }
            IpAddr::V6(v6) => {
                if write!(self, "{v6}").is_err() {
                    self.full = true;
                }
            }
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

/// 16 hexadecimal digits, most significant first: nibbles are spread over two words and made digits eight at a time.
#[inline]
#[must_use]
pub fn hex(number: u64) -> [u8; 16] {
    let mut digits = [0u8; 16];
    digits[..8].copy_from_slice(&hex8((number >> 32) as u32).to_be_bytes());
    digits[8..].copy_from_slice(&hex8(number as u32).to_be_bytes());
    digits
}

/// Eight digits in a word, most significant first in big-endian order.
#[inline]
fn hex8(number: u32) -> u64 {
    let mut x = u64::from(number);
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // 1 in each byte whose nibble is 10 or more; those are letters, 39 further on than the digits.
    let letters = (x + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    x + 0x3030_3030_3030_3030 + letters * (b'a' - b'9' - 1) as u64
}

/// The number that exactly `text` spells in hexadecimal, at most 16 digits of either case.
#[inline]
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
            assert_eq!(hex(number), format!("{number:016x}").as_bytes());
            assert_eq!(parse_hex(&hex(number)), Some(number));
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
}
