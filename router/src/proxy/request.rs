//! What becomes of a request (RFC 3261 16.3 to 16.6, 16.11).
//!
//! [`decide`] is the order of steps; each step is a method below it, in that order. A step either goes on or refuses with the reason that the reply names.

use super::Incoming;
use super::branch::{self, Filling, Stamp};
use super::decision::{NextHop, Proof, Refusal, Step, Witness};
use super::egress::Choices;
use super::identity::{Owner, default_port};
use super::loop_mark;
use super::own_route::{OwnRoute, Place};
use super::popping::Popping;
use super::record_route::{self, put_record_route};
use super::reply;
use super::rules::{Action, Subject};
use super::seal::Call;
use super::snapshot::{Listener, is_usable};
use crate::edit::{Edits, Text};
use crate::io::ListenerIndex;
use crate::sip::header_field::Name;
use crate::sip::host::{self, HostPort};
use crate::sip::route_set::{RouteSet, RouteValue};
use crate::sip::scan;
use crate::sip::span::Span;
use crate::sip::start_line::Method;
use crate::sip::uri::{Scheme, Uri};
use crate::sip::via::Via;
use crate::stats::{Absorbed, Reason};

/// What a decision is written into.
#[derive(Debug)]
pub struct Scratch<'e> {
    /// The edits of a forwarded request.
    pub edits: &'e mut Edits,
    /// Where it goes.
    pub to: &'e mut NextHop,
    /// What was chosen lately.
    pub choices: &'e mut Choices,
}

/// Decides, writes the edits of a forwarded request and where it goes, and returns the listener that it leaves by.
///
/// `method` and `request_uri` are of the start-line; the message has no fault.
///
/// # Errors
/// Why it is not forwarded.
#[inline(always)]
pub fn decide<'a, W: Witness>(
    incoming: Incoming<'a>,
    (method, method_span, request_uri): (Method, Span, Span),
    Scratch { edits, to, choices }: Scratch<'_>,
    witness: &mut W,
) -> Result<ListenerIndex, Refusal<'a>> {
    let Incoming { snapshot, flow, bytes, message } = incoming;
    let field = message.field(Name::Via).ok_or(Reason::MissingVia)?;
    let mut via = Via::NOTHING;
    if !via.read(bytes, field.value.start(), field.value.end()) || !via.proper {
        return Err(Reason::BadVia.into());
    }
    if method == Method::Ack && reply::is_ack_of_own(&incoming, &via) {
        return Err(Refusal::Absorb(Absorbed::AckOfOwnReply));
    }
    let ingress = snapshot.listener(flow.listener).ok_or(Reason::NoListener)?;
    let mut uri = Uri::NOTHING;
    // 19.1.1: no header fields in a Request-URI.
    if !uri.read(bytes, request_uri.start(), request_uri.end()) || !uri.headers.is_empty() {
        return Err(Reason::BadRequestUri.into());
    }
    let trusted = snapshot.trusts(ingress, flow.source.ip());
    witness.step(Step::Source { trusted });
    let (call, mark) = loop_mark::of(&snapshot.keys.current, request_uri.of(bytes), message, bytes, flow);
    let mut request = Request {
        ingress,
        edits,
        to,
        choices,
        witness,
        method,
        method_span,
        via: &via,
        call,
        mark,
        trusted,
        received_uri: request_uri,
        uri: &mut uri,
        left_out: [Span::default(); 3],
        pair_egress: None,
        proven: false,
        route: None,
        popping: Popping::default(),
        incoming,
    };
    let mark = request.check()?;
    request.undo_strict_routing()?;
    request.pop()?;
    request.strip_maddr()?;
    request.police()?;
    let wanted_egress = request.target()?;
    request.check_transport()?;
    let egress = request.egress(wanted_egress)?;
    request.write(egress, mark);
    Ok(egress)
}

