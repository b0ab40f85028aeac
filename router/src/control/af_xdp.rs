//! The start of the AF_XDP data plane: which interfaces, and everything on them in the order that loses nothing.
//!
//! ```text
//! interfaces, queues -> frames -> sockets bound, fill rings full -> program loaded, told the sockets and the listeners -> attached
//! ```
//!
//! Until the program is attached the kernel's own sockets get everything, and afterwards what the program leaves to them; so the kernel path's sockets are there before
//! any of this, and after all of it.

use super::config::file::{self, Mode};
use super::config::{NodeInterface, NodeListener, NodePlan};
use super::interface::Interface;
use super::links::{device, link_of};
use super::privilege;
use super::xdp::{Attached, Settings, Steering};
use crate::io::TAILROOM;
use crate::io::af_xdp::bell::Bell;
use crate::io::af_xdp::depot::{BATCH, Depot, Stack};
use crate::io::af_xdp::handover::Handovers;
use crate::io::af_xdp::kernel_path::KernelPath;
use crate::io::af_xdp::ledger::{Page, Whereabouts};
use crate::io::af_xdp::listeners::Listeners;
use crate::io::af_xdp::port::{Port, Shared, Supplier};
use crate::io::af_xdp::socket::{
    self, BusyPoll, InterfacePlan, Options, SocketStatistics, WorkerSockets, ZeroCopy,
};
use crate::io::af_xdp::umem::{Frame, Geometry, Umem};
use crate::io::udp::Udp;
use crate::ip_route::{Family, IpRoutes, LinkIndex, LinkKind};
use crate::stats::Stats;
use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{debug, info};

/// Entries of each ring: at a million messages a second, two milliseconds of one queue. More would not fit the second-level cache.
const RING_ENTRIES: u32 = 2_048;

/// Frames that a worker keeps on its stack before it gives any to the depot: two batches, so that it does not go there for each.
const STACK_FRAMES: u32 = 2 * BATCH as u32;

/// Room for datagrams on their way to the kernel path. It sends some 300,000 a second, so this is three milliseconds.
const HANDOVERS_MAX: usize = 1_024;

/// Packets that a busy poll takes from the device at most: what NAPI takes at a time (`NAPI_POLL_WEIGHT`).
const BUSY_POLL_PACKETS_MAX: u32 = 64;

/// The oldest kernel: the program calls `bpf_loop` (5.17). Before that come shared frames between interfaces (5.10), links (5.9), preferred busy polling (5.11).
const KERNEL_MIN: (u32, u32) = (5, 17);

/// The data plane, set up and attached.
pub struct AfXdp {
    /// For each worker its sockets.
    pub ports: Vec<Port>,
    /// What the kernel's sockets get, and send.
    pub kernel_path: KernelPath,
    /// What is watched while they work.
    pub watch: Arc<Watch>,
}

/// What the control plane keeps of it: the programs, and where to read what happens.
pub struct Watch {
    interfaces: Vec<Chosen>,
    listeners: Vec<NodeListener>,
    steering: Mutex<Vec<Steering>>,
    sockets: Vec<SocketStatistics>,
    pages: Vec<Arc<Page>>,
    depot: Arc<Depot>,
    handovers: Arc<Handovers>,
    frames: u32,
}

/// An interface that AF_XDP is set up on.
#[derive(Clone, Debug)]
struct Chosen {
    plan: NodeInterface,
    link: LinkIndex,
    queues: u32,
    driver: String,
}

