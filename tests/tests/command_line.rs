//! The command line as other programs rely on it: exit codes, what stands on which stream, and a node's life from start to stop.
//!
//! | test | claim |
//! |---|---|
//! | `check_*` | `check` exits 0 for a good file, and 78 with `FILE:LINE:COLUMN: key: ...` for a bad one; so does `run` |
//! | `explain_*` | `explain --raw` prints the bytes that the workers send; `--json` is JSON; the text names the steps |
//! | `documents_*` | `schema`, `completions`, `man`, `keygen`, `--version` print what they say |
//! | `a_second_instance_*` | a busy port is one line and exit code 1 |
//! | `a_node_*` | counters while it runs, reload by SIGHUP (a bad file changes nothing), strangers' replies limited, SIGTERM ends it with 0 |

use sluice_tests::vectors;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary under test: `SLUICE_BIN`, else the one that cargo put beside this test.
fn binary() -> PathBuf {
    let beside = || {
        let test = std::env::current_exe().expect("this test's path");
        test.parent().and_then(Path::parent).expect("a target folder").join("sluice")
    };
    let binary = std::env::var_os("SLUICE_BIN").map_or_else(beside, PathBuf::from);
    assert!(binary.exists(), "{} is missing: run `cargo build -p sluice` first", binary.display());
    binary
}

