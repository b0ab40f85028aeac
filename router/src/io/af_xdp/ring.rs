//! The four kinds of ring between a worker and the kernel, one type each.
//!
//! A ring is an array of a power of two of entries and two indices, which only ever grow and wrap at 2^32. The producer writes entries and then its index,
//! the consumer reads the producer's index and then entries, and writes its own when it is done with them. Each writes only its own
//! index, so there is nothing to lock (`net/xdp/xsk_queue.h`, whose letters for the barriers are used here).
//!
//! Both sides work on copies of the indices. What is pushed is seen by the kernel at `submit`; what is popped is given back to it by `release`, or by the pop that finds no more.
//!
//! An index that says more entries are there than a ring can hold is taken for none.

#![expect(unsafe_code, reason = "memory that is shared with the kernel")]

use super::abi::{self, Mapping};
use super::umem::{Chunks, Frame, Umem};
use core::any::Any;
use core::ops::Range;
use core::ptr::NonNull;
use nix::errno::Errno;
use nix::libc::{SOL_XDP, XDP_RING_NEED_WAKEUP, XDP_RX_RING, XDP_TX_RING, xdp_desc, xdp_ring_offset};
use nix::libc::{XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_COMPLETION_RING, XDP_UMEM_FILL_RING};
use nix::libc::{XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Gives the kernel frames to receive into.
pub struct FillRing {
    ring: Ring<u64>,
    chunks: Chunks,
}

impl FillRing {
    /// A ring in `memory`.
    ///
    /// # Safety
    /// As for [`Ring::new`]; and what the other side takes out, it gives back at most once.
    pub(super) unsafe fn new(memory: RingMemory, umem: &Umem) -> Self {
        // SAFETY: the caller's promise.
        Self { ring: unsafe { Ring::new(memory) }, chunks: umem.chunks() }
    }

    /// How many frames it has room for now.
    #[inline]
    pub fn free(&mut self) -> usize {
        self.ring.free() as usize
    }

    /// Puts a frame in, to be seen by the kernel at the next [`submit`](Self::submit).
    ///
    /// # Errors
    /// The frame itself, if there is no room, or it is of another area.
    #[inline]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        match self.chunks.offset(&frame) {
            Some(offset) if self.ring.push(offset as u64) => Ok(()),
            _ => Err(frame),
        }
    }

    /// Shows the kernel what was pushed.
    #[inline]
    pub fn submit(&mut self) {
        self.ring.submit();
    }

    /// Whether the kernel wants to be told of new frames: [`super::socket::OwnedQueue::wake`].
    #[inline]
    #[must_use]
    pub fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }

    /// Its level, to be looked at by anyone.
    #[must_use]
    pub fn level(&self) -> FillLevel {
        let Ring { producer, consumer, mask, .. } = self.ring;
        FillLevel { producer, consumer, capacity: mask + 1, _memory: Arc::clone(&self.ring.memory) }
    }

    /// Takes back all that was pushed.
    ///
    /// # Safety
    /// The other side has never looked at the ring, and never will.
    pub(super) unsafe fn retract(self, frames: &mut Vec<Frame>) {
        // SAFETY: by the caller's promise these chunks are still ours; the tokens were taken by `push`.
        frames.extend(
            self.ring
                .unconsumed()
                .filter_map(|address| unsafe { self.chunks.claim(address) })
                .map(|(frame, _)| frame),
        );
    }

    /// The chunks that lie in it, as far as the kernel has said that it took others.
    pub(super) fn contents(&self) -> impl Iterator<Item = Option<u32>> + '_ {
        self.ring.unconsumed().map(|address| chunk(self.chunks, address))
    }
}

/// How many frames a fill ring holds, for who does not own it.
#[derive(Clone)]
pub struct FillLevel {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    capacity: u32,
    _memory: Arc<dyn Any + Send + Sync>,
}

// SAFETY: it reads two atomics, in memory that it holds.
unsafe impl Send for FillLevel {}
// SAFETY: as for `Send`.
unsafe impl Sync for FillLevel {}

impl FillLevel {
    /// Frames that the kernel has not taken yet, about: both sides move on while this looks.
    #[inline]
    #[must_use]
    pub fn frames(&self) -> usize {
        // SAFETY: the pointers lead to atomics in memory that `self` holds.
        let (producer, consumer) = unsafe { (self.producer.as_ref(), self.consumer.as_ref()) };
        let consumer = consumer.load(Ordering::Relaxed);
        let frames = producer.load(Ordering::Relaxed).wrapping_sub(consumer);
        frames.min(self.capacity) as usize
    }

