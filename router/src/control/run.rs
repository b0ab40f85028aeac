//! `sluice run`: the order of the start, what a running node listens to, and the stop.
//!
//! ```text
//! files -> snapshot -> probe, bind all sockets -> signals, admin socket -> workers -> ready
//! SIGHUP: new snapshot    SIGUSR1: counters to the log    SIGTERM, SIGINT: stop, counters to standard output
//! ```

use super::admin::{Server, Subject, WorkerSubject, path};
use super::config::error::reason;
use super::config::{NodePlan, Overrides};
use super::cpus::CpuList;
use super::keys;
use super::load::{self, Loaded, Origin};
use super::log::{self, LogArgs};
use super::stats::format;
use crate::io::udp::{self, BindError, Udp};
use crate::proxy::snapshot::Snapshot;
use crate::stats::Stats;
use crate::worker::{self, Worker};
use anyhow::{Context, anyhow, bail};
use arc_swap::ArcSwap;
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// What the command line says about the node.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The configuration file [default: the embedded default, on 127.0.0.1:5060]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How many worker threads, instead of node.workers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub workers: Option<u32>,
    /// The CPUs that workers are pinned to, such as 2-5 or 0,2-3, instead of node.cpus
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<CpuList>,
    /// What goes to the log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Runs a node until a signal stops it, and prints its counters.
///
/// # Errors
/// A [`super::config::ConfigError`] for a bad configuration; else what could not be had, or a worker that ended.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    log::start(args.log);
    let overrides = Overrides { workers: args.workers, cpus: args.cpus.clone() };
    let origin = Origin { path: args.config.clone(), overrides, own_keys: keys::own()? };
    let loaded = load::load(&origin)?;
    let stats: Vec<_> = loaded.node.workers.iter().map(|_| Arc::new(Stats::new())).collect();
    let sockets = bind(&loaded.node, &stats)?;
    report_start(&loaded, &sockets);
    let signals = signals()?;
    let subject = Arc::new(Subject {
        node: loaded.node.name.clone(),
        workers: subjects(&loaded.node, stats),
        interfaces: Box::new(Vec::new),
        start: Instant::now(),
    });
    let admin = admin(&loaded.node, &subject)?;
    let mut node = Node::start(origin, loaded, sockets, subject)?;
    if args.config.is_none() {
        welcome();
    }
    info!("ready");
    let ended = node.serve(&signals);
    drop(admin);
    let stopped = node.stop();
    print_counters(&node.subject);
    ended.and(stopped)
}

/// A node whose workers run.
struct Node {
    origin: Origin,
    plan: NodePlan,
    subject: Arc<Subject>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// Snapshots that a worker may still hold.
    retired: Vec<Arc<Snapshot>>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Udp>>,
}

/// How often the node looks whether all workers are alive, and frees old snapshots.
const TICK: Duration = Duration::from_millis(500);

impl Node {
    fn start(
        origin: Origin,
        loaded: Loaded,
        sockets: Vec<Udp>,
        subject: Arc<Subject>,
    ) -> anyhow::Result<Self> {
        let snapshot = Arc::new(ArcSwap::from_pointee(loaded.snapshot));
        let mut node = Self {
            origin,
            plan: loaded.node,
            subject,
            snapshot,
            retired: Vec::new(),
            stop: Arc::new(AtomicBool::new(false)),
            workers: Vec::new(),
        };
        for (i, io) in sockets.into_iter().enumerate() {
            if let Err(error) = node.start_worker(i, io) {
                let _ = node.stop();
                return Err(error);
            }
        }
        Ok(node)
    }

    fn start_worker(&mut self, index: usize, io: Udp) -> anyhow::Result<()> {
        let WorkerSubject { cpu, stats, .. } = &self.subject.workers[index];
        let worker = Worker {
            io,
            snapshot: Arc::clone(&self.snapshot),
            stats: Arc::clone(stats),
            stop: Arc::clone(&self.stop),
            idle_us_max: u64::from(self.plan.io.idle_us_max.0),
        };
        let running = worker::spawn(worker, index, *cpu)
            .map_err(|error| anyhow!("cannot start worker {index}: {}", reason(&error)))?;
        match (cpu, running.pinned) {
            (None, _) => info!("worker {index}: not pinned to a CPU"),
            (Some(cpu), Ok(())) => info!("worker {index}: on CPU {cpu}"),
            (Some(_), Err(error)) => warn!("worker {index}: {error}; it runs unpinned"),
        }
        self.workers.push(running.thread);
        Ok(())
    }

