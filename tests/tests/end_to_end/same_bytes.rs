//! The golden vectors once more, through a node's real I/O: each message is sent to a running node, and what
//! leaves must be what the vector says, to the byte, from the right listener to the right address; by ordinary
//! sockets and by the I/O that the environment asks for, one after the other, with one key.
//!
//! The only tests here that share something with the router: its vectors, and the code that reads them.
//!
//! ```text
//! ends: every address that a vector names, behind a gateway of its network
//!     203.0.113.9, 2001:db8:99::9, ... ---- [public] 192.0.2.1, 2001:db8::1   node a
//!     10.0.1.1, fd00::9, ...           ---- [core]   10.0.0.1,  fd00::1
//! ```

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use sluice_tests::{Vector, golden, plan};

use crate::harness::node::{Node, NodeConfig};
use crate::harness::phone::receive;
use crate::harness::site::{IoMode, Network, Site, ip};

/// The key of the vectors: "the vectors' key".
const KEY: &str = "1 74686520766563746f727327206b6579";
/// The plan of the vectors (`sluice_tests::plan`) as a configuration.
const PLAN: &str = r#"
[trust]
sources = ["10.0.0.0/8"]

[routing]
domains = ["example.com"]

[replies]
per_source_per_second = 0

[[listen]]
name = "public"
address = "192.0.2.1:5060"

[[listen]]
name = "core"
address = "10.0.0.1:5060"
trusted = true

[[listen]]
name = "public6"
address = "[2001:db8::1]:5060"

[[listen]]
name = "core6"
address = "[fd00::1]:5060"
trusted = true

[[target_set]]
name = "core"
egress = "core"
members = [{ address = "10.0.1.1:5060" }]

[[rule]]
target_set = "core"
"#;

#[test]
fn golden_vectors_over_real_io() {
    let Some(site) = Site::of_network() else {
        return;
    };
    // What comes to the node, or from it, by another port of its own needs a socket there.
    let has_ends = |vector: &Vector| site.is_here() || !is_of_the_node(vector);
    let vectors = golden("").into_iter().filter(is_of_the_plan).filter(has_ends);
    let vectors: Vec<Vector> = vectors.collect();
    assert!(vectors.len() > 300, "only {} vectors", vectors.len());
    let ends = Ends::new(&site, &vectors);
    let modes =
        if site.variant.io == IoMode::Udp { vec![IoMode::Udp] } else { vec![IoMode::Udp, site.variant.io] };
    let mut first: Option<Vec<Left>> = None;
    for io in modes {
        let mut config = NodeConfig::new("a", KEY).routing(PLAN).io(io);
        for listener in plan().listeners {
            config = config.listener(&listener.name, listener.address);
        }
        let node = Node::start(&site, &config);
        let left: Vec<Left> = vectors.iter().map(|vector| ends.check(vector, io)).collect();
        ends.assert_silence();
        node.assert_all_frames_are_there();
        let counters = node.stop();
        let count = u64::try_from(vectors.len()).expect("a small number");
        assert_eq!(counters.get("received"), count, "{io:?}: each came once: {counters:#?}");
        for (i, vector) in vectors.iter().enumerate() {
            let first = first.get_or_insert_with(|| left.clone());
            assert!(first[i] == left[i], "{}: the same leaves by {io:?}", vector.name);
        }
    }
}

/// What left because of a vector: from where, and the bytes.
type Left = Option<(SocketAddr, Vec<u8>)>;

fn is_of_the_plan(vector: &Vector) -> bool {
    vector.inputs.last().is_some_and(|input| input.config == "default")
}

/// Whether one of its ends has an address of the node.
fn is_of_the_node(vector: &Vector) -> bool {
    let own: Vec<IpAddr> = plan().listeners.iter().map(|listener| listener.address.ip()).collect();
    let source = vector.inputs.last().expect("an input").flow.source;
    [Some(source), destination(vector)].iter().flatten().any(|end| own.contains(&end.ip()))
}

/// Everybody that the vectors name.
struct Ends {
    sockets: HashMap<SocketAddr, UdpSocket>,
}

