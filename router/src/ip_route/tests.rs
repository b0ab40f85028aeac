//! Look-ups against the slowest way to do them, and of each kind and state by itself.

use super::*;
use crate::wire::vlan::Tag;
use core::net::{Ipv4Addr, Ipv6Addr};
use ipnet::IpNet;
use std::time::{Duration, Instant};

const ETH0: LinkIndex = LinkIndex(2);
const ETH1: LinkIndex = LinkIndex(3);
const LO: LinkIndex = LinkIndex(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn mac(last: u8) -> Mac {
    [2, 0, 0, 0, 0, last]
}

fn link(index: LinkIndex, name: &str, kind: LinkKind) -> LinkPlan {
    let mac = mac(index.0 as u8);
    LinkPlan { index, name: name.into(), kind, mac, mtu: 1_500, is_up: true, has_carrier: true }
}

fn vlan(index: u32, parent: LinkIndex, protocol: u16, id: u16) -> LinkPlan {
    link(LinkIndex(index), &format!("v{index}"), LinkKind::Vlan { parent, protocol, id, priority: 0 })
}

fn address(link: LinkIndex, text: &str) -> AddressPlan {
    let on_link = net(text);
    AddressPlan {
        link,
        address: on_link.addr(),
        on_link: on_link.trunc(),
        scope: 0,
        is_secondary: false,
        is_deprecated: false,
        is_tentative: false,
    }
}

fn hop(link: LinkIndex, gateway: Option<&str>) -> HopPlan {
    HopPlan { link, gateway: gateway.map(ip), weight: 1 }
}

fn route(destination: &str, hops: &[HopPlan]) -> RoutePlan {
    RoutePlan {
        table: TABLE_MAIN,
        destination: net(destination),
        metric: 0,
        preference: 0,
        kind: RouteKind::Unicast,
        hops: hops.to_vec(),
        source: None,
        mtu: None,
    }
}

fn via(destination: &str, link: LinkIndex, gateway: &str) -> RoutePlan {
    route(destination, &[hop(link, Some(gateway))])
}

fn kind(destination: &str, kind: RouteKind) -> RoutePlan {
    RoutePlan { kind, ..route(destination, &[hop(ETH0, None)]) }
}

fn neighbour(link: LinkIndex, address: &str, last: u8) -> NeighbourPlan {
    NeighbourPlan { link, address: ip(address), mac: Some(mac(last)), state: NeighbourState::Reachable }
}

fn rules() -> Vec<RulePlan> {
    [RulePlan::defaults(Family::V4), RulePlan::defaults(Family::V6)].concat()
}

fn rule(priority: u32, source: Option<&str>, action: RuleAction) -> RulePlan {
    let source = source.map(net);
    RulePlan { family: Family::V4, priority, is_inverted: false, source, destination: None, action }
}

fn table(table: u32) -> RuleAction {
    RuleAction::Table { table, suppressed_prefix_len_max: None }
}

/// Two cards, 192.0.2.1 and 2001:db8::1 on the first, 198.51.100.1 on the second, default routes by the first.
fn plan() -> IpPlan {
    IpPlan {
        links: vec![
            link(ETH1, "eth1", LinkKind::Physical),
            link(LO, "lo", LinkKind::Loopback),
            link(ETH0, "eth0", LinkKind::Physical),
        ],
        addresses: vec![
            AddressPlan { scope: 254, ..address(LO, "127.0.0.1/8") },
            address(ETH0, "192.0.2.1/24"),
            address(ETH0, "2001:db8::1/64"),
            address(ETH1, "198.51.100.1/24"),
        ],
        rules: rules(),
        routes: vec![
            via("0.0.0.0/0", ETH0, "192.0.2.254"),
            route("192.0.2.0/24", &[hop(ETH0, None)]),
            route("198.51.100.0/24", &[hop(ETH1, None)]),
            via("::/0", ETH0, "fe80::1"),
            route("2001:db8::/64", &[hop(ETH0, None)]),
            RoutePlan { table: TABLE_LOCAL, ..kind("192.0.2.1/32", RouteKind::Local) },
            RoutePlan { table: TABLE_LOCAL, ..kind("192.0.2.255/32", RouteKind::NotUnicast) },
        ],
        neighbours: vec![
            neighbour(ETH0, "192.0.2.254", 0x54),
            neighbour(ETH0, "192.0.2.9", 9),
            neighbour(ETH1, "198.51.100.9", 0x19),
            neighbour(ETH0, "fe80::1", 0x61),
            neighbour(ETH0, "2001:db8::9", 0x69),
        ],
    }
}

/// Link, destination's Ethernet address and source of the way to `destination`.
fn way(plan: &IpPlan, source: Option<&str>, destination: &str) -> Result<(LinkIndex, u8, String), NoWay> {
    let routes = IpRoutes::new(plan);
    let way = routes.look_up(source.map(ip), ip(destination))?;
    assert_eq!(way.destination_mac[..5], [2, 0, 0, 0, 0]);
    Ok((way.link, way.destination_mac[5], way.source.to_string()))
}

fn goes(link: LinkIndex, last: u8, source: &str) -> Result<(LinkIndex, u8, String), NoWay> {
    Ok((link, last, source.to_owned()))
}

#[test]
fn by_gateway_and_on_link() {
    let plan = plan();
    assert_eq!(way(&plan, None, "203.0.113.5"), goes(ETH0, 0x54, "192.0.2.1"));
    assert_eq!(way(&plan, None, "192.0.2.9"), goes(ETH0, 9, "192.0.2.1"));
    assert_eq!(way(&plan, None, "198.51.100.9"), goes(ETH1, 0x19, "198.51.100.1"));
    assert_eq!(way(&plan, Some("192.0.2.7"), "198.51.100.9"), goes(ETH1, 0x19, "192.0.2.7"));
    assert_eq!(way(&plan, Some("0.0.0.0"), "192.0.2.9"), goes(ETH0, 9, "192.0.2.1"));
    assert_eq!(way(&plan, None, "2001:db8:1::5"), goes(ETH0, 0x61, "2001:db8::1"));
    assert_eq!(way(&plan, None, "2001:db8::9"), goes(ETH0, 0x69, "2001:db8::1"));
    assert_eq!(way(&plan, Some("::ffff:192.0.2.7"), "::ffff:192.0.2.9"), goes(ETH0, 9, "192.0.2.7"));
    let routes = IpRoutes::new(&plan);
    let found = routes.look_up(None, ip("203.0.113.5")).unwrap();
    assert_eq!((found.source_mac, found.mtu, found.tags.list()), (mac(2), 1_500, &[][..]));
}

#[test]
fn where_there_is_none() {
    let mut plan = plan();
    plan.routes.extend([
        kind("203.0.113.0/24", RouteKind::Discard),
        kind("203.0.114.0/24", RouteKind::Unsupported),
        kind("203.0.115.0/24", RouteKind::Throw),
        route("203.0.116.0/24", &[hop(LO, None)]),
        route("203.0.117.0/24", &[hop(LinkIndex(99), None)]),
        route("203.0.118.0/24", &[]),
    ]);
    for (destination, why) in [
        ("192.0.2.1", NoWay::Local),
        ("192.0.2.255", NoWay::NotUnicast),
        ("224.0.0.1", NoWay::NotUnicast),
        ("255.255.255.255", NoWay::NotUnicast),
        ("0.0.0.0", NoWay::NotUnicast),
        ("ff02::1", NoWay::NotUnicast),
        ("::", NoWay::NotUnicast),
        ("fe80::9", NoWay::Unsupported),
        ("192.0.2.10", NoWay::Unresolved),
        ("203.0.113.1", NoWay::Discarded),
        ("203.0.114.1", NoWay::Unsupported),
        ("203.0.115.1", NoWay::NoRoute),
        ("203.0.116.1", NoWay::Local),
        ("203.0.117.1", NoWay::UnsupportedLink),
        ("203.0.118.1", NoWay::Unsupported),
    ] {
        assert_eq!(way(&plan, None, destination), Err(why), "{destination}");
    }
    assert_eq!(way(&plan, Some("2001:db8::1"), "192.0.2.9"), Err(NoWay::NoRoute));
    plan.routes.remove(0);
    assert_eq!(way(&plan, None, "8.8.8.8"), Err(NoWay::NoRoute));
    plan.addresses.clear();
    assert_eq!(way(&plan, None, "192.0.2.9"), Err(NoWay::NoSource));
    assert_eq!(way(&plan, None, "2001:db8::9"), Err(NoWay::NoSource));
    assert_eq!(way(&IpPlan::default(), None, "192.0.2.9"), Err(NoWay::NoRoute));
}

#[test]
fn neighbours_by_their_state() {
    use NeighbourState::{
        Delay, Failed, Incomplete, NoArp, None as Nothing, Permanent, Probe, Reachable, Stale,
    };
    for (state, mac, is_usable) in [
        (Reachable, true, true),
        (Stale, true, true),
        (Delay, true, true),
        (Probe, true, true),
        (Permanent, true, true),
        (NoArp, true, true),
        (NoArp, false, false),
        (Incomplete, false, false),
        (Incomplete, true, false),
        (Failed, true, false),
        (Nothing, true, false),
    ] {
        let mut plan = plan();
        plan.neighbours[1].state = state;
        plan.neighbours[1].mac = plan.neighbours[1].mac.filter(|_| mac);
        let expected = if is_usable { goes(ETH0, 9, "192.0.2.1") } else { Err(NoWay::Unresolved) };
        assert_eq!(way(&plan, None, "192.0.2.9"), expected, "{state:?}");
    }
}

#[test]
fn a_gateway_of_the_other_family() {
    let mut plan = plan();
    plan.routes.push(via("203.0.113.0/24", ETH0, "fe80::1"));
    assert_eq!(way(&plan, None, "203.0.113.1"), goes(ETH0, 0x61, "192.0.2.1"));
}

#[test]
fn the_same_address_on_two_links_is_two_neighbours() {
    let mut plan = plan();
    plan.routes.push(via("203.0.113.0/24", ETH1, "192.0.2.9"));
    assert_eq!(way(&plan, None, "203.0.113.1"), Err(NoWay::Unresolved));
    plan.neighbours.push(neighbour(ETH1, "192.0.2.9", 0x77));
    assert_eq!(way(&plan, Some("192.0.2.1"), "203.0.113.1"), goes(ETH1, 0x77, "192.0.2.1"));
}

#[test]
fn the_lower_metric_and_the_higher_preference_win() {
    let mut plan = plan();
    let of = |metric, preference, link, gateway: &str| RoutePlan {
        metric,
        preference,
        ..via(if gateway.contains(':') { "2001:db8:5::/48" } else { "203.0.113.0/24" }, link, gateway)
    };
    plan.routes.extend([of(20, 0, ETH1, "198.51.100.9"), of(10, 0, ETH0, "192.0.2.9")]);
    assert_eq!(way(&plan, None, "203.0.113.1"), goes(ETH0, 9, "192.0.2.1"));
    plan.routes.extend([of(10, 0, ETH0, "192.0.2.254"), of(5, 0, ETH1, "198.51.100.9")]);
    assert_eq!(way(&plan, None, "203.0.113.1"), goes(ETH1, 0x19, "198.51.100.1"));
    plan.routes.pop();
    assert_eq!(way(&plan, None, "203.0.113.1"), goes(ETH0, 9, "192.0.2.1"), "the first of two alike");
    plan.routes.extend([of(10, 0, ETH0, "fe80::1"), of(10, 1, ETH0, "2001:db8::9")]);
    assert_eq!(way(&plan, None, "2001:db8:5::1"), goes(ETH0, 0x69, "2001:db8::1"));
}

#[test]
fn rules_choose_tables() {
    let mut plan = plan();
    let in_100 = |destination, link, gateway| RoutePlan { table: 100, ..via(destination, link, gateway) };
    plan.routes.push(in_100("0.0.0.0/0", ETH1, "198.51.100.9"));
    plan.routes.push(RoutePlan { table: 100, ..kind("8.8.4.0/24", RouteKind::Throw) });
    plan.rules.push(rule(1_000, Some("198.51.100.0/24"), table(100)));
    let from = |plan: &IpPlan, source: Option<&str>| way(plan, source, "8.8.8.8").map(|(link, ..)| link);
    assert_eq!(from(&plan, Some("198.51.100.1")), Ok(ETH1));
    assert_eq!(from(&plan, Some("192.0.2.1")), Ok(ETH0));
    assert_eq!(from(&plan, None), Ok(ETH0), "an unknown source is in no prefix");
    assert_eq!(way(&plan, Some("198.51.100.1"), "8.8.4.4").map(|(link, ..)| link), Ok(ETH0), "throw");
    // The local table comes first.
    assert_eq!(way(&plan, Some("198.51.100.1"), "192.0.2.1"), Err(NoWay::Local));

    plan.rules.last_mut().unwrap().is_inverted = true;
    assert_eq!(from(&plan, Some("198.51.100.1")), Ok(ETH0));
    assert_eq!(from(&plan, Some("192.0.2.1")), Ok(ETH1));
    assert_eq!(from(&plan, None), Ok(ETH1));

    plan.rules.pop();
    plan.rules.push(RulePlan { destination: Some(net("8.8.8.0/24")), ..rule(1_000, None, table(100)) });
    assert_eq!(from(&plan, None), Ok(ETH1));
    assert_eq!(way(&plan, None, "8.8.9.8").map(|(link, ..)| link), Ok(ETH0));
}

#[test]
fn rules_of_each_action() {
    let of = |actions: &[(u32, RuleAction)]| {
        let mut plan = plan();
        plan.routes.push(RoutePlan { table: 100, ..via("0.0.0.0/0", ETH1, "198.51.100.9") });
        plan.rules.extend(actions.iter().map(|(priority, action)| rule(*priority, None, *action)));
        way(&plan, None, "8.8.8.8").map(|(link, ..)| link)
    };
    assert_eq!(of(&[(10, RuleAction::Nop)]), Ok(ETH0));
    assert_eq!(of(&[(10, RuleAction::Discard)]), Err(NoWay::Discarded));
    assert_eq!(of(&[(10, RuleAction::Unsupported)]), Err(NoWay::Unsupported));
    assert_eq!(of(&[(10, table(100)), (9, RuleAction::Discard)]), Err(NoWay::Discarded));
    assert_eq!(of(&[(10, table(101)), (11, table(100))]), Ok(ETH1), "a table that is not there");
    // Goto skips, to the first of its priority; one that leads nowhere or back does nothing.
    assert_eq!(of(&[(5, RuleAction::Goto(20)), (10, RuleAction::Discard), (20, table(100))]), Ok(ETH1));
    assert_eq!(of(&[(5, RuleAction::Goto(15)), (10, table(100)), (20, RuleAction::Discard)]), Ok(ETH1));
    assert_eq!(of(&[(5, RuleAction::Goto(5)), (10, RuleAction::Goto(5)), (20, table(100))]), Ok(ETH1));
    // As WireGuard's `wg-quick` does it: main without its default route, then another table.
    let short = |max| RuleAction::Table { table: TABLE_MAIN, suppressed_prefix_len_max: Some(max) };
    assert_eq!(of(&[(5, short(0)), (10, table(100))]), Ok(ETH1));
    let mut plan = plan();
    plan.rules.extend([rule(5, None, short(23)), rule(6, None, RuleAction::Discard)]);
    assert_eq!(way(&plan, None, "192.0.2.9"), goes(ETH0, 9, "192.0.2.1"));
    plan.rules.push(rule(4, None, short(24)));
    plan.rules.push(rule(4, None, RuleAction::Discard));
    assert_eq!(way(&plan, None, "192.0.2.9"), Err(NoWay::Discarded));
    // Rules of the other family are none.
    assert_eq!(way(&plan, None, "2001:db8::9"), goes(ETH0, 0x69, "2001:db8::1"));
}

#[test]
fn vlans_down_to_the_card() {
    let mut plan = plan();
    let (inner, outer) = (LinkIndex(6), LinkIndex(5));
    plan.links.extend([
        vlan(6, outer, 0x8100, 200),
        LinkPlan { mtu: 1_400, mac: mac(0xaa), ..vlan(5, ETH1, 0x88a8, 100) },
        vlan(7, inner, 0x8100, 3),
        vlan(8, LinkIndex(99), 0x8100, 3),
        vlan(9, LinkIndex(10), 0x8100, 3),
        vlan(10, LinkIndex(9), 0x8100, 3),
        link(LinkIndex(11), "tun0", LinkKind::Other),
    ]);
    let LinkKind::Vlan { priority, .. } = &mut plan.links[4].kind else { panic!() };
    *priority = 5;
    for index in 5..=11 {
        plan.routes.push(route(&format!("203.0.{index}.0/24"), &[hop(LinkIndex(index), None)]));
        plan.neighbours.push(neighbour(LinkIndex(index), &format!("203.0.{index}.1"), 0x40 + index as u8));
    }
    let routes = IpRoutes::new(&plan);
    let find = |index: u32| routes.look_up(Some(ip("192.0.2.1")), ip(&format!("203.0.{index}.1")));
    let outer_tag = Tag { tpid: 0x88a8, tci: 5 << 13 | 100 };

    let one = find(5).unwrap();
    assert_eq!((one.link, one.tags.list(), one.mtu), (ETH1, &[outer_tag][..], 1_400));
    assert_eq!((one.source_mac, one.destination_mac), (mac(0xaa), mac(0x45)));
    let two = find(6).unwrap();
    let inner_tag = Tag { tpid: 0x8100, tci: 200 };
    assert_eq!((two.link, two.tags.list()), (ETH1, &[outer_tag, inner_tag][..]));
    assert_eq!((two.source_mac, two.destination_mac), (mac(6), mac(0x46)));
    for index in 7..=11 {
        assert_eq!(find(index).err(), Some(NoWay::UnsupportedLink), "link {index}");
    }
    assert_eq!(routes.leaves_by(None, ip("203.0.6.1")), Some(inner));
    assert_eq!(routes.link_named("v6").map(|link| link.index), Some(inner));
}

#[test]
fn a_link_that_is_down_anywhere() {
    for (index, is_up, has_carrier) in
        [(5, false, true), (5, true, false), (ETH1.0, false, false), (ETH1.0, true, false)]
    {
        let mut plan = plan();
        plan.links.push(vlan(5, ETH1, 0x8100, 100));
        plan.routes.push(route("203.0.113.0/24", &[hop(LinkIndex(5), None)]));
        plan.neighbours.push(neighbour(LinkIndex(5), "203.0.113.1", 0x45));
        assert!(way(&plan, None, "203.0.113.1").is_ok());
        let link = plan.links.iter_mut().find(|link| link.index.0 == index).unwrap();
        (link.is_up, link.has_carrier) = (is_up, has_carrier);
        assert_eq!(way(&plan, None, "203.0.113.1"), Err(NoWay::LinkDown));
        assert_eq!(IpRoutes::new(&plan).leaves_by(None, ip("203.0.113.1")), Some(LinkIndex(5)));
    }
}

#[test]
fn the_lesser_mtu() {
    for (of_route, mtu) in [(None, 1_500), (Some(1_280), 1_280), (Some(9_000), 1_500)] {
        let mut plan = plan();
        plan.routes[1].mtu = of_route;
        assert_eq!(IpRoutes::new(&plan).look_up(None, ip("192.0.2.9")).unwrap().mtu, mtu);
    }
}

#[test]
fn ways_share_by_weight_and_keep_to_a_destination() {
    let mut plan = plan();
    let hops = [
        HopPlan { weight: 3, ..hop(ETH0, Some("192.0.2.254")) },
        hop(ETH1, Some("198.51.100.9")),
        HopPlan { weight: 6, ..hop(ETH0, Some("192.0.2.9")) },
    ];
    plan.routes.push(route("10.0.0.0/8", &hops));
    plan.routes.push(route("fd00::/8", &hops));
    let routes = IpRoutes::new(&plan);
    let first_v4 = u32::from(Ipv4Addr::new(10, 1, 0, 0));
    let first_v6: Ipv6Addr = "fd00:1::".parse().unwrap();
    let v4 = |n: u32| IpAddr::from(Ipv4Addr::from(first_v4 + n));
    let v6 = |n: u32| IpAddr::from(Ipv6Addr::from(first_v6.to_bits() + u128::from(n)));
    for (make, name) in [(&v4 as &dyn Fn(u32) -> IpAddr, "IPv4"), (&v6, "IPv6")] {
        let mut counts = [0; 3];
        for n in 0..10_000 {
            let last = |r: &IpRoutes| r.look_up(None, make(n)).unwrap().destination_mac[5];
            let found = last(&routes);
            assert_eq!(found, last(&IpRoutes::clone(&routes)));
            counts[[0x54, 0x19, 9].iter().position(|last| *last == found).unwrap()] += 1;
        }
        for (count, share) in counts.into_iter().zip([3_000_i32, 1_000, 6_000]) {
            assert!((count - share).abs() < 200, "{name}: {counts:?}");
        }
    }
}

#[test]
fn a_poke_sends_one_datagram_by_the_kernel() {
    let routes = IpRoutes::new(&plan());
    let wants = || routes.look_up(None, ip("192.0.2.9")).unwrap().wants_probe();
    assert!(!wants());
    assert!(routes.poke(ETH0, ip("192.0.2.9")) && routes.poke(ETH0, ip("192.0.2.9")));
    assert!(!routes.look_up(None, ip("8.8.8.8")).unwrap().wants_probe(), "another neighbour");
    assert!(wants());
    assert!(!wants());
    assert!(!routes.poke(ETH1, ip("192.0.2.9")) && !routes.poke(ETH0, ip("192.0.2.10")));
}

#[test]
fn a_poke_outlives_the_tables_unless_the_neighbour_changes() {
    let mut plan = plan();
    let first = IpRoutes::new(&plan);
    for address in ["192.0.2.9", "192.0.2.254", "2001:db8::9"] {
        assert!(first.poke(ETH0, ip(address)));
    }
    plan.neighbours[1].state = NeighbourState::Stale;
    plan.neighbours[4].mac = Some(mac(0x70));
    plan.neighbours.push(neighbour(ETH0, "192.0.2.77", 0x77));
    for next in [first.successor(&plan), first.with_neighbours(&plan.neighbours)] {
        let wants = |routes: &IpRoutes, to: &str| routes.look_up(None, ip(to)).map(|way| way.wants_probe());
        assert_eq!(wants(&next, "192.0.2.77"), Ok(false));
        assert_eq!(wants(&next, "2001:db8::9"), Ok(false), "another Ethernet address");
        assert_eq!(wants(&next, "192.0.2.9"), Ok(true));
        assert_eq!(wants(&first, "192.0.2.9"), Ok(false), "it is the same entry");
        first.poke(ETH0, ip("192.0.2.9"));
    }
}

#[test]
fn our_addresses_and_links() {
    let mut plan = plan();
    plan.addresses.push(address(ETH1, "2001:db8:1::1/64"));
    let routes = IpRoutes::new(&plan);
    assert_eq!(routes.link_of_address(ip("192.0.2.1")), Some(ETH0));
    assert_eq!(routes.link_of_address(ip("::ffff:198.51.100.1")), Some(ETH1));
    assert_eq!(routes.link_of_address(ip("192.0.2.2")), None);
    let all = |family| {
        let list = routes.local_addresses(family);
        list.map(|(address, link)| (address.to_string(), link)).collect::<Vec<_>>()
    };
    let (v4, v6) = (all(Family::V4), all(Family::V6));
    let expected = [("127.0.0.1", LO), ("192.0.2.1", ETH0), ("198.51.100.1", ETH1)];
    assert_eq!(v4, expected.map(|(text, link)| (text.to_owned(), link)));
    assert_eq!(v6, [("2001:db8::1".to_owned(), ETH0), ("2001:db8:1::1".to_owned(), ETH1)]);

    assert_eq!(routes.leaves_by(None, ip("8.8.8.8")), Some(ETH0));
    assert_eq!(routes.leaves_by(None, ip("192.0.2.1")), Some(ETH0), "our own");
    assert_eq!(routes.leaves_by(None, ip("192.0.2.10")), Some(ETH0), "not resolved");
    assert_eq!(routes.leaves_by(None, ip("224.0.0.1")), None);
    assert_eq!(routes.link(ETH1).map(|link| &link.name[..]), Some("eth1"));
    assert_eq!(routes.link_named("eth0").map(|link| link.index), Some(ETH0));
    assert!(routes.link(LinkIndex(0)).is_none() && routes.link_named("eth").is_none());
    assert_eq!(routes.links().map(|link| link.index).collect::<Vec<_>>(), [LO, ETH0, ETH1]);
    assert_eq!(routes.sizes(), Sizes { routes: 7, neighbours: 5 });
}

#[test]
fn the_source_that_ipv4_would_choose() {
    let mut plan = plan();
    plan.addresses.insert(1, AddressPlan { scope: 253, ..address(ETH0, "169.254.7.7/16") });
    plan.addresses.insert(2, AddressPlan { is_secondary: true, ..address(ETH0, "192.0.2.2/24") });
    plan.addresses.push(address(ETH0, "10.9.0.1/16"));
    plan.neighbours.push(neighbour(ETH0, "10.9.0.254", 0x99));
    plan.routes.push(via("10.0.0.0/8", ETH0, "10.9.0.254"));
    let source = |plan: &IpPlan, to: &str| way(plan, None, to).map(|(.., source)| source);
    // By a gateway, the first global address beside it, primary ones only; on the link, the first one that means something there.
    assert_eq!(source(&plan, "10.1.1.1").unwrap(), "10.9.0.1");
    assert_eq!(source(&plan, "8.8.8.8").unwrap(), "192.0.2.1");
    assert_eq!(source(&plan, "192.0.2.9").unwrap(), "169.254.7.7");
    plan.routes[0].source = Some(ip("198.51.100.1"));
    assert_eq!(source(&plan, "8.8.8.8").unwrap(), "198.51.100.1");
    // A link without addresses borrows one.
    plan.addresses.retain(|plan| plan.link != ETH1);
    assert_eq!(source(&plan, "198.51.100.9").unwrap(), "192.0.2.1");
}

#[test]
fn the_source_that_ipv6_would_choose() {
    let mut plan = plan();
    plan.addresses.retain(|plan| plan.address.is_ipv4());
    plan.neighbours.push(neighbour(ETH0, "2001:db8::77", 0x77));
    let mut source = |address: AddressPlan, to: &str| {
        plan.addresses.push(address);
        way(&plan, None, to).map(|(.., source)| source).map_err(|why| format!("{why:?}"))
    };
    let far = "2001:db8:7::1";
    assert_eq!(source(address(LO, "::1/128"), far), Err("NoSource".into()));
    assert_eq!(source(address(ETH0, "fe80::2/64"), far).unwrap(), "fe80::2");
    let tentative = AddressPlan { is_tentative: true, ..address(ETH0, "2001:db8:7::2/64") };
    assert_eq!(source(tentative, far).unwrap(), "fe80::2");
    let deprecated = AddressPlan { is_deprecated: true, ..address(ETH0, "2001:db8:7::3/64") };
    assert_eq!(source(deprecated, far).unwrap(), "2001:db8:7::3");
    assert_eq!(source(address(ETH1, "2001:db8:7::4/64"), far).unwrap(), "2001:db8:7::4");
    assert_eq!(source(address(ETH0, "fd00::1/64"), far).unwrap(), "fd00::1", "the outgoing link's");
    assert_eq!(source(address(ETH0, "2001:dead::1/64"), far).unwrap(), "2001:dead::1", "the same label");
    let temporary = AddressPlan { is_secondary: true, ..address(ETH0, "2001:db8:7::5/64") };
    assert_eq!(source(temporary, far).unwrap(), "2001:dead::1");
    assert_eq!(source(address(ETH0, "2001:db8:6::1/64"), far).unwrap(), "2001:db8:6::1", "the longest match");
    assert_eq!(source(address(ETH0, "fd00:1::1/64"), "fd00:1::9").unwrap(), "fd00:1::1");
}

/// A small generator (xorshift64*); the seed is in every failure.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % u64::from(bound)) as u32
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// Few different addresses at both ends and in the middle of either family.
    fn address(&mut self, family: Family) -> IpAddr {
        let (low, place) = (self.below(64), self.below(3));
        match family {
            Family::V4 => {
                let base = [0x0a00_0000, 0xdfff_ffc0, 0x0000_0000][place as usize];
                Ipv4Addr::from(base + low).into()
            }
            Family::V6 => {
                let base = [0x2001_0db8_u128 << 96, u128::MAX << 6, 0][place as usize];
                Ipv6Addr::from(base + u128::from(low)).into()
            }
        }
    }

    /// One of four.
    fn gateway(&mut self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 0, 0, self.below(4) as u8).into(),
            Family::V6 => Ipv6Addr::from((0x2001_0db8_u128 << 96) + u128::from(self.below(4))).into(),
        }
    }

    fn net(&mut self, family: Family) -> IpNet {
        let address = self.address(family);
        let bits = if family == Family::V4 { 32 } else { 128 };
        let len = if self.chance(10) { 0 } else { bits - self.below(9) as u8 };
        IpNet::new(address, len).unwrap().trunc()
    }

    fn rule(&mut self, family: Family) -> RulePlan {
        let action = match self.below(8) {
            0 => RuleAction::Goto(self.below(12)),
            1 => RuleAction::Nop,
            2 if self.chance(20) => RuleAction::Discard,
            _ => RuleAction::Table {
                table: self.below(4),
                suppressed_prefix_len_max: self.chance(20).then_some(28),
            },
        };
        RulePlan {
            family,
            priority: self.below(12),
            is_inverted: self.chance(20),
            source: self.chance(40).then(|| self.net(family)),
            destination: self.chance(30).then(|| self.net(family)),
            action,
        }
    }

    fn route(&mut self, family: Family) -> RoutePlan {
        let kinds = [RouteKind::Local, RouteKind::Discard, RouteKind::Throw, RouteKind::Unsupported];
        let kind = if self.chance(85) { RouteKind::Unicast } else { kinds[self.below(4) as usize] };
        let gateway = self.chance(70).then(|| self.gateway(family));
        RoutePlan {
            table: self.below(4),
            destination: self.net(family),
            metric: self.below(3),
            preference: self.below(3) as i8 - 1,
            kind,
            hops: vec![HopPlan { link: LinkIndex(1 + self.below(3)), gateway, weight: 1 }],
            source: None,
            mtu: self.chance(50).then(|| 1_000 + self.below(800)),
        }
    }

    fn plan(&mut self) -> IpPlan {
        let links = (1..=3).map(|n| link(LinkIndex(n), &format!("l{n}"), LinkKind::Physical));
        let mut plan = IpPlan { links: links.collect(), ..IpPlan::default() };
        for family in [Family::V4, Family::V6] {
            plan.rules.extend((0..1 + self.below(9)).map(|_| self.rule(family)));
            plan.routes.extend((0..self.below(120)).map(|_| self.route(family)));
            for n in 0..self.below(80) {
                let is_gateway = self.chance(50);
                let address = if is_gateway { self.gateway(family) } else { self.address(family) };
                let link = LinkIndex(1 + self.below(3));
                let neighbour = neighbour(link, &address.to_string(), n as u8);
                if !plan.neighbours.iter().any(|n| (n.link, n.address) == (link, address)) {
                    plan.neighbours.push(neighbour);
                }
            }
        }
        plan
    }
}

