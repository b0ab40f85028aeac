//! Layers 2 to 4 around a SIP message: Ethernet, up to two VLAN tags, IPv4 or IPv6, UDP. One header, one file, one shape.
//!
//! ```text
//! frame -> read -> Received -> check            the payload's place, whence and whither, whether its checksum holds
//!    `---- Recurring -> |                       the same for many datagrams of one flow
//!                   basis <- Front              what the payload's edits leave of the checksum that it came with
//!                     |
//! frame <- write <- Outgoing, Envelope          headers put in front of the payload, where it stands by then
//!           `----- Prepared                     the same for many datagrams of one way
//! ```
//!
//! Every header's file has its `BYTES`, a struct of the fields that matter, a `read` that gives it and the place of what it carries, and a `write`
//! into an array of just so many bytes. This one puts them together.
//!
//! # Contract
//!
//! - Any bytes may be given. What [`read`] does not take it names ([`Odd`]); nothing here panics, allocates, or knows an interface, a neighbour or a clock.
//! - The ranges that [`read`] and [`write`](write()) return lie within the slice that they were given.
//! - Taken are whole UDP datagrams: IPv4 (RFC 791) without options, its header checksum being right; IPv6 (RFC 8200) with extension headers that
//!   a receiver skips; each length within the one around it. Bytes behind the IP packet are padding.
//! - *Not* looked at: whose MAC, VLAN and IP address the destination is, and whether the source's is one that can be answered. An IPv6 address has
//!   the scope 0, also a link-local one: the interface is the caller's to know.
//! - What [`write`](write()) writes: UDP (RFC 768) with its checksum; IPv4 with TOS 0, TTL 64, "don't fragment" clear and the caller's identification (RFC 6864: not
//!   to be repeated between two hosts while fragments may live), or IPv6 with hop limit 64, traffic class and flow label 0. It does not pad; no message is
//!   shorter than the 18 bytes that an untagged IPv4 frame needs.
//!
//! # The UDP checksum
//!
//! A checksum that is computed anew covers whatever the memory holds by then. One that is updated (RFC 1624) from the one that came carries any corruption
//! that happened in between to the receiver, who sees it. So it is updated: the sum that came, less the pseudo-header, ports and length that came, less
//! the payload's front as it came, up to the last edit, is the sum of the tail, which is not read ([`Basis::Tail`]). Headers and front as they leave are
//! added to it; where front or tail have come to stand at the other parity, the halves of the tail's sum change places (RFC 1071 2 (B)).
//!
//! That does not hold for a datagram that came without a checksum, or with one left to hardware, or that was cut at its end, or whose front nobody noted.
//! Then it is computed from the whole payload. Over IPv4 no checksum stays none; over IPv6 there must be one (RFC 8200 8.1).

#![deny(unsafe_code)]

pub mod checksum;
#[cfg(target_arch = "x86_64")]
mod checksum_x86_64;
pub mod ethernet;
pub mod ipv4;
pub mod ipv6;
mod prepared;
mod recurring;
#[cfg(test)]
pub(crate) mod tests;
pub mod udp;
pub mod vlan;

use crate::stats::named;
use checksum::Sum;
pub use checksum::{Basis, Front};
use core::net::SocketAddr;
use core::ops::Range;
use ethernet::{Ethernet, Mac};
use ipv4::Ipv4;
use ipv6::Ipv6;
pub use prepared::Prepared;
pub use recurring::Recurring;
use udp::Udp;
use vlan::{Tag, Tags, Vlan};

/// Most room that [`write`](write()) needs before the payload: Ethernet, two VLAN tags, IPv6, UDP.
///
/// Edits grow a payload into all the headroom that its datagram has. So a [`Datagram`](crate::io::Datagram) that is to get headers afterwards is made of the frame without
/// its first so many bytes.
pub const HEADERS_BYTES_MAX: usize =
    ethernet::BYTES + vlan::TAGS_MAX * vlan::BYTES + ipv6::BYTES + udp::BYTES;

