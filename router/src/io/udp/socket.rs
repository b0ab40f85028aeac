//! One socket: how it is set up, and what the kernel made of that. Start-up only, but for [`Socket::flow`].

use super::Options;
use super::address::Local;
use super::sys::{Received, set_option};
use crate::io::{Flow, ListenerIndex};
use core::net::SocketAddr;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::{
    Ipv4PacketInfo, Ipv6RecvPacketInfo, Ipv6V6Only, RcvBuf, RcvBufForce, ReusePort, SndBuf, SndBufForce,
};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, getsockopt, setsockopt, socket,
};
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Why a listener has no socket.
#[derive(Debug, thiserror::Error)]
#[error("{address}: cannot {task}: {error}")]
pub struct BindError {
    /// The listener's address.
    pub address: SocketAddr,
    /// What failed: "bind", in most cases.
    pub task: &'static str,
    /// What the system said; its kind is [`io::ErrorKind::AddrInUse`] where another program has the address.
    #[source]
    pub error: io::Error,
}

/// What the kernel granted of [`Options`], for one listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    /// The receive buffer as the kernel accounts it: twice what was asked for, if all of it was granted.
    pub receive_buffer_bytes: usize,
    /// The send buffer, likewise.
    pub send_buffer_bytes: usize,
    /// Whether receive calls poll the device queue (`SO_BUSY_POLL`).
    pub is_busy_polling: bool,
    /// Whether that takes the place of interrupts (`SO_PREFER_BUSY_POLL`).
    pub is_busy_polling_preferred: bool,
}

/// Whether `address` is free: binds it without `SO_REUSEPORT` and lets go of it.
///
/// With `SO_REUSEPORT`, a second instance of the same user would join the first one's groups without an error and take half of its datagrams.
///
/// # Errors
/// Another socket has the address, or it is not ours to bind.
pub fn probe(address: SocketAddr) -> Result<(), BindError> {
    open(address).and_then(|socket| bind_to(&socket, address)).map_err(|(task, errno)| BindError {
        address,
        task,
        error: errno.into(),
    })
}

/// A listener's socket of one worker.
pub(super) struct Socket {
    socket: UdpSocket,
    /// The bound address, and the port that the kernel chose if none was given.
    pub(super) address: SocketAddr,
    pub(super) granted: Granted,
    /// Bound to all addresses: each datagram must say where it went to.
    is_wildcard: bool,
}

impl Socket {
    /// A socket for `address`, one of a group of as many as there are workers.
    pub(super) fn bind(address: SocketAddr, options: &Options) -> Result<Self, BindError> {
        let failed = |(task, errno): (&'static str, Errno)| BindError { address, task, error: errno.into() };
        let socket = open(address).map_err(failed)?;
        set_up(&socket, address).map_err(failed)?;
        let granted = tune(&socket, options).map_err(failed)?;
        bind_shared(&socket, address).map_err(failed)?;
        let bound = socket.local_addr();
        let bound = bound.map_err(|error| BindError { address, task: "read its address", error })?;
        Ok(Self { socket, address: bound, granted, is_wildcard: address.ip().is_unspecified() })
    }

    /// Whether it is bound to all addresses.
    pub(super) fn is_wildcard(&self) -> bool {
        self.is_wildcard
    }

    /// How a datagram came to the listener at `listener`, and where answers are to leave from if that needs saying.
    ///
    /// `None` if the kernel gave no source, or no destination where it was asked for.
    #[inline]
    pub(super) fn flow(&self, listener: usize, received: &Received) -> Option<(Flow, Option<Local>)> {
        let (destination, local) = if self.is_wildcard {
            let local = received.local?;
            (SocketAddr::new(local.destination, self.address.port()), Some(local))
        } else {
            (self.address, None)
        };
        let listener = ListenerIndex(listener as u16);
        Some((Flow { source: received.source?, destination, listener }, local))
    }
}

#[cfg(test)]
impl Socket {
    /// Connects it, so that it hears of ICMP errors.
    pub(super) fn connect(&self, to: SocketAddr) {
        self.socket.connect(to).unwrap();
    }

