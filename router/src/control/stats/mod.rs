//! `sluice stats`: the counters of a running node, as text, as JSON, or for Prometheus.

pub mod format;

use super::admin::{self, Report, path};
use super::config::{self, NodePlan, Overrides, node};
use anyhow::{Context, bail};
use clap::Args;
use format::Style;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What the command line says about the counters.
#[derive(Clone, PartialEq, Eq, Debug, Default, Args)]
pub struct StatsArgs {
    /// The configuration file of the node, for its name and socket [default: the node called "sluice"]
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub config: Option<PathBuf>,
    /// The admin socket of the node
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print one JSON object, with all counters
    #[arg(long, conflicts_with = "prometheus")]
    pub json: bool,
    /// Print in Prometheus' text format, with all counters
    #[arg(long)]
    pub prometheus: bool,
    /// Print counters that are zero too
    #[arg(long)]
    pub all: bool,
    /// Print the counters of each worker instead of their sums
    #[arg(long)]
    pub per_worker: bool,
}

/// The counters of a running node, as text to print.
///
/// # Errors
/// The configuration is bad, or no node answers.
pub fn stats(args: &StatsArgs) -> anyhow::Result<String> {
    let report = match (&args.socket, &args.config) {
        (Some(socket), _) => ask(std::slice::from_ref(socket))?,
        (None, None) => ask(&path::candidates(node::NAME_DEFAULT))?,
        (None, Some(file)) => {
            let node = NodePlan::new(&config::load(file)?, &Overrides::default())?;
            ask(&node.admin_socket.map_or_else(|| path::candidates(&node.name), |socket| vec![socket]))?
        }
    };
    let style = match args {
        StatsArgs { json: true, .. } => Style::Json,
        StatsArgs { prometheus: true, .. } => Style::Prometheus,
        _ => Style::Text { all: args.all },
    };
    Ok(format::format(&report, style, args.per_worker))
}

/// Asks the first of the sockets that is there.
fn ask(paths: &[PathBuf]) -> anyhow::Result<Report> {
    let absent =
        |error: &io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
    for path in paths {
        match admin::ask(path) {
            Err(error) if absent(&error) => {}
            answer => return answer.with_context(|| format!("no counters from {}", path.display())),
        }
    }
    let tried: Vec<_> = paths.iter().map(|path| Path::display(path).to_string()).collect();
    bail!("no sluice answers at {}: is it running? --config or --socket tell where", tried.join(", "))
}
