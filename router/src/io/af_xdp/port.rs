//! One worker's way to the network: its receive rings, its transmit rings, and the queues that it owns.
//!
//! ```text
//! completion rings -> stack -> fill rings                          the queues that it owns
//! RX ring -> flows -> forward -> ways -> TX ring                   one frame, in place
//!     |                       |            `-> kernel path         what it cannot send itself
//!     `-----------------------`-> stack                            what ends here
//! ```
//!
//! A worker takes from every queue of every interface, since the steering program may choose it on any, and sends on a queue of its own on each interface.
//! Frames that it received from another's queue come back by its own completion ring, or end with it; what gathers in its stack goes to the depot, where
//! the owner of the queue finds it.

use super::bell::Bell;
use super::depot::Stack;
use super::flows::{Flows, Unknown};
use super::handover::{Handover, Handovers, Probe};
use super::ledger::{self, Page};
use super::listeners::Listeners;
use super::ring::FillLevel;
use super::socket::{Tx, WorkerSockets};
use super::umem::{Frame, Umem};
use super::ways::{Ends, Ways};
use crate::io::{Datagram, Io, Verdict};
use crate::ip_route::IpRoutes;
use crate::stats::{Counter, Handover as Why, Refused, Stats};
use crate::wire::{Basis, Checksum, HEADERS_BYTES_MAX};
use arc_swap::{ArcSwap, Cache};
use core::net::IpAddr;
use core::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What all workers share.
pub struct Shared {
    /// The frames.
    pub umem: Arc<Umem>,
    /// The way to the kernel path.
    pub handovers: Arc<Handovers>,
    /// The IP layer's tables, as the netlink mirror publishes them.
    pub routes: Arc<ArcSwap<IpRoutes>>,
    /// One for each worker: rung by a worker that sees the fill ring of a queue run low whose owner sleeps.
    pub bells: Vec<Bell>,
    /// Who listens where.
    pub listeners: Listeners,
    /// The index of each interface in the kernel, in the order of the sockets' interfaces.
    pub if_indexes: Vec<u32>,
    /// Most frames that are taken from a ring at once.
    pub batch_frames_max: u32,
}

/// One worker's AF_XDP sockets.
pub struct Port {
    shared: Arc<Shared>,
    sockets: WorkerSockets,
    /// For each receive ring the owner of its queue, and how full that keeps it; none where that is this worker.
    suppliers: Vec<Option<Supplier>>,
    flows: Flows,
    sender: Sender,
}

/// Another worker, who owns a queue that this one receives from.
#[derive(Clone)]
pub struct Supplier {
    /// Which worker, from 0.
    pub worker: usize,
    /// How full the queue's fill ring is.
    pub level: FillLevel,
}

/// What a datagram passes after `forward`; apart from the receive rings, which are borrowed meanwhile.
struct Sender {
    shared: Arc<Shared>,
    routes: Cache<Arc<ArcSwap<IpRoutes>>, Arc<IpRoutes>>,
    ways: Ways,
    tx: Vec<Tx>,
    stack: Stack,
    worker: usize,
    waiting: Waiting,
    sent: Sent,
    /// Of the next IPv4 header.
    identification: u16,
    stats: Arc<Stats>,
    page: Arc<Page>,
}

/// What was put into transmit rings in this batch, and is not counted yet.
#[derive(Debug, Default)]
struct Sent {
    frames: u64,
    /// Of their payloads.
    bytes: u64,
}

/// What the kernel path has not sent yet of a worker's, and must not be overtaken.
#[derive(Debug, Default)]
struct Waiting {
    /// For each address that some went to, the bit of its hash.
    destinations: u64,
    /// How many the worker has handed over, ever.
    given: u64,
    /// How many more may follow them that way.
    followers: u32,
}

/// How many datagrams follow others by the kernel path for the sake of their order.
///
/// The kernel path sends these in a fraction of a millisecond. If it has not sent the first by then it cannot keep up with what comes, and to
/// follow on would be to lose what finds no room.
const FOLLOWERS_MAX: u32 = 256;

