//! The loop mark: a hash of all that a routing decision reads, carried in our Via (RFC 3261 16.6 step 8, RFC 5393).
//!
//! A request that comes back with its mark unchanged would be routed the same way again: a loop. One that comes back with other inputs is a spiral and goes on.
//! Who forges a mark can only stop requests of its own, but the Call digest is in it, which keeps marks of two calls apart, and which nobody may see: so it is made like a seal.

use super::seal::{self, Call, CallJob};
use super::universal::{Place, Source, Stretch, Text};
use crate::io::Flow;
use crate::rounds::{self, Aes128, Job, Rounds};
use crate::sip::header_field::Name;
use crate::sip::message::{Field, Message};
use crate::sip::via;
use core::net::IpAddr;

/// How many Route header fields there are keys for. Few requests have more; all that routing reads of those goes in by a slower hash.
const ROUTES: usize = 4;

/// What a loop mark is made with.
#[derive(Clone)]
pub(super) struct Key {
    request_uri: Stretch,
    routes: [Stretch; ROUTES],
    addresses: [Place; 2],
    cipher: Aes128,
}

impl Key {
    /// Draws it from the cluster's secret.
    pub(super) fn draw(source: &Source<'_>) -> Self {
        const NAMES: [&str; ROUTES] = ["mark route 1", "mark route 2", "mark route 3", "mark route 4"];
        Self {
            request_uri: Stretch::draw(source, "mark request-uri"),
            routes: NAMES.map(|name| Stretch::draw(source, name)),
            addresses: [0, 1].map(|index| Place::draw(source, "mark address", index)),
            cipher: Aes128::new(source.draw("mark", 0)),
        }
    }
}

/// The Call digest of a request and its mark. The mark's inputs are what routing reads: the Request-URI, all Route values, the source address, which rules match on,
/// the address and port that it came to, which tell the listener and, in a cluster with one key, the node, and the Call-ID.
#[inline]
#[must_use]
pub fn of(key: &seal::Key, request_uri: &[u8], message: &Message, bytes: &[u8], flow: &Flow) -> (Call, u64) {
    let routes = message.first(Name::Route).and_then(|first| message.fields().get(first..));
    let mut hash = [0; 16];
    let call_id = Text::or_hash(message.value(Name::CallId, bytes), &key.long, 0, &mut hash);
    let (call, routes) = (CallJob { key, call_id }, routes.unwrap_or_default());
    match rounds::run(MarkJob { call, request_uri, routes, bytes, flow }) {
        Some(both) => both,
        None => of_odd(call, request_uri, routes, bytes, flow),
    }
}

/// The same where there are more Route header fields than keys, or a text is too long: those go in as one hash of all.
#[cold]
#[inline(never)]
fn of_odd(call: CallJob<'_>, request_uri: &[u8], routes: &[Field], bytes: &[u8], flow: &Flow) -> (Call, u64) {
    let values = routes.iter().filter(|field| field.name == Name::Route).map(|field| field.value.of(bytes));
    let all = call.key.long.of("mark", core::iter::once(request_uri).chain(values), 0);
    let job = MarkJob { call, request_uri: &all, routes: &[], bytes, flow };
    rounds::run(job).unwrap_or_else(|| (rounds::run(call), 0)) // never: sixteen bytes are not too long
}

struct MarkJob<'a> {
    call: CallJob<'a>,
    request_uri: &'a [u8],
    /// The header fields from the first Route on.
    routes: &'a [Field],
    bytes: &'a [u8],
    flow: &'a Flow,
}

impl Job for MarkJob<'_> {
    /// `None` where there are more Route header fields than keys, or a text is too long.
    type Output = Option<(Call, u64)>;

    #[inline(always)]
    fn run(self, rounds: impl Rounds) -> Self::Output {
        let Self { call, request_uri, mut routes, bytes, flow } = self;
        let mark = &call.key.mark;
        let hash = call.hash(rounds);
        let digest = CallJob::call(rounds, hash);
        let text = Text::new(request_uri)?;
        let mut hash = mark.request_uri.put::<false, _>(rounds, hash, text);
        // The code of the Call-ID is in the lowest eight bits.
        let mut codes = text.code() << 8;
        let mut place = 16;
        while let [field, rest @ ..] = routes {
            let text = Text::new(field.value.of(bytes))?;
            hash = mark.routes.get(place / 8 - 2)?.put::<false, _>(rounds, hash, text);
            codes |= text.code() << place;
            place += 8;
            let next = rest.iter().position(|field| field.name == Name::Route);
            routes = next.map_or(&[][..], |next| &rest[next..]);
        }
        let (source, destination) = (flow.source.ip(), flow.destination.ip());
        let kinds = if let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) {
            let both = rounds.words(source.to_bits().into(), destination.to_bits().into());
            hash = mark.addresses[0].put(rounds, hash, both);
            0
        } else {
            for (place, address) in mark.addresses.iter().zip([source, destination]) {
                let (first, second) = seal::words(address);
                hash = place.put(rounds, hash, rounds.words(first, second));
            }
            seal::kind(source) << 8 | seal::kind(destination)
        };
        let beside = rounds.words(codes, kinds << 16 | u64::from(flow.destination.port()));
        Some((digest, rounds.first_word(mark.cipher.encrypt(rounds, rounds.xor(hash, beside)))))
    }
}

