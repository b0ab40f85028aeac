//! The configuration file's shape: one struct a table, one field a key. The comments here are the descriptions in `sluice schema`.

use super::text::{
    Address, ContactUri, FilePath, Host, HostPort, InterfaceName, MethodName, Name, Phrase, Prefix,
    SocketPath, UserPrefix,
};
use super::value::{List, Located, Text, Whole};
use crate::control::cpus::CpuList;
use crate::io::udp;
use crate::proxy::snapshot::ReplyRate;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::json;

/// The configuration of a sluice node.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(title = "sluice")]
pub struct ConfigFile {
    /// The node as a whole. Changes need a restart, but for `key_file`.
    pub node: Node,
    /// The bound addresses and ports; at least one.
    pub listen: Vec<Located<Listen>>,
    /// Whose requests are trusted: these may carry any Route, and may be relayed to any address.
    pub trust: Trust,
    /// How requests are routed.
    pub routing: Routing,
    /// The limit for replies of the node's own to sources that are not trusted.
    pub replies: Replies,
    /// The sockets and how workers wait on them. Changes need a restart.
    pub io: IoOptions,
    /// The interfaces that AF_XDP takes datagrams from. Default: those of the listeners, with the defaults of each key. Changes need a restart.
    pub interface: Vec<Located<Interface>>,
    /// The local socket that `sluice stats` talks to. Changes need a restart.
    pub admin: Admin,
    /// Sets of targets that rules choose from.
    pub target_set: Vec<Located<TargetSet>>,
    /// What happens to requests that are for this node, in order: the first rule that matches decides.
    pub rule: Vec<Located<Rule>>,
}

/// The node as a whole.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Node {
    /// The node's name, in logs and in the path of its admin socket. Default: "sluice".
    pub name: Option<Located<Text<Name>>>,
    /// How many worker threads. Default: one for each CPU in `cpus`; one where that is not given.
    pub workers: Option<Located<Whole<1, WORKERS_MAX>>>,
    /// The CPUs that workers are pinned to, one each and in this order. Default: not pinned.
    pub cpus: Option<Located<Text<CpuList>>>,
    /// The file with the cluster's secret, made by `sluice keygen`. Default: a secret of the node's own, so that it works alone.
    pub key_file: Option<Located<Text<FilePath>>>,
}

/// Most workers of a node: each takes a socket for each listener, and a CPU if it is to be of use.
pub const WORKERS_MAX: u32 = 256;

/// A listener: a bound address and port, for SIP over UDP.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Listen {
    /// Its name, for rules and logs. Seals name it too, so dialogs outlive a restart only if it stays.
    pub name: Located<Text<Name>>,
    /// The address and port to bind. All addresses (`0.0.0.0`, `[::]`) only together with `advertise`. A change needs a restart.
    pub address: Located<Text<Address>>,
    /// The interface that it is on. Default: the one that has the address; any for all addresses. A change needs a restart.
    pub interface: Option<Located<Text<InterfaceName>>>,
    /// What stands in Via and Record-Route instead of the bound address. Default: the bound address.
    pub advertise: Option<Located<Text<HostPort>>>,
    /// Further hosts and ports by which messages may name this listener. Default: none.
    #[serde(default)]
    pub aliases: List<HostPort>,
    /// Whether all that comes in here is trusted, whatever its source. Default: false.
    #[serde(default)]
    pub trusted: bool,
}

/// Whose requests are trusted.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Trust {
    /// Source prefixes. Default: none.
    pub sources: List<Prefix>,
}

/// How requests are routed.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Routing {
    /// Which requests get a Record-Route. Default: "dialogs".
    pub record_route: RecordRoute,
    /// Domains that this node is responsible for: a Request-URI with one of them is for us, and the rules choose. Default: none.
    pub domains: List<HostPort>,
    /// Whether Record-Routes are sealed, and requests in a dialog from sources that are not trusted must prove it. Default: true.
    pub seal_routes: bool,
    /// Whether Vias are sealed, and responses must prove it. Default: true.
    pub seal_responses: bool,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            record_route: RecordRoute::default(),
            domains: List::default(),
            seal_routes: true,
            seal_responses: true,
        }
    }
}

