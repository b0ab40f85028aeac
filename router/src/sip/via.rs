//! One value of a Via header field (RFC 3261 20.42, 25.1 `via-parm`; RFC 3581 `rport`).

use super::host::HostPort;
use super::params::{self, Param};
use super::scan::{self, LWS, word_of};
use super::span::Span;

/// What stands at `rport`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rport {
    /// No such parameter.
    Absent,
    /// The parameter without a value, which asks for one (RFC 3581 3).
    Asked,
    /// The parameter with its value.
    Value(u16),
}

/// A Via value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Via {
    /// From the first byte of `sent-protocol` to the last byte that belongs to the value.
    pub span: Span,
    /// `transport`.
    pub transport: Span,
    /// `sent-by`.
    pub sent_by: HostPort,
    /// Where the parameters begin: right after `sent-by`.
    pub params: usize,
    /// `branch`.
    pub branch: Span,
    /// `received`, as a parameter; `None` where there is none.
    pub received: Option<Param>,
    /// `rport`.
    pub rport: Rport,
    /// The `rport` parameter; meaningless where [`Via::rport`] is absent.
    pub rport_param: Span,
    /// `maddr`.
    pub maddr: Option<Param>,
    /// Our own return seal, `seal`.
    pub seal: Span,
    /// Our own loop mark, `mark`.
    pub mark: Span,
    /// Where the next value of the same header field begins, past the comma; `None` where this is the last.
    pub next: Option<usize>,
    /// Whether the protocol is SIP 2.0 and the parameters are by the grammar. If not, the value is good for answering to and nothing else.
    pub proper: bool,
}

impl Via {
    /// None, to be filled by [`Self::read`].
    pub const NOTHING: Self = Self {
        span: Span::empty_at(0),
        transport: Span::empty_at(0),
        sent_by: HostPort::NOTHING,
        params: 0,
        branch: Span::empty_at(0),
        received: None,
        rport: Rport::Absent,
        rport_param: Span::empty_at(0),
        maddr: None,
        seal: Span::empty_at(0),
        mark: Span::empty_at(0),
        next: None,
        proper: false,
    };

    /// [`read`] into [`Self::NOTHING`]: it is filled where it lies, and not moved. Says whether `sent-by` could be read.
    #[inline(always)]
    pub fn read(&mut self, bytes: &[u8], at: usize, end: usize) -> bool {
        let start = scan::skip(bytes, at, end, LWS);
        let Some((transport, sent_by_at, is_sip_2)) = read_sent_protocol(bytes, start, end) else {
            return false;
        };
        if !self.sent_by.read(bytes, sent_by_at, end, true) {
            return false;
        }
        let sent_by_end = self.sent_by.end;
        self.span = Span::new(start, sent_by_end);
        self.transport = transport;
        self.params = sent_by_end;
        let nothing = Span::empty_at(sent_by_end);
        (self.branch, self.rport_param, self.seal, self.mark) = (nothing, nothing, nothing, nothing);
        self.proper = is_sip_2 && read_params(self, bytes, end).is_some();
        true
    }

    /// Whether `branch` begins with the magic cookie of RFC 3261 and has something after it (RFC 4475 3.2.1).
    #[inline(always)]
    #[must_use]
    pub fn has_magic_cookie(&self, bytes: &[u8]) -> bool {
        self.branch.len() > 7 && scan::begins_with(bytes, self.branch.start(), b"z9hg4bk")
    }
}

/// Reads the Via value at `at`; `end` is the end of the header field's value.
///
/// `None` when not even `sent-by` can be read; faults in the parameters are in [`Via::proper`].
#[inline]
#[must_use]
pub fn read(bytes: &[u8], at: usize, end: usize) -> Option<Via> {
    let mut via = Via::NOTHING;
    via.read(bytes, at, end).then_some(via)
}

/// `"SIP" SLASH "2.0" SLASH transport LWS`: the transport, where `sent-by` begins, and whether protocol and version are SIP 2.0.
#[inline(always)]
fn read_sent_protocol(bytes: &[u8], at: usize, end: usize) -> Option<(Span, usize, bool)> {
    // What nearly every message holds, to the letter. The other spellings are read part by part.
    let head = bytes.get(at..end)?;
    if let Some(head) = head.first_chunk::<12>()
        && head == b"SIP/2.0/UDP "
    {
        return Some((Span::new(at + 8, at + 11), scan::skip(bytes, at + 12, end, LWS), true));
    }
    let name = token(bytes, at, end)?;
    let slash = past_slash(bytes, name.end(), end)?;
    let version = token(bytes, slash, end)?;
    let slash = past_slash(bytes, version.end(), end)?;
    let transport = token(bytes, slash, end)?;
    let sent_by = scan::skip(bytes, transport.end(), end, LWS);
    let is_sip_2 = scan::is_ignoring_case(name.of(bytes), b"sip") && version.of(bytes) == b"2.0";
    (sent_by > transport.end()).then_some((transport, sent_by, is_sip_2))
}

fn token(bytes: &[u8], at: usize, end: usize) -> Option<Span> {
    let stop = scan::skip(bytes, at, end, scan::TOKEN);
    (stop > at).then(|| Span::new(at, stop))
}

fn past_slash(bytes: &[u8], at: usize, end: usize) -> Option<usize> {
    let slash = scan::skip(bytes, at, end, LWS);
    (slash < end && bytes[slash] == b'/').then(|| scan::skip(bytes, slash + 1, end, LWS))
}

