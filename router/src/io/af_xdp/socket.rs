//! The sockets of a node: how they are bound, which worker has which rings, and how the kernel is woken.
//!
//! For each interface, queue and worker there is a socket with an RX ring. The one of a queue that is bound first is its owner's, worker `queue % workers`, and has the queue's
//! fill and completion ring. A socket has a TX ring only where the worker transmits by it, on queue `worker % queues`: without one it stays off the
//! kernel's list of transmitters, which has a faster path for a single one (`net/xdp/xsk.c`, `xsk_tx_peek_release_desc_batch`).
//!
//! # Binding, and the mode of each interface
//!
//! The first socket of all registers the memory and is bound with flags: copy or zero copy, and `XDP_USE_NEED_WAKEUP`. All others share its memory
//! (`XDP_SHARED_UMEM`), and may give no flags of their own (`xsk_bind`): a further socket of a queue takes part in that queue's buffer pool, and the first one of another queue, or
//! another *interface*, gets the mode that the shared registration has: zero copy for each if any was bound so, copy else (`net/xdp/xsk_buff_pool.c`,
//! `xp_assign_dev_shared`). So one registration cannot serve an interface in zero-copy mode and one in copy mode.
//!
//! Therefore the memory is registered once for each mode that is in use. Both registrations are of the same memory and cut it up the same way, so a frame
//! received by the one may be transmitted by the other. They are accounted twice where locked memory is limited.
//!
//! `zero_copy = "auto"` tries zero copy on the interface's first queue, and takes copy mode if the kernel refuses, for whatever reason; if that is not to do with
//! zero copy, copy mode is refused too, and that is the error. [`OwnedQueue::mode`] says what came of it.

#![expect(unsafe_code, reason = "rings that are shared with the kernel")]

use super::abi;
use super::census::Census;
use super::ring::{CompletionRing, FillRing, Kind, RingMemory, RxRing, TxRing};
use super::umem::{Frame, Umem};
use crate::io::poll::Poll;
use core::fmt;
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
    /// How long a call polls at most, in microseconds.
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
    /// Whether the socket is in zero-copy mode, as the kernel has it.
    ///
    /// # Errors
    /// None that is known of, while the socket is open.
    pub fn is_zero_copy(&self) -> Result<bool, Errno> {
        abi::is_zero_copy(self.socket.as_fd())
    }

    /// What the kernel counts of this socket, its transmitting side included.
    ///
    /// # Errors
    /// None that is known of, while the socket is open.
    pub fn statistics(&self) -> Result<Statistics, Errno> {
        let raw = abi::statistics(self.socket.as_fd())?;
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

impl Tx {
    /// Has the kernel transmit what was submitted. It does not wait, and in copy mode takes 32 at most.
    ///
    /// # Errors
    /// `EAGAIN`: there is more, or the device is full; call again. `EBUSY`: one was dropped by the device's queue, and completes. `ENOBUFS`: no memory for now.
    /// `ENETDOWN`: the interface is down. `ENXIO`: it is gone.
    #[inline]
    pub fn wake(&self) -> Result<(), Errno> {
        abi::wake_transmit(self.socket.as_fd())
    }
}

/// Why there are no sockets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BindError {
    /// What was asked for makes no sense.
    Plan(String),
    /// The kernel refused.
    Refused {
        /// The interface's name.
        interface: String,
        /// The queue.
        queue: u32,
        /// What was being done.
        step: Step,
        /// What the kernel said.
        errno: Errno,
    },
}

/// What is done on the way to a bound socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// `socket`.
    Open,
    /// `XDP_UMEM_REG`.
    Register,
    /// Making and mapping rings.
    Rings,
    /// `bind`, in copy mode.
    Bind,
    /// `bind`, in zero-copy mode.
    BindZeroCopy,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (interface, queue, step, errno) = match self {
            Self::Plan(why) => return f.write_str(why),
            Self::Refused { interface, queue, step, errno } => (interface, queue, *step, *errno),
        };
        write!(f, "{interface} queue {queue}: cannot {step}: {errno}")?;
        advice(step, errno).map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

impl std::error::Error for BindError {}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open an AF_XDP socket",
            Self::Register => "register the frames' memory",
            Self::Rings => "make its rings",
            Self::Bind => "bind in copy mode",
            Self::BindZeroCopy => "bind in zero-copy mode",
        })
    }
}

