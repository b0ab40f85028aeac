//! The kernel path: what the workers' sockets do not take in or cannot send goes by ordinary sockets, through the same `forward`.
//!
//! What the steering program leaves to the kernel (fragments, which it puts together; packets with options; datagrams without a Call-ID; all that comes while
//! no program is attached) arrives at the node's UDP sockets, and is forwarded from there. What a worker cannot send (too large for one packet, a neighbour
//! whose link-layer address is not known) is sent by the same sockets straight out of its frame, and the frame goes back to the others.

use super::handover::{Handover, Handovers, Keeper, Probe};
use crate::io::udp::Udp;
use crate::io::{Datagram, Io, Verdict};
use crate::stats::{Counter, Stats};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

/// Most datagrams that are sent for the workers before the sockets have their turn.
const HANDOVERS_A_BREATH_MAX: usize = 64;

/// What a neighbour is sent for the kernel to ask whether it is there: a keep-alive (RFC 5626 3.5.1), which every SIP element ignores.
const KEEP_ALIVE: &[u8] = b"\r\n\r\n";

/// How often it looks whether it is still held.
const HELD_POLL: Duration = Duration::from_millis(1);

/// The one thread's way to the network that is no worker's.
pub struct KernelPath {
    udp: Udp,
    handovers: Arc<Handovers>,
    keeper: Option<Keeper>,
    stats: Arc<Stats>,
}

impl KernelPath {
    /// Over the node's sockets, which count in `stats` too. It works before there are frames.
    #[must_use]
    pub fn new(mut udp: Udp, handovers: Arc<Handovers>, stats: Arc<Stats>) -> Self {
        udp.watch(handovers.as_fd());
        Self { udp, handovers, keeper: None, stats }
    }

    /// Sends for the workers, and returns how many.
    fn send_handovers(&mut self) -> usize {
        if self.handovers.is_empty() {
            return 0;
        }
        if self.keeper.is_none() {
            self.keeper = self.handovers.keeper();
        }
        let Some(Keeper { umem, stack, page }) = &mut self.keeper else { return 0 };
        let mut count = 0;
        while count < HANDOVERS_A_BREATH_MAX {
            let Some(Handover { mut frame, payload, egress, to, source, worker }) = self.handovers.take()
            else {
                break;
            };
            let payload = umem.bytes(&mut frame).get(payload).unwrap_or_default();
            self.udp.send(egress, to, source, payload);
            self.handovers.note_sent(worker);
            stack.put(frame);
            count += 1;
        }
        page.held.store(stack.len() as u64, Relaxed);
        count
    }

    /// Sends the keep-alives that make the kernel ask for neighbours.
    fn send_probes(&mut self) {
        while let Some(Probe { egress, to, source }) = self.handovers.probe() {
            self.udp.send(egress, to, source, KEEP_ALIVE);
            self.stats.add(Counter::NeighbourProbes, 1);
        }
    }
}

impl Io for KernelPath {
    fn breathe(&mut self, forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict) -> usize {
        if self.handovers.is_held() {
            return 0;
        }
        self.send_probes();
        self.send_handovers() + self.udp.breathe(forward)
    }

