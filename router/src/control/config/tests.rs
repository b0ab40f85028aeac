use super::text::{
    Address, ContactUri, FilePath, Host, HostPort, InterfaceName, MethodName, Name, Phrase, Prefix,
    SocketPath, UserPrefix,
};
use super::value::FromText;
use super::*;
use crate::control::cpus::CpuList;
use crate::io::ListenerIndex;
use crate::proxy::identity::Owner;
use crate::proxy::rules::Action;
use crate::proxy::seal::{Key, Keys};
use crate::proxy::snapshot::{ReplyRate, Snapshot};
use crate::sip::{uri, via};
use std::collections::HashMap;

/// What every configuration in these tests ends with, so that lines count from what is tested.
const LISTEN: &str = "\n[[listen]]\nname = \"a\"\naddress = \"192.0.2.1:5060\"\n";
const SET: &str = "\n[[target_set]]\nname = \"s\"\nmembers = [{ address = \"192.0.2.9:5060\" }]\n";

fn keys() -> Keys {
    Keys { current: Key::new(1, &[7; 16]), other: None }
}

fn build(text: &str) -> Result<(Config, Snapshot), ConfigError> {
    let config = from_text("f", text)?;
    NodePlan::new(&config, &Overrides::default())?;
    let snapshot = snapshot(&config, keys())?;
    Ok((config, snapshot))
}

/// What `sluice check` says of the text: its error, or "ok".
fn check(text: &str) -> String {
    build(text).map_or_else(|error| error.to_string(), |_| "ok".to_owned())
}

fn with_listener(text: &str) -> String {
    format!("{text}{LISTEN}")
}

#[test]
fn good_values_of_every_key() {
    for text in [
        "",
        "[node]\nname = \"edge-1.example\"\nworkers = 256\nkey_file = \"keys\"",
        "[node]\nworkers = 2\ncpus = \"0,2-3\"",
        "[trust]\nsources = []",
        "[trust]\nsources = \"192.0.2.1\"",
        "[trust]\nsources = [\"10.0.0.0/8\", \"2001:db8::/32\", \"::1\"]",
        "[routing]\nrecord_route = \"dialogs\"\nseal_routes = false\nseal_responses = false",
        "[routing]\nrecord_route = \"never\"\ndomains = [\"Example.net\", \"example.org:5070\", \"[2001:db8::1]\"]",
        "[replies]\nper_source_per_second = 0\nburst = 1",
        "[io]\nbatch_datagrams_max = 1024\nbusy_poll_us = 50\nidle_us_max = 0",
        "[io]\nreceive_buffer_bytes = 0\nsend_buffer_bytes = 1073741824",
        "[io]\nmode = \"af_xdp\"\nsteer = \"queue\"\nbatch_frames_max = 1\nframe_size = 2048\nframes = 8192",
        "[io]\nmode = \"auto\"\nsteer = \"call-id\"\nframe_size = 4096",
        "[[interface]]\nname = \"eth0\"\nqueues = 4\nxdp_mode = \"native\"\nzero_copy = \"require\"",
        "[[interface]]\nname = \"eth0\"\n[[interface]]\nname = \"eth1.7\"\nxdp_mode = \"generic\"\nzero_copy = \"never\"",
        "[[listen]]\nname = \"b\"\naddress = \"10.0.0.1:5060\"\ninterface = \"eth0\"",
        "[admin]\nsocket = \"/tmp/x.sock\"",
        "[[listen]]\nname = \"b\"\naddress = \"[::]:5060\"\nadvertise = \"b.example\"\ntrusted = true",
        "[[listen]]\nname = \"b\"\naddress = \"127.0.0.1:1\"\naliases = [\"b.example:1\", \"[::1]\", \"198.51.100.1\"]",
        "[[target_set]]\nname = \"t\"\negress = \"a\"\nmembers = [{ address = \"192.0.2.2:1\", weight = 0, down = true }]",
        "[[rule]]\nlistener = \"a\"\nsource = \"10.0.0.0/8\"\nmethod = \"INVITE\"\nhost = \"x.example\"\nuser_prefix = \"+\"\n\
         next_hop = \"192.0.2.2:5060\"\negress = \"a\"",
        "[[rule]]\nlistener = [\"a\"]\nsource = [\"10.0.0.0/8\", \"::/0\"]\nmethod = [\"INVITE\", \"X-ray\"]\n\
         host = [\"x.example\", \"192.0.2.7\", \"2001:db8::1\"]\nuser_prefix = [\"+\", \"00\"]\nreply = { status = 699, reason = \"Non\" }",
        "[[rule]]\nredirect = \"sip:a\"",
        "[[rule]]\nredirect = [\"sip:a@b;lr?x=y\", \"sips:a\", \"tel:+1\"]",
    ] {
        assert_eq!(check(&with_listener(text)), "ok", "{text}");
    }
}

