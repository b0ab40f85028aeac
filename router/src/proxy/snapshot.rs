//! The immutable tables that a decision reads. The control plane builds one from a [`Plan`] and publishes it; workers only read.

use super::egress::{Choices, Egress};
use super::identity::{Authority, AuthorityHost, Identity, Owner};
use super::prefix::Prefixes;
use super::rules::{Action, Rule, Rules};
use super::seal::Keys;
use super::target_set::{MEMBERS_MAX, TargetSet};
use crate::io::ListenerIndex;
use crate::ip_route::{IpRoutes, LinkIndex};
use core::net::{IpAddr, SocketAddr};
use ipnet::IpNet;
use rapidhash::v3::rapidhash_v3;
use std::sync::Arc;

/// A listener as planned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerPlan {
    /// Its name.
    pub name: String,
    /// The bound address. All addresses (`0.0.0.0`, `::`) only with [`Self::advertise`].
    pub address: SocketAddr,
    /// What goes into Via and Record-Route instead of the address.
    pub advertise: Option<Authority>,
    /// Further hosts and ports that are this listener.
    pub aliases: Vec<Authority>,
    /// Whether all that comes in by it is trusted.
    pub trusted: bool,
}

/// How many replies of our own a stranger's source address gets from one worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyRate {
    /// Replies a second; 0 means any number.
    pub per_second: u32,
    /// Replies at once, after a pause.
    pub burst: u32,
}

impl Default for ReplyRate {
    /// A hundred a second: a gateway that asks for OPTIONS every second stays far below, a flood from a forged source is cut to nothing.
    fn default() -> Self {
        Self { per_second: 100, burst: 200 }
    }
}

/// Everything that a snapshot is built from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The listeners; at least one, at most [`LISTENERS_MAX`].
    pub listeners: Vec<ListenerPlan>,
    /// Trusted source prefixes.
    pub trusted_sources: Vec<IpNet>,
    /// Domains that the node is responsible for.
    pub domains: Vec<Authority>,
    /// Whether dialogs are record-routed.
    pub record_route: bool,
    /// Whether Record-Routes are sealed, and strangers' in-dialog requests must prove it.
    pub seal_routes: bool,
    /// Whether Vias are sealed, and responses must prove it.
    pub seal_responses: bool,
    /// The target sets that rules name by index.
    pub target_sets: Vec<TargetSet>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// The limit for replies to strangers.
    pub reply_rate: ReplyRate,
    /// The live keys.
    pub keys: Keys,
}

/// Most listeners of a node. An index is 16 bits wide, and a socket a listener and worker is what the system has to bear.
pub const LISTENERS_MAX: usize = 1024;

/// Why a plan cannot be built. Each names the part at fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// No listener.
    #[error("no listener: at least one [[listen]] is needed")]
    NoListener,
    /// Too many listeners.
    #[error("more than {LISTENERS_MAX} listeners")]
    TooManyListeners,
    /// Two listeners of one name.
    #[error("two listeners are called \"{0}\"")]
    DuplicateName(String),
    /// Two names with the same 16-bit id.
    #[error("the listener names \"{0}\" and \"{1}\" give the same id; rename one")]
    NameCollision(String, String),
    /// A host and port that belongs to two listeners, or to a listener and a domain.
    #[error("{authority} belongs to both {first} and {second}")]
    DuplicateIdentity {
        /// The host and port.
        authority: String,
        /// Who has it.
        first: String,
        /// Who claims it too.
        second: String,
    },
    /// A listener on all addresses that says not what it is called.
    #[error("listener \"{0}\" is bound to all addresses and has no `advertise`")]
    NothingToAdvertise(String),
    /// A listener that is bound to a multicast or broadcast address, or to port 0.
    #[error("listener \"{0}\" is bound to an address or port that cannot be sent from")]
    BadAddress(String),
    /// A rule that names a target set or a listener that is not there.
    #[error("rule {0} names a target set or listener that does not exist")]
    DanglingRule(usize),
    /// A target that cannot be sent to, or that is this node itself.
    #[error("target {0} cannot be sent to, or is this node itself")]
    BadTarget(SocketAddr),
    /// No listener has the family, or its egress listener cannot reach it.
    #[error("no listener can reach target {0}")]
    UnreachableTarget(SocketAddr),
    /// A target set with more members than the table can share out.
    #[error("target set \"{0}\" has more than {MEMBERS_MAX} members")]
    TooManyMembers(String),
}

