//! A run: so many messages a second for so long, and what became of each.

use super::frame::{self, Link};
use super::messages::{LISTENER, TRUNK};
use super::shared::{FRAME_BYTES_MAX, MESSAGES_MAX, PERIOD_SHIFT, RUNS, State, TEMPLATES_MAX, Template};
use super::table::Table;
use anyhow::{Context, anyhow, ensure};
use aya::maps::Map;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::net::SocketAddrV4;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::Duration;

/// The compiled programs, as they stand beside their source.
const OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf/sluice-bench.bpf.o");

/// Frames that the kernel makes before it sends them are those due within this time, at most [`BATCH_MAX`]: longer adds latency, shorter costs the generator more a frame.
const BATCH_US: u32 = 16;
/// The most that the kernel itself takes by default.
const BATCH_MAX: u32 = 64;

/// How long nothing must arrive after the end of a run for it to be over.
const QUIET: Duration = Duration::from_millis(10);
/// How often that is waited for.
const QUIET_TRIES: u32 = 100;

/// A generator and a sink.
pub struct Load {
    ebpf: Ebpf,
    templates: Table,
    arrivals: Table,
    state: Table,
    run: u32,
}

/// What became of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Messages a second that were to be sent.
    pub rate: f64,
    /// Messages a second that were sent.
    pub rate_sent: f64,
    /// How many were sent.
    pub sent: u64,
    /// How many of them arrived.
    pub arrived: u64,
    /// Messages that arrived again.
    pub duplicates: u64,
    /// Frames at the sink without a tag.
    pub untagged: u64,
    /// Messages that arrived, but had been sent to another destination.
    pub elsewhere: u64,
    /// The longest that one was sent after it was due, in nanoseconds.
    pub lag_max_ns: u64,
    /// Messages a second that arrived, from the first to the last.
    pub rate_arrived: f64,
}

impl Outcome {
    /// The share of the messages that did not arrive.
    #[must_use]
    pub fn loss(&self) -> f64 {
        1.0 - self.arrived as f64 / self.sent.max(1) as f64
    }
}

impl Load {
    /// Attaches the sink to the interface called `sink`, and makes ready to send by the one of index `generator` of this network namespace, by `link`, in turn `messages` in a way that
    /// each of `ports` source ports has its share.
    ///
    /// # Errors
    /// The kernel refuses, or there are too many messages.
    pub fn new(
        generator: u32,
        sink: &str,
        link: Link,
        messages: &[Vec<u8>],
        ports: u16,
    ) -> anyhow::Result<Self> {
        ensure!(messages.len() <= TEMPLATES_MAX as usize, "{} messages are too many", messages.len());
        let mut ebpf = EbpfLoader::new().load(OBJECT).context("the kernel does not take the maps")?;
        program(&mut ebpf, "generate")?.load()?;
        let xdp = program(&mut ebpf, "sink")?;
        xdp.load()?;
        xdp.attach(sink, XdpMode::Driver).with_context(|| format!("cannot attach the sink to {sink}"))?;
        let load = Self {
            templates: table(&ebpf, "TEMPLATES", TEMPLATES_MAX, size_of::<Template>())?,
            arrivals: table(&ebpf, "ARRIVALS", MESSAGES_MAX, 8)?,
            state: table(&ebpf, "STATE", State::COUNT, 64)?,
            ebpf,
            run: 0,
        };
        for (index, message) in messages.iter().enumerate() {
            let port = TRUNK.port() + (index % usize::from(ports.max(1))) as u16;
            load.put_template(
                index,
                &frame::frame(link, SocketAddrV4::new(*TRUNK.ip(), port), LISTENER, message),
            );
        }
        load.set(State::Interface, u64::from(generator));
        load.set(State::Templates, messages.len() as u64);
        Ok(load)
    }