#[test]
fn bad_values_of_every_key() {
    let number = |range: &str| format!("a whole number from {range}");
    let action = "exactly one of `target_set`, `next_hop`, `reply`, `redirect`";
    for (text, place_and_what, allowed) in [
        (
            "x = 1",
            "1:1: x: no such key",
            "`node`, `listen`, `trust`, `routing`, `replies`, `io`, `interface`, `admin`, `target_set`, `rule`",
        ),
        ("node = 1", "1:8: node: integer `1`", "a table"),
        ("[node]\nnmae = \"x\"", "2:1: node.nmae: no such key", "`name`, `workers`, `cpus`, `key_file`"),
        ("[node]\nname = 1", "2:8: node.name: integer `1`", &Name::allowed()),
        ("[node]\nname = \"../x\"", "2:8: node.name: \"../x\" is not a name", &Name::allowed()),
        ("[node]\nworkers = 0", "2:11: node.workers: integer `0`", &number("1 to 256")),
        ("[node]\nworkers = \"2\"", "2:11: node.workers: string \"2\"", &number("1 to 256")),
        (
            "[node]\nworkers = 99999999999999999999",
            "2:11: node.workers: a number far outside",
            &number("1 to 256"),
        ),
        ("[node]\ncpus = 2", "2:8: node.cpus: integer `2`", &CpuList::allowed()),
        ("[node]\ncpus = \"5-2\"", "2:8: node.cpus: the range 5-2 runs backwards", &CpuList::allowed()),
        (
            "[node]\nworkers = 3\ncpus = \"0-1\"",
            "2:11: node.workers: 3 workers for 2 CPUs",
            "at most one worker for each CPU",
        ),
        ("[node]\ncpus = \"0-999\"", "2:8: node.cpus: 1000 workers", "1 to 256"),
        ("[node]\nkey_file = \"\"", "2:12: node.key_file: \"\" is not a path", &FilePath::allowed()),
        ("[trust]\nsource = []", "2:1: trust.source: no such key", "`sources`"),
        (
            "[trust]\nsources = [\"10.0.0.0/8\", \"10.0.0.0/33\"]",
            "2:26: trust.sources[1]: \"10.0.0.0/33\" is not an IP prefix",
            &Prefix::allowed(),
        ),
        (
            "[trust]\nsources = \"10.0.0.1/8\"",
            "2:11: trust.sources: \"10.0.0.1/8\" has bits set after its prefix: is it 10.0.0.0/8 or 10.0.0.1?",
            &Prefix::allowed(),
        ),
        ("[trust]\nsources = [5]", "2:12: trust.sources[0]: integer `5`", &Prefix::allowed()),
        (
            "[trust]\nsources = 5",
            "2:11: trust.sources: integer `5`",
            &format!("{}, or a list of such", Prefix::allowed()),
        ),
        (
            "[routing]\nrecord_route = \"always\"",
            "2:16: routing.record_route: `always`",
            "`dialogs` or `never`",
        ),
        ("[routing]\nseal_routes = \"on\"", "2:15: routing.seal_routes: string \"on\"", "true or false"),
        ("[routing]\nseal_responses = 1", "2:18: routing.seal_responses: integer `1`", "true or false"),
        (
            "[routing]\ndomains = [\"a b\"]",
            "2:12: routing.domains[0]: \"a b\" is not a host and port",
            &HostPort::allowed(),
        ),
        (
            "[routing]\ndomains = [\"10.0.0.256\"]",
            "2:12: routing.domains[0]: \"10.0.0.256\" is neither an address nor a host name",
            &HostPort::allowed(),
        ),
        (
            "[replies]\nper_source_per_second = -1",
            "2:25: replies.per_source_per_second: integer `-1`",
            &number("0 to 1000000"),
        ),
        ("[replies]\nburst = 0", "2:9: replies.burst: integer `0`", &number("1 to 1000000")),
        ("[io]\nbatch_datagrams_max = 0", "2:23: io.batch_datagrams_max: integer `0`", &number("1 to 1024")),
        (
            "[io]\nbatch_datagrams_max = 1025",
            "2:23: io.batch_datagrams_max: integer `1025`",
            &number("1 to 1024"),
        ),
        ("[io]\nmode = \"dpdk\"", "2:8: io.mode: `dpdk`", "`auto`, `af_xdp`, `udp`"),
        ("[io]\nsteer = \"callid\"", "2:9: io.steer: `callid`", "`call-id` or `queue`"),
        ("[io]\nframe_size = 3000", "2:14: io.frame_size: 3000 bytes", "2048 or 4096"),
        ("[io]\nframes = 1", "2:10: io.frames: integer `1`", &number("128 to 4194304")),
        (
            "[[interface]]\nname = \"a b\"",
            "2:8: interface[0].name: \"a b\" is not the name of an interface",
            &InterfaceName::allowed(),
        ),
        (
            "[[interface]]\nname = \"a\"\n[[interface]]\nname = \"a\"",
            "4:8: interface[1].name: there is an interface \"a\" already",
            "one table for each interface",
        ),
        (
            "[[interface]]\nname = \"a\"\nxdp_mode = \"driver\"",
            "3:12: interface[0].xdp_mode: `driver`",
            "`auto`, `native`, `generic`",
        ),
        (
            "[[interface]]\nname = \"a\"\nzero_copy = true",
            "3:13: interface[0].zero_copy: no string",
            "one of the key's values, in quotes",
        ),
        (
            "[[interface]]\nname = \"a\"\nzero_copy = \"require\"\nxdp_mode = \"generic\"",
            "3:13: interface[0].zero_copy: \"require\" with xdp_mode = \"generic\", where there is no zero copy",
            "\"auto\", \"never\", or another xdp_mode",
        ),
        ("[io]\nbusy_poll_us = 1.5", "2:16: io.busy_poll_us: floating point `1.5`", &number("0 to 1000000")),
        (
            "[io]\nreceive_buffer_bytes = -1",
            "2:24: io.receive_buffer_bytes: integer `-1`",
            &number("0 to 1073741824"),
        ),
        (
            "[io]\nsend_buffer_bytes = true",
            "2:21: io.send_buffer_bytes: boolean `true`",
            &number("0 to 1073741824"),
        ),
        ("[io]\nidle_us_max = 1000001", "2:15: io.idle_us_max: integer `1000001`", &number("0 to 1000000")),
        ("[admin]\nsocket = 1", "2:10: admin.socket: integer `1`", &SocketPath::allowed()),
        (
            "[[target_set]]\nname = \"s\"\nmembers = []",
            "3:11: target_set[0].members: no member",
            "1 to 655 members",
        ),
        (
            "[[target_set]]\nname = \"s\"\nmembers = [{ address = \"192.0.2.2:5060\", weight = 65536 }]",
            "3:51: target_set[0].members[0].weight: integer `65536`",
            &number("0 to 65535"),
        ),
        (
            "[[target_set]]\nname = \"s\"\nmembers = [{ address = \"192.0.2.2:5060\", down = 1 }]",
            "3:49: target_set[0].members[0].down: integer `1`",
            "true or false",
        ),
        (
            "[[target_set]]\nname = \"s\"\nmembers = [{ address = \"192.0.2.2:5060\", up = 1 }]",
            "3:42: target_set[0].members[0].up: no such key",
            "`address`, `weight`, `down`",
        ),
        (
            "[[target_set]]\nname = \"s\"\nmembers = [\n  { address = \"pbx:5060\" },\n]",
            "4:15: target_set[0].members[0].address: \"pbx:5060\" is not an address and a port",
            &Address::allowed(),
        ),
        (
            "[[target_set]]\nname = \"s\"\nmembers = [{ address = \"192.0.2.2:1\" }, { address = \"192.0.2.2:1\" }]",
            "3:53: target_set[0].members[1].address: 192.0.2.2:1 is a member already",
            "each address once, with its weight",
        ),
        (
            "[[target_set]]\nname = \"s\"\nmembers = [{ address = \"192.0.2.2:1\" }]\negress = \"b\"",
            "4:10: target_set[0].egress: no listener is called \"b\"",
            "\"a\"",
        ),
        (
            "[[rule]]\nuser = \"+\"",
            "2:1: rule[0].user: no such key",
            "`listener`, `source`, `method`, `host`, `user_prefix`, `target_set`, `next_hop`, `reply`, `redirect`, `egress`",
        ),
        (
            "[[rule]]\nlistener = \"b\"\nreply = { status = 404 }",
            "2:12: rule[0].listener: no listener is called \"b\"",
            "\"a\"",
        ),
        (
            "[[rule]]\nsource = [\"x\"]\nreply = { status = 404 }",
            "2:11: rule[0].source[0]: \"x\" is not an IP prefix",
            &Prefix::allowed(),
        ),
        (
            "[[rule]]\nmethod = \"invite\"\nreply = { status = 404 }",
            "2:10: rule[0].method: \"invite\" is not INVITE: methods are case-sensitive (RFC 3261 7.1)",
            &MethodName::allowed(),
        ),
        (
            "[[rule]]\nmethod = \"A B\"\nreply = { status = 404 }",
            "2:10: rule[0].method: \"A B\" is not a method",
            &MethodName::allowed(),
        ),
        (
            "[[rule]]\nhost = \"a.example:5060\"\nreply = { status = 404 }",
            "2:8: rule[0].host: \"a.example:5060\" is not a host without a port",
            &Host::allowed(),
        ),
        (
            "[[rule]]\nuser_prefix = \"\"\nreply = { status = 404 }",
            "2:15: rule[0].user_prefix: an empty prefix matches every user part: leave the key out",
            &UserPrefix::allowed(),
        ),
        (
            "[[rule]]\nuser_prefix = [\"+\", \"a@b\"]\nreply = { status = 404 }",
            "2:21: rule[0].user_prefix[1]: no user part begins with \"a@b\"",
            &UserPrefix::allowed(),
        ),
        (
            "[[rule]]\nuser_prefix = []\nreply = { status = 404 }",
            "2:15: rule[0].user_prefix: an empty list",
            &format!("{}, a list of such, or leave the key out", UserPrefix::allowed()),
        ),
        (
            "[[rule]]\ntarget_set = \"x\"",
            "2:14: rule[0].target_set: no target set is called \"x\"",
            "none, as there is no target set",
        ),
        (
            "[[rule]]\nnext_hop = \"192.0.2.2\"",
            "2:12: rule[0].next_hop: \"192.0.2.2\" has no port",
            &Address::allowed(),
        ),
        (
            "[[rule]]\nnext_hop = \"192.0.2.2:0\"",
            "2:12: rule[0].next_hop: port 0 is no port",
            &Address::allowed(),
        ),
        (
            "[[rule]]\nnext_hop = \"224.0.0.1:5060\"",
            "2:12: rule[0].next_hop: \"224.0.0.1:5060\" is a multicast or broadcast address",
            &Address::allowed(),
        ),
        (
            "[[rule]]\nnext_hop = \"[fe80::1%2]:5060\"",
            "2:12: rule[0].next_hop: an address with a zone cannot stand in a message",
            &Address::allowed(),
        ),
        (
            "[[rule]]\nnext_hop = \"[::ffff:192.0.2.2]:5060\"",
            "2:12: rule[0].next_hop: \"[::ffff:192.0.2.2]:5060\" is an IPv4 address in IPv6 clothes: write 192.0.2.2",
            &Address::allowed(),
        ),
        ("[[rule]]\nreply = 404", "2:9: rule[0].reply: integer `404`", "a table"),
        (
            "[[rule]]\nreply = { status = 200 }",
            "2:20: rule[0].reply.status: integer `200`",
            &number("300 to 699"),
        ),
        (
            "[[rule]]\nreply = { status = 700 }",
            "2:20: rule[0].reply.status: integer `700`",
            &number("300 to 699"),
        ),
        (
            "[[rule]]\nreply = { status = 404, reason = \"a\\r\\nb\" }",
            "2:34: rule[0].reply.reason: \"a\\r\\nb\" has a control character",
            &Phrase::allowed(),
        ),
        (
            "[[rule]]\nreply = { status = 404, reason = \"\" }",
            "2:34: rule[0].reply.reason: a text of 0 bytes",
            &Phrase::allowed(),
        ),
        (
            "[[rule]]\nredirect = [\"sip:a\", \"bob@b.example\"]",
            "2:22: rule[0].redirect[1]: \"bob@b.example\" is not such a URI",
            &ContactUri::allowed(),
        ),
        (
            "[[rule]]\nredirect = \"sip:a\\r\\nX: y\"",
            "2:12: rule[0].redirect: \"sip:a\\r\\nX: y\" is not such a URI",
            &ContactUri::allowed(),
        ),
        (
            "[[rule]]\nredirect = \"localhost:5060\"",
            "2:12: rule[0].redirect: \"localhost:5060\" is not such a URI",
            &ContactUri::allowed(),
        ),
        (
            "[[rule]]\nredirect = []",
            "2:12: rule[0].redirect: 0 URIs, 0 bytes as Contacts",
            "1 to 8 URIs and 1000 bytes",
        ),
        ("[[rule]]\nhost = \"x.example\"", "1:1: rule[0]: no action", action),
        (
            "[[rule]]\nnext_hop = \"192.0.2.2:1\"\nreply = { status = 404 }",
            "3:9: rule[0].reply: a second action",
            action,
        ),
        (
            "[[rule]]\nreply = { status = 404 }\negress = \"a\"",
            "3:10: rule[0].egress: a reply leaves by the listener its request came in by",
            "with `target_set` or `next_hop`",
        ),
        (
            "[[rule]]\nnext_hop = \"192.0.2.2:1\"\negress = \"x\"",
            "3:10: rule[0].egress: no listener is called \"x\"",
            "\"a\"",
        ),
    ] {
        assert_eq!(check(&with_listener(text)), format!("f:{place_and_what}; allowed: {allowed}"), "{text}");
    }
}

