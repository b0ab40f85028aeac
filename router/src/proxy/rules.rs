//! Ordered routing rules, and the first that matches.
//!
//! Each condition is looked up once, whatever the number of rules, and gives a bit set: the rules that it does not exclude. The lowest bit that all sets share is
//! the rule. 64 rules cost one AND for each condition.

use super::identity::{Authority, AuthorityHost, NAME_BYTES_MAX, lower_case};
use super::interval::{Intervals, set_bit};
use super::prefix::Prefixes;
use crate::io::ListenerIndex;
use crate::sip::host::Host;
use crate::sip::start_line::Method;
use core::net::{IpAddr, SocketAddr};
use ipnet::IpNet;
use rapidhash::fast::SeedableState;
use std::collections::HashMap;

/// What a rule does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Forward to a member of a target set, by its index.
    TargetSet(usize),
    /// Forward to this address.
    NextHop(SocketAddr),
    /// Answer.
    Reply {
        /// 200 to 699.
        status: u16,
        /// The reason phrase.
        phrase: Box<str>,
    },
    /// Answer 302 with these Contacts.
    Redirect {
        /// The whole Contact header fields, each with its CRLF.
        contacts: Box<str>,
    },
}

/// A rule. Of each condition an empty list means any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Listeners it came in by.
    pub listeners: Vec<ListenerIndex>,
    /// Source prefixes.
    pub sources: Vec<IpNet>,
    /// Methods by name. A rule for INVITE takes ACK and CANCEL too, as they must follow it.
    pub methods: Vec<String>,
    /// Hosts of the Request-URI, without port.
    pub hosts: Vec<AuthorityHost>,
    /// What the user part of the Request-URI begins with.
    pub user_prefixes: Vec<String>,
    /// What it does.
    pub action: Action,
    /// The listener that requests leave by, if it says so.
    pub egress: Option<ListenerIndex>,
}

/// What the conditions look at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The listener it came in by.
    pub listener: ListenerIndex,
    /// Its source.
    pub source: IpAddr,
    /// Its method.
    pub method: Method,
    /// The method's text.
    pub method_text: &'a [u8],
    /// The Request-URI's host, if it has one, and its text.
    pub host: Option<(Host, &'a [u8])>,
    /// The Request-URI's user part.
    pub user: &'a [u8],
}

type Sets<K> = HashMap<K, Box<[u64]>, SeedableState<'static>>;

/// The rules, made ready for look-up.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    words: usize,
    by_listener: Vec<Box<[u64]>>,
    by_source: Prefixes,
    by_method: [Box<[u64]>; Method::Other as usize + 1],
    by_other_method: Sets<Box<[u8]>>,
    by_address: Sets<IpAddr>,
    by_name: Sets<Box<[u8]>>,
    any_host: Box<[u64]>,
    by_user: Intervals<Box<[u8]>>,
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(Vec::new(), 0)
    }
}

impl Rules {
    /// The rules, in order, of a node with `listener_count` listeners.
    #[must_use]
    pub fn new(rules: Vec<Rule>, listener_count: usize) -> Self {
        let bits = rules.len();
        let words = bits.div_ceil(64).max(1);
        let select = |matches: &dyn Fn(&Rule) -> bool| -> Box<[u64]> {
            let mut set = vec![0; words];
            rules.iter().enumerate().filter(|(_, r)| matches(r)).for_each(|(i, _)| set_bit(&mut set, i));
            set.into()
        };
        let by_listener = (0..listener_count)
            .map(|i| {
                let index = ListenerIndex(i as u16);
                select(&|r| r.listeners.is_empty() || r.listeners.contains(&index))
            })
            .collect();
        let method_set = |name: &str| select(&|r| r.methods.is_empty() || takes_method(r, name));
        let mut by_method = [const { None }; Method::Other as usize + 1];
        for (method, name) in Method::NAMED {
            by_method[method as usize] = Some(method_set(name));
        }
        let any_method = select(&|r| r.methods.is_empty());
        let by_method = by_method.map(|set| set.unwrap_or_else(|| any_method.clone()));
        let mut by_other_method = Sets::with_hasher(SeedableState::fixed());
        for name in rules.iter().flat_map(|r| &r.methods) {
            by_other_method.insert(name.as_bytes().into(), method_set(name));
        }
        let host_set = |host: &AuthorityHost| select(&|r| r.hosts.is_empty() || r.hosts.contains(host));
        let mut by_address = Sets::with_hasher(SeedableState::fixed());
        let mut by_name = Sets::with_hasher(SeedableState::fixed());
        for host in rules.iter().flat_map(|r| &r.hosts) {
            match host {
                AuthorityHost::Address(address) => drop(by_address.insert(*address, host_set(host))),
                AuthorityHost::Name(name) => drop(by_name.insert(name.as_bytes().into(), host_set(host))),
            }
        }
        Self {
            words,
            by_listener,
            by_source: source_table(&rules),
            by_method,
            by_other_method,
            by_address,
            by_name,
            any_host: select(&|r| r.hosts.is_empty()),
            by_user: user_table(&rules),
            rules,
        }
    }

