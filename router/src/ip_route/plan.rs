//! What the tables are built from: the kernel's links, addresses, rules, routes and neighbours as plain data.
//!
//! The numbers and names are those of rtnetlink(7), `linux/rtnetlink.h`, `linux/fib_rules.h` and `linux/neighbour.h`. Addresses are never IPv4-mapped.

use crate::wire::ethernet::Mac;
use core::net::IpAddr;
use ipnet::IpNet;

/// A link, by the kernel's number for it (`ifindex`), which is never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Default)]
pub struct LinkIndex(pub u32);

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[inline]
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Everything that [`super::IpRoutes`] are built from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IpPlan {
    /// All links, in any order.
    pub links: Vec<LinkPlan>,
    /// All addresses of ours, in the kernel's order: the first of a link is the first choice to send from.
    pub addresses: Vec<AddressPlan>,
    /// All rules. Those of one priority apply in the order in which they stand.
    pub rules: Vec<RulePlan>,
    /// All routes of all tables. Those of one table, prefix, metric and preference apply in the order in which they stand.
    pub routes: Vec<RoutePlan>,
    /// All neighbours, in any order; at most one for each link and address.
    pub neighbours: Vec<NeighbourPlan>,
}

/// A link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkPlan {
    /// Its number.
    pub index: LinkIndex,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Its Ethernet address; all zero where it has none.
    pub mac: Mac,
    /// Longest IP packet, in bytes.
    pub mtu: u32,
    /// Whether it is set up (`IFF_UP`).
    pub is_up: bool,
    /// Whether it has a carrier (`IFF_LOWER_UP`).
    pub has_carrier: bool,
}

/// What a link is, as far as sending a frame is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// An Ethernet device that takes whole frames: a network card, veth, tap, also a bridge or bond.
    Physical,
    /// A VLAN of another link.
    Vlan {
        /// The link that carries it.
        parent: LinkIndex,
        /// The tag's EtherType: 0x8100 (802.1Q) or 0x88a8 (802.1ad).
        protocol: u16,
        /// The VLAN's number, 0 to 4095.
        id: u16,
        /// The priority that its frames carry, 0 to 7 (`egress-qos-map 0:N`).
        priority: u8,
    },
    /// The loopback.
    Loopback,
    /// Anything else: a tunnel without Ethernet, a VRF, a VLAN of a link in another namespace.
    Other,
}

/// An address of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressPlan {
    /// Whose it is.
    pub link: LinkIndex,
    /// The address.
    pub address: IpAddr,
    /// The prefix that lies on the link: the address's own, or that of its peer on a point-to-point link.
    pub on_link: IpNet,
    /// `RT_SCOPE_*`: 0 is global, 253 link, 254 host. IPv4 only; IPv6 addresses tell their own.
    pub scope: u8,
    /// IPv4: not the first of its prefix (`IFA_F_SECONDARY`). IPv6: a temporary one of RFC 8981 (the same flag).
    pub is_secondary: bool,
    /// Not for new use (`IFA_F_DEPRECATED`).
    pub is_deprecated: bool,
    /// Not proven to be ours alone, or proven not to be (`IFA_F_TENTATIVE` without `IFA_F_OPTIMISTIC`, `IFA_F_DADFAILED`).
    pub is_tentative: bool,
}

/// A routing policy rule. Rules that no datagram of ours can match are not here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RulePlan {
    /// Whose datagrams it is about.
    pub family: Family,
    /// Lower is first.
    pub priority: u32,
    /// It applies where the prefixes do *not* match.
    pub is_inverted: bool,
    /// Source addresses; none: all, also an unknown one.
    pub source: Option<IpNet>,
    /// Destination addresses; none: all.
    pub destination: Option<IpNet>,
    /// What it does.
    pub action: RuleAction,
}

impl RulePlan {
    /// The rules of a system whose kernel has no policy routing, and the first ones of every other.
    #[must_use]
    pub fn defaults(family: Family) -> Vec<Self> {
        let rule = |priority, table| Self {
            family,
            priority,
            is_inverted: false,
            source: None,
            destination: None,
            action: RuleAction::Table { table, suppressed_prefix_len_max: None },
        };
        let mut rules = vec![rule(0, TABLE_LOCAL), rule(32_766, TABLE_MAIN)];
        if family == Family::V4 {
            rules.push(rule(32_767, TABLE_DEFAULT));
        }
        rules
    }
}