    fn wait(&mut self, idle_us_max: u64) {
        let Self { udp, handovers, .. } = self;
        if handovers.is_held() {
            // Its sockets are readable all the time.
            return thread::sleep(HELD_POLL);
        }
        handovers.sleep(|| udp.wait(idle_us_max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ListenerIndex;
    use crate::io::af_xdp::depot::{Depot, Stack};
    use crate::io::af_xdp::handover::Hold;
    use crate::io::af_xdp::ledger::Page;
    use crate::io::af_xdp::umem::tests::umem;
    use crate::io::af_xdp::umem::{Frame, Umem};
    use crate::io::udp::Options;
    use std::net::UdpSocket;
    use std::time::Instant;

    fn path(frames: u32) -> (KernelPath, Vec<Frame>, Arc<Stats>, Arc<Handovers>, Arc<Page>) {
        let (umem, frames_all) = umem(frames);
        let (umem, stats) = (Arc::new(umem), Arc::new(Stats::new()));
        let address = "127.0.0.1:0".parse().unwrap();
        let udp = Udp::bind(&[address], &Options::default(), Arc::clone(&stats)).unwrap();
        let (handovers, page) = (Arc::new(Handovers::new(100, 1).unwrap()), Arc::new(Page::default()));
        let mut path = KernelPath::new(udp, Arc::clone(&handovers), Arc::clone(&stats));
        assert_eq!(path.breathe(&mut |_| Verdict::Release), 0, "it works without frames");
        let stack = Stack::new(&Arc::new(Depot::new(frames as usize)), 64);
        handovers.begin(Keeper { umem, stack, page: Arc::clone(&page) });
        (path, frames_all, stats, handovers, page)
    }

    fn umem_of(handovers: &Handovers, path: &mut KernelPath) -> Arc<Umem> {
        let keeper = path.keeper.take().or_else(|| handovers.keeper()).unwrap();
        Arc::clone(&path.keeper.insert(keeper).umem)
    }

    fn stack(path: &mut KernelPath) -> &mut Stack {
        &mut path.keeper.as_mut().unwrap().stack
    }

    #[test]
    fn while_it_is_held_all_waits() {
        let (mut path, _, stats, handovers, _) = path(4);
        let address = path.udp.addresses().next().unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let hold = Hold::of(&handovers);
        peer.send_to(b"x", address).unwrap();
        for _ in 0..3 {
            path.wait(1_000);
            assert_eq!(path.breathe(&mut |_| Verdict::Release), 0);
        }
        assert_eq!(stats.read().counter(Counter::Received), 0);
        drop(hold);
        path.wait(1_000_000);
        assert_eq!(path.breathe(&mut |_| Verdict::Release), 1, "it is there still");
    }

    #[test]
    fn it_sends_for_the_workers_and_keeps_the_frames() {
        let (mut path, frames, stats, handovers, page) = path(3);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = peer.local_addr().unwrap();
        for (i, mut frame) in frames.into_iter().enumerate() {
            umem_of(&handovers, &mut path).bytes(&mut frame)[100..105].copy_from_slice(b"hello");
            // The second does not lie in its frame: then there is nothing to send but an empty datagram, and the frame comes back all the same.
            let payload = if i == 1 { 5_000..5_001 } else { 100..105 };
            let handover = Handover { frame, payload, egress: ListenerIndex(0), to, source: None, worker: 0 };
            handovers.give(handover).unwrap();
        }
        assert_eq!(path.breathe(&mut |_| Verdict::Release), 3);
        let mut buffer = [0; 9];
        let lengths = [0; 3].map(|_| peer.recv(&mut buffer).unwrap());
        assert_eq!((lengths, &buffer[..5]), ([5, 0, 5], &b"hello"[..]));
        assert_eq!((stack(&mut path).len(), page.held.load(Relaxed)), (3, 3));
        assert_eq!((stats.read().counter(Counter::Sent), handovers.sent(0)), (3, 3));
    }

    #[test]
    fn it_probes_neighbours_with_keep_alives() {
        let (mut path, _frames, stats, handovers, _) = path(1);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let probe = Probe { egress: ListenerIndex(0), to: peer.local_addr().unwrap(), source: None };
        (0..PROBES).for_each(|_| handovers.ask_for(probe));
        let begin = Instant::now();
        path.wait(5_000_000);
        assert!(begin.elapsed() < Duration::from_secs(3), "a probe wakes it");
        path.breathe(&mut |_| Verdict::Release);
        let mut buffer = [0; 9];
        assert_eq!((peer.recv(&mut buffer).unwrap(), &buffer[..4]), (4, KEEP_ALIVE));
        assert_eq!(stats.read().counter(Counter::NeighbourProbes), 64, "what finds no room is not asked for");
    }

    /// More than there is room for.
    const PROBES: usize = 70;

    #[test]
    fn a_handover_wakes_it() {
        let (mut path, frames, _, handovers, _) = path(1);
        let giver = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            let to = "127.0.0.1:9".parse().unwrap();
            for frame in frames {
                handovers
                    .give(Handover {
                        frame,
                        payload: 0..1,
                        egress: ListenerIndex(0),
                        to,
                        source: None,
                        worker: 0,
                    })
                    .unwrap();
            }
        });
        let begin = Instant::now();
        path.wait(5_000_000);
        assert!(begin.elapsed() < Duration::from_secs(3));
        giver.join().unwrap();
        assert_eq!(path.breathe(&mut |_| Verdict::Release), 1);
        // With something there it does not sleep at all.
        let frame = stack(&mut path).take().unwrap();
        let to = "127.0.0.1:9".parse().unwrap();
        path.handovers
            .give(Handover { frame, payload: 0..1, egress: ListenerIndex(0), to, source: None, worker: 0 })
            .unwrap();
        let begin = Instant::now();
        path.wait(5_000_000);
        assert!(begin.elapsed() < Duration::from_secs(3));
        path.breathe(&mut |_| Verdict::Release);
        assert_eq!(stack(&mut path).len(), 1);
    }
}
