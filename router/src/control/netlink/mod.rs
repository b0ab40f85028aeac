//! The mirror: what the kernel says by netlink about links, addresses, rules, routes and neighbours, published as [`IpRoutes`].
//!
//! ```text
//! notifications -> which tables are stale -> pause -> read those anew -> anything different? -> publish
//! ```
//!
//! A thread of its own hears of changes before it reads the tables for the first time, so that none is missed. What changes is read anew as a
//! whole a moment later, so that a burst costs one reading, and that the kernel dropped notifications costs no more than reading everything. It needs no
//! privilege. What workers see follows the kernel within a second; with a hundred thousand routes too.
//!
//! The namespace is that of the thread that calls [`Mirror::start`] or [`read_once`].

mod convert;
mod dump;
mod events;
#[cfg(test)]
mod tests;

pub(in crate::control) use convert::kind;

use crate::ip_route::{IpPlan, IpRoutes, NeighbourPlan, NeighbourState, Published};
use crate::worker;
use anyhow::Context;
use events::{Events, Stale};
use futures_util::future::{Either, select};
use rtnetlink::Handle;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::timeout_at;
use tracing::{debug, info, warn};

/// How long changes are gathered before they are read: as long as a routing daemon or `ip -batch` takes for a few hundred.
const GATHER: Duration = Duration::from_millis(50);

/// The longest pause between two readings. Long readings are followed by pauses twice as long, so that unceasing changes take a third of a CPU; but what changes
/// must be seen within a second.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// How often stale neighbours are poked, and tables that no worker uses any more freed.
const TICK: Duration = Duration::from_secs(1);

/// The first pause before a lost connection is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The running mirror. Dropping it ends it.
#[derive(Debug)]
pub struct Mirror {
    published: Arc<Published>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    /// Reads all tables, and goes on with it in the thread `sluice-netlink`.
    ///
    /// `on_change` is called there after each publication but the first, with what was published.
    ///
    /// # Errors
    /// The tables cannot be read now.
    pub fn start(on_change: impl FnMut(&Arc<IpRoutes>) + Send + 'static) -> anyhow::Result<Self> {
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let (sender, receiver) = mpsc::sync_channel(1);
        let work = move || match runtime() {
            Ok(runtime) => runtime.block_on(run(Box::new(on_change), &stopped, &sender)),
            Err(error) => drop(sender.send(Err(error))),
        };
        let thread = thread::Builder::new().name("sluice-netlink".to_owned()).spawn(work)?;
        let published = receiver.recv().context("the netlink thread ended")??;
        Ok(Self { published, stop, thread: Some(thread) })
    }

    /// Where the tables are published.
    #[must_use]
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Whether it has ended by itself, which it never should.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.notify_one();
        // A panic there has been reported by then.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Reads all tables now.
///
/// # Errors
/// They cannot be read.
pub fn read_once() -> anyhow::Result<IpRoutes> {
    runtime()?.block_on(async {
        let handle = dump::connect()?;
        Ok(IpRoutes::new(&dump::read(&handle, Stale::ALL).await?))
    })
}

/// A runtime on the calling thread, which takes its namespace.
pub(in crate::control) fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("cannot start the netlink runtime")
}

type OnChange = Box<dyn FnMut(&Arc<IpRoutes>) + Send>;
type Started = mpsc::SyncSender<anyhow::Result<Arc<Published>>>;

/// The thread: starts, says so by `started`, and follows the kernel until `stop`.
async fn run(on_change: OnChange, stop: &Notify, started: &Started) {
    let first = async {
        let source = Source::open()?;
        let tables = Tables::read(&source.handle, on_change).await?;
        anyhow::Ok((source, tables))
    };
    let (mut source, mut tables) = match first.await {
        Ok(first) => first,
        Err(error) => return drop(started.send(Err(error.context("cannot read routes by netlink")))),
    };
    let sizes = tables.routes.sizes();
    info!("netlink: {} routes, {} neighbours", sizes.routes, sizes.neighbours);
    if started.send(Ok(Arc::clone(&tables.published))).is_err() {
        return;
    }
    while let Err(error) = follow(&mut source, &mut tables, stop).await {
        warn!("netlink: {error:#}; routes and neighbours stay as they are until it can be read again");
        match recover(&mut tables, stop).await {
            Some(new) => source = new,
            None => return,
        }
        info!("netlink: read again");
    }
}

/// Opens a new connection and reads everything by it, as often as it takes. None if told to stop.
async fn recover(tables: &mut Tables, stop: &Notify) -> Option<Source> {
    let mut pause = RETRY.0;
    loop {
        if tokio::time::timeout(pause, stop.notified()).await.is_ok() {
            return None;
        }
        let attempt = async {
            let source = Source::open()?;
            tables.refresh(&source.handle, Stale::ALL).await?;
            anyhow::Ok(source)
        };
        match attempt.await {
            Ok(source) => return Some(source),
            Err(error) => debug!("netlink: {error:#}"),
        }
        pause = (2 * pause).min(RETRY.1);
    }
}

