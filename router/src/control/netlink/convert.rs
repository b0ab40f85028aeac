//! From the kernel's messages to the plan of the tables.
//!
//! What the tables cannot express becomes `Unsupported`, so that the kernel has the say there, never something that is nearly it.

use crate::ip_route::{
    AddressPlan, Family, HopPlan, LinkIndex, LinkKind, LinkPlan, NeighbourPlan, NeighbourState, RouteKind,
    RoutePlan, RuleAction, RulePlan,
};
use crate::wire::ethernet::Mac;
use core::net::IpAddr;
use ipnet::IpNet;
use nix::unistd::Uid;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    VlanQosMapping,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as State,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHopFlags, RoutePreference,
    RouteType, RouteVia,
};
use rtnetlink::packet_route::rule::{RuleAction as Action, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, IpProtocol};

pub(super) fn family(family: AddressFamily) -> Option<Family> {
    match family {
        AddressFamily::Inet => Some(Family::V4),
        AddressFamily::Inet6 => Some(Family::V6),
        _ => None,
    }
}

pub(super) fn link(message: &LinkMessage) -> Option<LinkPlan> {
    let flags = message.header.flags;
    let mut link = LinkPlan {
        index: LinkIndex(message.header.index),
        name: String::new(),
        kind: LinkKind::Other,
        mac: Mac::default(),
        mtu: 0,
        is_up: flags.contains(LinkFlags::Up),
        has_carrier: flags.contains(LinkFlags::LowerUp),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) => link.mac = Mac::try_from(&bytes[..]).unwrap_or_default(),
            _ => {}
        }
    }
    if flags.contains(LinkFlags::Loopback) {
        link.kind = LinkKind::Loopback;
    } else if message.header.link_layer_type == LinkLayerType::Ether {
        link.kind = ethernet_kind(&message.attributes);
    }
    (!link.name.is_empty()).then_some(link)
}

/// The kind of a link that has Ethernet addresses.
fn ethernet_kind(attributes: &[LinkAttribute]) -> LinkKind {
    let infos = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(&infos[..]),
        _ => None,
    });
    match infos.and_then(kind) {
        Some(InfoKind::Vlan) => vlan_kind(attributes, infos.unwrap_or_default()).unwrap_or(LinkKind::Other),
        // It has routes of its own, and sends nothing itself.
        Some(InfoKind::Vrf) => LinkKind::Other,
        _ => LinkKind::Physical,
    }
}

/// What a link is, if it is not a device with a driver of its own.
pub(in crate::control) fn kind(infos: &[LinkInfo]) -> Option<&InfoKind> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

fn vlan_kind(attributes: &[LinkAttribute], infos: &[LinkInfo]) -> Option<LinkKind> {
    let parent = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(parent) => Some(LinkIndex(*parent)),
        _ => None,
    })?;
    if attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::LinkNetNsId(_))) {
        return None;
    }
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    })?;
    let (mut id, mut protocol, mut priority) = (None, 0x8100, 0);
    for value in data {
        match value {
            InfoVlan::Id(value) => id = Some(*value),
            InfoVlan::Protocol(value) => protocol = *value as u16,
            InfoVlan::EgressQos(mappings) => priority = priority_of_ordinary(mappings),
            _ => {}
        }
    }
    Some(LinkKind::Vlan { parent, protocol, id: id?, priority })
}

/// What `egress-qos-map` makes of datagrams that nobody has given a priority.
fn priority_of_ordinary(mappings: &[VlanQosMapping]) -> u8 {
    let found = mappings.iter().find_map(|mapping| match mapping {
        VlanQosMapping::Mapping(0, to) => Some(*to as u8 & 7),
        _ => None,
    });
    found.unwrap_or(0)
}