    /// Frames that the ring has room for in all.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

/// Takes back frames that the kernel has transmitted.
pub struct CompletionRing {
    ring: Ring<u64>,
    chunks: Chunks,
    strange: u64,
}

impl CompletionRing {
    /// A ring in `memory`.
    ///
    /// # Safety
    /// As for [`Ring::new`]; and what the other side puts in are chunks of `umem` that were given to it and that it does not touch any more, or nonsense
    /// that is no chunk at all.
    pub(super) unsafe fn new(memory: RingMemory, umem: &Umem) -> Self {
        // SAFETY: the caller's promise.
        Self { ring: unsafe { Ring::new(memory) }, chunks: umem.chunks(), strange: 0 }
    }

    /// The next frame that was transmitted, if there is one.
    #[inline]
    pub fn pop(&mut self) -> Option<Frame> {
        loop {
            let address = self.ring.pop()?;
            // SAFETY: by the promise of `new`, nobody has this chunk now.
            if let Some((frame, _)) = unsafe { self.chunks.claim(address) } {
                return Some(frame);
            }
            self.strange += 1;
        }
    }

    /// Gives the kernel the room of what was popped; a pop that finds nothing has done that.
    #[inline]
    pub fn release(&mut self) {
        self.ring.release();
    }

    /// Entries so far that were no frame of ours.
    #[must_use]
    pub fn strange(&self) -> u64 {
        self.strange
    }

    /// The chunks that lie in it.
    pub(super) fn contents(&self) -> impl Iterator<Item = Option<u32>> + '_ {
        self.ring.unpopped().map(|address| chunk(self.chunks, address))
    }
}

/// Takes frames with packets that the kernel has received.
pub struct RxRing {
    ring: Ring<xdp_desc>,
    chunks: Chunks,
    strange: u64,
}

impl RxRing {
    /// A ring in `memory`.
    ///
    /// # Safety
    /// As for [`CompletionRing::new`].
    pub(super) unsafe fn new(memory: RingMemory, umem: &Umem) -> Self {
        // SAFETY: the caller's promise.
        Self { ring: unsafe { Ring::new(memory) }, chunks: umem.chunks(), strange: 0 }
    }

    /// The next frame with a packet, if there is one, and where in the frame the packet stands.
    ///
    /// The range always lies within the frame. A descriptor for which it would not, or which is only a piece of a packet, gives an empty range; one
    /// that is no frame of ours is left out. [`strange`](Self::strange) counts both.
    #[inline]
    pub fn pop(&mut self) -> Option<(Frame, Range<usize>)> {
        loop {
            let xdp_desc { addr, len, options } = self.ring.pop()?;
            // SAFETY: by the promise of `new`, nobody has this chunk now.
            let Some((frame, start)) = (unsafe { self.chunks.claim(addr) }) else {
                self.strange += 1;
                continue;
            };
            let end = start.checked_add(len as usize).filter(|end| *end <= self.chunks.frame_size());
            // The only option that the kernel sets when it receives is `XDP_PKT_CONTD`, for packets of several frames, which nobody asked for.
            if let Some(end) = end.filter(|_| options == 0) {
                return Some((frame, start..end));
            }
            self.strange += 1;
            return Some((frame, 0..0));
        }
    }

    /// Gives the kernel the room of what was popped; a pop that finds nothing has done that.
    #[inline]
    pub fn release(&mut self) {
        self.ring.release();
    }

    /// Descriptors so far that were no packet in a frame of ours.
    #[must_use]
    pub fn strange(&self) -> u64 {
        self.strange
    }

    /// The chunks that lie in it.
    pub(super) fn contents(&self) -> impl Iterator<Item = Option<u32>> + '_ {
        self.ring.unpopped().map(|descriptor| chunk(self.chunks, descriptor.addr))
    }
}

/// Gives the kernel frames to transmit.
pub struct TxRing {
    ring: Ring<xdp_desc>,
    chunks: Chunks,
}

impl TxRing {
    /// A ring in `memory`.
    ///
    /// # Safety
    /// As for [`FillRing::new`].
    pub(super) unsafe fn new(memory: RingMemory, umem: &Umem) -> Self {
        // SAFETY: the caller's promise.
        Self { ring: unsafe { Ring::new(memory) }, chunks: umem.chunks() }
    }

    /// How many frames it has room for now.
    #[inline]
    pub fn free(&mut self) -> usize {
        self.ring.free() as usize
    }

