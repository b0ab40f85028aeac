//! `sluice explain`: what becomes of one message, step by step, by the same code that the workers run.

use super::links::routed;
use super::load::Loaded;
use super::netlink;
use crate::forward::Forwarder;
use crate::io::{Datagram, Flow, HEADROOM, ListenerIndex, TAILROOM, Verdict};
use crate::proxy::decision::{Decision, Proof, Step, Stop};
use crate::proxy::snapshot::{Listener, Snapshot};
use crate::sip::header_field::Name;
use crate::sip::span::Span;
use crate::sip::start_line::StartLine;
use crate::stats::Stats;
use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// What to explain, and how.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// The configuration file; without it, the embedded default.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the message comes from.
    #[arg(long, value_name = "ADDR:PORT")]
    pub from: SocketAddr,
    /// Where it was sent to: the address of a listener. Without it, the first listener of the same family.
    #[arg(long, value_name = "ADDR:PORT")]
    pub to: Option<SocketAddr>,
    /// Print only the bytes that leave.
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Print JSON, for programs.
    #[arg(long)]
    pub json: bool,
    /// The message: a file, or `-` for standard input. Line ends must be CRLF, as on the wire.
    #[arg(value_name = "MESSAGE-FILE|-", default_value = "-")]
    pub message: PathBuf,
}

/// Explains the message that `args` names against a configuration and this machine's IP routes, on standard output.
///
/// # Errors
/// The message cannot be read, no listener matches, or standard output is closed.
pub fn explain(loaded: &Loaded, args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let message = read_message(args)?;
    // Without routes, as on another machine than the node's, families choose the listener that it leaves by.
    let routes = netlink::read_once().ok().map(Arc::new);
    let snapshot = routes.map(|routes| routed(&loaded.snapshot, &loaded.node, &routes));
    let snapshot = snapshot.as_ref().unwrap_or(&loaded.snapshot);
    let flow = flow(snapshot, args)?;
    let explained = Explained::new(snapshot, flow, &message);
    let mut out = std::io::stdout().lock();
    if args.raw {
        out.write_all(explained.leaves.as_ref().map(|(_, bytes)| &bytes[..]).unwrap_or_default())?;
    } else if args.json {
        writeln!(out, "{:#}", explained.json(snapshot))?;
    } else {
        write!(out, "{}", explained.text(snapshot))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_message(args: &ExplainArgs) -> anyhow::Result<Vec<u8>> {
    let mut message = Vec::new();
    if args.message.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut message).context("cannot read the message from standard input")?;
    } else {
        message = std::fs::read(&args.message)
            .with_context(|| format!("cannot read the message from {}", args.message.display()))?;
    }
    if message.len() > Span::OFFSET_MAX {
        bail!(
            "the message is {} bytes long; a UDP datagram holds at most {}",
            message.len(),
            Span::OFFSET_MAX
        );
    }
    Ok(message)
}

/// The flow that the arguments describe, by the listener that `--to` names.
fn flow(snapshot: &Snapshot, args: &ExplainArgs) -> anyhow::Result<Flow> {
    let matches = |listener: &Listener| match args.to {
        Some(to) => {
            let bound = listener.address;
            let all = bound.ip().is_unspecified() && bound.is_ipv4() == to.is_ipv4();
            bound.port() == to.port() && (bound.ip() == to.ip() || all)
        }
        None => listener.address.is_ipv4() == args.from.is_ipv4(),
    };
    let Some(index) = snapshot.listeners.iter().position(matches) else {
        let all: Vec<_> = snapshot.listeners.iter().map(|l| format!("{} ({})", l.address, l.name)).collect();
        let wanted = args.to.map_or("of the family of --from".to_owned(), |to| format!("at {to}"));
        bail!("no listener {wanted}; there are: {}", all.join(", "));
    };
    let destination = args.to.unwrap_or(snapshot.listeners[index].address);
    Ok(Flow { source: args.from, destination, listener: ListenerIndex(index as u16) })
}

/// One message, decided on and forwarded.
struct Explained<'a> {
    message: &'a [u8],
    flow: Flow,
    forwarder: Forwarder,
    steps: Vec<Step>,
    decision: Decision,
    /// The listener and destination, and the bytes; nothing where nothing leaves.
    leaves: Option<((ListenerIndex, SocketAddr), Vec<u8>)>,
}

