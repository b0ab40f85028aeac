//! The pinned thread: breathe in a batch, forward, breathe out.
//!
//! A worker owns its I/O and its [`Forwarder`], and shares three things: the snapshot, which the control plane publishes and the worker looks for between
//! two batches; its counters, which it alone writes; and the flag that ends it. While it runs it takes no lock, allocates nothing and
//! writes no log. It sleeps only when nothing has come for [`SPIN_US`], and only in [`Io::wait`].

#![forbid(unsafe_code)]

use crate::forward::Forwarder;
use crate::io::Io;
use crate::proxy::snapshot::Snapshot;
use crate::stats::{Counter, Stats};
use arc_swap::{ArcSwap, Cache};
use core_affinity::CoreId;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// How long a worker looks for more before it sleeps.
///
/// About what a sleep costs in latency: falling asleep, the interrupt, the way back to the CPU. So spinning never costs more than twice the better choice.
pub const SPIN_US: u64 = 20;

/// Batches after the end was told: what a full receive buffer holds, and not what somebody goes on sending.
const LAST_BREATHS_MAX: u32 = 256;

/// Where the control plane publishes a snapshot, and every worker looks for one.
pub type Published = ArcSwap<Snapshot>;

/// One worker, before it runs.
pub struct Worker<I> {
    /// Its way to the network.
    pub io: I,
    /// The tables, as the control plane publishes them: see [`publish`].
    pub snapshot: Arc<Published>,
    /// Its counters; `io` counts in the same.
    pub stats: Arc<Stats>,
    /// Set to true, it ends all workers that share it.
    pub stop: Arc<AtomicBool>,
    /// Longest sleep when nothing comes, and so the longest that a new snapshot or the end waits; 0 never sleeps.
    pub idle_us_max: u64,
}

impl<I: Io> Worker<I> {
    /// Works until told to stop and nothing is left of what has come, or little of what goes on coming, and gives the I/O back.
    ///
    /// The caller drops it when all workers have ended: a socket that closes sends its neighbours' datagrams to those that are left.
    pub fn run(self) -> I {
        let Self { mut io, snapshot, stats, stop, idle_us_max } = self;
        let mut snapshot = Cache::new(snapshot);
        let mut forwarder = Forwarder::new();
        let mut clock = Clock::start();
        let mut busy_us = 0;

        let mut last_breaths = 0..LAST_BREATHS_MAX;
        loop {
            let ends = stop.load(Ordering::Relaxed);
            if ends && last_breaths.next().is_none() {
                break;
            }
            clock.tick(&stats);
            let now_us = clock.now_us();
            let snapshot: &Snapshot = snapshot.load();
            if io.breathe(&mut |datagram| forwarder.forward(snapshot, &stats, now_us, datagram)) > 0 {
                stats.add(Counter::BusyBatches, 1);
                clock.is_busy = true;
                busy_us = now_us;
                continue;
            }
            if ends {
                break;
            }
            stats.add(Counter::IdleBatches, 1);
            if now_us - busy_us > SPIN_US {
                io.wait(idle_us_max);
            }
        }
        clock.tick(&stats);
        io
    }
}

/// A worker's time: `CLOCK_MONOTONIC` by the vDSO, read once a batch. The end of one batch is the beginning of the next.
struct Clock {
    start: Instant,
    now_ns: u64,
    /// Whether the batch that began at `now_ns` had anything in it.
    is_busy: bool,
}

impl Clock {
    fn start() -> Self {
        Self { start: Instant::now(), now_ns: 0, is_busy: false }
    }

    /// Reads the time, and counts what has passed if the batch had anything in it.
    #[inline]
    fn tick(&mut self, stats: &Stats) {
        let now_ns = self.start.elapsed().as_nanos() as u64;
        if core::mem::take(&mut self.is_busy) {
            stats.add(Counter::BusyNs, now_ns - self.now_ns);
        }
        self.now_ns = now_ns;
    }

    /// Microseconds from the start to the last tick.
    #[inline]
    fn now_us(&self) -> u64 {
        self.now_ns / 1_000
    }
}

/// A worker's thread.
#[derive(Debug)]
pub struct Running<I> {
    /// The thread, which returns the I/O.
    pub thread: JoinHandle<I>,
    /// Whether it is pinned; not being so costs speed only.
    pub pinned: Result<(), PinError>,
}

/// A CPU that the thread could not be pinned to. It runs all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot pin to CPU {0}: there is none of that number, or this process may not use it")]
pub struct PinError(pub usize);

/// Starts `worker` as the thread `sluice-{index}`, on `cpu` if given, and returns once it is there.
///
/// # Errors
/// The system has no thread to give.
pub fn spawn<I: Io + Send + 'static>(
    worker: Worker<I>,
    index: usize,
    cpu: Option<usize>,
) -> io::Result<Running<I>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(format!("sluice-{index}")).spawn(move || {
        // Nobody listens any more only if `spawn` itself is gone.
        let _ = sender.send(cpu.map_or(Ok(()), pin));
        drop(sender);
        worker.run()
    })?;
    let pinned = receiver.recv().map_err(io::Error::other)?;
    Ok(Running { thread, pinned })
}

