//! Which listener a datagram is for, by where it went to.

use crate::io::ListenerIndex;
use core::net::{IpAddr, SocketAddr};

/// The listeners by address and port. Those on all addresses come second.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// Ascending.
    by_address: Vec<(SocketAddr, ListenerIndex)>,
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
        let mut by_address: Vec<_> = indexed().filter(|(address, _)| !is_wildcard(address)).collect();
        by_address.sort_unstable_by_key(|(address, _)| *address);
        let wildcards = indexed().filter(|(address, _)| is_wildcard(address));
        let mut wildcards: Vec<_> = wildcards.map(|(a, index)| ((a.is_ipv6(), a.port()), index)).collect();
        wildcards.sort_unstable_by_key(|(key, _)| *key);
        Self { by_address, wildcards, bound: bound.to_vec() }
    }

    /// The listener that a datagram to `destination` is for.
    #[inline]
    #[must_use]
    pub fn of(&self, destination: SocketAddr) -> Option<ListenerIndex> {
        if let Ok(at) = self.by_address.binary_search_by_key(&destination, |(address, _)| *address) {
            return self.by_address.get(at).map(|(_, index)| *index);
        }
        let key = (destination.is_ipv6(), destination.port());
        let at = self.wildcards.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.wildcards.get(at).map(|(_, index)| *index)
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