/// Sets everything up for `node`, whose ordinary sockets are `udp`, and attaches the programs.
///
/// `stats` has the counters of each worker, and `kernel_stats` those that `udp` counts in.
///
/// # Errors
/// Why it cannot be had, in one line; what was set up is gone then.
pub fn set_up(
    node: &NodePlan,
    routes: &Arc<ArcSwap<IpRoutes>>,
    stats: &[Arc<Stats>],
    udp: Udp,
) -> anyhow::Result<AfXdp> {
    check_kernel()?;
    let interfaces = choose(node, &routes.load())?;
    privilege::check().map_err(anyhow::Error::msg)?;
    let workers = stats.len();
    let sizes = Sizes::of(node, &interfaces, workers)?;
    let Bound { umem, frames, sockets } = bind(node, &interfaces, &sizes, workers)?;
    let mut steering = load(node, &interfaces, &sockets, &umem)?;
    let watched: Vec<_> = sockets.iter().flat_map(|sockets| sockets.rx.iter().map(|rx| rx.watch())).collect();

    let depot = Arc::new(Depot::new(sizes.geometry.frames as usize));
    let handovers = Arc::new(Handovers::new(HANDOVERS_MAX)?);
    let pages: Vec<_> = (0..=workers).map(|_| Arc::new(Page::default())).collect();
    note_filled(&sockets, &pages, &interfaces, sizes.prefill);
    let modes = modes(&sockets, interfaces.len());
    let bound: Vec<_> = node.listeners.iter().map(|listener| listener.address).collect();
    let shared = Arc::new(Shared {
        umem: Arc::clone(&umem),
        handovers: Arc::clone(&handovers),
        routes: Arc::clone(routes),
        bells: (0..workers).map(|_| Bell::new()).collect::<Result<_, _>>()?,
        listeners: Listeners::new(&bound),
        if_indexes: interfaces.iter().map(|chosen| chosen.link.0).collect(),
        batch_frames_max: node.io.batch_frames_max.0,
    });
    let suppliers = suppliers(&sockets);
    let stacks = stacks(&depot, frames, workers);
    let ports = sockets.into_iter().zip(suppliers).zip(stacks).zip(stats.iter().zip(&pages));
    let ports = ports
        .map(|(((sockets, suppliers), stack), (stats, page))| {
            Port::new(Arc::clone(&shared), sockets, suppliers, stack, Arc::clone(stats), Arc::clone(page))
        })
        .collect();
    let kernel_page = Arc::clone(&pages[workers]);
    let stack = Stack::new(&depot, STACK_FRAMES as usize);
    let kernel_path = KernelPath::new(udp, Arc::clone(&umem), Arc::clone(&handovers), stack, kernel_page);

    // From here on datagrams come.
    for ((chosen, steering), mode) in interfaces.iter().zip(&mut steering).zip(&modes) {
        let may_be_generic = node.io.mode == Mode::AfXdp;
        let attached = steering.attach(chosen.link.0, chosen.plan.xdp_mode, may_be_generic)?;
        chosen.report(attached, mode, &umem);
    }
    let watch = Arc::new(Watch {
        interfaces,
        listeners: node.listeners.clone(),
        steering: Mutex::new(steering),
        sockets: watched,
        pages,
        depot,
        handovers,
        frames: sizes.geometry.frames,
    });
    watch.follow(&routes.load())?;
    Ok(AfXdp { ports, kernel_path, watch })
}

fn check_kernel() -> anyhow::Result<()> {
    let release = nix::sys::utsname::uname().context("the kernel does not say its version")?;
    check_release(&release.release().to_string_lossy())
}

fn check_release(release: &str) -> anyhow::Result<()> {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL_MIN {
        bail!("kernel {release} is too old: the steering program needs {}.{}", KERNEL_MIN.0, KERNEL_MIN.1);
    }
    Ok(())
}

/// The interfaces that the configuration names, else those of the listeners.
fn choose(node: &NodePlan, routes: &IpRoutes) -> anyhow::Result<Vec<Chosen>> {
    let mut named = node.interfaces.clone();
    if named.is_empty() {
        let names: BTreeSet<_> = node.listeners.iter().filter_map(|l| device_of(l, routes)).collect();
        named.extend(names.iter().map(|name| NodeInterface::of(name)));
    }
    if named.is_empty() {
        let wildcards = node.listeners.iter().any(|listener| listener.address.ip().is_unspecified());
        bail!(
            "no interface: {}",
            if wildcards {
                "a listener on all addresses needs [[interface]] tables that name them"
            } else {
                "the listeners' addresses are on none but the loopback"
            }
        );
    }
    named.into_iter().map(|plan| Chosen::new(plan, routes)).collect()
}

/// The name of the device below a listener's interface, if that is known and not the loopback.
fn device_of(listener: &NodeListener, routes: &IpRoutes) -> Option<String> {
    let device = device(routes, link_of(listener, routes)?)?;
    (device.kind == LinkKind::Physical).then(|| device.name.clone())
}

