//! The plots of a record.

use super::{Percentiles, Record, Spread};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

/// Width and height of a plot, in pixels.
const SIZE: (u32, u32) = (900, 480);

const FONT: (&str, i32) = ("sans-serif", 14);

/// A canvas of the usual size.
pub(super) fn canvas(path: &Path) -> anyhow::Result<DrawingArea<SVGBackend<'_>, Shift>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    Ok(area)
}

/// The colour of the line or bar of a number.
pub(super) fn colour(index: usize) -> RGBColor {
    const COLOURS: [RGBColor; 9] = [
        RGBColor(0, 90, 160),
        RGBColor(70, 150, 210),
        RGBColor(200, 70, 40),
        RGBColor(90, 90, 90),
        RGBColor(160, 160, 160),
        RGBColor(0, 130, 90),
        RGBColor(120, 190, 150),
        RGBColor(140, 80, 160),
        RGBColor(200, 160, 210),
    ];
    COLOURS[index % COLOURS.len()]
}

/// Bars of the highest rates, each with a line from the lowest to the highest of all turns.
pub(super) fn throughput(record: &Record, path: &Path) -> anyhow::Result<()> {
    let bars: Vec<_> = record
        .0
        .iter()
        .filter_map(|(name, device)| Some((name, Spread::of(device.rates.iter().copied())?)))
        .collect();
    let most = bars.iter().map(|(_, spread)| spread.high).fold(1.0, f64::max) / 1e6;
    let area = canvas(path)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "messages a second by one forwarding thread, less than 0.1 % lost (median; line: all turns)",
            FONT,
        )
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(160)
        .build_cartesian_2d(0.0..most * 1.1, 0.0..bars.len() as f64)?;
    let name = |at: &f64| {
        let index = bars.len() as f64 - 0.5 - at;
        bars.get(index.round() as usize)
            .filter(|_| index.fract().abs() < 1e-6)
            .map_or(String::new(), |bar| bar.0.clone())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(2 * bars.len() + 1)
        .y_label_formatter(&name)
        .x_label_formatter(&|millions| format!("{millions:.1} M"))
        .label_style(FONT)
        .draw()?;
    for (index, (_, Spread { median, low, high })) in bars.iter().enumerate() {
        let middle = bars.len() as f64 - 0.5 - index as f64;
        let bar = [(0.0, middle - 0.35), (median / 1e6, middle + 0.35)];
        chart.draw_series([Rectangle::new(bar, colour(index).filled())])?;
        chart.draw_series([PathElement::new(
            [(low / 1e6, middle), (high / 1e6, middle)],
            BLACK.stroke_width(2),
        )])?;
    }
    area.present()?;
    Ok(())
}

/// A percentile by its name, and where it is recorded.
type Point = (&'static str, fn(&Percentiles) -> f64);

/// A line for each device: its latency at the percentiles, at half of its own highest rate.
pub(super) fn latency(record: &Record, path: &Path) -> anyhow::Result<()> {
    const POINTS: [Point; 5] = [
        ("50 %", |p| p.p50),
        ("90 %", |p| p.p90),
        ("99 %", |p| p.p99),
        ("99.9 %", |p| p.p999),
        ("max", |p| p.max),
    ];
    let lines: Vec<_> = record
        .0
        .iter()
        .filter(|(_, device)| !device.latencies.is_empty())
        .map(|(name, device)| {
            let at = |value: fn(&Percentiles) -> f64| {
                let values = device.latencies.iter().map(|(_, p)| value(p));
                Spread::of(values).map_or(0.0, |spread| spread.median)
            };
            (name, POINTS.map(|(_, value)| at(value)))
        })
        .collect();
    let most = lines.iter().flat_map(|(_, points)| points).fold(10.0, |a: f64, b| a.max(*b));
    let area = canvas(path)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("latency at half of the highest rate, microseconds from when a message was due (median of the turns)", FONT)
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..POINTS.len() as f64 - 0.5, (1.0..most * 1.2).log_scale())?;
    let point = |at: &f64| {
        POINTS.get(at.round() as usize).filter(|_| at.fract() == 0.0).map_or("", |point| point.0).to_owned()
    };
    chart.configure_mesh().x_labels(POINTS.len()).x_label_formatter(&point).label_style(FONT).draw()?;
    for (index, (name, points)) in lines.iter().enumerate() {
        let colour = colour(index);
        let places = points.iter().enumerate().map(|(x, y)| (x as f64, *y));
        chart
            .draw_series(LineSeries::new(places, colour.stroke_width(2)))?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .label_font(FONT)
        .draw()?;
    area.present()?;
    Ok(())
}
