//! The memory that all frames are chunks of, and the tokens that stand for them.

#![expect(unsafe_code, reason = "memory that the kernel writes to")]

use super::abi::{CHUNK_BYTES_MIN, Mapping, PACKET_HEADROOM};
use core::fmt;
use core::num::NonZeroU32;
use core::slice;
use nix::errno::Errno;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

/// A chunk of a [`Umem`] that is nobody else's: not the kernel's, not another worker's.
///
/// There is at most one for each chunk, at any time. One that is dropped is a chunk that is never used again.
#[must_use = "a frame that is dropped is lost"]
#[derive(PartialEq, Eq, Debug)]
pub struct Frame {
    index: u32,
    umem: NonZeroU32,
}

impl Frame {
    /// Which chunk it is, from 0.
    #[inline]
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }
}

/// How a [`Umem`] is cut up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Number of chunks.
    pub frames: u32,
    /// Bytes of a chunk: a power of two from 2,048 to the size of a page.
    pub frame_size: u32,
    /// Bytes that the kernel leaves free at a chunk's start, besides its own 256, when it puts a packet there.
    pub headroom: u32,
}

impl Geometry {
    /// Bytes of the longest packet that the kernel puts in a frame.
    #[must_use]
    pub fn packet_bytes_max(&self) -> usize {
        self.frame_size.saturating_sub(self.headroom + PACKET_HEADROOM) as usize
    }
}

/// What the memory consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pages {
    /// Huge pages of the pool that the administrator set aside (`vm.nr_hugepages`).
    Huge,
    /// Ordinary pages, which the kernel was asked to make huge where it can.
    Transparent,
    /// Ordinary pages.
    Ordinary,
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Huge => "huge pages",
            Self::Transparent => "transparent huge pages",
            Self::Ordinary => "ordinary pages",
        })
    }
}

/// The memory of all frames. It is shared by all workers, sockets and interfaces of a node.
#[derive(Debug)]
pub struct Umem {
    memory: Mapping,
    geometry: Geometry,
    chunks: Chunks,
    pages: Pages,
}

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// How much of a packet is prefetched: the headers and header fields of most requests. A body is not read.
const PREFETCHED_BYTES_MAX: usize = 768;

/// What a Via of ours takes before the packet.
const GROWN_BYTES: usize = 128;

impl Umem {
    /// Zeroed memory for `geometry`, and a frame for each chunk.
    ///
    /// # Errors
    /// A geometry that the kernel would refuse (`InvalidInput`), or no memory.
    pub fn new(geometry: Geometry) -> io::Result<(Self, Vec<Frame>)> {
        check(geometry).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let bytes = geometry.frames as usize * geometry.frame_size as usize;
        let (memory, pages) = map(bytes)?;
        let chunks = Chunks {
            umem: next_id().ok_or_else(|| io::Error::other("too many areas"))?,
            frames: geometry.frames,
            shift: geometry.frame_size.trailing_zeros(),
            inner: geometry.frame_size - 1,
        };
        // The only place where frames come from nothing: the area is new.
        let frames = (0..geometry.frames).map(|index| Frame { index, umem: chunks.umem }).collect();
        Ok((Self { memory, geometry, chunks, pages }, frames))
    }

