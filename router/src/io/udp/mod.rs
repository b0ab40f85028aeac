//! I/O over the kernel's UDP sockets: one socket for each listener and worker, datagrams in batches.
//!
//! ```text
//! recvmmsg -> frames -> forward -> sendmmsg          one system call for each batch and direction
//! ```
//!
//! All listeners of a worker share one batch of frames. A batch is received from one listener, handed to `forward`, and sent, straight out of the
//! same frames, before the next listener has its turn; so a frame is never in two places, and each listener gets one batch a turn.
//!
//! # Which worker gets which datagram
//!
//! The sockets of one listener, one a worker, form a group (`SO_REUSEPORT`), and the kernel picks among them by a hash over both addresses and ports. So
//! all datagrams from one source to one listener come out of one socket in the order they arrived in, and the messages of one Call-ID that one
//! neighbour sends, which are the only ones that have an order, stay in order on one worker. What the other side of the call sends may
//! be another worker's: no worker remembers anything, so that makes no difference. `tests/udp.rs` shows it. A program that steers by Call-ID would add nothing
//! but a way to *split* one pair of addresses; until `io/af_xdp` does that, a single trunk is a single worker's work.
//!
//! The hash spreads over the sockets that there are. While workers are being bound, or closed one by one, flows change hands; so all [`Udp`]s are to
//! be bound before the first is used, and dropped together.
//!
//! # Addresses
//!
//! A socket bound to an address receives for that one only, and sends from it. A socket bound to all addresses asks the kernel for packet info
//! (`IP_PKTINFO`, `IPV6_RECVPKTINFO`) and knows thereby where each datagram went to; what leaves by the same listener leaves from there, so that
//! an answer comes from where the question was sent. What comes from another listener leaves from the address that the routing table gives.
//!
//! # Errors
//!
//! The sockets are not connected and do not set `IP_RECVERR`, so Linux does not report ICMP errors by them at all; should one come, it is counted, and so is
//! every datagram that cannot be sent. Nothing stops. Nothing allocates after [`Udp::bind`].

mod address;
mod socket;
mod sys;
#[cfg(test)]
mod tests;

pub use socket::{BindError, Granted, probe};

use super::poll::Poll;
use super::{Datagram, HEADROOM, Io, ListenerIndex, Verdict};
use crate::stats::{Counter, Stats};
use address::Local;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use nix::errno::Errno;
use socket::Socket;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;
use sys::{Batch, PAYLOAD_BYTES_MAX};

/// How the sockets are set up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Datagrams that one system call moves, 1 to 1,024.
    pub batch_datagrams_max: usize,
    /// What the receive buffer of each socket is asked to be; none leaves the system's default.
    pub receive_buffer_bytes: Option<usize>,
    /// What the send buffer of each socket is asked to be; none leaves the system's default.
    pub send_buffer_bytes: Option<usize>,
    /// How long a receive call polls the device queue itself when it finds nothing; none leaves it to interrupts.
    pub busy_poll_us: Option<u32>,
}

impl Default for Options {
    /// 64 datagrams a batch: of 3,160 ns to receive and send one over loopback, 16 a batch took 70 more, and 128 saved nothing (2 vCPUs, Linux 6.18).
    ///
    /// A receive buffer of 4 MiB: the kernel counts about 1,300 bytes for a message of 600 and doubles what it is asked for, so this holds 6,000
    /// messages, several milliseconds at full rate. The usual default holds 160. Sending rarely queues; 1 MiB is several batches.
    fn default() -> Self {
        Self {
            batch_datagrams_max: 64,
            receive_buffer_bytes: Some(4 << 20),
            send_buffer_bytes: Some(1 << 20),
            busy_poll_us: None,
        }
    }
}

/// How often a send that found no room is tried again, for a whole batch.
///
/// With [`SEND_PAUSE_SPINS`] this is about as long as a 10 Gbit/s link takes to send a batch. A device that is still full then
/// is not going to keep up; trying on would only turn a send queue that is full into a receive queue that is full.
const SEND_TRIES_MAX: usize = 32;

/// Spins between two such tries: about a microsecond.
const SEND_PAUSE_SPINS: usize = 32;

