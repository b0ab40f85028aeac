//! The data plane allocates nothing: not for any message, and not the first time either.
//!
//! | test | proves |
//! |---|---|
//! | `no_message_allocates` | every vector, canonical and torture message, from strangers and trusted sources, as the first one that a new worker sees: not one allocation |
//! | `no_hostile_message_allocates` | nor do messages with bytes broken out of them, one after another on one worker |
//! | `nor_does_looking_at_the_counters_cost_the_worker` | the worker's own part of counting neither |
//! | `no_ip_look_up_allocates` | nor does asking where a datagram leaves by, whatever comes of it |
//! | `the_count_counts` | the count does see an allocation, a growth and a zeroed one |
//!
//! The allocator counts per thread, so that the test harness does not disturb. A worker ([`Forwarder`]), its counters, the tables and the frame are made before the count begins, as at start.

use sluice::forward::Forwarder;
use sluice::io::{Datagram, Flow, HEADROOM, TAILROOM};
use sluice::ip_route::{
    AddressPlan, Family, HopPlan, IpPlan, IpRoutes, LinkIndex, LinkKind, LinkPlan, NeighbourPlan,
    NeighbourState, RouteKind, RoutePlan, RuleAction, RulePlan, TABLE_LOCAL, TABLE_MAIN,
};
use sluice::proxy::snapshot::Snapshot;
use sluice::stats::{Counter, Stats};
use sluice_tests::counting::{self, Counting};
use sluice_tests::{
    CANONICAL, CORE, CORE6, PUBLIC, PUBLIC6, canonical, corpora, files_below, flow, golden, named_plan,
};
use std::collections::HashMap;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` allocates, and what it returns.
fn allocations<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = counting::of_this_thread();
    let result = work();
    (counting::of_this_thread() - before, result)
}

#[test]
fn no_message_allocates() {
    let mut snapshots = HashMap::new();
    let mut frame = vec![0; HEADROOM + 65_535 + TAILROOM];
    let all = everything();
    assert!(all.len() > 400, "only {} messages", all.len());
    for (name, config, flow, payload) in &all {
        let snapshot = snapshots
            .entry(config.clone())
            .or_insert_with(|| Snapshot::new(named_plan(config)).expect("a good plan"));
        let (mut forwarder, stats) = (Forwarder::new(), Stats::new());
        let (count, ()) =
            allocations(|| forward(&mut forwarder, snapshot, &stats, &mut frame, *flow, payload));
        assert_eq!(count, 0, "{name} ({config}) allocates");
        assert!(stats.read().balance());
    }
    println!("{} messages", all.len());
}

#[test]
fn no_hostile_message_allocates() {
    let snapshot = Snapshot::new(named_plan("default")).expect("a good plan");
    let mut frame = vec![0; HEADROOM + 65_535 + TAILROOM];
    let (mut forwarder, stats) = (Forwarder::new(), Stats::new());
    let all = everything();
    let mut random = 1u64;
    let mut below = |bound: usize| {
        // Marsaglia's xorshift, with a fixed seed.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound.max(1) as u64) as usize
    };
    let mut hostile = Vec::new();
    for _ in 0..20_000 {
        let (_, _, flow, payload) = &all[below(all.len())];
        let mut payload = payload.clone();
        for _ in 0..1 + below(4) {
            let (at, byte) = (below(payload.len()), b";,:<>\"=@[]\\ \t\r\n/%?0z\0\xff"[below(22)]);
            match below(4) {
                _ if payload.is_empty() => {}
                0 => drop(payload.remove(at)),
                1 => payload.insert(at, byte),
                2 => payload[at] = byte,
                _ => payload.truncate(at),
            }
        }
        hostile.push((*flow, payload));
    }
    let (count, ()) = allocations(|| {
        for (flow, payload) in &hostile {
            forward(&mut forwarder, &snapshot, &stats, &mut frame, *flow, payload);
        }
    });
    assert_eq!(count, 0);
    let totals = stats.read();
    assert!(totals.balance() && totals.counter(Counter::Received) == 20_000);
}

#[test]
fn nor_does_looking_at_the_counters_cost_the_worker() {
    let stats = Stats::new();
    let (count, totals) = allocations(|| {
        stats.add(Counter::Received, 1);
        stats.read()
    });
    assert_eq!((count, totals.counter(Counter::Received)), (0, 1));
}

#[test]
fn no_ip_look_up_allocates() {
    let routes = IpRoutes::new(&ip_plan());
    routes.poke(LinkIndex(2), "192.0.2.254".parse().unwrap());
    let mut seen = HashMap::new();
    for (source, destination) in [
        (None, "198.51.100.1"),
        (None, "2001:db8:9::1"),
        (Some("192.0.2.1"), "198.51.100.1"),
        (Some("203.0.113.7"), "198.51.100.1"),
        (None, "192.0.2.9"),
        (None, "192.0.2.1"),
        (None, "224.0.0.1"),
        (None, "fd00::1"),
        (Some("::1"), "192.0.2.9"),
    ] {
        let (source, destination) = (source.map(|text| text.parse().unwrap()), destination.parse().unwrap());
        let (count, found) = allocations(|| {
            let _ = std::hint::black_box(routes.leaves_by(source, destination));
            routes.look_up(source, destination).map(|way| way.wants_probe())
        });
        assert_eq!(count, 0, "{source:?} {destination}");
        *seen.entry(found).or_insert(0) += 1;
    }
    // Ways with and without a poke, discarded, unresolved, ours, not unicast, and twice no route.
    assert_eq!(seen.len(), 7, "{seen:?}");
}

/// Default routes of both families and one more table, by a card with a gateway that is known.
fn ip_plan() -> IpPlan {
    let link = LinkIndex(2);
    let net = |text: &str| text.parse().unwrap();
    let neighbour = |address: &str| NeighbourPlan {
        link,
        address: address.parse().unwrap(),
        mac: Some([2; 6]),
        state: NeighbourState::Stale,
    };
    let address = |text: &str, on_link: &str| AddressPlan {
        link,
        address: text.parse().unwrap(),
        on_link: on_link.parse().unwrap(),
        scope: 0,
        is_secondary: false,
        is_deprecated: false,
        is_tentative: false,
    };
    let route = |table, destination: &str, kind, gateway: Option<&str>| RoutePlan {
        table,
        destination: destination.parse().unwrap(),
        metric: 0,
        preference: 0,
        kind,
        hops: vec![HopPlan { link, gateway: gateway.map(|text| text.parse().unwrap()), weight: 1 }],
        source: None,
        mtu: None,
    };
    let mut rules = [RulePlan::defaults(Family::V4), RulePlan::defaults(Family::V6)].concat();
    let table = RuleAction::Table { table: 7, suppressed_prefix_len_max: None };
    let source = Some(net("203.0.113.0/24"));
    rules.push(RulePlan { priority: 9, source, action: table, ..rules[0].clone() });
    IpPlan {
        links: vec![LinkPlan {
            index: link,
            name: "eth0".into(),
            kind: LinkKind::Physical,
            mac: [2; 6],
            mtu: 1_500,
            is_up: true,
            has_carrier: true,
        }],
        addresses: vec![
            address("192.0.2.1", "192.0.2.0/24"),
            address("2001:db8::1", "2001:db8::/64"),
            address("2001:db8:9::2", "2001:db8:9::2/128"),
        ],
        rules,
        routes: vec![
            route(TABLE_MAIN, "0.0.0.0/0", RouteKind::Unicast, Some("192.0.2.254")),
            route(TABLE_MAIN, "192.0.2.0/24", RouteKind::Unicast, None),
            route(TABLE_LOCAL, "192.0.2.1/32", RouteKind::Local, None),
            route(TABLE_MAIN, "2001:db8::/32", RouteKind::Unicast, Some("fe80::1")),
            route(7, "0.0.0.0/0", RouteKind::Discard, None),
        ],
        neighbours: vec![neighbour("192.0.2.254"), neighbour("fe80::1")],
    }
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))).0, 1);
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![0u8; 100]))).0, 1);
    let (count, _) = allocations(|| {
        let mut text = std::hint::black_box(String::from("x"));
        text.push_str(std::hint::black_box("a text that does not fit"));
        text
    });
    assert_eq!(count, 2);
}

fn forward(
    forwarder: &mut Forwarder,
    snapshot: &Snapshot,
    stats: &Stats,
    frame: &mut [u8],
    flow: Flow,
    payload: &[u8],
) {
    let end = HEADROOM + payload.len();
    frame[HEADROOM..end].copy_from_slice(payload);
    let mut datagram = Datagram::new(frame, HEADROOM, end, flow);
    let _ = std::hint::black_box(forwarder.forward(snapshot, stats, 1, &mut datagram));
}

/// All messages that we have: name, plan, how it comes in, bytes.
fn everything() -> Vec<(String, String, Flow, Vec<u8>)> {
    let mut all = Vec::new();
    for vector in golden("") {
        let last = vector.inputs.last().expect("an input");
        all.push((vector.name.clone(), last.config.clone(), last.flow, vector.run().0));
    }
    for (name, source, listener) in CANONICAL {
        all.push((name.into(), "default".into(), flow(source, listener), canonical(name)));
    }
    let files = corpora().map(|folder| files_below(&folder));
    if files.is_none() {
        println!("SKIPPED: the corpora, for ../shared/corpora is missing");
    }
    let flows = [
        flow("203.0.113.9:5060", PUBLIC),
        flow("10.0.1.1:5060", CORE),
        flow("[2001:db8::9:1]:5060", PUBLIC6),
        flow("[fd00::9]:5060", CORE6),
    ];
    for (path, bytes) in files.into_iter().flatten() {
        for flow in flows {
            all.push((path.display().to_string(), "default".into(), flow, bytes.clone()));
        }
    }
    all
}
