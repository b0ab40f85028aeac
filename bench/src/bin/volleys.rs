//! Sends the canonical BYE to a router again and again and counts what the router forwards: so many messages, and no others, have gone through it.
//!
//! ```text
//! volleys LABEL COUNT        LABEL names the run in what is printed
//! ```
//!
//! A volley is as many messages as a worker takes in at once, and is sent when the one before it has come back. So a router under callgrind, fifty times as slow as
//! it is, loses none, and takes in batches that are as full as at full load. `scripts/instructions-per-message` runs it between two counts of instructions.

use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::Duration;

/// Messages of a volley: what a worker of sluice takes from a ring or a socket at once.
const VOLLEY: usize = 64;

/// How long a message may be under way. The first meets a router that is still being translated by valgrind.
const PATIENCE: Duration = Duration::from_secs(20);

/// The listener that the message names in its Route.
const ROUTER: &str = "192.0.2.1:5060";

/// Where its Request-URI leads.
const NEXT_HOP: &str = "10.0.1.1:5060";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [label, count] = arguments.as_slice() else { return usage() };
    let Ok(count) = count.parse() else { return usage() };
    match run(count) {
        Ok(()) => {
            println!("{label}: {count} sent, {count} forwarded");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{label}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("Usage: volleys LABEL COUNT");
    ExitCode::from(64)
}

/// Has `count` messages forwarded.
fn run(count: usize) -> Result<(), String> {
    let message = sluice_tests::canonical("bye");
    let (_, source, _) = sluice_tests::CANONICAL[0];
    let bind = |address: &str| UdpSocket::bind(address).map_err(|error| format!("{address}: {error}"));
    let (caller, next_hop) = (bind(source)?, bind(NEXT_HOP)?);
    next_hop.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let mut sent = 0;
    while sent < count {
        let volley = VOLLEY.min(count - sent);
        for _ in 0..volley {
            caller.send_to(&message, ROUTER).map_err(|error| format!("{ROUTER}: {error}"))?;
        }
        (0..volley)
            .try_for_each(|i| is_forwarded(&next_hop).map_err(|why| format!("{}: {why}", sent + i)))?;
        sent += volley;
    }
    Ok(())
}

/// Whether the next message that arrives is the BYE without its Route and with one more Via.
fn is_forwarded(next_hop: &UdpSocket) -> Result<(), String> {
    let mut buffer = [0; 2_048];
    let bytes = next_hop.recv(&mut buffer).map_err(|error| format!("not forwarded: {error}"))?;
    let text = String::from_utf8_lossy(&buffer[..bytes]);
    let is_right = text.starts_with("BYE sip:bob@10.0.1.1:5060 SIP/2.0\r\n")
        && text.matches("\r\nVia: ").count() == 2
        && !text.contains("\r\nRoute: ");
    if is_right { Ok(()) } else { Err(format!("not what was expected:\n{text}")) }
}