#[test]
fn keys_that_are_missing_and_text_that_is_no_toml() {
    for (text, error) in [
        ("[[rule]]\nreply = { reason = \"x\" }", "f:2:9: rule[0].reply: the key `status` is missing"),
        ("[[interface]]\nqueues = 1", "f:1:1: interface[0]: the key `name` is missing"),
        ("[[target_set]]\nname = \"s\"", "f:1:1: target_set[0]: the key `members` is missing"),
        ("\n[[listen]]\naddress = \"192.0.2.2:5060\"", "f:2:1: listen[0]: the key `name` is missing"),
        ("[node]\nname = \"a\"\nname = \"b\"", "f:3:1: duplicate key `name`"),
        ("[node", "f:1:6: unclosed table; allowed: `]`"),
        ("[node]\nname = \"é\" x", "f:2:12: unexpected key or value; allowed: newline, `#`"),
    ] {
        assert_eq!(check(&with_listener(text)), error, "{text}");
    }
    assert_eq!(
        check("[listen]\nname = \"a\""),
        "f:1:1: listen: one table; allowed: a list of tables, each begun with `[[...]]`"
    );
    let what =
        "no listener: at least one [[listen]] is needed; allowed: [[listen]] with `name` and `address`";
    assert_eq!(check("[node]"), format!("f:1:1: listen: {what}"));
}

