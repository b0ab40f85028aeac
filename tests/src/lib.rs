//! What several tests and the benches share: one node, its key, and the canonical messages.

use sluice::edit::Edits;
use sluice::forward::Forwarder;
use sluice::io::memory::{Memory, Sent};
use sluice::io::{Flow, Io, ListenerIndex};
use sluice::proxy::identity::Authority;
use sluice::proxy::rules::{Action, Rule};
use sluice::proxy::seal::{Key, Keys};
use sluice::proxy::snapshot::{ListenerPlan, Plan, ReplyRate, Snapshot};
use sluice::proxy::target_set::{Member, TargetSet};
use sluice::stats::{Stats, Totals};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The node of the vectors: an untrusted listener `public` (192.0.2.1:5060, and IPv6 2001:db8::1 as `public6`), a trusted one `core`
/// (10.0.0.1:5060, and fd00::1 as `core6`), the domain example.com, and one rule that sends all that is for it to the target set `core`.
#[must_use]
pub fn plan() -> Plan {
    let listener = |name: &str, address: &str, trusted| ListenerPlan {
        name: name.into(),
        address: address.parse().expect("a socket address"),
        advertise: None,
        aliases: vec![],
        trusted,
    };
    let member = |address: &str| Member {
        address: address.parse().expect("a socket address"),
        weight: 100,
        down: false,
    };
    Plan {
        listeners: vec![
            listener("public", "192.0.2.1:5060", false),
            listener("core", "10.0.0.1:5060", true),
            listener("public6", "[2001:db8::1]:5060", false),
            listener("core6", "[fd00::1]:5060", true),
        ],
        trusted_sources: vec!["10.0.0.0/8".parse().expect("a prefix")],
        domains: vec![Authority::parse("example.com").expect("an authority")],
        record_route: true,
        seal_routes: true,
        seal_responses: true,
        target_sets: vec![TargetSet::new("core", vec![member("10.0.1.1:5060")], Some(CORE))],
        rules: vec![Rule {
            listeners: vec![],
            sources: vec![],
            methods: vec![],
            hosts: vec![],
            user_prefixes: vec![],
            action: Action::TargetSet(0),
            egress: None,
        }],
        reply_rate: ReplyRate { per_second: 0, burst: 0 },
        keys: Keys { current: Key::new(1, b"the vectors' key"), other: None },
    }
}

/// The listener `public`.
pub const PUBLIC: ListenerIndex = ListenerIndex(0);
/// The listener `core`.
pub const CORE: ListenerIndex = ListenerIndex(1);
/// The listener `public6`.
pub const PUBLIC6: ListenerIndex = ListenerIndex(2);
/// The listener `core6`.
pub const CORE6: ListenerIndex = ListenerIndex(3);

/// The tables of [`plan`].
///
/// # Panics
/// Never: the plan is good.
#[must_use]
pub fn snapshot() -> Snapshot {
    Snapshot::new(plan()).expect("a good plan")
}

/// How a datagram from `source` comes in by `listener` of [`plan`].
///
/// # Panics
/// `source` is no socket address, or there is no such listener.
#[must_use]
pub fn flow(source: &str, listener: ListenerIndex) -> Flow {
    let destination: SocketAddr = plan().listeners[usize::from(listener.0)].address;
    Flow { source: source.parse().expect("a socket address"), destination, listener }
}

/// What one datagram leads to: what leaves, and the counters.
#[must_use]
pub fn forward(snapshot: &Snapshot, flow: Flow, payload: &[u8]) -> (Option<Sent>, Totals) {
    let (mut forwarder, stats, mut io) = (Forwarder::new(), Stats::new(), Memory::default());
    io.push(flow, payload);
    io.breathe(&mut |datagram| forwarder.forward(snapshot, &stats, 0, datagram));
    (io.sent.pop(), stats.read())
}

/// A canonical message: its file's name under `tests/vectors/canonical`, the source it comes from, and the listener it comes in by.
pub const CANONICAL: [(&str, &str, ListenerIndex); 5] = [
    ("bye", "203.0.113.9:5060", PUBLIC),
    ("bye_r2", "203.0.113.9:5060", PUBLIC),
    ("invite", "203.0.113.9:5060", PUBLIC),
    ("200", "10.0.1.1:5060", CORE),
    ("options", "203.0.113.9:5060", PUBLIC),
];

/// The folder `tests/vectors`.
#[must_use]
pub fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// The bytes of a canonical message.
///
/// # Panics
/// There is no such file.
#[must_use]
pub fn canonical(name: &str) -> Vec<u8> {
    let path = vectors().join("canonical").join(format!("{name}.sip"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The bytes with the edits applied by the slow and obvious way.
#[must_use]
pub fn splice(bytes: &[u8], edits: &Edits) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    for edit in edits.list() {
        out.extend_from_slice(&bytes[at..edit.delete.start()]);
        out.extend_from_slice(edits.inserted(edit));
        at = edit.delete.end();
    }
    out.extend_from_slice(&bytes[at..]);
    out
}
