//! Where the UDP datagram of an Ethernet frame lies, and whom it is for.

use crate::bytes::Bytes;
use crate::listener::ListenerKey;
use crate::pass::Pass;

/// A UDP datagram in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The address that it is for, as it lies in memory, read as little-endian; IPv4 as an IPv4-mapped one.
    pub address: [u64; 2],
    /// The port that it is for, likewise.
    pub port: u16,
    /// Where its payload begins.
    pub payload: usize,
    /// How long its payload is. It lies inside of the frame.
    pub length: usize,
    /// Why it is not to be taken, if so; then `payload` and `length` may be wrong.
    pub odd: Option<Pass>,
}

impl Datagram {
    /// Whom it is for.
    #[inline(always)]
    #[must_use]
    pub fn to(&self) -> ListenerKey {
        ListenerKey::from_words(self.address, self.port)
    }
}

/// The datagram in `frame`, of `length` bytes. None where there is none that could be for a listener.
#[inline(always)]
pub fn datagram<B: Bytes>(frame: B, length: usize) -> Option<Datagram> {
    let mut ip = ETHERNET_BYTES;
    let mut kind = kind_before(frame, ip)?;
    if kind == VLAN || kind == SERVICE_VLAN {
        ip += VLAN_TAG_BYTES;
        kind = kind_before(frame, ip)?;
        if kind == VLAN || kind == SERVICE_VLAN {
            ip += VLAN_TAG_BYTES;
            kind = kind_before(frame, ip)?;
        }
    }
    match kind {
        IPV4 => ipv4(frame, length, ip),
        IPV6 => ipv6(frame, length, ip),
        _ => None,
    }
}

/// The EtherType whose last byte is the one before `at`.
#[inline(always)]
fn kind_before<B: Bytes>(frame: B, at: usize) -> Option<u16> {
    Some(pair(frame.word(at - 8)?, 6))
}

/// RFC 791 section 3.1.
#[inline(always)]
fn ipv4<B: Bytes>(frame: B, length: usize, ip: usize) -> Option<Datagram> {
    let (first, second) = (frame.word(ip)?, frame.word(ip + 8)?);
    let header = usize::from(byte(first, 0) & 15) * 4;
    let more_fragments = pair(first, 6) & 0x2000 != 0;
    let fragment_offset = pair(first, 6) & 0x1fff;
    if byte(second, 1) != UDP || fragment_offset != 0 || byte(first, 0) >> 4 != 4 || header < IPV4_BYTES {
        return None;
    }
    let odd = if more_fragments {
        Some(Pass::Fragment)
    } else if header != IPV4_BYTES {
        Some(Pass::IpOptions)
    } else {
        None
    };
    let destination = frame.word(ip + 12)? >> 32;
    let address = [0, IPV4_MAPPED | destination << 32];
    udp(frame, length, ip + header, ip + usize::from(pair(first, 2)), address, odd)
}

/// RFC 8200 sections 3 and 4.
#[inline(always)]
fn ipv6<B: Bytes>(frame: B, length: usize, ip: usize) -> Option<Datagram> {
    let first = frame.word(ip)?;
    if byte(first, 0) >> 4 != 6 {
        return None;
    }
    let mut at = ip + IPV6_BYTES;
    let end = at + usize::from(pair(first, 4));
    let mut next = byte(first, 6);
    let mut odd = None;
    let mut headers = 0;
    while next != UDP {
        if headers == EXTENSION_HEADERS_MAX {
            return None;
        }
        headers += 1;
        let header = frame.word(at)?;
        let mut bytes = 8 + 8 * usize::from(byte(header, 1));
        match next {
            HOP_BY_HOP | DESTINATION_OPTIONS => {}
            ROUTING if byte(header, 3) == 0 => {}
            ROUTING => odd = Some(Pass::RoutingHeader),
            FRAGMENT if pair(header, 2) & 0xfff8 == 0 => {
                odd = Some(Pass::Fragment);
                bytes = 8;
            }
            _ => return None,
        }
        next = byte(header, 0);
        at += bytes;
    }
    let address = [frame.word(ip + 24)?, frame.word(ip + 32)?];
    // It would be the key of an IPv4 listener, and is no address to be seen on a wire (RFC 4942 section 2.2).
    if address[0] == 0 && address[1] as u32 == IPV4_MAPPED as u32 {
        return None;
    }
    udp(frame, length, at, end, address, odd)
}

/// The datagram whose UDP header (RFC 768) begins at `at` and which ends, by the IP header, at `end`.
#[inline(always)]
fn udp<B: Bytes>(
    frame: B,
    length: usize,
    at: usize,
    end: usize,
    address: [u64; 2],
    odd: Option<Pass>,
) -> Option<Datagram> {
    let header = frame.word(at)?;
    let bytes = usize::from(pair(header, 4));
    let odd = odd.or(if end > length {
        Some(Pass::Truncated)
    } else if bytes < UDP_BYTES || at + bytes != end {
        Some(Pass::UdpLength)
    } else {
        None
    });
    let port = (header >> 16) as u16;
    Some(Datagram { address, port, payload: at + UDP_BYTES, length: bytes.wrapping_sub(UDP_BYTES), odd })
}

/// The byte `at` of a word.
#[inline(always)]
fn byte(word: u64, at: u32) -> u8 {
    (word >> (8 * at)) as u8
}

/// The number in network order at byte `at` of a word.
#[inline(always)]
fn pair(word: u64, at: u32) -> u16 {
    ((word >> (8 * at)) as u16).swap_bytes()
}

const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;

const VLAN_TAG_BYTES: usize = 4;
/// The ff:ff before the IPv4 address, in the second half of an IPv4-mapped one.
const IPV4_MAPPED: u64 = 0xffff_0000;
/// RFC 8200 section 4.1 has one of each kind, and destination options twice.
const EXTENSION_HEADERS_MAX: usize = 4;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
