//! What a message must look like after it crossed: every call's messages as one end sent them against
//! what the other end received.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::message::{Message, RouteValue, Via};
use super::sipp::{CALLS, Ends, Flow};
use super::trace::by_call;

/// Methods whose requests can create a dialog and get a Record-Route.
const DIALOG_METHODS: [&str; 4] = ["INVITE", "SUBSCRIBE", "REFER", "NOTIFY"];
/// The header fields that a proxy has business with in a request.
const ROUTED_FIELDS: [&str; 4] = ["Via", "Max-Forwards", "Route", "Record-Route"];

/// Something that messages cross.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hop {
    /// A sluice node, by the listeners that its requests leave from: to the callee, to the caller.
    Node {
        /// Requests to the callee leave from here.
        toward_callee: SocketAddr,
        /// Requests to the caller leave from here.
        toward_caller: SocketAddr,
    },
    /// A strict router.
    StrictRouter(SocketAddr),
}

impl Hop {
    /// A node with one listener.
    pub(crate) fn node(listener: SocketAddr) -> Self {
        Self::Node { toward_callee: listener, toward_caller: listener }
    }

    /// Where its requests leave from.
    fn egress(self, toward: Toward) -> SocketAddr {
        match (self, toward) {
            (Self::StrictRouter(address), _) => address,
            (Self::Node { toward_callee, .. }, Toward::Callee) => toward_callee,
            (Self::Node { toward_caller, .. }, Toward::Caller) => toward_caller,
        }
    }

    /// The Record-Route values it puts into the first request, topmost first.
    fn record_routes(self) -> Vec<Recorded> {
        match self {
            Self::StrictRouter(address) => vec![Recorded { address, loose: false, pair: false }],
            Self::Node { toward_callee, toward_caller } if toward_callee == toward_caller => {
                vec![Recorded { address: toward_callee, loose: true, pair: false }]
            }
            Self::Node { toward_callee, toward_caller } => [toward_callee, toward_caller]
                .map(|address| Recorded { address, loose: true, pair: true })
                .to_vec(),
        }
    }
}

/// What a Record-Route value must say.
#[derive(Clone, Copy, Debug)]
struct Recorded {
    address: SocketAddr,
    loose: bool,
    pair: bool,
}

impl Recorded {
    fn is(self, value: &RouteValue) -> bool {
        let pair = if self.pair { Some(Some("on")) } else { None };
        value.host_port == self.address.to_string()
            && value.param("lr").is_some() == self.loose
            && value.param("r2") == pair
    }
}

/// The end that a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Toward {
    Callee,
    Caller,
}

/// The way between caller and callee.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// The caller's address.
    pub(crate) caller: SocketAddr,
    /// The callee's address.
    pub(crate) callee: SocketAddr,
    /// What lies between, from the caller's side.
    pub(crate) hops: Vec<Hop>,
}

impl Path {
    /// Checks every message of every call at the end where it arrived.
    pub(crate) fn check(&self, flow: Flow, ends: &Ends) {
        let (caller_sent, caller_received) = (by_call(&ends.caller.sent), by_call(&ends.caller.received));
        let (callee_sent, callee_received) = (by_call(&ends.callee.sent), by_call(&ends.callee.received));
        assert_eq!(caller_sent.len(), CALLS, "calls that the caller made");
        assert!(caller_sent.keys().eq(callee_received.keys()), "both ends saw the same calls");
        for call_id in caller_sent.keys() {
            let to_callee = (&caller_sent[call_id], &callee_received[call_id]);
            let to_caller = (&callee_sent[call_id], &caller_received[call_id]);
            self.check_direction(Toward::Callee, flow.from_caller, to_callee, to_caller);
            self.check_direction(Toward::Caller, flow.from_callee, to_caller, to_callee);
        }
    }

