//! What several tests and the benches share: one node, its key, and the canonical messages.

pub mod counting;
pub mod oracles;
pub mod steering;

use sluice::edit::Edits;
use sluice::forward::Forwarder;
use sluice::io::memory::{Memory, Sent};
use sluice::io::{Flow, Io, ListenerIndex};
use sluice::proxy::identity::Authority;
use sluice::proxy::rules::{self, Action, Rule};
use sluice::proxy::seal::{Key, Keys};
use sluice::proxy::snapshot::{ListenerPlan, Plan, ReplyRate, Snapshot};
use sluice::proxy::target_set::{Member, TargetSet};
use sluice::stats::{Absorbed, Reason, Stats, Totals};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The node of the vectors: an untrusted listener `public` (192.0.2.1:5060, and IPv6 2001:db8::1 as `public6`), a trusted one `core`
/// (10.0.0.1:5060, and fd00::1 as `core6`), the domain example.com, and one rule that sends all that is for it to the target set `core`.
#[must_use]
pub fn plan() -> Plan {
    let listener = |name: &str, address: &str, trusted| ListenerPlan {
        name: name.into(),
        address: address.parse().expect("a socket address"),
        advertise: None,
        aliases: vec![],
        trusted,
    };
    let member = |address: &str| Member {
        address: address.parse().expect("a socket address"),
        weight: 100,
        down: false,
    };
    Plan {
        listeners: vec![
            listener("public", "192.0.2.1:5060", false),
            listener("core", "10.0.0.1:5060", true),
            listener("public6", "[2001:db8::1]:5060", false),
            listener("core6", "[fd00::1]:5060", true),
        ],
        trusted_sources: vec!["10.0.0.0/8".parse().expect("a prefix")],
        domains: vec![Authority::parse("example.com").expect("an authority")],
        record_route: true,
        seal_routes: true,
        seal_responses: true,
        target_sets: vec![TargetSet::new("core", vec![member("10.0.1.1:5060")], Some(CORE))],
        rules: vec![Rule {
            listeners: vec![],
            sources: vec![],
            methods: vec![],
            hosts: vec![],
            user_prefixes: vec![],
            action: Action::TargetSet(0),
            egress: None,
        }],
        reply_rate: ReplyRate { per_second: 0, burst: 0 },
        keys: Keys { current: Key::new(1, b"the vectors' key"), other: None },
    }
}

/// The listener `public`.
pub const PUBLIC: ListenerIndex = ListenerIndex(0);
/// The listener `core`.
pub const CORE: ListenerIndex = ListenerIndex(1);
/// The listener `public6`.
pub const PUBLIC6: ListenerIndex = ListenerIndex(2);
/// The listener `core6`.
pub const CORE6: ListenerIndex = ListenerIndex(3);

/// The tables of [`plan`].
///
/// # Panics
/// Never: the plan is good.
#[must_use]
pub fn snapshot() -> Snapshot {
    Snapshot::new(plan()).expect("a good plan")
}

/// How a datagram from `source` comes in by `listener` of [`plan`].
///
/// # Panics
/// `source` is no socket address, or there is no such listener.
#[must_use]
pub fn flow(source: &str, listener: ListenerIndex) -> Flow {
    let destination: SocketAddr = plan().listeners[usize::from(listener.0)].address;
    Flow { source: source.parse().expect("a socket address"), destination, listener }
}

/// What one datagram leads to: what leaves, and the counters.
#[must_use]
pub fn forward(snapshot: &Snapshot, flow: Flow, payload: &[u8]) -> (Option<Sent>, Totals) {
    let (mut forwarder, stats, mut io) = (Forwarder::new(), Stats::new(), Memory::default());
    io.push(flow, payload);
    io.breathe(&mut |datagram| forwarder.forward(snapshot, &stats, 0, datagram));
    (io.sent.pop(), stats.read())
}

/// A canonical message: its file's name under `tests/vectors/canonical`, the source it comes from, and the listener it comes in by.
pub const CANONICAL: [(&str, &str, ListenerIndex); 5] = [
    ("bye", "203.0.113.9:5060", PUBLIC),
    ("bye_r2", "203.0.113.9:5060", PUBLIC),
    ("invite", "203.0.113.9:5060", PUBLIC),
    ("200", "10.0.1.1:5060", CORE),
    ("options", "203.0.113.9:5060", PUBLIC),
];

