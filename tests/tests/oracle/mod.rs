//! A second opinion: a slow and obvious proxy, written from RFC 3261 and the routing page, that shares nothing with the router but the plan it is configured by.
//!
//! It differs from the router in kind. The router keeps nothing and proves by keyed hashes what it once wrote; the oracle knows no hash and *remembers* what was written. So its forecast of a
//! message leaves the digits open, and [`Oracle::learn`] reads them off what really left: equal inputs must have given equal digits, and different inputs different ones.
//!
//! It reads by the letter of the grammar ([`grammar`]). Of a message that is not by the letter it has no opinion ([`Forecast::None`]); the router may refuse that or let it pass.

mod grammar;
mod output;

use self::grammar::{Field, Host, Message, Name, Route, Start, Uri, Via};
pub(crate) use self::output::{Digits, Piece, agree};
use self::output::{assemble, text};
use sluice::proxy::identity::{Authority, AuthorityHost};
use sluice::proxy::rules::Action;
use sluice::proxy::snapshot::Plan;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// How a message came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Came {
    pub(crate) from: SocketAddr,
    pub(crate) listener: usize,
}

/// What must become of a message.
#[derive(Debug)]
pub(crate) enum Forecast {
    /// It is not by the letter of the grammar.
    None,
    Forward {
        egress: usize,
        to: SocketAddr,
        output: Vec<Piece>,
        lesson: Lesson,
    },
    Reply {
        status: u16,
        to: SocketAddr,
        output: Vec<Piece>,
        lesson: Lesson,
    },
    Absorb,
    Drop,
}

/// What the digits of an output hang on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lesson {
    call_id: Vec<u8>,
    hop: Hop,
    cseq: u32,
    /// Of a request without magic cookie: From tag and Request-URI.
    long: Option<(Vec<u8>, Vec<u8>)>,
    back: Back,
    ingress: usize,
    egress: usize,
    mark: Mark,
}

/// What a Via is recognised by: sent-by and branch, by value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hop {
    host: HostValue,
    port: u16,
    branch: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostValue {
    Address(IpAddr),
    Name(Vec<u8>),
}

/// Where a Via sends responses, apart from its sent-by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Back {
    received: Option<IpAddr>,
    rport: Option<u16>,
    maddr: Option<Vec<u8>>,
}

/// All that a routing decision hangs on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    call_id: Vec<u8>,
    request_uri: Vec<u8>,
    routes: Vec<Vec<u8>>,
    source: IpAddr,
    destination: SocketAddr,
}

/// Which of a Record-Route's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Single,
    Egress,
    Ingress,
}

/// The proxy, and all that it ever wrote.
#[derive(Debug)]
pub(crate) struct Oracle<'p> {
    plan: &'p Plan,
    branches: Vec<(Lesson, String)>,
    return_seals: Vec<(Lesson, String)>,
    marks: Vec<(Mark, String)>,
    route_seals: Vec<(Vec<u8>, usize, usize, Place, String)>,
    tags: Vec<(Lesson, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Listener(usize),
    Domain,
}

/// A refusal: the status, which an ACK does not get.
struct Refused(u16);

impl<'p> Oracle<'p> {
    /// The plan has at most one rule, without conditions.
    pub(crate) fn new(plan: &'p Plan) -> Self {
        assert!(plan.rules.len() <= 1 && plan.seal_routes && plan.seal_responses);
        Self {
            plan,
            branches: vec![],
            return_seals: vec![],
            marks: vec![],
            route_seals: vec![],
            tags: vec![],
        }
    }

    /// What must become of `bytes`.
    pub(crate) fn forecast(&self, came: Came, bytes: &[u8]) -> Forecast {
        if bytes.len() <= 4 || bytes.iter().all(|byte| b"\r\n\0".contains(byte)) {
            return Forecast::Absorb;
        }
        let Some(message) = Message::read(bytes) else { return Forecast::None };
        match &message.start {
            Start::Request { .. } => self.request(came, &message),
            Start::Response => self.response(&message),
        }
    }

    // --- requests: 16.3 to 16.6 ---

