//! The ways that a worker's datagrams took lately: where each led, and its headers.
//!
//! A trunk has few next hops, and a look-up of one costs more than all else that a worker does to send. So a way is remembered with the number of the tables
//! that it was found in, and holds until other tables are published. What has no way is not remembered: the kernel path sends it, which costs far more.

use crate::ip_route::{IpRoutes, LinkIndex, NeighbourPlace, NoWay};
use crate::stats::Handover as Why;
use crate::wire::{self, Basis, Envelope, Outgoing, Prepared};
use core::net::{IpAddr, SocketAddr};

/// A datagram's addresses: where it is to go, and where it leaves from, the address only if that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ends {
    pub(super) to: SocketAddr,
    pub(super) source: Option<IpAddr>,
    pub(super) port: u16,
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
    places: Box<[Option<Found>]>,
}

struct Found {
    /// The tables that it was found in.
    serial: u64,
    ends: Ends,
    way: Way,
}

/// Places: several times the next hops that a node sends to at a time. More would be 150 KiB of memory for each worker, and save nothing.
const PLACES: usize = 1 << PLACES_LOG2;
const PLACES_LOG2: u32 = 9;

/// The path MTU that every IPv6 link has to have (RFC 8200 5).
const IPV6_MTU_MIN: usize = 1_280;

impl Ways {
    pub(super) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| None).collect() }
    }

    /// The way between `ends`, remembered or by `routes`. `if_indexes` are the interfaces that there are sockets for.
    ///
    /// # Errors
    /// Why the kernel has to send it.
    #[inline]
    pub(super) fn find(&mut self, routes: &IpRoutes, if_indexes: &[u32], ends: &Ends) -> Result<&Way, Why> {
        let place = &mut self.places[place(ends)];
        if !matches!(place, Some(found) if found.serial == routes.serial() && found.ends == *ends) {
            *place = None;
            let way = look_up(routes, if_indexes, ends)?;
            *place = Some(Found { serial: routes.serial(), ends: *ends, way });
        }
        // There is one: it was found, just now or before.
        place.as_ref().map(|found| &found.way).ok_or(Why::NoRoute)
    }
}

/// Where the way between `ends` is remembered.
#[inline]
fn place(ends: &Ends) -> usize {
    let bits = match ends.to.ip() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 ^ (v6.to_bits() as u64).rotate_left(32),
    };
    let bits = bits ^ u64::from(ends.to.port()) << 32 ^ u64::from(ends.port) << 48;
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACES_LOG2)) as usize
}

#[cold]
fn look_up(routes: &IpRoutes, if_indexes: &[u32], ends: &Ends) -> Result<Way, Why> {
    let Ends { to, source, port } = *ends;
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

    fn ip(host: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + host).to_be_bytes())
    }

    /// Several ends for each place, some without a neighbour, while tables follow each other: always what those of now say.
    #[test]
    fn what_is_remembered_is_what_would_be_found() {
        let mut random = Random(7);
        let (mut ways, mut routes) = (Ways::new(), IpRoutes::new(&plan(900, 0)));
        let (mut found, mut missing) = (0, 0);
        for step in 0..40_000 {
            match step % 4_000 {
                999 => routes = routes.with_neighbours(&plan(700, random.byte()).neighbours),
                1_999 => routes = routes.successor(&plan(900, random.byte())),
                2_999 => routes = IpRoutes::new(&plan(800, random.byte())),
                _ => {}
            }
            let ends = Ends {
                to: SocketAddr::new(ip(2 + random.below(950) as u32), 5_060 + random.below(3) as u16),
                source: [None, Some(ip(1)), Some(ip(9))][random.below(3)],
                port: [5_060, 5_080][random.below(2)],
            };
            let way = ways.find(&routes, &[3, LINK.0], &ends).cloned();
            assert_eq!(way, look_up(&routes, &[3, LINK.0], &ends), "{step}: {ends:?}");
            found += usize::from(way.is_ok());
            missing += usize::from(way == Err(Why::NoNeighbour));
        }
        assert!(found > 20_000 && missing > 1_000, "{found} {missing}");
    }

    #[test]
    fn a_poke_is_seen_by_who_remembers_the_way() {
        let routes = IpRoutes::new(&plan(2, 0));
        let mut ways = Ways::new();
        let ends = Ends { to: SocketAddr::new(ip(3), 5_060), source: None, port: 5_060 };
        let mut wants = |routes: &IpRoutes| {
            let neighbour = ways.find(routes, &[LINK.0], &ends).unwrap().neighbour;
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
            let ends = Ends { to: to.parse().unwrap(), source: None, port: 5_060 };
            Ways::new().find(&routes, if_indexes, &ends).map(|way| way.interface)
        };
        assert_eq!(find("10.0.0.2:5060", &[1, LINK.0]), Ok(1));
        assert_eq!(find("10.0.0.2:5060", &[1]), Err(Why::OtherInterface));
        assert_eq!(find("10.0.0.9:5060", &[LINK.0]), Err(Why::NoNeighbour));
        assert_eq!(find("192.0.2.1:5060", &[LINK.0]), Err(Why::NoRoute));
    }
}
