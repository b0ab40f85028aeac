//! What a configuration means: the [`Plan`] of a snapshot, with names resolved, and contradictions told by their place in the file.

use super::file::{Listen, RecordRoute, Reply, Rule as FileRule, TargetSet as FileTargetSet};
use super::text::{ContactUri, Name};
use super::value::{FromText, List, Located, Text};
use super::{Config, ConfigError};
use crate::io::ListenerIndex;
use crate::proxy::identity::Authority;
use crate::proxy::rules::{Action, Rule};
use crate::proxy::seal::Keys;
use crate::proxy::snapshot::{LISTENERS_MAX, ListenerPlan, Plan, PlanError, ReplyRate, Snapshot};
use crate::proxy::target_set::{MEMBERS_MAX, Member, TargetSet};
use std::collections::HashMap;

/// Most URIs of a redirect. A phone tries them one after the other, and a caller waits for no more.
pub const REDIRECT_URIS_MAX: usize = 8;
/// Most bytes of a redirect's Contacts: with them and the request's own header fields a reply stays below a usual MTU in most cases.
pub const REDIRECT_BYTES_MAX: usize = 1_000;

/// The tables of a configuration.
///
/// # Errors
/// The first contradiction in it, with its place.
pub fn snapshot(config: &Config, keys: Keys) -> Result<Snapshot, ConfigError> {
    let plan = plan(config, keys)?;
    Snapshot::new(plan.clone()).map_err(|error| locate(config, &plan, &error))
}

/// The plan of a configuration. [`Snapshot::new`] may still find a contradiction in it, so prefer [`snapshot`].
///
/// # Errors
/// A name that does not exist or exists twice; a rule without an action or with two.
pub fn plan(config: &Config, keys: Keys) -> Result<Plan, ConfigError> {
    let file = &config.file;
    let listeners = index(config, "listener", file.listen.iter().map(|listen| &listen.name))?;
    let target_sets = index(config, "target set", file.target_set.iter().map(|set| &set.name))?;
    let names = Names { config, listeners, target_sets };
    Ok(Plan {
        listeners: file.listen.iter().map(|listen| listener_plan(listen)).collect(),
        trusted_sources: file.trust.sources.items.iter().map(|prefix| prefix.value.0).collect(),
        domains: file.routing.domains.items.iter().map(|domain| domain.value.0.clone()).collect(),
        record_route: file.routing.record_route == RecordRoute::Dialogs,
        seal_routes: file.routing.seal_routes,
        seal_responses: file.routing.seal_responses,
        target_sets: file.target_set.iter().map(|set| names.target_set(set)).collect::<Result<_, _>>()?,
        rules: file.rule.iter().map(|rule| names.rule(rule)).collect::<Result<_, _>>()?,
        reply_rate: ReplyRate {
            per_second: file.replies.per_source_per_second.0,
            burst: file.replies.burst.0,
        },
        keys,
    })
}

/// The index of each name; a name that stands there twice is an error.
fn index<'a>(
    config: &'a Config,
    what: &str,
    names: impl Iterator<Item = &'a Located<Text<Name>>>,
) -> Result<HashMap<&'a str, usize>, ConfigError> {
    let mut index = HashMap::new();
    for (i, name) in names.enumerate() {
        if index.insert(name.0.0.as_str(), i).is_some() {
            let what = format!("there is a {what} \"{}\" already; allowed: a name of its own", name.0.0);
            return Err(config.source.error(name.at.start, what));
        }
    }
    Ok(index)
}

fn listener_plan(listen: &Listen) -> ListenerPlan {
    ListenerPlan {
        name: listen.name.0.0.clone(),
        address: listen.address.0.0,
        advertise: listen.advertise.as_ref().map(|authority| authority.0.0.clone()),
        aliases: listen.aliases.items.iter().map(|alias| alias.value.0.clone()).collect(),
        trusted: listen.trusted,
    }
}

/// The names that others refer to.
struct Names<'a> {
    config: &'a Config,
    listeners: HashMap<&'a str, usize>,
    target_sets: HashMap<&'a str, usize>,
}

