//! Real sockets on virtual interfaces, in a network namespace of the test's thread, which goes when the thread has ended.

#![expect(unsafe_code, reason = "system calls that nobody else makes")]

use super::super::umem::{Frame, Geometry, Umem};
use super::*;
use caps::{CapSet, Capability};
use nix::net::if_::if_nametoindex;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const OPTIONS: Options = Options {
    fill_entries: 64,
    completion_entries: 256,
    rx_entries: 64,
    tx_entries: 128,
    prefill_frames: 64,
    busy_poll: Some(BusyPoll { us: 20, packets_max: 64 }),
};

/// Runs `test` in a namespace of its own with two pairs of interfaces of two queues, `left0`-`left1` and `right0`-`right1`; says so where that cannot be.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        // SAFETY: takes no pointers; the namespace is this thread's only.
        if let Err(errno) = Errno::result(unsafe { libc::unshare(libc::CLONE_NEWNET) }) {
            assert!(std::env::var_os("CI").is_none(), "no network namespace: {errno}");
            return eprintln!("SKIPPED: it takes root to have a network namespace: {errno}");
        }
        for side in ["left", "right"] {
            let queues = "numrxqueues 2 numtxqueues 2";
            ip(&format!("link add {side}0 {queues} type veth peer name {side}1 {queues}"));
            for end in [format!("{side}0"), format!("{side}1")] {
                // Without a link-local address the kernel itself sends nothing.
                ip(&format!("link set {end} addrgenmode none up"));
            }
        }
        test();
    });
    thread.join().unwrap();
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2");
    assert!(status.success(), "ip {arguments}");
}

fn plan(name: &str, queues: u32, zero_copy: ZeroCopy) -> InterfacePlan {
    let if_index = if_nametoindex(name).unwrap_or(9_999);
    InterfacePlan { name: name.into(), if_index, queues, zero_copy }
}

fn area(frames: u32) -> (Umem, Vec<Frame>) {
    Umem::new(Geometry { frames, frame_size: 4_096, headroom: 256 }).unwrap()
}

/// A socket that sees everything that `interface` receives.
fn packet_socket(interface: &str) -> OwnedFd {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: takes no pointers, and the descriptor is new.
    let socket = unsafe {
        let flags = libc::SOCK_RAW | libc::SOCK_NONBLOCK;
        OwnedFd::from_raw_fd(Errno::result(libc::socket(libc::AF_PACKET, flags, protocol.into())).unwrap())
    };
    // SAFETY: it is made of integers.
    let mut address: libc::sockaddr_ll = unsafe { core::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = if_nametoindex(interface).unwrap() as i32;
    let len = size_of_val(&address) as u32;
    // SAFETY: pointer and length are those of `address`.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    Errno::result(result).unwrap();
    // A megabyte, so that nothing is lost while nobody looks.
    abi::set_integer(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 1 << 20).unwrap();
    socket
}

/// How often each packet of ours came, by who sent it and its number.
fn receive(socket: &OwnedFd, seen: &mut BTreeMap<(u8, u16), u32>) {
    let mut bytes = [0; 2_048];
    while let Ok(len) = nix::unistd::read(socket, &mut bytes) {
        // Others' packets, should there be any.
        if bytes[12..14] == ETHER_TYPE {
            assert_eq!(len, PACKET_BYTES);
            *seen.entry((bytes[14], u16::from_be_bytes([bytes[15], bytes[16]]))).or_default() += 1;
        }
    }
}

/// For experiments (IEEE 802).
const ETHER_TYPE: [u8; 2] = [0x88, 0xb5];
const PACKET_BYTES: usize = 591;

fn write_packet(frame: &mut [u8], worker: usize, number: u16) {
    frame[..PACKET_BYTES].fill(worker as u8);
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&ETHER_TYPE);
    frame[15..17].copy_from_slice(&number.to_be_bytes());
}

fn census(umem: &Umem, frames: &[Frame], workers: &[WorkerSockets]) -> super::super::census::Count {
    let mut census = Census::new(umem);
    census.frames(frames);
    workers.iter().for_each(|worker| worker.count(&mut census));
    census.count()
}

