//! A node on AF_XDP allocates nothing once it has started: not for what its workers forward, answer, absorb, refuse or drop, nor for what goes by the kernel path.
//!
//! The node runs in this process, on veths in network namespaces of the test's own, with everything but the control plane's threads: those may allocate. So the
//! allocator counts for the whole process, and the thread that sends has made all datagrams before. It is the only test of this binary.
//!
//! What is sent: the canonical messages and the golden vectors' (requests, responses, noise, hostile bytes) to listeners over IPv4 and IPv6; requests to a
//! neighbour that is not there; requests that are larger than a packet, in fragments; datagrams without a Call-ID.

use arc_swap::ArcSwap;
use nix::sched::{CloneFlags, setns, unshare};
use sluice::control::config::{self, NodePlan, Overrides};
use sluice::control::netlink;
use sluice::control::plane::{Plane, Settings};
use sluice::proxy::seal::{Key, Keys};
use sluice::stats::{Counter, Handover, Totals};
use sluice_tests::counting::{self, Counting};
use sluice_tests::{CANONICAL, canonical, golden};
use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The node's configuration: two workers, two listeners. A rule sends what is for `example.net` to a neighbour that is there, another to one that is not.
const CONFIG: &str = r#"
[node]
workers = 2
[io]
mode = "af_xdp"
idle_us_max = 1000
[[listen]]
name = "v4"
address = "192.0.2.1:5060"
[[listen]]
name = "v6"
address = "[2001:db8::1]:5060"
[routing]
domains = ["example.net", "nobody.example.net"]
[[rule]]
host = "nobody.example.net"
next_hop = "192.0.2.77:5060"
[[rule]]
next_hop = "192.0.2.2:5070"
"#;

#[test]
fn nothing_allocates_after_the_start() {
    let Some(ends) = namespaces() else { return };
    let file = config::from_text("test", CONFIG).unwrap();
    let node = NodePlan::new(&file, &Overrides::default()).unwrap();
    let keys = Keys { current: Key::new(1, b"a key for a test"), other: None };
    let snapshot = Arc::new(ArcSwap::from_pointee(config::snapshot(&file, keys).unwrap()));
    let routes = Arc::new(ArcSwap::from_pointee(netlink::read_once().unwrap()));
    let plane = Plane::set_up(&node, &routes, Settings { snapshot, idle_us_max: 1_000 }).unwrap();
    let (workers, watch) = (plane.workers.clone(), Arc::clone(plane.watch().unwrap()));
    let mut threads = plane.start().unwrap();

    setns(&ends, CloneFlags::CLONE_NEWNET).unwrap();
    let (v4, v6) =
        (UdpSocket::bind("192.0.2.2:5060").unwrap(), UdpSocket::bind("[2001:db8::2]:5060").unwrap());
    let sink = UdpSocket::bind("192.0.2.2:5070").unwrap();
    sink.set_nonblocking(true).unwrap();
    let nodes: [SocketAddr; 2] = ["192.0.2.1:5060".parse().unwrap(), "[2001:db8::1]:5060".parse().unwrap()];
    let datagrams = datagrams();
    let totals = || {
        let mut totals = Totals::default();
        workers.iter().for_each(|worker| totals.add(&worker.stats));
        totals
    };
    // Threads get their memory with their first steps, and the kernel learns its neighbours.
    send(&v4, nodes[0], &datagrams[..20]);
    thread::sleep(Duration::from_millis(300));

    let (before, counted) = (totals(), counting::of_all_threads());
    for _ in 0..5 {
        send(&v4, nodes[0], &datagrams);
        send(&v6, nodes[1], &datagrams);
        // What has come so far is read by nobody else.
        let mut buffer = [0; 2_048];
        while sink.recv(&mut buffer).is_ok() {}
    }
    let begin = Instant::now();
    let mut last = 0;
    while begin.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(100));
        let received = totals().counter(Counter::Received);
        if received == last {
            break;
        }
        last = received;
    }
    let allocations = counting::of_all_threads() - counted;
    let after = totals();

    threads.stop().unwrap();
    let more = |counter| after.counter(counter) - before.counter(counter);
    let received = more(Counter::Received);
    assert!(received > 4_000, "received {received}");
    assert!(more(Counter::ForwardedRequests) > 500 && more(Counter::Sent) > 500, "{:?}", watch.counters());
    let (absorbed, replied, dropped) = after.sums();
    assert!(absorbed > 0 && replied > 100 && dropped > 100, "{absorbed} {replied} {dropped}");
    assert!(after.handed_over(Handover::NoNeighbour) > 0 && after.handed_over(Handover::TooLarge) > 0);
    let passed = |name: &str| watch.counters().iter().find(|(n, _)| n == name).map_or(0, |(_, count)| *count);
    assert!(passed("passed{no_call_id}") > 0 && passed("passed{fragment}") > 0, "{:?}", watch.counters());
    assert_eq!(allocations, 0, "for {received} datagrams");
}

