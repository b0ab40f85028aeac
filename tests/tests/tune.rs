//! `scripts/tune` as an operator uses it. The fast half runs it in a made-up machine (a folder, with an `ethtool` that answers from
//! files) that has what virtual devices lack: interrupts, RSS, rings, NUMA nodes, isolated CPUs, governors. The other half runs it on a
//! pair of veths with four queues each, in a network namespace of its own.
//!
//! | test | claim |
//! |---|---|
//! | `arguments` | a bad argument is exit code 2 and a line that names it; an interface that is not there is 1 |
//! | `machine::*` | the commands are the right ones, for each driver's names; what is undone is as it was; a failure names the command |
//! | `veth::*` | a dry run changes nothing; set sets, twice the same; undo restores every value; what veth lacks is said and no failure |

#[path = "tune/fake.rs"]
mod fake;
#[path = "tune/machine.rs"]
mod machine;
#[path = "tune/veth.rs"]
mod veth;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn script() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/tune");
    path.canonicalize().expect("scripts/tune is there")
}

/// What a run of `scripts/tune` left.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    /// Commands, or what `show` shows.
    printed: String,
    /// What is said about them.
    said: String,
}

impl Ran {
    fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self { code: status.code(), printed: text(stdout), said: text(stderr) }
    }

    /// The lines printed, of a run that went well.
    #[track_caller]
    fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.printed.lines().collect()
    }

    #[track_caller]
    fn says(&self, line: &str) {
        assert!(self.said.lines().any(|said| said == line), "no line {line:?}: {self:#?}");
    }

    #[track_caller]
    fn fails_with(&self, code: i32, text: &str) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.said.lines().count(), 1, "one line: {self:#?}");
        assert_eq!(self.said.trim_end(), format!("scripts/tune: {text}"));
        assert_eq!(self.printed, "");
    }
}

#[test]
fn arguments() {
    let machine = fake::Machine::new("arguments");
    machine.nic("eth0");
    let cases = [
        ("", 2, "what to do? show, set or --undo; see --help"),
        ("show", 2, "show needs an interface; see --help"),
        ("eth0", 2, "what to do? show, set or --undo; see --help"),
        ("set --cpus 1", 2, "set needs an interface; see --help"),
        ("set eth0 --quick", 2, "--quick: no such option; see --help"),
        ("set eth0 --queues", 2, "--queues needs a value; see --help"),
        ("set eth0 --queues 0", 2, "--queues 0: a number from 1 to 1024 is wanted; see --help"),
        ("set eth0 --queues four", 2, "--queues four: a number from 1 to 1024 is wanted; see --help"),
        ("set eth0 --rings -1", 2, "--rings -1: a number from 1 to 1048576 is wanted; see --help"),
        (
            "set eth0 --huge-pages 1.5",
            2,
            "--huge-pages 1.5: a number from 0 to 1048576 is wanted; see --help",
        ),
        ("set eth0 --cpus 1,", 2, "--cpus 1,: a list is as 2-5 or 0,2-3; see --help"),
        ("set eth0 --cpus 5-2", 2, "--cpus 5-2: the range 5-2 runs backwards; see --help"),
        ("set eth0 --cpus 1-3,2", 2, "--cpus 1-3,2: CPU 2 stands there twice; see --help"),
        ("set eth0 --cpus 1024", 2, "--cpus 1024: CPUs are from 0 to 1023; see --help"),
        ("set eth0 --governor a;b", 2, "--governor a;b: not a governor's name; see --help"),
        (
            "set eth0 --busy-poll --no-busy-poll",
            2,
            "--busy-poll and --no-busy-poll exclude each other; see --help",
        ),
        ("show eth0 --queues 2", 2, "show takes no settings; see --help"),
        ("--undo eth0 --queues 2", 2, "undo takes no settings; see --help"),
        ("set eth0 --undo", 2, "set and undo exclude each other; see --help"),
        ("show ../eth0", 2, "\"../eth0\" is not the name of an interface; see --help"),
        ("show eth9", 1, "eth9: no such interface"),
        ("set eth0 eth9 --queues 2", 1, "eth9: no such interface"),
        ("--undo eth9", 1, "eth9: no such interface"),
        ("set eth0 --cpus 15-16", 1, "CPU 16 is not there; online: 0-15"),
        ("set eth0 --queues 65", 1, "eth0: 65 queues are wanted, and the device has at most 64"),
        ("set eth0 --rings 8161", 1, "eth0: rings of 8161 are wanted, and the device has at most 8160"),
        ("set eth0 --cpus 10 --governor fast", 1, "CPU 10: no governor fast; it has performance powersave"),
    ];
    let before = machine.files();
    for (arguments, code, text) in cases {
        machine.tune(arguments).fails_with(code, text);
    }
    assert_eq!(machine.files(), before);
    assert!(machine.set_by_ethtool().is_empty());

    let help = machine.tune("--help");
    assert!(help.lines()[0].starts_with("Usage: scripts/tune show INTERFACE..."), "{help:#?}");
}
