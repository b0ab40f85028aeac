//! The UDP I/O and its workers over loopback.
//!
//! | claim | test |
//! |---|---|
//! | all datagrams of one source and listener come out of one worker, in order, and so do their answers | `one_pair_of_addresses_is_one_workers` |
//! | nothing is allocated or freed after bind: receive, send, failure, sleep | `nothing_allocates_after_bind` |
//! | nor by a running worker, a change of snapshot included | `a_running_worker_allocates_nothing` |
//! | started workers answer over their sockets and stop when told | `workers_answer_and_stop` |

use sluice::io::udp::{Options, Udp};
use sluice::io::{Datagram, Io, ListenerIndex, Verdict};
use sluice::proxy::snapshot::{ListenerPlan, Plan, Snapshot};
use sluice::stats::{Counter, Reason, Stats};
use sluice::worker::{Published, Worker, publish, spawn};
use sluice_tests::counting::{self, Counting};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Longest that a test waits for anything. On loopback it is there at once; this is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and frees of this thread so far.
fn allocator_calls() -> u64 {
    counting::of_this_thread() + counting::frees_of_this_thread()
}

fn udp(listeners: &[SocketAddr], batch_datagrams_max: usize) -> (Udp, Arc<Stats>) {
    let stats = Arc::new(Stats::new());
    let options = Options { batch_datagrams_max, ..Options::default() };
    (Udp::bind(listeners, &options, Arc::clone(&stats)).unwrap(), stats)
}

fn peer(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Back to where it came from, by the same listener.
fn echo(datagram: &mut Datagram<'_>) -> Verdict {
    Verdict::Transmit { egress: datagram.flow.listener, to: datagram.flow.source }
}

/// ```text
/// 32 sources, on 4 threads  --->  1 listener, 4 workers of one SO_REUSEPORT group  --->  back to each source
/// ```
///
/// Every source sends messages of 8 Call-IDs in turn, numbered. Whatever worker gets one, it notes source, Call-ID and number, and sends it back.
#[test]
fn one_pair_of_addresses_is_one_workers() {
    for (listener, from) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("0.0.0.0:0", "127.0.0.1")] {
        let from: IpAddr = from.parse().unwrap();
        let (first, _) = udp(&[listener.parse().unwrap()], 16);
        let bound = first.addresses().next().unwrap();
        let mut workers = vec![first];
        workers.extend((1..WORKERS).map(|_| udp(&[bound], 16).0));

        let sources: Vec<_> = (0..SOURCES).map(|_| peer(from)).collect();
        let came = AtomicUsize::new(0);
        let to = SocketAddr::new(from, bound.port());
        let notes: Vec<Notes> = thread::scope(|scope| {
            let workers = workers.into_iter().map(|udp| scope.spawn(|| note_and_echo(udp, &came)));
            let workers: Vec<_> = workers.collect();
            for part in sources.chunks(SOURCES / 4) {
                scope.spawn(move || send_numbered(part, to));
            }
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });

        for source in &sources {
            let address = source.local_addr().unwrap();
            let owners: Vec<_> = notes.iter().filter_map(|notes| notes.get(&address)).collect();
            assert_eq!(owners.len(), 1, "{address} is one worker's");
            let all: Vec<String> = (0..MESSAGES).map(message).collect();
            assert_eq!(owners[0], &all, "in order, and so those of each Call-ID are");
            let mut buffer = [0; 100];
            for expected in &all {
                let len = source.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..len], expected.as_bytes(), "and so the answers are");
            }
        }
        let busy = notes.iter().filter(|notes| !notes.is_empty()).count();
        assert!(busy > 1, "{busy} of {WORKERS} workers had something to do");
    }
}

const WORKERS: usize = 4;
const SOURCES: usize = 32;
/// Of each source; all of them fit the smallest of the buffers on the way, a source's own of 208 KiB.
const MESSAGES: usize = 160;

/// What a worker saw of each source.
type Notes = HashMap<SocketAddr, Vec<String>>;

fn message(number: usize) -> String {
    format!("BYE sip:b@192.0.2.1 SIP/2.0\r\nCall-ID: {}\r\nCSeq: {number} BYE\r\n\r\n", number % 8)
}

/// All sources' messages, in turn.
fn send_numbered(sources: &[UdpSocket], to: SocketAddr) {
    for number in 0..MESSAGES {
        for source in sources {
            source.send_to(message(number).as_bytes(), to).unwrap();
        }
    }
}

