//! The quick way through a message without faults.
//!
//! Nearly all messages are clean: every line ends with CRLF, none is folded, each field stands nearly as RFC 3261 prints it. [`read`] takes these, and these
//! only, in one walk: the line ends of a block of 64 bytes are found, and the lines that end in it are read before the next block is looked at, so no byte
//! of the body is touched but those that share a block with the empty line. At the first doubt it gives up, and [`Message::read`] begins again, by the letter of
//! the grammar. So it knows no faults, and what it accepts, the careful way reads the same.

use super::{FIELDS_MAX, Field, Message, NO_FIRSTS, UNSEEN, UNSEEN_REPEATABLE};
use crate::sip::header_field::{self, KnownName, Name};
use crate::sip::scan::{self, Lanes};
use crate::sip::span::Span;
use crate::sip::start_line::{self, Method, StartLine};

/// Reads `bytes`, which are no more than a span can name, into `message`. `None` where it is not clean; `message` then holds nothing of use.
#[inline(always)]
pub(in crate::sip) fn read<V: Lanes>(lanes: V, message: &mut Message, bytes: &[u8]) -> Option<()> {
    if bytes.len() < 65 || !lanes.read_lines(message, bytes) || !has_required(&message.firsts) {
        return None;
    }
    let start_line = start_line::read_clean(lanes, bytes, message.start_line_span.end())?;
    message.start_line = Some(start_line);
    message.fault = None;
    let call_id = message.values[Name::CallId as usize];
    if !is_one_word(lanes, bytes, call_id.start(), call_id.end()) {
        return None;
    }
    read_limits(message, bytes)?;
    let cseq = message.values[Name::CSeq as usize];
    match start_line {
        StartLine::Request { method_span, .. } => {
            message.cseq.method = cseq_method(bytes, cseq, method_span.end())?;
            message.from_tag = read_tag(lanes, bytes, message.values[Name::From as usize])?;
            message.to_tag = read_tag(lanes, bytes, message.values[Name::To as usize])?;
        }
        StartLine::Response { .. } => {
            message.cseq.method = any_cseq_method(bytes, cseq)?;
            (message.from_tag, message.to_tag) = (Span::empty_at(0), Span::empty_at(0));
            for value in [Name::From, Name::To].map(|name| message.values[name as usize]) {
                if !is_trimmed(bytes, value.start(), value.end()) {
                    return None;
                }
            }
        }
    }
    message.cseq.number = read_number(bytes, cseq.start(), message.cseq.method.start() - 1)?;
    Some(())
}

/// Whether the five fields that every message has were seen: no index has its upper two bits set, as both have that stand for none.
#[inline(always)]
fn has_required(firsts: &[u8; 16]) -> bool {
    const { assert!(FIELDS_MAX < 0xc0 && UNSEEN_REPEATABLE >= 0xc0 && Name::CSeq as usize == 4) };
    let firsts = u64::from_le_bytes(*firsts.first_chunk().unwrap_or(&[UNSEEN; 8]));
    firsts & firsts << 1 & 0x80_8080_8080 == 0
}

/// Max-Forwards, and with Content-Length where the message ends.
#[inline(always)]
fn read_limits(message: &mut Message, bytes: &[u8]) -> Option<()> {
    message.max_forwards = if message.firsts[Name::MaxForwards as usize] == UNSEEN {
        None
    } else {
        let value = message.values[Name::MaxForwards as usize];
        Some(u8::try_from(read_number(bytes, value.start(), value.end())?).ok()?)
    };
    message.end = if message.firsts[Name::ContentLength as usize] == UNSEEN {
        bytes.len()
    } else {
        let value = message.values[Name::ContentLength as usize];
        message.body_start + read_number(bytes, value.start(), value.end())? as usize
    };
    (message.end <= bytes.len()).then_some(())
}

