//! The universal hash below the seals: four rounds of AES of each sixteen bytes of a text, with keys of that place, exclusive-or-ed.
//!
//! Let two inputs differ, in one block say, and let all other keys be known. That their hashes differ by a given block then asks that four rounds take a given difference
//! to a given difference; with independent round keys, the chance of that is 2^-113 at most, whatever the differences (Keliher and Sui 2007, "Exact maximum
//! expected differential and linear probability for two-round AES", whose corollary for four rounds is 1.881 * 2^-114). Each block has four round keys of its own.
//!
//! What stands beside texts (lengths, ports, ids) need not go through rounds: it is put in plainly, each number into bits of its own. Of inputs that
//! differ there only, the hashes differ for sure. The hash hides nothing: it is for [`super::seal`] to encrypt.
//!
//! That a sum of such hashes makes a MAC is of Minematsu and Tsunoo 2006, "Provably secure MACs from differentially-uniform permutations and AES-based implementations".

use crate::rounds::{Aligned, Rounds};
use crate::sip::scan::LOWER;
use core::hash::Hasher as _;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

/// Bytes of a block.
const BLOCK_BYTES: usize = 16;
/// Blocks that a stretch has keys for: 128 bytes, more than all but a few texts have. A longer text costs a SipHash-2-4 of it, a longer stretch costs memory only.
const BLOCKS: usize = 8;
/// The longest text that is hashed as it is.
const TEXT_BYTES_MAX: usize = BLOCKS * BLOCK_BYTES;
/// A secret, and what is drawn from it: each by its name, and alike on every node.
pub(super) struct Source<'s>(pub(super) &'s [u8; 16]);

impl Source<'_> {
    /// The `index`-th key for a purpose.
    pub(super) fn draw(&self, purpose: &str, index: u64) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(self.0);
        hasher.write(b"sluice ");
        hasher.write(purpose.as_bytes());
        hasher.write(&index.to_le_bytes());
        bytes_of(&hasher)
    }
}

fn bytes_of(hasher: &SipHasher24) -> [u8; 16] {
    let hash = hasher.finish128();
    (u128::from(hash.h2) << 64 | u128::from(hash.h1)).to_le_bytes()
}

/// The round keys of one block's place in an input.
#[derive(Clone)]
pub(super) struct Place([Aligned; 4]);

impl Place {
    /// Draws the keys of the `index`-th place for a purpose.
    pub(super) fn draw(source: &Source<'_>, purpose: &str, index: usize) -> Self {
        Self([0, 1, 2, 3].map(|round| Aligned(source.draw(purpose, (4 * index + round) as u64))))
    }

    /// Adds a block to a hash.
    #[inline(always)]
    pub(super) fn put<R: Rounds>(&self, rounds: R, hash: R::Block, block: R::Block) -> R::Block {
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|i| rounds.key(&self.0[i]));
        let block = rounds.round(rounds.xor(block, first), second);
        let block = rounds.round(rounds.round(block, third), fourth);
        rounds.round(block, hash)
    }
}

/// The round keys of one text's place in an input.
#[derive(Clone)]
pub(super) struct Stretch([Place; BLOCKS]);

impl Stretch {
    /// Draws the keys for a purpose.
    pub(super) fn draw(source: &Source<'_>, purpose: &str) -> Self {
        Self(core::array::from_fn(|index| Place::draw(source, purpose, index)))
    }

