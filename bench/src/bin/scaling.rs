//! One worker against two that share the work, over `io::memory`: what workers cost each other.
//!
//! ```text
//! scaling [ROUNDS [MESSAGES [BATCH]]]         300 rounds of 8,000 messages, 32 a batch, when left out
//! ```
//!
//! The workers are production's: threads pinned to a CPU each, one snapshot and one stop flag for both, counters of their own. Each round does the same
//! work three ways, one after another: *one* worker takes all messages, on either CPU by turns; *two* take half of them each at the same time; and two
//! that share nothing, not even the snapshot, do the same *apart*. What *apart* gains less than 2 is the machine's (caches and clock that its CPUs
//! share, and other programs on it); what *two* gains less than *apart* is what our workers cost each other.

use sluice::io::memory::Memory;
use sluice::io::{Datagram, Flow, Io, Verdict};
use sluice::proxy::snapshot::Snapshot;
use sluice::stats::{Counter, Stats};
use sluice::worker::{Published, Worker, spawn};
use sluice_bench::Rig;
use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The message.
const MESSAGE: &str = "bye";
/// Messages before the clock starts: memory is there, and caches are warm.
const WARM_UP: usize = 1_000;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let mut number = |default: usize| numbers.next().unwrap_or(default).max(1);
    let (rounds, messages, batch) = (number(300), number(8_000), number(32));
    let cpus: Vec<usize> =
        core_affinity::get_core_ids().expect("the CPUs of this process").iter().map(|cpu| cpu.id).collect();
    let [.., first, second] = cpus[..] else { panic!("two workers need two CPUs, and there is {cpus:?}") };
    println!("{MESSAGE}, CPUs {first} and {second}, {rounds} rounds of {messages} messages, {batch} a batch");
    println!("CPU {first} is a thread of the core with the threads {}", siblings(first));

    let (mut ones, mut twos, mut aparts) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let cpu = if round % 2 == 0 { first } else { second };
        ones.push(run(&[cpu], messages, batch, Tables::Shared));
        twos.push(run(&[first, second], messages, batch, Tables::Shared));
        aparts.push(run(&[first, second], messages, batch, Tables::Own));
    }
    let ns = |times: &[Duration]| {
        Spread::of(times.iter().map(|time| time.as_nanos() as f64 / messages as f64).collect())
    };
    let gains = |times: &[Duration]| {
        Spread::of(ones.iter().zip(times).map(|(one, time)| one.as_secs_f64() / time.as_secs_f64()).collect())
    };
    println!("                      median [quartiles]");
    println!("one     ns a message  {}", ns(&ones));
    println!("two     ns a message  {}", ns(&twos));
    println!("apart   ns a message  {}", ns(&aparts));
    println!("two     times one     {}", gains(&twos));
    println!("apart   times one     {}", gains(&aparts));
}

/// What the workers of a run have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tables {
    /// Snapshot and stop flag, as in production.
    Shared,
    /// Nothing.
    Own,
}

/// How long workers on `cpus` take for `messages` in all, from the first's beginning to the last's end.
fn run(cpus: &[usize], messages: usize, batch: usize, tables: Tables) -> Duration {
    let rig = Rig::canonical(MESSAGE);
    let published =
        || Arc::new(Published::from_pointee(Snapshot::new(sluice_tests::plan()).expect("a plan")));
    let (snapshot, stop) = (published(), Arc::new(AtomicBool::new(false)));
    let waiting = Arc::new(AtomicUsize::new(cpus.len()));
    let working = Arc::new(AtomicUsize::new(cpus.len()));
    let mut threads = Vec::new();
    let mut counted = Vec::new();
    for (index, cpu) in cpus.iter().enumerate() {
        let own = tables == Tables::Own;
        let stop = if own { Arc::new(AtomicBool::new(false)) } else { Arc::clone(&stop) };
        let io = Work {
            memory: None,
            flow: rig.flow,
            message: rig.bytes.clone(),
            batch,
            warm_up: WARM_UP,
            left: messages / cpus.len(),
            waiting: Arc::clone(&waiting),
            working: if own { Arc::new(AtomicUsize::new(1)) } else { Arc::clone(&working) },
            stop: Arc::clone(&stop),
            times: None,
        };
        let snapshot = if own { published() } else { Arc::clone(&snapshot) };
        let stats = Arc::new(Stats::new());
        counted.push(Arc::clone(&stats));
        let running =
            spawn(Worker { io, snapshot, stats, stop, idle_us_max: 0 }, index, Some(*cpu)).expect("a thread");
        running.pinned.expect("a CPU of this process");
        threads.push(running.thread);
    }
    let works: Vec<Work> =
        threads.into_iter().map(|thread| thread.join().expect("a worker that ends")).collect();
    for stats in counted {
        let expected = (WARM_UP + messages / cpus.len()) as u64;
        assert_eq!(stats.read().counter(Counter::ForwardedRequests), expected, "each message is forwarded");
    }
    let times = || works.iter().map(|work| work.times.expect("work that is done"));
    let first = times().map(|(start, _)| start).min().expect("a worker");
    let last = times().map(|(_, end)| end).max().expect("a worker");
    last - first
}

/// One worker's share: the same message over and over, out of memory that its own thread took.
struct Work {
    memory: Option<Memory>,
    flow: Flow,
    message: Vec<u8>,
    batch: usize,
    warm_up: usize,
    left: usize,
    /// Workers that are not ready to begin.
    waiting: Arc<AtomicUsize>,
    /// Those that have not ended; the last one stops all.
    working: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    /// When the work began, and when it ended.
    times: Option<(Instant, Instant)>,
}

impl Io for Work {
    fn breathe(&mut self, forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict) -> usize {
        let memory = self.memory.get_or_insert_default();
        let is_warm_up = self.warm_up > 0;
        let left = if is_warm_up { &mut self.warm_up } else { &mut self.left };
        let count = self.batch.min(*left);
        *left -= count;
        for _ in 0..count {
            memory.push(self.flow, &self.message);
        }
        memory.breathe(forward);
        memory.sent.clear();
        if is_warm_up && self.warm_up == 0 {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            while self.waiting.load(Ordering::Acquire) > 0 {
                hint::spin_loop();
            }
            let now = Instant::now();
            self.times = Some((now, now));
        } else if count > 0 && self.left == 0 {
            self.times = self.times.map(|(start, _)| (start, Instant::now()));
            if self.working.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        count
    }

    fn wait(&mut self, _idle_us_max: u64) {}
}

/// The threads of the core that `cpu` is one of.
fn siblings(cpu: usize) -> String {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    std::fs::read_to_string(path).map_or_else(|_| "(not told)".to_owned(), |list| list.trim().to_owned())
}

/// Median and quartiles.
struct Spread([f64; 3]);

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self([2, 1, 3].map(|quarter| values[(values.len() - 1) * quarter / 4]))
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self([median, low, high]) = self;
        write!(f, "{median:.3} [{low:.3}, {high:.3}]")
    }
}
