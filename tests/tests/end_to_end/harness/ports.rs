//! Loopback addresses that nobody uses.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{LazyLock, Mutex, PoisonError};

/// The IPv4 loopback address.
pub(crate) const IPV4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// A second IPv4 loopback address.
pub(crate) const IPV4_SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// The IPv6 loopback address.
pub(crate) const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Ports given out by this process: tests run in parallel, and a program binds its port some time after
/// the kernel gave it to us and we gave it back.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A free UDP port of that address.
pub(crate) fn free_address(ip: IpAddr) -> SocketAddr {
    loop {
        let probe = UdpSocket::bind((ip, 0)).expect("a free UDP port");
        let address = probe.local_addr().expect("a bound socket has an address");
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(address.port()) {
            return address;
        }
    }
}

/// As many different free UDP ports of that address.
pub(crate) fn free_addresses<const N: usize>(ip: IpAddr) -> [SocketAddr; N] {
    std::array::from_fn(|_| free_address(ip))
}

/// Whether some process has bound the UDP port, from the kernel's table: binding it to find out would
/// be in the way of the process that is about to.
pub(crate) fn is_bound(address: SocketAddr) -> bool {
    let table = if address.is_ipv4() { "/proc/net/udp" } else { "/proc/net/udp6" };
    let port = format!(":{:04X}", address.port());
    let table = fs::read_to_string(table).expect("the kernel's table of UDP sockets");
    table.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|local| local.ends_with(&port))
}
