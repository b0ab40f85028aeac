//! The ways that a worker's datagrams took lately: where each led, and its headers.
//!
//! A trunk has few next hops, and a look-up of one costs more than all else that a worker does to send. So a way is remembered with the number of the tables
//! that it was found in, and holds until other tables are published. What has no way is not remembered: the kernel path sends it, which costs far more.

use super::listeners::Listeners;
use crate::io::{Flow, ListenerIndex};
use crate::ip_route::{IpRoutes, LinkIndex, NeighbourPlace, NoWay};
use crate::stats::Handover as Why;
use crate::wire::{self, Basis, Envelope, Outgoing, Prepared};
use core::net::{IpAddr, SocketAddr};

/// What a datagram's way hangs on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<'a> {
    pub(super) to: &'a SocketAddr,
    /// The listener that it leaves by.
    pub(super) egress: ListenerIndex,
    /// How that which it comes of came in.
    pub(super) flow: &'a Flow,
}

/// The same as numbers, which are compared by few instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key {
    to: u128,
    /// Where what is answered went to: see [`Listeners::source`].
    asked: u128,
    /// Port, listener and families.
    rest: u64,
}

impl Ends<'_> {
    #[inline]
    fn key(&self) -> Key {
        let Self { to, egress, flow } = *self;
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 1),
            IpAddr::V6(v6) => (v6.to_bits(), 2),
        };
        let (to, to_family) = (bits(to.ip()), u64::from(to.port()) << 16);
        let (asked, asked_family) =
            if egress == flow.listener { bits(flow.destination.ip()) } else { (0, 0) };
        let rest = u64::from(egress.0) | to_family | to.1 << 32 | asked_family << 34;
        Key { to: to.0, asked, rest }
    }

    /// Where it leaves from, as [`Listeners::source`].
    pub(super) fn source(&self, listeners: &Listeners) -> Option<(Option<IpAddr>, u16)> {
        listeners.source(self.egress, self.flow.listener, self.flow.destination)
    }
}

/// Where such datagrams leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Way {
    /// The interface, in the order of the sockets' interfaces.
    pub(super) interface: usize,
    /// The longest payload that fits a packet.
    pub(super) payload_bytes_max: usize,
    pub(super) neighbour: NeighbourPlace,
    pub(super) headers: Prepared,
}

/// Ways that were found, each at the place that its addresses hash to.
pub(super) struct Ways {
    places: Box<[Option<Found>; PLACES]>,
}

struct Found {
    /// The tables that it was found in.
    serial: u64,
    key: Key,
    way: Way,
}

/// Places: several times the next hops that a node sends to at a time. More would be 150 KiB of memory for each worker, and save nothing.
const PLACES: usize = 1 << PLACES_LOG2;
const PLACES_LOG2: u32 = 9;

/// The path MTU that every IPv6 link has to have (RFC 8200 5).
const IPV6_MTU_MIN: usize = 1_280;

impl Ways {
    pub(super) fn new() -> Self {
        Self { places: Box::new([const { None }; PLACES]) }
    }

    /// The way between `ends`, remembered or by `routes`. `if_indexes` are the interfaces that there are sockets for.
    ///
    /// # Errors
    /// Why the kernel has to send it.
    #[inline]
    pub(super) fn find(
        &mut self,
        routes: &IpRoutes,
        (if_indexes, listeners): (&[u32], &Listeners),
        ends: &Ends<'_>,
    ) -> Result<&Way, Why> {
        let key = ends.key();
        let place = &mut self.places[key.place()];
        if !matches!(place, Some(found) if found.serial == routes.serial() && found.key == key) {
            *place = None;
            let way = look_up(routes, (if_indexes, listeners), ends)?;
            *place = Some(Found { serial: routes.serial(), key, way });
        }
        // There is one: it was found, just now or before.
        place.as_ref().map(|found| &found.way).ok_or(Why::NoRoute)
    }
}

