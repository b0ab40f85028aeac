//! Which listener a message leaves by, where nothing else says so.
//!
//! The listener that it came in by, as long as it can reach the next hop: the address families agree, and the next hop's route leaves by the listener's link.
//! Else the first listener that can. Where no listener is on the route's link (an address of ours may be on a link that nothing leaves by, such as a service address on the
//! loopback), the kernel sends from any address by any link, and so does the listener that it came in by.
//!
//! What the routes say is asked only where there is a choice: with listeners of a family on one link only, that is never.

use super::snapshot::Listener;
use crate::io::ListenerIndex;
use crate::ip_route::{IpRoutes, LinkIndex};
use core::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the choice hangs on.
#[derive(Clone, Debug)]
pub struct Egress {
    /// For each family and for loopback or not, the first listener that reaches it: `[v4, v4 loopback, v6, v6 loopback]`.
    by_reach: [Option<ListenerIndex>; 4],
    /// For IPv4 and IPv6, where listeners are on different links.
    routed: [Option<Routed>; 2],
    /// No other has the same but a copy of this one; 0 where the routes are not asked.
    serial: u64,
}

#[derive(Clone, Debug)]
struct Routed {
    routes: Arc<IpRoutes>,
    /// The link of each listener, by index; none is any.
    links: Arc<[Option<LinkIndex>]>,
}

impl Egress {
    /// Without routes: families decide.
    #[must_use]
    pub fn new(listeners: &[Listener]) -> Self {
        let samples: [IpAddr; 4] = [
            [192, 0, 2, 1].into(),
            [127, 0, 0, 1].into(),
            [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
            [0, 0, 0, 0, 0, 0, 0, 1].into(),
        ];
        let first = |address| listeners.iter().position(|listener| listener.reaches(address));
        Self {
            by_reach: samples.map(|a| first(a).map(|i| ListenerIndex(i as u16))),
            routed: [None, None],
            serial: 0,
        }
    }

    /// With routes, and the link of each listener.
    #[must_use]
    pub fn routed(&self, listeners: &[Listener], routes: Arc<IpRoutes>, links: &[Option<LinkIndex>]) -> Self {
        let links: Arc<[_]> = links.into();
        let routed = [false, true].map(|is_ipv6| {
            let of_family =
                listeners.iter().zip(links.iter()).filter(|(l, _)| l.address.is_ipv6() == is_ipv6);
            let mut known = of_family.filter_map(|(_, link)| *link);
            let first = known.next();
            let has_choice = known.any(|link| Some(link) != first);
            has_choice.then(|| Routed { routes: Arc::clone(&routes), links: Arc::clone(&links) })
        });
        Self { by_reach: self.by_reach, routed, serial: next_serial() }
    }

    /// The listener to leave by towards `address`: `preferred` if it can, else the first that can.
    #[inline(always)]
    #[must_use]
    pub fn choose(
        &self,
        listeners: &[Listener],
        choices: &mut Choices,
        preferred: ListenerIndex,
        address: IpAddr,
    ) -> Option<ListenerIndex> {
        let routed = self.routed[usize::from(address.is_ipv6())].as_ref();
        if let Some(routed) = routed.filter(|_| !address.is_loopback()) {
            let make = || self.choose_by_route(listeners, routed, preferred, address);
            return choices.made_or(Choice { serial: self.serial, preferred, address, chosen: None }, make);
        }
        let reaches =
            listeners.get(usize::from(preferred.0)).is_some_and(|listener| listener.reaches(address));
        if reaches { Some(preferred) } else { self.by_reach(address) }
    }

    #[inline(never)]
    fn choose_by_route(
        &self,
        listeners: &[Listener],
        routed: &Routed,
        preferred: ListenerIndex,
        address: IpAddr,
    ) -> Option<ListenerIndex> {
        let index = usize::from(preferred.0);
        let reaches = listeners.get(index).is_some_and(|listener| listener.reaches(address));
        if reaches && routed.link(index).is_none_or(|link| routed.leaves_by(listeners, index, address, link))
        {
            return Some(preferred);
        }
        let on_link = |index: &usize| {
            let is_on = |link| routed.leaves_by(listeners, *index, address, link);
            listeners[*index].reaches(address) && routed.link(*index).is_some_and(is_on)
        };
        let first = (0..listeners.len()).find(on_link).map(|index| ListenerIndex(index as u16));
        first.or(if reaches { Some(preferred) } else { self.by_reach(address) })
    }

    #[inline]
    fn by_reach(&self, address: IpAddr) -> Option<ListenerIndex> {
        self.by_reach[usize::from(address.is_ipv6()) * 2 + usize::from(address.is_loopback())]
    }
}

/// Numbers tables; 64 bits do not run out. 0 is of none.
fn next_serial() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// The choices that a worker made lately by asking the routes, each at the place that its address hashes to. They hold for the tables that they were made in.
///
/// A trunk has few next hops, and asking costs more than all else of a decision but the parsing.
#[derive(Clone, Debug)]
pub struct Choices {
    places: Box<[Choice; 1 << PLACES_LOG2]>,
}

/// Several times the next hops that a node sends to at a time; 12 KiB.
const PLACES_LOG2: u32 = 8;

#[derive(Clone, Copy, Debug)]
struct Choice {
    serial: u64,
    preferred: ListenerIndex,
    address: IpAddr,
    chosen: Option<ListenerIndex>,
}

impl Default for Choices {
    fn default() -> Self {
        let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let none = Choice { serial: 0, preferred: ListenerIndex(0), address, chosen: None };
        Self { places: Box::new([none; 1 << PLACES_LOG2]) }
    }
}

impl Choices {
    /// What was chosen for the same as `wanted`, or else what `make` chooses now.
    #[inline(always)]
    fn made_or(
        &mut self,
        wanted: Choice,
        make: impl FnOnce() -> Option<ListenerIndex>,
    ) -> Option<ListenerIndex> {
        let bits = match wanted.address {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 ^ (v6.to_bits() as u64).rotate_left(32),
        };
        let place = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACES_LOG2);
        let place = &mut self.places[place as usize];
        let is_same = place.serial == wanted.serial
            && place.preferred == wanted.preferred
            && place.address == wanted.address;
        if !is_same {
            *place = Choice { chosen: make(), ..wanted };
        }
        place.chosen
    }
}

