//! A node's way to the network: AF_XDP or ordinary sockets, as the configuration says, and what threads work on it.

use super::admin::WorkerSubject;
use super::af_xdp::{AfXdp, Wanted, Watch};
use super::config::error::reason;
use super::config::file::{Mode, XdpMode, ZeroCopy};
use super::config::{NodeInterface, NodePlan};
use super::privilege;
use crate::io::af_xdp::handover::Handovers;
use crate::io::af_xdp::kernel_path::KernelPath;
use crate::io::af_xdp::port::Port;
use crate::io::udp::{self, BindError, Granted, Udp};
use crate::io::{Datagram, Io, Verdict};
use crate::ip_route::Published;
use crate::stats::Stats;
use crate::worker::{self, Worker};
use anyhow::{Context, anyhow};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Everything bound and attached, before the workers work with it. The kernel path, if there is one, does already.
pub struct Plane {
    /// The workers, and the kernel path, as they are reported on.
    pub workers: Vec<WorkerSubject>,
    /// What the sockets of the listeners were granted, in their order.
    pub granted: Vec<Granted>,
    /// The workers' ways to the network.
    ios: Vec<AnyIo>,
    settings: Settings,
    threads: Threads,
}

/// A thread's way to the network, of any kind.
pub enum AnyIo {
    /// Ordinary sockets.
    Udp(Box<Udp>),
    /// AF_XDP sockets.
    AfXdp(Box<Port>),
    /// What the AF_XDP sockets do not take, or cannot send.
    KernelPath(Box<KernelPath>),
}

impl Io for AnyIo {
    #[inline]
    fn breathe(&mut self, forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict) -> usize {
        match self {
            Self::Udp(udp) => udp.breathe(forward),
            Self::AfXdp(port) => port.breathe(forward),
            Self::KernelPath(path) => path.breathe(forward),
        }
    }

    fn wait(&mut self, idle_us_max: u64) {
        match self {
            Self::Udp(udp) => udp.wait(idle_us_max),
            Self::AfXdp(port) => port.wait(idle_us_max),
            Self::KernelPath(path) => path.wait(idle_us_max),
        }
    }
}

impl Plane {
    /// Binds all sockets, and with AF_XDP attaches the programs. From here on datagrams gather for the workers.
    ///
    /// # Errors
    /// A listener that cannot be bound; or, where the configuration insists on AF_XDP, why it cannot be had.
    pub fn set_up(node: &NodePlan, routes: &Arc<Published>, settings: Settings) -> anyhow::Result<Self> {
        probe(node)?;
        if node.io.mode == Mode::Udp {
            return Self::of_sockets(node, settings);
        }
        match Self::of_af_xdp(node, routes, settings.clone()) {
            Err(error) if may_be_without(node) => {
                info!("no AF_XDP: {error:#}; using ordinary sockets");
                Self::of_sockets(node, settings)
            }
            other => other.context("no AF_XDP"),
        }
    }

    /// All sockets of all workers. None of them is used before all are bound: the kernel spreads datagrams over those that are there.
    fn of_sockets(node: &NodePlan, settings: Settings) -> anyhow::Result<Self> {
        let workers = subjects(node);
        let sockets =
            workers.iter().map(|worker| bind(node, &worker.stats)).collect::<Result<Vec<_>, _>>()?;
        let granted = sockets.first().map(|udp| udp.granted().collect()).unwrap_or_default();
        let ios = sockets.into_iter().map(|udp| AnyIo::Udp(Box::new(udp))).collect();
        Ok(Self { workers, granted, ios, settings, threads: Threads::default() })
    }

    /// The kernel path works as soon as its sockets are bound, so that a node that is started again is there at once: memory and programs take a while. It is held only
    /// while drivers set up their queues.
    fn of_af_xdp(node: &NodePlan, routes: &Arc<Published>, settings: Settings) -> anyhow::Result<Self> {
        let mut workers = subjects(node);
        let stats: Vec<_> = workers.iter().map(|worker| Arc::clone(&worker.stats)).collect();
        let wanted = Wanted::new(node, &routes.load())?;
        let (name, stats_of_path) = ("kernel path".to_owned(), Arc::new(Stats::new()));
        let udp = bind(node, &stats_of_path)?;
        let granted = udp.granted().collect();
        let handovers = Arc::new(Handovers::new(HANDOVERS_MAX, workers.len())?);
        let path = AnyIo::KernelPath(Box::new(KernelPath::new(
            udp,
            Arc::clone(&handovers),
            Arc::clone(&stats_of_path),
        )));
        let subject = WorkerSubject { name, cpu: None, stats: stats_of_path };
        let mut threads = Threads::default();
        threads.start_kernel_path(workers.len(), path, &subject, &settings)?;
        workers.push(subject);
        let AfXdp { ports, watch } = wanted.set_up(node, routes, &stats, handovers)?;
        threads.watch = Some(watch);
        let ios = ports.into_iter().map(|port| AnyIo::AfXdp(Box::new(port))).collect();
        Ok(Self { workers, granted, ios, settings, threads })
    }

