//! Nodes and messages of growing size, to show what the cost does not hang on.

use sluice::io::ListenerIndex;
use sluice::proxy::rules::Rule;
use sluice::proxy::snapshot::{ListenerPlan, Plan, PlanError, Snapshot};
use sluice::proxy::target_set::{Member, TargetSet};
use std::net::SocketAddr;

/// The plan of the vectors with `count` listeners. One is `public` alone, and what is for it goes to a fixed next hop.
///
/// # Panics
/// Never for counts up to a thousand.
#[must_use]
pub fn listeners(count: usize) -> Plan {
    if count == 1 {
        return sluice_tests::named_plan("one_listener");
    }
    let mut plan = sluice_tests::plan();
    plan.listeners.truncate(2);
    // The id of a listener is a 16-bit hash of its name, so a few hundred names at random may meet.
    for salt in 0u32.. {
        let mut grown = plan.clone();
        grown.listeners.extend((2..count).map(|i| ListenerPlan {
            name: format!("listener-{salt}-{i}"),
            address: SocketAddr::from(([192, 0, 2, 2], 6_000 + i as u16)),
            advertise: None,
            aliases: vec![],
            trusted: false,
        }));
        match Snapshot::new(grown.clone()) {
            Err(PlanError::NameCollision(..)) => {}
            Ok(_) => return grown,
            Err(error) => panic!("{error}"),
        }
    }
    plan
}

/// The plan of the vectors with `count` members in its target set.
#[must_use]
pub fn targets(count: usize) -> Plan {
    let mut plan = sluice_tests::plan();
    let member = |i: usize| Member {
        address: SocketAddr::from(([10, 0, 1 + (i / 250) as u8, 1 + (i % 250) as u8], 5060)),
        weight: 100,
        down: false,
    };
    plan.target_sets = vec![TargetSet::new("core", (0..count).map(member).collect(), Some(ListenerIndex(1)))];
    plan
}

/// The plan of the vectors with `count` rules, of which the last alone takes the canonical INVITE: all others name another number.
#[must_use]
pub fn rules(count: usize) -> Plan {
    let mut plan = sluice_tests::plan();
    let last = plan.rules.remove(0);
    let other = |i: usize| Rule {
        methods: vec!["INVITE".into()],
        user_prefixes: vec![format!("+4931{i:05}")],
        ..last.clone()
    };
    plan.rules = (1..count).map(other).chain([last.clone()]).collect();
    plan
}

/// `message` with `bytes` bytes of header fields that a proxy does not read, before its Content-Length.
///
/// # Panics
/// The message has no Content-Length.
#[must_use]
pub fn header_bytes(message: &[u8], bytes: usize) -> Vec<u8> {
    const FIELD: &str = "X-Charging-Vector: icid-value=1234bc9876e;icid-generated-at=192.0.2.6\r\n";
    let place = message.windows(16).position(|w| w == b"Content-Length: ").expect("a Content-Length");
    let mut filler: Vec<u8> = FIELD.bytes().cycle().take(bytes / FIELD.len() * FIELD.len()).collect();
    // The last field makes up for what is left.
    if let Some(short) = bytes.checked_sub(filler.len()).filter(|short| *short > 0 && !filler.is_empty()) {
        let end = filler.len() - 2;
        filler.splice(end..end, std::iter::repeat_n(b'x', short));
    }
    [&message[..place], &filler, &message[place..]].concat()
}