    /// The rules themselves.
    #[must_use]
    pub fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// The first rule that matches, and its index.
    #[inline]
    #[must_use]
    pub fn first(&self, subject: &Subject<'_>) -> Option<(usize, &Rule)> {
        if self.rules.is_empty() {
            return None;
        }
        let sets = [
            self.by_listener.get(usize::from(subject.listener.0))?,
            self.by_source.get(subject.source),
            self.method_set(subject),
            self.host_set(subject),
            self.by_user.get(|start| &**start <= subject.user),
        ];
        for word in 0..self.words {
            let all = sets.iter().fold(u64::MAX, |all, set| all & set.get(word).copied().unwrap_or(0));
            if all != 0 {
                let index = word * 64 + all.trailing_zeros() as usize;
                return self.rules.get(index).map(|rule| (index, rule));
            }
        }
        None
    }

    fn method_set(&self, subject: &Subject<'_>) -> &[u64] {
        let set = &self.by_method[subject.method as usize];
        if subject.method != Method::Other {
            return set;
        }
        self.by_other_method.get(subject.method_text).unwrap_or(set)
    }

    fn host_set(&self, subject: &Subject<'_>) -> &[u64] {
        let set = match subject.host {
            None => None,
            Some((Host { address: Some(address), .. }, _)) => self.by_address.get(&address),
            Some((_, name)) => {
                let mut buffer = [0; NAME_BYTES_MAX];
                lower_case(name, &mut buffer).and_then(|name| self.by_name.get(name))
            }
        };
        set.unwrap_or(&self.any_host)
    }
}

fn takes_method(rule: &Rule, name: &str) -> bool {
    let follows_invite = matches!(name, "ACK" | "CANCEL");
    rule.methods.iter().any(|m| m == name || (follows_invite && m == "INVITE"))
}

fn source_table(rules: &[Rule]) -> Prefixes {
    let indexed = || rules.iter().enumerate();
    let always: Vec<_> = indexed().filter(|(_, r)| r.sources.is_empty()).map(|(i, _)| i).collect();
    let prefixes: Vec<_> = indexed().flat_map(|(i, r)| r.sources.iter().map(move |s| (*s, i))).collect();
    Prefixes::new(&prefixes, &always, rules.len())
}

fn user_table(rules: &[Rule]) -> Intervals<Box<[u8]>> {
    let indexed = || rules.iter().enumerate();
    let always: Vec<_> = indexed().filter(|(_, r)| r.user_prefixes.is_empty()).map(|(i, _)| i).collect();
    let range = |prefix: &String, i| {
        let first: Box<[u8]> = prefix.as_bytes().into();
        let end = after_prefix(&first);
        (first, end, i)
    };
    let ranges: Vec<_> =
        indexed().flat_map(|(i, r)| r.user_prefixes.iter().map(move |p| range(p, i))).collect();
    Intervals::new(&ranges, &always, rules.len())
}

