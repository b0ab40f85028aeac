//! The mirror in namespaces of its own.
//!
//! ```text
//! namespace "here": the mirror, e0 192.0.2.1/24 2001:db8::1/64 --veth-- f0 192.0.2.2/24 2001:db8::2/64, namespace "there"
//! ```
//!
//! | test | what changes, and is seen within a second |
//! |---|---|
//! | `routes_come_change_and_go` | routes, metrics, kinds, MTU, several ways, of both families |
//! | `rules_choose_another_table` | rules by source, mark, inverted, suppressing |
//! | `neighbours_appear_change_and_vanish` | entries by hand, of both families; state flips that change nothing |
//! | `a_neighbour_that_the_kernel_resolves` | resolved by traffic, gone stale and poked |
//! | `links_go_down_and_come_up` | link, carrier, address of the link, name, a new and a removed link |
//! | `vlan_and_qinq` | tagged links, one and two deep |
//! | `addresses_come_and_go` | addresses of both families, and the routes that go with them |
//! | `nothing_is_published_for_nothing` | what makes no difference |
//! | `twenty_thousand_routes` | bursts |
//! | `lost_notifications_are_noticed`, `a_lost_connection_is_made_again` | what goes wrong |
//!
//! They need root, and say so where they are skipped; with `CI` set they fail there.

use super::*;
use crate::control::interface::Interface;
use crate::ip_route::{Family, LinkIndex, NoWay, Way};
use crate::wire::ethernet::Mac;
use futures_util::TryStreamExt;
use nix::sched::{CloneFlags, setns};
use rtnetlink::packet_route::AddressFamily;
use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// What changes must be seen within this.
const SOON: Duration = Duration::from_secs(1);

/// Two namespaces joined by a veth; both are removed with it, and whatever is in them.
struct World {
    here: String,
    there: String,
}

