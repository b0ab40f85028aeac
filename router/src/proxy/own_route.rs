//! A Route value of ours: all that popping it needs to know.
//!
//! Nearly every own Route comes back to the letter as [`super::record_route`] wrote it, so it is first held against those letters, which costs a tenth of reading a
//! URI. Whatever differs in a single byte is read by the grammar; both ways give the same answer, and a test holds them together.

use super::identity::Owner;
use super::seal::ROUTE_SEAL_BYTES;
use super::snapshot::Snapshot;
use crate::io::ListenerIndex;
use crate::sip::route_set::{RouteSet, RouteValue};
use crate::sip::scan;
use crate::sip::span::Span;

const _: () = assert!(ROUTE_SEAL_BYTES >= 16 && ROUTE_SEAL_BYTES <= 32);

/// How many listeners a value is held against before it is read by the grammar. Nodes with more are rare, and pay what everybody would.
const LISTENERS_TRIED_MAX: usize = 8;

/// A Route value of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnRoute {
    /// Where it stands.
    pub place: Place,
    /// Whose it is.
    pub owner: Owner,
    /// Whether it carries `r2=on`.
    pub r2: bool,
    /// The text of its seal; empty where there is none.
    pub seal: Span,
}

/// Where a Route value stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// From its first byte to its last, without white space around.
    pub span: Span,
    /// Index of the header field, as [`crate::sip::Message::fields`] counts.
    pub field: usize,
    /// Whether it is the last value in that field.
    pub last: bool,
    /// Where the value after it begins; where it is the last, the end of the field's value.
    pub next: usize,
}

impl From<&RouteValue> for Place {
    fn from(value: &RouteValue) -> Self {
        Self { span: value.span, field: value.field, last: value.last, next: value.next }
    }
}

impl OwnRoute {
    /// The topmost of `values`, if it is to the letter as one of the listeners writes it, unsealed or sealed. `values` is then past it.
    #[inline(always)]
    #[must_use]
    pub fn take(values: &mut RouteSet<'_>, snapshot: &Snapshot, bytes: &[u8]) -> Option<Self> {
        let (field, start, end) = values.place()?;
        let text = bytes.get(start..end)?;
        let mut tried = snapshot.listeners.iter().take(LISTENERS_TRIED_MAX).enumerate();
        let (index, listener) = loop {
            let (index, listener) = tried.next()?;
            if scan::starts_with(text, &listener.route_head) {
                break (index, listener);
            }
        };
        let mut at = start + listener.route_head.len();
        let r2 = scan::is_at(bytes, at, b";r2=on");
        if r2 {
            at += b";r2=on".len();
        }
        let mut seal = Span::empty_at(at);
        if scan::is_at(bytes, at, b";seal=") {
            at += b";seal=".len();
            seal = Span::new(at, at + ROUTE_SEAL_BYTES);
            at += ROUTE_SEAL_BYTES;
            // A delimiter inside would make it another text. One load looks at the first 16 bytes, one at the last.
            if scan::delimiters_in_16(bytes, seal.start()) || scan::delimiters_in_16(bytes, at - 16) {
                return None;
            }
        }
        if at >= end || bytes[at] != b'>' {
            return None;
        }
        let close = at + 1;
        let last = close == end;
        if !last && bytes[close] != b',' {
            return None;
        }
        let next = if last { end } else { scan::skip(bytes, close + 1, end, scan::LWS) };
        values.pass(last, next);
        let place = Place { span: Span::new(start, close), field, last, next };
        Some(Self { place, owner: Owner::Listener(ListenerIndex(index as u16)), r2, seal })
    }

    /// The same of a value that was read by the grammar, and whose owner was looked up.
    #[must_use]
    pub fn of(value: &RouteValue, owner: Owner) -> Self {
        let seal = value.uri.seal.map_or(Span::empty_at(value.span.end()), |seal| seal.value);
        Self { place: Place::from(value), owner, r2: value.uri.r2, seal }
    }
}
