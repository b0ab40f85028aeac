//! The way from the workers to the kernel path: frames that a worker cannot send itself.

use super::bell::Bell;
use super::depot::Stack;
use super::ledger::Page;
use super::umem::{Frame, Umem};
use crate::io::ListenerIndex;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use crossbeam::queue::ArrayQueue;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

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
}

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
    bell: Bell,
}

impl Handovers {
    /// An empty queue for at most `capacity` datagrams, at least one.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn new(capacity: usize) -> io::Result<Self> {
        Ok(Self { queue: ArrayQueue::new(capacity.max(1)), keeper: ArrayQueue::new(1), bell: Bell::new()? })
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

    /// Sleeps by `poll`, which is to return when [`Self::as_fd`] is readable, unless there is something to take.
    pub fn sleep(&self, poll: impl FnOnce()) {
        self.bell.sleep(|| !self.queue.is_empty(), poll);
    }
}

impl AsFd for Handovers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