    /// The bytes of a frame, all of them, whatever they were left as. A frame of another area has none.
    #[inline]
    #[must_use]
    pub fn bytes<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        let Some(offset) = self.chunks.offset(frame) else { return &mut [] };
        // SAFETY: the frame is one of this area, so `offset` and the chunk after it lie within. Nobody else has the chunk while there is
        // a frame for it, and the frame is borrowed mutably as long as the slice is.
        unsafe {
            slice::from_raw_parts_mut(
                self.memory.base().add(offset).as_ptr(),
                self.geometry.frame_size as usize,
            )
        }
    }

    /// Asks for the cache lines of a packet and those before it that its front will grow into, so that they are there when it is worked on.
    #[inline]
    pub fn prefetch(&self, frame: &Frame, packet: &core::ops::Range<usize>) {
        #[cfg(target_arch = "x86_64")]
        if let Some(offset) = self.chunks.offset(frame) {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let end = packet.end.min(packet.start + PREFETCHED_BYTES_MAX);
            for at in (packet.start.saturating_sub(GROWN_BYTES)..end).step_by(LINE_BYTES) {
                let line = self.memory.base().as_ptr().wrapping_add(offset + at);
                // SAFETY: a prefetch reads nothing, wherever it points.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (frame, packet);
    }

    /// The bytes of a frame, to read.
    #[inline]
    #[must_use]
    pub fn read<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        let Some(offset) = self.chunks.offset(frame) else { return &[] };
        // SAFETY: as for `bytes`; the frame is borrowed as long as the slice is, so no slice to write to is there.
        unsafe {
            slice::from_raw_parts(self.memory.base().add(offset).as_ptr(), self.geometry.frame_size as usize)
        }
    }

    /// How it is cut up.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What the memory consists of.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// Where the kernel puts a packet in a frame, unless the program moves it.
    #[must_use]
    pub fn packet_offset(&self) -> usize {
        (self.geometry.headroom + PACKET_HEADROOM) as usize
    }

    /// Bytes of the longest packet that the kernel puts in a frame; longer ones it drops (`net/xdp/xsk.c`, `__xsk_rcv`).
    #[must_use]
    pub fn packet_bytes_max(&self) -> usize {
        self.geometry.packet_bytes_max()
    }

    /// How chunks are told by address.
    pub(super) fn chunks(&self) -> Chunks {
        self.chunks
    }

    /// Address and length of the whole, as the kernel is told.
    pub(super) fn area(&self) -> (u64, u64) {
        let bytes = u64::from(self.geometry.frames) << self.chunks.shift;
        (self.memory.base().as_ptr() as u64, bytes)
    }
}

/// What is wrong with a geometry, by `xdp_umem_reg` in the kernel's `net/xdp/xdp_umem.c`.
fn check(geometry: Geometry) -> Result<(), String> {
    let Geometry { frames, frame_size, headroom } = geometry;
    let page = page_bytes();
    if !frame_size.is_power_of_two() || frame_size < CHUNK_BYTES_MIN || frame_size as usize > page {
        return Err(format!(
            "frames of {frame_size} bytes: not a power of two from {CHUNK_BYTES_MIN} to {page}"
        ));
    }
    if headroom >= frame_size - PACKET_HEADROOM {
        return Err(format!("a headroom of {headroom} bytes leaves nothing of a frame of {frame_size}"));
    }
    if frames == 0 {
        return Err("no frames".into());
    }
    Ok(())
}

/// Bytes of an ordinary page.
fn page_bytes() -> usize {
    // SAFETY: only asks.
    let bytes = unsafe { nix::libc::sysconf(nix::libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4_096)
}

/// Bytes of a huge page: the default size on x86-64, and on AArch64 with pages of 4 KiB. Where it is another, or there are none, ordinary pages serve.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Memory of huge pages if there are enough, else of ordinary ones.
fn map(bytes: usize) -> io::Result<(Mapping, Pages)> {
    let huge = Mapping::anonymous(bytes.next_multiple_of(HUGE_PAGE_BYTES), true);
    // To touch a huge page that a limit of the control group forbids would be the end of the process (SIGBUS), so the kernel is asked to do it.
    if let Some(memory) = huge.ok().filter(|memory| memory.populate().is_ok()) {
        return Ok((memory, Pages::Huge));
    }
    let memory = Mapping::anonymous(bytes.next_multiple_of(page_bytes()), false)?;
    let pages = if memory.advise_huge().is_ok() { Pages::Transparent } else { Pages::Ordinary };
    match memory.populate() {
        // Kernels before 5.14 do not know the advice; then the registration populates it.
        Ok(()) | Err(Errno::EINVAL) => Ok((memory, pages)),
        Err(errno) => Err(errno.into()),
    }
}

/// Numbers areas, so that a frame of one is not taken for one of another. `None` when all are used up.
fn next_id() -> Option<NonZeroU32> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let next = |last: u32| last.checked_add(1);
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
    NonZeroU32::MIN.checked_add(last)
}

