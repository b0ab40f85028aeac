//! Changes to a message, as a list in the order of their places, and their one-pass application.
//!
//! The list owns the text to be put in; deleted text is a [`Span`] of the message as it was read. Applying moves every untouched
//! stretch at most once, in place: the part before the last edit moves into the frame's headroom, and the body stays where it is.

#![forbid(unsafe_code)]

pub mod text;

use crate::io::Datagram;
use crate::sip::message::FIELDS_MAX;
use crate::sip::span::Span;
pub use text::Text;

/// Most edits to one message. Forwarding takes a dozen; a reply takes one for each stretch between two header fields that it keeps.
pub const EDITS_MAX: usize = FIELDS_MAX + 16;

/// Replaces the bytes of one span by a text; either may be empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Edit {
    /// What goes.
    pub delete: Span,
    /// What comes, as a span of the list's own text.
    pub insert: Span,
}

/// The edits to one message. A worker's scratch: filled anew for every datagram, never allocating.
#[derive(Clone, Debug)]
pub struct Edits {
    edits: [Edit; EDITS_MAX],
    count: usize,
    text: Text,
    overflow: bool,
}

impl Default for Edits {
    fn default() -> Self {
        Self::new()
    }
}

impl Edits {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        const NOTHING: Edit = Edit { delete: Span::empty_at(0), insert: Span::empty_at(0) };
        Self { edits: [NOTHING; EDITS_MAX], count: 0, text: Text::new(), overflow: false }
    }

    /// Forgets all.
    #[inline]
    pub fn clear(&mut self) {
        self.count = 0;
        self.text.clear();
        self.overflow = false;
    }

    /// The edits, by place.
    #[must_use]
    pub fn list(&self) -> &[Edit] {
        &self.edits[..self.count.min(EDITS_MAX)]
    }

    /// The text that an edit puts in.
    #[must_use]
    pub fn inserted(&self, edit: &Edit) -> &[u8] {
        edit.insert.of(self.text.bytes())
    }

    /// Deletes `span`.
    #[inline]
    pub fn delete(&mut self, span: Span) {
        self.push(Edit { delete: span, insert: Span::empty_at(0) });
    }

    /// Puts what `write` writes in before the byte at `at`, after what was put in there already.
    #[inline]
    pub fn insert(&mut self, at: usize, write: impl FnOnce(&mut Text)) {
        self.replace(Span::empty_at(at), write);
    }

    /// Replaces `span` by what `write` writes.
    #[inline]
    pub fn replace(&mut self, span: Span, write: impl FnOnce(&mut Text)) {
        let start = self.text.len();
        write(&mut self.text);
        self.push(Edit { delete: span, insert: Span::new(start, self.text.len()) });
    }

    /// Keeps the list in the order of places; what is put in before a byte comes before what deletes that byte. Steps write mostly forwards, so the search from the
    /// end is short.
    #[inline]
    fn push(&mut self, edit: Edit) {
        if self.count == EDITS_MAX {
            self.overflow = true;
            return;
        }
        let mut place = self.count;
        let order = |edit: &Edit| (edit.delete.start, !edit.delete.is_empty());
        while place > 0 && order(&self.edits[place - 1]) > order(&edit) {
            self.edits[place] = self.edits[place - 1];
            place -= 1;
        }
        self.edits[place] = edit;
        self.count += 1;
    }

    /// Applies all edits to the datagram's payload, whose length may grow or shrink.
    ///
    /// # Errors
    /// The edits exceed a bound, overlap, or do not lie in the payload, or the result does not fit the frame. The payload is then as it was.
    #[inline]
    pub fn apply(&self, datagram: &mut Datagram<'_>) -> Result<(), Unfit> {
        if self.overflow || self.text.is_full() {
            return Err(Unfit);
        }
        let growth = self.growth(datagram.payload().len())?;
        // Grow into the headroom; what does not fit there moves the end.
        let (headroom, tailroom) = (datagram.headroom() as isize, datagram.tailroom() as isize);
        let forwards = growth.min(headroom);
        let backwards = growth - forwards;
        if backwards > tailroom {
            return Err(Unfit);
        }
        let (frame, start, end) = datagram.frame();
        self.move_stretches(frame, *start, *end, -forwards);
        self.write_texts(frame, *start, -forwards);
        *start = (*start as isize - forwards) as usize;
        *end = (*end as isize + backwards) as usize;
        Ok(())
    }

    /// By how many bytes the payload grows; checks order and bounds, so that nothing after it can fail.
    #[inline]
    fn growth(&self, len: usize) -> Result<isize, Unfit> {
        let mut at = 0;
        let mut growth = 0isize;
        for edit in self.list() {
            if edit.delete.start() < at || edit.delete.end() > len || edit.delete.start > edit.delete.end {
                return Err(Unfit);
            }
            at = edit.delete.end();
            growth += edit.insert.len() as isize - edit.delete.len() as isize;
        }
        Ok(growth)
    }

    /// Moves every stretch between two edits by the sum of the shifts before it, the first by `shift`.
    ///
    /// Stretches keep their order, so one that moves left can only run into the old place of one before it, and one that moves right into the old
    /// place of one after it. Hence left-movers go first to last and right-movers last to first, and no byte is overwritten before it has moved.
    #[inline]
    fn move_stretches(&self, frame: &mut [u8], start: usize, end: usize, first_shift: isize) {
        let list = self.list();
        let mut shift = first_shift;
        let mut from = start;
        let mut last_shift = first_shift;
        for edit in list {
            move_left(frame, from, start + edit.delete.start(), shift);
            shift += edit.insert.len() as isize - edit.delete.len() as isize;
            from = start + edit.delete.end();
            last_shift = shift;
        }
        move_left(frame, from, end, last_shift);
        let mut to = end;
        for edit in list.iter().rev() {
            move_right(frame, start + edit.delete.end(), to, shift);
            shift -= edit.insert.len() as isize - edit.delete.len() as isize;
            to = start + edit.delete.start();
        }
        move_right(frame, start, to, shift);
    }

    #[inline]
    fn write_texts(&self, frame: &mut [u8], start: usize, first_shift: isize) {
        let mut shift = first_shift;
        for edit in self.list() {
            let text = self.inserted(edit);
            let at = (start as isize + edit.delete.start() as isize + shift) as usize;
            frame[at..at + text.len()].copy_from_slice(text);
            shift += text.len() as isize - edit.delete.len() as isize;
        }
    }
}