named! {
    /// Why a frame is not taken: the headers' errors, from outside inwards.
    pub enum Odd {
        /// Shorter than an Ethernet header.
        EthernetShort = "ethernet_short",
        /// Neither IPv4 nor IPv6: ARP, IEEE 802.3 lengths and all others.
        EtherType = "ether_type",
        /// It ends within a VLAN tag.
        VlanShort = "vlan_short",
        /// More than two VLAN tags.
        VlanTags = "vlan_tags",
        /// It ends within the IPv4 header.
        Ipv4Short = "ipv4_short",
        /// By its EtherType IPv4, but of another version.
        Ipv4Version = "ipv4_version",
        /// An IPv4 header length below 20 bytes.
        Ipv4HeaderLength = "ipv4_header_length",
        /// IPv4 options.
        Ipv4Options = "ipv4_options",
        /// The IPv4 header checksum is wrong.
        Ipv4Checksum = "ipv4_checksum",
        /// A total length below the header's, or beyond the frame.
        Ipv4Length = "ipv4_length",
        /// An IPv4 fragment, the first or another.
        Ipv4Fragment = "ipv4_fragment",
        /// IPv4 carries another protocol than UDP.
        Ipv4Protocol = "ipv4_protocol",
        /// It ends within the IPv6 header.
        Ipv6Short = "ipv6_short",
        /// By its EtherType IPv6, but of another version.
        Ipv6Version = "ipv6_version",
        /// An IPv6 payload length beyond the frame.
        Ipv6Length = "ipv6_length",
        /// An IPv6 extension header that exceeds the packet, is malformed, stands in the wrong place, or is one too many.
        Ipv6Extension = "ipv6_extension",
        /// An IPv6 option that must not be skipped (RFC 8200 4.2); a jumbogram has one.
        Ipv6Option = "ipv6_option",
        /// A routing header with segments left: not there yet.
        Ipv6Routing = "ipv6_routing",
        /// An IPv6 fragment header.
        Ipv6Fragment = "ipv6_fragment",
        /// IPv6 carries another protocol than UDP, or an extension header that cannot be skipped.
        Ipv6NextHeader = "ipv6_next_header",
        /// It ends within the UDP header.
        UdpShort = "udp_short",
        /// A UDP length below the header's, or beyond what IP carries.
        UdpLength = "udp_length",
    }
}

/// A datagram in a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// Who the frame is from.
    pub source_mac: Mac,
    /// Who the frame is for: an address of the interface's, a group's, or, on an interface that takes all, anybody's.
    pub destination_mac: Mac,
    /// The VLAN tags that stand in the frame.
    pub vlans: Tags,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port, of the same family.
    pub destination: SocketAddr,
    /// Where the payload stands in the frame.
    pub payload: Range<usize>,
    /// The checksum field of the UDP header.
    pub checksum: u16,
}

/// Reads the headers of a frame.
///
/// # Errors
/// What is odd about it. The payload of such a frame is not a datagram's.
#[inline]
pub fn read(frame: &[u8]) -> Result<Received, Odd> {
    let (Ethernet { destination, source, mut ether_type }, mut place) = Ethernet::read(frame)?;
    let (destination_mac, source_mac, mut vlans) = (destination, source, Tags::NONE);
    while vlan::is_tag(ether_type) {
        let (vlan, carried) = Vlan::read(part(frame, &place))?;
        vlans.push(Tag { tpid: ether_type, tci: vlan.tci })?;
        (place, ether_type) = (within(&place, &carried), vlan.ether_type);
    }
    let (ip, source, destination) = match ether_type {
        ipv4::ETHER_TYPE => {
            let (ip, carried) = Ipv4::read(part(frame, &place))?;
            (carried, ip.source.into(), ip.destination.into())
        }
        ipv6::ETHER_TYPE => {
            let (ip, carried) = Ipv6::read(part(frame, &place))?;
            (carried, ip.source.into(), ip.destination.into())
        }
        _ => return Err(Odd::EtherType),
    };
    place = within(&place, &ip);
    let (udp, carried) = Udp::read(part(frame, &place))?;
    let source = SocketAddr::new(source, udp.source);
    let destination = SocketAddr::new(destination, udp.destination);
    let payload = within(&place, &carried);
    Ok(Received { source_mac, destination_mac, vlans, source, destination, payload, checksum: udp.checksum })
}

/// What a received UDP checksum says of the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// There is none, over IPv4: the sender does not want it checked.
    Absent,
    /// Header and payload are as they were sent.
    Right,
    /// The field holds the sum of the pseudo-header, for hardware to complete.
    ///
    /// A sender's kernel leaves it so (`CHECKSUM_PARTIAL`, `udp4_hwcsum` in net/ipv4/udp.c), and a virtual interface (veth, virtio) hands it over so: the frame
    /// was on no wire, and counts as good. A right checksum, and a wrong one, looks like this once in 65,535 times.
    Partial,
    /// Not as it was sent, or, over IPv6, without a checksum.
    Wrong,
}

