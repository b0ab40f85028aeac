//! Nobody is trusted: what a rule takes works to the end of the dialog, and nothing else goes anywhere.

use std::net::SocketAddr;

use crate::harness::crossing::Hop;
use crate::harness::message::{Field, Message, Param, RouteValue};
use crate::harness::node::{Counters, DOMAIN, KEY, Node, NodeConfig};
use crate::harness::phone::Phone;
use crate::harness::sipp::{BUSY, CALL, CALLEE_HANGS_UP, CANCEL, Flow};
use crate::harness::site::{CORE_IPV4, PUBLIC_IPV4, PUBLIC_IPV6, Place, Site};
use crate::harness::trial::Trial;

#[test]
fn call_over_ipv4() {
    crosses(CALL, PUBLIC_IPV4);
}

#[test]
fn call_over_ipv6() {
    crosses(CALL, PUBLIC_IPV6);
}

#[test]
fn callee_hangs_up() {
    crosses(CALLEE_HANGS_UP, PUBLIC_IPV4);
}

#[test]
fn cancel() {
    crosses(CANCEL, PUBLIC_IPV4);
}

#[test]
fn busy() {
    crosses(BUSY, PUBLIC_IPV4);
}

#[test]
fn call_across_two_listeners() {
    crosses_two_listeners(CALL);
}

#[test]
fn callee_hangs_up_across_two_listeners() {
    crosses_two_listeners(CALLEE_HANGS_UP);
}

fn crosses(flow: Flow, place: Place) {
    let Some(trial) = Trial::of(flow, place) else {
        return;
    };
    let listener = trial.site.node("a", place);
    let node = trial.start(&distrustful(listener).next_hop(trial.callee));
    trial.call_domain(listener, vec![Hop::node(listener)], vec![node]);
}

fn crosses_two_listeners(flow: Flow) {
    let Some(trial) = Trial::between(flow, PUBLIC_IPV4, CORE_IPV4) else {
        return;
    };
    let [public, core] = [PUBLIC_IPV4, CORE_IPV4].map(|place| trial.site.node("a", place));
    let node = trial.start(&distrustful(public).listener("core", core).next_hop_by("core", trial.callee));
    let hop = Hop::Node { toward_callee: core, toward_caller: public };
    trial.call_domain(public, vec![hop], vec![node]);
}

fn distrustful(listener: SocketAddr) -> NodeConfig {
    NodeConfig::new("a", KEY).trusting_nobody().listener("public", listener)
}

#[test]
fn pre_loaded_route_is_refused() {
    let Some(scene) = Scene::open() else {
        return;
    };
    let request = scene.caller.request("INVITE", &domain_uri(), "pre-loaded");
    let route = format!("sip:{};lr", scene.callee.address);
    scene.assert_refused(&request.with_route(&route));
    let counters = scene.stop();
    assert_eq!(counters.get("replied{route_forbidden}"), 1, "{counters:#?}");
}

/// The node's own Route on top of a foreign one is no better.
#[test]
fn pre_loaded_route_behind_an_own_one_is_refused() {
    let Some(scene) = Scene::open() else {
        return;
    };
    let request = scene.caller.request("INVITE", &domain_uri(), "pre-loaded");
    let foreign = format!("sip:{};lr", scene.callee.address);
    let own = format!("sip:{};lr", scene.listener);
    scene.assert_refused(&request.with_route(&foreign).with_route(&own));
    let counters = scene.stop();
    assert_eq!(counters.get("replied{route_forbidden}"), 1, "{counters:#?}");
}

#[test]
fn foreign_request_uri_is_refused() {
    let Some(scene) = Scene::open() else {
        return;
    };
    let request = scene.caller.request("INVITE", &scene.callee.uri(), "relay");
    scene.assert_refused(&request);
    let counters = scene.stop();
    assert_eq!(counters.get("replied{relay_forbidden}"), 1, "{counters:#?}");
}

/// A To tag alone does not make a dialog.
#[test]
fn made_up_dialog_is_refused() {
    let Some(scene) = Scene::open() else {
        return;
    };
    let bye = scene.caller.request("BYE", &scene.callee.uri(), "made-up").with_to_tag("made-up");
    scene.assert_refused(&bye);
    scene.assert_refused(&bye.with_route(&format!("sip:{};lr", scene.listener)));
    scene.stop();
}

