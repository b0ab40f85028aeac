//! Waiting for sockets: what the workers' ways to the network have in common.

#![expect(unsafe_code, reason = "a system call on a structure that holds descriptors")]

use core::ptr;
use nix::libc::{POLLIN, nfds_t, pollfd, ppoll, timespec};
use nix::sys::time::TimeSpec;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Which of a worker's sockets have something to receive, asked for when it is wanted to be known.
///
/// Not an epoll: as a standing listener on the socket it is woken for every datagram that comes and for every one that has been sent, about a hundred
/// nanoseconds each (measured, of 3,100 for receive and send together). Asking costs forty for each socket and batch.
#[derive(Debug)]
pub struct Poll(Vec<pollfd>);

impl Poll {
    /// Over `sockets`, by their index; their owner keeps them open as long as this is used.
    #[must_use]
    pub fn new<'a>(sockets: impl Iterator<Item = BorrowedFd<'a>>) -> Self {
        Self(sockets.map(|socket| pollfd { fd: socket.as_raw_fd(), events: POLLIN, revents: 0 }).collect())
    }

    /// Asks about `other` too, after the sockets.
    pub fn watch(&mut self, other: BorrowedFd<'_>) {
        self.0.push(pollfd { fd: other.as_raw_fd(), events: POLLIN, revents: 0 });
    }

    /// Asks the kernel, and sleeps until one has something, a signal comes, or `timeout` is over.
    pub fn ask(&mut self, timeout: Duration) {
        let timeout = TimeSpec::from_duration(timeout);
        let timeout: *const timespec = timeout.as_ref();
        // SAFETY: the pointers and the number are those of our own vector and of `timeout`, which outlives the call. A number that is no longer a
        // socket's is only an event.
        let ready = unsafe { ppoll(self.0.as_mut_ptr(), self.0.len() as nfds_t, timeout, ptr::null()) };
        if ready < 0 {
            // After a signal the events are those of the time before.
            self.0.iter_mut().for_each(|socket| socket.revents = 0);
        }
    }

    /// Whether the socket at `i` had something, or an error to report, when last asked for.
    #[must_use]
    pub fn is_ready(&self, i: usize) -> bool {
        self.0.get(i).is_some_and(|socket| socket.revents != 0)
    }
}