/// A request on its way through the steps.
struct Request<'a, 'e, W> {
    incoming: Incoming<'a>,
    ingress: &'a Listener,
    edits: &'e mut Edits,
    to: &'e mut NextHop,
    choices: &'e mut Choices,
    witness: &'e mut W,
    method: Method,
    method_span: Span,
    via: &'e Via,
    call: Call,
    mark: u64,
    trusted: bool,
    /// The Request-URI as it was received.
    received_uri: Span,
    /// The Request-URI as it will be: another place in the message after strict routing was undone.
    uri: &'e mut Uri,
    /// What is left out of it: the port, `maddr` and `transport` that named us. In order; empty where nothing is.
    left_out: [Span; 3],
    /// The listener that the second value of a pair named.
    pair_egress: Option<ListenerIndex>,
    /// Whether it came in through a Route that this cluster wrote for this call.
    proven: bool,
    /// The topmost Route value that is left.
    route: Option<RouteValue>,
    /// Which Route values go.
    popping: Popping,
}

impl<'a, 'e, W: Witness> Request<'a, 'e, W> {
    /// 16.3: Max-Forwards, loops, Proxy-Require. Returns the loop mark.
    #[inline(always)]
    fn check(&self) -> Result<[u8; 16], Reason> {
        let Incoming { bytes, message, .. } = self.incoming;
        if message.max_forwards == Some(0) {
            return Err(Reason::MaxForwardsZero);
        }
        let mark = scan::hex_digits(self.mark);
        let more = self.via.next.is_some()
            || message.first(Name::Via).and_then(|first| message.next(Name::Via, first + 1)).is_some();
        if self.via.mark.of(bytes) == mark
            || (more && loop_mark::is_below(&mark, message, bytes, self.via.next))
        {
            return Err(Reason::Loop);
        }
        // 20.29 by way of 8.2.2.3: in CANCEL and ACK it is ignored.
        let asks = message.first(Name::ProxyRequire).is_some();
        if asks && !matches!(self.method, Method::Cancel | Method::Ack) {
            return Err(Reason::ProxyRequire);
        }
        Ok(mark)
    }

    /// 16.4: a strict router before us put the URI of our Record-Route into the Request-URI; the last Route value is what belongs there.
    ///
    /// Only a URI that carries our seal is taken for that; with seals off, one that looks as ours do. A Contact that shares our address is neither.
    #[inline(always)]
    fn undo_strict_routing(&mut self) -> Result<(), Reason> {
        if !self.uri.lr || !self.uri.user.is_empty() || self.incoming.message.first(Name::Route).is_none() {
            return Ok(());
        }
        let Some(this @ Owner::Listener(_)) = self.owner(self.uri) else { return Ok(()) };
        let (mut before, mut last, mut first) = (None, None, None);
        let mut values = RouteSet::new(self.incoming.message, self.incoming.bytes);
        while let Some(value) = values.next_value().map_err(|_| Reason::BadRoute)? {
            first = first.or(Some(value));
            (before, last) = (last, Some(value));
        }
        let Some(last) = last else { return Ok(()) };
        let partner = first.filter(|value| self.uri.r2 && value.uri.r2 && before.is_some());
        let partner = partner.and_then(|value| self.owner(&value.uri));
        let seal = self.uri.seal.map_or(Span::default(), |seal| seal.value);
        let proof = self.prove_anyway(seal, this, partner);
        if self.incoming.snapshot.seal_routes && proof != Proof::Proven {
            return Ok(());
        }
        self.proven = true;
        if self.uri.r2
            && let Some(Owner::Listener(partner)) = partner
        {
            self.pair_egress = Some(partner);
        }
        *self.uri = last.uri;
        self.popping.undone = Some((last, before));
        self.witness.step(Step::StrictRouteUndone { uri: last.uri.span });
        Ok(())
    }

