//! The Call-ID of a message, as far as steering needs it: found without looking at more than line ends and what follows them, and hashed.
//!
//! What is found: the first header field named `Call-ID` or `i` in any case (RFC 3261 section 20.8), with white space before and behind the colon.
//! Its value ends before the first byte that is white space or a control character, which must lie in the message. A value that begins on another line is
//! not found, nor is what is odd in other ways that the constants below name: then the kernel path, which has time, does the work.
//!
//! Every message of a call has the same Call-ID, so one call is one worker, however the header field is written.

use crate::bytes::{BLOCK_BYTES, Bytes};
use crate::pass::Pass;

/// Payloads shorter than this pass: nothing shorter is a SIP message. It is how far the walk reads from the begin of a block: eight bytes from each
/// line feed in it. So a line whose line feed is closer to the end of the message is not looked at; there is room for one letter of a Call-ID.
pub const REACH: usize = BLOCK_BYTES + 8;

/// Payloads longer than this pass: a socket's frames have 4,096 bytes at most, and the verifier needs a bound for every offset.
pub const PAYLOAD_BYTES_MAX: usize = 4096;

/// How far the header fields are searched. The verifier goes through it block by block, and takes no path of more than 8,192 branches.
pub const SCAN_BYTES_MAX: usize = 1536;

/// How much white space may stand before the colon, and behind it.
pub const WHITE_SPACE_MAX: usize = 8;

/// How much of a Call-ID is hashed; those that differ further on only share a worker.
pub const HASHED_BYTES_MAX: usize = 128;

/// How many lines may be worth a look behind the line feeds of one word; more are odd. Each branch more costs the verifier.
const WORD_LINES_MAX: u32 = 2;

/// The most that [`last_block`] returns.
pub const LAST_BLOCK_MAX: usize = PAYLOAD_BYTES_MAX - REACH;

/// Where the last block of a payload of `length` bytes begins: the number that stands for its length below.
///
/// # Errors
///
/// Why the message passes.
#[inline(always)]
pub fn last_block<B: Bytes>(length: usize) -> Result<usize, Pass> {
    let last = length.wrapping_sub(REACH);
    B::at_most(last, LAST_BLOCK_MAX).ok_or(if length < REACH { Pass::Short } else { Pass::TooLarge })
}

/// What a walk over blocks comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Where the name of the Call-ID ends: at its colon, or at white space.
    Name(usize),
    /// There is none.
    None,
    /// There was none in the whole blocks. What is left has to be looked at as the last block: [`walk`] again, with the payload from there on.
    Rest,
}

/// Searches the Call-ID in a payload, whose last block begins at `last`. `bytes` begin with it and may go on behind it.
#[inline(always)]
pub fn walk<B: Bytes>(bytes: B, last: usize) -> Walk {
    let mut at = 0;
    // Two comparisons, not one with the lesser: Linux 6.1 decides that of a known number, as `at` is, with a constant only, and would not see the loop end.
    while at <= last && at < SCAN_BYTES_MAX {
        let Some(block) = bytes.block(at) else { return Walk::None };
        let signs = [0, 8, 16, 24].map(|within| signs::<B>(block, within));
        if (signs[0] | signs[1] | signs[2] | signs[3]) & HIGH_BITS != 0 {
            match line_of_block(bytes, at, signs) {
                OTHER => {}
                LAST => return Walk::None,
                name_end => return Walk::Name(name_end),
            }
        }
        at += BLOCK_BYTES;
    }
    if last < SCAN_BYTES_MAX { Walk::Rest } else { Walk::None }
}

/// The hash of the Call-ID whose name ends at `name_end`. None where there is no colon, no value, or no end of it.
#[inline(always)]
pub fn hash<B: Bytes>(bytes: B, last: usize, name_end: usize, seed: u64) -> Option<u64> {
    let value = value(bytes, last, name_end)?;
    let mut at = value;
    let mut sum = seed;
    let mut factor = FACTOR;
    let mut words = 0;
    while words < HASHED_BYTES_MAX / 8 {
        words += 1;
        let word = word_within(bytes, last, at)?;
        // Quickly for what is ASCII, and then exactly.
        if word.wrapping_sub(FIRST_LETTERS) & HIGH_BITS != 0 {
            let ends = ends(word);
            if ends != 0 {
                let end = at + lowest_byte(ends);
                if end == value || B::difference(end, last + REACH) >= 0 {
                    return None;
                }
                return Some(mix(sum.wrapping_add(((word & below(ends)) ^ seed).wrapping_mul(factor))));
            }
        }
        sum = sum.wrapping_add((word ^ seed).wrapping_mul(factor));
        factor = factor.wrapping_add(FACTOR_STEP);
        at += 8;
    }
    if B::difference(at, last + REACH) > 0 { None } else { Some(mix(sum)) }
}

