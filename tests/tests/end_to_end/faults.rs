//! What goes wrong in a network, while calls go on: no call is lost that a kernel's proxy would have kept,
//! traffic flows again at once, and every frame is where it belongs.
//!
//! ```text
//! caller ---- [public] node a [core] ---- callee
//! ```
//!
//! Only in namespaces, whose links and routes are ours to take away. SIPp's ends send again what is lost
//! (RFC 3261 17), so a fault of a second costs no call; a call that fails is a fault that stayed.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::message::Message;
use crate::harness::node::{DOMAIN, KEY, Node, NodeConfig};
use crate::harness::phone::{Phone, receive};
use crate::harness::process::poll_until;
use crate::harness::requirements;
use crate::harness::sipp::{Calls, STUBBORN};
use crate::harness::site::{Family, IoMode, Network, Place, Site, ip, mac};

/// How long a change may go unnoticed: routes and neighbours are followed within a second.
const NOTICED: Duration = Duration::from_secs(1);
/// How long a round trip takes at most.
const ROUND_TRIP: Duration = Duration::from_millis(500);
/// How long a fault lasts. SIPp sends an INVITE again for 15 seconds.
const OUTAGE: Duration = Duration::from_millis(800);
/// Calls of a run, which begin within two seconds.
const CALLS: usize = 400;
/// So many have begun when the fault comes.
const CALLS_BEFORE: usize = 100;

macro_rules! over_both_families {
    ($($test:ident)*) => {$(
        mod $test {
            #[test]
            fn over_ipv4() {
                super::$test(super::Family::V4);
            }

            #[test]
            fn over_ipv6() {
                super::$test(super::Family::V6);
            }
        }
    )*};
}

over_both_families! {
    large_messages_cross
    route_mtu_is_respected
    unreachable_next_hop_costs_nothing
    link_of_the_callee_goes_down_and_up
    neighbour_is_forgotten
    neighbour_changes_its_hardware_address
    route_changes_to_another_gateway
    route_changes_to_another_interface
    interface_goes_down_and_up
    killed_and_started_again
}

/// Over the MTU when they come, over the MTU only when they leave (the node's own header fields make them
/// so), and far over it: request and response arrive whole.
fn large_messages_cross(family: Family) {
    let Some(scene) = Scene::open(family) else {
        return;
    };
    let near_the_mtu = (700..1500).step_by(8);
    for body_bytes in near_the_mtu.chain([2_500, 4_000, 5_000, 9_000, 30_000, 60_000]) {
        let call_id = format!("large-{body_bytes}");
        let body = || "sluice ".chars().cycle().take(body_bytes).collect::<String>();
        let invite = scene.request("INVITE", &call_id).with_body(body());
        let (at_callee, at_caller) = scene
            .round_trip(&invite, |response| response.with_body(body()))
            .unwrap_or_else(|lost| panic!("{body_bytes} bytes: {lost}"));
        assert!(at_callee.body == body(), "{body_bytes} bytes of a request arrive as they were");
        assert!(at_caller.body == body(), "{body_bytes} bytes of a response arrive as they were");
    }
    scene.assert_flows();
    scene.close();
}

/// What fits the link but not the route leaves in fragments that fit the route.
fn route_mtu_is_respected(family: Family) {
    let Some(scene) = Scene::open(family) else {
        return;
    };
    const COUNT: usize = 20;
    let callee = scene.callee.address.ip();
    scene.at_node(&format!("route add {callee} dev {} mtu 1300", scene.core()));
    thread::sleep(NOTICED);
    let before = reassembled(family);
    for i in 0..COUNT {
        let request = scene.request("INVITE", &format!("mtu-{i}")).with_body("m".repeat(760));
        let received = scene.round_trip(&request, |response| response).expect("a round trip").0;
        let bytes = received.datagram().len();
        assert!((1300..1400).contains(&bytes), "between the two MTUs, not {bytes} bytes");
    }
    let fragmented = reassembled(family) - before;
    assert_eq!(fragmented, COUNT, "each came in fragments");
    scene.close();
}