    /// Checks the messages of one call in one direction; `back` is the other, in which their requests
    /// went that are responded to here.
    fn check_direction(&self, toward: Toward, keys: &[&str], there: Sides<'_>, back: Sides<'_>) {
        let (sent, received) = there;
        assert_same_keys(keys, sent, "sent");
        assert_same_keys(keys, received, "received");
        for (key, sent) in sent {
            let crossing = Crossing { path: self, toward, sent, received: &received[key] };
            if sent.is_request() {
                crossing.check_request();
            } else {
                let (number, method) = sent.cseq();
                let request = format!("{method} {number}");
                crossing.check_response(&back.0[&request]);
            }
        }
        check_branches(received, back.1);
    }

    /// The hops in the order that a message to that end crosses them.
    fn hops_toward(&self, toward: Toward) -> Vec<Hop> {
        match toward {
            Toward::Callee => self.hops.clone(),
            Toward::Caller => self.hops.iter().rev().copied().collect(),
        }
    }

    /// Where messages to that end come from.
    fn sender(&self, toward: Toward) -> SocketAddr {
        match toward {
            Toward::Callee => self.caller,
            Toward::Caller => self.callee,
        }
    }
}

/// The messages of one call in one direction by key: as sent, as received.
type Sides<'a> = (&'a BTreeMap<String, Message>, &'a BTreeMap<String, Message>);

fn assert_same_keys(expected: &[&str], messages: &BTreeMap<String, Message>, what: &str) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    let found: Vec<&str> = messages.keys().map(String::as_str).collect();
    assert_eq!(found, expected, "the messages of a call that were {what}");
}

/// CANCEL, and the ACK for a non-2xx, carry the INVITE's branch; everything else has its own
/// (RFC 3261 9.1, 17.1.1.3, 16.11). `finals` are the responses that the sender of the requests got.
fn check_branches(requests: &BTreeMap<String, Message>, finals: &BTreeMap<String, Message>) {
    let branch = |message: &Message| message.vias()[0].branch().to_owned();
    let mut seen = BTreeMap::new();
    for (key, request) in requests.iter().filter(|(_, message)| message.is_request()) {
        let (number, method) = request.cseq();
        let answered_2xx = finals.contains_key(&format!("200 INVITE {number}"));
        let of_the_invite = method == "CANCEL" || (method == "ACK" && !answered_2xx);
        if of_the_invite {
            let invite = &requests[&format!("INVITE {number}")];
            assert_eq!(
                branch(request),
                branch(invite),
                "{key} has the INVITE's branch:\n{request}\n{invite}"
            );
        } else if let Some(other) = seen.insert(branch(request), key) {
            panic!("{key} and {other} have the same branch:\n{request}");
        }
    }
}

/// One message at both ends.
struct Crossing<'a> {
    path: &'a Path,
    toward: Toward,
    sent: &'a Message,
    received: &'a Message,
}