/// How the kernel's addresses, which are offsets into the area, and frames belong together. Every ring has a copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    umem: NonZeroU32,
    frames: u32,
    shift: u32,
    /// The bits of an address that say how far in its chunk it is.
    inner: u32,
}

impl Chunks {
    /// Bytes of a chunk.
    #[inline]
    pub(super) fn frame_size(self) -> usize {
        self.inner as usize + 1
    }

    /// Number of chunks.
    pub(super) fn frames(self) -> u32 {
        self.frames
    }

    /// Where the chunk begins; `None` for a frame of another area.
    #[inline]
    pub(super) fn offset(self, frame: &Frame) -> Option<usize> {
        (frame.umem == self.umem).then_some((frame.index as usize) << self.shift)
    }

    /// The chunk that an address lies in, and how far in; `None` for an address past the last.
    #[inline]
    pub(super) fn locate(self, address: u64) -> Option<(u32, usize)> {
        let index = u32::try_from(address >> self.shift).ok().filter(|index| *index < self.frames)?;
        Some((index, (address & u64::from(self.inner)) as usize))
    }

    /// The frame for the chunk that an address lies in, and how far in; `None` for an address past the last.
    ///
    /// # Safety
    /// If there is such a chunk, nobody has it: there is no frame for it, and the kernel will not touch it.
    #[inline]
    pub(super) unsafe fn claim(self, address: u64) -> Option<(Frame, usize)> {
        let (index, offset) = self.locate(address)?;
        Some((Frame { index, umem: self.umem }, offset))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::io::af_xdp) fn umem(frames: u32) -> (Umem, Vec<Frame>) {
        Umem::new(Geometry { frames, frame_size: 2_048, headroom: 256 }).unwrap()
    }

    #[test]
    fn each_frame_has_its_own_bytes() {
        let (umem, mut frames) = umem(9);
        for frame in &mut frames {
            let index = frame.index() as u8;
            let bytes = umem.bytes(frame);
            assert!(bytes.len() == 2_048 && bytes.iter().all(|byte| *byte == 0));
            bytes.fill(index);
        }
        assert_eq!(frames.iter().map(Frame::index).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
        assert!(frames.iter().all(|frame| umem.read(frame) == [frame.index() as u8; 2_048]));
        assert_eq!((umem.packet_offset(), umem.packet_bytes_max()), (512, 1_536));
    }

    #[test]
    fn a_foreign_frame_has_no_bytes() {
        let ((umem, _own), (_other, mut frames)) = (umem(1), umem(1));
        assert!(umem.bytes(&mut frames[0]).is_empty() && umem.read(&frames[0]).is_empty());
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused() {
        let new = |frames, frame_size, headroom| Umem::new(Geometry { frames, frame_size, headroom });
        for (frames, frame_size, headroom) in [
            (0, 2_048, 0),
            (1, 1_024, 0),
            (1, 3_000, 0),
            (1, 1 << 17, 0),
            (1, 2_048, 1_792),
            (1, 2_048, u32::MAX),
        ] {
            let error = new(frames, frame_size, headroom).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{frames} {frame_size} {headroom}");
        }
        assert_eq!(new(1, 2_048, 1_791).unwrap().0.packet_bytes_max(), 1);
    }

    #[test]
    fn addresses_outside_are_no_frames() {
        let (umem, _frames) = umem(3);
        let chunks = umem.chunks();
        assert_eq!(chunks.locate(0), Some((0, 0)));
        assert_eq!(chunks.locate(3 * 2_048 - 1), Some((2, 2_047)));
        for address in [3 * 2_048, 1 << 43, (1 << 43) + 1, u64::MAX] {
            assert_eq!(chunks.locate(address), None, "{address}");
        }
    }

    #[test]
    fn a_frame_is_as_small_as_it_can_be() {
        assert_eq!(size_of::<Option<Frame>>(), 8);
    }
}