/// The folder `tests/vectors`.
#[must_use]
pub fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// The bytes of a canonical message.
///
/// # Panics
/// There is no such file.
#[must_use]
pub fn canonical(name: &str) -> Vec<u8> {
    let path = vectors().join("canonical").join(format!("{name}.sip"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The bytes with the edits applied by the slow and obvious way.
#[must_use]
pub fn splice(bytes: &[u8], edits: &Edits) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    for edit in edits.list() {
        out.extend_from_slice(&bytes[at..edit.delete.start()]);
        out.extend_from_slice(edits.inserted(edit));
        at = edit.delete.end();
    }
    out.extend_from_slice(&bytes[at..]);
    out
}

/// The plans that vectors name: [`plan`] and its variants.
///
/// | name | what differs from `default` |
/// |---|---|
/// | `never` | no Record-Route |
/// | `unsealed` | neither routes nor responses are sealed |
/// | `key2` | sealed with key 2; key 1 still proves |
/// | `key2_only` | sealed with key 2, and key 1 is gone |
/// | `single` | the rule's requests leave by `public` |
/// | `no_rules` | no rule at all |
/// | `down` | every member of the target set is down |
/// | `rules` | see [`many_rules`] |
/// | `names` | `public` is advertised as sip.example.net, with the alias edge.example.net:5080 |
/// | `port` | `public` is bound to port 5062 |
/// | `one_listener` | `public` alone, with a next hop 203.0.113.77:5060 |
///
/// # Panics
/// There is no plan of that name.
#[must_use]
pub fn named_plan(name: &str) -> Plan {
    let mut plan = plan();
    let authority = |text: &str| Authority::parse(text).expect("an authority");
    match name {
        "default" => {}
        "never" => plan.record_route = false,
        "unsealed" => (plan.seal_routes, plan.seal_responses) = (false, false),
        "key2" => {
            let old = plan.keys.current;
            plan.keys = Keys { current: Key::new(2, b"their second key"), other: Some(old) };
        }
        "key2_only" => plan.keys = Keys { current: Key::new(2, b"their second key"), other: None },
        "single" => plan.rules[0].egress = Some(PUBLIC),
        "no_rules" => plan.rules.clear(),
        "down" => {
            let members = plan.target_sets[0].members.iter().cloned();
            let members = members.map(|member| Member { down: true, ..member }).collect();
            plan.target_sets = vec![TargetSet::new("core", members, Some(CORE))];
        }
        "rules" => plan.rules = many_rules(),
        "names" => {
            plan.listeners[0].advertise = Some(authority("sip.example.net"));
            plan.listeners[0].aliases = vec![authority("edge.example.net:5080")];
        }
        "port" => plan.listeners[0].address.set_port(5062),
        "one_listener" => {
            plan.listeners.truncate(1);
            plan.target_sets.clear();
            let hop = "203.0.113.77:5060".parse().expect("a socket address");
            plan.rules = vec![rule(Action::NextHop(hop))];
        }
        _ => panic!("no plan is called {name}"),
    }
    plan
}

/// A rule without conditions.
#[must_use]
pub const fn rule(action: Action) -> Rule {
    Rule {
        listeners: vec![],
        sources: vec![],
        methods: vec![],
        hosts: vec![],
        user_prefixes: vec![],
        action,
        egress: None,
    }
}

/// One rule for each condition and each action, in this order:
///
/// 1. MESSAGE by `core`: reply 488;
/// 2. from 198.51.100.0/24: reply 603;
/// 3. SUBSCRIBE: next hop 10.0.2.2:5070, egress `core`;
/// 4. users +49800...: redirect to two Contacts;
/// 5. host 192.0.2.1 and user gw...: next hop 203.0.113.50:5060, which leaves by the ingress;
/// 6. host example.com, INVITE (and ACK and CANCEL): target set `core`, but egress `public`;
/// 7. users v6...: next hop `[2001:db8:7::7]:5060`, egress unsaid;
/// 8. users odd...: reply 503.
///
/// # Panics
/// Never: the addresses are good.
#[must_use]
pub fn many_rules() -> Vec<Rule> {
    let hop = |text: &str| Action::NextHop(text.parse().expect("a socket address"));
    let reply = |status, phrase: &str| Action::Reply { status, phrase: phrase.into() };
    let host = |text: &str| vec![rules::parse_host(text).expect("a host")];
    let users = |prefix: &str| vec![prefix.to_owned()];
    let contacts = "Contact: <sip:hotline@198.51.100.7>\r\nContact: <sip:hotline@198.51.100.8>\r\n".into();
    vec![
        Rule { listeners: vec![CORE], methods: users("MESSAGE"), ..rule(reply(488, "Not Acceptable Here")) },
        Rule { sources: vec!["198.51.100.0/24".parse().expect("a prefix")], ..rule(reply(603, "Decline")) },
        Rule { methods: users("SUBSCRIBE"), egress: Some(CORE), ..rule(hop("10.0.2.2:5070")) },
        Rule { user_prefixes: users("+49800"), ..rule(Action::Redirect { contacts }) },
        Rule { hosts: host("192.0.2.1"), user_prefixes: users("gw"), ..rule(hop("203.0.113.50:5060")) },
        Rule {
            hosts: host("example.com"),
            methods: users("INVITE"),
            egress: Some(PUBLIC),
            ..rule(Action::TargetSet(0))
        },
        Rule { user_prefixes: users("v6"), ..rule(hop("[2001:db8:7::7]:5060")) },
        Rule { user_prefixes: users("odd"), ..rule(reply(503, "Odd Users Are Closed")) },
    ]
}

/// The listener of [`plan`] called `name`.
///
/// # Panics
/// There is no such listener.
#[must_use]
pub fn listener(name: &str) -> ListenerIndex {
    let at = plan().listeners.iter().position(|listener| listener.name == name);
    ListenerIndex(at.unwrap_or_else(|| panic!("no listener is called {name}")) as u16)
}

/// What became of one datagram, in one line: `forward LISTENER TO`, `reply STATUS REASON TO`, `absorb WHY` or `drop REASON`.
///
/// # Panics
/// The counters do not balance, or the counters and what was sent tell different stories.
#[must_use]
pub fn fate(snapshot: &Snapshot, sent: Option<&Sent>, totals: &Totals) -> String {
    assert!(totals.balance(), "received is not the sum of all fates: {totals:?}");
    let replied = Reason::ALL.iter().find(|reason| totals.replied(**reason) == 1);
    if let Some(Sent { egress, to, payload }) = sent {
        if let Some(reason) = replied {
            let status = String::from_utf8_lossy(payload.get(8..11).unwrap_or_default()).into_owned();
            return format!("reply {status} {} {to}", reason.name());
        }
        let name = snapshot.listener(*egress).map_or("nowhere", |listener| &*listener.name);
        return format!("forward {name} {to}");
    }
    let absorbed = Absorbed::ALL.iter().find(|why| totals.absorbed(**why) == 1);
    let dropped = Reason::ALL.iter().find(|reason| totals.dropped(**reason) == 1);
    match (absorbed, dropped) {
        (Some(why), None) => format!("absorb {}", why.name()),
        (None, Some(reason)) => format!("drop {}", reason.name()),
        fates => panic!("nothing was sent, and the counters say {fates:?}"),
    }
}

/// Every file under a folder, with its bytes, ordered by path. Empty where there is no such folder.
#[must_use]
pub fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// The folder of the RFC 4475 and 5118 messages, which lie beside the project; a user's clone has none.
#[must_use]
pub fn corpora() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    path.is_dir().then_some(path)
}

/// A vector: a file under `tests/vectors/golden` that says what goes in and what must come of it.
///
/// The file begins with what the vector is about. Then come sections, each opened by a line `--- ...`:
///
/// ```text
/// --- given SOURCE LISTENER [config=NAME]                  a message sent before; any number of these
/// --- input SOURCE LISTENER [config=NAME] [branch=same|other]
/// --- forward LISTENER TO | reply STATUS REASON TO | absorb WHY | drop REASON       and the bytes that leave
/// ```
///
/// In messages a line end stands for CRLF. `\` at the end of a line joins it to the next without one; `\r`, `\n`, `\t`, `\xNN` and `\\` are bytes. In the
/// messages that go in, `{...}` is replaced by what left for the message before: `{via}` its topmost Via, `{next}` the Via below that, `{rr1}` and `{rr2}` the URIs of its
/// Record-Routes, `{tag}` its To tag, and `{NAME^}` the same with its last hexadecimal digit changed. `{repeat N TEXT}` is TEXT (with escapes) N times.
/// `branch=same` demands that our Via has the branch that the message before got, `branch=other` that it has not.
#[derive(Clone, Debug)]
pub struct Vector {
    /// Its path below the folder, without extension.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it proves.
    pub about: String,
    /// The messages that go in, in order; the last one is the one that matters.
    pub inputs: Vec<Input>,
    /// What becomes of the last one, as [`fate`] says it.
    pub fate: String,
    /// What leaves.
    pub output: Vec<u8>,
}

/// A message of a [`Vector`], and how it comes in.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its source and listener.
    pub flow: Flow,
    /// The name of the plan.
    pub config: String,
    /// Whether our Via has the branch of the message before: same, other, or nothing said.
    pub branch: Option<bool>,
    /// The message's text.
    pub text: String,
}

