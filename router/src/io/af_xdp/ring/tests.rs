use super::super::census::{Census, Count};
use super::super::depot::Depot;
use super::super::fake::{Dropped, Kernel, OPTIONS, index, ring_memory};
use super::super::socket::WorkerSockets;
use super::super::umem::tests::umem;
use super::*;
use std::collections::VecDeque;
use std::thread;

/// Indices that begin here wrap within a few entries.
const FIRSTS: [u32; 3] = [0, u32::MAX - 5, u32::MAX];

/// A fill ring of 8 entries, and the kernel's view of it.
fn fill_ring(umem: &Umem, first: u32) -> (FillRing, Ring<u64>, RingMemory) {
    let memory = ring_memory::<u64>(8, first);
    // SAFETY: two views of a new ring, one for each side; nothing that the second takes is given back.
    unsafe { (FillRing::new(memory.clone(), umem), Ring::new(memory.clone()), memory) }
}

fn tx_ring(umem: &Umem, first: u32) -> (TxRing, Ring<xdp_desc>) {
    let memory = ring_memory::<xdp_desc>(8, first);
    // SAFETY: two views of a new ring, one for each side; nothing that the second takes is given back.
    unsafe { (TxRing::new(memory.clone(), umem), Ring::new(memory)) }
}

fn census<'a>(
    umem: &Umem,
    frames: impl IntoIterator<Item = &'a Frame>,
    see: impl FnOnce(&mut Census),
) -> Count {
    let mut census = Census::new(umem);
    census.frames(frames);
    see(&mut census);
    census.count()
}

#[test]
fn a_fill_ring_takes_as_many_as_it_holds_and_gives_the_rest_back() {
    for first in FIRSTS {
        let (umem, frames) = umem(20);
        let mut frames: VecDeque<_> = frames.into();
        let (mut fill, mut kernel, _) = fill_ring(&umem, first);
        let level = fill.level();
        assert_eq!((fill.free(), level.frames(), level.capacity()), (8, 0, 8));
        for _ in 0..8 {
            fill.push(frames.pop_front().unwrap()).unwrap();
        }
        assert_eq!((fill.free(), level.frames(), kernel.pop()), (0, 0, None), "nothing is shown yet");
        let refused = fill.push(frames.pop_front().unwrap()).unwrap_err();
        assert_eq!(refused.index(), 8);
        fill.submit();
        assert_eq!(level.frames(), 8);
        assert_eq!((kernel.pop(), kernel.pop()), (Some(0), Some(2_048)));
        assert_eq!(fill.free(), 0, "the kernel has not let go");
        kernel.release();
        assert_eq!((fill.free(), level.frames()), (2, 6));
        fill.push(refused).unwrap();
        fill.submit();
        let rest: Vec<_> = core::iter::from_fn(|| kernel.pop()).collect();
        assert_eq!(rest, (2..9).map(|i| i * 2_048).collect::<Vec<_>>());
        assert_eq!((fill.free(), level.frames()), (8, 0));
    }
}

/// As many as there is room for go in and come out at once, each once, in order, also where the indices wrap; what is no frame is left out.
#[test]
fn all_at_once_is_one_after_another() {
    for first in FIRSTS {
        let (umem, frames) = umem(20);
        let mut stack = Stack::new(&Arc::new(Depot::new(20)), 100);
        assert_eq!(stack.put_all(frames.into_iter()), 20);
        let (mut fill, mut kernel, _) = fill_ring(&umem, first);
        let memory = ring_memory::<u64>(16, first);
        // SAFETY: two views of a new ring, one for each side; what is put in was taken out of the fill ring, or is nonsense.
        let (mut completion, mut done) =
            unsafe { (CompletionRing::new(memory.clone(), &umem), Ring::new(memory)) };
        for round in 0..50 {
            assert_eq!(fill.push_from(&mut stack), 8, "{round}");
            assert_eq!((fill.push_from(&mut stack), stack.len()), (0, 12), "full");
            fill.submit();
            let taken: Vec<u64> = kernel.pop_all().collect();
            kernel.release();
            assert_eq!((taken.len(), kernel.pop_all().count()), (8, 0));
            for address in &taken {
                assert!(done.push(*address) && (round % 3 > 0 || done.push(20 * 2_048 + address)));
            }
            done.submit();
            assert_eq!((completion.pop_onto(&mut stack), completion.pop_onto(&mut stack)), (8, 0));
            let came = stack.frames().iter().skip(12);
            assert!(came.map(|frame| u64::from(frame.index()) * 2_048).eq(taken));
            assert_eq!(done.free(), 16, "the room was given back");
        }
        assert_eq!((stack.len(), completion.strange()), (20, 17 * 8));
    }
}