#[test]
fn contradictions_point_at_their_value() {
    let unreachable = "; allowed: a target of the address family of its egress listener; from a loopback address only loopback addresses";
    let loopback = "[[listen]]\nname = \"lo\"\naddress = \"127.0.0.1:5060\"";
    for (text, error) in [
        (
            "[[listen]]\nname = \"a\"\naddress = \"192.0.2.2:5060\"".to_owned(),
            "f:5:8: listen[1].name: there is a listener \"a\" already; allowed: a name of its own".to_owned(),
        ),
        (
            format!("{SET}{SET}"),
            "f:7:8: target_set[1].name: there is a target set \"s\" already; allowed: a name of its own".to_owned(),
        ),
        (
            "[[listen]]\nname = \"b\"\naddress = \"0.0.0.0:5060\"".to_owned(),
            "f:3:11: listen[0].address: listener \"b\" is bound to all addresses and has no `advertise`; \
             allowed: one address, or `advertise = \"HOST:PORT\"` with it"
                .to_owned(),
        ),
        (
            "[[listen]]\nname = \"b\"\naddress = \"192.0.2.2:5060\"\naliases = [\"x.example\", \"192.0.2.1\"]".to_owned(),
            "f:7:11: listen[1].address: 192.0.2.1:5060 belongs to both listener \"b\" and listener \"a\"; \
             allowed: each host and port for one listener only"
                .to_owned(),
        ),
        (
            format!("{loopback}\nadvertise = \"X.example:5060\"\n[[listen]]\nname = \"b\"\naddress = \"192.0.2.2:5060\"\naliases = [\"y.example\", \"x.example\"]"),
            "f:8:25: listen[1].aliases[1]: x.example belongs to both listener \"lo\" and listener \"b\"; \
             allowed: each host and port for one listener only"
                .to_owned(),
        ),
        (
            "[[rule]]\nnext_hop = \"192.0.2.1:5060\"".to_owned(),
            "f:2:12: rule[0].next_hop: target 192.0.2.1:5060 cannot be sent to, or is this node itself; \
             allowed: an address and port of another SIP server"
                .to_owned(),
        ),
        (
            "[[rule]]\nnext_hop = \"192.0.2.2:1\"\n[[rule]]\nnext_hop = \"[2001:db8::1]:1\"\n[[rule]]\nnext_hop = \"[2001:db8::1]:1\"".to_owned(),
            format!("f:4:12: rule[1].next_hop: no listener can reach target [2001:db8::1]:1{unreachable}"),
        ),
        (
            SET.replace("192.0.2.9", "[2001:db8::1]"),
            format!("f:4:24: target_set[0].members[0].address: no listener can reach target [2001:db8::1]:5060{unreachable}"),
        ),
        (
            format!("{loopback}{SET}[[rule]]\ntarget_set = \"s\"\negress = \"lo\""),
            format!("f:9:10: rule[0].egress: no listener can reach target 192.0.2.9:5060{unreachable}"),
        ),
    ] {
        assert_eq!(check(&with_listener(&text)), error, "{text}");
    }
    let many: String = (0..9).map(|i| format!("\"sip:a{i}\",")).collect();
    let error = check(&with_listener(&format!("[[rule]]\nredirect = [{many}]")));
    assert!(error.starts_with("f:2:12: rule[0].redirect: 9 URIs, "), "{error}");
    let long = "a".repeat(1000);
    let error = check(&with_listener(&format!("[[rule]]\nredirect = \"sip:{long}\"")));
    assert!(error.starts_with("f:2:12: rule[0].redirect: 1 URIs, 1017 bytes"), "{error}");
}

