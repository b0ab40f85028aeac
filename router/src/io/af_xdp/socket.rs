//! The sockets of a node: how they are bound, which worker has which rings, and how the kernel is woken.
//!
//! For each interface, queue and worker there is a socket with an RX ring. The one of a queue that is bound first is its owner's, worker `queue % workers`, and has the queue's
//! fill and completion ring. A socket has a TX ring only where the worker transmits by it, on queue `worker % queues`: without one it stays off the
//! kernel's list of transmitters, which has a faster path for a single one (`net/xdp/xsk.c`, `xsk_tx_peek_release_desc_batch`).

mod bind;
mod error;

pub use bind::{bind, owner, tx_queue};
pub use error::{BindError, Step};

use super::abi;
use super::census::Census;
use super::ring::{CompletionRing, FillRing, RxRing, TxRing};
use crate::io::poll::Poll;
use nix::errno::Errno;
use nix::libc;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// What is wanted of an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfacePlan {
    /// Its name, for errors.
    pub name: String,
    /// Its index in the kernel.
    pub if_index: u32,
    /// Sockets are bound to its queues from 0 to one less than this.
    pub queues: u32,
    /// Whether the device is to read and write the frames itself.
    pub zero_copy: ZeroCopy,
}

/// Whether zero copy is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZeroCopy {
    /// Where it can be had.
    Auto,
    /// Or nothing.
    Require,
    /// The kernel copies.
    Never,
}

/// How the sockets are set up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Entries of each fill ring, a power of two, like those below.
    pub fill_entries: u32,
    /// Entries of each completion ring.
    pub completion_entries: u32,
    /// Entries of each RX ring.
    pub rx_entries: u32,
    /// Entries of each TX ring.
    pub tx_entries: u32,
    /// Frames that are put into each fill ring before its socket is bound, at most its entries.
    pub prefill_frames: u32,
    /// Whether the owner of a queue polls the device itself, in preference to interrupts.
    pub busy_poll: Option<BusyPoll>,
}

/// Preferred busy polling of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BusyPoll {
    /// How long a call that waits polls at most, in microseconds; not 0, which is no polling. Calls here never wait, and poll once (`net/core/dev.c`, `napi_busy_loop`).
    pub us: u32,
    /// How many packets a call takes from the device at most.
    pub packets_max: u32,
}

/// How packets come and go by a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The device reads and writes the frames.
    ZeroCopy,
    /// The kernel copies, as was wanted.
    Copy,
    /// The kernel copies, since zero copy was refused, with this error.
    CopyInstead(Errno),
}

/// One worker's sockets.
pub struct WorkerSockets {
    /// Which worker, from 0.
    pub worker: usize,
    /// A ring for each interface and queue, in this order.
    pub rx: Vec<Rx>,
    /// The queues that it owns.
    pub owned: Vec<OwnedQueue>,
    /// A ring for each interface, in their order.
    pub tx: Vec<Tx>,
    /// Its sockets, in the order of `rx`, to sleep on.
    pub poll: Poll,
}

/// A socket's receiving side.
pub struct Rx {
    /// The interface, as its place among the plans.
    pub interface: usize,
    /// The queue.
    pub queue: u32,
    /// What came.
    pub ring: RxRing,
    socket: Arc<OwnedFd>,
}

/// A queue's rings, at its owner.
pub struct OwnedQueue {
    /// The interface, as its place among the plans.
    pub interface: usize,
    /// The queue.
    pub queue: u32,
    /// Frames to receive into.
    pub fill: FillRing,
    /// Frames that were transmitted on this queue, by whichever worker.
    pub completion: CompletionRing,
    /// How packets come and go.
    pub mode: Mode,
    /// Whether busy polling was granted; never if it was not asked for.
    pub is_busy_polling: bool,
    socket: Arc<OwnedFd>,
}

