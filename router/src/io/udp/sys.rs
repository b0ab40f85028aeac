//! The system calls that move batches of datagrams, and the memory they work on. All `unsafe` of the UDP I/O is here.
//!
//! `nix` has both calls, and its other safe wrappers are used everywhere else. But its `sendmmsg` puts the *same* control
//! messages on all datagrams of a batch, and its `recvmmsg` wants an array of `IoSliceMut`, which keeps the frames
//! borrowed while somebody is to edit them. So the calls are made here on `libc`'s structures.
//!
//! A [`Batch`] owns everything that the kernel reads and writes: frames, addresses, control messages, and the headers
//! that point at them. The pointers are set once and stay right, for the memory never moves. What the kernel hands back
//! (lengths, flags, addresses, control messages) is checked in release builds too, and a strange value is a datagram
//! without a source or a destination, never a wrong slice.

#![expect(unsafe_code, reason = "system calls on structures that hold pointers")]

use super::address::{Control, Local, Name};
use crate::io::{HEADROOM, TAILROOM};
use core::net::SocketAddr;
use core::ops::{Deref, DerefMut, Range};
use core::ptr::{self, NonNull};
use nix::errno::Errno;
use nix::libc::{MSG_CTRUNC, MSG_DONTWAIT, MSG_TRUNC, c_int, iovec, mmsghdr, recvmmsg, sendmmsg, setsockopt};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Most bytes of a payload: what UDP's 16-bit length can say, so that nothing real is ever cut.
pub(super) const PAYLOAD_BYTES_MAX: usize = 65_535;

/// Bytes of a frame: the payload and its room, rounded up to an odd number of cache lines. With an even number, or whole
/// pages, the frames' message heads would compete for the same few sets of the first-level cache.
const FRAME_BYTES: usize = 1_041 * 64;
const _: () = assert!(FRAME_BYTES >= HEADROOM + PAYLOAD_BYTES_MAX + TAILROOM);

/// Most datagrams of a call: the kernel caps a vector at UIO_MAXIOV (`net/socket.c`, `__sys_recvmmsg`).
pub(super) const DATAGRAMS_MAX: usize = 1_024;

/// One batch of frames, received into and sent from; shared by all sockets of a worker.
pub(super) struct Batch {
    frames: Fixed<Frame>,
    incoming: Messages,
    outgoing: Messages,
    /// Bytes offered to the kernel for a payload.
    payload_bytes_max: usize,
    /// How many of `incoming` the last call filled.
    received: usize,
    /// How many of `outgoing` are queued.
    queued: usize,
}

/// A received datagram, but for its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// Bytes of the payload, which stands after the headroom of its frame.
    pub(super) len: usize,
    /// Whether the payload was longer than that.
    pub(super) is_truncated: bool,
    /// Source address and port, if the kernel gave one that can be read.
    pub(super) source: Option<SocketAddr>,
    /// Where it was sent to, if the socket asks for that.
    pub(super) local: Option<Local>,
}

impl Batch {
    /// A batch of `datagrams_max` frames. Their pages come when they are first written to: by the worker, so from its own memory node.
    pub(super) fn new(datagrams_max: usize, payload_bytes_max: usize) -> Self {
        let datagrams_max = datagrams_max.clamp(1, DATAGRAMS_MAX);
        let frames = Frame::zeroed(datagrams_max);
        let payload_bytes_max = payload_bytes_max.min(PAYLOAD_BYTES_MAX);
        let mut incoming = Messages::new(datagrams_max);
        for i in 0..datagrams_max {
            let base = frames.at(i).cast::<u8>().wrapping_add(HEADROOM);
            incoming.slots[i].payload = iovec { iov_base: base.cast(), iov_len: payload_bytes_max };
            incoming.expect(i);
        }
        let outgoing = Messages::new(datagrams_max);
        Self { frames, incoming, outgoing, payload_bytes_max, received: 0, queued: 0 }
    }

    /// How many datagrams it holds.
    pub(super) fn datagrams_max(&self) -> usize {
        self.frames.len()
    }