#[test]
fn the_embedded_default_is_what_the_manual_says() {
    let config = embedded().unwrap();
    let plan = plan(&config, keys()).unwrap();
    assert_eq!(plan.listeners.len(), 1);
    assert_eq!(plan.listeners[0].address, "127.0.0.1:5060".parse().unwrap());
    assert!(!plan.listeners[0].trusted);
    assert_eq!(plan.trusted_sources, ["127.0.0.0/8".parse().unwrap()]);
    assert!(plan.record_route && plan.seal_routes && plan.seal_responses);
    assert!(plan.rules.is_empty() && plan.target_sets.is_empty() && plan.domains.is_empty());
    assert_eq!(plan.reply_rate, ReplyRate::default());
    let node = NodePlan::new(&config, &Overrides::default()).unwrap();
    assert_eq!((node.name.as_str(), node.workers), ("sluice", vec![None]));
    assert_eq!(warnings::warnings(&config), []);
    snapshot(&config, keys()).unwrap();
    // What the file spells out is what is taken where nothing is said.
    let bare = from_text(
        "f",
        "[[listen]]\nname = \"local\"\naddress = \"127.0.0.1:5060\"\n[trust]\nsources = [\"127.0.0.0/8\"]",
    );
    assert_eq!(bare.unwrap().file, config.file);
}

