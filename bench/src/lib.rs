//! What the measurements share: a message on its way through the stages of the data plane, one call a stage.
//!
//! `benches/forward.rs` times these calls; `bin/instructions.rs` counts their instructions. Both speak of the same stages, so a row of one can be laid
//! beside the row of the other.

use sluice::forward::Forwarder;
use sluice::io::{Datagram, Flow, HEADROOM, TAILROOM, Verdict};
use sluice::proxy::decision::Decision;
use sluice::proxy::snapshot::{Plan, Snapshot};
use sluice::sip::Message;
use sluice::sip::scan::LineEnds;
use sluice::stats::Stats;

pub mod grow;
pub mod load;

/// One message, a node that it comes to, and a worker's scratch.
#[derive(Debug)]
pub struct Rig {
    /// The message as it came in.
    pub bytes: Vec<u8>,
    /// How it came in.
    pub flow: Flow,
    /// The tables.
    pub snapshot: Snapshot,
    forwarder: Forwarder,
    message: Message,
    stats: Stats,
    header_bytes: usize,
}

impl Rig {
    /// The canonical message `name` at the node of the vectors.
    ///
    /// # Panics
    /// There is no such message.
    #[must_use]
    pub fn canonical(name: &str) -> Self {
        Self::new(name, sluice_tests::plan(), sluice_tests::canonical(name))
    }

    /// `bytes` at the node of `plan`, by the flow of the canonical message `name`.
    ///
    /// # Panics
    /// There is no such message, the plan is not good, or the message is not by the grammar.
    #[must_use]
    pub fn new(name: &str, plan: Plan, bytes: Vec<u8>) -> Self {
        let (_, source, listener) =
            sluice_tests::CANONICAL.into_iter().find(|(n, ..)| *n == name).expect("a canonical message");
        let mut message = Message::new();
        message.read(&bytes).expect("a good message");
        Self {
            flow: sluice_tests::flow(source, listener),
            snapshot: Snapshot::new(plan).expect("a good plan"),
            forwarder: Forwarder::new(),
            header_bytes: message.body_start,
            message,
            stats: Stats::new(),
            bytes,
        }
    }

    /// Whether something leaves; else a measurement would be of a refusal.
    #[must_use]
    pub fn leaves(&mut self) -> bool {
        let mut frames = Frames::new(&self.bytes, 1);
        matches!(self.forward(&mut frames.datagram(0, self.flow)), Verdict::Transmit { .. })
    }

    /// `scan`: walks over the line ends of the header fields, and returns how many there are.
    #[inline]
    pub fn scan(&self) -> usize {
        LineEnds::new(&self.bytes[..self.header_bytes], 0).filter(|end| end.proper).count()
    }

    /// `parse`: [`Message::read`].
    #[inline]
    pub fn parse(&mut self) -> bool {
        self.message.read(&self.bytes).is_ok()
    }

    /// `decide`: [`Forwarder::decide`], which parses too.
    #[inline]
    pub fn decide(&mut self) -> Decision {
        self.forwarder.decide(&self.snapshot, &self.flow, &self.bytes, &mut ())
    }

    /// `edit`: applies the edits of the last [`Self::decide`].
    #[inline]
    pub fn edit(&mut self, datagram: &mut Datagram<'_>) -> bool {
        self.forwarder.edits_mut().apply(datagram).is_ok()
    }

    /// `forward`: [`Forwarder::forward`], the whole.
    #[inline]
    pub fn forward(&mut self, datagram: &mut Datagram<'_>) -> Verdict {
        self.forwarder.forward(&self.snapshot, &self.stats, 0, datagram)
    }
}

/// Frames that each hold the same message, all in one stretch of memory.
#[derive(Debug)]
pub struct Frames {
    memory: Vec<u8>,
    /// Where the first frame begins: at a cache line, so that no count hangs on where the allocator put it.
    first: usize,
    frame_bytes: usize,
    count: usize,
    message: Vec<u8>,
}

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

impl Frames {
    /// `count` frames with `message` in each.
    #[must_use]
    pub fn new(message: &[u8], count: usize) -> Self {
        // An odd number of cache lines, so that equal places of neighbouring frames fall into different sets of the cache.
        let lines = (HEADROOM + message.len() + TAILROOM).div_ceil(LINE_BYTES) | 1;
        let frame_bytes = lines * LINE_BYTES;
        let memory = vec![0; frame_bytes * count + LINE_BYTES];
        let first = memory.as_ptr().align_offset(LINE_BYTES);
        let mut frames = Self { memory, first, frame_bytes, count, message: message.to_vec() };
        (0..count).for_each(|index| frames.restore(index));
        frames
    }

    /// Frames whose messages come to at least `bytes` bytes of cache lines, edits included.
    #[must_use]
    pub fn of_bytes(message: &[u8], bytes: usize) -> Self {
        Self::new(message, bytes.div_ceil(message.len()))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// `copy`: puts the message back as it came in.
    #[inline]
    pub fn restore(&mut self, index: usize) {
        let at = self.first + index * self.frame_bytes + HEADROOM;
        self.memory[at..at + self.message.len()].copy_from_slice(&self.message);
    }

    /// The datagram in a frame.
    #[inline]
    pub fn datagram(&mut self, index: usize, flow: Flow) -> Datagram<'_> {
        let at = self.first + index * self.frame_bytes;
        let end = HEADROOM + self.message.len();
        Datagram::new(&mut self.memory[at..at + self.frame_bytes], HEADROOM, end, flow)
    }
}

/// Pins the calling thread to the CPU that `SLUICE_BENCH_CPU` names, or to the last one, and returns its number.
///
/// # Panics
/// There is no such CPU.
#[must_use]
pub fn pin() -> usize {
    let cpus = core_affinity::get_core_ids().expect("the CPUs of this process");
    let wanted = std::env::var("SLUICE_BENCH_CPU").ok();
    let cpu = match wanted {
        Some(number) => cpus.into_iter().find(|cpu| cpu.id.to_string() == number),
        None => cpus.into_iter().next_back(),
    };
    let cpu = cpu.expect("the CPU that SLUICE_BENCH_CPU names");
    assert!(core_affinity::set_for_current(cpu), "CPU {} takes this thread", cpu.id);
    cpu.id
}