pub(super) fn address(message: &AddressMessage) -> Option<AddressPlan> {
    family(message.header.family)?;
    let (mut address, mut local, mut flags) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(value) => address = Some(*value),
            AddressAttribute::Local(value) => local = Some(*value),
            AddressAttribute::Flags(value) => flags = Some(*value),
            _ => {}
        }
    }
    let flags =
        flags.unwrap_or_else(|| AddressFlags::from_bits_retain(u32::from(message.header.flags.bits())));
    // On a point-to-point link, `address` is the peer's.
    let ours = local.or(address)?;
    let on_link = IpNet::new(address.unwrap_or(ours), message.header.prefix_len).ok()?;
    let is_unproven = flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    Some(AddressPlan {
        link: LinkIndex(message.header.index),
        address: ours,
        on_link: on_link.trunc(),
        scope: message.header.scope.into(),
        is_secondary: flags.contains(AddressFlags::Secondary),
        is_deprecated: flags.contains(AddressFlags::Deprecated),
        is_tentative: is_unproven || flags.contains(AddressFlags::Dadfailed),
    })
}

/// A rule, as it applies to a UDP datagram of this process without a mark; none if it never does.
pub(super) fn rule(message: &RuleMessage) -> Option<RulePlan> {
    let header = &message.header;
    let family = family(header.family)?;
    let mut facts = Facts { applies: header.tos == 0, ..Facts::default() };
    let (mut source, mut destination) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(address) => source = IpNet::new(*address, header.src_len).ok(),
            RuleAttribute::Destination(address) => destination = IpNet::new(*address, header.dst_len).ok(),
            other => facts.add(other),
        }
    }
    let mut is_inverted = header.flags.contains(RuleFlags::Invert);
    let applies = facts.applies && facts.is_for_mark_0();
    if !applies && !is_inverted {
        return None;
    }
    // What never applies applies always if it is inverted; and of what cannot be told, that it applies is the safe side.
    if is_inverted && (!applies || facts.is_unsupported) {
        (is_inverted, source, destination) = (false, None, None);
    }
    let action = facts.action(header.action, u32::from(header.table));
    Some(RulePlan { family, priority: facts.priority, is_inverted, source, destination, action })
}

/// What a rule says beside its prefixes.
#[derive(Default)]
struct Facts {
    /// Whether all conditions that are known beforehand hold, but for that of the mark.
    applies: bool,
    is_unsupported: bool,
    priority: u32,
    table: Option<u32>,
    goto: Option<u32>,
    suppressed_prefix_len_max: Option<u8>,
    mark: u32,
    mark_mask: u32,
}

impl Facts {
    fn add(&mut self, attribute: &RuleAttribute) {
        match attribute {
            RuleAttribute::Priority(value) => self.priority = *value,
            RuleAttribute::Table(value) => self.table = Some(*value),
            RuleAttribute::Goto(value) => self.goto = Some(*value),
            // -1: none
            RuleAttribute::SuppressPrefixLen(value) => {
                self.suppressed_prefix_len_max = u8::try_from(*value).ok();
            }
            RuleAttribute::SuppressIfGroup(value) => self.is_unsupported |= *value != u32::MAX,
            RuleAttribute::FwMark(mark) => self.mark = *mark,
            RuleAttribute::FwMask(mask) => self.mark_mask = *mask,
            // What this machine sends comes in "by the loopback" and is bound to no interface.
            RuleAttribute::Iifname(name) => self.applies &= name == "lo",
            RuleAttribute::Oifname(_) => self.applies = false,
            RuleAttribute::L3MDev(is_set) => self.applies &= !is_set,
            RuleAttribute::TunId(id) => self.applies &= *id == 0,
            RuleAttribute::UidRange(range) => {
                self.applies &= (range.start..=range.end).contains(&Uid::current().as_raw());
            }
            RuleAttribute::IpProtocol(protocol) => self.applies &= *protocol == IpProtocol::Udp,
            RuleAttribute::Realm(_) | RuleAttribute::Protocol(_) => {}
            RuleAttribute::SourcePortRange(_) | RuleAttribute::DestinationPortRange(_) => {
                self.is_unsupported = true;
            }
            _ => self.is_unsupported = true,
        }
    }

    /// Ours have no mark (`fib_rule_match`, `net/core/fib_rules.c`).
    fn is_for_mark_0(&self) -> bool {
        self.mark & self.mark_mask == 0
    }

