//! sluice: a stateless SIP router.
//!
//! A datagram comes in by [`io`], and [`forward`] takes it through the one direction that everything here has:
//!
//! ```text
//! RX ring -> wire -> sip -> proxy -> edit -> wire -> TX ring          one frame, in place
//! socket  --------->                      ---------> socket           where there is no AF_XDP, and what it does not take
//! ```
//!
//! [`sip`] reads the message once into spans. [`proxy`] decides, as a pure function of the message and an immutable snapshot. [`edit`] moves the few
//! bytes that must change. [`stats`] counts what became of every datagram. Nothing of this allocates, locks, logs, blocks, resolves a name or panics, and no
//! message leaves a trace that another one could meet: the same request in gives the same bytes out, on every worker and every node that shares the key.
//! Where the kernel does not, [`wire`] reads and writes the headers around the message, and [`ip_route`] says where a datagram leaves by.
//!
//! A [`worker`] is a pinned thread that breathes batches through it. [`control`] may do all that the data plane may not: it reads the configuration, binds
//! sockets, attaches the program that steers datagrams to workers, mirrors the kernel's routes and neighbours, publishes snapshots, answers operators.
//!
//! Read [`forward`] first.

#![deny(unsafe_code)]

pub mod control;
pub mod edit;
pub mod forward;
pub mod io;
pub mod ip_route;
pub mod proxy;
mod rounds;
pub mod sip;
pub mod stats;
pub mod wire;
pub mod worker;
