//! What SIPp wrote down of the messages it sent and received (`-trace_msg`), byte for byte: every entry
//! says its length.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::message::Message;

/// All messages that one SIPp sent and received, in their order.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// What it sent, retransmissions included.
    pub(crate) sent: Vec<Message>,
    /// What it received, retransmissions included.
    pub(crate) received: Vec<Message>,
}

impl Trace {
    /// Reads a message log. An entry that is still being written is left out.
    pub(crate) fn read(log: &Path) -> Self {
        let log = fs::read(log).unwrap_or_default();
        let mut trace = Self::default();
        let mut rest = log.as_slice();
        while let Some((heading, after)) = next_entry(rest) {
            let Some(datagram) = after.get(..length_in(&heading)) else {
                break;
            };
            let messages = if heading.contains(" sent ") { &mut trace.sent } else { &mut trace.received };
            messages.push(Message::parse(datagram));
            rest = &after[datagram.len()..];
        }
        trace
    }
}

/// The messages of one direction by call, and of a call by [`Message::key`].
pub(crate) type ByCall = BTreeMap<String, BTreeMap<String, Message>>;

/// Sorts messages by call. A message that comes again must have the same bytes.
pub(crate) fn by_call(messages: &[Message]) -> ByCall {
    let mut calls = ByCall::new();
    for message in messages {
        let call = calls.entry(message.call_id().to_owned()).or_default();
        let first = call.entry(message.key()).or_insert_with(|| message.clone());
        assert_eq!(first, message, "a message that comes again has the same bytes");
    }
    calls
}

/// Finds the next entry: its heading, and the bytes that follow the heading.
fn next_entry(log: &[u8]) -> Option<(String, &[u8])> {
    let heading_at = find(log, b" message ")?;
    let datagram_at = heading_at + find(&log[heading_at..], b":\n\n")?;
    let heading = String::from_utf8_lossy(&log[heading_at..datagram_at]).into_owned();
    Some((heading, &log[datagram_at + 3..]))
}

/// The length in ` message sent (465 bytes)` or ` message received [465] bytes `.
fn length_in(heading: &str) -> usize {
    let digits = heading.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
    let length = digits.and_then(|digits| digits.parse().ok());
    length.unwrap_or_else(|| panic!("SIPp did not expect a message: {heading}"))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