/// Works until all workers together have had all messages.
fn note_and_echo(mut udp: Udp, came: &AtomicUsize) -> Notes {
    let mut notes = Notes::new();
    let deadline = Instant::now() + PATIENCE;
    while came.load(Ordering::Relaxed) < SOURCES * MESSAGES {
        assert!(Instant::now() < deadline, "{} came", came.load(Ordering::Relaxed));
        udp.wait(1_000);
        let count = udp.breathe(&mut |datagram| {
            let text = String::from_utf8(datagram.payload().to_vec()).unwrap();
            notes.entry(datagram.flow.source).or_default().push(text);
            echo(datagram)
        });
        came.fetch_add(count, Ordering::Relaxed);
    }
    notes
}

#[test]
fn nothing_allocates_after_bind() {
    for listeners in [1, 2, 9] {
        let addresses = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"].map(|a| a.parse().unwrap());
        let addresses: Vec<SocketAddr> = addresses.into_iter().cycle().take(listeners).collect();
        let (mut udp, stats) = udp(&addresses, 16);
        let bound: Vec<_> = udp.addresses().collect();
        let peers = ["127.0.0.1", "::1"].map(|ip| peer(ip.parse().unwrap()));
        let mut buffer = [0; 2_000];
        let (mut sent, mut failed) = (0, 0);

        let before = allocator_calls();
        for round in 0..100_usize {
            let listener = bound[round % listeners];
            let peer = &peers[usize::from(listener.is_ipv6())];
            let to = SocketAddr::new(
                if listener.is_ipv6() { [0, 0, 0, 0, 0, 0, 0, 1].into() } else { [127, 0, 0, 1].into() },
                listener.port(),
            );
            for i in 0..40 {
                peer.send_to(&[i; 1_000], to).unwrap();
            }
            let mut came = 0;
            for _ in 0..1_000 {
                udp.wait(10_000);
                came += udp.breathe(&mut |datagram| match datagram.payload()[0] {
                    // One fails, one leaves by a listener that is not there, one does not leave.
                    3 => Verdict::Transmit {
                        egress: datagram.flow.listener,
                        to: SocketAddr::from(([0; 4], 0)),
                    },
                    4 => Verdict::Transmit { egress: ListenerIndex(999), to: datagram.flow.source },
                    5 => Verdict::Release,
                    _ => echo(datagram),
                });
                if came == 40 {
                    break;
                }
            }
            assert_eq!(came, 40);
            (0..37).for_each(|_| assert_eq!(peer.recv(&mut buffer).unwrap(), 1_000));
            (sent, failed) = (sent + 37, failed + 2);
        }
        udp.wait(100);
        udp.breathe(&mut echo);
        assert_eq!(allocator_calls() - before, 0);
        let totals = stats.read();
        assert_eq!((totals.counter(Counter::Sent), totals.counter(Counter::SendFailed)), (sent, failed));
    }
}

/// A node on these addresses that answers OPTIONS for `domain`.
fn snapshot(addresses: &[SocketAddr], domain: &str) -> Arc<Snapshot> {
    let listener = |(i, address): (usize, &SocketAddr)| ListenerPlan {
        name: format!("listener-{i}"),
        address: *address,
        advertise: None,
        aliases: vec![],
        trusted: false,
    };
    let listeners = addresses.iter().enumerate().map(listener).collect();
    let domains = vec![sluice::proxy::identity::Authority::parse(domain).unwrap()];
    let plan = Plan { listeners, domains, target_sets: vec![], rules: vec![], ..sluice_tests::plan() };
    Arc::new(Snapshot::new(plan).unwrap())
}