/// What to do about an error, in words.
fn advice(step: Step, errno: Errno) -> Option<&'static str> {
    Some(match (step, errno) {
        (Step::Open, Errno::EPERM | Errno::EACCES) => {
            "it takes CAP_NET_RAW, and the program CAP_NET_ADMIN and CAP_BPF: start as root, or give it \
             `setcap cap_net_raw,cap_net_admin,cap_bpf+ep`"
        }
        (Step::Open, Errno::EAFNOSUPPORT) => "this kernel is built without AF_XDP (CONFIG_XDP_SOCKETS)",
        (Step::Register, Errno::ENOBUFS) => {
            "more than may be locked: raise RLIMIT_MEMLOCK (`LimitMEMLOCK=infinity`), give it CAP_IPC_LOCK, or have fewer frames"
        }
        (_, Errno::ENOMEM | Errno::ENOBUFS) => "out of memory: have fewer frames or smaller rings",
        (Step::Bind | Step::BindZeroCopy, Errno::EBUSY) => {
            "an AF_XDP socket of another program has this queue, or one that has just ended"
        }
        (Step::Bind | Step::BindZeroCopy, Errno::ENODEV | Errno::ENXIO) => "the interface is gone",
        (Step::Bind | Step::BindZeroCopy, Errno::ENETDOWN) => "the interface is down: `ip link set ... up`",
        (Step::Bind, Errno::EINVAL) => {
            "the interface has no queue of this number: `ethtool -l` shows how many, `ethtool -L` sets it"
        }
        (Step::BindZeroCopy, Errno::EINVAL | Errno::EOPNOTSUPP) => {
            "the driver cannot do zero copy, or not on this queue, or the interface has no queue of this number (`ethtool -l`): \
             set zero_copy to \"auto\" or \"never\""
        }
        (Step::BindZeroCopy, _) => "copy mode may do: set zero_copy to \"never\"",
        _ => return None,
    })
}

/// Binds sockets to all queues of `interfaces` for all `workers`, and fills the fill rings from `frames`.
///
/// The program is to be attached before, where zero copy is wanted: some drivers refuse it otherwise.
///
/// # Errors
/// The first socket that could not be had, and why. What is bound already is closed, and frames that went there are lost together with their
/// area; a queue is free again when the kernel has got round to it.
pub fn bind(
    umem: &Umem,
    frames: &mut Vec<Frame>,
    interfaces: &[InterfacePlan],
    workers: usize,
    options: &Options,
) -> Result<Vec<WorkerSockets>, BindError> {
    check(frames.len(), interfaces, workers, options).map_err(BindError::Plan)?;
    let mut binder = Binder { umem, frames, workers, options, leaders: [None, None] };
    let mut parts: Vec<_> = (0..workers).map(|_| Parts::default()).collect();
    for (index, plan) in interfaces.iter().enumerate() {
        binder.bind_interface(index, plan, &mut parts)?;
    }
    Ok(parts.into_iter().enumerate().map(|(worker, parts)| parts.into_sockets(worker)).collect())
}

/// The owner of a queue.
#[must_use]
pub fn owner(queue: u32, workers: usize) -> usize {
    queue as usize % workers
}

/// The queue that a worker transmits on, of an interface with so many.
#[must_use]
pub fn tx_queue(worker: usize, queues: u32) -> u32 {
    (worker % queues as usize) as u32
}

/// What is wrong with what is asked for.
fn check(
    frames: usize,
    interfaces: &[InterfacePlan],
    workers: usize,
    options: &Options,
) -> Result<(), String> {
    let Options { fill_entries, completion_entries, rx_entries, tx_entries, prefill_frames, .. } = *options;
    if workers == 0 {
        return Err("no workers".into());
    }
    if let Some(plan) = interfaces.iter().find(|plan| plan.queues == 0) {
        return Err(format!("{}: no queues", plan.name));
    }
    for (ring, entries) in
        [("fill", fill_entries), ("completion", completion_entries), ("RX", rx_entries), ("TX", tx_entries)]
    {
        if !entries.is_power_of_two() {
            return Err(format!("{entries} entries for a {ring} ring: not a power of two"));
        }
    }
    let queues: usize = interfaces.iter().map(|plan| plan.queues as usize).sum();
    if prefill_frames > fill_entries || prefill_frames as usize * queues > frames {
        return Err(format!(
            "{prefill_frames} frames to receive into for each of {queues} queues: there are {frames}, and a fill ring holds {fill_entries}"
        ));
    }
    Ok(())
}