/// The worker of `workers` that a hash belongs to.
#[inline(always)]
#[must_use]
pub fn worker(hash: u64, workers: u32) -> u32 {
    (((hash >> 32) * u64::from(workers)) >> 32) as u32
}

/// What a line is, as one number, for a function of the program returns no more: [`OTHER`], [`LAST`], or where the name of the Call-ID ends.
type Line = usize;
/// None that matters.
const OTHER: Line = 0;
/// Empty, so the end of the header fields; or odd.
const LAST: Line = 1;

/// Has the high bit of a byte set where there is a line feed in the word at `within` of a block, and where the next byte may begin a line that matters.
/// It may be set above such a byte too, and where bytes are not ASCII.
///
/// Most lines are passed over so without a branch that the CPU could guess wrong.
#[inline(always)]
fn signs<B: Bytes>(block: B::Block, within: usize) -> u64 {
    let others = (B::word_of(block, within) ^ LINE_FEEDS) | (B::word_of(block, within + 1) & COMMON);
    others.wrapping_sub(LOW_BITS)
}

/// The first line that matters of those that begin behind the line feeds of the block at `at`, which has these [`signs`].
#[inline(always)]
fn line_of_block<B: Bytes>(bytes: B, at: usize, signs: [u64; 4]) -> Line {
    // Written out, for a loop over the four costs 3 ns.
    let line = line_of_word(bytes, at, signs[0]);
    if line != OTHER {
        return line;
    }
    let line = line_of_word(bytes, at + 8, signs[1]);
    if line != OTHER {
        return line;
    }
    let line = line_of_word(bytes, at + 16, signs[2]);
    if line != OTHER {
        return line;
    }
    line_of_word(bytes, at + 24, signs[3])
}

/// The same, of the word at `at`.
#[inline(always)]
fn line_of_word<B: Bytes>(bytes: B, at: usize, signs: u64) -> Line {
    let marks = signs & HIGH_BITS;
    if marks == 0 {
        return OTHER;
    }
    let line = line_behind(bytes, at + lowest_byte(marks));
    let marks = marks & (marks - 1);
    if line != OTHER || marks == 0 {
        return line;
    }
    line_of_crowded_word(bytes, at, signs)
}

/// The same, of a word with more than one mark: where lines are very short, or letters are not ASCII. Seldom, so not inlined.
#[inline(never)]
fn line_of_crowded_word<B: Bytes>(bytes: B, at: usize, signs: u64) -> Line {
    let mut feeds = !nonzero_bytes(signs.wrapping_add(LOW_BITS)) & HIGH_BITS;
    let mut lines = 0;
    while feeds != 0 {
        if lines == WORD_LINES_MAX {
            return LAST;
        }
        lines += 1;
        let line = line_behind(bytes, at + lowest_byte(feeds));
        if line != OTHER {
            return line;
        }
        feeds &= feeds - 1;
    }
    OTHER
}

/// What the line is that begins behind the line feed at `at`, if that is one.
#[inline(always)]
fn line_behind<B: Bytes>(bytes: B, at: usize) -> Line {
    let Some(word) = bytes.word(at) else { return LAST };
    if FIRST_BYTES >> (word >> 8 & 63) & 1 == 0 || word as u8 != b'\n' {
        return OTHER;
    }
    if word | CALL_ID_CASE == CALL_ID {
        let next = bytes.word(at + 1).map_or(0, |word| word >> 56);
        return if is_behind_name(next as u8) { at + 8 } else { OTHER };
    }
    match (word >> 8) as u8 {
        b'\r' | b'\n' => LAST,
        b'i' | b'I' if is_behind_name((word >> 16) as u8) => at + 2,
        _ => OTHER,
    }
}

#[inline(always)]
fn is_behind_name(byte: u8) -> bool {
    matches!(byte, b':' | b' ' | b'\t')
}