    fn request(&self, came: Came, message: &Message<'_>) -> Forecast {
        let lesson = self.lesson(came, message);
        let is_ack = message.method() == b"ACK";
        if is_ack
            && self
                .tags
                .iter()
                .any(|(of, tag)| *tag.as_bytes() == *message.to_tag && of.is_transaction(&lesson))
        {
            return Forecast::Absorb;
        }
        match self.route(came, message, &lesson) {
            Ok((egress, to, output)) => {
                Forecast::Forward { egress, to, output, lesson: Lesson { egress, ..lesson } }
            }
            Err(Refused(status)) => match self.reply(came, message, status) {
                Some((to, output)) if !is_ack => Forecast::Reply { status, to, output, lesson },
                _ => Forecast::Drop,
            },
        }
    }

    fn lesson(&self, came: Came, message: &Message<'_>) -> Lesson {
        let via = &message.vias[0];
        let branch = via.param("branch").unwrap_or_default();
        let cookie = branch.len() > 7 && branch[..7].eq_ignore_ascii_case(b"z9hG4bK");
        let uri = message.request_uri.clone();
        let received = self.received(came, via);
        Lesson {
            call_id: message.call_id.to_vec(),
            hop: Hop::of(via),
            cseq: message.cseq,
            long: (!cookie).then(|| (message.from_tag.to_vec(), message.bytes[uri.clone()].to_vec())),
            back: Back {
                received: received.or(via.param("received").and_then(grammar::address)),
                rport: match via.param("rport") {
                    Some(b"") => Some(came.from.port()),
                    Some(digits) => grammar::number(digits, 65_535).map(|port| port as u16),
                    None => None,
                },
                maddr: via.param("maddr").map(<[u8]>::to_ascii_lowercase),
            },
            ingress: came.listener,
            egress: came.listener,
            mark: Mark {
                call_id: message.call_id.to_vec(),
                request_uri: message.bytes[uri].to_vec(),
                routes: message.fields_called(Name::Route).map(|f| message.value(f).to_vec()).collect(),
                source: came.from.ip(),
                destination: self.plan.listeners[came.listener].address,
            },
        }
    }

    /// The `received` that has to be put in, if any (18.2.1, RFC 3581 4).
    fn received(&self, came: Came, via: &Via) -> Option<IpAddr> {
        let source = came.from.ip();
        let has = via.param("received").and_then(grammar::address);
        let asked = via.param("rport") == Some(b"");
        let literal = via.host.address == Some(source);
        match via.param("received") {
            Some(_) => (has != Some(source)).then_some(source),
            None => (asked || !literal).then_some(source),
        }
    }

