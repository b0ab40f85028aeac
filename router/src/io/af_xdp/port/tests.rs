//! Ports over faked rings: where each frame ends, what leaves, and that no frame is ever lost.

use super::*;
use crate::io::af_xdp::census::Census;
use crate::io::af_xdp::depot::Depot;
use crate::io::af_xdp::fake::{Kernel, OPTIONS};
use crate::io::af_xdp::handover::Probe;
use crate::io::af_xdp::ledger::Whereabouts;
use crate::io::af_xdp::socket::Options;
use crate::io::af_xdp::umem::Geometry;
use crate::io::{Flow, ListenerIndex};
use crate::ip_route::{
    AddressPlan, Family, HopPlan, IpPlan, LinkIndex, LinkKind, LinkPlan, NeighbourPlan, NeighbourState,
    RouteKind, RoutePlan, RulePlan, TABLE_MAIN,
};
use crate::stats::Totals;
use crate::wire::vlan::{Tag, Tags};
use crate::wire::{self, Envelope, Outgoing};
use core::net::SocketAddr;

const FRAMES: u32 = 1_024;
const PUBLIC: u32 = 2;
const CORE: u32 = 3;
/// A VLAN on the core link.
const VLAN: u32 = 4;
/// A link that has no sockets.
const OTHER: u32 = 5;
/// The Ethernet address of whoever sends to us.
const THEIRS: [u8; 6] = [2, 0, 0, 0, 9, 9];

const fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

fn link(index: u32, kind: LinkKind) -> LinkPlan {
    let (is_up, has_carrier) = (true, true);
    LinkPlan {
        index: LinkIndex(index),
        name: format!("link{index}"),
        kind,
        mac: mac(index as u8),
        mtu: 1_500,
        is_up,
        has_carrier,
    }
}

/// 192.0.2.0/24 and 2001:db8::/64 on the public link, 10.0.0.0/24 on the core link, 10.7.0.0/24 on its VLAN, 10.5.0.0/24 elsewhere. The neighbour at .9 of
/// each is resolved, as is a router at .1 of the core, beyond which 10.99.0.0/16 lies with a small MTU.
fn ip_plan() -> IpPlan {
    let vlan = LinkKind::Vlan { parent: LinkIndex(CORE), protocol: 0x8100, id: 7, priority: 0 };
    let nets = [
        (PUBLIC, "192.0.2.254/24", "192.0.2.9"),
        (PUBLIC, "2001:db8::fe/64", "2001:db8::9"),
        (CORE, "10.0.0.254/24", "10.0.0.9"),
        (VLAN, "10.7.0.254/24", "10.7.0.9"),
        (OTHER, "10.5.0.254/24", "10.5.0.9"),
    ];
    let address = |(link, net, _): &(u32, &str, &str)| {
        let net: ipnet::IpNet = net.parse().unwrap();
        AddressPlan {
            link: LinkIndex(*link),
            address: net.addr(),
            on_link: net.trunc(),
            scope: 0,
            is_secondary: false,
            is_deprecated: false,
            is_tentative: false,
        }
    };
    let route = |link: u32, destination: &str, gateway: Option<&str>, mtu| RoutePlan {
        table: TABLE_MAIN,
        destination: destination.parse::<ipnet::IpNet>().unwrap().trunc(),
        metric: 0,
        preference: 0,
        kind: RouteKind::Unicast,
        hops: vec![HopPlan {
            link: LinkIndex(link),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            weight: 1,
        }],
        source: None,
        mtu,
    };
    let neighbour = |link: u32, address: &str, last| NeighbourPlan {
        link: LinkIndex(link),
        address: address.parse().unwrap(),
        mac: Some(mac(last)),
        state: NeighbourState::Reachable,
    };
    let mut routes: Vec<_> = nets.iter().map(|(link, net, _)| route(*link, net, None, None)).collect();
    routes.push(route(CORE, "10.99.0.0/16", Some("10.0.0.1"), Some(600)));
    let mut neighbours: Vec<_> = nets.iter().map(|(link, _, peer)| neighbour(*link, peer, 9)).collect();
    neighbours.push(neighbour(CORE, "10.0.0.1", 1));
    IpPlan {
        links: vec![
            link(PUBLIC, LinkKind::Physical),
            link(CORE, LinkKind::Physical),
            link(VLAN, vlan),
            link(OTHER, LinkKind::Physical),
        ],
        addresses: nets.iter().map(address).collect(),
        rules: [Family::V4, Family::V6].into_iter().flat_map(RulePlan::defaults).collect(),
        routes,
        neighbours,
    }
}

