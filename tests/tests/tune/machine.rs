//! On the made-up machine: what the script prints, and what it does to files and by ethtool.

use super::fake::Machine;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The commands that give queue i's interrupt, of these numbers, to the i-th CPU.
fn affinities(irqs: &[u32], cpus: &[u32]) -> Vec<String> {
    let pairs = irqs.iter().zip(cpus);
    pairs.map(|(irq, cpu)| format!("echo {cpu} > /proc/irq/{irq}/smp_affinity_list")).collect()
}

const PAGES: &str = "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages";

#[test]
fn a_dry_run_prints_every_command_and_changes_nothing() {
    let machine = Machine::new("dry");
    machine.nic("eth0");
    let before = machine.files();
    let all =
        "set eth0 --cpus 4-6 --rings 4096 --busy-poll --huge-pages 512 --governor performance --dry-run";
    let ran = machine.tune(all);
    let mut expected = vec![
        "ethtool -L eth0 combined 3".to_owned(),
        "ethtool -N eth0 rx-flow-hash udp4 sdfn".to_owned(),
        "ethtool -G eth0 rx 4096 tx 4096".to_owned(),
    ];
    expected.extend(affinities(&[100, 101, 102], &[4, 5, 6]));
    expected.push("echo 2 > /sys/class/net/eth0/napi_defer_hard_irqs".to_owned());
    expected.push("echo 200000 > /sys/class/net/eth0/gro_flush_timeout".to_owned());
    expected.push(format!("echo 512 > {PAGES}"));
    for cpu in 4..7 {
        let file = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        expected.push(format!("echo performance > {file}"));
    }
    assert_eq!(ran.lines(), expected);
    assert_eq!(ran.said, "eth0: for the configuration: node.cpus = \"4-6\"\n");
    assert_eq!(machine.files(), before);
    assert!(machine.set_by_ethtool().is_empty());
}

#[test]
fn only_what_is_named_is_set() {
    let machine = Machine::new("named");
    machine.nic("eth0");
    let rings = machine.tune("set eth0 --rings 512 --dry-run");
    assert_eq!(rings.lines(), ["ethtool -G eth0 rx 512 tx 512"]);
    let polling = machine.tune("set eth0 --busy-poll --dry-run");
    assert_eq!(polling.lines().len(), 2, "{polling:#?}");
    assert!(machine.tune("set eth0 --no-busy-poll --dry-run").lines().is_empty());
    assert!(machine.tune("set eth0 --governor powersave --dry-run").lines().is_empty());
}

#[test]
fn cpus_are_advised() {
    let machine = Machine::new("advised");
    machine.nic("eth0");
    let advised = |machine: &Machine, isolated: &str, expected: &str| {
        machine.write("sys/devices/system/cpu/isolated", isolated);
        let ran = machine.tune("set eth0 --dry-run");
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ran.says(&format!("eth0: for the configuration: node.cpus = \"{expected}\""));
        let shown = machine.tune("show eth0");
        assert!(shown.printed.contains(&format!("node.cpus = \"{expected}\"  (")), "{shown:#?}");
    };
    // One of each core of the NIC's node; isolated ones if it has any. Where its node is the machine's first, without the first core.
    advised(&machine, "\n", "4-7");
    advised(&machine, "2-3,5-6,13-15\n", "5-6,15");
    advised(&machine, "1-3\n", "4-7");
    machine.write("sys/devices/pci0000:3a/eth0/local_cpulist", "0-3,8-11\n");
    advised(&machine, "\n", "1-3");
    machine.write("sys/devices/system/cpu/online", "0,8\n");
    advised(&machine, "\n", "0");
}

