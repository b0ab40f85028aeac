//! Random messages, and what holds of all of them.
//!
//! | test | proves |
//! |---|---|
//! | `fast_equals_slow` | for every message by the letter of the grammar, in a sequence of messages that build on each other (dialogs, loops, ACKs, responses, forged and stolen seals), the router does what the [`oracle`] says, to the byte; hashes are equal where their inputs are, and nowhere else |
//! | `mutated_messages` | of messages with bytes broken out of them, those that are still by the grammar likewise; of the others what leaves can be read, and nothing but what must change did |
//! | `same_request_same_bytes` | a message gives the same bytes again, also after others, on a fresh worker, and on another node with the same key |
//! | `responses_undo_requests` | what left comes back as a response with its Vias rewritten, and arrives at the client with exactly the client's Vias |
//! | `only_what_must_change` | Max-Forwards falls by one; all other lines and the body stay |
//! | `what_we_stamp_is_ours` | for random configurations: our Via is recognised in the response, our Record-Routes in the requests of both sides, and each reaches the other |
//! | `calls_keep_their_member` | of a target set, all requests of a call get the same member (RFC 3261 16.11), on every node, whatever the order of members; one that goes down moves only its own calls |
//! | `replies_are_small_and_few` | a reply is never larger than its request and the fixed fields, and a stranger gets no more of them than the rate allows |
//!
//! Messages are drawn from a *tape* of numbers, where 0 is always the plainest choice; `proptest` makes the tapes, and shrinks one that fails to the plainest message that still does. It
//! prints the messages, and keeps its seed in `tests/vectors/properties.regressions`, which is tried first from then on. `PROPTEST_CASES` sets how many tapes are tried.

mod oracle;
mod random;

use oracle::Came;
use proptest::test_runner::TestCaseError;
use random::lines::{Lines, name_of, parameter, sent_by, unfolded, vias};
use random::plans::{random_plan, remote};
use random::tape::{check, require};
use random::world::World;
use random::{mutate, rewrite};
use sluice::forward::Forwarder;
use sluice::io::Io;
use sluice::io::memory::Memory;
use sluice::proxy::rules::Action;
use sluice::proxy::snapshot::{ReplyRate, Snapshot};
use sluice::proxy::target_set::{Member, TargetSet};
use sluice::stats::{Counter, Reason, Stats};
use sluice_tests::{CORE, PUBLIC, escape, flow, named_plan};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// What a plan's name may be where the oracle is asked.
const PLANS: [&str; 6] = ["default", "no_rules", "names", "single", "one_listener", "never"];

#[test]
fn fast_equals_slow() {
    let mut seen = BTreeMap::new();
    check(5_000, 700, |tape| {
        let plan = named_plan(tape.choose(&PLANS));
        let mut world = World::new(&plan);
        for _ in 0..1 + tape.below(5) {
            let (came, bytes) = world.message(tape);
            let forecast = world.step(came, &bytes)?;
            *seen.entry(forecast).or_insert(0) += 1;
        }
        Ok(())
    });
    println!("{seen:?}");
    let whole = std::env::var_os("PROPTEST_CASES").is_none();
    for kind in ["absorb", "drop", "forward", "200", "400", "403", "404", "416", "420", "482", "483", "503"] {
        assert!(!whole || seen.contains_key(kind), "nothing was answered {kind}: {seen:?}");
    }
    let (no_opinion, all) = (seen.get("none").copied().unwrap_or(0), seen.values().sum::<i32>());
    assert!(no_opinion * 10 < all, "the oracle has no opinion of {no_opinion} of {all}");
}

#[test]
fn mutated_messages() {
    let mut seen = BTreeMap::new();
    check(4_000, 700, |tape| {
        let plan = named_plan(tape.choose(&PLANS));
        let mut world = World::new(&plan);
        let (came, bytes) = world.message(tape);
        let _ = world.step(came, &bytes)?;
        for _ in 0..2 {
            let (came, mut bytes) = world.message(tape);
            for _ in 0..1 + tape.below(3) {
                mutate(tape, &mut bytes);
            }
            let forecast = world.step(came, &bytes)?;
            *seen.entry(forecast).or_insert(0) += 1;
        }
        Ok(())
    });
    println!("{seen:?}");
}

