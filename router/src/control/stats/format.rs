//! Counters as text, as JSON, and in Prometheus' text format.

use crate::control::admin::Report;
use crate::stats::Counter;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// How counters are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// `name value` lines.
    Text {
        /// Zeros too.
        all: bool,
    },
    /// One JSON object.
    Json,
    /// Prometheus' text format.
    Prometheus,
}

type Counters = [(String, u64)];

/// Names of counters that are printed also when they are zero, for a reader who looks for them.
const ALWAYS: [Counter; 4] =
    [Counter::Received, Counter::ForwardedRequests, Counter::ForwardedResponses, Counter::Sent];

/// The counters of a report: their sums over the workers, or those of each worker.
#[must_use]
pub fn format(report: &Report, style: Style, per_worker: bool) -> String {
    match style {
        Style::Text { all } => text(report, all, per_worker),
        Style::Json => json_text(report, per_worker),
        Style::Prometheus => prometheus(report, per_worker),
    }
}

/// [`sums`], and what is counted beside the workers.
#[must_use]
pub fn all_sums(report: &Report) -> Vec<(String, u64)> {
    let mut all = sums(report);
    all.extend(report.interfaces.iter().cloned());
    all
}

/// `name value`, for each counter that is not zero, and for the few that a reader looks for in any case; or for `all`.
pub fn lines(counters: &Counters, all: bool) -> impl Iterator<Item = String> {
    let shown =
        move |(name, value): &&(String, u64)| all || *value > 0 || ALWAYS.iter().any(|c| c.name() == name);
    counters.iter().filter(shown).map(|(name, value)| format!("{name} {value}"))
}

/// The sums over all workers, in the same order.
#[must_use]
pub fn sums(report: &Report) -> Vec<(String, u64)> {
    let mut sums: Vec<(String, u64)> = Vec::new();
    for worker in &report.workers {
        for (i, (name, value)) in worker.counters.iter().enumerate() {
            match sums.get_mut(i) {
                Some((_, sum)) => *sum = sum.wrapping_add(*value),
                None => sums.push((name.clone(), *value)),
            }
        }
    }
    sums
}

/// What a reader asks first of a worker, or of all: ", busy 12.3 % of a CPU since the start, 612 ns a message". Nothing where it is not counted.
fn busy(counters: &Counters, uptime_ms: u64) -> String {
    let value =
        |counter: Counter| counters.iter().find(|(name, _)| name == counter.name()).map_or(0, |(_, v)| *v);
    let (busy_ns, received) = (value(Counter::BusyNs), value(Counter::Received));
    if busy_ns == 0 || uptime_ms == 0 {
        return String::new();
    }
    // A percent is a hundredth, and a millisecond a million nanoseconds.
    let percent = busy_ns as f64 / (uptime_ms as f64 * 1e4);
    let a_message = busy_ns.checked_div(received).map(|ns| format!(", {ns} ns a message"));
    format!(", busy {percent:.1} % of a CPU since the start{}", a_message.unwrap_or_default())
}

fn text(report: &Report, all: bool, per_worker: bool) -> String {
    let Report { node, version, pid, uptime_ms, workers, interfaces } = report;
    let (count, uptime_seconds) = (workers.len(), uptime_ms / 1_000);
    let mut out = format!(
        "# node {node}, sluice {version}, process {pid}, up {uptime_seconds} s, {count} worker{}{}\n",
        if count == 1 { "" } else { "s" },
        busy(&sums(report), *uptime_ms)
    );
    let mut put =
        |counters: &Counters| lines(counters, all).for_each(|line| out.extend([line.as_str(), "\n"]));
    if !per_worker {
        put(&all_sums(report));
        return out;
    }
    for worker in workers {
        let cpu = worker.cpu.map_or_else(|| "not pinned".to_owned(), |cpu| format!("CPU {cpu}"));
        let _ = writeln!(out, "# {}, {cpu}{}", worker.name, busy(&worker.counters, *uptime_ms));
        lines(&worker.counters, all).for_each(|line| out.extend([line.as_str(), "\n"]));
    }
    if !interfaces.is_empty() {
        out.push_str("# interfaces\n");
        lines(interfaces, all).for_each(|line| out.extend([line.as_str(), "\n"]));
    }
    out
}

fn json_text(report: &Report, per_worker: bool) -> String {
    let object = |counters: &Counters| -> Map<String, Value> {
        counters.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
    };
    let mut document = json!({
        "node": report.node,
        "version": report.version,
        "pid": report.pid,
        "uptime_seconds": report.uptime_ms / 1_000,
    });
    if per_worker {
        let workers = report
            .workers
            .iter()
            .map(|w| json!({ "name": w.name, "cpu": w.cpu, "counters": object(&w.counters) }));
        document["workers"] = workers.collect();
        document["interfaces"] = object(&report.interfaces).into();
    } else {
        document["counters"] = object(&all_sums(report)).into();
    }
    format!("{document:#}\n")
}

/// Counters as `sluice_received_total`, those with a reason as `sluice_dropped_total{reason="..."}`, and gauges as `sluice_frames`. Nanoseconds become
/// seconds, which is Prometheus' unit: `sluice_busy_seconds_total`.
fn prometheus(report: &Report, per_worker: bool) -> String {
    let node = format!("node=\"{}\"", report.node);
    let sums = sums(report);
    let columns: Vec<(String, &Counters)> = if per_worker {
        let labels = |name: &str| format!("{node},worker=\"{}\"", name.trim_start_matches("worker "));
        report.workers.iter().map(|worker| (labels(&worker.name), worker.counters.as_slice())).collect()
    } else {
        vec![(node.clone(), &sums)]
    };
    let mut out = String::new();
    families(&mut out, &columns);
    families(&mut out, &[(node, &report.interfaces)]);
    out
}

