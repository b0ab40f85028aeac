//! The start of the AF_XDP data plane: which interfaces, and everything on them in the order that loses nothing.
//!
//! ```text
//! interfaces, queues -> frames -> programs loaded -> sockets bound, fill rings full -> programs attached, told the sockets -> carrier -> programs told the listeners
//!                                                   `------------------- the kernel path is held meanwhile -------------------'
//! ```
//!
//! Until a program is told of listeners the kernel's own sockets get everything, and afterwards what it leaves to them; so the kernel path's sockets are there before
//! any of this, and after all of it.
//!
//! Sockets go before programs. A driver that has no program only notes who is bound (Intel's do), and sets up all its queues when the program comes; the other way round it takes
//! its running queues apart one by one. Nobody sends while it does: igb in Linux 7.3 otherwise leaves a transmit queue stopped now and then, and the kernel itself sends nothing by
//! it any more, not even who-has. What comes meanwhile waits in the kernel path's sockets.

mod carrier;
mod interfaces;
mod sizes;
mod watch;

pub use watch::Watch;

use super::config::NodePlan;
use super::config::file::{self, Mode};
use super::interface::XdpMode;
use super::privilege;
use super::xdp::{Settings, Steering};
use crate::io::af_xdp::bell::Bell;
use crate::io::af_xdp::depot::{Depot, Stack};
use crate::io::af_xdp::handover::{Handovers, Hold, Keeper};
use crate::io::af_xdp::ledger::{self, Page};
use crate::io::af_xdp::listeners::Listeners;
use crate::io::af_xdp::port::{self, Port, Shared};
use crate::io::af_xdp::socket::{self, BindError, InterfacePlan, Mode as CopyMode, WorkerSockets, ZeroCopy};
use crate::io::af_xdp::umem::{Frame, Umem};
use crate::ip_route::{IpRoutes, Published};
use crate::stats::Stats;
use anyhow::{Context, bail};
use interfaces::{Chosen, choose};
use sizes::{RING_ENTRIES, STACK_FRAMES, Sizes};
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// The oldest kernel: frames are shared between interfaces (5.10), programs attached by links (5.9), queues polled in preference to interrupts (5.11).
const KERNEL_MIN: (u32, u32) = (5, 11);

/// The data plane, set up and attached.
pub struct AfXdp {
    /// For each worker its sockets.
    pub ports: Vec<Port>,
    /// What is watched while they work.
    pub watch: Arc<Watch>,
}

/// What is wanted, and can be had as far as that is seen without trying.
pub struct Wanted {
    interfaces: Vec<Chosen>,
    sizes: Sizes,
}

impl Wanted {
    /// Chooses the interfaces for `node`.
    ///
    /// # Errors
    /// Why AF_XDP cannot be had, in one line.
    pub fn new(node: &NodePlan, routes: &IpRoutes) -> anyhow::Result<Self> {
        check_kernel()?;
        let interfaces = choose(node, routes)?;
        privilege::check().map_err(anyhow::Error::msg)?;
        let sizes = Sizes::of(node, &interfaces, node.workers.len())?;
        Ok(Self { interfaces, sizes })
    }

