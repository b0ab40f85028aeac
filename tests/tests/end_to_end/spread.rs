//! One pair of addresses and many calls, as a trunk between two carriers has them: how they are spread over
//! the workers, and that the spreading changes no order.
//!
//! The sender has only so many messages under way as fit the smallest queue on the path, so none is lost.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::harness::message::Message;
use crate::harness::node::{KEY, Node, NodeConfig};
use crate::harness::phone::{Phone, receive};
use crate::harness::site::{IoMode, Network, PUBLIC_IPV4, PUBLIC_IPV6, Place, Site};

/// Calls. The share of one of four workers strays by 1.2 % of itself (one sigma) when each call goes to one
/// by chance, so 5 % is four sigma.
const CALLS: usize = 20_000;
/// Messages of each call.
const MESSAGES: usize = 3;
/// Messages under way at a time. veth's queues hold 256.
const WINDOW: usize = 64;
/// By how much the share of a worker may differ from its even share.
const TOLERANCE: f64 = 0.05;

#[test]
fn two_workers_over_ipv4() {
    spreads(2, PUBLIC_IPV4);
}

#[test]
fn four_workers_over_ipv4() {
    spreads(4, PUBLIC_IPV4);
}

#[test]
fn four_workers_over_ipv6() {
    spreads(4, PUBLIC_IPV6);
}

/// All messages of one source: each worker gets its share when it is steered by Call-ID, and however it is
/// steered the messages of one call leave in the order they came.
fn spreads(workers: usize, place: Place) {
    let Some(scene) = Scene::open(workers, place) else {
        return;
    };
    let calls: Vec<String> = (0..CALLS).map(|call| format!("{call}-spread@{}", scene.caller)).collect();
    scene.send_all((0..MESSAGES).flat_map(|_| calls.iter()));
    let shares: Vec<u64> = scene.received_by_worker();
    assert_eq!(shares.len(), workers, "each worker counts for itself");
    let total = u64::try_from(CALLS * MESSAGES).expect("a small number");
    assert_eq!(shares.iter().sum::<u64>(), total, "each message is one worker's");
    if scene.steered_by_call_id {
        let even = total as f64 / workers as f64;
        let is_even = |share: &u64| (*share as f64 - even).abs() <= TOLERANCE * even;
        assert!(shares.iter().all(is_even), "even shares of {total}: {shares:?}");
    }
    scene.node.assert_all_frames_are_there();
    scene.node.stop().assert_clean();
}

/// All messages of one call are one worker's, and only who has some is busy.
#[test]
fn a_call_stays_with_its_worker() {
    const OF_EACH: usize = 100;
    let start = Instant::now();
    let Some(scene) = Scene::open(4, PUBLIC_IPV4) else {
        return;
    };
    let mut of_calls = [0; 4];
    for call in 0..24 {
        let before = scene.received_by_worker();
        let call_id = format!("{call}-stays@{}", scene.caller);
        scene.send_all(std::iter::repeat_n(&call_id, OF_EACH));
        let after = scene.received_by_worker();
        let grown: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        let owner = grown.iter().position(|grown| *grown == OF_EACH as u64);
        let owner = owner.unwrap_or_else(|| panic!("{call_id} is one worker's: {grown:?}"));
        of_calls[owner] += 1;
    }
    let busy = of_calls.iter().filter(|calls| **calls > 0).count();
    assert!(busy > 1 || !scene.steered_by_call_id, "calls are spread over the workers: {of_calls:?}");
    let elapsed_ns = u64::try_from(start.elapsed().as_nanos()).expect("no more than centuries");
    for (worker, calls) in scene.node.workers().iter().zip(of_calls) {
        let busy_ns = worker.get("busy_ns");
        assert!(busy_ns < elapsed_ns && (busy_ns > 0) == (calls > 0), "{calls} calls: {worker:#?}");
    }
    scene.node.stop().assert_clean();
}

