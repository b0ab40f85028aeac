//! On veths: `near` and `far`, four queues each, in a namespace that is gone with the test.
//!
//! A veth has queues, busy polling settings and offloads. It has no rings, interrupts, RSS, NUMA node.

use super::{Ran, script};
use std::env;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::thread;

struct Namespace(String);

impl Namespace {
    /// Says what is missing where this cannot be had; in CI that is a failure.
    fn new(name: &str) -> Option<Self> {
        if let Some(missing) = missing() {
            assert!(env::var_os("CI").is_none(), "CI must not skip a test: {missing}");
            // Not `eprintln!`, which the test runner keeps to itself when the test passes.
            let test = thread::current().name().unwrap_or("a test").to_owned();
            let _ = writeln!(io::stderr(), "SKIPPED {test}: {missing}");
            return None;
        }
        let namespace = Self(format!("sluice-tune-{name}-{}", std::process::id()));
        assert!(namespace.ip("netns add").is_some_and(|ran| ran.code == Some(0)), "no network namespace");
        namespace.run("ip link add near numtxqueues 4 numrxqueues 4 type veth peer name far numtxqueues 4 numrxqueues 4");
        namespace.run("ip link set near up");
        namespace.run("ip link set far up");
        Some(namespace)
    }

    fn ip(&self, words: &str) -> Option<Ran> {
        Some(Ran::of(Command::new("ip").args(words.split(' ')).arg(&self.0)))
    }

