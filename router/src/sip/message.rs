//! A whole message, read once (RFC 3261 7): the start-line, the header fields that a proxy reads, and the body's place.
//!
//! A [`Message`] is a worker's scratch: made once, filled again for every datagram, never allocating. After [`Message::read`] its spans are
//! valid for exactly the bytes that were read. A fault does not end the reading: the first one is kept, and what else could be read
//! is there for the reply to be built from.

pub(super) mod clean;

use super::header_field::{self, CSeq, Name};
use super::scan::{self, LineEnds};
use super::span::Span;
use super::start_line::{self, StartLine};
use crate::stats::Reason;

/// How many header fields that a proxy reads one message may hold.
///
/// 70 hops, which is what Max-Forwards begins with, make 70 Vias and 70 Routes, and seven more fields stand once. More is an attack or a loop. A larger bound
/// costs memory only (10 bytes each and worker).
pub const FIELDS_MAX: usize = 160;

/// A header field that a proxy reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Which one.
    pub name: Name,
    /// From the first byte of its name to past its CRLF, folds included.
    pub line: Span,
    /// Its value, without white space around.
    pub value: Span,
}

/// A message, as spans into its bytes.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Message {
    /// The first, so that no register is taken for where they begin.
    fields: [Field; FIELDS_MAX],
    start_line: Option<StartLine>,
    /// The start-line without its CRLF.
    pub start_line_span: Span,
    field_count: usize,
    /// Index of the first field of each name; no less than `FIELDS_MAX` where there is none.
    firsts: [u8; 16],
    /// A bit for each name that occurs more than once.
    repeated: u32,
    /// The last value of each name that occurs: what [`clean`] keeps in mind until it reads them.
    values: [Span; 16],
    /// CSeq, where it could be read.
    pub cseq: CSeq,
    /// The tag of From; empty where there is none. Read of requests only.
    pub from_tag: Span,
    /// The tag of To; empty where there is none. Read of requests only.
    pub to_tag: Span,
    /// Max-Forwards, where there is one.
    pub max_forwards: Option<u8>,
    content_length: Option<u32>,
    /// Where the header fields end and the body begins: past the empty line.
    pub body_start: usize,
    /// Where the message ends; bytes after it in the datagram are none of it (RFC 3261 18.3).
    pub end: usize,
    fault: Option<Reason>,
}

/// In place of the index of the first field of a name: there is none. The other is for names that may stand more than once.
const UNSEEN: u8 = u8::MAX;
const UNSEEN_REPEATABLE: u8 = UNSEEN - 1;
const _: () = assert!(FIELDS_MAX <= UNSEEN_REPEATABLE as usize && (Name::Other as usize) < 16);

/// The indices before a message is read.
const NO_FIRSTS: [u8; 16] = {
    let mut firsts = [UNSEEN; 16];
    firsts[Name::Via as usize] = UNSEEN_REPEATABLE;
    firsts[Name::Route as usize] = UNSEEN_REPEATABLE;
    firsts[Name::ProxyRequire as usize] = UNSEEN_REPEATABLE;
    firsts
};

impl Default for Message {
    fn default() -> Self {
        Self::new()
    }
}

