//! What the committed XDP program does with frames, as this kernel runs it (`BPF_PROG_TEST_RUN`), and that the worker it picks is the one that user space
//! computes.
//!
//! | test | claim |
//! |---|---|
//! | `frames_of_all_kinds` | each kind of frame has its verdict, written down by hand |
//! | `canonical_messages` | the messages that sluice is for are redirected, over IPv4, IPv6 and VLANs |
//! | `every_place_of_a_call_id` | the walk finds what user space finds, wherever in the message it is |
//! | `broken_frames` | thousands of frames with a few bytes changed, and cut off: the verdicts are those of a parser that shares nothing but the finder |
//! | `by_queue`, `every_queue_has_its_own_sockets` | the entry of the map is queue * workers + worker |

#[path = "verdicts/frame.rs"]
mod frame;
#[path = "verdicts/kernel.rs"]
mod kernel;
#[path = "verdicts/oracle.rs"]
mod oracle;

use frame::Frame;
use kernel::Kernel;
use nix::sched::{CloneFlags, unshare};
use oracle::{Node, Verdict};
use sluice_steer::Pass;
use sluice_steer::call_id::{PAYLOAD_BYTES_MAX, SCAN_BYTES_MAX};
use sluice_steer::names::{STEER_BY_CALL_ID, STEER_BY_QUEUE};
use sluice_tests::canonical;
use sluice_tests::steering::{Globals, XDP_PASS, XDP_REDIRECT};
use std::env;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;

const GLOBALS: Globals = Globals {
    workers: 13,
    queues: 1,
    steer: STEER_BY_CALL_ID,
    frame_bytes_max: 3000,
    seed: 0x5eed_0f51_u64 << 20 | 0x1ce,
};

fn listeners() -> [SocketAddr; 2] {
    ["192.0.2.1:5060".parse().expect("an address"), "[2001:db8::1]:5060".parse().expect("an address")]
}

fn node(listeners: &[SocketAddr]) -> Node<'_> {
    Node {
        listeners,
        workers: GLOBALS.workers,
        seed: GLOBALS.seed,
        frame_bytes_max: GLOBALS.frame_bytes_max as usize,
        by_queue: None,
    }
}

