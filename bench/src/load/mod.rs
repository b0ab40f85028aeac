//! The load bench: messages with numbers, sent by a schedule and looked for behind the device under test.
//!
//! ```text
//! [world: gen] --veth-- [in: device under test: out] --veth-- [sink: world]
//! ```
//!
//! The kernel runs the program `generate` on one CPU for each frame and sends the frame (`BPF_F_TEST_XDP_LIVE_FRAMES`); the program `sink` notes the arrival of each message.
//! The schedule is fixed when a run begins, and latency counts from when a message was due, not from when it was sent: a generator that lags makes the figure worse, never better.

pub mod frame;
pub mod messages;
pub mod probe;
pub mod run;
pub mod search;
#[path = "../../../ebpf/bench/src/shared.rs"]
pub mod shared;
mod table;