    /// Puts a frame in, of which `packet` is to leave, to be seen by the kernel at the next [`submit`](Self::submit).
    ///
    /// # Errors
    /// The frame itself, if there is no room, it is of another area, or the range is empty or not within the frame. The kernel would leave
    /// such a descriptor out and never complete it (`net/xdp/xsk_queue.h`, `xskq_cons_is_valid_desc`).
    #[inline]
    pub fn push(&mut self, frame: Frame, packet: Range<usize>) -> Result<(), Frame> {
        let is_within = packet.start < packet.end && packet.end <= self.chunks.frame_size();
        let Some(offset) = self.chunks.offset(&frame).filter(|_| is_within) else { return Err(frame) };
        let addr = (offset + packet.start) as u64;
        let descriptor = xdp_desc { addr, len: packet.len() as u32, options: 0 };
        if self.ring.push(descriptor) { Ok(()) } else { Err(frame) }
    }

    /// Shows the kernel what was pushed.
    #[inline]
    pub fn submit(&mut self) {
        self.ring.submit();
    }

    /// Frames that were submitted and that the kernel has not taken yet.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> usize {
        self.ring.pending() as usize
    }

    /// Whether the kernel wants to be told of new frames: [`super::socket::Tx::wake`].
    #[inline]
    #[must_use]
    pub fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }

    /// The chunks that lie in it, as far as the kernel has said that it took others.
    pub(super) fn contents(&self) -> impl Iterator<Item = Option<u32>> + '_ {
        self.ring.unconsumed().map(|descriptor| chunk(self.chunks, descriptor.addr))
    }
}

fn chunk(chunks: Chunks, address: u64) -> Option<u32> {
    chunks.locate(address).map(|(index, _)| index)
}

/// Where a ring is.
pub(super) struct RingMemory {
    /// Where its parts are counted from.
    pub(super) base: NonNull<u8>,
    /// Where they are.
    pub(super) offsets: xdp_ring_offset,
    /// Entries: a power of two.
    pub(super) entries: u32,
    /// What keeps the memory.
    pub(super) owner: Arc<dyn Any + Send + Sync>,
}

/// The kinds of ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Fill,
    Completion,
    Rx,
    Tx,
}

impl RingMemory {
    /// Makes a ring for a socket, which must not have one of this kind yet, and maps it.
    pub(super) fn of_socket(socket: BorrowedFd<'_>, kind: Kind, entries: u32) -> Result<Self, Errno> {
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
pub(super) struct Ring<T> {
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
    pub(super) unsafe fn new(memory: RingMemory) -> Self {
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
    pub(super) fn free(&mut self) -> u32 {
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
    pub(super) fn push(&mut self, entry: T) -> bool {
        if self.known_free() == 0 && self.free() == 0 {
            return false;
        }
        // SAFETY: `entry` leads to an entry, and it is the producer's: the consumer has let go of it and has not been shown it again.
        unsafe { self.entry(self.cached_producer).write(entry) };
        self.cached_producer = self.cached_producer.wrapping_add(1);
        true
    }

    /// As producer: shows what was pushed.
    #[inline]
    pub(super) fn submit(&mut self) {
        // (B): who sees the index sees the entries.
        self.producer().store(self.cached_producer, Ordering::Release);
    }

    /// As producer: what was shown and is not consumed.
    #[inline]
    fn pending(&self) -> u32 {
        let consumer = self.consumer().load(Ordering::Relaxed);
        self.producer().load(Ordering::Relaxed).wrapping_sub(consumer).min(self.mask + 1)
    }

    /// As producer: whether the consumer wants to be woken. Seen too late, this delays until the next batch or the end of a sleep.
    #[inline]
    fn needs_wakeup(&self) -> bool {
        self.flags().load(Ordering::Relaxed) & XDP_RING_NEED_WAKEUP != 0
    }

    /// As consumer: the next entry, if there is one.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.cached_consumer == self.cached_producer && self.refill() == 0 {
            return None;
        }
        // SAFETY: `entry` leads to an entry, and it is the consumer's: the producer has shown it, and waits until it is let go of.
        let entry = unsafe { self.entry(self.cached_consumer).read() };
        self.cached_consumer = self.cached_consumer.wrapping_add(1);
        Some(entry)
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
    pub(super) fn release(&mut self) {
        // Looking first keeps a poll that finds nothing from taking the cache line away from the kernel.
        if self.consumer().load(Ordering::Relaxed) != self.cached_consumer {
            // (D): the entries were read before.
            self.consumer().store(self.cached_consumer, Ordering::Release);
        }
    }

    /// As producer: entries that were pushed and are not consumed, shown or not.
    fn unconsumed(&self) -> impl Iterator<Item = T> + '_ {
        self.entries(self.consumer().load(Ordering::Acquire), self.cached_producer)
    }

    /// As consumer: entries that were shown and not popped.
    fn unpopped(&self) -> impl Iterator<Item = T> + '_ {
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
