//! Where a test takes place: the addresses of its ends and nodes, and the network between them.
//!
//! The same tests run on three kinds of site, which the environment chooses ([`Variant`]):
//!
//! ```text
//! loopback     all on this machine's loopback, which needs no privilege
//!
//! namespaces   each test has three network namespaces of its own, which needs root:
//!
//!              ends: SIPp, phones, strict routers          node a (.1, ::1), node b (.2, ::2)
//!              192.0.2.254, 2001:db8::fe [bridge public]---veth---[public] 192.0.2.0/24, 2001:db8::/64
//!              10.0.0.254, fd00::fe      [bridge core]-----veth---[core]   10.0.0.0/24, fd00::/64
//!
//! guest        node a is in an emulated machine, for drivers that can zero copy; scripts/zero-copy starts it, and the
//!              tests in the namespace where its interfaces end. One test at a time, and there is no node b
//!
//!              192.0.2.254, 2001:db8::fe [tap public]------------[public] 192.0.2.0/24, 2001:db8::/64
//!              10.0.0.254, fd00::fe      [tap core]--------------[core]   10.0.0.0/24, fd00::/64
//! ```
//!
//! Namespaces have no names and are held by open files alone, and every process that a test starts dies with
//! the thread that started it. So nothing is left behind, also when the tests are killed. To look around
//! while a test runs: `nsenter --target PID_OF_SLUICE --net`.

mod capture;
mod cpu;
mod guest;
mod ip;
mod loopback;
mod namespaces;
mod variant;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::process::Process;
use super::requirements;
use super::scratch::Scratch;
use capture::Capture;
use cpu::OneCpu;
use guest::Guest;
pub(crate) use guest::Program;
pub(crate) use ip::ip;
use namespaces::Namespaces;
pub(crate) use namespaces::mac;
pub(crate) use variant::{IoMode, Kind, Variant};

/// One of the two networks that a node connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// The callers' side.
    Public,
    /// The side behind the nodes.
    Core,
}

impl Network {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Public, Self::Core];

    /// The name of its bridge, and of every node's interface into it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Core => "core",
        }
    }
}

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A network and a version of IP: what a test says of an address instead of naming it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The network.
    pub(crate) network: Network,
    /// The version of IP.
    pub(crate) family: Family,
}

/// IPv4 on the callers' side.
pub(crate) const PUBLIC_IPV4: Place = Place { network: Network::Public, family: Family::V4 };
/// IPv6 on the callers' side.
pub(crate) const PUBLIC_IPV6: Place = Place { network: Network::Public, family: Family::V6 };
/// IPv4 on the side behind the nodes.
pub(crate) const CORE_IPV4: Place = Place { network: Network::Core, family: Family::V4 };
/// IPv6 on the side behind the nodes.
pub(crate) const CORE_IPV6: Place = Place { network: Network::Core, family: Family::V6 };

/// The site of one test, and the folder of its files.
#[derive(Debug)]
pub(crate) struct Site {
    /// What the environment asks for.
    pub(crate) variant: Variant,
    // Dropped in this order: who writes into the folder before the folder.
    capture: Option<Capture>,
    ground: Ground,
    cpu: OneCpu,
    scratch: Scratch,
}

/// Where nodes are.
#[derive(Debug)]
enum Ground {
    Loopback,
    Namespaces(Namespaces),
    Guest(Guest),
}

impl Site {
    /// The site that the environment asks for, with addresses of these places; `None` where it cannot be had.
    pub(crate) fn open(places: &[Place]) -> Option<Self> {
        Self::of(Variant::from_environment(), places)
    }

    /// A site with links of its own, for tests that change links and routes: in namespaces where the environment asks for
    /// the loopback.
    pub(crate) fn of_network() -> Option<Self> {
        let mut variant = Variant::from_environment();
        if variant.kind == Kind::Loopback {
            variant.kind = Kind::Namespaces;
        }
        Self::of(variant, &[])
    }

    /// The site of a variant.
    fn of(variant: Variant, places: &[Place]) -> Option<Self> {
        let scratch = Scratch::new();
        let ground = match variant.kind {
            Kind::Loopback => loopback::missing(places).map_or(Ok(Ground::Loopback), Err),
            Kind::Namespaces => Namespaces::new(&variant).map(Ground::Namespaces),
            Kind::Guest => {
                let shell = variant.guest.expect("a guest has an address");
                Guest::new(shell, scratch.path()).map(Ground::Guest)
            }
        };
        let (ground, missing) = match ground {
            Ok(ground) => (Some(ground), None),
            Err(missing) => (None, Some(missing)),
        };
        if !requirements::met(missing) {
            return None;
        }
        let ground = ground?;
        let is_captured = variant.capture && matches!(ground, Ground::Namespaces(_));
        let capture = is_captured.then(|| Capture::start(scratch.path()));
        Some(Self { variant, capture, ground, cpu: OneCpu::new(), scratch })
    }

    /// The IP address of the ends in a place.
    pub(crate) fn end_ip(&self, place: Place) -> IpAddr {
        match &self.ground {
            Ground::Loopback => loopback::ip(place),
            Ground::Namespaces(_) | Ground::Guest(_) => namespaces::ends_ip(place),
        }
    }

    /// A free address of an end.
    pub(crate) fn end(&self, place: Place) -> SocketAddr {
        match &self.ground {
            Ground::Loopback => loopback::free_address(place),
            Ground::Namespaces(_) | Ground::Guest(_) => {
                SocketAddr::new(namespaces::ends_ip(place), namespaces::free_port())
            }
        }
    }

