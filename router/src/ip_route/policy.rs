//! Rules and tables: from source and destination to one way of one route.

use super::link::Links;
use super::source::Addresses;
use super::stretch::{Bits, Stretches};
use super::{Family, IpPlan, NoWay, RouteKind, RoutePlan, RuleAction, RulePlan};
use core::net::IpAddr;
use core::ops::Range;
use ipnet::IpNet;
use std::collections::BTreeMap;

/// Everything that a datagram's way depends on, but for neighbours.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) links: Links,
    pub(super) addresses: Addresses,
    v4: Rules<u32>,
    v6: Rules<u128>,
    routes: Vec<Route>,
    hops: Vec<Hop>,
}

/// A route.
#[derive(Clone, Debug)]
pub(super) struct Route {
    kind: RouteKind,
    prefix_len: u8,
    /// Its ways' places.
    hops: Range<u32>,
    /// The sum of their weights.
    weights: u32,
    pub(super) mtu: Option<u32>,
    source: Option<IpAddr>,
}

/// A way of a route.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    /// The link's place, or one that no link has.
    pub(super) link: usize,
    pub(super) gateway: Option<IpAddr>,
    /// The sum of weights up to and with this one.
    weights_end: u32,
    /// IPv4: the address to send from.
    source: Option<IpAddr>,
}

impl Policy {
    pub(super) fn new(plan: &IpPlan) -> Self {
        let (links, addresses) = (Links::new(&plan.links), Addresses::new(&plan.addresses));
        let mut policy = Self {
            v4: Rules::new(&plan.rules, &plan.routes, Family::V4, v4_bits),
            v6: Rules::new(&plan.rules, &plan.routes, Family::V6, v6_bits),
            routes: Vec::with_capacity(plan.routes.len()),
            hops: Vec::with_capacity(plan.routes.len()),
            links,
            addresses,
        };
        plan.routes.iter().for_each(|route| policy.push(route));
        policy
    }

    /// Adds the next route; its place is that in the plan.
    fn push(&mut self, plan: &RoutePlan) {
        let first = self.hops.len() as u32;
        let mut weights = 0_u32;
        for hop in &plan.hops {
            weights = weights.saturating_add(hop.weight.max(1));
            let source = match plan.destination {
                IpNet::V4(_) => self.addresses.source_v4(hop.link, hop.gateway).map(IpAddr::V4),
                IpNet::V6(_) => None,
            };
            let link = self.links.place(hop.link).unwrap_or(usize::MAX);
            self.hops.push(Hop { link, gateway: hop.gateway, weights_end: weights, source });
        }
        self.routes.push(Route {
            kind: plan.kind,
            prefix_len: plan.destination.prefix_len(),
            hops: first..self.hops.len() as u32,
            weights,
            mtu: plan.mtu,
            source: plan.source,
        });
    }

    pub(super) fn routes(&self) -> usize {
        self.routes.len()
    }

    /// The way that a datagram to another machine takes.
    #[inline]
    pub(super) fn unicast(
        &self,
        source: Option<IpAddr>,
        destination: IpAddr,
    ) -> Result<(&Route, &Hop), NoWay> {
        let route = self.route(source, destination)?;
        match route.kind {
            RouteKind::Unicast => {
                let hop = self.pick(route, destination).ok_or(NoWay::Unsupported)?;
                Ok((route, hop))
            }
            RouteKind::Local => Err(NoWay::Local),
            RouteKind::NotUnicast => Err(NoWay::NotUnicast),
            RouteKind::Discard => Err(NoWay::Discarded),
            RouteKind::Throw => Err(NoWay::NoRoute),
            RouteKind::Unsupported => Err(NoWay::Unsupported),
        }
    }

    /// The way that a datagram takes, to this machine or another one.
    pub(super) fn hop(&self, source: Option<IpAddr>, destination: IpAddr) -> Option<&Hop> {
        let route = self.route(source, destination).ok()?;
        let leads = matches!(route.kind, RouteKind::Unicast | RouteKind::Local | RouteKind::Unsupported);
        if leads { self.pick(route, destination) } else { None }
    }

    /// The address to send from.
    #[inline]
    pub(super) fn source(&self, route: &Route, hop: &Hop, destination: IpAddr) -> Option<IpAddr> {
        let by_destination = || match destination {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => {
                let link = self.links.at(hop.link)?;
                self.addresses.source_v6(link.index, v6).map(IpAddr::V6)
            }
        };
        route.source.or(hop.source).or_else(by_destination)
    }

    #[inline]
    fn route(&self, source: Option<IpAddr>, destination: IpAddr) -> Result<&Route, NoWay> {
        match destination {
            IpAddr::V4(v4) => {
                let source = source.and_then(|source| v4_bits(&source));
                self.v4.find(&self.routes, source, v4.to_bits())
            }
            IpAddr::V6(v6) => {
                let source = source.and_then(|source| v6_bits(&source));
                self.v6.find(&self.routes, source, v6.to_bits())
            }
        }
    }

    /// One of the route's ways, by their weights: all datagrams to one destination take the same.
    #[inline]
    fn pick(&self, route: &Route, destination: IpAddr) -> Option<&Hop> {
        let hops = self.hops.get(route.hops.start as usize..route.hops.end as usize)?;
        if let [only] = hops {
            return Some(only);
        }
        let share = (u64::from(hash(destination)) * u64::from(route.weights)) >> 32;
        hops.get(hops.partition_point(|hop| u64::from(hop.weights_end) <= share))
    }
}