/// One worker's sockets and frames.
pub struct Udp {
    sockets: Vec<Socket>,
    poll: Poll,
    /// Who comes first next time.
    first: usize,
    batch: Batch,
    transmits: Vec<Transmit>,
    stats: Arc<Stats>,
}

/// A datagram of the batch that is to leave.
struct Transmit {
    egress: ListenerIndex,
    /// Its frame, and the payload's place there.
    frame: usize,
    range: Range<usize>,
    to: SocketAddr,
    from: Option<Local>,
    is_queued: bool,
}

impl Udp {
    /// One worker's sockets for `listeners`, in their order. A port of 0 is the kernel's choice, see [`Self::addresses`].
    ///
    /// Sockets of other workers may be bound to the same addresses before and after, by the same user; [`probe`] tells whether somebody else holds one.
    ///
    /// # Errors
    /// The first address that cannot be bound, or is no address of ours, and what the system said.
    pub fn bind(listeners: &[SocketAddr], options: &Options, stats: Arc<Stats>) -> Result<Self, BindError> {
        Self::bind_with(listeners, options, stats, PAYLOAD_BYTES_MAX)
    }

    fn bind_with(
        listeners: &[SocketAddr],
        options: &Options,
        stats: Arc<Stats>,
        payload_bytes_max: usize,
    ) -> Result<Self, BindError> {
        let sockets = listeners.iter().map(|a| Socket::bind(*a, options)).collect::<Result<Vec<_>, _>>()?;
        let batch = Batch::new(options.batch_datagrams_max, payload_bytes_max);
        Ok(Self {
            poll: Poll::new(sockets.iter().map(AsFd::as_fd)),
            transmits: Vec::with_capacity(batch.datagrams_max()),
            first: 0,
            sockets,
            batch,
            stats,
        })
    }

