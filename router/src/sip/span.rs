//! A place in a message: offsets, not a slice, so that the bytes may move afterwards.

use core::fmt;
use core::ops::Range;

/// A half-open range of bytes of one message, `start..end`, counted from the message's first byte.
///
/// Offsets are 16 bits wide because a UDP payload is at most 65,507 bytes (IPv4) or 65,527 (IPv6).
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// First byte.
    pub start: u16,
    /// One past the last byte.
    pub end: u16,
}

impl Span {
    /// The span `start..end`. Both are at most [`Span::OFFSET_MAX`]: [`super::Message::read`] takes no longer message.
    #[inline]
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= Self::OFFSET_MAX && end <= Self::OFFSET_MAX);
        Self { start: start as u16, end: end as u16 }
    }

    /// The span whose start is the lower half of `halves`, and whose end the upper. Sums of such are done on both at once, where none leaves its half.
    #[inline]
    #[must_use]
    pub const fn of_halves(halves: u32) -> Self {
        Self { start: halves as u16, end: (halves >> 16) as u16 }
    }

    /// The largest offset that a span can name, and so the longest message that is read.
    pub const OFFSET_MAX: usize = u16::MAX as usize;

    /// The empty span at `at`.
    #[inline]
    #[must_use]
    pub const fn empty_at(at: usize) -> Self {
        Self::new(at, at)
    }

    /// First byte, as an index.
    #[inline]
    #[must_use]
    pub const fn start(self) -> usize {
        self.start as usize
    }

    /// One past the last byte, as an index.
    #[inline]
    #[must_use]
    pub const fn end(self) -> usize {
        self.end as usize
    }

    /// Length in bytes.
    #[inline]
    #[must_use]
    pub const fn len(self) -> usize {
        (self.end as usize).saturating_sub(self.start as usize)
    }

    /// Whether no byte is in it.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The bytes that the span names, or nothing where it does not lie inside `message`.
    #[inline]
    #[must_use]
    pub fn of(self, message: &[u8]) -> &[u8] {
        // Two steps: the compiler makes two branches of them, and six instructions of one.
        message.get(..self.end()).and_then(|head| head.get(self.start()..)).unwrap_or_default()
    }

    /// As a range of indices.
    #[inline]
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}
