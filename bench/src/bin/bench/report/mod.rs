//! `bench report`: tables and plots of what `scripts/bench` recorded.

mod growth;
mod plots;

use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use sluice_bench::load::search::Found;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The folder with the record, `runs.jsonl`; the plots go there too
    folder: PathBuf,
    /// The folder with criterion's results, for the plots of growth
    #[arg(long)]
    criterion: Option<PathBuf>,
    /// Only the tables
    #[arg(long)]
    no_plots: bool,
}

/// A line of the record.
#[derive(Deserialize)]
struct Line {
    device: String,
    #[serde(flatten)]
    what: What,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum What {
    Rate { found: Found },
    Latency { microseconds: Percentiles, outcome: LatencyRun },
    Busy { ns: f64 },
}

/// Latency in microseconds.
#[derive(Clone, Copy, Deserialize)]
struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
    max: f64,
}

#[derive(Clone, Copy, Deserialize)]
struct LatencyRun {
    rate: f64,
    sent: u64,
    arrived: u64,
}

/// All that is recorded of a device, by turn.
#[derive(Default)]
struct Device {
    rates: Vec<f64>,
    overload_rates: Vec<f64>,
    generator_bound: usize,
    latencies: Vec<(LatencyRun, Percentiles)>,
    busy_ns: Vec<f64>,
}

/// Devices in the order in which they were first measured.
struct Record(Vec<(String, Device)>);

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { folder, criterion, no_plots } = arguments;
    let path = folder.join("runs.jsonl");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let record = Record::read(&text)?;
    record.print_rates();
    record.print_ratios();
    record.print_latencies();
    record.print_busy();
    if !no_plots {
        plots::throughput(&record, &folder.join("throughput.svg"))?;
        plots::latency(&record, &folder.join("latency.svg"))?;
    }
    if let Some(criterion) = criterion {
        growth::report(criterion, folder)?;
    }
    Ok(())
}

/// Which devices are compared with which: the first's rate divided by the second's.
const RATIOS: [(&str, &str); 9] = [
    ("sluice-af_xdp", "bare-af_xdp"),
    ("sluice-udp", "bare-udp"),
    ("sluice-af_xdp", "kamailio"),
    ("sluice-udp", "kamailio"),
    ("bare-af_xdp", "kamailio"),
    ("bare-udp", "kamailio"),
    ("sluice-af_xdp-poll", "bare-af_xdp-poll"),
    ("sluice-af_xdp-2", "sluice-af_xdp"),
    ("sluice-af_xdp-2", "sluice-af_xdp-2-queue"),
];

impl Record {
    fn read(text: &str) -> anyhow::Result<Self> {
        let (mut devices, mut places) = (Vec::<(String, Device)>::new(), BTreeMap::new());
        for line in text.lines() {
            let Line { device, what } = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let place = *places.entry(device.clone()).or_insert_with(|| {
                devices.push((device, Device::default()));
                devices.len() - 1
            });
            let device = &mut devices[place].1;
            match what {
                What::Rate { found } => {
                    device.rates.push(found.rate);
                    device.overload_rates.push(found.overload_rate);
                    device.generator_bound += usize::from(found.is_generator_bound);
                }
                What::Latency { microseconds, outcome } => device.latencies.push((outcome, microseconds)),
                What::Busy { ns } => device.busy_ns.push(ns),
            }
        }
        Ok(Self(devices))
    }

    fn device(&self, name: &str) -> Option<&Device> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, device)| device)
    }

    fn print_rates(&self) {
        println!(
            "{:<24}{:>12}{:>12}{:>12}{:>14}{:>7}",
            "messages a second", "median", "lowest", "highest", "in overload", "turns"
        );
        for (name, Device { rates, overload_rates, generator_bound, .. }) in &self.0 {
            let Some(Spread { median, low, high }) = Spread::of(rates.iter().copied()) else { continue };
            let overload = Spread::of(overload_rates.iter().copied()).map_or(0.0, |spread| spread.median);
            let (turns, bound) = (
                rates.len(),
                match generator_bound {
                    0 => String::new(),
                    n => format!("  the generator was the limit in {n}"),
                },
            );
            println!("{name:<24}{median:>12.0}{low:>12.0}{high:>12.0}{overload:>14.0}{turns:>7}{bound}");
        }
    }

    fn print_ratios(&self) {
        println!(
            "\n{:<45}{:>8}{:>8}{:>8}{:>14}",
            "ratio, turn by turn", "median", "lowest", "highest", "in overload"
        );
        for (above, below) in RATIOS {
            let (Some(a), Some(b)) = (self.device(above), self.device(below)) else { continue };
            let ratios = |a: &[f64], b: &[f64]| {
                Spread::of(a.iter().zip(b).filter(|(_, b)| **b > 0.0).map(|(a, b)| a / b))
            };
            let Some(Spread { median, low, high }) = ratios(&a.rates, &b.rates) else { continue };
            let overload = ratios(&a.overload_rates, &b.overload_rates).map_or(0.0, |spread| spread.median);
            let name = format!("{above} / {below}");
            println!("{name:<45}{median:>8.2}{low:>8.2}{high:>8.2}{overload:>14.2}");
        }
    }

    fn print_latencies(&self) {
        println!(
            "\n{:<24}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}",
            "latency, microseconds", "at rate", "p50", "p90", "p99", "p99.9", "max", "lost"
        );
        for (name, device) in &self.0 {
            let of = |value: fn(&Percentiles) -> f64| {
                Spread::of(device.latencies.iter().map(|(_, p)| value(p))).map_or(0.0, |spread| spread.median)
            };
            let Some(rate) = Spread::of(device.latencies.iter().map(|(run, _)| run.rate)) else { continue };
            let lost: u64 = device.latencies.iter().map(|(run, _)| run.sent - run.arrived).sum();
            println!(
                "{name:<24}{:>10.0}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{lost:>8}",
                rate.median,
                of(|p| p.p50),
                of(|p| p.p90),
                of(|p| p.p99),
                of(|p| p.p999),
                of(|p| p.max),
            );
        }
    }

    fn print_busy(&self) {
        let busy =
            |name: &str| self.device(name).and_then(|device| Spread::of(device.busy_ns.iter().copied()));
        for (name, _) in &self.0 {
            let Some(Spread { median, low, high }) = busy(name) else { continue };
            println!("\n{name}: busy {median:.0} ns a message ({low:.0} to {high:.0})");
        }
        if let (Some(sluice), Some(bare)) = (busy("sluice-af_xdp"), busy("bare-af_xdp")) {
            println!("busy time, sluice-af_xdp / bare-af_xdp: {:.2}", sluice.median / bare.median);
        }
    }
}

/// The middle and the ends of some values.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_between_the_ends() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied()).map(|s| (s.low, s.median, s.high));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0]), Some((1.0, 2.5, 4.0)));
    }

    #[test]
    fn a_record_is_read_by_device_and_turn() {
        let text = r#"{"device":"b","kind":"busy","ns":100,"mix":"bye","rate":1}
{"device":"a","kind":"rate","found":{"rate":5.0,"is_generator_bound":true,"overload_rate":6.0,"runs":[]}}
{"device":"a","kind":"rate","found":{"rate":7.0,"is_generator_bound":false,"overload_rate":6.0,"runs":[]}}"#;
        let record = Record::read(text).unwrap();
        let a = record.device("a").unwrap();
        assert_eq!((a.rates.as_slice(), a.generator_bound), (&[5.0, 7.0][..], 1));
        assert_eq!(record.0[0].1.busy_ns, [100.0]);
        assert!(Record::read("{}").is_err());
    }
}
