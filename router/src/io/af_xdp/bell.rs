//! Wakes a thread that sleeps in `ppoll`; while it is awake this costs one load.

use core::sync::atomic::{AtomicBool, Ordering, fence};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// A bell at one thread's bedside. Anybody may ring it; only that thread sleeps by it.
#[derive(Debug)]
pub struct Bell {
    event: EventFd,
    is_asleep: AtomicBool,
}

impl Bell {
    /// A bell that has not been rung.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self { event, is_asleep: AtomicBool::new(false) })
    }

    /// Wakes the thread if it sleeps or is about to. Call it after the work is where the thread looks for it.
    #[inline]
    pub fn ring(&self) {
        // One of two things happens: the sleeper's fence comes first and this load sees that it is asleep, or this fence does and the sleeper's last look
        // sees the work.
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::Relaxed) {
            // It fails only where the counter is at its end, and then the thread wakes all the same.
            let _ = self.event.write(1);
        }
    }

    /// Sleeps by `poll`, which is to return when the bell's descriptor is readable, unless `has_work`.
    pub fn sleep(&self, has_work: impl FnOnce() -> bool, poll: impl FnOnce()) {
        self.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !has_work() {
            poll();
        }
        if !self.is_asleep.swap(false, Ordering::Relaxed) {
            // It was rung, so there is something to be read, or will be in a moment; then the next sleep is short, and that is all.
            let _ = self.event.read();
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::{Duration, Instant};

    /// Longest that a test sleeps; reached only when a ring is lost.
    const SLEEP_MS: u16 = 5_000;

    fn wait(bell: &Bell) {
        let _ = poll(&mut [PollFd::new(bell.as_fd(), PollFlags::POLLIN)], PollTimeout::from(SLEEP_MS));
    }

    #[test]
    fn nobody_sleeps_on_work_and_no_ring_is_kept_for_later() {
        let bell = Bell::new().unwrap();
        bell.ring();
        let mut slept = false;
        bell.sleep(|| true, || slept = true);
        assert!(!slept);
        bell.sleep(|| false, || slept = true);
        assert!(slept);
    }

    /// Work handed over one by one between two threads; a ring that is lost costs five seconds.
    #[test]
    fn no_ring_is_lost() {
        const WORK: usize = 20_000;
        let (bell, work) = (Arc::new(Bell::new().unwrap()), Arc::new(AtomicUsize::new(0)));
        let begin = Instant::now();
        let sleeper = {
            let (bell, work) = (Arc::clone(&bell), Arc::clone(&work));
            thread::spawn(move || {
                let mut done = 0;
                while done < WORK {
                    let there = work.load(Ordering::Relaxed);
                    if there > done {
                        done = there;
                        continue;
                    }
                    bell.sleep(|| work.load(Ordering::Relaxed) > done, || wait(&bell));
                }
            })
        };
        for i in 1..=WORK {
            work.store(i, Ordering::Relaxed);
            bell.ring();
            (0..i % 300).for_each(|_| core::hint::spin_loop());
        }
        sleeper.join().unwrap();
        assert!(begin.elapsed() < Duration::from_millis(u64::from(SLEEP_MS)), "{:?}", begin.elapsed());
    }
}