    /// Makes frames, sockets and programs, and attaches those. `stats` has the counters of each worker, and `handovers` is the way to the kernel path.
    ///
    /// # Errors
    /// Why AF_XDP cannot be had, in one line; what was set up is gone then.
    pub fn set_up(
        self,
        node: &NodePlan,
        routes: &Arc<Published>,
        stats: &[Arc<Stats>],
        handovers: Arc<Handovers>,
    ) -> anyhow::Result<AfXdp> {
        let Self { interfaces, sizes } = self;
        let workers = stats.len();
        // Each takes a tenth of a second and more: the kernel clears the memory, and goes through the program.
        let (memory, steering) = thread::scope(|scope| {
            let memory = scope.spawn(|| memory(&sizes));
            (joined(memory), load(node, &interfaces, &sizes))
        });
        // Let go of after the programs, should anything fail.
        let hold = Hold::of(&handovers);
        let (memory, mut steering) = (memory?, steering?);
        let (Bound { umem, frames, sockets }, xdp_modes) =
            connect(node, &interfaces, &sizes, workers, memory, &mut steering)?;
        tell_sockets(&mut steering, &sockets)?;
        let watched: Vec<_> =
            sockets.iter().flat_map(|sockets| sockets.rx.iter().map(|rx| rx.watch())).collect();

        let depot = Arc::new(Depot::new(sizes.geometry.frames as usize));
        let pages: Vec<_> = (0..=workers).map(|_| Arc::new(Page::default())).collect();
        for (i, (chosen, xdp_mode)) in interfaces.iter().zip(&xdp_modes).enumerate() {
            chosen.report(*xdp_mode, copy_mode(&sockets, i), RING_ENTRIES, &umem);
        }
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
        if node.io.busy_poll_us.0 > 0 {
            interfaces.iter().enumerate().for_each(|(i, chosen)| chosen.report_polling(polls(&sockets, i)));
        }
        let stack = Stack::new(&depot, STACK_FRAMES as usize);
        handovers.begin(Keeper { umem: Arc::clone(&umem), stack, page: Arc::clone(&pages[workers]) });
        note_filled(&sockets, &pages, sizes.prefill);
        let suppliers = port::suppliers(&sockets);
        let stacks = stacks(&depot, frames, workers);
        let parts = sockets.into_iter().zip(suppliers).zip(stacks).zip(stats.iter().zip(&pages));
        let port_of = |(((sockets, suppliers), stack), (stats, page)): (_, (&Arc<Stats>, &Arc<Page>))| {
            Port::new(Arc::clone(&shared), sockets, suppliers, stack, Arc::clone(stats), Arc::clone(page))
        };
        let ports = parts.map(port_of).collect();

        carrier::wait(&interfaces, hold)?;
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
        // From here on datagrams come.
        watch.follow(&routes.load())?;
        Ok(AfXdp { ports, watch })
    }
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
        bail!(
            "kernel {release} is too old: AF_XDP as it is used here needs {}.{}",
            KERNEL_MIN.0,
            KERNEL_MIN.1
        );
    }
    Ok(())
}

/// Memory for all frames.
fn memory(sizes: &Sizes) -> anyhow::Result<(Umem, Vec<Frame>)> {
    Umem::new(sizes.geometry).context("no memory for the frames")
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked").into()))
}

/// Frames, and sockets that have some of them.
struct Bound {
    umem: Arc<Umem>,
    /// Those that are in no ring.
    frames: Vec<Frame>,
    sockets: Vec<WorkerSockets>,
}

/// Binds sockets and attaches programs, and says what mode each program is in.
///
/// Where a program comes to be in generic mode some drivers (virtio-net) grant zero copy all the same, and nothing arrives: there it is done once more, with copying.
fn connect(
    node: &NodePlan,
    interfaces: &[Chosen],
    sizes: &Sizes,
    workers: usize,
    first: (Umem, Vec<Frame>),
    steering: &mut [Steering],
) -> anyhow::Result<(Bound, Vec<XdpMode>)> {
    let mut plans: Vec<_> = interfaces.iter().map(Chosen::plan).collect();
    let mut wanted: Vec<_> = interfaces.iter().map(|chosen| chosen.plan.xdp_mode).collect();
    let mut first = Some(first);
    loop {
        let bound = bind(node, &mut plans, sizes, workers, first.take())?;
        let attached = attach(node, interfaces, &wanted, steering);
        let modes = attached.inspect_err(|_| detach(steering))?;
        let is_deaf = |i: usize, mode: &XdpMode| {
            *mode == XdpMode::Generic && copy_mode(&bound.sockets, i) == CopyMode::ZeroCopy
        };
        let deaf: Vec<_> = modes.iter().enumerate().map(|(i, mode)| is_deaf(i, mode)).collect();
        if !deaf.contains(&true) {
            return Ok((bound, modes));
        }
        detach(steering);
        for ((plan, wanted), _) in plans.iter_mut().zip(&mut wanted).zip(deaf).filter(|(_, is_deaf)| *is_deaf)
        {
            if plan.zero_copy == ZeroCopy::Require {
                bail!(
                    "interface {}: zero_copy = \"require\", and XDP is in generic mode, where nothing arrives by zero copy",
                    plan.name
                );
            }
            (plan.zero_copy, *wanted) = (ZeroCopy::Never, file::XdpMode::Generic);
        }
    }
}

/// How long sockets of another process may be in the way. The kernel takes those of one that has ended apart in its own time.
const BUSY_PATIENCE: Duration = Duration::from_secs(3);

