//! Where the frames are: what each thread counts of its own rings, and what it holds. Their sum is the number of frames, always.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One thread's page. Only that thread writes it; anybody may read it.
///
/// Each number runs on for ever; differences are taken over all pages, since a frame that one worker fills in may be received by another.
#[repr(align(128))]
#[derive(Debug, Default)]
pub struct Page {
    /// Put into fill rings.
    pub filled: AtomicU64,
    /// Taken from receive rings.
    pub received: AtomicU64,
    /// Put into transmit rings.
    pub transmitted: AtomicU64,
    /// Taken from completion rings.
    pub completed: AtomicU64,
    /// Held in the thread's own stack.
    pub held: AtomicU64,
}

/// Adds without a locked instruction: sound because each page has one writer.
#[inline]
pub fn add(number: &AtomicU64, n: u64) {
    number.store(number.load(Relaxed).wrapping_add(n), Relaxed);
}

/// Where the frames are, summed over all threads. While frames move, a frame may be seen in two places or in none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Whereabouts {
    /// In the threads' stacks.
    pub held: u64,
    /// In fill rings and receive rings, and between them in the kernel.
    pub filled: u64,
    /// In transmit rings and completion rings, and between them in the kernel.
    pub transmitted: u64,
}

impl Whereabouts {
    /// Sums the pages.
    #[must_use]
    pub fn of<'a>(pages: impl Iterator<Item = &'a Page>) -> Self {
        let mut sum = Self::default();
        for page in pages {
            let read = |number: &AtomicU64| number.load(Relaxed);
            sum.held = sum.held.wrapping_add(read(&page.held));
            sum.filled = sum.filled.wrapping_add(read(&page.filled)).wrapping_sub(read(&page.received));
            sum.transmitted =
                sum.transmitted.wrapping_add(read(&page.transmitted)).wrapping_sub(read(&page.completed));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_may_go_through_two_pages() {
        let pages = [Page::default(), Page::default()];
        add(&pages[0].filled, 9);
        add(&pages[1].received, 4);
        add(&pages[1].transmitted, 3);
        add(&pages[0].completed, 2);
        pages[0].held.store(2, Relaxed);
        pages[1].held.store(1, Relaxed);
        assert_eq!(Whereabouts::of(pages.iter()), Whereabouts { held: 3, filled: 5, transmitted: 1 });
    }
}