/// How many datagrams the ends' kernel has put together from fragments.
fn reassembled(family: Family) -> usize {
    let number = |text: &str| text.parse().expect("a number");
    match family {
        Family::V4 => {
            let text = fs::read_to_string("/proc/thread-self/net/snmp").expect("the kernel's counters");
            let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
            let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
            let mut pairs = names.split(' ').zip(values.split(' '));
            number(pairs.find(|(name, _)| *name == "ReasmOKs").expect("the counter").1)
        }
        Family::V6 => {
            let text = fs::read_to_string("/proc/thread-self/net/snmp6").expect("the kernel's counters");
            let line = text.lines().find(|line| line.starts_with("Ip6ReasmOKs")).expect("the counter");
            number(line.split_whitespace().next_back().expect("a value"))
        }
    }
}

/// Nobody answers for a next hop: what is for it is lost, and nothing else, and no frame with it.
fn unreachable_next_hop_costs_nothing(family: Family) {
    let Some(scene) = Scene::open(family) else {
        return;
    };
    let nobody = match family {
        Family::V4 => "10.0.0.99:5060",
        Family::V6 => "[fd00::99]:5060",
    };
    for i in 0..500 {
        let mut lost = scene.request("OPTIONS", &format!("lost-{i}"));
        lost.start_line = format!("OPTIONS sip:nobody@{nobody} SIP/2.0");
        scene.caller.send(&lost, scene.listener);
        if i % 50 == 0 {
            let request = scene.request("OPTIONS", &format!("kept-{i}"));
            scene.round_trip(&request, |response| response).expect("others cross meanwhile");
        }
    }
    scene.assert_flows();
    scene.close();
}

/// The link of the callee's side has no carrier for a while.
fn link_of_the_callee_goes_down_and_up(family: Family) {
    let Some(scene) = Scene::open(family) else {
        return;
    };
    scene.calls_survive(|| {
        ip("link set a-core down");
        thread::sleep(OUTAGE);
        ip("link set a-core up");
    });
    scene.assert_flows();
    scene.close();
}

/// Its entry goes; a datagram asks for it again and is not lost.
fn neighbour_is_forgotten(family: Family) {
    let Some(scene) = Scene::open(family) else {
        return;
    };
    scene.assert_flows();
    for i in 0..50 {
        scene.at_node(&format!("neigh flush dev {}", scene.core()));
        let request = scene.request("OPTIONS", &format!("forgotten-{i}"));
        scene.round_trip(&request, |response| response).expect("the datagram that asks is not lost");
        thread::sleep(Duration::from_millis(i % 5));
    }
    scene.calls_survive(|| {
        for _ in 0..20 {
            scene.at_node(&format!("neigh flush dev {}", scene.core()));
            thread::sleep(OUTAGE / 20);
        }
    });
    scene.assert_flows();
    scene.close();
}

/// It says so by itself, as a router that takes over an address does.
fn neighbour_changes_its_hardware_address(family: Family) {
    let Some(scene) = Scene::open(family) else {
        return;
    };
    let core = scene.core();
    for setting in [format!("ipv4/conf/{core}/arp_notify"), format!("ipv6/conf/{core}/ndisc_notify")] {
        fs::write(format!("/proc/sys/net/{setting}"), "1").expect("a setting of our namespace");
    }
    scene.assert_flows();
    scene.calls_survive(|| ip(&format!("link set {core} address {}", mac(Network::Core, 99))));
    scene.assert_flows();
    scene.close();
}

