//! Our addresses, and which of them a datagram leaves from if nobody has chosen.

use super::{AddressPlan, LinkIndex};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All addresses of ours.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    /// In the order of links, of one link in the kernel's order.
    by_link: Vec<AddressPlan>,
    /// Sorted.
    links: Vec<(IpAddr, LinkIndex)>,
}

/// `RT_SCOPE_LINK`: means something on the link only.
const SCOPE_LINK: u8 = 253;
/// `RT_SCOPE_UNIVERSE`.
const SCOPE_GLOBAL: u8 = 0;

impl Addresses {
    pub(super) fn new(plans: &[AddressPlan]) -> Self {
        let mut by_link = plans.to_vec();
        by_link.sort_by_key(|plan| plan.link);
        let mut links: Vec<_> = plans.iter().map(|plan| (plan.address, plan.link)).collect();
        links.sort_unstable();
        Self { by_link, links }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &AddressPlan> {
        self.by_link.iter()
    }

    /// The link that has `address`; of several, the one with the lowest number.
    pub(super) fn link_of(&self, address: IpAddr) -> Option<LinkIndex> {
        let place = self.links.partition_point(|(known, _)| *known < address);
        self.links.get(place).filter(|(known, _)| *known == address).map(|(_, link)| *link)
    }

    /// The source for a route that leads by `link` to `gateway`, or to destinations on the link (`inet_select_addr`, `net/ipv4/devinet.c`).
    pub(super) fn source_v4(&self, link: LinkIndex, gateway: Option<IpAddr>) -> Option<Ipv4Addr> {
        let gateway = gateway.filter(IpAddr::is_ipv4);
        let scope = if gateway.is_some() { SCOPE_GLOBAL } else { SCOPE_LINK };
        let primaries = || {
            let usable =
                |plan: &&AddressPlan| plan.address.is_ipv4() && !plan.is_secondary && plan.scope <= scope;
            self.by_link.iter().filter(usable)
        };
        let on_link = || primaries().filter(|plan| plan.link == link);
        let beside = |plan: &&AddressPlan| gateway.is_none_or(|gateway| plan.on_link.contains(&gateway));
        let found = on_link().find(beside).or_else(|| on_link().next());
        let elsewhere = || primaries().find(|plan| plan.scope != SCOPE_LINK);
        found.or_else(elsewhere).and_then(|plan| match plan.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    /// The source for `destination`, which is not link-local, by `link` (RFC 6724 section 5; `ipv6_dev_get_saddr`, `net/ipv6/addrconf.c`, with its defaults).
    pub(super) fn source_v6(&self, link: LinkIndex, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        let candidate = |plan: &AddressPlan| match plan.address {
            IpAddr::V6(address) if !plan.is_tentative && !address.is_loopback() => {
                let rank = (
                    !address.is_unicast_link_local(),
                    !plan.is_deprecated,
                    plan.link == link,
                    label(address) == label(destination),
                    !plan.is_secondary,
                    common_bits(address, destination).min(u32::from(plan.on_link.prefix_len())),
                );
                Some((rank, address))
            }
            _ => None,
        };
        // The last of the best in reverse order is the first of them.
        let best = self.by_link.iter().rev().filter_map(candidate).max_by_key(|(rank, _)| *rank);
        best.map(|(_, address)| address)
    }
}

fn common_bits(a: Ipv6Addr, b: Ipv6Addr) -> u32 {
    (a.to_bits() ^ b.to_bits()).leading_zeros()
}

/// The label of RFC 6724 section 2.1, with the kernel's additions (`net/ipv6/addrlabel.c`).
fn label(address: Ipv6Addr) -> u8 {
    match address.segments() {
        [0x2001, 0, ..] => 6,
        [0x2001, second, ..] if second & 0xfff0 == 0x10 => 7,
        [0x2002, ..] => 2,
        [first, ..] if first & 0xfe00 == 0xfc00 => 5,
        [0, 0, 0, 0, 0, 0, ..] => 3,
        _ => 1,
    }
}