#[test]
fn frames_of_all_kinds() {
    let listeners = listeners();
    let Some(mut kernel) = Kernel::new(GLOBALS, &listeners) else { return };
    let [v4, v6] = listeners;
    let bye = canonical("bye");
    let worker =
        Verdict::Worker(sluice_steer::worker(&bye, GLOBALS.workers, GLOBALS.seed).expect("a Call-ID"));
    let ours = Frame::new(v4, &bye);
    let ours6 = Frame::new(v6, &bye);
    let message = |field: &str| {
        let text = format!(
            "BYE sip:b@example.com SIP/2.0\r\nTo: <sip:b@example.com>\r\n{field}\r\nCSeq: 1 BYE\r\n\r\n"
        );
        Frame::new(v4, text.as_bytes())
    };
    let same = Verdict::Worker(
        sluice_steer::worker(&message("Call-ID: 1-2@h").payload, GLOBALS.workers, GLOBALS.seed)
            .expect("a Call-ID"),
    );
    // Of each extension header all bytes but the first, which names the next one.
    let options: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
    let long_options: &[u8] = &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (routed, routing): (&[u8], &[u8]) = (&[0, 0, 0, 0, 0, 0, 0], &[0, 0, 1, 0, 0, 0, 0]);
    let (first, later, atomic): (&[u8], &[u8], &[u8]) =
        (&[0, 0, 1, 0, 0, 0, 9], &[0, 5, 0x98, 0, 0, 0, 9], &[0, 0, 0, 0, 0, 0, 9]);
    let long = |before: usize| {
        let text = format!(
            "BYE sip:b@example.com SIP/2.0\r\nSubject: {}\r\nCall-ID: 1-2@h\r\n\r\n",
            "x".repeat(before)
        ) + &"y".repeat(100);
        Frame::new(v4, text.as_bytes())
    };
    let pass = Verdict::Pass;

    let cases: Vec<(&str, Vec<u8>, Verdict)> = vec![
        ("IPv4", ours.bytes(), worker),
        ("IPv6", ours6.bytes(), worker),
        ("VLAN", ours.clone().tagged(&[(0x8100, 7)]).bytes(), worker),
        ("VLAN, IPv6", ours6.clone().tagged(&[(0x8100, 7)]).bytes(), worker),
        ("QinQ", ours.clone().tagged(&[(0x88a8, 7), (0x8100, 8)]).bytes(), worker),
        ("QinQ, IPv6", ours6.clone().tagged(&[(0x8100, 7), (0x8100, 8)]).bytes(), worker),
        (
            "three tags",
            ours.clone().tagged(&[(0x88a8, 7), (0x8100, 8), (0x8100, 9)]).bytes(),
            Verdict::NotOurs,
        ),
        ("ARP", ours.clone().with(|f| f.kind = 0x0806).bytes(), Verdict::NotOurs),
        ("IPv4 under IPv6's EtherType", ours.clone().with(|f| f.kind = 0x86dd).bytes(), Verdict::NotOurs),
        ("IPv4 of another version", ours.clone().version(5).bytes(), Verdict::NotOurs),
        ("IPv6 of another version", ours6.clone().version(4).bytes(), Verdict::NotOurs),
        ("TCP", ours.clone().protocol(6).bytes(), Verdict::NotOurs),
        ("TCP over IPv6", ours6.clone().protocol(6).bytes(), Verdict::NotOurs),
        ("another port", ours.clone().with(|f| f.port = 5061).bytes(), Verdict::NotOurs),
        (
            "the port with its bytes swapped",
            ours.clone().with(|f| f.port = 5060_u16.swap_bytes()).bytes(),
            Verdict::NotOurs,
        ),
        (
            "another address",
            Frame::new("192.0.2.2:5060".parse().expect("an address"), &bye).bytes(),
            Verdict::NotOurs,
        ),
        (
            "another IPv6 address",
            Frame::new("[2001:db8::2]:5060".parse().expect("an address"), &bye).bytes(),
            Verdict::NotOurs,
        ),
        (
            "the IPv4 address as an IPv6 one",
            Frame::new("[::ffff:192.0.2.1]:5060".parse().expect("an address"), &bye).bytes(),
            Verdict::NotOurs,
        ),
        ("IPv4 options", ours.clone().options(&[1, 1, 1, 0]).bytes(), pass(Pass::IpOptions)),
        ("IPv4 options, forty bytes", ours.clone().options(&[1; 40]).bytes(), pass(Pass::IpOptions)),
        (
            "IPv4 options to another port",
            ours.clone().options(&[1, 1, 1, 0]).with(|f| f.port = 53).bytes(),
            Verdict::NotOurs,
        ),
        ("may be fragmented, is not", ours.clone().fragment(0).bytes(), worker),
        ("first fragment", ours.clone().fragment(0x2000).bytes(), pass(Pass::Fragment)),
        ("later fragment", ours.clone().fragment(0x2010).bytes(), Verdict::NotOurs),
        ("last fragment", ours.clone().fragment(0x0010).bytes(), Verdict::NotOurs),
        ("IPv6, first fragment", ours6.clone().headers(&[(44, first)]).bytes(), pass(Pass::Fragment)),
        ("IPv6, later fragment", ours6.clone().headers(&[(44, later)]).bytes(), Verdict::NotOurs),
        (
            "IPv6, a fragment that is the whole",
            ours6.clone().headers(&[(44, atomic)]).bytes(),
            pass(Pass::Fragment),
        ),
        ("IPv6, hop-by-hop options", ours6.clone().headers(&[(0, options)]).bytes(), worker),
        ("IPv6, destination options", ours6.clone().headers(&[(60, long_options)]).bytes(), worker),
        ("IPv6, routing header at its end", ours6.clone().headers(&[(43, routed)]).bytes(), worker),
        (
            "IPv6, routing header with a way to go",
            ours6.clone().headers(&[(43, routing)]).bytes(),
            pass(Pass::RoutingHeader),
        ),
        (
            "IPv6, four headers",
            ours6.clone().headers(&[(0, options), (60, long_options), (43, routed), (60, options)]).bytes(),
            worker,
        ),
        (
            "IPv6, five headers",
            ours6
                .clone()
                .headers(&[(0, options), (60, options), (43, routed), (60, options), (60, options)])
                .bytes(),
            Verdict::NotOurs,
        ),
        ("IPv6, authentication header", ours6.clone().headers(&[(51, options)]).bytes(), Verdict::NotOurs),
        (
            "IPv6, a header with a length beyond the frame",
            ours6.clone().headers(&[(60, &[255, 1, 4, 0, 0, 0, 0])]).bytes(),
            Verdict::NotOurs,
        ),
        ("an IP length beyond the frame", ours.clone().ip_length_off(1).bytes(), pass(Pass::Truncated)),
        ("an IPv6 length beyond the frame", ours6.clone().ip_length_off(1).bytes(), pass(Pass::Truncated)),
        ("cut off in the message", ours.bytes()[..300].to_vec(), pass(Pass::Truncated)),
        ("cut off in the UDP header", ours.bytes()[..41].to_vec(), Verdict::NotOurs),
        ("cut off in the IP header", ours.bytes()[..33].to_vec(), Verdict::NotOurs),
        ("cut off behind the Ethernet header", ours.bytes()[..14].to_vec(), Verdict::NotOurs),
        ("a trailer", ours.clone().with(|f| f.trailer = b"\r\ni: x\r\n".to_vec()).bytes(), worker),
        (
            "a UDP length below the IP length",
            ours.clone().with(|f| f.udp_length_off = -1).bytes(),
            pass(Pass::UdpLength),
        ),
        (
            "a UDP length above the IP length",
            ours.clone().with(|f| f.udp_length_off = 1).bytes(),
            pass(Pass::UdpLength),
        ),
        (
            "a UDP length of 7",
            ours.clone().with(|f| f.udp_length_off = -1 - f.payload.len() as i32).bytes(),
            pass(Pass::UdpLength),
        ),
        (
            "a UDP length of 0",
            ours.clone().with(|f| f.udp_length_off = -8 - f.payload.len() as i32).bytes(),
            pass(Pass::UdpLength),
        ),
        ("nothing", Frame::new(v4, b"").bytes(), pass(Pass::Short)),
        ("a keep-alive", Frame::new(v4, b"\r\n\r\n").bytes(), pass(Pass::Short)),
        ("a frame as long as a socket's", long(3000 - 42 - 160).bytes(), pass(Pass::NoCallId)),
        ("a frame longer than a socket's", long(3000 - 42 - 159).bytes(), pass(Pass::TooLarge)),
        ("Call-ID", message("Call-ID: 1-2@h").bytes(), same),
        ("in capital letters", message("CALL-ID:1-2@h").bytes(), same),
        ("compact", message("i: 1-2@h").bytes(), same),
        ("compact, capital, tabs", message("I\t:\t1-2@h").bytes(), same),
        ("white space before the colon", message("Call-ID  :   1-2@h").bytes(), same),
        ("white space behind the value", message("Call-ID: 1-2@h \t").bytes(), same),
        ("twice", message("Call-ID: 1-2@h\r\nCall-ID: 3@h").bytes(), same),
        (
            "behind one with a longer name",
            message("Call-IDs: 9@h\r\nIdentity: i\r\nCall-ID: 1-2@h").bytes(),
            same,
        ),
        ("folded", message("Call-ID:\r\n 1-2@h").bytes(), pass(Pass::NoCallId)),
        ("empty", message("Call-ID: ").bytes(), pass(Pass::NoCallId)),
        ("no colon", message("Call-ID 1-2@h").bytes(), pass(Pass::NoCallId)),
        ("missing", message("Max-Forwards: 70").bytes(), pass(Pass::NoCallId)),
        ("not at the begin of a line", message("Subject: Call-ID: 1-2@h").bytes(), pass(Pass::NoCallId)),
        ("in a continuation line", message("Subject: x\r\n Call-ID: 1-2@h").bytes(), pass(Pass::NoCallId)),
        ("in the body", message("Subject: x\r\n\r\nCall-ID: 1-2@h").bytes(), pass(Pass::NoCallId)),
        (
            "beside letters that are not ASCII",
            message("Subject: грüße 日本\r\nf: Zoë <sip:z@h>\r\ni: 1-2@h").bytes(),
            same,
        ),
        (
            "at the very end",
            Frame::new(v4, b"BYE sip:b@example.com SIP/2.0\r\nTo: <sip:b@h>\r\nCall-ID: 1-2@h\r\n\r\n")
                .bytes(),
            same,
        ),
        (
            "at the very end, compact, nothing behind its line",
            Frame::new(v4, b"BYE sip:b@example.com SIP/2.0\r\nTo: <sip:b@h>\r\ni: 1-2@h\r\n").bytes(),
            same,
        ),
        (
            "cut off behind its value",
            Frame::new(v4, b"BYE sip:b@example.com SIP/2.0\r\nTo: <sip:b@h>\r\nCall-ID: 1-2@h").bytes(),
            pass(Pass::NoCallId),
        ),
        ("just within the search", long(SCAN_BYTES_MAX - 42).bytes(), same),
        ("just beyond the search", long(SCAN_BYTES_MAX - 41).bytes(), pass(Pass::NoCallId)),
    ];
    let frames: Vec<Vec<u8>> = cases.iter().map(|(_, frame, _)| frame.clone()).collect();
    for ((name, frame, expected), verdict) in cases.iter().zip(kernel.verdicts(&frames)) {
        assert_eq!(verdict, *expected, "{name}");
        assert_eq!(node(&listeners).verdict(frame), *expected, "{name}, by the oracle");
    }
    // Every reason was seen but the two that need other globals or no sockets.
    for reason in Pass::ALL {
        let is_seen = cases.iter().any(|(_, _, verdict)| *verdict == Verdict::Pass(reason));
        assert_eq!(is_seen, reason != Pass::NoSocket, "{}", reason.name());
    }
}