/// Two interfaces with 2 queues, 4 workers: 16 sockets, each where it belongs.
#[test]
fn every_worker_has_a_socket_on_every_queue() {
    in_namespace(|| {
        let (umem, mut frames) = area(512);
        let plans = [plan("left0", 2, ZeroCopy::Never), plan("right0", 2, ZeroCopy::Auto)];
        let workers = bind(&umem, &mut frames, &plans, 4, &OPTIONS).unwrap();
        assert_eq!((workers.len(), frames.len()), (4, 512 - 4 * 64));
        for (index, worker) in workers.iter().enumerate() {
            assert_eq!(worker.worker, index);
            let all = [(0, 0), (0, 1), (1, 0), (1, 1)];
            assert!(worker.rx.iter().map(|rx| (rx.interface, rx.queue)).eq(all));
            assert!(
                worker
                    .map_entries()
                    .map(|it| (it.interface, it.queue, it.worker))
                    .eq(all.map(|(i, q)| (i, q, index)))
            );
            let queue = index as u32 % 2;
            assert!(worker.tx.iter().map(|tx| (tx.interface, tx.queue)).eq([(0, queue), (1, queue)]));
            let owned = worker.owned.iter().map(|owned| (owned.interface, owned.queue));
            assert!(
                owned.eq([(0, index as u32), (1, index as u32)].into_iter().filter(|(_, queue)| *queue < 2))
            );
            for owned in &worker.owned {
                let mode = [Mode::Copy, Mode::CopyInstead(Errno::EOPNOTSUPP)][owned.interface];
                assert_eq!((owned.mode, owned.is_busy_polling), (mode, true));
                assert_eq!((owned.fill.level().frames(), owned.fill.level().capacity()), (64, 64));
                owned.wake().unwrap();
            }
            for rx in &worker.rx {
                assert_eq!(abi::is_zero_copy(rx.socket.as_fd()), Ok(false));
                let statistics = rx.statistics().unwrap();
                assert_eq!((statistics.rx_dropped, statistics.tx_invalid), (0, 0));
            }
        }
        assert!(census(&umem, &frames, &workers).is_complete(), "what was tried for zero copy came back too");
    });
}

/// What workers put on TX rings arrives at the other end, each once, and every frame comes back.
#[test]
fn what_is_sent_arrives_and_every_frame_comes_back() {
    const EACH: u16 = 90;
    in_namespace(|| {
        let (umem, mut frames) = area(1_024);
        let plans = [plan("left0", 2, ZeroCopy::Auto), plan("right0", 2, ZeroCopy::Never)];
        let mut workers = bind(&umem, &mut frames, &plans, 4, &OPTIONS).unwrap();
        let sinks = ["left1", "right1"].map(packet_socket);
        for (worker, sockets) in workers.iter_mut().enumerate() {
            for tx in &mut sockets.tx {
                for number in 0..EACH {
                    let mut frame = frames.pop().unwrap();
                    write_packet(&mut umem.bytes(&mut frame)[768..], worker, number);
                    tx.ring.push(frame, 768..768 + PACKET_BYTES).unwrap();
                }
                tx.ring.submit();
                assert!(tx.ring.needs_wakeup());
            }
        }
        let mut seen = [BTreeMap::new(), BTreeMap::new()];
        let end = Instant::now() + Duration::from_secs(10);
        while frames.len() < 1_024 - 4 * 64 {
            assert!(Instant::now() < end, "{:?}", census(&umem, &frames, &workers));
            for sockets in &mut workers {
                for tx in sockets.tx.iter().filter(|tx| tx.ring.pending() > 0) {
                    // 32 a call, and then it wants another one.
                    assert!(matches!(tx.wake(), Ok(()) | Err(Errno::EAGAIN)));
                }
                for owned in &mut sockets.owned {
                    frames.extend(core::iter::from_fn(|| owned.completion.pop()));
                }
            }
            sinks.iter().zip(&mut seen).for_each(|(sink, seen)| receive(sink, seen));
        }
        sinks.iter().zip(&mut seen).for_each(|(sink, seen)| receive(sink, seen));
        let all = (0..4).flat_map(|worker| (0..EACH).map(move |number| ((worker, number), 1)));
        assert!(seen.into_iter().all(|seen| seen.into_iter().eq(all.clone())));
        assert!(census(&umem, &frames, &workers).is_complete());
        assert!(
            workers.iter().flat_map(|worker| &worker.rx).all(|rx| rx.statistics().unwrap().tx_invalid == 0)
        );
    });
}

