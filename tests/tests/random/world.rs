//! The world: a node, its oracle, and all that was seen on the wire.

use super::lines::{Lines, name_of, vias};
use super::tape::require;
use crate::oracle::{Came, Forecast, Oracle, agree};
use proptest::test_runner::TestCaseError;
use sluice::forward::Forwarder;
use sluice::io::memory::{Memory, Sent};
use sluice::io::{Flow, Io, ListenerIndex};
use sluice::proxy::snapshot::{Plan, Snapshot};
use sluice::sip::Message;
use sluice::stats::{Stats, Totals};
use sluice_tests::{escape, fate};

pub(crate) struct World<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) snapshot: Snapshot,
    pub(crate) oracle: Oracle<'p>,
    pub(crate) forwarder: Forwarder,
    pub(crate) stats: Stats,
    pub(crate) io: Memory,
    pub(crate) history: Vec<(Came, Vec<u8>)>,
    /// Record-Route URIs of ours that were seen.
    pub(crate) routes: Vec<String>,
    /// Via lines that were seen, ours and the one below it.
    pub(crate) vias: Vec<(String, String)>,
    /// Tags that were seen.
    pub(crate) tags: Vec<String>,
    /// Call-IDs of requests that were record-routed, each with the Record-Route URIs of ours, from the top.
    pub(crate) dialogs: Vec<(String, Vec<String>)>,
    /// Requests that were forwarded, and the Via that we put on.
    pub(crate) forwarded: Vec<(Came, Vec<u8>, String)>,
}

impl<'p> World<'p> {
    pub(crate) fn new(plan: &'p Plan) -> Self {
        Self::with(plan, Snapshot::new(plan.clone()).expect("a good plan"))
    }

    pub(crate) fn with(plan: &'p Plan, snapshot: Snapshot) -> Self {
        Self {
            plan,
            snapshot,
            oracle: Oracle::new(plan),
            forwarder: Forwarder::new(),
            stats: Stats::new(),
            io: Memory::with_frame_bytes(20_000),
            history: vec![],
            routes: vec![],
            vias: vec![],
            tags: vec![],
            dialogs: vec![],
            forwarded: vec![],
        }
    }

    /// What leaves, and whether it is a reply of our own.
    pub(crate) fn run(&mut self, came: Came, bytes: &[u8]) -> Option<(Sent, bool)> {
        let before = self.stats.read();
        self.io.push(self.flow(came), bytes);
        let (forwarder, snapshot, stats) = (&mut self.forwarder, &self.snapshot, &self.stats);
        self.io.breathe(&mut |datagram| forwarder.forward(snapshot, stats, 0, datagram));
        let replied = |totals: &Totals| totals.sums().1;
        let is_reply = replied(&self.stats.read()) > replied(&before);
        self.io.sent.pop().map(|sent| (sent, is_reply))
    }

    pub(crate) fn flow(&self, came: Came) -> Flow {
        let destination = self.plan.listeners[came.listener].address;
        Flow { source: came.from, destination, listener: ListenerIndex(came.listener as u16) }
    }

