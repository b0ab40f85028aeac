//! Where a datagram leaves by: the kernel's routes, rules, neighbours and links as immutable tables that workers look up.
//!
//! [`crate::control::netlink`] builds them from what the kernel says and publishes them whole; nothing is learnt from packets. A look-up walks the rules, finds the
//! longest prefix of a table by binary search, picks a way of the route, follows its link down to the device that takes the frame, and finds the
//! neighbour. It says all that is needed to send, or why it cannot say; and then the kernel, which knows more, has to send: so every
//! [`NoWay`] errs on that side. What the kernel would do is in `fib_rules_lookup`, `fib_table_lookup` and `ip6_pol_route`.
//!
//! # Neighbours that go stale
//!
//! A frame that a worker sends does not touch the kernel's entry of the neighbour. So the kernel finds it unused, calls it stale, asks nobody, and would never
//! notice that its Ethernet address has changed. Therefore the mirror [pokes](IpRoutes::poke) stale entries every second, and a worker that meets
//! a poke ([`Way::wants_probe`]) has the kernel send something there, a keep-alive, so that it asks. Tables that follow each other share the entries.

#![forbid(unsafe_code)]

mod link;
mod neighbour;
mod plan;
mod policy;
mod source;
mod stretch;
#[cfg(test)]
mod tests;

pub use link::{Egress, Link};
pub use plan::{
    AddressPlan, Family, HopPlan, IpPlan, LinkIndex, LinkKind, LinkPlan, NeighbourPlan, NeighbourState,
    RouteKind, RoutePlan, RuleAction, RulePlan, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN,
};

use crate::wire::ethernet::Mac;
use crate::wire::vlan::Tags;
use arc_swap::ArcSwap;
use core::net::IpAddr;
use neighbour::{Neighbour, Neighbours};
use policy::Policy;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The tables. Immutable, but for the neighbours' pokes.
#[derive(Clone, Debug)]
pub struct IpRoutes {
    serial: u64,
    /// Everything but neighbours. Those change often and this can be large, so they are built apart.
    policy: Arc<Policy>,
    neighbours: Neighbours,
}

/// Where the mirror publishes tables, and every worker looks for them.
pub type Published = ArcSwap<IpRoutes>;

/// What is needed to send a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The link that takes the frame. Of a route by a VLAN, it is the device below.
    pub link: LinkIndex,
    /// The VLAN tags of the frame, outer first.
    pub tags: Tags,
    /// Source of the frame: the address of the route's link, a VLAN's own.
    pub source_mac: Mac,
    /// Destination of the frame: the gateway's, or the destination's own.
    pub destination_mac: Mac,
    /// Longest IP packet in bytes, headers included: the route's or the link's, whichever is less.
    pub mtu: u32,
    /// The address to send from: the one that was given, else the kernel's choice.
    pub source: IpAddr,
    neighbour: &'a Neighbour,
    place: NeighbourPlace,
}

/// Where a neighbour stands in the tables of one serial number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NeighbourPlace(usize);

impl Way<'_> {
    /// Whether the kernel should be made to look whether the neighbour is still there, by sending something there.
    ///
    /// True once for each poke, for one of the workers that ask.
    #[inline]
    #[must_use]
    pub fn wants_probe(&self) -> bool {
        self.neighbour.take_poke()
    }

    /// The neighbour, for [`IpRoutes::wants_probe`].
    #[must_use]
    pub fn neighbour(&self) -> NeighbourPlace {
        self.place
    }
}

/// Why no way can be told. The kernel has to send the datagram, or to say that it cannot be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, thiserror::Error)]
pub enum NoWay {
    /// No route leads there.
    #[error("no route")]
    NoRoute,
    /// A route or rule says blackhole, unreachable or prohibit.
    #[error("a route discards it")]
    Discarded,
    /// It is an address of this machine, or leads to its loopback.
    #[error("an address of this machine")]
    Local,
    /// It is a broadcast, multicast or unspecified address.
    #[error("not a unicast address")]
    NotUnicast,
    /// The neighbour's Ethernet address is not known.
    #[error("the neighbour is not resolved")]
    Unresolved,
    /// The link, or one below it, is down or has no carrier.
    #[error("the link is down")]
    LinkDown,
    /// The link takes no Ethernet frames, or has more than two VLANs on top of each other.
    #[error("a link of an unsupported kind")]
    UnsupportedLink,
    /// The route or rule needs something that the tables do not know, or the address means nothing without a link.
    #[error("an unsupported route, rule or address")]
    Unsupported,
    /// No source was given, and no address of ours can be it.
    #[error("no source address")]
    NoSource,
}

impl IpRoutes {
    /// The tables of `plan`.
    ///
    /// Takes O(n log n) for n routes: a look-up must not wait for it, so it is the control plane's work.
    #[must_use]
    pub fn new(plan: &IpPlan) -> Self {
        let neighbours = Neighbours::new(&plan.neighbours, None);
        Self { serial: next_serial(), policy: Arc::new(Policy::new(plan)), neighbours }
    }