/// The listeners: public, core, its VLAN, public over IPv6, and one on all addresses.
const LISTENERS: [&str; 5] =
    ["192.0.2.254:5060", "10.0.0.254:5060", "10.7.0.254:5060", "[2001:db8::fe]:5060", "0.0.0.0:5070"];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Workers on two interfaces, and their kernel.
struct Node {
    kernel: Kernel,
    ports: Vec<Port>,
    shared: Arc<Shared>,
    depot: Arc<Depot>,
    pages: Vec<Arc<Page>>,
    stats: Vec<Arc<Stats>>,
    routes: Arc<ArcSwap<IpRoutes>>,
}

impl Node {
    fn new(queues: [u32; 2], workers: usize, first: u32) -> Self {
        Self::with(queues, workers, first, 1_024)
    }

    fn with(queues: [u32; 2], workers: usize, first: u32, handovers: usize) -> Self {
        let geometry = Geometry { frames: FRAMES, frame_size: 4_096, headroom: 320 };
        let (umem, mut frames) = Umem::new(geometry).unwrap();
        let umem = Arc::new(umem);
        let (kernel, sockets) = Kernel::new(&umem, &mut frames, &queues, workers, &OPTIONS, first);
        let routes = Arc::new(ArcSwap::from_pointee(IpRoutes::new(&ip_plan())));
        let shared = Arc::new(Shared {
            umem,
            handovers: Arc::new(Handovers::new(handovers, workers).unwrap()),
            routes: Arc::clone(&routes),
            bells: (0..workers).map(|_| Bell::new().unwrap()).collect(),
            listeners: Listeners::new(&LISTENERS.map(address)),
            if_indexes: vec![PUBLIC, CORE],
            batch_frames_max: 8,
        });
        let depot = Arc::new(Depot::new(FRAMES as usize));
        let pages: Vec<_> = (0..workers).map(|_| Arc::new(Page::default())).collect();
        let stats: Vec<_> = (0..workers).map(|_| Arc::new(Stats::new())).collect();
        let suppliers = suppliers(&sockets);
        let mut stacks: Vec<_> = (0..workers).map(|_| Stack::new(&depot, 64)).collect();
        frames.into_iter().enumerate().for_each(|(i, frame)| stacks[i % workers].put(frame));
        for (sockets, page) in sockets.iter().zip(&pages) {
            let Options { prefill_frames, .. } = OPTIONS;
            ledger::add(&page.filled, u64::from(prefill_frames) * sockets.owned.len() as u64);
        }
        let parts = sockets.into_iter().zip(suppliers).zip(stacks).zip(stats.iter().zip(&pages));
        let ports = parts.map(|(((sockets, suppliers), stack), (stats, page))| {
            Port::new(Arc::clone(&shared), sockets, suppliers, stack, Arc::clone(stats), Arc::clone(page))
        });
        let ports = ports.collect();
        Self { kernel, ports, shared, depot, pages, stats, routes }
    }

    /// One breath of a worker that sends everything to `to` by `egress`, as it came.
    fn breathe(&mut self, worker: usize, egress: u16, to: &str) -> usize {
        let verdict = Verdict::Transmit { egress: ListenerIndex(egress), to: address(to) };
        self.ports[worker].breathe(&mut |_| verdict)
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.stats.iter().for_each(|stats| totals.add(stats));
        totals
    }

    /// Every frame is in one place, by a count of them and by the workers' own numbers. Frames on their way to the kernel path are taken from there.
    fn assert_complete(&self) {
        let mut census = Census::new(&self.shared.umem);
        for port in &self.ports {
            port.sockets.count(&mut census);
            port.sender.tx.iter().for_each(|tx| census.tx(&tx.ring));
            census.frames(port.sender.stack.frames());
        }
        self.kernel.count(&mut census);
        let mut spare = Stack::new(&self.depot, 0);
        let in_depot: Vec<_> = core::iter::from_fn(|| spare.take()).collect();
        census.frames(&in_depot);
        let handed_over: Vec<_> = core::iter::from_fn(|| self.shared.handovers.take()).collect();
        census.frames(handed_over.iter().map(|handover| &handover.frame));
        assert!(census.count().is_complete(), "{:?}", census.count());
        let Whereabouts { held, filled, transmitted } = Whereabouts::of(self.pages.iter().map(AsRef::as_ref));
        let found = held + filled + transmitted + (in_depot.len() + handed_over.len()) as u64;
        assert_eq!(found, u64::from(FRAMES), "{held} {filled} {transmitted}");
        handed_over.into_iter().for_each(|handover| self.shared.handovers.give(handover).unwrap());
        in_depot.into_iter().for_each(|frame| spare.put(frame));
    }
}