    /// 16.4: removes Route values while the topmost is ours, so both of a pair.
    #[inline(always)]
    fn pop(&mut self) -> Result<(), Reason> {
        let Incoming { snapshot, bytes, message, .. } = self.incoming;
        let mut values = RouteSet::new(message, bytes);
        // A value with r2=on whose partner may come next.
        let mut waiting: Option<OwnRoute> = None;
        while !values.is_done() {
            let to_the_letter = if self.popping.undone.is_none() {
                OwnRoute::take(&mut values, snapshot, bytes)
            } else {
                None
            };
            let own = match to_the_letter {
                Some(own) => own,
                None => match self.next_own(&mut values)? {
                    Some(own) => own,
                    None => break,
                },
            };
            self.popping.pop(&own.place, message);
            let first = waiting.take().filter(|_| own.r2);
            let proof = match (&first, own.owner) {
                (Some(first), Owner::Listener(listener)) => {
                    self.pair_egress = Some(listener);
                    self.prove(first.seal, first.owner, Some(own.owner))
                }
                (None, Owner::Listener(_)) if own.r2 => {
                    waiting = Some(own);
                    Proof::NotAsked
                }
                (None, Owner::Listener(_)) => self.prove(own.seal, own.owner, None),
                (_, Owner::Domain) => Proof::Absent,
            };
            self.proven |= proof == Proof::Proven || !snapshot.seal_routes;
            let (second, r2) = (first.is_some(), own.r2);
            self.witness.step(Step::Popped { value: own.place.span, r2, second, proof });
        }
        Ok(())
    }

    /// The topmost Route value if it is ours, read by the grammar. If not, it is kept in [`Self::route`].
    #[inline(never)]
    fn next_own(&mut self, values: &mut RouteSet<'a>) -> Result<Option<OwnRoute>, Reason> {
        let value = values.next_value().map_err(|_| Reason::BadRoute)?;
        let Some(value) = value.filter(|value| !self.popping.is_undone(value)) else { return Ok(None) };
        let owner = self.owner(&value.uri);
        if owner.is_none() {
            self.route = Some(value);
        }
        Ok(owner.map(|owner| OwnRoute::of(&value, owner)))
    }

    /// Whether the seal of one of our URIs proves. A trusted source is not asked.
    #[inline(always)]
    fn prove(&self, seal: Span, this: Owner, partner: Option<Owner>) -> Proof {
        if self.trusted { Proof::NotAsked } else { self.prove_anyway(seal, this, partner) }
    }

    /// Whether the seal proves, whoever asks.
    fn prove_anyway(&self, seal: Span, this: Owner, partner: Option<Owner>) -> Proof {
        let Incoming { snapshot, bytes, message, .. } = self.incoming;
        let listener = |owner| match owner {
            Owner::Listener(index) => snapshot.listener(index),
            Owner::Domain => None,
        };
        let Some(this) = listener(this) else { return Proof::Wrong };
        let call = (self.call, || message.value(Name::CallId, bytes));
        record_route::prove(&snapshot.keys, call, seal.of(bytes), this, partner.and_then(listener))
    }

    /// 16.4, last paragraph: a `maddr` of ours goes, with the port and transport that belonged to it.
    #[inline(always)]
    fn strip_maddr(&mut self) -> Result<(), Reason> {
        let (Some(maddr), Some(host_port)) = (self.uri.maddr, self.uri.host_port) else { return Ok(()) };
        let Incoming { snapshot, flow, bytes, .. } = self.incoming;
        let sips = self.uri.scheme == Scheme::Sips;
        let port = host_port.port.unwrap_or(default_port(sips));
        // Only where the request came by the port and transport that the URI indicates.
        let transport = self.uri.transport.map_or(Span::default(), |transport| transport.whole);
        let is_udp = self.uri.transport.is_none_or(|t| scan::is_ignoring_case(t.value.of(bytes), b"udp"));
        if port != flow.destination.port() || sips || !is_udp {
            return Ok(());
        }
        let value = maddr.value;
        let read = host::read_host_port(bytes, value.start(), value.end(), false);
        let Some(mut ours) = read.filter(|read| read.end == value.end()) else { return Ok(()) };
        ours.port = host_port.port;
        if snapshot.identity.owner(bytes, &ours, sips).is_none() {
            return Ok(());
        }
        self.witness.step(Step::MaddrStripped);
        let is_default = host_port.port == Some(default_port(sips));
        let port_end = if is_default { host_port.host.span.end() } else { host_port.end };
        self.left_out = [Span::new(host_port.host.span.end(), port_end), maddr.whole, transport];
        self.left_out.sort_unstable_by_key(|span| span.start);
        self.uri.host_port = Some(HostPort { port: None, ..host_port });
        (self.uri.maddr, self.uri.transport) = (None, None);
        Ok(())
    }