#[test]
fn same_request_same_bytes() {
    check(1_000, 500, |tape| {
        let plan = named_plan(tape.choose(&PLANS));
        let mut world = World::new(&plan);
        let messages: Vec<_> = (0..4).map(|_| world.message(tape)).collect();
        let first: Vec<_> = messages.iter().map(|(came, bytes)| world.run(*came, bytes)).collect();
        // Again, the other way round.
        let mut second: Vec<_> = messages.iter().rev().map(|(came, bytes)| world.run(*came, bytes)).collect();
        second.reverse();
        require(first == second, || "another answer the second time".into(), &messages)?;
        // On another node, whose tables were built anew, each on a worker of its own.
        let third: Vec<_> =
            messages.iter().map(|(came, bytes)| World::new(&plan).run(*came, bytes)).collect();
        require(first == third, || "another answer on another node".into(), &messages)
    });
}

#[test]
fn responses_undo_requests() {
    let mut returned = 0;
    check(2_000, 500, |tape| {
        let plan = named_plan(tape.choose(&["default", "names", "one_listener", "single"]));
        let mut world = World::new(&plan);
        let (came, bytes) = world.request(tape);
        let Some((sent, false)) = world.run(came, &bytes) else { return Ok(()) };
        returned += 1;
        let all = vias(&sent.payload);
        let rewritten: Vec<String> = all.iter().map(|via| rewrite(tape, via)).collect();
        let text = String::from_utf8_lossy(&sent.payload).into_owned();
        let keep = ["from", "f", "to", "t", "call-id", "i", "cseq"];
        let kept: Vec<String> =
            unfolded(&text).into_iter().filter(|l| keep.contains(&&*name_of(l))).collect();
        let head = |vias: &[String]| {
            let lines = vias.iter().map(|via| format!("Via: {via}\r\n"));
            let others = kept.iter().map(|line| format!("{line}\r\n"));
            "SIP/2.0 200 OK\r\n".to_owned() + &lines.chain(others).collect::<String>() + "\r\nbody"
        };
        let back = Came { from: sent.to, listener: usize::from(sent.egress.0) };
        let arrived = world.run(back, head(&rewritten).as_bytes());
        let shown = [(came, bytes.clone()), (back, head(&rewritten).into_bytes())];
        // 18.2.2, RFC 3581: read off the Via that we sent, by the shortest way.
        let client = &all[1];
        let value = |name: &str| parameter(client, name);
        let sent_by_port = sent_by(client).1;
        let (ip, port) = match (value("maddr"), value("received"), value("rport")) {
            (Some(maddr), ..) => (maddr, sent_by_port),
            (None, Some(received), rport) => {
                (received, rport.map_or(sent_by_port, |p| p.parse().expect("a port")))
            }
            (None, None, rport) => {
                (sent_by(client).0, rport.map_or(sent_by_port, |p| p.parse().expect("a port")))
            }
        };
        let ip: IpAddr = ip.trim_matches(['[', ']']).parse().map_err(|_| TestCaseError::reject("a name"))?;
        let ip = ip.to_canonical();
        if port == 0 || ip.is_ipv4() != came.from.is_ipv4() {
            return require(arrived.is_none(), || "a response that cannot be sent".into(), &shown);
        }
        let Some((arrived, _)) = arrived else {
            return require(false, || "the response does not come back".into(), &shown);
        };
        require(arrived.payload == head(&rewritten[1..]).as_bytes(), || escape(&arrived.payload), &shown)?;
        require(arrived.to == SocketAddr::new(ip, port), || format!("to {}", arrived.to), &shown)?;
        require(usize::from(arrived.egress.0) == came.listener, || "by another listener".into(), &shown)
    });
    assert!(returned > 500 || std::env::var_os("PROPTEST_CASES").is_some(), "only {returned} came back");
}

