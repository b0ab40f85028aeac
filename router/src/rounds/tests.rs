use super::*;

/// Encrypts a block.
struct Encrypt<'a>(&'a Aes128, [u8; 16]);

impl Job for Encrypt<'_> {
    type Output = [u8; 16];

    #[inline(always)]
    fn run(self, rounds: impl Rounds) -> [u8; 16] {
        rounds.store(self.0.encrypt(rounds, rounds.load(&self.1)))
    }
}

/// Everything that rounds can do, mixed into one block.
struct All([u8; 16], Aligned);

impl Job for All {
    type Output = ([u8; 16], u64);

    #[inline(always)]
    fn run(self, rounds: impl Rounds) -> ([u8; 16], u64) {
        let (block, key) = (rounds.load(&self.0), rounds.key(&self.1));
        let block = rounds.round(block, rounds.words(1, u64::MAX - 2));
        let block = rounds.last_round(rounds.or(block, rounds.words(0x0f0f, 3 << 60)), key);
        (rounds.store(rounds.xor(block, key)), rounds.first_word(block))
    }
}

fn hex(text: &str) -> [u8; 16] {
    u128::from_str_radix(text, 16).unwrap().to_be_bytes()
}

/// By every way that there is on this machine, which all agree.
fn by_all<J: Job + Clone>(job: J) -> J::Output
where
    J::Output: PartialEq + core::fmt::Debug,
{
    let output = job.clone().run(portable::Portable);
    #[cfg(target_arch = "x86_64")]
    if let Some(by_instructions) = x86_64::run_by_instructions(job.clone()) {
        assert_eq!(by_instructions, output);
    }
    assert_eq!(run(job), output);
    output
}

impl Clone for Encrypt<'_> {
    fn clone(&self) -> Self {
        Self(self.0, self.1)
    }
}

impl Clone for All {
    fn clone(&self) -> Self {
        Self(self.0, self.1)
    }
}

/// FIPS 197, appendices A.1 (the last words of the schedule), B and C.1.
#[test]
fn standard_vectors() {
    let key = Aes128::new(hex("2b7e151628aed2a6abf7158809cf4f3c"));
    assert_eq!(key.0[ROUNDS].0, hex("d014f9a8c9ee2589e13f0cc8b6630ca6"));
    let block = hex("3243f6a8885a308d313198a2e0370734");
    assert_eq!(by_all(Encrypt(&key, block)), hex("3925841d02dc09fbdc118597196a0b32"));
    let key = Aes128::new(hex("000102030405060708090a0b0c0d0e0f"));
    let block = hex("00112233445566778899aabbccddeeff");
    assert_eq!(by_all(Encrypt(&key, block)), hex("69c4e0d86a7b0430d8cdb78070b4c55a"));
}

#[test]
fn every_way_is_the_same_and_is_that_of_the_crate() {
    use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
    let mut number = 0x0123_4567_89ab_cdef_u128;
    for _ in 0..200 {
        number = number.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
        let (block, key) = (number.to_le_bytes(), (number.rotate_left(50) ^ 7).to_le_bytes());
        let mut expected = block.into();
        aes::Aes128Enc::new(&key.into()).encrypt_block(&mut expected);
        assert_eq!(by_all(Encrypt(&Aes128::new(key), block)), <[u8; 16]>::from(expected));
        by_all(All(block, Aligned(key)));
    }
}