impl Received {
    /// What of it has to do with the payload.
    #[inline]
    #[must_use]
    pub fn arrived(&self) -> Arrived {
        let Self { source, destination, .. } = self;
        Arrived {
            payload: self.payload.clone(),
            checksum: self.checksum,
            pseudo_header: Sum::of_pseudo_header(source, destination, 0),
            ports: Sum::of_word(source.port()) + Sum::of_word(destination.port()),
            udp_length: udp::BYTES.wrapping_add(self.payload.len()) as u16,
            is_ipv4: source.is_ipv4(),
        }
    }

    /// [`Arrived::check`].
    #[inline]
    #[must_use]
    pub fn check(&self, frame: &[u8]) -> Checksum {
        self.arrived().check(frame)
    }

    /// [`Arrived::basis`].
    #[inline]
    #[must_use]
    pub fn basis(&self, checksum: Checksum, front: Option<Front>) -> Basis {
        self.arrived().basis(checksum, front)
    }
}

/// A datagram in a frame, as far as its payload and its checksum are concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrived {
    /// Where the payload stands in the frame, right behind the UDP header.
    pub payload: Range<usize>,
    /// The checksum field of the UDP header.
    pub checksum: u16,
    /// The sum of the pseudo-header without the length.
    pseudo_header: Sum,
    /// The sum of the ports.
    ports: Sum,
    /// The length field of the UDP header, which the payload's length was taken from.
    udp_length: u16,
    is_ipv4: bool,
}

impl Arrived {
    /// Checks the UDP checksum of what was read from `frame`.
    ///
    /// All of the payload is read, unless it is [`Checksum::Absent`] or [`Checksum::Partial`].
    #[inline]
    #[must_use]
    pub fn check(&self, frame: &[u8]) -> Checksum {
        if self.checksum == 0 {
            return if self.is_ipv4 { Checksum::Absent } else { Checksum::Wrong };
        }
        let pseudo_header = self.pseudo_header + Sum::of_word(self.udp_length);
        if pseudo_header == Sum::of_word(self.checksum) {
            return Checksum::Partial;
        }
        let Range { start, end } = self.payload;
        let Some(carried) = frame.get(start.wrapping_sub(udp::BYTES)..end) else { return Checksum::Wrong };
        // Header and payload in one go.
        if (pseudo_header + Sum::of(carried)).is_zero() { Checksum::Right } else { Checksum::Wrong }
    }

    /// What the checksum that the payload leaves with is made from, after its front has been edited.
    ///
    /// `checksum` is what [`Self::check`] said, `front` what was noted before the edits, if it was. A datagram whose checksum is [`Checksum::Wrong`] is not to leave;
    /// if it does, it does with a checksum just as wrong, except where that would take a front that was not noted.
    #[inline]
    #[must_use]
    pub fn basis(&self, checksum: Checksum, front: Option<Front>) -> Basis {
        let front = match (checksum, front) {
            (Checksum::Absent, _) => return Basis::Absent,
            (Checksum::Partial, _) | (_, None) => return Basis::Payload,
            (Checksum::Right | Checksum::Wrong, Some(front)) => front,
        };
        let Some(bytes) = self.payload.len().checked_sub(front.bytes) else { return Basis::Payload };
        if front.payload_bytes != self.payload.len() {
            return Basis::Payload;
        }
        // The length stands in the header and in the pseudo-header.
        let length = Sum::of_word(self.udp_length);
        let headers = self.pseudo_header + self.ports + length + length;
        let payload = Sum::of_word(!self.checksum) - headers;
        Basis::Tail { bytes, sum: (payload - front.sum).shifted_by(front.bytes) }
    }
}

/// Who a frame is from and for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The egress interface's address.
    pub source_mac: Mac,
    /// The neighbour's address.
    pub destination_mac: Mac,
    /// The VLAN tags to write.
    pub vlans: Tags,
}

/// What a datagram leaves with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port, of the same family, which may be another than the one it came by. An IPv4-mapped address is an IPv6 address.
    pub destination: SocketAddr,
    /// The identification of the IPv4 header; IPv6 has none.
    pub identification: u16,
    /// What the UDP checksum is made from.
    pub basis: Basis,
}

/// Why headers cannot be written. The frame's payload is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unwritable {
    /// The room before the payload is too small; [`HEADERS_BYTES_MAX`] always does. Or the payload is not within the frame.
    NoRoom,
    /// The lengths exceed 16 bits.
    TooLong,
    /// Source and destination are of different families.
    Families,
}