/// Memory, `first` if given, and sockets. An interface that has zero copy on some queues only has none by its plan afterwards.
fn bind(
    node: &NodePlan,
    plans: &mut [InterfacePlan],
    sizes: &Sizes,
    workers: usize,
    mut first: Option<(Umem, Vec<Frame>)>,
) -> anyhow::Result<Bound> {
    let begin = Instant::now();
    loop {
        // A bind that fails keeps the frames that it had put into rings.
        let (umem, mut frames) = first.take().map_or_else(|| memory(sizes), Ok)?;
        let umem = Arc::new(umem);
        match socket::bind(&umem, &mut frames, plans, workers, &sizes.options(node)) {
            Ok(sockets) => return Ok(Bound { umem, frames, sockets }),
            Err(error) if error.is_busy() && begin.elapsed() < BUSY_PATIENCE => {
                debug!("{error}; trying again");
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => copy_instead(plans, error)?,
        }
    }
}

/// Has the interface copy whose first queue was granted zero copy and a later one was not, where that will do.
fn copy_instead(plans: &mut [InterfacePlan], error: BindError) -> Result<(), BindError> {
    let refused = error.without_zero_copy();
    let plan = plans.iter_mut().find(|plan| plan.zero_copy == ZeroCopy::Auto && Some(&*plan.name) == refused);
    let Some(plan) = plan else { return Err(error) };
    warn!("{error}; all its queues are in copy mode instead");
    plan.zero_copy = ZeroCopy::Never;
    Ok(())
}

/// Takes the programs off, while the sockets are still there.
fn detach(steering: &mut [Steering]) {
    steering.iter_mut().for_each(Steering::detach);
}

/// Attaches the programs, and says what mode each is in.
fn attach(
    node: &NodePlan,
    interfaces: &[Chosen],
    wanted: &[file::XdpMode],
    steering: &mut [Steering],
) -> anyhow::Result<Vec<XdpMode>> {
    let may_be_generic = node.io.mode == Mode::AfXdp;
    let interfaces = interfaces.iter().zip(wanted).zip(steering);
    interfaces
        .map(|((chosen, wanted), steering)| steering.attach(chosen.link.0, *wanted, may_be_generic))
        .collect()
}

/// Loads the program for each interface, all at the same time.
fn load(node: &NodePlan, interfaces: &[Chosen], sizes: &Sizes) -> anyhow::Result<Vec<Steering>> {
    let workers = node.workers.len() as u32;
    let (steer, seed) = (node.io.steer, super::keys::seed()?);
    let load = |chosen: &Chosen| {
        let (queues, frame_bytes_max) = (chosen.queues, sizes.packet_bytes_max());
        Steering::load(&chosen.plan.name, &Settings { workers, queues, steer, frame_bytes_max, seed })
    };
    thread::scope(|scope| {
        let loading: Vec<_> = interfaces.iter().map(|chosen| scope.spawn(move || load(chosen))).collect();
        loading.into_iter().map(joined).collect()
    })
}

/// Tells each program the sockets of its interface.
fn tell_sockets(steering: &mut [Steering], sockets: &[WorkerSockets]) -> anyhow::Result<()> {
    let workers = sockets.len() as u32;
    for entry in sockets.iter().flat_map(WorkerSockets::map_entries) {
        if let Some(steering) = steering.get_mut(entry.interface) {
            steering.add_socket(entry.queue * workers + entry.worker as u32, entry.socket)?;
        }
    }
    Ok(())
}

/// How packets come and go by an interface.
fn copy_mode(sockets: &[WorkerSockets], interface: usize) -> CopyMode {
    let mut owned = sockets.iter().flat_map(|sockets| &sockets.owned);
    owned.find(|queue| queue.interface == interface).map_or(CopyMode::Copy, |queue| queue.mode)
}

/// Whether all queues of an interface are busy polled by their owners.
fn polls(sockets: &[WorkerSockets], interface: usize) -> bool {
    let mut owned = sockets.iter().flat_map(|sockets| &sockets.owned);
    owned.all(|queue| queue.interface != interface || queue.is_busy_polling)
}

/// Enters what the fill rings were given before the workers' own counting begins.
fn note_filled(sockets: &[WorkerSockets], pages: &[Arc<Page>], prefill: u32) {
    for (sockets, page) in sockets.iter().zip(pages) {
        ledger::add(&page.filled, u64::from(prefill) * sockets.owned.len() as u64);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_named() {
        for good in ["5.11.0", "5.11", "6.1.0-18-amd64", "10.0"] {
            assert!(check_release(good).is_ok(), "{good}");
        }
        for old in ["5.10.20", "4.19.0", "3.10.0-1160.el7.x86_64", "strange"] {
            let error = check_release(old).unwrap_err().to_string();
            assert_eq!(error, format!("kernel {old} is too old: AF_XDP as it is used here needs 5.11"));
        }
    }
}
