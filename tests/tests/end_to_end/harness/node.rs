//! A sluice node: its configuration, its process, and the counters it prints when it stops.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs};

use serde_json::Value;

use super::process::{Process, poll_until};
use super::site::{Console, IoMode, Site, Variant};

/// A route key; two nodes with the same one make a cluster.
pub(crate) const KEY: &str = "1 000102030405060708090a0b0c0d0e0f";
/// Another one.
pub(crate) const OTHER_KEY: &str = "1 f0e0d0c0b0a090807060504030201000";

/// The domain that the nodes answer for.
pub(crate) const DOMAIN: &str = "example.net";

/// The configuration of a node.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig {
    name: &'static str,
    key: &'static str,
    trusting: bool,
    listeners: Vec<(String, SocketAddr)>,
    rules: String,
    routing: Option<&'static str>,
    workers: Option<usize>,
    io: Option<IoMode>,
    io_tables: Option<String>,
}

impl NodeConfig {
    /// A node that answers for [`DOMAIN`] and trusts everybody at the site. Where a site has several machines,
    /// the name says which one it runs on.
    pub(crate) fn new(name: &'static str, key: &'static str) -> Self {
        Self {
            name,
            key,
            trusting: true,
            listeners: Vec::new(),
            rules: String::new(),
            routing: None,
            workers: None,
            io: None,
            io_tables: None,
        }
    }

    /// Trusts nobody.
    pub(crate) fn trusting_nobody(mut self) -> Self {
        self.trusting = false;
        self
    }

    /// Adds a listener.
    pub(crate) fn listener(mut self, name: &str, address: SocketAddr) -> Self {
        self.listeners.push((name.to_owned(), address));
        self
    }

    /// Adds a rule, given as the lines of its table.
    pub(crate) fn rule(mut self, lines: &str) -> Self {
        writeln!(self.rules, "[[rule]]\n{lines}\n").expect("a string takes all");
        self
    }

    /// Adds a rule that sends what is for [`DOMAIN`] to a fixed next hop.
    pub(crate) fn next_hop(self, next_hop: SocketAddr) -> Self {
        self.rule(&format!("host = \"{DOMAIN}\"\nnext_hop = \"{next_hop}\""))
    }

    /// The same, by the listener `egress`.
    pub(crate) fn next_hop_by(self, egress: &str, next_hop: SocketAddr) -> Self {
        self.rule(&format!("host = \"{DOMAIN}\"\nnext_hop = \"{next_hop}\"\negress = \"{egress}\""))
    }

    /// Adds a target set of one member, and a rule that sends what is for [`DOMAIN`] to it.
    pub(crate) fn target_set(mut self, member: SocketAddr) -> Self {
        let members = format!("members = [{{ address = \"{member}\", weight = 100 }}]");
        writeln!(self.rules, "[[target_set]]\nname = \"core\"\n{members}\n").expect("a string takes all");
        self.rule(&format!("host = \"{DOMAIN}\"\ntarget_set = \"core\""))
    }

    /// Writes everything but the node's own tables as given: the listeners are then only told of, for their
    /// interfaces.
    pub(crate) fn routing(mut self, tables: &'static str) -> Self {
        self.routing = Some(tables);
        self
    }

    /// Another number of workers than the environment's.
    pub(crate) fn workers(mut self, count: usize) -> Self {
        self.workers = Some(count);
        self
    }

    /// Another I/O than the environment's.
    pub(crate) fn io(mut self, io: IoMode) -> Self {
        self.io = Some(io);
        self
    }

    /// Other tables for its I/O than those that the environment asks for.
    pub(crate) fn io_tables(mut self, tables: &str) -> Self {
        self.io_tables = Some(tables.to_owned());
        self
    }

