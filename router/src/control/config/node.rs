//! What stands for the life of a process: name, workers and CPUs, interfaces, sockets. A change needs a restart.

use super::file::{Interface, IoOptions, WORKERS_MAX, XdpMode, ZeroCopy};
use super::{Config, ConfigError};
use crate::control::cpus::CpuList;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What the command line says instead of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// How many workers.
    pub workers: Option<u32>,
    /// Their CPUs.
    pub cpus: Option<CpuList>,
}

/// The part of a configuration that a running process cannot change.
#[derive(Clone, PartialEq, Debug)]
pub struct NodePlan {
    /// The node's name.
    pub name: String,
    /// For each worker the CPU that it is pinned to.
    pub workers: Vec<Option<usize>>,
    /// The sockets' options.
    pub io: IoOptions,
    /// The listeners, by index.
    pub listeners: Vec<NodeListener>,
    /// The interfaces that the configuration names.
    pub interfaces: Vec<NodeInterface>,
    /// The admin socket, where one is named.
    pub admin_socket: Option<PathBuf>,
}

/// A listener, as far as its sockets go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeListener {
    /// Its name.
    pub name: String,
    /// The bound address.
    pub address: SocketAddr,
    /// The name of its interface, where one is given.
    pub interface: Option<String>,
}

/// An interface for AF_XDP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInterface {
    /// Its name.
    pub name: String,
    /// How many of its queues; none means all.
    pub queues: Option<u32>,
    /// Where the program runs.
    pub xdp_mode: XdpMode,
    /// Whether the driver works on our frames.
    pub zero_copy: ZeroCopy,
}

impl NodeInterface {
    /// An interface that the configuration does not name, with the defaults.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let (xdp_mode, zero_copy) = (XdpMode::default(), ZeroCopy::default());
        Self { name: name.to_owned(), queues: None, xdp_mode, zero_copy }
    }
}

/// The name of a node that has none.
pub const NAME_DEFAULT: &str = "sluice";

impl NodePlan {
    /// Takes it out of a configuration.
    ///
    /// # Errors
    /// There are more workers than CPUs for them; a frame size that there is not; an interface that stands there twice.
    pub fn new(config: &Config, overrides: &Overrides) -> Result<Self, ConfigError> {
        let file = &config.file;
        let name = file.node.name.as_ref().map_or(NAME_DEFAULT, |name| &name.value.0.0);
        let listeners = file.listen.iter().map(|listen| NodeListener {
            name: listen.name.value.0.0.clone(),
            address: listen.address.value.0.0,
            interface: listen.interface.as_ref().map(|name| name.value.0.0.clone()),
        });
        let admin_socket = file.admin.socket.as_ref().map(|path| config.resolve(&path.value.0.0));
        Ok(Self {
            name: name.to_owned(),
            workers: workers(config, overrides)?,
            io: io(config)?,
            listeners: listeners.collect(),
            interfaces: interfaces(config)?,
            admin_socket,
        })
    }

    /// The keys that differ in `other`, for a reload that cannot follow them.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        let mut note = |differs: bool, key| {
            if differs {
                keys.push(key);
            }
        };
        note(self.name != other.name, "node.name");
        note(self.workers.len() != other.workers.len(), "node.workers");
        note(self.workers != other.workers && self.workers.len() == other.workers.len(), "node.cpus");
        note(self.listeners != other.listeners, "listen.name, listen.address or listen.interface");
        note(self.interfaces != other.interfaces, "interface");
        note(self.io != other.io, "io");
        note(self.admin_socket != other.admin_socket, "admin.socket");
        keys
    }
}

fn io(config: &Config) -> Result<IoOptions, ConfigError> {
    let io = &config.file.io;
    let size = io.frame_size.value.0;
    if size.is_power_of_two() {
        return Ok(io.clone());
    }
    Err(config.source.error(io.frame_size.at.start, format!("{size} bytes; allowed: 2048 or 4096")))
}

fn interfaces(config: &Config) -> Result<Vec<NodeInterface>, ConfigError> {
    let mut interfaces: Vec<NodeInterface> = Vec::new();
    for Interface { name, queues, xdp_mode, zero_copy } in
        config.file.interface.iter().map(|located| &located.value)
    {
        if interfaces.iter().any(|other| other.name == name.0.0) {
            let what = format!(
                "there is an interface \"{}\" already; allowed: one table for each interface",
                name.0.0
            );
            return Err(config.source.error(name.at.start, what));
        }
        let queues = queues.as_ref().map(|queues| queues.0);
        let xdp_mode = *xdp_mode;
        if let Some(wanted) = zero_copy
            && (xdp_mode, wanted.value) == (XdpMode::Generic, ZeroCopy::Require)
        {
            let what = "\"require\" with xdp_mode = \"generic\", where there is no zero copy; allowed: \"auto\", \"never\", or another xdp_mode";
            return Err(config.source.error(wanted.at.start, what));
        }
        let zero_copy = zero_copy.as_ref().map(|located| located.value).unwrap_or_default();
        interfaces.push(NodeInterface { name: name.0.0.clone(), queues, xdp_mode, zero_copy });
    }
    Ok(interfaces)
}

/// The CPU of each worker. What the command line says goes before what the file says.
fn workers(config: &Config, overrides: &Overrides) -> Result<Vec<Option<usize>>, ConfigError> {
    let node = &config.file.node;
    let cpus = overrides.cpus.as_ref().or(node.cpus.as_ref().map(|cpus| &cpus.value.0));
    let cpus = cpus.map_or(&[][..], CpuList::as_slice);
    let wanted = overrides.workers.or(node.workers.as_ref().map(|workers| workers.value.0));
    let count = wanted.map_or(cpus.len().max(1), |workers| workers as usize);
    let fault = |what: String| {
        if *overrides != Overrides::default() {
            let (file, key) = ("command line".to_owned(), "--workers, --cpus".to_owned());
            return ConfigError { file, position: None, key, message: what };
        }
        let at = node.workers.as_ref().map(|w| &w.at).or(node.cpus.as_ref().map(|c| &c.at));
        config.source.error(at.map_or(0, |at| at.start), what)
    };
    if !cpus.is_empty() && count > cpus.len() {
        let (only, s) = (cpus.len(), if cpus.len() == 1 { "" } else { "s" });
        return Err(fault(format!(
            "{count} workers for {only} CPU{s}; allowed: at most one worker for each CPU"
        )));
    }
    if count > WORKERS_MAX as usize {
        return Err(fault(format!("{count} workers; allowed: 1 to {WORKERS_MAX}")));
    }
    Ok((0..count).map(|i| cpus.get(i).copied()).collect())
}
