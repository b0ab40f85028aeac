//! Which listener a datagram is for, by where it went to.

use crate::io::ListenerIndex;
use core::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The listeners by address and port. Those on all addresses come second.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// Those of IPv4, by address and port as one number, ascending: such a number is compared by one instruction.
    v4: Vec<(u64, ListenerIndex)>,
    /// Those of IPv6, ascending.
    v6: Vec<(SocketAddrV6, ListenerIndex)>,
    /// Family and port of those on all addresses, ascending.
    wildcards: Vec<((bool, u16), ListenerIndex)>,
    /// The bound addresses, by index.
    bound: Vec<SocketAddr>,
}

impl Listeners {
    /// The table of `bound` addresses, in the order of their indexes.
    #[must_use]
    pub fn new(bound: &[SocketAddr]) -> Self {
        let indexed = || bound.iter().enumerate().map(|(i, address)| (*address, ListenerIndex(i as u16)));
        let is_wildcard = |address: &SocketAddr| address.ip().is_unspecified();
        let (mut v4, mut v6) = (vec![], vec![]);
        for (address, index) in indexed().filter(|(address, _)| !is_wildcard(address)) {
            match address {
                SocketAddr::V4(address) => v4.push((number(address), index)),
                SocketAddr::V6(address) => v6.push((address, index)),
            }
        }
        v4.sort_unstable_by_key(|(key, _)| *key);
        v6.sort_unstable_by_key(|(key, _)| *key);
        let wildcards = indexed().filter(|(address, _)| is_wildcard(address));
        let mut wildcards: Vec<_> = wildcards.map(|(a, index)| ((a.is_ipv6(), a.port()), index)).collect();
        wildcards.sort_unstable_by_key(|(key, _)| *key);
        Self { v4, v6, wildcards, bound: bound.to_vec() }
    }

    /// The listener that a datagram to `destination` is for.
    #[inline]
    #[must_use]
    pub fn of(&self, destination: SocketAddr) -> Option<ListenerIndex> {
        let found = match destination {
            SocketAddr::V4(address) => get(&self.v4, &number(address)),
            SocketAddr::V6(address) => get(&self.v6, &address),
        };
        found.or_else(|| self.wildcard(destination))
    }

    /// The listener on all addresses of the family that `destination` is of.
    #[inline]
    fn wildcard(&self, destination: SocketAddr) -> Option<ListenerIndex> {
        if self.wildcards.is_empty() {
            return None;
        }
        get(&self.wildcards, &(destination.is_ipv6(), destination.port()))
    }

    /// Where a datagram leaves from by `egress` that came in by `ingress` to `destination`: the address, if the listener has one or an answer is
    /// to come from where the question went; and the port.
    #[inline]
    #[must_use]
    pub fn source(
        &self,
        egress: ListenerIndex,
        ingress: ListenerIndex,
        destination: SocketAddr,
    ) -> Option<(Option<IpAddr>, u16)> {
        let bound = self.bound.get(usize::from(egress.0))?;
        let address = match bound.ip() {
            ip if !ip.is_unspecified() => Some(ip),
            _ if egress == ingress => Some(destination.ip()),
            _ => None,
        };
        Some((address, bound.port()))
    }
}

/// The value of a key in an ascending table.
#[inline]
fn get<K: Ord>(table: &[(K, ListenerIndex)], key: &K) -> Option<ListenerIndex> {
    let place = table.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
    table.get(place).map(|(_, index)| *index)
}

/// Address and port.
#[inline]
fn number(address: SocketAddrV4) -> u64 {
    u64::from(address.ip().to_bits()) << 16 | u64::from(address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_goes_before_all_addresses() {
        let bound = ["0.0.0.0:5060", "192.0.2.1:5060", "[::]:5060", "192.0.2.1:5070", "[2001:db8::1]:5060"];
        let bound = bound.map(|text| text.parse().unwrap());
        let listeners = Listeners::new(&bound);
        let of = |text: &str| listeners.of(text.parse().unwrap()).map(|index| index.0);
        assert_eq!(of("192.0.2.1:5060"), Some(1));
        assert_eq!(of("192.0.2.2:5060"), Some(0));
        assert_eq!(of("192.0.2.1:5070"), Some(3));
        assert_eq!(of("192.0.2.2:5070"), None);
        assert_eq!(of("[2001:db8::1]:5060"), Some(4));
        assert_eq!(of("[2001:db8::2]:5060"), Some(2));
        assert_eq!(Listeners::new(&[]).of(bound[0]), None);
    }

    #[test]
    fn answers_leave_from_where_they_were_asked() {
        let bound = ["0.0.0.0:5060", "192.0.2.1:5070"].map(|text| text.parse().unwrap());
        let (wildcard, one) = (ListenerIndex(0), ListenerIndex(1));
        let listeners = Listeners::new(&bound);
        let asked: SocketAddr = "192.0.2.7:5060".parse().unwrap();
        assert_eq!(listeners.source(wildcard, wildcard, asked), Some((Some(asked.ip()), 5060)));
        assert_eq!(listeners.source(wildcard, one, asked), Some((None, 5060)));
        assert_eq!(listeners.source(one, wildcard, asked), Some((Some(bound[1].ip()), 5070)));
        assert_eq!(listeners.source(ListenerIndex(2), one, asked), None);
    }
}
