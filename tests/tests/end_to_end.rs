//! End to end: SIPp calls across running `sluice` nodes, every message checked at the end where it
//! arrives.
//!
//! SIPp makes and takes the calls; it writes down what it sends and receives, and the tests compare what
//! one end sent with what the other received, call by call and message by message. What SIPp cannot do
//! (a strict router, a stranger with a forged Route) a thread or a socket of the test does. Nothing here
//! shares code with the router.
//!
//! # Topology
//!
//! All of it is either on the loopback (127.0.0.1, 127.0.0.2, `[::1]`) or in network namespaces, where the
//! ends and each node have their own addresses on a network `public` and a network `core`:
//! `harness/site/mod.rs`. The tests are the same.
//!
//! ```text
//! one_node, strangers, no_memory
//!
//!     caller ---------------- public [ node a ] ------------------------------ callee
//!
//! two_nodes
//!
//!     caller ---------------- public [ node a ] ---- public [ node b ] ------- callee
//!
//! two_listeners
//!
//!     caller ---------------- public [ node a ] core ------------------------- callee
//!     caller ------- public [ node a ] core ---- core [ node b ] public ------ callee
//!
//! strict_routers, with one and with two listeners
//!
//!     caller ---------------- public [ node a ] core ---- strict router ------ callee
//!     caller -- strict router ---- public [ node a ] core -------------------- callee
//!
//! faults, spread, same_bytes: in the modules
//! ```
//!
//! The scenarios are in `tests/sipp`: `call` (INVITE, 100, 180, 200, ACK, re-INVITE, BYE by the caller),
//! `callee_hangs_up` (re-INVITE and BYE by the callee), `cancel`, `busy` (486), `registration`,
//! `options`.
//!
//! # What is claimed
//!
//! Of every trial with SIPp:
//!
//! | claim | where it is checked |
//! |---|---|
//! | no call fails, by SIPp's exit code and by its statistics | `harness/sipp.rs`, `finish` |
//! | all messages of a call arrive, and a retransmission arrives with the same bytes | `harness/crossing.rs`, `check_direction`; `harness/trace.rs`, `by_call` |
//! | a request has one Via more for every hop, and each Via below is filled (`received`, `rport`) only where it must be | `check_vias`, `check_filled` |
//! | Max-Forwards is one less for every hop | `check_max_forwards` |
//! | a request that creates a dialog, and no other, has the Record-Route values of all hops in order, with `lr`, a pair with `r2=on` | `check_record_routes` |
//! | the remote target is the Request-URI again and no Route is left | `check_start_line`, `check_request` |
//! | a response has the sender's own Via and no other | `check_response` |
//! | all other header fields and the body are kept byte for byte | `check_the_rest` |
//! | CANCEL, and the ACK for a non-2xx, have the INVITE's branch; all else has its own | `check_branches` |
//! | a node sent on what both ends sent, as often as they sent it; each datagram has one fate; none is dropped; SIGTERM ends it with 0 | `harness/trial.rs`, `assert_forwarded`; `harness/node.rs` |
//!
//! By the tests:
//!
//! | test | claim |
//! |---|---|
//! | `one_node::{call,callee_hangs_up,cancel,busy}_over_*`, `registration`, `options` | a rule and its target set carry every kind of transaction; the route set works from both ends |
//! | `one_node::*_to_the_request_uri_*` | a trusted caller's request goes where its Request-URI says |
//! | `one_node::options_to_the_node_*` | the node answers an OPTIONS of its own, with Allow, Accept and Supported |
//! | `two_nodes::*_with_one_key`, `*_with_two_keys` | each node pops its own Route and proves its own seals, whether or not they share a key |
//! | `two_listeners::*` | double Record-Route: a pair, egress on top; popped as a pair from both ends; the request leaves by the right listener, also between IPv4 and IPv6; two pairs in one route set |
//! | `strict_routers::call_*_behind_*`, `callee_hangs_up_*_before_*` | a strict next hop gets its URI as Request-URI (16.6 step 6) |
//! | `strict_routers::callee_hangs_up_*_behind_*`, `call_*_before_*` | a Request-URI that the node stamped is undone (16.4), also one of a pair |
//! | `strangers::{call,callee_hangs_up,cancel,busy}*` | where nobody is trusted, a rule's calls work to their end |
//! | `strangers::*_is_refused` | a pre-loaded Route, a foreign Request-URI, a made-up dialog, a changed or borrowed seal: 403, and nothing goes on |
//! | `strangers::ack_for_a_refusal_is_absorbed` | the ACK for the node's own 403 is known by its To tag |
//! | `no_memory::same_request_same_bytes` | the same request gives the same bytes, also after a restart; so does the same response |
//! | `no_memory::another_node_of_the_cluster_*` | a CANCEL that crosses another node with the same key has the INVITE's branch |
//! | `faults::large_messages_cross` | fragments come in and go out; what grows over the MTU in the node leaves |
//! | `faults::route_mtu_is_respected` | fragments fit the route where it takes less than the link |
//! | `faults::{unreachable_*,link_*,neighbour_*,route_*,interface_*}` | no call is lost for a link, neighbour, route or interface that goes, comes back or changes, traffic flows again within a second, and no frame is lost |
//! | `faults::killed_and_started_again` | nor for a SIGKILL; what is left behind is in nobody's way |
//! | `spread::{two,four}_workers_*` | one pair of addresses is the work of all workers, within 5 % (AF_XDP); the order of a call's messages stays |
//! | `spread::nothing_is_lost_*` | nor is a message lost when the first of them went by the kernel, and few are overtaken |
//! | `spread::a_call_stays_with_its_worker` | all messages of a Call-ID are one worker's |
//! | `same_bytes::*` | the golden vectors, by real I/O: the same bytes by ordinary sockets and by AF_XDP |
//! | `sizes::*` | messages of every size up to the MTU come by AF_XDP, and leave by it if they still fit; larger ones take the kernel path in and out |
//! | `start::again_and_again_*` | six starts under traffic, each with what was required, and nothing that stays attached |
//! | `start::native_xdp_*` | so is native XDP that is wanted by name |
//! | `start::*zero_copy*` | where zero copy cannot be had, one line says so: and an exit code where it is required, copy mode where it is not |
//! | `start::a_carrier_*` | a carrier that comes late is waited for, and not for ever |
//! | `no_memory::restart_*` | a node that is stopped and started again carries on with every dialog |
//!
//! # Running
//!
//! `cargo build -p sluice && cargo test -p sluice-tests --test end_to_end`; `SLUICE_BIN` names another
//! binary. Without SIPp (Debian: `sip-tester`) or IPv6 the tests that need it say that they are skipped,
//! and fail where `CI` is set. The files of a failed test stay in `target/tmp/end_to_end`.
//!
//! So it runs on the loopback, by ordinary sockets. The environment chooses other ways, all in
//! `harness/site/variant.rs`; for example, as root:
//!
//! `SLUICE_SITE=namespaces SLUICE_IO=af_xdp SLUICE_QUEUES=2 SLUICE_WORKERS=4 cargo test -p sluice-tests --test end_to_end`
//!
//! `SLUICE_SITE=guest` has the node in an emulated machine; `scripts/zero-copy` starts it, sets all that it needs, and takes
//! names of tests.

#[path = "end_to_end/harness/mod.rs"]
mod harness;

#[path = "end_to_end/faults.rs"]
mod faults;
#[path = "end_to_end/no_memory.rs"]
mod no_memory;
#[path = "end_to_end/one_node.rs"]
mod one_node;
#[path = "end_to_end/same_bytes.rs"]
mod same_bytes;
#[path = "end_to_end/sizes.rs"]
mod sizes;
#[path = "end_to_end/spread.rs"]
mod spread;
#[path = "end_to_end/start.rs"]
mod start;
#[path = "end_to_end/strangers.rs"]
mod strangers;
#[path = "end_to_end/strict_routers.rs"]
mod strict_routers;
#[path = "end_to_end/two_listeners.rs"]
mod two_listeners;
#[path = "end_to_end/two_nodes.rs"]
mod two_nodes;