/// A listener, ready for use.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name.
    pub name: Box<str>,
    /// The bound address.
    pub address: SocketAddr,
    /// The id that a return seal names: a hash of the name, so that it outlives a change of order.
    pub id: u16,
    /// Whether all that comes in by it is trusted.
    pub trusted: bool,
    /// A Via of this listener, from the name of the header field to the magic cookie.
    pub via_head: Box<[u8]>,
    /// What a value of a Record-Route of this listener begins with, and so a Route value that it wrote: from `<` to `;lr`.
    pub route_head: Box<[u8]>,
}

impl Listener {
    /// Whether a socket bound as this one is can send to `address`.
    #[inline]
    #[must_use]
    pub fn reaches(&self, address: IpAddr) -> bool {
        let bound = self.address.ip();
        bound.is_ipv4() == address.is_ipv4() && (!bound.is_loopback() || address.is_loopback())
    }
}

/// The tables. Those that can be large are shared between a snapshot and the next one that only other IP routes make.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The listeners, by index.
    pub listeners: Arc<[Listener]>,
    /// By id, ascending.
    listener_ids: Arc<[(u16, ListenerIndex)]>,
    egress: Egress,
    /// Who we are.
    pub identity: Arc<Identity>,
    trusted_sources: Arc<Prefixes>,
    /// Whether dialogs are record-routed.
    pub record_route: bool,
    /// Whether Record-Routes are sealed.
    pub seal_routes: bool,
    /// Whether Vias are sealed.
    pub seal_responses: bool,
    /// The target sets.
    pub target_sets: Arc<[TargetSet]>,
    /// The rules.
    pub rules: Arc<Rules>,
    /// The limit for replies to strangers.
    pub reply_rate: ReplyRate,
    /// The live keys.
    pub keys: Keys,
}

impl Snapshot {
    /// Builds the tables.
    ///
    /// # Errors
    /// The first contradiction found in the plan.
    pub fn new(plan: Plan) -> Result<Self, PlanError> {
        let listeners = build_listeners(&plan.listeners)?;
        let mut listener_ids: Vec<_> =
            listeners.iter().enumerate().map(|(i, l)| (l.id, ListenerIndex(i as u16))).collect();
        listener_ids.sort_unstable();
        let trusted: Vec<_> = plan.trusted_sources.iter().map(|net| (*net, 0)).collect();
        let snapshot = Self {
            egress: Egress::new(&listeners),
            listener_ids: listener_ids.into(),
            identity: build_identity(&plan)?.into(),
            trusted_sources: Prefixes::new(&trusted, &[], 1).into(),
            record_route: plan.record_route,
            seal_routes: plan.seal_routes,
            seal_responses: plan.seal_responses,
            target_sets: plan.target_sets.into(),
            rules: Rules::new(plan.rules, listeners.len()).into(),
            reply_rate: plan.reply_rate,
            keys: plan.keys,
            listeners: listeners.into(),
        };
        snapshot.check_targets()?;
        Ok(snapshot)
    }

    /// The listener at `index`.
    #[inline]
    #[must_use]
    pub fn listener(&self, index: ListenerIndex) -> Option<&Listener> {
        self.listeners.get(usize::from(index.0))
    }

    /// The listener that a return seal calls `id`.
    #[inline]
    #[must_use]
    pub fn listener_by_id(&self, id: u16) -> Option<ListenerIndex> {
        let at = self.listener_ids.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.listener_ids.get(at).map(|(_, index)| *index)
    }

    /// Whether requests from `source` that came in by `listener` are trusted.
    #[inline]
    #[must_use]
    pub fn trusts(&self, listener: &Listener, source: IpAddr) -> bool {
        listener.trusted || self.trusted_sources.contains(source)
    }

    /// The same tables over other IP routes. `links` says for each listener which link it is on; none is any.
    #[must_use]
    pub fn routed(&self, routes: Arc<IpRoutes>, links: &[Option<LinkIndex>]) -> Self {
        Self { egress: self.egress.routed(&self.listeners, routes, links), ..self.clone() }
    }

    /// The listener to leave by towards `address`: `preferred` if it can, else the first that can.
    #[inline(always)]
    #[must_use]
    pub fn egress(
        &self,
        choices: &mut Choices,
        preferred: ListenerIndex,
        address: IpAddr,
    ) -> Option<ListenerIndex> {
        self.egress.choose(&self.listeners, choices, preferred, address)
    }

