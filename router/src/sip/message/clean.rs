//! The quick way through a message without faults.
//!
//! Nearly all messages are clean: every line ends with CRLF, none is folded, each field stands as RFC 3261 prints it. [`read`] takes these, and these
//! only, in one walk: the line ends of a block of 64 bytes are found, and the lines that end in it are read before the next block is looked at, so no byte
//! of the body is touched but those that share a block with the empty line. At the first doubt it gives up, and [`Message::read`] begins again, by the letter of
//! the grammar. So it knows no faults, and what it accepts, the careful way reads the same.

use super::{FIELDS_MAX, Field, Message, NONE};
use crate::sip::header_field::{self, CSeq, KnownName, Name};
use crate::sip::scan::{self, Lanes};
use crate::sip::span::Span;
use crate::sip::start_line::{self, Method, StartLine};

/// The header fields that may stand more than once.
const REPEATABLE: u32 = Name::Via.bit() | Name::Route.bit() | Name::ProxyRequire.bit();

/// What is known of each name, by its number.
struct Found {
    /// Index of the first field; `NONE` where there is none.
    firsts: [u8; 16],
    /// A bit for each name that occurs more than once.
    repeated: u32,
    /// The last field's value.
    values: [Span; 16],
}

/// Reads `bytes`, which are no more than a span can name, into `message`. `None` where it is not clean; `message` then holds nothing of use.
#[inline(always)]
pub(in crate::sip) fn read<V: Lanes>(lanes: V, message: &mut Message, bytes: &[u8]) -> Option<()> {
    let mut lines = Lines::new(lanes, bytes)?;
    let line_end = lines.next()? - 1;
    let start_line = start_line::read_clean(lanes, bytes, line_end)?;
    message.start_line = Some(start_line);
    message.start_line_span = Span::new(0, line_end);
    let mut found = Found { firsts: [NONE; 16], repeated: 0, values: [Span::empty_at(0); 16] };
    let body_start =
        read_fields(&mut lines, &mut message.fields, &mut message.field_count, &mut found, line_end + 2)?;
    let has = |name: Name| found.firsts[name as usize] != NONE;
    let value = |name: Name| found.values[name as usize];
    if !(has(Name::Via) && has(Name::From) && has(Name::To) && has(Name::CallId) && has(Name::CSeq)) {
        return None;
    }
    message.firsts = found.firsts;
    message.repeated = found.repeated;
    let call_id = value(Name::CallId);
    if !is_one_word(lanes, bytes, call_id.start(), call_id.end()) {
        return None;
    }
    message.cseq = read_cseq(bytes, value(Name::CSeq), start_line)?;
    message.max_forwards = None;
    if has(Name::MaxForwards) {
        message.max_forwards =
            Some(header_field::read_number(bytes, value(Name::MaxForwards), u8::MAX.into())? as u8);
    }
    let mut end = bytes.len();
    if has(Name::ContentLength) {
        end = body_start + header_field::read_number(bytes, value(Name::ContentLength), u32::MAX)? as usize;
        if end > bytes.len() {
            return None;
        }
    }
    (message.from_tag, message.to_tag) = (Span::empty_at(0), Span::empty_at(0));
    let (from, to) = (value(Name::From), value(Name::To));
    if let StartLine::Request { .. } = start_line {
        message.from_tag = read_tag(lanes, bytes, from)?;
        message.to_tag = read_tag(lanes, bytes, to)?;
    } else if !is_trimmed(bytes, from.start(), from.end()) || !is_trimmed(bytes, to.start(), to.end()) {
        return None;
    }
    message.fault = None;
    message.body_start = body_start;
    message.end = end;
    Some(())
}

/// Finds the fields on the lines from `start` on, and where the body begins.
#[inline(always)]
fn read_fields<V: Lanes>(
    lines: &mut Lines<'_, V>,
    fields: &mut [Field; FIELDS_MAX],
    field_count: &mut usize,
    found: &mut Found,
    mut start: usize,
) -> Option<usize> {
    let (lanes, bytes) = (lines.lanes, lines.bytes);
    let mut count = 0;
    loop {
        let line_feed = lines.next()?;
        let last;
        let head = match scan::part(bytes, start) {
            Some(head) => head,
            None if line_feed == start + 1 => break,
            None => {
                last = (u128::from_le_bytes(*bytes.last_chunk()?) >> (8 * (start + 16 - bytes.len())))
                    .to_le_bytes();
                &last
            }
        };
        let known = KnownName::of(head);
        let same = lanes.same(head, &known.letters, &known.text);
        if same == 0xffff {
            let (value_at, value_end) = (start + usize::from(known.value_at), line_feed - 1);
            let value = Span::new(value_at, value_end);
            let name = known.name;
            *fields.get_mut(count)? = Field { name, line: Span::new(start, line_feed + 1), value };
            found.values[name as usize] = value;
            let is_first = found.firsts[name as usize] == NONE;
            if is_first {
                found.firsts[name as usize] = count as u8;
            } else {
                found.repeated |= known.bit;
            }
            // A value that is read anyhow is seen to be trimmed then.
            if !(if known.bit & REPEATABLE == 0 { is_first } else { is_trimmed(bytes, value_at, value_end) })
            {
                return None;
            }
            count += 1;
        } else {
            let (colons, blanks) = lanes.colons_and_blanks(head);
            // All up to and with the first colon.
            let name = colons ^ colons.wrapping_sub(1);
            if colons & 1 != 0 || name & (blanks | 1 << 16) != 0 {
                if line_feed == start + 1 {
                    break;
                }
                // A long name, or none.
                let colon = scan::find_any(bytes, start, line_feed - 1, [b':']);
                if colons | blanks != 0 || colon >= line_feed - 1 || bytes[colon - 1] <= b' ' {
                    return None;
                }
            } else if name & !same == 0 {
                // That name, but not one SP and no more after its colon.
                return None;
            }
        }
        start = line_feed + 1;
    }
    *field_count = count;
    Some(start + 2)
}

