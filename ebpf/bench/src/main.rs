//! The XDP programs of the load bench.
//!
//! - `generate` makes each frame that the kernel runs it for (`BPF_F_TEST_XDP_LIVE_FRAMES`) one that is due, and sends it.
//! - `sink` notes when a message arrives, by its number, and drops it.
//! - `redirect` gives every UDP frame to the socket of its queue: the bare forwarder's.

#![no_std]
#![no_main]

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_ns, bpf_loop, bpf_redirect, bpf_xdp_adjust_tail, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, XskMap};
use aya_ebpf::programs::XdpContext;
use core::ffi::c_void;
use core::ptr;
use shared::{
    Cell, FRAME_BYTES_MAX, MESSAGES_MAX, PERIOD_SHIFT, PROBE, RUNS, State, TAG_BYTES, TAIL_BYTES, TEMPLATES_MAX,
    Template,
};

mod shared;

/// `BPF_F_MMAPABLE`: user space reads and writes without system calls.
const MMAPABLE: u32 = 1 << 10;

#[map]
static TEMPLATES: Array<Template> = Array::with_max_entries(TEMPLATES_MAX, MMAPABLE);

#[map]
static ARRIVALS: Array<u64> = Array::with_max_entries(MESSAGES_MAX, MMAPABLE);

#[map]
static STATE: Array<Cell> = Array::with_max_entries(State::COUNT, MMAPABLE);

#[map]
static XSKS: XskMap = XskMap::with_max_entries(64, 0);

