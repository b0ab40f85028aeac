//! What was decided, and the steps on the way for those who want to see them.

use super::rules::Rule;
use crate::io::ListenerIndex;
use crate::sip::span::Span;
use crate::stats::{Absorbed, Reason};
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// What becomes of a message. The edits that go with [`Decision::Forward`] and [`Stop::Reply`] are in the caller's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Send the edited message on.
    Forward {
        /// The listener it leaves by.
        egress: ListenerIndex,
        /// Destination address and port.
        to: SocketAddr,
    },
    /// It goes no further.
    Stop(Stop),
}

/// What becomes of a message that is not forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Send a reply, which the edits make of the request, back by the listener it came in by.
    Reply {
        /// Why.
        reason: Reason,
        /// Destination address and port.
        to: SocketAddr,
    },
    /// Take it and send nothing, as it should be.
    Absorb(Absorbed),
    /// Send nothing, because something is wrong with it.
    Drop(Reason),
}

/// The address of a next hop, in one place from where it is read to where it is used.
///
/// An address that was just written in parts and is then moved as a whole makes the CPU wait until the parts are in the cache: 25 ns for the five
/// results that it used to travel in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop(SocketAddr);

impl Default for NextHop {
    fn default() -> Self {
        Self(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)))
    }
}

impl NextHop {
    /// Puts it there.
    #[inline(always)]
    pub fn set(&mut self, ip: IpAddr, port: u16) {
        self.0 = SocketAddr::new(ip, port);
    }

    /// It, part by part.
    #[inline(always)]
    #[must_use]
    pub fn get(&self) -> SocketAddr {
        SocketAddr::new(self.0.ip(), self.0.port())
    }
}

/// Why a request is not forwarded.
#[derive(Clone, Copy, Debug)]
pub enum Refusal<'s> {
    /// Answer it so, or drop it where it cannot be answered.
    Reply(Reason),
    /// Answer it as this rule says.
    Rule(Reason, &'s Rule),
    /// Take it and send nothing.
    Absorb(Absorbed),
}

impl From<Reason> for Refusal<'_> {
    fn from(reason: Reason) -> Self {
        Self::Reply(reason)
    }
}

/// How a popped Route value proved that this cluster wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// The source is trusted, so nothing was asked.
    NotAsked,
    /// It carries no seal, or one that cannot be read.
    Absent,
    /// The seal is not of this Call-ID, these listeners, or any live key.
    Wrong,
    /// It is ours.
    Proven,
}

/// One step of a decision, for `explain`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The source is trusted or not.
    Source {
        /// Whether it is.
        trusted: bool,
    },
    /// The Request-URI was one of our Record-Routes; the last Route value takes its place (16.4).
    StrictRouteUndone {
        /// The last Route value's URI.
        uri: Span,
    },
    /// A Route value of ours was popped (16.4).
    Popped {
        /// The value.
        value: Span,
        /// Whether it carries `r2=on`.
        r2: bool,
        /// Whether it is the second of a pair.
        second: bool,
        /// What its seal says.
        proof: Proof,
    },
    /// A `maddr` of ours was taken off the Request-URI (16.4).
    MaddrStripped,
    /// The next hop is the topmost Route value (16.6 step 7).
    NextHopRoute {
        /// The value.
        value: Span,
        /// Whether it has no `lr`, so that its URI becomes the Request-URI (16.6 step 6).
        strict: bool,
    },
    /// The next hop is the Request-URI (16.5).
    NextHopRequestUri,
    /// A rule was chosen.
    Rule {
        /// Its index, from 0.
        index: usize,
    },
    /// A member of a target set was chosen.
    Member {
        /// The set's index.
        set: usize,
        /// The member's address.
        address: SocketAddr,
    },
    /// A Record-Route was put on, single or double.
    RecordRouted {
        /// Whether it is a pair.
        double: bool,
    },
    /// `received` or `rport` were filled in the topmost Via (18.2.1, RFC 3581).
    ViaFilled,
    /// Our Via was taken off a response, and its return seal proved or was not asked to.
    ViaRemoved {
        /// Our Via.
        via: Span,
        /// What its seal says.
        proof: Proof,
    },
}

/// Somebody who sees the steps. `()` looks away, and costs nothing.
pub trait Witness {
    /// Sees one.
    fn step(&mut self, step: Step);
}

impl Witness for () {
    #[inline]
    fn step(&mut self, _step: Step) {}
}

impl Witness for Vec<Step> {
    fn step(&mut self, step: Step) {
        self.push(step);
    }
}