    fn action(&self, action: Action, table: u32) -> RuleAction {
        if self.is_unsupported {
            return RuleAction::Unsupported;
        }
        match action {
            Action::ToTable => RuleAction::Table {
                table: self.table.unwrap_or(table),
                suppressed_prefix_len_max: self.suppressed_prefix_len_max,
            },
            Action::Goto => self.goto.map_or(RuleAction::Nop, RuleAction::Goto),
            Action::Nop => RuleAction::Nop,
            Action::Blackhole | Action::Unreachable | Action::Prohibit => RuleAction::Discard,
            _ => RuleAction::Unsupported,
        }
    }
}

/// A route, as it applies to datagrams without a type of service; none if it cannot be used now, or is another machine's.
pub(super) fn route(message: &RouteMessage) -> Option<RoutePlan> {
    let header = &message.header;
    let family = family(header.address_family)?;
    // IPv6 has no such routes; a route that was made for one destination is a cache entry.
    if header.tos != 0 || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let all = match family {
        Family::V4 => IpNet::from(ipnet::Ipv4Net::default()),
        Family::V6 => IpNet::from(ipnet::Ipv6Net::default()),
    };
    let mut route = RoutePlan {
        table: u32::from(header.table),
        destination: all,
        metric: 0,
        preference: 0,
        kind: route_kind(header.kind),
        hops: Vec::new(),
        source: None,
        mtu: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Destination(address) => {
                route.destination = IpNet::new(ip(address)?, header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Preference(preference) => route.preference = rank(*preference),
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
            _ => {}
        }
    }
    if !matches!(route.kind, RouteKind::Unicast | RouteKind::Local) {
        return Some(route);
    }
    match hops(message) {
        _ if header.source_prefix_length > 0 => Some(unsupported(route)),
        None => Some(unsupported(route)),
        Some(hops) if hops.is_empty() => None,
        Some(hops) => Some(RoutePlan { hops, ..route }),
    }
}

/// Before all others of its prefix: it may be the best of them, whatever its metric.
fn unsupported(route: RoutePlan) -> RoutePlan {
    RoutePlan { kind: RouteKind::Unsupported, metric: 0, preference: i8::MAX, ..route }
}

fn route_kind(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local | RouteType::Anycast => RouteKind::Local,
        RouteType::Broadcast | RouteType::Multicast => RouteKind::NotUnicast,
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => RouteKind::Discard,
        RouteType::Throw => RouteKind::Throw,
        _ => RouteKind::Unsupported,
    }
}

/// RFC 4191 section 2.1: what is reserved counts as medium.
fn rank(preference: RoutePreference) -> i8 {
    match preference {
        RoutePreference::Low => -1,
        RoutePreference::High => 1,
        _ => 0,
    }
}

fn mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    })
}

/// The ways of a route but for dead ones; none if one is of a kind that the tables do not know.
fn hops(message: &RouteMessage) -> Option<Vec<HopPlan>> {
    let several = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    let Some(several) = several else {
        let hop = hop(&message.attributes, None, 1)?;
        let is_dead = message.header.flags.contains(RouteFlags::Dead);
        return Some(if is_dead { Vec::new() } else { vec![hop] });
    };
    let alive = several.iter().filter(|hop| !hop.flags.contains(RouteNextHopFlags::Dead));
    alive.map(|one| hop(&one.attributes, Some(one.interface_index), u32::from(one.hops) + 1)).collect()
}

fn hop(attributes: &[RouteAttribute], link: Option<u32>, weight: u32) -> Option<HopPlan> {
    let (mut link, mut gateway) = (link, None);
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Gateway(address) => gateway = Some(ip(address)?),
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some(IpAddr::V4(*address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some(IpAddr::V6(*address)),
            RouteAttribute::Via(_)
            | RouteAttribute::Encap(_)
            | RouteAttribute::EncapType(_)
            | RouteAttribute::NewDestination(_) => return None,
            _ => {}
        }
    }
    Some(HopPlan { link: LinkIndex(link?), gateway, weight })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// A neighbour; none if it is no single machine.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<NeighbourPlan> {
    let header = &message.header;
    family(header.family)?;
    if header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::try_from(&bytes[..]).ok(),
            _ => {}
        }
    }
    let address = address.filter(|address| !address.is_multicast() && !address.is_unspecified())?;
    let is_group = mac.is_some_and(|mac| mac[0] & 1 == 1);
    let link = LinkIndex(header.ifindex);
    (!is_group).then_some(NeighbourPlan { link, address, mac, state: state(header.state) })
}

