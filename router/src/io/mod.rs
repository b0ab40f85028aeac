//! The seam between I/O and SIP: a worker is handed a batch of [`Datagram`]s and says for each what becomes of it.
//!
//! A datagram is the payload's bytes with room before and after, and the flow it came by. Nothing else crosses.
//! The frame belongs to the I/O layer at all times; `forward` borrows it, and by the [`Verdict`] it returns the
//! layer either transmits the frame or takes it back. So none can be lost or used twice.

pub mod af_xdp;
pub mod memory;
pub mod poll;
pub mod udp;

use crate::wire::Front;
use crate::wire::checksum::Sum;
use core::net::SocketAddr;

/// Room that every frame keeps before the payload, for what is put in front of the message.
///
/// A Via of ours with a 255-byte advertised name is 350 bytes, a pair of Record-Routes twice that; typical are 130 and 200.
/// Less would send more messages the slow way round (moving the body); more costs memory only.
pub const HEADROOM: usize = 512;

/// Room that every frame keeps after the payload.
pub const TAILROOM: usize = 512;

/// A listener, as its index in [`crate::proxy::snapshot::Snapshot::listeners`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct ListenerIndex(pub u16);

/// Where a datagram came from, where it went to, and the listener that took it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Source address and port, as the IP and UDP headers have them.
    pub source: SocketAddr,
    /// Destination address and port, likewise: the local address, also of a listener bound to all addresses.
    pub destination: SocketAddr,
    /// The listener.
    pub listener: ListenerIndex,
}

/// A received datagram, in a frame that it may grow in.
#[derive(Debug)]
pub struct Datagram<'a> {
    frame: &'a mut [u8],
    start: usize,
    end: usize,
    note: Note,
    /// How it came.
    pub flow: Flow,
}

/// What is known of the payload's front before it was edited.
#[derive(Clone, Copy, Debug)]
enum Note {
    /// Nobody asked.
    Unasked,
    /// Asked, and not edited yet.
    Asked,
    /// Edited: the front before, and the payload's length after.
    Edited(Front, usize),
    /// Edited more than once.
    Lost,
}

impl<'a> Datagram<'a> {
    /// The datagram whose payload is `frame[start..end]`. A range outside the frame gives an empty payload.
    #[inline]
    #[must_use]
    pub fn new(frame: &'a mut [u8], start: usize, end: usize, flow: Flow) -> Self {
        let end = end.min(frame.len());
        let start = start.min(end);
        Self { frame, start, end, note: Note::Unasked, flow }
    }

    /// The same datagram, whose front is noted when it is edited: see [`Self::front`].
    #[inline]
    #[must_use]
    pub fn noting_front(self) -> Self {
        Self { note: Note::Asked, ..self }
    }

    /// Length and sum of the payload's front as it was before the edits, of which the last ended there.
    ///
    /// That is for an I/O layer that updates the UDP checksum. There is none if it was not asked for ([`Self::noting_front`]), if no edits were applied, or
    /// if anything else came after them; the checksum is then to be computed from the whole payload.
    #[inline]
    #[must_use]
    pub fn front(&self) -> Option<Front> {
        match self.note {
            Note::Edited(front, payload_bytes) if payload_bytes == self.end - self.start => Some(front),
            _ => None,
        }
    }

    /// Whether the front is to be noted before edits are applied.
    #[inline]
    pub(crate) fn notes_front(&self) -> bool {
        !matches!(self.note, Note::Unasked)
    }

    /// Notes the first `bytes` bytes of the payload, which edits are now to change, and its length after that.
    #[inline(never)]
    pub(crate) fn note_front(&mut self, bytes: usize, payload_bytes_after: usize) {
        let payload = self.payload();
        self.note = match (self.note, payload.get(..bytes)) {
            (Note::Asked, Some(front)) => {
                let front = Front { bytes, sum: Sum::of(front), payload_bytes: payload.len() };
                Note::Edited(front, payload_bytes_after)
            }
            _ => Note::Lost,
        };
    }

    /// The payload.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.frame.get(self.start..self.end).unwrap_or_default()
    }

    /// Where the payload stands in the frame.
    #[inline]
    #[must_use]
    pub fn range(&self) -> core::ops::Range<usize> {
        self.start..self.end
    }

    /// Bytes free before the payload.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.start
    }

    /// Bytes free after the payload.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        self.frame.len() - self.end
    }

    /// The whole frame and the payload's place in it, for [`crate::edit`], which moves both.
    #[inline]
    pub fn frame(&mut self) -> (&mut [u8], &mut usize, &mut usize) {
        (self.frame, &mut self.start, &mut self.end)
    }

    /// Cuts the payload to `len` bytes; longer than it is changes nothing.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start.saturating_add(len));
    }
}

/// What becomes of a datagram after `forward`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send the payload, as it is in the frame now, to `to`.
    Transmit {
        /// The listener that it leaves by.
        egress: ListenerIndex,
        /// Destination address and port.
        to: SocketAddr,
    },
    /// Nothing leaves; the frame is free.
    Release,
}

/// One worker's way to the network.
pub trait Io {
    /// Takes a batch of datagrams in, hands each to `forward`, sends what it says, and returns how many there were.
    ///
    /// `forward` sees each datagram exactly once, in the order of arrival on its socket or queue, and the sends keep that order.
    fn breathe(&mut self, forward: &mut impl FnMut(&mut Datagram<'_>) -> Verdict) -> usize;

    /// Sleeps until there may be something to receive, at most `idle_us_max` microseconds.
    fn wait(&mut self, idle_us_max: u64);
}