/// Finds where the start-line ends, the fields, and where the body begins. A function of its own: there are just registers enough for what it does.
#[inline(always)]
pub(in crate::sip) fn read_lines<V: Lanes>(lanes: V, message: &mut Message, bytes: &[u8]) -> Option<()> {
    let mut lines = Lines::new(lanes, bytes)?;
    while lines.ends == 0 {
        lines.next_block()?;
    }
    message.start_line_span = Span::new(0, lines.line_end());
    message.firsts = NO_FIRSTS;
    message.repeated = 0;
    let mut start = lines.line_end() + 2;
    lines.drop_line();
    let mut count = 0;
    'blocks: loop {
        while lines.ends != 0 {
            let end = lines.line_end();
            let head = match scan::part(bytes, start) {
                Some(head) => *head,
                None if end == start => break 'blocks,
                None => last_head(bytes, start)?,
            };
            let known = KnownName::of(&head);
            'field: {
                let mut value = (start as u32 + ((end as u32) << 16)).wrapping_add(known.value_at);
                if !lanes.is_same(&head, &known.letters, &known.text) {
                    let (colons, blanks) = lanes.colons_and_blanks(&head);
                    // All before the first colon.
                    let name = (colons ^ colons.wrapping_sub(1)) >> 1;
                    if name == 0 || name & (blanks | 1 << 15) != 0 {
                        if end == start {
                            break 'blocks;
                        }
                        if colons | blanks != 0 || !is_long_name(bytes, start, end) {
                            return None;
                        }
                        break 'field;
                    }
                    if name != known.bits || !known.is_name_of(u128::from_le_bytes(head)) {
                        break 'field;
                    }
                    // That name, but not one SP after its colon.
                    value = trimmed(bytes, start + name.count_ones() as usize + 1, end)?;
                }
                let name = known.name;
                if count >= FIELDS_MAX {
                    return None;
                }
                let value = Span::of_halves(value);
                message.fields[count] = Field { name, line: Span::new(start, end + 2), value };
                message.values[name as usize] = value;
                let first = message.firsts[name as usize];
                message.firsts[name as usize] = count as u8;
                // The value of a name that may not repeat is read anyhow, and seen to be trimmed then.
                if first != UNSEEN && !message.note_repeatable(bytes, name, first) {
                    return None;
                }
                count += 1;
            }
            start = end + 2;
            lines.drop_line();
        }
        lines.next_block()?;
    }
    message.field_count = count;
    message.body_start = start + 2;
    Some(())
}

impl Message {
    /// Notes that a field is called `name`, whose first one was at index `first` before. False where it may not repeat, or where its value is not trimmed.
    #[inline(always)]
    fn note_repeatable(&mut self, bytes: &[u8], name: Name, first: u8) -> bool {
        let value = self.values[name as usize];
        if !name.is_repeatable() || !is_trimmed(bytes, value.start(), value.end()) {
            return false;
        }
        if first != UNSEEN_REPEATABLE {
            self.firsts[name as usize] = first;
            self.repeated |= name.bit();
        }
        true
    }
}

/// Whether a name of more than sixteen octets, or one that ends with white space, stands before a colon.
#[cold]
#[inline(never)]
fn is_long_name(bytes: &[u8], start: usize, end: usize) -> bool {
    let colon = scan::find_any(bytes, start, end, [b':']);
    colon < end && bytes[colon - 1] > b' '
}

/// The value that is `start..end` without white space around, as [`Span::of_halves`] wants it; `None` where nothing is left of it.
#[cold]
#[inline(never)]
fn trimmed(bytes: &[u8], start: usize, end: usize) -> Option<u32> {
    let (start, end) = scan::trim(bytes, start, end);
    is_trimmed(bytes, start, end).then_some(start as u32 | (end as u32) << 16)
}

/// The sixteen bytes from `start`, where the message ends before: it goes on with zeros.
#[cold]
fn last_head(bytes: &[u8], start: usize) -> Option<[u8; 16]> {
    Some((u128::from_le_bytes(*bytes.last_chunk()?) >> (8 * (start + 16 - bytes.len()))).to_le_bytes())
}

/// Whether a value, which is not empty then, has no white space around.
#[inline(always)]
fn is_trimmed(bytes: &[u8], start: usize, end: usize) -> bool {
    let is_black = |at: usize| bytes.get(at).is_some_and(|byte| *byte > b' ');
    is_black(start) && is_black(end - 1)
}

/// The tag of `value`.
#[inline(always)]
fn read_tag<V: Lanes>(lanes: V, bytes: &[u8], value: Span) -> Option<Span> {
    match clean_tag(lanes, bytes, value.start(), value.end()) {
        Some(at) => Some(Span::new(at, value.end())),
        None => careful_tag(bytes, value),
    }
}

/// [`header_field::read_tag`] of a value that needs no trimming.
#[cold]
#[inline(never)]
fn careful_tag(bytes: &[u8], value: Span) -> Option<Span> {
    if is_trimmed(bytes, value.start(), value.end()) { header_field::read_tag(bytes, value) } else { None }
}