#[test]
fn a_level_outlives_its_ring() {
    let (umem, mut frames) = umem(1);
    let (mut fill, kernel, memory) = fill_ring(&umem, u32::MAX);
    fill.push(frames.pop().unwrap()).unwrap();
    fill.submit();
    let level = fill.level();
    drop((fill, kernel, memory));
    assert_eq!(thread::spawn(move || level.frames()).join().unwrap(), 1);
}

#[test]
fn a_tx_ring_takes_packets_within_their_frames_only() {
    for first in FIRSTS {
        let ((umem, mut frames), (_other, mut foreign)) = (umem(2), umem(1));
        let (mut tx, mut kernel) = tx_ring(&umem, first);
        let mut frame = frames.pop().unwrap();
        #[expect(clippy::reversed_empty_ranges, reason = "what must be refused")]
        for range in [0..0, 2_048..2_048, 9..8, 2_047..2_049, 0..2_049, 5_000..5_001, 0..usize::MAX] {
            frame = tx.push(frame, range).unwrap_err();
        }
        let foreign = tx.push(foreign.pop().unwrap(), 0..60).unwrap_err();
        assert!(umem.read(&foreign).is_empty());
        tx.push(frame, 0..2_048).unwrap();
        tx.push(frames.pop().unwrap(), 2_047..2_048).unwrap();
        assert_eq!((tx.free(), tx.pending()), (6, 0));
        tx.submit();
        assert_eq!(tx.pending(), 2);
        let mut pop = || kernel.pop().map(|it| (it.addr, it.len, it.options));
        assert_eq!([pop(), pop(), pop()], [Some((2_048, 2_048, 0)), Some((2_047, 1, 0)), None]);
        assert_eq!((tx.free(), tx.pending()), (8, 0));
    }
}

#[test]
fn descriptors_that_lie_do_no_harm() {
    for first in FIRSTS {
        let (umem, mut frames) = umem(3);
        let memory = ring_memory::<xdp_desc>(16, first);
        // SAFETY: two views of a new ring; the chunks that are put in below are nobody's, for their frames are forgotten.
        let (mut rx, mut kernel) = unsafe { (RxRing::new(memory.clone(), &umem), Ring::new(memory)) };
        frames.clear();
        let end = 3 * 2_048;
        let mut push = |addr, len, options| assert!(kernel.push(xdp_desc { addr, len, options }));
        for addr in [end, end + 7, 1 << 43, (1 << 43) + 100, u64::MAX] {
            push(addr, 60, 0);
        }
        push(0, 2_049, 0);
        push(2_048 + 512, u32::MAX, 0);
        push(2 * 2_048 + 512, 60, nix::libc::XDP_PKT_CONTD);
        assert!(rx.pop().is_none(), "not shown yet");
        kernel.submit();
        for index in 0..3 {
            let (frame, range) = rx.pop().unwrap();
            assert_eq!((frame.index(), range), (index, 0..0));
        }
        assert!(rx.pop().is_none());
        assert_eq!(rx.strange(), 8);
        for (addr, len) in [(0, 2_048), (2_048 + 2_047, 1), (2 * 2_048 + 512, 0)] {
            assert!(kernel.push(xdp_desc { addr, len, options: 0 }));
        }
        kernel.submit();
        let mut pop = || rx.pop().map(|(frame, range)| (frame.index(), range));
        assert_eq!(
            [pop(), pop(), pop()],
            [Some((0, 0..2_048)), Some((1, 2_047..2_048)), Some((2, 512..512))]
        );
        assert_eq!((pop(), rx.strange()), (None, 8));
    }
}

#[test]
fn completions_that_lie_are_left_out() {
    let (umem, frames) = umem(2);
    let memory = ring_memory::<u64>(8, u32::MAX - 1);
    // SAFETY: two views of a new ring; the chunks that are put in below are nobody's, for their frames are forgotten.
    let (mut completion, mut kernel) =
        unsafe { (CompletionRing::new(memory.clone(), &umem), Ring::new(memory)) };
    drop(frames);
    for address in [u64::MAX, 2 * 2_048, 2_048 + 700, 1 << 32 << 11, 0] {
        assert!(kernel.push(address));
    }
    kernel.submit();
    assert_eq!([1, 0].map(|_| completion.pop().unwrap().index()), [1, 0]);
    assert!(completion.pop().is_none());
    assert_eq!(completion.strange(), 3);
}

