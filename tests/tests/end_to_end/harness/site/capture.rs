//! All that nodes send, written down by tcpdump in the namespace of the ends, and read by tshark.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::super::process::Process;
use super::Network;

/// What must not be found: a checksum that is not right, and whatever tshark takes for an error.
const FAULTS: &str = "udp.checksum.status == \"Bad\" || ip.checksum.status == \"Bad\" || _ws.malformed \
                      || _ws.expert.severity == \"Error\"";
/// What a fault is shown by.
const FIELDS: [&str; 8] = [
    "frame.number",
    "eth.src",
    "_ws.col.Source",
    "_ws.col.Destination",
    "udp.checksum.status",
    "ip.checksum.status",
    "_ws.expert.message",
    "_ws.col.Info",
];

/// tcpdump on both bridges.
#[derive(Debug)]
pub(super) struct Capture {
    dumps: [Process; 2],
    folder: std::path::PathBuf,
}

impl Capture {
    /// Starts in the namespace that this thread is in, that of the ends.
    pub(super) fn start(folder: &Path) -> Self {
        let dumps = Network::ALL.map(|network| {
            let bridge = network.name();
            let mut command = Command::new("tcpdump");
            // What comes in: what a node sent. Only so also what one node sends to another.
            command.args([
                "-i",
                bridge,
                "-Q",
                "in",
                "-Z",
                "root",
                "-B",
                "16384",
                "-s",
                "2048",
                "--immediate-mode",
                "-U",
            ]);
            command.args(["-w", &file(bridge)]);
            let mut dump = Process::start(&format!("tcpdump-{bridge}"), folder, &command);
            dump.wait_until("listening", |dump| dump.stderr().contains("listening on"));
            dump
        });
        Self { dumps, folder: folder.to_owned() }
    }

    /// Stops, and has tshark look at each frame: none may have a bad checksum or be malformed.
    pub(super) fn assert_sound(self) {
        let mut seen = 0;
        for (mut dump, network) in self.dumps.into_iter().zip(Network::ALL) {
            dump.terminate();
            dump.wait(Duration::from_secs(10));
            let says = dump.stderr();
            assert!(says.contains("\n0 packets dropped by kernel"), "tcpdump saw all: {says}");
            let faults = tshark(&self.folder.join(file(network.name())), FAULTS);
            assert!(faults.is_empty(), "faults in what nodes sent, {}:\n{faults}", network.name());
            seen += usize::from(
                !says.contains("\n0 packets captured") && !says.starts_with("0 packets captured"),
            );
        }
        assert!(seen > 0, "the nodes sent something");
    }
}

fn file(bridge: &str) -> String {
    format!("{bridge}.pcap")
}

/// The frames that a filter finds, each as a line.
fn tshark(file: &Path, filter: &str) -> String {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(file).args(["-Y", filter, "-T", "fields"]);
    command.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    command.args(["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]);
    command.args(["-d", "udp.port==1024-65535,sip"]);
    let output =
        command.output().unwrap_or_else(|error| panic!("tshark (Debian: tshark) does not start: {error}"));
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
