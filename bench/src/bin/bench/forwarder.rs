//! `bench forwarder`: what AF_XDP in copy mode can do at most here. It takes a frame from one interface, writes two MAC addresses, and puts it out by the other.
//!
//! Rings, frames and system calls are those of the router (`sluice::io::af_xdp`), for what is to be compared is what a router adds to them; the loop is its own, as short as can be.

use anyhow::Context;
use aya::maps::XskMap;
use aya::programs::XdpMode;
use clap::Args;
use nix::net::if_::if_nametoindex;
use serde_json::json;
use sluice::io::af_xdp::socket::{self, BusyPoll, InterfacePlan, Options, WorkerSockets, ZeroCopy};
use sluice::io::af_xdp::umem::{Frame, Geometry, Umem};
use sluice_bench::load::run::{program, redirect};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The interface that frames come by
    #[arg(long)]
    r#in: String,
    /// The interface that they leave by
    #[arg(long)]
    out: String,
    /// The MAC address that they leave from
    #[arg(long, value_parser = super::mac)]
    from_mac: [u8; 6],
    /// The MAC address that they leave to
    #[arg(long, value_parser = super::mac)]
    to_mac: [u8; 6],
    /// Microseconds of busy polling (SO_BUSY_POLL); 0 is none
    #[arg(long, default_value_t = 0)]
    busy_poll: u32,
    /// Entries of each ring. With 2,048 what gathers in 4 ms, while another process runs, is lost
    #[arg(long, default_value_t = 8192)]
    ring: u32,
    /// Frames that are taken at once
    #[arg(long, default_value_t = 64)]
    batch: usize,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { ring, .. } = *arguments;
    let geometry = Geometry { frames: 4 * ring, frame_size: 2048, headroom: 0 };
    let (umem, mut frames) = Umem::new(geometry)?;
    let mut ebpf = redirect()?;
    let xdp = program(&mut ebpf, "redirect")?;
    xdp.attach(&arguments.r#in, XdpMode::Driver).with_context(|| arguments.r#in.clone())?;
    let busy_poll =
        (arguments.busy_poll > 0).then_some(BusyPoll { us: arguments.busy_poll, packets_max: 64 });
    let options = Options {
        fill_entries: ring,
        completion_entries: ring,
        rx_entries: ring,
        tx_entries: ring,
        prefill_frames: ring,
        busy_poll,
    };
    let plans = [plan(&arguments.r#in)?, plan(&arguments.out)?];
    let mut sockets = socket::bind(&umem, &mut frames, &plans, 1, &options)?;
    let sockets = sockets.pop().context("no sockets")?;
    let map = ebpf.map_mut("XSKS").context("no socket map")?;
    let mut map = XskMap::try_from(map)?;
    for entry in sockets.map_entries().filter(|entry| entry.interface == 0) {
        map.set(entry.queue, entry.socket.as_raw_fd(), 0)?;
    }
    eprintln!("ready");
    let macs = [arguments.to_mac, arguments.from_mac].concat();
    forward(&umem, sockets, frames, &macs, arguments.batch)
}

fn plan(name: &str) -> anyhow::Result<InterfacePlan> {
    let if_index = if_nametoindex(name).with_context(|| name.to_owned())?;
    Ok(InterfacePlan { name: name.to_owned(), if_index, queues: 1, zero_copy: ZeroCopy::Auto })
}

/// The loop, until it is told to stop; prints what it did.
fn forward(
    umem: &Umem,
    mut sockets: WorkerSockets,
    mut free: Vec<Frame>,
    macs: &[u8],
    batch: usize,
) -> anyhow::Result<()> {
    let stop = super::stop_flag()?;
    let (mut messages, mut batches, mut busy) = (0u64, 0u64, Duration::ZERO);
    let mut before = Instant::now();
    let [incoming, outgoing] = &mut sockets.owned[..] else { anyhow::bail!("two queues") };
    let (rx, tx) = (&mut sockets.rx[0].ring, &mut sockets.tx[1]);
    while !stop.load(Relaxed) {
        while let Some(frame) = outgoing.completion.pop() {
            free.push(frame);
        }
        let mut filled = 0;
        while incoming.fill.free() > 0
            && let Some(frame) = free.pop()
        {
            // There is room, for nobody else fills.
            let _ = incoming.fill.push(frame);
            filled += 1;
        }
        if filled > 0 {
            incoming.fill.submit();
        }
        if incoming.is_busy_polling || incoming.fill.needs_wakeup() {
            let _ = incoming.wake();
        }
        let mut count = 0;
        while count < batch
            && let Some((mut frame, packet)) = rx.pop()
        {
            umem.bytes(&mut frame)[packet.start..packet.start + macs.len()].copy_from_slice(macs);
            if let Err(frame) = tx.ring.push(frame, packet) {
                free.push(frame);
            }
            count += 1;
        }
        if count > 0 {
            rx.release();
            tx.ring.submit();
        }
        // In copy mode the kernel sends 32 a call.
        let mut wakes = 0;
        while tx.ring.pending() > 0 && tx.ring.needs_wakeup() && wakes < 64 {
            let _ = tx.wake();
            wakes += 1;
        }
        let now = Instant::now();
        if count > 0 {
            busy += now - before;
            messages += count as u64;
            batches += 1;
        }
        before = now;
    }
    println!("{}", json!({ "messages": messages, "batches": batches, "busy_ns": busy.as_nanos() as u64 }));
    Ok(())
}
