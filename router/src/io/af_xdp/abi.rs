//! The kernel's side of AF_XDP: what `libc` does not name, the memory that is mapped, and the system calls on it.
//!
//! Structures and constants are those of `include/uapi/linux/if_xdp.h`, by way of `libc`.

#![expect(unsafe_code, reason = "system calls and mapped memory")]

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use nix::errno::Errno;
use nix::libc::{
    self, c_int, off_t, sockaddr_xdp, socklen_t, xdp_mmap_offsets, xdp_options, xdp_statistics, xdp_umem_reg,
};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Bytes that the kernel keeps before each packet for programs to grow into: `XDP_PACKET_HEADROOM`, `include/uapi/linux/bpf.h`.
pub(super) const PACKET_HEADROOM: u32 = 256;

/// Bytes of the smallest chunk: `XDP_UMEM_MIN_CHUNK_SIZE`, `include/net/xdp_sock.h`.
pub(super) const CHUNK_BYTES_MIN: u32 = 2_048;

/// A mapped piece of memory. It is unmapped when the last who needs it lets go.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is an address and a length, which say nothing of the thread. Who reads or writes there says why they may.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`; nothing in it changes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroed memory, of huge pages if asked for; `bytes` is a multiple of the page.
    pub(super) fn anonymous(bytes: usize, is_huge: bool) -> Result<Self, Errno> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | if is_huge { libc::MAP_HUGETLB } else { 0 };
        Self::map(bytes, flags, -1, 0)
    }

    /// A ring of `socket`, of those at the page offset `ring` (`XDP_PGOFF_RX_RING` and so on).
    pub(super) fn ring(socket: BorrowedFd<'_>, ring: u64, bytes: usize) -> Result<Self, Errno> {
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        Self::map(bytes, flags, socket.as_raw_fd(), ring as off_t)
    }

    fn map(bytes: usize, flags: c_int, fd: c_int, offset: off_t) -> Result<Self, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: no address is asked for, so nothing that is mapped is replaced.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, fd, offset) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        NonNull::new(base.cast()).map(|base| Self { base, bytes }).ok_or(Errno::ENOMEM)
    }

    /// Where it begins.
    #[inline]
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Gets all pages, or says that there are too few.
    pub(super) fn populate(&self) -> Result<(), Errno> {
        self.advise(libc::MADV_POPULATE_WRITE)
    }

    /// Asks for transparent huge pages.
    pub(super) fn advise_huge(&self) -> Result<(), Errno> {
        self.advise(libc::MADV_HUGEPAGE)
    }

    fn advise(&self, advice: c_int) -> Result<(), Errno> {
        // SAFETY: the memory is our own mapping, and neither advice changes what it holds.
        Errno::result(unsafe { libc::madvise(self.base.as_ptr().cast(), self.bytes, advice) }).map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is our own mapping, and nobody points into it any more: who does holds it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// A new AF_XDP socket.
pub(super) fn socket() -> Result<OwnedFd, Errno> {
    // SAFETY: takes no pointers.
    let fd = Errno::result(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is new, so nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Registers the area at `address` as the memory of `socket`'s frames.
pub(super) fn register(
    socket: BorrowedFd<'_>,
    (address, bytes): (u64, u64),
    frame_size: u32,
    headroom: u32,
) -> Result<(), Errno> {
    // SAFETY: it is made of integers, for which zero is a value; also for fields that later kernels put where padding was.
    let mut area: xdp_umem_reg = unsafe { core::mem::zeroed() };
    area.addr = address;
    area.len = bytes;
    area.chunk_size = frame_size;
    area.headroom = headroom;
    // SAFETY: an `xdp_umem_reg` is what this option takes.
    unsafe { set(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &area) }
}

/// Sets an option that is an integer.
pub(super) fn set_integer(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> Result<(), Errno> {
    // SAFETY: the caller names an option that is an integer; the kernel reads no more than it is told is there.
    unsafe { set(socket, level, name, &value) }
}

/// Where the parts of each kind of ring are.
pub(super) fn ring_offsets(socket: BorrowedFd<'_>) -> Result<xdp_mmap_offsets, Errno> {
    // SAFETY: the option gives an `xdp_mmap_offsets`, which is made of integers.
    unsafe { get(socket, libc::XDP_MMAP_OFFSETS) }
}

/// What the kernel counts of a socket.
pub(super) fn statistics(socket: BorrowedFd<'_>) -> Result<xdp_statistics, Errno> {
    // SAFETY: the option gives an `xdp_statistics`, which is made of integers.
    unsafe { get(socket, libc::XDP_STATISTICS) }
}

/// Whether a bound socket is in zero-copy mode.
pub(super) fn is_zero_copy(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    // SAFETY: the option gives an `xdp_options`, which is made of integers.
    let options: xdp_options = unsafe { get(socket, libc::XDP_OPTIONS) }?;
    Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// Binds a socket to a queue, sharing the memory of `shared` if given; then the kernel takes no other flags (`net/xdp/xsk.c`, `xsk_bind`).
pub(super) fn bind(
    socket: BorrowedFd<'_>,
    if_index: u32,
    queue: u32,
    flags: u16,
    shared: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let address = sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: if shared.is_some() { libc::XDP_SHARED_UMEM } else { flags },
        sxdp_ifindex: if_index,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: shared.map_or(0, |shared| shared.as_raw_fd() as u32),
    };
    let len = size_of::<sockaddr_xdp>() as socklen_t;
    // SAFETY: pointer and length are those of `address`, which outlives the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    Errno::result(result).map(drop)
}

/// Has the kernel look at the TX ring.
#[inline]
pub(super) fn wake_transmit(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: there is nothing to read from: null and a length of zero.
    let result =
        unsafe { libc::sendto(socket.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
    Errno::result(result).map(drop)
}

/// Has the kernel look at the fill ring, and poll the device if the socket is set to.
#[inline]
pub(super) fn wake_receive(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let (address, len) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: there is nothing to write to: null and a length of zero.
    let result =
        unsafe { libc::recvfrom(socket.as_raw_fd(), ptr::null_mut(), 0, libc::MSG_DONTWAIT, address, len) };
    Errno::result(result).map(drop)
}

/// Sets an option.
///
/// # Safety
/// `T` is made of integers without padding.
unsafe fn set<T>(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> Result<(), Errno> {
    let (value, len) = (ptr::from_ref(value).cast::<c_void>(), size_of::<T>() as socklen_t);
    // SAFETY: pointer and length are those of `value`, which outlives the call and has no padding.
    Errno::result(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, len) }).map(drop)
}

/// Reads an option of AF_XDP; what an old kernel does not fill stays zero.
///
/// # Safety
/// `T` is made of integers.
unsafe fn get<T>(socket: BorrowedFd<'_>, name: c_int) -> Result<T, Errno> {
    // SAFETY: zero is a value for integers.
    let mut value: T = unsafe { core::mem::zeroed() };
    let mut len = size_of::<T>() as socklen_t;
    // SAFETY: pointer and length are those of `value`, which outlives the call; whatever bytes the kernel writes are integers.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, name, (&raw mut value).cast(), &raw mut len)
    };
    Errno::result(result).map(|_| value)
}
