//! Network namespaces: one for the ends, where the test's thread is, and one for each node.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sched::{CloneFlags, setns, unshare};

use super::ip::{try_ip, turn_off};
use super::{Family, Network, Place, Variant};

/// All ends and nodes.
pub(super) const PREFIXES: [&str; 4] = ["192.0.2.0/24", "10.0.0.0/24", "2001:db8::/64", "fd00::/64"];

/// The nodes, with what their addresses end with.
const NODES: [(&str, u8); 2] = [("a", 1), ("b", 2)];
/// What the addresses of the ends end with.
const ENDS: u8 = 254;
/// The first port that is given out. Not the default one, which need not be written.
const FIRST_PORT: u16 = 5061;

/// The namespaces of one test. The thread that makes them is in that of the ends until it drops them.
#[derive(Debug)]
pub(crate) struct Namespaces {
    home: File,
    ends: File,
    nodes: Vec<(&'static str, File)>,
    vlan: Option<u16>,
}

impl Namespaces {
    /// Makes the namespaces and what connects them.
    ///
    /// # Errors
    /// What this machine lacks.
    pub(super) fn new(variant: &Variant) -> Result<Self, String> {
        let home = current();
        let nodes = NODES.iter().map(|(name, _)| Ok((*name, fresh()?))).collect::<Result<_, String>>()?;
        let ends = fresh()?;
        let namespaces = Self { home, ends, nodes, vlan: variant.vlan };
        namespaces.connect(variant)?;
        Ok(namespaces)
    }

    fn connect(&self, variant: &Variant) -> Result<(), String> {
        let mut lines = "link set lo up\n".to_owned();
        Network::ALL.iter().for_each(|network| self.add_bridge(&mut lines, *network, variant.queues));
        Network::ALL.iter().for_each(|network| self.add_addresses(&mut lines, *network, ENDS));
        try_ip(&lines).map_err(|error| explained(&error, variant))?;
        for (name, number) in NODES {
            let mut lines = "link set lo up\n".to_owned();
            for network in Network::ALL {
                lines += &format!("link set {} addrgenmode none up\n", network.name());
                self.add_addresses(&mut lines, network, number);
            }
            self.at_node(name, || try_ip(&lines))?;
        }
        self.set_offloads(variant)
    }

    /// A bridge without any delay of its own, and a veth into it for each node. Neighbours hear everything:
    /// a bridge that listens to what groups they join would have to hear them first.
    fn add_bridge(&self, lines: &mut String, network: Network, queues: usize) {
        let bridge = network.name();
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        *lines += &format!("link add {bridge} address {} type bridge mcast_snooping 0\n", mac(network, ENDS));
        *lines += &format!("link set {bridge} addrgenmode none up\n");
        for ((name, number), (_, namespace)) in NODES.iter().zip(&self.nodes) {
            let netns = format!("/proc/{}/fd/{}", process::id(), namespace.as_raw_fd());
            let peer = format!("name {bridge} address {} {queues} netns {netns}", mac(network, *number));
            *lines += &format!("link add {name}-{bridge} {queues} type veth peer {peer}\n");
            *lines += &format!("link set {name}-{bridge} master {bridge} addrgenmode none up\n");
        }
    }

    /// Addresses on the interface of that network, or on its VLAN. Duplicates are not looked for, which would
    /// take a second.
    fn add_addresses(&self, lines: &mut String, network: Network, number: u8) {
        let device = self.device(network);
        if let Some(id) = self.vlan {
            *lines += &format!("link add link {} name {device} type vlan id {id}\n", network.name());
            *lines += &format!("link set {device} addrgenmode none up\n");
        }
        for (family, length) in [(Family::V4, 24), (Family::V6, 64)] {
            let ip = address(Place { network, family }, number);
            let nodad = if family == Family::V6 { "nodad" } else { "" };
            *lines += &format!("addr add {ip}/{length} dev {device} {nodad}\n");
        }
    }

    /// The device that has the addresses of that network, by the same name with the ends and with the nodes.
    pub(crate) fn device(&self, network: Network) -> String {
        let vlan = self.vlan.map(|id| format!(".{id}")).unwrap_or_default();
        format!("{}{vlan}", network.name())
    }