impl<'a> Explained<'a> {
    fn new(snapshot: &Snapshot, flow: Flow, message: &'a [u8]) -> Self {
        let mut frame = vec![0; HEADROOM + message.len() + TAILROOM];
        frame[HEADROOM..HEADROOM + message.len()].copy_from_slice(message);
        let mut datagram = Datagram::new(&mut frame, HEADROOM, HEADROOM + message.len(), flow);
        let verdict = Forwarder::new().forward(snapshot, &Stats::new(), 0, &mut datagram);
        let leaves = match verdict {
            Verdict::Transmit { egress, to } => Some(((egress, to), datagram.payload().to_vec())),
            Verdict::Release => None,
        };
        let (mut forwarder, mut steps) = (Forwarder::new(), Vec::new());
        let decision = forwarder.decide(snapshot, &flow, message, &mut steps);
        Self { message, flow, forwarder, steps, decision, leaves }
    }

    fn quote(&self, span: Span) -> String {
        String::from_utf8_lossy(span.of(self.message)).into_owned()
    }

    fn text(&self, snapshot: &Snapshot) -> String {
        let mut out = String::new();
        let mut line = |clause: &str, what: String| out.push_str(&format!("{clause:<12} {what}\n"));
        let ingress = listener_name(snapshot, self.flow.listener);
        line(
            "received",
            format!("{} bytes from {} by listener {ingress}", self.message.len(), self.flow.source),
        );
        for (name, value) in self.found() {
            line(name, value);
        }
        for step in &self.steps {
            let (clause, what) = self.step(snapshot, step);
            line(clause, what);
        }
        line("decision", self.decided(snapshot));
        for edit in self.edits() {
            line("edit", edit);
        }
        if let Some(((egress, to), bytes)) = &self.leaves {
            line(
                "leaves",
                format!("{} bytes to {to} by listener {}", bytes.len(), listener_name(snapshot, *egress)),
            );
            out.push('\n');
            out.push_str(&String::from_utf8_lossy(bytes).replace("\r\n", "\n"));
        }
        out
    }

    fn json(&self, snapshot: &Snapshot) -> serde_json::Value {
        let steps: Vec<_> = self.steps.iter().map(|step| self.step(snapshot, step)).collect();
        let (decision, reason) = match self.decision {
            Decision::Forward { .. } => ("forward", None),
            Decision::Stop(Stop::Reply { reason, .. }) => ("reply", Some(reason.name())),
            Decision::Stop(Stop::Absorb(why)) => ("absorb", Some(why.name())),
            Decision::Stop(Stop::Drop(reason)) => ("drop", Some(reason.name())),
        };
        let found: serde_json::Map<_, _> = self.found().map(|(k, v)| (k.to_owned(), v.into())).collect();
        json!({
            "received": {
                "from": self.flow.source.to_string(),
                "to": self.flow.destination.to_string(),
                "listener": snapshot.listener(self.flow.listener).map(|l| &l.name),
                "bytes": self.message.len(),
            },
            "found": found,
            "steps": steps.iter().map(|(clause, what)| json!({ "step": clause, "what": what })).collect::<Vec<_>>(),
            "decision": decision,
            "reason": reason,
            "edits": self.edits().collect::<Vec<_>>(),
            "leaves": self.leaves.as_ref().map(|((egress, to), bytes)| json!({
                "listener": snapshot.listener(*egress).map(|l| &l.name),
                "to": to.to_string(),
                "message": String::from_utf8_lossy(bytes),
            })),
        })
    }

    /// What was read of the message, as far as it could be read.
    fn found(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let message = self.forwarder.message();
        let start_line = match message.start_line() {
            Some(StartLine::Request { .. }) => Some(("request", self.quote(message.start_line_span))),
            Some(StartLine::Response { .. }) => Some(("response", self.quote(message.start_line_span))),
            None => None,
        };
        let value = |name| message.field(name).map(|field| self.quote(field.value));
        let fields = [
            ("topmost_via", value(Name::Via)),
            ("call_id", value(Name::CallId)),
            ("cseq", value(Name::CSeq)),
            ("max_forwards", value(Name::MaxForwards)),
            ("route", value(Name::Route)),
        ];
        let is_sip = start_line.is_some();
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        start_line.into_iter().chain(fields.filter(move |_| is_sip))
    }