    /// The tables of `plan`, which follow these: neighbours that stay as they are keep their pokes.
    #[must_use]
    pub fn successor(&self, plan: &IpPlan) -> Self {
        let neighbours = Neighbours::new(&plan.neighbours, Some(&self.neighbours));
        Self { serial: next_serial(), policy: Arc::new(Policy::new(plan)), neighbours }
    }

    /// The tables that follow these if only neighbours have changed. Takes no time for routes.
    #[must_use]
    pub fn with_neighbours(&self, plans: &[NeighbourPlan]) -> Self {
        let neighbours = Neighbours::new(plans, Some(&self.neighbours));
        Self { serial: next_serial(), policy: Arc::clone(&self.policy), neighbours }
    }

    /// A number that no other tables of this process have: what was looked up in tables of the same number still holds.
    #[inline]
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// [`Way::wants_probe`], of a way that was found in tables of the same serial number. False for a place of others.
    #[inline]
    #[must_use]
    pub fn wants_probe(&self, neighbour: NeighbourPlace) -> bool {
        self.neighbours.at(neighbour.0).is_some_and(Neighbour::take_poke)
    }

    /// What is needed to send a datagram to `destination`, from `source` if it has been chosen already.
    ///
    /// # Errors
    /// Why it cannot be told.
    #[inline]
    pub fn look_up(&self, source: Option<IpAddr>, destination: IpAddr) -> Result<Way<'_>, NoWay> {
        let destination = destination.to_canonical();
        let source = source.map(|source| source.to_canonical()).filter(|source| !source.is_unspecified());
        check(source, destination)?;
        let (route, hop) = self.policy.unicast(source, destination)?;
        let link = self.policy.links.at(hop.link).ok_or(NoWay::UnsupportedLink)?;
        let egress = link.egress?;
        let source = source.or_else(|| self.policy.source(route, hop, destination)).ok_or(NoWay::NoSource)?;
        let place = self.neighbours.place(link.index, hop.gateway.unwrap_or(destination));
        let place = place.ok_or(NoWay::Unresolved)?;
        let neighbour = self.neighbours.at(place).ok_or(NoWay::Unresolved)?;
        Ok(Way {
            link: egress.link,
            tags: egress.tags,
            source_mac: link.mac,
            destination_mac: neighbour.mac,
            mtu: route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
            source,
            neighbour,
            place: NeighbourPlace(place),
        })
    }

    /// The link that a datagram from `source` to `destination` leaves by: the route's own, be it a VLAN, up or down. For an address of
    /// this machine, the link that it belongs to. None where no route says so.
    #[must_use]
    pub fn leaves_by(&self, source: Option<IpAddr>, destination: IpAddr) -> Option<LinkIndex> {
        let destination = destination.to_canonical();
        let source = source.map(|source| source.to_canonical()).filter(|source| !source.is_unspecified());
        check(source, destination).ok()?;
        let hop = self.policy.hop(source, destination)?;
        self.policy.links.at(hop.link).map(|link| link.index)
    }

    /// The link that has `address` as an address of ours.
    #[must_use]
    pub fn link_of_address(&self, address: IpAddr) -> Option<LinkIndex> {
        self.policy.addresses.link_of(address.to_canonical())
    }

    /// All addresses of ours of one family, each with its link, in the order of links.
    pub fn local_addresses(&self, family: Family) -> impl Iterator<Item = (IpAddr, LinkIndex)> + '_ {
        let of_family = move |address: &&AddressPlan| Family::of(address.address) == family;
        self.policy.addresses.iter().filter(of_family).map(|address| (address.address, address.link))
    }

    /// A link by its number.
    #[must_use]
    pub fn link(&self, index: LinkIndex) -> Option<&Link> {
        self.policy.links.get(index)
    }

    /// A link by its name.
    #[must_use]
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.policy.links.iter().find(|link| link.name == name)
    }

    /// All links, in the order of their numbers.
    pub fn links(&self) -> impl Iterator<Item = &Link> + '_ {
        self.policy.links.iter()
    }

    /// Routes and resolved neighbours that there are, for reports.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes { routes: self.policy.routes(), neighbours: self.neighbours.len() }
    }

    /// Has whoever next sends to a neighbour see to it that it is probed. False if it is not resolved here.
    pub fn poke(&self, link: LinkIndex, address: IpAddr) -> bool {
        self.neighbours.get(link, address.to_canonical()).map(Neighbour::poke).is_some()
    }
}

/// Numbers tables; 64 bits do not run out.
fn next_serial() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// How large the tables are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Routes of all tables.
    pub routes: usize,
    /// Neighbours that datagrams can be sent to.
    pub neighbours: usize,
}

/// Whether routes can tell at all.
#[inline]
fn check(source: Option<IpAddr>, destination: IpAddr) -> Result<(), NoWay> {
    let is_unicast = match destination {
        IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_multicast(),
    };
    if !is_unicast || destination.is_unspecified() {
        return Err(NoWay::NotUnicast);
    }
    // Every link has this prefix: without a link it leads nowhere.
    if matches!(destination, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return Err(NoWay::Unsupported);
    }
    if source.is_some_and(|source| source.is_ipv4() != destination.is_ipv4()) {
        return Err(NoWay::NoRoute);
    }
    Ok(())
}
