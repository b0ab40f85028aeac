//! What the program should do with a frame, by a parser that is written with slices and nothing of the program's.

use sluice_steer::Pass;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes to the socket of this worker.
    Worker(u32),
    /// It is for a listener and passes, for a reason.
    Pass(Pass),
    /// It is for no listener, as far as can be told, and passes uncounted.
    NotOurs,
}

pub(crate) struct Node<'a> {
    pub(crate) listeners: &'a [SocketAddr],
    pub(crate) workers: u32,
    pub(crate) seed: u64,
    pub(crate) frame_bytes_max: usize,
    /// The worker of every message, where steering is by queue.
    pub(crate) by_queue: Option<u32>,
}

impl Node<'_> {
    pub(crate) fn verdict(&self, frame: &[u8]) -> Verdict {
        let Some((to, odd, payload)) = datagram(frame) else { return Verdict::NotOurs };
        if !self.listeners.contains(&to) {
            return Verdict::NotOurs;
        }
        let payload = match (odd, payload) {
            (Some(odd), _) => return Verdict::Pass(odd),
            (None, _) if frame.len() > self.frame_bytes_max => return Verdict::Pass(Pass::TooLarge),
            (None, payload) => payload,
        };
        if let Some(worker) = self.by_queue {
            return Verdict::Worker(worker);
        }
        match sluice_steer::hash(payload, self.seed) {
            Ok(_) => Verdict::Worker(
                sluice_steer::worker(payload, self.workers, self.seed)
                    .expect("a worker where there is a hash"),
            ),
            Err(reason) => Verdict::Pass(reason),
        }
    }
}

type Found<'a> = (SocketAddr, Option<Pass>, &'a [u8]);

fn datagram(frame: &[u8]) -> Option<Found<'_>> {
    let mut rest = frame.get(12..)?;
    for _ in 0..2 {
        if matches!(be16(rest, 0)?, 0x8100 | 0x88a8) {
            rest = rest.get(4..)?;
        }
    }
    let packet = rest.get(2..)?;
    match be16(rest, 0)? {
        0x0800 => ipv4(packet),
        0x86dd => ipv6(packet),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<Found<'_>> {
    let header = usize::from(packet.first()? & 15) * 4;
    let fragment = be16(packet, 6)?;
    if packet[0] >> 4 != 4 || header < 20 || *packet.get(9)? != 17 || fragment & 0x1fff != 0 {
        return None;
    }
    let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    let odd = if fragment & 0x2000 != 0 {
        Some(Pass::Fragment)
    } else if header > 20 {
        Some(Pass::IpOptions)
    } else {
        None
    };
    udp(packet, header, be16(packet, 2)?.into(), odd, |port| (Ipv4Addr::from(to), port).into())
}

fn ipv6(packet: &[u8]) -> Option<Found<'_>> {
    let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
    if packet[0] >> 4 != 6 {
        return None;
    }
    let mut next = packet[6];
    let mut at = 40;
    let mut odd = None;
    for _ in 0..4 {
        if next == 17 {
            break;
        }
        let header = packet.get(at..at + 8)?;
        let mut bytes = 8 + 8 * usize::from(header[1]);
        match next {
            0 | 60 => {}
            43 if header[3] == 0 => {}
            43 => odd = Some(Pass::RoutingHeader),
            44 if be16(header, 2)? & 0xfff8 == 0 => {
                odd = Some(Pass::Fragment);
                bytes = 8;
            }
            _ => return None,
        }
        next = header[0];
        at += bytes;
    }
    if next != 17 {
        return None;
    }
    udp(packet, at, 40 + usize::from(be16(packet, 4)?), odd, |port| (Ipv6Addr::from(to), port).into())
}

fn udp(
    packet: &[u8],
    at: usize,
    end: usize,
    odd: Option<Pass>,
    to: impl Fn(u16) -> SocketAddr,
) -> Option<Found<'_>> {
    let header = packet.get(at..at + 8)?;
    let to = to(be16(header, 2)?);
    let bytes = usize::from(be16(header, 4)?);
    if odd.is_some() {
        return Some((to, odd, &[]));
    }
    if end > packet.len() {
        return Some((to, Some(Pass::Truncated), &[]));
    }
    if bytes < 8 || at + bytes != end {
        return Some((to, Some(Pass::UdpLength), &[]));
    }
    Some((to, None, &packet[at + 8..end]))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