/// Whether any Via below the topmost carries `mark`, which is given in hexadecimal.
///
/// A Via that does not parse cannot be ours, and ends the search in its header field.
#[must_use]
pub fn is_below(mark: &[u8; 16], message: &Message, bytes: &[u8], first_next: Option<usize>) -> bool {
    let Some(first) = message.first(Name::Via) else { return false };
    let mut index = Some(first);
    let mut at = first_next;
    while let Some(i) = index {
        let end = message.fields()[i].value.end();
        while let Some(start) = at {
            let Some(via) = via::read(bytes, start, end) else { break };
            if via.mark.of(bytes) == mark {
                return true;
            }
            at = via.next;
        }
        index = message.next(Name::Via, i + 1);
        at = index.map(|i| message.fields()[i].value.start());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ListenerIndex;

    fn mark(secret: u8, start: &str, routes: &[String], call_id: &str, flow: &Flow) -> u64 {
        let mut text = format!(
            "OPTIONS {start} SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a>;tag=1\r\nCall-ID: {call_id}\r\n"
        );
        routes.iter().for_each(|route| text.push_str(&format!("Route: {route}\r\nX: y\r\n")));
        text.push_str("To: <sip:b>\r\nCSeq: 1 OPTIONS\r\n\r\n");
        let mut message = Message::new();
        message.read(text.as_bytes()).unwrap();
        let key = seal::Key::new(1, &[secret; 16]);
        let (call, mark) = of(&key, start.as_bytes(), &message, text.as_bytes(), flow);
        assert_eq!(call, key.call(call_id.as_bytes()));
        mark
    }

    fn flow(source: &str, destination: &str) -> Flow {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Flow { source, destination, listener: ListenerIndex(0) }
    }

    /// What one node marks, another must find.
    const KNOWN: u64 = 0xf02506c24978ce19;

    /// What routing reads is in the mark: no two of these are the same. The source's port is not read.
    #[test]
    fn every_input_matters() {
        let v4 = flow("192.0.2.9:5060", "192.0.2.1:5060");
        let routes = |count: usize, len: usize| -> Vec<String> {
            (0..count).map(|i| format!("<sip:{i}{};lr>", "a".repeat(len))).collect()
        };
        let mut marks = vec![];
        for count in 0..8 {
            for len in [0, 1, 7, 8, 23, 40, 56, 90, 117, 118, 119, 200] {
                let mut routes = routes(count, len);
                marks.push(mark(7, "sip:bob@192.0.2.4", &routes, "x", &v4));
                if count > 1 {
                    routes.swap(0, count - 1);
                    marks.push(mark(7, "sip:bob@192.0.2.4", &routes, "x", &v4));
                }
                if count == 0 {
                    break;
                }
            }
        }
        for len in 1..260 {
            marks.push(mark(7, &format!("sip:{}", "a".repeat(len)), &[], "x", &v4));
        }
        marks.push(mark(8, "sip:bob@192.0.2.4", &[], "x", &v4));
        marks.push(mark(7, "sip:bob@192.0.2.4", &[], "y", &v4));
        for (source, destination) in [
            ("192.0.2.8:5060", "192.0.2.1:5060"),
            ("192.0.2.9:5060", "192.0.2.2:5060"),
            ("192.0.2.9:5060", "192.0.2.1:5061"),
            ("192.0.2.1:5060", "192.0.2.9:5060"),
            ("[::c000:209]:5060", "[::c000:201]:5060"),
            ("[::c000:209]:5060", "192.0.2.1:5060"),
            ("192.0.2.9:5060", "[::c000:201]:5060"),
            ("[2001:db8::9]:5060", "[2001:db8::1]:5060"),
            ("[2001:db8::1]:5060", "[2001:db8::9]:5060"),
        ] {
            marks.push(mark(7, "sip:bob@192.0.2.4", &[], "x", &flow(source, destination)));
        }
        let count = marks.len();
        marks.sort_unstable();
        marks.dedup();
        assert_eq!(marks.len(), count);
        assert_eq!(mark(7, "sip:bob@192.0.2.4", &routes(2, 40), "x", &v4), KNOWN);
        let other_port = flow("192.0.2.9:5061", "192.0.2.1:5060");
        assert!(marks.contains(&mark(7, "sip:bob@192.0.2.4", &[], "x", &other_port)));
    }
}
