//! The kernel's side of AF_XDP over plain memory, for tests: it takes frames out of fill rings, puts packets into them, and transmits.
//!
//! It does with frames what the kernel does in copy mode, and owns them meanwhile. Its sockets are none: to wake them is an error that does nothing.

#![expect(unsafe_code, reason = "the other side of rings")]

use super::census::Census;
use super::ring::{CompletionRing, FillRing, Ring, RingMemory, RxRing, TxRing};
use super::socket::{First, Mode, Open, Options, Parts, WorkerSockets, owner, tx_queue};
use super::umem::{Frame, Umem};
use core::ptr::NonNull;
use nix::libc::{XDP_RING_NEED_WAKEUP, xdp_desc, xdp_ring_offset};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Rings as small as tests want them.
pub(super) const OPTIONS: Options = Options {
    fill_entries: 32,
    completion_entries: 32,
    rx_entries: 16,
    tx_entries: 16,
    prefill_frames: 32,
    busy_poll: None,
};

/// Both sides' memory of a ring, whose indices begin at `first`. It is on the heap, where the address sanitizer watches its ends.
pub(super) fn ring_memory<T>(entries: u32, first: u32) -> RingMemory {
    let offsets = xdp_ring_offset { producer: 0, consumer: 64, flags: 68, desc: 128 };
    let owner = Arc::new(Heap::new(128 + entries as usize * size_of::<T>()));
    let memory = RingMemory { base: owner.base, offsets, entries, owner };
    for offset in [offsets.producer, offsets.consumer] {
        index(&memory, offset).store(first, Ordering::Relaxed);
    }
    memory
}

/// An index of a ring, or its flags.
pub(super) fn index(memory: &RingMemory, offset: u64) -> &AtomicU32 {
    // SAFETY: `ring_memory` put one there, in memory that is held.
    unsafe { memory.base.add(offset as usize).cast().as_ref() }
}

struct Heap {
    base: NonNull<u8>,
    layout: Layout,
}

impl Heap {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, 64).unwrap();
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc_zeroed(layout) };
        Self { base: NonNull::new(base).unwrap_or_else(|| handle_alloc_error(layout)), layout }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: it came from there with this layout.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

// SAFETY: an address; who uses it says why they may.
unsafe impl Send for Heap {}
// SAFETY: as for `Send`.
unsafe impl Sync for Heap {}

/// Why a packet is not received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dropped {
    TooLong,
    FillRingEmpty,
    RxRingFull,
}

/// A node's kernel.
pub(super) struct Kernel {
    umem: Arc<Umem>,
    /// By interface and queue.
    queues: Vec<Vec<Queue>>,
}

struct Queue {
    fill: Ring<u64>,
    completion: Ring<u64>,
    completion_memory: RingMemory,
    /// Taken out of the fill ring and not used, as in `xp_free`.
    held: Vec<Frame>,
    /// By worker.
    sockets: Vec<Socket>,
}

struct Socket {
    rx: Ring<xdp_desc>,
    tx: Option<(Ring<xdp_desc>, RingMemory)>,
}

impl Kernel {
    /// Sockets for `workers` on interfaces with so many `queues`, in which all indices begin at `first`, and their other side.
    pub(super) fn new(
        umem: &Arc<Umem>,
        frames: &mut Vec<Frame>,
        queues: &[u32],
        workers: usize,
        options: &Options,
        first: u32,
    ) -> (Self, Vec<WorkerSockets>) {
        let mut parts: Vec<_> = (0..workers).map(|_| Parts::default()).collect();
        let mut kernel = Self { umem: Arc::clone(umem), queues: vec![] };
        for (interface, count) in queues.iter().enumerate() {
            let make =
                |queue| Queue::new(umem, frames, (interface, queue, *count), options, first, &mut parts);
            kernel.queues.push((0..*count).map(make).collect());
        }
        let sockets = parts.into_iter().enumerate().map(|(worker, parts)| parts.into_sockets(worker));
        (kernel, sockets.collect())
    }

    /// Receives a packet on a queue, for the worker that the program chose.
    pub(super) fn receive(
        &mut self,
        interface: usize,
        queue: usize,
        worker: usize,
        packet: &[u8],
    ) -> Result<(), Dropped> {
        let umem = Arc::clone(&self.umem);
        let queue = &mut self.queues[interface][queue];
        if packet.len() > umem.packet_bytes_max() {
            return Err(Dropped::TooLong);
        }
        let mut frame = queue.take(&umem).ok_or(Dropped::FillRingEmpty)?;
        let at = umem.packet_offset();
        umem.bytes(&mut frame)[at..at + packet.len()].copy_from_slice(packet);
        let addr = (umem.chunks().offset(&frame).unwrap() + at) as u64;
        let rx = &mut queue.sockets[worker].rx;
        if !rx.push(xdp_desc { addr, len: packet.len() as u32, options: 0 }) {
            queue.held.push(frame);
            return Err(Dropped::RxRingFull);
        }
        rx.submit();
        Ok(())
    }

    /// Puts a descriptor into an RX ring, whatever it says.
    pub(super) fn receive_raw(
        &mut self,
        interface: usize,
        queue: usize,
        worker: usize,
        descriptor: xdp_desc,
    ) {
        let rx = &mut self.queues[interface][queue].sockets[worker].rx;
        assert!(rx.push(descriptor));
        rx.submit();
    }