    /// Follows signals until one says stop, or a worker ends.
    fn serve(&mut self, signals: &Receiver<i32>) -> anyhow::Result<()> {
        loop {
            match signals.recv_timeout(TICK) {
                Ok(SIGHUP) if self.origin.path.is_some() => self.reload(),
                Ok(SIGUSR1) => counter_lines(&self.subject).iter().for_each(|line| info!("{line}")),
                // Without a file there is nothing to reload, and the terminal that it was started from is gone.
                Ok(signal) => {
                    info!("stopping: {}", signal_hook::low_level::signal_name(signal).unwrap_or("signal"));
                    return Ok(());
                }
                Err(_) => {}
            }
            self.retired.retain(|old| Arc::strong_count(old) > 1);
            if let Some(index) = self.workers.iter().position(JoinHandle::is_finished) {
                bail!("worker {index} ended; stopping");
            }
        }
    }

    fn reload(&mut self) {
        match load::reload(&self.origin, &self.plan) {
            Ok(loaded) => {
                report_warnings(&loaded);
                let summary = loaded.summary();
                worker::publish(&self.snapshot, &mut self.retired, Arc::new(loaded.snapshot));
                info!("reloaded {}: {summary}", loaded.config.name());
            }
            Err(error) => error!("not reloaded, all stays as it was: {error}"),
        }
    }

    /// Ends the workers. Their sockets close when all have ended, so that none gets another's datagrams meanwhile.
    fn stop(&mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended: Vec<_> = self.workers.drain(..).map(JoinHandle::join).collect();
        let panicked = ended.iter().position(Result::is_err);
        panicked.map_or(Ok(()), |index| bail!("worker {index} panicked"))
    }
}

/// The workers, as they are reported on.
fn subjects(node: &NodePlan, stats: Vec<Arc<Stats>>) -> Vec<WorkerSubject> {
    let subject = |(i, (cpu, stats)): (usize, (&Option<usize>, _))| WorkerSubject {
        name: format!("worker {i}"),
        cpu: *cpu,
        stats,
    };
    node.workers.iter().zip(stats).enumerate().map(subject).collect()
}

/// All sockets of all workers. None of them is used before all are bound: the kernel spreads datagrams over those that are there.
fn bind(node: &NodePlan, stats: &[Arc<Stats>]) -> anyhow::Result<Vec<Udp>> {
    let addresses: Vec<_> = node.listeners.iter().map(|listener| listener.address).collect();
    let explain = |error: BindError| anyhow!(bind_failure(node, &error));
    // SO_REUSEPORT would let a second instance join the first one's groups and take half of its datagrams.
    addresses.iter().try_for_each(|address| udp::probe(*address)).map_err(explain)?;
    let options = node.io.sockets();
    let bind = |stats: &Arc<Stats>| Udp::bind(&addresses, &options, Arc::clone(stats)).map_err(explain);
    stats.iter().map(bind).collect()
}

