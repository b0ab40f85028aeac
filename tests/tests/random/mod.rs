//! Random messages in a small world.

pub(crate) mod lines;
mod messages;
pub(crate) mod plans;
pub(crate) mod tape;
pub(crate) mod world;

pub(crate) use messages::{mutate, rewrite};