/// While nobody knows the neighbour's hardware address the kernel sends, and asks for it; when it is known, a
/// worker does. Nothing is lost, and what went the slow way is overtaken by little (a few in a thousand were
/// seen): a worker waits until the kernel has taken what went before, but two CPUs deliver at their own pace.
#[test]
fn nothing_is_lost_while_a_neighbour_becomes_known() {
    const TIMES: usize = 40;
    let Some(scene) = Scene::on(Site::of_network(), 2, PUBLIC_IPV4) else {
        return;
    };
    let device = scene.site.device(Network::Public);
    let mut late = 0;
    for time in 0..TIMES {
        scene.site.ip_at_node("a", &format!("neigh flush dev {device}"));
        let calls: Vec<String> = (0..4).map(|call| format!("{time}-{call}-known@{}", scene.caller)).collect();
        late += scene.send((0..400).flat_map(|_| calls.iter()));
    }
    let all = TIMES * 4 * 400;
    assert!(late <= all / 50, "{late} of {all} messages came late");
    scene.node.assert_all_frames_are_there();
    scene.node.stop().assert_clean();
}

/// A node that sends all it gets to one address, and both ends.
struct Scene {
    caller: SocketAddr,
    sender: UdpSocket,
    receiver: UdpSocket,
    listener: SocketAddr,
    request: Message,
    steered_by_call_id: bool,
    node: Node,
    site: Site,
}

impl Scene {
    /// `None` where it cannot be had.
    fn open(workers: usize, place: Place) -> Option<Self> {
        Self::on(Site::open(&[place]), workers, place)
    }

    fn on(site: Option<Site>, workers: usize, place: Place) -> Option<Self> {
        let site = site?;
        let [phone, callee] = [place; 2].map(|place| Phone::new(&site, place));
        let listener = site.node("a", place);
        let config = NodeConfig::new("a", KEY).listener("public", listener).next_hop(callee.address);
        let node = Node::start(&site, &config.workers(workers));
        let by_call_id = site.variant.steer.as_deref().is_none_or(|steer| steer == "call-id");
        let scene = Self {
            caller: phone.address,
            request: phone.request("BYE", "sip:callee@example.net", "CALL"),
            sender: phone.into_socket(),
            receiver: callee.into_socket(),
            listener,
            steered_by_call_id: site.variant.io == IoMode::AfXdp && by_call_id,
            node,
            site,
        };
        scene.receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket takes a timeout");
        Some(scene)
    }

    /// Sends a message of each of these calls, in turn. All must arrive, those of one call in the order they
    /// were sent.
    fn send_all<'a>(&self, calls: impl Iterator<Item = &'a String>) {
        assert_eq!(self.send(calls), 0, "messages of a call that came after a later one");
    }

    /// Sends a message of each of these calls, in turn. All must arrive. Returns how many came after a later one of
    /// their call.
    fn send<'a>(&self, calls: impl Iterator<Item = &'a String>) -> usize {
        let mut sent: HashMap<&str, u32> = HashMap::new();
        let mut arrived: HashMap<String, u32> = HashMap::new();
        let (mut under_way, mut late) = (0, 0);
        for call_id in calls {
            if under_way == WINDOW {
                late += self.receive_next(&mut arrived);
                under_way -= 1;
            }
            let number = sent.entry(call_id).or_default();
            *number += 1;
            self.sender.send_to(&self.message(call_id, *number), self.listener).expect("the socket takes it");
            under_way += 1;
        }
        late += (0..under_way).map(|_| self.receive_next(&mut arrived)).sum::<usize>();
        assert_eq!(arrived.len(), sent.len(), "all calls arrived");
        late
    }

    fn message(&self, call_id: &str, number: u32) -> Vec<u8> {
        let message = self.request.to_string();
        message.replace("CALL", call_id).replace("CSeq: 1 ", &format!("CSeq: {number} ")).into_bytes()
    }

    /// 1 if what came next is late.
    fn receive_next(&self, arrived: &mut HashMap<String, u32>) -> usize {
        let mut buffer = [0; 2_048];
        let (length, _) = receive(&self.receiver, &mut buffer).expect("each message arrives in time");
        let message = Message::parse(&buffer[..length]);
        let last = arrived.entry(message.call_id().to_owned()).or_default();
        let number = message.cseq().0;
        let is_late = number < *last;
        *last = number.max(*last);
        usize::from(is_late)
    }

    fn received_by_worker(&self) -> Vec<u64> {
        self.node.workers().iter().map(|worker| worker.get("received")).collect()
    }
}