    /// Targets must be addresses that a packet can be sent to, others than our own, and that their egress listener reaches.
    fn check_targets(&self) -> Result<(), PlanError> {
        let check = |address: SocketAddr, egress: Option<ListenerIndex>| {
            if !is_usable(address.ip(), address.port())
                || self.identity.address_owner(address.ip(), address.port()).is_some()
            {
                return Err(PlanError::BadTarget(address));
            }
            let reached = match egress {
                Some(index) => self.listener(index).is_some_and(|l| l.reaches(address.ip())),
                None => self.listeners.iter().any(|l| l.reaches(address.ip())),
            };
            if reached { Ok(()) } else { Err(PlanError::UnreachableTarget(address)) }
        };
        for set in self.target_sets.iter() {
            if set.members.len() > MEMBERS_MAX {
                return Err(PlanError::TooManyMembers(set.name.to_string()));
            }
            set.members.iter().try_for_each(|member| check(member.address, set.egress))?;
        }
        for (i, rule) in self.rules.all().iter().enumerate() {
            let listeners = rule.listeners.iter().chain(&rule.egress);
            let dangling = listeners.into_iter().any(|l| self.listener(*l).is_none());
            match &rule.action {
                _ if dangling => return Err(PlanError::DanglingRule(i)),
                Action::TargetSet(set) => {
                    let set = self.target_sets.get(*set).ok_or(PlanError::DanglingRule(i))?;
                    set.members.iter().try_for_each(|m| check(m.address, rule.egress.or(set.egress)))?;
                }
                Action::NextHop(address) => check(*address, rule.egress)?,
                Action::Reply { .. } | Action::Redirect { .. } => {}
            }
        }
        Ok(())
    }
}

/// Whether a datagram can be sent there: not to an unspecified, multicast or broadcast address, and not to port 0.
#[inline(always)]
#[must_use]
pub fn is_usable(ip: IpAddr, port: u16) -> bool {
    let is_one = match ip {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    };
    is_one && port != 0
}

fn build_listeners(plans: &[ListenerPlan]) -> Result<Vec<Listener>, PlanError> {
    if plans.is_empty() {
        return Err(PlanError::NoListener);
    }
    if plans.len() > LISTENERS_MAX {
        return Err(PlanError::TooManyListeners);
    }
    let mut listeners: Vec<Listener> = Vec::with_capacity(plans.len());
    for plan in plans {
        let id = rapidhash_v3(plan.name.as_bytes()) as u16;
        if let Some(other) = listeners.iter().find(|l| l.id == id) {
            return Err(if *other.name == *plan.name {
                PlanError::DuplicateName(plan.name.clone())
            } else {
                PlanError::NameCollision(other.name.to_string(), plan.name.clone())
            });
        }
        let sent_by = match (&plan.advertise, plan.address.ip().is_unspecified()) {
            (Some(advertise), _) => advertise.text(),
            (None, false) => plan.address.to_string(),
            (None, true) => return Err(PlanError::NothingToAdvertise(plan.name.clone())),
        };
        let ip = plan.address.ip();
        let multicast = ip.is_multicast() || ip == IpAddr::from([255, 255, 255, 255]);
        if plan.address.port() == 0 || multicast {
            return Err(PlanError::BadAddress(plan.name.clone()));
        }
        listeners.push(Listener {
            name: plan.name.as_str().into(),
            address: plan.address,
            id,
            trusted: plan.trusted,
            via_head: format!("Via: SIP/2.0/UDP {sent_by};branch=z9hG4bK").into_bytes().into(),
            route_head: format!("<sip:{sent_by};lr").into_bytes().into(),
        });
    }
    Ok(listeners)
}

fn build_identity(plan: &Plan) -> Result<Identity, PlanError> {
    let mut identity = Identity::default();
    let name = |owner: Owner| match owner {
        Owner::Listener(index) => format!("listener \"{}\"", plan.listeners[usize::from(index.0)].name),
        Owner::Domain => "`domains`".to_owned(),
    };
    let mut insert = |authority: &Authority, owner: Owner| match identity.insert(authority, owner) {
        Some(first) if first != owner => Err(PlanError::DuplicateIdentity {
            authority: authority.text(),
            first: name(first),
            second: name(owner),
        }),
        _ => Ok(()),
    };
    for (i, listener) in plan.listeners.iter().enumerate() {
        let owner = Owner::Listener(ListenerIndex(i as u16));
        if !listener.address.ip().is_unspecified() {
            let host = AuthorityHost::Address(listener.address.ip().to_canonical());
            insert(&Authority { host, port: Some(listener.address.port()) }, owner)?;
        }
        for authority in listener.advertise.iter().chain(&listener.aliases) {
            insert(authority, owner)?;
        }
    }
    // A domain may be a listener's advertised name too; then it is the listener's.
    for domain in &plan.domains {
        let _ = identity.insert(domain, Owner::Domain);
    }
    Ok(identity)
}