    /// Fills the batch from `socket` without waiting, and says how many there are.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        for i in 0..self.received {
            self.incoming.expect(i);
        }
        self.received = 0;
        let (headers, len) = (self.incoming.headers.at(0), self.incoming.headers.len());
        // SAFETY: `headers` are `len` headers whose pointers lead into `incoming.slots` and, by `payload`, into `frames`, each with the
        // length of what it leads to (`Messages::new`, `Messages::expect`, `Batch::new`). All of it is owned by `self`, does not move,
        // and is borrowed by nobody else now.
        let count =
            unsafe { recvmmsg(socket.as_raw_fd(), headers, len as u32, MSG_DONTWAIT, ptr::null_mut()) };
        self.received = (Errno::result(count)? as usize).min(len);
        Ok(self.received)
    }

    /// The datagram at `i` of those received last.
    pub(super) fn received(&self, i: usize) -> Received {
        let (message, slot) = (&self.incoming.headers[i], &self.incoming.slots[i]);
        let header = &message.msg_hdr;
        let control_len = if header.msg_flags & MSG_CTRUNC == 0 { header.msg_controllen } else { 0 };
        Received {
            len: (message.msg_len as usize).min(self.payload_bytes_max),
            is_truncated: header.msg_flags & MSG_TRUNC != 0,
            source: slot.name.decode(header.msg_namelen as usize),
            local: slot.control.decode(control_len),
        }
    }

    /// The frame at `i`.
    pub(super) fn frame(&mut self, i: usize) -> &mut [u8] {
        &mut self.frames[i].0
    }

    /// Empties the queue of datagrams to send.
    pub(super) fn clear(&mut self) {
        self.queued = 0;
    }

    /// Queues the bytes at `range` of the frame at `i` to be sent to `to`, from `from` if given, else from where the kernel chooses.
    ///
    /// `None`, and nothing is queued, if the range is not within the frame or the queue is full.
    pub(super) fn queue(
        &mut self,
        i: usize,
        range: Range<usize>,
        to: SocketAddr,
        from: Option<Local>,
    ) -> Option<()> {
        let bytes = self.frames.get(i)?.0.get(range.clone())?;
        let slot = self.outgoing.slots.get_mut(self.queued)?;
        // The address is taken from the frames' own pointer: one made from `bytes` would end with that borrow.
        let base = self.frames.at(i).cast::<u8>().wrapping_add(range.start);
        slot.payload = iovec { iov_base: base.cast(), iov_len: bytes.len() };
        let header = &mut self.outgoing.headers[self.queued].msg_hdr;
        header.msg_namelen = slot.name.encode(to) as u32;
        header.msg_controllen = from.map_or(0, |from| slot.control.encode(from, to));
        self.queued += 1;
        Some(())
    }

    /// How many are queued.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// The payload bytes of those at `range` of the queue.
    pub(super) fn queued_bytes(&self, range: Range<usize>) -> usize {
        self.outgoing.slots.get(range).unwrap_or_default().iter().map(|slot| slot.payload.iov_len).sum()
    }

    /// Sends the queue from `first` on by `socket` without waiting, and says how many the kernel took. An error is that of the one at `first`.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, first: usize) -> Result<usize, Errno> {
        let first = first.min(self.queued);
        let count = self.queued - first;
        let headers = self.outgoing.headers.at(first);
        // SAFETY: `headers` are `count` headers, for `queued` is at most their number (`Batch::queue`). Their pointers lead into
        // `outgoing.slots`, each with at most the length of what it leads to, and, by `payload`, to a range of `frames` that was checked in
        // `Batch::queue`. All of it is owned by `self`, does not move, and is borrowed by nobody else now.
        let sent = unsafe { sendmmsg(socket.as_raw_fd(), headers, count as u32, MSG_DONTWAIT) };
        Ok((Errno::result(sent)? as usize).min(count))
    }
}

/// Sets a socket option that is an `int` and that `nix` does not name.
pub(super) fn set_option(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> Result<(), Errno> {
    let len = size_of::<c_int>() as u32;
    // SAFETY: the pointer and length are those of `value`, which outlives the call.
    let result = unsafe { setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    Errno::result(result).map(drop)
}

// SAFETY: the pointers in it lead only to memory that it owns itself, as a `Box` does, and that no other thread knows of.
unsafe impl Send for Batch {}

/// A payload with its head- and tailroom.
#[repr(C, align(64))]
struct Frame([u8; FRAME_BYTES]);

impl Frame {
    fn zeroed(count: usize) -> Fixed<Self> {
        // SAFETY: a frame is bytes, for which zero is a value.
        Fixed::new(unsafe { Box::new_zeroed_slice(count).assume_init() })
    }
}

/// The kernel's headers for one direction, and what they point at.
struct Messages {
    headers: Fixed<mmsghdr>,
    slots: Fixed<Slot>,
}

/// What one header points at.
#[repr(C)]
struct Slot {
    payload: iovec,
    name: Name,
    control: Control,
}

impl Messages {
    /// `count` headers, each pointing at its own slot.
    fn new(count: usize) -> Self {
        let empty = iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let slot = |_| Slot { payload: empty, name: Name::EMPTY, control: Control::EMPTY };
        let slots: Fixed<Slot> = Fixed::new((0..count).map(slot).collect());
        let header = |i| {
            let slot = slots.at(i);
            // SAFETY: zero is a value for each field: integers, and pointers that are not read while null.
            let mut message: mmsghdr = unsafe { core::mem::zeroed() };
            // SAFETY: `slot` leads to a slot (`Fixed::at`); only addresses of its fields are taken, nothing is read.
            unsafe {
                message.msg_hdr.msg_iov = &raw mut (*slot).payload;
                message.msg_hdr.msg_name = (&raw mut (*slot).name).cast();
                message.msg_hdr.msg_control = (&raw mut (*slot).control).cast();
            }
            message.msg_hdr.msg_iovlen = 1;
            message
        };
        let headers = Fixed::new((0..count).map(header).collect());
        Self { headers, slots }
    }

    /// Makes the header at `i` ready to receive: the kernel overwrites these lengths with what it filled.
    fn expect(&mut self, i: usize) {
        let header = &mut self.headers[i].msg_hdr;
        header.msg_namelen = size_of::<Name>() as u32;
        header.msg_controllen = size_of::<Control>();
        header.msg_flags = 0;
    }
}

/// A boxed slice that may be pointed into: the address of an item stays good while the whole is moved, or borrowed as a slice in between.
struct Fixed<T>(NonNull<[T]>);

impl<T> Fixed<T> {
    fn new(items: Box<[T]>) -> Self {
        Self(NonNull::from(Box::leak(items)))
    }

    /// The address of the item at `i`; past the last, the end.
    fn at(&self, i: usize) -> *mut T {
        self.0.as_ptr().cast::<T>().wrapping_add(i.min(self.0.len()))
    }
}

impl<T> Deref for Fixed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the pointer came from a box and is freed only by `drop`; the kernel writes only in calls that borrow the batch mutably.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Fixed<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and `self` is borrowed mutably.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Fixed<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box (`Fixed::new`) and is not used again.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
