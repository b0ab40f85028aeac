//! The flows that a worker's datagrams came by lately: the headers of each, and the listener that takes it.
//!
//! Behind a trunk there are few addresses, and what all headers of a flow have in common need not be read and looked up again for each: it is compared. What
//! it is compared with was read from a frame of its own, and the listeners are the same as long as the worker is there; so nothing that is remembered here gets old.

use super::listeners::Listeners;
use crate::io::{Flow, ListenerIndex};
use crate::stats::Refused;
use crate::wire::{self, Arrived, Odd, Recurring};
use core::net::{Ipv4Addr, SocketAddr};

/// Flows, each at the place that its addresses hash to.
pub(super) struct Flows {
    places: Box<[Known; PLACES]>,
}

#[derive(Clone)]
struct Known {
    headers: Recurring,
    flow: Flow,
}

/// Why a frame is not forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unknown {
    /// Its headers are odd.
    Odd(Odd),
    /// Nobody takes it.
    Refused(Refused),
}

/// Places: several times the addresses that a trunk sends from. It is 10 KiB, which stay in the first cache; a flow that has lost its place costs a tenth of a message more.
const PLACES: usize = 1 << PLACES_LOG2;
const PLACES_LOG2: u32 = 6;

impl Flows {
    pub(super) fn new() -> Self {
        let nobody = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let flow = Flow { source: nobody, destination: nobody, listener: ListenerIndex(0) };
        Self { places: Box::new([const { Recurring::NONE }; PLACES].map(|headers| Known { headers, flow })) }
    }

    /// Reads a frame, and says how it came.
    ///
    /// # Errors
    /// As [`Unknown`] says.
    #[inline]
    pub(super) fn read(&mut self, frame: &[u8], listeners: &Listeners) -> Result<(Arrived, &Flow), Unknown> {
        let place = &mut self.places[(Recurring::hash(frame) >> (u64::BITS - PLACES_LOG2)) as usize];
        let arrived = match place.headers.read(frame) {
            Some(arrived) => arrived,
            None => place.learn(frame, listeners)?,
        };
        Ok((arrived, &place.flow))
    }
}

impl Known {
    /// Reads a frame of another flow than was here.
    #[inline(never)]
    fn learn(&mut self, frame: &[u8], listeners: &Listeners) -> Result<Arrived, Unknown> {
        let received = wire::read(frame).map_err(Unknown::Odd)?;
        let listener = listeners.of(received.destination).ok_or(Unknown::Refused(Refused::NoListener))?;
        self.flow = Flow { source: received.source, destination: received.destination, listener };
        self.headers = Recurring::of(frame, &received);
        Ok(received.arrived())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::Random;
    use crate::wire::vlan::Tags;
    use crate::wire::{Basis, Checksum, Envelope, HEADERS_BYTES_MAX, Outgoing};

    fn frame(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let envelope = Envelope { source_mac: [2; 6], destination_mac: [4; 6], vlans: Tags::NONE };
        let outgoing = Outgoing { source, destination, identification: 1, basis: Basis::Payload };
        let mut frame = [&[0; HEADERS_BYTES_MAX], payload].concat();
        let place = HEADERS_BYTES_MAX..frame.len();
        let written = wire::write(&mut frame, place, &envelope, &outgoing).unwrap();
        frame[written].to_vec()
    }

    /// Twice as many flows as places, of both families, to listeners and to nobody: each as if it were read alone.
    #[test]
    fn what_is_remembered_is_what_would_be_read() {
        let bound = ["192.0.2.1:5060", "192.0.2.1:5070", "[2001:db8::1]:5060", "0.0.0.0:5080"];
        let listeners = Listeners::new(&bound.map(|text| text.parse().unwrap()));
        let (mut random, mut flows) = (Random(5), Flows::new());
        let (mut known, mut unknown) = (0, 0);
        for _ in 0..50_000 {
            let (host, port) = (random.below(2 * PLACES), [5_060, 5_070, 5_080, 5_090][random.below(4)]);
            let [source, destination] = if random.below(8) == 0 {
                [format!("[2001:db8::{host:x}]:5060"), format!("[2001:db8::1]:{port}")]
            } else {
                [format!("198.51.100.{host}:5060"), format!("192.0.2.1:{port}")]
            };
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let frame = frame(source, destination, &[b'a'; 9][..random.below(9)]);
            match (flows.read(&frame, &listeners), listeners.of(destination)) {
                (Ok((arrived, flow)), Some(listener)) => {
                    assert_eq!(*flow, Flow { source, destination, listener });
                    assert_eq!(arrived, wire::read(&frame).unwrap().arrived());
                    assert_eq!(arrived.check(&frame), Checksum::Right);
                    known += 1;
                }
                (Err(why), None) => {
                    assert_eq!(why, Unknown::Refused(Refused::NoListener));
                    unknown += 1;
                }
                (read, expected) => panic!("{read:?} {expected:?}"),
            }
            let cut = flows.read(&frame[..30], &listeners).map(|_| ());
            assert!(matches!(cut, Err(Unknown::Odd(Odd::Ipv4Short | Odd::Ipv6Short))), "{cut:?}");
        }
        assert!(known > 20_000 && unknown > 5_000, "{known} {unknown}");
    }
}
