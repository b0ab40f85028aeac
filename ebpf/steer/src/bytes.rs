//! How the walk reads: by a bound that is checked at every access.

/// Bytes that may end anywhere. `at` counts from the first one; what does not lie inside as a whole is None.
///
/// Words are little-endian: the byte at `at` is the lowest one. There is no reading of less than a word, for the kernel's verifier does not learn
/// from a comparison that proves a single byte.
pub trait Bytes: Copy {
    /// [`BLOCK_BYTES`] and one byte more, which were shown to be there.
    type Block: Copy;

    /// The eight bytes at `at`.
    fn word(self, at: usize) -> Option<u64>;

    /// The block at `at`.
    fn block(self, at: usize) -> Option<Self::Block>;

    /// The eight bytes at `at` in a block, `at` is at most `BLOCK_BYTES - 7`.
    fn word_of(block: Self::Block, at: usize) -> u64;

    /// `value`, if it is not more than `max`. What is computed from the outcome is within bounds for the verifier too.
    #[inline(always)]
    fn at_most(value: usize, max: usize) -> Option<usize> {
        (value <= max).then_some(value)
    }

    /// `a - b`. Comparing it tells the verifier nothing of `a` and `b`; what it learned of them it would follow through all that comes behind, once for
    /// every outcome.
    #[inline(always)]
    fn difference(a: usize, b: usize) -> isize {
        a as isize - b as isize
    }
}

/// How much the walk looks at between two looks at the end.
pub const BLOCK_BYTES: usize = 32;

impl<'a> Bytes for &'a [u8] {
    type Block = &'a [u8; BLOCK_BYTES + 1];

    #[inline]
    fn word(self, at: usize) -> Option<u64> {
        let word = self.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*word))
    }

    #[inline]
    fn block(self, at: usize) -> Option<Self::Block> {
        self.get(at..)?.first_chunk()
    }

    #[inline]
    fn word_of(block: Self::Block, at: usize) -> u64 {
        block.as_slice().word(at).unwrap_or(0)
    }
}
