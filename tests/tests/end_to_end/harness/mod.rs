//! What the end-to-end tests are made of. Nothing here shares code with the router.

pub(crate) mod crossing;
pub(crate) mod message;
pub(crate) mod node;
pub(crate) mod phone;
pub(crate) mod process;
pub(crate) mod requirements;
pub(crate) mod scratch;
pub(crate) mod sipp;
pub(crate) mod site;
pub(crate) mod strict_router;
pub(crate) mod trace;
pub(crate) mod trial;
