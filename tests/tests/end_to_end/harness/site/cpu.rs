//! The ends of a test stay on one CPU. What a sender has sent from one CPU and then from another may overtake
//! itself in the kernel when the machine is busy, and SIPp takes a 200 that overtakes a 180 for a failed call.
//! A node is on all CPUs, but each of its workers on one, where there are enough.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// This thread, and what it starts, on one of its CPUs; on all of them again when dropped.
#[derive(Debug)]
pub(super) struct OneCpu {
    all: CpuSet,
    one: CpuSet,
}

impl OneCpu {
    /// Tests take turns in CPUs.
    pub(super) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let all = sched_getaffinity(THIS_THREAD).expect("a thread has CPUs");
        let cpus = cpus(&all);
        let mut one = CpuSet::new();
        one.set(cpus[NEXT.fetch_add(1, Ordering::Relaxed) % cpus.len()]).expect("a CPU of the set");
        bind(&one);
        Self { all, one }
    }

    /// As many CPUs as wanted, one each, where there are so many.
    pub(super) fn of_workers(&self, workers: usize) -> Option<Vec<usize>> {
        let cpus = cpus(&self.all);
        (cpus.len() >= workers).then(|| cpus[..workers].to_vec())
    }

    /// Runs `work`, and what it starts, on all CPUs.
    pub(super) fn lifted<T>(&self, work: impl FnOnce() -> T) -> T {
        bind(&self.all);
        let result = work();
        bind(&self.one);
        result
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        bind(&self.all);
    }
}

const THIS_THREAD: Pid = Pid::from_raw(0);

fn cpus(set: &CpuSet) -> Vec<usize> {
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect()
}

fn bind(cpus: &CpuSet) {
    sched_setaffinity(THIS_THREAD, cpus).expect("CPUs that the thread had");
}
