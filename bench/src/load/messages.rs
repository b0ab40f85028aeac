//! The messages that are sent: the canonical ones, each with a Call-ID, a branch and seals of its own call, and a place for the tag.
//!
//! Their seals are those of a node with the listeners `public` (192.0.2.1:5060) and `core` (10.0.0.1:5060) and the vectors' key. All come from the trunk 203.0.113.9 to `public` and are to
//! leave to 10.0.1.1, the responses too: they belong to calls that the node has sent to the trunk.

use super::shared::{TAG_BYTES, TAIL_BYTES};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sluice::proxy::rules::{Action, Rule};
use sluice::proxy::snapshot::Snapshot;
use sluice_tests::{CORE, PUBLIC, canonical, flow, forward, plan};
use std::net::SocketAddrV4;

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Mix {
    /// BYE in a dialog with one Route.
    Bye,
    /// BYE in a dialog with a pair of Routes.
    ByeR2,
    /// First INVITE, with SDP.
    Invite,
    /// 200 for an INVITE, with SDP.
    #[value(name = "200")]
    #[serde(rename = "200")]
    Ok,
    /// What a trunk sends for one call in each direction: INVITE with SDP, ACK and BYE of the one, 180, 200 with SDP and the BYE's 200 of the other; as many of each.
    Call,
}

/// The address of the trunk that all messages come from.
pub const TRUNK: SocketAddrV4 = address([203, 0, 113, 9]);
/// The address that they go to.
pub const LISTENER: SocketAddrV4 = address([192, 0, 2, 1]);
/// The address that the node is to send them to.
pub const NEXT_HOP: SocketAddrV4 = address([10, 0, 1, 1]);

const fn address([a, b, c, d]: [u8; 4]) -> SocketAddrV4 {
    SocketAddrV4::new(std::net::Ipv4Addr::new(a, b, c, d), 5060)
}

impl Mix {
    /// The messages of so many calls, in the order in which they are sent: one of each call, then the next of each.
    #[must_use]
    pub fn messages(self, calls: u32) -> Vec<Vec<u8>> {
        let maker = Maker::new();
        let kinds = self.kinds();
        let turns = 0..kinds.len();
        let of_turn = |turn: usize| {
            let maker = &maker;
            // Neighbouring messages are of different kinds.
            (0..calls).map(move |call| maker.message(kinds[(turn + call as usize) % kinds.len()], call))
        };
        turns.flat_map(of_turn).collect()
    }

    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Bye => &[Kind::Bye],
            Self::ByeR2 => &[Kind::ByeR2],
            Self::Invite => &[Kind::Invite],
            Self::Ok => &[Kind::Ok],
            Self::Call => &[Kind::Invite, Kind::Ringing, Kind::Ok, Kind::Ack, Kind::ByeR2, Kind::ByeOk],
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Bye,
    ByeR2,
    Ack,
    Invite,
    Ringing,
    Ok,
    ByeOk,
}

/// Nodes that have seen the calls before.
struct Maker {
    /// Sends a call on by another listener than it came in by.
    pair: Snapshot,
    /// By the same.
    single: Snapshot,
    /// To the trunk.
    outbound: Snapshot,
}

impl Maker {
    fn new() -> Self {
        let snapshot = |next_hop: SocketAddrV4, egress| {
            let mut plan = plan();
            let first = plan.rules.remove(0);
            plan.rules =
                vec![Rule { action: Action::NextHop(next_hop.into()), egress: Some(egress), ..first }];
            Snapshot::new(plan).expect("a good plan")
        };
        Self {
            pair: snapshot(NEXT_HOP, CORE),
            single: snapshot(NEXT_HOP, PUBLIC),
            outbound: snapshot(TRUNK, PUBLIC),
        }
    }

    /// The message of a kind in the call of a number, with the tag of number 0.
    fn message(&self, kind: Kind, call: u32) -> Vec<u8> {
        let text = match kind {
            Kind::Bye => in_dialog("bye", &self.single, call),
            Kind::ByeR2 => in_dialog("bye_r2", &self.pair, call),
            Kind::Ack => in_dialog("bye_r2", &self.pair, call)
                .replacen("BYE", "ACK", 1)
                .replacen("CSeq: 2 BYE", "CSeq: 1 ACK", 1)
                .replacen("Reason: Q.850;cause=16\r\n", "", 1),
            Kind::Invite => of_call("invite", call),
            Kind::Ok => self.response(call),
            Kind::Ringing => bodiless(&self.response(call).replacen("200 OK", "180 Ringing", 1)),
            Kind::ByeOk => bodiless(&self.response(call).replacen("1 INVITE", "2 BYE", 1)),
        };
        with_tag(&text)
    }