#[inline]
fn move_left(frame: &mut [u8], from: usize, to: usize, shift: isize) {
    if shift < 0 && from < to {
        frame.copy_within(from..to, (from as isize + shift) as usize);
    }
}

#[inline]
fn move_right(frame: &mut [u8], from: usize, to: usize, shift: isize) {
    if shift > 0 && from < to {
        frame.copy_within(from..to, (from as isize + shift) as usize);
    }
}

/// The result would not fit, or the edits contradict each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unfit;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Flow, ListenerIndex};

    const FLOW: Flow = Flow {
        source: core::net::SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 1),
        destination: core::net::SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 2),
        listener: ListenerIndex(0),
    };

    fn applied(room: (usize, usize), text: &[u8], edits: &Edits) -> Option<Vec<u8>> {
        let mut frame = vec![b'#'; room.0 + text.len() + room.1];
        frame[room.0..room.0 + text.len()].copy_from_slice(text);
        let mut datagram = Datagram::new(&mut frame, room.0, room.0 + text.len(), FLOW);
        let result = edits.apply(&mut datagram);
        match result {
            Ok(()) => Some(datagram.payload().to_vec()),
            Err(Unfit) => {
                assert_eq!(datagram.payload(), text, "a refused edit leaves the payload alone");
                None
            }
        }
    }

    /// Every pattern of a few edits, in all kinds of room, against splicing a `Vec`.
    #[test]
    fn agrees_with_splicing() {
        let text: Vec<u8> = (b'a'..=b'z').collect();
        let lengths = [(0usize, 0usize), (0, 3), (3, 0), (2, 5), (5, 2), (1, 1), (0, 11)];
        for first in lengths {
            for second in lengths {
                for third in lengths {
                    let mut edits = Edits::new();
                    let mut expected = text.clone();
                    let places = [(3, first, b'1'), (9, second, b'2'), (20, third, b'3')];
                    for (at, (delete, insert), with) in places.into_iter().rev() {
                        edits.replace(Span::new(at, at + delete), |t| t.put(&vec![with; insert]));
                        expected.splice(at..at + delete, vec![with; insert]);
                    }
                    let growth = expected.len().saturating_sub(text.len());
                    for headroom in [0, 1, growth / 2, growth, 64] {
                        let room = (headroom, growth.saturating_sub(headroom));
                        assert_eq!(applied(room, &text, &edits).as_ref(), Some(&expected));
                    }
                    if growth > 0 {
                        assert_eq!(applied((growth - 1, 0), &text, &edits), None);
                    }
                }
            }
        }
    }

    #[test]
    fn overlaps_and_strangers_are_refused() {
        let mut edits = Edits::new();
        edits.delete(Span::new(2, 5));
        edits.delete(Span::new(4, 6));
        assert_eq!(applied((9, 9), b"abcdefgh", &edits), None);
        edits.clear();
        edits.delete(Span::new(7, 9));
        assert_eq!(applied((9, 9), b"abcdefgh", &edits), None);
        edits.clear();
        edits.insert(8, |t| t.put(b"!"));
        edits.insert(0, |t| t.put(b"1"));
        edits.insert(0, |t| t.put(b"2"));
        assert_eq!(applied((9, 9), b"abcdefgh", &edits).unwrap(), b"12abcdefgh!");
    }

    #[test]
    fn an_insertion_comes_before_a_deletion_at_its_place() {
        let mut edits = Edits::new();
        edits.delete(Span::new(2, 4));
        edits.insert(2, |t| t.put(b"1"));
        edits.insert(2, |t| t.put(b"2"));
        edits.insert(4, |t| t.put(b"3"));
        assert_eq!(applied((9, 9), b"abcdefgh", &edits).unwrap(), b"ab123efgh");
    }

    #[test]
    fn bounds_are_refusals() {
        let mut edits = Edits::new();
        edits.insert(0, |t| t.put(&[b'x'; text::TEXT_BYTES_MAX + 1]));
        assert_eq!(applied((9999, 9), b"abc", &edits), None);
        edits.clear();
        for _ in 0..=EDITS_MAX {
            edits.insert(0, |t| t.put(b"x"));
        }
        assert_eq!(applied((9999, 9), b"abc", &edits), None);
    }
}
