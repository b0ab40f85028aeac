//! `sluice run`: the order of the start, what a running node listens to, and the stop.
//!
//! ```text
//! files -> snapshot -> IP routes -> sockets bound, programs attached -> capabilities dropped -> signals, admin socket -> workers -> ready
//! SIGHUP: new snapshot    SIGUSR1: counters to the log    SIGTERM, SIGINT: stop, counters to standard output
//! ```

use super::admin::{Server, Subject, path};
use super::af_xdp::Watch;
use super::config::error::reason;
use super::config::{NodePlan, Overrides};
use super::cpus::CpuList;
use super::keys;
use super::links;
use super::load::{self, Loaded, Origin};
use super::log::{self, LogArgs};
use super::netlink::Mirror;
use super::plane::{Plane, Settings, Threads};
use super::privilege;
use super::stats::format;
use crate::io::udp::Granted;
use crate::ip_route::IpRoutes;
use crate::proxy::snapshot::Snapshot;
use crate::worker;
use anyhow::{Context, anyhow, bail};
use arc_swap::ArcSwap;
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
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
    report_start(&loaded);
    let (sender, events) = mpsc::channel();
    let routed = sender.clone();
    // A node that has ended hears of no more changes.
    let on_change = move |routes: &Arc<IpRoutes>| drop(routed.send(Event::Routes(Arc::clone(routes))));
    let mirror = privilege::without(|| Mirror::start(on_change))?;
    let routes = mirror.published().load_full();
    let snapshot = Arc::new(ArcSwap::from_pointee(links::routed(&loaded.snapshot, &loaded.node, &routes)));
    let idle_us_max = u64::from(loaded.node.io.idle_us_max.0);
    let settings = Settings { snapshot: Arc::clone(&snapshot), idle_us_max };
    let plane = Plane::set_up(&loaded.node, mirror.published(), settings)?;
    report_listeners(&loaded, &plane.granted);
    // All that takes privilege is done, and no other thread has been started but those that have none.
    if let Err(error) = privilege::drop_all() {
        warn!("capabilities are kept: {error}");
    }
    signals(sender)?;
    let subject = Arc::new(Subject {
        node: loaded.node.name.clone(),
        workers: plane.workers.clone(),
        interfaces: interface_counters(plane.watch()),
        start: Instant::now(),
    });
    let admin = admin(&loaded.node, &subject)?;
    let mut node = Node {
        origin,
        plan: loaded.node,
        subject,
        snapshot,
        retired: Vec::new(),
        routes,
        threads: plane.start()?,
    };
    if args.config.is_none() {
        welcome();
    }
    info!("ready");
    let ended = node.serve(&events);
    drop(admin);
    let stopped = node.stop();
    drop(mirror);
    print_counters(&node.subject);
    ended.and(stopped)
}

/// Reads what is counted beside the workers.
fn interface_counters(watch: Option<&Arc<Watch>>) -> Box<dyn Fn() -> Vec<(String, u64)> + Send + Sync> {
    let watch = watch.map(Arc::clone);
    Box::new(move || watch.as_ref().map(|watch| watch.counters()).unwrap_or_default())
}

/// What a running node follows.
enum Event {
    Signal(i32),
    Routes(Arc<IpRoutes>),
}

/// A node whose workers run.
struct Node {
    origin: Origin,
    plan: NodePlan,
    subject: Arc<Subject>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// Snapshots that a worker may still hold.
    retired: Vec<Arc<Snapshot>>,
    /// The newest that there are.
    routes: Arc<IpRoutes>,
    threads: Threads,
}

/// How often the node looks whether all workers are alive, and frees old snapshots.
const TICK: Duration = Duration::from_millis(500);

impl Node {
    /// Follows signals and routes until a signal says stop, or a worker ends.
    fn serve(&mut self, events: &Receiver<Event>) -> anyhow::Result<()> {
        loop {
            match events.recv_timeout(TICK) {
                Ok(Event::Routes(routes)) => self.follow(routes),
                Ok(Event::Signal(SIGHUP)) if self.origin.path.is_some() => self.reload(),
                Ok(Event::Signal(SIGUSR1)) => {
                    counter_lines(&self.subject).iter().for_each(|line| info!("{line}"))
                }
                // Without a file there is nothing to reload, and the terminal that it was started from is gone.
                Ok(Event::Signal(signal)) => {
                    info!("stopping: {}", signal_hook::low_level::signal_name(signal).unwrap_or("signal"));
                    return Ok(());
                }
                Err(_) => {}
            }
            self.retired.retain(|old| Arc::strong_count(old) > 1);
            if let Some(index) = self.threads.ended() {
                bail!("{} ended; stopping", self.name(index));
            }
        }
    }

