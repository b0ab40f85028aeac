//! What all rings have in common: entries, and the indices of who writes and who reads them.
//!
//! A ring is an array of a power of two of entries and two indices, which only ever grow and wrap at 2^32. The producer writes entries and then its index,
//! the consumer reads the producer's index and then entries, and writes its own when it is done with them. Each writes only its own
//! index, so there is nothing to lock (`net/xdp/xsk_queue.h`, whose letters for the barriers are used here).
//!
//! An index that says more entries are there than a ring can hold is taken for none.

#![expect(unsafe_code, reason = "memory that is shared with the kernel")]

use super::super::abi::{self, Mapping};
use super::FillLevel;
use core::any::Any;
use core::ptr::NonNull;
use nix::errno::Errno;
use nix::libc::{SOL_XDP, XDP_RING_NEED_WAKEUP, XDP_RX_RING, XDP_TX_RING, xdp_desc, xdp_ring_offset};
use nix::libc::{XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_COMPLETION_RING, XDP_UMEM_FILL_RING};
use nix::libc::{XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a ring is.
#[derive(Clone)]
pub(in crate::io::af_xdp) struct RingMemory {
    /// Where its parts are counted from.
    pub(in crate::io::af_xdp) base: NonNull<u8>,
    /// Where they are.
    pub(in crate::io::af_xdp) offsets: xdp_ring_offset,
    /// Entries: a power of two.
    pub(in crate::io::af_xdp) entries: u32,
    /// What keeps the memory.
    pub(in crate::io::af_xdp) owner: Arc<dyn Any + Send + Sync>,
}

/// The kinds of ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::io::af_xdp) enum Kind {
    Fill,
    Completion,
    Rx,
    Tx,
}

impl RingMemory {
    /// Makes a ring for a socket, which must not have one of this kind yet, and maps it.
    pub(in crate::io::af_xdp) fn of_socket(
        socket: BorrowedFd<'_>,
        kind: Kind,
        entries: u32,
    ) -> Result<Self, Errno> {
        let offsets = abi::ring_offsets(socket)?;
        let (option, page_offset, offsets, entry_bytes) = match kind {
            Kind::Fill => (XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_FILL_RING, offsets.fr, size_of::<u64>()),
            Kind::Completion => {
                (XDP_UMEM_COMPLETION_RING, XDP_UMEM_PGOFF_COMPLETION_RING, offsets.cr, size_of::<u64>())
            }
            Kind::Rx => (XDP_RX_RING, XDP_PGOFF_RX_RING as u64, offsets.rx, size_of::<xdp_desc>()),
            Kind::Tx => (XDP_TX_RING, XDP_PGOFF_TX_RING as u64, offsets.tx, size_of::<xdp_desc>()),
        };
        abi::set_integer(socket, SOL_XDP, option, i32::try_from(entries).map_err(|_| Errno::EINVAL)?)?;
        let bytes = offsets.desc as usize + entries as usize * entry_bytes;
        let mapping = Mapping::ring(socket, page_offset, bytes)?;
        Ok(Self { base: mapping.base(), offsets, entries, owner: Arc::new(mapping) })
    }
}

