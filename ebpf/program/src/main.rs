//! The XDP program of sluice. It gives every SIP message for a listener to the AF_XDP socket of its worker, and leaves every other frame to the kernel.
//!
//! It redirects or passes; it never drops and never aborts. Where there is no socket for a worker, the map's miss action passes the frame too, so the
//! kernel's own UDP socket gets it. What it reads and how is in `sluice-steer`; here are its maps, its globals and the access to the packet.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use aya_ebpf::Global;
use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{HashMap, PerCpuArray, XskMap};
use aya_ebpf::programs::XdpContext;
use core::arch::asm;
use core::ptr;
use sluice_steer::bytes::BLOCK_BYTES;
use sluice_steer::call_id::{LAST_BLOCK_MAX, PAYLOAD_BYTES_MAX, Walk};
use sluice_steer::names::{LISTENERS_MAX, STEER_BY_CALL_ID};
use sluice_steer::{Bytes, ListenerKey, Pass, call_id, frame};

#[map]
static LISTENERS: HashMap<ListenerKey, u32> = HashMap::with_max_entries(LISTENERS_MAX, 0);

#[map]
static XSKS: XskMap = XskMap::with_max_entries(1, 0);

#[map]
static PASSED: PerCpuArray<u64> = PerCpuArray::with_max_entries(Pass::COUNT, 0);

#[unsafe(no_mangle)]
static WORKERS: Global<u32> = Global::new(1);

#[unsafe(no_mangle)]
static STEER: Global<u32> = Global::new(STEER_BY_CALL_ID);

#[unsafe(no_mangle)]
static FRAME_BYTES_MAX: Global<u32> = Global::new(2048);

#[unsafe(no_mangle)]
static SEED: Global<u64> = Global::new(0);

/// Nothing in it needs the GPL; the kernel wants to read that a program may call what only GPL programs may, and the MIT licence alone does not say so to it.
/// The project's licence is MIT OR Apache-2.0.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[xdp]
pub fn sluice(context: XdpContext) -> u32 {
    match steer(&context) {
        Ok(socket) => XSKS.redirect(socket, u64::from(xdp_action::XDP_PASS)).unwrap_or_else(|action| {
            count(Pass::NoSocket);
            action
        }),
        Err(reason) => {
            if let Some(reason) = reason {
                count(reason);
            }
            xdp_action::XDP_PASS
        }
    }
}

/// The number of the socket that the frame is for. Why it passes otherwise, if it is for a listener.
#[inline(always)]
fn steer(context: &XdpContext) -> Result<u32, Option<Pass>> {
    let packet = Packet::of(context.ctx);
    let length = packet.end - packet.data;
    let datagram = frame::datagram(packet, length).ok_or(None)?;
    if LISTENERS.get_ptr(datagram.to()).is_none() {
        return Err(None);
    }
    if let Some(odd) = datagram.odd {
        return Err(Some(odd));
    }
    if length > FRAME_BYTES_MAX.load() as usize {
        return Err(Some(Pass::TooLarge));
    }
    let workers = WORKERS.load();
    let queue = context.rx_queue_index();
    let worker = if STEER.load() == STEER_BY_CALL_ID {
        let last = call_id::last_block::<Packet>(datagram.length).map_err(Some)?;
        let hash = hash_of(context, datagram.payload as u64, last as u64).ok_or(Some(Pass::NoCallId))?;
        call_id::worker(hash, workers)
    } else {
        queue.checked_rem(workers).unwrap_or(0)
    };
    Ok(queue * workers + worker)
}

/// The hash of the Call-ID of the payload that begins at `payload` and whose last block begins at `last`.
#[inline(always)]
fn hash_of(context: &XdpContext, payload: u64, last: u64) -> Option<u64> {
    let context = context.ctx;
    let mut name_end = sluice_walk(context, payload, last);
    if name_end == REST {
        name_end = last + sluice_walk(context, payload + last, 0);
    }
    match sluice_hash(context, payload, last, name_end) {
        0 => None,
        hash => Some(hash),
    }
}