impl Waiting {
    /// Notes one more that was handed over.
    fn note(&mut self, to: IpAddr) {
        if self.destinations == 0 {
            self.followers = FOLLOWERS_MAX;
        }
        self.destinations |= Self::bit(to);
        self.given = self.given.wrapping_add(1);
    }

    /// Whether a datagram has to wait in line, given how many have been sent of those that were handed over.
    #[inline]
    fn holds_back(&mut self, to: IpAddr, sent: impl FnOnce() -> u64) -> bool {
        if self.destinations == 0 {
            return false;
        }
        if sent() == self.given || self.followers == 0 {
            self.destinations = 0;
            return false;
        }
        let holds_back = self.destinations & Self::bit(to) != 0;
        self.followers -= u32::from(holds_back);
        holds_back
    }

    fn bit(address: IpAddr) -> u64 {
        let bits = match address {
            IpAddr::V4(v4) => v4.to_bits(),
            IpAddr::V6(v6) => v6.to_bits() as u32 ^ (v6.to_bits() >> 64) as u32,
        };
        1 << (bits.wrapping_mul(0x9e37_79b1) >> 26)
    }
}

/// Longest sleep while frames wait in a transmit ring, which no receive ring tells of.
const PENDING_SLEEP_US: u64 = 1_000;

impl Port {
    /// A worker's port. `stack` holds the frames that it begins with, and `suppliers` says for each receive ring who fills it.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        mut sockets: WorkerSockets,
        suppliers: Vec<Option<Supplier>>,
        stack: Stack,
        stats: Arc<Stats>,
        page: Arc<Page>,
    ) -> Self {
        let tx = core::mem::take(&mut sockets.tx);
        if let Some(bell) = shared.bells.get(sockets.worker) {
            sockets.poll.watch(bell.as_fd());
        }
        let routes = Cache::new(Arc::clone(&shared.routes));
        let sender = Sender {
            shared: Arc::clone(&shared),
            routes,
            ways: Ways::new(),
            tx,
            stack,
            worker: sockets.worker,
            waiting: Waiting::default(),
            sent: Sent::default(),
            identification: 0,
            stats,
            page,
        };
        sender.note_held();
        Self { shared, sockets, suppliers, flows: Flows::new(), sender }
    }

    /// What the kernel has transmitted goes to the stack, and from there to where the kernel receives.
    #[inline]
    fn recycle(&mut self) {
        let Sender { stack, page, .. } = &mut self.sender;
        for queue in &mut self.sockets.owned {
            let completed = queue.completion.pop_onto(stack);
            if completed > 0 {
                ledger::add(&page.completed, completed);
            }
            let filled = queue.fill.push_from(stack);
            if filled > 0 {
                queue.fill.submit();
                ledger::add(&page.filled, filled);
            }
            // Errors are those of an interface that is down or gone: then nothing comes.
            if queue.is_busy_polling || queue.fill.needs_wakeup() {
                let _ = queue.wake();
            }
        }
    }

    /// One batch of one ring: receive, forward, put into transmit rings.
    #[inline]
    fn breathe_ring(&mut self, ring: usize, forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict) -> usize {
        let Some(rx) = self.sockets.rx.get_mut(ring) else { return 0 };
        let max = self.shared.batch_frames_max as usize;
        let mut count = 0;
        let mut next = rx.ring.pop();
        while let Some((frame, packet)) = next.take() {
            count += 1;
            // The kernel has written the packet, often by another CPU. While one is worked on, the next one's lines are on their way.
            if count < max {
                next = rx.ring.pop();
                if let Some((frame, packet)) = &next {
                    self.shared.umem.prefetch(frame, packet);
                }
            }
            self.sender.forward_one(&self.shared, &mut self.flows, frame, packet, forward);
        }
        if count == 0 {
            return 0;
        }
        rx.ring.release();
        ledger::add(&self.sender.page.received, count as u64);
        // Who owns the queue may have nothing to do, and sleep.
        if let Some(Some(Supplier { worker, level })) = self.suppliers.get(ring)
            && 2 * level.frames() < level.capacity()
            && let Some(bell) = self.shared.bells.get(*worker)
        {
            bell.ring();
        }
        count
    }
}

