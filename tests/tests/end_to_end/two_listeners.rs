//! Calls that enter a node by one listener and leave it by another: double Record-Route (RFC 5658).

use crate::harness::crossing::Hop;
use crate::harness::node::{DOMAIN, KEY, NodeConfig};
use crate::harness::sipp::{CALL, CALLEE_HANGS_UP, CANCEL, Flow};
use crate::harness::site::{CORE_IPV4, CORE_IPV6, PUBLIC_IPV4, PUBLIC_IPV6, Place};
use crate::harness::trial::Trial;

#[test]
fn call_over_ipv4() {
    crosses_two_listeners(CALL, PUBLIC_IPV4, CORE_IPV4);
}

#[test]
fn callee_hangs_up_over_ipv4() {
    crosses_two_listeners(CALLEE_HANGS_UP, PUBLIC_IPV4, CORE_IPV4);
}

#[test]
fn cancel_over_ipv4() {
    crosses_two_listeners(CANCEL, PUBLIC_IPV4, CORE_IPV4);
}

#[test]
fn call_over_ipv6() {
    crosses_two_listeners(CALL, PUBLIC_IPV6, CORE_IPV6);
}

#[test]
fn call_from_ipv4_to_ipv6() {
    crosses_two_listeners(CALL, PUBLIC_IPV4, CORE_IPV6);
}

#[test]
fn callee_hangs_up_from_ipv6_to_ipv4() {
    crosses_two_listeners(CALLEE_HANGS_UP, PUBLIC_IPV6, CORE_IPV4);
}

#[test]
fn call_through_two_nodes_of_two_listeners() {
    crosses_two_nodes_of_two_listeners(CALL);
}

#[test]
fn callee_hangs_up_through_two_nodes_of_two_listeners() {
    crosses_two_nodes_of_two_listeners(CALLEE_HANGS_UP);
}

fn crosses_two_listeners(flow: Flow, public: Place, core: Place) {
    let Some(trial) = Trial::between(flow, public, core) else {
        return;
    };
    let [public, core] = [public, core].map(|place| trial.site.node("a", place));
    let config = NodeConfig::new("a", KEY).listener("public", public).listener("core", core);
    let node = trial.start(&config.next_hop_by("core", trial.callee));
    let hop = Hop::Node { toward_callee: core, toward_caller: public };
    trial.call_domain(public, vec![hop], vec![node]);
}

/// Two pairs in one route set: each node pops its own two values and leaves the other's.
fn crosses_two_nodes_of_two_listeners(flow: Flow) {
    let Some(trial) = Trial::of(flow, PUBLIC_IPV4) else {
        return;
    };
    let [public_a, core_a] = [PUBLIC_IPV4, CORE_IPV4].map(|place| trial.site.node("a", place));
    let [core_b, public_b] = [CORE_IPV4, PUBLIC_IPV4].map(|place| trial.site.node("b", place));
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
