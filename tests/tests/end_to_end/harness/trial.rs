//! A trial: SIPp calls through the nodes under test, every message checked where it arrives, and every
//! node's counters checked at the end.

use std::net::SocketAddr;
use std::time::Duration;

use super::crossing::{Hop, Path};
use super::node::{Counters, DOMAIN, Node, NodeConfig};
use super::requirements;
use super::sipp::{CALLS, Calls, Ends, Flow};
use super::site::{Place, Site};

/// The two ends, before anything runs between them.
#[derive(Debug)]
pub(crate) struct Trial {
    flow: Flow,
    /// Where it takes place.
    pub(crate) site: Site,
    /// The caller's address.
    pub(crate) caller: SocketAddr,
    /// The callee's address.
    pub(crate) callee: SocketAddr,
}

impl Trial {
    /// A trial with both ends in one place; `None` where what it needs is missing.
    pub(crate) fn of(flow: Flow, place: Place) -> Option<Self> {
        Self::between(flow, place, place)
    }

    /// A trial between a caller and a callee; `None` where what it needs is missing.
    pub(crate) fn between(flow: Flow, caller: Place, callee: Place) -> Option<Self> {
        if !requirements::sipp() {
            return None;
        }
        let site = Site::open(&[caller, callee])?;
        let (caller, callee) = (site.end(caller), site.end(callee));
        Some(Self { flow, site, caller, callee })
    }

    /// Starts a node.
    pub(crate) fn start(&self, config: &NodeConfig) -> Node {
        Node::start(&self.site, config)
    }

    /// Calls [`DOMAIN`] by way of `first_hop`, checks what crossed `hops`, stops the nodes and checks
    /// that they forwarded all of it and nothing else.
    pub(crate) fn call_domain(self, first_hop: SocketAddr, hops: Vec<Hop>, nodes: Vec<Node>) {
        self.call(&format!("sip:callee@{DOMAIN}"), first_hop, hops, nodes);
    }

    /// As [`Self::call_domain`], with another Request-URI.
    pub(crate) fn call(self, request_uri: &str, first_hop: SocketAddr, hops: Vec<Hop>, nodes: Vec<Node>) {
        let ends = self.calls(request_uri, first_hop).run(self.site.scratch());
        Path { caller: self.caller, callee: self.callee, hops }.check(self.flow, &ends);
        for node in nodes {
            assert_forwarded(&node.stop(), &ends);
        }
    }

    /// As [`Self::call_domain`], with a node that is stopped and started again when every dialog stands
    /// and none has ended.
    /// `last_before_pause` is what the callee gets last before the calls pause.
    pub(crate) fn call_across_restart(
        self,
        listener: SocketAddr,
        config: &NodeConfig,
        last_before_pause: &str,
    ) {
        let mut calls = self.calls(&format!("sip:callee@{DOMAIN}"), listener);
        calls.pause = Duration::from_secs(3);
        let first = self.start(config);
        let mut callee = calls.start_callee(self.site.scratch());
        let caller = calls.start_caller(self.site.scratch());
        callee.wait_until_received(last_before_pause, CALLS);
        let before = first.stop();
        let second = self.start(config);
        let ends = Ends { caller: caller.finish(CALLS), callee: callee.finish(CALLS) };
        let after = second.stop();
        let path = Path { caller: self.caller, callee: self.callee, hops: vec![Hop::node(listener)] };
        path.check(self.flow, &ends);
        before.assert_clean();
        after.assert_clean();
        let byes = u64::try_from(CALLS).expect("a small number");
        assert!(after.get("forwarded_requests") >= byes, "the second node forwarded the BYEs: {after:#?}");
    }

    fn calls(&self, request_uri: &str, first_hop: SocketAddr) -> Calls {
        Calls {
            flow: self.flow,
            count: CALLS,
            rate: self.site.variant.call_rate,
            caller: self.caller,
            callee: self.callee,
            first_hop,
            request_uri: request_uri.to_owned(),
            pause: Duration::ZERO,
            linger: Duration::ZERO,
        }
    }
}

/// The node forwarded what both ends sent, as often as they sent it.
fn assert_forwarded(counters: &Counters, ends: &Ends) {
    counters.assert_clean();
    let (requests, responses) = ends.sent();
    assert_eq!(counters.get("forwarded_requests"), requests, "requests forwarded: {counters:#?}");
    assert_eq!(counters.get("forwarded_responses"), responses, "responses forwarded: {counters:#?}");
}