fn state(state: State) -> NeighbourState {
    match state {
        State::Incomplete => NeighbourState::Incomplete,
        State::Reachable => NeighbourState::Reachable,
        State::Stale => NeighbourState::Stale,
        State::Delay => NeighbourState::Delay,
        State::Probe => NeighbourState::Probe,
        State::Failed => NeighbourState::Failed,
        State::Noarp => NeighbourState::NoArp,
        State::Permanent => NeighbourState::Permanent,
        _ => NeighbourState::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_core::Parseable;
    use rtnetlink::packet_route::route::{RouteNextHop, RouteScope};

    /// An attribute as the kernel writes it (`struct nlattr`).
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = 4 + value.len();
        let mut bytes = (len as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(len.next_multiple_of(4), 0);
        bytes
    }

    /// Link 5 as the kernel writes it: `struct ifinfomsg` and attributes.
    fn link_of(layer_type: u16, flags: u32, attributes: &[Vec<u8>]) -> LinkPlan {
        let mut bytes = vec![0, 0];
        bytes.extend(layer_type.to_ne_bytes());
        bytes.extend(5_u32.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(attribute(3, b"l5\0"));
        bytes.extend(attribute(4, &1_400_u32.to_ne_bytes()));
        bytes.extend(attribute(1, &[2, 0, 0, 0, 0, 5]));
        bytes.extend(attributes.concat());
        link(&LinkMessage::parse(&bytes[..]).unwrap()).unwrap()
    }

    const ETHER: u16 = 1;
    const UP: u32 = 1;
    const LOWER_UP: u32 = 1 << 16;

    /// `IFLA_LINKINFO` of a kind with its data.
    fn info(kind: &str, data: &[Vec<u8>]) -> Vec<u8> {
        let name = attribute(1, format!("{kind}\0").as_bytes());
        attribute(18, &[name, attribute(2, &data.concat())].concat())
    }

    #[test]
    fn links_by_their_kind() {
        let parent = attribute(5, &3_u32.to_ne_bytes());
        let id = attribute(1, &200_u16.to_ne_bytes());
        let service = attribute(5, &0x88a8_u16.to_be_bytes());
        let mapping = |from: u32, to: u32| attribute(1, &[from.to_ne_bytes(), to.to_ne_bytes()].concat());
        let priorities = attribute(3, &[mapping(4, 7), mapping(0, 5)].concat());
        let of = |attributes: &[Vec<u8>]| link_of(ETHER, UP | LOWER_UP, attributes).kind;
        let vlan = |protocol, priority| LinkKind::Vlan { parent: LinkIndex(3), protocol, id: 200, priority };

        let tagged = [parent.clone(), info("vlan", &[id.clone(), priorities, service])];
        assert_eq!(of(&tagged), vlan(0x88a8, 5));
        assert_eq!(of(&[info("vlan", std::slice::from_ref(&id)), parent.clone()]), vlan(0x8100, 0));
        assert_eq!(of(&[info("vlan", std::slice::from_ref(&id))]), LinkKind::Other, "no parent");
        let elsewhere = attribute(37, &1_u32.to_ne_bytes());
        assert_eq!(of(&[parent, info("vlan", &[id]), elsewhere.clone()]), LinkKind::Other);
        assert_eq!(of(&[elsewhere]), LinkKind::Physical, "a veth's other end");
        assert_eq!(of(&[]), LinkKind::Physical);
        assert_eq!(of(&[info("vrf", &[attribute(1, &7_u32.to_ne_bytes())])]), LinkKind::Other);

        let none = link_of(65_534, UP, &[]);
        assert_eq!((none.kind, none.is_up, none.has_carrier), (LinkKind::Other, true, false));
        let loopback = link_of(772, UP | LOWER_UP | 8, &[]);
        assert_eq!(
            (loopback.kind, loopback.mtu, loopback.mac),
            (LinkKind::Loopback, 1_400, [2, 0, 0, 0, 0, 5])
        );
        assert_eq!((loopback.index, &loopback.name[..]), (LinkIndex(5), "l5"));
    }

    fn v4_route(attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.kind = RouteType::Unicast;
        message.header.scope = RouteScope::Universe;
        message.header.table = 254;
        message.attributes = attributes;
        message
    }

    #[test]
    fn routes_that_are_left_to_the_kernel() {
        let oif = RouteAttribute::Oif(3);
        let kind = |message: &RouteMessage| route(message).map(|route| (route.kind, route.metric));
        let plain = v4_route(vec![oif.clone(), RouteAttribute::Priority(7)]);
        assert_eq!(kind(&plain), Some((RouteKind::Unicast, 7)));

        let unsupported = Some((RouteKind::Unsupported, 0));
        assert_eq!(kind(&v4_route(vec![RouteAttribute::NhId(9)])), unsupported);
        assert_eq!(kind(&v4_route(vec![oif.clone(), RouteAttribute::Encap(vec![])])), unsupported);
        let mut one = RouteNextHop::default();
        one.interface_index = 3;
        let mut other = one.clone();
        other.attributes = vec![RouteAttribute::Encap(vec![])];
        assert_eq!(kind(&v4_route(vec![RouteAttribute::MultiPath(vec![one.clone(), other])])), unsupported);
        let mut by_source = plain.clone();
        by_source.header.source_prefix_length = 8;
        assert_eq!(kind(&by_source), unsupported);

        let mut of_service = plain.clone();
        of_service.header.tos = 0x10;
        assert_eq!(kind(&of_service), None);
        let mut dead = plain;
        dead.header.flags |= RouteFlags::Dead;
        assert_eq!(kind(&dead), None);
        let mut dead_one = one.clone();
        dead_one.flags |= RouteNextHopFlags::Dead;
        one.hops = 4;
        let half_dead = route(&v4_route(vec![RouteAttribute::MultiPath(vec![dead_one, one])])).unwrap();
        assert_eq!(half_dead.hops, [HopPlan { link: LinkIndex(3), gateway: None, weight: 5 }]);
    }

    #[test]
    fn rules_that_depend_on_more_than_addresses() {
        let of = |is_inverted: bool, attributes: Vec<RuleAttribute>| {
            let mut message = RuleMessage::default();
            message.header.family = AddressFamily::Inet;
            message.header.action = Action::ToTable;
            message.header.table = 254;
            message.header.src_len = 8;
            message.header.flags.set(RuleFlags::Invert, is_inverted);
            message.attributes = attributes;
            message.attributes.push(RuleAttribute::Source(IpAddr::from([10, 0, 0, 0])));
            rule(&message).map(|rule| (rule.is_inverted, rule.source.is_some(), rule.action))
        };
        let main = RuleAction::Table { table: 254, suppressed_prefix_len_max: None };
        let never = RuleAttribute::Oifname("e0".to_owned());
        let port = RuleAttribute::SuppressIfGroup(1);
        let mark = |mark, mask| vec![RuleAttribute::FwMask(mask), RuleAttribute::FwMark(mark)];
        assert_eq!(of(false, vec![]), Some((false, true, main)));
        assert_eq!(of(true, vec![]), Some((true, true, main)));
        assert_eq!(of(false, vec![never.clone()]), None);
        assert_eq!(of(true, vec![never.clone()]), Some((false, false, main)), "always");
        assert_eq!(of(false, vec![port.clone()]), Some((false, true, RuleAction::Unsupported)));
        assert_eq!(of(true, vec![port.clone()]), Some((false, false, RuleAction::Unsupported)));
        assert_eq!(of(false, vec![port, never]), None);
        assert_eq!(of(false, mark(0x10, 0x0f)), Some((false, true, main)), "no bit of the mask");
        assert_eq!(of(false, mark(0x10, 0xff)), None);
        assert_eq!(of(false, mark(0, 0xff)), Some((false, true, main)));
        assert_eq!(of(false, vec![RuleAttribute::Iifname("lo".to_owned())]), Some((false, true, main)));
        assert_eq!(of(false, vec![RuleAttribute::L3MDev(true)]), None);
        assert_eq!(of(false, vec![RuleAttribute::IpProtocol(IpProtocol::Udp)]), Some((false, true, main)));
        assert_eq!(of(false, vec![RuleAttribute::IpProtocol(IpProtocol::Tcp)]), None);
    }
}
