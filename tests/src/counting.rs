//! An allocator that counts what it is asked for: of each thread, so that a test harness does not disturb, and of all.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::LocalKey;

/// The system's allocator, counted. A test makes it its `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    static OF_THREAD: Cell<u64> = const { Cell::new(0) };
    static FREES_OF_THREAD: Cell<u64> = const { Cell::new(0) };
}

static OF_ALL: AtomicU64 = AtomicU64::new(0);

/// Allocations so far of the thread that asks; growing counts as one.
#[must_use]
pub fn of_this_thread() -> u64 {
    OF_THREAD.with(Cell::get)
}

/// Frees so far of the thread that asks.
#[must_use]
pub fn frees_of_this_thread() -> u64 {
    FREES_OF_THREAD.with(Cell::get)
}

/// Allocations so far of all threads.
#[must_use]
pub fn of_all_threads() -> u64 {
    OF_ALL.load(Ordering::Relaxed)
}

fn count() {
    one_more(&OF_THREAD);
    OF_ALL.fetch_add(1, Ordering::Relaxed);
}

fn one_more(counter: &'static LocalKey<Cell<u64>>) {
    // A thread that is ending has no counter any more.
    let _ = counter.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every method hands its arguments to the system's allocator, which keeps the contract; counting touches plain numbers and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is the same one.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        one_more(&FREES_OF_THREAD);
        // SAFETY: the caller keeps the contract of `dealloc`, and `at` came from `System`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the same one.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`, and `at` came from `System`.
        unsafe { System.realloc(at, layout, len) }
    }
}
