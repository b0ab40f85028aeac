//! The loop mark: a hash of all that a routing decision reads, carried in our Via (RFC 3261 16.6 step 8, RFC 5393).
//!
//! A request that comes back with its mark unchanged would be routed the same way again: a loop. One that comes back with other inputs is a spiral and goes on.
//! The hash needs no key. Who forges a mark can only stop requests of its own. It does need the Call digest, so that marks of two calls never meet.

use crate::io::Flow;
use crate::sip::header_field::Name;
use crate::sip::message::Message;
use crate::sip::via;
use core::net::IpAddr;
use rapidhash::v3::{DEFAULT_RAPID_SECRETS, rapidhash_v3, rapidhash_v3_micro_inline};

/// The mark of a request with this Call digest. Its inputs are what routing reads: the Request-URI, all Route values, the source address, which rules match on,
/// the address and port that it came to, which tell the listener and, in a cluster with one key, the node, and the Call-ID.
#[inline]
#[must_use]
pub fn of(call: u64, request_uri: &[u8], message: &Message, bytes: &[u8], flow: &Flow) -> u64 {
    let mut routes = 0u64;
    let mut index = message.first(Name::Route);
    while let Some(i) = index {
        routes = routes.rotate_left(17) ^ rapidhash_v3(message.fields()[i].value.of(bytes));
        index = message.next(Name::Route, i + 1);
    }
    let bits = |ip| match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let (source, destination) = (bits(flow.source.ip()), bits(flow.destination.ip()));
    let mut all = [0u8; 64];
    let words = [
        call,
        rapidhash_v3(request_uri),
        routes,
        source as u64,
        (source >> 64) as u64,
        destination as u64,
        (destination >> 64) as u64,
        u64::from(flow.destination.port()),
    ];
    for (place, word) in all.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    of_words(&all)
}

/// [`rapidhash_v3`]: up to 80 bytes the micro variant is the same hash, and of a length known beforehand nothing is left of its branches.
#[inline]
fn of_words(all: &[u8; 64]) -> u64 {
    rapidhash_v3_micro_inline::<true, false>(all, &DEFAULT_RAPID_SECRETS)
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

    #[test]
    fn the_micro_variant_is_the_same_hash() {
        for seed in 0..=255u8 {
            let all: [u8; 64] = core::array::from_fn(|i| seed.wrapping_mul(i as u8 | 1).rotate_left(3));
            assert_eq!(of_words(&all), rapidhash_v3(&all));
        }
    }
}