/// Writes UDP, IP, VLAN tags and Ethernet in front of the payload at `payload`, and returns the whole frame's place.
///
/// # Errors
/// As [`Unwritable`] says. Nothing has been written then but, perhaps, bytes before the payload.
#[inline]
pub fn write(
    frame: &mut [u8],
    payload: Range<usize>,
    envelope: &Envelope,
    outgoing: &Outgoing,
) -> Result<Range<usize>, Unwritable> {
    let Range { start, end } = payload;
    let (room, rest) = frame.split_at_mut_checked(start).ok_or(Unwritable::NoRoom)?;
    let payload = end.checked_sub(start).and_then(|len| rest.get(..len)).ok_or(Unwritable::NoRoom)?;

    let room = write_udp(room, payload, outgoing)?;
    let (room, ether_type) = write_ip(room, payload.len(), outgoing)?;
    let (room, ether_type) = write_tags(room, ether_type, &envelope.vlans)?;
    let (room, header) = front_of::<{ ethernet::BYTES }>(room)?;
    let Envelope { source_mac: source, destination_mac: destination, .. } = *envelope;
    Ethernet { destination, source, ether_type }.write(header);
    Ok(room.len()..end)
}

/// Writes the UDP header at the end of `room`, and returns what is before it.
#[inline]
fn write_udp<'a>(
    room: &'a mut [u8],
    payload: &[u8],
    outgoing: &Outgoing,
) -> Result<&'a mut [u8], Unwritable> {
    let Outgoing { source, destination, basis, .. } = *outgoing;
    let length = u16::try_from(udp::BYTES + payload.len()).map_err(|_| Unwritable::TooLong)?;
    let (room, header) = front_of::<{ udp::BYTES }>(room)?;
    let checksum = if basis == Basis::Absent && source.is_ipv4() {
        0
    } else {
        let headers = Sum::of_udp_headers(&source, &destination, length);
        // RFC 768: a checksum of 0 is sent as its other self; 0 would say that there is none.
        match (headers + basis.sum(payload)).complement() {
            0 => 0xffff,
            checksum => checksum,
        }
    };
    Udp { source: source.port(), destination: destination.port(), length, checksum }.write(header);
    Ok(room)
}

/// Writes the IP header at the end of `room`, and returns what is before it, and its EtherType.
#[inline]
fn write_ip<'a>(
    room: &'a mut [u8],
    payload_bytes: usize,
    outgoing: &Outgoing,
) -> Result<(&'a mut [u8], u16), Unwritable> {
    let length = |header_bytes| {
        u16::try_from(header_bytes + udp::BYTES + payload_bytes).map_err(|_| Unwritable::TooLong)
    };
    match (outgoing.source, outgoing.destination) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            let (room, header) = front_of::<{ ipv4::BYTES }>(room)?;
            let (total_length, identification) = (length(ipv4::BYTES)?, outgoing.identification);
            let (source, destination) = (*source.ip(), *destination.ip());
            Ipv4 { total_length, identification, source, destination }.write(header);
            Ok((room, ipv4::ETHER_TYPE))
        }
        (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            let (room, header) = front_of::<{ ipv6::BYTES }>(room)?;
            let (source, destination) = (*source.ip(), *destination.ip());
            Ipv6 { payload_length: length(0)?, source, destination }.write(header);
            Ok((room, ipv6::ETHER_TYPE))
        }
        _ => Err(Unwritable::Families),
    }
}

/// Writes the tags at the end of `room`, innermost first, and returns what is before them, and the EtherType that names the outermost.
#[inline]
fn write_tags<'a>(
    mut room: &'a mut [u8],
    mut ether_type: u16,
    tags: &Tags,
) -> Result<(&'a mut [u8], u16), Unwritable> {
    for tag in tags.list().iter().rev() {
        let header;
        (room, header) = front_of::<{ vlan::BYTES }>(room)?;
        Vlan { tci: tag.tci, ether_type }.write(header);
        ether_type = tag.tpid;
    }
    Ok((room, ether_type))
}

/// The last `N` bytes of `room`, and those before them.
#[inline]
fn front_of<const N: usize>(room: &mut [u8]) -> Result<(&mut [u8], &mut [u8; N]), Unwritable> {
    room.split_last_chunk_mut().ok_or(Unwritable::NoRoom)
}

/// The bytes of a place in a frame.
#[inline]
fn part<'a>(frame: &'a [u8], place: &Range<usize>) -> &'a [u8] {
    frame.get(place.clone()).unwrap_or_default()
}

/// The place in the frame of what stands at `inner` in what stands at `outer`.
#[inline]
fn within(outer: &Range<usize>, inner: &Range<usize>) -> Range<usize> {
    outer.start + inner.start..outer.start + inner.end
}
