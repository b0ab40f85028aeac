//! What has changed: the kernel's notifications, of which only the kind is read.
//!
//! A notification says which tables to read anew; its contents would have to be merged into what is there, and the kernel leaves some out:
//! it says nothing of the IPv4 routes that go with a link or an address.

use anyhow::Context;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use std::io;
use std::ops::BitOrAssign;

/// Which tables have to be read anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Stale {
    pub(super) links: bool,
    pub(super) addresses: bool,
    pub(super) rules: bool,
    pub(super) routes: bool,
    pub(super) neighbours: bool,
}

impl Stale {
    pub(super) const NONE: Self =
        Self { links: false, addresses: false, rules: false, routes: false, neighbours: false };
    pub(super) const ALL: Self =
        Self { links: true, addresses: true, rules: true, routes: true, neighbours: true };
}

impl BitOrAssign for Stale {
    fn bitor_assign(&mut self, other: Self) {
        self.links |= other.links;
        self.addresses |= other.addresses;
        self.rules |= other.rules;
        self.routes |= other.routes;
        self.neighbours |= other.neighbours;
    }
}

/// A socket that is in all the groups.
pub(super) struct Events {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

/// `RTNLGRP_*` of `linux/rtnetlink.h`: link, neighbour, IPv4 address, route and rule, the same of IPv6, next-hop objects.
const GROUPS: [u32; 9] = [1, 3, 5, 7, 8, 9, 11, 19, 32];

/// What the receive buffer is asked to be. A notification takes about 1 KiB of it, so that a burst of a thousand costs no full reading;
/// the kernel grants less (`net.core.rmem_max`), and what overflows is noticed.
const RECEIVE_BUFFER_BYTES: i32 = 1 << 20;

/// Longer than any datagram of notifications (`NLMSG_GOODSIZE` is at most 8 KiB).
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

impl Events {
    /// Hears of everything from now on.
    pub(super) fn open() -> anyhow::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE).context("cannot open a netlink socket")?;
        let inner = socket.socket_mut();
        // Less room only means more overflows.
        let _ = inner.set_rx_buf_sz(RECEIVE_BUFFER_BYTES);
        inner.bind(&SocketAddr::new(0, 0)).context("cannot bind a netlink socket")?;
        for group in GROUPS {
            inner.add_membership(group).with_context(|| format!("cannot join netlink group {group}"))?;
        }
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM_BYTES_MAX) })
    }

    /// Waits for the next datagram of notifications, and says what they make stale: everything if the kernel had to drop some. May be cancelled.
    pub(super) async fn next(&mut self) -> anyhow::Result<Stale> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer).await {
            Ok(()) => Ok(stale_by(&self.buffer)),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                tracing::debug!("netlink: notifications were lost; reading everything anew");
                Ok(Stale::ALL)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Stale::NONE),
            Err(error) => Err(error).context("cannot receive from netlink"),
        }
    }
}

/// `struct nlmsghdr` of `linux/netlink.h`.
const HEADER_BYTES: usize = 16;

/// What the notifications in `datagram` make stale.
fn stale_by(mut datagram: &[u8]) -> Stale {
    let mut stale = Stale::NONE;
    while let Some((header, body)) = datagram.split_at_checked(HEADER_BYTES) {
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        // Every body begins with its address family.
        stale |= stale_by_one(kind, body.first().copied().unwrap_or_default());
        // A length that cannot be ends it.
        datagram = datagram.get(len.next_multiple_of(4).max(HEADER_BYTES)..).unwrap_or_default();
    }
    stale
}

/// What a notification of `kind` (`RTM_*`) about `family` makes stale.
fn stale_by_one(kind: u16, family: u8) -> Stale {
    match kind {
        // RTM_NEWLINK, RTM_DELLINK: addresses, routes and neighbours go with a link.
        16 | 17 => Stale { rules: false, ..Stale::ALL },
        // RTM_NEWADDR, RTM_DELADDR: so do routes that send from an address.
        20 | 21 => Stale { addresses: true, routes: true, ..Stale::NONE },
        // RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNEXTHOP, RTM_DELNEXTHOP
        24 | 25 | 104 | 105 => Stale { routes: true, ..Stale::NONE },
        // RTM_NEWNEIGH, RTM_DELNEIGH; a bridge's learning (AF_BRIDGE) comes by the same group.
        28 | 29 if i32::from(family) != nix::libc::AF_BRIDGE => Stale { neighbours: true, ..Stale::NONE },
        // RTM_NEWRULE, RTM_DELRULE
        32 | 33 => Stale { rules: true, ..Stale::NONE },
        _ => Stale::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let len = HEADER_BYTES + body.len();
        let mut bytes = (len as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend(body);
        bytes.resize(len.next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn all_messages_of_a_datagram_count() {
        let neighbours = Stale { neighbours: true, ..Stale::NONE };
        assert_eq!(stale_by(&message(28, &[2, 0, 0])), neighbours);
        assert_eq!(stale_by(&message(28, &[7, 0, 0])), Stale::NONE, "a bridge's");
        let two = [message(33, &[10]), message(29, &[10, 1, 2, 3, 4])].concat();
        assert_eq!(stale_by(&two), Stale { rules: true, ..neighbours });
        let everything = [message(16, &[0]), message(32, &[2])].concat();
        assert_eq!(stale_by(&everything), Stale::ALL);
    }

    #[test]
    fn broken_lengths_end_it() {
        for bytes in [&[][..], &[0; 15], &[0; 16], &[0xff; 16], &[0xff; 64]] {
            assert_eq!(stale_by(bytes), Stale::NONE);
        }
    }
}
