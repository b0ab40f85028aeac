//! SIPp: one process that calls, one that is called, their scenarios and what they report.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{Process, tail};
use super::scratch::Scratch;
use super::trace::Trace;

/// Calls of a run.
pub(crate) const CALLS: usize = 200;
/// When SIPp gives up, in seconds. A run takes about one.
const TIMEOUT_S: u64 = 30;

/// What the two ends do with each other: the name of the pair of scenarios in `tests/sipp`, and the
/// messages of one call, in the order that each end sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    scenario: &'static str,
    /// The keys of the caller's messages.
    pub(crate) from_caller: &'static [&'static str],
    /// The keys of the callee's messages.
    pub(crate) from_callee: &'static [&'static str],
}

/// A whole call; the caller changes it by a re-INVITE and ends it.
pub(crate) const CALL: Flow = Flow {
    scenario: "call",
    from_caller: &["INVITE 1", "ACK 1", "INVITE 2", "ACK 2", "BYE 3"],
    from_callee: &["100 INVITE 1", "180 INVITE 1", "200 INVITE 1", "200 INVITE 2", "200 BYE 3"],
};
/// A whole call; the callee changes it by a re-INVITE and ends it.
pub(crate) const CALLEE_HANGS_UP: Flow = Flow {
    scenario: "callee_hangs_up",
    from_caller: &["INVITE 7", "ACK 7", "200 INVITE 1", "200 BYE 2"],
    from_callee: &["180 INVITE 7", "200 INVITE 7", "INVITE 1", "ACK 1", "BYE 2"],
};
/// The caller gives up while it rings.
pub(crate) const CANCEL: Flow = Flow {
    scenario: "cancel",
    from_caller: &["INVITE 1", "CANCEL 1", "ACK 1"],
    from_callee: &["180 INVITE 1", "200 CANCEL 1", "487 INVITE 1"],
};
/// The callee is busy.
pub(crate) const BUSY: Flow =
    Flow { scenario: "busy", from_caller: &["INVITE 1", "ACK 1"], from_callee: &["486 INVITE 1"] };
/// A phone registers.
pub(crate) const REGISTRATION: Flow =
    Flow { scenario: "registration", from_caller: &["REGISTER 1826"], from_callee: &["200 REGISTER 1826"] };
/// One end asks what the other can do.
pub(crate) const OPTIONS: Flow =
    Flow { scenario: "options", from_caller: &["OPTIONS 63104"], from_callee: &["200 OPTIONS 63104"] };
/// A whole call of two ends that live with the loss of any message: whatever is lost is sent again, no
/// provisional response is waited for, and what comes out of turn is let pass.
pub(crate) const STUBBORN: Flow = Flow { scenario: "stubborn", from_caller: &[], from_callee: &[] };

/// Who calls whom, and how.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    /// What the ends do.
    pub(crate) flow: Flow,
    /// How many calls.
    pub(crate) count: usize,
    /// How many of them begin in a second.
    pub(crate) rate: usize,
    /// The caller's address.
    pub(crate) caller: SocketAddr,
    /// The callee's address.
    pub(crate) callee: SocketAddr,
    /// Where the caller sends all its requests to.
    pub(crate) first_hop: SocketAddr,
    /// The Request-URI of requests outside a dialog.
    pub(crate) request_uri: String,
    /// How long the call lasts before its BYE.
    pub(crate) pause: Duration,
    /// How long a stubborn callee stays after it.
    pub(crate) linger: Duration,
}

impl Calls {
    /// Runs both ends to their end.
    pub(crate) fn run(&self, scratch: &Scratch) -> Ends {
        let callee = self.start_callee(scratch);
        let caller = self.start_caller(scratch);
        Ends { caller: caller.finish(self.count), callee: callee.finish(self.count) }
    }

    /// Starts the end that is called and waits until it listens.
    pub(crate) fn start_callee(&self, scratch: &Scratch) -> Sipp {
        let pause = if self.flow == STUBBORN { self.linger } else { self.pause };
        let mut sipp = self.start(scratch, "callee", self.callee, pause, &[]);
        sipp.process.wait_until("listening", |_| is_bound(self.callee));
        sipp
    }

    /// Starts the end that calls.
    pub(crate) fn start_caller(&self, scratch: &Scratch) -> Sipp {
        let (first_hop, rate) = (self.first_hop.to_string(), self.rate.to_string());
        let arguments = [&first_hop, "-r", &rate, "-key", "request_uri", &self.request_uri];
        self.start(scratch, "caller", self.caller, self.pause, &arguments)
    }