impl Crossing<'_> {
    fn check_request(&self) {
        self.check_start_line();
        self.check_vias();
        self.check_max_forwards();
        self.check_record_routes();
        self.claim(self.received.values("Route").is_empty(), "no Route is left at the end");
        self.check_the_rest(&ROUTED_FIELDS);
    }

    /// The response carries the Via of the request as its sender wrote it, filled, and no other.
    fn check_response(&self, request: &Message) {
        self.claim(self.received.start_line == self.sent.start_line, "the status line is kept");
        let (vias, of_request) = (self.received.vias(), request.vias());
        self.claim(vias.len() == of_request.len(), "exactly the sender's own Via is left");
        let request_sender = match self.toward {
            Toward::Callee => self.path.callee,
            Toward::Caller => self.path.caller,
        };
        self.check_filled(&of_request[0], &vias[0], request_sender);
        self.check_the_rest(&["Via"]);
    }

    /// The method is kept; the Request-URI too, but where a strict router stood in its place the last
    /// Route value is the remote target.
    fn check_start_line(&self) {
        let names_strict_router = self.path.hops.iter().any(|hop| match hop {
            Hop::StrictRouter(address) => self.uri_names(self.sent.request_uri(), *address),
            Hop::Node { .. } => false,
        });
        let routes = self.sent.route_values("Route");
        let target = match routes.last() {
            Some(last) if names_strict_router => last.uri.as_str(),
            _ => self.sent.request_uri(),
        };
        let expected = format!("{} {target} SIP/2.0", self.sent.method());
        self.claim(self.received.start_line == expected, &format!("the request line is {expected}"));
    }

    fn uri_names(&self, uri: &str, address: SocketAddr) -> bool {
        RouteValue::parse(uri).host_port == address.to_string()
    }

    /// One Via more for every hop, the last hop's on top, and each filled by the hop above it.
    fn check_vias(&self) {
        let (sent, received) = (self.sent.vias(), self.received.vias());
        let hops = self.path.hops_toward(self.toward);
        self.claim(received.len() == sent.len() + hops.len(), "one Via more for every hop");
        for (hop, via) in hops.iter().rev().zip(&received) {
            let egress = hop.egress(self.toward).to_string();
            self.claim(via.sent_by == egress, &format!("a hop's Via says {egress}"));
            self.claim(via.branch().starts_with("z9hG4bK"), "a hop's branch begins with the magic cookie");
        }
        for (hop, via) in hops.iter().rev().zip(&received).skip(1) {
            let rport = hop.egress(self.toward).port().to_string();
            let filled = via.param("rport").is_none_or(|value| value == Some(rport.as_str()));
            self.claim(filled, "the next hop filled the rport of a hop");
        }
        self.check_filled(&sent[0], &received[hops.len()], self.path.sender(self.toward));
        self.claim(sent[1..] == received[hops.len() + 1..], "the Vias below the sender's are kept");
    }

    /// The sender's Via as the first hop must have filled it. Nothing else of it may change, and where
    /// nothing is to be filled not a byte of it.
    fn check_filled(&self, sent: &Via, received: &Via, source: SocketAddr) {
        let (want_received, want_rport) = sent.fill_from(source);
        if want_received.is_none() && want_rport.is_none() {
            self.claim(sent.text == received.text, "the sender's Via is kept byte for byte");
            return;
        }
        let got = |name: &str| received.param(name).flatten().map(str::to_owned);
        self.claim(got("received") == want_received, &format!("received is {want_received:?}"));
        self.claim(got("rport") == want_rport, &format!("rport is {want_rport:?}"));
        self.claim(sent.sent_by == received.sent_by, "the sender's sent-by is kept");
        self.claim(
            sent.params_of_sender() == received.params_of_sender(),
            "the sender's Via parameters are kept",
        );
    }

    fn check_max_forwards(&self) {
        let hops = u8::try_from(self.path.hops.len()).expect("a short path");
        let expected = self.sent.max_forwards().map(|value| value - hops);
        self.claim(self.received.max_forwards() == expected, "Max-Forwards is one less for every hop");
    }

    /// A request that creates a dialog brings the values of all hops, the last hop's on top; others
    /// bring none.
    fn check_record_routes(&self) {
        let records = DIALOG_METHODS.contains(&self.sent.method()) && !self.sent.has_to_tag();
        let expected: Vec<Recorded> = match records {
            true => self.path.hops.iter().rev().flat_map(|hop| hop.record_routes()).collect(),
            false => Vec::new(),
        };
        let received = self.received.route_values("Record-Route");
        let as_expected = received.len() == expected.len()
            && expected.iter().zip(&received).all(|(expected, value)| expected.is(value));
        self.claim(as_expected, &format!("Record-Route is {expected:?}"));
    }

    /// What no proxy has business with is the same byte for byte, in the same order.
    fn check_the_rest(&self, changed: &[&str]) {
        let (sent, received) =
            (self.sent.raw_fields_except(changed), self.received.raw_fields_except(changed));
        self.claim(sent == received, "all other header fields are kept byte for byte");
        self.claim(self.sent.body == self.received.body, "the body is kept byte for byte");
    }

    fn claim(&self, holds: bool, claim: &str) {
        assert!(holds, "not so: {claim}\n--- sent:\n{}\n--- received:\n{}", self.sent, self.received);
    }
}
