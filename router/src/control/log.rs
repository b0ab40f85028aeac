//! The log: lines on standard error, by the control plane alone.

use clap::{Args, ValueEnum};
use std::io::{IsTerminal, stderr};
use tracing::level_filters::LevelFilter;

/// What the command line says about the log.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct LogArgs {
    /// What goes to the log, on standard error: this and all that is graver
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: Level,
}

/// How grave a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Level {
    /// What does not work.
    Error,
    /// What seldom is meant.
    Warn,
    /// What an operator wants to know.
    #[default]
    Info,
    /// More.
    Debug,
}

/// Starts the log. Where one is started already, that one stays.
pub fn start(args: LogArgs) {
    let level = match args.log {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let log = tracing_subscriber::fmt().with_writer(stderr).with_ansi(stderr().is_terminal());
    // An error means that a log is there, as in tests.
    let _ = log.with_max_level(level).with_target(false).try_init();
}
