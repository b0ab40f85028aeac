//! I/O over plain memory, for tests, fuzzing and benches: datagrams are put in, and what leaves is taken out.

use super::{Datagram, Flow, HEADROOM, Io, ListenerIndex, TAILROOM, Verdict};
use core::net::SocketAddr;
use std::collections::VecDeque;

/// A datagram that left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The listener it left by.
    pub egress: ListenerIndex,
    /// Destination address and port.
    pub to: SocketAddr,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Queues of datagrams in and out. One frame serves all, so its bytes are stale between two, as on a real ring.
#[derive(Debug)]
pub struct Memory {
    frame: Vec<u8>,
    waiting: VecDeque<(Flow, Vec<u8>)>,
    /// What left, in order.
    pub sent: Vec<Sent>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::with_frame_bytes(HEADROOM + 65_535 + TAILROOM)
    }
}

impl Memory {
    /// Empty queues, with frames of `frame_bytes` bytes in all. Payloads that do not fit with their headroom are cut.
    #[must_use]
    pub fn with_frame_bytes(frame_bytes: usize) -> Self {
        Self { frame: vec![0; frame_bytes], waiting: VecDeque::new(), sent: Vec::new() }
    }

    /// Puts a datagram in.
    pub fn push(&mut self, flow: Flow, payload: &[u8]) {
        self.waiting.push_back((flow, payload.to_vec()));
    }
}

impl Io for Memory {
    fn breathe(&mut self, forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict) -> usize {
        let mut count = 0;
        while let Some((flow, payload)) = self.waiting.pop_front() {
            let room = self.frame.len().saturating_sub(HEADROOM);
            let len = payload.len().min(room);
            self.frame[HEADROOM..HEADROOM + len].copy_from_slice(&payload[..len]);
            let mut datagram = Datagram::new(&mut self.frame, HEADROOM, HEADROOM + len, flow);
            if let Verdict::Transmit { egress, to } = forward(&mut datagram) {
                self.sent.push(Sent { egress, to, payload: datagram.payload().to_vec() });
            }
            count += 1;
        }
        count
    }

    fn wait(&mut self, _idle_us_max: u64) {}
}