#[test]
fn queues_and_cpus_may_differ_in_number() {
    let machine = Machine::new("modulo");
    machine.nic("eth0");
    // Queue q belongs to worker q mod W.
    let more = machine.tune("set eth0 --queues 5 --cpus 6,4 --dry-run");
    let mut expected = vec!["ethtool -L eth0 combined 5".to_owned()];
    expected.push("ethtool -N eth0 rx-flow-hash udp4 sdfn".to_owned());
    expected.extend(affinities(&[100, 101, 102, 103, 104], &[6, 4, 6, 4, 6]));
    assert_eq!(more.lines(), expected);
    more.says("eth0: for the configuration: node.cpus = \"6,4\"");
    // Without CPUs, those advised.
    let advised = machine.tune("set eth0 --queues 2 --dry-run");
    assert_eq!(advised.lines()[2..], affinities(&[100, 101], &[4, 5]));
    advised.says("eth0: for the configuration: node.cpus = \"4-5\"");
    // Queues that do not exist yet have no interrupts yet.
    let grown = machine.tune("set eth0 --queues 10 --cpus 4-7,12-15 --dry-run");
    assert_eq!(
        grown.lines()[2..],
        affinities(&[100, 101, 102, 103, 104, 105, 106, 107], &[4, 5, 6, 7, 12, 13, 14, 15])
    );
    grown.says(
        "eth0: queues from 8 on have no interrupts yet: what sets them is printed when the queues are there",
    );
    // CPUs of another node are allowed, and told.
    let far = machine.tune("set eth0 --cpus 3-4 --dry-run");
    far.says("eth0: CPUs 3 are not on its NUMA node 1 (CPUs 4-7,12-15)");
    // A device with fewer queues than CPUs gets those that it has.
    let few = "Pre-set maximums:\nCombined:\t2\nCurrent hardware settings:\nCombined:\t1\n";
    machine.answer("-l eth0", few);
    let ran = machine.tune("set eth0 --cpus 4-6 --dry-run");
    assert_eq!(ran.lines()[0], "ethtool -L eth0 combined 2");
    assert_eq!(ran.lines()[2..], affinities(&[100, 101], &[4, 5]));
    ran.says("eth0: has at most 2 queues, fewer than the 3 CPUs: all workers get their share all the same");
}