/// A number for an address, all 32 bits of it evenly spread (the finalizer of MurmurHash3).
#[inline]
fn hash(address: IpAddr) -> u32 {
    let mut hash = match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 ^ (v6.to_bits() as u64).rotate_left(32),
    };
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash >> 32) as u32
}

#[inline]
fn v4_bits(address: &IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(v4) => Some(v4.to_bits()),
        IpAddr::V6(_) => None,
    }
}

#[inline]
fn v6_bits(address: &IpAddr) -> Option<u128> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(v6.to_bits()),
    }
}

/// The rules of one family, in their order, and the tables that they name.
#[derive(Debug)]
struct Rules<K> {
    rules: Vec<Rule<K>>,
    tables: Vec<Stretches<K>>,
}

#[derive(Debug)]
struct Rule<K> {
    is_inverted: bool,
    source: Option<(K, K)>,
    destination: Option<(K, K)>,
    action: Action,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    /// The table's place.
    Table {
        table: usize,
        suppressed_prefix_len_max: Option<u8>,
    },
    /// The rule's place, after this one.
    Goto(usize),
    Nop,
    Stop(NoWay),
}

impl<K: Bits> Rules<K> {
    /// The rules of `family` among `rules`, over its tables in `routes`. `bits` is an address of the family as a number.
    fn new(rules: &[RulePlan], routes: &[RoutePlan], family: Family, bits: fn(&IpAddr) -> Option<K>) -> Self {
        let mut sorted: Vec<_> = rules.iter().filter(|rule| rule.family == family).collect();
        sorted.sort_by_key(|rule| rule.priority);
        let tables = tables(routes, bits);
        let places: BTreeMap<u32, usize> = tables.keys().enumerate().map(|(i, table)| (*table, i)).collect();
        let range = |net: &IpNet| Some((bits(&net.network())?, bits(&net.broadcast())?));
        let rule = |(place, plan): (usize, &&RulePlan)| Rule {
            is_inverted: plan.is_inverted,
            source: plan.source.as_ref().and_then(range),
            destination: plan.destination.as_ref().and_then(range),
            action: action(plan, place, &sorted, &places),
        };
        Self { rules: sorted.iter().enumerate().map(rule).collect(), tables: tables.into_values().collect() }
    }

    /// The route that the rules find.
    #[inline]
    fn find<'a>(&self, routes: &'a [Route], source: Option<K>, destination: K) -> Result<&'a Route, NoWay> {
        let mut place = 0;
        // Every turn goes forward.
        while let Some(rule) = self.rules.get(place) {
            place += 1;
            if !rule.applies(source, destination) {
                continue;
            }
            match rule.action {
                Action::Table { table, suppressed_prefix_len_max } => {
                    let found = self.tables.get(table).and_then(|table| table.get(destination));
                    let Some(route) = found.and_then(|route| routes.get(route as usize)) else { continue };
                    let is_short = suppressed_prefix_len_max.is_some_and(|max| route.prefix_len <= max);
                    match route.kind {
                        RouteKind::Throw => {}
                        // Only what could be sent is suppressed.
                        RouteKind::Discard => return Ok(route),
                        _ if is_short => {}
                        _ => return Ok(route),
                    }
                }
                Action::Goto(target) => place = place.max(target),
                Action::Nop => {}
                Action::Stop(why) => return Err(why),
            }
        }
        Err(NoWay::NoRoute)
    }
}

impl<K: Bits> Rule<K> {
    #[inline]
    fn applies(&self, source: Option<K>, destination: K) -> bool {
        let holds = |(first, last): (K, K), address: K| first <= address && address <= last;
        // An unknown source is in no prefix.
        let from = self.source.is_none_or(|range| source.is_some_and(|source| holds(range, source)));
        let to = self.destination.is_none_or(|range| holds(range, destination));
        (from && to) != self.is_inverted
    }
}

/// What the rule at `place` does.
fn action(plan: &RulePlan, place: usize, sorted: &[&RulePlan], tables: &BTreeMap<u32, usize>) -> Action {
    match plan.action {
        RuleAction::Table { table, suppressed_prefix_len_max } => match tables.get(&table) {
            Some(table) => Action::Table { table: *table, suppressed_prefix_len_max },
            None => Action::Nop,
        },
        RuleAction::Goto(priority) => {
            let target = sorted.partition_point(|rule| rule.priority < priority);
            let exists = sorted.get(target).is_some_and(|rule| rule.priority == priority);
            if exists && target > place { Action::Goto(target) } else { Action::Nop }
        }
        RuleAction::Nop => Action::Nop,
        RuleAction::Discard => Action::Stop(NoWay::Discarded),
        RuleAction::Unsupported => Action::Stop(NoWay::Unsupported),
    }
}

/// The tables of one family, by their numbers. The values are places in `routes`.
fn tables<K: Bits>(routes: &[RoutePlan], bits: fn(&IpAddr) -> Option<K>) -> BTreeMap<u32, Stretches<K>> {
    let mut places: Vec<(usize, K)> = Vec::new();
    for (place, route) in routes.iter().enumerate() {
        places.extend(bits(&route.destination.network()).map(|first| (place, first)));
    }
    places.sort_by_key(|(place, _)| {
        let route = &routes[*place];
        (route.table, route.metric, -i16::from(route.preference), *place)
    });
    let prefix =
        |(place, first): &(usize, K)| (*first, routes[*place].destination.prefix_len(), *place as u32);
    let table = |of_one: &[(usize, K)]| {
        (routes[of_one[0].0].table, Stretches::new(of_one.iter().map(prefix).collect()))
    };
    places.chunk_by(|(a, _), (b, _)| routes[*a].table == routes[*b].table).map(table).collect()
}