/// A socket's transmitting side.
pub struct Tx {
    /// The interface, as its place among the plans.
    pub interface: usize,
    /// The queue.
    pub queue: u32,
    /// What is to leave.
    pub ring: TxRing,
    /// How often a ring that does not get empty may be worth waking for, for one batch.
    pub wakes_max: u32,
    socket: Arc<OwnedFd>,
}

/// What the kernel counts of a socket, from its beginning (`struct xdp_statistics`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Statistics {
    /// Packets that were dropped because they are longer than a frame takes, or there was no frame.
    pub rx_dropped: u64,
    /// Packets that found the RX ring full.
    pub rx_ring_full: u64,
    /// Times that a packet found the fill ring empty. It is the queue's: each socket of the queue reports the same.
    pub fill_ring_empty: u64,
    /// Descriptors of the RX ring that were found invalid; none that is known of.
    pub rx_invalid: u64,
    /// Entries of the TX ring that are no packets, and must be none: their frames are lost.
    pub tx_invalid: u64,
    /// Times that the kernel found the TX ring empty.
    pub tx_ring_empty: u64,
}

/// A socket's place in the map that the program redirects by.
#[derive(Clone, Copy, Debug)]
pub struct MapEntry<'a> {
    /// The interface, as its place among the plans.
    pub interface: usize,
    /// The queue.
    pub queue: u32,
    /// The worker.
    pub worker: usize,
    /// The socket.
    pub socket: BorrowedFd<'a>,
}

impl WorkerSockets {
    /// The sockets, for the program's maps.
    pub fn map_entries(&self) -> impl Iterator<Item = MapEntry<'_>> {
        let worker = self.worker;
        self.rx.iter().map(move |rx| MapEntry {
            interface: rx.interface,
            queue: rx.queue,
            worker,
            socket: rx.socket.as_fd(),
        })
    }

    /// Counts the frames in all its rings.
    pub fn count(&self, census: &mut Census) {
        self.rx.iter().for_each(|rx| census.rx(&rx.ring));
        self.tx.iter().for_each(|tx| census.tx(&tx.ring));
        for owned in &self.owned {
            census.fill(&owned.fill);
            census.completion(&owned.completion);
        }
    }
}

impl Rx {
    /// What the kernel counts of this socket, its transmitting side included.
    ///
    /// # Errors
    /// None that is known of, while the socket is open.
    pub fn statistics(&self) -> Result<Statistics, Errno> {
        self.watch().read()
    }

    /// Where to read [`Self::statistics`] while another thread works with the socket.
    #[must_use]
    pub fn watch(&self) -> SocketStatistics {
        SocketStatistics(Arc::clone(&self.socket))
    }
}

/// What the kernel counts of a socket, for who does not own it. It keeps the socket open.
#[derive(Clone, Debug)]
pub struct SocketStatistics(Arc<OwnedFd>);