/// All vectors of `tests/vectors/golden/FOLDER`, or of all folders where that is empty.
///
/// # Panics
/// One of them is not well formed.
#[must_use]
pub fn golden(folder: &str) -> Vec<Vector> {
    let root = vectors().join("golden");
    let files = files_below(&root.join(folder));
    files.into_iter().map(|(path, bytes)| Vector::read(&root, path, &bytes)).collect()
}

impl Vector {
    fn read(root: &Path, path: PathBuf, bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.strip_prefix(root).unwrap_or(&path).with_extension("").display().to_string();
        let mut sections = text.split("\n--- ").peekable();
        let about = sections.next().unwrap_or_default().trim().to_owned();
        let mut vector = Self { name, path, about, inputs: vec![], fate: String::new(), output: vec![] };
        while let Some(section) = sections.next() {
            assert!(vector.fate.is_empty(), "{}: a section after the expectation", vector.name);
            let (head, body) = section.split_once('\n').unwrap_or((section, ""));
            // The line end before the next section is the last one of this body, if there is a body.
            let line_end = if section.len() > head.len() && sections.peek().is_some() { "\n" } else { "" };
            let body = format!("{body}{line_end}");
            match head.split_once(' ') {
                Some(("given" | "input", rest)) => vector.inputs.push(Input::read(rest, &body)),
                _ => (vector.fate, vector.output) = (head.to_owned(), unescape(&body)),
            }
        }
        assert!(
            !vector.fate.is_empty() && !vector.inputs.is_empty(),
            "{}: sections are missing",
            vector.name
        );
        vector
    }