#[test]
fn what_a_plan_is_made_of() {
    let text = "[[rule]]\nreply = { status = 480 }\n[[rule]]\nreply = { status = 499 }\n\
                [[rule]]\nreply = { status = 604, reason = \"Gone\" }\n\
                [[rule]]\nredirect = [\"sip:a\", \"sip:b@c\"]\n[[rule]]\ntarget_set = \"s\"\n";
    let (_, snapshot) = build(&format!("{text}{SET}{LISTEN}")).unwrap();
    let actions: Vec<_> = snapshot.rules.all().iter().map(|rule| rule.action.clone()).collect();
    let reply = |status, phrase: &str| Action::Reply { status, phrase: phrase.into() };
    let contacts = "Contact: <sip:a>\r\nContact: <sip:b@c>\r\n".into();
    assert_eq!(
        actions,
        [
            reply(480, "Temporarily Unavailable"),
            reply(499, "Bad Request"),
            reply(604, "Gone"),
            Action::Redirect { contacts },
            Action::TargetSet(0),
        ]
    );
    assert_eq!(snapshot.target_sets[0].members[0].weight, 100);
}

#[test]
fn workers_and_cpus() {
    let workers = |text: &str, overrides: Overrides| {
        let config = from_text("f", &with_listener(text)).unwrap();
        NodePlan::new(&config, &overrides).map(|node| node.workers).map_err(|error| error.to_string())
    };
    let none = Overrides::default;
    assert_eq!(workers("", none()), Ok(vec![None]));
    assert_eq!(workers("[node]\nworkers = 2", none()), Ok(vec![None, None]));
    assert_eq!(workers("[node]\ncpus = \"4,2-3\"", none()), Ok(vec![Some(4), Some(2), Some(3)]));
    assert_eq!(workers("[node]\ncpus = \"4,2-3\"\nworkers = 2", none()), Ok(vec![Some(4), Some(2)]));
    let line = |workers, cpus: Option<&str>| Overrides { workers, cpus: cpus.map(|c| c.parse().unwrap()) };
    assert_eq!(workers("[node]\ncpus = \"4-5\"", line(Some(1), None)), Ok(vec![Some(4)]));
    assert_eq!(workers("[node]\ncpus = \"4-5\"", line(None, Some("7"))), Ok(vec![Some(7)]));
    let error =
        "command line: --workers, --cpus: 2 workers for 1 CPU; allowed: at most one worker for each CPU";
    assert_eq!(workers("[node]\nworkers = 2", line(None, Some("7"))), Err(error.to_owned()));
}