    /// Transmits up to `max` packets of a worker, completes them, and returns them. A full completion ring ends it.
    pub(super) fn transmit(&mut self, interface: usize, worker: usize, max: usize) -> Vec<Vec<u8>> {
        let umem = Arc::clone(&self.umem);
        let queue = tx_queue(worker, self.queues[interface].len() as u32) as usize;
        let Queue { completion, sockets, .. } = &mut self.queues[interface][queue];
        let (tx, _) = sockets[worker].tx.as_mut().unwrap();
        let mut packets = vec![];
        while packets.len() < max && completion.free() > 0 {
            let Some(xdp_desc { addr, len, options }) = tx.pop() else { break };
            // SAFETY: it is the kernel's, that is ours, from the TX ring to the completion ring.
            let (frame, start) = unsafe { umem.chunks().claim(addr) }.expect("a chunk");
            let bytes = umem.read(&frame).get(start..start + len as usize).expect("within its chunk");
            assert!(len > 0 && options == 0);
            packets.push(bytes.to_vec());
            assert!(completion.push(addr));
        }
        tx.release();
        completion.submit();
        packets
    }

    /// Says in all TX rings that it wants to be woken, or not.
    pub(super) fn want_wakeup(&mut self, wants: bool) {
        let sockets = self.queues.iter_mut().flatten().flat_map(|queue| &mut queue.sockets);
        for (_, memory) in sockets.filter_map(|socket| socket.tx.as_ref()) {
            let flags = if wants { XDP_RING_NEED_WAKEUP } else { 0 };
            index(memory, memory.offsets.flags).store(flags, Ordering::Relaxed);
        }
    }

    /// Entries that the completion ring of a queue has and its owner has not let go of.
    pub(super) fn completed(&self, interface: usize, queue: usize) -> u32 {
        let memory = &self.queues[interface][queue].completion_memory;
        let read = |offset| index(memory, offset).load(Ordering::Relaxed);
        read(memory.offsets.producer).wrapping_sub(read(memory.offsets.consumer))
    }

    /// Counts the frames that are in no ring.
    pub(super) fn count(&self, census: &mut Census) {
        self.queues.iter().flatten().for_each(|queue| census.frames(&queue.held));
    }
}

impl Queue {
    fn new(
        umem: &Umem,
        frames: &mut Vec<Frame>,
        (interface, queue, queues): (usize, u32, u32),
        options: &Options,
        first: u32,
        parts: &mut [Parts],
    ) -> Self {
        let fill_memory = ring_memory::<u64>(options.fill_entries, first);
        let completion_memory = ring_memory::<u64>(options.completion_entries, first);
        // SAFETY: each memory has the parts that its offsets name, and two views: this, as the kernel's side, and the one that the worker gets below.
        let mut it = unsafe {
            Self {
                fill: Ring::new(fill_memory.clone()),
                completion: Ring::new(completion_memory.clone()),
                completion_memory: completion_memory.clone(),
                held: vec![],
                sockets: vec![],
            }
        };
        // SAFETY: as above, and `Kernel` gives back once what it takes.
        let (mut fill, completion) =
            unsafe { (FillRing::new(fill_memory, umem), CompletionRing::new(completion_memory, umem)) };
        for frame in frames.drain(frames.len() - options.prefill_frames as usize..) {
            fill.push(frame).unwrap();
        }
        fill.submit();
        let mut queue_rings = Some((fill, completion));
        let owner = owner(queue, parts.len());
        for (worker, parts) in parts.iter_mut().enumerate() {
            let socket = it.open(umem, worker, tx_queue(worker, queues) == queue, options, first);
            match queue_rings.take_if(|_| worker == owner) {
                Some((fill, completion)) => {
                    let first = First { socket, fill, completion };
                    first.deal(Mode::Copy, None, interface, queue, parts);
                }
                None => socket.deal(Mode::Copy, interface, queue, parts),
            }
        }
        it
    }

    /// A worker's socket, and its other side.
    fn open(&mut self, umem: &Umem, worker: usize, has_tx: bool, options: &Options, first: u32) -> Open {
        assert_eq!(worker, self.sockets.len());
        let rx = ring_memory::<xdp_desc>(options.rx_entries, first);
        let tx = has_tx.then(|| ring_memory::<xdp_desc>(options.tx_entries, first));
        // SAFETY: each memory has the parts that its offsets name, and two views: these, and those below.
        unsafe {
            let tx = tx.clone().map(|tx| (Ring::new(tx.clone()), tx));
            self.sockets.push(Socket { rx: Ring::new(rx.clone()), tx });
        }
        // SAFETY: as above, and `Kernel` gives back once what it takes.
        let (rx, tx) = unsafe { (RxRing::new(rx, umem), tx.map(|tx| TxRing::new(tx, umem))) };
        Open { fd: Arc::new(UnixDatagram::unbound().unwrap().into()), rx, tx }
    }

    /// A frame to receive into.
    fn take(&mut self, umem: &Umem) -> Option<Frame> {
        self.held.pop().or_else(|| {
            let address = self.fill.pop()?;
            self.fill.release();
            // SAFETY: what lies in the fill ring is the kernel's, that is ours.
            unsafe { umem.chunks().claim(address) }.map(|(frame, _)| frame)
        })
    }
}
