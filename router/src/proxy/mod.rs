//! What becomes of a message: RFC 3261 section 16 in its own order, as a pure function of the message and a snapshot.
//!
//! [`request`] and [`response`] decide; [`record_route`], [`branch`] and [`reply`] write what the decision needs into [`crate::edit::Edits`]. What they
//! look things up in is [`snapshot`] with its tables: [`identity`], [`prefix`], [`rules`], [`target_set`]. What they prove things by is [`seal`].

#![forbid(unsafe_code)]

pub mod branch;
pub mod decision;
pub mod egress;
pub mod identity;
pub mod interval;
pub mod loop_mark;
pub mod own_route;
mod popping;
pub mod prefix;
pub mod record_route;
pub mod reply;
pub mod reply_rate;
pub mod request;
pub mod response;
pub mod rules;
pub mod seal;
pub mod snapshot;
pub mod target_set;
mod universal;

use crate::io::Flow;
use crate::sip::Message;
use snapshot::Snapshot;

/// All that a decision reads: the message, how it came, and the tables.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The tables.
    pub snapshot: &'a Snapshot,
    /// How the message came.
    pub flow: &'a Flow,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Its spans, read from exactly those bytes.
    pub message: &'a Message,
}
