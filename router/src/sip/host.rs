//! `host` and `hostport` (RFC 3261 25.1): an IPv4 address, an IPv6 reference in brackets, or a name.

use super::scan::{self, HOST};
use super::span::Span;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host as it stands in a message: read, but pointing at its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Host {
    /// Its text, brackets included.
    pub span: Span,
    /// The address it spells, if it is one. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub address: Option<IpAddr>,
}

/// A host and the port after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port, where one is written.
    pub port: Option<u16>,
    /// One past the last byte read.
    pub end: usize,
}

impl HostPort {
    /// None, to be filled by [`Self::read`].
    pub const NOTHING: Self =
        Self { host: Host { span: Span::empty_at(0), address: None }, port: None, end: 0 };

    /// [`read_host_port`] into [`Self::NOTHING`], where it lies. An address that was written in parts and is moved as a whole makes the CPU wait.
    #[inline(always)]
    pub fn read(&mut self, bytes: &[u8], at: usize, end: usize, spaces: bool) -> bool {
        let stop;
        if bytes.get(at).is_some_and(u8::is_ascii_digit)
            && let Some((address, ipv4_end)) = leading_ipv4(bytes, at, end)
        {
            self.host.span = Span::new(at, ipv4_end);
            self.host.address = Some(IpAddr::V4(address));
            stop = ipv4_end;
        } else if let Some((host, host_end)) = read_name_or_ipv6(bytes, at, end) {
            self.host = host;
            stop = host_end;
        } else {
            return false;
        }
        self.end = stop;
        match bytes.get(stop) {
            Some(b':') if stop < end => self.read_port(bytes, stop + 1, end, spaces),
            Some(byte) if spaces && stop < end && scan::is(*byte, scan::LWS) => {
                let colon = scan::skip(bytes, stop, end, scan::LWS);
                colon >= end || bytes[colon] != b':' || self.read_port(bytes, colon + 1, end, spaces)
            }
            _ => true,
        }
    }

    #[inline(always)]
    fn read_port(&mut self, bytes: &[u8], at: usize, end: usize, spaces: bool) -> bool {
        let is_blank = |byte: &u8| scan::is(*byte, scan::LWS);
        let skips = spaces && bytes.get(at).is_some_and(is_blank);
        let from = if skips { scan::skip(bytes, at, end, scan::LWS) } else { at };
        let (count, value) = scan::leading_decimal(scan::word(bytes, from));
        let port_end = from + count as usize;
        if count == 0 || port_end > end || value > u64::from(u16::MAX) {
            return false;
        }
        self.port = Some(value as u16);
        self.end = port_end;
        true
    }
}

/// Reads `host [":" port]` at `at`. With `spaces`, white space may stand around the colon, as `sent-by` allows (COLON is SWS ":" SWS).
///
/// `None` when there is no host, an IPv6 reference does not parse, or a port is not a number up to 65535.
#[inline]
#[must_use]
pub fn read_host_port(bytes: &[u8], at: usize, end: usize, spaces: bool) -> Option<HostPort> {
    let mut host_port = HostPort::NOTHING;
    host_port.read(bytes, at, end, spaces).then_some(host_port)
}

#[inline(never)]
fn read_name_or_ipv6(bytes: &[u8], at: usize, end: usize) -> Option<(Host, usize)> {
    if at < end && bytes[at] == b'[' {
        let close = scan::find_any(bytes, at, end, [b']']);
        let address = ipv6(bytes.get(at + 1..close).filter(|_| close < end)?)?;
        return Some((Host { span: Span::new(at, close + 1), address: Some(address) }, close + 1));
    }
    let stop = scan::skip(bytes, at, end, HOST);
    (stop > at).then(|| (Host { span: Span::new(at, stop), address: None }, stop))
}

/// Dotted quad, each part one to three digits and at most 255.
#[inline]
#[must_use]
pub fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let (address, len) = scan::dotted_quad(text, 0)?;
    (len == text.len()).then(|| Ipv4Addr::from_bits(address))
}

/// The dotted quad at `at`, and where it ends: at `end`, or at a byte that no host name holds.
#[inline(always)]
fn leading_ipv4(bytes: &[u8], at: usize, end: usize) -> Option<(Ipv4Addr, usize)> {
    let (address, len) = scan::dotted_quad(bytes, at)?;
    let stop = at + len;
    let ends = match bytes.get(stop) {
        Some(byte) if stop < end => !scan::is(*byte, HOST),
        // What ends a value is no part of a quad: it ends in front of white space, a bracket, or the like.
        _ => stop == end,
    };
    ends.then(|| (Ipv4Addr::from_bits(address), stop))
}
/// An IPv6 address without brackets. Three colons, which the grammar of RFC 3261 produces by mistake, are read as two (RFC 5118 4.9).
#[must_use]
pub fn ipv6(text: &[u8]) -> Option<IpAddr> {
    let parse = |text: &[u8]| core::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok();
    let address = parse(text).or_else(|| {
        let at = text.windows(3).position(|w| w == b":::")?;
        let mut fixed = [0u8; 45];
        let len = text.len().checked_sub(1).filter(|len| *len <= fixed.len())?;
        fixed[..at].copy_from_slice(&text[..at]);
        fixed[at..len].copy_from_slice(&text[at + 1..]);
        parse(&fixed[..len])
    })?;
    Some(address.to_canonical())
}

/// The address that a parameter such as `received` or `maddr` spells, with or without brackets (RFC 5118 4.5).
#[must_use]
pub fn address(text: &[u8]) -> Option<IpAddr> {
    if let Some(inner) = text.strip_prefix(b"[") {
        return ipv6(inner.strip_suffix(b"]")?);
    }
    ipv4(text).map(IpAddr::V4).or_else(|| ipv6(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(address(b"192.0.2.1"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(address(b"[2001:db8::9:1]"), Some("2001:db8::9:1".parse().unwrap()));
        assert_eq!(address(b"2001:db8:::192.0.2.1"), Some("2001:db8::192.0.2.1".parse().unwrap()));
        assert_eq!(address(b"[::ffff:192.0.2.1]"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(address(b"10.0.42949672961.7"), None);
        for bad in ["256.1.1.1", "1.2.3", "1.2.3.4.5", "1..2.3", "1.2.3.", "0001.2.3.4", "[::1", "::g"] {
            assert_eq!(address(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn host_ports() {
        let read = |text: &str| {
            read_host_port(text.as_bytes(), 0, text.len(), false).map(|h| (h.host.span.len(), h.port, h.end))
        };
        assert_eq!(read("a.example:5062;x"), Some((9, Some(5062), 14)));
        assert_eq!(read("[2001:db8::10:5070]"), Some((19, None, 19)));
        assert_eq!(read("[2001:db8::10]:5070"), Some((14, Some(5070), 19)));
        assert_eq!(read("a:"), None);
        assert_eq!(read("a:65536"), None);
        assert_eq!(read(":5060"), None);
    }
}
