//! What must be true of every message, whoever wrote it: the oracles behind the fuzz targets and behind the test of their corpus.
//!
//! Each takes bytes and panics where something is wrong. They know nothing of fuzzing, so that any toolchain can run them. Below them are the slow and obvious
//! readers that they compare with.

mod forward;
mod leaves;
mod parse;

pub use forward::forward;
pub use parse::parse;

use crate::line_diff;

/// A message that leaves something behind in every part of a worker's scratch.
const DIRTY: &[u8] = b"INVITE sip:+4930@example.com;maddr=192.0.2.1;transport=udp SIP/2.0\r\n\
Via: SIP/2.0/UDP a.example;branch=z9hG4bKdirty;rport;maddr=192.0.2.7;received=192.0.2.8, SIP/2.0/UDP b.example;branch=1\r\n\
Max-Forwards: 7\r\nRoute: <sip:192.0.2.1;lr;r2=on>, <sip:10.0.0.1;lr;r2=on>\r\nFrom: <sip:a@a>;tag=dirty\r\n\
To: <sip:b@b>;tag=dirt\r\nCall-ID: dirty\r\nCSeq: 77 INVITE\r\nProxy-Require: dirt\r\nContent-Length: 4\r\n\r\ndirt";

/// The start-line and header fields of a message, with their folds and without their last CRLF, and the body.
type Parts = (Vec<Vec<u8>>, Vec<u8>);

fn split(bytes: &[u8]) -> Option<Parts> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut rest = &bytes[..end];
    loop {
        let len = rest.windows(2).position(|w| w == b"\r\n").unwrap_or(rest.len());
        match lines.last_mut() {
            Some(last) if matches!(rest.first(), Some(b' ' | b'\t')) => {
                last.extend_from_slice(b"\r\n");
                last.extend_from_slice(&rest[..len]);
            }
            _ => lines.push(rest[..len].to_vec()),
        }
        if len == rest.len() {
            return Some((lines, bytes[end + 4..].to_vec()));
        }
        rest = &rest[len + 2..];
    }
}

fn name_of(line: &[u8]) -> Vec<u8> {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    // A fold before the colon is none (25.1 HCOLON), and white space before the name makes a fold of the line.
    let len = name.iter().rposition(|byte| !b" \t".contains(byte)).map_or(0, |last| last + 1);
    name[..len].to_ascii_lowercase()
}

fn trim<'b>(text: &'b [u8], space: &[u8]) -> &'b [u8] {
    let start = text.iter().position(|byte| !space.contains(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !space.contains(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

fn same(got: &[u8], expected: &[u8], what: &str) {
    assert!(got == expected, "{what}:\n{}", line_diff(expected, got));
}