impl SocketStatistics {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Rx::statistics`].
    pub fn read(&self) -> Result<Statistics, Errno> {
        let raw = abi::statistics(self.0.as_fd())?;
        Ok(Statistics {
            rx_dropped: raw.rx_dropped,
            rx_ring_full: raw.rx_ring_full,
            fill_ring_empty: raw.rx_fill_ring_empty_descs,
            rx_invalid: raw.rx_invalid_descs,
            tx_invalid: raw.tx_invalid_descs,
            tx_ring_empty: raw.tx_ring_empty_descs,
        })
    }
}

impl OwnedQueue {
    /// Has the kernel look at the fill ring, and poll the device where busy polling was granted. It does not wait.
    ///
    /// # Errors
    /// `ENETDOWN`: the interface is down. `ENXIO`: it is gone.
    #[inline]
    pub fn wake(&self) -> Result<(), Errno> {
        abi::wake_receive(self.socket.as_fd())
    }
}

/// Wakes of a transmit ring in copy mode for a whole batch.
///
/// The kernel sends 32 frames a call there (`TX_BATCH_SIZE` in `net/xdp/xsk.c`), so a ring of 2,048 takes 64. A device that is still full then is not
/// going to keep up; the rest is tried with the next batch.
const WAKES_OF_COPY_MODE: u32 = 64;

/// The same with zero copy, where a wake has the driver begin, somewhere else, and returns: more of them tell it nothing new.
const WAKES_OF_ZERO_COPY: u32 = 1;

impl Tx {
    /// Has the kernel transmit what was submitted. It does not wait. In copy mode it sends 32 at most; with zero copy it has the driver begin.
    ///
    /// # Errors
    /// `EAGAIN`: there is more, or the device is full; call again. `EBUSY`: one was dropped by the device's queue, and completes. `ENOBUFS`: no memory for now.
    /// `ENETDOWN`: the interface is down. `ENXIO`: it is gone.
    #[inline]
    pub fn wake(&self) -> Result<(), Errno> {
        abi::wake_transmit(self.socket.as_fd())
    }
}

/// One worker's sockets, before all are there.
#[derive(Default)]
pub(super) struct Parts {
    rx: Vec<Rx>,
    owned: Vec<OwnedQueue>,
    tx: Vec<Tx>,
}

impl Parts {
    pub(super) fn into_sockets(mut self, worker: usize) -> WorkerSockets {
        // A worker comes by its queues in another order than by its own.
        self.rx.sort_by_key(|rx| (rx.interface, rx.queue));
        let poll = Poll::new(self.rx.iter().map(|rx| rx.socket.as_fd()));
        WorkerSockets { worker, rx: self.rx, owned: self.owned, tx: self.tx, poll }
    }
}

/// A queue's first socket, before its parts are dealt out.
pub(super) struct First {
    pub(super) socket: Open,
    pub(super) fill: FillRing,
    pub(super) completion: CompletionRing,
}

/// A socket with its rings mapped.
pub(super) struct Open {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) rx: RxRing,
    pub(super) tx: Option<TxRing>,
}

impl First {
    /// Whether the kernel has it in zero-copy mode; that it took the flag says less.
    pub(super) fn is_zero_copy(&self) -> bool {
        abi::is_zero_copy(self.socket.fd.as_fd()) == Ok(true)
    }

    /// Gives the owner what is its.
    pub(super) fn deal(
        self,
        mode: Mode,
        busy_poll: Option<BusyPoll>,
        interface: usize,
        queue: u32,
        parts: &mut Parts,
    ) {
        let Self { socket, fill, completion } = self;
        let is_busy_polling = busy_poll.is_some_and(|wanted| set_busy_poll(&socket.fd, wanted).is_ok());
        let fd = Arc::clone(&socket.fd);
        parts.owned.push(OwnedQueue {
            interface,
            queue,
            fill,
            completion,
            mode,
            is_busy_polling,
            socket: fd,
        });
        socket.deal(mode, interface, queue, parts);
    }
}

impl Open {
    /// Gives a worker what is its.
    pub(super) fn deal(self, mode: Mode, interface: usize, queue: u32, parts: &mut Parts) {
        let Self { fd, rx, tx } = self;
        let socket = || Arc::clone(&fd);
        let wakes_max = if mode == Mode::ZeroCopy { WAKES_OF_ZERO_COPY } else { WAKES_OF_COPY_MODE };
        parts.tx.extend(tx.map(|ring| Tx { interface, queue, ring, wakes_max, socket: socket() }));
        parts.rx.push(Rx { interface, queue, ring: rx, socket: socket() });
    }
}

/// Has a socket's calls poll its queue, instead of interrupts as long as they do.
fn set_busy_poll(socket: &OwnedFd, wanted: BusyPoll) -> Result<(), Errno> {
    let set = |name, value| {
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        abi::set_integer(socket.as_fd(), libc::SOL_SOCKET, name, value)
    };
    set(libc::SO_PREFER_BUSY_POLL, 1)?;
    set(libc::SO_BUSY_POLL, wanted.us)?;
    set(libc::SO_BUSY_POLL_BUDGET, wanted.packets_max)
}

#[cfg(test)]
mod tests;