#[test]
fn an_index_that_lies_shows_nothing() {
    let (umem, mut frames) = umem(3);
    let mut frame = frames.pop().unwrap();
    for lie in [9, 100, 1 << 31, u32::MAX - 8] {
        let memory = ring_memory::<xdp_desc>(8, 0);
        // SAFETY: a view of a new ring, in which nobody puts anything.
        let mut rx = unsafe { RxRing::new(memory.clone(), &umem) };
        index(&memory, memory.offsets.producer).store(lie, Ordering::Relaxed);
        assert!(rx.pop().is_none() && rx.contents().next().is_none(), "{lie}");
        index(&memory, memory.offsets.producer).store(1, Ordering::Relaxed);
        assert!(rx.pop().is_some(), "it recovers");

        let (mut fill, _kernel, memory) = fill_ring(&umem, 0);
        index(&memory, memory.offsets.consumer).store(lie, Ordering::Relaxed);
        assert_eq!((fill.free(), fill.contents().count()), (0, 0), "{lie}");
        frame = fill.push(frame).unwrap_err();
    }
}

#[test]
fn what_is_no_packet_comes_as_an_empty_one() {
    let (umem, mut frames) = umem(64);
    let umem = Arc::new(umem);
    let (mut kernel, mut workers) = Kernel::new(&umem, &mut frames, &[1], 1, &OPTIONS, 0);
    let lost = frames.pop().unwrap();
    let addr = u64::from(lost.index()) * 2_048;
    for descriptor in
        [xdp_desc { addr: u64::MAX, len: 1, options: 0 }, xdp_desc { addr, len: 9_999, options: 0 }]
    {
        kernel.receive_raw(0, 0, 0, descriptor);
    }
    let (frame, range) = workers[0].rx[0].ring.pop().unwrap();
    assert_eq!((frame, range), (lost, 0..0));
    assert_eq!(workers[0].rx[0].ring.strange(), 2);
}

#[test]
fn two_threads_pass_every_entry_once_and_in_order() {
    const ENTRIES: u64 = if cfg!(miri) { 2_000 } else { 200_000 };
    let memory = ring_memory::<u64>(64, u32::MAX - 1_000);
    // SAFETY: two views of a new ring, one for each side.
    let (mut producer, mut consumer) =
        unsafe { (Ring::<u64>::new(memory.clone()), Ring::<u64>::new(memory)) };
    let thread = thread::spawn(move || {
        let mut next = 0;
        while next < ENTRIES {
            while next < ENTRIES && producer.push(next) {
                next += 1;
                if next % 7 == 0 {
                    producer.submit();
                }
            }
            producer.submit();
            thread::yield_now();
        }
    });
    let mut expected = 0;
    while expected < ENTRIES {
        match consumer.pop() {
            Some(entry) => {
                assert_eq!(entry, expected);
                expected += 1;
            }
            None => thread::yield_now(),
        }
    }
    thread.join().unwrap();
    assert_eq!(consumer.pop(), None);
}

#[test]
fn a_packet_goes_through_without_a_copy() {
    for first in FIRSTS {
        let (umem, mut frames) = umem(64);
        let umem = Arc::new(umem);
        let (mut kernel, mut workers) = Kernel::new(&umem, &mut frames, &[1, 1], 1, &OPTIONS, first);
        let worker = &mut workers[0];
        for round in 0..100u8 {
            kernel.receive(0, 0, 0, &[round; 60]).unwrap();
            let (mut frame, range) = worker.rx[0].ring.pop().unwrap();
            assert_eq!((umem.read(&frame)[range.clone()].to_vec(), range.start), (vec![round; 60], 512));
            umem.bytes(&mut frame)[range.start] = b'!';
            let index = frame.index();
            worker.tx[1].ring.push(frame, range).unwrap();
            worker.tx[1].ring.submit();
            let mut expected = vec![round; 60];
            expected[0] = b'!';
            assert_eq!(kernel.transmit(1, 0, 10), [expected]);
            assert_eq!(kernel.completed(1, 0), 1);
            let frame = worker.owned[1].completion.pop().unwrap();
            worker.owned[1].completion.release();
            assert_eq!((frame.index(), kernel.completed(1, 0)), (index, 0));
            worker.owned[0].fill.push(frame).unwrap();
            worker.owned[0].fill.submit();
        }
        assert!(census(&umem, &frames, |census| worker.count(census)).is_complete());
    }
}

