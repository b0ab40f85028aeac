//! What is allowed, but seldom meant.

use super::{Config, ConfigError};
use crate::control::config::file::{Mode, Rule};

/// Status codes that RFC 3261 section 21 asks a header field for that a rule's reply does not have.
const NEEDS_HEADER_FIELD: [(u32, &str); 6] = [
    (401, "WWW-Authenticate"),
    (405, "Allow"),
    (407, "Proxy-Authenticate"),
    (420, "Unsupported"),
    (421, "Require"),
    (423, "Min-Expires"),
];

/// The warnings about a configuration that is good, each with its place, in the form of an error.
#[must_use]
pub fn warnings(config: &Config) -> Vec<ConfigError> {
    let mut all = Vec::new();
    let mut warn = |at: usize, message: String| all.push(config.source.error(at, message));
    for source in config.file.trust.sources.items.iter().filter(|source| source.value.0.prefix_len() == 0) {
        warn(source.at.start, format!("{} trusts everybody: this node is an open relay", source.value.0));
    }
    if let Some(interface) = config.file.interface.first().filter(|_| config.file.io.mode == Mode::Udp) {
        warn(interface.at.start, "never used: io.mode is \"udp\"".to_owned());
    }
    let rules = &config.file.rule;
    if let Some(last) = rules.iter().position(|rule| takes_all(rule)) {
        for rule in rules.iter().skip(last + 1) {
            warn(rule.at.start, format!("never used: rule[{last}] has no condition and takes every request"));
        }
    }
    for set in &config.file.target_set {
        if !rules.iter().any(|rule| rule.target_set.as_ref().is_some_and(|name| name.value == set.name.value))
        {
            warn(set.name.at.start, format!("no rule uses the target set \"{}\"", set.name.0.0));
        }
        if set.members.iter().all(|member| member.down || member.weight.0 == 0) {
            warn(set.members.at.start, "every member is down or weighs nothing: requests get 503".to_owned());
        }
    }
    for reply in rules.iter().filter_map(|rule| rule.reply.as_ref()) {
        if let Some((status, name)) = NEEDS_HEADER_FIELD.iter().find(|(status, _)| *status == reply.status.0)
        {
            warn(reply.at.start, format!("a {status} should have {name}, and a rule's reply has not"));
        }
    }
    all
}

fn takes_all(rule: &Rule) -> bool {
    let Rule { listener, source, method, host, user_prefix, .. } = rule;
    [listener.items.len(), source.items.len(), method.items.len(), host.items.len(), user_prefix.items.len()]
        .iter()
        .all(|len| *len == 0)
}