impl Chosen {
    fn new(plan: NodeInterface, routes: &IpRoutes) -> anyhow::Result<Self> {
        let name = &plan.name;
        let known = || routes.links().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
        let (Some(interface), Some(link)) = (Interface::find(name)?, routes.link_named(name)) else {
            bail!("interface {name}: there is none of this name; there are {}", known());
        };
        match link.kind {
            LinkKind::Physical => {}
            LinkKind::Vlan { .. } => {
                let below = device(routes, link).map_or("?", |link| &link.name);
                bail!("interface {name} is a VLAN: name the device below it, {below}");
            }
            LinkKind::Loopback => bail!("interface {name} is the loopback: it has no queues for AF_XDP"),
            LinkKind::Other => bail!("interface {name} has no Ethernet frames"),
        }
        if let Some(program) = interface.xdp.first() {
            bail!(
                "interface {name} has an XDP program already, number {}; it is left alone: see `bpftool prog show id {}`, \
                 and take it off with `ip link set {name} xdp off` if nobody needs it",
                program.id,
                program.id
            );
        }
        let there = interface.rx_queues.min(interface.tx_queues) as u32;
        let queues = plan.queues.unwrap_or(there);
        if queues > there {
            bail!(
                "interface {name} has {there} queues, too few for interface.queues = {queues}: \
                 `ethtool -L {name} combined {queues}`, or ask for fewer"
            );
        }
        let driver = interface.driver.unwrap_or_else(|| "no driver".to_owned());
        Ok(Self { link: link.index, queues, driver, plan })
    }

    fn plan(&self) -> InterfacePlan {
        let zero_copy = match self.plan.zero_copy {
            file::ZeroCopy::Auto => ZeroCopy::Auto,
            file::ZeroCopy::Require => ZeroCopy::Require,
            file::ZeroCopy::Never => ZeroCopy::Never,
        };
        InterfacePlan { name: self.plan.name.clone(), if_index: self.link.0, queues: self.queues, zero_copy }
    }

    /// One line of what is in force.
    fn report(&self, attached: Attached, mode: &str, umem: &Umem) {
        let Self { plan, queues, driver, .. } = self;
        let (name, Geometry { frame_size, .. }, pages) = (&plan.name, umem.geometry(), umem.pages());
        let xdp = match attached {
            Attached::Native => "native",
            Attached::Generic => "generic",
        };
        let s = if *queues == 1 { "" } else { "s" };
        info!(
            "interface {name} ({driver}): AF_XDP, {xdp} XDP, {mode}, {queues} queue{s}, rings of {RING_ENTRIES}, \
             frames of {frame_size} bytes on {pages}"
        );
    }
}

/// How many frames there are, and where.
struct Sizes {
    geometry: Geometry,
    /// Of each fill ring.
    prefill: u32,
}

impl Sizes {
    fn of(node: &NodePlan, interfaces: &[Chosen], workers: usize) -> anyhow::Result<Self> {
        let queues: u32 = interfaces.iter().map(|chosen| chosen.queues).sum();
        let workers = workers as u32;
        // A worker may hold what its stack keeps and a batch over, and have a transmit ring full on each interface. The kernel path has a stack too.
        let stacks = (workers + 1) * (STACK_FRAMES + BATCH as u32);
        let wanted = queues * RING_ENTRIES + workers * interfaces.len() as u32 * RING_ENTRIES + stacks;
        let frames = node.io.frames.as_ref().map_or(wanted, |frames| frames.value.0);
        let prefill = (frames.saturating_sub(stacks) / queues).min(RING_ENTRIES);
        if prefill < BATCH as u32 {
            let least = stacks + queues * BATCH as u32;
            bail!(
                "io.frames = {frames} are too few for {queues} queues and {workers} workers: at least {least}"
            );
        }
        let frame_size = node.io.frame_size.value.0;
        Ok(Self { geometry: Geometry { frames, frame_size, headroom: headroom(frame_size) }, prefill })
    }

    fn options(&self, node: &NodePlan) -> Options {
        let us = node.io.busy_poll_us.0;
        Options {
            fill_entries: RING_ENTRIES,
            completion_entries: RING_ENTRIES,
            rx_entries: RING_ENTRIES,
            tx_entries: RING_ENTRIES,
            prefill_frames: self.prefill,
            busy_poll: (us > 0).then_some(BusyPoll { us, packets_max: BUSY_POLL_PACKETS_MAX }),
        }
    }
}

/// Bytes that the kernel leaves free before a packet, besides its own 256.
///
/// With the packet's headers, that leaves [`crate::io::HEADROOM`] before the payload. Small frames have none to spare: there it has to hold a packet of 1,500 bytes.
fn headroom(frame_size: u32) -> u32 {
    if frame_size > 2_048 { 320 } else { 256 }
}

/// The longest frame that is taken: one that can grow at its end too, if there is room for that.
fn frame_bytes_max(umem: &Umem) -> u32 {
    let tailroom = if umem.geometry().frame_size > 2_048 { TAILROOM } else { 0 };
    (umem.packet_bytes_max() - tailroom) as u32
}

