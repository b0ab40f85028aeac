//! The `sluice` command: arguments and exit codes.

#![forbid(unsafe_code)]

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use sluice::control::config::{self, ConfigError, Overrides};
use sluice::control::explain::{self, ExplainArgs};
use sluice::control::load::{self, Loaded, Origin};
use sluice::control::run::{self, RunArgs};
use sluice::control::stats::{self, StatsArgs};
use sluice::control::{keys, log};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A stateless SIP router: reads, decides, rewrites and sends each message on its own, and remembers none.
///
/// Without a command it runs with the embedded default: SIP over UDP on 127.0.0.1:5060, for this machine.
#[derive(Parser)]
#[command(version, propagate_version = true, after_help = MAIN_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node until SIGTERM or SIGINT, then print its counters
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Say whether a configuration is good, or what is wrong with it and where
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Say step by step what would become of a message, and what bytes would leave
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArgs),
    /// Print the counters of a running node
    #[command(after_help = STATS_HELP)]
    Stats(StatsArgs),
    /// Print a line with a new secret for the key file
    #[command(after_help = KEYGEN_HELP)]
    Keygen(KeygenArgs),
    /// Print the JSON schema of the configuration file
    Schema,
    /// Print a shell's completion script
    #[command(after_help = "Example:\n  sluice completions bash > /etc/bash_completion.d/sluice")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print a manual page
    #[command(after_help = "Examples:\n  sluice man > sluice.1\n  sluice man run > sluice-run.1")]
    Man {
        /// The command that it is about [default: sluice itself]
        command: Option<String>,
    },
}

#[derive(Args)]
struct CheckArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Args)]
struct KeygenArgs {
    /// The key's id, which every seal names; two keys of one file need two ids
    #[arg(long, value_name = "N", default_value_t = 1)]
    id: u8,
}

const MAIN_HELP: &str = "\
Exit codes: 0 all is well, 1 it did not work, 2 wrong arguments, 78 bad configuration.

Examples:
  sluice                                    try it on this machine
  sluice check --config /etc/sluice.toml    before a restart or a reload
  sluice run --config /etc/sluice.toml      run it";

const RUN_HELP: &str = "\
Signals:
  SIGHUP            read the configuration and key file again; if they are bad, all stays as it was
                    (without --config: stop)
  SIGUSR1           write the counters to the log
  SIGTERM, SIGINT   stop, and print the counters to standard output

Examples:
  sluice run --config /etc/sluice.toml
  sluice run --config edge.toml --workers 4 --cpus 2-5";

const CHECK_HELP: &str = "\
Exits with 0, or with 78 and FILE:LINE:COLUMN: KEY: what is wrong; allowed: what is.

Example:
  sluice check --config /etc/sluice.toml && systemctl reload sluice";

const EXPLAIN_HELP: &str = "\
Examples:
  sluice explain --config edge.toml --from 198.51.100.7:5060 invite.sip
  sluice explain --from 127.0.0.1:5090 --raw < invite.sip";

const STATS_HELP: &str = "\
Examples:
  sluice stats
  watch -n1 sluice stats --config /etc/sluice.toml --per-worker
  sluice stats --prometheus > /var/lib/node_exporter/sluice.prom";

const KEYGEN_HELP: &str = "\
All nodes of a cluster need the same key file. Its first key seals; the second one only proves, while keys change.

Example:
  (umask 077; sluice keygen --id 1 > /etc/sluice/keys)";

/// Bad configuration: EX_CONFIG of sysexits.h.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    execute(Cli::parse()).unwrap_or_else(|error| {
        eprintln!("{error:#}");
        if error.is::<ConfigError>() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
    })
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let default =
        Command::Run(RunArgs { config: None, workers: None, cpus: None, log: log::LogArgs::default() });
    match cli.command.unwrap_or(default) {
        Command::Run(args) => run::run(&args)?,
        Command::Check(args) => check(args)?,
        Command::Explain(args) => return explain::explain(&load(args.config.clone())?, &args),
        Command::Stats(args) => print(stats::stats(&args)?.as_bytes())?,
        Command::Keygen(args) => print(format!("{}\n", keys::generate(args.id)?).as_bytes())?,
        Command::Schema => print(format!("{:#}\n", config::schema().as_value()).as_bytes())?,
        Command::Completions { shell } => completions(shell)?,
        Command::Man { command } => man(command.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn load(path: Option<PathBuf>) -> anyhow::Result<Loaded> {
    let origin = Origin { path, overrides: Overrides::default(), own_keys: keys::own()? };
    Ok(load::load(&origin)?)
}

fn check(args: CheckArgs) -> anyhow::Result<()> {
    let loaded = load(Some(args.config))?;
    loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    print(format!("{}: ok: {}\n", loaded.config.name(), loaded.summary()).as_bytes())
}

fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sluice", &mut script);
    print(&script)
}

fn man(command: Option<&str>) -> anyhow::Result<()> {
    let mut cli = Cli::command();
    cli.build();
    let page = match command {
        None => cli,
        Some(name) => {
            cli.find_subcommand(name).with_context(|| format!("there is no command \"{name}\""))?.clone()
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    print(&text)
}

/// Writes to standard output. A reader that has enough, such as `head`, is no error.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