/// Why a listener has no socket, in one line that says what to do.
fn bind_failure(node: &NodePlan, error: &BindError) -> String {
    let listener = node.listeners.iter().find(|listener| listener.address == error.address);
    let name = listener.map_or("", |listener| &listener.name);
    let why = match error.error.kind() {
        ErrorKind::AddrInUse => "address already in use: is another sluice or SIP server running?".to_owned(),
        ErrorKind::AddrNotAvailable => "no interface of this machine has this address".to_owned(),
        ErrorKind::PermissionDenied if error.address.port() < 1024 => {
            "no privilege for ports below 1024: start it as root or with CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => format!("cannot {}: {}", error.task, reason(&error.error)),
    };
    format!("cannot listen on {} (listener \"{name}\"): {why}", error.address)
}

/// Signals, as they come, from a thread of their own.
fn signals() -> anyhow::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).context("cannot listen to signals")?;
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("sluice-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// The admin socket. Where the configuration names one it must be there; else the node works without it.
fn admin(node: &NodePlan, subject: &Arc<Subject>) -> anyhow::Result<Option<Server>> {
    let start = |listener, path| Server::start(listener, path, Arc::clone(subject));
    let server = match &node.admin_socket {
        Some(path) => {
            let listener =
                path::bind(path).map_err(|error| anyhow!(admin_failure(path.display(), &error)))?;
            Some(start(listener, path.clone())?)
        }
        None => path::bind_default(&node.name)
            .and_then(|(listener, path)| start(listener, path))
            .inspect_err(|error| {
                warn!("{}; no `sluice stats` for this node", admin_failure("a default path", error))
            })
            .ok(),
    };
    if let Some(server) = &server {
        info!("admin socket: {}", server.path().display());
    }
    Ok(server)
}

fn admin_failure(path: impl std::fmt::Display, error: &std::io::Error) -> String {
    let why = match error.kind() {
        ErrorKind::AddrInUse => {
            "another node answers there: give this one its own node.name or admin.socket".to_owned()
        }
        _ => reason(error),
    };
    format!("cannot open the admin socket at {path}: {why}")
}

fn report_start(loaded: &Loaded, sockets: &[Udp]) {
    let (node, config) = (&loaded.node.name, loaded.config.path.as_deref());
    let config = config.map_or_else(|| "the embedded default".to_owned(), |path| path.display().to_string());
    info!("sluice {}, node {node}, configured by {config}: {}", env!("CARGO_PKG_VERSION"), loaded.summary());
    report_warnings(loaded);
    if loaded.has_own_keys {
        warn!(
            "no node.key_file: using a key of this node's own, so it works alone, and calls do not outlive it"
        );
    }
    if let Some(first) = sockets.first() {
        report_listeners(loaded, first);
    }
}

fn report_warnings(loaded: &Loaded) {
    loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
}

fn report_listeners(loaded: &Loaded, sockets: &Udp) {
    let asked = loaded.node.io.sockets();
    let listeners = loaded.snapshot.listeners.iter().zip(&loaded.config.file.listen);
    for ((listener, listen), granted) in listeners.zip(sockets.granted()) {
        let advertised = listen.advertise.as_ref().map(|name| format!(", advertised as {}", name.0.0.text()));
        let trusted = if listener.trusted { ", trusted" } else { "" };
        let (name, address, bytes) = (&listener.name, listener.address, granted.receive_buffer_bytes);
        let advertised = advertised.unwrap_or_default();
        info!(
            "listening on {address} (listener \"{name}\", UDP{advertised}{trusted}), receive buffer {bytes} bytes"
        );
        // The kernel doubles what it is asked for, to account for its own overhead.
        if asked.receive_buffer_bytes.is_some_and(|asked| bytes < 2 * asked) {
            info!(
                "listener \"{name}\": net.core.rmem_max or CAP_NET_ADMIN would allow the larger receive buffer asked for"
            );
        }
        if asked.busy_poll_us.is_some() && !granted.is_busy_polling {
            warn!("listener \"{name}\": no busy polling: the kernel wants CAP_NET_ADMIN for io.busy_poll_us");
        }
    }
}

/// What a node without a configuration does, and what to try.
fn welcome() {
    eprint!(
        "\n\
         sluice routes SIP over UDP on 127.0.0.1:5060. Requests from this machine go where their Route or Request-URI\n\
         says; dialogs stay on this path by Record-Route; nothing is remembered between two messages.\n\n\
         Ask it:               sipsak -vv -s sip:127.0.0.1:5060\n\
         Call through it:      sipp -sn uas -i 127.0.0.1 -p 5070\n\
         and in another shell: sipp -sn uac 127.0.0.1:5070 -rsa 127.0.0.1:5060 -i 127.0.0.1 -p 5090 -m 10\n\
         What happened:        sluice stats\n\
         Stop:                 Ctrl-C\n\n"
    );
}

fn counter_lines(subject: &Subject) -> Vec<String> {
    format::lines(&format::all_sums(&subject.report()), false).collect()
}

/// To standard output; if nobody reads it any more, nothing is lost but this.
fn print_counters(subject: &Subject) {
    let mut out = std::io::stdout().lock();
    for line in counter_lines(subject) {
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, UdpSocket};

    fn loaded(name: &str, address: SocketAddr, rest: &str) -> (Origin, Loaded) {
        let path = std::env::temp_dir().join(format!("sluice-run-{name}-{}.toml", std::process::id()));
        let text = format!("[[listen]]\nname = \"public\"\naddress = \"{address}\"\n{rest}");
        std::fs::write(&path, text).unwrap();
        let origin =
            Origin { path: Some(path), overrides: Overrides::default(), own_keys: keys::own().unwrap() };
        let loaded = load::load(&origin).unwrap();
        (origin, loaded)
    }

    fn remove(origin: &Origin) {
        std::fs::remove_file(origin.path.as_ref().unwrap()).unwrap();
    }

    #[test]
    fn a_busy_port_is_refused_even_to_a_second_sluice() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (origin, loaded) = loaded("busy", free, "");
        let stats = [Arc::new(Stats::new())];
        let first = bind(&loaded.node, &stats).unwrap();
        let error = bind(&loaded.node, &stats).err().unwrap().to_string();
        let expected = format!(
            "cannot listen on {free} (listener \"public\"): address already in use: is another sluice or SIP server running?"
        );
        assert_eq!(error, expected);
        drop(first);
        assert!(bind(&loaded.node, &stats).is_ok());
        remove(&origin);
    }

    #[test]
    fn what_the_system_says_becomes_what_to_do() {
        let (origin, loaded) = loaded("failures", "192.0.2.1:506".parse().unwrap(), "");
        let failure = |kind: ErrorKind| {
            let address = loaded.node.listeners[0].address;
            bind_failure(&loaded.node, &BindError { address, task: "bind", error: kind.into() })
        };
        let head = "cannot listen on 192.0.2.1:506 (listener \"public\"): ";
        let absent = failure(ErrorKind::AddrNotAvailable);
        assert_eq!(absent, format!("{head}no interface of this machine has this address"));
        let low = failure(ErrorKind::PermissionDenied);
        assert!(low.starts_with(&format!("{head}no privilege for ports below 1024")), "{low}");
        remove(&origin);
    }

    #[test]
    fn a_node_follows_its_signals() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (origin, loaded) = loaded("signals", free, "[node]\nworkers = 2\n");
        let path = origin.path.clone().unwrap();
        let stats: Vec<_> = (0..2).map(|_| Arc::new(Stats::new())).collect();
        let sockets = bind(&loaded.node, &stats).unwrap();
        let workers = subjects(&loaded.node, stats);
        let (node, interfaces) = ("n".to_owned(), Box::new(Vec::new));
        let subject = Arc::new(Subject { node, workers, interfaces, start: Instant::now() });
        let mut node = Node::start(origin, loaded, sockets, subject).unwrap();
        let rules = |node: &Node| node.snapshot.load().rules.all().len();

        let mut follow = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let (sender, receiver) = mpsc::channel();
            [SIGUSR1, SIGHUP, SIGTERM].into_iter().for_each(|signal| sender.send(signal).unwrap());
            node.serve(&receiver).unwrap();
            rules(&node)
        };
        let good = std::fs::read_to_string(&path).unwrap();
        assert_eq!(follow(&format!("{good}[[rule]]\nreply = {{ status = 480 }}\n")), 1);
        assert_eq!(follow(&format!("{good}[[rule]]\n")), 1, "a bad file changes nothing");
        assert_eq!(
            follow(&good.replace("workers = 2", "workers = 3")),
            1,
            "nor does one that needs a restart"
        );
        assert_eq!(follow(&good), 0);

        node.stop().unwrap();
        assert!(counter_lines(&node.subject).contains(&"received 0".to_owned()));
        assert!(UdpSocket::bind(free).is_ok(), "the sockets are closed");
        std::fs::remove_file(path).unwrap();
    }
}