    /// Sends all messages in, and returns the bytes that went in last, their fate, and what left.
    ///
    /// # Panics
    /// The counters do not balance, or the branch is not as the vector says.
    #[must_use]
    pub fn run(&self) -> (Vec<u8>, String, Vec<u8>) {
        let mut last = (Vec::new(), String::new(), Vec::new());
        for input in &self.inputs {
            let snapshot = Snapshot::new(named_plan(&input.config)).expect("a good plan");
            let payload = unescape(&fill(&input.text, &last.2));
            let (sent, totals) = forward(&snapshot, input.flow, &payload);
            let fate = fate(&snapshot, sent.as_ref(), &totals);
            let output = sent.map(|sent| sent.payload).unwrap_or_default();
            if let Some(same) = input.branch {
                let (before, now) = (branch_of(&last.2), branch_of(&output));
                assert_eq!(before == now, same, "{}: branches {before} and {now}", self.name);
            }
            last = (payload, fate, output);
        }
        last
    }

    /// Writes the file anew with another output.
    ///
    /// # Errors
    /// The file cannot be written.
    ///
    /// # Panics
    /// The file holds no expectation.
    pub fn bless(&self, output: &[u8]) -> std::io::Result<()> {
        let text = std::fs::read_to_string(&self.path)?;
        let head = format!("\n--- {}", self.fate);
        let at = text.rfind(&head).expect("the expectation") + head.len();
        std::fs::write(&self.path, format!("{}\n{}", &text[..at], escape(output)))
    }
}