impl Message {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        const NOTHING: Span = Span::empty_at(0);
        Self {
            start_line: None,
            start_line_span: NOTHING,
            fields: [Field { name: Name::Other, line: NOTHING, value: NOTHING }; FIELDS_MAX],
            field_count: 0,
            firsts: NO_FIRSTS,
            repeated: 0,
            values: [NOTHING; 16],
            cseq: CSeq { number: 0, method: NOTHING },
            from_tag: NOTHING,
            to_tag: NOTHING,
            max_forwards: None,
            content_length: None,
            body_start: 0,
            end: 0,
            fault: None,
        }
    }

    /// The start-line; `None` where there was none to read.
    #[inline]
    #[must_use]
    pub const fn start_line(&self) -> Option<StartLine> {
        self.start_line
    }

    /// The header fields that a proxy reads, in the order of the message.
    #[inline]
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields[..self.field_count.min(FIELDS_MAX)]
    }

    /// Index of the first field called `name`.
    #[inline]
    #[must_use]
    pub fn first(&self, name: Name) -> Option<usize> {
        let index = *self.firsts.get(name as usize)?;
        (usize::from(index) < FIELDS_MAX).then_some(usize::from(index))
    }

    /// Index of the first field called `name` at or after index `from`.
    #[inline]
    #[must_use]
    pub fn next(&self, name: Name, from: usize) -> Option<usize> {
        if self.repeated & name.bit() == 0 && self.first(name).is_none_or(|first| first < from) {
            return None;
        }
        let rest = self.fields().get(from..)?;
        rest.iter().position(|field| field.name == name).map(|i| from + i)
    }

    /// The first field called `name`.
    #[inline]
    #[must_use]
    pub fn field(&self, name: Name) -> Option<&Field> {
        self.fields().get(self.first(name)?)
    }

    /// The value of the first field called `name`; empty where there is none.
    #[inline]
    #[must_use]
    pub fn value<'b>(&self, name: Name, bytes: &'b [u8]) -> &'b [u8] {
        self.field(name).map(|field| field.value.of(bytes)).unwrap_or_default()
    }

    /// Reads the message that `bytes` begins with.
    ///
    /// # Errors
    /// The first fault found. [`Reason::NotSip`] where it is no SIP at all; then nothing else is valid.
    #[inline]
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        if bytes.len() <= Span::OFFSET_MAX && scan::read_clean(self, bytes) {
            Ok(())
        } else {
            self.read_carefully(bytes)
        }
    }

    /// The same by the letter of the grammar, whatever stands in `bytes`.
    ///
    /// # Errors
    /// As [`Self::read`].
    #[cold]
    #[inline(never)]
    pub fn read_carefully(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.reset(bytes);
        if bytes.len() > Span::OFFSET_MAX {
            return Err(Reason::NotSip);
        }
        let mut line_ends = LineEnds::new(bytes, 0);
        self.read_start_line(bytes, &mut line_ends)?;
        self.read_fields(bytes, &mut line_ends);
        self.check(bytes);
        self.fault.map_or(Ok(()), Err)
    }

    #[inline]
    fn reset(&mut self, bytes: &[u8]) {
        self.start_line = None;
        self.field_count = 0;
        self.firsts = NO_FIRSTS;
        self.repeated = 0;
        self.from_tag = Span::empty_at(0);
        self.to_tag = Span::empty_at(0);
        self.cseq = CSeq::default();
        self.max_forwards = None;
        self.content_length = None;
        self.body_start = bytes.len();
        self.end = bytes.len();
        self.fault = None;
    }

    #[cold]
    fn fault(&mut self, reason: Reason) {
        self.fault.get_or_insert(reason);
    }

    #[inline]
    fn read_start_line(&mut self, bytes: &[u8], ends: &mut LineEnds<'_>) -> Result<(), Reason> {
        let end = ends.next().filter(|end| end.proper).ok_or(Reason::NotSip)?;
        let line_end = end.at - 1;
        self.start_line_span = Span::new(0, line_end);
        match start_line::read(bytes, line_end) {
            Ok(start_line) => self.start_line = Some(start_line),
            Err((reason, None)) => return Err(reason),
            Err((reason, start_line)) => {
                self.start_line = start_line;
                self.fault(reason);
            }
        }
        Ok(())
    }

    #[inline]
    fn read_fields(&mut self, bytes: &[u8], ends: &mut LineEnds<'_>) {
        let mut start = self.start_line_span.end() + 2;
        // A start-line has no folds. What stands below it would become one of whatever is put in between.
        if matches!(bytes.get(start), Some(b' ' | b'\t')) {
            self.fault(Reason::BadStartLine);
        }
        for end in ends {
            if !end.proper {
                // Only a proper end ends a line, so nothing can hide behind a lone LF.
                self.fault(Reason::BadLineEnd);
                continue;
            }
            let (line_end, next) = (end.at - 1, end.at + 1);
            if line_end == start {
                self.body_start = next;
                return;
            }
            // A fold. The octets between HTAB and SP, which begin no line either, take the longer look.
            if let Some(b'\t'..=b' ') = bytes.get(next)
                && matches!(bytes[next], b' ' | b'\t')
            {
                continue;
            }
            self.read_field(bytes, start, line_end);
            start = next;
        }
        self.fault(Reason::NoEmptyLine);
    }

    /// Reads the header field whose line, folds included and without its CRLF, is `start..end`.
    #[inline(always)]
    fn read_field(&mut self, bytes: &[u8], start: usize, end: usize) {
        let head = scan::long_word(bytes, start);
        let len = match scan::find_in(head, b':') {
            Some(len) => len,
            None => scan::find_any(bytes, start + 16, end, [b':']) - start,
        };
        let colon = start + len;
        if colon >= end {
            return self.fault(Reason::BadHeaderField);
        }
        match Name::of(head, len) {
            // Nearly all fields that no proxy reads end here.
            Name::Other if colon > start && bytes[colon - 1] > b' ' => {}
            Name::Other => self.read_odd_field(bytes, start, colon, end),
            name => self.keep(bytes, name, start, colon, end),
        }
    }

    /// The same where white space stands before the colon, or no name.
    #[cold]
    fn read_odd_field(&mut self, bytes: &[u8], start: usize, colon: usize, end: usize) {
        let mut name_end = colon;
        while name_end > start && matches!(bytes[name_end - 1], b' ' | b'\t') {
            name_end -= 1;
        }
        if name_end == start {
            return self.fault(Reason::BadHeaderField);
        }
        let name = Name::of(scan::long_word(bytes, start), name_end - start);
        if name != Name::Other {
            self.keep(bytes, name, start, colon, end);
        }
    }

    /// Keeps the field `name` on the line `start..end`, and reads what its value is read for.
    #[inline(always)]
    fn keep(&mut self, bytes: &[u8], name: Name, start: usize, colon: usize, end: usize) {
        let value = read_value(bytes, colon + 1, end);
        let Some(place) = self.fields.get_mut(self.field_count) else {
            return self.fault(Reason::TooManyHeaderFields);
        };
        *place = Field { name, line: Span::new(start, end + 2), value };
        let first = &mut self.firsts[name as usize];
        let repeated = usize::from(*first) < FIELDS_MAX;
        if repeated {
            self.repeated |= name.bit();
        } else {
            *first = self.field_count as u8;
        }
        self.field_count += 1;
        match name {
            Name::Via | Name::Route | Name::ProxyRequire | Name::Other => {}
            Name::From if repeated => self.fault(Reason::DuplicateFrom),
            Name::To if repeated => self.fault(Reason::DuplicateTo),
            Name::CallId if repeated => self.fault(Reason::DuplicateCallId),
            Name::CSeq if repeated => self.fault(Reason::DuplicateCSeq),
            Name::MaxForwards if repeated => self.fault(Reason::DuplicateMaxForwards),
            Name::ContentLength if repeated => self.fault(Reason::DuplicateContentLength),
            Name::From | Name::To => {}
            Name::CallId => {
                if value.is_empty() || !header_field::is_one_word(bytes, value) {
                    self.fault(Reason::BadCallId);
                }
            }
            Name::CSeq => match header_field::read_cseq(bytes, value) {
                Some(cseq) => self.cseq = cseq,
                None => self.fault(Reason::BadCSeq),
            },
            Name::MaxForwards => match header_field::read_number(bytes, value, u8::MAX.into()) {
                Some(number) => self.max_forwards = Some(number as u8),
                None => self.fault(Reason::BadMaxForwards),
            },
            Name::ContentLength => match header_field::read_number(bytes, value, u32::MAX) {
                Some(number) => self.content_length = Some(number),
                None => self.fault(Reason::BadContentLength),
            },
        }
    }

    /// What can be said only when all header fields are read.
    #[inline]
    fn check(&mut self, bytes: &[u8]) {
        const REQUIRED: [(Name, Reason); 5] = [
            (Name::Via, Reason::MissingVia),
            (Name::From, Reason::MissingFrom),
            (Name::To, Reason::MissingTo),
            (Name::CallId, Reason::MissingCallId),
            (Name::CSeq, Reason::MissingCSeq),
        ];
        if let Some((_, reason)) = REQUIRED.iter().find(|(name, _)| self.first(*name).is_none()) {
            self.fault(*reason);
        }
        if let Some(length) = self.content_length {
            match self.body_start.checked_add(length as usize) {
                Some(end) if end <= bytes.len() => self.end = end,
                _ => self.fault(Reason::ContentLengthTooLarge),
            }
        }
        if let Some(StartLine::Request { method_span, .. }) = self.start_line {
            self.check_request(bytes, method_span);
        }
    }

    #[inline]
    fn check_request(&mut self, bytes: &[u8], method_span: Span) {
        let cseq_method = self.cseq.method;
        if !cseq_method.is_empty() && !header_field::same_text(bytes, method_span, cseq_method) {
            self.fault(Reason::CSeqMethod);
        }
        if let Some(from) = self.field(Name::From).map(|f| f.value) {
            match header_field::read_tag(bytes, from) {
                Some(tag) => self.from_tag = tag,
                None => self.fault(Reason::BadFrom),
            }
        }
        if let Some(to) = self.field(Name::To).map(|f| f.value) {
            match header_field::read_tag(bytes, to) {
                Some(tag) => self.to_tag = tag,
                None => self.fault(Reason::BadTo),
            }
        }
    }
}

