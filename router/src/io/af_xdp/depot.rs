//! Free frames: a stack for each worker, and a depot in which they exchange whole batches.
//!
//! A frame received on one queue may be transmitted on another, and completes there. So frames gather where much is sent and run out where much is received.
//! A worker with more than it wants to keep gives a batch to the depot, and one with none takes a batch, from whomever. What is exchanged is a batch,
//! so that the shared queue is touched once for [`BATCH`] frames.
//!
//! Nothing here allocates after construction. Every stack, and the depot, has room for all frames that there are.
//!
//! # The model check
//!
//! Loom runs the tests in `model.rs` through every order in which the workers' operations may interleave. The queue is a stand-in there, on loom's own lock; crossbeam's own is what
//! the thread sanitizer runs. This is how it is run, as `scripts/sanitize model` does:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p sluice --lib io::af_xdp::depot
//! ```

#[cfg(all(loom, test))]
mod stand_in;

use super::umem::Frame;
use core::array;
#[cfg(not(all(loom, test)))]
use crossbeam::queue::ArrayQueue;
#[cfg(all(loom, test))]
use stand_in::ArrayQueue;
use std::sync::Arc;
use std::vec;

/// Frames that are exchanged at once.
///
/// As many as are received at once, so that a worker that only receives, or only sends, goes to the depot once a batch. It is 512 bytes to copy.
/// Fewer would share more often; more would leave more frames lying in stacks where nobody else finds them.
#[cfg(not(all(loom, test)))]
pub const BATCH: usize = 64;
/// In the model, as few as make a batch.
#[cfg(all(loom, test))]
pub const BATCH: usize = 2;

/// A batch under way; all are there.
type Batch<T> = [Option<T>; BATCH];

/// Whole batches of frames that no worker holds.
///
/// It takes no lock. Who meets a slot that another is just copying to or from waits for those 512 bytes.
#[derive(Debug)]
pub struct Depot<T = Frame> {
    batches: ArrayQueue<Batch<T>>,
    frames_max: usize,
}

impl<T> Depot<T> {
    /// An empty depot with room for `frames_max` frames, which is to be all there are.
    #[must_use]
    pub fn new(frames_max: usize) -> Self {
        Self { batches: ArrayQueue::new(frames_max.div_ceil(BATCH).max(1)), frames_max }
    }

    /// Frames that lie in it; while workers give and take, about.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batches.len() * BATCH
    }

    /// Whether nothing lies in it, likewise.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A worker's own free frames.
#[derive(Debug)]
pub struct Stack<T = Frame> {
    frames: Vec<T>,
    /// With so many, it gives a batch away.
    give_at: usize,
    depot: Arc<Depot<T>>,
}

impl<T> Stack<T> {
    /// An empty stack that keeps at most `keep_max` frames, and less than a batch over, to itself, and gives the others to `depot`.
    #[must_use]
    pub fn new(depot: &Arc<Depot<T>>, keep_max: usize) -> Self {
        let give_at = keep_max.saturating_add(BATCH);
        Self { frames: Vec::with_capacity(depot.frames_max), give_at, depot: Arc::clone(depot) }
    }

    /// Puts a frame on it. A batch above what it keeps goes to the depot.
    #[inline]
    pub fn put(&mut self, frame: T) {
        self.frames.push(frame);
        if self.frames.len() >= self.give_at {
            self.give();
        }
    }

    /// Puts all of them on it, and says how many they were. It gives batches away as [`Self::put`] does, after the last.
    #[inline]
    pub fn put_all(&mut self, frames: impl Iterator<Item = T>) -> u64 {
        let before = self.frames.len();
        // Not `extend`, which looks at each step for how many there may still be.
        frames.for_each(|frame| self.frames.push(frame));
        let count = self.frames.len() - before;
        for _ in 0..self.frames.len().saturating_sub(self.give_at - BATCH) / BATCH {
            self.give();
        }
        count as u64
    }

    /// Takes the uppermost `count`, or as many as there are, all of which are to be used; from the depot if it is empty.
    #[inline]
    #[must_use = "frames that are dropped are lost"]
    pub fn take_all(&mut self, count: usize) -> vec::Drain<'_, T> {
        if self.frames.is_empty() && count > 0 {
            self.fetch();
        }
        self.frames.drain(self.frames.len().saturating_sub(count)..)
    }

    /// Takes a frame from it; from the depot if it is empty.
    #[inline]
    #[must_use = "a frame that is dropped is lost"]
    pub fn take(&mut self) -> Option<T> {
        if self.frames.is_empty() {
            self.fetch();
        }
        self.frames.pop()
    }

    /// Takes a batch from the depot, if there is one.
    #[cold]
    fn fetch(&mut self) {
        if let Some(batch) = self.depot.batches.pop() {
            self.frames.extend(batch.into_iter().flatten());
        }
    }

    /// Frames on it.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is none; [`take`](Self::take) may find one all the same.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames on it, to be counted.
    #[must_use]
    pub fn frames(&self) -> &[T] {
        &self.frames
    }

    /// Gives the uppermost batch to the depot; those were used last, and whoever takes them needs them soonest.
    #[inline]
    fn give(&mut self) {
        if self.frames.len() < BATCH {
            return;
        }
        let batch = array::from_fn(|_| self.frames.pop());
        // There is room for all frames that there are. Should there be more, they stay here.
        if let Err(batch) = self.depot.batches.push(batch) {
            self.frames.extend(batch.into_iter().flatten());
        }
    }
}

#[cfg(all(loom, test))]
mod model;
#[cfg(all(not(loom), test))]
mod tests;