/// One worker's sockets, before all are there.
#[derive(Default)]
struct Parts {
    rx: Vec<Rx>,
    owned: Vec<OwnedQueue>,
    tx: Vec<Tx>,
}

impl Parts {
    fn into_sockets(mut self, worker: usize) -> WorkerSockets {
        // A worker comes by its queues in another order than by its own.
        self.rx.sort_by_key(|rx| (rx.interface, rx.queue));
        let poll = Poll::new(self.rx.iter().map(|rx| rx.socket.as_fd()));
        WorkerSockets { worker, rx: self.rx, owned: self.owned, tx: self.tx, poll }
    }
}

/// What was being done, and what the kernel said.
type Failure = (Step, Errno);

/// Binds sockets one after the other.
struct Binder<'a> {
    umem: &'a Umem,
    frames: &'a mut Vec<Frame>,
    workers: usize,
    options: &'a Options,
    /// The socket that registered the memory for copy mode, and the one for zero copy.
    leaders: [Option<Arc<OwnedFd>>; 2],
}

/// A queue's first socket, before its parts are dealt out.
struct First {
    socket: Open,
    fill: FillRing,
    completion: CompletionRing,
}

/// A socket with its rings mapped.
struct Open {
    fd: Arc<OwnedFd>,
    rx: RxRing,
    tx: Option<TxRing>,
}

