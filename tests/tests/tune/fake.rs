//! A machine in a folder: 16 CPUs on two nodes, two threads a core (n and n + 8 on node n / 4 mod 2), and `ethtool` and `ip` that answer from files.

use super::{Ran, script};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) struct Machine {
    folder: PathBuf,
}

/// Answers from the file that is named like its arguments; else what sets something is written down, or refused if `refuse` says
/// so, and what asks for something is not supported.
const ETHTOOL: &str = r#"#!/bin/sh
answers=$SLUICE_TUNE_ROOT/ethtool
file=$answers/$(echo "$*" | tr ' ' _)
[ ! -e "$file" ] || exec cat "$file"
case $1 in
    -[LXNG])
        if [ -e "$answers/refuse" ]; then cat "$answers/refuse" >&2; exit 1; fi
        echo "ethtool $*" >>"$answers/done" ;;
    *) echo "netlink error: Operation not supported" >&2; exit 1 ;;
esac
"#;

impl Machine {
    pub(super) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sluice-tune-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let machine = Self { folder };
        machine.program("ethtool", ETHTOOL);
        machine.program("ip", "#!/bin/sh\ncat \"$SLUICE_TUNE_ROOT/ip\" 2>/dev/null\n");
        machine.write("ethtool/done", "");
        machine.write("proc/meminfo", "MemTotal:  1000 kB\nHugepagesize:       2048 kB\n");
        machine.write("proc/interrupts", "           CPU0       CPU1\n");
        machine.write("sys/devices/system/cpu/online", "0-15\n");
        machine.write("sys/devices/system/cpu/isolated", "\n");
        machine.write("sys/devices/system/node/online", "0-1\n");
        for cpu in 0..16 {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}");
            let siblings = format!("{},{}\n", cpu % 8, cpu % 8 + 8);
            machine.write(&format!("{folder}/topology/thread_siblings_list"), &siblings);
            machine.write(&format!("{folder}/cpufreq/scaling_governor"), "powersave\n");
            machine
                .write(&format!("{folder}/cpufreq/scaling_available_governors"), "performance powersave\n");
        }
        for node in 0..2 {
            let folder = format!("sys/devices/system/node/node{node}/hugepages/hugepages-2048kB");
            machine.write(&format!("{folder}/nr_hugepages"), "16\n");
            machine.write(&format!("{folder}/free_hugepages"), "9\n");
        }
        machine
    }

    /// A NIC on node 1 (CPUs 4 to 7 and 12 to 15) with 8 of 64 queues, whose interrupts are 100 to 107; 99 and 108 do other things.
    pub(super) fn nic(&self, interface: &str) {
        let device = self.device(interface, "4-7,12-15", 1);
        let names: Vec<_> = (0..8).map(|queue| format!("ice-{interface}-TxRx-{queue}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        self.interrupts(
            &device,
            99,
            &[&["ice-0000:3b:00.0:misc"], &names[..], &["ice-0000:3b:00.0:fdir-TxRx-0"]].concat(),
        );
        self.answer(&format!("-i {interface}"), "driver: ice\nversion: 6.8.0\nbus-info: 0000:3b:00.0\n");
        self.channels(interface, 8);
        let rings = "Pre-set maximums:\nRX:\t\t8160\nRX Mini:\tn/a\nTX:\t\t8160\nCurrent hardware settings:\nRX:\t\t2048\nRX Mini:\tn/a\nTX:\t\t256\n";
        self.answer(&format!("-g {interface}"), rings);
        self.table(interface, 8, &[0, 1, 2, 3, 4, 5, 6, 7].repeat(8));
        let hash = |fields: &str| {
            format!("UDP over IPV4 flows use these fields for computing Hash flow key:\n{fields}\n\n")
        };
        self.answer(&format!("-n {interface} rx-flow-hash udp4"), &hash("IP SA\nIP DA"));
        let all = hash("IP SA\nIP DA\nL4 bytes 0 & 1 [TCP/UDP src port]\nL4 bytes 2 & 3 [TCP/UDP dst port]");
        self.answer(&format!("-n {interface} rx-flow-hash udp6"), &all);
    }

    /// An interface and its device, without what only drivers know.
    pub(super) fn device(&self, interface: &str, cpus: &str, node: i32) -> String {
        let device = format!("sys/devices/pci0000:3a/{interface}");
        self.write(&format!("{device}/numa_node"), &format!("{node}\n"));
        self.write(&format!("{device}/local_cpulist"), &format!("{cpus}\n"));
        self.interface(interface);
        let link = self.path(&format!("sys/class/net/{interface}/device"));
        symlink(self.path(&device), link).expect("a link");
        device
    }

    pub(super) fn interface(&self, interface: &str) {
        let index = interface.bytes().map(u32::from).sum::<u32>().to_string();
        let files = [
            ("ifindex", index.as_str()),
            ("operstate", "up"),
            ("speed", "25000"),
            ("mtu", "1500"),
            ("napi_defer_hard_irqs", "0"),
            ("gro_flush_timeout", "0"),
        ];
        for (name, value) in files {
            self.write(&format!("sys/class/net/{interface}/{name}"), &format!("{value}\n"));
        }
    }

    /// Interrupts of these names, numbered from `first` on, each to all CPUs.
    pub(super) fn interrupts(&self, device: &str, first: usize, names: &[&str]) {
        let mut table = self.read("proc/interrupts");
        for (irq, name) in (first..).zip(names) {
            table +=
                &format!(" {irq}:          0         17  PCI-MSIX-0000:3b:00.0   {irq}-edge      {name}\n");
            self.write(&format!("{device}/msi_irqs/{irq}"), "msix\n");
            self.write(&format!("proc/irq/{irq}/smp_affinity_list"), "0-15\n");
        }
        self.write("proc/interrupts", &table);
    }

    pub(super) fn channels(&self, interface: &str, now: usize) {
        let text = |most, now| {
            format!(
                "Pre-set maximums:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\t1\nCombined:\t{most}\nCurrent hardware settings:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\t1\nCombined:\t{now}\n"
            )
        };
        self.answer(&format!("-l {interface}"), &text(64, now));
    }

    /// The RSS table, as ethtool prints it.
    pub(super) fn table(&self, interface: &str, queues: usize, entries: &[usize]) {
        let mut text = format!("RX flow hash indirection table for {interface} with {queues} RX ring(s):\n");
        for (row, entries) in entries.chunks(8).enumerate() {
            let entries: String = entries.iter().map(|entry| format!(" {entry:>5}")).collect();
            text += &format!("{:>5}: {entries}\n", row * 8);
        }
        text += "RSS hash key:\n12:34:56\nRSS hash function:\n    toeplitz: on\n";
        self.answer(&format!("-x {interface}"), &text);
    }

    /// What ethtool says to these arguments.
    pub(super) fn answer(&self, arguments: &str, text: &str) {
        self.write(&format!("ethtool/{}", arguments.replace(' ', "_")), text);
    }

    pub(super) fn tune(&self, arguments: &str) -> Ran {
        let programs =
            format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(script());
        command
            .args(arguments.split_whitespace())
            .env("PATH", programs)
            .env("SLUICE_TUNE_ROOT", &self.folder);
        let mut ran = Ran::of(&mut command);
        // The folder's name only makes paths longer.
        for text in [&mut ran.printed, &mut ran.said] {
            *text = text.replace(&self.folder.display().to_string(), "");
        }
        ran
    }

    /// What was set, as commands of ethtool.
    pub(super) fn set_by_ethtool(&self) -> Vec<String> {
        let lines = self.read("ethtool/done").lines().map(str::to_owned).collect();
        self.write("ethtool/done", "");
        lines
    }

    /// Every file of the kernel's and its content.
    pub(super) fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path("sys"), self.path("proc"), self.path("run")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let entry = entry.expect("an entry");
                let kind = entry.file_type().expect("a type");
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    files.insert(entry.path(), fs::read_to_string(entry.path()).expect("text"));
                }
            }
        }
        files
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file")
    }

    fn program(&self, name: &str, text: &str) {
        self.write(&format!("bin/{name}"), text);
        fs::set_permissions(self.path(&format!("bin/{name}")), fs::Permissions::from_mode(0o755))
            .expect("a program");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