impl Ends {
    fn new(site: &Site, vectors: &[Vector]) -> Self {
        let sources = vectors.iter().map(|vector| vector.inputs.last().expect("an input").flow.source);
        let addresses: BTreeSet<SocketAddr> = sources.chain(vectors.iter().filter_map(destination)).collect();
        let own: Vec<IpAddr> = plan().listeners.iter().map(|listener| listener.address.ip()).collect();
        let ips: BTreeSet<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
        for address in ips.difference(&own.iter().copied().collect()) {
            let (length, nodad) = if address.is_ipv4() { (32, "") } else { (128, "nodad") };
            let device = site.device(side(*address));
            ip(&format!("addr replace {address}/{length} dev {device} {nodad}"));
        }
        site.ip_at_node("a", &routes(site));
        // What a vector sends to another port of the node's own addresses comes out there.
        let bind =
            |address: &SocketAddr| UdpSocket::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let socket = |address: SocketAddr| match own.contains(&address.ip()) {
            true => (address, site.at_node("a", || bind(&address))),
            false => (address, bind(&address)),
        };
        Self { sockets: addresses.into_iter().map(socket).collect() }
    }

    /// Sends the last message of a vector, as the others have made it, and looks at what comes of it.
    ///
    /// The vectors know of no routes. Where those say that a listener's link is not the one towards the next
    /// hop, a message leaves by another listener than in the vector, and so with other bytes.
    fn check(&self, vector: &Vector, io: IoMode) -> Left {
        let name = &vector.name;
        let (datagram, _, _) = vector.run();
        let flow = vector.inputs.last().expect("an input").flow;
        let sent = self.sockets[&flow.source].send_to(&datagram, flow.destination);
        assert_eq!(sent.ok(), Some(datagram.len()), "{name}: it can be sent");
        let to = destination(vector)?;
        let socket = &self.sockets[&to];
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a socket takes a timeout");
        let mut buffer = vec![0; 65_536];
        let (length, from) = receive(socket, &mut buffer).unwrap_or_else(|e| panic!("{io:?}, {name}: {e}"));
        buffer.truncate(length);
        let egress = egress(vector).unwrap_or(flow.destination);
        let moved = side(egress.ip()) != side(to.ip()) && side(from.ip()) == side(to.ip());
        if from != egress && moved && vector.fate.starts_with("forward ") {
            return Some((from, buffer));
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (left, right) = (text(&buffer), text(&vector.output));
        assert!(buffer == vector.output, "{io:?}, {name}: left:\n{left}\nas it should:\n{right}");
        assert_eq!(from, egress, "{io:?}, {name}: it leaves by the listener of the vector");
        Some((from, buffer))
    }

    /// Nothing came that no vector expects. A keep-alive is no message: who is slow gets one, when the kernel calls his address stale.
    fn assert_silence(&self) {
        for (address, socket) in &self.sockets {
            socket.set_nonblocking(true).expect("a socket takes it");
            let mut buffer = [0; 65_536];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let more = &buffer[..length];
                assert_eq!(more, b"\r\n\r\n", "nothing more comes to {address}: {length} bytes from {from}");
            }
            socket.set_nonblocking(false).expect("a socket takes it");
        }
    }
}

/// Where a vector's datagram goes to.
fn destination(vector: &Vector) -> Option<SocketAddr> {
    let leaves = ["forward ", "reply "].iter().any(|fate| vector.fate.starts_with(fate));
    leaves.then(|| vector.fate.rsplit(' ').next().and_then(|to| to.parse().ok()).expect("an address"))
}

/// The listener that a vector's message is forwarded by.
fn egress(vector: &Vector) -> Option<SocketAddr> {
    let name = vector.fate.strip_prefix("forward ")?.split(' ').next()?;
    plan().listeners.into_iter().find(|listener| &*listener.name == name).map(|listener| listener.address)
}

/// The network that an address is behind.
fn side(ip: IpAddr) -> Network {
    let is_core = match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 10,
        IpAddr::V6(ip) => ip.segments()[0] == 0xfd00,
    };
    if is_core { Network::Core } else { Network::Public }
}

/// The node's routes to both.
fn routes(site: &Site) -> String {
    let [public, core] = Network::ALL.map(|network| site.device(network));
    format!(
        "route replace default via 192.0.2.254 dev {public}\n\
         route replace 10.0.0.0/8 via 10.0.0.254 dev {core}\n\
         route replace default via 2001:db8::fe dev {public}\n\
         route replace fd00::/16 via fd00::fe dev {core}\n"
    )
}
