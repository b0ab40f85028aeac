//! Changes to a message, as a list in the order of their places, and their one-pass application.
//!
//! The list owns the text to be put in; deleted text is a [`Span`] of the message as it was read. Applying composes the part before the last edit anew and
//! lays it over the old one, growing into the frame's headroom; the body stays where it is.

#![forbid(unsafe_code)]

pub mod text;

use crate::io::Datagram;
use crate::sip::message::FIELDS_MAX;
use crate::sip::scan;
use crate::sip::span::Span;
pub use text::Text;

/// Most edits to one message. Forwarding takes a dozen; a reply takes one for each stretch between two header fields that it keeps.
pub const EDITS_MAX: usize = FIELDS_MAX + 16;

/// Largest payload of a UDP datagram over IPv4 (65,535 bytes less two headers). IPv6 has 20 more, which nobody will miss.
const PAYLOAD_BYTES_MAX: isize = 65_507;

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
    /// Where the last one ends.
    end: u16,
    text: Text,
    /// By how many bytes the payload grows.
    growth: isize,
    /// Whether there were too many, or two overlap.
    unfit: bool,
    /// The payload's front as it will be, up to the last edit.
    front: Front,
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
        Self {
            edits: [NOTHING; EDITS_MAX],
            count: 0,
            end: 0,
            text: Text::new(),
            growth: 0,
            unfit: false,
            front: Front::new(),
        }
    }

    /// Forgets all.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.count = 0;
        self.end = 0;
        self.text.clear();
        self.growth = 0;
        self.unfit = false;
    }

    /// The edits, by place.
    #[inline(always)]
    #[must_use]
    pub fn list(&self) -> &[Edit] {
        &self.edits[..self.count.min(EDITS_MAX)]
    }

    /// The text that an edit puts in.
    #[must_use]
    pub fn inserted(&self, edit: &Edit) -> &[u8] {
        self.text.part(edit.insert)
    }

    /// Deletes `span`.
    #[inline(always)]
    pub fn delete(&mut self, span: Span) {
        self.push(span, self.text.len());
    }

    /// Puts what `write` writes in before the byte at `at`, after what was put in there already.
    #[inline(always)]
    pub fn insert(&mut self, at: usize, write: impl FnOnce(&mut Text)) {
        self.replace(Span::empty_at(at), write);
    }

    /// Replaces `span` by what `write` writes.
    #[inline(always)]
    pub fn replace(&mut self, span: Span, write: impl FnOnce(&mut Text)) {
        let start = self.text.len();
        write(&mut self.text);
        self.push(span, start);
    }

    /// Puts an edit into the list: `delete` goes, and the text from `start` on comes.
    #[inline(always)]
    fn push(&mut self, delete: Span, start: usize) {
        let edit = Edit { delete, insert: Span::new(start, self.text.len()) };
        match self.edits.get_mut(self.count) {
            // Who writes from front to back only ever comes here.
            Some(place) if self.end <= delete.start && delete.start <= delete.end => {
                *place = edit;
                self.count += 1;
                self.end = delete.end;
                self.growth += growth(&edit);
            }
            _ => self.push_in_between(edit),
        }
    }

    /// The same where edits behind it are in the list already.
    ///
    /// The list keeps the order of places, and what is put in before a byte comes before what deletes that byte: in front of an edit is
    /// what ends where it starts, or before. If it overlaps any, it overlaps the next one.
    #[inline(never)]
    fn push_in_between(&mut self, edit: Edit) {
        let (delete, count) = (edit.delete, self.count);
        if count >= EDITS_MAX {
            self.unfit = true;
            return;
        }
        let mut place = count;
        let mut next = u16::MAX;
        while place > 0 && self.edits[place - 1].delete.end > delete.start {
            next = self.edits[place - 1].delete.start;
            self.edits[place] = self.edits[place - 1];
            place -= 1;
        }
        self.edits[place] = edit;
        self.count = count + 1;
        self.end = self.edits[count].delete.end;
        self.growth += growth(&edit);
        self.unfit |= next < delete.end || delete.end < delete.start;
    }

    /// Applies all edits to the datagram's payload, whose length may grow or shrink.
    ///
    /// The front, up to the last edit, is composed anew and laid over what was there, so that it ends where it ended: it grows into the headroom, and what comes
    /// after it stays where it is. Only what does not fit there moves the rest.
    ///
    /// A datagram that notes its front ([`Datagram::noting_front`]) does so once nothing can fail any more.
    ///
    /// # Errors
    /// The edits exceed a bound, overlap, or do not lie in the payload, or the result does not fit the frame. The payload is then as it was.
    #[inline(always)]
    pub fn apply(&mut self, datagram: &mut Datagram<'_>) -> Result<(), Unfit> {
        let last = usize::from(self.end);
        let old_len = datagram.range().len();
        if self.unfit || self.text.is_full() || last > old_len {
            return Err(Unfit);
        }
        let (headroom, tailroom) = (datagram.headroom() as isize, datagram.tailroom() as isize);
        let forwards = self.growth.min(headroom);
        let backwards = self.growth - forwards;
        let len = old_len as isize + self.growth;
        if backwards > tailroom || len > PAYLOAD_BYTES_MAX {
            return Err(Unfit);
        }
        if datagram.notes_front() {
            datagram.note_front(last, len as usize);
        }
        let count = self.count.min(EDITS_MAX);
        let front = self.front.compose(datagram.payload(), &self.edits[..count], &self.text);
        let (frame, start, end) = datagram.frame();
        if backwards > 0 {
            frame.copy_within(*start + last..*end, *start + last + backwards as usize);
        }
        *start = (*start as isize - forwards) as usize;
        *end = (*end as isize + backwards) as usize;
        if let Some(place) = frame.get_mut(*start..*start + front.len()) {
            place.copy_from_slice(front);
        }
        Ok(())
    }
}