/// The callee is behind a gateway, then behind another one on the same network.
fn route_changes_to_another_gateway(family: Family) {
    let Some(scene) = Scene::behind_a_gateway(family) else {
        return;
    };
    let second = match family {
        Family::V4 => "10.0.0.253",
        Family::V6 => "fd00::fd",
    };
    add_second_gateway(&scene, second);
    scene.assert_flows();
    let before = received_by("second");
    scene.calls_survive(|| scene.route(Network::Core, second));
    let after_calls = received_by("second");
    assert!(after_calls > before, "requests go by the second gateway: {before}, {after_calls}");
    thread::sleep(NOTICED);
    let before = received_by("second");
    scene.assert_flows();
    let after = received_by("second");
    assert!(after >= before + ROUND_TRIPS, "all requests go by the second gateway: {before}, {after}");
    scene.close();
}

/// The ends have a second interface on the core network, with an address and a hardware address of its own.
fn add_second_gateway(scene: &Scene, address: &str) {
    ip(&format!(
        "link add second address {} type veth peer name second-port\n\
         link set second-port master core addrgenmode none up\n\
         link set second addrgenmode none up\n",
        mac(Network::Core, 98)
    ));
    let device = match scene.site.variant.vlan {
        None => "second".to_owned(),
        Some(id) => {
            ip(&format!("link add link second name second.{id} type vlan id {id}\nlink set second.{id} up"));
            format!("second.{id}")
        }
    };
    let (length, nodad) = if scene.family == Family::V4 { (32, "") } else { (128, "nodad") };
    ip(&format!("addr add {address}/{length} dev {device} {nodad}"));
    // Each interface answers for its own addresses only.
    fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1").expect("a setting of our namespace");
}

/// The callee is behind the core network, then behind the public one.
fn route_changes_to_another_interface(family: Family) {
    let Some(scene) = Scene::behind_a_gateway(family) else {
        return;
    };
    scene.assert_flows();
    scene.calls_survive(|| scene.route(Network::Public, &scene.gateway(Network::Public)));
    thread::sleep(NOTICED);
    let before = received_by("a-core");
    scene.assert_flows();
    let after = received_by("a-core");
    assert!(after < before + ROUND_TRIPS / 2, "requests leave by the other interface: {before}, {after}");
    scene.close();
}

/// Packets that a device of the ends' namespace has received.
fn received_by(device: &str) -> usize {
    let text = fs::read_to_string("/proc/thread-self/net/dev").expect("the kernel's counters");
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{device}:")));
    let packets = line.expect("the device").split_whitespace().nth(1).expect("bytes, then packets");
    packets.parse().expect("a number")
}

/// First the node's interface to the callee, then that to the caller.
fn interface_goes_down_and_up(family: Family) {
    let Some(scene) = Scene::open(family) else {
        return;
    };
    // The kernel forgets IPv6 addresses otherwise, and with them nobody could listen.
    scene.site.set_at_node("a", "/proc/sys/net/ipv6/conf/all/keep_addr_on_down", "1");
    for interface in ["core", "public"] {
        scene.calls_survive(|| {
            scene.at_node(&format!("link set {interface} down"));
            thread::sleep(OUTAGE);
            scene.at_node(&format!("link set {interface} up"));
        });
        scene.assert_flows();
    }
    scene.close();
}

/// SIGKILL under load: the interface stays usable, nothing stays attached, and a new process takes over.
fn killed_and_started_again(family: Family) {
    let Some(mut scene) = Scene::open(family) else {
        return;
    };
    scene.assert_flows();
    let programs = if scene.site.variant.io == IoMode::AfXdp { Network::ALL.len() } else { 0 };
    assert_eq!(scene.site.xdp_programs("a"), programs, "each interface of a running node has one");
    scene.node.take().expect("a running node").kill();
    let gone = poll_until(Duration::from_secs(2), || scene.site.xdp_programs("a") == 0);
    assert!(gone, "nothing stays attached to {} interfaces", scene.site.xdp_programs("a"));
    if scene.site.is_here() {
        scene.assert_others_can_listen();
    }

    scene.start();
    scene.assert_flows();
    let mut running = scene.node.take();
    // A start takes a second on a busy machine, and a BYE comes again after 0.5, 1.5, 3.5, 7.5 and 11.5 s.
    scene.calls_survive_within(Duration::from_secs(12), || {
        for _ in 0..3 {
            running.take().expect("a running node").kill();
            running = Some(Node::start(&scene.site, &scene.config));
            thread::sleep(Duration::from_millis(300));
        }
    });
    scene.node = running;
    scene.assert_flows();
    scene.close();
}

