//! The oracle of everything from datagram to datagram.

use super::leaves::{Issued, replied, request_forwarded, response_forwarded};
use super::{DIRTY, name_of, same, split};
use crate::{named_plan, splice};
use sluice::forward::Forwarder;
use sluice::io::{Datagram, Flow, HEADROOM, ListenerIndex, TAILROOM, Verdict};
use sluice::proxy::decision::{Decision, Proof, Step, Stop};
use sluice::proxy::rules::Action;
use sluice::proxy::seal::Key;
use sluice::proxy::snapshot::{Plan, Snapshot, is_usable};
use sluice::sip::Message;
use sluice::sip::header_field::{self, Name};
use sluice::sip::start_line::StartLine;
use sluice::stats::{Counter, Reason, Stats, Totals};
use std::net::SocketAddr;
use std::sync::OnceLock;

/// Sends messages through a node, one after the other, and looks at what becomes of each.
///
/// `input` is sections with the byte 0x1e between them. The first byte of a section says how the message comes in (the lower three bits choose a flow, the
/// others a plan); the rest is its text. In the text the bytes 1 to 5 stand for what left last: 1 the value of its topmost Via, 2 the value of the Via below, 3 and 4 the URIs of its
/// Record-Routes, 5 its To tag; 6 stands for 600 letters. So mutations of a response or of a request within a dialog meet seals that prove.
///
/// # Panics
/// Something is wrong with what became of one of them.
pub fn forward(input: &[u8]) {
    let mut before = Vec::new();
    let mut issued = Issued::default();
    for section in input.split(|byte| *byte == 0x1e).take(SECTIONS_MAX) {
        let Some((choice, text)) = section.split_first() else { continue };
        let node = &nodes()[usize::from(choice >> 3) % nodes().len()];
        let Some(flow) = node.flow(usize::from(choice & 7)) else { continue };
        let bytes = expand(text, &before);
        if let Some(left) = node.pass(flow, &bytes, &mut issued) {
            before = left;
        }
    }
}

/// Messages of one run. Two are a request and its response; a call of an INVITE, its 200, a BYE and its 200 takes four.
const SECTIONS_MAX: usize = 4;

/// Most bytes of a UDP payload over IPv4.
const PAYLOAD_BYTES_MAX: usize = 65_507;

/// A node of [`named_plan`], with keys that no vector holds a seal of.
struct Node {
    plan: Plan,
    snapshot: Snapshot,
    /// Where its rules send requests to.
    targets: Vec<SocketAddr>,
}

/// The flows that a section may choose: strangers and trusted sources, IPv4 and IPv6, and one from port 0, to which nothing can be sent.
const FLOWS: [(&str, u16); 8] = [
    ("203.0.113.9:5060", 0),
    ("10.0.1.1:5060", 1),
    ("[2001:db8:7::9]:5060", 2),
    ("[fd00::9]:5060", 3),
    ("10.9.9.9:5070", 0),
    ("203.0.113.9:40000", 0),
    ("198.51.100.7:5060", 0),
    ("203.0.113.9:0", 0),
];

const PLANS: [&str; 12] = [
    "default",
    "never",
    "unsealed",
    "key2",
    "key2_only",
    "single",
    "no_rules",
    "down",
    "rules",
    "names",
    "port",
    "one_listener",
];

fn nodes() -> &'static [Node] {
    static NODES: OnceLock<Vec<Node>> = OnceLock::new();
    NODES.get_or_init(|| PLANS.into_iter().map(|name| Node::new(named_plan(name))).collect())
}

/// What one run of `forward` did.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    verdict: Verdict,
    payload: Vec<u8>,
    totals: Totals,
}

impl Node {
    fn new(mut plan: Plan) -> Self {
        let key = |id| Key::new(id, if id == 1 { b"the fuzzers' key" } else { b"their other key " });
        plan.keys.current = key(plan.keys.current.id);
        plan.keys.other = plan.keys.other.map(|other| key(other.id));
        let hops = plan.rules.iter().filter_map(|rule| match &rule.action {
            Action::NextHop(address) => Some(*address),
            _ => None,
        });
        let members = plan.target_sets.iter().flat_map(|set| &set.members).map(|member| member.address);
        let targets = hops.chain(members).collect();
        Self { snapshot: Snapshot::new(plan.clone()).expect("a good plan"), plan, targets }
    }

    fn flow(&self, choice: usize) -> Option<Flow> {
        let (source, listener) = FLOWS[choice];
        let destination = self.plan.listeners.get(usize::from(listener))?.address;
        let source = source.parse().expect("a socket address");
        Some(Flow { source, destination, listener: ListenerIndex(listener) })
    }

    /// Forwards `bytes` in a frame with so much room, filled with `junk`.
    fn run(
        &self,
        forwarder: &mut Forwarder,
        flow: Flow,
        bytes: &[u8],
        room: (usize, usize),
        junk: u8,
    ) -> Outcome {
        let stats = Stats::new();
        let mut frame = vec![junk; room.0 + bytes.len() + room.1].into_boxed_slice();
        frame[room.0..room.0 + bytes.len()].copy_from_slice(bytes);
        let mut datagram = Datagram::new(&mut frame, room.0, room.0 + bytes.len(), flow);
        let verdict = forwarder.forward(&self.snapshot, &stats, 0, &mut datagram);
        let payload = match verdict {
            Verdict::Transmit { .. } => datagram.payload().to_vec(),
            Verdict::Release => Vec::new(),
        };
        Outcome { verdict, payload, totals: stats.read() }
    }

