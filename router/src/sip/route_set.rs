//! The values of all Route header fields, in order (RFC 3261 20.34).

use super::header_field::Name;
use super::message::{Field, Message};
use super::params;
use super::scan;
use super::span::Span;
use super::uri::{self, Uri};

/// One value of a Route header field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteValue {
    /// From its first byte to its last, without white space around.
    pub span: Span,
    /// Its URI.
    pub uri: Uri,
    /// Index of the header field it stands in, as [`Message::fields`] counts.
    pub field: usize,
    /// Whether it is the first value in that field.
    pub first: bool,
    /// Whether it is the last value in that field.
    pub last: bool,
    /// Where the value after it begins, past the comma and white space; where it is the last, the end of the field's value.
    pub next: usize,
}

/// Walks over the Route values from the topmost. Reads each when asked for it.
#[derive(Clone, Copy, Debug)]
pub struct RouteSet<'a> {
    message: &'a Message,
    bytes: &'a [u8],
    field: usize,
    at: usize,
}

/// A Route value that is not by the grammar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRoute;

impl<'a> RouteSet<'a> {
    /// All values of the message.
    #[inline]
    #[must_use]
    pub fn new(message: &'a Message, bytes: &'a [u8]) -> Self {
        Self { message, bytes, field: message.first(Name::Route).unwrap_or(usize::MAX), at: 0 }
    }

    /// Whether there is no value left.
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.field >= self.message.fields().len()
    }

    /// The next value, or `None` after the last.
    ///
    /// # Errors
    /// The value is not by the grammar.
    #[inline]
    pub fn next_value(&mut self) -> Result<Option<RouteValue>, BadRoute> {
        let Some(field) = self.message.fields().get(self.field) else { return Ok(None) };
        self.read(field).ok_or(BadRoute).map(Some)
    }

    /// Where the next value begins, and where its field's value ends: the index of the field and both offsets. `None` after the last.
    #[inline]
    #[must_use]
    pub fn place(&self) -> Option<(usize, usize, usize)> {
        let value = self.message.fields().get(self.field)?.value;
        Some((self.field, if self.at == 0 { value.start() } else { self.at }, value.end()))
    }

    /// Goes past the next value, which somebody else has read: whether it is the last of its field, and where the one after it begins.
    #[inline]
    pub fn pass(&mut self, last: bool, next: usize) {
        if last {
            let next = self.message.next(Name::Route, self.field + 1);
            (self.field, self.at) = (next.unwrap_or(usize::MAX), 0);
        } else {
            self.at = next;
        }
    }

    fn read(&mut self, field: &Field) -> Option<RouteValue> {
        let end = field.value.end();
        let start = if self.at == 0 { field.value.start() } else { self.at };
        let name_addr = uri::read_name_addr::<true>(self.bytes, start, end)?;
        let uri = uri::read(self.bytes, name_addr.uri.start(), name_addr.uri.end())?;
        let stop = self.skip_params(name_addr.params, end)?;
        let last = stop == end;
        let next = if last { end } else { scan::skip(self.bytes, stop + 1, end, scan::LWS) };
        let (span_start, span_end) = scan::trim(self.bytes, start, stop);
        let value = RouteValue {
            span: Span::new(span_start, span_end),
            uri,
            field: self.field,
            first: self.at == 0,
            last,
            next,
        };
        self.pass(last, next);
        Some(value)
    }

    /// The end of the value whose header parameters begin at `at`: its comma, or `end`.
    fn skip_params(&self, mut at: usize, end: usize) -> Option<usize> {
        while at < end && self.bytes[at] == b';' {
            let param = params::read(self.bytes, at, end)?;
            at = scan::skip(self.bytes, param.whole.end(), end, scan::LWS);
        }
        (at == end || self.bytes[at] == b',').then_some(at)
    }
}
