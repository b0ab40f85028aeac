//! Where a test takes place: the addresses of its ends and nodes, and the network between them.
//!
//! The same tests run on two kinds of site, which the environment chooses ([`Variant`]):
//!
//! ```text
//! loopback     all on this machine's loopback, which needs no privilege
//!
//! namespaces   each test has three network namespaces of its own, which needs root:
//!
//!              ends: SIPp, phones, strict routers          node a (.1, ::1), node b (.2, ::2)
//!              192.0.2.254, 2001:db8::fe [bridge public]---veth---[public] 192.0.2.0/24, 2001:db8::/64
//!              10.0.0.254, fd00::fe      [bridge core]-----veth---[core]   10.0.0.0/24, fd00::/64
//! ```
//!
//! Namespaces have no names and are held by open files alone, and every process that a test starts dies with
//! the thread that started it. So nothing is left behind, also when the tests are killed. To look around
//! while a test runs: `nsenter --target PID_OF_SLUICE --net`.

mod capture;
mod cpu;
mod ip;
mod loopback;
mod namespaces;
mod variant;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::requirements;
use super::scratch::Scratch;
use capture::Capture;
use cpu::OneCpu;
pub(crate) use ip::ip;
pub(crate) use namespaces::{Namespaces, mac};
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
    namespaces: Option<Namespaces>,
    cpu: OneCpu,
    scratch: Scratch,
}

impl Site {
    /// The site that the environment asks for, with addresses of these places; `None` where it cannot be had.
    pub(crate) fn open(places: &[Place]) -> Option<Self> {
        Self::of(Variant::from_environment(), places)
    }

    /// A site in namespaces whatever the environment says of that, for tests that take links and routes away.
    pub(crate) fn of_namespaces() -> Option<Self> {
        Self::of(Variant { kind: Kind::Namespaces, ..Variant::from_environment() }, &[])
    }

    /// The site of a variant.
    pub(crate) fn of(variant: Variant, places: &[Place]) -> Option<Self> {
        let (namespaces, missing) = match variant.kind {
            Kind::Loopback => (None, loopback::missing(places)),
            Kind::Namespaces => match Namespaces::new(&variant) {
                Ok(namespaces) => (Some(namespaces), None),
                Err(missing) => (None, Some(missing)),
            },
        };
        if !requirements::met(missing) {
            return None;
        }
        let scratch = Scratch::new();
        let capture = (variant.capture && namespaces.is_some()).then(|| Capture::start(scratch.path()));
        Some(Self { variant, capture, namespaces, cpu: OneCpu::new(), scratch })
    }

    /// The IP address of the ends in a place.
    pub(crate) fn end_ip(&self, place: Place) -> IpAddr {
        match &self.namespaces {
            None => loopback::ip(place),
            Some(_) => namespaces::ends_ip(place),
        }
    }

    /// A free address of an end.
    pub(crate) fn end(&self, place: Place) -> SocketAddr {
        match &self.namespaces {
            None => loopback::free_address(place),
            Some(namespaces) => SocketAddr::new(namespaces::ends_ip(place), namespaces.free_port()),
        }
    }

    /// A free address of the node `name`.
    pub(crate) fn node(&self, name: &str, place: Place) -> SocketAddr {
        match &self.namespaces {
            None => loopback::free_address(place),
            Some(namespaces) => SocketAddr::new(namespaces::node_ip(name, place), namespaces.free_port()),
        }
    }

    /// The prefixes of all ends and nodes.
    pub(crate) fn prefixes(&self) -> &'static [&'static str] {
        match &self.namespaces {
            None => &loopback::PREFIXES,
            Some(_) => &namespaces::PREFIXES,
        }
    }

    /// The interface of a node that has this address, as AF_XDP needs to know it; `None` on the loopback.
    pub(crate) fn interface_of(&self, address: SocketAddr) -> Option<&'static str> {
        self.namespaces.as_ref().map(|_| namespaces::network_of(address.ip()).name())
    }

    /// Runs `work` on the node's machine: in its namespace, where there are some, and on all CPUs. What it
    /// starts stays there.
    pub(crate) fn at_node<T>(&self, name: &str, work: impl FnOnce() -> T) -> T {
        self.cpu.lifted(|| match &self.namespaces {
            None => work(),
            Some(namespaces) => namespaces.at_node(name, work),
        })
    }

    /// The CPUs of a node's workers, where there is one for each.
    pub(crate) fn cpus_of(&self, workers: usize) -> Option<Vec<usize>> {
        self.cpu.of_workers(workers)
    }

    /// The command that starts `program` as a node, to be spawned in [`Self::at_node`].
    pub(crate) fn node_command(&self, program: &Path) -> Command {
        match &self.namespaces {
            None => Command::new(program),
            Some(_) => namespaces::node_command(program),
        }
    }

    /// The namespaces of a site that was made by [`Self::of_namespaces`].
    pub(crate) fn namespaces(&self) -> &Namespaces {
        self.namespaces.as_ref().expect("the test asked for namespaces")
    }

    /// The folder of the test's files.
    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
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