#[test]
fn interrupts_are_known_by_each_drivers_names() {
    // The names from interrupt 50 on, and which of the two queues each belongs to.
    type Named<'a> = (&'a str, Option<u32>);
    let drivers: [(&str, &[Named<'_>]); 11] = [
        (
            "i40e",
            &[("i40e-0000:3b:00.0:misc", None), ("i40e-p0-TxRx-0", Some(0)), ("i40e-p0-TxRx-1", Some(1))],
        ),
        ("ixgbe", &[("p0-TxRx-0", Some(0)), ("p0-TxRx-1", Some(1)), ("p0-TxRx-2", None), ("p0", None)]),
        (
            "mlx5",
            &[
                ("mlx5_async0@pci:0000:3b:00.0", None),
                ("mlx5_comp0@pci:0000:3b:00.0", Some(0)),
                ("mlx5_comp1@pci:0000:3b:00.0", Some(1)),
            ],
        ),
        ("bnxt", &[("bnxt_en-p0-TxRx-1", Some(1)), ("bnxt_en-p0-TxRx-0", Some(0))]),
        ("ena", &[("ena-mgmnt@pci:0000:00:05.0", None), ("p0-Tx-Rx-0", Some(0)), ("p0-Tx-Rx-1", Some(1))]),
        (
            "virtio",
            &[
                ("virtio2-config", None),
                ("virtio2-input.0", Some(0)),
                ("virtio2-output.0", Some(0)),
                ("virtio2-input.1", Some(1)),
                ("virtio2-output.1", Some(1)),
            ],
        ),
        ("tg3", &[("p0-tx-0", Some(0)), ("p0-rx-1", Some(0)), ("p0-rx-2", Some(1))]),
        ("igb", &[("p0", None), ("p0-rx-0", Some(0)), ("p0-tx-0", Some(0)), ("p0-rx-1", Some(1))]),
        ("vmxnet3", &[("p0-rxtx-0", Some(0)), ("p0-rxtx-1", Some(1)), ("p0-event-2", None)]),
        ("r8169", &[("p0", Some(0))]),
        ("unknown", &[("p0-mailbox", None), ("p0-vec-1", None)]),
    ];
    for (driver, interrupts) in drivers {
        let machine = Machine::new(&format!("names-{driver}"));
        let device = machine.device("p0", "0-15", -1);
        let names: Vec<_> = interrupts.iter().map(|(name, _)| *name).collect();
        machine.interrupts(&device, 50, &names);
        machine.answer("-i p0", &format!("driver: {driver}\n"));
        let ran = machine.tune("set p0 --cpus 2-3 --dry-run");
        let of = |queue| (50..).zip(interrupts).filter(move |(_, (_, its))| *its == Some(queue));
        let mut expected = affinities(&of(0).map(|(irq, _)| irq).collect::<Vec<_>>(), &[2; 9]);
        expected.extend(affinities(&of(1).map(|(irq, _)| irq).collect::<Vec<_>>(), &[3; 9]));
        assert_eq!(ran.lines(), expected, "{driver}");
        if expected.is_empty() {
            ran.says(&format!("p0: driver {driver} has no interrupts of queues: left alone"));
        }
    }
    // A device without message-signalled interrupts: by the interface's own name, and not by a longer one.
    let machine = Machine::new("names-xen");
    let device = machine.device("p0", "0-15", -1);
    machine.interrupts(&device, 50, &["p0-q0-tx", "p0-q0-rx", "p0-q1-tx", "p01-q1-tx"]);
    std::fs::remove_dir_all(machine.path(&format!("{device}/msi_irqs"))).expect("it was there");
    let ran = machine.tune("set p0 --cpus 2-3 --dry-run");
    assert_eq!(ran.lines(), affinities(&[50, 51, 52], &[2, 2, 3]));
}

#[test]
fn all_is_set_and_all_is_undone() {
    let machine = Machine::new("undo");
    machine.nic("eth0");
    machine.write("proc/irq/103/smp_affinity_list", "12\n");
    machine.write("sys/class/net/eth0/gro_flush_timeout", "20000\n");
    let before = machine.files();
    let settings = "--cpus 4-6 --rings 4096 --busy-poll --huge-pages 512 --governor performance";
    let set = machine.tune(&format!("set eth0 {settings}"));
    assert_eq!(set.lines(), machine.tune_afresh(settings));
    let ethtool = [
        "ethtool -L eth0 combined 3",
        "ethtool -N eth0 rx-flow-hash udp4 sdfn",
        "ethtool -G eth0 rx 4096 tx 4096",
    ];
    assert_eq!(machine.set_by_ethtool(), ethtool);
    assert_eq!(machine.read("proc/irq/102/smp_affinity_list"), "6\n");
    assert_eq!(machine.read("sys/class/net/eth0/gro_flush_timeout"), "200000\n");
    assert_eq!(machine.read(&PAGES[1..]), "512\n");
    assert_eq!(machine.read("sys/devices/system/cpu/cpu5/cpufreq/scaling_governor"), "performance\n");
    // Once more, and otherwise: what is kept stays what was there first.
    let kept = kept(&machine);
    assert_eq!(kept.len(), 2, "{kept:?}");
    machine.tune("set eth0 --cpus 5-6 --no-busy-poll --huge-pages 8 --rings 1024").lines();
    assert_eq!(self::kept(&machine), kept);
    machine.set_by_ethtool();

    machine.channels("eth0", 2);
    let hash = "UDP over IPV4 flows use these fields for computing Hash flow key:\nIP SA\nIP DA\nL4 bytes 0 & 1 [TCP/UDP src port]\n";
    machine.answer("-n eth0 rx-flow-hash udp4", hash);
    let dry = machine.tune("--undo eth0 --dry-run");
    let undone = machine.tune("--undo eth0");
    assert_eq!(undone.lines(), dry.lines());
    assert_eq!(
        machine.set_by_ethtool(),
        ["ethtool -L eth0 combined 8", "ethtool -N eth0 rx-flow-hash udp4 sd"]
    );
    assert_eq!(machine.files(), before);
    let again = machine.tune("--undo eth0");
    assert!(again.lines().is_empty());
    again.says("eth0: nothing to undo");
    assert_eq!(machine.files(), before);
}

impl Machine {
    /// What these settings print on a machine where nothing is set yet.
    fn tune_afresh(&self, settings: &str) -> Vec<String> {
        let other = Self::new("afresh");
        other.nic("eth0");
        other.write("sys/class/net/eth0/gro_flush_timeout", "20000\n");
        other.tune(&format!("set eth0 {settings} --dry-run")).lines().into_iter().map(str::to_owned).collect()
    }
}

/// The files of originals.
fn kept(machine: &Machine) -> BTreeMap<PathBuf, String> {
    let folder = machine.path("run");
    machine.files().into_iter().filter(|(path, _)| path.starts_with(&folder)).collect()
}

#[test]
fn an_rss_table_is_made_even_and_comes_back() {
    let mut blocks = vec![0; 48];
    blocks.extend([2; 16]);
    let tables: [(&str, Vec<usize>, &str); 5] = [
        ("even", [0, 1, 2, 3, 4, 5, 6, 7].repeat(8), ""),
        ("two", [0, 1].repeat(32), "equal 2"),
        ("last", [6, 7].repeat(32), "start 6 equal 2"),
        ("blocks", blocks, "weight 48 0 16"),
        ("one", vec![0; 64], "equal 1"),
    ];
    for (name, entries, words) in tables {
        let machine = Machine::new(&format!("rss-{name}"));
        machine.nic("eth0");
        machine.table("eth0", 8, &entries);
        machine.tune("set eth0 --cpus 4-7").lines();
        let mut expected = vec!["ethtool -L eth0 combined 4".to_owned()];
        if !words.is_empty() {
            expected.insert(0, "ethtool -X eth0 default".to_owned());
        }
        expected.push("ethtool -N eth0 rx-flow-hash udp4 sdfn".to_owned());
        assert_eq!(machine.set_by_ethtool(), expected, "{name}");
        machine.channels("eth0", 4);
        machine.table("eth0", 4, &[0, 1, 2, 3].repeat(16));
        machine.tune("--undo eth0").lines();
        let mut expected = vec!["ethtool -L eth0 combined 8".to_owned()];
        if !words.is_empty() {
            expected.push(format!("ethtool -X eth0 {words}"));
        }
        assert_eq!(machine.set_by_ethtool(), expected, "{name}");
    }
    let machine = Machine::new("rss-other");
    machine.nic("eth0");
    machine.table("eth0", 8, &[3, 1, 2, 0].repeat(16));
    let ran = machine.tune("set eth0 --cpus 4-7");
    ran.says("eth0: its RSS table is not one that ethtool could restore: queues and table are left alone");
    assert_eq!(machine.set_by_ethtool(), ["ethtool -N eth0 rx-flow-hash udp4 sdfn"]);
}

#[test]
fn a_refusal_is_an_error_that_names_the_command() {
    let machine = Machine::new("refused");
    machine.nic("eth0");
    machine.write("ethtool/refuse", "netlink error: Invalid argument\n");
    let ran = machine.tune("set eth0 --cpus 4");
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    ran.says("scripts/tune: ethtool -L eth0 combined 1 failed: netlink error: Invalid argument");
    // With a program attached, that may be why.
    machine.write("ip", "3: eth0: <UP> mtu 1500 xdp/id:12 qdisc mq state UP\n");
    let ran = machine.tune("set eth0 --rings 512");
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    ran.says(
        "scripts/tune: ethtool -G eth0 rx 512 tx 512 failed: netlink error: Invalid argument (an XDP program is attached; \
         with one, many drivers refuse this: stop sluice first)",
    );
    // What a driver does not support is no failure.
    machine.write("ethtool/refuse", "netlink error: Operation not supported\n");
    let ran = machine.tune("set eth0 --rings 512");
    assert_eq!(ran.lines(), ["ethtool -G eth0 rx 512 tx 512"]);
    ran.says("eth0: driver ice does not support this: left alone");
    // Files of the kernel's.
    std::fs::remove_file(machine.path("proc/irq/100/smp_affinity_list")).expect("it was there");
    std::fs::create_dir(machine.path("proc/irq/100/smp_affinity_list")).expect("a folder");
    let ran = machine.tune("set eth0 --cpus 4");
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    ran.says("scripts/tune: echo 4 > /proc/irq/100/smp_affinity_list failed: Is a directory");
}

#[test]
fn what_belongs_to_the_machine_is_undone_with_the_last_interface() {
    let machine = Machine::new("two");
    machine.nic("eth0");
    machine.nic("eth1");
    let before = machine.files();
    machine.tune("set eth0 --huge-pages 100").lines();
    machine.tune("set eth1 --huge-pages 200 --cpus 4 --governor performance").lines();
    let first = machine.tune("--undo eth1");
    assert!(
        first.said.contains("huge pages and governors: left until the other interfaces are undone: "),
        "{first:#?}"
    );
    assert_eq!(machine.read(&PAGES[1..]), "200\n");
    machine.tune("--undo eth0").lines();
    assert_eq!(machine.files(), before);
    // An interface that has gone keeps nobody waiting.
    machine.tune("set eth0 eth1 --huge-pages 100").lines();
    let gone = machine.path("sys/class/net/eth1");
    std::fs::rename(&gone, machine.path("gone")).expect("a folder");
    machine.tune("--undo eth0").lines();
    std::fs::rename(machine.path("gone"), gone).expect("a folder");
    assert_eq!(machine.files(), before);
    // Nor is another device of its name given what was not its own.
    machine.tune("set eth0 --busy-poll").lines();
    machine.write("sys/class/net/eth0/ifindex", "99\n");
    machine.tune("--undo eth0").says("eth0: nothing to undo");
    assert_eq!(machine.read("sys/class/net/eth0/gro_flush_timeout"), "200000\n");
}

#[test]
fn a_node_that_is_not_known_gets_huge_pages_from_all() {
    let machine = Machine::new("nodeless");
    machine.device("eth0", "0-15", -1);
    machine.write("proc/sys/vm/nr_hugepages", "0\n");
    let ran = machine.tune("set eth0 --huge-pages 64 --dry-run");
    assert_eq!(ran.lines(), ["echo 64 > /proc/sys/vm/nr_hugepages"]);
    machine.write("sys/devices/system/node/online", "0\n");
    let ran = machine.tune("set eth0 --huge-pages 64 --dry-run");
    assert_eq!(ran.lines(), [format!("echo 64 > {}", PAGES.replace("node1", "node0"))]);
}

#[test]
fn show_tells_all_and_warns() {
    let machine = Machine::new("show");
    machine.nic("eth0");
    machine.write("sys/devices/system/cpu/isolated", "5-6\n");
    let quiet = machine.tune("show eth0");
    let expected = [
        "eth0: driver ice, bus 0000:3b:00.0, up, 25000 Mb/s, MTU 1500",
        "  NUMA node       1, CPUs 4-7,12-15; isolated: 5-6",
        "  queues          combined 8 (at most 64)",
        "  rings           rx 2048 (at most 8160), tx 256 (at most 8160)",
        "  RSS table       default",
        "  UDP spread by   IPv4 sd, IPv6 sdfn",
        "  interrupts      queue 0: IRQ 100 (ice-eth0-TxRx-0) to CPU 0-15",
    ];
    assert_eq!(quiet.lines()[..7], expected);
    let expected = [
        "                  queue 7: IRQ 107 (ice-eth0-TxRx-7) to CPU 0-15",
        "  busy polling    napi_defer_hard_irqs 0, gro_flush_timeout 0 ns",
        "  huge pages      16 of 2048kB on node 1, 9 free",
        "  governor        powersave (CPUs 5-6)",
        "  XDP program     none",
        "  advised         node.cpus = \"5-6\"  (isolated CPUs of the NIC's node, one of each core)",
    ];
    assert_eq!(quiet.lines()[13..], expected);

    machine.answer("-k eth0", "large-receive-offload: on\nrx-vlan-offload: on\nrx-gro-hw: on [fixed]\n");
    machine.answer("-a eth0", "Pause parameters for eth0:\nAutonegotiate:\ton\nRX:\t\toff\nTX:\t\ton\n");
    machine.write("proc/712/comm", "irqbalance\n");
    machine.write("sys/class/net/eth0/queues/rx-1/rps_cpus", "0000,000000f0\n");
    machine.write("ip", "3: eth0: <UP> mtu 1500 xdpgeneric/id:12 qdisc mq state UP\n");
    let loud = machine.tune("show eth0");
    assert!(loud.lines().contains(&"  XDP program     attached (xdpgeneric)"), "{loud:#?}");
    let beginnings = [
        "  ! irqbalance runs (process 712)",
        "  ! LRO is on",
        "  ! GRO in hardware is on",
        "  ! rx-vlan-offload is on",
        "  ! pause frames are on (TX)",
        "  ! RPS is on",
    ];
    let warnings: Vec<_> = loud.lines().into_iter().filter(|line| line.starts_with("  !")).collect();
    assert_eq!(warnings.len(), beginnings.len(), "{loud:#?}");
    for (warning, beginning) in warnings.iter().zip(beginnings) {
        assert!(warning.starts_with(beginning), "{warning}");
    }
    let set = machine.tune("set eth0 --cpus 5 --dry-run");
    set.says("irqbalance runs (process 712) and moves interrupts to other CPUs: systemctl disable --now irqbalance");
}
