use super::*;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Frames that a worker starts with: two batches.
const EACH: usize = 2 * BATCH;

/// A worker's stack with its frames, above what it keeps.
fn stack(depot: &Arc<Depot<usize>>, worker: usize) -> Stack<usize> {
    let mut stack = Stack::new(depot, BATCH - 1);
    stack.frames.extend(worker * EACH..(worker + 1) * EACH);
    stack
}

/// Takes up to `max` frames, and puts them back one by one; says how many there were.
fn work(stack: &mut Stack<usize>, max: usize) -> usize {
    let hands: Vec<_> = core::iter::from_fn(|| stack.take()).take(max).collect();
    let count = hands.len();
    hands.into_iter().for_each(|frame| stack.put(frame));
    count
}

/// Everything that is anywhere, sorted.
fn gather(depot: &Depot<usize>, stacks: impl IntoIterator<Item = Stack<usize>>) -> Vec<usize> {
    let mut all: Vec<_> = stacks.into_iter().flat_map(|stack| stack.frames).collect();
    all.extend(core::iter::from_fn(|| depot.batches.pop()).flatten().flatten());
    all.sort_unstable();
    all
}

/// What happened in any of the orders that were tried, so that a test can say that it saw what it is about.
#[derive(Default, Clone)]
struct Outcomes(Arc<Mutex<BTreeSet<[usize; 3]>>>);

impl Outcomes {
    fn add(&self, outcome: [usize; 3]) {
        self.0.lock().unwrap().insert(outcome);
    }

    fn all(&self) -> BTreeSet<[usize; 3]> {
        self.0.lock().unwrap().clone()
    }
}

/// Two rich workers and a dry one give and take at once, in a depot with room for `room` frames.
fn three_workers(room: usize) -> BTreeSet<[usize; 3]> {
    let outcomes = Outcomes::default();
    let seen = outcomes.clone();
    loom::model(move || {
        let depot = Arc::new(Depot::new(room));
        let rich = [0, 1].map(|worker| {
            let mut stack = stack(&depot, worker);
            thread::spawn(move || (work(&mut stack, 1) + work(&mut stack, EACH), stack))
        });
        let mut dry = Stack::new(&depot, 0);
        let taken = work(&mut dry, EACH);
        let [(first, a), (second, b)] = rich.map(|thread| thread.join().unwrap());
        seen.add([first, second, taken]);
        assert!(gather(&depot, [a, b, dry]).into_iter().eq(0..2 * EACH));
    });
    outcomes.all()
}

#[test]
fn no_frame_is_lost_or_doubled() {
    let outcomes = three_workers(2 * EACH);
    for taken in [0, BATCH, 2 * BATCH] {
        assert!(outcomes.iter().any(|outcome| outcome[2] == taken), "{taken} of {outcomes:?}");
    }
}

#[test]
fn no_frame_is_lost_where_there_is_too_little_room() {
    let outcomes = three_workers(BATCH);
    assert!(outcomes.iter().any(|outcome| outcome[2] == BATCH), "{outcomes:?}");
}

/// A worker with nothing finds as many batches as it knows to have been given, whatever the others are at meanwhile.
#[test]
fn a_dry_worker_finds_what_others_gave() {
    let outcomes = Outcomes::default();
    let seen = outcomes.clone();
    loom::model(move || {
        let depot = Arc::new(Depot::new(2 * EACH));
        let given = Arc::new(AtomicUsize::new(0));
        let threads = [0, 1].map(|worker| {
            let (mut stack, given) = (stack(&depot, worker), Arc::clone(&given));
            thread::spawn(move || {
                work(&mut stack, 1);
                given.fetch_add(BATCH, Ordering::Release);
            })
        });
        let mut dry = Stack::new(&depot, usize::MAX);
        let certain = given.load(Ordering::Acquire);
        let taken = core::iter::from_fn(|| dry.take()).take(certain).count();
        assert_eq!(taken, certain);
        for thread in threads {
            thread.join().unwrap();
        }
        seen.add([certain, 0, 0]);
    });
    assert!(outcomes.all().into_iter().eq([[0; 3], [BATCH, 0, 0], [2 * BATCH, 0, 0]]));
}
