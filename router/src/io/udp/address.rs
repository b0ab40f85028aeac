//! Addresses as the kernel writes them: socket names and packet-info control messages, from and to bytes.
//!
//! The layouts are those of `linux/in.h` and `linux/in6.h` (`sockaddr_in`, `sockaddr_in6`, `in_pktinfo`, `in6_pktinfo`) and of `cmsghdr` in
//! `linux/socket.h`: numbers in the machine's order, addresses and ports in the network's.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use nix::libc::{
    AF_INET, AF_INET6, IP_PKTINFO, IPPROTO_IP, IPPROTO_IPV6, IPV6_PKTINFO, c_int, cmsghdr, sa_family_t,
    sockaddr_in, sockaddr_in6,
};

/// Room for a `sockaddr_in` or a `sockaddr_in6`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Name([u8; 32]);
const _: () = assert!(size_of::<sockaddr_in6>() <= 32);

impl Name {
    /// No address.
    pub(super) const EMPTY: Self = Self([0; 32]);

    /// The address in the first `len` bytes, if they are one.
    #[inline]
    pub(super) fn decode(&self, len: usize) -> Option<SocketAddr> {
        let bytes = self.0.get(..len)?;
        let family = c_int::from(sa_family_t::from_ne_bytes(field(bytes, 0)?));
        let port = u16::from_be_bytes(field(bytes, 2)?);
        match family {
            AF_INET => Some(SocketAddr::new(Ipv4Addr::from(field::<4>(bytes, 4)?).into(), port)),
            AF_INET6 => {
                let address = Ipv6Addr::from(field::<16>(bytes, 8)?);
                let scope_id = u32::from_ne_bytes(field(bytes, 24)?);
                Some(SocketAddrV6::new(address, port, 0, scope_id).into())
            }
            _ => None,
        }
    }

    /// Writes `address`, and says how many bytes that took.
    #[inline]
    pub(super) fn encode(&mut self, address: SocketAddr) -> usize {
        match address {
            SocketAddr::V4(v4) => {
                put(&mut self.0, 0, (AF_INET as sa_family_t).to_ne_bytes());
                put(&mut self.0, 2, v4.port().to_be_bytes());
                put(&mut self.0, 4, v4.ip().octets());
                put(&mut self.0, 8, [0; 8]);
                size_of::<sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                put(&mut self.0, 0, (AF_INET6 as sa_family_t).to_ne_bytes());
                put(&mut self.0, 2, v6.port().to_be_bytes());
                put(&mut self.0, 4, [0; 4]);
                put(&mut self.0, 8, v6.ip().octets());
                put(&mut self.0, 24, v6.scope_id().to_ne_bytes());
                size_of::<sockaddr_in6>()
            }
        }
    }
}

/// Where a datagram was sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Local {
    /// The destination address of its IP header.
    pub(super) destination: IpAddr,
    /// The address of ours that an answer leaves from: the same, but for IPv4 broadcasts and multicasts.
    pub(super) source: IpAddr,
    /// The interface it came in by.
    pub(super) interface: u32,
}

impl Local {
    /// An address of ours, by whatever interface.
    pub(super) const fn of(address: IpAddr) -> Self {
        Self { destination: address, source: address, interface: 0 }
    }
}

/// Room for one control message with packet info of either family.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Control([u8; 40]);

/// Bytes of a control message before its data; the data is aligned as the header is.
const HEADER_BYTES: usize = size_of::<cmsghdr>();
const _: () = assert!(HEADER_BYTES == 16 && align_of::<Control>() >= align_of::<cmsghdr>());

impl Control {
    /// No control message.
    pub(super) const EMPTY: Self = Self([0; 40]);

    /// The packet info in the first `len` bytes. Nothing else is asked for of the kernel, so it comes first or not at all.
    #[inline]
    pub(super) fn decode(&self, len: usize) -> Option<Local> {
        let bytes = self.0.get(..len)?;
        let message_len = usize::from_ne_bytes(field(bytes, 0)?);
        let level = c_int::from_ne_bytes(field(bytes, 8)?);
        let kind = c_int::from_ne_bytes(field(bytes, 12)?);
        let data = bytes.get(HEADER_BYTES..message_len)?;
        match (level, kind) {
            // interface, local address, destination address
            (IPPROTO_IP, IP_PKTINFO) => Some(Local {
                destination: Ipv4Addr::from(field::<4>(data, 8)?).into(),
                source: Ipv4Addr::from(field::<4>(data, 4)?).into(),
                interface: u32::from_ne_bytes(field(data, 0)?),
            }),
            // destination address, interface
            (IPPROTO_IPV6, IPV6_PKTINFO) => {
                let address = Ipv6Addr::from(field::<16>(data, 0)?).into();
                let interface = u32::from_ne_bytes(field(data, 16)?);
                Some(Local { destination: address, source: address, interface })
            }
            _ => None,
        }
    }

