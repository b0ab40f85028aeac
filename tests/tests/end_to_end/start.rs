//! Starts: what a node waits for, what it says, what it refuses, and one after the other under traffic.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::message::Message;
use crate::harness::node::{DOMAIN, KEY, Node, NodeConfig};
use crate::harness::phone::Phone;
use crate::harness::process::poll_until;
use crate::harness::site::{CORE_IPV4, IoMode, Network, PUBLIC_IPV4, Site, ip};

/// Starts under traffic.
const STARTS: usize = 6;
/// Messages that cross each time.
const CROSSING: usize = 200;
/// How long it may take until they do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Six times under traffic: each time all interfaces are as they should be, and traffic flows by the workers; each time
/// nothing stays attached.
#[test]
fn again_and_again_under_traffic() {
    let Some(scene) = Scene::open() else {
        return;
    };
    let programs = if scene.is_af_xdp() { Network::ALL.len() } else { 0 };
    let traffic = Traffic::start(&scene.caller, scene.listener);
    for i in 0..STARTS {
        let node = Node::start(&scene.site, &scene.config);
        assert_eq!(scene.site.xdp_programs("a"), programs, "start {i}: a program on each interface");
        let crossed = scene.receive(CROSSING, traffic.count());
        assert_eq!(crossed, CROSSING, "start {i}: traffic flows again: {:#?}", node.counters());
        let by_workers: u64 = node.workers().iter().map(|worker| worker.get("received")).sum();
        assert!(by_workers > 0, "start {i}: workers get it: {:#?}", node.counters());
        let counters = node.stop();
        counters.assert_sound();
        assert_eq!(scene.site.xdp_programs("a"), 0, "stop {i}: nothing stays attached");
    }
    traffic.stop();
}

/// Zero copy that is required and cannot be had: one line that says so, an exit code, and nothing that stays; also where
/// ordinary sockets would do otherwise.
#[test]
fn zero_copy_that_is_required_is_refused() {
    let Some(scene) = Scene::open().filter(Scene::is_af_xdp).filter(|scene| !scene.has_zero_copy()) else {
        return;
    };
    for mode in ["af_xdp", "auto"] {
        let config = scene.config.clone().io_tables(&format!(
            "[io]\nmode = \"{mode}\"\n\n[[interface]]\nname = \"public\"\nxdp_mode = \"native\"\nzero_copy = \"require\"\n\n"
        ));
        let log = Node::refusal(&scene.site, &config);
        let others = [" INFO ", " WARN "];
        let said = |line: &&str| !others.iter().any(|level| line.contains(level)) && !line.is_empty();
        let errors: Vec<&str> = log.lines().filter(said).collect();
        let [error] = errors[..] else { panic!("one line says why: {log}") };
        let said = "no AF_XDP: interface public, queue 0: cannot bind in zero-copy mode: EOPNOTSUPP";
        assert!(error.starts_with(said), "{error}");
        assert!(error.ends_with("set zero_copy to \"auto\" or \"never\""), "{error}");
        assert!(!log.contains("ready"), "{log}");
        assert_eq!(scene.site.xdp_programs("a"), 0, "nothing stays attached");
    }
}

/// The same for a program that is to be in the driver: veth has none where the peer's packets are larger than a page.
#[test]
fn native_xdp_that_is_wanted_is_refused() {
    let Some(scene) = Scene::open().filter(Scene::has_links_of_veth) else {
        return;
    };
    ip("link set a-public mtu 9000");
    for mode in ["af_xdp", "auto"] {
        let config = scene.config.clone().io_tables(&format!(
            "[io]\nmode = \"{mode}\"\n\n[[interface]]\nname = \"public\"\nxdp_mode = \"native\"\n\n"
        ));
        let log = Node::refusal(&scene.site, &config);
        assert!(log.contains("no AF_XDP: interface public: no native XDP: "), "{log}");
        assert_eq!(scene.site.xdp_programs("a"), 0, "nothing stays attached");
    }
    let node = Node::start(&scene.site, &scene.config);
    assert!(
        node.log().contains("AF_XDP, generic XDP, copy mode"),
        "it may be generic otherwise: {}",
        node.log()
    );
    node.stop();
}

/// Where it is not required the kernel copies, and the node says that, and why.
#[test]
fn without_zero_copy_the_kernel_copies() {
    let Some(scene) = Scene::open().filter(Scene::is_af_xdp).filter(|scene| !scene.has_zero_copy()) else {
        return;
    };
    let is_generic = scene.site.variant.xdp_mode.as_deref() == Some("generic");
    let why = if is_generic { "no zero copy without native XDP" } else { "no zero copy: EOPNOTSUPP" };
    let node = Node::start(&scene.site, &scene.config);
    let log = node.log();
    for network in Network::ALL {
        let interface = format!("interface {} (", network.name());
        let line = log.lines().find(|line| line.contains(&interface)).expect("a line for each interface");
        assert!(line.contains(&format!(", copy mode ({why}")), "{line}");
    }
    let traffic = Traffic::start(&scene.caller, scene.listener);
    assert_eq!(scene.receive(1, 0), 1, "traffic flows");
    traffic.stop();
    node.stop().assert_sound();
}

