//! Sets of IP prefixes.

use super::interval::Intervals;
use core::net::{IpAddr, Ipv4Addr};
use ipnet::IpNet;

/// Which of several prefix sets hold an address: one bit a set. IPv4-mapped addresses count as IPv4.
#[derive(Clone, Debug)]
pub struct Prefixes {
    v4: Intervals<u32>,
    v6: Intervals<u128>,
}

impl Prefixes {
    /// The table of `prefixes`, each with the bit that it sets; `always` are bits that every address has.
    #[must_use]
    pub fn new(prefixes: &[(IpNet, usize)], always: &[usize], bits: usize) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (net, bit) in prefixes {
            match (net.network().to_canonical(), net.broadcast().to_canonical()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    v4.push((first.to_bits(), last.to_bits().checked_add(1), *bit));
                }
                _ => {
                    let bits = |address| match address {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
                        IpAddr::V6(v6) => v6.to_bits(),
                    };
                    v6.push((bits(net.network()), bits(net.broadcast()).checked_add(1), *bit));
                }
            }
        }
        Self { v4: Intervals::new(&v4, always, bits), v6: Intervals::new(&v6, always, bits) }
    }

    /// The bit set of an address.
    #[inline]
    #[must_use]
    pub fn get(&self, address: IpAddr) -> &[u64] {
        let v4 = |address: Ipv4Addr| self.v4.get(|start| *start <= address.to_bits());
        match address {
            IpAddr::V4(address) => v4(address),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => v4(address),
                None => self.v6.get(|start| *start <= address.to_bits()),
            },
        }
    }

    /// Whether bit 0 is set for an address.
    #[inline]
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.get(address).first().is_some_and(|set| set & 1 == 1)
    }
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