    /// Adds a text to a hash. With `LOWERED`, letters count as lower-case. The [`Text::code`] has to be put in plainly beside it.
    ///
    /// The first block is the text's last sixteen bytes, wherever they begin. So nothing beside the text is read, and nothing is masked out.
    #[inline(always)]
    pub(super) fn put<const LOWERED: bool, R: Rounds>(
        &self,
        rounds: R,
        hash: R::Block,
        Text(text): Text<'_>,
    ) -> R::Block {
        let Self([first, second, third, fourth, others @ ..]) = self;
        let lowered = |block| if LOWERED { rounds.or(block, rounds.words(LOWER, LOWER)) } else { block };
        let put = |hash, place: &Place, block| place.put(rounds, hash, lowered(rounds.load(block)));
        let Some(last) = text.last_chunk() else {
            let [head, tail] = short(text);
            return first.put(rounds, hash, lowered(rounds.words(head, tail)));
        };
        // Straight on as far as most texts reach: a loop would cost half a block more for each.
        let mut hash = put(hash, first, last);
        let (blocks, _) = text[..text.len() - 1].as_chunks();
        if let [block, ..] = blocks {
            hash = put(hash, second, block);
        }
        if let [_, block, ..] = blocks {
            hash = put(hash, third, block);
        }
        if let [_, _, block, ..] = blocks {
            hash = put(hash, fourth, block);
        }
        if let [_, _, _, blocks @ ..] = blocks {
            for (block, place) in blocks.iter().zip(others) {
                hash = put(hash, place, block);
            }
        }
        hash
    }
}

/// A text that a stretch has keys for.
#[derive(Clone, Copy)]
pub(super) struct Text<'t>(&'t [u8]);

impl<'t> Text<'t> {
    /// `text`, if it is not too long.
    #[inline(always)]
    pub(super) fn new(text: &'t [u8]) -> Option<Self> {
        (text.len() <= TEXT_BYTES_MAX).then_some(Self(text))
    }

    /// `text`, or, where it is too long, its hash; no text of sixteen bytes is that but by a chance of 2^-128.
    #[inline(always)]
    pub(super) fn or_hash(text: &'t [u8], long: &LongHash, fold: u64, hash: &'t mut [u8; 16]) -> Self {
        if text.len() > TEXT_BYTES_MAX {
            *hash = long.of("text", [text], fold as u8);
            return Self(hash);
        }
        Self(text)
    }

    /// What stands for its length in eight bits: not 0, and no more than 129. Without it, texts of two lengths could be one.
    #[inline(always)]
    pub(super) fn code(self) -> u64 {
        self.0.len() as u64 + 1
    }
}

/// A text of less than sixteen bytes as two words: its first and its last bytes, which overlap.
#[inline(always)]
fn short(text: &[u8]) -> [u64; 2] {
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return [u64::from_le_bytes(*first), u64::from_le_bytes(*last)];
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return [u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()];
    }
    [text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0]
}

/// Brings texts down to sixteen bytes that are too long for a stretch, or that hardly any message has: SipHash-2-4 with a key of its own.
#[derive(Clone)]
pub(super) struct LongHash([u8; 16]);

impl LongHash {
    /// Draws the key.
    pub(super) fn draw(source: &Source<'_>) -> Self {
        Self(source.draw("long", 0))
    }