/// Round trips of [`Scene::assert_flows`].
const ROUND_TRIPS: usize = 50;

/// A node between two networks, a caller on one and a callee on the other, and room for SIPp beside them.
struct Scene {
    family: Family,
    caller: Phone,
    callee: Phone,
    sipp_caller: SocketAddr,
    sipp_callee: SocketAddr,
    listener: SocketAddr,
    config: NodeConfig,
    node: Option<Node>,
    // The last to go.
    site: Site,
}

impl Scene {
    /// The callee is on the core network. `None` where a scene cannot be had.
    fn open(family: Family) -> Option<Self> {
        let site = Self::site()?;
        let callee = site.end_ip(Place { network: Network::Core, family });
        Some(Self::with_callee(site, family, callee))
    }

    /// The callee is behind a gateway of the core network.
    fn behind_a_gateway(family: Family) -> Option<Self> {
        let site = Self::site()?;
        let callee = far(family);
        let nodad = if family == Family::V4 { "" } else { "nodad" };
        ip(&format!("addr replace {callee} dev lo {nodad}"));
        let gateway = site.end_ip(Place { network: Network::Core, family });
        set_route(&site, callee, Network::Core, &gateway.to_string());
        Some(Self::with_callee(site, family, callee))
    }

    fn site() -> Option<Site> {
        requirements::sipp().then(Site::of_network).flatten()
    }

    fn with_callee(site: Site, family: Family, callee_ip: IpAddr) -> Self {
        let [public, core] = Network::ALL.map(|network| Place { network, family });
        let (caller, callee) = (Phone::new(&site, public), Phone::at(callee_ip));
        let (sipp_caller, sipp_callee) =
            (site.end(public), SocketAddr::new(callee_ip, site.end(core).port()));
        let (listener, core) = (site.node("a", public), site.node("a", core));
        let rule = |user: &str, to: SocketAddr| {
            format!("host = \"{DOMAIN}\"\nuser_prefix = \"{user}\"\nnext_hop = \"{to}\"\negress = \"core\"")
        };
        let config = NodeConfig::new("a", KEY).listener("public", listener).listener("core", core);
        let config = config.rule(&rule("phone", callee.address)).rule(&rule("sipp", sipp_callee));
        let node = Some(Node::start(&site, &config));
        Self { family, caller, callee, sipp_caller, sipp_callee, listener, config, node, site }
    }

    /// Starts the node, which does not run.
    fn start(&mut self) {
        assert!(self.node.is_none(), "a scene has one node");
        self.node = Some(Node::start(&self.site, &self.config));
    }

    /// All frames are there still, and the node ends in order and leaves nothing behind.
    fn close(mut self) {
        let node = self.node.take().expect("a running node");
        node.assert_all_frames_are_there();
        node.stop();
        assert_eq!(self.site.xdp_programs("a"), 0, "a node that ends takes its programs with it");
    }

    /// A request of the caller to the callee.
    fn request(&self, method: &str, call_id: &str) -> Message {
        self.caller.request(method, &format!("sip:phone@{DOMAIN}"), call_id)
    }

    /// Sends a request to the callee, who answers with 200 and what `answer` adds, and returns what arrived at
    /// the callee and at the caller. Nothing is sent again.
    fn round_trip(
        &self,
        request: &Message,
        answer: impl FnOnce(Message) -> Message,
    ) -> Result<(Message, Message), String> {
        let call_id = request.call_id();
        self.caller.send(request, self.listener);
        let at_callee = self.callee.receive_of(call_id, ROUND_TRIP).ok_or("the request is lost")?;
        let response = answer(Message::response_to(&at_callee, "200 OK").with_to_tag("callee"));
        self.callee.send(&response, self.to_node(&at_callee));
        let at_caller = self.caller.receive_of(call_id, ROUND_TRIP).ok_or("the response is lost")?;
        Ok((at_callee, at_caller))
    }