    /// The trunk's 200 for an INVITE that the node has sent it from 10.0.1.1.
    fn response(&self, call: u32) -> String {
        let invite = of_call("invite", call).replacen("UDP 203.0.113.9", "UDP 10.0.1.1", 1);
        let (sent, _) = forward(&self.outbound, flow("10.0.1.1:5060", CORE), invite.as_bytes());
        let sent = String::from_utf8(sent.expect("the INVITE is forwarded").payload).expect("text");
        let lines = |name| sent.split_inclusive('\n').filter(move |line| line.starts_with(name));
        let ours: String = lines("Via: ").chain(lines("Record-Route: ")).collect();
        let ok = of_call("200", call);
        let rest = |line: &&str| !line.starts_with("Via: ") && !line.starts_with("Record-Route: ");
        ok.split_inclusive('\n').filter(rest).collect::<String>().replacen(
            "200 OK\r\n",
            &format!("200 OK\r\n{ours}"),
            1,
        )
    }
}

/// A canonical message with what tells this call from others: in the Call-ID, and in the branch of its Via.
fn of_call(name: &str, call: u32) -> String {
    let text = String::from_utf8(canonical(name)).expect("text");
    let digits = format!("{:08x}", call.wrapping_mul(0x9e37_79b1));
    text.replacen("7c1e2f4a", &digits, 1).replacen("1f4a6c8e", &digits, 1).replacen("8d3b1f6a", &digits, 1)
}

/// The canonical request `name` in a dialog that `node` has sent on.
fn in_dialog(name: &str, node: &Snapshot, call: u32) -> String {
    let (sent, _) = forward(node, flow("203.0.113.9:5060", PUBLIC), of_call("invite", call).as_bytes());
    let sent = String::from_utf8(sent.expect("the INVITE is forwarded").payload).expect("text");
    // The caller's route set is the list as the callee got it, in reverse (RFC 3261 12.1.2).
    let routes: Vec<_> = sent.lines().filter_map(|line| line.strip_prefix("Record-Route: ")).collect();
    let routes: String = routes.iter().rev().map(|route| format!("Route: {route}\r\n")).collect();
    let text = of_call(name, call);
    let rest: String = text.split_inclusive('\n').filter(|line| !line.starts_with("Route: ")).collect();
    rest.replacen("From: ", &format!("{routes}From: "), 1)
}

/// The message without its body.
fn bodiless(text: &str) -> String {
    let (head, _) = text.split_once("\r\n\r\n").expect("an end of the header");
    let other = |line: &&str| !line.starts_with("Content-");
    let lines: Vec<_> = head.split("\r\n").filter(other).collect();
    format!("{}\r\nContent-Length: 0\r\n\r\n", lines.join("\r\n"))
}

/// Puts a tag where it belongs. Without a body that is in the field that names the software, which moves to before Content-Length and keeps its length if it can; in SDP it is in
/// an attribute.
fn with_tag(text: &str) -> Vec<u8> {
    let tag = [super::shared::tag(0).0, super::shared::tag(0).1].map(u64::to_le_bytes).concat();
    let tag = String::from_utf8(tag).expect("letters");
    let (head, body) = text.split_once("\r\n\r\n").expect("an end of the header");
    let message = if body.is_empty() {
        let agent =
            head.split("\r\n").find(|line| line.starts_with("User-Agent: ") || line.starts_with("Server: "));
        let agent = agent.expect("a field that names the software");
        let (name, value) = agent.split_once(": ").expect("a header field");
        let kept = value.len().saturating_sub(TAG_BYTES);
        let rest = head.replacen(&format!("{agent}\r\n"), "", 1).replacen("\r\nContent-Length: 0", "", 1);
        format!("{rest}\r\n{name}: {}{tag}\r\nContent-Length: 0\r\n\r\n", &value[..kept])
    } else {
        let kept = body.replacen("a=ptime:20\r\na=sendrecv\r\n", "", 1);
        let body = format!("{kept}a=x-load:{tag}\r\na=ptime:20\r\na=mid:a\r\n");
        let rest: Vec<_> = head.split("\r\n").filter(|line| !line.starts_with("Content-Length: ")).collect();
        format!("{}\r\nContent-Length: {}\r\n\r\n{body}", rest.join("\r\n"), body.len())
    };
    message.into_bytes()
}