#[test]
fn larger_than_the_walk() {
    let listeners = listeners();
    let globals = Globals { frame_bytes_max: u32::MAX, ..GLOBALS };
    let Some(mut kernel) = Kernel::new(globals, &listeners) else { return };
    // The kernel's test run takes less than a page; what is longer than that is shown for user space.
    let frame = Frame::new(listeners[0], &vec![b'x'; 3400]).bytes();
    assert_eq!(kernel.verdict(&frame), Verdict::Pass(Pass::NoCallId));
    assert_eq!(sluice_steer::hash(&vec![b'x'; PAYLOAD_BYTES_MAX + 1], 0), Err(Pass::TooLarge));
}

#[test]
fn canonical_messages() {
    let listeners = listeners();
    let Some(mut kernel) = Kernel::new(GLOBALS, &listeners) else { return };
    for (name, ..) in sluice_tests::CANONICAL {
        let message = canonical(name);
        let expected = Verdict::Worker(
            sluice_steer::worker(&message, GLOBALS.workers, GLOBALS.seed).expect("a Call-ID"),
        );
        for listener in listeners {
            for tags in [&[][..], &[(0x8100, 7)], &[(0x88a8, 7), (0x8100, 8)]] {
                let frame = Frame::new(listener, &message).tagged(tags).bytes();
                assert_eq!(kernel.verdict(&frame), expected, "{name} to {listener}, tags {tags:?}");
            }
        }
    }
}