    /// Where a response goes: to the node's Via.
    fn to_node(&self, request: &Message) -> SocketAddr {
        request.vias()[0].sent_by.parse().expect("the Via of a node has an address and a port")
    }

    /// Traffic flows again in time, and from then on nothing is lost.
    fn assert_flows(&self) {
        let start = Instant::now();
        let mut tries = 0;
        let mut flows = || {
            tries += 1;
            let request = self.request("OPTIONS", &format!("try-{tries}-{:?}", start.elapsed()));
            self.round_trip(&request, |response| response).is_ok()
        };
        assert!(poll_until(NOTICED + ROUND_TRIP, &mut flows), "traffic flows again within {NOTICED:?}");
        for i in 0..ROUND_TRIPS {
            let request = self.request("OPTIONS", &format!("flows-{i}-{:?}", start.elapsed()));
            self.round_trip(&request, |response| response)
                .unwrap_or_else(|lost| panic!("traffic flows, after {i} round trips {lost}"));
        }
    }

    /// Calls go on while `fault` happens, which takes about [`OUTAGE`], and none fails.
    fn calls_survive(&self, fault: impl FnOnce()) {
        self.calls_survive_within(Duration::from_secs(4), fault);
    }

    /// Calls go on while `fault` happens, and none fails. For `linger` a callee answers a BYE that comes again.
    fn calls_survive_within(&self, linger: Duration, fault: impl FnOnce()) {
        let calls = Calls {
            flow: STUBBORN,
            count: CALLS,
            rate: self.site.variant.call_rate,
            caller: self.sipp_caller,
            callee: self.sipp_callee,
            first_hop: self.listener,
            request_uri: format!("sip:sipp@{DOMAIN}"),
            pause: Duration::from_millis(300),
            linger,
        };
        let mut callee = calls.start_callee(self.site.scratch());
        let caller = calls.start_caller(self.site.scratch());
        callee.wait_until_received("INVITE 1", CALLS_BEFORE);
        fault();
        caller.succeed(CALLS);
        callee.succeed(CALLS);
    }

    /// Runs a line of `ip` where the node is.
    fn at_node(&self, line: &str) {
        self.site.ip_at_node("a", line);
    }

    /// The device of the core network.
    fn core(&self) -> String {
        self.site.device(Network::Core)
    }

    /// The address of the ends on a network.
    fn gateway(&self, network: Network) -> String {
        self.site.end_ip(Place { network, family: self.family }).to_string()
    }

    /// Changes the node's route to the callee.
    fn route(&self, network: Network, gateway: &str) {
        set_route(&self.site, self.callee.address.ip(), network, gateway);
    }

    /// The addresses are free, and what is sent to them arrives.
    fn assert_others_can_listen(&self) {
        let socket = self.site.at_node("a", || UdpSocket::bind(self.listener)).expect("the address is free");
        socket.set_read_timeout(Some(ROUND_TRIP)).expect("a socket takes a timeout");
        let request = self.request("OPTIONS", "somebody-else");
        self.caller.send(&request, self.listener);
        let mut buffer = vec![0; 65_536];
        let (length, _) = receive(&socket, &mut buffer).expect("a datagram for somebody else");
        assert_eq!(Message::parse(&buffer[..length]), request, "it is the one that was sent");
    }
}

/// An address of nobody's network.
fn far(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(203, 0, 113, 1).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1).into(),
    }
}

/// Sets the node's route to a destination.
fn set_route(site: &Site, to: IpAddr, network: Network, gateway: &str) {
    let device = site.device(network);
    site.ip_at_node("a", &format!("route replace {to} via {gateway} dev {device}"));
}