/// Writes the tag of `number` into a message or a frame.
pub fn set_tag(bytes: &mut [u8], number: u32) {
    let (first, second) = super::shared::tag(number);
    let end = bytes.len() - TAIL_BYTES;
    bytes[end - TAG_BYTES..end - 8].copy_from_slice(&first.to_le_bytes());
    bytes[end - 8..end].copy_from_slice(&second.to_le_bytes());
}

/// The number in the tag of a message or a frame, if it has one.
#[must_use]
pub fn tag_of(bytes: &[u8]) -> Option<u32> {
    let tag = bytes.len().checked_sub(TAIL_BYTES + TAG_BYTES)?;
    let half = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    super::shared::number(half(tag)?, half(tag + 8)?)
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Link, frame};
    use super::*;
    use sluice::wire::{self, Checksum};
    use std::collections::BTreeSet;

    const ALL: [Mix; 5] = [Mix::Bye, Mix::ByeR2, Mix::Invite, Mix::Ok, Mix::Call];

    /// The node that `scripts/bench` configures.
    fn node() -> Snapshot {
        let mut plan = plan();
        plan.listeners.truncate(2);
        plan.rules[0].action = Action::NextHop(NEXT_HOP.into());
        plan.rules[0].egress = Some(CORE);
        plan.target_sets.clear();
        Snapshot::new(plan).unwrap()
    }

    #[test]
    fn the_node_sends_each_on_to_the_next_hop_and_leaves_the_tag() {
        for mix in ALL {
            let messages = mix.messages(50);
            for (number, mut message) in (0xcafe_f00d..).zip(messages) {
                set_tag(&mut message, number);
                let (sent, _) = forward(&node(), flow("203.0.113.9:5060", PUBLIC), &message);
                let sent = sent
                    .unwrap_or_else(|| panic!("{mix:?} is refused: {}", String::from_utf8_lossy(&message)));
                assert_eq!(sent.to, NEXT_HOP.into());
                assert_eq!(tag_of(&sent.payload), Some(number));
            }
        }
    }

    #[test]
    fn each_call_has_its_own_call_id_and_all_kinds_of_messages() {
        let value = |message: &[u8], name: &str| {
            let text = String::from_utf8_lossy(message).into_owned();
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
        };
        let messages = Mix::Call.messages(60);
        let calls: BTreeSet<_> = messages.iter().map(|m| value(m, "Call-ID: ")).collect();
        let kinds: BTreeSet<_> = messages
            .iter()
            .map(|m| {
                (m.split(|byte| *byte == b' ').next().unwrap().to_vec(), value(m, "CSeq: "), m.len() / 900)
            })
            .collect();
        assert_eq!((messages.len(), calls.len()), (360, 60));
        assert_eq!(kinds.len(), 6, "{kinds:?}");
    }

    #[test]
    fn a_bye_is_as_long_as_the_canonical_one() {
        assert_eq!(Mix::Bye.messages(1)[0].len(), canonical("bye").len());
    }

    #[test]
    fn any_tag_may_be_written_into_a_frame() {
        let link = Link { from: [2; 6], to: [4; 6] };
        for mut message in Mix::Call.messages(6) {
            let mut frame = frame(link, TRUNK, LISTENER, &message);
            set_tag(&mut frame, 0x1234_cdef);
            assert_ne!(wire::read(&frame).unwrap().check(&frame), Checksum::Wrong);
            set_tag(&mut message, 0x1234_cdef);
            assert!(frame.ends_with(&message));
        }
    }

    #[test]
    fn a_tag_leaves_the_checksum_alone_and_is_read_back() {
        let sum = |number: u32| -> u64 {
            let (first, second) = super::super::shared::tag(number);
            [first, second].iter().flat_map(|half| half.to_be_bytes()).map(u64::from).sum()
        };
        for number in [0, 1, 0xffff_ffff, 0x1234_5678, 0x8000_0000] {
            let (first, second) = super::super::shared::tag(number);
            assert_eq!(super::super::shared::number(first, second), Some(number));
            assert_eq!(super::super::shared::number(first, second ^ 1), None);
            assert_eq!(sum(number), sum(0));
        }
        assert_eq!(super::super::shared::number(0, 0), None);
    }
}
