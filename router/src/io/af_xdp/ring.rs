//! The four kinds of ring between a worker and the kernel, one type each.
//!
//! Both sides work on copies of a ring's indices: what is pushed is seen by the kernel at `submit`, and what is popped is given back to it by `release`, or by the pop that
//! finds no more. What comes out is checked in release builds too: an entry that is no frame, or no packet within one, is left out or comes as an empty packet.

#![expect(unsafe_code, reason = "memory that is shared with the kernel")]

mod shared;

pub(super) use shared::{Kind, Ring, RingMemory};

use super::depot::Stack;
use super::umem::{Chunks, Frame, Umem};
use core::any::Any;
use core::ops::Range;
use core::ptr::NonNull;
use nix::libc::xdp_desc;
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

    /// Puts frames of `stack` in, as many as there are and there is room for, to be seen by the kernel at the next [`submit`](Self::submit), and says how many.
    ///
    /// They are to be of the same area. There is one for all rings of a node, and what is of another is lost.
    #[inline]
    pub fn push_from(&mut self, stack: &mut Stack) -> u64 {
        let (mut pushed, chunks) = (0, self.chunks);
        loop {
            let frames = stack.take_all(self.free());
            let count = self
                .ring
                .push_all(frames.filter_map(|frame| chunks.offset(&frame)).map(|offset| offset as u64));
            pushed += u64::from(count);
            // What comes from the depot comes a batch at a time.
            if count == 0 {
                return pushed;
            }
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
        self.ring.level()
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

    /// Pops all frames that are there by now onto `stack`, gives the kernel their room, and says how many there were.
    #[inline]
    pub fn pop_onto(&mut self, stack: &mut Stack) -> u64 {
        let (mut strange, chunks) = (0, self.chunks);
        let claimed = self.ring.pop_all().filter_map(|address| {
            // SAFETY: by the promise of `new`, nobody has this chunk now.
            let frame = unsafe { chunks.claim(address) };
            strange += u64::from(frame.is_none());
            frame.map(|(frame, _)| frame)
        });
        let count = stack.put_all(claimed);
        self.strange += strange;
        self.ring.release();
        count
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

#[cfg(test)]
mod tests;