/// What comes in reaches the worker that the program chose, whichever queue it came by; it goes back out of the same frame, and every frame comes back.
#[test]
fn what_comes_in_goes_back_out_of_the_same_frame() {
    const PACKETS: u16 = 512;
    in_namespace(|| {
        let (umem, mut frames) = area(256);
        let mut workers = bind(&umem, &mut frames, &[plan("left0", 2, ZeroCopy::Auto)], 4, &OPTIONS).unwrap();
        let _link = steering::attach("left0", &workers);
        let peer = packet_socket("left1");
        let mut packet = [0; PACKET_BYTES];
        let mut seen = BTreeMap::new();
        for number in 0..PACKETS {
            let chosen = usize::from(number % 4);
            write_packet(&mut packet, chosen, number);
            assert_eq!(nix::unistd::write(&peer, &packet), Ok(PACKET_BYTES));
            let WorkerSockets { rx, tx, poll, .. } = &mut workers[chosen];
            poll.ask(Duration::from_secs(10));
            let ready: Vec<_> = (0..rx.len()).filter(|i| poll.is_ready(*i)).collect();
            let [ready] = ready[..] else { panic!("{ready:?}") };
            let (mut frame, range) = rx[ready].ring.pop().unwrap();
            assert_eq!((&umem.read(&frame)[range.clone()], range.start), (&packet[..], umem.packet_offset()));
            assert!(rx[ready].ring.pop().is_none());
            umem.bytes(&mut frame)[range.clone()][14] += 100;
            tx[0].ring.push(frame, range).unwrap();
            tx[0].ring.submit();
            tx[0].wake().unwrap();
            receive(&peer, &mut seen);
            refill(&mut workers, &mut frames);
        }
        let all =
            (0..4).flat_map(|worker| (worker..PACKETS).step_by(4).map(move |n| ((worker as u8 + 100, n), 1)));
        assert!(seen.into_iter().eq(all));
        let end = Instant::now() + Duration::from_secs(10);
        while !census(&umem, &frames, &workers).is_complete() {
            assert!(Instant::now() < end, "{:?}", census(&umem, &frames, &workers));
            refill(&mut workers, &mut frames);
        }
        let strange = workers.iter().flat_map(|worker| &worker.rx).map(|rx| rx.ring.strange()).sum::<u64>();
        let dropped =
            workers.iter().flat_map(|worker| &worker.rx).map(|rx| rx.statistics().unwrap().rx_dropped);
        assert_eq!((strange, dropped.sum::<u64>()), (0, 0));
    });
}

/// As it is where one interface is in zero-copy mode and another in copy mode: a frame received by one registration is transmitted by the other, and comes back.
#[test]
fn memory_that_is_registered_twice_is_the_same() {
    in_namespace(|| {
        let (umem, mut frames) = area(512);
        let mut left = bind(&umem, &mut frames, &[plan("left0", 2, ZeroCopy::Never)], 4, &OPTIONS).unwrap();
        let mut right = bind(&umem, &mut frames, &[plan("right0", 1, ZeroCopy::Never)], 1, &OPTIONS).unwrap();
        let _link = steering::attach("left0", &left);
        let [source, sink] = ["left1", "right1"].map(packet_socket);
        let mut packet = [0; PACKET_BYTES];
        for number in 0..100 {
            write_packet(&mut packet, 2, number);
            assert_eq!(nix::unistd::write(&source, &packet), Ok(PACKET_BYTES));
            let WorkerSockets { rx, poll, .. } = &mut left[2];
            poll.ask(Duration::from_secs(10));
            let (frame, range) = rx.iter_mut().find_map(|rx| rx.ring.pop()).unwrap();
            right[0].tx[0].ring.push(frame, range).unwrap();
            right[0].tx[0].ring.submit();
            right[0].tx[0].wake().unwrap();
            refill(&mut left, &mut frames);
            refill(&mut right, &mut frames);
        }
        let mut seen = BTreeMap::new();
        receive(&sink, &mut seen);
        assert!(seen.into_iter().eq((0..100).map(|number| ((2, number), 1))));
        left.append(&mut right);
        let count = census(&umem, &frames, &left);
        assert!(count.is_complete(), "{count:?}");
    });
}

