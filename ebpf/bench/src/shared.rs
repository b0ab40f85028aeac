//! What the programs and the load generator in user space agree on. Both sides compile this file.
//!
//! # The tag
//!
//! A message carries its number in 16 letters that stand [`TAIL_BYTES`] before its end: a router changes what comes before, and leaves what comes after. The first 8
//! letters are the number's nibbles as `a` to `p`, the lowest first; the other 8 mirror them, so that each pair adds up to the same. So a tag is
//! recognised by an addition, and every number leaves the same Internet checksum, wherever it stands.

/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;

/// Bytes from the end of the tag to the end of the message.
pub const TAIL_BYTES: usize = 23;

/// The sum of each pair of letters, in all bytes.
const PAIRS: u64 = 0x0101_0101_0101_0101 * (2 * b'a' as u64 + 15);

/// Messages of a run are numbered from 0 to less than this.
pub const MESSAGES_MAX: u32 = 1 << 22;

/// Runs are numbered from 0 to less than this, and then again from 0.
pub const RUNS: u32 = 1 << 9;

/// A message with this bit goes to the kernel, for who wants to look at it.
pub const PROBE: u32 = 1 << 31;

/// Bytes of the longest frame that is generated.
pub const FRAME_BYTES_MAX: usize = 1514;

/// Room for frames.
pub const TEMPLATES_MAX: u32 = 1 << 15;

/// A frame to be sent, but for its tag.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Template {
    /// How many of the bytes are the frame.
    pub length: u32,
    /// The frame, from the Ethernet header on.
    pub bytes: [u8; 1532],
}

/// A value of the map `STATE`: a number on a cache line of its own, for what the generator writes with each message must not slow the sink on another CPU.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Cell(pub u64);

/// What a run is to be, and what became of it: places in the array map `STATE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum State {
    /// In: the index of the interface to send by.
    Interface,
    /// In: how many templates there are; they are sent in turn.
    Templates,
    /// In: nanoseconds between two messages, times 2^[`PERIOD_SHIFT`].
    Period,
    /// In: the number of the run.
    Run,
    /// In: where messages must go to, as address and port stand in the packet: `address | port << 32`.
    Destination,
    /// Out: when the first message was due and sent, by the kernel's monotonic clock. 0 before.
    Start,
    /// Out: how many were sent.
    Sent,
    /// Out: when the last was sent.
    End,
    /// Out: the longest that one was sent after it was due, in nanoseconds.
    LagMax,
    /// Out: messages that arrived more than once, once for each time.
    Duplicates,
    /// Out: frames without a tag.
    Untagged,
    /// Out: messages of earlier runs.
    Stale,
    /// Out: messages to another destination.
    Elsewhere,
}

impl State {
    /// How many there are.
    pub const COUNT: u32 = Self::Elsewhere as u32 + 1;
}

/// Bits of a period's fraction.
pub const PERIOD_SHIFT: u32 = 12;

/// The two halves of the tag of `number`, as they stand in memory on a little-endian machine.
#[inline(always)]
pub fn tag(number: u32) -> (u64, u64) {
    let mut spread = number as u64;
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = spread + 0x0101_0101_0101_0101 * b'a' as u64;
    (letters, PAIRS - letters)
}

/// The number of a tag, if it is one.
#[inline(always)]
pub fn number(first: u64, second: u64) -> Option<u32> {
    if first.wrapping_add(second) != PAIRS {
        return None;
    }
    let mut nibbles = first.wrapping_sub(0x0101_0101_0101_0101 * b'a' as u64);
    if nibbles & 0xf0f0_f0f0_f0f0_f0f0 != 0 {
        return None;
    }
    nibbles = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles >> 8) & 0x0000_ffff_0000_ffff;
    Some((nibbles | nibbles >> 16) as u32)
}