impl Routed {
    #[inline]
    fn link(&self, index: usize) -> Option<LinkIndex> {
        self.links.get(index).copied().flatten()
    }

    /// Whether what the listener at `index` sends to `address` leaves by `link`.
    #[inline]
    fn leaves_by(&self, listeners: &[Listener], index: usize, address: IpAddr, link: LinkIndex) -> bool {
        let source = listeners.get(index).map(|listener| listener.address.ip());
        self.routes.leaves_by(source, address) == Some(link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip_route::{
        AddressPlan, Family, HopPlan, IpPlan, LinkKind, LinkPlan, RouteKind, RoutePlan, RulePlan, TABLE_MAIN,
    };
    use core::net::SocketAddr;

    /// A listener on each of these addresses.
    fn listeners(addresses: &[&str]) -> Vec<Listener> {
        let listener = |(i, address): (usize, &&str)| Listener {
            name: format!("{i}").into(),
            address: address.parse::<SocketAddr>().unwrap(),
            id: i as u16,
            trusted: false,
            via_head: Box::default(),
            route_head: Box::default(),
        };
        addresses.iter().enumerate().map(listener).collect()
    }

    /// 192.0.2.0/24, 2001:db8::/64 and the default route on link 2, 10.0.0.0/8 on link 3.
    fn routes() -> Arc<IpRoutes> {
        let nets = [(2, "192.0.2.1/24"), (3, "10.0.0.1/8"), (2, "2001:db8::1/64")];
        let link = |index| LinkPlan {
            index: LinkIndex(index),
            name: format!("link{index}"),
            kind: LinkKind::Physical,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1_500,
            is_up: true,
            has_carrier: true,
        };
        let address = |(link, net): &(u32, &str)| {
            let on_link: ipnet::IpNet = net.parse().unwrap();
            AddressPlan {
                link: LinkIndex(*link),
                address: on_link.addr(),
                on_link: on_link.trunc(),
                scope: 0,
                is_secondary: false,
                is_deprecated: false,
                is_tentative: false,
            }
        };
        let route = |link, net: &str| RoutePlan {
            table: TABLE_MAIN,
            destination: net.parse::<ipnet::IpNet>().unwrap().trunc(),
            metric: 0,
            preference: 0,
            kind: RouteKind::Unicast,
            hops: vec![HopPlan { link: LinkIndex(link), gateway: None, weight: 1 }],
            source: None,
            mtu: None,
        };
        let mut all: Vec<_> = nets.iter().map(|(link, net)| route(*link, net)).collect();
        all.push(route(2, "0.0.0.0/0"));
        Arc::new(IpRoutes::new(&IpPlan {
            links: vec![link(2), link(3)],
            addresses: nets.iter().map(address).collect(),
            rules: [Family::V4, Family::V6].into_iter().flat_map(RulePlan::defaults).collect(),
            routes: all,
            neighbours: vec![],
        }))
    }

    /// The listener chosen, by a listener that the message came in by.
    fn choose(listeners: &[Listener], links: &[Option<u32>], ingress: u16, to: &str) -> Option<u16> {
        let links: Vec<_> = links.iter().map(|link| link.map(LinkIndex)).collect();
        let egress = Egress::new(listeners).routed(listeners, routes(), &links);
        egress
            .choose(listeners, &mut Choices::default(), ListenerIndex(ingress), to.parse().unwrap())
            .map(|index| index.0)
    }

    #[test]
    fn it_leaves_by_the_listener_on_the_routes_link() {
        let two = listeners(&["192.0.2.1:5060", "10.0.0.1:5060"]);
        for (ingress, to, expected) in [
            (0, "192.0.2.9", 0),
            (1, "192.0.2.9", 0),
            (0, "10.9.9.9", 1),
            (1, "10.9.9.9", 1),
            (1, "198.51.100.1", 0),
        ] {
            assert_eq!(choose(&two, &[Some(2), Some(3)], ingress, to), Some(expected), "{ingress} {to}");
        }
        assert_eq!(choose(&two, &[Some(2), Some(3)], 0, "2001:db8::9"), None, "no listener of the family");
    }

    #[test]
    fn a_choice_is_asked_for_once_and_not_kept_over_other_tables() {
        let two = listeners(&["192.0.2.1:5060", "10.0.0.1:5060"]);
        let links = [Some(LinkIndex(2)), Some(LinkIndex(3))];
        let mut choices = Choices::default();
        let mut choose = |egress: &Egress, ingress, to: &str| {
            let to = to.parse().unwrap();
            egress.choose(&two, &mut choices, ListenerIndex(ingress), to).map(|index| index.0)
        };
        let first = Egress::new(&two).routed(&two, routes(), &links);
        for _ in 0..2 {
            for (ingress, to, chosen) in [(0, "10.9.9.9", 1), (1, "192.0.2.9", 0), (0, "192.0.2.9", 0)] {
                assert_eq!(choose(&first, ingress, to), Some(chosen));
            }
        }
        // The listeners have changed places.
        let swapped = Egress::new(&two).routed(&two, routes(), &[links[1], links[0]]);
        assert_eq!(choose(&swapped, 0, "10.9.9.9"), Some(0));
        assert_eq!(choose(&first, 0, "10.9.9.9"), Some(1));
    }

    #[test]
    fn where_links_say_nothing_it_stays_where_it_came_in() {
        let two = listeners(&["192.0.2.1:5060", "10.0.0.1:5060"]);
        // The second is on any link; on the same one; on one that nothing leaves by.
        assert_eq!(choose(&two, &[Some(2), None], 1, "192.0.2.9"), Some(1));
        assert_eq!(choose(&two, &[Some(2), Some(2)], 1, "10.9.9.9"), Some(1));
        assert_eq!(choose(&two, &[Some(7), Some(8)], 1, "10.9.9.9"), Some(1));
        let without = Egress::new(&two);
        assert_eq!(
            without.choose(&two, &mut Choices::default(), ListenerIndex(1), [192, 0, 2, 9].into()),
            Some(ListenerIndex(1))
        );
    }

    #[test]
    fn families_and_loopback_go_before_links() {
        let all = listeners(&["192.0.2.1:5060", "10.0.0.1:5060", "[2001:db8::1]:5060", "127.0.0.1:5060"]);
        let links = [Some(2), Some(3), Some(2), None];
        assert_eq!(choose(&all, &links, 0, "2001:db8::9"), Some(2));
        assert_eq!(
            choose(&all, &links, 3, "10.9.9.9"),
            Some(1),
            "a loopback address reaches only the loopback"
        );
        assert_eq!(choose(&all, &links, 3, "127.0.0.9"), Some(3));
        assert_eq!(choose(&all, &links, 1, "127.0.0.9"), Some(1));
    }
}