/// A frame with `payload`, as a neighbour writes it.
fn frame(source: &str, destination: &str, payload: &[u8], vlans: Tags) -> Vec<u8> {
    let mut frame = vec![0; HEADERS_BYTES_MAX];
    frame.extend_from_slice(payload);
    let envelope = Envelope { source_mac: THEIRS, destination_mac: mac(PUBLIC as u8), vlans };
    let (source, destination) = (address(source), address(destination));
    let outgoing = Outgoing { source, destination, identification: 7, basis: Basis::Payload };
    let len = frame.len();
    let packet = wire::write(&mut frame, HEADERS_BYTES_MAX..len, &envelope, &outgoing).unwrap();
    frame[packet].to_vec()
}

fn hello() -> Vec<u8> {
    frame("192.0.2.9:5061", "192.0.2.254:5060", b"hello, hello, hello", Tags::NONE)
}

/// What a frame says that has left.
fn left(frame: &[u8]) -> (wire::Received, Vec<u8>) {
    let received = wire::read(frame).unwrap();
    assert!(matches!(received.check(frame), Checksum::Right | Checksum::Absent), "{frame:?}");
    let payload = frame[received.payload.clone()].to_vec();
    (received, payload)
}

#[test]
fn a_datagram_leaves_where_its_route_says() {
    let tag = |tpid, tci| {
        let mut tags = Tags::NONE;
        tags.push(Tag { tpid, tci }).unwrap();
        tags
    };
    for (egress, to, interface, source, destination_mac, vlans) in [
        (0, "192.0.2.9:5062", 0, "192.0.2.254:5060", mac(9), Tags::NONE),
        (1, "10.0.0.9:5062", 1, "10.0.0.254:5060", mac(9), Tags::NONE),
        (1, "10.99.3.4:5062", 1, "10.0.0.254:5060", mac(1), Tags::NONE),
        (2, "10.7.0.9:5062", 1, "10.7.0.254:5060", mac(9), tag(0x8100, 7)),
        (3, "[2001:db8::9]:5062", 0, "[2001:db8::fe]:5060", mac(9), Tags::NONE),
        (4, "10.0.0.9:5062", 1, "10.0.0.254:5070", mac(9), Tags::NONE),
    ] {
        let mut node = Node::new([1, 1], 1, 0);
        node.kernel.receive(0, 0, 0, &hello()).unwrap();
        assert_eq!(node.breathe(0, egress, to), 1);
        let sent = node.kernel.transmit(interface, 0, 9);
        assert_eq!(sent.len(), 1, "{to}");
        let (received, payload) = left(&sent[0]);
        assert_eq!((received.source, received.destination), (address(source), address(to)));
        let source_mac = mac(if vlans == Tags::NONE { [PUBLIC, CORE][interface] as u8 } else { VLAN as u8 });
        assert_eq!((received.source_mac, received.destination_mac), (source_mac, destination_mac), "{to}");
        assert_eq!((received.vlans, payload), (vlans, b"hello, hello, hello".to_vec()));
        assert_eq!(node.totals().counter(Counter::Sent), 1);
        assert_eq!(node.totals().counter(Counter::SentBytes), 19);
        node.assert_complete();
        node.breathe(0, egress, to);
        node.assert_complete();
    }
}

