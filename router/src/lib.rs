//! sluice: a stateless SIP router.
#![forbid(unsafe_op_in_unsafe_fn)]

pub mod sip;
pub mod stats;