/// Takes what was completed, and fills the fill rings up.
fn refill(workers: &mut [WorkerSockets], frames: &mut Vec<Frame>) {
    for owned in workers.iter_mut().flat_map(|worker| &mut worker.owned) {
        frames.extend(core::iter::from_fn(|| owned.completion.pop()));
        while let Some(frame) = frames.pop() {
            if let Err(frame) = owned.fill.push(frame) {
                frames.push(frame);
                break;
            }
        }
        owned.fill.submit();
    }
}

/// The least program that can steer: the worker is a byte of the packet.
mod steering {
    use super::*;

    /// Attaches it to `interface`, with the sockets of four workers. It is detached when the descriptors are closed.
    pub(super) fn attach(interface: &str, workers: &[WorkerSockets]) -> [OwnedFd; 3] {
        // BPF_MAP_CREATE: an XSKMAP with keys and values of 4 bytes and 16 entries (`union bpf_attr`, include/uapi/linux/bpf.h).
        let map = bpf(0, &[17 | 4 << 32, 4 | 16 << 32, 0]).unwrap();
        for entry in workers.iter().flat_map(WorkerSockets::map_entries) {
            let (key, value) = (entry.queue * 4 + entry.worker as u32, entry.socket.as_raw_fd());
            // BPF_MAP_UPDATE_ELEM gives no descriptor, so its result of 0 is none to own.
            let (key, value) = ((&raw const key) as u64, (&raw const value) as u64);
            assert!(bpf(2, &[map.as_raw_fd() as u64, key, value, 0]).is_none());
        }
        let instructions = [
            op(0xbf, 6, 1, 0, 0),               // r6 = context
            op(0x61, 2, 6, 0, 0),               // r2 = context.data
            op(0x61, 3, 6, 4, 0),               // r3 = context.data_end
            op(0xbf, 4, 2, 0, 0),               // r4 = r2
            op(0x07, 4, 0, 0, 15),              // r4 += 15
            op(0x2d, 4, 3, 10, 0),              // if r4 > r3 goto pass
            op(0x71, 5, 2, 14, 0),              // r5 = byte 14
            op(0x57, 5, 0, 0, 3),               // r5 &= 3
            op(0x61, 2, 6, 16, 0),              // r2 = context.rx_queue_index
            op(0x67, 2, 0, 0, 2),               // r2 <<= 2
            op(0x4f, 2, 5, 0, 0),               // r2 |= r5
            op(0x18, 1, 1, 0, map.as_raw_fd()), // r1 = map
            0,                                  // (its second half)
            op(0xb7, 3, 0, 0, 2),               // r3 = XDP_PASS
            op(0x85, 0, 0, 0, 51),              // r0 = bpf_redirect_map(r1, r2, r3)
            op(0x95, 0, 0, 0, 0),               // return r0
            op(0xb7, 0, 0, 0, 2),               // pass: r0 = XDP_PASS
            op(0x95, 0, 0, 0, 0),               // return r0
        ];
        let (first, count) = (instructions.as_ptr() as u64, instructions.len() as u64);
        // BPF_PROG_LOAD: of the type XDP.
        let program = bpf(5, &[6 | count << 32, first, c"GPL".as_ptr() as u64, 0, 0, 0, 0]).unwrap();
        let if_index = u64::from(if_nametoindex(interface).unwrap());
        // BPF_LINK_CREATE: of the type BPF_XDP.
        let link = bpf(28, &[program.as_raw_fd() as u64 | if_index << 32, 37]).unwrap();
        [map, program, link]
    }

    fn op(code: u64, to: u64, from: u64, offset: u64, value: i32) -> u64 {
        code | to << 8 | from << 12 | offset << 16 | u64::from(value as u32) << 32
    }

