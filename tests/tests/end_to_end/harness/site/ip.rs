//! The commands that make links, addresses and routes, in the namespace that this thread is in.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs lines of `ip` (iproute2), which must all succeed.
pub(crate) fn ip(lines: &str) {
    try_ip(lines).unwrap_or_else(|error| panic!("ip: {error}\n{lines}"));
}

/// Runs lines of `ip`, up to the first that fails, and returns what it says.
pub(super) fn try_ip(lines: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child =
        command.spawn().map_err(|error| format!("ip (Debian: iproute2) does not start: {error}"))?;
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    // A child that has seen an error reads no more; its status says so.
    let _ = stdin.write_all(lines.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(errors) }
}

/// Turns off features of a device (`ethtool -K`).
pub(super) fn turn_off(device: &str, features: &[&str]) -> Result<(), String> {
    let mut command = Command::new("ethtool");
    command.args(["-K", device]).args(features.iter().flat_map(|feature| [feature, "off"]));
    let output =
        command.output().map_err(|error| format!("ethtool (Debian: ethtool) does not start: {error}"))?;
    let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("ethtool {device}: {errors}")) }
}
