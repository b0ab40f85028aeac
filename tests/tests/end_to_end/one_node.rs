//! Calls across one node, and requests that the node answers itself.

use std::time::Duration;

use crate::harness::crossing::Hop;
use crate::harness::message::Message;
use crate::harness::node::{KEY, Node, NodeConfig};
use crate::harness::requirements;
use crate::harness::sipp::{BUSY, CALL, CALLEE_HANGS_UP, CANCEL, Calls, Flow, OPTIONS, REGISTRATION};
use crate::harness::site::{PUBLIC_IPV4, PUBLIC_IPV6, Place, Site};
use crate::harness::trace::by_call;
use crate::harness::trial::Trial;

#[test]
fn call_over_ipv4() {
    crosses_by_rule(CALL, PUBLIC_IPV4);
}

#[test]
fn call_over_ipv6() {
    crosses_by_rule(CALL, PUBLIC_IPV6);
}

#[test]
fn callee_hangs_up_over_ipv4() {
    crosses_by_rule(CALLEE_HANGS_UP, PUBLIC_IPV4);
}

#[test]
fn callee_hangs_up_over_ipv6() {
    crosses_by_rule(CALLEE_HANGS_UP, PUBLIC_IPV6);
}

#[test]
fn cancel_over_ipv4() {
    crosses_by_rule(CANCEL, PUBLIC_IPV4);
}

#[test]
fn cancel_over_ipv6() {
    crosses_by_rule(CANCEL, PUBLIC_IPV6);
}

#[test]
fn busy_over_ipv4() {
    crosses_by_rule(BUSY, PUBLIC_IPV4);
}

#[test]
fn busy_over_ipv6() {
    crosses_by_rule(BUSY, PUBLIC_IPV6);
}

#[test]
fn registration() {
    crosses_by_rule(REGISTRATION, PUBLIC_IPV4);
}

#[test]
fn options() {
    crosses_by_rule(OPTIONS, PUBLIC_IPV4);
}

#[test]
fn call_to_the_request_uri_over_ipv4() {
    crosses_to_request_uri(CALL, PUBLIC_IPV4);
}

#[test]
fn cancel_to_the_request_uri_over_ipv6() {
    crosses_to_request_uri(CANCEL, PUBLIC_IPV6);
}

#[test]
fn options_to_the_node_over_ipv4() {
    node_answers_options(PUBLIC_IPV4);
}

#[test]
fn options_to_the_node_over_ipv6() {
    node_answers_options(PUBLIC_IPV6);
}

/// A rule sends what is for the domain to the one member of a target set.
fn crosses_by_rule(flow: Flow, place: Place) {
    let Some(trial) = Trial::of(flow, place) else {
        return;
    };
    let listener = trial.site.node("a", place);
    let config = NodeConfig::new("a", KEY).listener("public", listener).target_set(trial.callee);
    let node = trial.start(&config);
    trial.call_domain(listener, vec![Hop::node(listener)], vec![node]);
}

/// No rule: the caller is trusted, so its requests go where their Request-URI says.
fn crosses_to_request_uri(flow: Flow, place: Place) {
    let Some(trial) = Trial::of(flow, place) else {
        return;
    };
    let listener = trial.site.node("a", place);
    let node = trial.start(&NodeConfig::new("a", KEY).listener("public", listener));
    let request_uri = format!("sip:callee@{}", trial.callee);
    trial.call(&request_uri, listener, vec![Hop::node(listener)], vec![node]);
}

/// The node itself answers an OPTIONS whose Request-URI names it and has no user part.
fn node_answers_options(place: Place) {
    const COUNT: usize = 20;
    if !requirements::sipp() {
        return;
    }
    let Some(site) = Site::open(&[place]) else {
        return;
    };
    let (caller, callee, listener) = (site.end(place), site.end(place), site.node("a", place));
    let node = Node::start(&site, &NodeConfig::new("a", KEY).listener("public", listener));
    let calls = Calls {
        flow: OPTIONS,
        count: COUNT,
        rate: site.variant.call_rate,
        caller,
        callee,
        first_hop: listener,
        request_uri: format!("sip:{listener}"),
        pause: Duration::ZERO,
        linger: Duration::ZERO,
    };
    let trace = calls.start_caller(site.scratch()).finish(COUNT);
    assert_eq!(trace.received.len(), trace.sent.len(), "one answer for each request");
    let (requests, responses) = (by_call(&trace.sent), by_call(&trace.received));
    assert_eq!(requests.len(), COUNT, "each request is a call");
    for (call_id, request) in &requests {
        let (request, response) =
            (request.values().next(), responses.get(call_id).and_then(|r| r.values().next()));
        assert_answers_options(request.expect("a request"), response.expect("an answer to each request"));
    }
    let counters = node.stop();
    counters.assert_clean();
    assert_eq!(counters.get("replied{options}"), counters.get("received"), "{counters:#?}");
}

/// 200, built as RFC 3261 8.2.6 says, with what 11.2 asks for.
fn assert_answers_options(request: &Message, response: &Message) {
    assert_eq!(response.start_line, "SIP/2.0 200 OK");
    for copied in ["From", "Call-ID", "CSeq"] {
        assert_eq!(response.value(copied), request.value(copied), "{copied} is copied:\n{response}");
    }
    for present in ["Allow", "Accept", "Supported"] {
        assert!(response.value(present).is_some(), "{present} is there:\n{response}");
    }
    let (via, of_request) = (&response.vias()[0], &request.vias()[0]);
    assert_eq!(response.vias().len(), 1, "only the sender's Via:\n{response}");
    assert_eq!(via.params_of_sender(), of_request.params_of_sender(), "its parameters are kept:\n{response}");
    assert!(via.param("rport").flatten().is_some(), "rport is filled:\n{response}");
    assert!(response.has_to_tag(), "To got a tag:\n{response}");
    assert_eq!(response.value("Content-Length"), Some("0"), "no body:\n{response}");
}