/// Whether a value, which is not empty then, has no white space around.
#[inline(always)]
fn is_trimmed(bytes: &[u8], start: usize, end: usize) -> bool {
    let is_black = |at: usize| bytes.get(at).is_some_and(|byte| *byte > b' ');
    is_black(start) && is_black(end - 1)
}

#[inline(always)]
fn read_tag<V: Lanes>(lanes: V, bytes: &[u8], value: Span) -> Option<Span> {
    clean_tag(lanes, bytes, value).or_else(|| careful_tag(bytes, value))
}

/// [`header_field::read_tag`] of a value that needs no trimming.
#[cold]
#[inline(never)]
fn careful_tag(bytes: &[u8], value: Span) -> Option<Span> {
    if is_trimmed(bytes, value.start(), value.end()) { header_field::read_tag(bytes, value) } else { None }
}

/// The tag of `<...>;tag=token`, or of `"..." <...>;tag=token`. `None` for all else.
#[inline(always)]
fn clean_tag<V: Lanes>(lanes: V, bytes: &[u8], value: Span) -> Option<Span> {
    let (start, end) = (value.start(), value.end());
    let block: &[u8; 64] = scan::part(bytes, start)?;
    let mut open = 0;
    if block[0] == b'"' {
        let quote = lanes.quotes(block.first_chunk()?) & !1;
        let quote = quote.trailing_zeros() as usize;
        if scan::word(bytes, start + quote) & 0xff_ffff != scan::word_of(b"\" <") {
            return None;
        }
        open = quote + 2;
    } else if block[0] != b'<' {
        return None;
    }
    let close = lanes.equal(block, b'>').checked_shr(open as u32)?;
    let at = start + open + close.trailing_zeros() as usize + 1;
    if at == end {
        return Some(Span::empty_at(end));
    }
    if !scan::begins_with(bytes, at, b";tag=") {
        return None;
    }
    let stop = at + 5 + lanes.stops(scan::part(bytes, at + 5)?).trailing_zeros() as usize;
    (stop == end && stop > at + 5).then(|| Span::new(at + 5, end))
}

/// Whether the value `start..end` is not empty, and holds no white space and no control.
#[inline(always)]
fn is_one_word<V: Lanes>(lanes: V, bytes: &[u8], start: usize, end: usize) -> bool {
    if let Some(block) = scan::part(bytes, start) {
        let blanks = lanes.blanks(block);
        if blanks != 0 {
            return blanks & 1 == 0 && start + blanks.trailing_zeros() as usize == end;
        }
    }
    start < end && scan::find_blank(bytes, start, end) == end
}

/// `CSeq` with less than eight digits, and one SP before a method that is known, or the request's.
#[inline(always)]
fn read_cseq(bytes: &[u8], value: Span, start_line: StartLine) -> Option<CSeq> {
    let end = value.end();
    let (count, number) = scan::leading_decimal(scan::word(bytes, value.start()));
    let at = value.start() + count as usize + 1;
    if !matches!(count, 1..8) || at >= end || bytes.get(at - 1) != Some(&b' ') {
        return None;
    }
    let is_right = match start_line {
        StartLine::Request { method_span, .. } if method_span.end() <= 8 => {
            let differs = scan::word(bytes, at) ^ scan::word(bytes, 0);
            end - at == method_span.end() && differs << (64 - 8 * (end - at)) == 0
        }
        StartLine::Request { method_span, .. } => bytes.get(at..end) == bytes.get(..method_span.end()),
        StartLine::Response { .. } => Method::at(bytes, at, end - at) != Method::Other,
    };
    is_right.then_some(CSeq { number: number as u32, method: Span::new(at, end) })
}

/// Walks over the line ends, block by block.
struct Lines<'a, V> {
    lanes: V,
    bytes: &'a [u8],
    /// Where the byte before the block is.
    at: usize,
    /// Where that is for the last block.
    last: usize,
    /// A bit for each LF of the block that was not told yet.
    ends: u64,
}

impl<'a, V: Lanes> Lines<'a, V> {
    /// Those of `bytes`. `None` where they are less than a block and the byte before it. A LF that is the very first byte is not seen.
    #[inline(always)]
    fn new(lanes: V, bytes: &'a [u8]) -> Option<Self> {
        let ends = lanes.line_feeds(bytes.first_chunk()?)?;
        Some(Self { lanes, bytes, at: 0, last: bytes.len() - 65, ends })
    }

    /// The place of the next LF. `None` at the end, and where some line end hereabouts is not CRLF.
    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.ends == 0 {
            self.at += 64;
            self.ends = match scan::part(self.bytes, self.at) {
                Some(window) => self.lanes.line_feeds(window)?,
                // The last 64 bytes, with those before the block shifted out.
                None if self.at < self.last + 64 => {
                    self.lanes.line_feeds(self.bytes.last_chunk()?)? >> (self.at - self.last)
                }
                None => return None,
            };
        }
        let place = self.at + 1 + self.ends.trailing_zeros() as usize;
        self.ends &= self.ends - 1;
        Some(place)
    }
}