impl Key {
    /// Where the way is remembered.
    #[inline]
    fn place(&self) -> usize {
        let bits = (self.to >> 64) as u64 ^ (self.to as u64).rotate_left(32) ^ self.rest;
        (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACES_LOG2)) as usize
    }
}

#[cold]
fn look_up(
    routes: &IpRoutes,
    (if_indexes, listeners): (&[u32], &Listeners),
    ends: &Ends<'_>,
) -> Result<Way, Why> {
    let (to, (source, port)) = (ends.to, ends.source(listeners).ok_or(Why::NoRoute)?);
    let way = routes.look_up(source, to.ip()).map_err(why)?;
    let is_link = |index: &u32| LinkIndex(*index) == way.link;
    let interface = if_indexes.iter().position(is_link).ok_or(Why::OtherInterface)?;
    let headers = if to.is_ipv6() { wire::ipv6::BYTES } else { wire::ipv4::BYTES } + wire::udp::BYTES;
    let mtu = if to.is_ipv6() { IPV6_MTU_MIN.min(way.mtu as usize) } else { way.mtu as usize };
    // Else not even an empty payload fits.
    let payload_bytes_max = mtu.checked_sub(headers).ok_or(Why::TooLarge)?;
    let envelope =
        Envelope { source_mac: way.source_mac, destination_mac: way.destination_mac, vlans: way.tags };
    let outgoing = Outgoing {
        source: SocketAddr::new(way.source, port),
        destination: SocketAddr::new(to.ip().to_canonical(), to.port()),
        identification: 0,
        basis: Basis::Payload,
    };
    // What cannot be written here (families that differ, say) is the kernel's to refuse.
    let headers = Prepared::new(&envelope, &outgoing).map_err(|_| Why::NoRoute)?;
    Ok(Way { interface, payload_bytes_max, neighbour: way.neighbour(), headers })
}