    fn route(
        &self,
        came: Came,
        message: &Message<'_>,
        lesson: &Lesson,
    ) -> Result<(usize, SocketAddr, Vec<Piece>), Refused> {
        // What makes it malformed although each part is well-formed.
        let uri = message.uri.as_ref().expect("a request has a Request-URI");
        if message.malformed || !uri.headers.is_empty() {
            return Err(Refused(400));
        }
        // 16.3
        if message.max_forwards.as_ref().is_some_and(|(_, hops)| *hops == 0) {
            return Err(Refused(483));
        }
        let marks = message.vias.iter().filter_map(|via| via.param("mark"));
        let known =
            |mark: &[u8]| self.marks.iter().any(|(of, is)| is.as_bytes() == mark && *of == lesson.mark);
        if marks.into_iter().any(known) {
            return Err(Refused(482));
        }
        let asks = message.fields_called(Name::ProxyRequire).next().is_some();
        if asks && !matches!(message.method(), b"ACK" | b"CANCEL") {
            return Err(Refused(420));
        }
        let trusted = self.trusts(came);
        // 16.4: a strict router before us.
        let mut routes: Vec<&Route> = message.routes.iter().collect();
        let mut uri = uri;
        let (mut proven, mut egress, mut undone) = (false, None, false);
        if let Some(Owner::Listener(this)) = self.owner(uri)
            && uri.param("lr").is_some()
            && uri.user.is_empty()
            && let Some(last) = routes.last()
        {
            let partner = routes.first().filter(|first| uri.is_r2() && first.uri.is_r2() && routes.len() > 1);
            let partner = partner.and_then(|partner| self.listener(&partner.uri));
            if self.proves(message, uri, this, partner) {
                uri = &last.uri;
                (proven, undone) = (true, true);
                egress = partner;
                routes.pop();
            }
        }
        // 16.4: our own values.
        let mut popped = 0;
        while let Some(first) = routes.get(popped).filter(|route| self.owner(&route.uri).is_some()) {
            let this = self.listener(&first.uri);
            let second =
                routes.get(popped + 1).and_then(|second| self.listener(&second.uri).map(|l| (second, l)));
            match (this, second) {
                (Some(this), Some((second, other))) if first.uri.is_r2() && second.uri.is_r2() => {
                    proven |= self.proves(message, &first.uri, this, Some(other));
                    egress = Some(other);
                    popped += 2;
                }
                (Some(this), _) => {
                    // Half a pair proves nothing by itself.
                    proven |= !first.uri.is_r2() && self.proves(message, &first.uri, this, None);
                    popped += 1;
                }
                (None, _) => popped += 1,
            }
        }
        let routes = &routes[popped..];
        // 16.4: a maddr of ours.
        let mut left_out: Vec<Range<usize>> = vec![];
        let mut uri = uri.clone();
        let port = uri.port.unwrap_or(if uri.is_sips() { 5061 } else { 5060 });
        let came_so = port == self.plan.listeners[came.listener].address.port()
            && !uri.is_sips()
            && uri.param("transport").is_none_or(|t| t.eq_ignore_ascii_case(b"udp"));
        if let Some(maddr) = uri.param("maddr").map(<[u8]>::to_vec)
            && let Some(host) = Host::of(&maddr)
            && came_so
            && self.owner_of(&host, port).is_some()
        {
            left_out.push(uri.whole_param("maddr"));
            left_out.extend(uri.param("transport").map(|_| uri.whole_param("transport")));
            left_out.extend(uri.port_range.clone().filter(|_| port != 5060));
            left_out.sort_by_key(|range| range.start);
            uri.port = None;
            uri.params.retain(|param| !["maddr", "transport"].contains(&&*param.name));
        }
        // Who may route through us.
        let in_dialog = proven && !message.to_tag.is_empty();
        let via_maddr = message.vias[0].param("maddr").map(grammar::address);
        if !trusted && via_maddr.is_some_and(|maddr| maddr != Some(came.from.ip())) {
            return Err(Refused(403));
        }
        if !trusted && !in_dialog && !routes.is_empty() {
            return Err(Refused(403));
        }
        // 16.5
        let ours = self.owner(&uri).is_some() && uri.param("maddr").is_none();
        let sips = |to| if uri.is_sips() { Err(Refused(503)) } else { Ok(to) };
        let (to, wanted) = if let Some(route) = routes.first() {
            (next_hop(&route.uri).and_then(sips)?, egress)
        } else if uri.host.is_some() && !ours && (trusted || in_dialog) {
            (next_hop(&uri)?, egress)
        } else if !uri.is_sip() && !uri.is_sips() && uri.scheme != "tel" {
            return Err(Refused(416));
        } else if ours && uri.user.is_empty() && message.method() == b"OPTIONS" {
            return Err(Refused(200));
        } else if let Some(rule) = self.plan.rules.first() {
            let (to, set) = match &rule.action {
                Action::TargetSet(set) => {
                    let set = &self.plan.target_sets[*set];
                    (set.members[0].address, set.egress)
                }
                Action::NextHop(to) => (*to, None),
                other => panic!("the oracle knows no {other:?}"),
            };
            (sips(to)?, egress.or(rule.egress.or(set).map(|index| usize::from(index.0))))
        } else {
            return Err(Refused(if uri.host.is_some() && !ours { 403 } else { 404 }));
        };
        let reaches = |index: usize| self.plan.listeners[index].address.is_ipv4() == to.is_ipv4();
        let egress = match wanted {
            Some(wanted) => Some(wanted).filter(|wanted| reaches(*wanted)),
            None => Some(came.listener)
                .filter(|index| reaches(*index))
                .or_else(|| (0..self.plan.listeners.len()).find(|index| reaches(*index))),
        };
        let egress = egress.ok_or(Refused(503))?;
        // 16.6
        let mut edits = self.fill(came, message);
        let strict = routes.first().filter(|route| route.uri.param("lr").is_none());
        let kept = if strict.is_some() { &routes[1..] } else { routes };
        let moved = strict.map(|_| uri_text(message.bytes, &uri, &left_out));
        if message.routes.len() != kept.len() {
            edits.extend(route_edits(message, kept, moved.as_deref()));
        }
        let new_uri = match strict {
            Some(route) => Some(uri_text(message.bytes, &route.uri, &[])),
            None if undone || !left_out.is_empty() => Some(uri_text(message.bytes, &uri, &left_out)),
            None => None,
        };
        edits.extend(new_uri.map(|uri| (message.request_uri.clone(), vec![Piece::Bytes(uri)])));
        if let Some((range, hops)) = &message.max_forwards {
            edits.push((range.clone(), vec![text(&(hops - 1).to_string())]));
        }
        edits.push((message.head..message.head, self.our_lines(came, message, egress)));
        Ok((egress, to, assemble(&message.bytes[..message.end], edits)))
    }