/// The seal of a Record-Route opens the way for its own dialog, unchanged, and for nothing else.
#[test]
fn tampered_seal_is_refused() {
    let Some(scene) = Scene::open() else {
        return;
    };
    let sealed = scene.record_route_of("sealed");
    let bye = |call_id: &str| scene.caller.request("BYE", &scene.callee.uri(), call_id).with_to_tag("to");

    scene.caller.send(&bye("sealed").with_route(&sealed.uri), scene.listener);
    assert_eq!(scene.callee.receive().start_line, bye("sealed").start_line, "the sealed Route is good");

    let tampered = tampered_uris(&sealed);
    assert!(!tampered.is_empty(), "the Record-Route is sealed: {}", sealed.uri);
    for uri in &tampered {
        scene.assert_refused(&bye("sealed").with_route(uri));
    }
    scene.assert_refused(&bye("another-call").with_route(&sealed.uri));
    let counters = scene.stop();
    assert_eq!(counters.get("forwarded_requests"), 2, "INVITE and one BYE: {counters:#?}");
}

/// The INVITE is refused; its ACK repeats the To tag of the refusal, is known by it and goes nowhere.
#[test]
fn ack_for_a_refusal_is_absorbed() {
    let Some(scene) = Scene::open() else {
        return;
    };
    let route = format!("sip:{};lr", scene.callee.address);
    let invite = scene.caller.request("INVITE", &domain_uri(), "refused").with_route(&route);
    let refusal = scene.assert_refused(&invite);
    scene.caller.send(&ack_for(&invite, &refusal), scene.listener);
    scene.callee.assert_silence();
    scene.caller.assert_silence();
    let counters = scene.stop();
    assert_eq!(counters.get("absorbed{ack_of_own_reply}"), 1, "{counters:#?}");
}

/// The ACK that the caller's transaction sends for a non-2xx (RFC 3261 17.1.1.3): the INVITE's
/// Request-URI, topmost Via and Route, the response's To.
fn ack_for(invite: &Message, response: &Message) -> Message {
    let mut ack = invite.clone().with_method("ACK");
    let to = ack.fields.iter_mut().find(|field| field.is("To")).expect("a To");
    *to = Field::new("To", response.value("To").expect("a To"));
    ack
}

/// The URI with the last character of one parameter's value changed, for every parameter that is not
/// defined elsewhere: together they are the seal.
fn tampered_uris(route: &RouteValue) -> Vec<String> {
    let is_seal =
        |(name, value): &&Param| value.is_some() && !["lr", "r2", "transport"].contains(&name.as_str());
    let tampered = route.params.iter().filter(is_seal).map(|(name, value)| {
        let value = value.as_deref().unwrap_or_default();
        let (kept, last) = value.split_at(value.len() - 1);
        let other = if last == "0" { "1" } else { "0" };
        route.uri.replace(&format!("{name}={value}"), &format!("{name}={kept}{other}"))
    });
    tampered.collect()
}

fn domain_uri() -> String {
    format!("sip:callee@{DOMAIN}")
}

/// A node that trusts nobody and sends what is for its domain to the callee.
struct Scene {
    caller: Phone,
    callee: Phone,
    listener: SocketAddr,
    node: Node,
    _site: Site,
}

impl Scene {
    /// `None` where the site cannot be had.
    fn open() -> Option<Self> {
        let site = Site::open(&[PUBLIC_IPV4])?;
        let [caller, callee] = [PUBLIC_IPV4; 2].map(|place| Phone::new(&site, place));
        let listener = site.node("a", PUBLIC_IPV4);
        let node = Node::start(&site, &distrustful(listener).next_hop(callee.address));
        Some(Self { caller, callee, listener, node, _site: site })
    }

    /// The caller gets a 403, and the callee nothing.
    fn assert_refused(&self, request: &Message) -> Message {
        self.caller.send(request, self.listener);
        let response = self.caller.receive();
        assert_eq!(response.status(), Some(403), "refused:\n{request}\n{response}");
        self.callee.assert_silence();
        response
    }

    /// Lets an INVITE cross and takes the Record-Route that the callee got.
    fn record_route_of(&self, call_id: &str) -> RouteValue {
        self.caller.send(&self.caller.request("INVITE", &domain_uri(), call_id), self.listener);
        let invite = self.callee.receive();
        let values = invite.route_values("Record-Route");
        assert_eq!(values.len(), 1, "one Record-Route:\n{invite}");
        values[0].clone()
    }

    fn stop(self) -> Counters {
        let counters = self.node.stop();
        counters.assert_clean();
        counters
    }
}