impl Names<'_> {
    fn error(&self, at: usize, message: impl Into<String>) -> ConfigError {
        self.config.source.error(at, message)
    }

    fn find(
        &self,
        index: &HashMap<&str, usize>,
        what: &str,
        name: &str,
        at: usize,
    ) -> Result<usize, ConfigError> {
        index.get(name).copied().ok_or_else(|| {
            let mut known: Vec<_> = index.iter().map(|(name, i)| (i, format!("\"{name}\""))).collect();
            known.sort_unstable();
            let known: Vec<_> = known.into_iter().map(|(_, name)| name).take(10).collect();
            let allowed =
                if known.is_empty() { format!("none, as there is no {what}") } else { known.join(", ") };
            self.error(at, format!("no {what} is called \"{name}\"; allowed: {allowed}"))
        })
    }

    fn listener(&self, name: &str, at: usize) -> Result<ListenerIndex, ConfigError> {
        self.find(&self.listeners, "listener", name, at).map(|i| ListenerIndex(i as u16))
    }

    fn egress(&self, name: Option<&Located<Text<Name>>>) -> Result<Option<ListenerIndex>, ConfigError> {
        name.map(|name| self.listener(&name.0.0, name.at.start)).transpose()
    }

    fn target_set(&self, set: &FileTargetSet) -> Result<TargetSet, ConfigError> {
        if set.members.is_empty() {
            return Err(self.error(set.members.at.start, "no member; allowed: 1 to 655 members"));
        }
        let mut members: Vec<Member> = Vec::with_capacity(set.members.len());
        for member in set.members.iter() {
            let address = member.address.0.0;
            if members.iter().any(|other| other.address == address) {
                let what =
                    format!("{address} is a member already; allowed: each address once, with its weight");
                return Err(self.error(member.address.at.start, what));
            }
            members.push(Member { address, weight: member.weight.0, down: member.down });
        }
        if members.len() > MEMBERS_MAX {
            let what = format!("{} members; allowed: 1 to {MEMBERS_MAX}", members.len());
            return Err(self.error(set.members.at.start, what));
        }
        Ok(TargetSet::new(&set.name.0.0, members, self.egress(set.egress.as_ref())?))
    }

    fn rule(&self, rule: &Located<FileRule>) -> Result<Rule, ConfigError> {
        let FileRule { listener, source, method, host, user_prefix, .. } = &rule.value;
        self.not_empty(listener)?;
        self.not_empty(source)?;
        self.not_empty(method)?;
        self.not_empty(host)?;
        self.not_empty(user_prefix)?;
        let action = self.action(rule)?;
        if let (Action::Reply { .. } | Action::Redirect { .. }, Some(egress)) = (&action, &rule.egress) {
            let what = "a reply leaves by the listener its request came in by; allowed: with `target_set` or `next_hop`";
            return Err(self.error(egress.at.start, what));
        }
        let listeners = listener.items.iter().map(|name| self.listener(&name.value.0, name.at.start));
        Ok(Rule {
            listeners: listeners.collect::<Result<_, _>>()?,
            sources: source.items.iter().map(|prefix| prefix.value.0).collect(),
            methods: method.items.iter().map(|method| method.value.0.clone()).collect(),
            hosts: host.items.iter().map(|host| host.value.0.clone()).collect(),
            user_prefixes: user_prefix.items.iter().map(|prefix| prefix.value.0.clone()).collect(),
            action,
            egress: self.egress(rule.egress.as_ref())?,
        })
    }

    /// A condition with an empty list could be meant to match all or nothing.
    fn not_empty<T: FromText>(&self, condition: &List<T>) -> Result<(), ConfigError> {
        if condition.items.is_empty() && !condition.at.is_empty() {
            let what =
                format!("an empty list; allowed: {}, a list of such, or leave the key out", T::allowed());
            return Err(self.error(condition.at.start, what));
        }
        Ok(())
    }

    fn action(&self, rule: &Located<FileRule>) -> Result<Action, ConfigError> {
        let FileRule { target_set, next_hop, reply, redirect, .. } = &rule.value;
        let mut given: Vec<usize> = [
            target_set.as_ref().map(|value| value.at.start),
            next_hop.as_ref().map(|value| value.at.start),
            reply.as_ref().map(|value| value.at.start),
            redirect.as_ref().map(|value| value.at.start),
        ]
        .into_iter()
        .flatten()
        .collect();
        given.sort_unstable();
        let allowed = "allowed: exactly one of `target_set`, `next_hop`, `reply`, `redirect`";
        if let Some(second) = given.get(1) {
            return Err(self.error(*second, format!("a second action; {allowed}")));
        }
        match (target_set, next_hop, reply, redirect) {
            (Some(name), ..) => {
                self.find(&self.target_sets, "target set", &name.0.0, name.at.start).map(Action::TargetSet)
            }
            (_, Some(address), ..) => Ok(Action::NextHop(address.0.0)),
            (_, _, Some(reply), _) => Ok(reply_action(reply)),
            (_, _, _, Some(uris)) => self.redirect_action(uris),
            _ => Err(self.error(rule.at.start, format!("no action; {allowed}"))),
        }
    }

    fn redirect_action(&self, uris: &List<ContactUri>) -> Result<Action, ConfigError> {
        let contacts: String =
            uris.items.iter().map(|uri| format!("Contact: <{}>\r\n", uri.value.0)).collect();
        let count = uris.items.len();
        if count == 0 || count > REDIRECT_URIS_MAX || contacts.len() > REDIRECT_BYTES_MAX {
            let what = format!(
                "{count} URIs, {} bytes as Contacts; allowed: 1 to {REDIRECT_URIS_MAX} URIs and {REDIRECT_BYTES_MAX} bytes",
                contacts.len()
            );
            return Err(self.error(uris.at.start, what));
        }
        Ok(Action::Redirect { contacts: contacts.into() })
    }
}