/// The look-up, as slowly and plainly as it can be.
fn oracle(plan: &IpPlan, source: IpAddr, destination: IpAddr) -> Result<(LinkIndex, Mac, u32), NoWay> {
    check(Some(source), destination)?;
    let route = oracle_route(plan, source, destination)?;
    match route.kind {
        RouteKind::Unicast => {}
        RouteKind::Local => return Err(NoWay::Local),
        RouteKind::Discard => return Err(NoWay::Discarded),
        _ => return Err(NoWay::Unsupported),
    }
    let hop = &route.hops[0];
    let address = hop.gateway.unwrap_or(destination);
    let neighbour = plan.neighbours.iter().find(|n| n.link == hop.link && n.address == address);
    let mac = neighbour.ok_or(NoWay::Unresolved)?.mac.unwrap();
    Ok((hop.link, mac, route.mtu.unwrap_or(1_500).min(1_500)))
}

fn oracle_route(plan: &IpPlan, source: IpAddr, destination: IpAddr) -> Result<&RoutePlan, NoWay> {
    let family = Family::of(destination);
    let mut skip_to = 0;
    for priority in 0..12 {
        for rule in plan.rules.iter().filter(|r| r.family == family && r.priority == priority) {
            let holds = |net: Option<IpNet>, address| net.is_none_or(|net| net.contains(&address));
            let matches = holds(rule.source, source) && holds(rule.destination, destination);
            if priority < skip_to || matches == rule.is_inverted {
                continue;
            }
            match rule.action {
                RuleAction::Goto(to) if to > priority => {
                    let exists = plan.rules.iter().any(|r| r.family == family && r.priority == to);
                    skip_to = if exists { to } else { skip_to };
                }
                RuleAction::Discard => return Err(NoWay::Discarded),
                RuleAction::Table { table, suppressed_prefix_len_max } => {
                    let fits = |r: &&RoutePlan| r.table == table && r.destination.contains(&destination);
                    let best = plan.routes.iter().filter(fits).min_by_key(|r| {
                        (u8::MAX - r.destination.prefix_len(), r.metric, -i16::from(r.preference))
                    });
                    let Some(best) = best.filter(|r| r.kind != RouteKind::Throw) else { continue };
                    let is_long =
                        suppressed_prefix_len_max.is_none_or(|max| best.destination.prefix_len() > max);
                    if is_long || best.kind == RouteKind::Discard {
                        return Ok(best);
                    }
                }
                _ => {}
            }
        }
    }
    Err(NoWay::NoRoute)
}