#[test]
fn every_place_of_a_call_id() {
    let listeners = listeners();
    let Some(mut kernel) = Kernel::new(GLOBALS, &listeners) else { return };
    let node = node(&listeners);
    let frame_of = |before: usize| {
        let field = if before.is_multiple_of(2) { "i:" } else { "Call-ID: " };
        let text =
            format!("{}\r\n{field}{before}@h\r\n\r\n{}", "x".repeat(before), "v=0\r\n".repeat(before % 20));
        Frame::new(listeners[before % 2], text.as_bytes()).bytes()
    };
    let frames: Vec<Vec<u8>> = (30..SCAN_BYTES_MAX + 50).map(frame_of).collect();
    let mut workers = [false; GLOBALS.workers as usize];
    for (frame, verdict) in frames.iter().zip(kernel.verdicts(&frames)) {
        assert_eq!(verdict, node.verdict(frame), "{frame:02x?}");
        if let Verdict::Worker(worker) = verdict {
            workers[worker as usize] = true;
        }
    }
    assert_eq!(workers, [true; GLOBALS.workers as usize], "all workers were picked");
}

#[test]
fn broken_frames() {
    let listeners = listeners();
    let Some(mut kernel) = Kernel::new(GLOBALS, &listeners) else { return };
    let node = node(&listeners);
    let seed = env::var("SLUICE_SEED")
        .map_or_else(|_| std::process::id().into(), |seed| seed.parse().expect("a number"));
    println!("SLUICE_SEED={seed} repeats this run");
    let mut random = Random(seed);
    let options: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
    let mut kept = Vec::new();
    for (name, ..) in sluice_tests::CANONICAL {
        let frame = Frame::new(listeners[0], &canonical(name));
        let frame6 = Frame::new(listeners[1], &canonical(name));
        kept.push(frame.bytes());
        kept.push(frame.clone().tagged(&[(0x88a8, 7), (0x8100, 8)]).bytes());
        kept.push(frame.clone().with(|f| f.trailer = vec![b'\n'; 12]).bytes());
        kept.push(frame6.bytes());
        kept.push(frame6.headers(&[(0, options), (60, options)]).bytes());
    }
    let mut broken = Vec::new();
    for _ in 0..12_000 {
        let mut frame = kept[random.below(kept.len())].clone();
        // Half of the changes go to the headers, where they matter most.
        for _ in 0..random.below(4) {
            let within = if random.below(2) == 0 { 80 } else { frame.len() };
            let at = random.below(within);
            frame[at] = match random.below(3) {
                0 => random.next() as u8,
                1 => b"\r\n :iC\x0b\x80"[random.below(8)],
                _ => frame[at] ^ 1 << random.below(8),
            };
        }
        match random.below(8) {
            0 => frame.truncate(14 + random.below(frame.len() - 13)),
            1 => frame.extend(vec![b'\n'; random.below(40)]),
            _ => {}
        }
        broken.push(frame);
    }
    let mut verdicts = std::collections::BTreeMap::new();
    for (frame, verdict) in broken.iter().zip(kernel.verdicts(&broken)) {
        assert_eq!(verdict, node.verdict(frame), "SLUICE_SEED={seed}, frame {frame:02x?}");
        *verdicts.entry(format!("{verdict:?}")).or_insert(0) += 1;
    }
    println!("{verdicts:?}");
    assert!(verdicts.len() > 15, "workers, and reasons of all kinds: {verdicts:?}");
}