/// Nothing in it needs the GPL; the kernel wants to read that a program may call what only GPL programs may, and the MIT licence alone does not say so to it.
/// The project's licence is MIT OR Apache-2.0.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[xdp]
pub fn generate(context: XdpContext) -> u32 {
    generate_one(&context).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Waits until the next message is due and makes the frame, which has [`FRAME_BYTES_MAX`] bytes, that message.
#[inline(always)]
fn generate_one(context: &XdpContext) -> Option<u32> {
    let number = get(State::Sent);
    let template = TEMPLATES.get(number.checked_rem(get(State::Templates))? as u32)?;
    let length = template.length as usize;
    if !(TAG_BYTES + TAIL_BYTES..=FRAME_BYTES_MAX).contains(&length) {
        return None;
    }
    let bytes = ptr::from_ref(&template.bytes).cast_mut().cast::<c_void>();
    let (first, second) = shared::tag((get(State::Run) as u32 % RUNS) * MESSAGES_MAX | number as u32 % MESSAGES_MAX);
    let mut tag = [first, second];
    let tag_at = (length - TAIL_BYTES - TAG_BYTES) as u32;
    // SAFETY: the verifier has seen that `length` is within the template, and the helpers look at the frame's bounds themselves.
    unsafe {
        if bpf_xdp_adjust_tail(context.ctx, length as i32 - FRAME_BYTES_MAX as i32) != 0
            || bpf_xdp_store_bytes(context.ctx, 0, bytes, length as u32) != 0
            || bpf_xdp_store_bytes(context.ctx, tag_at, tag.as_mut_ptr().cast(), TAG_BYTES as u32) != 0
        {
            return None;
        }
    }
    let mut now = now();
    if number == 0 {
        set(State::Start, now);
    }
    let mut due = get(State::Start) + ((number * get(State::Period)) >> PERIOD_SHIFT);
    if now < due {
        // SAFETY: the callback takes what it is given here, which outlives the call.
        unsafe { bpf_loop(LOOKS_MAX, is_due as *mut c_void, (&raw mut due).cast(), 0) };
        now = self::now();
    }
    let lag = now.saturating_sub(due);
    if lag > get(State::LagMax) {
        set(State::LagMax, lag);
    }
    set(State::End, now);
    set(State::Sent, number + 1);
    // SAFETY: takes numbers.
    Some(unsafe { bpf_redirect(get(State::Interface) as u32, 0) } as u32)
}

/// How often it is looked whether a message is due: the most that the kernel allows, a tenth of a second at least.
const LOOKS_MAX: u32 = 1 << 23;

/// 1, which ends the loop, when the time at `due` has come.
extern "C" fn is_due(_: u64, due: *mut c_void) -> i64 {
    // SAFETY: the caller of `bpf_loop` gives a pointer to a number.
    i64::from(now() >= unsafe { *due.cast::<u64>() })
}

#[xdp]
pub fn sink(context: XdpContext) -> u32 {
    note(&context).unwrap_or(xdp_action::XDP_PASS)
}

/// Notes the arrival of a message. Frames that are no IPv4 go to the kernel.
#[inline(always)]
fn note(context: &XdpContext) -> Option<u32> {
    let (data, end) = (context.data(), context.data_end());
    if data + HEADERS_BYTES > end {
        return None;
    }
    // SAFETY: the verifier has seen that these are before the packet's end.
    let (kind, address, port) = unsafe {
        let at = |place: usize| ((data + place) as *const u16).read_unaligned();
        (at(12), u64::from(at(30)) | u64::from(at(32)) << 16, u64::from(at(36)))
    };
    if kind != 0x0800_u16.to_be() {
        return None;
    }
    let Some(tag) = number(context.ctx, end - data) else {
        add(State::Untagged);
        return None;
    };
    if tag & PROBE != 0 {
        return None;
    }
    if tag / MESSAGES_MAX != get(State::Run) as u32 % RUNS {
        add(State::Stale);
    } else if address | port << 32 != get(State::Destination) {
        add(State::Elsewhere);
    } else if let Some(place) = ARRIVALS.get_ptr_mut(tag % MESSAGES_MAX) {
        // SAFETY: nobody else writes there during a run: one CPU sends, and one receives.
        unsafe {
            if *place == 0 {
                *place = now();
            } else {
                add(State::Duplicates);
            }
        }
    }
    Some(xdp_action::XDP_DROP)
}

/// Bytes of the headers of Ethernet, IPv4 without options, and UDP.
const HEADERS_BYTES: usize = 14 + 20 + 8;

/// The number that a packet of `length` bytes carries.
#[inline(always)]
fn number(context: *mut xdp_md, length: usize) -> Option<u32> {
    let at = length.checked_sub(TAIL_BYTES + TAG_BYTES)?;
    let mut tag = [0u64; 2];
    // SAFETY: the helper looks at the packet's bounds, and `tag` has as many bytes.
    if unsafe { bpf_xdp_load_bytes(context, at as u32, tag.as_mut_ptr().cast(), TAG_BYTES as u32) } != 0 {
        return None;
    }
    shared::number(tag[0], tag[1])
}

#[xdp]
pub fn redirect(context: XdpContext) -> u32 {
    let (data, end) = (context.data(), context.data_end());
    // SAFETY: the length has been looked at.
    let is_udp = data + HEADERS_BYTES <= end
        && unsafe { *((data + 12) as *const u16) == 0x0800_u16.to_be() && *((data + 23) as *const u8) == 17 };
    if !is_udp {
        return xdp_action::XDP_PASS;
    }
    XSKS.redirect(context.rx_queue_index(), u64::from(xdp_action::XDP_PASS)).unwrap_or_else(|action| action)
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn get(what: State) -> u64 {
    // SAFETY: an aligned number in a map, which one CPU writes.
    STATE.get_ptr(what as u32).map_or(0, |cell| unsafe { (&raw const (*cell).0).read_volatile() })
}

#[inline(always)]
fn set(what: State, value: u64) {
    if let Some(cell) = STATE.get_ptr_mut(what as u32) {
        // SAFETY: as in `get`.
        unsafe { (&raw mut (*cell).0).write_volatile(value) };
    }
}

#[inline(always)]
fn add(what: State) {
    set(what, get(what) + 1);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