    /// Without offload all that crosses a veth has its checksum. Where packets are captured, what the nodes'
    /// kernels send has it in any case: only so a checksum that is not right is sluice's fault.
    ///
    /// A VLAN's tag must stand in the frame: left to the device, that is to nobody, it does not.
    fn set_offloads(&self, variant: &Variant) -> Result<(), String> {
        let vlan = variant.vlan.map_or(&[][..], |_| &["txvlan", "rxvlan"]);
        let checksum = |computed: bool| if computed { &["tx"][..] } else { &[] };
        let off = |devices: &[String], checksum: &[&str]| -> Result<(), String> {
            let features = [vlan, checksum].concat();
            let devices = devices.iter().take(if features.is_empty() { 0 } else { devices.len() });
            devices.into_iter().try_for_each(|device| turn_off(device, &features))
        };
        for (name, _) in NODES {
            let ports = Network::ALL.map(|network| format!("{name}-{}", network.name()));
            off(&ports, checksum(!variant.offload))?;
            let interfaces = Network::ALL.map(|network| network.name().to_owned());
            self.at_node(name, || off(&interfaces, checksum(!variant.offload || variant.capture)))?;
        }
        Ok(())
    }

    /// Runs `work` in the namespace of a node.
    pub(crate) fn at_node<T>(&self, name: &str, work: impl FnOnce() -> T) -> T {
        let (_, node) = self.nodes.iter().find(|(node, _)| *node == name).expect("a node of the site");
        let _return = Return(&self.ends);
        enter(node);
        work()
    }
}

impl Drop for Namespaces {
    /// The kernel takes a namespace apart when nobody is in it and no file is open any more.
    fn drop(&mut self) {
        enter(&self.home);
    }
}

/// Goes back, also when what was done elsewhere fails.
struct Return<'a>(&'a File);

impl Drop for Return<'_> {
    fn drop(&mut self) {
        enter(self.0);
    }
}

/// Takes this thread into a namespace; what it starts from now on is there too.
fn enter(namespace: &File) {
    setns(namespace, CloneFlags::CLONE_NEWNET).expect("a namespace that is held can be entered");
}

/// A new namespace, with this thread in it.
fn fresh() -> Result<File, String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("network namespaces need root: {error}"))?;
    // Also where the machine is strict: routes are changed to ways that answers do not come back by.
    for scope in ["all", "default"] {
        let setting = format!("/proc/sys/net/ipv4/conf/{scope}/rp_filter");
        fs::write(setting, "0").map_err(|error| format!("a namespace cannot be set up: {error}"))?;
    }
    Ok(current())
}

/// The namespace of this thread.
fn current() -> File {
    File::open("/proc/thread-self/ns/net").expect("a thread is in a network namespace")
}

/// What the error of `ip` means.
fn explained(error: &str, variant: &Variant) -> String {
    match variant.vlan {
        Some(_) if error.contains("Unknown device type") => {
            format!("this kernel has no VLAN devices (CONFIG_VLAN_8021Q): {error}")
        }
        _ => format!("links cannot be made: {error}"),
    }
}

/// The command that starts `program` as a node: with the devices of its namespace under `/sys`, where those
/// of the machine are otherwise.
pub(super) fn node_command(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "slave"]);
    command.args(["sh", "-c", "mount -t sysfs sysfs /sys && exec \"$0\" \"$@\""]).arg(program);
    command
}

/// A port that no test was given yet.
pub(super) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(FIRST_PORT);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The address of the ends.
pub(super) fn ends_ip(place: Place) -> IpAddr {
    address(place, ENDS)
}

/// The address of a node.
pub(super) fn node_ip(name: &str, place: Place) -> IpAddr {
    let (_, number) = NODES.iter().find(|(node, _)| *node == name).expect("a node of the site");
    address(place, *number)
}

fn address(place: Place, number: u8) -> IpAddr {
    let host = number.into();
    match (place.family, place.network) {
        (Family::V4, Network::Public) => Ipv4Addr::new(192, 0, 2, number).into(),
        (Family::V4, Network::Core) => Ipv4Addr::new(10, 0, 0, number).into(),
        (Family::V6, Network::Public) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host).into(),
        (Family::V6, Network::Core) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host).into(),
    }
}

/// The network of an address.
pub(super) fn network_of(ip: IpAddr) -> Network {
    let is_public = match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 192,
        IpAddr::V6(ip) => ip.segments()[0] == 0x2001,
    };
    if is_public { Network::Public } else { Network::Core }
}

/// The hardware address of whoever's IP addresses end with `number`.
pub(crate) fn mac(network: Network, number: u8) -> String {
    let network = if network == Network::Public { 1 } else { 2 };
    format!("02:00:00:00:{network:02x}:{number:02x}")
}
