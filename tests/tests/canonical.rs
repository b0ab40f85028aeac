//! The canonical messages take the paths that their names say, and carry what this node wrote into the INVITE that they follow.
//!
//! `BLESS=1` writes the seals, the branch and the mark of today into them.

use sluice::proxy::snapshot::Snapshot;
use sluice::stats::{Counter, Reason};
use sluice_tests::{CANONICAL, CORE, canonical, flow, forward, line_diff, named_plan, snapshot, vectors};

#[test]
fn canonical_messages_take_their_paths() {
    let snapshot = snapshot();
    for (name, source, listener) in CANONICAL {
        let carried = carrying(name);
        if std::env::var_os("BLESS").is_some() {
            let path = vectors().join("canonical").join(format!("{name}.sip"));
            std::fs::write(path, &carried).expect("the message can be written");
        }
        assert!(canonical(name) == carried, "{name}:\n{}", line_diff(&carried, &canonical(name)));
        let (sent, totals) = forward(&snapshot, flow(source, listener), &canonical(name));
        println!(
            "--- {name}\n{}",
            String::from_utf8_lossy(&sent.as_ref().expect("something leaves").payload)
        );
        match name {
            "200" => assert_eq!(totals.counter(Counter::ForwardedResponses), 1),
            "options" => assert_eq!(totals.replied(Reason::Options), 1),
            _ => assert_eq!(totals.counter(Counter::ForwardedRequests), 1, "{name}"),
        }
    }
    assert_eq!(canonical("bye").len(), 549);
}

/// A canonical message with the lines that `invite` left with: by `core`, or by `public` again for `bye`, whose Route is a single one.
fn carrying(name: &str) -> Vec<u8> {
    let message = canonical(name);
    let plan = if name == "bye" { "single" } else { "default" };
    let snapshot = Snapshot::new(named_plan(plan)).expect("a good plan");
    let (_, source, listener) = CANONICAL[2];
    let (sent, _) = forward(&snapshot, flow(source, listener), &canonical("invite"));
    let left = sent.expect("the INVITE leaves");
    assert_eq!(left.egress == CORE, plan == "default");
    let left = String::from_utf8(left.payload).expect("text");
    let values = |field: &str| -> Vec<&str> { left.lines().filter_map(|l| l.strip_prefix(field)).collect() };
    // A response repeats what it found, and a request of the caller has the Route set in reverse (RFC 3261 12.1.2).
    let (vias, record_routes) = (values("Via: "), values("Record-Route: "));
    let routes = record_routes.iter().rev().copied().collect();
    let fields = match name {
        "200" => vec![("Via: ", vias), ("Record-Route: ", record_routes)],
        "bye" | "bye_r2" => vec![("Route: ", routes)],
        _ => vec![],
    };
    let text = String::from_utf8(message).expect("text");
    let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    for (field, values) in fields {
        let places = lines.iter_mut().filter(|line| line.starts_with(field));
        let mut values = values.into_iter();
        places.for_each(|line| *line = format!("{field}{}", values.next().expect("a value for each line")));
        assert_eq!(values.next(), None, "{name}: a line for each {field}");
    }
    lines.join("\r\n").into_bytes()
}
