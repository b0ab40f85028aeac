//! One message through the device under test, looked at by ordinary sockets: whether what the device does is what it is measured for.

use super::messages::{LISTENER, NEXT_HOP, TRUNK, set_tag, tag_of};
use super::shared::PROBE;
use anyhow::{Context, ensure};
use std::net::UdpSocket;
use std::time::Duration;

/// How often a message is sent before it is given up, and how long each is waited for.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_millis(200);

/// What came out for `message`.
///
/// # Errors
/// Nothing did.
pub fn probe(message: &[u8]) -> anyhow::Result<Vec<u8>> {
    let sender = UdpSocket::bind(TRUNK).with_context(|| format!("{TRUNK}"))?;
    let receiver = UdpSocket::bind(NEXT_HOP).with_context(|| format!("{NEXT_HOP}"))?;
    receiver.set_read_timeout(Some(WAIT))?;
    let mut message = message.to_vec();
    let mut room = [0; 4096];
    for number in PROBE..PROBE + TRIES {
        set_tag(&mut message, number);
        sender.send_to(&message, LISTENER)?;
        while let Ok(bytes) = receiver.recv(&mut room) {
            if tag_of(&room[..bytes]) == Some(number) {
                return Ok(room[..bytes].to_vec());
            }
        }
    }
    anyhow::bail!("nothing comes out of the device under test")
}

/// Whether `sent` was routed: a request has one Via more and no Route of the node's, a response has one Via less; what comes after the header fields that a router changes is the same.
///
/// # Errors
/// What is not so.
pub fn check_routed(message: &[u8], sent: &[u8]) -> anyhow::Result<()> {
    let count = |bytes: &[u8], name: &str| {
        String::from_utf8_lossy(bytes).lines().filter(|line| line.starts_with(name)).count()
    };
    let is_response = message.starts_with(b"SIP/2.0");
    let (before, after) = (count(message, "Via: "), count(sent, "Via: "));
    let wanted = if is_response { before - 1 } else { before + 1 };
    ensure!(after == wanted, "{after} Vias leave, and {before} came");
    ensure!(is_response || count(sent, "Route: ") == 0, "a Route is left");
    let rest = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        set_tag(&mut bytes, 0);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.find("Call-ID: ").map(|at| text[at..].to_owned())
    };
    ensure!(rest(message) == rest(sent), "what follows the Call-ID has changed");
    Ok(())
}
