//! An array map of the kernel's as memory of this process.

#![expect(unsafe_code, reason = "memory that is shared with a program in the kernel")]

use core::ptr::NonNull;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicU64;

/// The values of an array map that was made with `BPF_F_MMAPABLE`, as words of 8 bytes.
#[derive(Debug)]
pub(super) struct Table {
    base: NonNull<AtomicU64>,
    words: usize,
}

impl Table {
    /// All `entries` of the map, each of `value_bytes`, which is a multiple of 8 as the kernel lays them out.
    pub(super) fn of(map: impl AsFd, entries: u32, value_bytes: usize) -> Result<Self, Errno> {
        let bytes = NonZeroUsize::new(entries as usize * value_bytes).ok_or(Errno::EINVAL)?;
        // SAFETY: no address is asked for, so nothing that is mapped is replaced. The kernel refuses more than the map has (`array_map_mmap`).
        let base = unsafe {
            mmap(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, map, 0)
        }?;
        Ok(Self { base: base.cast(), words: bytes.get() / 8 })
    }

    /// The words.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page aligned, has so many words, and stays until `drop`. The kernel's program writes to it too, whole words or what nobody reads meanwhile.
        unsafe { core::slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: it is our own mapping, and the borrows of it have ended.
        let _ = unsafe { munmap(self.base.cast(), self.words * 8) };
    }
}