    /// Sends to a port where nobody listens, which leaves an error to be reported.
    pub(super) fn refuse(&self, closed: SocketAddr) {
        assert_eq!(self.socket.send_to(b"x", closed).unwrap(), 1);
    }
}

impl AsFd for Socket {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What was tried, and why it failed.
type Failure = (&'static str, Errno);

/// A socket of the address's family. An IPv6 socket is for IPv6 alone, or `::` would take the place of `0.0.0.0`.
fn open(address: SocketAddr) -> Result<UdpSocket, Failure> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Datagram, flags, None).map_err(|e| ("open a socket", e))?;
    if address.is_ipv6() {
        setsockopt(&socket, Ipv6V6Only, &true).map_err(|e| ("set IPV6_V6ONLY", e))?;
    }
    Ok(socket.into())
}

fn bind_to(socket: &UdpSocket, address: SocketAddr) -> Result<(), Failure> {
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address)).map_err(|e| ("bind", e))
}

/// Binds it as one of a group. Where the kernel is to choose the port, the group is opened afterwards, or it might choose another group's.
fn bind_shared(socket: &UdpSocket, address: SocketAddr) -> Result<(), Failure> {
    let share = || setsockopt(socket, ReusePort, &true).map_err(|e| ("set SO_REUSEPORT", e));
    if address.port() == 0 {
        bind_to(socket, address)?;
        return share();
    }
    share()?;
    bind_to(socket, address)
}

/// What every socket must have. All of it before `bind`, so that the first datagram finds it.
///
/// Fragments: a message larger than the path takes has to arrive all the same, and neither waits for an ICMP message that a firewall ate nor
/// retransmits. So what leaves is cut to the route's MTU here, and IPv4 leaves without "don't fragment", so that it is cut wherever else it must be. A stranger's ICMP
/// message can lower what the kernel takes for the path's MTU, to 552 at worst: more fragments, and none lost.
fn set_up(socket: &UdpSocket, address: SocketAddr) -> Result<(), Failure> {
    let (level, name, value) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT),
    };
    set_option(socket.as_fd(), level, name, value).map_err(|e| ("allow fragments", e))?;
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => setsockopt(socket, Ipv4PacketInfo, &true),
            SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvPacketInfo, &true),
        }
        .map_err(|e| ("ask for packet info", e))?;
    }
    Ok(())
}

/// What a socket is better with: asked for, and reported as granted.
fn tune(socket: &UdpSocket, options: &Options) -> Result<Granted, Failure> {
    // The privileged variants may exceed `net.core.rmem_max` and `wmem_max`; the others are cut to them without an error.
    if let Some(bytes) = options.receive_buffer_bytes {
        setsockopt(socket, RcvBufForce, &bytes)
            .or_else(|_| setsockopt(socket, RcvBuf, &bytes))
            .map_err(|e| ("set SO_RCVBUF", e))?;
    }
    if let Some(bytes) = options.send_buffer_bytes {
        setsockopt(socket, SndBufForce, &bytes)
            .or_else(|_| setsockopt(socket, SndBuf, &bytes))
            .map_err(|e| ("set SO_SNDBUF", e))?;
    }
    let set = |name, value| set_option(socket.as_fd(), libc::SOL_SOCKET, name, value).is_ok();
    let polls = options.busy_poll_us.map(|us| i32::try_from(us).unwrap_or(i32::MAX));
    Ok(Granted {
        receive_buffer_bytes: getsockopt(socket, RcvBuf).map_err(|e| ("read SO_RCVBUF", e))?,
        send_buffer_bytes: getsockopt(socket, SndBuf).map_err(|e| ("read SO_SNDBUF", e))?,
        is_busy_polling: polls.is_some_and(|us| set(libc::SO_BUSY_POLL, us)),
        is_busy_polling_preferred: polls.is_some_and(|_| set(libc::SO_PREFER_BUSY_POLL, 1)),
    })
}