/// Why the kernel has to send what the tables tell no way for.
fn why(no_way: NoWay) -> Why {
    match no_way {
        NoWay::Unresolved => Why::NoNeighbour,
        NoWay::LinkDown => Why::LinkDown,
        NoWay::Local | NoWay::UnsupportedLink => Why::OtherInterface,
        NoWay::NoRoute | NoWay::Discarded | NoWay::NotUnicast | NoWay::Unsupported | NoWay::NoSource => {
            Why::NoRoute
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip_route::{
        AddressPlan, Family, HopPlan, IpPlan, LinkKind, LinkPlan, NeighbourPlan, NeighbourState, RouteKind,
        RoutePlan, RulePlan, TABLE_MAIN,
    };
    use crate::wire::tests::Random;
    use core::net::Ipv4Addr;

    const LINK: LinkIndex = LinkIndex(7);

    /// One link with an address, all of 10.0.0.0/8 on it, and so many neighbours, each with an Ethernet address that hangs on `seed`.
    fn plan(neighbours: u32, seed: u8) -> IpPlan {
        let on_link = "10.0.0.0/8".parse().unwrap();
        let link = LinkPlan {
            index: LINK,
            name: "eth0".into(),
            kind: LinkKind::Physical,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1_500,
            is_up: true,
            has_carrier: true,
        };
        let address = AddressPlan {
            link: LINK,
            address: "10.0.0.1".parse().unwrap(),
            on_link,
            scope: 0,
            is_secondary: false,
            is_deprecated: false,
            is_tentative: false,
        };
        let route = RoutePlan {
            table: TABLE_MAIN,
            destination: on_link,
            metric: 0,
            preference: 0,
            kind: RouteKind::Unicast,
            hops: vec![HopPlan { link: LINK, gateway: None, weight: 1 }],
            source: None,
            mtu: None,
        };
        let neighbour = |host| NeighbourPlan {
            link: LINK,
            address: ip(host),
            mac: Some([2, seed, 0, 0, (host >> 8) as u8, host as u8]),
            state: NeighbourState::Permanent,
        };
        IpPlan {
            links: vec![link],
            addresses: vec![address],
            rules: RulePlan::defaults(Family::V4),
            routes: vec![route],
            neighbours: (2..2 + neighbours).map(neighbour).collect(),
        }
    }

    /// All addresses.
    fn any(port: u16) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)
    }

    fn flow(destination: SocketAddr, listener: ListenerIndex) -> Flow {
        Flow { source: SocketAddr::new(ip(8), 5_060), destination, listener }
    }

    /// What came in by another listener than any.
    fn elsewhere() -> Flow {
        flow(SocketAddr::new(ip(1), 5_060), ListenerIndex(9))
    }

    fn ip(host: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + host).to_be_bytes())
    }

    /// Several ends for each place, some without a neighbour, while tables follow each other: always what those of now say.
    #[test]
    fn what_is_remembered_is_what_would_be_found() {
        let mut random = Random(7);
        let (mut ways, mut routes) = (Ways::new(), IpRoutes::new(&plan(900, 0)));
        let listeners = Listeners::new(&[any(5_060), SocketAddr::new(ip(1), 5_060), any(5_080)]);
        let (mut found, mut missing) = (0, 0);
        for step in 0..40_000 {
            match step % 4_000 {
                999 => routes = routes.with_neighbours(&plan(700, random.byte()).neighbours),
                1_999 => routes = routes.successor(&plan(900, random.byte())),
                2_999 => routes = IpRoutes::new(&plan(800, random.byte())),
                _ => {}
            }
            let to = SocketAddr::new(ip(2 + random.below(950) as u32), 5_060 + random.below(3) as u16);
            let asked = SocketAddr::new(ip([1, 9][random.below(2)]), 5_060);
            let flow = flow(asked, ListenerIndex(random.below(3) as u16));
            let ends = Ends { to: &to, egress: ListenerIndex(random.below(3) as u16), flow: &flow };
            let way = ways.find(&routes, (&[3, LINK.0], &listeners), &ends).cloned();
            assert_eq!(way, look_up(&routes, (&[3, LINK.0], &listeners), &ends), "{step}: {ends:?}");
            found += usize::from(way.is_ok());
            missing += usize::from(way == Err(Why::NoNeighbour));
        }
        assert!(found > 20_000 && missing > 1_000, "{found} {missing}");
    }

    #[test]
    fn a_poke_is_seen_by_who_remembers_the_way() {
        let routes = IpRoutes::new(&plan(2, 0));
        let mut ways = Ways::new();
        let (to, flow, listeners) =
            (SocketAddr::new(ip(3), 5_060), elsewhere(), Listeners::new(&[any(5_060)]));
        let ends = Ends { to: &to, egress: ListenerIndex(0), flow: &flow };
        let mut wants = |routes: &IpRoutes| {
            let neighbour = ways.find(routes, (&[LINK.0], &listeners), &ends).unwrap().neighbour;
            routes.wants_probe(neighbour)
        };
        assert!(!wants(&routes));
        assert!(routes.poke(LINK, ip(3)));
        // The tables that follow share the neighbour.
        let routes = routes.successor(&plan(2, 0));
        assert_eq!((wants(&routes), wants(&routes)), (true, false));
        assert!(routes.poke(LINK, ip(2)));
        assert!(!wants(&routes), "another neighbour");
    }

    #[test]
    fn what_no_socket_sends_is_the_kernels() {
        let routes = IpRoutes::new(&plan(2, 0));
        let find = |to: &str, if_indexes: &[u32]| {
            let (to, flow, listeners) = (to.parse().unwrap(), elsewhere(), Listeners::new(&[any(5_060)]));
            let ends = Ends { to: &to, egress: ListenerIndex(0), flow: &flow };
            Ways::new().find(&routes, (if_indexes, &listeners), &ends).map(|way| way.interface)
        };
        assert_eq!(find("10.0.0.2:5060", &[1, LINK.0]), Ok(1));
        assert_eq!(find("10.0.0.2:5060", &[1]), Err(Why::OtherInterface));
        assert_eq!(find("10.0.0.9:5060", &[LINK.0]), Err(Why::NoNeighbour));
        assert_eq!(find("192.0.2.1:5060", &[LINK.0]), Err(Why::NoRoute));
    }
}