    /// Who may route through us: what keeps a stateless router from being an open relay.
    #[inline(always)]
    fn police(&self) -> Result<(), Reason> {
        if self.trusted {
            return Ok(());
        }
        if reply::maddr_points_elsewhere(self.via, self.incoming.bytes, self.incoming.flow.source.ip()) {
            return Err(Reason::MaddrForbidden);
        }
        if self.route.is_some() && !self.is_proven_dialog() {
            return Err(Reason::RouteForbidden);
        }
        Ok(())
    }

    /// Whether the request belongs to a dialog that this cluster record-routed.
    #[inline(always)]
    fn is_proven_dialog(&self) -> bool {
        self.proven && !self.incoming.message.to_tag.is_empty()
    }

    /// 16.5 and 16.6 steps 6 and 7: where it goes, and the listener that a pair or a rule wants it to leave by, which it returns.
    #[inline(always)]
    fn target(&mut self) -> Result<Option<ListenerIndex>, Refusal<'a>> {
        if let Some(route) = &self.route {
            self.witness.step(Step::NextHopRoute { value: route.span, strict: !route.uri.lr });
            next_hop(&route.uri, self.incoming.bytes, self.to)?;
            return Ok(self.pair_egress);
        }
        // 16.5: a maddr that is not ours makes the Request-URI the only target, whoever's its host is.
        let elsewhere =
            self.uri.host_port.is_some() && (self.uri.maddr.is_some() || self.owner(self.uri).is_none());
        if elsewhere && (self.trusted || self.is_proven_dialog()) {
            self.witness.step(Step::NextHopRequestUri);
            next_hop(self.uri, self.incoming.bytes, self.to)?;
            return Ok(self.pair_egress);
        }
        if self.uri.scheme == Scheme::Other {
            return Err(Reason::UnsupportedScheme.into());
        }
        let for_node = !elsewhere && self.uri.user.is_empty() && self.uri.scheme != Scheme::Tel;
        if for_node && self.method == Method::Options {
            return Err(Reason::Options.into());
        }
        self.rule(if elsewhere { Reason::RelayForbidden } else { Reason::NoRule })
    }

    /// 16.6 step 7: a SIPS Request-URI asks for TLS on every hop, whatever the next hop is. We do not speak it.
    #[inline(always)]
    fn check_transport(&self) -> Result<(), Reason> {
        if self.uri.scheme == Scheme::Sips { Err(Reason::NextHopTransport) } else { Ok(()) }
    }

    /// The rules' choice; `none` is the answer where none matches.
    fn rule(&mut self, none: Reason) -> Result<Option<ListenerIndex>, Refusal<'a>> {
        let Incoming { snapshot, flow, bytes, message } = self.incoming;
        let subject = Subject {
            listener: flow.listener,
            source: flow.source.ip(),
            method: self.method,
            method_text: self.method_span.of(bytes),
            host: self.uri.host_port.map(|h| (h.host, h.host.span.of(bytes))),
            user: self.uri.user.of(bytes),
        };
        let (index, rule) = snapshot.rules.first(&subject).ok_or(none)?;
        self.witness.step(Step::Rule { index });
        let (to, set_egress) = match &rule.action {
            Action::Reply { .. } => return Err(Refusal::Rule(Reason::RuleReply, rule)),
            Action::Redirect { .. } => return Err(Refusal::Rule(Reason::RuleRedirect, rule)),
            Action::NextHop(address) => (*address, None),
            Action::TargetSet(set) => {
                let target_set = snapshot.target_sets.get(*set).ok_or(Reason::NoTarget)?;
                let call_id = message.value(Name::CallId, bytes);
                let member = target_set.pick(call_id).ok_or(Reason::NoTarget)?;
                self.witness.step(Step::Member { set: *set, address: member.address });
                (member.address, target_set.egress)
            }
        };
        self.to.set(to.ip(), to.port());
        Ok(self.pair_egress.or(rule.egress).or(set_egress))
    }

    /// The listener to leave by: the one that a pair or a rule names, which then must do, or the ingress if it can, or the first that can.
    #[inline(always)]
    fn egress(&mut self, wanted: Option<ListenerIndex>) -> Result<ListenerIndex, Reason> {
        let ip = self.to.get().ip();
        let snapshot = self.incoming.snapshot;
        match wanted {
            Some(index) => snapshot.listener(index).filter(|l| l.reaches(ip)).map(|_| index),
            None => snapshot.egress(self.choices, self.incoming.flow.listener, ip),
        }
        .ok_or(Reason::NoListener)
    }

    /// 16.6 steps 3, 4, 6 and 8: Max-Forwards, Record-Route, Request-URI and Route set, Via.
    #[inline(always)]
    fn write(&mut self, egress: ListenerIndex, mark: [u8; 16]) {
        let Incoming { snapshot, flow, bytes, message } = self.incoming;
        let filling = Filling::of(self.via, bytes, flow.source);
        if filling.changes() {
            self.witness.step(Step::ViaFilled);
        }
        let Some(egress_listener) = snapshot.listener(egress) else { return };
        let key = &snapshot.keys.current;
        let hop = (self.call, bytes, self.via);
        let (branch, return_seal) =
            key.branch_and_return_seal(hop, message.cseq.number, self.ingress.id, &filling.back);
        let stamp = Stamp {
            branch: if self.via.has_magic_cookie(bytes) { branch } else { self.branch_without_cookie() },
            return_seal,
            ingress_id: self.ingress.id,
            mark,
        };
        let record_route = self.is_record_routed();
        if record_route {
            self.witness.step(Step::RecordRouted { double: egress != flow.listener });
        }
        // Right below the start-line, so that it is above any Record-Route, wherever that stands.
        let (call, ingress) = (self.call, self.ingress);
        self.edits.insert(message.start_line_span.end() + 2, |text| {
            branch::put_via(text, egress_listener, key, &stamp);
            if record_route {
                let seal = snapshot.seal_routes.then_some((key, call));
                put_record_route(text, seal, ingress, egress_listener);
            }
            if message.max_forwards.is_none() {
                text.put(b"Max-Forwards: 70\r\n");
            }
        });
        filling.write(self.via, self.edits);
        if let (Some(hops), Some(field)) = (message.max_forwards, message.field(Name::MaxForwards)) {
            self.edits.replace(field.value, |text| text.put_decimal(u32::from(hops) - 1));
        }
        self.write_route_set();
    }

    /// Writes what became of the Request-URI and the Route values.
    #[inline(always)]
    fn write_route_set(&mut self) {
        let Incoming { bytes, message, .. } = self.incoming;
        if let Some(route) = &self.route
            && !route.uri.lr
        {
            let route = *route;
            return self.write_strict_route(&route);
        }
        self.popping.finish(message, self.edits);
        if self.popping.undone.is_some() || self.left_out != [Span::default(); 3] {
            self.edits
                .replace(self.received_uri, |text| put_request_uri(text, self.uri, &self.left_out, bytes));
        }
    }

    /// 16.6 step 6: where the next hop is a strict router, the Request-URI goes to the end of the Route set and the first value takes its place.
    #[cold]
    fn write_strict_route(&mut self, route: &RouteValue) {
        let Incoming { bytes, message, .. } = self.incoming;
        self.popping.pop(&Place::from(route), message);
        self.popping.finish(message, self.edits);
        self.edits.replace(self.received_uri, |text| put_request_uri(text, &route.uri, &[], bytes));
        let Some(last) = message.fields().iter().rposition(|field| field.name == Name::Route) else { return };
        let field = &message.fields()[last];
        let alone = self.popping.gone == Some(last);
        let at = if alone { field.line.end() } else { field.value.end() };
        self.edits.insert(at, |text| {
            text.put(if alone { b"Route: <" } else { b", <" });
            put_uri(text, self.uri, &self.left_out, bytes);
            text.put(if alone { b">\r\n" } else { b">" });
        });
    }

    /// 16.6 step 4: requests that can create a dialog.
    #[inline(always)]
    fn is_record_routed(&self) -> bool {
        self.method.creates_dialog()
            && self.incoming.message.to_tag.is_empty()
            && self.incoming.snapshot.record_route
    }

    #[cold]
    fn branch_without_cookie(&self) -> u64 {
        let Incoming { snapshot, bytes, message, .. } = self.incoming;
        let key = &snapshot.keys.current;
        let hop = key.hop(self.call, bytes, self.via);
        let from_tag = message.from_tag.of(bytes);
        key.branch_without_cookie(hop, message.cseq.number, from_tag, self.received_uri.of(bytes))
    }

    #[inline(always)]
    fn owner(&self, uri: &Uri) -> Option<Owner> {
        let host_port = uri.host_port.as_ref()?;
        self.incoming.snapshot.identity.owner(self.incoming.bytes, host_port, uri.scheme == Scheme::Sips)
    }
}

