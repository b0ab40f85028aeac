//! The rounds of the `aes` crate, for machines whose instructions we do not use ourselves.

use super::{Aligned, Rounds};
use aes::hazmat;

/// Rounds by calls.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Rounds for Portable {
    type Block = u128;

    #[inline(always)]
    fn load(self, bytes: &[u8; 16]) -> u128 {
        u128::from_le_bytes(*bytes)
    }

    #[inline(always)]
    fn key(self, bytes: &Aligned) -> u128 {
        self.load(&bytes.0)
    }

    #[inline(always)]
    fn words(self, first: u64, second: u64) -> u128 {
        u128::from(second) << 64 | u128::from(first)
    }

    #[inline(always)]
    fn store(self, block: u128) -> [u8; 16] {
        block.to_le_bytes()
    }

    #[inline(always)]
    fn first_word(self, block: u128) -> u64 {
        block as u64
    }

    #[inline(always)]
    fn xor(self, a: u128, b: u128) -> u128 {
        a ^ b
    }

    #[inline(always)]
    fn or(self, a: u128, b: u128) -> u128 {
        a | b
    }

    fn round(self, block: u128, key: u128) -> u128 {
        let mut block = block.to_le_bytes().into();
        hazmat::cipher_round(&mut block, &key.to_le_bytes().into());
        u128::from_le_bytes(block.into())
    }

    fn last_round(self, block: u128, key: u128) -> u128 {
        let mut block = block.to_le_bytes().into();
        hazmat::cipher_round(&mut block, &[0; 16].into());
        hazmat::inv_mix_columns(&mut block);
        u128::from_le_bytes(block.into()) ^ key
    }
}