#[test]
fn the_flow_says_how_it_came() {
    let mut node = Node::new([1, 2], 2, u32::MAX - 3);
    let mut flows = vec![];
    let mut tags = Tags::NONE;
    tags.push(Tag { tpid: 0x8100, tci: 7 }).unwrap();
    node.kernel.receive(1, 1, 0, &frame("10.7.0.9:1", "10.7.0.254:5060", b"vlan", tags)).unwrap();
    node.kernel.receive(0, 0, 0, &frame("192.0.2.9:2", "10.0.0.254:5070", b"all", Tags::NONE)).unwrap();
    let v6 = frame("[2001:db8::9]:3", "[2001:db8::fe]:5060", b"six", Tags::NONE);
    node.kernel.receive(0, 0, 0, &v6).unwrap();
    node.ports[0].breathe(&mut |datagram| {
        flows.push((datagram.flow, datagram.payload().to_vec()));
        assert!(datagram.headroom() >= crate::io::HEADROOM - HEADERS_BYTES_MAX);
        assert!(datagram.tailroom() >= crate::io::TAILROOM);
        Verdict::Release
    });
    let flow = |source, destination, listener| Flow {
        source: address(source),
        destination: address(destination),
        listener: ListenerIndex(listener),
    };
    let expected = [
        (flow("192.0.2.9:2", "10.0.0.254:5070", 4), b"all".to_vec()),
        (flow("[2001:db8::9]:3", "[2001:db8::fe]:5060", 3), b"six".to_vec()),
        (flow("10.7.0.9:1", "10.7.0.254:5060", 2), b"vlan".to_vec()),
    ];
    assert_eq!(flows, expected);
    node.assert_complete();
}

#[test]
fn what_a_worker_cannot_send_goes_to_the_kernel_path() {
    let big = vec![b'x'; 1_500 - 28 + 1];
    let fits = vec![b'x'; 1_500 - 28];
    let v6_big = vec![b'x'; 1_280 - 48 + 1];
    for (payload, egress, to, why) in [
        (&big[..], 0, "192.0.2.9:5062", Some(Why::TooLarge)),
        (&fits, 0, "192.0.2.9:5062", None),
        (&fits[..573], 1, "10.99.0.9:5062", Some(Why::TooLarge)),
        (&fits[..572], 1, "10.99.0.9:5062", None),
        (&v6_big, 3, "[2001:db8::9]:5062", Some(Why::TooLarge)),
        (&v6_big[1..], 3, "[2001:db8::9]:5062", None),
        (b"x", 0, "192.0.2.10:5062", Some(Why::NoNeighbour)),
        (b"x", 0, "198.51.100.1:5062", Some(Why::NoRoute)),
        (b"x", 0, "[2001:db8::9]:5062", Some(Why::NoRoute)),
        (b"x", 4, "10.5.0.9:5062", Some(Why::OtherInterface)),
    ] {
        let mut node = Node::new([1, 1], 1, 0);
        let frame = frame("192.0.2.9:5061", "192.0.2.254:5060", payload, Tags::NONE);
        node.kernel.receive(0, 0, 0, &frame).unwrap();
        node.breathe(0, egress, to);
        let sent = [0, 1].map(|interface| node.kernel.transmit(interface, 0, 9).len());
        let handover = node.shared.handovers.take();
        let totals = node.totals();
        match why {
            None => assert!(sent.iter().sum::<usize>() == 1 && handover.is_none(), "{to}"),
            Some(why) => {
                assert_eq!((sent, totals.handed_over(why)), ([0, 0], 1), "{to}");
                let handover = handover.unwrap();
                assert_eq!((handover.egress, handover.to), (ListenerIndex(egress), address(to)));
                assert_eq!(node.shared.umem.read(&handover.frame)[handover.payload.clone()], *payload);
                assert_eq!(totals.counter(Counter::Sent), 0, "the kernel path counts it");
                node.shared.handovers.give(handover).unwrap();
            }
        }
        node.assert_complete();
    }
}

#[test]
fn a_stale_neighbour_is_probed_and_holds_up_nothing() {
    let mut node = Node::new([1, 1], 1, 0);
    let send = |node: &mut Node| {
        node.kernel.receive(0, 0, 0, &hello()).unwrap();
        node.breathe(0, 0, "192.0.2.9:5062");
        (node.kernel.transmit(0, 0, 9).len(), node.shared.handovers.probe())
    };
    assert_eq!(send(&mut node), (1, None));
    assert!(node.routes.load().poke(LinkIndex(PUBLIC), "192.0.2.9".parse().unwrap()));
    let (egress, source) = (ListenerIndex(0), Some("192.0.2.254".parse().unwrap()));
    let probe = Probe { egress, to: address("192.0.2.9:5062"), source };
    assert_eq!([0; 3].map(|_| send(&mut node)), [(1, Some(probe)), (1, None), (1, None)]);
    node.assert_complete();
}