    /// A free address of the node `name`.
    pub(crate) fn node(&self, name: &str, place: Place) -> SocketAddr {
        match &self.ground {
            Ground::Loopback => loopback::free_address(place),
            Ground::Namespaces(_) | Ground::Guest(_) => {
                SocketAddr::new(namespaces::node_ip(name, place), namespaces::free_port())
            }
        }
    }

    /// The prefixes of all ends and nodes.
    pub(crate) fn prefixes(&self) -> &'static [&'static str] {
        match &self.ground {
            Ground::Loopback => &loopback::PREFIXES,
            Ground::Namespaces(_) | Ground::Guest(_) => &namespaces::PREFIXES,
        }
    }

    /// The interface of a node that has this address, as AF_XDP needs to know it; `None` on the loopback.
    pub(crate) fn interface_of(&self, address: SocketAddr) -> Option<&'static str> {
        match &self.ground {
            Ground::Loopback => None,
            Ground::Namespaces(_) | Ground::Guest(_) => Some(namespaces::network_of(address.ip()).name()),
        }
    }

    /// The device that has the addresses of that network, by the same name with the ends and with the nodes.
    pub(crate) fn device(&self, network: Network) -> String {
        match &self.ground {
            Ground::Namespaces(namespaces) => namespaces.device(network),
            Ground::Loopback | Ground::Guest(_) => network.name().to_owned(),
        }
    }

    /// Whether [`Self::at_node`] can be.
    pub(crate) fn is_here(&self) -> bool {
        !matches!(self.ground, Ground::Guest(_))
    }

    /// Runs `work` on the node's machine: in its namespace, where there are some, and on all CPUs. What it
    /// starts stays there.
    pub(crate) fn at_node<T>(&self, name: &str, work: impl FnOnce() -> T) -> T {
        self.cpu.lifted(|| match &self.ground {
            Ground::Loopback => work(),
            Ground::Namespaces(namespaces) => namespaces.at_node(name, work),
            Ground::Guest(_) => panic!("this thread cannot be in another machine"),
        })
    }

    /// Runs lines of `ip` on the node's machine.
    pub(crate) fn ip_at_node(&self, name: &str, lines: &str) {
        match &self.ground {
            Ground::Guest(guest) => guest.ip(lines),
            _ => self.at_node(name, || ip(lines)),
        }
    }

    /// Writes a setting under `/proc/sys` on the node's machine.
    pub(crate) fn set_at_node(&self, name: &str, path: &str, value: &str) {
        match &self.ground {
            Ground::Guest(guest) => drop(guest.run(&format!("echo {value} >{path}"))),
            _ => self.at_node(name, || std::fs::write(path, value).expect("a setting of the namespace")),
        }
    }

    /// How many interfaces of the node's machine have an XDP program.
    pub(crate) fn xdp_programs(&self, name: &str) -> usize {
        let text = match &self.ground {
            Ground::Guest(guest) => guest.run("/sbin/ip -json link show"),
            _ => {
                let mut command = Command::new("ip");
                command.args(["-json", "link", "show"]);
                let output = self.at_node(name, || command.output()).expect("ip (Debian: iproute2) starts");
                String::from_utf8(output.stdout).expect("JSON")
            }
        };
        let links: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        links.iter().filter(|link| link.get("xdp").is_some()).count()
    }

    /// Writes a file of the node's.
    pub(crate) fn write(&self, file: &str, text: &str) {
        match &self.ground {
            Ground::Guest(guest) => guest.write(file, text),
            _ => self.scratch.write(file, text),
        }
    }

    /// Starts `sluice`, which is `program` here, with these arguments as the node `name`.
    pub(crate) fn start_node(&self, name: &str, program: &Path, arguments: &[&str]) -> Process {
        let mut command = match &self.ground {
            Ground::Guest(guest) => return Process::there(name, guest.start(name, arguments)),
            Ground::Namespaces(_) => namespaces::node_command(program),
            Ground::Loopback => Command::new(program),
        };
        command.args(arguments);
        self.at_node(name, || Process::start(name, self.scratch.path(), &command))
    }

    /// A way to ask a node that runs here.
    pub(crate) fn console(&self) -> Console {
        match &self.ground {
            Ground::Guest(guest) => Console::There(guest.clone()),
            _ => Console::Here(self.scratch.path().to_owned()),
        }
    }

    /// The CPUs of a node's workers, where there is one for each.
    pub(crate) fn cpus_of(&self, workers: usize) -> Option<Vec<usize>> {
        self.cpu.of_workers(workers).filter(|_| self.is_here())
    }

    /// The folder of the test's files.
    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
    }
}

/// Where commands of `sluice` find what belongs to a node: a folder here, or one in the emulated machine.
#[derive(Clone, Debug)]
pub(crate) enum Console {
    Here(PathBuf),
    There(Guest),
}

impl Console {
    /// What `sluice`, which is `program` here, prints when it is run with these arguments.
    pub(crate) fn ask(&self, program: &Path, arguments: &[&str]) -> String {
        let folder = match self {
            Self::There(guest) => return guest.run(&format!("sluice {}", arguments.join(" "))),
            Self::Here(folder) => folder,
        };
        let output =
            Command::new(program).args(arguments).current_dir(folder).output().expect("sluice starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "sluice {arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("sluice writes UTF-8")
    }
}

impl Drop for Site {
    /// What the nodes sent is looked at when the test is through and nobody sends any more.
    fn drop(&mut self) {
        if let Some(capture) = self.capture.take()
            && !std::thread::panicking()
        {
            capture.assert_sound();
        }
    }
}