/// The value that stands in `start..end` after its colon, without white space around.
#[inline(always)]
fn read_value(bytes: &[u8], start: usize, end: usize) -> Span {
    // Nearly all write one SP before it and none after it.
    if let Some([b' ', first, .., last]) = bytes.get(start..end)
        && *first > b' '
        && *last > b' '
    {
        return Span::new(start + 1, end);
    }
    let (start, end) = scan::trim(bytes, start, end);
    Span::new(start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "BYE sip:bob@192.0.2.4 SIP/2.0\r\nv : SIP/2.0/UDP a;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
        From: <sip:a@a>;tag=1\r\nTo:\r\n <sip:b@b>\r\n ;tag=2\r\nCall-ID: x@y\r\nCSeq: 2 BYE\r\nl: 3\r\n\r\nabcd";

    fn fault(text: &str) -> Option<Reason> {
        Message::new().read(text.as_bytes()).err()
    }

    #[test]
    fn parts_of_a_message() {
        let mut message = Message::new();
        message.read(GOOD.as_bytes()).unwrap();
        let bytes = GOOD.as_bytes();
        assert_eq!(message.value(Name::Via, bytes), b"SIP/2.0/UDP a;branch=z9hG4bK1");
        assert_eq!(message.to_tag.of(bytes), b"2");
        assert_eq!(message.cseq.number, 2);
        assert_eq!(&bytes[message.body_start..message.end], b"abc");
        assert_eq!(message.fields().len(), 7);
        let line = message.field(Name::To).unwrap().line;
        assert_eq!(line.of(bytes), b"To:\r\n <sip:b@b>\r\n ;tag=2\r\n");
    }

    /// What a message holds of what was read.
    fn held(message: &Message) -> String {
        let Message { start_line, start_line_span, firsts, cseq, from_tag, to_tag, max_forwards, .. } =
            message;
        let Message { repeated, body_start, end, .. } = message;
        let head = (start_line, start_line_span, firsts, repeated, message.fields());
        format!("{:?}", (head, cseq, from_tag, to_tag, max_forwards, body_start, end))
    }

    /// Whether the quick way takes `bytes`. If it does, then all its variants, and the careful one reads the same.
    fn is_clean(bytes: &[u8]) -> bool {
        let (mut quick, mut careful) = (Message::new(), Message::new());
        let read = careful.read_carefully(bytes);
        let is_clean = scan::read_clean(&mut quick, bytes);
        if is_clean {
            assert_eq!(read, Ok(()), "{}", bytes.escape_ascii());
            assert_eq!(held(&quick), held(&careful), "{}", bytes.escape_ascii());
        }
        let mut plain = Message::new();
        assert_eq!(super::super::scan_portable::read_clean(&mut plain, bytes), is_clean);
        assert!(!is_clean || held(&plain) == held(&quick));
        #[cfg(target_arch = "x86_64")]
        {
            let mut sse2 = Message::new();
            assert_eq!(super::super::scan_x86_64::read_clean_sse2(&mut sse2, bytes), is_clean);
            assert!(!is_clean || held(&sse2) == held(&quick));
        }
        is_clean
    }

    #[test]
    fn clean_messages_are_read_the_quick_way() {
        let clean = GOOD.replace("v :", "v:").replace("\r\n <sip:b@b>\r\n ;", " <sip:b@b>;");
        assert!(is_clean(clean.as_bytes()));
        let body = format!("{clean}{}\n no line \r of the header fields", "x".repeat(64));
        assert!(is_clean(body.as_bytes()), "the body is none of its business");
        for (from, to) in [
            (
                "BYE sip:bob@192.0.2.4",
                "BYE sip:a-long-name-of-nobody@a-long-name-of-some-host.example.com;transport=udp",
            ),
            ("BYE sip:bob@192.0.2.4 SIP/2.0", "SIP/2.0 200 OK"),
            ("From: <sip:a@a>", "f: \"A. <b>\" <sip:a@a>"),
            ("From: <sip:a@a>;tag=1", "From: sip:a@a;x=1;tag=1"),
            ("From: <sip:a@a>;tag=1", "From: <sip:a@a>;tag=0123456789abcdef0123456789abcdef01234567"),
            ("Max-Forwards", "P-Asserted-Identity: <sip:a@a>\r\nAllow: x\r\nMax-Forwards"),
            ("Max-Forwards", "X:\r\nk:\r\nMax-Forwards"),
            ("l: 3", "Content-Length: 0"),
            ("l: 3", "Proxy-Require: a"),
            ("l: 3\r\n", ""),
            ("v: ", "v:"),
            ("v: ", "v:\t "),
            ("l: 3", "l:3 "),
        ] {
            let text = clean.replace(from, to);
            assert!(text != clean && is_clean(text.as_bytes()), "{from} -> {to}");
        }
        for (from, to) in [
            ("x@y", "x@y "),
            ("rds: 70", "rds : 70"),
            ("To: <sip:b@b>", "To: <sip:b@b>\r\n "),
            ("Max-Forwards:", "Max-Forwards\x1a"),
            ("Max-Forwards:", ": x\r\nMax-Forwards:"),
            ("Max-Forwards:", "no colon\r\nMax-Forwards:"),
            ("Max-Forwards:", "nocolonatallinthisline\r\nMax-Forwards:"),
            ("CSeq: 2 BYE", "CSeq: 2 INVITE"),
        ] {
            let text = clean.replace(from, to);
            assert!(text != clean && !is_clean(text.as_bytes()), "{from} -> {to}");
        }
    }

    #[test]
    fn quoted_names_and_tags_of_all_lengths() {
        let clean =
            GOOD.replace("v :", "v:").replace("\r\n <sip:b@b>\r\n ;", " <sip:b@b>;") + &"x".repeat(99);
        for len in 0..70 {
            let (name, tag) = ("n".repeat(len), "t".repeat(len));
            for (from, to) in [
                ("From: ", format!("From: \"{name}\" ")),
                ("From: ", format!("From: \"{name}\\\" ")),
                ("From: ", format!("From: \"{name}\\\" <sip:x@x>;tag=9;\" ")),
                ("<sip:b@b>", format!("<sip:{name}@b>")),
                ("<sip:b@b>", format!("\"Some name of 20 chars\" <sip:{name}@b>")),
                ("<sip:b@b>", format!("<sip:{name}@b")),
                ("tag=2", format!("tag={tag}")),
                ("tag=2", format!("tag={tag};x")),
                ("tag=2", format!("tag={tag}\u{e9}")),
                ("x@y", format!("x@y{name}")),
                ("x@y", format!("x{name} y")),
            ] {
                let text = clean.replace(from, &to);
                assert!(clean.contains(from));
                is_clean(text.as_bytes());
            }
        }
    }

    #[test]
    fn both_ways_read_the_same() {
        let clean = GOOD.replace("v :", "v:").replace("\r\n <sip:b@b>\r\n ;", " <sip:b@b>;");
        let compact =
            clean.replace("From", "f").replace("To:", "t:").replace("Call-ID", "i") + &"x".repeat(40);
        for text in [clean, compact] {
            for at in 0..text.len() {
                is_clean(&text.as_bytes()[..at]);
                for octet in *b"\r\n\t :;=\"<>\\0Aa-\x00\x1a\x2d\xff" {
                    let mut bytes = text.clone().into_bytes();
                    bytes[at] = octet;
                    is_clean(&bytes);
                    bytes.insert(at, b':');
                    is_clean(&bytes);
                }
            }
        }
    }

    #[test]
    fn faults_are_named() {
        for (from, to, reason) in [
            ("Call-ID: x@y\r\n", "", Reason::MissingCallId),
            ("Call-ID: x@y\r\n", "i: x\r\nCall-ID: y\r\n", Reason::DuplicateCallId),
            ("Call-ID: x@y", "Call-ID: x y", Reason::BadCallId),
            ("CSeq: 2 BYE", "CSeq: 2 INVITE", Reason::CSeqMethod),
            ("CSeq: 2 BYE", "CSeq: 4294967296 BYE", Reason::BadCSeq),
            ("Max-Forwards: 70", "Max-Forwards: 256", Reason::BadMaxForwards),
            ("l: 3", "l: 5", Reason::ContentLengthTooLarge),
            ("l: 3", "l: -3", Reason::BadContentLength),
            ("l: 3", "l: 3\r\nContent-Length: 3", Reason::DuplicateContentLength),
            ("l: 3\r\n", "l: 3\r\nno colon here at all, none\r\n", Reason::BadHeaderField),
            ("l: 3\r\n", "l: 3\r\n: x\r\n", Reason::BadHeaderField),
            // Bit 5 makes a colon of this control, as it makes letters lower-case.
            ("Max-Forwards:", "Max-Forwards\x1a", Reason::BadHeaderField),
            ("l: 3\r\n", "l: 3\nX: y\r\n", Reason::BadLineEnd),
            ("l: 3\r\n", "X: y\rVia: z\r\n", Reason::BadLineEnd),
            ("\r\n\r\nabcd", "\r\n", Reason::NoEmptyLine),
            ("SIP/2.0\r\n", "SIP/2.0\n", Reason::NotSip),
            ("To:", "Too:", Reason::MissingTo),
            ("SIP/2.0\r\n", "SIP/2.0\r\n ;maddr=x:y\r\n", Reason::BadStartLine),
        ] {
            let text = GOOD.replace(from, to);
            assert_eq!(fault(&text), Some(reason), "{from} -> {to}");
        }
        assert_eq!(fault(GOOD), None);
    }

    #[test]
    fn more_fields_than_the_bound() {
        let many = "v: SIP/2.0/UDP a;branch=z9hG4bK1\r\n".repeat(FIELDS_MAX);
        let text = GOOD.replace("l: 3\r\n", &format!("{many}l: 3\r\n"));
        assert_eq!(fault(&text), Some(Reason::TooManyHeaderFields));
    }
}