/// By how many bytes an edit makes the payload longer.
#[inline(always)]
fn growth(edit: &Edit) -> isize {
    let (insert, delete) = (edit.insert, edit.delete);
    (insert.end() as isize - insert.start() as isize) - (delete.end() as isize - delete.start() as isize)
}

/// Where a front is composed: as long as a datagram can be, and a part more.
#[derive(Clone, Debug)]
struct Front {
    bytes: [u8; PAYLOAD_BYTES_MAX as usize + PART_BYTES],
}

/// What is copied at once. Most stretches and texts are no longer, and two moves of a fixed length cost less than finding out which length it is.
const PART_BYTES: usize = 64;

impl Front {
    const fn new() -> Self {
        Self { bytes: [0; PAYLOAD_BYTES_MAX as usize + PART_BYTES] }
    }

    /// What `edits` make of `payload` up to the last of them. They are in order and lie in the payload, and the result is no longer than a datagram.
    #[inline(always)]
    fn compose(&mut self, payload: &[u8], edits: &[Edit], text: &Text) -> &[u8] {
        let (mut to, mut from) = (0, 0);
        for edit in edits {
            to = self.put(to, payload, from, edit.delete.start);
            to = self.put(to, text.rooms(), edit.insert.start, edit.insert.end);
            from = edit.delete.end;
        }
        self.bytes.get(..to as usize).unwrap_or_default()
    }