    /// The hash of texts, in the sense of `purpose`, with each byte or-ed with `fold`.
    #[cold]
    #[inline(never)]
    pub(super) fn of<'t>(
        &self,
        purpose: &str,
        texts: impl IntoIterator<Item = &'t [u8]>,
        fold: u8,
    ) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(purpose.as_bytes());
        for text in texts {
            hasher.write(&(text.len() as u64).to_le_bytes());
            text.iter().for_each(|byte| hasher.write(&[byte | fold]));
        }
        bytes_of(&hasher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::{self, Job};
    use std::collections::HashSet;

    #[derive(Clone, Copy)]
    struct Hash<'a, const LOWERED: bool>(&'a Stretch, &'a [u8]);

    impl<const LOWERED: bool> Job for Hash<'_, LOWERED> {
        type Output = [u8; 16];

        #[inline(always)]
        fn run(self, rounds: impl Rounds) -> [u8; 16] {
            let text = Text::new(self.1).unwrap();
            let hash = self.0.put::<LOWERED, _>(rounds, rounds.words(0, 0), text);
            rounds.store(rounds.xor(hash, rounds.words(text.code(), 0)))
        }
    }

    fn stretch() -> Stretch {
        Stretch::draw(&Source(b"a secret of ours"), "test")
    }

    /// The definition, step by step, by rounds of the `aes` crate.
    fn plain(Stretch(places): &Stretch, text: &[u8], lowered: bool) -> [u8; 16] {
        let mut blocks = vec![];
        if text.len() >= 16 {
            blocks.push(text[text.len() - 16..].to_vec());
            blocks.extend(text[..text.len() - 1].chunks_exact(16).map(<[u8]>::to_vec));
        } else {
            let mut block = vec![0; 16];
            match text.len() {
                0..4 => block[..text.len()].copy_from_slice(text),
                4..8 => {
                    block[..4].copy_from_slice(&text[..4]);
                    block[8..12].copy_from_slice(&text[text.len() - 4..]);
                }
                _ => {
                    block[..8].copy_from_slice(&text[..8]);
                    block[8..].copy_from_slice(&text[text.len() - 8..]);
                }
            }
            blocks.push(block);
        }
        let mut hash = [0u8; 16];
        hash[0] = text.len() as u8 + 1;
        for (block, Place(keys)) in blocks.iter().zip(places) {
            let fold = if lowered { 0x20 } else { 0 };
            let mut state = [0; 16];
            (0..16).for_each(|i| state[i] = (block[i] | fold) ^ keys[0].0[i]);
            let mut state = state.into();
            for key in [keys[1].0, keys[2].0, keys[3].0, [0; 16]] {
                aes::hazmat::cipher_round(&mut state, &key.into());
            }
            (0..16).for_each(|i| hash[i] ^= state[i]);
        }
        hash
    }

    /// Bytes that look random, and are the same each time.
    fn bytes(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn it_is_what_it_says() {
        let stretch = stretch();
        for seed in 0..8 {
            for len in 0..=TEXT_BYTES_MAX {
                let text = bytes(seed, len);
                assert_eq!(
                    rounds::run(Hash::<false>(&stretch, &text)),
                    plain(&stretch, &text, false),
                    "{len}"
                );
                assert_eq!(rounds::run(Hash::<true>(&stretch, &text)), plain(&stretch, &text, true), "{len}");
            }
        }
        assert!(Text::new(&bytes(1, TEXT_BYTES_MAX + 1)).is_none());
    }

    /// Every bit, every length, zeros at both ends, and pieces that change places.
    #[test]
    fn what_differs_is_told_apart() {
        let stretch = stretch();
        let mut texts = HashSet::new();
        for len in 0..=TEXT_BYTES_MAX {
            texts.extend([vec![0; len], vec![b' '; len]]);
        }
        for (seed, len) in
            [1, 3, 4, 7, 8, 12, 15, 16, 17, 31, 32, 33, 48, 64, 65, 80, 100, 127, 128].into_iter().enumerate()
        {
            let text = bytes(seed as u64, len);
            for bit in 0..8 * len {
                let mut other = text.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                texts.insert(other);
            }
            for (a, b) in (0..len / 4).flat_map(|a| (0..a).map(move |b| (4 * a, 4 * b))) {
                let mut other = text.clone();
                (0..4).for_each(|i| other.swap(a + i, b + i));
                texts.insert(other);
            }
            for zeros in 1..=(TEXT_BYTES_MAX - len).min(20) {
                texts.insert([&text[..], &vec![0; zeros]].concat());
                texts.insert([&vec![0; zeros], &text[..]].concat());
            }
            texts.insert(text);
        }
        let hashes: HashSet<_> =
            texts.iter().map(|text| rounds::run(Hash::<false>(&stretch, text))).collect();
        assert_eq!(hashes.len(), texts.len());
        assert!(texts.len() > 9_000);
    }

    #[test]
    fn long_texts_are_told_apart() {
        let (source, stretch) = (Source(b"a secret of ours"), stretch());
        let long = LongHash::draw(&source);
        let mut hashes = HashSet::new();
        for len in 0..600 {
            for text in [vec![0; len], bytes(1, len)] {
                let mut hash = [0; 16];
                let Text(text) = Text::or_hash(&text, &long, 0, &mut hash);
                hashes.insert(rounds::run(Hash::<false>(&stretch, text)));
            }
        }
        assert_eq!(hashes.len(), 1199, "the empty text is there twice");
        let of = |texts: &[&[u8]]| long.of("test", texts.iter().copied(), 0);
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"ab"]), long.of("other", [&b"ab"[..]], 0));
        assert_eq!(of(&[b"ab"]), long.of("test", [&b"AB"[..]], 0x20));
    }
}