#[test]
fn only_what_must_change() {
    let mut forwarded = 0;
    check(2_000, 500, |tape| {
        let plan = named_plan(tape.choose(&["default", "names", "single", "never"]));
        let mut world = World::new(&plan);
        let (came, bytes) = world.request(tape);
        let Some((sent, false)) = world.run(came, &bytes) else { return Ok(()) };
        forwarded += 1;
        let shown = [(came, bytes.clone())];
        let (before, after) = (Lines::of(&bytes), Lines::of(&sent.payload));
        let hops =
            |lines: &Lines| lines.values("max-forwards").first().map(|v| v.parse::<u32>().expect("hops"));
        require(hops(&after) == Some(hops(&before).map_or(70, |hops| hops - 1)), || "hops".into(), &shown)?;
        require(after.body == before.body_within_content_length(), || "body".into(), &shown)?;
        let others = |lines: &Lines| -> Vec<Vec<u8>> {
            let changing = ["via", "v", "route", "record-route", "max-forwards"];
            let is_other = |line: &&Vec<u8>| !changing.contains(&&*name_of(&String::from_utf8_lossy(line)));
            lines.fields.iter().filter(is_other).cloned().collect()
        };
        require(others(&before) == others(&after), || escape(&sent.payload), &shown)?;
        // Record-Routes and Vias only come on top; the first Via of theirs may be filled.
        let rest = |lines: &Lines, name: &str, skip: usize| {
            lines.values(name).into_iter().skip(skip).collect::<Vec<_>>()
        };
        let ours = after.values("record-route").len() - before.values("record-route").len();
        require(
            rest(&after, "record-route", ours) == rest(&before, "record-route", 0),
            || escape(&sent.payload),
            &shown,
        )?;
        require(rest(&after, "via", 2) == rest(&before, "via", 1), || escape(&sent.payload), &shown)
    });
    assert!(
        forwarded > 500 || std::env::var_os("PROPTEST_CASES").is_some(),
        "only {forwarded} were forwarded"
    );
}

#[test]
fn what_we_stamp_is_ours() {
    let (mut singles, mut pairs) = (0, 0);
    check(500, 200, |tape| {
        let plan = random_plan(tape);
        let Ok(snapshot) = Snapshot::new(plan.clone()) else {
            return Err(TestCaseError::reject("no good plan"));
        };
        let ingress = tape.below(plan.listeners.len());
        let client = remote(&plan, ingress, 9);
        let Action::NextHop(callee) = plan.rules[0].action else { panic!("a next hop") };
        let mut world = World::with(&plan, snapshot);
        let came = Came { from: client, listener: ingress };
        let call = tape.below(9);
        let invite = format!(
            "INVITE sip:bob@ours.example SIP/2.0\r\nVia: SIP/2.0/UDP {client};branch=z9hG4bKx\r\n\
From: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{client}>\r\n\r\n"
        );
        let sent = world.run(came, invite.as_bytes());
        let shown = [(came, invite.clone().into_bytes())];
        let Some((sent, false)) = sent else { return require(false, || "not forwarded".into(), &shown) };
        require(sent.to == callee, || format!("to {}", sent.to), &shown)?;
        let egress = usize::from(sent.egress.0);
        let text = String::from_utf8(sent.payload.clone()).expect("a text");
        let routes: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("Record-Route: ")).collect();
        require(routes.len() == 1 + usize::from(egress != ingress), || text.clone(), &shown)?;
        *(if egress == ingress { &mut singles } else { &mut pairs }) += 1;
        // The response finds its way.
        let response = text.replacen("INVITE sip:bob@ours.example SIP/2.0", "SIP/2.0 200 OK", 1);
        let response = response.replace("To: <sip:b@b>", "To: <sip:b@b>;tag=2");
        let back = world.run(Came { from: callee, listener: egress }, response.as_bytes());
        let back = back.map(|(back, _)| (usize::from(back.egress.0), back.to));
        require(
            back == Some((ingress, client)),
            || format!("the response went {back:?}\n{response}"),
            &shown,
        )?;
        // Requests of both sides, whose Route sets are the Record-Routes from their ends (12.1.1, 12.1.2), in one line or in several.
        let caller: Vec<&str> = routes.iter().rev().copied().collect();
        let sides = [(client, ingress, caller, callee, egress), (callee, egress, routes, client, ingress)];
        for (from, by, routes, to, leaves_by) in sides {
            let routes = if tape.chance(2) {
                format!("Route: {}\r\n", routes.join(","))
            } else {
                routes.iter().map(|route| format!("Route: {route}\r\n")).collect()
            };
            let bye = format!(
                "BYE sip:x@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKy\r\n{routes}\
From: <sip:a@a>;tag=1\r\nTo: <sip:b@b>;tag=2\r\nCall-ID: {call}\r\nCSeq: 2 BYE\r\n\r\n"
            );
            let came = Came { from, listener: by };
            let reached =
                world.run(came, bye.as_bytes()).map(|(sent, _)| (usize::from(sent.egress.0), sent.to));
            let shown = [(came, bye.clone().into_bytes())];
            require(
                reached == Some((leaves_by, to)),
                || format!("the BYE went {reached:?}\n{text}"),
                &shown,
            )?;
        }
        Ok(())
    });
    assert!(singles > 20 && pairs > 20 || std::env::var_os("PROPTEST_CASES").is_some(), "{singles} {pairs}");
}

