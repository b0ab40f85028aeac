//! The forms of text that values of the configuration have. No control character gets through any of them, so that none can break a message that it reaches.

use super::value::FromText;
use crate::proxy::identity::{Authority, AuthorityHost, NAME_BYTES_MAX};
use crate::proxy::snapshot::is_usable;
use crate::sip::scan::{self, NOT_IN_URI, TOKEN};
use crate::sip::start_line::Method;
use crate::sip::uri::{self, Scheme};
use core::net::{IpAddr, SocketAddr};
use ipnet::IpNet;
use std::path::PathBuf;

/// The address and port of a listener or a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address(pub SocketAddr);

impl FromText for Address {
    const ALLOWED: &'static str = "an IP address and a port, an IPv6 address in brackets";
    const EXAMPLE: &'static str = "203.0.113.10:5060";

    fn from_text(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Err(format!("\"{}\" has no port", escaped(&address.to_string())));
        }
        let address: SocketAddr =
            text.parse().map_err(|_| format!("\"{}\" is not an address and a port", escaped(text)))?;
        match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                Err("an address with a zone cannot stand in a message".into())
            }
            SocketAddr::V6(v6) if v6.ip().to_canonical().is_ipv4() => Err(format!(
                "\"{text}\" is an IPv4 address in IPv6 clothes: write {}",
                v6.ip().to_canonical()
            )),
            _ if address.port() == 0 => Err("port 0 is no port".into()),
            _ if address.ip().is_unspecified() => Ok(Self(address)),
            _ if !is_usable(address.ip(), address.port()) => {
                Err(format!("\"{text}\" is a multicast or broadcast address"))
            }
            _ => Ok(Self(address)),
        }
    }
}

/// A host with or without a port, as it stands in a Via or a URI.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPort(pub Authority);

impl FromText for HostPort {
    const ALLOWED: &'static str =
        "a host name or an IP address (IPv6 in brackets), and a port if it is not 5060";
    const EXAMPLE: &'static str = "sip.example.net:5060";

    fn from_text(text: &str) -> Result<Self, String> {
        let authority =
            Authority::parse(text).ok_or_else(|| format!("\"{}\" is not a host and port", escaped(text)))?;
        check_host(&authority.host)?;
        Ok(Self(authority))
    }
}

/// A host without a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host(pub AuthorityHost);

impl FromText for Host {
    const ALLOWED: &'static str = "a host name or an IP address, without a port";
    const EXAMPLE: &'static str = "pbx.example.net";

    fn from_text(text: &str) -> Result<Self, String> {
        let host = crate::proxy::rules::parse_host(text)
            .ok_or_else(|| format!("\"{}\" is not a host without a port", escaped(text)))?;
        check_host(&host)?;
        Ok(Self(host))
    }
}

/// A name by the grammar of RFC 3261 25.1 (`hostname`): its last label begins with a letter, so a mistyped address is not one.
fn check_host(host: &AuthorityHost) -> Result<(), String> {
    let AuthorityHost::Name(name) = host else { return Ok(()) };
    let legal =
        |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.len() > NAME_BYTES_MAX || !name.split('.').all(legal) {
        return Err(format!("\"{}\" is not a host name", escaped(name)));
    }
    if !last.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(format!("\"{}\" is neither an address nor a host name", escaped(name)));
    }
    Ok(())
}

/// A prefix of source addresses; a single address is one too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix(pub IpNet);

impl FromText for Prefix {
    const ALLOWED: &'static str = "an IP prefix or a single address";
    const EXAMPLE: &'static str = "10.0.0.0/8";

    fn from_text(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.into()));
        }
        let net: IpNet = text.parse().map_err(|_| format!("\"{}\" is not an IP prefix", escaped(text)))?;
        if net.trunc() != net {
            return Err(format!(
                "\"{text}\" has bits set after its prefix: is it {} or {}?",
                net.trunc(),
                net.addr()
            ));
        }
        Ok(Self(net))
    }
}

/// The name of a node, a listener or a target set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name(pub String);

impl FromText for Name {
    const ALLOWED: &'static str = "1 to 64 letters, digits, `-`, `_` and `.`, the first a letter or a digit";
    const EXAMPLE: &'static str = "core-1";