#[test]
fn what_a_full_ring_drops_is_not_lost() {
    let (umem, mut frames) = umem(64);
    let umem = Arc::new(umem);
    let (mut kernel, workers) = Kernel::new(&umem, &mut frames, &[1], 2, &OPTIONS, u32::MAX - 3);
    for _ in 0..16 {
        kernel.receive(0, 0, 1, &[1; 60]).unwrap();
    }
    assert_eq!(kernel.receive(0, 0, 1, &[1; 60]), Err(Dropped::RxRingFull));
    assert_eq!(kernel.receive(0, 0, 1, &[1; 1_537]), Err(Dropped::TooLong));
    let count = |kernel: &Kernel, with_held: bool| {
        census(&umem, &frames, |census| {
            workers.iter().for_each(|worker| worker.count(census));
            if with_held {
                kernel.count(census);
            }
        })
    };
    assert!(count(&kernel, true).is_complete());
    assert_eq!(count(&kernel, false).missing.len(), 1, "the kernel keeps one");
    for _ in 0..16 {
        kernel.receive(0, 0, 0, &[1; 60]).unwrap();
    }
    assert_eq!(kernel.receive(0, 0, 0, &[1; 60]), Err(Dropped::FillRingEmpty));
    assert!(count(&kernel, false).is_complete());
}

#[test]
fn a_lost_frame_and_a_doubled_one_are_found() {
    let (umem, mut frames) = umem(4);
    let lost = frames.remove(2);
    assert_eq!(lost.index(), 2);
    let twice = [&frames[0], &frames[1], &frames[2], &frames[1]];
    let count = census(&umem, twice, |census| census.chunks([None].into_iter()));
    assert_eq!(count, Count { found: 2, missing: vec![2], doubled: vec![1], strange: 1 });
    assert!(!count.is_complete());
}

#[test]
fn wakeups_are_asked_for() {
    let (umem, mut frames) = umem(64);
    let (mut kernel, workers) = Kernel::new(&Arc::new(umem), &mut frames, &[1], 1, &OPTIONS, 0);
    assert!(!workers[0].tx[0].ring.needs_wakeup());
    kernel.want_wakeup(true);
    assert!(workers[0].tx[0].ring.needs_wakeup());
    assert!(workers[0].tx[0].wake().is_err(), "there is no kernel");
}

/// Whatever happens in whatever order, every frame is in one place after every step.
#[test]
fn frames_are_conserved() {
    for seed in 0..8u64 {
        let (umem, mut frames) = umem(200);
        let umem = Arc::new(umem);
        let first = u32::MAX - 20 * seed as u32;
        let (mut kernel, mut workers) = Kernel::new(&umem, &mut frames, &[2, 1], 3, &OPTIONS, first);
        let mut state = seed;
        // Knuth's generator (MMIX), of which the upper bits are good.
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut moved = [0; 4];
        for step in 0..4_000 {
            let (interface, worker) = (random(2), random(3));
            let queue = if interface == 0 { random(2) } else { 0 };
            match random(4) {
                0 => moved[0] += usize::from(kernel.receive(interface, queue, worker, &[7; 100]).is_ok()),
                1 => moved[1] += kernel.transmit(interface, worker, random(20)).len(),
                2 => moved[2] += forward(&mut workers[worker], &mut frames, random(20), random(2)),
                _ => moved[3] += refill(&mut workers[worker], &mut frames, random(20)),
            }
            let count = census(&umem, &frames, |census| {
                workers.iter().for_each(|worker| worker.count(census));
                kernel.count(census);
            });
            assert!(count.is_complete(), "seed {seed}, step {step}: {count:?}");
        }
        assert!(moved.iter().all(|moved| *moved > 100), "{moved:?}");
    }
}

/// Takes up to `max` packets from all rings; every second one leaves by an interface, if there is room, and the others end.
fn forward(worker: &mut WorkerSockets, frames: &mut Vec<Frame>, max: usize, egress: usize) -> usize {
    let mut count = 0;
    for rx in &mut worker.rx {
        while count < max {
            let Some((frame, range)) = rx.ring.pop() else { break };
            count += 1;
            if count % 2 == 0 {
                frames.push(frame);
            } else if let Err(frame) = worker.tx[egress].ring.push(frame, range) {
                frames.push(frame);
            }
        }
    }
    worker.tx[egress].ring.submit();
    count
}

/// Takes what was completed and gives up to `max` to the fill ring, on all of the worker's queues.
fn refill(worker: &mut WorkerSockets, frames: &mut Vec<Frame>, max: usize) -> usize {
    let mut count = 0;
    for owned in &mut worker.owned {
        frames.extend(core::iter::from_fn(|| owned.completion.pop()));
        for _ in 0..max {
            let Some(frame) = frames.pop() else { break };
            if let Err(frame) = owned.fill.push(frame) {
                frames.push(frame);
                break;
            }
            count += 1;
        }
        owned.fill.submit();
    }
    count
}
