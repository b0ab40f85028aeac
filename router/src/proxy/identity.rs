//! Who we are: every bound and advertised host and port, the aliases and the domains.

use crate::io::ListenerIndex;
use crate::sip::host::HostPort;
use core::net::{IpAddr, Ipv4Addr};
use rapidhash::fast::SeedableState;
use std::collections::HashMap;

/// A host and port out of the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Authority {
    /// The host.
    pub host: AuthorityHost,
    /// The port, where one is written.
    pub port: Option<u16>,
}

/// A host out of the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum AuthorityHost {
    /// An address.
    Address(IpAddr),
    /// A name, lower-case, without a trailing dot.
    Name(Box<str>),
}

impl Authority {
    /// Reads `host[:port]`, with IPv6 addresses in brackets. `None` where it is not that, or where the port is 0.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let read = crate::sip::host::read_host_port(text.as_bytes(), 0, text.len(), false)?;
        if read.end != text.len() || read.port == Some(0) {
            return None;
        }
        let host = match read.host.address {
            Some(address) => AuthorityHost::Address(address),
            None => {
                let name = text[..read.host.span.len()].to_ascii_lowercase();
                if name.len() > NAME_BYTES_MAX {
                    return None;
                }
                AuthorityHost::Name(name.trim_end_matches('.').into())
            }
        };
        Some(Self { host, port: read.port })
    }

    /// The text that stands for it in a Via or a URI.
    #[must_use]
    pub fn text(&self) -> String {
        let host = match &self.host {
            AuthorityHost::Address(IpAddr::V4(address)) => address.to_string(),
            AuthorityHost::Address(IpAddr::V6(address)) => format!("[{address}]"),
            AuthorityHost::Name(name) => name.to_string(),
        };
        self.port.map_or(host.clone(), |port| format!("{host}:{port}"))
    }
}

/// The longest name that can be ours: DNS's own limit. A longer host in a message is nobody's.
pub const NAME_BYTES_MAX: usize = 255;

/// Whose a host and port is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A listener's address, advertised name or alias.
    Listener(ListenerIndex),
    /// A domain of the node, which belongs to no listener.
    Domain,
}

type Table<K> = HashMap<K, Owner, SeedableState<'static>>;

/// The identity table. A look-up costs one hash, however many entries there are.
#[derive(Clone, Debug)]
pub struct Identity {
    /// IPv4 address and port in one word.
    v4: Table<u64>,
    v6: Table<(u128, u16)>,
    names: HashMap<Box<[u8]>, Vec<(u16, Owner)>, SeedableState<'static>>,
}

impl Default for Identity {
    fn default() -> Self {
        let state = SeedableState::fixed();
        Self {
            v4: HashMap::with_hasher(state),
            v6: HashMap::with_hasher(state),
            names: HashMap::with_hasher(state),
        }
    }
}

/// The port that a missing one means (RFC 3261 19.1.2).
#[inline]
#[must_use]
pub const fn default_port(sips: bool) -> u16 {
    if sips { 5061 } else { 5060 }
}

impl Identity {
    /// Adds an entry; a missing port means 5060. Returns the owner that had it before, which stays.
    pub fn insert(&mut self, authority: &Authority, owner: Owner) -> Option<Owner> {
        let port = authority.port.unwrap_or(default_port(false));
        match &authority.host {
            AuthorityHost::Address(address) => {
                let old = self.address_owner(*address, port);
                match address {
                    _ if old.is_some() => {}
                    IpAddr::V4(v4) => drop(self.v4.insert(v4_key(*v4, port), owner)),
                    IpAddr::V6(v6) => drop(self.v6.insert((v6.to_bits(), port), owner)),
                }
                old
            }
            AuthorityHost::Name(name) => {
                let ports = self.names.entry(name.as_bytes().into()).or_default();
                let old = ports.iter().find(|(p, _)| *p == port).map(|(_, owner)| *owner);
                if old.is_none() {
                    ports.push((port, owner));
                }
                old
            }
        }
    }

    /// Whose `host_port` is, as it stands in `bytes`; `sips` chooses the port that a missing one means.
    #[inline]
    #[must_use]
    pub fn owner(&self, bytes: &[u8], host_port: &HostPort, sips: bool) -> Option<Owner> {
        let port = host_port.port.unwrap_or(default_port(sips));
        if let Some(address) = host_port.host.address {
            return self.address_owner(address, port);
        }
        self.name_owner(host_port.host.span.of(bytes), port)
    }

    /// Whose `address` and `port` is.
    #[inline]
    #[must_use]
    pub fn address_owner(&self, address: IpAddr, port: u16) -> Option<Owner> {
        match address {
            IpAddr::V4(v4) => self.v4.get(&v4_key(v4, port)).copied(),
            IpAddr::V6(v6) => self.v6.get(&(v6.to_bits(), port)).copied(),
        }
    }

    fn name_owner(&self, name: &[u8], port: u16) -> Option<Owner> {
        if self.names.is_empty() {
            return None;
        }
        let mut buffer = [0u8; NAME_BYTES_MAX];
        let name = lower_case(name, &mut buffer)?;
        let ports = self.names.get(name)?;
        ports.iter().find(|(p, _)| *p == port).map(|(_, owner)| *owner)
    }
}

#[inline]
fn v4_key(address: Ipv4Addr, port: u16) -> u64 {
    u64::from(address.to_bits()) << 16 | u64::from(port)
}

/// `name` lower-cased and without a trailing dot, in `buffer`; `None` where it is longer than a name can be.
#[inline]
#[must_use]
pub fn lower_case<'b>(name: &[u8], buffer: &'b mut [u8; NAME_BYTES_MAX]) -> Option<&'b [u8]> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let lower = buffer.get_mut(..name.len())?;
    for (to, from) in lower.iter_mut().zip(name) {
        *to = from.to_ascii_lowercase();
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::uri;

    #[test]
    fn ports_and_spellings() {
        let mut identity = Identity::default();
        let us = Owner::Listener(ListenerIndex(3));
        for text in ["us.example", "192.0.2.1:5060", "[2001:db8::1]:5062"] {
            assert_eq!(identity.insert(&Authority::parse(text).unwrap(), us), None);
        }
        let owner = |text: &str| {
            let uri = uri::read(text.as_bytes(), 0, text.len()).unwrap();
            identity.owner(text.as_bytes(), &uri.host_port.unwrap(), uri.scheme == uri::Scheme::Sips)
        };
        for ours in [
            "sip:us.example",
            "sip:US.Example:5060",
            "sip:us.example.",
            "sip:192.0.2.1",
            "sip:x@192.0.2.1:5060;lr",
            "sip:[2001:DB8:0::1]:5062",
            "sip:[::ffff:192.0.2.1]",
            "sips:us.example:5060",
        ] {
            assert_eq!(owner(ours), Some(us), "{ours}");
        }
        for others in [
            "sip:us.example:5062",
            "sip:us.example@them",
            "sip:192.0.2.1:5062",
            "sip:[2001:db8::1]",
            "sips:us.example",
            "sip:us",
            "sip:xus.example",
        ] {
            assert_eq!(owner(others), None, "{others}");
        }
    }
}
