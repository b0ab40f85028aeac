//! `bench load`: what a device under test takes, and how long it takes it.

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use nix::net::if_::if_nametoindex;
use serde_json::{Value, json};
use sluice_bench::load::frame::Link;
use sluice_bench::load::messages::{LISTENER, Mix, NEXT_HOP};
use sluice_bench::load::probe;
use sluice_bench::load::run::Load;
use sluice_bench::load::search::{Plan, search};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The interface to send by
    #[arg(long)]
    generator: String,
    /// The interface where messages arrive
    #[arg(long)]
    sink: String,
    /// The generator's MAC address
    #[arg(long, value_parser = super::mac)]
    from_mac: [u8; 6],
    /// The device's MAC address
    #[arg(long, value_parser = super::mac)]
    to_mac: [u8; 6],
    /// What the device does with a message
    #[arg(long, value_enum)]
    device: Device,
    /// What is sent
    #[arg(long, value_enum, default_value = "bye")]
    mix: Mix,
    /// How many Call-IDs
    #[arg(long, default_value_t = 4096)]
    calls: u32,
    /// How many source ports
    #[arg(long, default_value_t = 1)]
    ports: u16,
    /// Seconds of each run of the search
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Seconds that latency is measured for
    #[arg(long, default_value_t = 2.0)]
    latency_seconds: f64,
    /// Only this rate, in messages a second, for --latency-seconds; no search
    #[arg(long)]
    rate: Option<f64>,
    /// Messages a second of the search's first run, more than the device takes
    #[arg(long, default_value_t = 3_000_000.0)]
    overload: f64,
    /// The search ends when the rate is known to this factor
    #[arg(long, default_value_t = 1.02)]
    precision: f64,
    /// What to call the device in the record
    #[arg(long)]
    name: String,
    /// The record, JSON lines, to be added to; without, only what is printed
    #[arg(long)]
    record: Option<PathBuf>,
}

/// What comes out of a device.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Device {
    /// The message with its Vias and Routes as a proxy leaves them, to the next hop
    Router,
    /// The message as it came, to the next hop
    Echo,
    /// The frame with another MAC address
    Forwarder,
}

/// Messages of a run before all others, which warms the device up and must not lose one, and how many a second.
const WARM_UP: (f64, f64) = (20_000.0, 0.1);

/// What attaching the sink disturbs is over by then.
const SETTLING: Duration = Duration::from_millis(100);

/// The share of what the device takes at most at which latency is measured.
const LATENCY_SHARE: f64 = 0.5;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { generator, sink, mix, device, .. } = arguments;
    let messages = mix.messages(arguments.calls);
    let index = if_nametoindex(generator.as_str()).with_context(|| generator.clone())?;
    let link = Link { from: arguments.from_mac, to: arguments.to_mac };
    let mut load = Load::new(index, sink, link, &messages, arguments.ports)?;
    std::thread::sleep(SETTLING);
    if *device != Device::Forwarder {
        let sent = probe::probe(&messages[0])?;
        match device {
            Device::Router => probe::check_routed(&messages[0], &sent)?,
            _ => ensure!(sent.len() == messages[0].len(), "the device changes what it should only echo"),
        }
    }
    load.expect(if *device == Device::Forwarder { LISTENER } else { NEXT_HOP });
    let warm_up = load.run(WARM_UP.0, WARM_UP.1, None)?;
    ensure!(warm_up.arrived > 0 && warm_up.elsewhere == 0, "the device does not forward: {warm_up:?}");

    let rate = match arguments.rate {
        Some(rate) => rate,
        None => LATENCY_SHARE * find(arguments, &mut load)?,
    };
    if rate > 0.0 && arguments.latency_seconds > 0.0 {
        latency(arguments, &mut load, rate)?;
    }
    Ok(())
}

/// Searches for the highest rate.
fn find(arguments: &Arguments, load: &mut Load) -> anyhow::Result<f64> {
    let plan = Plan { overload: arguments.overload, step: 1.04, precision: arguments.precision };
    let found = search(plan, |rate| load.run(rate, arguments.seconds, None))?;
    println!(
        "{:<24} {:>9.0} messages a second{} ({} runs; in overload {:.0})",
        arguments.name,
        found.rate,
        if found.is_generator_bound { ", which is what the generator sends at most" } else { "" },
        found.runs.len(),
        found.overload_rate,
    );
    record(arguments, json!({ "kind": "rate", "found": found }))?;
    ensure!(found.rate > 0.0, "the device does not take the lowest rate");
    Ok(found.rate)
}

/// Measures latency at a rate.
fn latency(arguments: &Arguments, load: &mut Load, rate: f64) -> anyhow::Result<()> {
    // To a nanosecond, up to ten seconds, with three digits.
    let mut latencies = Histogram::new_with_bounds(1, 10_000_000_000, 3)?;
    let outcome = load.run(rate, arguments.latency_seconds, Some(&mut latencies))?;
    let at = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1e3;
    let percentiles = json!({
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99.9": at(0.999), "max": latencies.max() as f64 / 1e3,
    });
    println!(
        "{:<24} at {:.0} a second: p50 {:.1} us, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}; {} of {} lost",
        arguments.name,
        outcome.rate_sent,
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        latencies.max() as f64 / 1e3,
        outcome.sent - outcome.arrived,
        outcome.sent,
    );
    let curve: Vec<_> = latencies
        .iter_quantiles(5)
        .map(|step| json!([step.quantile(), step.value_iterated_to() as f64 / 1e3]))
        .collect();
    record(
        arguments,
        json!({ "kind": "latency", "outcome": outcome, "microseconds": percentiles, "quantiles": curve }),
    )
}

/// Adds a line to the record.
fn record(arguments: &Arguments, mut line: Value) -> anyhow::Result<()> {
    let Some(path) = &arguments.record else { return Ok(()) };
    line["device"] = json!(arguments.name);
    line["mix"] = json!(arguments.mix);
    line["loss_max"] = json!(sluice_bench::load::search::LOSS_MAX);
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{line}")?;
    Ok(())
}
