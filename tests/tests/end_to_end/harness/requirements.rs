//! What a test needs of the machine. Where it is missing, a developer's test is skipped with a word about
//! it, and CI fails.

use std::env;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::thread;

/// Whether nothing is missing.
pub(crate) fn met(missing: Option<String>) -> bool {
    let Some(missing) = missing else { return true };
    assert!(env::var_os("CI").is_none(), "CI must not skip a test: {missing}");
    // Not `eprintln!`, which the test runner keeps to itself when the test passes.
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {missing}");
    false
}

/// Whether SIPp is installed.
pub(crate) fn sipp() -> bool {
    let version = Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    met(version.is_err().then(|| "SIPp is not installed (Debian: sip-tester)".to_owned()))
}