    fn from_text(text: &str) -> Result<Self, String> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins && text.len() <= 64 && text.bytes().all(legal) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("\"{}\" is not a name", escaped(text)))
    }
}

/// The name of a network interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceName(pub String);

impl FromText for InterfaceName {
    const ALLOWED: &'static str =
        "the name of a network interface, 1 to 15 bytes without white space, `/` and `:`";
    const EXAMPLE: &'static str = "eth0";

    /// What the kernel takes (`net/core/dev.c`, `dev_valid_name`).
    fn from_text(text: &str) -> Result<Self, String> {
        let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
        let is_name = !text.is_empty() && text.len() <= 15 && text.bytes().all(legal);
        if is_name && text != "." && text != ".." {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("\"{}\" is not the name of an interface", escaped(text)))
    }
}

/// A method.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MethodName(pub String);

impl FromText for MethodName {
    const ALLOWED: &'static str = "a method; case matters";
    const EXAMPLE: &'static str = "INVITE";

    fn from_text(text: &str) -> Result<Self, String> {
        let bytes = text.as_bytes();
        if bytes.is_empty() || scan::skip(bytes, 0, bytes.len(), TOKEN) != bytes.len() {
            return Err(format!("\"{}\" is not a method", escaped(text)));
        }
        let upper = text.to_ascii_uppercase();
        if upper != text && Method::of(upper.as_bytes()) != Method::Other {
            return Err(format!("\"{text}\" is not {upper}: methods are case-sensitive (RFC 3261 7.1)"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What the user part of a Request-URI begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserPrefix(pub String);

impl FromText for UserPrefix {
    const ALLOWED: &'static str =
        "the beginning of a user part, as it stands in the Request-URI, at most 255 bytes";
    const EXAMPLE: &'static str = "+44";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty prefix matches every user part: leave the key out".into());
        }
        let legal = text.bytes().all(|byte| byte.is_ascii() && byte != b'@' && !scan::is(byte, NOT_IN_URI));
        if !legal || text.len() > 255 {
            return Err(format!("no user part begins with \"{}\"", escaped(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A URI for the Contact of a redirect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContactUri(pub String);

impl FromText for ContactUri {
    const ALLOWED: &'static str = "a sip, sips or tel URI";
    const EXAMPLE: &'static str = "sip:bob@pbx.example.net:5070";

    fn from_text(text: &str) -> Result<Self, String> {
        let read = uri::read(text.as_bytes(), 0, text.len()).filter(|uri| uri.scheme != Scheme::Other);
        if read.is_none() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("\"{}\" is not such a URI", escaped(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The reason phrase of a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Phrase(pub String);

impl FromText for Phrase {
    const ALLOWED: &'static str = "1 to 100 bytes of text without control characters";
    const EXAMPLE: &'static str = "Number Not In Service";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err(format!("\"{}\" has a control character", escaped(text)));
        }
        if text.is_empty() || text.len() > 100 {
            return Err(format!("a text of {} bytes", text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The path of a file. A relative one starts at the directory of the configuration file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilePath(pub PathBuf);

impl FromText for FilePath {
    const ALLOWED: &'static str = "a path, relative to the configuration file's directory or absolute";
    const EXAMPLE: &'static str = "/etc/sluice/keys";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(format!("\"{}\" is not a path", escaped(text)));
        }
        Ok(Self(PathBuf::from(text)))
    }
}

/// The path of a Unix socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketPath(pub PathBuf);

impl FromText for SocketPath {
    const ALLOWED: &'static str =
        "a path of at most 107 bytes, relative to the configuration file's directory or absolute";
    const EXAMPLE: &'static str = "/run/sluice/edge-1.sock";

    fn from_text(text: &str) -> Result<Self, String> {
        // The room in `sockaddr_un` (unix(7)).
        if text.len() > 107 {
            return Err(format!("a path of {} bytes", text.len()));
        }
        FilePath::from_text(text).map(|path| Self(path.0))
    }
}

/// The text with control characters spelled out, and not longer than a line of the log can bear.
fn escaped(text: &str) -> String {
    let mut shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        shown.push_str("...");
    }
    shown
}
