//! What a message costs as messages and tables grow: from criterion's results of `benches/forward.rs`.

use super::plots::{canvas, colour};
use anyhow::Context;
use plotters::prelude::*;
use std::fs;
use std::path::Path;

/// The tables of growth, as criterion calls their groups, and what grows.
const TABLES: [(&str, &str); 4] = [
    ("header_bytes", "bytes of header fields that a proxy does not read"),
    ("listeners", "listeners"),
    ("rules", "rules"),
    ("targets", "targets"),
];

const FONT: (&str, i32) = ("sans-serif", 14);

/// Prints the tables and draws each, as far as criterion has measured it.
pub(super) fn report(criterion: &Path, folder: &Path) -> anyhow::Result<()> {
    for (group, what) in TABLES {
        let points = read(&criterion.join(group))?;
        if points.is_empty() {
            continue;
        }
        println!("\nns a message, by {what}");
        for (x, Estimate { ns, low, high }) in &points {
            println!("{x:>8} {ns:>8.0}  ({low:.0} to {high:.0})");
        }
        plot(&points, what, &folder.join(format!("{group}.svg")))?;
    }
    Ok(())
}

/// A mean and its confidence interval, in nanoseconds.
struct Estimate {
    ns: f64,
    low: f64,
    high: f64,
}

/// The means in a group's folder, by what they are a function of.
fn read(group: &Path) -> anyhow::Result<Vec<(u64, Estimate)>> {
    let Ok(entries) = fs::read_dir(group) else { return Ok(vec![]) };
    let mut points = vec![];
    for entry in entries.flatten() {
        let Some(x) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let path = entry.path().join("new/estimates.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mean = &serde_json::from_str::<serde_json::Value>(&text)?["mean"];
        let interval = &mean["confidence_interval"];
        let number = |value: &serde_json::Value| value.as_f64().context("a number");
        let ns = number(&mean["point_estimate"])?;
        let (low, high) = (number(&interval["lower_bound"])?, number(&interval["upper_bound"])?);
        points.push((x, Estimate { ns, low, high }));
    }
    points.sort_by_key(|(x, _)| *x);
    Ok(points)
}

/// The means over the logarithm of what grows, with their intervals.
fn plot(points: &[(u64, Estimate)], what: &str, path: &Path) -> anyhow::Result<()> {
    let most = points.iter().map(|(_, estimate)| estimate.high).fold(1.0, f64::max);
    let last = points.last().map_or(1.0, |(x, _)| *x as f64);
    let area = canvas(path)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("ns a message, whole forward, by {what}"), FONT)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..last * 1.05, 0.0..most * 1.15)?;
    chart.configure_mesh().x_desc(what).label_style(FONT).draw()?;
    let means = points.iter().map(|(x, estimate)| (*x as f64, estimate.ns));
    chart.draw_series(LineSeries::new(means, colour(0).stroke_width(2)).point_size(3))?;
    for (x, Estimate { low, high, .. }) in points {
        chart.draw_series([PathElement::new([(*x as f64, *low), (*x as f64, *high)], BLACK)])?;
    }
    area.present()?;
    Ok(())
}