fn sluice(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).stdin(Stdio::null()).output().expect("sluice runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder of its own for a test, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sluice-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const GOOD: &str = "[[listen]]\nname = \"public\"\naddress = \"127.0.0.1:5060\"\n";

#[test]
fn check_says_yes() {
    let folder = Folder::new("check-good");
    let good = folder.write("good.toml", GOOD);
    let output = sluice(&["check", "--config", &good]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with(&format!("{good}: ok: 1 listener")));
}

#[test]
fn check_and_run_name_the_place() {
    let folder = Folder::new("check-bad");
    for (name, toml, expected) in [
        ("key", "[node]\nnmae = \"x\"\n", ":2:1: "),
        ("address", "[[listen]]\nname = \"a\"\naddress = \"127.0.0.1\"\n", ":3:11: listen[0].address: "),
        ("rule", &format!("{GOOD}[[rule]]\ntarget_set = \"none\"\n"), ":5:14: rule[0].target_set: "),
        ("syntax", "[node\n", ":1:"),
    ] {
        let bad = folder.write(&format!("{name}.toml"), toml);
        for command in ["check", "run"] {
            let output = sluice(&[command, "--config", &bad]);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{command} {name}: {error}");
            let last = error.lines().last().unwrap_or_default();
            assert!(last.contains(&format!("{name}.toml{expected}")), "{command} {name}: {error}");
        }
    }
    let output = sluice(&["check", "--config", "/nowhere/x.toml"]);
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn explain_raw_prints_what_the_workers_send() {
    let folder = Folder::new("explain");
    let key = folder.write("key", "1 000102030405060708090a0b0c0d0e0f\n");
    let port = free_port();
    let config = folder.write(
        "node.toml",
        &format!(
            "[node]\nname = \"explain\"\nkey_file = \"{key}\"\n[admin]\nsocket = \"{}/s\"\n[[listen]]\nname = \"a\"\n\
             address = \"127.0.0.1:{port}\"\n[trust]\nsources = [\"127.0.0.0/8\"]\n",
            folder.0.display()
        ),
    );
    let callee = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let caller = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let to = callee.local_addr().expect("an address");
    let from = caller.local_addr().expect("an address").to_string();
    let request = format!(
        "INVITE sip:bob@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK-1;rport\r\nFrom: <sip:a@a>;tag=1\r\n\
         To: <sip:b@b>\r\nCall-ID: explain@a\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    );
    let file = folder.write("invite.sip", &request);
    let explain = |flags: &[&str]| {
        let mut arguments = vec!["explain", "--config", &config, "--from", &from, &file];
        arguments.extend(flags);
        let output = sluice(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        output.stdout
    };

    let node = Node::start(&config);
    caller.send_to(request.as_bytes(), ("127.0.0.1", port)).expect("sent");
    callee.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let mut sent = vec![0; 65_536];
    let len = callee.recv(&mut sent).expect("the forwarded INVITE");
    assert_eq!(text(&explain(&["--raw"])), text(&sent[..len]));
    assert!(node.stop().contains("forwarded_requests 1\n"));

    let json: serde_json::Value = serde_json::from_slice(&explain(&["--json"])).expect("JSON");
    assert_eq!(json["decision"], "forward");
    assert_eq!(json["leaves"]["to"], to.to_string());
    assert_eq!(json["leaves"]["message"], text(&sent[..len]));
    let words = text(&explain(&[]));
    for expected in
        ["source       trusted", "next hop is the Request-URI", "record-routed", "decision     forward to "]
    {
        assert!(words.contains(expected), "{expected}:\n{words}");
    }
}

#[test]
fn explain_reads_standard_input_and_says_what_is_wrong() {
    let mut child = Command::new(binary())
        .args(["explain", "--from", "127.0.0.1:5090", "--raw", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sluice runs");
    let message = std::fs::read(vectors().join("canonical/options.sip")).expect("a vector");
    child.stdin.take().expect("a pipe").write_all(&message).expect("written");
    let output = child.wait_with_output().expect("ended");
    assert!(text(&output.stdout).starts_with("SIP/2.0 503 No Listener For Next Hop\r\n"));

    let output = sluice(&["explain", "--from", "127.0.0.1:5090", "--to", "127.0.0.1:9", "-"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no listener at 127.0.0.1:9; there are: 127.0.0.1:5060"));
    assert_eq!(sluice(&["explain"]).status.code(), Some(2));
}

#[test]
fn documents_are_printed() {
    let print = |arguments: &[&str]| {
        let output = sluice(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        text(&output.stdout)
    };
    let schema: serde_json::Value = serde_json::from_str(&print(&["schema"])).expect("JSON");
    for table in ["node", "listen", "trust", "routing", "target_set", "rule", "io", "admin", "replies"] {
        assert!(schema["properties"][table].is_object(), "{table}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(print(&["completions", shell]).contains("explain"));
    }
    assert!(print(&["man"]).contains(".TH sluice"));
    assert!(print(&["--version"]).starts_with("sluice "));
    let (first, second) = (print(&["keygen", "--id", "7"]), print(&["keygen", "--id", "7"]));
    assert!(first.starts_with("7 ") && first.trim().len() == 2 + 32 && first != second, "{first}{second}");
}

#[test]
fn a_second_instance_is_refused_in_one_line() {
    let folder = Folder::new("second");
    let port = free_port();
    let config = |name: &str| {
        let toml = format!(
            "[admin]\nsocket = \"{}/{name}\"\n[[listen]]\nname = \"a\"\naddress = \"127.0.0.1:{port}\"\n",
            folder.0.display()
        );
        folder.write(&format!("{name}.toml"), &toml)
    };
    let node = Node::start(&config("first"));
    let output = sluice(&["run", "--config", &config("second")]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    let expected = format!("cannot listen on 127.0.0.1:{port} (listener \"a\"): address already in use");
    assert!(error.lines().last().unwrap_or_default().starts_with(&expected), "{error}");
    node.stop();
}

#[test]
fn a_node_counts_reloads_limits_and_stops() {
    let folder = Folder::new("life");
    let (port, socket) = (free_port(), folder.0.join("s").display().to_string());
    let toml = |rule: &str| {
        format!(
            "[admin]\nsocket = \"{socket}\"\n[[listen]]\nname = \"a\"\naddress = \"127.0.0.1:{port}\"\n\
             [replies]\nper_source_per_second = 1\nburst = 5\n{rule}"
        )
    };
    let config = folder.write("node.toml", &toml(""));
    let start = Instant::now();
    let node = Node::start(&config);
    let client = Client::new(port);
    let busy_ns = || {
        let json = sluice(&["stats", "--socket", &socket, "--json"]).stdout;
        let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        u128::from(json["counters"]["busy_ns"].as_u64().expect("a number"))
    };
    assert_eq!(busy_ns(), 0, "nothing has come");

    // Strangers get their burst of replies and no more; what is not answered is counted.
    let answered = (0..20).filter(|i| client.ask("INVITE", i + 1).is_some()).count();
    assert!((5..10).contains(&answered), "{answered} of 20 answered");
    let counters = text(&sluice(&["stats", "--socket", &socket]).stdout);
    assert!(counters.contains("received 20\n"), "{counters}");
    assert!(counters.contains(&format!("replied{{no_rule}} {answered}\n")), "{counters}");
    assert!(counters.contains(&format!("dropped{{reply_rate_limited}} {}\n", 20 - answered)), "{counters}");
    assert!(counters.contains(" ns a message\n"), "{counters}");
    assert!((1..start.elapsed().as_nanos()).contains(&busy_ns()));

    // A bad file changes nothing, a good one takes effect.
    let rule = "[trust]\nsources = [\"127.0.0.0/8\"]\n[[rule]]\nreply = { status = 486 }\n";
    folder.write("node.toml", &toml("[[rule]]\nreply = { status = 200 }\n"));
    node.signal("HUP");
    assert!(node.line_with("reload").contains("node.toml:"), "the place of the fault is logged");
    assert_eq!(client.ask("MESSAGE", 50).map(|reply| status(&reply)).unwrap_or_default(), "");
    folder.write("node.toml", &toml(rule));
    node.signal("HUP");
    node.line_with("reload");
    assert_eq!(client.ask("MESSAGE", 51).map(|reply| status(&reply)).unwrap_or_default(), "486 Busy Here");

    let counters = node.stop();
    assert!(counters.contains("replied{rule_reply} 1\n"), "{counters}");
}

fn status(reply: &str) -> String {
    reply.lines().next().unwrap_or_default().trim_start_matches("SIP/2.0 ").to_owned()
}

/// Sends requests to a node on loopback and waits a little for answers.
struct Client {
    socket: UdpSocket,
    node: SocketAddr,
}

impl Client {
    fn new(port: u16) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        Self { socket, node: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    fn ask(&self, method: &str, number: u32) -> Option<String> {
        let (us, node) = (self.socket.local_addr().expect("an address"), self.node);
        let request = format!(
            "{method} sip:bob@{node} SIP/2.0\r\nVia: SIP/2.0/UDP {us};branch=z9hG4bK-{number};rport\r\n\
             From: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: {number}@a\r\nCSeq: {number} {method}\r\n\r\n"
        );
        self.socket.send_to(request.as_bytes(), node).expect("sent");
        let mut reply = vec![0; 65_536];
        let len = self.socket.recv(&mut reply).ok()?;
        Some(text(&reply[..len]))
    }
}

/// A running node, ended in any case.
struct Node {
    child: Child,
    log: std::sync::mpsc::Receiver<String>,
}

impl Node {
    /// Starts a node and waits until it is ready.
    fn start(config: &str) -> Self {
        let mut child = Command::new(binary())
            .args(["run", "--config", config])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sluice runs");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, log) = std::sync::mpsc::channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
        let node = Self { child, log };
        node.line_with("ready");
        node
    }

    /// The next line of the log that holds `word`.
    fn line_with(&self, word: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.log.recv_timeout(Duration::from_secs(10)) {
            if line.contains(word) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line with `{word}` in the log:\n{}", seen.join("\n"));
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Ends the node by SIGTERM, and returns the counters that it printed.
    fn stop(mut self) -> String {
        self.signal("TERM");
        let mut counters = String::new();
        self.child.stdout.take().expect("a pipe").read_to_string(&mut counters).expect("text");
        assert_eq!(self.child.wait().expect("ended").code(), Some(0));
        counters
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.local_addr().expect("an address").port()
}