/// An interface whose carrier comes a while after the program was attached, as drivers do it that set up their link anew.
#[test]
fn a_carrier_is_waited_for() {
    let Some(scene) = Scene::open().filter(Scene::has_links_of_veth) else {
        return;
    };
    ip("link set a-core down");
    let log = thread::scope(|scope| {
        let comes = scope.spawn(|| {
            let log = scene.site.scratch().path().join("a.stderr");
            let waits = || fs::read_to_string(&log).is_ok_and(|log| log.contains("waiting for the carrier"));
            assert!(poll_until(PATIENCE, waits), "the node waits");
            ip("link set a-core up");
        });
        let node = Node::start(&scene.site, &scene.config);
        comes.join().expect("the link can be set up");
        let log = node.log();
        node.stop();
        log
    });
    let place = |words: &str| log.find(words).unwrap_or_else(|| panic!("\"{words}\" is said: {log}"));
    assert!(place("waiting for the carrier of core, 10 seconds at most") < place("carriers are there after"));
    assert!(place("carriers are there after") < place("ready"));
}

/// One that never comes keeps nobody from the other interfaces for long.
#[test]
fn a_carrier_is_not_waited_for_without_end() {
    let Some(scene) = Scene::open().filter(Scene::has_links_of_veth) else {
        return;
    };
    ip("link set a-core down");
    let begin = Instant::now();
    let node = Node::start(&scene.site, &scene.config);
    assert!(begin.elapsed() >= Duration::from_secs(10), "it waits as long as it says: {}", node.log());
    assert!(node.log().contains("core: still no carrier; "), "{}", node.log());
    ip("link set a-core up");
    let traffic = Traffic::start(&scene.caller, scene.listener);
    assert_eq!(scene.receive(1, 0), 1, "traffic flows when it is there: {}", node.log());
    traffic.stop();
    node.stop();
}

/// A caller, a callee, and a node between them that does not run yet.
struct Scene {
    caller: Arc<Phone>,
    callee: Phone,
    listener: SocketAddr,
    config: NodeConfig,
    // The last to go.
    site: Site,
}

impl Scene {
    /// `None` where it cannot be had.
    fn open() -> Option<Self> {
        let site = Site::of_network()?;
        let (caller, callee) = (Phone::new(&site, PUBLIC_IPV4), Phone::new(&site, CORE_IPV4));
        let [listener, core] = [PUBLIC_IPV4, CORE_IPV4].map(|place| site.node("a", place));
        let rule = format!("host = \"{DOMAIN}\"\nnext_hop = \"{}\"\negress = \"core\"", callee.address);
        let config =
            NodeConfig::new("a", KEY).listener("public", listener).listener("core", core).rule(&rule);
        Some(Self { caller: Arc::new(caller), callee, listener, config, site })
    }

    fn is_af_xdp(&self) -> bool {
        self.site.variant.io == IoMode::AfXdp
    }

    /// Whether the site is said to have zero copy.
    fn has_zero_copy(&self) -> bool {
        self.site.variant.zero_copy.as_deref() == Some("require")
    }

    fn has_links_of_veth(&self) -> bool {
        self.is_af_xdp() && self.site.is_here()
    }

    /// Waits at the callee for so many messages that were sent after the first `begin`, and returns how many came in time.
    fn receive(&self, wanted: usize, begin: u32) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut count = 0;
        while count < wanted && Instant::now() < deadline {
            let is_later = |message: Message| message.cseq().0 > begin;
            count += usize::from(self.callee.receive_soon().is_some_and(is_later));
        }
        count
    }
}

/// Requests, one a millisecond or so, numbered, each a call of its own.
struct Traffic {
    sent: Arc<AtomicU32>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Traffic {
    fn start(caller: &Arc<Phone>, listener: SocketAddr) -> Self {
        let (sent, ends) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (caller, count, end) = (Arc::clone(caller), Arc::clone(&sent), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                caller.send(&request(&caller, number), listener);
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self { sent, ends, thread }
    }

    /// How many were sent.
    fn count(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    fn stop(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("the socket took all of them");
    }
}

fn request(caller: &Phone, number: u32) -> Message {
    let mut request = caller.request("OPTIONS", &format!("sip:callee@{DOMAIN}"), &format!("start-{number}"));
    let cseq = request.fields.iter_mut().find(|field| field.is("CSeq")).expect("a CSeq");
    cseq.raw = format!("CSeq: {number} OPTIONS");
    request
}
