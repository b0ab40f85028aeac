//! Messages of every size up to the MTU, byte by byte, and over it.
//!
//! ```text
//! caller ---- [public] node a [core] ---- callee
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::message::{Field, Message};
use crate::harness::node::{DOMAIN, KEY, Node, NodeConfig};
use crate::harness::phone::Phone;
use crate::harness::process::poll_until;
use crate::harness::site::{CORE_IPV4, IoMode, PUBLIC_IPV4, Site};

/// Bytes of a frame that are no message: Ethernet, IPv4 and UDP.
const HEADERS: usize = 14 + 20 + 8;
/// Bytes of the smallest frame.
const SMALLEST: usize = 300;
/// Bytes of a frame that has a packet of the MTU.
const LARGEST: usize = 14 + 1500;
/// Messages that may leave by the kernel for another reason: behind one that is too large and has not left yet.
const OTHERS_MAX: u64 = 20;
/// How long a message may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Frames of each size that the link takes come by AF_XDP, and leave by it unless the node's own header fields have made
/// them too large. Only those leave by the kernel.
#[test]
fn each_size_up_to_the_mtu_crosses() {
    let Some(scene) = Scene::open() else {
        return;
    };
    let before = scene.node.counters().sum("handed_over");
    let mut too_large = 0;
    for bytes in SMALLEST..=LARGEST {
        let method = if bytes % 2 == 0 { "INVITE" } else { "OPTIONS" };
        let left = scene.cross(method, &format!("s{bytes}"), bytes - HEADERS);
        assert!(left > bytes - HEADERS, "a message that leaves is larger: {left} bytes of {bytes}");
        too_large += u64::from(left + HEADERS > LARGEST);
    }
    assert!((50..500).contains(&too_large), "what is near the MTU grows over it: {too_large}");
    if scene.is_af_xdp {
        let counters = scene.node.counters();
        assert_eq!(scene.received_by_the_kernel_path(), 0, "all that arrived fits a frame: {counters:#?}");
        let handed_over = counters.get("handed_over{too_large}");
        assert_eq!(handed_over, too_large, "nothing else is too large: {counters:#?}");
        let others = counters.sum("handed_over") - before - too_large;
        assert!(others <= OTHERS_MAX, "all others leave by AF_XDP: {counters:#?}");
    }
    scene.close();
}

/// An INVITE over the MTU comes and leaves in fragments, which is the kernel's work; and so does its response.
#[test]
fn an_invite_over_the_mtu_takes_the_kernel_path_in_and_out() {
    const SIZES: [usize; 4] = [LARGEST - HEADERS + 1, 2_000, 4_000, 9_000];
    let Some(scene) = Scene::open() else {
        return;
    };
    for bytes in SIZES {
        scene.cross("INVITE", &format!("l{bytes}"), bytes);
    }
    if scene.is_af_xdp {
        let all = 2 * u64::try_from(SIZES.len()).expect("a small number");
        assert_eq!(scene.received_by_the_kernel_path(), all, "{:#?}", scene.node.counters());
    }
    scene.close();
}

/// A node between two networks, a caller on one and a callee on the other.
struct Scene {
    caller: Phone,
    callee: Phone,
    listener: SocketAddr,
    is_af_xdp: bool,
    node: Node,
    // The last to go.
    _site: Site,
}

impl Scene {
    /// A node that knows its neighbours. `None` where it cannot be had.
    fn open() -> Option<Self> {
        let site = Site::open(&[PUBLIC_IPV4, CORE_IPV4])?;
        let (caller, callee) = (Phone::new(&site, PUBLIC_IPV4), Phone::new(&site, CORE_IPV4));
        let [listener, core] = [PUBLIC_IPV4, CORE_IPV4].map(|place| site.node("a", place));
        let rule = format!("host = \"{DOMAIN}\"\nnext_hop = \"{}\"\negress = \"core\"", callee.address);
        let config =
            NodeConfig::new("a", KEY).listener("public", listener).listener("core", core).rule(&rule);
        let node = Node::start(&site, &config);
        let is_af_xdp = site.variant.io == IoMode::AfXdp;
        let scene = Self { caller, callee, listener, is_af_xdp, node, _site: site };
        let handed_over = || scene.node.counters().sum("handed_over");
        let mut tries = 0;
        let is_met = poll_until(PATIENCE, || {
            let before = handed_over();
            tries += 1;
            scene.cross("OPTIONS", &format!("meet{tries}"), SMALLEST);
            handed_over() == before
        });
        assert!(is_met, "both neighbours become known: {:#?}", scene.node.counters());
        Some(scene)
    }

    /// Has a request of so many bytes and its response, of as many unless it needs more, cross unchanged. Returns the
    /// bytes of the request that left.
    fn cross(&self, method: &str, call_id: &str, bytes: usize) -> usize {
        let request = filled(self.request(method, call_id), bytes);
        assert_eq!(request.datagram().len(), bytes, "a request that is as large as it should be");
        self.caller.send(&request, self.listener);
        let arrived = self.callee.receive_of(call_id, PATIENCE);
        let arrived = arrived.unwrap_or_else(|| panic!("a request of {bytes} bytes is lost"));
        assert_eq!((arrived.value("Subject"), &arrived.body), (request.value("Subject"), &request.body));
        let record_routes = if method == "INVITE" { 2 } else { 0 };
        assert_eq!(
            arrived.route_values("Record-Route").len(),
            record_routes,
            "a pair, where a dialog may be"
        );
        let response = filled(Message::response_to(&arrived, "200 OK").with_to_tag("b"), bytes);
        let via = arrived.vias()[0].sent_by.parse().expect("the Via of a node has an address and a port");
        self.callee.send(&response, via);
        let answer = self.caller.receive_of(call_id, PATIENCE);
        let answer = answer.unwrap_or_else(|| panic!("a response of {bytes} bytes is lost"));
        assert_eq!((answer.value("Subject"), &answer.body), (response.value("Subject"), &response.body));
        arrived.datagram().len()
    }

    /// A small request.
    fn request(&self, method: &str, call_id: &str) -> Message {
        let via = format!("SIP/2.0/UDP {};branch=z9hG4bK{call_id};rport", self.caller.address);
        let fields = [
            ("Via", via.as_str()),
            ("Max-Forwards", "70"),
            ("From", "<sip:a@x>;tag=1"),
            ("To", "<sip:b@x>"),
            ("Call-ID", call_id),
            ("CSeq", &format!("1 {method}")),
            ("Content-Length", "0"),
        ];
        let fields = fields.map(|(name, value)| Field::new(name, value)).to_vec();
        Message { start_line: format!("{method} sip:b@{DOMAIN} SIP/2.0"), fields, body: String::new() }
    }

    fn received_by_the_kernel_path(&self) -> u64 {
        let by_workers: u64 = self.node.workers().iter().map(|worker| worker.get("received")).sum();
        self.node.counters().get("received") - by_workers
    }

    fn close(self) {
        self.node.assert_all_frames_are_there();
        self.node.stop().assert_clean();
    }
}

/// The message with a body of about half of what it lacks to have so many bytes, and a Subject for the rest; as it is if
/// it lacks none.
fn filled(message: Message, bytes: usize) -> Message {
    let lacking = |message: &Message| bytes.saturating_sub(message.datagram().len() + "Subject: \r\n".len());
    let body = lacking(&message) / 2;
    let mut message = message.with_body("b".repeat(body));
    let subject = lacking(&message);
    if subject > 0 {
        message.fields.push(Field::new("Subject", &"s".repeat(subject)));
    }
    message
}