    /// The addresses and ports that the listeners are bound to.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sockets.iter().map(|socket| socket.address)
    }

    /// What the kernel granted of the [`Options`], for each listener.
    pub fn granted(&self) -> impl Iterator<Item = Granted> + '_ {
        self.sockets.iter().map(|socket| socket.granted)
    }

    /// Wakes [`Io::wait`] also when `other` has something to read; its owner keeps it open as long as this is used.
    pub fn watch(&mut self, other: BorrowedFd<'_>) {
        self.poll.watch(other);
    }

    /// Sends a payload that did not come in here to `to` by the listener `egress`, and counts it, as sent or as failed.
    ///
    /// `source` is the address to leave from where the listener is bound to all addresses; none leaves it to the routing table. The payload is copied.
    pub fn send(&mut self, egress: ListenerIndex, to: SocketAddr, source: Option<IpAddr>, payload: &[u8]) {
        let is_wildcard = self.sockets.get(usize::from(egress.0)).is_some_and(Socket::is_wildcard);
        let from = source.filter(|_| is_wildcard).map(Local::of);
        let range = HEADROOM..HEADROOM + payload.len();
        self.batch.clear();
        if let Some(room) = self.batch.frame(0).get_mut(range.clone()) {
            room.copy_from_slice(payload);
        }
        let queued = self.batch.queue(0, range, to, from);
        let failed = usize::from(queued.is_none()) + self.send_queue(egress);
        if failed > 0 {
            self.stats.add(Counter::SendFailed, failed as u64);
        }
    }

    /// One batch of one listener: receive, forward, send.
    #[inline]
    fn breathe_listener(
        &mut self,
        listener: usize,
        forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict,
    ) -> usize {
        let Some(socket) = self.sockets.get(listener) else { return 0 };
        let count = match self.batch.receive(socket.as_fd()) {
            Ok(count) => count,
            Err(Errno::EAGAIN) => return 0,
            Err(_) => {
                self.stats.add(Counter::ReceiveFailed, 1);
                return 0;
            }
        };
        self.transmits.clear();
        for i in 0..count {
            self.forward_one(i, listener, forward);
        }
        self.transmit();
        count
    }

    /// Hands the datagram at `i` to `forward`, and notes it if it is to leave.
    #[inline]
    fn forward_one(
        &mut self,
        i: usize,
        listener: usize,
        forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict,
    ) {
        let received = self.batch.received(i);
        if received.is_truncated {
            return self.stats.add(Counter::ReceiveTruncated, 1);
        }
        let Some((flow, local)) = self.sockets[listener].flow(listener, &received) else {
            return self.stats.add(Counter::ReceiveFailed, 1);
        };
        let mut datagram = Datagram::new(self.batch.frame(i), HEADROOM, HEADROOM + received.len, flow);
        if let Verdict::Transmit { egress, to } = forward(&mut datagram) {
            let from = if egress == flow.listener { local } else { None };
            let range = datagram.range();
            self.transmits.push(Transmit { egress, frame: i, range, to, from, is_queued: false });
        }
    }

    /// Sends what the batch's datagrams have become: one call for each listener that they leave by, in the order they came.
    #[inline]
    fn transmit(&mut self) {
        let mut first = 0;
        while let Some(egress) = self.transmits.get(first).map(|transmit| transmit.egress) {
            self.batch.clear();
            let mut failed = 0;
            let mut next_first = self.transmits.len();
            for (i, transmit) in self.transmits.iter_mut().enumerate().skip(first) {
                if transmit.is_queued {
                    continue;
                }
                if transmit.egress != egress {
                    next_first = next_first.min(i);
                    continue;
                }
                transmit.is_queued = true;
                let queued =
                    self.batch.queue(transmit.frame, transmit.range.clone(), transmit.to, transmit.from);
                failed += u64::from(queued.is_none());
            }
            first = next_first;
            failed += self.send_queue(egress) as u64;
            if failed > 0 {
                self.stats.add(Counter::SendFailed, failed);
            }
        }
    }

    /// Sends the queue by `egress`, and returns how many could not be sent.
    #[inline]
    fn send_queue(&mut self, egress: ListenerIndex) -> usize {
        let (batch, stats) = (&mut self.batch, &self.stats);
        let Some(socket) = self.sockets.get(usize::from(egress.0)) else { return batch.queued() };
        send_all(batch.queued(), |first| {
            let sent = batch.send(socket.as_fd(), first)?;
            stats.add(Counter::Sent, sent as u64);
            stats.add(Counter::SentBytes, batch.queued_bytes(first..first + sent) as u64);
            Ok(sent)
        })
    }
}

/// Sends `count` datagrams by calls of `send`, which is given the first to send and returns how many went; returns how many could not be sent.
///
/// An error is that of the first: that one is left out. Not so where it has nothing to do with it: no room, a signal, or
/// an ICMP error for an earlier one, which the kernel reports by whatever call comes next. Then it is tried again, [`SEND_TRIES_MAX`] times in all.
fn send_all(count: usize, mut send: impl FnMut(usize) -> Result<usize, Errno>) -> usize {
    let (mut first, mut failed, mut tries) = (0, 0, 0);
    while first < count {
        match send(first) {
            Ok(sent @ 1..) => first += sent,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) if tries < SEND_TRIES_MAX => {
                tries += 1;
                (0..SEND_PAUSE_SPINS).for_each(|_| core::hint::spin_loop());
            }
            Err(Errno::EAGAIN) => return failed + count - first,
            Ok(0) | Err(_) => {
                failed += 1;
                first += 1;
            }
        }
    }
    failed
}

impl Io for Udp {
    fn breathe(&mut self, forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict) -> usize {
        let listeners = self.sockets.len();
        if listeners == 1 {
            return self.breathe_listener(0, forward);
        }
        // Asking which have something costs as much as one receive call that finds nothing.
        self.poll.ask(Duration::ZERO);
        let mut count = 0;
        for listener in (self.first..listeners).chain(0..self.first) {
            if self.poll.is_ready(listener) {
                count += self.breathe_listener(listener, forward);
            }
        }
        self.first = if self.first + 1 < listeners { self.first + 1 } else { 0 };
        count
    }

    fn wait(&mut self, idle_us_max: u64) {
        if idle_us_max > 0 {
            self.poll.ask(Duration::from_micros(idle_us_max));
        }
    }
}