    fn put_template(&self, index: usize, frame: &[u8]) {
        let words = size_of::<Template>() / 8;
        let bytes = [&(frame.len() as u32).to_le_bytes()[..], frame].concat();
        for (word, chunk) in self.templates.words()[index * words..].iter().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(eight), Relaxed);
        }
    }

    /// Says where messages must be sent to when they come to the sink.
    pub fn expect(&self, to: SocketAddrV4) {
        let address = u64::from(u32::from_le_bytes(to.ip().octets()));
        self.set(State::Destination, address | u64::from(to.port().to_be()) << 32);
    }

    /// Sends `rate` messages a second for `seconds`, waits until no more arrive, and adds each message's latency in nanoseconds to `latencies` if that is given.
    ///
    /// # Errors
    /// There are more messages than can be told apart, or the kernel refuses.
    pub fn run(
        &mut self,
        rate: f64,
        seconds: f64,
        latencies: Option<&mut Histogram<u64>>,
    ) -> anyhow::Result<Outcome> {
        let count = (rate * seconds).ceil();
        ensure!((1.0..=f64::from(MESSAGES_MAX)).contains(&count), "{count} messages are too few or too many");
        let count = count as u32;
        let period = (1e9 / rate * f64::from(1 << PERIOD_SHIFT)) as u64;
        self.prepare(count, period);
        let batch = ((rate * f64::from(BATCH_US) / 1e6) as u32).clamp(1, BATCH_MAX);
        self.send(count, batch)?;
        let arrived = self.wait_until_quiet(count);
        Ok(self.outcome(rate, period, count, arrived, latencies))
    }

    fn prepare(&mut self, count: u32, period: u64) {
        self.run = (self.run + 1) % RUNS;
        self.arrivals(count).for_each(|arrival| arrival.store(0, Relaxed));
        for out in [
            State::Start,
            State::Sent,
            State::End,
            State::LagMax,
            State::Duplicates,
            State::Untagged,
            State::Stale,
            State::Elsewhere,
        ] {
            self.set(out, 0);
        }
        self.set(State::Run, u64::from(self.run));
        self.set(State::Period, period);
    }

    /// Has the kernel send all of them; returns when it has.
    fn send(&mut self, count: u32, batch: u32) -> anyhow::Result<()> {
        let frame = [0; FRAME_BYTES_MAX];
        let options = TestRunOptions {
            data_in: Some(&frame),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(batch),
            ..TestRunOptions::default()
        };
        program(&mut self.ebpf, "generate")?
            .test_run(options)
            .context("the kernel does not run the generator")?;
        Ok(())
    }

    /// How many have arrived when no more do.
    fn wait_until_quiet(&self, count: u32) -> u64 {
        let arrived = || self.arrivals(count).filter(|arrival| arrival.load(Relaxed) != 0).count() as u64;
        let mut before = arrived();
        for _ in 0..QUIET_TRIES {
            sleep(QUIET);
            let now = arrived();
            if now == before {
                break;
            }
            before = now;
        }
        before
    }

    fn outcome(
        &self,
        rate: f64,
        period: u64,
        count: u32,
        arrived: u64,
        latencies: Option<&mut Histogram<u64>>,
    ) -> Outcome {
        let start = self.get(State::Start);
        let arrivals = || self.arrivals(count).map(|arrival| arrival.load(Relaxed)).filter(|at| *at != 0);
        if let Some(latencies) = latencies {
            for (number, arrival) in (0u64..).zip(self.arrivals(count)) {
                let due = start + ((number * period) >> PERIOD_SHIFT);
                match arrival.load(Relaxed) {
                    0 => {}
                    at => latencies.saturating_record(at.saturating_sub(due).max(1)),
                }
            }
        }
        let per_second = |count: u64, from: u64, to: u64| {
            count.saturating_sub(1) as f64 * 1e9 / to.saturating_sub(from).max(1) as f64
        };
        let sent = self.get(State::Sent);
        Outcome {
            rate,
            rate_sent: per_second(sent, start, self.get(State::End)),
            sent,
            arrived,
            duplicates: self.get(State::Duplicates),
            untagged: self.get(State::Untagged),
            elsewhere: self.get(State::Elsewhere),
            lag_max_ns: self.get(State::LagMax),
            rate_arrived: per_second(
                arrived,
                arrivals().min().unwrap_or_default(),
                arrivals().max().unwrap_or_default(),
            ),
        }
    }

    fn arrivals(&self, count: u32) -> impl Iterator<Item = &std::sync::atomic::AtomicU64> {
        self.arrivals.words().iter().take(count as usize)
    }

    fn set(&self, what: State, value: u64) {
        self.state.words()[what as usize * 8].store(value, Relaxed);
    }

    fn get(&self, what: State) -> u64 {
        self.state.words()[what as usize * 8].load(Relaxed)
    }
}

/// The bare forwarder's program, to be loaded and attached.
///
/// # Errors
/// The kernel refuses it.
pub fn redirect() -> anyhow::Result<Ebpf> {
    let mut ebpf = EbpfLoader::new().load(OBJECT).context("the kernel does not take the maps")?;
    program(&mut ebpf, "redirect")?.load()?;
    Ok(ebpf)
}

/// A program of the object.
///
/// # Errors
/// There is none of that name.
pub fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

fn table(ebpf: &Ebpf, name: &str, entries: u32, value_bytes: usize) -> anyhow::Result<Table> {
    match ebpf.map(name) {
        Some(Map::Array(map)) => Ok(Table::of(map.fd(), entries, value_bytes)?),
        _ => Err(anyhow!("no array map {name}")),
    }
}