/// One side's view of a ring: what all four have in common, and the kernel's side in tests too.
pub(in crate::io::af_xdp) struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    /// Number of entries, less one.
    mask: u32,
    /// The producer's index: our own, which may be ahead of what the other side sees, or what was last seen of the other's.
    cached_producer: u32,
    /// The consumer's, likewise.
    cached_consumer: u32,
    memory: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the pointers lead into memory that it holds, and nothing of it belongs to a thread.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// A view of the ring in `memory`, which begins where its indices stand.
    ///
    /// # Safety
    /// At the offsets from `base` there are three aligned `u32` and the given number, a power of two, of aligned entries, valid as long as the owner is there. An entry
    /// is integers. The indices and flags are accessed as atomics only. There is one view for each side, used as that side alone: entries between the
    /// consumer's and the producer's index are accessed by the consumer, all others by the producer.
    pub(in crate::io::af_xdp) unsafe fn new(memory: RingMemory) -> Self {
        let RingMemory { base, offsets, entries, owner } = memory;
        // SAFETY: by the caller's promise these are within what `base` leads to.
        let (producer, consumer, flags, first) = unsafe {
            (
                base.add(offsets.producer as usize).cast::<AtomicU32>(),
                base.add(offsets.consumer as usize).cast::<AtomicU32>(),
                base.add(offsets.flags as usize).cast::<AtomicU32>(),
                base.add(offsets.desc as usize).cast::<T>(),
            )
        };
        let mut ring = Self {
            producer,
            consumer,
            flags,
            entries: first,
            mask: entries - 1,
            cached_producer: 0,
            cached_consumer: 0,
            memory: owner,
        };
        ring.cached_producer = ring.producer().load(Ordering::Acquire);
        ring.cached_consumer = ring.consumer().load(Ordering::Acquire);
        ring
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: by the promise of `new` it is an atomic as long as `memory` is held.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.flags.as_ref() }
    }

    /// Where the entry of an index is.
    #[inline]
    fn entry(&self, index: u32) -> *mut T {
        // SAFETY: the mask keeps it below the number of entries.
        unsafe { self.entries.add((index & self.mask) as usize).as_ptr() }
    }

    /// As producer: room for how many, at this moment.
    #[inline]
    pub(in crate::io::af_xdp) fn free(&mut self) -> u32 {
        // (A), (D): entries are overwritten only after the consumer has let go of them.
        self.cached_consumer = self.consumer().load(Ordering::Acquire);
        self.known_free()
    }

    /// As producer: room for how many, as far as is known. None if the consumer's index is ahead of ours, which is nonsense.
    #[inline]
    fn known_free(&self) -> u32 {
        (self.mask + 1).saturating_sub(self.cached_producer.wrapping_sub(self.cached_consumer))
    }

    /// As producer: writes an entry, if there is room.
    #[inline]
    pub(in crate::io::af_xdp) fn push(&mut self, entry: T) -> bool {
        if self.known_free() == 0 && self.free() == 0 {
            return false;
        }
        // SAFETY: `entry` leads to an entry, and it is the producer's: the consumer has let go of it and has not been shown it again.
        unsafe { self.entry(self.cached_producer).write(entry) };
        self.cached_producer = self.cached_producer.wrapping_add(1);
        true
    }

    /// As producer: writes entries, as far as there is room, and says how many.
    #[inline]
    pub(in crate::io::af_xdp) fn push_all(&mut self, entries: impl Iterator<Item = T>) -> u32 {
        let (first, room) = (self.cached_producer, self.free());
        let mut count = 0;
        for (i, entry) in (0..room).zip(entries) {
            // SAFETY: `entry` leads to an entry, and it is the producer's: there is room for so many.
            unsafe { self.entry(first.wrapping_add(i)).write(entry) };
            count = i + 1;
        }
        self.cached_producer = first.wrapping_add(count);
        count
    }

    /// As producer: shows what was pushed.
    #[inline]
    pub(in crate::io::af_xdp) fn submit(&mut self) {
        // (B): who sees the index sees the entries.
        self.producer().store(self.cached_producer, Ordering::Release);
    }

    /// As producer: what was shown and is not consumed.
    #[inline]
    pub(in crate::io::af_xdp) fn pending(&self) -> u32 {
        let consumer = self.consumer().load(Ordering::Relaxed);
        self.producer().load(Ordering::Relaxed).wrapping_sub(consumer).min(self.mask + 1)
    }

    /// Its level, to be looked at by anyone.
    pub(in crate::io::af_xdp) fn level(&self) -> FillLevel {
        let Self { producer, consumer, mask, .. } = *self;
        FillLevel { producer, consumer, capacity: mask + 1, _memory: Arc::clone(&self.memory) }
    }

    /// As producer: whether the consumer wants to be woken. Seen too late, this delays until the next batch or the end of a sleep.
    #[inline]
    pub(in crate::io::af_xdp) fn needs_wakeup(&self) -> bool {
        self.flags().load(Ordering::Relaxed) & XDP_RING_NEED_WAKEUP != 0
    }

    /// As consumer: the next entry, if there is one.
    #[inline]
    pub(in crate::io::af_xdp) fn pop(&mut self) -> Option<T> {
        if self.cached_consumer == self.cached_producer && self.refill() == 0 {
            return None;
        }
        // SAFETY: `entry` leads to an entry, and it is the consumer's: the producer has shown it, and waits until it is let go of.
        let entry = unsafe { self.entry(self.cached_consumer).read() };
        self.cached_consumer = self.cached_consumer.wrapping_add(1);
        Some(entry)
    }

    /// As consumer: all entries that are there by now. Those that are not asked for are popped too.
    #[inline]
    pub(in crate::io::af_xdp) fn pop_all(&mut self) -> impl Iterator<Item = T> + '_ {
        self.refill();
        let (first, end) = (self.cached_consumer, self.cached_producer);
        self.cached_consumer = end;
        // SAFETY: `entry` leads to an entry, and it is the consumer's: the producer has shown it, and nobody lets go of it while the ring is borrowed.
        (0..end.wrapping_sub(first)).map(move |i| unsafe { self.entry(first.wrapping_add(i)).read() })
    }

    /// As consumer: lets go of what was popped, looks for more, and says how many there are.
    #[inline]
    fn refill(&mut self) -> u32 {
        self.release();
        // (C): the entries are read after the index that shows them.
        let producer = self.producer().load(Ordering::Acquire);
        let there = producer.wrapping_sub(self.cached_consumer);
        if there > self.mask + 1 {
            return 0;
        }
        self.cached_producer = producer;
        there
    }

    /// As consumer: lets go of what was popped.
    #[inline]
    pub(in crate::io::af_xdp) fn release(&mut self) {
        // Looking first keeps a poll that finds nothing from taking the cache line away from the kernel.
        if self.consumer().load(Ordering::Relaxed) != self.cached_consumer {
            // (D): the entries were read before.
            self.consumer().store(self.cached_consumer, Ordering::Release);
        }
    }

    /// As producer: entries that were pushed and are not consumed, shown or not.
    pub(in crate::io::af_xdp) fn unconsumed(&self) -> impl Iterator<Item = T> + '_ {
        self.entries(self.consumer().load(Ordering::Acquire), self.cached_producer)
    }

    /// As consumer: entries that were shown and not popped.
    pub(in crate::io::af_xdp) fn unpopped(&self) -> impl Iterator<Item = T> + '_ {
        self.entries(self.cached_consumer, self.producer().load(Ordering::Acquire))
    }

    /// The entries of a range of indices; none if there cannot be so many.
    fn entries(&self, consumer: u32, producer: u32) -> impl Iterator<Item = T> + '_ {
        let there = producer.wrapping_sub(consumer);
        let there = if there > self.mask + 1 { 0 } else { there };
        // SAFETY: `entry` leads to an entry. Only the producer writes there, and not to those that are not consumed: as producer this is us,
        // and as consumer we have not let go of these.
        (0..there).map(move |i| unsafe { self.entry(consumer.wrapping_add(i)).read() })
    }
}