    /// Writes packet info that makes a datagram to `to` leave from `from`, and says how many bytes that took.
    ///
    /// The interface stays the routing table's choice, but where an address is link-local, which means nothing without one.
    #[inline]
    pub(super) fn encode(&mut self, from: Local, to: SocketAddr) -> usize {
        let data_len = match from.source {
            IpAddr::V4(address) => {
                put(&mut self.0, 8, IPPROTO_IP.to_ne_bytes());
                put(&mut self.0, 12, IP_PKTINFO.to_ne_bytes());
                put(&mut self.0, 16, [0; 4]);
                put(&mut self.0, 20, address.octets());
                put(&mut self.0, 24, [0; 4]);
                12
            }
            IpAddr::V6(address) => {
                let is_link_local = |ip| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
                let needs_interface = is_link_local(from.source) || is_link_local(to.ip());
                let interface = if needs_interface { from.interface } else { 0 };
                // A multicast address cannot be sent from; unspecified leaves the choice to the kernel.
                let address = if address.is_multicast() { Ipv6Addr::UNSPECIFIED } else { address };
                put(&mut self.0, 8, IPPROTO_IPV6.to_ne_bytes());
                put(&mut self.0, 12, IPV6_PKTINFO.to_ne_bytes());
                put(&mut self.0, 16, address.octets());
                put(&mut self.0, 32, interface.to_ne_bytes());
                20
            }
        };
        put(&mut self.0, 0, (HEADER_BYTES + data_len).to_ne_bytes());
        (HEADER_BYTES + data_len).next_multiple_of(align_of::<cmsghdr>())
    }
}

/// The `N` bytes at `at`.
#[inline]
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Writes `value` at `at`, which is a constant within the room.
#[inline]
fn put<const N: usize>(room: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = room.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive() {
        for text in
            ["192.0.2.1:5060", "0.0.0.0:0", "255.255.255.255:65535", "[2001:db8::1]:5060", "[fe80::1%7]:1"]
        {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = Name([0xff; 32]);
            let len = name.encode(address);
            assert_eq!(len, if address.is_ipv4() { 16 } else { 28 });
            assert_eq!(name.decode(len), Some(address));
            assert_eq!(name.decode(32), Some(address));
            // The kernel's own minimum for IPv4 leaves out the padding.
            let needed = if address.is_ipv4() { 8 } else { 28 };
            assert!((0..needed).all(|short| name.decode(short).is_none()));
            assert_eq!(name.decode(33), None);
        }
        assert_eq!(Name::EMPTY.decode(32), None);
    }

    #[test]
    fn packet_info_survives() {
        let to: SocketAddr = "[2001:db8::9]:5060".parse().unwrap();
        for (text, len) in [("192.0.2.1", 32), ("2001:db8::1", 40)] {
            let source: IpAddr = text.parse().unwrap();
            let mut control = Control([0xff; 40]);
            assert_eq!(control.encode(Local { destination: source, source, interface: 3 }, to), len);
            let local = control.decode(len).unwrap();
            assert_eq!((local.source, local.interface), (source, 0));
            let needed = if source.is_ipv4() { 28 } else { 36 };
            assert!((0..needed).all(|short| control.decode(short).is_none()));
            assert_eq!(control.decode(41), None);
        }
    }

    #[test]
    fn a_link_local_address_keeps_its_interface() {
        for (from, to, interface) in [
            ("fe80::1", "fe80::2", 3),
            ("2001:db8::1", "fe80::2", 3),
            ("fe80::1", "2001:db8::2", 3),
            ("fd00::1", "fd00::2", 0),
        ] {
            let source: IpAddr = from.parse().unwrap();
            let mut control = Control::EMPTY;
            let local = Local { destination: source, source, interface: 3 };
            let len = control.encode(local, SocketAddr::new(to.parse().unwrap(), 5060));
            assert_eq!(control.decode(len).unwrap().interface, interface, "{from} {to}");
        }
    }

    #[test]
    fn a_multicast_address_is_not_sent_from() {
        let source: IpAddr = "ff02::1".parse().unwrap();
        let mut control = Control::EMPTY;
        let len = control
            .encode(Local { destination: source, source, interface: 3 }, "[fd00::1]:1".parse().unwrap());
        assert!(control.decode(len).unwrap().source.is_unspecified());
    }

    /// Whatever stands in the lengths and numbers, nothing is read outside, and only packet info is taken for it.
    #[test]
    fn strange_control_messages_are_none() {
        let mut control = Control::EMPTY;
        let local: IpAddr = "192.0.2.1".parse().unwrap();
        let len = control.encode(
            Local { destination: local, source: local, interface: 0 },
            "192.0.2.2:1".parse().unwrap(),
        );
        for message_len in [0, 1, 15, 16, 27, 33, 41, 1 << 20, usize::MAX] {
            let mut strange = control;
            put(&mut strange.0, 0, message_len.to_ne_bytes());
            assert_eq!(strange.decode(len), None, "{message_len}");
        }
        for at in [8, 12] {
            let mut strange = control;
            strange.0[at] ^= 0x40;
            assert_eq!(strange.decode(len), None);
        }
    }
}
