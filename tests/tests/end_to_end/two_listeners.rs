//! Calls that enter a node by one listener and leave it by another: double Record-Route (RFC 5658).

use std::net::IpAddr;

use crate::harness::crossing::Hop;
use crate::harness::node::{DOMAIN, KEY, NodeConfig};
use crate::harness::ports::{IPV4, IPV4_SECOND, IPV6, free_address};
use crate::harness::sipp::{CALL, CALLEE_HANGS_UP, CANCEL, Flow};
use crate::harness::trial::Trial;

#[test]
fn call_over_ipv4() {
    crosses_two_listeners(CALL, IPV4, IPV4_SECOND);
}

#[test]
fn callee_hangs_up_over_ipv4() {
    crosses_two_listeners(CALLEE_HANGS_UP, IPV4, IPV4_SECOND);
}

#[test]
fn cancel_over_ipv4() {
    crosses_two_listeners(CANCEL, IPV4, IPV4_SECOND);
}

#[test]
fn call_over_ipv6() {
    crosses_two_listeners(CALL, IPV6, IPV6);
}

#[test]
fn call_from_ipv4_to_ipv6() {
    crosses_two_listeners(CALL, IPV4, IPV6);
}

#[test]
fn callee_hangs_up_from_ipv6_to_ipv4() {
    crosses_two_listeners(CALLEE_HANGS_UP, IPV6, IPV4);
}

#[test]
fn call_through_two_nodes_of_two_listeners() {
    crosses_two_nodes_of_two_listeners(CALL);
}

#[test]
fn callee_hangs_up_through_two_nodes_of_two_listeners() {
    crosses_two_nodes_of_two_listeners(CALLEE_HANGS_UP);
}

fn crosses_two_listeners(flow: Flow, public: IpAddr, core: IpAddr) {
    let Some(trial) = Trial::between(flow, public, core) else {
        return;
    };
    let (public, core) = (free_address(public), free_address(core));
    let rule = format!("host = \"{DOMAIN}\"\nnext_hop = \"{}\"\negress = \"core\"", trial.callee);
    let config = NodeConfig::new("a", KEY).listener("public", public).listener("core", core).rule(&rule);
    let node = trial.start(&config);
    let hop = Hop::Node { toward_callee: core, toward_caller: public };
    trial.call_domain(public, vec![hop], vec![node]);
}

/// Two pairs in one route set: each node pops its own two values and leaves the other's.
fn crosses_two_nodes_of_two_listeners(flow: Flow) {
    let Some(trial) = Trial::between(flow, IPV4, IPV4) else {
        return;
    };
    let [public_a, core_a] = [IPV4, IPV4_SECOND].map(free_address);
    let [core_b, public_b] = [IPV4_SECOND, IPV4].map(free_address);
    let rule_a =
        format!("listener = \"public\"\nhost = \"{DOMAIN}\"\nnext_hop = \"{core_b}\"\negress = \"core\"");
    let rule_b = format!(
        "listener = \"core\"\nhost = \"{DOMAIN}\"\nnext_hop = \"{}\"\negress = \"public\"",
        trial.callee
    );
    let config_a = NodeConfig::new("a", KEY).listener("public", public_a).listener("core", core_a);
    let config_b = NodeConfig::new("b", KEY).listener("public", public_b).listener("core", core_b);
    let nodes = vec![trial.start(&config_a.rule(&rule_a)), trial.start(&config_b.rule(&rule_b))];
    let hops = vec![
        Hop::Node { toward_callee: core_a, toward_caller: public_a },
        Hop::Node { toward_callee: public_b, toward_caller: core_b },
    ];
    trial.call_domain(public_a, hops, nodes);
}