    /// The same message leads to the same: after another message, between other bytes, and with other room as long as it fits.
    fn run_again(
        &self,
        forwarder: &mut Forwarder,
        flow: Flow,
        bytes: &[u8],
        first: &Outcome,
        too_large: bool,
    ) {
        let _ = self.run(forwarder, flow, DIRTY, (HEADROOM, TAILROOM), 0);
        let again = self.run(forwarder, flow, bytes, (HEADROOM, TAILROOM), b'\n');
        assert_eq!(again, *first, "the same message twice");
        for headroom in [0, 77] {
            let other = self.run(forwarder, flow, bytes, (headroom, 9_000), b';');
            assert!(too_large || other == *first, "{headroom} bytes of headroom: {other:?}, not {first:?}");
        }
    }

    /// Takes one message through all checks, and returns what leaves.
    fn pass(&self, flow: Flow, bytes: &[u8], issued: &mut Issued) -> Option<Vec<u8>> {
        let mut forwarder = Forwarder::new();
        let outcome = self.run(&mut forwarder, flow, bytes, (HEADROOM, TAILROOM), b'#');
        let totals = &outcome.totals;
        assert!(totals.balance(), "received is not the sum of all fates: {totals:?}");
        assert_eq!(totals.counter(Counter::Received), 1);
        let too_large = totals.replied(Reason::TooLarge) + totals.dropped(Reason::TooLarge) > 0;
        self.run_again(&mut forwarder, flow, bytes, &outcome, too_large);
        let mut steps = Vec::new();
        let decision = forwarder.decide(&self.snapshot, &flow, bytes, &mut steps);
        let Verdict::Transmit { egress, to } = outcome.verdict else { return None };
        let listener = self.snapshot.listener(egress).expect("a listener to leave by");
        assert!(is_usable(to.ip(), to.port()) && listener.reaches(to.ip()), "{to} by {}", listener.name);
        assert!(outcome.payload.len() <= PAYLOAD_BYTES_MAX, "{} bytes leave", outcome.payload.len());
        if !too_large {
            let end = if matches!(decision, Decision::Forward { .. }) {
                forwarder.message().end
            } else {
                bytes.len()
            };
            same(&outcome.payload, &splice(&bytes[..end], forwarder.edits()), "the slow way");
        }
        let trusted =
            self.snapshot.listener(flow.listener).is_some_and(|l| self.snapshot.trusts(l, flow.source.ip()));
        match decision {
            _ if too_large => replied(bytes, &outcome.payload, Reason::TooLarge),
            Decision::Stop(Stop::Reply { reason, .. }) => {
                assert!(trusted || to.ip() == flow.source.ip(), "a stranger's reply goes to {to}");
                replied(bytes, &outcome.payload, reason);
            }
            Decision::Forward { .. } => {
                let message = forwarder.message();
                if matches!(message.start_line(), Some(StartLine::Request { .. })) {
                    assert!(trusted || self.may_leave(to, &steps), "a stranger reaches {to}: {steps:?}");
                    request_forwarded(message, bytes, &outcome.payload, issued);
                } else {
                    response_forwarded(message, bytes, &outcome.payload);
                    let allowed = issued.allows(message, bytes, to);
                    assert!(allowed || !self.plan.seal_responses, "a response goes to {to}");
                }
            }
            Decision::Stop(Stop::Absorb(_) | Stop::Drop(_)) => {
                panic!("{decision:?}, and yet something leaves")
            }
        }
        Some(outcome.payload)
    }

    /// Whether a stranger's request may go to `to`: a rule sends it there, or it proved that it belongs to a dialog of ours.
    fn may_leave(&self, to: SocketAddr, steps: &[Step]) -> bool {
        let proven = steps.iter().any(|step| {
            matches!(step, Step::Popped { proof: Proof::Proven, .. } | Step::StrictRouteUndone { .. })
        });
        proven || !self.plan.seal_routes || self.targets.contains(&to)
    }
}

/// The text with its stand-ins replaced by what `before` holds.
fn expand(text: &[u8], before: &[u8]) -> Vec<u8> {
    let mut message = Message::new();
    let _ = message.read(before);
    let vias: Vec<_> = message.fields().iter().filter(|field| field.name == Name::Via).collect();
    let nth_via = |n: usize| vias.get(n).map(|field| field.value.of(before)).unwrap_or_default();
    let (lines, _) = split(before).unwrap_or_default();
    let routes: Vec<_> = lines.iter().filter(|line| name_of(line) == b"record-route").collect();
    let nth_route = |n: usize| {
        let line = routes.get(n).map(|line| line.as_slice()).unwrap_or_default();
        let start = line.iter().position(|byte| *byte == b'<').map_or(0, |at| at + 1);
        let len = line[start..].iter().position(|byte| *byte == b'>').unwrap_or(0);
        &line[start..start + len]
    };
    let to = message.field(Name::To).and_then(|to| header_field::read_tag(before, to.value));
    let mut out = Vec::new();
    for byte in text {
        match byte {
            1 | 2 => out.extend_from_slice(nth_via(usize::from(*byte) - 1)),
            3 | 4 => out.extend_from_slice(nth_route(usize::from(*byte) - 3)),
            5 => out.extend_from_slice(to.map(|tag| tag.of(before)).unwrap_or_default()),
            6 => out.extend_from_slice(&[b'a'; 600]),
            other => out.push(*other),
        }
    }
    out.truncate(PAYLOAD_BYTES_MAX);
    out
}