    /// What is watched beside the workers; only with AF_XDP.
    #[must_use]
    pub fn watch(&self) -> Option<&Arc<Watch>> {
        self.threads.watch.as_ref()
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// The system has no thread to give. Those that were started have ended.
    pub fn start(self) -> anyhow::Result<Threads> {
        let Self { workers, ios, settings, mut threads, .. } = self;
        for (index, (io, subject)) in ios.into_iter().zip(&workers).enumerate() {
            let thread = spawn(io, index, subject, &settings, Arc::clone(&threads.stop))?;
            threads.workers.push(thread);
        }
        Ok(threads)
    }
}

/// Whether ordinary sockets will do instead of AF_XDP: not where an interface's table says what it must have.
fn may_be_without(node: &NodePlan) -> bool {
    let insists = |interface: &NodeInterface| {
        interface.zero_copy == ZeroCopy::Require || interface.xdp_mode == XdpMode::Native
    };
    node.io.mode == Mode::Auto && !node.interfaces.iter().any(insists)
}

/// Room for datagrams on their way to the kernel path. It sends some 300,000 a second, so this is three milliseconds.
const HANDOVERS_MAX: usize = 1_024;

/// What all threads work with.
#[derive(Clone)]
pub struct Settings {
    /// Where snapshots are published.
    pub snapshot: Arc<worker::Published>,
    /// Longest sleep of a thread that has nothing to do.
    pub idle_us_max: u64,
}

/// A thread, which gives back its way to the network: that is let go of when all have ended.
type Thread = JoinHandle<AnyIo>;

/// The threads at work. Dropped, they end.
#[derive(Default)]
pub struct Threads {
    workers: Vec<Thread>,
    stop: Arc<AtomicBool>,
    kernel_path: Option<Thread>,
    stop_kernel_path: Arc<AtomicBool>,
    watch: Option<Arc<Watch>>,
}

/// How long workers go on after nothing comes to them any more: as long as full receive rings take.
const DRAIN: Duration = Duration::from_millis(10);

/// How long the kernel path has for what the workers gave it last.
const FAREWELL: Duration = Duration::from_millis(500);

impl Threads {
    /// Starts the kernel path, which has none of the privilege that is there at this time.
    fn start_kernel_path(
        &mut self,
        index: usize,
        path: AnyIo,
        subject: &WorkerSubject,
        settings: &Settings,
    ) -> anyhow::Result<()> {
        let stop = Arc::clone(&self.stop_kernel_path);
        self.kernel_path = Some(privilege::without(|| spawn(path, index, subject, settings, stop))?);
        Ok(())
    }

    /// What is watched beside the workers.
    #[must_use]
    pub fn watch(&self) -> Option<&Watch> {
        self.watch.as_deref()
    }

    /// The number of a thread that has ended by itself.
    #[must_use]
    pub fn ended(&self) -> Option<usize> {
        self.workers.iter().chain(&self.kernel_path).position(JoinHandle::is_finished)
    }

