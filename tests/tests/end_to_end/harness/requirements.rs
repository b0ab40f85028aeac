//! What a test needs of the machine. Where it is missing, a developer's test is skipped with a word about
//! it, and CI fails.

use std::env;
use std::io::{self, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;

/// Whether SIPp is installed and the addresses are there.
pub(crate) fn are_met(addresses: &[IpAddr]) -> bool {
    let missing = missing(addresses);
    let Some(missing) = missing else { return true };
    assert!(env::var_os("CI").is_none(), "CI must not skip a test: {missing}");
    // Not `eprintln!`, which the test runner keeps to itself when the test passes.
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {missing}");
    false
}

fn missing(addresses: &[IpAddr]) -> Option<String> {
    let version = Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if version.is_err() {
        return Some("SIPp is not installed (Debian: sip-tester)".to_owned());
    }
    let absent = addresses.iter().find(|ip| UdpSocket::bind((**ip, 0)).is_err())?;
    Some(format!("this machine has no {absent}"))
}