/// The same counters with several sets of labels, each family below its type.
fn families(out: &mut String, columns: &[(String, &Counters)]) {
    let Some((_, names)) = columns.first() else { return };
    let mut last = "";
    for (row, (name, _)) in names.iter().enumerate() {
        let (family, reason) =
            name.split_once('{').map_or((&**name, None), |(f, r)| (f, r.strip_suffix('}')));
        let is_time = family == Counter::BusyNs.name();
        let family = if is_time { "busy_seconds" } else { family };
        let (kind, suffix) = if family.starts_with("frames") { ("gauge", "") } else { ("counter", "_total") };
        if family != last {
            let _ = writeln!(out, "# TYPE sluice_{family}{suffix} {kind}");
            last = family;
        }
        for (labels, counters) in columns {
            let reason = reason.map_or(String::new(), |reason| format!(",reason=\"{reason}\""));
            let value = counters.get(row).map_or(0, |(_, value)| *value);
            let value = if is_time { seconds(value) } else { value.to_string() };
            let _ = writeln!(out, "sluice_{family}{suffix}{{{labels}{reason}}} {value}");
        }
    }
}

/// Nanoseconds as seconds, with all their digits.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::WorkerReport;

    /// The first has had nothing, the second 40 datagrams in two seconds of nine.
    fn report() -> Report {
        let counters = |received, dropped| {
            let busy = ("busy_ns", received * 50_000_004);
            let pairs = [("received", received), busy, ("dropped{not_sip}", dropped), ("dropped{stun}", 0)];
            pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
        };
        let workers = vec![
            WorkerReport { name: "worker 0".to_owned(), cpu: Some(2), counters: counters(0, 1) },
            WorkerReport { name: "kernel path".to_owned(), cpu: None, counters: counters(40, 2) },
        ];
        let interfaces = vec![("frames".to_owned(), 64), ("passed{fragment}".to_owned(), 0)];
        let (node, version) = ("edge".to_owned(), "1.2.3".to_owned());
        Report { node, version, pid: 7, uptime_ms: 9_500, workers, interfaces }
    }

    #[test]
    fn as_text() {
        let busy = ", busy 21.1 % of a CPU since the start, 50000004 ns a message";
        let head = format!("# node edge, sluice 1.2.3, process 7, up 9 s, 2 workers{busy}\nreceived ");
        let text = |all, per_worker| format(&report(), Style::Text { all }, per_worker);
        assert_eq!(
            text(false, false),
            format!("{head}40\nbusy_ns 2000000160\ndropped{{not_sip}} 3\nframes 64\n")
        );
        assert_eq!(
            text(true, false),
            format!(
                "{head}40\nbusy_ns 2000000160\ndropped{{not_sip}} 3\ndropped{{stun}} 0\nframes 64\npassed{{fragment}} 0\n"
            )
        );
        let head = head.trim_end_matches("received ");
        let workers = format!(
            "# worker 0, CPU 2\nreceived 0\ndropped{{not_sip}} 1\n\
             # kernel path, not pinned{busy}\nreceived 40\nbusy_ns 2000000160\ndropped{{not_sip}} 2\n\
             # interfaces\nframes 64\n"
        );
        assert_eq!(text(false, true), format!("{head}{workers}"));
    }

    #[test]
    fn as_json() {
        let parse = |per_worker| -> Value {
            serde_json::from_str(&format(&report(), Style::Json, per_worker)).unwrap()
        };
        assert_eq!(
            parse(false)["counters"],
            json!({ "received": 40, "busy_ns": 2_000_000_160_u64, "dropped{not_sip}": 3, "dropped{stun}": 0, "frames": 64, "passed{fragment}": 0 })
        );
        assert_eq!(parse(true)["workers"][0]["counters"]["dropped{not_sip}"], 1);
        assert_eq!(parse(true)["workers"][1]["cpu"], Value::Null);
        assert_eq!(parse(true)["workers"][1]["name"], "kernel path");
        assert_eq!(parse(true)["interfaces"]["frames"], 64);
    }

    #[test]
    fn for_prometheus() {
        let expected = "# TYPE sluice_received_total counter\n\
                        sluice_received_total{node=\"edge\"} 40\n\
                        # TYPE sluice_busy_seconds_total counter\n\
                        sluice_busy_seconds_total{node=\"edge\"} 2.000000160\n\
                        # TYPE sluice_dropped_total counter\n\
                        sluice_dropped_total{node=\"edge\",reason=\"not_sip\"} 3\n\
                        sluice_dropped_total{node=\"edge\",reason=\"stun\"} 0\n\
                        # TYPE sluice_frames gauge\n\
                        sluice_frames{node=\"edge\"} 64\n\
                        # TYPE sluice_passed_total counter\n\
                        sluice_passed_total{node=\"edge\",reason=\"fragment\"} 0\n";
        assert_eq!(format(&report(), Style::Prometheus, false), expected);
        let per_worker = format(&report(), Style::Prometheus, true);
        assert!(
            per_worker.contains(
                "sluice_dropped_total{node=\"edge\",worker=\"kernel path\",reason=\"not_sip\"} 2\n"
            )
        );
    }
}
