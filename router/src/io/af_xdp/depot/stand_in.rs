//! The queue of the model: the algorithm of crossbeam's `ArrayQueue` (Vyukov's bounded queue), on loom's atomics and cells.
//!
//! Each slot has a stamp that says whose turn it is: equal to the tail, a push may write it; one more than the head, a pop may read it.
//! Who meets a slot whose owner is not done yet waits. A full turn of the slots is `LAP`, so that a stamp tells one turn from the next.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use loom::thread::yield_now;

/// More than there are slots, and a power of two.
const LAP: usize = 16;

pub(super) struct ArrayQueue<T> {
    head: AtomicUsize,
    tail: AtomicUsize,
    slots: Box<[Slot<T>]>,
}

struct Slot<T> {
    stamp: AtomicUsize,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: a slot's value is accessed by whom its stamp names only; loom checks that.
unsafe impl<T: Send> Send for ArrayQueue<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Send> Sync for ArrayQueue<T> {}

impl<T> core::fmt::Debug for ArrayQueue<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ArrayQueue")
    }
}

impl<T> ArrayQueue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        assert!((1..LAP).contains(&capacity));
        let slot = |i| Slot { stamp: AtomicUsize::new(i), value: UnsafeCell::new(None) };
        Self {
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            slots: (0..capacity).map(slot).collect(),
        }
    }

    pub(super) fn push(&self, value: T) -> Result<(), T> {
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            let slot = &self.slots[tail % LAP];
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == tail {
                match self.tail.compare_exchange_weak(
                    tail,
                    self.next(tail),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        // SAFETY: the stamp was ours, and the tail has moved on: nobody else comes here before the stamp changes.
                        slot.value.with_mut(|at| unsafe { *at = Some(value) });
                        slot.stamp.store(tail + 1, Ordering::Release);
                        return Ok(());
                    }
                    Err(current) => tail = current,
                }
            } else if stamp + LAP == tail + 1 {
                // It holds what was put there a lap ago: full, if nobody has taken anything meanwhile.
                fence(Ordering::SeqCst);
                if self.head.load(Ordering::Relaxed) + LAP == tail {
                    return Err(value);
                }
                yield_now();
                tail = self.tail.load(Ordering::Relaxed);
            } else {
                yield_now();
                tail = self.tail.load(Ordering::Relaxed);
            }
        }
    }

    pub(super) fn pop(&self) -> Option<T> {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let slot = &self.slots[head % LAP];
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == head + 1 {
                match self.head.compare_exchange_weak(
                    head,
                    self.next(head),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        // SAFETY: the stamp was ours, and the head has moved on: nobody else comes here before the stamp changes.
                        let value = slot.value.with_mut(|at| unsafe { (*at).take() });
                        slot.stamp.store(head + LAP, Ordering::Release);
                        return value;
                    }
                    Err(current) => head = current,
                }
            } else if stamp == head {
                // Nothing has been put there: empty, if nobody is about to.
                fence(Ordering::SeqCst);
                if self.tail.load(Ordering::Relaxed) == head {
                    return None;
                }
                yield_now();
                head = self.head.load(Ordering::Relaxed);
            } else {
                yield_now();
                head = self.head.load(Ordering::Relaxed);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        let (head, tail) = (self.head.load(Ordering::SeqCst), self.tail.load(Ordering::SeqCst));
        tail / LAP * self.slots.len() + tail % LAP - head / LAP * self.slots.len() - head % LAP
    }

    /// The place after this one: the next slot, or the first of the next lap.
    fn next(&self, place: usize) -> usize {
        if place % LAP + 1 < self.slots.len() { place + 1 } else { place / LAP * LAP + LAP }
    }
}
