//! `;name=value` lists, as Via, Route, To and URIs carry them (RFC 3261 25.1 `generic-param`).

use super::scan::{self, DELIMITER, LWS};
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
    /// Whether this is the parameter called `lower` (lower-case).
    #[inline]
    #[must_use]
    pub fn is(&self, bytes: &[u8], lower: &[u8]) -> bool {
        scan::is_ignoring_case(self.name.of(bytes), lower)
    }
}

/// Reads the parameter whose `;` is at `at`, within `..end`. White space is allowed around `;` and `=`.
///
/// A name may not be empty; nor may a value after `=`. `None` is the error.
#[inline]
#[must_use]
pub fn read(bytes: &[u8], at: usize, end: usize) -> Option<Param> {
    let name_start = scan::skip(bytes, at + 1, end, LWS);
    let name_end = scan::find(bytes, name_start, end, DELIMITER);
    if name_end == name_start {
        return None;
    }
    let name = Span::new(name_start, name_end);
    let mut equals = name_end;
    if equals < end && bytes[equals] != b'=' {
        equals = scan::skip(bytes, equals, end, LWS);
    }
    if equals >= end || bytes[equals] != b'=' {
        let whole = Span::new(at, name_end);
        return Some(Param { whole, name, value: Span::empty_at(name_end), has_value: false });
    }
    let value_start = scan::skip(bytes, equals + 1, end, LWS);
    let value_end = if value_start < end && bytes[value_start] == b'"' {
        quoted_end(bytes, value_start, end)?
    } else {
        scan::find(bytes, value_start, end, DELIMITER)
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
    while i < end {
        match bytes[i] {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
    None
}

/// Where the value of a comma list that begins at `at` ends: at a comma outside quotes and `<>`, or at `end`.
/// `None` when a quote or a bracket does not close.
#[must_use]
pub fn list_value_end(bytes: &[u8], at: usize, end: usize) -> Option<usize> {
    let mut i = at;
    let mut in_brackets = false;
    while i < end {
        match bytes[i] {
            b',' if !in_brackets => return Some(i),
            b'"' if !in_brackets => {
                i = quoted_end(bytes, i, end)?;
                continue;
            }
            b'<' => in_brackets = true,
            b'>' => in_brackets = false,
            _ => {}
        }
        i += 1;
    }
    (!in_brackets).then_some(end)
}