    fn reload(&mut self) {
        match load::reload(&self.origin, &self.plan) {
            Ok(loaded) => {
                report_warnings(&loaded);
                self.publish(&loaded.snapshot);
                info!("reloaded {}: {}", loaded.config.name(), loaded.summary());
            }
            Err(error) => error!("not reloaded, all stays as it was: {error}"),
        }
    }

    /// Follows the IP layer: listeners on all addresses have others, and other links lead elsewhere.
    fn follow(&mut self, routes: Arc<IpRoutes>) {
        self.routes = routes;
        if let Some(Err(error)) = self.threads.watch().map(|watch| watch.follow(&self.routes)) {
            warn!("the steering program does not follow the addresses of this machine: {error:#}");
        }
        let current = self.snapshot.load_full();
        self.publish(&current);
    }

    fn publish(&mut self, snapshot: &Snapshot) {
        let next = links::routed(snapshot, &self.plan, &self.routes);
        worker::publish(&self.snapshot, &mut self.retired, Arc::new(next));
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.threads.stop().map_err(|index| anyhow!("{} panicked", self.name(index)))
    }

    fn name(&self, index: usize) -> &str {
        self.subject.workers.get(index).map_or("a worker", |worker| &worker.name)
    }
}

/// Signals, as they come, from a thread of their own.
fn signals(sender: Sender<Event>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).context("cannot listen to signals")?;
    thread::Builder::new().name("sluice-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
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

fn report_start(loaded: &Loaded) {
    let (node, config) = (&loaded.node.name, loaded.config.path.as_deref());
    let config = config.map_or_else(|| "the embedded default".to_owned(), |path| path.display().to_string());
    info!("sluice {}, node {node}, configured by {config}: {}", env!("CARGO_PKG_VERSION"), loaded.summary());
    report_warnings(loaded);
    if loaded.has_own_keys {
        warn!(
            "no node.key_file: using a key of this node's own, so it works alone, and calls do not outlive it"
        );
    }
}

fn report_warnings(loaded: &Loaded) {
    loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
}

fn report_listeners(loaded: &Loaded, granted: &[Granted]) {
    let asked = loaded.node.io.sockets();
    let listeners = loaded.snapshot.listeners.iter().zip(&loaded.config.file.listen);
    for ((listener, listen), granted) in listeners.zip(granted) {
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
    use crate::ip_route::IpPlan;
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

    #[test]
    fn a_node_follows_its_signals() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (origin, loaded) = loaded("signals", free, "[node]\nworkers = 2\n");
        let path = origin.path.clone().unwrap();
        let routes = Arc::new(IpRoutes::new(&IpPlan::default()));
        let snapshot = Arc::new(ArcSwap::from_pointee(loaded.snapshot));
        let settings = Settings { snapshot: Arc::clone(&snapshot), idle_us_max: 100_000 };
        let published = Arc::new(ArcSwap::new(Arc::clone(&routes)));
        let plane = Plane::set_up(&loaded.node, &published, settings).unwrap();
        let (node, workers, interfaces) = ("n".to_owned(), plane.workers.clone(), Box::new(Vec::new));
        let subject = Arc::new(Subject { node, workers, interfaces, start: Instant::now() });
        let (plan, retired, threads) = (loaded.node, Vec::new(), plane.start().unwrap());
        let mut node = Node { origin, plan, subject, snapshot, retired, routes, threads };
        let rules = |node: &Node| node.snapshot.load().rules.all().len();

        let mut follow = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let (sender, receiver) = mpsc::channel();
            [SIGUSR1, SIGHUP, SIGTERM]
                .into_iter()
                .for_each(|signal| sender.send(Event::Signal(signal)).unwrap());
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