impl World {
    /// None without root.
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "CI must be root: the namespace tests were skipped");
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = |side| format!("slh-netlink-{process}-{count}-{side}");
        let world = Self { here: name("a"), there: name("b") };
        sh(&format!("ip netns add {}", world.here));
        sh(&format!("ip netns add {}", world.there));
        world.here("link set lo up");
        world.here(&format!("link add e0 type veth peer name f0 netns {}", world.there));
        for (namespace, link, last) in [(&world.here, "e0", 1), (&world.there, "f0", 2)] {
            ip_in(namespace, &format!("link set {link} address 02:00:00:00:00:0{last}"));
            ip_in(namespace, &format!("addr add 192.0.2.{last}/24 dev {link}"));
            ip_in(namespace, &format!("addr add 2001:db8::{last}/64 dev {link} nodad"));
            ip_in(namespace, &format!("link set {link} addrgenmode none up"));
        }
        world.wait_until_up();
        Some(world)
    }

    /// The kernel reports a carrier, and makes the routes that go with it, up to a second late.
    fn wait_until_up(&self) {
        let start = Instant::now();
        let is_up = || {
            let arguments = ["-n", &self.here, "link", "show", "e0"];
            let output = Command::new("ip").args(arguments).output().unwrap();
            String::from_utf8_lossy(&output.stdout).contains("state UP")
        };
        while !is_up() {
            assert!(start.elapsed() < Duration::from_secs(5), "no carrier");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// `ip` in the mirror's namespace.
    fn here(&self, arguments: &str) {
        ip_in(&self.here, arguments);
    }

    fn there(&self, arguments: &str) {
        ip_in(&self.there, arguments);
    }

    /// Runs `work` on a thread in the mirror's namespace.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/var/run/netns/{}", self.here)).unwrap();
        let inside = move || {
            // Of the calling thread only.
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }

    fn watch(&self) -> Watch {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let on_change = move |_: &Arc<IpRoutes>| {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let mirror = self.inside(|| Mirror::start(on_change)).unwrap();
        Watch { mirror, count }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for namespace in [&self.here, &self.there] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn sh(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(status.success(), "{command}");
}

fn ip_in(namespace: &str, arguments: &str) {
    sh(&format!("ip -n {namespace} {arguments}"));
}

/// A mirror, and how often it has published.
struct Watch {
    mirror: Mirror,
    count: Arc<AtomicUsize>,
}

impl Watch {
    fn routes(&self) -> Arc<IpRoutes> {
        self.mirror.published().load_full()
    }

    /// Waits until what is published is as `is_so` says, at most [`SOON`].
    #[track_caller]
    fn soon(&self, what: &str, is_so: impl Fn(&IpRoutes) -> bool) {
        self.within(SOON, what, is_so);
    }

    #[track_caller]
    fn within(&self, limit: Duration, what: &str, is_so: impl Fn(&IpRoutes) -> bool) {
        let start = Instant::now();
        while !is_so(&self.routes()) {
            assert!(start.elapsed() < limit, "not seen within {limit:?}: {what}");
            thread::sleep(Duration::from_millis(5));
        }
        println!("{what}: {} ms", start.elapsed().as_millis());
    }

    /// Waits until nothing has been published for a while.
    fn settle(&self) -> usize {
        let mut last = (self.count.load(Ordering::SeqCst), Instant::now());
        let start = Instant::now();
        while last.1.elapsed() < Duration::from_millis(700) {
            assert!(start.elapsed() < Duration::from_secs(20), "it goes on publishing");
            thread::sleep(Duration::from_millis(20));
            let count = self.count.load(Ordering::SeqCst);
            if count != last.0 {
                last = (count, Instant::now());
            }
        }
        last.0
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn find<'a>(routes: &'a IpRoutes, to: &str) -> Result<Way<'a>, NoWay> {
    routes.look_up(None, address(to))
}

fn fails(routes: &IpRoutes, to: &str) -> Option<NoWay> {
    find(routes, to).err()
}

fn mac_of(routes: &IpRoutes, to: &str) -> Option<Mac> {
    find(routes, to).ok().map(|way| way.destination_mac)
}

fn mac(last: u8) -> Mac {
    [2, 0, 0, 0, 0, last]
}

#[test]
fn routes_come_change_and_go() {
    let Some(world) = World::new() else { return };
    for (last, to) in [(0xf1, "192.0.2.201"), (0xf2, "192.0.2.202"), (0xf3, "2001:db8::203")] {
        world.here(&format!("neigh add {to} lladdr 02:00:00:00:00:{last:x} nud permanent dev e0"));
    }
    let watch = world.watch();
    let to = "203.0.113.9";
    assert_eq!(fails(&watch.routes(), to), Some(NoWay::NoRoute));
    assert_eq!(fails(&watch.routes(), "192.0.2.1"), Some(NoWay::Local));
    assert_eq!(fails(&watch.routes(), "127.0.0.1"), Some(NoWay::Local));
    assert_eq!(fails(&watch.routes(), "::1"), Some(NoWay::Local));
    assert_eq!(fails(&watch.routes(), "192.0.2.255"), Some(NoWay::NotUnicast));

    world.here("route add 203.0.113.0/24 via 192.0.2.201 metric 100");
    watch.soon("IPv4 route added", |r| mac_of(r, to) == Some(mac(0xf1)));
    let way = |r: &IpRoutes| find(r, to).map(|w| (w.source, w.source_mac, w.mtu, w.tags.list().len()));
    assert_eq!(way(&watch.routes()), Ok((address("192.0.2.1"), mac(1), 1_500, 0)));
    world.here("route add 203.0.113.0/24 via 192.0.2.202 metric 50 mtu 1280");
    watch.soon("better metric added", |r| mac_of(r, to) == Some(mac(0xf2)));
    assert_eq!(find(&watch.routes(), to).unwrap().mtu, 1_280);
    world.here("route del 203.0.113.0/24 metric 50");
    watch.soon("better metric removed", |r| mac_of(r, to) == Some(mac(0xf1)));
    world.here("route change 203.0.113.0/24 via inet6 2001:db8::203 dev e0 metric 100");
    watch.soon("gateway of the other family", |r| mac_of(r, to) == Some(mac(0xf3)));
    world.here("route add 203.0.113.8/30 nexthop via 192.0.2.201 weight 1 nexthop via 192.0.2.202 weight 1");
    let both = |r: &IpRoutes| {
        let macs: std::collections::BTreeSet<_> =
            (8..12).filter_map(|n| mac_of(r, &format!("203.0.113.{n}"))).collect();
        macs.is_subset(&[mac(0xf1), mac(0xf2)].into()) && !macs.is_empty()
    };
    watch.soon("two ways", both);
    world.here("route flush 203.0.113.0/24");
    world.here("route flush 203.0.113.8/30");
    watch.soon("routes removed", |r| fails(r, to) == Some(NoWay::NoRoute));
    for (kind, why) in [
        ("blackhole", NoWay::Discarded),
        ("unreachable", NoWay::Discarded),
        ("prohibit", NoWay::Discarded),
        ("throw", NoWay::NoRoute),
    ] {
        for (net, to) in [("203.0.113.0/24", to), ("2001:db8:9::/48", "2001:db8:9::1")] {
            world.here(&format!("route replace {kind} {net}"));
            watch.soon(&format!("{kind} {net}"), |r| fails(r, to) == Some(why));
            assert_eq!(watch.routes().leaves_by(None, address(to)), None);
            // Something else in between, so that the next one is seen.
            world.here(&format!("route replace {net} dev e0"));
            watch.soon(&format!("unicast {net}"), |r| fails(r, to) == Some(NoWay::Unresolved));
        }
    }
    world.here("route flush 203.0.113.0/24");
    world.here("nexthop add id 7 via 192.0.2.201 dev e0");
    world.here("route add 203.0.113.0/24 nhid 7");
    watch.soon("a next-hop object", |r| mac_of(r, to) == Some(mac(0xf1)));
    world.here("nexthop replace id 7 via 192.0.2.202 dev e0");
    watch.soon("the object changes", |r| mac_of(r, to) == Some(mac(0xf2)));
    world.here("nexthop del id 7");
    watch.soon("the object goes", |r| fails(r, to) == Some(NoWay::NoRoute));

    let far = "2001:db8:7::1";
    world.here("route add 2001:db8:7::/48 via 2001:db8::203 metric 200");
    watch.soon("IPv6 route added", |r| mac_of(r, far) == Some(mac(0xf3)));
    assert_eq!(find(&watch.routes(), far).unwrap().source, address("2001:db8::1"));
    world.here("route add default via 2001:db8::203");
    world.here("route del 2001:db8:7::/48");
    watch.soon("IPv6 default route", |r| {
        mac_of(r, "2001:db8:8::1") == Some(mac(0xf3)) && mac_of(r, far) == Some(mac(0xf3))
    });
    world.here("route del default via 2001:db8::203");
    watch.soon("IPv6 route removed", |r| fails(r, far) == Some(NoWay::NoRoute));
}

#[test]
fn rules_choose_another_table() {
    let Some(world) = World::new() else { return };
    world.here("neigh add 192.0.2.201 lladdr 02:00:00:00:00:f1 nud permanent dev e0");
    world.here("neigh add 192.0.2.202 lladdr 02:00:00:00:00:f2 nud permanent dev e0");
    world.here("neigh add 2001:db8::202 lladdr 02:00:00:00:00:f3 nud permanent dev e0");
    world.here("route add default via 192.0.2.201");
    world.here("route add default via 192.0.2.202 table 100");
    world.here("route add default via 2001:db8::202 table 1000");
    let watch = world.watch();
    let from = |r: &IpRoutes, source: &str, to: &str| {
        r.look_up(Some(address(source)), address(to)).ok().map(|way| way.destination_mac)
    };
    let v4 = |r: &IpRoutes, source: &str| from(r, source, "8.8.8.8");
    assert_eq!(v4(&watch.routes(), "192.0.2.1"), Some(mac(0xf1)));

    world.here("rule add from 192.0.2.1 lookup 100 priority 1000");
    watch.soon("rule by source", |r| v4(r, "192.0.2.1") == Some(mac(0xf2)));
    assert_eq!(v4(&watch.routes(), "192.0.2.7"), Some(mac(0xf1)));
    assert_eq!(mac_of(&watch.routes(), "8.8.8.8"), Some(mac(0xf1)));
    world.here("rule del priority 1000");
    watch.soon("rule removed", |r| v4(r, "192.0.2.1") == Some(mac(0xf1)));
    // Marks, interfaces: nothing of ours. The last one shows that those before have been read.
    world.here("rule add fwmark 7 lookup 100 priority 900");
    world.here("rule add iif e0 lookup 100 priority 901");
    world.here("rule add oif e0 lookup 100 priority 902");
    world.here("rule add ipproto tcp lookup 100 priority 903");
    world.here("rule add uidrange 4000000-4000001 lookup 100 priority 904");
    world.here("rule add to 8.8.4.0/24 ipproto udp iif lo lookup 100 priority 905");
    watch.soon("rule by destination", |r| mac_of(r, "8.8.4.4") == Some(mac(0xf2)));
    assert_eq!(v4(&watch.routes(), "192.0.2.1"), Some(mac(0xf1)));
    // WireGuard's.
    world.here("rule add not fwmark 51820 lookup 100 priority 800");
    watch.soon("inverted", |r| v4(r, "192.0.2.1") == Some(mac(0xf2)));
    world.here("rule add lookup main suppress_prefixlength 0 priority 700");
    watch.soon("suppressing", |r| fails(r, "192.0.2.9") == Some(NoWay::Unresolved));
    assert_eq!(v4(&watch.routes(), "192.0.2.1"), Some(mac(0xf2)));
    world.here("rule add sport 5060 lookup 100 priority 600");
    watch.soon("by port", |r| fails(r, "8.8.8.8") == Some(NoWay::Unsupported));
    world.here("rule add to 8.8.8.8 prohibit priority 500");
    watch.soon("prohibit", |r| fails(r, "8.8.8.8") == Some(NoWay::Discarded));
    world.here("rule add goto 800 priority 400");
    watch.soon("goto", |r| v4(r, "192.0.2.1") == Some(mac(0xf2)));

    assert_eq!(fails(&watch.routes(), "2001:db8:7::1"), Some(NoWay::NoRoute));
    world.here("-6 rule add from 2001:db8::/64 lookup 1000");
    let far = |r: &IpRoutes| from(r, "2001:db8::1", "2001:db8:7::1");
    watch.soon("IPv6 rule by source", |r| far(r) == Some(mac(0xf3)));
    world.here("-6 rule del from 2001:db8::/64 lookup 1000");
    watch.soon("IPv6 rule removed", |r| far(r).is_none());
}

#[test]
fn neighbours_appear_change_and_vanish() {
    let Some(world) = World::new() else { return };
    let watch = world.watch();
    for to in ["192.0.2.50", "2001:db8::50"] {
        assert_eq!(fails(&watch.routes(), to), Some(NoWay::Unresolved));
        world.here(&format!("neigh add {to} lladdr 02:00:00:00:00:50 nud reachable dev e0"));
        watch.soon("neighbour appears", |r| mac_of(r, to) == Some(mac(0x50)));
        world.here(&format!("neigh change {to} lladdr 02:00:00:00:00:51 nud permanent dev e0"));
        watch.soon("neighbour changes its address", |r| mac_of(r, to) == Some(mac(0x51)));
        let count = watch.settle();
        for state in ["noarp", "reachable", "permanent"] {
            world.here(&format!("neigh change {to} lladdr 02:00:00:00:00:51 nud {state} dev e0"));
        }
        assert_eq!(watch.settle(), count, "only the state changed");
        world.here(&format!("neigh del {to} dev e0"));
        watch.soon("neighbour vanishes", |r| fails(r, to) == Some(NoWay::Unresolved));
        world.here(&format!("neigh add {to} lladdr 02:00:00:00:00:52 nud failed dev e0"));
        world.here(&format!("neigh change {to} lladdr 02:00:00:00:00:52 nud stale dev e0"));
        watch.soon("neighbour back, stale", |r| mac_of(r, to) == Some(mac(0x52)));
        // Poked within a second, and again.
        for _ in 0..2 {
            watch.within(2 * SOON, "poked", |r| find(r, to).is_ok_and(|way| way.wants_probe()));
            assert!(!find(&watch.routes(), to).unwrap().wants_probe());
        }
        // Not any more once it is confirmed.
        world.here(&format!("neigh change {to} lladdr 02:00:00:00:00:52 nud permanent dev e0"));
        watch.settle();
        let _ = find(&watch.routes(), to).unwrap().wants_probe();
        thread::sleep(Duration::from_millis(1_300));
        assert!(!find(&watch.routes(), to).unwrap().wants_probe());
    }
}

#[test]
fn a_neighbour_that_the_kernel_resolves() {
    let Some(world) = World::new() else { return };
    // Half a second of being reachable, and no pause before it is asked.
    for family in ["ipv4", "ipv6"] {
        for (name, value) in
            [("base_reachable_time_ms", "500"), ("delay_first_probe_time", "0"), ("retrans_time_ms", "200")]
        {
            sh(&format!("ip netns exec {} sysctl -qw net.{family}.neigh.e0.{name}={value}", world.here));
        }
    }
    let watch = world.watch();
    for (to, any) in [("192.0.2.2", "192.0.2.1:0"), ("2001:db8::2", "[2001:db8::1]:0")] {
        let socket = world.inside(|| UdpSocket::bind(any).unwrap());
        let send = || socket.send_to(b"x", (address(to), 9)).unwrap();
        assert_eq!(fails(&watch.routes(), to), Some(NoWay::Unresolved));
        send();
        watch.soon("resolved by what the kernel sent", |r| mac_of(r, to) == Some(mac(2)));
        watch.within(5 * SOON, "stale and poked", |r| find(r, to).is_ok_and(|way| way.wants_probe()));
        // The neighbour gets another card; only what the kernel sends makes it notice.
        world.there("link set f0 down");
        world.there("link set f0 address 02:00:00:00:00:77");
        world.there("link set f0 up");
        world.there("addr replace 2001:db8::2/64 dev f0 nodad");
        let start = Instant::now();
        while mac_of(&watch.routes(), to) != Some(mac(0x77)) {
            assert!(start.elapsed() < Duration::from_secs(10), "the new address is not seen");
            // What a worker does.
            if find(&watch.routes(), to).map_or(true, |way| way.wants_probe()) {
                let _ = socket.send_to(b"x", (address(to), 9));
            }
            thread::sleep(Duration::from_millis(50));
        }
        world.there("link set f0 down");
        world.there("link set f0 address 02:00:00:00:00:02");
        world.there("link set f0 up");
        world.there("addr replace 2001:db8::2/64 dev f0 nodad");
    }
}

#[test]
fn links_go_down_and_come_up() {
    let Some(world) = World::new() else { return };
    world.here("neigh add 192.0.2.201 lladdr 02:00:00:00:00:f1 nud permanent dev e0");
    world.here("route add 203.0.113.0/24 via 192.0.2.201");
    let watch = world.watch();
    let (near, far) = ("192.0.2.201", "203.0.113.1");
    assert_eq!(mac_of(&watch.routes(), far), Some(mac(0xf1)));
    let e0 = watch.routes().link_named("e0").unwrap().index;

    world.there("link set f0 down");
    // The kernel itself reports a carrier up to a second late (`net/core/link_watch.c`).
    watch.within(3 * SOON, "carrier lost", |r| fails(r, far) == Some(NoWay::LinkDown));
    world.there("link set f0 up");
    watch.within(3 * SOON, "carrier back", |r| mac_of(r, far) == Some(mac(0xf1)));

    // The kernel sends no deletions for the IPv4 routes that go with it.
    world.here("link set e0 down");
    watch.soon("down", |r| fails(r, far) == Some(NoWay::NoRoute) && fails(r, near) == Some(NoWay::NoRoute));
    assert_eq!(watch.routes().leaves_by(None, address(far)), None);
    world.here("link set e0 up");
    watch.within(3 * SOON, "up", |r| fails(r, near) == Some(NoWay::Unresolved));
    assert_eq!(fails(&watch.routes(), far), Some(NoWay::NoRoute), "the kernel does not restore it either");
    assert_eq!(watch.routes().leaves_by(None, address(near)), Some(e0));

    // A new address of its own makes it forget all neighbours.
    world.here("link set e0 address 02:00:00:00:00:31 mtu 1400");
    world.here("neigh add 192.0.2.201 lladdr 02:00:00:00:00:f1 nud permanent dev e0");
    watch.soon("its address and MTU", |r| {
        find(r, near).is_ok_and(|way| (way.source_mac, way.mtu) == (mac(0x31), 1_400))
    });
    world.here("link add d0 type veth peer name d9");
    watch.soon("a new link", |r| r.link_named("d0").is_some());
    world.here("link set d0 name d1");
    watch.soon("renamed", |r| r.link_named("d0").is_none() && r.link_named("d1").is_some());
    world.here("link del d1");
    watch.soon("removed", |r| r.link_named("d1").is_none());
}

#[test]
fn vlan_and_qinq() {
    let Some(world) = World::new() else { return };
    let add = ["-n", &world.here, "link", "add", "e0.9", "link", "e0", "type", "vlan", "id", "9"];
    if !Command::new("ip").args(add).status().unwrap().success() {
        return eprintln!("skipped: this kernel has no VLAN links (CONFIG_VLAN_8021Q)");
    }
    let watch = world.watch();
    let e0 = watch.routes().link_named("e0").unwrap().index;
    world.here("link add e0.100 link e0 type vlan proto 802.1ad id 100 egress-qos-map 0:5");
    world.here("link add e0.200 link e0.100 type vlan id 200");
    world.here("link set e0.100 up");
    world.here("link set e0.200 address 02:00:00:00:00:21 up");
    world.here("addr add 198.51.100.1/25 dev e0.100");
    world.here("addr add 198.51.100.129/25 dev e0.200");
    world.here("addr add 2001:db8:200::1/64 dev e0.200 nodad");
    world.here("neigh add 198.51.100.2 lladdr 02:00:00:00:00:a1 nud permanent dev e0.100");
    world.here("neigh add 198.51.100.130 lladdr 02:00:00:00:00:a2 nud permanent dev e0.200");
    world.here("neigh add 2001:db8:200::2 lladdr 02:00:00:00:00:a3 nud permanent dev e0.200");
    let tags = |r: &IpRoutes, to: &str| {
        find(r, to).ok().map(|way| {
            let tags: Vec<_> = way.tags.list().iter().map(|tag| (tag.tpid, tag.tci)).collect();
            (way.link, way.source_mac, way.destination_mac[5], tags)
        })
    };
    let outer = (0x88a8, 5 << 13 | 100);
    let one = Some((e0, mac(1), 0xa1, vec![outer]));
    watch.within(2 * SOON, "VLAN", |r| tags(r, "198.51.100.2") == one);
    for (to, last) in [("198.51.100.130", 0xa2), ("2001:db8:200::2", 0xa3)] {
        let two = Some((e0, mac(0x21), last, vec![outer, (0x8100, 200)]));
        watch.within(2 * SOON, "QinQ", |r| tags(r, to) == two);
    }
    let inner = watch.routes().link_named("e0.200").unwrap().index;
    assert_eq!(watch.routes().leaves_by(None, address("198.51.100.130")), Some(inner));
    world.here("link set e0 down");
    watch.soon("the card goes down", |r| find(r, "198.51.100.130").is_err());
    world.here("link set e0 up");
    world.here("link del e0.200");
    watch.soon("VLAN removed", |r| fails(r, "198.51.100.130").is_some() && r.link(inner).is_none());
}

#[test]
fn addresses_come_and_go() {
    let Some(world) = World::new() else { return };
    let watch = world.watch();
    let e0 = watch.routes().link_named("e0").unwrap().index;
    assert_eq!(watch.routes().link_of_address(address("192.0.2.1")), Some(e0));
    assert_eq!(watch.routes().link_of_address(address("2001:db8::1")), Some(e0));
    for (added, ours, other, family) in [
        ("10.7.0.1/24", "10.7.0.1", "10.7.0.2", Family::V4),
        ("fd00:7::1/64", "fd00:7::1", "fd00:7::2", Family::V6),
    ] {
        world.here(&format!("addr add {added} dev e0"));
        watch.soon("address added", |r| {
            let is_listed = r.local_addresses(family).any(|one| one == (address(ours), e0));
            r.link_of_address(address(ours)) == Some(e0)
                && is_listed
                && fails(r, other) == Some(NoWay::Unresolved)
        });
        watch.within(3 * SOON, "ours", |r| fails(r, ours) == Some(NoWay::Local));
        world.here(&format!("addr del {added} dev e0"));
        watch.soon("address removed", |r| {
            r.link_of_address(address(ours)).is_none() && fails(r, other) == Some(NoWay::NoRoute)
        });
    }
    // Routes that send from an address go with it, and nothing is said of them.
    world.here("neigh add 192.0.2.201 lladdr 02:00:00:00:00:f1 nud permanent dev e0");
    world.here("addr add 10.8.0.1/32 dev lo");
    world.here("route add 203.0.113.0/24 via 192.0.2.201 src 10.8.0.1");
    let source = |r: &IpRoutes| find(r, "203.0.113.1").ok().map(|way| way.source);
    watch.soon("preferred source", |r| source(r) == Some(address("10.8.0.1")));
    world.here("addr del 10.8.0.1/32 dev lo");
    watch.soon("gone with the address", |r| fails(r, "203.0.113.1") == Some(NoWay::NoRoute));
}

#[test]
fn nothing_is_published_for_nothing() {
    let Some(world) = World::new() else { return };
    world.here("neigh add 192.0.2.50 lladdr 02:00:00:00:00:50 nud reachable dev e0");
    let watch = world.watch();
    let count = watch.settle();
    let before = watch.routes();
    world.here("neigh change 192.0.2.50 lladdr 02:00:00:00:00:50 nud stale dev e0");
    world.here("neigh add 192.0.2.60 nud failed dev e0 || true");
    world.here("link set e0 txqueuelen 123");
    world.here("link set e0 alias something");
    world.here("rule add fwmark 9 lookup 100 priority 900");
    world.here("route add 203.0.113.0/24 dev e0 tos 0x10");
    world.here("route del 203.0.113.0/24 dev e0 tos 0x10");
    assert_eq!(watch.settle(), count);
    assert!(Arc::ptr_eq(&before, &watch.routes()));
    // It listens all the same.
    world.here("route add 203.0.113.0/24 dev e0");
    watch.soon("a route", |r| fails(r, "203.0.113.1") == Some(NoWay::Unresolved));
    assert_eq!(watch.settle(), count + 1);
}

#[test]
fn what_a_worker_holds_is_freed_by_the_mirror() {
    let Some(world) = World::new() else { return };
    let watch = world.watch();
    watch.settle();
    let held = watch.routes();
    let weak = Arc::downgrade(&held);
    world.here("route add 203.0.113.0/24 dev e0");
    watch.soon("a route", |r| fails(r, "203.0.113.1") == Some(NoWay::Unresolved));
    assert!(Arc::strong_count(&held) >= 2, "the mirror keeps it");
    drop(held);
    let start = Instant::now();
    while weak.upgrade().is_some() {
        assert!(start.elapsed() < 3 * SOON, "never freed");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn twenty_thousand_routes() {
    let Some(world) = World::new() else { return };
    world.here("neigh add 192.0.2.201 lladdr 02:00:00:00:00:f1 nud permanent dev e0");
    let watch = world.watch();
    let path = std::env::temp_dir().join(format!("sluice-routes-{}", std::process::id()));
    let batch = |verb: &str, first: u32, count: u32| {
        let line = |n: u32| format!("route {verb} 10.{}.{}.0/24 via 192.0.2.201\n", n / 256, n % 256);
        std::fs::write(&path, (first..first + count).map(line).collect::<String>()).unwrap();
        ip_in(&world.here, &format!("-batch {}", path.display()));
    };
    batch("add", 0, 20_000);
    watch.within(2 * SOON, "the last of 20,000", |r| mac_of(r, "10.78.31.1") == Some(mac(0xf1)));
    assert!((0..20_000).all(|n| mac_of(&watch.routes(), &format!("10.{}.{}.1", n / 256, n % 256)).is_some()));
    world.here("route add 203.0.113.0/24 via 192.0.2.201");
    watch.soon("one more", |r| mac_of(r, "203.0.113.1") == Some(mac(0xf1)));
    world.here("neigh add 192.0.2.202 lladdr 02:00:00:00:00:f2 nud permanent dev e0");
    watch.soon("a neighbour", |r| mac_of(r, "192.0.2.202") == Some(mac(0xf2)));
    batch("del", 0, 20_000);
    watch.within(2 * SOON, "all removed", |r| r.sizes().routes < 100);
    std::fs::remove_file(&path).unwrap();
    let _ = watch.settle();
    let now = world.inside(|| read_once().unwrap());
    assert_eq!(now.sizes(), watch.routes().sizes());
}

/// Asks the kernel (`ip route get`): link, gateway and source of a datagram to another machine, or none.
async fn ask(handle: &Handle, source: Option<IpAddr>, to: IpAddr) -> Option<(u32, Option<IpAddr>, IpAddr)> {
    use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};
    let bits = if to.is_ipv4() { 32 } else { 128 };
    let mut request = RouteMessage::default();
    request.header.address_family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    request.header.destination_prefix_length = bits;
    request.attributes.push(RouteAttribute::Destination(to.into()));
    if let Some(source) = source {
        request.header.source_prefix_length = bits;
        request.attributes.push(RouteAttribute::Source(source.into()));
    }
    let mut answers = pin!(handle.route().get(request).execute());
    let mut answer = answers.try_next().await.ok().flatten()?;
    if answer.header.kind != RouteType::Unicast {
        return None;
    }
    // What it was asked comes back with it.
    answer.header.flags = Default::default();
    answer.header.source_prefix_length = 0;
    let route = convert::route(&answer)?;
    let hop = route.hops.first()?;
    Some((hop.link.0, hop.gateway, source.or(route.source)?))
}

#[test]
fn the_kernel_decides_the_same() {
    let Some(world) = World::new() else { return };
    world.here("link add e1 type veth peer name f1");
    for up in ["e1", "f1"] {
        world.here(&format!("link set {up} addrgenmode none up"));
    }
    for (link, addresses) in [
        ("e0", ["192.0.2.65/26", "10.0.0.3/8", "fd00::3/64", "2001:db8:0:1::5/64"]),
        ("e1", ["198.51.100.1/24", "10.1.0.1/16", "2001:db8:1::1/64", "fd00:1::1/48"]),
    ] {
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            world.here(&format!("addr add {address} dev {link} {nodad}"));
        }
    }
    let gateways = [
        ("192.0.2.201", "e0"),
        ("192.0.2.66", "e0"),
        ("10.2.0.1", "e0"),
        ("198.51.100.7", "e1"),
        ("10.1.7.7", "e1"),
        ("2001:db8::201", "e0"),
        ("fd00::7", "e0"),
        ("2001:db8:1::7", "e1"),
        ("fd00:1::7", "e1"),
    ];
    for (n, (gateway, link)) in gateways.iter().enumerate() {
        world.here(&format!("neigh add {gateway} lladdr 02:00:00:00:00:{n:02x} nud permanent dev {link}"));
    }
    let (mut seed, mut unicast, mut none) = (1_u64, 0, 0);
    let mut below = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    let path = std::env::temp_dir().join(format!("sluice-random-{}", std::process::id()));
    for round in 0..4 {
        let mut text = String::from("rule flush\nrule add lookup main priority 32766\n-6 rule flush\n");
        text += "-6 rule add lookup main priority 32766\nroute flush table 7\nroute flush table 8\n";
        text = text.replace("-6 rule", "rule");
        let (mut v4, mut v6) = (text.clone(), text);
        let kinds = ["blackhole", "unreachable", "prohibit", "throw"];
        let tables = ["main", "main", "7", "8"];
        for _ in 0..120 {
            for (lines, is_v4) in [(&mut v4, true), (&mut v6, false)] {
                let (n, bits) = (below(64), below(10));
                let net = match (is_v4, below(12)) {
                    (_, 0) => "default".to_owned(),
                    (true, 1..6) => format!("203.0.113.{}/{}", n >> bits << bits, 32 - bits),
                    (true, _) => format!("10.{n}.0.0/16"),
                    (false, 1..6) => format!("2001:db8:f::{:x}/{}", n >> bits << bits, 128 - bits),
                    (false, _) => format!("fd00:{n:x}::/32"),
                };
                let (table, metric) = (tables[below(4) as usize], 1 + below(3));
                let of_family: Vec<_> = gateways.iter().filter(|(g, _)| g.contains(':') != is_v4).collect();
                let (gateway, link) = of_family[below(of_family.len() as u64) as usize];
                *lines += &match below(8) {
                    0 => {
                        format!(
                            "route add {} {net} table {table} metric {metric}\n",
                            kinds[below(4) as usize]
                        )
                    }
                    1 => format!("route add {net} dev {link} table {table} metric {metric}\n"),
                    _ => format!("route add {net} via {gateway} dev {link} table {table} metric {metric}\n"),
                };
            }
        }
        for n in 0..10 {
            for (lines, is_v4) in [(&mut v4, true), (&mut v6, false)] {
                let sources = if is_v4 {
                    ["192.0.2.1", "192.0.2.64/26", "10.0.0.0/8"]
                } else {
                    ["2001:db8::/64", "fd00::/16", "2001:db8:1::1"]
                };
                let from = match below(4) {
                    3 => String::new(),
                    n => format!("from {}", sources[n as usize]),
                };
                let not = if below(5) == 0 && !from.is_empty() { "not" } else { "" };
                let what =
                    ["lookup 7", "lookup 8", "lookup main suppress_prefixlength 28", "prohibit", "nop"]
                        [[0, 1, 0, 1, 2, 2, 3, 4][below(8) as usize]];
                *lines += &format!("rule add {not} {from} {what} priority {}\n", 100 + (n + below(3)) * 10);
            }
        }
        for (lines, family) in [(v4, "-4"), (v6, "-6")] {
            std::fs::write(&path, lines).unwrap();
            // Some of it cannot be: duplicates, a gateway that is not on the link.
            let all = ["-n", &world.here, family, "-force", "-batch", &path.display().to_string()]
                .map(str::to_owned);
            let output = Command::new("ip").args(all).output().unwrap();
            assert!(output.status.code() < Some(2), "{output:?}");
        }
        let agreed = world.inside(|| {
            runtime().unwrap().block_on(async {
                let handle = dump::connect().unwrap();
                let routes = IpRoutes::new(&dump::read(&handle, Stale::ALL).await.unwrap());
                let mut agreed = [0; 2];
                for _ in 0..1_500 {
                    let n = below(70);
                    let (to, sources) = match below(2) {
                        0 => (
                            [format!("203.0.113.{n}"), format!("10.{n}.0.9")],
                            ["192.0.2.1", "192.0.2.65", "10.0.0.3", "198.51.100.1"],
                        ),
                        _ => (
                            [format!("2001:db8:f::{n:x}"), format!("fd00:{n:x}::9")],
                            ["2001:db8::1", "fd00::3", "2001:db8:1::1", "fd00:1::1"],
                        ),
                    };
                    let to = address(&to[below(2) as usize]);
                    let source = (below(3) > 0).then(|| address(sources[below(4) as usize]));
                    let expected = ask(&handle, source, to).await;
                    let found = routes.look_up(source, to);
                    let told = format!(
                        "round {round}: from {source:?} to {to}: {found:?}, the kernel: {expected:?}"
                    );
                    match expected {
                        None => {
                            let fits = [NoWay::NoRoute, NoWay::Discarded, NoWay::Local];
                            assert!(found.is_err_and(|why| fits.contains(&why)), "{told}");
                        }
                        Some((link, gateway, from)) => {
                            assert_eq!(routes.leaves_by(source, to), Some(LinkIndex(link)), "{told}");
                            let place = gateways.iter().position(|(g, _)| Some(address(g)) == gateway);
                            match (found, place) {
                                (Ok(way), Some(place)) => {
                                    let expected = (link, mac(place as u8), from);
                                    assert_eq!(
                                        (way.link.0, way.destination_mac, way.source),
                                        expected,
                                        "{told}"
                                    );
                                }
                                (found, None) => assert_eq!(found.err(), Some(NoWay::Unresolved), "{told}"),
                                _ => panic!("{told}"),
                            }
                        }
                    }
                    agreed[usize::from(expected.is_some())] += 1;
                }
                agreed
            })
        });
        none += agreed[0];
        unicast += agreed[1];
    }
    std::fs::remove_file(&path).unwrap();
    println!("{unicast} ways and {none} without one are as the kernel has them");
    assert!(unicast > 1_000 && none > 100, "{unicast} {none}");
}

#[test]
fn lost_notifications_are_noticed() {
    let Some(world) = World::new() else { return };
    let path = std::env::temp_dir().join(format!("sluice-burst-{}", std::process::id()));
    let lines = (0..5_000).map(|n| format!("route add 10.{}.{}.0/24 dev e0\n", n / 256, n % 256));
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    world.inside(|| {
        runtime().unwrap().block_on(async {
            let mut events = Events::open().unwrap();
            world.here(&format!("-batch {}", path.display()));
            let is_lost = async { while events.next().await.unwrap() != Stale::ALL {} };
            tokio::time::timeout(SOON, is_lost).await.expect("5,000 fit in the receive buffer");
        });
    });
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_lost_connection_is_made_again() {
    let Some(world) = World::new() else { return };
    world.inside(|| {
        runtime().unwrap().block_on(async {
            let count = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&count);
            let on_change = Box::new(move |_: &Arc<IpRoutes>| {
                counted.fetch_add(1, Ordering::SeqCst);
            });
            let source = Source::open().unwrap();
            let mut tables = Tables::read(&source.handle, on_change).await.unwrap();
            drop(source);
            let stop = Notify::new();
            world.here("route add 203.0.113.0/24 dev e0");
            assert!(recover(&mut tables, &stop).await.is_some());
            assert_eq!(count.load(Ordering::SeqCst), 1, "what has changed meanwhile is published");
            assert_eq!(fails(&tables.published.load(), "203.0.113.1"), Some(NoWay::Unresolved));
            assert!(recover(&mut tables, &stop).await.is_some());
            assert_eq!(count.load(Ordering::SeqCst), 1, "nothing has");
            stop.notify_one();
            assert!(recover(&mut tables, &stop).await.is_none());
        });
    });
}

#[test]
fn it_ends_when_told_and_needs_no_privilege() {
    let Some(world) = World::new() else { return };
    world.here("neigh add 192.0.2.201 lladdr 02:00:00:00:00:f1 nud permanent dev e0");
    let (sender, receiver) = mpsc::channel();
    let mirror = world.inside(|| {
        crate::control::privilege::drop_all().unwrap();
        Mirror::start(move |routes| drop(sender.send(Arc::clone(routes)))).unwrap()
    });
    world.here("route add 203.0.113.0/24 via 192.0.2.201");
    let routes = receiver.recv_timeout(SOON).unwrap();
    assert_eq!(mac_of(&routes, "203.0.113.1"), Some(mac(0xf1)));
    let start = Instant::now();
    assert!(!mirror.is_finished());
    drop(mirror);
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert!(receiver.recv().is_err(), "the hook is gone with the thread");
}

#[test]
fn interfaces_as_they_are() {
    let Some(world) = World::new() else { return };
    world.here(
        "link add v0 numrxqueues 3 numtxqueues 5 mtu 1400 type veth peer name v1 numrxqueues 5 numtxqueues 3",
    );
    world.here("link set v0 address 02:00:00:00:00:33 up");
    let find = |name: &'static str| world.inside(move || Interface::find(name).unwrap());
    let v0 = find("v0").unwrap();
    assert_eq!((v0.rx_queues, v0.tx_queues, v0.mtu, v0.mac), (3, 5, 1_400, Some(mac(0x33))));
    assert_eq!((v0.kind.as_deref(), v0.driver.as_deref()), (Some("veth"), Some("veth")));
    assert_eq!((v0.is_up, v0.has_carrier, &v0.xdp[..]), (true, false, &[][..]));
    world.here("link set v1 up");
    assert!(find("v0").unwrap().has_carrier);
    let lo = find("lo").unwrap();
    assert_eq!((lo.index, lo.mac, lo.is_up), (LinkIndex(1), None, true));
    for absent in ["none", "", "a-name-that-is-longer-than-any", "e0/..", "%d"] {
        assert_eq!(find(absent), None, "{absent:?}");
    }
}

#[test]
fn sysfs_of_this_namespace() {
    // The loopback is number 1 in every namespace.
    let lo = Interface::find("lo").unwrap().unwrap();
    assert_eq!((lo.rx_queues, lo.tx_queues, lo.napi_defer_hard_irqs), (1, 1, Some(0)));
    assert_eq!(lo.gro_flush_timeout_ns, Some(0));
    assert!(read_once().unwrap().link_of_address(address("127.0.0.1")).is_some());
}
