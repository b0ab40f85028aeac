//! How many frames there are, how large, and where they are at first.

use super::interfaces::Chosen;
use crate::control::config::NodePlan;
use crate::io::TAILROOM;
use crate::io::af_xdp::depot::BATCH;
use crate::io::af_xdp::socket::{BusyPoll, Options};
use crate::io::af_xdp::umem::Geometry;
use anyhow::bail;

/// Entries of each ring: at a million messages a second, two milliseconds of one queue. More would not fit the second-level cache.
pub(super) const RING_ENTRIES: u32 = 2_048;

/// Frames that a worker keeps on its stack before it gives any to the depot: two batches, so that it does not go there for each.
pub(super) const STACK_FRAMES: u32 = 2 * BATCH as u32;

/// Packets that a busy poll takes from the device at most: what NAPI takes at a time (`NAPI_POLL_WEIGHT`).
const BUSY_POLL_PACKETS_MAX: u32 = 64;

/// How many frames there are, and where.
pub(super) struct Sizes {
    pub(super) geometry: Geometry,
    /// Of each fill ring.
    pub(super) prefill: u32,
}

impl Sizes {
    pub(super) fn of(node: &NodePlan, interfaces: &[Chosen], workers: usize) -> anyhow::Result<Self> {
        let queues: u32 = interfaces.iter().map(|chosen| chosen.queues).sum();
        let workers = workers as u32;
        // A worker may hold what its stack keeps and a batch over, and have a transmit ring full on each interface. The kernel path has a stack too.
        let stacks = (workers + 1) * (STACK_FRAMES + BATCH as u32);
        let wanted = queues * RING_ENTRIES + workers * interfaces.len() as u32 * RING_ENTRIES + stacks;
        let frames = node.io.frames.as_ref().map_or(wanted, |frames| frames.value.0);
        let prefill = (frames.saturating_sub(stacks) / queues).min(RING_ENTRIES);
        if prefill < BATCH as u32 {
            let least = stacks + queues * BATCH as u32;
            bail!(
                "io.frames = {frames} are too few for {queues} queues and {workers} workers: at least {least}"
            );
        }
        let frame_size = node.io.frame_size.value.0;
        Ok(Self { geometry: Geometry { frames, frame_size, headroom: headroom(frame_size) }, prefill })
    }

    /// The longest packet that is taken: one that can grow at its end too, if there is room for that.
    pub(super) fn packet_bytes_max(&self) -> u32 {
        let tailroom = if self.geometry.frame_size > 2_048 { TAILROOM } else { 0 };
        (self.geometry.packet_bytes_max() - tailroom) as u32
    }

    pub(super) fn options(&self, node: &NodePlan) -> Options {
        let us = node.io.busy_poll_us.0;
        Options {
            fill_entries: RING_ENTRIES,
            completion_entries: RING_ENTRIES,
            rx_entries: RING_ENTRIES,
            tx_entries: RING_ENTRIES,
            prefill_frames: self.prefill,
            busy_poll: (us > 0).then_some(BusyPoll { us, packets_max: BUSY_POLL_PACKETS_MAX }),
        }
    }
}

/// Bytes that the kernel leaves free before a packet, besides its own 256.
///
/// With the packet's headers, that leaves [`crate::io::HEADROOM`] before the payload. Small frames have none to spare: there it has to hold a packet of 1,500 bytes.
fn headroom(frame_size: u32) -> u32 {
    if frame_size > 2_048 { 320 } else { 256 }
}
