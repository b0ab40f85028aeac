//! The grammar of RFC 3261 section 25, as far as a proxy must read it: one pass over the header fields, no
//! allocation, and [`Span`]s instead of slices, so that [`crate::edit`] may move the bytes afterwards.
//!
//! Reading order: [`scan`] finds the line ends, [`start_line`] and [`header_field`] read a line each,
//! [`message`] puts them together; [`via`], [`uri`] and [`route_set`] read one value when somebody asks.
//! Nothing here decides anything: what a value means for routing is [`crate::proxy`]'s.

#![deny(unsafe_code)]

pub mod header_field;
pub mod host;
pub mod message;
pub mod params;
mod quad;
pub mod route_set;
pub mod scan;
#[cfg(any(test, not(target_arch = "x86_64")))]
mod scan_portable;
#[cfg(target_arch = "x86_64")]
mod scan_x86_64;
pub mod span;
pub mod start_line;
pub mod uri;
pub mod via;

pub use message::Message;
pub use span::Span;