    /// Ends the threads, so that nothing that has come is lost: first the programs are taken off, then the workers finish, then the kernel path. Sockets
    /// close when all have ended.
    ///
    /// # Errors
    /// The number of a thread that panicked.
    pub fn stop(&mut self) -> Result<(), usize> {
        if let Some(watch) = &self.watch {
            watch.detach();
            thread::sleep(DRAIN);
        }
        self.stop.store(true, Ordering::Relaxed);
        let mut ended: Vec<_> = self.workers.drain(..).map(JoinHandle::join).collect();
        if let Some(watch) = &self.watch {
            let begin = Instant::now();
            while watch.has_handovers() && begin.elapsed() < FAREWELL {
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.stop_kernel_path.store(true, Ordering::Relaxed);
        ended.extend(self.kernel_path.take().map(JoinHandle::join));
        ended.iter().position(Result::is_err).map_or(Ok(()), Err)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Who wants to know of a panic has stopped them before.
        let _ = self.stop();
    }
}

fn spawn(
    io: AnyIo,
    index: usize,
    subject: &WorkerSubject,
    settings: &Settings,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Thread> {
    let WorkerSubject { name, cpu, stats } = subject;
    let worker = Worker {
        io,
        snapshot: Arc::clone(&settings.snapshot),
        stats: Arc::clone(stats),
        stop,
        idle_us_max: settings.idle_us_max,
    };
    let running = worker::spawn(worker, index, *cpu)
        .map_err(|error| anyhow!("cannot start {name}: {}", reason(&error)))?;
    match (cpu, running.pinned) {
        (None, _) => info!("{name}: not pinned to a CPU"),
        (Some(cpu), Ok(())) => info!("{name}: on CPU {cpu}"),
        (Some(_), Err(error)) => warn!("{name}: {error}; it runs unpinned"),
    }
    Ok(running.thread)
}

/// The workers, as they are reported on.
fn subjects(node: &NodePlan) -> Vec<WorkerSubject> {
    let subject = |(i, cpu): (usize, &Option<usize>)| WorkerSubject {
        name: format!("worker {i}"),
        cpu: *cpu,
        stats: Arc::new(Stats::new()),
    };
    node.workers.iter().enumerate().map(subject).collect()
}

/// `SO_REUSEPORT` would let a second instance join the first one's groups and take half of its datagrams.
fn probe(node: &NodePlan) -> anyhow::Result<()> {
    let probe = |address| udp::probe(address).map_err(|error| anyhow!(bind_failure(node, &error)));
    node.listeners.iter().try_for_each(|listener| probe(listener.address))
}

/// One thread's sockets, one for each listener.
fn bind(node: &NodePlan, stats: &Arc<Stats>) -> anyhow::Result<Udp> {
    let addresses: Vec<_> = node.listeners.iter().map(|listener| listener.address).collect();
    let bound = Udp::bind(&addresses, &node.io.sockets(), Arc::clone(stats));
    bound.map_err(|error| anyhow!(bind_failure(node, &error)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::{self, Overrides};
    use crate::control::keys;
    use crate::ip_route::{IpPlan, IpRoutes};
    use arc_swap::ArcSwap;
    use std::net::{SocketAddr, UdpSocket};

    fn settings() -> Settings {
        let file = config::embedded().unwrap();
        let snapshot = config::snapshot(&file, keys::own().unwrap()).unwrap();
        Settings { snapshot: Arc::new(ArcSwap::from_pointee(snapshot)), idle_us_max: 1_000 }
    }

    fn node(address: SocketAddr) -> NodePlan {
        let text = format!("[[listen]]\nname = \"public\"\naddress = \"{address}\"\n");
        NodePlan::new(&config::from_text("f", &text).unwrap(), &Overrides::default()).unwrap()
    }

    #[test]
    fn a_busy_port_is_refused_even_to_a_second_sluice() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (node, routes) = (node(free), Arc::new(ArcSwap::from_pointee(IpRoutes::new(&IpPlan::default()))));
        let first = Plane::set_up(&node, &routes, settings()).unwrap();
        let error = Plane::set_up(&node, &routes, settings()).err().unwrap().to_string();
        let expected = format!(
            "cannot listen on {free} (listener \"public\"): address already in use: is another sluice or SIP server running?"
        );
        assert_eq!(error, expected);
        drop(first);
        assert!(Plane::set_up(&node, &routes, settings()).is_ok());
    }

    #[test]
    fn what_the_system_says_becomes_what_to_do() {
        let node = node("192.0.2.1:506".parse().unwrap());
        let failure = |kind: ErrorKind| {
            let address = node.listeners[0].address;
            bind_failure(&node, &BindError { address, task: "bind", error: kind.into() })
        };
        let head = "cannot listen on 192.0.2.1:506 (listener \"public\"): ";
        let absent = failure(ErrorKind::AddrNotAvailable);
        assert_eq!(absent, format!("{head}no interface of this machine has this address"));
        let low = failure(ErrorKind::PermissionDenied);
        assert!(low.starts_with(&format!("{head}no privilege for ports below 1024")), "{low}");
    }
}