impl Input {
    fn read(head: &str, body: &str) -> Self {
        let mut words = head.split(' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("a word is missing: {head}"));
        let (source, listener_name) = (word(), word());
        let (mut config, mut branch) = ("default".to_owned(), None);
        for option in words {
            match option.split_once('=') {
                Some(("config", name)) => name.clone_into(&mut config),
                Some(("branch", same)) => branch = Some(same == "same"),
                _ => panic!("{option} is no option"),
            }
        }
        let listener = listener(listener_name);
        let destination = named_plan(&config).listeners[usize::from(listener.0)].address;
        let flow = Flow { source: source.parse().expect("a source"), destination, listener };
        Self { flow, config, branch, text: body.to_owned() }
    }
}

/// The text with its `{...}` replaced by what `before` holds.
fn fill(text: &str, before: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once('{') {
        let (word, tail) = tail.split_once('}').expect("a closing brace");
        out.push_str(head);
        if let Some((count, piece)) = word.strip_prefix("repeat ").and_then(|rest| rest.split_once(' ')) {
            out.push_str(&piece.repeat(count.parse().expect("a count")));
        } else {
            let mut value = learned(word.trim_end_matches('^'), before);
            if word.ends_with('^') {
                let last = if value.pop() == Some('0') { '1' } else { '0' };
                value.push(last);
            }
            out.push_str(&value);
        }
        rest = tail;
    }
    out + rest
}

/// What `{word}` stands for after `message` left.
fn learned(word: &str, message: &[u8]) -> String {
    let text = escape(message);
    let nth = |name: &str, n: usize| {
        let value = text.lines().filter_map(|line| line.strip_prefix(name)).nth(n);
        value.unwrap_or_else(|| panic!("{{{word}}}: what left holds none:\n{text}")).to_owned()
    };
    match word {
        "via" => nth("Via: ", 0),
        "next" => nth("Via: ", 1),
        "rr1" => nth("Record-Route: ", 0).trim_matches(['<', '>']).to_owned(),
        "rr2" => nth("Record-Route: ", 1).trim_matches(['<', '>']).to_owned(),
        "tag" => nth("To: ", 0).rsplit(";tag=").next().unwrap_or_default().to_owned(),
        _ => panic!("{{{word}}} stands for nothing"),
    }
}

/// The branch of the topmost Via, which is ours.
fn branch_of(message: &[u8]) -> String {
    let via = learned("via", message);
    via.split(';').find_map(|param| param.strip_prefix("branch=")).expect("a branch").to_owned()
}

/// The bytes that a vector's text stands for.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => out.extend_from_slice(b"\r\n"),
            b'\\' => match bytes.next() {
                Some(b'\n') | None => {}
                Some(b'n') => out.push(b'\n'),
                Some(b'r') => out.push(b'\r'),
                Some(b't') => out.push(b'\t'),
                Some(b'x') => {
                    let mut digit =
                        || bytes.next().and_then(|d| char::from(d).to_digit(16)).expect("a digit");
                    out.push((digit() << 4 | digit()) as u8);
                }
                Some(other) => out.push(other),
            },
            other => out.push(other),
        }
    }
    out
}

/// The text that stands for these bytes in a vector. Space and `-` are escaped only where a reader could miss or mistake them.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (i, byte) in bytes.iter().enumerate() {
        let ends_line = bytes[i + 1..].starts_with(b"\r\n") || i + 1 == bytes.len();
        let begins_line = i == 0 || bytes[..i].ends_with(b"\r\n");
        match byte {
            b'\r' if bytes[i + 1..].starts_with(b"\n") => {}
            b'\n' if i > 0 && bytes[i - 1] == b'\r' => out.push('\n'),
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            b' ' if ends_line => out.push_str("\\x20"),
            b'-' if begins_line && bytes[i..].starts_with(b"--- ") => out.push_str("\\x2d"),
            0x20..=0x7e => out.push(char::from(*byte)),
            other => {
                let _ = write!(out, "\\x{other:02x}");
            }
        }
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push_str("\\\n");
    }
    out
}

/// The lines that differ: those only in `expected` behind `-`, those only in `got` behind `+`, the others behind two spaces.
#[must_use]
pub fn line_diff(expected: &[u8], got: &[u8]) -> String {
    let (expected, got) = (escape(expected), escape(got));
    let (a, b): (Vec<_>, Vec<_>) = (expected.lines().collect(), got.lines().collect());
    // Lengths of the longest common subsequences of all tails.
    let mut common = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            let skip = common[i + 1][j].max(common[i][j + 1]);
            common[i][j] = if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { skip };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < a.len() || j < b.len() {
        let (mark, line) = if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
            (' ', a[i - 1])
        } else if i < a.len() && (j == b.len() || common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', a[i - 1])
        } else {
            j += 1;
            ('+', b[j - 1])
        };
        let _ = writeln!(out, "{mark} {line}");
    }
    out
}
