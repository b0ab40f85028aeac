//! The program as the kernel runs it, told apart by worker.
//!
//! A run redirects where there is a socket for the worker, and passes where there is none. So every frame is run with sockets for all workers, with sockets
//! only for those that have a bit in their number, for each bit, and with none: what is redirected where spells the number. The sockets are one of AF_XDP that
//! is bound to nothing, which the map takes.

use crate::oracle::Verdict;
use nix::libc;
use sluice_steer::Pass;
use sluice_tests::steering::{Globals, Steering, XDP_PASS, XDP_REDIRECT};
use std::env;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::thread;

pub(crate) struct Kernel {
    program: Steering,
    globals: Globals,
    socket: OwnedFd,
    /// Which entries of the map have a socket.
    sockets: Vec<bool>,
}

impl Kernel {
    /// None, with a word about it, where this machine does not let the test load programs.
    pub(crate) fn new(globals: Globals, listeners: &[SocketAddr]) -> Option<Self> {
        let missing = |what: String| -> Option<Self> {
            assert!(env::var_os("CI").is_none(), "CI must not skip a test: {what}");
            let test = thread::current().name().unwrap_or("a test").to_owned();
            // Not `eprintln!`, which the test runner keeps to itself when the test passes.
            let _ = writeln!(io::stderr(), "SKIPPED {test}: {what}");
            None
        };
        if !nix::unistd::geteuid().is_root() {
            return missing("only root may load XDP programs and open AF_XDP sockets".to_owned());
        }
        let socket = match af_xdp_socket() {
            Ok(socket) => socket,
            Err(error) => return missing(format!("this kernel opens no AF_XDP socket: {error}")),
        };
        let program = Steering::load(globals, listeners).unwrap_or_else(|error| panic!("{error}"));
        let sockets = vec![false; (globals.queues * globals.workers) as usize];
        Some(Self { program, globals, socket, sockets })
    }

    /// What the kernel says becomes of each frame.
    pub(crate) fn verdicts(&mut self, frames: &[Vec<u8>]) -> Vec<Verdict> {
        self.sockets_for(|_| true);
        let mut verdicts: Vec<Verdict> = frames.iter().map(|frame| self.run(frame)).collect();
        let is_worker = |verdict: &Verdict| matches!(verdict, Verdict::Worker(_));
        for bit in 0..u32::BITS - self.globals.workers.leading_zeros() {
            self.sockets_for(|worker| worker >> bit & 1 == 1);
            for (frame, verdict) in frames.iter().zip(&mut verdicts) {
                if let Verdict::Worker(number) = verdict {
                    *number |= u32::from(is_worker(&self.run(frame))) << bit;
                }
            }
        }
        self.sockets_for(|_| false);
        for (frame, verdict) in frames.iter().zip(&verdicts) {
            let expected = if is_worker(verdict) { Verdict::Pass(Pass::NoSocket) } else { *verdict };
            assert_eq!(self.run(frame), expected, "without sockets: {frame:02x?}");
        }
        verdicts
    }

    pub(crate) fn verdict(&mut self, frame: &[u8]) -> Verdict {
        self.verdicts(&[frame.to_vec()])[0]
    }

    /// From here on the one at `index` is the only socket.
    pub(crate) fn only_socket(&mut self, only: u32) {
        for index in 0..self.sockets.len() {
            self.set(index, index == only as usize);
        }
    }

    /// What the program does with `frame` on a queue of a device of this network namespace.
    pub(crate) fn action_on(&self, frame: &[u8], device: u32, queue: u32) -> u32 {
        // `struct xdp_md` of linux/bpf.h: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, frame.len() as u32, 0, device, queue, 0];
        let context: Vec<u8> = context.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.program.run(frame, Some(&context), 1).0
    }

    /// One run: worker 0 stands for all of them.
    fn run(&self, frame: &[u8]) -> Verdict {
        let before = self.program.passed();
        let (action, _) = self.program.run(frame, None, 1);
        let after = self.program.passed();
        let counted: Vec<Pass> = Pass::ALL
            .into_iter()
            .filter(|reason| before[*reason as usize] != after[*reason as usize])
            .collect();
        assert_eq!(
            before.iter().sum::<u64>() + counted.len() as u64,
            after.iter().sum::<u64>(),
            "counted once: {counted:?}"
        );
        match (action, &counted[..]) {
            (XDP_REDIRECT, []) => Verdict::Worker(0),
            (XDP_PASS, []) => Verdict::NotOurs,
            (XDP_PASS, [reason]) => Verdict::Pass(*reason),
            _ => panic!(
                "action {action}, counted {counted:?}: it redirects or passes, and counts what is for a listener"
            ),
        }
    }

    fn sockets_for(&mut self, wanted: impl Fn(u32) -> bool) {
        for index in 0..self.sockets.len() {
            self.set(index, wanted(index as u32 % self.globals.workers));
        }
    }

    fn set(&mut self, index: usize, wanted: bool) {
        if wanted && !self.sockets[index] {
            self.program.set_socket(index as u32, &self.socket);
        } else if !wanted && self.sockets[index] {
            self.program.unset_socket(index as u32);
        }
        self.sockets[index] = wanted;
    }
}

fn af_xdp_socket() -> io::Result<OwnedFd> {
    // SAFETY: `socket` takes three numbers.
    let descriptor = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