    /// Copies `source[from..end]` to `to`, and returns where it ends there. What it leaves after that is overwritten by what comes next.
    ///
    /// Offsets are narrower than an address, so that the compiler knows that sums of them do not overflow.
    #[inline(always)]
    fn put(&mut self, mut to: u32, source: &[u8], from: u16, end: u16) -> u32 {
        let (mut from, end) = (u32::from(from), u32::from(end));
        let stop = to + end.saturating_sub(from);
        while to < stop {
            let part = scan::part::<PART_BYTES>(source, from as usize);
            let room = self.bytes.get_mut(to as usize..to as usize + PART_BYTES);
            let (Some(part), Some(room)) = (part, room.and_then(<[u8]>::first_chunk_mut)) else {
                self.put_last(to as usize, source.get(from as usize..end as usize).unwrap_or_default());
                break;
            };
            *room = *part;
            (to, from) = (to + PART_BYTES as u32, from + PART_BYTES as u32);
        }
        stop
    }

    /// The same for the last bytes of a payload.
    #[inline(never)]
    fn put_last(&mut self, to: usize, rest: &[u8]) {
        if let Some(room) = self.bytes.get_mut(to..to + rest.len()) {
            room.copy_from_slice(rest);
        }
    }
}

/// The result would not fit, or the edits contradict each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unfit;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Flow, ListenerIndex};
    use crate::wire::checksum::Sum;

    const FLOW: Flow = Flow {
        source: core::net::SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 1),
        destination: core::net::SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 2),
        listener: ListenerIndex(0),
    };

    fn applied(room: (usize, usize), text: &[u8], edits: &mut Edits) -> Option<Vec<u8>> {
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
                        assert_eq!(applied(room, &text, &mut edits).as_ref(), Some(&expected));
                    }
                    if growth > 0 {
                        assert_eq!(applied((growth - 1, 0), &text, &mut edits), None);
                    }
                }
            }
        }
    }

    /// Stretches and texts of every length around those that go in parts, moved left and right, near and far.
    #[test]
    fn every_length_moves_both_ways() {
        let kinds =
            [((0, 1), (1, 0)), ((3, 0), (0, 9)), ((0, 70), (70, 0)), ((70, 0), (0, 70)), ((40, 7), (2, 5))];
        for stretch in 0..=140 {
            let text: Vec<u8> = (0..stretch + 160).map(|i| i as u8).collect();
            for (first, second) in kinds {
                let mut edits = Edits::new();
                let mut expected = text.clone();
                for (at, (delete, insert)) in [(80 + stretch, second), (80 - first.0, first)] {
                    edits.replace(Span::new(at, at + delete), |t| t.put(&vec![b'+'; insert]));
                    expected.splice(at..at + delete, vec![b'+'; insert]);
                }
                let growth = expected.len().saturating_sub(text.len());
                for headroom in [0, growth / 2, growth, 200] {
                    let room = (headroom, growth.saturating_sub(headroom));
                    assert_eq!(
                        applied(room, &text, &mut edits).as_ref(),
                        Some(&expected),
                        "{stretch} {first:?}"
                    );
                }
            }
        }
    }

    /// Any three edits, in any order, against sorting them and looking for overlaps.
    #[test]
    fn order_and_overlaps_agree_with_sorting() {
        let text = b"abcd";
        let spans: Vec<Span> = (0..36).map(|i| Span { start: i / 6, end: i % 6 }).collect();
        for i in 0..36 * 36 * 36 {
            let chosen = [spans[i % 36], spans[i / 36 % 36], spans[i / 36 / 36]];
            let mut edits = Edits::new();
            let mut sorted: Vec<_> = chosen.iter().zip([b"1", b"2", b"3"]).collect();
            sorted.iter().for_each(|(span, with)| edits.replace(**span, |t| t.put(*with)));
            sorted.sort_by_key(|(span, _)| (span.start, !span.is_empty()));
            let mut expected = Some(Vec::new());
            let mut at = 0;
            for (span, with) in sorted {
                expected =
                    expected.filter(|_| at <= span.start() && span.start <= span.end && span.end() <= 4);
                if let Some(expected) = &mut expected {
                    expected.extend_from_slice(&text[at..span.start()]);
                    expected.extend_from_slice(with);
                }
                at = span.end();
            }
            let expected = expected.map(|expected| [&expected, &text[at..]].concat());
            assert_eq!(applied((3, 3), text, &mut edits), expected, "{chosen:?}");
        }
    }

    #[test]
    fn overlaps_and_strangers_are_refused() {
        let mut edits = Edits::new();
        edits.delete(Span::new(2, 5));
        edits.delete(Span::new(4, 6));
        assert_eq!(applied((9, 9), b"abcdefgh", &mut edits), None);
        edits.clear();
        edits.delete(Span::new(7, 9));
        assert_eq!(applied((9, 9), b"abcdefgh", &mut edits), None);
        edits.clear();
        edits.insert(8, |t| t.put(b"!"));
        edits.insert(0, |t| t.put(b"1"));
        edits.insert(0, |t| t.put(b"2"));
        assert_eq!(applied((9, 9), b"abcdefgh", &mut edits).unwrap(), b"12abcdefgh!");
    }

    #[test]
    fn an_insertion_comes_before_a_deletion_at_its_place() {
        let mut edits = Edits::new();
        edits.delete(Span::new(2, 4));
        edits.insert(2, |t| t.put(b"1"));
        edits.insert(2, |t| t.put(b"2"));
        edits.insert(4, |t| t.put(b"3"));
        assert_eq!(applied((9, 9), b"abcdefgh", &mut edits).unwrap(), b"ab123efgh");
    }

    #[test]
    fn bounds_are_refusals() {
        let mut edits = Edits::new();
        edits.insert(0, |t| t.put(&[b'x'; text::TEXT_BYTES_MAX + 1]));
        assert_eq!(applied((9999, 9), b"abc", &mut edits), None);
        edits.clear();
        for _ in 0..=EDITS_MAX {
            edits.insert(0, |t| t.put(b"x"));
        }
        assert_eq!(applied((9999, 9), b"abc", &mut edits), None);
    }

    /// What is noted is the front before the edits, once they are sure to be applied, and nothing if anything else happens to the payload.
    #[test]
    fn the_front_is_noted() {
        let mut frame = *b"####abcdefgh####";
        let note = |datagram: &Datagram<'_>| datagram.front().map(|f| (f.bytes, f.sum, f.payload_bytes));
        let mut edits = Edits::new();
        edits.replace(Span::new(1, 3), |t| t.put(b"12345"));
        let mut datagram = Datagram::new(&mut frame, 4, 12, FLOW);
        edits.apply(&mut datagram).unwrap();
        assert_eq!((note(&datagram), datagram.payload()), (None, &b"a12345defgh"[..]), "nobody asked");

        let mut frame = *b"####abcdefgh####";
        let mut datagram = Datagram::new(&mut frame, 4, 12, FLOW).noting_front();
        assert_eq!(note(&datagram), None, "no edits yet");
        let mut unfit = Edits::new();
        unfit.insert(5, |t| t.put(&[b'x'; 99]));
        assert_eq!(unfit.apply(&mut datagram), Err(Unfit));
        assert_eq!(note(&datagram), None, "none applied");
        datagram.truncate(7);
        edits.apply(&mut datagram).unwrap();
        let noted = Some((3, Sum::of(b"abc"), 7));
        assert_eq!((note(&datagram), datagram.payload()), (noted, &b"a12345defg"[..]));
        datagram.truncate(10);
        assert_eq!(note(&datagram), noted, "nothing is cut");
        datagram.truncate(9);
        assert_eq!(note(&datagram), None, "cut after the edits");

        let mut frame = *b"####abcdefgh####";
        let mut datagram = Datagram::new(&mut frame, 4, 12, FLOW).noting_front();
        let mut none = Edits::new();
        none.apply(&mut datagram).unwrap();
        assert_eq!(note(&datagram), Some((0, Sum::ZERO, 8)), "nothing is a front too");
        none.apply(&mut datagram).unwrap();
        assert_eq!(note(&datagram), None, "edited twice");
    }
}