#[test]
fn warnings_are_about_what_is_seldom_meant() {
    let text = "[trust]\nsources = [\"::/0\"]\n[[rule]]\nreply = { status = 407 }\n[[rule]]\nreply = { status = 404 }\n";
    let io = "[io]\nmode = \"udp\"\n[[interface]]\nname = \"eth0\"\n";
    let (config, _) =
        build(&format!("{text}{}{LISTEN}{io}", SET.replace(" }]", ", down = true }]"))).unwrap();
    let warnings: Vec<_> = warnings::warnings(&config).iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "f:2:12: trust.sources[0]: ::/0 trusts everybody: this node is an open relay",
            "f:17:1: interface[0]: never used: io.mode is \"udp\"",
            "f:5:1: rule[1]: never used: rule[0] has no condition and takes every request",
            "f:9:8: target_set[0].name: no rule uses the target set \"s\"",
            "f:10:11: target_set[0].members: every member is down or weighs nothing: requests get 503",
            "f:4:9: rule[0].reply: a 407 should have Proxy-Authenticate, and a rule's reply has not",
        ]
    );
}

#[test]
fn examples_in_errors_are_good_values() {
    fn good<T: FromText>() {
        assert!(T::from_text(T::EXAMPLE).is_ok(), "{}", T::EXAMPLE);
    }
    good::<Address>();
    good::<ContactUri>();
    good::<CpuList>();
    good::<FilePath>();
    good::<Host>();
    good::<HostPort>();
    good::<InterfaceName>();
    good::<MethodName>();
    good::<Name>();
    good::<Phrase>();
    good::<Prefix>();
    good::<SocketPath>();
    good::<UserPrefix>();
}

#[test]
fn no_control_character_gets_into_a_message() {
    for control in (0..=0x1f).chain([0x7f]).filter_map(char::from_u32) {
        for place in ["", "x"] {
            let text = format!("{place}{control}x");
            assert!(Phrase::from_text(&text).is_err(), "{text:?}");
            assert!(HostPort::from_text(&text).is_err(), "{text:?}");
            assert!(ContactUri::from_text(&format!("sip:{text}@a.example")).is_err(), "{text:?}");
            assert!(ContactUri::from_text(&format!("tel:{text}")).is_err(), "{text:?}");
        }
    }
}