    /// Our Via, the Record-Routes and the missing Max-Forwards.
    fn our_lines(&self, came: Came, message: &Message<'_>, egress: usize) -> Vec<Piece> {
        let mut lines = vec![
            text(&format!("Via: SIP/2.0/UDP {};branch=z9hG4bK", self.sent_by(egress))),
            Piece::Digits(16, Digits::Branch),
            text(";seal="),
            Piece::Digits(22, Digits::Return),
            text(";mark="),
            Piece::Digits(16, Digits::Mark),
            text("\r\n"),
        ];
        let creates_dialog = [&b"INVITE"[..], b"SUBSCRIBE", b"REFER", b"NOTIFY"].contains(&message.method());
        if creates_dialog && message.to_tag.is_empty() && self.plan.record_route {
            let both = [(egress, Digits::RouteEgress), (came.listener, Digits::RouteIngress)];
            let one = [(egress, Digits::RouteSingle)];
            let pair = egress != came.listener;
            for (listener, digits) in if pair { &both[..] } else { &one[..] } {
                let r2 = if pair { ";r2=on" } else { "" };
                lines.push(text(&format!("Record-Route: <sip:{};lr{r2};seal=", self.sent_by(*listener))));
                lines.push(Piece::Digits(19, *digits));
                lines.push(text(">\r\n"));
            }
        }
        if message.max_forwards.is_none() {
            lines.push(text("Max-Forwards: 70\r\n"));
        }
        lines
    }

    /// `received` and `rport` of the topmost Via.
    fn fill(&self, came: Came, message: &Message<'_>) -> Vec<(Range<usize>, Vec<Piece>)> {
        let via = &message.vias[0];
        let mut edits = vec![];
        if via.param("rport") == Some(b"") {
            let at = via.whole_param("rport").end;
            edits.push((at..at, vec![text(&format!("={}", came.from.port()))]));
        }
        if let Some(received) = self.received(came, via) {
            let end = via.range.end;
            let place = if via.param("received").is_some() { via.whole_param("received") } else { end..end };
            edits.push((place, vec![text(&format!(";received={received}"))]));
        }
        edits
    }

    // --- replies of our own: 8.2.6, 8.2.7, 18.2.2 ---