#[test]
fn calls_keep_their_member() {
    let member = |i: u16, down| Member {
        address: SocketAddr::from(([10, 0, 1, 1], 5060 + i)),
        weight: 1 + u32::from(i),
        down,
    };
    let node = |members: Vec<Member>| {
        let mut plan = named_plan("default");
        plan.target_sets = vec![TargetSet::new("core", members, Some(CORE))];
        Snapshot::new(plan).expect("a good plan")
    };
    let one = node((0..5).map(|i| member(i, false)).collect());
    let other = node((0..5).rev().map(|i| member(i, false)).collect());
    let lame = node((0..5).map(|i| member(i, i == 4)).collect());
    let lost = member(4, false).address;
    let mut members = BTreeMap::new();
    for call in 0..100 {
        let send = |node: &Snapshot, method: &str, branch: &str, source: &str| {
            let request = format!(
                "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bK{branch};rport\r\n\
From: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: {call}@call\r\nCSeq: 1 {method}\r\n\r\n"
            );
            let (sent, _) = sluice_tests::forward(node, flow(source, PUBLIC), request.as_bytes());
            sent.expect("it is forwarded").to
        };
        let chosen = send(&one, "INVITE", "1", "203.0.113.9:5060");
        *members.entry(chosen).or_insert(0) += 1;
        for (method, branch) in [("INVITE", "1"), ("CANCEL", "1"), ("ACK", "1"), ("ACK", "2"), ("BYE", "3")] {
            for node in [&one, &other] {
                assert_eq!(
                    send(node, method, branch, "203.0.113.9:40000"),
                    chosen,
                    "{method} of call {call}"
                );
            }
            let moved = send(&lame, method, branch, "198.51.100.7:5060");
            assert!(
                (moved == chosen) == (chosen != lost) && moved != lost,
                "{method} of call {call}: {moved}"
            );
        }
    }
    assert_eq!(members.len(), 5, "{members:?}");
}

#[test]
fn replies_are_small_and_few() {
    let mut plan = named_plan("no_rules");
    plan.reply_rate = ReplyRate { per_second: 10, burst: 3 };
    let snapshot = Snapshot::new(plan).expect("a good plan");
    let (stats, mut forwarder, mut io) = (Stats::new(), Forwarder::new(), Memory::default());
    let options = |source: &str| {
        format!(
            "OPTIONS sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {source};rport;branch=z9hG4bK1\r\n\
From: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n"
        )
    };
    let mut ask = |source: &str, listener: &str, now_us: u64| {
        io.push(flow(source, sluice_tests::listener(listener)), options(source).as_bytes());
        io.breathe(&mut |datagram| forwarder.forward(&snapshot, &stats, now_us, datagram));
        io.sent.pop().is_some()
    };
    // A burst of three, then ten a second; another source has its own, and a trusted one no bound.
    let burst = (0..50).filter(|_| ask("203.0.113.9:5060", "public", 1_000_000)).count();
    assert_eq!(burst, 3);
    assert!(ask("203.0.113.10:5060", "public", 1_000_000));
    let second = (0..500).filter(|i| ask("203.0.113.9:5060", "public", 1_000_000 + i * 2_000)).count();
    assert!((9..=10).contains(&second), "{second}");
    assert!((0..50).all(|_| ask("10.0.1.1:5060", "core", 1_000_000)));
    let totals = stats.read();
    assert!(totals.balance());
    assert_eq!(totals.dropped(Reason::ReplyRateLimited), 47 + 500 - second as u64);
    assert_eq!(totals.counter(Counter::Received), 50 + 1 + 500 + 50);
}