    /// Runs it inside, where /sys shows the namespace's interfaces.
    fn inside(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]);
        command
    }

    fn run(&self, words: &str) -> String {
        let ran = Ran::of(self.inside().args(words.split(' ')));
        assert_eq!(ran.code, Some(0), "{words}: {ran:#?}");
        ran.printed
    }

    fn tune(&self, arguments: &str) -> Ran {
        Ran::of(self.inside().arg(script()).args(arguments.split(' ')).env_remove("SLUICE_TUNE_ROOT"))
    }

    /// All that ethtool and sysfs say about both interfaces, but counters and the time they are up.
    fn state(&self) -> String {
        let ask = "for i in near far; do ethtool -l $i; ethtool -k $i; cd /sys/class/net/$i; \
                   head -n99 mtu flags napi_defer_hard_irqs gro_flush_timeout threaded queues/*/[rx]ps_cpus; done";
        Ran::of(self.inside().args(["sh", "-c", ask])).printed
    }

    fn queues(&self, interface: &str) -> usize {
        self.run(&format!("ls /sys/class/net/{interface}/queues"))
            .lines()
            .filter(|name| name.starts_with("rx-"))
            .count()
    }

    fn polling(&self, interface: &str) -> (String, String) {
        let read = |name| self.run(&format!("cat /sys/class/net/{interface}/{name}")).trim().to_owned();
        (read("napi_defer_hard_irqs"), read("gro_flush_timeout"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let undo = |command: &mut Command| {
            let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        };
        undo(self.inside().arg(script()).args(["--undo", "near", "far"]));
        undo(Command::new("ip").args(["netns", "delete", &self.0]));
    }
}

fn missing() -> Option<String> {
    for (program, package) in [("ip", "iproute2"), ("ethtool", "ethtool")] {
        let answer = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if answer.is_err() {
            return Some(format!("{program} is not installed (Debian: {package})"));
        }
    }
    let id = Command::new("id").arg("-u").output().ok()?;
    (id.stdout != b"0\n").then(|| "network namespaces need root".to_owned())
}

fn configuration(cpus: &str) -> String {
    format!("near: for the configuration: node.cpus = \"{cpus}\"")
}

#[test]
fn a_dry_run_prints_and_changes_nothing() {
    let Some(namespace) = Namespace::new("dry") else { return };
    let before = namespace.state();
    let ran = namespace.tune("set near far --cpus 0 --busy-poll --dry-run");
    let commands = |interface: &str| {
        [
            format!("ethtool -L {interface} rx 1 tx 1"),
            format!("echo 2 > /sys/class/net/{interface}/napi_defer_hard_irqs"),
            format!("echo 200000 > /sys/class/net/{interface}/gro_flush_timeout"),
        ]
    };
    assert_eq!(ran.lines(), [commands("near"), commands("far")].concat());
    assert_eq!(namespace.state(), before);
    namespace.tune("--undo near").says("near: nothing to undo");
    // What was printed does, pasted into a shell, what set does.
    let pasted = Ran::of(namespace.inside().args(["sh", "-ec", &ran.printed]));
    assert_eq!(pasted.code, Some(0), "{pasted:#?}");
    let after = namespace.state();
    assert_ne!(after, before);
    assert!(namespace.tune("set near far --cpus 0 --busy-poll").lines().is_empty());
    assert_eq!(namespace.state(), after);
}

#[test]
fn set_sets_and_undo_restores() {
    let Some(namespace) = Namespace::new("undo") else { return };
    namespace.run("ethtool -L near rx 3 tx 2");
    let write = [
        "sh",
        "-c",
        "echo 7 > /sys/class/net/near/napi_defer_hard_irqs; echo 90000 > /sys/class/net/near/gro_flush_timeout",
    ];
    assert_eq!(Ran::of(namespace.inside().args(write)).code, Some(0));
    let before = namespace.state();

    let set = namespace.tune("set near --queues 2 --cpus 0 --busy-poll");
    assert_eq!(set.lines().len(), 3, "{set:#?}");
    set.says(&configuration("0"));
    assert_eq!(namespace.queues("near"), 2);
    assert_eq!(namespace.queues("far"), 4);
    assert_eq!(namespace.polling("near"), ("2".to_owned(), "200000".to_owned()));

    let after = namespace.state();
    let again = namespace.tune("set near --queues 2 --cpus 0 --busy-poll");
    assert!(again.lines().is_empty(), "nothing is left to do: {again:#?}");
    assert_eq!(namespace.state(), after);

    namespace.tune("set near --queues 4 --cpus 0 --no-busy-poll").lines();
    assert_eq!(namespace.queues("near"), 4);
    assert_eq!(namespace.polling("near"), ("0".to_owned(), "0".to_owned()));

    let undone = namespace.tune("--undo near");
    assert_eq!(undone.lines().len(), 3, "{undone:#?}");
    assert_eq!(namespace.state(), before);
    let again = namespace.tune("--undo near");
    assert!(again.lines().is_empty());
    again.says("near: nothing to undo");
    assert_eq!(namespace.state(), before);
}

#[test]
fn what_a_veth_lacks_is_said() {
    let Some(namespace) = Namespace::new("lacks") else { return };
    let ran = namespace.tune("set near --cpus 0 --rings 512");
    assert_eq!(ran.lines(), ["ethtool -L near rx 1 tx 1"]);
    for lacks in
        ["choice of what spreads udp4", "choice of what spreads udp6", "ring sizes", "interrupts of queues"]
    {
        ran.says(&format!("near: driver veth has no {lacks}: left alone"));
    }
    let ran = namespace.tune("set lo --queues 2 --cpus 0 --rings 512 --busy-poll --dry-run");
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    ran.says("lo: driver (unknown) has no queues to set: left alone");
    namespace
        .tune("set near --queues 5")
        .fails_with(1, "near: 5 queues are wanted, and the device has at most 4");
    namespace.tune("show middle").fails_with(1, "middle: no such interface");
    // An interface of another namespace is none here.
    namespace.tune("set far near0 --queues 1").fails_with(1, "near0: no such interface");
}

#[test]
fn show_shows() {
    let Some(namespace) = Namespace::new("show") else { return };
    let ran = namespace.tune("show near far");
    let lines = ran.lines();
    assert!(lines[0].starts_with("near: driver veth, bus none, up"), "{ran:#?}");
    assert!(lines.iter().any(|line| line.starts_with("far: driver veth")), "{ran:#?}");
    for line in [
        "  queues          rx 4 (at most 4), tx 4 (at most 4)",
        "  rings           none",
        "  interrupts      none",
        "  busy polling    napi_defer_hard_irqs 0, gro_flush_timeout 0 ns",
        "  XDP program     none",
    ] {
        assert_eq!(lines.iter().filter(|shown| **shown == line).count(), 2, "{line}: {ran:#?}");
    }
    assert!(lines[1].starts_with("  NUMA node       not known, CPUs 0"), "{ran:#?}");
    assert!(lines.iter().any(|line| line.starts_with("  ! rx-vlan-offload is on")), "{ran:#?}");
}