    fn reply(&self, came: Came, message: &Message<'_>, status: u16) -> Option<(SocketAddr, Vec<Piece>)> {
        let via = &message.vias[0];
        let sent_by_port = via.port.unwrap_or(5060);
        let port = match via.param("rport") {
            Some(b"") => came.from.port(),
            Some(digits) => grammar::number(digits, 65_535)? as u16,
            None => sent_by_port,
        };
        let to = match via.param("maddr").filter(|_| self.trusts(came)) {
            Some(maddr) => SocketAddr::new(grammar::address(maddr)?, sent_by_port),
            None => SocketAddr::new(came.from.ip(), port),
        };
        if to.is_ipv4() != came.from.is_ipv4() || !usable(to) {
            return None;
        }
        let mut edits = self.fill(came, message);
        edits.push((0..message.head - 2, vec![text(&format!("SIP/2.0 {status} ")), Piece::Phrase]));
        let mut seen = vec![];
        let mut kept_end = message.head;
        for field in &message.fields {
            let once = matches!(field.name, Name::From | Name::To | Name::CallId | Name::CSeq);
            let kept = field.name == Name::Via || (once && !seen.contains(&field.name));
            seen.push(field.name);
            if !kept {
                edits.push((field.line.clone(), vec![]));
                continue;
            }
            kept_end = field.line.end;
            if field.name == Name::To && message.to_tag.is_empty() && !message.to_is_broken {
                let at = field.value.end;
                edits.push((at..at, vec![text(";tag=s"), Piece::Digits(16, Digits::Tag)]));
            }
        }
        let mut end = String::new();
        match status {
            200 => {
                end.push_str("Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, SUBSCRIBE, NOTIFY, PUBLISH, INFO, REFER, MESSAGE, UPDATE\r\n");
                end.push_str("Accept: */*\r\nSupported:\r\n");
            }
            503 => end.push_str("Retry-After: 30\r\n"),
            _ => {}
        }
        let mut pieces = vec![];
        if status == 420 {
            for field in message.fields_called(Name::ProxyRequire) {
                pieces.push(text("Unsupported: "));
                pieces.push(Piece::Bytes(message.value(field).to_vec()));
                pieces.push(text("\r\n"));
            }
        }
        pieces.push(text(&(end + "Content-Length: 0\r\n\r\n")));
        edits.retain(|(range, _)| range.end <= kept_end);
        edits.push((kept_end..message.bytes.len(), pieces));
        Some((to, assemble(message.bytes, edits)))
    }

    // --- responses: 16.7, 18.2.2 ---

    fn response(&self, message: &Message<'_>) -> Forecast {
        let ours = &message.vias[0];
        if message.malformed {
            return Forecast::Drop;
        }
        if !matches!(self.owner_of(&ours.host, ours.port.unwrap_or(5060)), Some(Owner::Listener(_))) {
            return Forecast::Drop;
        }
        let Some(next) = message.vias.get(1) else { return Forecast::Absorb };
        let back = Back {
            received: match next.param("received") {
                Some(text) => match grammar::address(text) {
                    Some(address) => Some(address),
                    None => return Forecast::Drop,
                },
                None => None,
            },
            rport: next.param("rport").and_then(|digits| grammar::number(digits, 65_535)).map(|p| p as u16),
            maddr: next.param("maddr").map(<[u8]>::to_ascii_lowercase),
        };
        let seal = ours.param("seal").unwrap_or_default();
        let hop = Hop::of(next);
        let wrote = self.return_seals.iter().find(|(of, text)| {
            text.as_bytes() == seal && of.call_id == message.call_id && of.hop == hop && of.back == back
        });
        let Some((of, _)) = wrote else { return Forecast::Drop };
        let sent_by_port = next.port.unwrap_or(5060);
        let to = match (&back.maddr, back.received.or(next.host.address)) {
            (Some(maddr), _) => grammar::address(maddr).map(|ip| SocketAddr::new(ip, sent_by_port)),
            (None, ip) => ip.map(|ip| SocketAddr::new(ip, back.rport.unwrap_or(sent_by_port))),
        };
        let reaches = |to: &SocketAddr| self.plan.listeners[of.ingress].address.is_ipv4() == to.is_ipv4();
        let Some(to) = to.filter(|to| usable(*to) && reaches(to)) else { return Forecast::Drop };
        let field = &message.fields[ours.field];
        let same_line = ours.field == next.field;
        let gone = if same_line { field.value.start..next.range.start } else { field.line.clone() };
        let output = assemble(&message.bytes[..message.end], vec![(gone, vec![])]);
        Forecast::Forward { egress: of.ingress, to, output, lesson: of.clone() }
    }

    // --- what was written ---