fn options(from: &UdpSocket, call_id: usize) -> Vec<u8> {
    let from = from.local_addr().unwrap();
    format!(
        "OPTIONS sip:example.net SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call_id};rport\r\nFrom: <sip:a@{from}>;tag=a\r\n\
         To: <sip:example.net>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

#[test]
fn workers_answer_and_stop() {
    let (first, first_stats) = udp(&["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()], 64);
    let bound: Vec<_> = first.addresses().collect();
    let (second, second_stats) = udp(&bound, 64);
    let stop = Arc::new(AtomicBool::new(false));
    let current = Arc::new(Published::new(snapshot(&bound, "example.net")));
    let stats = [first_stats, second_stats];
    let running: Vec<_> = [first, second]
        .into_iter()
        .zip(&stats)
        .enumerate()
        .map(|(i, (io, stats))| {
            let (snapshot, stats, stop) = (Arc::clone(&current), Arc::clone(stats), Arc::clone(&stop));
            spawn(Worker { io, snapshot, stats, stop, idle_us_max: 10_000 }, i, None).unwrap()
        })
        .collect();

    for listener in &bound {
        for call in 0..20 {
            let peer = peer(listener.ip());
            peer.send_to(&options(&peer, call), listener).unwrap();
            let mut buffer = [0; 2_000];
            let (len, from) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!(from, *listener);
            assert!(
                buffer[..len].starts_with(b"SIP/2.0 200 OK\r\n"),
                "{}",
                String::from_utf8_lossy(&buffer[..len])
            );
        }
    }
    let told = Instant::now();
    stop.store(true, Ordering::Relaxed);
    let ios: Vec<_> = running.into_iter().map(|r| r.thread.join().unwrap()).collect();
    assert!(told.elapsed() < PATIENCE);
    drop(ios);
    let total = |counter| stats.iter().map(|s| s.read().counter(counter)).sum::<u64>();
    assert_eq!((total(Counter::Received), total(Counter::Sent), total(Counter::SendFailed)), (40, 40, 0));
    assert_eq!(stats.iter().map(|s| s.read().replied(Reason::Options)).sum::<u64>(), 40);
}

/// A worker's I/O that looks at the allocator's counter in its own thread, between two breaths.
struct Watched {
    udp: Udp,
    at: SocketAddr,
    peer: UdpSocket,
    request: Vec<u8>,
    stop: Arc<AtomicBool>,
    published: Arc<dyn Fn(usize) + Send + Sync>,
    breaths: usize,
    calls_at_start: u64,
    calls: u64,
}

impl Io for Watched {
    fn breathe(&mut self, forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict) -> usize {
        self.breaths += 1;
        if self.breaths == 10 {
            self.calls_at_start = allocator_calls();
        }
        (self.published)(self.breaths);
        if self.breaths.is_multiple_of(2) {
            self.peer.send_to(&self.request, self.at).unwrap();
        }
        if self.breaths == 1_000 {
            self.stop.store(true, Ordering::Relaxed);
            self.calls = allocator_calls() - self.calls_at_start;
        }
        self.udp.breathe(forward)
    }

    fn wait(&mut self, idle_us_max: u64) {
        self.udp.wait(idle_us_max);
    }
}

#[test]
fn a_running_worker_allocates_nothing() {
    let (udp, stats) = udp(&["127.0.0.1:0".parse().unwrap()], 64);
    let at = udp.addresses().next().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let current = Arc::new(Published::new(snapshot(&[at], "example.net")));

    // Another thread publishes when the worker has come so far, for publishing may allocate.
    let (far, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let publisher = {
        let (far, done, current) = (Arc::clone(&far), Arc::clone(&done), Arc::clone(&current));
        thread::spawn(move || {
            let (deadline, mut retired) = (Instant::now() + PATIENCE, vec![]);
            while far.load(Ordering::Relaxed) < 500 && Instant::now() < deadline {
                thread::yield_now();
            }
            publish(&current, &mut retired, snapshot(&[at], "example.org"));
            done.store(true, Ordering::Release);
            retired
        })
    };
    let published: Arc<dyn Fn(usize) + Send + Sync> = Arc::new(move |breaths| {
        far.store(breaths, Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        while breaths == 500 && !done.load(Ordering::Acquire) && Instant::now() < deadline {
            thread::yield_now();
        }
    });

    let peer = peer(at.ip());
    let request = options(&peer, 1);
    let io = Watched {
        udp,
        at,
        peer,
        request,
        stop: Arc::clone(&stop),
        published,
        breaths: 0,
        calls_at_start: 0,
        calls: u64::MAX,
    };
    let worker = Worker { io, snapshot: current, stats: Arc::clone(&stats), stop, idle_us_max: 100 };
    let io = spawn(worker, 0, None).unwrap().thread.join().unwrap();
    drop(publisher.join().unwrap());
    assert_eq!(io.calls, 0);
    let totals = stats.read();
    // After the change the domain is no longer ours, and a stranger's request for it is refused.
    assert_eq!((totals.counter(Counter::Received), totals.replied(Reason::Options)), (500, 250));
}