fn reply_action(reply: &Reply) -> Action {
    let status = reply.status.0 as u16;
    let phrase = reply.reason.as_ref().map_or(phrase(status), |reason| &reason.0.0);
    Action::Reply { status, phrase: phrase.into() }
}

/// RFC 3261's own reason phrase (section 21), or that of the class's x00 (8.1.3.2) where it has none.
fn phrase(status: u16) -> &'static str {
    match status {
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        493 => "Undecipherable",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ if status < 400 => "Multiple Choices",
        _ if status < 500 => "Bad Request",
        _ if status < 600 => "Server Internal Error",
        _ => "Busy Everywhere",
    }
}

/// Finds the place in the file that a contradiction in the plan comes from.
fn locate(config: &Config, plan: &Plan, error: &PlanError) -> ConfigError {
    let file = &config.file;
    let listen = |name: &str| file.listen.iter().find(|listen| listen.name.0.0 == name);
    let address_at = |name: &str| listen(name).map(|listen| listen.address.at.start);
    let (at, allowed) = match error {
        PlanError::NoListener => (None, "[[listen]] with `name` and `address`"),
        PlanError::TooManyListeners => (file.listen.get(LISTENERS_MAX).map(|listen| listen.at.start), ""),
        PlanError::DuplicateName(name) | PlanError::NameCollision(_, name) => {
            (listen(name).map(|listen| listen.name.at.start), "another name")
        }
        PlanError::DuplicateIdentity { authority, second, .. } => {
            (claim_at(config, second, authority), "each host and port for one listener only")
        }
        PlanError::NothingToAdvertise(name) => {
            (address_at(name), "one address, or `advertise = \"HOST:PORT\"` with it")
        }
        PlanError::BadAddress(name) => (address_at(name), "an address of this machine, and a port"),
        PlanError::DanglingRule(rule) => (file.rule.get(*rule).map(|rule| rule.at.start), ""),
        PlanError::BadTarget(address) => {
            (target_at(config, plan, error, *address), "an address and port of another SIP server")
        }
        PlanError::UnreachableTarget(address) => (
            target_at(config, plan, error, *address),
            "a target of the address family of its egress listener; from a loopback address only loopback addresses",
        ),
        PlanError::TooManyMembers(name) => {
            (file.target_set.iter().find(|set| set.name.0.0 == *name).map(|set| set.members.at.start), "")
        }
    };
    let allowed = if allowed.is_empty() { String::new() } else { format!("; allowed: {allowed}") };
    let message = format!("{error}{allowed}");
    match at {
        Some(at) => config.source.error(at, message),
        None => ConfigError { key: "listen".to_owned(), ..config.source.error_at(0, message) },
    }
}

/// Where the listener that the error calls `claimant` claims `authority`.
fn claim_at(config: &Config, claimant: &str, authority: &str) -> Option<usize> {
    let listen =
        config.file.listen.iter().find(|listen| claimant == format!("listener \"{}\"", listen.name.0.0))?;
    let names = listen.advertise.iter().map(|name| (&name.value.0.0, &name.at));
    let aliases = listen.aliases.items.iter().map(|alias| (&alias.value.0, &alias.at));
    let claims = |(name, _): &(&Authority, _)| name.text() == authority;
    let at = names.chain(aliases).find(claims).map_or(&listen.address.at, |(_, at)| at);
    Some(at.start)
}

/// Where a target stands that the plan's tables refuse: in a target set if they do so without any rule, else in the first rule that makes them.
fn target_at(
    config: &Config,
    plan: &Plan,
    error: &PlanError,
    address: core::net::SocketAddr,
) -> Option<usize> {
    let refuses = |count: usize| {
        let rules = plan.rules[..count].to_vec();
        Snapshot::new(Plan { rules, ..plan.clone() }).is_err_and(|other| other == *error)
    };
    let file = &config.file;
    if refuses(0) {
        let mut members = file.target_set.iter().flat_map(|set| set.members.iter());
        return members.find(|member| member.address.0.0 == address).map(|member| member.address.at.start);
    }
    let counts: Vec<usize> = (1..=plan.rules.len()).collect();
    let rule = file.rule.get(counts.partition_point(|count| !refuses(*count)))?;
    let next_hop = rule.next_hop.as_ref().map(|next_hop| next_hop.at.start);
    let egress = rule.egress.as_ref().map(|egress| egress.at.start);
    Some(next_hop.or(egress).unwrap_or(rule.at.start))
}