/// Where the tag of `<...>;tag=token`, or of `"..." <...>;tag=token`, begins; the end where there is none. `None` for all else.
#[inline(always)]
fn clean_tag<V: Lanes>(lanes: V, bytes: &[u8], start: usize, end: usize) -> Option<usize> {
    let block: &[u8; 64] = scan::part(bytes, start)?;
    let mut open = 0;
    if block[0] == b'"' {
        open = (lanes.quotes(block.first_chunk()?) & !1).trailing_zeros() as usize;
        if block[open..].first_chunk() != Some(b"\" <") {
            return None;
        }
    } else if block[0] != b'<' {
        return None;
    }
    let close = lanes.equal(block, b'>') >> open;
    if close == 0 {
        return None;
    }
    let at = start + open + close.trailing_zeros() as usize + 1;
    if at == end {
        return Some(end);
    }
    let rest: &[u8; 37] = scan::part(bytes, at)?;
    if !scan::begins_with(rest, 0, b";tag=") {
        return None;
    }
    let len = end.wrapping_sub(at + 5);
    (lanes.stops(rest.last_chunk()?).trailing_zeros() as usize == len && len > 0).then_some(at + 5)
}

/// Whether the value `start..end` is not empty, and holds no white space and no control.
#[inline(always)]
fn is_one_word<V: Lanes>(lanes: V, bytes: &[u8], start: usize, end: usize) -> bool {
    if start >= end {
        return false;
    }
    if let Some(block) = scan::part(bytes, start) {
        let blanks = lanes.blanks(block);
        if blanks != 0 {
            return start + blanks.trailing_zeros() as usize == end;
        }
    }
    scan::find_blank(bytes, start, end) == end
}

/// Where in CSeq the request's method, which is `len` bytes long, stands, with one SP before it.
#[inline(always)]
fn cseq_method(bytes: &[u8], value: Span, len: usize) -> Option<Span> {
    let space = value.end().wrapping_sub(len + 1);
    let is_right = if len < 8 {
        // With the SP before.
        let differs = scan::word(bytes, space) ^ (scan::word(bytes, 0) << 8 | u64::from(b' '));
        differs << (56 - 8 * len) == 0
    } else {
        bytes.get(space) == Some(&b' ') && bytes.get(space + 1..value.end()) == bytes.get(..len)
    };
    is_right.then(|| Span::new(space + 1, value.end()))
}

/// Where in CSeq a method that has a name here stands, with one SP before it.
#[inline(always)]
fn any_cseq_method(bytes: &[u8], value: Span) -> Option<Span> {
    let (count, _) = scan::leading_decimal(scan::word(bytes, value.start()));
    let (at, end) = (value.start() + count as usize + 1, value.end());
    let is_right =
        at < end && bytes.get(at - 1) == Some(&b' ') && Method::at(bytes, at, end - at) != Method::Other;
    is_right.then(|| Span::new(at, end))
}

/// The number that is `start..end`, of one to nine digits: they are few, so the plain loop is the fast one.
#[inline(always)]
fn read_number(bytes: &[u8], start: usize, end: usize) -> Option<u32> {
    if end.wrapping_sub(start + 1) >= 9 {
        return None;
    }
    let (mut at, mut number) = (start, 0);
    while at != end {
        let digit = u32::from(*bytes.get(at)?).wrapping_sub(u32::from(b'0'));
        if digit > 9 {
            return None;
        }
        number = number * 10 + digit;
        at += 1;
    }
    Some(number)
}

/// Walks over the line ends, block by block.
struct Lines<'a, V> {
    lanes: V,
    bytes: &'a [u8],
    /// Where the byte before the block is.
    at: usize,
    /// A bit for each LF of the block that was not dropped yet.
    ends: u64,
}

impl<'a, V: Lanes> Lines<'a, V> {
    /// Those of `bytes`. `None` where they are less than a block and the byte before it. A LF that is the very first byte is not seen.
    #[inline(always)]
    fn new(lanes: V, bytes: &'a [u8]) -> Option<Self> {
        let ends = lanes.line_feeds(bytes.first_chunk()?)?;
        Some(Self { lanes, bytes, at: 0, ends })
    }

    /// Where the CRLF of the block's first line begins, which there must be.
    #[inline(always)]
    fn line_end(&self) -> usize {
        self.at + self.ends.trailing_zeros() as usize
    }

    /// Goes on to the next line.
    #[inline(always)]
    fn drop_line(&mut self) {
        self.ends &= self.ends.wrapping_sub(1);
    }

    /// Takes the next block; `None` where the message ends before, and where some line end of the block is not CRLF.
    #[inline(always)]
    fn next_block(&mut self) -> Option<()> {
        self.at += 64;
        self.ends = match scan::part(self.bytes, self.at) {
            Some(window) => self.lanes.line_feeds(window)?,
            None => self.last_block()?,
        };
        Some(())
    }

    /// The last 64 bytes, with those before the block shifted out.
    #[inline(always)]
    fn last_block(&self) -> Option<u64> {
        let before = (self.at + 65).checked_sub(self.bytes.len()).filter(|before| *before < 64)?;
        Some(self.lanes.line_feeds(self.bytes.last_chunk()?)? >> before)
    }
}