/// [`call_id::walk`], as a function that the verifier goes through once and by itself: of what it returns it then knows nothing. Inlined it would go through all
/// that comes behind again for every block in which the walk may end.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sluice_walk(context: *mut xdp_md, payload: u64, last: u64) -> u64 {
    let (payload, last) = (payload as usize & OFFSET_MASK, last as usize & LAST_BLOCK_MASK);
    match call_id::walk(Packet::of(context).from(payload), last) {
        Walk::Name(name_end) => name_end as u64,
        Walk::None => NONE,
        Walk::Rest => REST,
    }
}

/// [`call_id::hash`], likewise. 0 is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sluice_hash(context: *mut xdp_md, payload: u64, last: u64, name_end: u64) -> u64 {
    let (payload, last) = (payload as usize & OFFSET_MASK, last as usize & LAST_BLOCK_MASK);
    let Some(name_end) = Packet::at_most(name_end as usize, PAYLOAD_BYTES_MAX) else { return 0 };
    call_id::hash(Packet::of(context).from(payload), last, name_end, SEED.load()).unwrap_or(0)
}

/// No Call-ID; more than any offset, and with `last` added too.
const NONE: u64 = 1 << 32;
/// Another such number, for [`Walk::Rest`].
const REST: u64 = NONE + 1;
/// The bits that an offset of a payload in its frame has, and that of its last block in it; neither is ever larger. Masked and not compared, a number is bounded for the
/// verifier also where the compiler puts it on the stack.
const OFFSET_MASK: usize = (1 << 14) - 1;
const LAST_BLOCK_MASK: usize = LAST_BLOCK_MAX.next_power_of_two() - 1;

fn count(reason: Pass) {
    if let Some(counter) = PASSED.get_ptr_mut(reason as u32) {
        // SAFETY: the map is per CPU and a program is not preempted by itself, so nobody else writes here.
        unsafe { *counter += 1 };
    }
}

/// A packet, or what follows a place in it.
#[derive(Clone, Copy)]
struct Packet {
    data: usize,
    end: usize,
}

impl Packet {
    #[inline(always)]
    fn of(context: *mut xdp_md) -> Self {
        let context = XdpContext::new(context);
        Self { data: context.data(), end: context.data_end() }
    }

    /// What follows the place `at`.
    #[inline(always)]
    fn from(self, at: usize) -> Self {
        Self { data: self.data + at, end: self.end }
    }

    /// The place of the `bytes` bytes at `at`.
    #[inline(always)]
    fn place(self, at: usize, bytes: usize) -> Option<usize> {
        let place = self.data + at;
        (place + bytes <= self.end).then_some(place)
    }
}

/// The word at `place`.
///
/// # Safety
///
/// The verifier must have been shown that all of it lies before the packet's end. Where it has not, it refuses the program.
#[inline(always)]
unsafe fn read(place: usize) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { ptr::read_unaligned(place as *const u64) }
}

impl Bytes for Packet {
    type Block = usize;

    #[inline(always)]
    fn word(self, at: usize) -> Option<u64> {
        let place = self.place(at, 8)?;
        // SAFETY: these are the bytes that `place` looked at.
        Some(unsafe { read(place) })
    }

    #[inline(always)]
    fn block(self, at: usize) -> Option<usize> {
        self.place(at, BLOCK_BYTES + 1)
    }

    #[inline(always)]
    fn word_of(block: usize, at: usize) -> u64 {
        // SAFETY: `block` looked at these bytes.
        unsafe { read(block + at) }
    }

    #[inline(always)]
    fn at_most(mut value: usize, max: usize) -> Option<usize> {
        // SAFETY: it moves a register to itself. The compiler, which does not look into it, then compares and uses one and the same register;
        // otherwise it compares another one, at a constant distance, of which the verifier learns nothing about this one.
        unsafe { asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) };
        if value > max {
            return None;
        }
        // SAFETY: likewise. Now the compiler does not take it for the one before the comparison, which it may have put on the stack already: the verifier of Linux 6.1
        // does not tell that one what it learns of this one.
        unsafe { asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) };
        Some(value)
    }

    #[inline(always)]
    fn difference(a: usize, b: usize) -> isize {
        let mut difference = a;
        // SAFETY: it subtracts one register from another one.
        unsafe { asm!("{0} -= {1}", inout(reg) difference, in(reg) b, options(pure, nomem, nostack)) };
        difference as isize
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