    /// Sends a message in, and holds what becomes of it against the oracle. Returns what the oracle said, in a word.
    pub(crate) fn step(&mut self, came: Came, bytes: &[u8]) -> Result<String, TestCaseError> {
        self.history.push((came, bytes.to_vec()));
        let (sent, totals) = {
            let stats = std::mem::take(&mut self.stats);
            let sent = self.run(came, bytes);
            let totals = self.stats.read();
            self.stats = stats;
            (sent, totals)
        };
        let sent = sent.map(|(sent, _)| sent);
        let got = fate(&self.snapshot, sent.as_ref(), &totals);
        let fail = |why: String, history: &[(Came, Vec<u8>)]| require(false, || why, history).unwrap_err();
        let payload = sent.as_ref().map(|sent| sent.payload.clone()).unwrap_or_default();
        self.plausible(bytes, sent.as_ref(), &got).map_err(|why| fail(why, &self.history))?;
        let forecast = self.oracle.forecast(came, bytes);
        let (expected, pieces, lesson, word) = match &forecast {
            Forecast::None => return Ok("none".into()),
            Forecast::Absorb => ("absorb ".to_owned(), None, None, "absorb".to_owned()),
            Forecast::Drop => ("drop ".to_owned(), None, None, "drop".to_owned()),
            Forecast::Forward { egress, to, output, lesson } => {
                let name = &self.plan.listeners[*egress].name;
                (format!("forward {name} {to}"), Some(output), Some(lesson), "forward".to_owned())
            }
            Forecast::Reply { status, to, output, lesson } => {
                let reason = got.split(' ').nth(2).unwrap_or_default();
                let fate = format!("reply {status} {reason} {to}");
                (fate, Some(output), Some(lesson), status.to_string())
            }
        };
        let same_fate = if pieces.is_some() { got == expected } else { got.starts_with(&expected) };
        if !same_fate {
            let why = format!("expected: {expected}\ngot:      {got}\n{}", escape(&payload));
            return Err(fail(why, &self.history));
        }
        if let (Some(pieces), Some(lesson)) = (pieces, lesson) {
            let digits = agree(pieces, &payload)
                .map_err(|why| fail(format!("{got}\n{why}\n{}", escape(&payload)), &self.history))?;
            self.oracle
                .learn(lesson, &digits)
                .map_err(|why| fail(format!("{got}\n{why}\n{}", escape(&payload)), &self.history))?;
            self.see(&payload);
        }
        Ok(word)
    }

    /// What holds of anything that leaves, whatever came in.
    pub(crate) fn plausible(&self, input: &[u8], sent: Option<&Sent>, got: &str) -> Result<(), String> {
        let Some(sent) = sent else { return Ok(()) };
        let output = &sent.payload;
        let show = |why: &str| Err(format!("{why}: {got}\n{}", escape(output)));
        let mut message = Message::new();
        let fault = message.read(output).err();
        if got.starts_with("reply") {
            if output.len() > input.len() + 450 {
                return show("a reply much larger than the request");
            }
            if !output.ends_with(b"\r\nContent-Length: 0\r\n\r\n") {
                return show("a reply with something behind it");
            }
            return Ok(());
        }
        if let Some(fault) = fault {
            return show(&format!("what leaves cannot be read again: {fault:?}"));
        }
        // No line is new but ours, and those that may change.
        let (before, after) = (Lines::of(input), Lines::of(output));
        let may_change = ["via", "v", "route", "record-route", "max-forwards"];
        for line in &after.fields {
            let name = name_of(&String::from_utf8_lossy(line));
            if !may_change.contains(&&*name) && !before.fields.contains(line) {
                return show(&format!("a new line: {}", escape(line)));
            }
        }
        let response = input.starts_with(b"SIP/");
        if response && before.start != after.start {
            return show("another status line");
        }
        if !input.ends_with(&after.body) && before.body_within_content_length() != after.body {
            return show("another body");
        }
        Ok(())
    }

    pub(crate) fn see(&mut self, payload: &[u8]) {
        let text = String::from_utf8_lossy(payload).into_owned();
        let ours = text.lines().filter(|line| line.starts_with("Record-Route: <") && line.contains("seal="));
        let ours: Vec<String> =
            ours.filter_map(|line| Some(line[15..].strip_suffix('>')?.to_owned())).collect();
        if !ours.is_empty() {
            let call_id = Lines::of(payload).values("call-id").remove(0);
            self.routes.extend(ours.iter().cloned());
            self.dialogs.push((call_id, ours));
        }
        if let Some(tag) = text.split(";tag=s").nth(1).and_then(|rest| rest.get(..16)) {
            self.tags.push(format!("s{tag}"));
        }
        if let [ours, next, ..] = &vias(payload)[..]
            && ours.contains(";seal=")
        {
            self.vias.push((ours.clone(), next.clone()));
            let (came, bytes) = self.history.last().expect("a message");
            self.forwarded.push((*came, bytes.clone(), ours.clone()));
        }
    }
}