    /// The TOML. Its paths are relative, so that the admin socket's is short wherever the scratch folder is.
    fn toml(&self, site: &Site, key_file: &str) -> String {
        let name = self.name;
        let workers = self.workers.unwrap_or(site.variant.workers);
        let cpus =
            site.cpus_of(workers).map(|cpus| cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
        let cpus = cpus.map(|cpus| format!("cpus = \"{cpus}\"\n")).unwrap_or_default();
        let io = self.io_tables.clone().unwrap_or_else(|| self.tables_of_site(site));
        let routing = self.routing.map_or_else(|| self.routing_tables(site), str::to_owned);
        format!(
            "[node]\nname = \"{name}\"\nworkers = {workers}\n{cpus}key_file = \"{key_file}\"\n\n\
             [admin]\nsocket = \"{name}.sock\"\n\n{io}{routing}"
        )
    }

    fn routing_tables(&self, site: &Site) -> String {
        let trusted_sources = if self.trusting { site.prefixes() } else { &[] };
        let (listeners, rules) = (self.listen(), &self.rules);
        format!(
            "[trust]\nsources = {trusted_sources:?}\n\n\
             [routing]\nrecord_route = \"dialogs\"\ndomains = [\"{DOMAIN}\"]\n\n\
             {listeners}{rules}"
        )
    }

    fn listen(&self) -> String {
        let table = |(name, address): &(String, SocketAddr)| {
            format!("[[listen]]\nname = \"{name}\"\naddress = \"{address}\"\ntrusted = false\n\n")
        };
        self.listeners.iter().map(table).collect()
    }

    /// How the site wants it: ordinary sockets, or AF_XDP on every interface that a listener is on.
    fn tables_of_site(&self, site: &Site) -> String {
        let Variant { io, queues, steer, xdp_mode, zero_copy, .. } = &site.variant;
        if self.io.unwrap_or(*io) == IoMode::Udp {
            return "[io]\nmode = \"udp\"\n\n".to_owned();
        }
        let key = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("{name} = \"{value}\"\n")).unwrap_or_default()
        };
        let mut toml = format!("[io]\nmode = \"af_xdp\"\n{}\n", key("steer", steer));
        let interfaces = self.listeners.iter().filter_map(|(_, address)| site.interface_of(*address));
        let interfaces: BTreeSet<&str> = interfaces.collect();
        for name in interfaces {
            let (xdp_mode, zero_copy) = (key("xdp_mode", xdp_mode), key("zero_copy", zero_copy));
            toml += &format!("[[interface]]\nname = \"{name}\"\nqueues = {queues}\n{xdp_mode}{zero_copy}\n");
        }
        toml
    }
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    name: &'static str,
    io: IoMode,
    console: Console,
    process: Process,
}

impl Node {
    /// Starts a node and waits until its sockets are bound. Where zero copy is required its log has to say of every
    /// interface that it is there.
    pub(crate) fn start(site: &Site, config: &NodeConfig) -> Self {
        let (name, io) = (config.name, config.io.unwrap_or(site.variant.io));
        let mut process = Self::launch(site, config);
        process.wait_until("ready", |process| says_ready(&process.stderr()));
        if io == IoMode::AfXdp && site.variant.zero_copy.as_deref() == Some("require") {
            let log = process.stderr();
            let has_zero_copy = |line: &&str| line.contains(": AF_XDP, ") && line.contains(", zero copy, ");
            let interfaces: BTreeSet<_> =
                config.listeners.iter().filter_map(|(_, address)| site.interface_of(*address)).collect();
            let count = log.lines().filter(has_zero_copy).count();
            assert_eq!(count, interfaces.len(), "zero copy on each of {interfaces:?}: {log}");
        }
        Self { name, io, console: site.console(), process }
    }

    /// Starts a node that cannot have what it must have, and returns what it says. It must end with an error.
    pub(crate) fn refusal(site: &Site, config: &NodeConfig) -> String {
        let mut process = Self::launch(site, config);
        let status = process.wait(REFUSED);
        assert_eq!(status.code(), Some(1), "a node that cannot start says so: {}", process.evidence());
        process.stderr()
    }

    fn launch(site: &Site, config: &NodeConfig) -> Process {
        let name = config.name;
        let (key_file, toml_file) = (format!("{name}.key"), format!("{name}.toml"));
        site.write(&key_file, &format!("{}\n", config.key));
        site.write(&toml_file, &config.toml(site, &key_file));
        site.start_node(name, &sluice_binary(), &["run", "--config", &toml_file])
    }

    /// What it has written to its log.
    pub(crate) fn log(&self) -> String {
        self.process.stderr()
    }

    /// Kills the node (SIGKILL), which has no time for anything.
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    /// The counters of the running node.
    pub(crate) fn counters(&self) -> Counters {
        Counters::of(&self.stats(&[])["counters"])
    }

    /// The counters of each worker, without the kernel path of AF_XDP.
    pub(crate) fn workers(&self) -> Vec<Counters> {
        let stats = self.stats(&["--per-worker"]);
        let workers = stats["workers"].as_array().expect("a list of workers").iter();
        let named =
            workers.filter(|worker| worker["name"].as_str().is_some_and(|name| name.starts_with("worker ")));
        named.map(|worker| Counters::of(&worker["counters"])).collect()
    }

    fn stats(&self, options: &[&str]) -> Value {
        let socket = format!("{}.sock", self.name);
        let arguments = [&["stats", "--json", "--socket", &socket], options].concat();
        serde_json::from_str(&self.console.ask(&sluice_binary(), &arguments)).expect("JSON")
    }

