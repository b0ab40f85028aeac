//! The queue of the model: what crossbeam's `ArrayQueue` promises, one whole operation after the other in whatever order, on loom's lock.
//!
//! A queue like crossbeam's on loom's atomics would be no better a model. Loom remembers only the last access to each atomic when it looks for what might be
//! reordered (0.7, `rt/atomic.rs`), so who reads before it swaps hides the swap from who read earlier: orders in which the other comes first were never tried.

use loom::sync::Mutex;
use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct ArrayQueue<T> {
    items: Mutex<VecDeque<T>>,
    capacity: usize,
}

impl<T> ArrayQueue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { items: Mutex::new(VecDeque::with_capacity(capacity)), capacity }
    }

    pub(super) fn push(&self, item: T) -> Result<(), T> {
        let mut items = self.items.lock().unwrap();
        if items.len() == self.capacity {
            return Err(item);
        }
        items.push_back(item);
        Ok(())
    }

    pub(super) fn pop(&self) -> Option<T> {
        self.items.lock().unwrap().pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.items.lock().unwrap().len()
    }
}
