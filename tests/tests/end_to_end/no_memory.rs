//! A node has no memory but the message: the same request gives the same bytes, and a node that was
//! started again carries on with every dialog.

use crate::harness::message::Message;
use crate::harness::node::{DOMAIN, KEY, Node, NodeConfig};
use crate::harness::phone::Phone;
use crate::harness::sipp::{CALL, CALLEE_HANGS_UP, Flow};
use crate::harness::site::{PUBLIC_IPV4, PUBLIC_IPV6, Place, Site};
use crate::harness::trial::Trial;

#[test]
fn restart_in_the_middle_of_calls_over_ipv4() {
    restart_in_the_middle_of_calls(CALL, PUBLIC_IPV4, "ACK 2");
}

#[test]
fn restart_before_the_callee_hangs_up_over_ipv6() {
    restart_in_the_middle_of_calls(CALLEE_HANGS_UP, PUBLIC_IPV6, "200 INVITE 1");
}

fn restart_in_the_middle_of_calls(flow: Flow, place: Place, last_before_pause: &str) {
    let Some(trial) = Trial::of(flow, place) else {
        return;
    };
    let listener = trial.site.node("a", place);
    let config = NodeConfig::new("a", KEY).listener("public", listener).target_set(trial.callee);
    trial.call_across_restart(listener, &config, last_before_pause);
}

/// A retransmission gives the same bytes; so does the node after a restart, and so does the answer on
/// its way back.
#[test]
fn same_request_same_bytes() {
    let Some(site) = Site::open(&[PUBLIC_IPV4]) else {
        return;
    };
    let [caller, callee] = [PUBLIC_IPV4; 2].map(|place| Phone::new(&site, place));
    let listener = site.node("a", PUBLIC_IPV4);
    let config = NodeConfig::new("a", KEY).listener("public", listener).next_hop(callee.address);
    let invite = caller.request("INVITE", &format!("sip:callee@{DOMAIN}"), "again");
    let mut crossed = Vec::new();
    for _ in ["before the restart", "after the restart"] {
        let node = Node::start(&site, &config);
        for _ in ["first", "retransmission"] {
            caller.send(&invite, listener);
            let request = callee.receive_datagram();
            let ringing =
                Message::response_to(&Message::parse(&request), "180 Ringing").with_to_tag("ringing");
            callee.send(&ringing, listener);
            crossed.push((request, caller.receive_datagram()));
        }
        node.stop().assert_clean();
    }
    for again in &crossed[1..] {
        assert_eq!(Message::parse(&again.0), Message::parse(&crossed[0].0), "the same request");
        assert_eq!(Message::parse(&again.1), Message::parse(&crossed[0].1), "the same response");
    }
}

/// 16.11: the branch depends on the message and on the key alone, so a CANCEL finds the INVITE's
/// transaction even when another node of the cluster forwards it.
#[test]
fn another_node_of_the_cluster_gives_the_same_branch() {
    let Some(site) = Site::open(&[PUBLIC_IPV4]) else {
        return;
    };
    let [caller, callee] = [PUBLIC_IPV4; 2].map(|place| Phone::new(&site, place));
    let invite = caller.request("INVITE", &format!("sip:callee@{DOMAIN}"), "cluster");
    let cancel = invite.clone().with_method("CANCEL");
    let branches = [("a", invite), ("b", cancel)].map(|(name, request)| {
        let listener = site.node(name, PUBLIC_IPV4);
        let config = NodeConfig::new(name, KEY).listener("public", listener).next_hop(callee.address);
        let node = Node::start(&site, &config);
        caller.send(&request, listener);
        let branch = callee.receive().vias()[0].branch().to_owned();
        node.stop().assert_clean();
        branch
    });
    assert_eq!(branches[0], branches[1]);
}
