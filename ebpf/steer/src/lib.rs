//! What the XDP program of sluice, user space and the tests share: where a frame's SIP message begins, its Call-ID, the worker that follows
//! from it, and what the maps of the program hold.
//!
//! The walk is written once, over [`Bytes`]. The program reads a packet through it, with a bound that the kernel's verifier understands;
//! user space reads a slice. So both say the same of every frame.
//!
//! Nothing here allocates or panics, and nothing here drops a frame: what is odd passes to the kernel's own sockets.

#![no_std]
#![forbid(unsafe_code)]

pub mod bytes;
pub mod call_id;
pub mod frame;
pub mod listener;
pub mod names;
pub mod pass;

pub use bytes::Bytes;
pub use listener::ListenerKey;
pub use pass::Pass;

use call_id::Walk;

/// The worker, of `workers`, to which the program sends a datagram of `payload` by its Call-ID. None where the program passes it to the kernel.
///
/// `seed` is the program's `SEED`.
#[must_use]
pub fn worker(payload: &[u8], workers: u32, seed: u64) -> Option<u32> {
    hash(payload, seed).ok().map(|hash| call_id::worker(hash, workers))
}

/// The hash of the Call-ID of `payload`.
///
/// # Errors
///
/// Why the program passes it.
pub fn hash(payload: &[u8], seed: u64) -> Result<u64, Pass> {
    let last = call_id::last_block::<&[u8]>(payload.len())?;
    let name_end = match call_id::walk(payload, last) {
        Walk::Name(name_end) => Some(name_end),
        Walk::None => None,
        Walk::Rest => match call_id::walk(&payload[last..], 0) {
            Walk::Name(name_end) => Some(last + name_end),
            Walk::None | Walk::Rest => None,
        },
    };
    name_end.and_then(|name_end| call_id::hash(payload, last, name_end, seed)).ok_or(Pass::NoCallId)
}
