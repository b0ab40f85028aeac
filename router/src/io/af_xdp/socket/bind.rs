//! How the sockets are bound. Start-up only.
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
//! `zero_copy = "auto"` tries zero copy on the interface's first queue, and takes copy mode if the kernel refuses, for whatever reason but that another socket is in the way; if that is not
//! to do with zero copy, copy mode is refused too, and that is the error. [`OwnedQueue::mode`] says what came of it: zero copy is what the kernel says of the bound socket (`XDP_OPTIONS`), not
//! that it took the flag.

#![expect(unsafe_code, reason = "rings that are shared with the kernel")]

use super::super::abi;
use super::super::ring::{CompletionRing, FillRing, Kind, RingMemory, RxRing, TxRing};
use super::super::umem::{Frame, Umem};
use super::{BindError, First, InterfacePlan, Mode, Open, Options, Parts, Step, WorkerSockets, ZeroCopy};
use nix::errno::Errno;
use nix::libc;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Binds sockets to all queues of `interfaces` for all `workers`, and fills the fill rings from `frames`.
///
/// The program is best attached afterwards: many drivers then set up their queues only once. It must be in native mode where zero copy is granted: virtio-net in Linux 7.3 grants it
/// with a program in generic mode too, which then receives nothing.
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
            if mode == Mode::ZeroCopy && !first.is_zero_copy() {
                return Err(refused((Step::BindZeroCopy, Errno::EOPNOTSUPP)));
            }
            let fd = Arc::clone(&first.socket.fd);
            leader.get_or_insert_with(|| (Arc::clone(&fd), mode));
            let owner = owner(queue, self.workers);
            first.deal(mode, self.options.busy_poll, interface, queue, &mut parts[owner]);
            for worker in (0..self.workers).filter(|worker| *worker != owner) {
                let socket = self.bind_further(plan, queue, worker, &fd).map_err(refused)?;
                socket.deal(mode, interface, queue, &mut parts[worker]);
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
                Ok(first) if first.is_zero_copy() => (first, Mode::ZeroCopy),
                Ok(first) => (first, Mode::CopyInstead(Errno::EOPNOTSUPP)),
                // Who is in the way may be gone a moment later, and says nothing about zero copy.
                Err((Step::BindZeroCopy, errno)) if errno != Errno::EBUSY => {
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
