//! The programs of `scripts/bench`: the load, the bare devices that it is compared with, and the report.

mod echo;
mod forwarder;
mod load;
mod report;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The programs of scripts/bench")]
struct Arguments {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Sends messages through a device under test and measures what it does with them
    Load(load::Arguments),
    /// The bare AF_XDP forwarder: sends every UDP frame on to another MAC address
    Forwarder(forwarder::Arguments),
    /// The bare UDP echo: sends every datagram on, unchanged, to another address
    Echo(echo::Arguments),
    /// Makes tables and plots of what was recorded
    Report(report::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().program {
        Program::Load(arguments) => load::run(&arguments),
        Program::Forwarder(arguments) => forwarder::run(&arguments),
        Program::Echo(arguments) => echo::run(&arguments),
        Program::Report(arguments) => report::run(&arguments),
    }
}

/// A flag that SIGINT and SIGTERM set.
fn stop_flag() -> anyhow::Result<std::sync::Arc<std::sync::atomic::AtomicBool>> {
    let stop = std::sync::Arc::default();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, std::sync::Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// A MAC address.
fn mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Result<Vec<u8>, _> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes.ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| "not a MAC address".into())
}
