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

fn text(report: &Report, all: bool, per_worker: bool) -> String {
    let Report { node, version, pid, uptime_seconds, workers } = report;
    let count = workers.len();
    let mut out = format!(
        "# node {node}, sluice {version}, process {pid}, up {uptime_seconds} s, {count} worker{}\n",
        if count == 1 { "" } else { "s" }
    );
    let mut put =
        |counters: &Counters| lines(counters, all).for_each(|line| out.extend([line.as_str(), "\n"]));
    if !per_worker {
        put(&sums(report));
        return out;
    }
    for (i, worker) in workers.iter().enumerate() {
        let cpu = worker.cpu.map_or_else(|| "not pinned".to_owned(), |cpu| format!("CPU {cpu}"));
        let _ = writeln!(out, "# worker {i}, {cpu}");
        lines(&worker.counters, all).for_each(|line| out.extend([line.as_str(), "\n"]));
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
        "uptime_seconds": report.uptime_seconds,
    });
    if per_worker {
        let workers = report.workers.iter().map(|w| json!({ "cpu": w.cpu, "counters": object(&w.counters) }));
        document["workers"] = workers.collect();
    } else {
        document["counters"] = object(&sums(report)).into();
    }
    format!("{document:#}\n")
}

/// Counters as `sluice_received_total`, and those with a reason as `sluice_dropped_total{reason="..."}`.
fn prometheus(report: &Report, per_worker: bool) -> String {
    let sums = [sums(report)];
    let columns: Vec<&Counters> = if per_worker {
        report.workers.iter().map(|worker| worker.counters.as_slice()).collect()
    } else {
        sums.iter().map(Vec::as_slice).collect()
    };
    let mut out = String::new();
    let mut last = "";
    for (row, (name, _)) in sums[0].iter().enumerate() {
        let (family, reason) =
            name.split_once('{').map_or((&**name, None), |(f, r)| (f, r.strip_suffix('}')));
        if family != last {
            let _ = writeln!(out, "# TYPE sluice_{family}_total counter");
            last = family;
        }
        for (i, counters) in columns.iter().enumerate() {
            let mut labels = format!("node=\"{}\"", report.node);
            if per_worker {
                let _ = write!(labels, ",worker=\"{i}\"");
            }
            if let Some(reason) = reason {
                let _ = write!(labels, ",reason=\"{reason}\"");
            }
            let value = counters.get(row).map_or(0, |(_, value)| *value);
            let _ = writeln!(out, "sluice_{family}_total{{{labels}}} {value}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::WorkerReport;

    fn report() -> Report {
        let counters = |received, dropped| {
            let pairs = [("received", received), ("dropped{not_sip}", dropped), ("dropped{stun}", 0)];
            pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
        };
        let workers = vec![
            WorkerReport { cpu: Some(2), counters: counters(0, 1) },
            WorkerReport { cpu: None, counters: counters(40, 2) },
        ];
        Report { node: "edge".to_owned(), version: "1.2.3".to_owned(), pid: 7, uptime_seconds: 9, workers }
    }

    #[test]
    fn as_text() {
        let head = "# node edge, sluice 1.2.3, process 7, up 9 s, 2 workers\n";
        let text = |all, per_worker| format(&report(), Style::Text { all }, per_worker);
        assert_eq!(text(false, false), format!("{head}received 40\ndropped{{not_sip}} 3\n"));
        assert_eq!(
            text(true, false),
            format!("{head}received 40\ndropped{{not_sip}} 3\ndropped{{stun}} 0\n")
        );
        let workers = "# worker 0, CPU 2\nreceived 0\ndropped{not_sip} 1\n\
                       # worker 1, not pinned\nreceived 40\ndropped{not_sip} 2\n";
        assert_eq!(text(false, true), format!("{head}{workers}"));
    }

    #[test]
    fn as_json() {
        let parse = |per_worker| -> Value {
            serde_json::from_str(&format(&report(), Style::Json, per_worker)).unwrap()
        };
        assert_eq!(
            parse(false)["counters"],
            json!({ "received": 40, "dropped{not_sip}": 3, "dropped{stun}": 0 })
        );
        assert_eq!(parse(true)["workers"][0]["counters"]["dropped{not_sip}"], 1);
        assert_eq!(parse(true)["workers"][1]["cpu"], Value::Null);
    }

    #[test]
    fn for_prometheus() {
        let expected = "# TYPE sluice_received_total counter\n\
                        sluice_received_total{node=\"edge\"} 40\n\
                        # TYPE sluice_dropped_total counter\n\
                        sluice_dropped_total{node=\"edge\",reason=\"not_sip\"} 3\n\
                        sluice_dropped_total{node=\"edge\",reason=\"stun\"} 0\n";
        assert_eq!(format(&report(), Style::Prometheus, false), expected);
        let per_worker = format(&report(), Style::Prometheus, true);
        assert!(
            per_worker.contains("sluice_dropped_total{node=\"edge\",worker=\"1\",reason=\"not_sip\"} 2\n")
        );
    }
}