#[test]
fn what_follows_to_the_same_address_does_not_overtake() {
    let mut node = Node::new([1, 1], 1, 0);
    let mut without = ip_plan();
    without.neighbours.clear();
    let send = |node: &mut Node, to| {
        node.kernel.receive(0, 0, 0, &hello()).unwrap();
        node.breathe(0, 0, to);
        node.kernel.transmit(0, 0, 9).len()
    };
    let (first, other) = ("192.0.2.9:5062", "[2001:db8::9]:5062");
    node.routes.store(Arc::new(IpRoutes::new(&without)));
    assert_eq!(send(&mut node, first), 0);
    node.routes.store(Arc::new(IpRoutes::new(&ip_plan())));
    // The kernel path has not sent it yet.
    assert_eq!(send(&mut node, first), 0);
    node.ports[0].breathe(&mut |_| Verdict::Release);
    node.kernel.receive(0, 0, 0, &hello()).unwrap();
    node.breathe(0, 3, other);
    assert_eq!(node.kernel.transmit(0, 0, 9).len(), 1, "another address is not held up");
    let totals = node.totals();
    assert_eq!((totals.handed_over(Why::NoNeighbour), totals.handed_over(Why::Order)), (1, 1));
    for _ in 0..2 {
        let Handover { frame, worker, .. } = node.shared.handovers.take().unwrap();
        node.ports[0].sender.stack.put(frame);
        node.shared.handovers.note_sent(worker);
    }
    assert_eq!(send(&mut node, first), 1, "they have been sent");
    node.assert_complete();
}

#[test]
fn a_kernel_path_that_cannot_keep_up_is_followed_no_further() {
    let mut waiting = Waiting::default();
    let to: IpAddr = [192, 0, 2, 9].into();
    waiting.note(to);
    let followed = (0..1_000).take_while(|_| {
        let holds_back = waiting.holds_back(to, || 0);
        if holds_back {
            waiting.note(to);
        }
        holds_back
    });
    assert_eq!(followed.count(), FOLLOWERS_MAX as usize);
    assert!(!waiting.holds_back(to, || 0));
}

#[test]
fn other_tables_hold_from_the_next_datagram_on() {
    let mut node = Node::new([1, 1], 1, 0);
    let mut plan = ip_plan();
    plan.links[0].has_carrier = false;
    for (plan, down) in [(ip_plan(), 0), (plan, 1), (ip_plan(), 1)] {
        node.routes.store(Arc::new(IpRoutes::new(&plan)));
        node.kernel.receive(0, 0, 0, &hello()).unwrap();
        node.breathe(0, 0, "192.0.2.9:5062");
        assert_eq!(node.totals().handed_over(Why::LinkDown), down);
        if node.shared.handovers.len() > node.shared.handovers.sent(0) as usize {
            node.shared.handovers.note_sent(0);
        }
    }
    assert_eq!(node.kernel.transmit(0, 0, 9).len(), 2);
    node.assert_complete();
}

#[test]
fn strange_frames_are_refused_and_come_back() {
    let mut node = Node::new([1, 1], 1, 0);
    let good = hello();
    let mut wrong = good.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let nobody = frame("192.0.2.9:5061", "192.0.2.254:5061", b"x", Tags::NONE);
    let mut fragment = good.clone();
    fragment[20] |= 0x20;
    for packet in [&wrong, &nobody, &fragment, &good[..30].to_vec(), &vec![], &good] {
        node.kernel.receive(0, 0, 0, packet).unwrap();
    }
    let mut forwarded = 0;
    let count = node.ports[0].breathe(&mut |_| {
        forwarded += 1;
        Verdict::Release
    });
    let totals = node.totals();
    let refused = Refused::ALL.iter().map(|why| totals.refused(*why)).collect::<Vec<_>>();
    let odd: u64 = wire::Odd::ALL.iter().map(|why| totals.odd(*why)).sum();
    assert_eq!((count, forwarded, odd), (6, 1, 2));
    assert_eq!(refused, [1, 1, 1], "descriptor, checksum, listener");
    node.assert_complete();
}

#[test]
fn full_rings_and_queues_drop_and_count() {
    // Nobody transmits: 16 fit the ring, the others end.
    let mut node = Node::with([1, 1], 1, u32::MAX - 7, 3);
    for _ in 0..4 {
        (0..8).for_each(|_| node.kernel.receive(0, 0, 0, &hello()).unwrap());
        node.breathe(0, 0, "192.0.2.9:5062");
    }
    let totals = node.totals();
    assert_eq!((totals.counter(Counter::Sent), totals.counter(Counter::TransmitFull)), (16, 16));
    (0..8).for_each(|_| node.kernel.receive(0, 0, 0, &hello()).unwrap());
    node.breathe(0, 0, "192.0.2.10:5062");
    let totals = node.totals();
    assert_eq!((totals.handed_over(Why::NoNeighbour), totals.counter(Counter::HandoverFull)), (8, 5));
    node.assert_complete();
}