    /// Takes the digits of what really left, in the order of the forecast, and holds them against all earlier ones.
    pub(crate) fn learn(&mut self, lesson: &Lesson, digits: &[(Digits, String)]) -> Result<(), String> {
        for (kind, text) in digits {
            match kind {
                Digits::Branch => {
                    for (of, earlier) in &self.branches {
                        same(kind, of.is_transaction(lesson) && of.long == lesson.long, earlier == text)?;
                    }
                    self.branches.push((lesson.clone(), text.clone()));
                }
                Digits::Return => {
                    for (of, earlier) in &self.return_seals {
                        let equal = of.call_id == lesson.call_id
                            && of.hop == lesson.hop
                            && of.back == lesson.back
                            && of.ingress == lesson.ingress;
                        same(kind, equal, earlier == text)?;
                    }
                    self.return_seals.push((lesson.clone(), text.clone()));
                }
                Digits::Mark => {
                    for (of, earlier) in &self.marks {
                        same(kind, *of == lesson.mark, earlier == text)?;
                    }
                    self.marks.push((lesson.mark.clone(), text.clone()));
                }
                Digits::RouteSingle => self.learn_route(lesson, Place::Single, text)?,
                Digits::RouteEgress => self.learn_route(lesson, Place::Egress, text)?,
                Digits::RouteIngress => self.learn_route(lesson, Place::Ingress, text)?,
                Digits::Tag => {
                    let text = format!("s{text}");
                    for (of, earlier) in &self.tags {
                        same(kind, of.is_transaction(lesson), *earlier == text)?;
                    }
                    self.tags.push((lesson.clone(), text));
                }
            }
        }
        Ok(())
    }

    fn learn_route(&mut self, lesson: &Lesson, place: Place, text: &str) -> Result<(), String> {
        let new = (lesson.call_id.clone(), lesson.ingress, lesson.egress, place, text.to_owned());
        for earlier in &self.route_seals {
            let equal = (&earlier.0, earlier.1, earlier.2, earlier.3) == (&new.0, new.1, new.2, new.3);
            same(&Digits::RouteSingle, equal, earlier.4 == new.4)?;
        }
        self.route_seals.push(new);
        Ok(())
    }

    /// Whether we wrote the seal in `uri`, for this call, in a value of this listener and with that partner.
    fn proves(&self, message: &Message<'_>, uri: &Uri, this: usize, partner: Option<usize>) -> bool {
        let Some(seal) = uri.param("seal") else { return false };
        self.route_seals.iter().any(|(call_id, ingress, egress, place, text)| {
            let listeners = match (place, partner) {
                (Place::Single, _) => *ingress == this && *egress == this,
                (Place::Egress, Some(partner)) => *egress == this && *ingress == partner,
                (Place::Ingress, Some(partner)) => *ingress == this && *egress == partner,
                (_, None) => false,
            };
            listeners && text.as_bytes() == seal && *call_id == message.call_id
        })
    }

    // --- who we are ---

    fn trusts(&self, came: Came) -> bool {
        let source = came.from.ip();
        self.plan.listeners[came.listener].trusted
            || self.plan.trusted_sources.iter().any(|net| net.contains(&source))
    }

    fn owner(&self, uri: &Uri) -> Option<Owner> {
        let port = uri.port.unwrap_or(if uri.is_sips() { 5061 } else { 5060 });
        self.owner_of(uri.host.as_ref()?, port)
    }

    fn listener(&self, uri: &Uri) -> Option<usize> {
        match self.owner(uri)? {
            Owner::Listener(index) => Some(index),
            Owner::Domain => None,
        }
    }

    fn owner_of(&self, host: &Host, port: u16) -> Option<Owner> {
        let is = |authority: &Authority| {
            let same_host = match &authority.host {
                AuthorityHost::Address(address) => host.address == Some(*address),
                AuthorityHost::Name(name) => {
                    let text = host.text.strip_suffix(b".").unwrap_or(&host.text);
                    host.address.is_none() && text.eq_ignore_ascii_case(name.as_bytes())
                }
            };
            same_host && authority.port.unwrap_or(5060) == port
        };
        for (index, listener) in self.plan.listeners.iter().enumerate() {
            let bound = listener.address;
            let named = listener.advertise.iter().chain(&listener.aliases).any(is);
            if named || (host.address == Some(bound.ip()) && bound.port() == port) {
                return Some(Owner::Listener(index));
            }
        }
        self.plan.domains.iter().any(is).then_some(Owner::Domain)
    }

