//! The control plane: everything that may allocate, block or log. It reads the [`config`] and the [`keys`], builds the snapshot, [`run`]s the workers,
//! and answers an operator: [`admin`] and [`stats`] say what happens, [`explain`] says why.
//!
//! The data plane never names it. What crosses is one immutable [`crate::proxy::snapshot::Snapshot`], published whole, and the counters.

#![forbid(unsafe_code)]

pub mod admin;
pub mod af_xdp;
pub mod config;
pub mod cpus;
pub mod explain;
pub mod interface;
pub mod keys;
pub mod links;
pub mod load;
pub mod log;
pub mod netlink;
pub mod plane;
pub mod privilege;
pub mod run;
pub mod stats;
pub mod xdp;