/// Where the value begins, behind the colon and white space.
#[inline(always)]
fn value<B: Bytes>(bytes: B, last: usize, name_end: usize) -> Option<usize> {
    let word = word_within(bytes, last, name_end)?;
    // As nearly everybody writes it.
    if word as u16 == u16::from_le_bytes(*b": ") && (word >> 16) as u8 > b' ' {
        return Some(name_end + 2);
    }
    let colon = behind_white_space(bytes, last, name_end)?;
    if word_within(bytes, last, colon)? as u8 != b':' {
        return None;
    }
    behind_white_space(bytes, last, colon + 1)
}

/// The first place from `at` on that holds no space or tab; more than `WHITE_SPACE_MAX` of them are not all skipped.
#[inline(always)]
fn behind_white_space<B: Bytes>(bytes: B, last: usize, at: usize) -> Option<usize> {
    let word = word_within(bytes, last, at)?;
    let others =
        nonzero_bytes(word ^ (LOW_BITS * b' ' as u64)) & nonzero_bytes(word ^ (LOW_BITS * b'\t' as u64));
    Some(at + if others == 0 { WHITE_SPACE_MAX } else { lowest_byte(others) })
}

/// The eight bytes at `at`; near the end of `bytes`, with zeros for what lies beyond the payload.
#[inline(always)]
fn word_within<B: Bytes>(bytes: B, last: usize, at: usize) -> Option<u64> {
    if let Some(word) = bytes.word(at) {
        return Some(word);
    }
    let end = last + REACH - 8;
    let beyond = B::difference(at, end);
    if beyond <= 0 || beyond >= 8 {
        return None;
    }
    Some(bytes.word(end)? >> (8 * beyond))
}

#[inline(always)]
fn mix(sum: u64) -> u64 {
    (sum ^ sum >> 32).wrapping_mul(FACTOR)
}

/// The high bit of every byte of `word` that is not zero, and nothing else.
#[inline(always)]
fn nonzero_bytes(word: u64) -> u64 {
    (((word & !HIGH_BITS) + !HIGH_BITS) | word) & HIGH_BITS
}

/// The high bit of every byte of `word` that ends a value, and nothing else: of 0x00 to 0x20.
#[inline(always)]
fn ends(word: u64) -> u64 {
    !(((word & !HIGH_BITS) + LOW_BITS * 0x5f) | word) & HIGH_BITS
}

/// All bits of the bytes below the lowest one of `high_bits`.
#[inline(always)]
fn below(high_bits: u64) -> u64 {
    let lowest = high_bits >> 7;
    lowest.wrapping_sub(1) & !lowest
}

/// The number, from 0 to 7, of the lowest byte of `high_bits`, of which there is one.
#[inline(always)]
fn lowest_byte(high_bits: u64) -> usize {
    // Less one, every byte up to it has its lowest bit set. All but the first are summed up in the highest byte.
    (((high_bits - 1) & (LOW_BITS - 1)).wrapping_mul(LOW_BITS) >> 56) as usize
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = LOW_BITS * 0x80;
const LINE_FEEDS: u64 = LOW_BITS * b'\n' as u64;
/// The first bytes that do not end a value.
const FIRST_LETTERS: u64 = LOW_BITS * 0x21;

/// The bits of which none is set in the first byte of a line that matters: a C or I, large or small, a CR or LF. One is set in P to Z and p to z, and in digits;
/// so Via, Route, To and most others are left out.
const COMMON: u64 = LOW_BITS * 0x90;

/// The first bytes of lines that matter, each as the bit that its lowest six bits number. Others share some of them.
const FIRST_BYTES: u64 = bit(b'C') | bit(b'c') | bit(b'I') | bit(b'i') | bit(b'\r') | bit(b'\n');

const fn bit(byte: u8) -> u64 {
    1 << (byte & 63)
}

/// A line feed and the name, in small letters.
const CALL_ID: u64 = u64::from_le_bytes(*b"\ncall-id");
/// The bits that make its letters small, and leave the others alone.
const CALL_ID_CASE: u64 = u64::from_le_bytes([0, 0x20, 0x20, 0x20, 0x20, 0, 0x20, 0x20]);

/// 2^64 by the golden ratio: odd, and with no pattern.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// Even, so that every word's factor is odd.
const FACTOR_STEP: u64 = 0xbf58_476d_1ce4_e5b8;
