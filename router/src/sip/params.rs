//! `;name=value` lists, as Via, Route, To and URIs carry them (RFC 3261 25.1 `generic-param`).

use super::scan::{self, LWS};
use super::span::Span;

/// One parameter. `value` is empty where there is none; of a quoted string it holds the quotes too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Param {
    /// From the `;` to the end of the value.
    pub whole: Span,
    /// The name.
    pub name: Span,
    /// The value.
    pub value: Span,
    /// Whether a `=` stands after the name.
    pub has_value: bool,
}

impl Param {
    /// The name as a word for comparison with [`scan::word_of`]; of one longer than eight bytes it holds the first eight.
    #[inline]
    #[must_use]
    pub fn key(&self, bytes: &[u8]) -> u64 {
        scan::lower_word(bytes, self.name.start(), self.name.len())
    }
}

/// Reads the parameter whose `;` is at `at`, within `..end`. White space is allowed around `;` and `=`.
///
/// A name may not be empty; nor may a value after `=`. `None` is the error.
#[inline(always)]
#[must_use]
pub fn read(bytes: &[u8], at: usize, end: usize) -> Option<Param> {
    let name_end = scan::find_delimiter(bytes, at + 1, end);
    let name = Span::new(at + 1, name_end);
    if name_end > at + 1 {
        if name_end >= end || matches!(bytes[name_end], b';' | b',' | b'?') {
            let whole = Span::new(at, name_end);
            return Some(Param { whole, name, value: Span::empty_at(name_end), has_value: false });
        }
        if bytes[name_end] == b'=' {
            let value_end = scan::find_delimiter(bytes, name_end + 1, end);
            if value_end > name_end + 1 {
                let value = Span::new(name_end + 1, value_end);
                return Some(Param { whole: Span::new(at, value_end), name, value, has_value: true });
            }
        }
    }
    read_with_spaces(bytes, at, end)
}

/// The same with white space, and with quoted values.
#[cold]
fn read_with_spaces(bytes: &[u8], at: usize, end: usize) -> Option<Param> {
    let end = end.min(bytes.len());
    let name_start = scan::skip(bytes, at + 1, end, LWS);
    let name_end = scan::find_delimiter(bytes, name_start, end);
    if name_end == name_start {
        return None;
    }
    let name = Span::new(name_start, name_end);
    let equals = scan::skip(bytes, name_end, end, LWS);
    if equals >= end || bytes[equals] != b'=' {
        let whole = Span::new(at, name_end);
        return Some(Param { whole, name, value: Span::empty_at(name_end), has_value: false });
    }
    let value_start = scan::skip(bytes, equals + 1, end, LWS);
    let value_end = if value_start < end && bytes[value_start] == b'"' {
        quoted_end(bytes, value_start, end)?
    } else {
        scan::find_delimiter(bytes, value_start, end)
    };
    if value_end == value_start {
        return None;
    }
    let value = Span::new(value_start, value_end);
    Some(Param { whole: Span::new(at, value_end), name, value, has_value: true })
}

/// One past the closing quote of the quoted string that opens at `at`; `None` when it does not close before `end`.
#[inline]
#[must_use]
pub fn quoted_end(bytes: &[u8], at: usize, end: usize) -> Option<usize> {
    let end = end.min(bytes.len());
    let mut i = at + 1;
    loop {
        i = scan::find_any(bytes, i, end, *b"\"\\");
        if i >= end {
            return None;
        }
        if bytes[i] == b'"' {
            return Some(i + 1);
        }
        i += 2;
    }
}