/// Which requests get a Record-Route.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecordRoute {
    /// Those that can create a dialog.
    #[default]
    Dialogs,
    /// None: this node sees only the first request of a dialog.
    Never,
}

/// The limit for replies of the node's own to one source address that is not trusted, in each worker.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Replies {
    /// Replies a second; 0 means any number. Default: 100.
    pub per_source_per_second: Whole<0, 1_000_000>,
    /// Replies at once, after a pause. Default: 200.
    pub burst: Whole<1, 1_000_000>,
}

impl Default for Replies {
    fn default() -> Self {
        let rate = ReplyRate::default();
        Self { per_source_per_second: Whole(rate.per_second), burst: Whole(rate.burst) }
    }
}

/// The sockets and how workers wait on them.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct IoOptions {
    /// How datagrams come and go. Default: "auto".
    pub mode: Mode,
    /// AF_XDP: what chooses the worker. Default: "call-id".
    pub steer: Steer,
    /// Sockets: most datagrams taken or sent by one system call. Default: 64.
    pub batch_datagrams_max: Whole<1, 1024>,
    /// AF_XDP: most frames taken from a ring at once. Default: 64.
    pub batch_frames_max: Whole<1, 1024>,
    /// AF_XDP: bytes of a frame, 2048 or 4096. With 2048, some drivers lose frames over 1024 bytes. Default: 4096.
    pub frame_size: Located<Whole<2048, 4096>>,
    /// AF_XDP: how many frames there are, for all interfaces and workers together. Default: as many as the rings can hold.
    pub frames: Option<Located<Whole<128, 4_194_304>>>,
    /// Microseconds that the kernel polls the NIC's queue for before it sleeps (SO_BUSY_POLL), instead of interrupts where the interface
    /// defers them (napi_defer_hard_irqs); 0 is off. Default: 0.
    pub busy_poll_us: Whole<0, 1_000_000>,
    /// Bytes of each socket's receive buffer (SO_RCVBUF), without CAP_NET_ADMIN at most net.core.rmem_max; 0 is the system's. Default: 4194304.
    pub receive_buffer_bytes: Whole<0, 1_073_741_824>,
    /// Bytes of each socket's send buffer (SO_SNDBUF), without CAP_NET_ADMIN at most net.core.wmem_max; 0 is the system's. Default: 1048576.
    pub send_buffer_bytes: Whole<0, 1_073_741_824>,
    /// Microseconds that an idle worker sleeps before it looks for a new configuration or a stop; 0 spins without sleep. Default: 100000.
    pub idle_us_max: Whole<0, 1_000_000>,
}

/// How datagrams come and go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// AF_XDP where it can be had in native mode, ordinary sockets elsewhere.
    #[default]
    Auto,
    /// AF_XDP; where it cannot be had the node does not start.
    AfXdp,
    /// Ordinary sockets.
    Udp,
}

/// What chooses the worker that gets a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Steer {
    /// The Call-ID: all workers share the work even of a single neighbour.
    #[default]
    CallId,
    /// The queue of the interface, as the NIC spreads its flows.
    Queue,
}

/// An interface that AF_XDP takes datagrams from.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Interface {
    /// Its name. Of a VLAN or a bond, that of the physical interface below.
    pub name: Located<Text<InterfaceName>>,
    /// How many of its queues, from the first on; datagrams of the others go by the kernel. Default: all.
    pub queues: Option<Located<Whole<1, 1024>>>,
    /// Where the steering program runs. Default: "auto".
    #[serde(default)]
    pub xdp_mode: XdpMode,
    /// Whether the driver is to receive into our frames and send out of them. Default: "auto".
    pub zero_copy: Option<Located<ZeroCopy>>,
}

/// Where the steering program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum XdpMode {
    /// In the driver; behind it only where the driver cannot and `io.mode` is "af_xdp".
    #[default]
    Auto,
    /// In the driver; the node does not start without, not by ordinary sockets either, where `io.mode` is "auto".
    Native,
    /// Behind the driver: works everywhere, and is slower.
    Generic,
}

/// Whether the driver is to receive into our frames and send out of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ZeroCopy {
    /// Where the driver can.
    #[default]
    Auto,
    /// The node does not start without; not by ordinary sockets either, where `io.mode` is "auto".
    Require,
    /// The kernel copies.
    Never,
}

