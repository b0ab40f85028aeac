//! The kernel path: what the workers' sockets do not take in or cannot send goes by ordinary sockets, through the same `forward`.
//!
//! What the steering program leaves to the kernel (fragments, which it puts together; packets with options; datagrams without a Call-ID; all that comes while
//! no program is attached) arrives at the node's UDP sockets, and is forwarded from there. What a worker cannot send (too large for one packet, a neighbour
//! whose link-layer address is not known) is sent by the same sockets straight out of its frame, and the frame goes back to the others.

use super::depot::Stack;
use super::handover::{Handover, Handovers};
use super::ledger::Page;
use super::umem::Umem;
use crate::io::udp::Udp;
use crate::io::{Datagram, Io, Verdict};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Most datagrams that are sent for the workers before the sockets have their turn.
const HANDOVERS_A_BREATH_MAX: usize = 64;

/// The one thread's way to the network that is no worker's.
pub struct KernelPath {
    udp: Udp,
    umem: Arc<Umem>,
    handovers: Arc<Handovers>,
    stack: Stack,
    page: Arc<Page>,
}

impl KernelPath {
    /// Over the node's sockets. `stack` begins empty.
    #[must_use]
    pub fn new(
        mut udp: Udp,
        umem: Arc<Umem>,
        handovers: Arc<Handovers>,
        stack: Stack,
        page: Arc<Page>,
    ) -> Self {
        udp.watch(handovers.as_fd());
        Self { udp, umem, handovers, stack, page }
    }

    /// Sends for the workers, and returns how many.
    fn send_handovers(&mut self) -> usize {
        for count in 0..HANDOVERS_A_BREATH_MAX {
            let Some(Handover { mut frame, payload, egress, to, source }) = self.handovers.take() else {
                return count;
            };
            let payload = self.umem.bytes(&mut frame).get(payload).unwrap_or_default();
            self.udp.send(egress, to, source, payload);
            self.stack.put(frame);
            self.page.held.store(self.stack.len() as u64, Relaxed);
        }
        HANDOVERS_A_BREATH_MAX
    }
}

impl Io for KernelPath {
    fn breathe(&mut self, forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict) -> usize {
        self.send_handovers() + self.udp.breathe(forward)
    }

    fn wait(&mut self, idle_us_max: u64) {
        let Self { udp, handovers, .. } = self;
        handovers.sleep(|| udp.wait(idle_us_max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ListenerIndex;
    use crate::io::af_xdp::depot::Depot;
    use crate::io::af_xdp::umem::tests::umem;
    use crate::io::udp::Options;
    use crate::stats::{Counter, Stats};
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    fn path(
        frames: u32,
    ) -> (KernelPath, Vec<super::super::umem::Frame>, Arc<Stats>, Arc<Handovers>, Arc<Page>) {
        let (umem, frames_all) = umem(frames);
        let (umem, stats) = (Arc::new(umem), Arc::new(Stats::new()));
        let address = "127.0.0.1:0".parse().unwrap();
        let udp = Udp::bind(&[address], &Options::default(), Arc::clone(&stats)).unwrap();
        let (handovers, page) = (Arc::new(Handovers::new(100).unwrap()), Arc::new(Page::default()));
        let stack = Stack::new(&Arc::new(Depot::new(frames as usize)), 64);
        let path = KernelPath::new(udp, umem, Arc::clone(&handovers), stack, Arc::clone(&page));
        (path, frames_all, stats, handovers, page)
    }

    #[test]
    fn it_sends_for_the_workers_and_keeps_the_frames() {
        let (mut path, frames, stats, handovers, page) = path(3);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = peer.local_addr().unwrap();
        for (i, mut frame) in frames.into_iter().enumerate() {
            path.umem.bytes(&mut frame)[100..105].copy_from_slice(b"hello");
            // The second does not lie in its frame: then there is nothing to send but an empty datagram, and the frame comes back all the same.
            let payload = if i == 1 { 5_000..5_001 } else { 100..105 };
            let handover = Handover { frame, payload, egress: ListenerIndex(0), to, source: None };
            handovers.give(handover).unwrap();
        }
        assert_eq!(path.breathe(&mut |_| Verdict::Release), 3);
        let mut buffer = [0; 9];
        let lengths = [0; 3].map(|_| peer.recv(&mut buffer).unwrap());
        assert_eq!((lengths, &buffer[..5]), ([5, 0, 5], &b"hello"[..]));
        assert_eq!((path.stack.len(), page.held.load(Relaxed)), (3, 3));
        assert_eq!(stats.read().counter(Counter::Sent), 3);
    }

    #[test]
    fn a_handover_wakes_it() {
        let (mut path, frames, _, handovers, _) = path(1);
        let giver = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            let to = "127.0.0.1:9".parse().unwrap();
            for frame in frames {
                handovers
                    .give(Handover { frame, payload: 0..1, egress: ListenerIndex(0), to, source: None })
                    .unwrap();
            }
        });
        let begin = Instant::now();
        path.wait(5_000_000);
        assert!(begin.elapsed() < Duration::from_secs(3));
        giver.join().unwrap();
        assert_eq!(path.breathe(&mut |_| Verdict::Release), 1);
        // With something there it does not sleep at all.
        let mut frame = path.stack.take().unwrap();
        path.umem.bytes(&mut frame)[0] = 1;
        let to = "127.0.0.1:9".parse().unwrap();
        path.handovers
            .give(Handover { frame, payload: 0..1, egress: ListenerIndex(0), to, source: None })
            .unwrap();
        let begin = Instant::now();
        path.wait(5_000_000);
        assert!(begin.elapsed() < Duration::from_secs(3));
        path.breathe(&mut |_| Verdict::Release);
        assert_eq!(path.stack.len(), 1);
    }
}
