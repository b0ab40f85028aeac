//! AES by its rounds (FIPS 197), as the CPU has them: what [`crate::proxy::seal`] makes its hashes of.
//!
//! A [`Job`] is written once, over any [`Rounds`], and [`run`] chooses: instructions where this x86-64 has them, for which the standard library asks it once, else the rounds of the
//! `aes` crate, which chooses for itself, and which has some for every machine. Both give the same blocks.
//!
//! Rounds of our own, because the `aes` crate gives whole blocks only by a call of 30 instructions each, and its rounds by one of 12 each;
//! here a round is one instruction, and a block of a universal hash takes six (callgrind).

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use aes::hazmat;

/// One way to compute rounds. Bytes are in the order of FIPS 197; in a word the first byte is the least.
pub(crate) trait Rounds: Copy {
    /// A block, where this way keeps it.
    type Block: Copy;

    /// Sixteen bytes as a block.
    fn load(self, bytes: &[u8; 16]) -> Self::Block;
    /// The same of bytes that are aligned, which saves an instruction where they are the key of a round.
    fn key(self, bytes: &Aligned) -> Self::Block;
    /// Two words as a block, the first of them first.
    fn words(self, first: u64, second: u64) -> Self::Block;
    /// A block as sixteen bytes.
    fn store(self, block: Self::Block) -> [u8; 16];
    /// The first eight bytes of a block, as a word.
    fn first_word(self, block: Self::Block) -> u64;
    /// Both, bit by bit exclusive-or.
    fn xor(self, a: Self::Block, b: Self::Block) -> Self::Block;
    /// Both, or-ed.
    fn or(self, a: Self::Block, b: Self::Block) -> Self::Block;
    /// `SubBytes`, `ShiftRows`, `MixColumns`, `AddRoundKey`.
    fn round(self, block: Self::Block, key: Self::Block) -> Self::Block;
    /// The same without `MixColumns`.
    fn last_round(self, block: Self::Block, key: Self::Block) -> Self::Block;
}

/// What is to be computed with rounds. All of `run` has to be inlined: what is not, knows nothing of the instructions.
pub(crate) trait Job {
    /// What comes of it.
    type Output;
    /// Computes it.
    fn run(self, rounds: impl Rounds) -> Self::Output;
}

/// Does a job with the rounds that this machine has.
#[inline(always)]
pub(crate) fn run<J: Job>(job: J) -> J::Output {
    #[cfg(target_arch = "x86_64")]
    {
        x86_64::run(job)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        job.run(portable::Portable)
    }
}

/// Sixteen bytes, where the instructions want them.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
#[repr(C, align(16))]
pub(crate) struct Aligned(pub(crate) [u8; 16]);

/// Rounds of AES-128 behind the first `AddRoundKey`.
const ROUNDS: usize = 10;

/// An AES-128 key with its schedule.
#[derive(Clone)]
pub(crate) struct Aes128([Aligned; ROUNDS + 1]);

impl Aes128 {
    /// Expands a key (FIPS 197 5.2).
    #[must_use]
    pub(crate) fn new(key: [u8; 16]) -> Self {
        let mut schedule = [Aligned(key); ROUNDS + 1];
        let mut constant = 1u8;
        for round in 1..=ROUNDS {
            let before = &schedule[round - 1].0;
            let mut words = [0, 4, 8, 12]
                .map(|at| u32::from_le_bytes([before[at], before[at + 1], before[at + 2], before[at + 3]]));
            words[0] ^= sub_word(words[3].rotate_right(8)) ^ u32::from(constant);
            (1..4).for_each(|i| words[i] ^= words[i - 1]);
            constant = constant << 1 ^ if constant & 0x80 == 0 { 0 } else { 0x1b };
            for (place, word) in schedule[round].0.chunks_exact_mut(4).zip(words) {
                place.copy_from_slice(&word.to_le_bytes());
            }
        }
        Self(schedule)
    }

    /// Encrypts a block.
    #[inline(always)]
    pub(crate) fn encrypt<R: Rounds>(&self, rounds: R, block: R::Block) -> R::Block {
        let Self(keys) = self;
        let mut block = rounds.xor(block, rounds.key(&keys[0]));
        for key in &keys[1..ROUNDS] {
            block = rounds.round(block, rounds.key(key));
        }
        rounds.last_round(block, rounds.key(&keys[ROUNDS]))
    }
}

/// `SubBytes` of four bytes. A round of a block of four times the same column shifts nothing, and its `MixColumns` is undone.
fn sub_word(word: u32) -> u32 {
    let mut block = [0u8; 16].into();
    for place in aes::Block::as_mut_slice(&mut block).chunks_exact_mut(4) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    hazmat::cipher_round(&mut block, &[0; 16].into());
    hazmat::inv_mix_columns(&mut block);
    u32::from_le_bytes([block[0], block[1], block[2], block[3]])
}

#[cfg(test)]
mod tests;
