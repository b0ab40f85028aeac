//! I/O over AF_XDP sockets: frames that the network card and the workers share, and rings that hand them back and forth.
//!
//! ```text
//!            fill                  rx                     tx               completion
//! stack -----------> kernel -----------> worker (forward) -----> kernel -----------------> stack
//!   ^                                        | dropped                                       |
//!   +----------------------------------------+-----------------------------------------------+
//!                    too many, or none left: whole batches by way of the depot
//! ```
//!
//! # Who owns a frame when
//!
//! All frames are chunks of one area of memory, the [`umem::Umem`]. A chunk is the worker's exactly while there is a [`umem::Frame`] for it, a token
//! that can be neither copied nor made; without one nobody gets at the bytes. Handing a chunk to the kernel takes the token
//! ([`ring::FillRing::push`], [`ring::TxRing::push`]), and the kernel handing it back makes it anew ([`ring::RxRing::pop`],
//! [`ring::CompletionRing::pop`]). In between, the token lies in a worker's [`depot::Stack`] or in the [`depot::Depot`]. So a frame that is used twice does not compile.
//! One that is forgotten does, and [`census::Census`] finds it: each chunk is in one place, and their number never changes.
//!
//! What comes out of a ring is checked in release builds too. That the kernel gives no chunk twice cannot be checked here at a sane price, and is
//! what the `unsafe` functions of [`ring`] have their caller promise.
//!
//! # Rings and their owners
//!
//! A fill and a completion ring belong to a queue of an interface, and have one owner each: worker `queue % workers`. RX and TX rings belong
//! to a socket, and so to its worker. A program may redirect a packet only to sockets of the queue that it came by (`net/xdp/xsk.c`, `xsk_rcv_check`); so each worker has an
//! RX socket on every queue, and transmits by its one on queue `worker % queues`. [`socket`] binds them.
//!
//! # Who works with them
//!
//! A worker's [`port::Port`] receives, forwards and transmits. What it cannot send itself goes with its frame by [`handover`] to the [`kernel_path`], the one thread with
//! ordinary sockets. Each enters in its [`ledger`] page where its frames are, so that anybody can see at any time whether all are there.
//!
//! # What cannot fail
//!
//! After [`socket::bind`] nothing allocates. Each ring, stack and depot takes what it is given or gives it back; a stack has room for all
//! frames that there are, and so has the depot.

mod abi;
pub mod bell;
pub mod census;
pub mod depot;
#[cfg(test)]
mod fake;
mod flows;
pub mod handover;
pub mod kernel_path;
pub mod ledger;
pub mod listeners;
pub mod port;
pub mod ring;
pub mod socket;
pub mod umem;
mod ways;