/// `RT_TABLE_DEFAULT`.
pub const TABLE_DEFAULT: u32 = 253;
/// `RT_TABLE_MAIN`.
pub const TABLE_MAIN: u32 = 254;
/// `RT_TABLE_LOCAL`.
pub const TABLE_LOCAL: u32 = 255;

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleAction {
    /// Look the destination up in a table, and go on with the next rule if nothing is found there.
    Table {
        /// The table.
        table: u32,
        /// Routes whose prefix is this long or shorter count as not found, unless they discard (`FRA_SUPPRESS_PREFIXLEN`).
        suppressed_prefix_len_max: Option<u8>,
    },
    /// Go on with the first rule of this priority, which is higher than the rule's own; if there is none, with the next rule.
    Goto(u32),
    /// Go on.
    Nop,
    /// Discard without a word (`FR_ACT_BLACKHOLE`), or with one (`FR_ACT_UNREACHABLE`, `FR_ACT_PROHIBIT`).
    Discard,
    /// It depends on something that the tables do not know: the kernel has to decide.
    Unsupported,
}

/// A route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoutePlan {
    /// The table that it is in.
    pub table: u32,
    /// The destinations that it is for.
    pub destination: IpNet,
    /// Lower is better (`RTA_PRIORITY`).
    pub metric: u32,
    /// Among IPv6 routes of one prefix and metric, higher is better: -1, 0 or 1 (RFC 4191).
    pub preference: i8,
    /// What it does.
    pub kind: RouteKind,
    /// Where it leads, for unicast and local routes: one way, or several that share the traffic.
    pub hops: Vec<HopPlan>,
    /// The address to send from (`RTA_PREFSRC`).
    pub source: Option<IpAddr>,
    /// Longest IP packet in bytes, if it is not the link's (`RTAX_MTU`).
    pub mtu: Option<u32>,
}

/// One way of a route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HopPlan {
    /// The link to leave by.
    pub link: LinkIndex,
    /// The router to send to, IPv6 for an IPv4 route too (RFC 8950); none: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Its share, 1 to 256.
    pub weight: u32,
}

/// What a route does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteKind {
    /// Send.
    Unicast,
    /// It is an address of ours, anycast ones included.
    Local,
    /// A broadcast or multicast address.
    NotUnicast,
    /// Discard without a word (`RTN_BLACKHOLE`), or with one (`RTN_UNREACHABLE`, `RTN_PROHIBIT`).
    Discard,
    /// As if the table had no route (`RTN_THROW`).
    Throw,
    /// It needs something that the tables do not know, such as encapsulation: the kernel has to send.
    Unsupported,
}

/// A neighbour.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NeighbourPlan {
    /// The link that it is on.
    pub link: LinkIndex,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address, if it is known.
    pub mac: Option<Mac>,
    /// How well it is known.
    pub state: NeighbourState,
}

impl NeighbourPlan {
    /// Its Ethernet address, if datagrams may be sent there.
    #[must_use]
    pub fn usable_mac(&self) -> Option<Mac> {
        self.mac.filter(|_| self.state.is_usable())
    }
}

/// How well a neighbour is known (`NUD_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum NeighbourState {
    /// Nothing is known and nothing done about it.
    None,
    /// Being asked for.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Not confirmed lately.
    Stale,
    /// Used since it went stale; it is going to be asked.
    Delay,
    /// Being asked whether it is still there.
    Probe,
    /// It does not answer.
    Failed,
    /// Needs no asking.
    NoArp,
    /// Set by hand.
    Permanent,
}

impl NeighbourState {
    /// Whether the kernel itself would send to it without waiting (`NUD_VALID`).
    #[must_use]
    pub const fn is_usable(self) -> bool {
        use NeighbourState::{Delay, NoArp, Permanent, Probe, Reachable, Stale};
        matches!(self, Reachable | Stale | Delay | Probe | NoArp | Permanent)
    }
}
