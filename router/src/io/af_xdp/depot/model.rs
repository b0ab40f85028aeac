use super::*;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Frames that a worker starts with: two batches.
const EACH: usize = 2 * BATCH;

/// A worker's stack with its frames, which keeps no more than it must.
fn stack(depot: &Arc<Depot<usize>>, worker: usize) -> Stack<usize> {
    let mut stack = Stack::new(depot, BATCH - 1);
    stack.frames.extend(worker * EACH..(worker + 1) * EACH);
    stack
}

/// Everything that is anywhere, sorted.
fn gather(depot: &Depot<usize>, stacks: impl IntoIterator<Item = Stack<usize>>) -> Vec<usize> {
    let mut all: Vec<_> = stacks.into_iter().flat_map(|stack| stack.frames).collect();
    all.extend(core::iter::from_fn(|| depot.batches.pop()).flatten().flatten());
    all.sort_unstable();
    all
}

/// One gives while the other takes and gives back; whatever the order, all frames are there in the end, once.
#[test]
fn no_frame_is_lost_or_doubled_by_two() {
    loom::model(|| {
        let depot = Arc::new(Depot::new(2 * EACH));
        let (mut first, mut second) = (stack(&depot, 0), stack(&depot, 1));
        let thread = thread::spawn(move || {
            let frame = first.take().unwrap();
            first.put(frame);
            let hands: Vec<_> = core::iter::from_fn(|| first.take()).take(EACH).collect();
            hands.into_iter().for_each(|frame| first.put(frame));
            first
        });
        let hands: Vec<_> = core::iter::from_fn(|| second.take()).take(EACH + 1).collect();
        hands.into_iter().for_each(|frame| second.put(frame));
        let first = thread.join().unwrap();
        assert!(gather(&depot, [first, second]).into_iter().eq(0..2 * EACH));
    });
}

/// Three at once: two give a batch each, the third, which has nothing, takes.
#[test]
fn no_frame_is_lost_or_doubled_by_three() {
    loom::model(|| {
        let depot = Arc::new(Depot::new(2 * EACH));
        let give = |worker| {
            let mut stack = stack(&depot, worker);
            thread::spawn(move || {
                let frame = stack.take().unwrap();
                stack.put(frame);
                stack
            })
        };
        let threads = [give(0), give(1)];
        let mut dry = Stack::new(&depot, 0);
        let hands: Vec<_> = core::iter::from_fn(|| dry.take()).take(BATCH + 1).collect();
        assert!(hands.len() <= BATCH + 1);
        hands.into_iter().for_each(|frame| dry.put(frame));
        let stacks = threads.map(|thread| thread.join().unwrap());
        assert!(gather(&depot, stacks.into_iter().chain([dry])).into_iter().eq(0..2 * EACH));
    });
}

/// Who finds its stack empty after two others have given a batch gets both, though a fourth thing happens at the same time: one of them gives again and takes.
#[test]
fn a_dry_worker_finds_what_others_gave() {
    loom::model(|| {
        let depot = Arc::new(Depot::new(2 * EACH));
        let given = Arc::new(AtomicUsize::new(0));
        let give = |worker| {
            let (mut stack, given) = (stack(&depot, worker), Arc::clone(&given));
            thread::spawn(move || {
                let frame = stack.take().unwrap();
                stack.put(frame);
                given.fetch_add(1, Ordering::Release);
                stack
            })
        };
        let threads = [give(0), give(1)];
        let mut dry = Stack::new(&depot, usize::MAX);
        let certain = given.load(Ordering::Acquire) * BATCH;
        let taken = core::iter::from_fn(|| dry.take()).take(certain).count();
        assert_eq!(taken, certain);
        threads.map(|thread| thread.join().unwrap());
    });
}
