//! The way from the workers to the kernel path: frames that a worker cannot send itself.

use super::bell::Bell;
use super::depot::Stack;
use super::ledger::Page;
use super::umem::{Frame, Umem};
use crate::io::ListenerIndex;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// A datagram that the kernel is to send: it has been forwarded already, and owns its frame.
#[derive(Debug)]
#[must_use = "a frame that is let go of is lost"]
pub struct Handover {
    /// The frame.
    pub frame: Frame,
    /// Where the payload stands in it.
    pub payload: Range<usize>,
    /// The listener that it leaves by.
    pub egress: ListenerIndex,
    /// Destination address and port.
    pub to: SocketAddr,
    /// The address that it leaves from, where the listener is on all addresses and this is known.
    pub source: Option<IpAddr>,
    /// The worker that hands it over.
    pub worker: usize,
}

/// A neighbour that has not been heard of for a while: whatever the kernel sends to `to` makes it ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// The listener that a keep-alive leaves by.
    pub egress: ListenerIndex,
    /// Where to.
    pub to: SocketAddr,
    /// As [`Handover::source`].
    pub source: Option<IpAddr>,
}

/// Room for probes. A neighbour is probed once a second at most, and one that finds no room the next time.
const PROBES_MAX: usize = 64;

/// What the kernel path keeps frames with, once there are any.
#[derive(Debug)]
pub struct Keeper {
    /// The frames' memory.
    pub umem: Arc<Umem>,
    /// Where those go that have been sent; empty at first.
    pub stack: Stack,
    /// Where it enters how many that are.
    pub page: Arc<Page>,
}

/// The queue of them: from all workers, to the one kernel path. Bounded, without locks.
#[derive(Debug)]
pub struct Handovers {
    queue: ArrayQueue<Handover>,
    keeper: ArrayQueue<Keeper>,
    probes: ArrayQueue<Probe>,
    /// For each worker, how many of its datagrams have been sent.
    sent: Box<[CachePadded<AtomicU64>]>,
    bell: Bell,
    is_held: AtomicBool,
    /// Whether the kernel path has seen that it is.
    is_quiet: AtomicBool,
}

/// While there is one, the kernel path neither receives nor sends, and what is for it waits in its sockets and in the queue.
#[derive(Debug)]
#[must_use = "what is let go of at once holds nothing"]
pub struct Hold(Arc<Handovers>);

/// How long the kernel path may take to see that it is held. It looks once a batch, and when it wakes; one that takes longer is not there.
const QUIET_WITHIN: Duration = Duration::from_millis(200);

impl Hold {
    /// Holds the kernel path of `handovers`; returns when it has seen it.
    pub fn of(handovers: &Arc<Handovers>) -> Self {
        handovers.is_quiet.store(false, Ordering::Release);
        handovers.is_held.store(true, Ordering::Release);
        handovers.bell.ring();
        let begin = Instant::now();
        while !handovers.is_quiet.load(Ordering::Acquire) && begin.elapsed() < QUIET_WITHIN {
            thread::sleep(Duration::from_millis(1));
        }
        Self(Arc::clone(handovers))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.is_held.store(false, Ordering::Release);
    }
}

impl Handovers {
    /// An empty queue for at most `capacity` datagrams, at least one, from that many workers.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn new(capacity: usize, workers: usize) -> io::Result<Self> {
        Ok(Self {
            queue: ArrayQueue::new(capacity.max(1)),
            keeper: ArrayQueue::new(1),
            probes: ArrayQueue::new(PROBES_MAX),
            sent: (0..workers).map(|_| CachePadded::default()).collect(),
            bell: Bell::new()?,
            is_held: AtomicBool::new(false),
            is_quiet: AtomicBool::new(false),
        })
    }

    /// Gives the kernel path, which may work already, what it keeps frames with. It comes before the first handover.
    pub fn begin(&self, keeper: Keeper) {
        self.keeper.force_push(keeper);
    }

    /// What there is to keep frames with; the kernel path takes it once.
    #[inline]
    pub fn keeper(&self) -> Option<Keeper> {
        self.keeper.pop()
    }

    /// Hands one over.
    ///
    /// # Errors
    /// There is no room; it is given back.
    #[inline]
    pub fn give(&self, handover: Handover) -> Result<(), Handover> {
        self.queue.push(handover)?;
        self.bell.ring();
        Ok(())
    }

    /// The oldest one.
    #[inline]
    pub fn take(&self) -> Option<Handover> {
        self.queue.pop()
    }

    /// Enters that a datagram of `worker` has been sent.
    #[inline]
    pub fn note_sent(&self, worker: usize) {
        if let Some(sent) = self.sent.get(worker) {
            sent.fetch_add(1, Ordering::Release);
        }
    }

    /// How many datagrams of `worker` have been sent so far, of all that it has handed over.
    #[inline]
    #[must_use]
    pub fn sent(&self, worker: usize) -> u64 {
        self.sent.get(worker).map_or(0, |sent| sent.load(Ordering::Acquire))
    }

    /// Asks for a probe. Without room there is none.
    #[inline]
    pub fn ask_for(&self, probe: Probe) {
        if self.probes.push(probe).is_ok() {
            self.bell.ring();
        }
    }

    /// The oldest probe that was asked for.
    #[inline]
    pub fn probe(&self) -> Option<Probe> {
        self.probes.pop()
    }

    /// Whether the kernel path is to do nothing. It asks before it does anything, and so has seen it.
    #[inline]
    #[must_use]
    pub fn is_held(&self) -> bool {
        let is_held = self.is_held.load(Ordering::Acquire);
        if is_held {
            self.is_quiet.store(true, Ordering::Release);
        }
        is_held
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Sleeps by `poll`, which is to return when [`Self::as_fd`] is readable, unless there is something to take, or it is held.
    pub fn sleep(&self, poll: impl FnOnce()) {
        let has_news =
            || !self.queue.is_empty() || !self.probes.is_empty() || self.is_held.load(Ordering::Acquire);
        self.bell.sleep(has_news, poll);
    }
}

impl AsFd for Handovers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
