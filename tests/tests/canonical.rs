//! The canonical messages take the paths that their names say.

use sluice::stats::{Counter, Reason};
use sluice_tests::{CANONICAL, canonical, flow, forward, snapshot};

#[test]
fn canonical_messages_take_their_paths() {
    let snapshot = snapshot();
    for (name, source, listener) in CANONICAL {
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