/// The least text that is greater than all that begin with `prefix`; none where there is none.
fn after_prefix(prefix: &[u8]) -> Option<Box<[u8]>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// Reads a rule's host: a name or an address, with or without brackets, and no port.
#[must_use]
pub fn parse_host(text: &str) -> Option<AuthorityHost> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(AuthorityHost::Address(address.to_canonical()));
    }
    Authority::parse(text).filter(|authority| authority.port.is_none()).map(|authority| authority.host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::host;

    fn rule() -> Rule {
        Rule {
            listeners: vec![],
            sources: vec![],
            methods: vec![],
            hosts: vec![],
            user_prefixes: vec![],
            action: Action::TargetSet(0),
            egress: None,
        }
    }

    fn first(rules: &Rules, method: &str, source: &str, host: &str, user: &str) -> Option<usize> {
        let read = host::read_host_port(host.as_bytes(), 0, host.len(), false).unwrap();
        let subject = Subject {
            listener: ListenerIndex(1),
            source: source.parse().unwrap(),
            method: Method::of(method.as_bytes()),
            method_text: method.as_bytes(),
            host: Some((read.host, host.as_bytes())),
            user: user.as_bytes(),
        };
        rules.first(&subject).map(|(i, _)| i)
    }

    #[test]
    fn each_condition_and_their_order() {
        let rules = Rules::new(
            vec![
                Rule { listeners: vec![ListenerIndex(0)], ..rule() },
                Rule {
                    methods: vec!["INVITE".into(), "FOO".into()],
                    user_prefixes: vec!["+44".into()],
                    ..rule()
                },
                Rule { user_prefixes: vec!["+4".into(), "0".into()], ..rule() },
                Rule { hosts: vec![parse_host("Pbx.example").unwrap()], ..rule() },
                Rule { sources: vec!["192.0.2.0/24".parse().unwrap()], ..rule() },
            ],
            2,
        );
        let far = "198.51.100.1";
        assert_eq!(first(&rules, "INVITE", far, "a", "+441"), Some(1));
        assert_eq!(first(&rules, "ACK", far, "a", "+441"), Some(1));
        assert_eq!(first(&rules, "CANCEL", far, "a", "+441"), Some(1));
        assert_eq!(first(&rules, "FOO", far, "a", "+44"), Some(1));
        assert_eq!(first(&rules, "BAR", far, "a", "+44"), Some(2));
        assert_eq!(first(&rules, "BYE", far, "a", "+441"), Some(2));
        assert_eq!(first(&rules, "BYE", far, "a", "05"), Some(2));
        assert_eq!(first(&rules, "BYE", far, "pbx.EXAMPLE.", "1"), Some(3));
        assert_eq!(first(&rules, "BYE", "192.0.2.7", "a", "1"), Some(4));
        assert_eq!(first(&rules, "BYE", far, "a", "1"), None);
    }

    /// The bit sets against the obvious loop, for more rules than one word holds.
    #[test]
    fn many_rules_agree_with_a_loop() {
        let all: Vec<_> = (0..500)
            .map(|i| Rule {
                user_prefixes: if i % 3 == 0 { vec![] } else { vec![format!("{}", i % 97)] },
                methods: if i % 5 == 0 { vec!["BYE".into()] } else { vec!["MESSAGE".into(), "INFO".into()] },
                sources: vec![format!("10.{}.0.0/16", i % 200).parse().unwrap()],
                ..rule()
            })
            .collect();
        let rules = Rules::new(all.clone(), 2);
        for (i, method) in (0..3000).zip(["BYE", "INFO", "INVITE"].iter().cycle()) {
            let (source, user) = (format!("10.{}.1.1", i % 211), format!("{}", i * 7));
            let expected = all.iter().position(|r| {
                r.methods.iter().any(|m| m == method)
                    && r.sources[0].contains(&source.parse::<IpAddr>().unwrap())
                    && (r.user_prefixes.is_empty() || user.starts_with(&r.user_prefixes[0]))
            });
            assert_eq!(first(&rules, method, &source, "a", &user), expected, "{method} {source} {user}");
        }
    }
}
