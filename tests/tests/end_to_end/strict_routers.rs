//! Calls with a strict router (RFC 2543) in the path, before or behind the node as the caller sees it.
//!
//! The strict router fails the test when a request inside a dialog does not name it in the Request-URI:
//! so a node that sends to it must have rewritten the request as RFC 3261 16.6 step 6 says. What it
//! sends on names the node in the Request-URI, and the node must undo that (16.4).

use std::net::SocketAddr;

use crate::harness::crossing::Hop;
use crate::harness::node::{KEY, NodeConfig};
use crate::harness::sipp::{CALL, CALLEE_HANGS_UP, CALLS, CANCEL, Flow};
use crate::harness::site::{CORE_IPV4, PUBLIC_IPV4, PUBLIC_IPV6, Place, Site};
use crate::harness::strict_router::StrictRouter;
use crate::harness::trial::Trial;

/// 16.6 step 6: the ACKs, the re-INVITE and the BYE of the caller cross the node first.
#[test]
fn call_with_a_strict_router_behind_the_node() {
    strict_router_behind(ONE_LISTENER, CALL);
}

#[test]
fn call_with_a_strict_router_behind_the_node_over_ipv6() {
    strict_router_behind(ONE_LISTENER_IPV6, CALL);
}

/// 16.4: the re-INVITE, the ACK and the BYE of the callee cross the strict router first.
#[test]
fn callee_hangs_up_with_a_strict_router_behind_the_node() {
    strict_router_behind(ONE_LISTENER, CALLEE_HANGS_UP);
}

#[test]
fn cancel_with_a_strict_router_behind_the_node() {
    strict_router_behind(ONE_LISTENER, CANCEL);
}

/// 16.4 with a pair: one value of it is in the Request-URI, the other is left in the Route.
#[test]
fn callee_hangs_up_with_a_strict_router_behind_two_listeners() {
    strict_router_behind(TWO_LISTENERS, CALLEE_HANGS_UP);
}

/// 16.4: the ACKs, the re-INVITE and the BYE of the caller cross the strict router first.
#[test]
fn call_with_a_strict_router_before_the_node() {
    strict_router_before(ONE_LISTENER, CALL);
}

/// 16.6 step 6: the re-INVITE, the ACK and the BYE of the callee cross the node first.
#[test]
fn callee_hangs_up_with_a_strict_router_before_the_node() {
    strict_router_before(ONE_LISTENER, CALLEE_HANGS_UP);
}

#[test]
fn callee_hangs_up_with_a_strict_router_before_the_node_over_ipv6() {
    strict_router_before(ONE_LISTENER_IPV6, CALLEE_HANGS_UP);
}

/// 16.4 with a pair: one value of it is in the Request-URI, the other is left in the Route.
#[test]
fn call_with_a_strict_router_before_two_listeners() {
    strict_router_before(TWO_LISTENERS, CALL);
}

/// Where the listeners of the node are: on the caller's side, on the callee's.
type Sides = (Place, Place);

const ONE_LISTENER: Sides = (PUBLIC_IPV4, PUBLIC_IPV4);
const ONE_LISTENER_IPV6: Sides = (PUBLIC_IPV6, PUBLIC_IPV6);
const TWO_LISTENERS: Sides = (PUBLIC_IPV4, CORE_IPV4);

fn strict_router_behind(sides: Sides, flow: Flow) {
    let Some(trial) = Trial::between(flow, sides.0, sides.1) else {
        return;
    };
    let listeners = Listeners::new(&trial.site, sides);
    let strict_router = StrictRouter::start(&trial.site, sides.1, trial.callee);
    let nodes = vec![trial.start(&listeners.config(strict_router.address))];
    let hops = vec![listeners.hop(), Hop::StrictRouter(strict_router.address)];
    trial.call_domain(listeners.public, hops, nodes);
    assert_followed_routes(strict_router, flow);
}

fn strict_router_before(sides: Sides, flow: Flow) {
    let Some(trial) = Trial::between(flow, sides.0, sides.1) else {
        return;
    };
    let listeners = Listeners::new(&trial.site, sides);
    let strict_router = StrictRouter::start(&trial.site, sides.0, listeners.public);
    let nodes = vec![trial.start(&listeners.config(trial.callee))];
    let hops = vec![Hop::StrictRouter(strict_router.address), listeners.hop()];
    trial.call_domain(strict_router.address, hops, nodes);
    assert_followed_routes(strict_router, flow);
}

/// Every request inside a dialog named the strict router in its Request-URI: in each whole call two
/// ACKs, the re-INVITE and the BYE; when the caller gives up, none.
fn assert_followed_routes(strict_router: StrictRouter, flow: Flow) {
    let in_each_call = if flow == CANCEL { 0 } else { 4 };
    let seen = strict_router.stop();
    assert!(seen.in_dialog >= in_each_call * CALLS, "requests inside dialogs: {seen:?}");
}

/// The listeners of the node: requests of the caller come in by the first and leave by the second.
#[derive(Clone, Copy)]
struct Listeners {
    public: SocketAddr,
    core: SocketAddr,
}

impl Listeners {
    fn new(site: &Site, (caller_side, callee_side): Sides) -> Self {
        let public = site.node("a", caller_side);
        let core = if callee_side == caller_side { public } else { site.node("a", callee_side) };
        Self { public, core }
    }

    fn config(self, next_hop: SocketAddr) -> NodeConfig {
        let config = NodeConfig::new("a", KEY).listener("public", self.public);
        if self.core == self.public {
            return config.next_hop(next_hop);
        }
        config.listener("core", self.core).next_hop_by("core", next_hop)
    }

    fn hop(self) -> Hop {
        Hop::Node { toward_callee: self.core, toward_caller: self.public }
    }
}