    fn sent_by(&self, listener: usize) -> String {
        let listener = &self.plan.listeners[listener];
        let Some(advertise) = &listener.advertise else { return listener.address.to_string() };
        let host = match &advertise.host {
            AuthorityHost::Address(IpAddr::V6(address)) => format!("[{address}]"),
            AuthorityHost::Address(address) => address.to_string(),
            AuthorityHost::Name(name) => name.to_string(),
        };
        advertise.port.map_or(host.clone(), |port| format!("{host}:{port}"))
    }
}

impl Lesson {
    /// Whether the two are of one transaction, as far as a stateless proxy can tell (16.11).
    fn is_transaction(&self, other: &Self) -> bool {
        self.call_id == other.call_id && self.hop == other.hop && self.cseq == other.cseq
    }
}

impl Hop {
    fn of(via: &Via) -> Self {
        let name = || HostValue::Name(via.host.text.to_ascii_lowercase());
        Self {
            host: via.host.address.map_or_else(name, HostValue::Address),
            port: via.port.unwrap_or(5060),
            branch: via.param("branch").unwrap_or_default().to_ascii_lowercase(),
        }
    }
}

/// Equal inputs and equal digits go together.
fn same(kind: &Digits, inputs: bool, digits: bool) -> Result<(), String> {
    match (inputs, digits) {
        (true, false) => Err(format!("{kind:?}: the same inputs gave other digits")),
        (false, true) => Err(format!("{kind:?}: other inputs gave the same digits")),
        _ => Ok(()),
    }
}

/// 16.6 step 7, for addresses.
fn next_hop(uri: &Uri) -> Result<SocketAddr, Refused> {
    let udp = uri.param("transport").is_none_or(|transport| transport.eq_ignore_ascii_case(b"udp"));
    if uri.scheme != "sip" && uri.scheme != "sips" && uri.scheme != "tel" {
        return Err(Refused(416));
    }
    if !uri.is_sip() || !udp {
        return Err(Refused(503));
    }
    let address = match uri.param("maddr") {
        Some(maddr) => grammar::address(maddr),
        None => uri.host.as_ref().and_then(|host| host.address),
    };
    let to = SocketAddr::new(address.ok_or(Refused(503))?, uri.port.unwrap_or(5060));
    if usable(to) { Ok(to) } else { Err(Refused(503)) }
}

fn usable(to: SocketAddr) -> bool {
    let broadcast = to.ip() == IpAddr::from([255, 255, 255, 255]);
    to.port() != 0 && !to.ip().is_unspecified() && !to.ip().is_multicast() && !broadcast
}

/// A URI's text as a Request-URI may hold it: without header fields and `method` (19.1.1), and without what is left out.
fn uri_text(bytes: &[u8], uri: &Uri, left_out: &[Range<usize>]) -> Vec<u8> {
    let method = uri.param("method").map(|_| uri.whole_param("method"));
    let holes = |at: &usize| left_out.iter().chain(&method).any(|range| range.contains(at));
    let kept = uri.range.start..uri.headers.start.min(uri.range.end);
    kept.filter(|at| !holes(at)).map(|at| bytes[at]).collect()
}

/// Takes all Route values out that are not kept, and puts `moved` behind the last.
fn route_edits(
    message: &Message<'_>,
    kept: &[&Route],
    moved: Option<&[u8]>,
) -> Vec<(Range<usize>, Vec<Piece>)> {
    let mut edits = vec![];
    let fields: Vec<(usize, &Field)> =
        message.fields.iter().enumerate().filter(|(_, field)| field.name == Name::Route).collect();
    for (place, (index, field)) in fields.iter().enumerate() {
        let here: Vec<_> = kept.iter().filter(|route| route.field == *index).collect();
        let behind = if place + 1 == fields.len() { moved } else { None };
        let (Some(first), Some(last)) = (here.first(), here.last()) else {
            let line = behind.map(|uri| [b"Route: <", uri, b">\r\n"].concat());
            edits.push((field.line.clone(), vec![Piece::Bytes(line.unwrap_or_default())]));
            continue;
        };
        let mut value = message.bytes[first.range.start..last.range.end].to_vec();
        value.extend(behind.map(|uri| [b", <", uri, b">"].concat()).unwrap_or_default());
        edits.push((field.value.clone(), vec![Piece::Bytes(value)]));
    }
    edits
}