/// Writes a URI as a Request-URI: without header fields and `method`, which may not stand there (19.1.1), and without what is left out.
fn put_request_uri(text: &mut Text, uri: &Uri, left_out: &[Span], bytes: &[u8]) {
    let mut holes = [uri.method; 4];
    holes.iter_mut().zip(left_out).for_each(|(hole, left_out)| *hole = *left_out);
    holes[3] = uri.method;
    holes.sort_unstable_by_key(|hole| hole.start);
    let holes = if left_out.is_empty() { &holes[3..] } else { &holes };
    put_uri(text, uri, holes, bytes);
}

/// Writes a URI without header fields and without what is left out, which is in order.
fn put_uri(text: &mut Text, uri: &Uri, left_out: &[Span], bytes: &[u8]) {
    let mut at = uri.span.start();
    for hole in left_out.iter().filter(|hole| !hole.is_empty()) {
        text.put(Span::new(at, hole.start()).of(bytes));
        at = hole.end();
    }
    text.put(Span::new(at, uri.headers.start()).of(bytes));
}

/// The address of a next hop (16.6 step 7; RFC 3263 4 for literal addresses).
#[inline(always)]
fn next_hop(uri: &Uri, bytes: &[u8], to: &mut NextHop) -> Result<(), Reason> {
    let host_port = match (uri.scheme, &uri.host_port) {
        (Scheme::Sip, Some(host_port)) => host_port,
        (Scheme::Sip, None) | (Scheme::Tel, _) => return Err(Reason::NextHopName),
        (Scheme::Sips, _) => return Err(Reason::NextHopTransport),
        (Scheme::Other, _) => return Err(Reason::UnsupportedScheme),
    };
    if let Some(transport) = &uri.transport
        && !scan::is_ignoring_case(transport.value.of(bytes), b"udp")
    {
        return Err(Reason::NextHopTransport);
    }
    let port = host_port.port.unwrap_or(default_port(false));
    let ip = match (&uri.maddr, &host_port.host.address) {
        (None, Some(ip)) => *ip,
        (None, None) => return Err(Reason::NextHopName),
        (Some(maddr), _) => host::address(maddr.value.of(bytes)).ok_or(Reason::NextHopName)?,
    };
    to.set(ip, port);
    if is_usable(ip, port) { Ok(()) } else { Err(Reason::NextHopAddress) }
}
