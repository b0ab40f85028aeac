//! Calls across two nodes in a row. Both put a Record-Route into the first request, and each pops its own.

use crate::harness::crossing::Hop;
use crate::harness::node::{KEY, NodeConfig, OTHER_KEY};
use crate::harness::sipp::{BUSY, CALL, CALLEE_HANGS_UP, CANCEL, Flow};
use crate::harness::site::{PUBLIC_IPV4, PUBLIC_IPV6, Place};
use crate::harness::trial::Trial;

#[test]
fn call_with_one_key_over_ipv4() {
    crosses_two_nodes(CALL, PUBLIC_IPV4, [KEY, KEY]);
}

#[test]
fn call_with_one_key_over_ipv6() {
    crosses_two_nodes(CALL, PUBLIC_IPV6, [KEY, KEY]);
}

#[test]
fn call_with_two_keys() {
    crosses_two_nodes(CALL, PUBLIC_IPV4, [KEY, OTHER_KEY]);
}

#[test]
fn callee_hangs_up_with_one_key() {
    crosses_two_nodes(CALLEE_HANGS_UP, PUBLIC_IPV4, [KEY, KEY]);
}

#[test]
fn callee_hangs_up_with_two_keys_over_ipv6() {
    crosses_two_nodes(CALLEE_HANGS_UP, PUBLIC_IPV6, [KEY, OTHER_KEY]);
}

#[test]
fn cancel_with_one_key() {
    crosses_two_nodes(CANCEL, PUBLIC_IPV4, [KEY, KEY]);
}

#[test]
fn busy_with_two_keys() {
    crosses_two_nodes(BUSY, PUBLIC_IPV4, [KEY, OTHER_KEY]);
}

fn crosses_two_nodes(flow: Flow, place: Place, [first_key, second_key]: [&'static str; 2]) {
    let Some(trial) = Trial::of(flow, place) else {
        return;
    };
    let [first, second] = ["a", "b"].map(|name| trial.site.node(name, place));
    let first_config = NodeConfig::new("a", first_key).listener("public", first).next_hop(second);
    let second_config = NodeConfig::new("b", second_key).listener("public", second).target_set(trial.callee);
    let nodes = vec![trial.start(&first_config), trial.start(&second_config)];
    trial.call_domain(first, vec![Hop::node(first), Hop::node(second)], nodes);
}