    /// A step's clause, and what it found.
    fn step(&self, snapshot: &Snapshot, step: &Step) -> (&'static str, String) {
        match step {
            Step::Source { trusted: true } => ("source", "trusted".into()),
            Step::Source { trusted: false } => ("source", "a stranger".into()),
            Step::StrictRouteUndone { uri } => (
                "16.4",
                format!("the Request-URI is a Record-Route of ours: {} takes its place", self.quote(*uri)),
            ),
            Step::Popped { value, r2, second, proof } => {
                let pair = match (r2, second) {
                    (_, true) => ", second of a pair",
                    (true, false) => ", r2=on",
                    (false, false) => "",
                };
                ("16.4", format!("popped {}: ours{pair}; seal {}", self.quote(*value), proof_text(*proof)))
            }
            Step::MaddrStripped => {
                ("16.4", "the Request-URI's maddr is ours: stripped, with port and transport".into())
            }
            Step::NextHopRoute { value, strict: false } => {
                ("16.6 step 7", format!("next hop is the topmost Route value {}", self.quote(*value)))
            }
            Step::NextHopRoute { value, strict: true } => (
                "16.6 step 6",
                format!("next hop is the strict router {}: it becomes the Request-URI", self.quote(*value)),
            ),
            Step::NextHopRequestUri => ("16.5", "next hop is the Request-URI".into()),
            Step::Rule { index } => ("16.5", format!("rule {} matches", index + 1)),
            Step::Member { set, address } => {
                let name = snapshot.target_sets.get(*set).map_or("?", |set| &set.name);
                ("16.5", format!("target set \"{name}\" gives this Call-ID to {address}"))
            }
            Step::RecordRouted { double: false } => ("16.6 step 4", "record-routed".into()),
            Step::RecordRouted { double: true } => {
                ("16.6 step 4", "record-routed twice (RFC 5658): it leaves by another listener".into())
            }
            Step::ViaFilled => ("18.2.1", "received and rport filled in the topmost Via".into()),
            Step::ViaRemoved { via, proof } => {
                ("16.7 step 3", format!("our Via {} removed; seal {}", self.quote(*via), proof_text(*proof)))
            }
        }
    }

    fn decided(&self, snapshot: &Snapshot) -> String {
        match self.decision {
            Decision::Forward { egress, to } => {
                format!("forward to {to} by listener {}", listener_name(snapshot, egress))
            }
            Decision::Stop(Stop::Reply { reason, to }) => {
                let status = match reason.status() {
                    0 => "as the rule says".to_owned(),
                    status => format!("{status} {}", reason.phrase()),
                };
                format!("reply {status} to {to} ({})", reason.name())
            }
            Decision::Stop(Stop::Absorb(why)) => format!("absorb ({})", why.name()),
            Decision::Stop(Stop::Drop(reason)) => format!("drop ({})", reason.name()),
        }
    }

    fn edits(&self) -> impl Iterator<Item = String> + '_ {
        let list = match self.decision {
            Decision::Forward { .. } => self.forwarder.edits().list(),
            _ => &[],
        };
        list.iter().map(|edit| {
            let inserted = String::from_utf8_lossy(self.forwarder.edits().inserted(edit)).into_owned();
            match (edit.delete.is_empty(), inserted.is_empty()) {
                (true, _) => format!("at {}: insert {inserted:?}", edit.delete.start),
                (false, true) => format!("at {}: delete {:?}", edit.delete.start, self.quote(edit.delete)),
                (false, false) => {
                    format!("at {}: replace {:?} by {inserted:?}", edit.delete.start, self.quote(edit.delete))
                }
            }
        })
    }
}

fn listener_name(snapshot: &Snapshot, index: ListenerIndex) -> String {
    snapshot.listener(index).map_or("?".to_owned(), |l| format!("\"{}\" ({})", l.name, l.address))
}

const fn proof_text(proof: Proof) -> &'static str {
    match proof {
        Proof::NotAsked => "not asked for",
        Proof::Absent => "absent",
        Proof::Wrong => "wrong",
        Proof::Proven => "proven",
    }
}