impl Sender {
    /// Takes one frame to where it ends: into a transmit ring, over to the kernel path, or back onto the stack.
    #[inline]
    fn forward_one(
        &mut self,
        shared: &Shared,
        flows: &mut Flows,
        mut frame: Frame,
        packet: Range<usize>,
        forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict,
    ) {
        let Shared { umem, listeners, .. } = shared;
        let bytes = umem.bytes(&mut frame);
        let packet_bytes = bytes.get(packet.clone()).filter(|bytes| !bytes.is_empty());
        let Some(packet_bytes) = packet_bytes else {
            return self.refuse(frame, Unknown::Refused(Refused::Descriptor));
        };
        let (arrived, flow) = match flows.read(packet_bytes, listeners) {
            Ok(read) => read,
            Err(why) => return self.refuse(frame, why),
        };
        let checksum = arrived.check(packet_bytes);
        if checksum == Checksum::Wrong {
            return self.refuse(frame, Unknown::Refused(Refused::UdpChecksum));
        }
        // The headers' room is kept out of the edits' reach.
        let Some(room) = bytes.get_mut(HEADERS_BYTES_MAX..) else {
            return self.refuse(frame, Unknown::Refused(Refused::Descriptor));
        };
        // What stood before it would be out of all bounds.
        let in_room = |place: usize| (packet.start + place).wrapping_sub(HEADERS_BYTES_MAX);
        let (start, end) = (in_room(arrived.payload.start), in_room(arrived.payload.end));
        let mut datagram = Datagram::new(room, start, end, *flow);
        // Else the checksum is not made from what it was, so that the front's sum is of no use.
        if checksum == Checksum::Right {
            datagram = datagram.noting_front();
        }
        let Verdict::Transmit { egress, to } = &forward(&mut datagram) else { return self.stack.put(frame) };
        let Range { start, end } = datagram.range();
        let payload = start + HEADERS_BYTES_MAX..end + HEADERS_BYTES_MAX;
        let basis = arrived.basis(checksum, datagram.front());
        let ends = Ends { to, egress: *egress, flow };
        match self.address(shared, bytes, payload.clone(), basis, &ends) {
            Ok((interface, packet)) => self.transmit(frame, interface, packet, payload.len()),
            Err(why) => self.hand_over(frame, payload, &ends, why),
        }
    }

    #[cold]
    fn refuse(&mut self, frame: Frame, why: Unknown) {
        match why {
            Unknown::Odd(odd) => self.stats.odd(odd),
            Unknown::Refused(why) => self.stats.refused(why),
        }
        self.stack.put(frame);
    }

    /// Writes the headers; says by which interface's ring, and what of the frame, is to leave, or why the kernel has to send it.
    #[inline]
    fn address(
        &mut self,
        shared: &Shared,
        frame: &mut [u8],
        payload: Range<usize>,
        basis: Basis,
        ends: &Ends<'_>,
    ) -> Result<(usize, Range<usize>), Why> {
        let Shared { handovers, listeners, if_indexes, .. } = shared;
        let routes = self.routes.load();
        let way = self.ways.find(routes, (if_indexes, listeners), ends)?;
        if payload.len() > way.payload_bytes_max {
            return Err(Why::TooLarge);
        }
        if self.waiting.holds_back(ends.to.ip(), || handovers.sent(self.worker)) {
            return Err(Why::Order);
        }
        if routes.wants_probe(way.neighbour) {
            let source = ends.source(listeners).and_then(|(source, _)| source);
            handovers.ask_for(Probe { egress: ends.egress, to: *ends.to, source });
        }
        let identification = self.identification;
        self.identification = identification.wrapping_add(1);
        let packet = way.headers.write(frame, payload, identification, basis);
        Ok((way.interface, packet.map_err(|_| Why::NoRoute)?))
    }