impl Default for IoOptions {
    fn default() -> Self {
        let sockets = udp::Options::default();
        Self {
            mode: Mode::default(),
            steer: Steer::default(),
            batch_frames_max: Whole(64),
            frame_size: Located { value: Whole(4096), at: 0..0 },
            frames: None,
            batch_datagrams_max: Whole(sockets.batch_datagrams_max as u32),
            busy_poll_us: Whole(sockets.busy_poll_us.unwrap_or(0)),
            receive_buffer_bytes: Whole(sockets.receive_buffer_bytes.unwrap_or(0) as u32),
            send_buffer_bytes: Whole(sockets.send_buffer_bytes.unwrap_or(0) as u32),
            idle_us_max: Whole(100_000),
        }
    }
}

impl IoOptions {
    /// What the UDP sockets are opened with.
    #[must_use]
    pub fn sockets(&self) -> udp::Options {
        let unless_zero = |number: u32| (number > 0).then_some(number);
        udp::Options {
            batch_datagrams_max: self.batch_datagrams_max.0 as usize,
            busy_poll_us: unless_zero(self.busy_poll_us.0),
            receive_buffer_bytes: unless_zero(self.receive_buffer_bytes.0).map(|bytes| bytes as usize),
            send_buffer_bytes: unless_zero(self.send_buffer_bytes.0).map(|bytes| bytes as usize),
        }
    }
}

/// The local socket that `sluice stats` talks to.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Admin {
    /// Its path. Default: NAME.sock in /run/sluice, else in $XDG_RUNTIME_DIR/sluice, else in /tmp/sluice-UID.
    pub socket: Option<Located<Text<SocketPath>>>,
}

/// A set of targets. All requests of one Call-ID go to the same member, on every node.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct TargetSet {
    /// Its name, for rules.
    pub name: Located<Text<Name>>,
    /// Its members; at least one.
    pub members: Located<Vec<Member>>,
    /// The name of the listener that requests leave by. Default: the one they came in by, where it can reach the target.
    pub egress: Option<Located<Text<Name>>>,
}

/// A member of a target set.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Member {
    /// Where it listens.
    pub address: Located<Text<Address>>,
    /// Its share, relative to the other members'; 0 takes none. Default: 100.
    #[serde(default = "Member::weight_default")]
    pub weight: Whole<0, 65_535>,
    /// Out of service: its calls go to the other members, and all other calls stay where they are. Default: false.
    #[serde(default)]
    pub down: bool,
}

impl Member {
    const fn weight_default() -> Whole<0, 65_535> {
        Whole(100)
    }
}

/// A rule. It matches when each condition that it has matches; it has exactly one action.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[schemars(transform = Rule::one_action)]
pub struct Rule {
    /// Condition: the listener it came in by, by name.
    pub listener: List<Name>,
    /// Condition: the source address.
    pub source: List<Prefix>,
    /// Condition: the method. INVITE takes its ACK and CANCEL too.
    pub method: List<MethodName>,
    /// Condition: the Request-URI's host, without port.
    pub host: List<Host>,
    /// Condition: what the Request-URI's user part begins with.
    pub user_prefix: List<UserPrefix>,
    /// Action: forward to a member of this target set, by name.
    pub target_set: Option<Located<Text<Name>>>,
    /// Action: forward to this address.
    pub next_hop: Option<Located<Text<Address>>>,
    /// Action: answer.
    pub reply: Option<Located<Reply>>,
    /// Action: answer 302 with these Contacts; at most 8.
    pub redirect: Option<List<ContactUri>>,
    /// The name of the listener that requests leave by; for `target_set` and `next_hop`. Default: the target set's.
    pub egress: Option<Located<Text<Name>>>,
}

impl Rule {
    /// The names of the actions.
    pub const ACTIONS: [&str; 4] = ["target_set", "next_hop", "reply", "redirect"];

    /// Says in the schema that a rule has exactly one action.
    fn one_action(schema: &mut Schema) {
        let one_of = Self::ACTIONS.map(|action| json!({ "required": [action] }));
        schema.insert("oneOf".to_owned(), json!(one_of));
    }
}

/// A reply.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Reply {
    /// The status code.
    pub status: Whole<300, 699>,
    /// The reason phrase. Default: RFC 3261's.
    pub reason: Option<Text<Phrase>>,
}