/// Frames, and sockets that have some of them.
struct Bound {
    umem: Arc<Umem>,
    /// Those that are in no ring.
    frames: Vec<Frame>,
    sockets: Vec<WorkerSockets>,
}

/// How long sockets of another process may be in the way. The kernel takes those of one that has ended apart in its own time.
const BUSY_PATIENCE: Duration = Duration::from_secs(3);

/// Memory and sockets.
fn bind(node: &NodePlan, interfaces: &[Chosen], sizes: &Sizes, workers: usize) -> anyhow::Result<Bound> {
    let plans: Vec<_> = interfaces.iter().map(Chosen::plan).collect();
    let begin = Instant::now();
    loop {
        let (umem, mut frames) = Umem::new(sizes.geometry).context("no memory for the frames")?;
        let umem = Arc::new(umem);
        match socket::bind(&umem, &mut frames, &plans, workers, &sizes.options(node)) {
            Ok(sockets) => return Ok(Bound { umem, frames, sockets }),
            Err(error) if error.is_busy() && begin.elapsed() < BUSY_PATIENCE => {
                debug!("{error}; trying again");
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Loads the program for each interface, and tells it its sockets.
fn load(
    node: &NodePlan,
    interfaces: &[Chosen],
    sockets: &[WorkerSockets],
    umem: &Umem,
) -> anyhow::Result<Vec<Steering>> {
    let workers = sockets.len() as u32;
    let seed = super::keys::seed()?;
    let mut steering = Vec::with_capacity(interfaces.len());
    for (i, chosen) in interfaces.iter().enumerate() {
        let (queues, steer) = (chosen.queues, node.io.steer);
        let settings = Settings { workers, queues, steer, frame_bytes_max: frame_bytes_max(umem), seed };
        let mut program = Steering::load(&chosen.plan.name, &settings)?;
        let entries = sockets.iter().flat_map(WorkerSockets::map_entries);
        for entry in entries.filter(|entry| entry.interface == i) {
            program.add_socket(entry.queue * workers + entry.worker as u32, entry.socket)?;
        }
        steering.push(program);
    }
    Ok(steering)
}

/// For each worker and each of its receive rings, who else fills that queue.
fn suppliers(sockets: &[WorkerSockets]) -> Vec<Vec<Option<Supplier>>> {
    let owned =
        || sockets.iter().flat_map(|sockets| sockets.owned.iter().map(|queue| (sockets.worker, queue)));
    let supplier = |worker: usize, interface: usize, number: u32| {
        let (owner, queue) = owned().find(|(_, q)| (q.interface, q.queue) == (interface, number))?;
        (owner != worker).then(|| Supplier { worker: owner, level: queue.fill.level() })
    };
    let of_worker = |sockets: &WorkerSockets| {
        sockets.rx.iter().map(|rx| supplier(sockets.worker, rx.interface, rx.queue)).collect()
    };
    sockets.iter().map(of_worker).collect()
}

/// What came of each interface's wish for zero copy, in words.
fn modes(sockets: &[WorkerSockets], interfaces: usize) -> Vec<String> {
    let owned = || sockets.iter().flat_map(|sockets| &sockets.owned);
    let mode = |interface| {
        let queue = owned().find(|queue| queue.interface == interface);
        match queue.map(|queue| queue.mode) {
            Some(socket::Mode::ZeroCopy) => "zero copy".to_owned(),
            Some(socket::Mode::CopyInstead(errno)) => format!("copy mode (zero copy: {errno})"),
            Some(socket::Mode::Copy) | None => "copy mode".to_owned(),
        }
    };
    (0..interfaces).map(mode).collect()
}

/// Enters what the fill rings were given before the workers' own counting begins.
fn note_filled(sockets: &[WorkerSockets], pages: &[Arc<Page>], interfaces: &[Chosen], prefill: u32) {
    debug_assert!(!interfaces.is_empty());
    for (sockets, page) in sockets.iter().zip(pages) {
        crate::io::af_xdp::ledger::add(&page.filled, u64::from(prefill) * sockets.owned.len() as u64);
    }
}

/// A stack for each worker, which share what the fill rings did not get; most of it by way of the depot.
fn stacks(depot: &Arc<Depot>, frames: Vec<Frame>, workers: usize) -> Vec<Stack> {
    let mut stacks: Vec<_> = (0..workers).map(|_| Stack::new(depot, STACK_FRAMES as usize)).collect();
    for (i, frame) in frames.into_iter().enumerate() {
        if let Some(stack) = stacks.get_mut(i % workers) {
            stack.put(frame);
        }
    }
    stacks
}

impl Watch {
    /// Tells the programs where the listeners are by now: those on all addresses are on others when `routes` have changed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn follow(&self, routes: &IpRoutes) -> anyhow::Result<()> {
        let mut steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        for (chosen, steering) in self.interfaces.iter().zip(steering.iter_mut()) {
            let addresses = self.listeners.iter().flat_map(|l| addresses(l, chosen.link, routes)).collect();
            steering.listen(&addresses).with_context(|| format!("interface {}", chosen.plan.name))?;
        }
        Ok(())
    }

    /// Detaches the programs: from now on everything goes by the kernel's own sockets.
    pub fn detach(&self) {
        self.steering.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().for_each(Steering::detach);
    }

    /// Whether datagrams wait for the kernel path.
    #[must_use]
    pub fn has_handovers(&self) -> bool {
        !self.handovers.is_empty()
    }

    /// What is counted beside the workers, and where the frames are.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, u64)> {
        let mut counters = self.passed();
        counters.extend(self.sockets());
        let Whereabouts { held, filled, transmitted } = Whereabouts::of(self.pages.iter().map(AsRef::as_ref));
        let frames = [
            ("frames", u64::from(self.frames)),
            ("frames_free", held + self.depot.len() as u64),
            ("frames_fill", filled),
            ("frames_transmit", transmitted),
            ("frames_handover", self.handovers.len() as u64),
        ];
        counters.extend(frames.map(|(name, value)| (name.to_owned(), value)));
        counters
    }

    /// What the programs left to the kernel.
    fn passed(&self) -> Vec<(String, u64)> {
        let mut sums: Vec<(String, u64)> = Vec::new();
        let steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        // A map that cannot be read any more is missing from the sums.
        for passed in steering.iter().filter_map(|steering| steering.passed().ok()) {
            for (i, (reason, count)) in passed.into_iter().enumerate() {
                match sums.get_mut(i) {
                    Some((_, sum)) => *sum += count,
                    None => sums.push((format!("passed{{{}}}", reason.name()), count)),
                }
            }
        }
        sums
    }

    /// What the kernel counts of the sockets.
    fn sockets(&self) -> impl Iterator<Item = (String, u64)> {
        let mut sum = socket::Statistics::default();
        for statistics in self.sockets.iter().filter_map(|socket| socket.read().ok()) {
            sum.rx_dropped += statistics.rx_dropped;
            sum.rx_ring_full += statistics.rx_ring_full;
            sum.rx_invalid += statistics.rx_invalid;
            sum.tx_invalid += statistics.tx_invalid;
            // Each socket of a queue reports the queue's.
            sum.fill_ring_empty = sum.fill_ring_empty.max(statistics.fill_ring_empty);
        }
        let counters = [
            ("dropped", sum.rx_dropped),
            ("rx_ring_full", sum.rx_ring_full),
            ("fill_ring_empty", sum.fill_ring_empty),
            ("rx_invalid", sum.rx_invalid),
            ("tx_invalid", sum.tx_invalid),
        ];
        counters.into_iter().map(|(name, value)| (format!("xsk{{{name}}}"), value))
    }
}

/// The addresses of a listener whose datagrams the device `device` takes.
///
/// Link-local ones mean nothing without their link, which a frame does not say: those the kernel's sockets get.
fn addresses(listener: &NodeListener, device_link: LinkIndex, routes: &IpRoutes) -> Vec<SocketAddr> {
    let is_elsewhere = |name: &String| {
        let below = routes.link_named(name).and_then(|link| device(routes, link));
        below.is_some_and(|below| below.index != device_link)
    };
    if listener.interface.as_ref().is_some_and(is_elsewhere) {
        return Vec::new();
    }
    let is_steered = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let bound = listener.address;
    let addresses: Vec<IpAddr> = if bound.ip().is_unspecified() {
        routes.local_addresses(Family::of(bound.ip())).map(|(address, _)| address).collect()
    } else {
        vec![bound.ip()]
    };
    addresses.into_iter().filter(is_steered).map(|ip| SocketAddr::new(ip, bound.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_named() {
        for good in ["5.17.0", "5.17", "6.1.0-18-amd64", "10.0"] {
            assert!(check_release(good).is_ok(), "{good}");
        }
        for old in ["5.16.20", "4.19.0", "3.10.0-1160.el7.x86_64", "strange"] {
            let error = check_release(old).unwrap_err().to_string();
            assert_eq!(error, format!("kernel {old} is too old: the steering program needs 5.17"));
        }
    }
}
