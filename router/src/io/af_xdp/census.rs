//! Counting frames: every chunk has to be in exactly one place.
//!
//! A census looks at stacks, at what was taken out of the depot and at the rings, and then says what it did not find, and what it found twice. It is taken when
//! everything has stopped; while the kernel works, what it has taken out of one ring and not yet put into another is in neither.
//!
//! The kernel may keep frames after the sockets have been closed, and these are not to be found: in copy mode at most one for each queue, taken out of the fill
//! ring for a packet that then found the RX ring full (`net/xdp/xsk_buff_pool.c`, `xp_free`); in zero-copy mode all that the device had been given to receive into.

use super::ring::{CompletionRing, FillRing, RxRing, TxRing};
use super::umem::{Frame, Umem};

/// A count under way.
#[derive(Debug)]
pub struct Census {
    seen: Vec<u32>,
    strange: usize,
}

/// What a census found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Count {
    /// Chunks in one place.
    pub found: usize,
    /// Those in none.
    pub missing: Vec<u32>,
    /// Those in more than one.
    pub doubled: Vec<u32>,
    /// Ring entries that are no chunks.
    pub strange: usize,
}

impl Count {
    /// Whether each chunk was in exactly one place.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.doubled.is_empty() && self.strange == 0
    }
}

impl Census {
    /// Of the chunks of `umem`, none of which has been seen yet.
    #[must_use]
    pub fn new(umem: &Umem) -> Self {
        Self { seen: vec![0; umem.chunks().frames() as usize], strange: 0 }
    }

    /// Counts frames that are at hand.
    pub fn frames<'a>(&mut self, frames: impl IntoIterator<Item = &'a Frame>) {
        self.chunks(frames.into_iter().map(|frame| Some(frame.index())));
    }

    /// Counts what lies in a fill ring.
    pub fn fill(&mut self, ring: &FillRing) {
        self.chunks(ring.contents());
    }

    /// Counts what lies in a completion ring.
    pub fn completion(&mut self, ring: &CompletionRing) {
        self.chunks(ring.contents());
    }

    /// Counts what lies in an RX ring.
    pub fn rx(&mut self, ring: &RxRing) {
        self.chunks(ring.contents());
    }

    /// Counts what lies in a TX ring.
    pub fn tx(&mut self, ring: &TxRing) {
        self.chunks(ring.contents());
    }

    /// What was found.
    #[must_use]
    pub fn count(&self) -> Count {
        let mut count = Count { strange: self.strange, ..Count::default() };
        for (index, seen) in (0..).zip(&self.seen) {
            match seen {
                0 => count.missing.push(index),
                1 => count.found += 1,
                _ => count.doubled.push(index),
            }
        }
        count
    }

    /// Counts chunks by index; `None` is an entry that is none.
    pub(super) fn chunks(&mut self, chunks: impl Iterator<Item = Option<u32>>) {
        for chunk in chunks {
            match chunk.and_then(|index| self.seen.get_mut(index as usize)) {
                Some(seen) => *seen += 1,
                None => self.strange += 1,
            }
        }
    }
}