fn send(socket: &UdpSocket, to: SocketAddr, datagrams: &[Vec<u8>]) {
    for (i, datagram) in datagrams.iter().enumerate() {
        // What the kernel does not send (nothing listens any more, say) is not what this is about.
        let _ = socket.send_to(datagram, to);
        if i % 16 == 15 {
            thread::sleep(Duration::from_micros(500));
        }
    }
}

/// Everything that is sent, in one round.
fn datagrams() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = golden("").iter().map(|vector| vector.run().0).collect();
    all.extend(CANONICAL.map(|(name, ..)| canonical(name)));
    for i in 0..200 {
        // In fragments; in one packet, and larger than one when it leaves; small.
        let body = "x".repeat(match i % 40 {
            0 => 1_460,
            1 => 1_150,
            _ => 0,
        });
        let host = if i % 50 == 2 { "nobody.example.net" } else { "example.net" };
        all.push(
            format!(
                "INVITE sip:callee@{host} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK{i};rport\r\n\
                 From: <sip:a@192.0.2.2>;tag={i}\r\nTo: <sip:callee@{host}>\r\nCall-ID: call-{i}\r\nCSeq: 1 INVITE\r\n\
                 Max-Forwards: 70\r\nContact: <sip:a@192.0.2.2>\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        );
    }
    all
}

/// This thread's own namespace, with the node's address, and that of the ends. None, with a word, without the privilege; a failure in CI.
fn namespaces() -> Option<File> {
    let own = || File::open("/proc/thread-self/ns/net").unwrap();
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        assert!(std::env::var_os("CI").is_none(), "CI must not skip a test: network namespaces: {error}");
        let _ =
            writeln!(std::io::stderr(), "SKIPPED af_xdp_allocations: network namespaces need root: {error}");
        return None;
    }
    let node = own();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let ends = own();
    let netns = format!("/proc/{}/fd/{}", std::process::id(), node.as_raw_fd());
    ip(&format!(
        "link set lo up\n\
         link add e0 numrxqueues 2 numtxqueues 2 type veth peer name n0 numrxqueues 2 numtxqueues 2 netns {netns}\n\
         link set e0 addrgenmode none up\naddr add 192.0.2.2/24 dev e0\naddr add 2001:db8::2/64 dev e0 nodad\n"
    ));
    setns(&node, CloneFlags::CLONE_NEWNET).unwrap();
    ip(
        "link set lo up\nlink set n0 addrgenmode none up\naddr add 192.0.2.1/24 dev n0\naddr add 2001:db8::1/64 dev n0 nodad\n",
    );
    // Resolved before the routes are read, which nothing follows here.
    for (peer, mac) in [("192.0.2.2", &ends), ("2001:db8::2", &ends)] {
        setns(mac, CloneFlags::CLONE_NEWNET).unwrap();
        let address = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        assert!(address.contains("e0"));
        let shown = Command::new("ip").args(["-o", "link", "show", "e0"]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let mac =
            shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned();
        setns(&node, CloneFlags::CLONE_NEWNET).unwrap();
        ip(&format!("neigh replace {peer} lladdr {mac} dev n0 nud permanent\n"));
    }
    Some(ends)
}

/// Has `ip` do all of `lines`, in this thread's namespace.
fn ip(lines: &str) {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    ip.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success(), "{lines}");
}
