//! Sets of IP prefixes.

use super::interval::Intervals;
use core::net::IpAddr;
use ipnet::IpNet;

/// An address as an ordered key: IPv4 before IPv6. IPv4-mapped addresses count as IPv4.
type Key = (bool, u128);

/// Which of several prefix sets hold an address: one bit a set.
#[derive(Clone, Debug)]
pub struct Prefixes(Intervals<Key>);

impl Prefixes {
    /// The table of `prefixes`, each with the bit that it sets; `always` are bits that every address has.
    #[must_use]
    pub fn new(prefixes: &[(IpNet, usize)], always: &[usize], bits: usize) -> Self {
        let ranges: Vec<_> = prefixes.iter().map(|(net, bit)| range(*net, *bit)).collect();
        Self(Intervals::new(&ranges, always, bits))
    }

    /// The bit set of an address.
    #[inline]
    #[must_use]
    pub fn get(&self, address: IpAddr) -> &[u64] {
        let key = key(address);
        self.0.get(|start| *start <= key)
    }

    /// Whether bit 0 is set for an address.
    #[inline]
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.get(address).first().is_some_and(|set| set & 1 == 1)
    }
}

#[inline]
fn key(address: IpAddr) -> Key {
    match address.to_canonical() {
        IpAddr::V4(v4) => (false, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (true, v6.to_bits()),
    }
}

fn range(net: IpNet, bit: usize) -> (Key, Option<Key>, usize) {
    let (is_v6, first) = key(net.network());
    let (_, last) = key(net.broadcast());
    ((is_v6, first), last.checked_add(1).map(|end| (is_v6, end)), bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership() {
        let nets = ["10.0.0.0/8", "0.0.0.0/32", "2001:db8::/32", "255.255.255.255/32"];
        let nets: Vec<_> = nets.iter().map(|net| (net.parse().unwrap(), 0)).collect();
        let set = Prefixes::new(&nets, &[], 1);
        for inside in [
            "10.0.0.0",
            "10.255.255.255",
            "0.0.0.0",
            "2001:db8:ffff::1",
            "::ffff:10.1.1.1",
            "255.255.255.255",
        ] {
            assert!(set.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "0.0.0.1", "2001:db9::", "::1", "::", "::10.1.1.1"] {
            assert!(!set.contains(outside.parse().unwrap()), "{outside}");
        }
        let all = Prefixes::new(&[("0.0.0.0/0".parse().unwrap(), 0)], &[], 1);
        assert!(all.contains("255.255.255.255".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
    }
}
