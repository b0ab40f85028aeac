//! What stands for the life of a process: name, workers and CPUs, sockets. A change needs a restart.

use super::file::{IoOptions, WORKERS_MAX};
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
    /// The names and bound addresses of the listeners, by index.
    pub listeners: Vec<(String, SocketAddr)>,
    /// The admin socket, where one is named.
    pub admin_socket: Option<PathBuf>,
}

/// The name of a node that has none.
pub const NAME_DEFAULT: &str = "sluice";

impl NodePlan {
    /// Takes it out of a configuration.
    ///
    /// # Errors
    /// There are more workers than CPUs for them.
    pub fn new(config: &Config, overrides: &Overrides) -> Result<Self, ConfigError> {
        let file = &config.file;
        let name = file.node.name.as_ref().map_or(NAME_DEFAULT, |name| &name.value.0.0);
        let listeners = file.listen.iter().map(|l| (l.name.value.0.0.clone(), l.address.value.0.0)).collect();
        let admin_socket = file.admin.socket.as_ref().map(|path| config.resolve(&path.value.0.0));
        Ok(Self {
            name: name.to_owned(),
            workers: workers(config, overrides)?,
            io: file.io.clone(),
            listeners,
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
        note(self.listeners != other.listeners, "listen.name or listen.address");
        note(self.io != other.io, "io");
        note(self.admin_socket != other.admin_socket, "admin.socket");
        keys
    }
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
