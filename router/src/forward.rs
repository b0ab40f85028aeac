//! The spine: a datagram in, a verdict out.
//!
//! Everything that happens to a message happens here, in this order: it is told from noise, read ([`crate::sip`]), decided on ([`crate::proxy`]),
//! edited in its frame ([`crate::edit`]) and counted ([`crate::stats`]). Nothing else is remembered between two messages than the rate of our own replies.

#![forbid(unsafe_code)]

use crate::edit::Edits;
use crate::io::{Datagram, Flow, ListenerIndex, Verdict};
use crate::proxy::decision::{Decision, NextHop, Refusal, Stop, Witness};
use crate::proxy::egress::Choices;
use crate::proxy::reply_rate::ReplyLimiter;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::{Incoming, reply, request, response};
use crate::sip::start_line::StartLine;
use crate::sip::{Message, scan};
use crate::stats::{Absorbed, Counter, Reason, Stats};

/// One worker's forwarding: its scratch memory, taken once.
#[derive(Debug, Default)]
pub struct Forwarder {
    message: Message,
    edits: Edits,
    /// Where the last request or response that is forwarded goes.
    to: NextHop,
    choices: Choices,
    replies: ReplyLimiter,
}

impl Forwarder {
    /// With empty scratch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides on a datagram, edits it in place, counts it, and says what the I/O layer is to do with it.
    ///
    /// `now_us` is a monotonic time in microseconds; only the rate of our own replies hangs on it.
    #[inline]
    pub fn forward(
        &mut self,
        snapshot: &Snapshot,
        stats: &Stats,
        now_us: u64,
        datagram: &mut Datagram<'_>,
    ) -> Verdict {
        scan::at_best(Forward { forwarder: self, snapshot, stats, now_us, datagram })
    }

    #[inline(always)]
    fn forward_here(
        &mut self,
        snapshot: &Snapshot,
        stats: &Stats,
        now_us: u64,
        datagram: &mut Datagram<'_>,
    ) -> Verdict {
        stats.add(Counter::Received, 1);
        let payload = datagram.payload();
        stats.add(Counter::ReceivedBytes, payload.len() as u64);
        match self.route(snapshot, &datagram.flow, payload, &mut ()) {
            Ok(egress) => {
                let is_request = matches!(self.message.start_line(), Some(StartLine::Request { .. }));
                datagram.truncate(self.message.end);
                if self.edits.apply(datagram).is_err() {
                    return self.too_large(snapshot, stats, now_us, datagram);
                }
                stats.add(
                    if is_request { Counter::ForwardedRequests } else { Counter::ForwardedResponses },
                    1,
                );
                Verdict::Transmit { egress, to: self.to.get() }
            }
            Err(Stop::Reply { reason, to }) => self.reply(snapshot, stats, now_us, datagram, reason, to),
            Err(Stop::Absorb(why)) => {
                stats.absorbed(why);
                Verdict::Release
            }
            Err(Stop::Drop(reason)) => {
                stats.dropped(reason);
                Verdict::Release
            }
        }
    }

    /// What is to become of `payload`, without doing it; the edits that go with the decision are in [`Self::edits`].
    pub fn decide<W: Witness>(
        &mut self,
        snapshot: &Snapshot,
        flow: &Flow,
        payload: &[u8],
        witness: &mut W,
    ) -> Decision {
        match self.route(snapshot, flow, payload, witness) {
            Ok(egress) => Decision::Forward { egress, to: self.to.get() },
            Err(stop) => Decision::Stop(stop),
        }
    }

    /// The same: the listener that it leaves by, for [`Self::to`], or else what stops it.
    #[inline(always)]
    fn route<W: Witness>(
        &mut self,
        snapshot: &Snapshot,
        flow: &Flow,
        payload: &[u8],
        witness: &mut W,
    ) -> Result<ListenerIndex, Stop> {
        self.edits.clear();
        if let Some(stop) = noise(payload) {
            return Err(stop);
        }
        let fault = self.message.read(payload).err();
        let incoming = Incoming { snapshot, flow, bytes: payload, message: &self.message };
        let (edits, to) = (&mut self.edits, &mut self.to);
        match (self.message.start_line(), fault) {
            (None, fault) => Err(Stop::Drop(fault.unwrap_or(Reason::NotSip))),
            (Some(StartLine::Response { .. }), Some(reason)) => Err(Stop::Drop(reason)),
            (Some(StartLine::Response { .. }), None) => response::decide(incoming, edits, to, witness),
            (Some(StartLine::Request { .. }), Some(reason)) => {
                Err(refuse(&incoming, Refusal::Reply(reason), edits))
            }
            (Some(StartLine::Request { method, method_span, uri }), None) => {
                let start_line = (method, method_span, uri);
                let scratch = request::Scratch { edits, to, choices: &mut self.choices };
                let refusal = match request::decide(incoming, start_line, scratch, witness) {
                    Ok(egress) => return Ok(egress),
                    Err(refusal) => refusal,
                };
                Err(refuse(&incoming, refusal, &mut self.edits))
            }
        }
    }

