use super::*;
use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

/// Everything that can be had by `stack`, its own and the depot's.
fn take_all(stack: &mut Stack<usize>) -> Vec<usize> {
    core::iter::from_fn(|| stack.take()).collect()
}

#[test]
fn it_keeps_what_it_may_and_gives_whole_batches() {
    let depot = Arc::new(Depot::new(1_000));
    let mut stack = Stack::new(&depot, 100);
    (0..163).for_each(|frame| stack.put(frame));
    assert_eq!((stack.len(), depot.len()), (163, 0));
    stack.put(163);
    assert_eq!((stack.len(), depot.len()), (100, BATCH));
    (164..1_000).for_each(|frame| stack.put(frame));
    assert_eq!((stack.len(), depot.len()), (100 + (1_000 - 100) % BATCH, (1_000 - 100) / BATCH * BATCH));
    let all: BTreeSet<_> = take_all(&mut stack).into_iter().collect();
    assert!(all.into_iter().eq(0..1_000) && depot.is_empty() && stack.is_empty());
}

#[test]
fn an_empty_one_takes_what_another_gave() {
    let depot = Arc::new(Depot::new(200));
    let (mut rich, mut poor) = (Stack::new(&depot, 0), Stack::new(&depot, 64));
    assert_eq!(poor.take(), None);
    (0..200).for_each(|frame| rich.put(frame));
    assert_eq!((rich.len(), depot.len()), (200 % BATCH, 192));
    assert!(poor.take().is_some());
    assert_eq!((poor.len(), depot.len()), (BATCH - 1, 128));
    let mut all = take_all(&mut poor);
    assert_eq!((all.len(), depot.len()), (191, 0));
    all.append(&mut take_all(&mut rich));
    assert_eq!(all.len(), 199);
}

#[test]
fn it_never_grows() {
    let depot = Arc::new(Depot::new(500));
    let mut stack = Stack::new(&depot, usize::MAX);
    let (capacity, at) = (stack.frames.capacity(), stack.frames.as_ptr());
    (0..500).for_each(|frame| stack.put(frame));
    assert_eq!((stack.frames.capacity(), stack.frames.as_ptr(), depot.len()), (capacity, at, 0));
}

#[test]
fn more_than_there_are_stay_on_the_stack() {
    let depot = Arc::new(Depot::new(BATCH));
    let mut stack = Stack::new(&depot, 0);
    (0..10 * BATCH).for_each(|frame| stack.put(frame));
    assert_eq!((depot.len(), stack.len()), (BATCH, 9 * BATCH));
    assert_eq!(take_all(&mut stack).len(), 10 * BATCH);
}

/// The one test that has something for the thread sanitizer to find.
#[test]
fn nothing_is_lost_or_doubled_between_threads() {
    const WORKERS: usize = 4;
    const FRAMES: usize = 8 * BATCH;
    const ROUNDS: usize = if cfg!(miri) { 10 } else { 2_000 };
    let depot = Arc::new(Depot::new(FRAMES));
    let start = Arc::new(Barrier::new(WORKERS));
    let worker = |worker: usize| {
        let (depot, start) = (Arc::clone(&depot), Arc::clone(&start));
        thread::spawn(move || {
            let mut stack = Stack::new(&depot, 16);
            let mut hands = Vec::with_capacity(FRAMES);
            (worker * FRAMES / WORKERS..(worker + 1) * FRAMES / WORKERS).for_each(|frame| stack.put(frame));
            start.wait();
            let mut taken = 0;
            for round in 0..ROUNDS {
                // Each takes more and less in its own rhythm, so that all of them are rich and poor in turn.
                let wanted = (round * (worker + 3) * 37) % (FRAMES / 2);
                hands.extend(core::iter::from_fn(|| stack.take()).take(wanted));
                taken += hands.len();
                hands.drain(..).for_each(|frame| stack.put(frame));
            }
            (taken, stack.frames)
        })
    };
    let threads: Vec<_> = (0..WORKERS).map(worker).collect();
    let mut all = vec![];
    for thread in threads {
        let (taken, mut left) = thread.join().unwrap();
        assert!(taken > ROUNDS, "{taken}");
        all.append(&mut left);
    }
    all.append(&mut take_all(&mut Stack::new(&depot, 0)));
    all.sort_unstable();
    assert!(all.into_iter().eq(0..FRAMES));
}

/// All at once is as one after another: nothing is lost, what is above what it keeps goes to the depot, and comes back from there.
#[test]
fn all_at_once() {
    let depot = Arc::new(Depot::new(1_000));
    let mut stack = Stack::new(&depot, 100);
    assert_eq!(stack.put_all(0..163), 163);
    assert_eq!((stack.len(), depot.len()), (163, 0));
    assert_eq!(stack.put_all(163..1_000), 837);
    assert_eq!((stack.len(), depot.len()), (100 + (1_000 - 100) % BATCH, (1_000 - 100) / BATCH * BATCH));
    assert_eq!(stack.take_all(0).count(), 0);
    let mut all: BTreeSet<_> = stack.take_all(7).collect();
    while all.len() < 1_000 {
        let count = all.len();
        all.extend(stack.take_all(90));
        assert!(all.len() > count);
    }
    assert!(all.into_iter().eq(0..1_000) && depot.is_empty());
    assert_eq!(stack.take_all(9).count(), 0);
    let mut unbounded = Stack::new(&depot, usize::MAX);
    assert_eq!((unbounded.put_all(0..500), unbounded.len(), depot.len()), (500, 500, 0));
}