#[test]
fn a_batch_is_bounded_and_in_order() {
    let mut node = Node::new([1, 1], 1, u32::MAX - 4);
    for i in 0..11 {
        let frame = frame("192.0.2.9:5061", "192.0.2.254:5060", &[i; 20], Tags::NONE);
        node.kernel.receive(0, 0, 0, &frame).unwrap();
    }
    assert_eq!(node.breathe(0, 0, "192.0.2.9:5062"), 8);
    assert_eq!(node.breathe(0, 0, "192.0.2.9:5062"), 3);
    assert_eq!(node.breathe(0, 0, "192.0.2.9:5062"), 0);
    let order: Vec<_> = node.kernel.transmit(0, 0, 16).iter().map(|frame| left(frame).1[0]).collect();
    assert_eq!(order, (0..11).collect::<Vec<_>>());
    node.assert_complete();
}

#[test]
fn who_runs_another_queue_low_wakes_its_owner() {
    let mut node = Node::new([2, 2], 2, 0);
    let rings = |node: &Node| {
        let mut rung = true;
        node.shared.bells[0].sleep(|| true, || ());
        // A bell that was not rung leaves the sleeper to its poll.
        node.shared.bells[0].sleep(|| false, || rung = false);
        rung
    };
    // Queue 0 is worker 0's; worker 1 receives from it. Half of its 32 frames are left at first.
    (0..8).for_each(|_| node.kernel.receive(0, 0, 1, &hello()).unwrap());
    node.breathe(1, 0, "192.0.2.9:5062");
    assert!(!rings(&node));
    (0..12).for_each(|_| node.kernel.receive(0, 0, 1, &hello()).unwrap());
    let port = &mut node.ports[1];
    let bell = &node.shared.bells[0];
    let mut was_rung = false;
    bell.sleep(
        || false,
        || {
            port.breathe(&mut |_| Verdict::Release);
            use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
            was_rung = poll(&mut [PollFd::new(bell.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1);
        },
    );
    assert!(was_rung);
    node.breathe(1, 0, "192.0.2.9:5062");
    node.assert_complete();
}

/// Three workers, two interfaces of two and three queues, indices that wrap, a kernel that transmits when it likes, routes that change: after every few breaths
/// all frames are there.
#[test]
fn frames_are_conserved_whatever_happens() {
    let mut node = Node::with([2, 3], 3, u32::MAX - 100, 40);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let destinations =
        ["192.0.2.9:1", "10.0.0.9:1", "10.7.0.9:1", "192.0.2.77:1", "198.51.100.1:1", "10.99.0.1:1"];
    let (mut received, mut left) = (0_u64, 0_u64);
    for round in 0..6_000 {
        let interface = random(2);
        for _ in 0..random(12) {
            let mut packet = hello();
            if random(10) == 0 {
                let at = random(packet.len());
                packet[at] ^= 1 << random(8);
            }
            let queue = random([2, 3][interface]);
            received += u64::from(node.kernel.receive(interface, queue, random(3), &packet).is_ok());
        }
        let worker = random(3);
        let to = address(destinations[random(destinations.len())]);
        let egress = ListenerIndex(random(LISTENERS.len()) as u16);
        let releases = random(4) == 0;
        node.ports[worker].breathe(&mut |_| {
            if releases { Verdict::Release } else { Verdict::Transmit { egress, to } }
        });
        if random(3) > 0 {
            left += node.kernel.transmit(random(2), random(3), random(20)).len() as u64;
        }
        if round % 500 == 499 {
            let handed_over: Vec<_> = core::iter::from_fn(|| node.shared.handovers.take()).collect();
            for handover in handed_over {
                // As the kernel path gives them back.
                node.ports[0].sender.stack.put(handover.frame);
            }
            for worker in 0..3 {
                node.ports[worker].breathe(&mut |_| Verdict::Release);
            }
            node.assert_complete();
        }
    }
    let totals = node.totals();
    assert!(received > 20_000 && left > 5_000, "{received} {left}");
    assert!(totals.counter(Counter::Sent) >= left);
    assert!(Why::ALL.iter().any(|why| totals.handed_over(*why) > 0));
}