#[test]
fn the_schema_describes_every_key() {
    let schema = schema().to_value();
    let tables = schema["$defs"].as_object().unwrap().iter().map(|(name, table)| (name.as_str(), table));
    let mut keys = 0;
    for (name, table) in tables.chain([("sluice", &schema)]).filter(|(_, table)| table["type"] == "object") {
        assert_eq!(table["additionalProperties"], false, "{name}");
        for (key, value) in table["properties"].as_object().unwrap() {
            assert!(value["description"].is_string(), "{name}.{key} has no description");
            keys += 1;
        }
    }
    assert!(keys > 40, "{keys} keys");
    assert_eq!(schema["$defs"]["Rule"]["oneOf"].as_array().unwrap().len(), 4);
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from[(self.0 >> 33) as usize % from.len()]
    }
}

/// A configuration with up to four listeners.
fn dealt(seed: u64) -> String {
    let mut dice = Dice(seed);
    let mut text = String::new();
    for name in ["a", "b", "c", "d"].iter().take(1 + seed as usize % 4) {
        let address = dice.pick(&[
            "192.0.2.1",
            "192.0.2.2",
            "127.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::1]",
            "[2001:DB8:0::1]",
        ]);
        let port = dice.pick(&["5060", "5062", "1", "65535"]);
        text += &format!("[[listen]]\nname = \"{name}\"\naddress = \"{address}:{port}\"\n");
        let hosts = [
            "Sip.Example.NET",
            "b_c.example",
            "x.example.",
            "198.51.100.7",
            "[2001:db8::7]",
            "[::FFFF:198.51.100.8]",
        ];
        let ports = ["", ":5060", ":5061", ":05062", ":65535"];
        if address == "0.0.0.0" || address == "[::]" || dice.pick(&["no", "yes"]) == "yes" {
            text += &format!("advertise = \"{}{}\"\n", dice.pick(&hosts), dice.pick(&ports));
        }
        text += &format!("aliases = [\"{name}.{}{}\"]\n", dice.pick(&["example", "test"]), dice.pick(&ports));
    }
    text + &format!(
        "[routing]\ndomains = [\"{}\"]\n",
        dice.pick(&["sip.example.net", "a.example", "198.51.100.7:5060"])
    )
}

#[test]
fn whatever_listeners_stamp_is_ours() {
    let mut built = 0;
    for seed in 0..4_000 {
        let text = dealt(seed);
        let Ok((_, snapshot)) = build(&text) else { continue };
        built += 1;
        for (i, listener) in snapshot.listeners.iter().enumerate() {
            let owner = Some(Owner::Listener(ListenerIndex(i as u16)));
            let bytes = &*listener.via_head;
            let via =
                via::read(bytes, "Via: ".len(), bytes.len()).unwrap_or_else(|| panic!("seed {seed}: {text}"));
            assert_eq!(snapshot.identity.owner(bytes, &via.sent_by, false), owner, "seed {seed}: {text}");
            let bytes = &*listener.route_head;
            let uri = uri::read(bytes, 1, bytes.len());
            let uri = uri.unwrap_or_else(|| panic!("seed {seed}: {text}"));
            assert!(uri.lr);
            let host_port = uri.host_port.unwrap();
            assert_eq!(snapshot.identity.owner(bytes, &host_port, false), owner, "seed {seed}: {text}");
        }
    }
    assert!(built > 1_000, "only {built} of 4,000 configurations are good");
}

#[test]
fn every_error_has_its_place_and_nothing_panics() {
    let good = format!("{}\n{SET}[[rule]]\ntarget_set = \"s\"\nhost = [\"é.example\"]\n", DEFAULT);
    let mut kinds = HashMap::new();
    for (at, _) in good.char_indices() {
        for text in [good[..at].to_owned(), format!("{}\u{7}{}", &good[..at], &good[at..])] {
            if let Err(error) = build(&text) {
                assert!(error.position.is_some(), "{error}");
                *kinds.entry(error.message).or_insert(0) += 1;
            }
        }
    }
    assert!(kinds.len() > 10, "{kinds:?}");
}