    fn start(
        &self,
        scratch: &Scratch,
        role: &str,
        local: SocketAddr,
        pause: Duration,
        arguments: &[&str],
    ) -> Sipp {
        let name = format!("{}_{role}", self.flow.scenario);
        let files = Files::of(scratch.path(), &name);
        let mut command = Command::new("sipp");
        command.args(arguments).arg("-sf").arg(scenario_file(&name));
        command.args(["-i", &local.ip().to_string(), "-p", &local.port().to_string(), "-bind_local"]);
        command.args(["-ci", "127.0.0.1", "-nostdin", "-key", "space", " "]);
        command.args(["-m", &self.count.to_string(), "-d", &pause.as_millis().to_string()]);
        if self.flow == STUBBORN {
            command.args(["-default_behaviors", "none"]);
        }
        command.args(["-timeout", &format!("{TIMEOUT_S}s"), "-timeout_error"]);
        command.arg("-trace_msg").arg("-message_file").arg(&files.messages);
        command.arg("-trace_err").arg("-error_file").arg(&files.errors);
        command.arg("-trace_stat").arg("-stf").arg(&files.statistics);
        Sipp { process: Process::start(&name, scratch.path(), &command), files }
    }
}

/// Whether some process in this thread's namespace has bound the UDP port, from the kernel's table: binding
/// it to find out would be in the way of the process that is about to.
fn is_bound(address: SocketAddr) -> bool {
    let table = if address.is_ipv4() { "udp" } else { "udp6" };
    let port = format!(":{:04X}", address.port());
    let table = fs::read_to_string(format!("/proc/thread-self/net/{table}"));
    let table = table.expect("the kernel's table of UDP sockets");
    table.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|local| local.ends_with(&port))
}

/// Where the scenarios are.
fn scenario_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sipp").join(format!("{name}.xml"))
}

/// The files that one SIPp writes.
#[derive(Debug)]
struct Files {
    messages: PathBuf,
    errors: PathBuf,
    statistics: PathBuf,
}

impl Files {
    fn of(folder: &Path, name: &str) -> Self {
        let file = |kind: &str| folder.join(format!("{name}.{kind}"));
        Self { messages: file("messages"), errors: file("errors"), statistics: file("csv") }
    }
}

/// A running SIPp.
#[derive(Debug)]
pub(crate) struct Sipp {
    process: Process,
    files: Files,
}

impl Sipp {
    /// Waits until it received this message in so many calls.
    pub(crate) fn wait_until_received(&mut self, key: &str, calls: usize) {
        let messages = &self.files.messages;
        let received =
            || Trace::read(messages).received.iter().filter(|message| message.key() == key).count();
        self.process.wait_until(&format!("through with {key}"), |_| received() >= calls);
    }

    /// Waits for its end, as [`Self::succeed`], and returns what it sent and received.
    pub(crate) fn finish(self, calls: usize) -> Trace {
        let messages = self.files.messages.clone();
        self.succeed(calls);
        Trace::read(&messages)
    }

    /// Waits for its end. All calls must have succeeded, by its exit code and by its statistics.
    pub(crate) fn succeed(mut self, calls: usize) {
        let status = self.process.wait(Duration::from_secs(TIMEOUT_S + 5));
        let statistics = fs::read_to_string(&self.files.statistics).unwrap_or_default();
        let statistics = last_statistics(&statistics);
        let count = |name: &str| statistics.get(name).map_or("none", String::as_str);
        let errors = || tail(&fs::read_to_string(&self.files.errors).unwrap_or_default());
        assert!(
            status.success(),
            "SIPp ends with {status}; its errors:\n{}{}",
            errors(),
            self.process.evidence()
        );
        assert_eq!(count("FailedCall(C)"), "0", "failed calls; SIPp's errors:\n{}", errors());
        assert_eq!(count("SuccessfulCall(C)"), calls.to_string(), "successful calls");
    }
}

/// The last line of SIPp's statistics, by the names in the first.
fn last_statistics(csv: &str) -> BTreeMap<String, String> {
    let names = csv.lines().next().unwrap_or_default().split(';');
    let values = csv.lines().next_back().unwrap_or_default().split(';');
    names.zip(values).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What both ends sent and received.
#[derive(Debug)]
pub(crate) struct Ends {
    /// The caller's trace.
    pub(crate) caller: Trace,
    /// The callee's trace.
    pub(crate) callee: Trace,
}

impl Ends {
    /// How many requests and how many responses both ends sent, retransmissions included.
    pub(crate) fn sent(&self) -> (u64, u64) {
        let sent = || self.caller.sent.iter().chain(&self.callee.sent);
        let count = |requests: bool| sent().filter(|message| message.is_request() == requests).count();
        let number = |count: usize| u64::try_from(count).expect("a count fits 64 bits");
        (number(count(true)), number(count(false)))
    }
}
