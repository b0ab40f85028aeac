//! Loopback addresses that nobody uses.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{LazyLock, Mutex, PoisonError};

use super::{Family, Network, Place};

/// All loopback addresses.
pub(super) const PREFIXES: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// Ports given out by this process: tests run in parallel, and a program binds its port some time after
/// the kernel gave it to us and we gave it back.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// There are two addresses in IPv4 and one in IPv6.
pub(super) const fn ip(place: Place) -> IpAddr {
    match (place.family, place.network) {
        (Family::V4, Network::Public) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (Family::V4, Network::Core) => IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
        (Family::V6, _) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// A free UDP port.
pub(super) fn free_address(place: Place) -> SocketAddr {
    loop {
        let probe = UdpSocket::bind((ip(place), 0)).expect("a free UDP port");
        let address = probe.local_addr().expect("a bound socket has an address");
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(address.port()) {
            return address;
        }
    }
}

/// An address that this machine does not have.
pub(super) fn missing(places: &[Place]) -> Option<String> {
    let absent = places.iter().map(|place| ip(*place)).find(|ip| UdpSocket::bind((*ip, 0)).is_err())?;
    Some(format!("this machine has no {absent}"))
}