    /// The descriptor that the call gives, unless it is 0.
    fn bpf(command: i32, attributes: &[u64]) -> Option<OwnedFd> {
        let bytes = size_of_val(attributes);
        // SAFETY: pointer and length are those of `attributes`, and the pointers in there lead to what the command reads.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), bytes) };
        let fd = Errno::result(result).unwrap() as i32;
        // SAFETY: a descriptor that was just given, so nobody else's.
        (fd > 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    in_namespace(|| {
        let refusal = |plans: &[InterfacePlan]| {
            let (umem, mut frames) = area(512);
            match bind(&umem, &mut frames, plans, 1, &OPTIONS).err().unwrap() {
                BindError::Plan(why) => panic!("{why}"),
                error => error,
            }
        };
        let text = |plans: &[InterfacePlan]| refusal(plans).to_string();

        let error = refusal(&[plan("left0", 2, ZeroCopy::Never), plan("right0", 3, ZeroCopy::Auto)]);
        let BindError::Refused { ref interface, queue, step, errno } = error else { panic!() };
        assert_eq!((interface.as_str(), queue, step, errno), ("right0", 2, Step::Bind, Errno::EINVAL));
        assert_eq!(
            error.to_string(),
            "interface right0, queue 2: cannot bind in copy mode: EINVAL: Invalid argument; \
             the interface has no queue of this number: `ethtool -l` shows how many, `ethtool -L` sets it"
        );
        assert!(
            text(&[plan("none", 1, ZeroCopy::Auto)])
                .contains("ENODEV: No such device; the interface is gone")
        );
        let required = text(&[plan("left1", 1, ZeroCopy::Require)]);
        assert!(
            required.starts_with("interface left1, queue 0: cannot bind in zero-copy mode: EOPNOTSUPP"),
            "{required}"
        );
        assert!(required.contains("set zero_copy to \"auto\""), "{required}");

        let (umem, mut frames) = area(512);
        let _held = bind(&umem, &mut frames, &[plan("right1", 1, ZeroCopy::Never)], 1, &OPTIONS).unwrap();
        assert!(
            text(&[plan("right1", 1, ZeroCopy::Auto)])
                .contains("EBUSY: Device or resource busy; an AF_XDP socket of another")
        );
    });
}

#[test]
fn missing_privileges_are_named() {
    in_namespace(|| {
        let bind = |frames| {
            let (umem, mut frames) = area(frames);
            let plans = [plan("left0", 1, ZeroCopy::Never)];
            bind(&umem, &mut frames, &plans, 1, &OPTIONS).map(drop).map_err(|error| error.to_string())
        };
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointers are those of `limit`. The limit is the whole process's, but for root it has no meaning.
        unsafe {
            Errno::result(libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit)).unwrap();
            limit.rlim_cur = limit.rlim_max.min(8 << 20);
            Errno::result(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit)).unwrap();
        }
        // Capabilities are the thread's.
        caps::drop(None, CapSet::Effective, Capability::CAP_IPC_LOCK).unwrap();
        let error = bind(4_096).unwrap_err();
        assert!(error.contains("cannot register the frames' memory: ENOBUFS"), "{error}");
        assert!(error.contains("RLIMIT_MEMLOCK") && error.contains("CAP_IPC_LOCK"), "{error}");
        assert_eq!(bind(256), Ok(()), "half of what may be locked");
        caps::drop(None, CapSet::Effective, Capability::CAP_NET_RAW).unwrap();
        let error = bind(256).unwrap_err();
        assert!(error.contains("cannot open an AF_XDP socket: EPERM"), "{error}");
        assert!(error.contains("CAP_NET_RAW"), "{error}");
    });
}

#[test]
fn nonsense_is_refused_before_the_kernel_is_asked() {
    let (umem, mut frames) = area(128);
    let mut text = |queues, workers, options: &Options| {
        let plans = [plan("none", queues, ZeroCopy::Never)];
        match bind(&umem, &mut frames, &plans, workers, options).err().unwrap() {
            BindError::Plan(why) => why,
            error => panic!("{error}"),
        }
    };
    assert_eq!(text(1, 0, &OPTIONS), "no workers");
    assert_eq!(text(0, 1, &OPTIONS), "none: no queues");
    assert_eq!(
        text(1, 1, &Options { tx_entries: 100, ..OPTIONS }),
        "100 entries for a TX ring: not a power of two"
    );
    assert!(
        text(3, 1, &OPTIONS).starts_with("64 frames to receive into for each of 3 queues: there are 128")
    );
    assert!(text(1, 1, &Options { prefill_frames: 65, ..OPTIONS }).ends_with("a fill ring holds 64"));
}
