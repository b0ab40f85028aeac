//! `bench echo`: what ordinary UDP sockets can do at most here. It takes up to 64 datagrams by one system call and sends them on, unchanged, by another.
//!
//! It sends by a connected socket, for which the kernel looks no route up. Neither GRO nor GSO, as in the router.

#![expect(unsafe_code, reason = "system calls on headers that point into buffers")]

use clap::Args;
use nix::errno::Errno;
use nix::libc::{MSG_DONTWAIT, c_uint, iovec, mmsghdr, recvmmsg, sendmmsg};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::json;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The address and port that datagrams come to
    #[arg(long)]
    listen: SocketAddr,
    /// The address and port that they are sent on to
    #[arg(long)]
    to: SocketAddr,
}

/// Datagrams a system call, as in the router.
const BATCH: usize = 64;
/// Bytes of the longest datagram.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// Bytes of the receive and send buffers: the router's defaults.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
const SEND_BUFFER_BYTES: usize = 1 << 20;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let receiver = UdpSocket::bind(arguments.listen)?;
    let sender = UdpSocket::bind(SocketAddr::new(arguments.listen.ip(), 0))?;
    sender.connect(arguments.to)?;
    setsockopt(&receiver, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)?;
    setsockopt(&sender, sockopt::SndBufForce, &SEND_BUFFER_BYTES)?;
    let stop = super::stop_flag()?;
    eprintln!("ready");

    let mut room = vec![[0u8; DATAGRAM_BYTES_MAX]; BATCH];
    let mut pieces: Vec<_> = room
        .iter_mut()
        .map(|bytes| iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: DATAGRAM_BYTES_MAX })
        .collect();
    let mut headers: Vec<_> = pieces.iter_mut().map(header).collect();
    let mut messages = 0u64;
    while !stop.load(Relaxed) {
        pieces.iter_mut().for_each(|piece| piece.iov_len = DATAGRAM_BYTES_MAX);
        let (fd, first) = (receiver.as_raw_fd(), headers.as_mut_ptr());
        // SAFETY: there are so many headers; each points to one piece, which says how much room it points to. All of it stays where it is and nobody else uses it meanwhile.
        let received = unsafe { recvmmsg(fd, first, BATCH as c_uint, MSG_DONTWAIT, ptr::null_mut()) };
        let Ok(received) = Errno::result(received) else { continue };
        for (piece, header) in pieces.iter_mut().zip(&headers[..received as usize]) {
            piece.iov_len = header.msg_len as usize;
        }
        // SAFETY: as above, and no piece is longer than its room.
        let sent = unsafe { sendmmsg(sender.as_raw_fd(), first, received as c_uint, 0) };
        messages += u64::try_from(sent).unwrap_or(0);
    }
    println!("{}", json!({ "messages": messages }));
    Ok(())
}

/// A header for one piece, without an address.
fn header(piece: &mut iovec) -> mmsghdr {
    // SAFETY: zero is a value for each field: integers, and pointers that are not read while null.
    let mut header: mmsghdr = unsafe { core::mem::zeroed() };
    header.msg_hdr.msg_iov = piece;
    header.msg_hdr.msg_iovlen = 1;
    header
}
