//! Target sets: Maglev hashing of Call-IDs to weighted members (Eisenbud and others, NSDI 2016, section 3.4).
//!
//! The choice depends on the members' addresses and weights and on the Call-ID, and on nothing else: not on their order, the key or the node. So ACK, CANCEL, BYE and
//! retransmissions follow their INVITE without memory, on every node.

use crate::io::ListenerIndex;
use core::net::SocketAddr;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

/// A member of a target set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share relative to the others'; 0 takes none.
    pub weight: u32,
    /// Out of service: it keeps its place in the table, and only what it would have got goes to others.
    pub down: bool,
}

/// A target set, ready for look-up.
#[derive(Clone, Debug)]
pub struct TargetSet {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// Its members.
    pub members: Vec<Member>,
    /// The listener that requests leave by, if it says so.
    pub egress: Option<ListenerIndex>,
    table: Vec<u16>,
}

/// Most members that a set may have: shares stay within 1 % in the largest table.
pub const MEMBERS_MAX: usize = 655;

/// Table sizes: primes, as the method asks; 100 slots or more a member keep the shares within 1 %.
const SIZES: [usize; 3] = [4_099, 16_411, 65_537];

/// How often a call of a member that is down is dealt again before the set counts as down. With half of all members down, one call in 2^32 would be refused wrongly;
/// so after it all members are looked at in turn.
const DEALS_MAX: u64 = 32;

const OFFSET: RapidSecrets = RapidSecrets::seed_cpp(1);
const SKIP: RapidSecrets = RapidSecrets::seed_cpp(2);
const CALL: RapidSecrets = RapidSecrets::seed_cpp(3);

impl TargetSet {
    /// The set of `members`.
    #[must_use]
    pub fn new(name: &str, members: Vec<Member>, egress: Option<ListenerIndex>) -> Self {
        let table = build(&members);
        Self { name: name.into(), members, egress, table }
    }

    /// The member for a Call-ID; `None` when all are down or weigh nothing.
    #[inline]
    #[must_use]
    pub fn pick(&self, call_id: &[u8]) -> Option<&Member> {
        let hash = rapidhash_v3_seeded(call_id, &CALL);
        let mut deal = hash;
        for _ in 0..DEALS_MAX {
            let slot = self.table.get(scale(deal, self.table.len()))?;
            let member = self.members.get(usize::from(*slot))?;
            if !member.down {
                return Some(member);
            }
            deal = deal.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ hash;
        }
        let usable = |member: &&Member| !member.down && member.weight > 0;
        let count = self.members.iter().filter(usable).count();
        self.members.iter().filter(usable).nth(scale(hash, count))
    }
}

/// A hash, brought to `0..size`.
#[inline]
fn scale(hash: u64, size: usize) -> usize {
    ((u128::from(hash) * size as u128) >> 64) as usize
}

/// Fills the table: members take turns, in proportion to their weights, in choosing the next free slot of their own permutation of all slots.
fn build(members: &[Member]) -> Vec<u16> {
    // An order of their own, so that the order in the file does not matter.
    let mut order: Vec<usize> = (0..members.len()).filter(|i| members[*i].weight > 0).collect();
    order.sort_by_key(|i| members[*i].address);
    let Some(heaviest) = order.iter().map(|i| members[*i].weight).max() else { return Vec::new() };
    let size = SIZES.into_iter().find(|size| *size >= order.len() * 100).unwrap_or(SIZES[2]);
    let mut table = vec![u16::MAX; size];
    let mut places: Vec<_> = order.iter().map(|i| permutation(members[*i].address, size)).collect();
    let mut credits = vec![0u64; order.len()];
    let mut left = size;
    loop {
        for (turn, member) in order.iter().enumerate() {
            credits[turn] += u64::from(members[*member].weight);
            if credits[turn] < u64::from(heaviest) {
                continue;
            }
            credits[turn] -= u64::from(heaviest);
            let (at, step) = &mut places[turn];
            while table[*at] != u16::MAX {
                *at = (*at + *step) % size;
            }
            table[*at] = *member as u16;
            left -= 1;
            if left == 0 {
                return table;
            }
        }
    }
}

/// Where a member's permutation begins, and its step.
fn permutation(address: SocketAddr, size: usize) -> (usize, usize) {
    let text = address.to_string();
    let offset = rapidhash_v3_seeded(text.as_bytes(), &OFFSET) % size as u64;
    let step = rapidhash_v3_seeded(text.as_bytes(), &SKIP) % (size as u64 - 1) + 1;
    (offset as usize, step as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u16) -> Vec<Member> {
        (0..count)
            .map(|i| Member {
                address: SocketAddr::from(([192, 0, 2, 1], 1000 + i)),
                weight: 100,
                down: false,
            })
            .collect()
    }

    fn picks(set: &TargetSet) -> Vec<Option<SocketAddr>> {
        (0..100_000).map(|i| set.pick(format!("call-{i}@example").as_bytes()).map(|m| m.address)).collect()
    }

    fn set(members: Vec<Member>) -> TargetSet {
        TargetSet::new("core", members, None)
    }

    #[test]
    fn shares_follow_weights() {
        let mut all = members(4);
        all[3].weight = 50;
        all[2].weight = 0;
        let picks = picks(&set(all.clone()));
        for (member, share) in all.iter().zip([0.4, 0.4, 0.0, 0.2]) {
            let got = picks.iter().filter(|p| **p == Some(member.address)).count() as f64 / 100_000.0;
            assert!((got - share).abs() < 0.01, "{got} for {share}");
        }
    }

    #[test]
    fn a_member_down_moves_only_its_own_share() {
        let mut all = members(7);
        let before = picks(&set(all.clone()));
        all[3].down = true;
        let after = picks(&set(all.clone()));
        let lost = Some(all[3].address);
        assert!(before.iter().zip(&after).all(|(b, a)| b == a || *b == lost));
        assert!(!after.contains(&lost) && !after.contains(&None));
        let fair = before.iter().filter(|b| **b == lost).count() / 6;
        for member in all.iter().filter(|m| !m.down) {
            let gained =
                before.iter().zip(&after).filter(|(b, a)| b != a && **a == Some(member.address)).count();
            assert!(gained.abs_diff(fair) < fair / 4, "{gained} of {fair}");
        }
    }

    #[test]
    fn a_member_removed_moves_little_else() {
        let mut all = members(7);
        let before = picks(&set(all.clone()));
        let lost = Some(all.remove(3).address);
        let after = picks(&set(all));
        let moved = before.iter().zip(&after).filter(|(b, a)| b != a && **b != lost).count();
        assert!(moved < 3_000, "{moved} of 100,000 calls changed their member for no reason");
    }

    #[test]
    fn order_does_not_matter_and_all_down_is_none() {
        let mut all = members(5);
        let before = picks(&set(all.clone()));
        all.reverse();
        assert_eq!(before, picks(&set(all.clone())));
        all.iter_mut().for_each(|m| m.down = true);
        assert_eq!(set(all.clone()).pick(b"x"), None);
        all[2].down = false;
        assert_eq!(set(all.clone()).pick(b"x").unwrap().address, all[2].address);
        assert_eq!(set(vec![]).pick(b"x"), None);
    }
}