/// Most CPUs that the affinity mask has room for (`CPU_SETSIZE`).
const CPUS_MAX: usize = 1_024;

/// Pins the calling thread.
fn pin(cpu: usize) -> Result<(), PinError> {
    let is_pinned = cpu < CPUS_MAX && core_affinity::set_for_current(CoreId { id: cpu });
    if is_pinned { Ok(()) } else { Err(PinError(cpu)) }
}

/// Publishes `next`, a snapshot or other tables, and keeps what it replaces in `retired` until no worker uses it.
///
/// Whoever lets go of it last frees it, and that must not be a worker. So the publisher holds each old one, and every call drops those that only it
/// still holds.
pub fn publish<T>(current: &ArcSwap<T>, retired: &mut Vec<Arc<T>>, next: Arc<T>) {
    retired.push(current.swap(next));
    retired.retain(|old| Arc::strong_count(old) > 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::Memory;
    use crate::io::{Datagram, Flow, ListenerIndex, Verdict};
    use crate::proxy::identity::Authority;
    use crate::proxy::seal::{Key, Keys};
    use crate::proxy::snapshot::{ListenerPlan, Plan, ReplyRate};
    use crate::stats::Reason;
    use std::time::Duration;

    const LISTENER: &str = "192.0.2.1:5060";

    /// A node that answers OPTIONS for `domain` with 200.
    fn snapshot(domain: &str) -> Arc<Snapshot> {
        let listener = ListenerPlan {
            name: "a".into(),
            address: LISTENER.parse().unwrap(),
            advertise: None,
            aliases: vec![],
            trusted: false,
        };
        let plan = Plan {
            listeners: vec![listener],
            trusted_sources: vec![],
            domains: vec![Authority::parse(domain).unwrap()],
            record_route: true,
            seal_routes: true,
            seal_responses: true,
            target_sets: vec![],
            rules: vec![],
            reply_rate: ReplyRate::default(),
            keys: Keys { current: Key::new(1, b"a key for a test"), other: None },
        };
        Arc::new(Snapshot::new(plan).unwrap())
    }

    /// Follows a script: what each breath finds, and what happens before it.
    struct Script {
        memory: Memory,
        /// At these breaths, an OPTIONS for `example.net` is there.
        busy_at: &'static [u64],
        before: Box<dyn FnMut(u64) + Send>,
        breaths: u64,
        waits: Vec<(u64, u64)>,
        last_busy: Instant,
    }

    impl Script {
        fn new(busy_at: &'static [u64], before: impl FnMut(u64) + Send + 'static) -> Self {
            let (memory, before) = (Memory::default(), Box::new(before));
            Self { memory, busy_at, before, breaths: 0, waits: vec![], last_busy: Instant::now() }
        }
    }

    impl Io for Script {
        fn breathe(&mut self, forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict) -> usize {
            (self.before)(self.breaths);
            if self.busy_at.contains(&self.breaths) {
                let flow = Flow {
                    source: "192.0.2.9:5060".parse().unwrap(),
                    destination: LISTENER.parse().unwrap(),
                    listener: ListenerIndex(0),
                };
                self.memory.push(flow, OPTIONS);
                self.last_busy = Instant::now();
            }
            self.breaths += 1;
            self.memory.breathe(forward)
        }

        fn wait(&mut self, idle_us_max: u64) {
            let spun_us = self.last_busy.elapsed().as_micros() as u64;
            self.waits.push((idle_us_max, spun_us));
        }
    }

    const OPTIONS: &[u8] =
        b"OPTIONS sip:example.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKa\r\n\
        From: <sip:a@192.0.2.9>;tag=a\r\nTo: <sip:example.net>\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\n\
        Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

    /// A worker over `script`, which ends before the breath `breaths`.
    fn worker(
        busy_at: &'static [u64],
        breaths: u64,
        snapshot: &Arc<Published>,
        mut before: impl FnMut(u64) + Send + 'static,
    ) -> Worker<Script> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let io = Script::new(busy_at, move |breath| {
            before(breath);
            flag.store(breath + 1 >= breaths, Ordering::Relaxed);
        });
        let (snapshot, stats) = (Arc::clone(snapshot), Arc::new(Stats::new()));
        Worker { io, snapshot, stats, stop, idle_us_max: 7 }
    }

    #[test]
    fn it_breathes_until_told_to_stop() {
        let current = Arc::new(Published::new(snapshot("example.net")));
        let worker = worker(&[0, 1, 5], 8, &current, |_| ());
        let stats = Arc::clone(&worker.stats);
        let io = worker.run();
        let totals = stats.read();
        assert_eq!((io.breaths, io.memory.sent.len()), (9, 3), "the last one finds nothing");
        assert_eq!((totals.counter(Counter::BusyBatches), totals.counter(Counter::IdleBatches)), (3, 5));
        assert_eq!((totals.counter(Counter::Received), totals.replied(Reason::Options)), (3, 3));
    }

    #[test]
    fn what_has_come_is_worked_off_before_it_ends() {
        let current = Arc::new(Published::new(snapshot("example.net")));
        let io = worker(&[2, 3, 4, 6], 3, &current, |_| ()).run();
        assert_eq!((io.breaths, io.memory.sent.len()), (6, 3), "up to the first breath that finds nothing");
        let endless: Vec<u64> = (0..1_000).collect();
        let io = worker(Vec::leak(endless), 1, &current, |_| ()).run();
        assert_eq!(io.breaths, 1 + u64::from(LAST_BREATHS_MAX), "whoever goes on sending is not waited for");
    }

    #[test]
    fn busy_time_is_that_of_batches_with_something_in_them() {
        let current = Arc::new(Published::new(snapshot("example.net")));
        let nap = Duration::from_millis(5);
        let busy_of = |busy_at: &'static [u64], nap_at: u64| {
            let worker = worker(busy_at, 8, &current, move |breath| {
                if breath == nap_at {
                    thread::sleep(nap);
                }
            });
            let (stats, start) = (Arc::clone(&worker.stats), Instant::now());
            worker.run();
            let busy = Duration::from_nanos(stats.read().counter(Counter::BusyNs));
            assert!(busy < start.elapsed());
            busy
        };
        assert_eq!(busy_of(&[], 2), Duration::ZERO, "nothing came");
        assert!(busy_of(&[2], 2) >= nap, "a long batch");
        assert!(busy_of(&[7], 7) >= nap, "the last batch too");
        // A millisecond is much for one message, and little besides the nap. The best of a few: others may have the CPU in between.
        let beside_the_nap = (0..5).map(|_| busy_of(&[1, 3], 2)).min().unwrap();
        assert!(!beside_the_nap.is_zero() && beside_the_nap < nap / 5, "{beside_the_nap:?}");
    }

    #[test]
    fn it_sleeps_only_after_a_while_without_anything() {
        let current = Arc::new(Published::new(snapshot("example.net")));
        let pause = |breath| {
            if breath == 40 {
                thread::sleep(Duration::from_micros(2 * SPIN_US))
            }
        };
        let io = worker(&[0, 10, 20, 50], 60, &current, pause).run();
        assert!(!io.waits.is_empty());
        // One microsecond for the two clocks' rounding.
        assert!(io.waits.iter().all(|(us_max, spun_us)| *us_max == 7 && spun_us + 1 >= SPIN_US));
    }

    #[test]
    fn a_published_snapshot_holds_from_the_next_batch_on() {
        let current = Arc::new(Published::new(snapshot("example.org")));
        let published = Arc::clone(&current);
        let mut retired = vec![];
        let publish_at_3 = move |breath| {
            if breath == 3 {
                publish(&published, &mut retired, snapshot("example.net"));
            }
            // The third breath began with the old one; the fourth has let go of it.
            assert!(breath < 3 || Arc::strong_count(&retired[0]) == if breath == 3 { 2 } else { 1 });
        };
        let worker = worker(&[0, 1, 2, 3, 4, 5, 6], 7, &current, publish_at_3);
        let stats = Arc::clone(&worker.stats);
        worker.run();
        let totals = stats.read();
        assert_eq!((totals.counter(Counter::Received), totals.replied(Reason::Options)), (7, 3));
    }

    #[test]
    fn a_retired_snapshot_goes_when_nobody_uses_it() {
        let current = Published::new(snapshot("a.example"));
        let mut cache = Cache::new(&current);
        let first = Arc::downgrade(cache.load());
        let mut retired = vec![];
        publish(&current, &mut retired, snapshot("b.example"));
        assert_eq!(retired.len(), 1, "the worker has it");
        cache.load();
        assert_eq!(first.strong_count(), 1, "the worker does not free it");
        publish(&current, &mut retired, snapshot("c.example"));
        assert_eq!((retired.len(), first.strong_count()), (1, 0));
    }

    #[test]
    fn the_thread_has_a_name_and_a_cpu() {
        let current = Arc::new(Published::new(snapshot("example.net")));
        let named = |_| assert_eq!(thread::current().name(), Some("sluice-3"));
        let cpu = core_affinity::get_core_ids().unwrap()[0].id;
        for (cpu, pinned) in [
            (None, Ok(())),
            (Some(cpu), Ok(())),
            (Some(1_023), Err(PinError(1_023))),
            (Some(usize::MAX), Err(PinError(usize::MAX))),
        ] {
            let running = spawn(worker(&[1], 3, &current, named), 3, cpu).unwrap();
            assert_eq!(running.pinned, pinned);
            assert_eq!(running.thread.join().unwrap().memory.sent.len(), 1);
        }
    }
}