#[test]
fn by_queue() {
    let listeners = listeners();
    let globals = Globals { steer: STEER_BY_QUEUE, workers: 3, queues: 2, ..GLOBALS };
    let Some(mut kernel) = Kernel::new(globals, &listeners) else { return };
    for payload in [&canonical("bye")[..], b"no Call-ID", b""] {
        assert_eq!(kernel.verdict(&Frame::new(listeners[0], payload).bytes()), Verdict::Worker(0));
    }
    let frame = Frame::new(listeners[0], &canonical("bye")).fragment(0x2000).bytes();
    assert_eq!(kernel.verdict(&frame), Verdict::Pass(Pass::Fragment));
}

/// Four queues of a device in a network namespace of the thread's own, which goes with it; three workers; one socket at a time.
#[test]
fn every_queue_has_its_own_sockets() {
    const QUEUES: u32 = 4;
    const WORKERS: u32 = 3;
    let run = || {
        let listeners = listeners();
        let globals = Globals { workers: WORKERS, queues: QUEUES, ..GLOBALS };
        let Some(mut by_call_id) = Kernel::new(globals, &listeners) else { return };
        let mut by_queue =
            Kernel::new(Globals { steer: STEER_BY_QUEUE, ..globals }, &listeners).expect("another one");
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        let ip =
            Command::new("ip").args(["link", "add", "slv0", "numrxqueues", "4", "type", "veth"]).status();
        assert!(ip.expect("the command ip (Debian: iproute2)").success());
        let device = nix::net::if_::if_nametoindex("slv0").expect("the device");
        let bye = canonical("bye");
        let frame = Frame::new(listeners[0], &bye).bytes();
        let worker = sluice_steer::worker(&bye, WORKERS, GLOBALS.seed).expect("a Call-ID");
        for index in 0..QUEUES * WORKERS {
            by_call_id.only_socket(index);
            by_queue.only_socket(index);
            for queue in 0..QUEUES {
                let action = |of: u32| if of == index { XDP_REDIRECT } else { XDP_PASS };
                let picked = action(queue * WORKERS + worker);
                assert_eq!(
                    by_call_id.action_on(&frame, device, queue),
                    picked,
                    "queue {queue}, socket {index}"
                );
                let picked = action(queue * WORKERS + queue % WORKERS);
                assert_eq!(
                    by_queue.action_on(&frame, device, queue),
                    picked,
                    "queue {queue}, socket {index}"
                );
            }
        }
    };
    thread::Builder::new()
        .name("every_queue_has_its_own_sockets".to_owned())
        .spawn(run)
        .expect("a thread")
        .join()
        .expect("no panic");
}

/// Numbers that look random and repeat (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ number >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