    /// The edits of the last decision.
    #[must_use]
    pub fn edits(&self) -> &Edits {
        &self.edits
    }

    /// The same, for who applies them otherwise than [`Self::forward`] does.
    #[must_use]
    pub fn edits_mut(&mut self) -> &mut Edits {
        &mut self.edits
    }

    /// The message of the last decision. Its spans are of the bytes as they were before the edits.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    #[cold]
    fn reply(
        &mut self,
        snapshot: &Snapshot,
        stats: &Stats,
        now_us: u64,
        datagram: &mut Datagram<'_>,
        reason: Reason,
        to: core::net::SocketAddr,
    ) -> Verdict {
        let source = datagram.flow.source.ip();
        let ingress = datagram.flow.listener;
        let trusted = snapshot.listener(ingress).is_some_and(|l| snapshot.trusts(l, source));
        if !trusted && !self.replies.allows(snapshot.reply_rate, source, now_us) {
            stats.dropped(Reason::ReplyRateLimited);
            return Verdict::Release;
        }
        if self.edits.apply(datagram).is_err() {
            stats.dropped(Reason::TooLarge);
            return Verdict::Release;
        }
        stats.replied(reason);
        Verdict::Transmit { egress: ingress, to }
    }

    /// The edited request fits nowhere: 513, which is shorter. A response that does not fit is dropped.
    #[cold]
    fn too_large(
        &mut self,
        snapshot: &Snapshot,
        stats: &Stats,
        now_us: u64,
        datagram: &mut Datagram<'_>,
    ) -> Verdict {
        let flow = datagram.flow;
        let incoming = Incoming { snapshot, flow: &flow, bytes: datagram.payload(), message: &self.message };
        match refuse(&incoming, Refusal::Reply(Reason::TooLarge), &mut self.edits) {
            Stop::Reply { reason, to } => self.reply(snapshot, stats, now_us, datagram, reason, to),
            _ => {
                stats.dropped(Reason::TooLarge);
                Verdict::Release
            }
        }
    }
}

/// [`Forwarder::forward`], to be done with the best instructions there are.
struct Forward<'a, 'd> {
    forwarder: &'a mut Forwarder,
    snapshot: &'a Snapshot,
    stats: &'a Stats,
    now_us: u64,
    datagram: &'a mut Datagram<'d>,
}

impl scan::Work for Forward<'_, '_> {
    type Output = Verdict;

    #[inline(always)]
    fn run(self) -> Verdict {
        self.forwarder.forward_here(self.snapshot, self.stats, self.now_us, self.datagram)
    }
}

/// What a datagram is before it is parsed: keep-alives are absorbed, STUN and other noise dropped.
#[inline]
fn noise(payload: &[u8]) -> Option<Stop> {
    // A SIP start-line begins with a token, hence above all of these.
    let first = *payload.first().unwrap_or(&0);
    if payload.len() > 4 && first > b'\r' {
        return None;
    }
    if payload.len() <= 4 || payload.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Some(Stop::Absorb(Absorbed::KeepAlive));
    }
    // RFC 8489 5: two zero bits, a type, a length, the magic cookie.
    let is_stun = first <= 3 && payload.len() >= 20 && payload[4..8] == [0x21, 0x12, 0xa4, 0x42];
    Some(Stop::Drop(if is_stun { Reason::Stun } else { Reason::NotSip }))
}

/// Turns a refusal into a reply, or, where that cannot be sent, into a drop for the same reason.
#[cold]
fn refuse(incoming: &Incoming<'_>, refusal: Refusal<'_>, edits: &mut Edits) -> Stop {
    let (reason, rule) = match refusal {
        Refusal::Absorb(why) => return Stop::Absorb(why),
        Refusal::Reply(reason) => (reason, None),
        Refusal::Rule(reason, rule) => (reason, Some(rule)),
    };
    let Incoming { snapshot, flow, .. } = *incoming;
    let trusted = snapshot.listener(flow.listener).is_some_and(|l| snapshot.trusts(l, flow.source.ip()));
    match reply::compose(incoming, trusted, reason, rule, edits) {
        Ok(to) => Stop::Reply { reason, to },
        Err(reason) => Stop::Drop(reason),
    }
}