    /// When nothing is under way, every frame is either free or on one of the rings: none was lost, and none
    /// is there twice. Only ordinary sockets have no frames.
    pub(crate) fn assert_all_frames_are_there(&self) {
        let mut counters = self.counters();
        if self.io == IoMode::Udp {
            assert_eq!(counters.get("frames"), 0, "ordinary sockets have no frames: {counters:#?}");
            return;
        }
        let all = |counters: &Counters| FRAME_PLACES.iter().map(|place| counters.get(place)).sum::<u64>();
        assert!(counters.get("frames") > 0, "AF_XDP has frames: {counters:#?}");
        let there = poll_until(Duration::from_secs(3), || {
            counters = self.counters();
            all(&counters) == counters.get("frames")
        });
        assert!(there, "all frames are somewhere, and {} are: {counters:#?}", all(&counters));
        counters.assert_sound();
    }

    /// Stops the node, which must end cleanly, and reads its counters.
    pub(crate) fn stop(mut self) -> Counters {
        self.process.terminate();
        let status = self.process.wait(Duration::from_secs(20));
        assert!(status.success(), "sluice ends with {status}: {}", self.process.evidence());
        Counters::parse(&self.process.stdout())
    }
}

/// How long a node may take to see that it cannot start.
const REFUSED: Duration = Duration::from_secs(60);

/// Where a frame can be when nothing is under way.
const FRAME_PLACES: [&str; 4] = ["frames_free", "frames_fill", "frames_transmit", "frames_handover"];

/// Whether the log has the word; "already in use" does not count.
fn says_ready(log: &str) -> bool {
    log.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "ready")
}

/// The binary under test: `SLUICE_BIN`, else the one that cargo put beside this test.
fn sluice_binary() -> PathBuf {
    let beside_this_test = || {
        let test = env::current_exe().expect("a running program has a path");
        let profile_folder = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
        profile_folder.join("sluice")
    };
    let binary = env::var_os("SLUICE_BIN").map_or_else(beside_this_test, PathBuf::from);
    assert!(
        fs::metadata(&binary).is_ok_and(|file| file.is_file()),
        "{} does not exist: run `cargo build -p sluice` first, or set SLUICE_BIN",
        binary.display()
    );
    // The node runs in another folder.
    fs::canonicalize(binary).expect("a file that exists has a path")
}

/// The counters of a node that stopped.
#[derive(Debug)]
pub(crate) struct Counters {
    values: BTreeMap<String, u64>,
}

impl Counters {
    /// Those of `sluice stats --json`.
    fn of(object: &Value) -> Self {
        let object = object.as_object().expect("an object of counters");
        let counter = |(name, value): (&String, &Value)| (name.clone(), value.as_u64().expect("a number"));
        Self { values: object.iter().map(counter).collect() }
    }

    /// Reads the lines `name value`; others are for people.
    fn parse(output: &str) -> Self {
        let lines = output.lines().filter_map(|line| line.trim().rsplit_once(' '));
        let values = lines.filter_map(|(name, value)| Some((name.trim().to_owned(), value.parse().ok()?)));
        Self { values: values.collect() }
    }

    /// One counter; a counter that is not printed is 0.
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.values.get(name).copied().unwrap_or_default()
    }

    /// The sum over the reasons of `replied`, `absorbed` or `dropped`.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        let of_reason = |counter: &str| counter.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        self.values.iter().filter(|(counter, _)| of_reason(counter)).map(|(_, value)| value).sum()
    }

    /// Every datagram has one fate, all were sent, and none was dropped.
    pub(crate) fn assert_clean(&self) {
        let forwarded = self.get("forwarded_requests") + self.get("forwarded_responses");
        let others = self.sum("replied") + self.sum("absorbed") + self.sum("dropped");
        assert!(self.get("received") > 0, "something was received: {self:#?}");
        assert_eq!(self.get("received"), forwarded + others, "each has one fate: {self:#?}");
        assert_eq!(self.sum("dropped"), 0, "nothing was dropped: {self:#?}");
        assert_eq!(self.get("send_failed"), 0, "everything was sent: {self:#?}");
        self.assert_sound();
    }

    /// The kernel found nothing wrong with what it was given, and dropped nothing for want of a frame that holds it.
    pub(crate) fn assert_sound(&self) {
        for counter in ["xsk{dropped}", "xsk{rx_invalid}", "xsk{tx_invalid}"] {
            assert_eq!(self.get(counter), 0, "{counter}: {self:#?}");
        }
    }
}