/// Reads up to the end of the value, noting what a proxy needs. `None` at the first fault.
#[inline(always)]
fn read_params(via: &mut Via, bytes: &[u8], end: usize) -> Option<()> {
    let mut i = via.params;
    loop {
        if i < end && bytes[i] != b';' {
            i = scan::skip(bytes, i, end, LWS);
        }
        if i >= end {
            return Some(());
        }
        match bytes[i] {
            b';' => {
                if let Some(branch) = plain_branch(bytes, i, end)
                    && via.branch.is_empty()
                {
                    (via.branch, via.span.end) = (branch, branch.end);
                    i = branch.end();
                    continue;
                }
                if let Some(rport) = plain_rport(bytes, i, end)
                    && via.rport == Rport::Absent
                {
                    (via.rport, via.rport_param, via.span.end) = (Rport::Asked, rport, rport.end);
                    i = rport.end();
                    continue;
                }
                let param = params::read(bytes, i, end)?;
                i = param.whole.end();
                via.span.end = param.whole.end;
                note(via, bytes, &param)?;
            }
            b',' => {
                via.next = Some(i + 1);
                return Some(());
            }
            _ => return None,
        }
    }
}

/// The value of `;branch=VALUE`, which every Via has, where it is written without white space.
#[inline(always)]
fn plain_branch(bytes: &[u8], at: usize, end: usize) -> Option<Span> {
    if !scan::begins_with(bytes, at + 1, b"branch=") {
        return None;
    }
    let value = Span::new(at + 8, scan::find_delimiter(bytes, at + 8, end));
    (!value.is_empty()).then_some(value)
}

/// `;rport`, as the requests of nearly all user agents have it: without a value.
#[inline(always)]
fn plain_rport(bytes: &[u8], at: usize, end: usize) -> Option<Span> {
    let rport = Span::new(at, at + b";rport".len());
    let ends = rport.end() == end || rport.end() < end && matches!(bytes[rport.end()], b';' | b',');
    (ends && scan::is_at(bytes, at, b";rport")).then_some(rport)
}

#[inline]
fn note(via: &mut Via, bytes: &[u8], param: &Param) -> Option<()> {
    const SEAL: u64 = word_of(b"seal");
    const MARK: u64 = word_of(b"mark");
    const RPORT: u64 = word_of(b"rport");
    const MADDR: u64 = word_of(b"maddr");
    const BRANCH: u64 = word_of(b"branch");
    const RECEIVED: u64 = word_of(b"received");
    if param.name.len() > 8 {
        return Some(());
    }
    // 7.3.1: no parameter twice. Of two, somebody else would believe the other one.
    match param.key(bytes) {
        BRANCH if via.branch.is_empty() => via.branch = param.value,
        RPORT if via.rport == Rport::Absent => {
            via.rport_param = param.whole;
            via.rport = if param.has_value {
                Rport::Value(scan::decimal(param.value.of(bytes), 65_535)? as u16)
            } else {
                Rport::Asked
            };
        }
        RECEIVED if via.received.is_none() => via.received = Some(*param),
        SEAL if via.seal.is_empty() => via.seal = param.value,
        MARK if via.mark.is_empty() => via.mark = param.value,
        MADDR if via.maddr.is_none() => via.maddr = Some(*param),
        BRANCH | RPORT | RECEIVED | SEAL | MARK | MADDR => return None,
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Via> {
        read(text.as_bytes(), 0, text.len())
    }

    #[test]
    fn spellings() {
        let text = "SIP  / 2.0\r\n /UDP\r\n    192.0.2.2 : 5062 ; Branch\r\n = z9hG4bKx ;rport ; received=[::1] , SIP/2.0/TCP a";
        let via = parse(text).unwrap();
        assert!(via.proper);
        assert_eq!(via.sent_by.port, Some(5062));
        assert_eq!(via.branch.of(text.as_bytes()), b"z9hG4bKx");
        assert_eq!(via.rport, Rport::Asked);
        assert_eq!(via.received.unwrap().value.of(text.as_bytes()), b"[::1]");
        let next = read(text.as_bytes(), via.next.unwrap(), text.len()).unwrap();
        assert_eq!(next.transport.of(text.as_bytes()), b"TCP");
        assert_eq!(next.next, None);
    }

    #[test]
    fn a_bare_cookie_is_no_cookie() {
        let cookie = |text: &str| parse(text).unwrap().has_magic_cookie(text.as_bytes());
        assert!(!cookie("SIP/2.0/UDP a;branch=z9hG4bK"));
        assert!(cookie("SIP/2.0/UDP a;branch=z9hG4bK1"));
        assert!(cookie("SIP/2.0/UDP a;branch=Z9HG4BK1"));
        assert!(!cookie("SIP/2.0/UDP a"));
        assert!(cookie("SIP/2.0/UDP a;BRANCH=z9hG4bK1"));
        assert!(!parse("SIP/2.0/UDP a;branch\x1dz9hG4bK1").unwrap().proper);
    }

    #[test]
    fn faults() {
        assert_eq!(parse("SIP/2.0/UDP"), None);
        assert!(!parse("SIP/7.0/UDP a").unwrap().proper);
        assert_eq!(parse("SIP/2.0/UDP "), None);
        assert!(!parse("SIP/2.0/UDP a;;,;,,").unwrap().proper);
        assert!(!parse("SIP/2.0/UDP a;rport=x").unwrap().proper);
        assert!(!parse("SIP/2.0/UDP a b").unwrap().proper);
    }
}