impl Binder<'_> {
    /// All sockets of an interface.
    fn bind_interface(
        &mut self,
        interface: usize,
        plan: &InterfacePlan,
        parts: &mut [Parts],
    ) -> Result<(), BindError> {
        // The first socket of queue 0, which all others share with, and the mode that they get from it.
        let mut leader: Option<(Arc<OwnedFd>, Mode)> = None;
        for queue in 0..plan.queues {
            let refused = |(step, errno)| {
                let interface = plan.name.clone();
                BindError::Refused { interface, queue, step, errno }
            };
            let (first, mode) = match &leader {
                None => self.bind_leader(plan).map_err(refused)?,
                Some((fd, mode)) => {
                    (self.bind_first(plan, queue, *mode == Mode::ZeroCopy, Some(fd)).map_err(refused)?, *mode)
                }
            };
            let fd = Arc::clone(&first.socket.fd);
            leader.get_or_insert_with(|| (Arc::clone(&fd), mode));
            let owner = owner(queue, self.workers);
            first.deal(mode, self.options.busy_poll, interface, queue, &mut parts[owner]);
            for worker in (0..self.workers).filter(|worker| *worker != owner) {
                let socket = self.bind_further(plan, queue, worker, &fd).map_err(refused)?;
                socket.deal(interface, queue, &mut parts[worker]);
            }
        }
        Ok(())
    }

    /// The first socket of queue 0, in the mode that is wanted or can be had.
    fn bind_leader(&mut self, plan: &InterfacePlan) -> Result<(First, Mode), Failure> {
        let (first, mode) = match plan.zero_copy {
            ZeroCopy::Require => (self.bind_in_mode(plan, true)?, Mode::ZeroCopy),
            ZeroCopy::Never => (self.bind_in_mode(plan, false)?, Mode::Copy),
            ZeroCopy::Auto => match self.bind_in_mode(plan, true) {
                Ok(first) => (first, Mode::ZeroCopy),
                Err((Step::BindZeroCopy, errno)) => {
                    (self.bind_in_mode(plan, false)?, Mode::CopyInstead(errno))
                }
                Err(failure) => return Err(failure),
            },
        };
        Ok((first, mode))
    }

    /// The first socket of queue 0 in one mode. If no other socket is in that mode it registers the memory.
    fn bind_in_mode(&mut self, plan: &InterfacePlan, is_zero_copy: bool) -> Result<First, Failure> {
        let leader = self.leaders[usize::from(is_zero_copy)].clone();
        let first = self.bind_first(plan, 0, is_zero_copy, leader.as_ref())?;
        self.leaders[usize::from(is_zero_copy)].get_or_insert_with(|| Arc::clone(&first.socket.fd));
        Ok(first)
    }

    /// The first socket of a queue, which brings the queue's fill and completion ring.
    fn bind_first(
        &mut self,
        plan: &InterfacePlan,
        queue: u32,
        is_zero_copy: bool,
        shared: Option<&Arc<OwnedFd>>,
    ) -> Result<First, Failure> {
        let fd = abi::socket().map_err(|errno| (Step::Open, errno))?;
        if shared.is_none() {
            let geometry = self.umem.geometry();
            abi::register(fd.as_fd(), self.umem.area(), geometry.frame_size, geometry.headroom)
                .map_err(|errno| (Step::Register, errno))?;
        }
        let has_tx = tx_queue(owner(queue, self.workers), plan.queues) == queue;
        let (fill, completion, socket) = self.make_first(fd, has_tx).map_err(|errno| (Step::Rings, errno))?;
        let mut first = First { socket, fill, completion };
        self.prefill(&mut first.fill);
        let flags =
            libc::XDP_USE_NEED_WAKEUP | if is_zero_copy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
        let shared = shared.map(AsFd::as_fd);
        match abi::bind(first.socket.fd.as_fd(), plan.if_index, queue, flags, shared) {
            Ok(()) => Ok(first),
            Err(errno) => {
                // SAFETY: the kernel looks at the ring of a bound socket only, and this one is closed unbound.
                unsafe { first.fill.retract(self.frames) };
                Err((if is_zero_copy { Step::BindZeroCopy } else { Step::Bind }, errno))
            }
        }
    }

    /// The rings of a queue's first socket.
    fn make_first(&self, fd: OwnedFd, has_tx: bool) -> Result<(FillRing, CompletionRing, Open), Errno> {
        let (umem, options) = (self.umem, self.options);
        let fill = RingMemory::of_socket(fd.as_fd(), Kind::Fill, options.fill_entries)?;
        let completion = RingMemory::of_socket(fd.as_fd(), Kind::Completion, options.completion_entries)?;
        // SAFETY: the kernel's ring of a new socket, which works on chunks of this area only: `bind_first` registers it or shares with one for which it was registered. The
        // kernel completes what it was given to transmit, once.
        let (fill, completion) =
            unsafe { (FillRing::new(fill, umem), CompletionRing::new(completion, umem)) };
        Ok((fill, completion, self.open(fd, has_tx)?))
    }

    /// A further socket of a queue, which takes part in what that has.
    fn bind_further(
        &self,
        plan: &InterfacePlan,
        queue: u32,
        worker: usize,
        first: &OwnedFd,
    ) -> Result<Open, Failure> {
        let fd = abi::socket().map_err(|errno| (Step::Open, errno))?;
        let has_tx = tx_queue(worker, plan.queues) == queue;
        let socket = self.open(fd, has_tx).map_err(|errno| (Step::Rings, errno))?;
        let bound = abi::bind(socket.fd.as_fd(), plan.if_index, queue, 0, Some(first.as_fd()));
        bound.map_err(|errno| (Step::Bind, errno))?;
        Ok(socket)
    }

    /// The rings that belong to a socket.
    fn open(&self, fd: OwnedFd, has_tx: bool) -> Result<Open, Errno> {
        let (umem, options) = (self.umem, self.options);
        let rx = RingMemory::of_socket(fd.as_fd(), Kind::Rx, options.rx_entries)?;
        let make_tx = || RingMemory::of_socket(fd.as_fd(), Kind::Tx, options.tx_entries);
        let tx = if has_tx { Some(make_tx()?) } else { None };
        // SAFETY: the kernel's rings of a new socket, which works on chunks of this area only: it shares with one for which it was registered, or is that one. The
        // kernel puts into the RX ring what it took out of the queue's fill ring, once.
        let (rx, tx) = unsafe { (RxRing::new(rx, umem), tx.map(|tx| TxRing::new(tx, umem))) };
        Ok(Open { fd: Arc::new(fd), rx, tx })
    }

    /// Puts the frames in that are there when the kernel begins.
    fn prefill(&mut self, fill: &mut FillRing) {
        for _ in 0..self.options.prefill_frames {
            let Some(frame) = self.frames.pop() else { break };
            if let Err(frame) = fill.push(frame) {
                self.frames.push(frame);
                break;
            }
        }
        fill.submit();
    }
}

impl First {
    /// Gives the owner what is its.
    fn deal(self, mode: Mode, busy_poll: Option<BusyPoll>, interface: usize, queue: u32, parts: &mut Parts) {
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
        socket.deal(interface, queue, parts);
    }
}

impl Open {
    /// Gives a worker what is its.
    fn deal(self, interface: usize, queue: u32, parts: &mut Parts) {
        let Self { fd, rx, tx } = self;
        let socket = || Arc::clone(&fd);
        parts.tx.extend(tx.map(|ring| Tx { interface, queue, ring, socket: socket() }));
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