/// The kernel's side.
struct Source {
    events: Events,
    handle: Handle,
}

impl Source {
    /// In this order: what changes while the tables are read is heard of.
    fn open() -> anyhow::Result<Self> {
        Ok(Self { events: Events::open()?, handle: dump::connect()? })
    }
}

/// Follows the kernel until `stop`, which is `Ok`, or the connection is lost.
async fn follow(source: &mut Source, tables: &mut Tables, stop: &Notify) -> anyhow::Result<()> {
    let mut stale = Stale::NONE;
    let mut read_at = Instant::now();
    let mut not_before = read_at;
    let mut tick_at = read_at + TICK;
    loop {
        let now = Instant::now();
        if stale != Stale::NONE && now >= read_at {
            tables.refresh(&source.handle, std::mem::take(&mut stale)).await?;
            let took = now.elapsed();
            not_before = Instant::now() + (2 * took).min(PAUSE_MAX);
            continue;
        }
        if now >= tick_at {
            tables.tick();
            tick_at = now + TICK;
        }
        let until = if stale == Stale::NONE { tick_at } else { tick_at.min(read_at) };
        let (stopped, event) = (pin!(stop.notified()), pin!(source.events.next()));
        match timeout_at(until.into(), select(stopped, event)).await {
            Ok(Either::Left(_)) => return Ok(()),
            Ok(Either::Right((event, _))) => {
                let was_fresh = stale == Stale::NONE;
                stale |= event?;
                if was_fresh {
                    read_at = not_before.max(Instant::now() + GATHER);
                }
            }
            Err(_) => {}
        }
    }
}

/// Our side.
struct Tables {
    plan: IpPlan,
    routes: Arc<IpRoutes>,
    published: Arc<Published>,
    /// Tables that a worker may still hold.
    retired: Vec<Arc<IpRoutes>>,
    on_change: OnChange,
}

impl Tables {
    async fn read(handle: &Handle, on_change: OnChange) -> anyhow::Result<Self> {
        let plan = dump::read(handle, Stale::ALL).await?;
        let routes = Arc::new(IpRoutes::new(&plan));
        let published = Arc::new(Published::new(Arc::clone(&routes)));
        Ok(Self { plan, routes, published, retired: Vec::new(), on_change })
    }

    /// Reads what is stale, and publishes if that makes a difference.
    async fn refresh(&mut self, handle: &Handle, stale: Stale) -> anyhow::Result<()> {
        let start = Instant::now();
        let fresh = dump::read(handle, stale).await?;
        let changed = replace(&mut self.plan, fresh, stale);
        if changed.is_empty() {
            return Ok(());
        }
        let next = match changed[..] {
            ["neighbours"] => self.routes.with_neighbours(&self.plan.neighbours),
            _ => self.routes.successor(&self.plan),
        };
        self.routes = Arc::new(next);
        worker::publish(&self.published, &mut self.retired, Arc::clone(&self.routes));
        let sizes = self.routes.sizes();
        debug!(
            "netlink: changed {}: {} routes, {} neighbours, read in {:?}",
            changed.join(", "),
            sizes.routes,
            sizes.neighbours,
            start.elapsed()
        );
        (self.on_change)(&self.routes);
        Ok(())
    }

    fn tick(&mut self) {
        let stale = self.plan.neighbours.iter().filter(|n| n.state == NeighbourState::Stale);
        stale.for_each(|neighbour| {
            self.routes.poke(neighbour.link, neighbour.address);
        });
        self.retired.retain(|old| Arc::strong_count(old) > 1);
    }
}

/// Puts the `stale` tables of `fresh` into `plan`, and says which of them differ in what a look-up could see.
fn replace(plan: &mut IpPlan, fresh: IpPlan, stale: Stale) -> Vec<&'static str> {
    let mut changed = Vec::new();
    let mut differs = |name, is_stale: bool, differs: bool| {
        changed.extend((is_stale && differs).then_some(name));
        is_stale
    };
    if differs("links", stale.links, plan.links != fresh.links) {
        plan.links = fresh.links;
    }
    if differs("addresses", stale.addresses, plan.addresses != fresh.addresses) {
        plan.addresses = fresh.addresses;
    }
    if differs("rules", stale.rules, plan.rules != fresh.rules) {
        plan.rules = fresh.rules;
    }
    if differs("routes", stale.routes, plan.routes != fresh.routes) {
        plan.routes = fresh.routes;
    }
    let usable = |plan: &NeighbourPlan| plan.usable_mac().map(|mac| (plan.link, plan.address, mac));
    let (old, new) = (plan.neighbours.iter(), fresh.neighbours.iter());
    if differs("neighbours", stale.neighbours, old.filter_map(usable).ne(new.filter_map(usable))) {
        plan.neighbours = fresh.neighbours;
    }
    changed
}