#[test]
fn random_tables_agree_with_the_slow_way() {
    let (mut found, mut missed) = (0, 0);
    for seed in 1..=400 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let plan = random.plan();
        let routes = IpRoutes::new(&plan);
        for _ in 0..200 {
            let family = if random.chance(50) { Family::V4 } else { Family::V6 };
            let (source, destination) = (random.address(family), random.address(family));
            if source.is_unspecified() {
                continue;
            }
            let expected = oracle(&plan, source, destination);
            let way = routes.look_up(Some(source), destination);
            let way = way.map(|way| (way.link, way.destination_mac, way.mtu));
            assert_eq!(way, expected, "seed {seed}: from {source} to {destination} in {plan:#?}");
            *(if way.is_ok() { &mut found } else { &mut missed }) += 1;
        }
    }
    assert!(found > 5_000 && missed > 5_000, "{found} found, {missed} not");
}

/// A hundred thousand nested and scattered prefixes.
fn large_plan() -> IpPlan {
    let mut plan = plan();
    for n in 0..50_000_u32 {
        let v4 = Ipv4Addr::from((n.wrapping_mul(0x9e37_79b1) & 0x7fff_ff00) | 0x0100_0000);
        let v6 = Ipv6Addr::from(0x2001_u128 << 112 | u128::from(n.wrapping_mul(0x9e37_79b1)) << 64);
        let len = 16 + (n % 9) as u8;
        for net in [IpNet::new(v4.into(), len).unwrap(), IpNet::new(v6.into(), 32 + len).unwrap()] {
            plan.routes.push(RoutePlan { destination: net.trunc(), ..via("0.0.0.0/0", ETH0, "192.0.2.254") });
        }
    }
    plan
}

#[test]
fn large_tables_are_built_fast() {
    let plan = large_plan();
    let start = Instant::now();
    let routes = IpRoutes::new(&plan);
    let took = start.elapsed();
    // Unoptimized and on a busy machine; optimized it is a tenth of that.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(routes.sizes().routes, plan.routes.len());
    let (found, ns) = time(&routes);
    println!(
        "built in {took:?}, {ns} ns a look-up; in a small table {} ns",
        time(&IpRoutes::new(&self::plan())).1
    );
    assert!(found > 900_000, "{found}");
}

/// How many of a million scattered destinations have a way, and nanoseconds for each look-up.
fn time(routes: &IpRoutes) -> (usize, u128) {
    let start = Instant::now();
    let to = |n: u32| Ipv4Addr::from(n.wrapping_mul(0x9e37_79b1) & 0x7fff_ffff | 0x0100_0000);
    let found = (0..1_000_000).filter(|n| routes.look_up(None, to(*n).into()).is_ok()).count();
    (found, start.elapsed().as_nanos() / 1_000_000)
}