    /// Puts a frame into an interface's ring.
    #[inline]
    fn transmit(&mut self, frame: Frame, interface: usize, packet: Range<usize>, payload_bytes: usize) {
        let Some(tx) = self.tx.get_mut(interface) else { return self.stack.put(frame) };
        match tx.ring.push(frame, packet) {
            Ok(()) => {
                self.sent.frames += 1;
                self.sent.bytes += payload_bytes as u64;
            }
            Err(frame) => {
                self.stats.add(Counter::TransmitFull, 1);
                self.stack.put(frame);
            }
        }
    }

    #[cold]
    fn hand_over(&mut self, frame: Frame, payload: Range<usize>, ends: &Ends<'_>, why: Why) {
        let Ends { to, egress, .. } = *ends;
        // A listener that there is not sends nothing.
        let Some((source, _)) = ends.source(&self.shared.listeners) else { return self.stack.put(frame) };
        self.stats.handed_over(why);
        let handover = Handover { frame, payload, egress, to: *to, source, worker: self.worker };
        match self.shared.handovers.give(handover) {
            Ok(()) => self.waiting.note(to.ip()),
            Err(handover) => {
                self.stats.add(Counter::HandoverFull, 1);
                self.stack.put(handover.frame);
            }
        }
    }

    /// Brings what was put into the transmit rings to the kernel's attention.
    #[inline]
    fn flush(&mut self) {
        let Sent { frames, bytes } = core::mem::take(&mut self.sent);
        if frames > 0 {
            ledger::add(&self.page.transmitted, frames);
            self.stats.add(Counter::Sent, frames);
            self.stats.add(Counter::SentBytes, bytes);
        }
        for tx in &mut self.tx {
            tx.ring.submit();
            let mut wakes = 0;
            while tx.ring.pending() > 0 && tx.ring.needs_wakeup() && wakes < tx.wakes_max {
                // What went wrong shows in what is left in the ring.
                let _ = tx.wake();
                wakes += 1;
            }
        }
    }

    /// Enters what the stack holds.
    #[inline]
    fn note_held(&self) {
        self.page.held.store(self.stack.len() as u64, Relaxed);
    }

    /// Whether frames wait in a transmit ring.
    fn has_pending(&self) -> bool {
        self.tx.iter().any(|tx| tx.ring.pending() > 0)
    }
}

/// For each worker and each of its receive rings, who else fills that queue.
#[must_use]
pub fn suppliers(sockets: &[WorkerSockets]) -> Vec<Vec<Option<Supplier>>> {
    let owned =
        || sockets.iter().flat_map(|sockets| sockets.owned.iter().map(|queue| (sockets.worker, queue)));
    let supplier = |worker: usize, interface: usize, number: u32| {
        let (owner, queue) = owned().find(|(_, q)| (q.interface, q.queue) == (interface, number))?;
        (owner != worker).then(|| Supplier { worker: owner, level: queue.fill.level() })
    };
    let of_worker = |sockets: &WorkerSockets| {
        sockets.rx.iter().map(|rx| supplier(sockets.worker, rx.interface, rx.queue)).collect()
    };
    sockets.iter().map(of_worker).collect()
}

impl Io for Port {
    fn breathe(&mut self, forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict) -> usize {
        self.recycle();
        let mut count = 0;
        for ring in 0..self.sockets.rx.len() {
            count += self.breathe_ring(ring, forward);
        }
        self.sender.flush();
        self.sender.note_held();
        count
    }

    fn wait(&mut self, idle_us_max: u64) {
        let Self { shared, sockets, sender, .. } = self;
        let Some(bell) = shared.bells.get(sockets.worker) else { return };
        let idle_us_max = if sender.has_pending() { idle_us_max.min(PENDING_SLEEP_US) } else { idle_us_max };
        if idle_us_max > 0 {
            bell.sleep(|| false, || sockets.poll.ask(Duration::from_micros(idle_us_max)));
        }
    }
}

#[cfg(test)]
mod tests;
