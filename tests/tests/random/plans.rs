//! Random configurations.

use super::tape::Tape;
use sluice::io::ListenerIndex;
use sluice::proxy::identity::Authority;
use sluice::proxy::rules::Action;
use sluice::proxy::snapshot::{ListenerPlan, Plan};
use sluice_tests::{named_plan, rule};
use std::net::SocketAddr;

pub(crate) fn random_plan(tape: &mut Tape<'_>) -> Plan {
    let mut plan = named_plan("default");
    plan.trusted_sources.clear();
    plan.domains = vec![Authority::parse("ours.example").expect("an authority")];
    let count = 1 + tape.below(4);
    plan.listeners = (0..count)
        .map(|i| {
            let ip = match tape.below(3) {
                0 | 1 => format!("192.0.2.{}", 1 + i / 2),
                _ => format!("[2001:db8::{}]", 1 + i / 2),
            };
            let port = 5060 + 2 * (i + 4 * tape.below(2));
            let advertise = match tape.below(4) {
                0 | 1 => None,
                2 => {
                    Authority::parse(&format!("Node{i}.example.NET{}", tape.choose(&["", ":5060", ":6000"])))
                }
                _ => Authority::parse(&format!("198.51.100.{i}{}", tape.choose(&["", ":7000"]))),
            };
            ListenerPlan {
                name: format!("listener {i}"),
                address: format!("{ip}:{port}").parse().expect("an address"),
                advertise,
                aliases: Authority::parse(&format!("alias{i}.example")).into_iter().collect(),
                trusted: tape.chance(3),
            }
        })
        .collect();
    let egress = tape.below(count);
    let mut all = rule(Action::NextHop(remote(&plan, egress, 77)));
    all.egress = Some(ListenerIndex(egress as u16));
    plan.rules = vec![all];
    plan
}

/// A host that the listener can reach.
pub(crate) fn remote(plan: &Plan, listener: usize, last: u8) -> SocketAddr {
    let v6 = plan.listeners[listener].address.is_ipv6();
    let text = if v6 { format!("[2001:db8:77::{last}]:5070") } else { format!("203.0.113.{last}:5070") };
    text.parse().expect("an address")
}
