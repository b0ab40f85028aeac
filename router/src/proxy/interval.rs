//! Ordered ranges with a value for each stretch between their ends: prefix look-ups in one binary search.
//!
//! IP prefixes and user prefixes are both ranges of an ordered set. The ends of all ranges cut that set into stretches; every member of a stretch
//! lies in the same ranges. So a table of stretches answers "which prefixes hold this?" by one search, however they nest.

/// A table from keys of type `K` to the set of ranges that hold them.
#[derive(Clone, Debug)]
pub struct Intervals<K> {
    /// First key of each stretch but the first, ascending.
    starts: Vec<K>,
    /// One bit set a stretch, `words` words each; stretch 0 lies before `starts[0]`.
    sets: Vec<u64>,
    words: usize,
}

impl<K: Ord + Clone> Intervals<K> {
    /// The table of `ranges`: each `first..end` (`end` excluded, none: no end) with the bits that it sets. `always` are bits set for every key, and
    /// `bits` is how many bits there are.
    #[must_use]
    pub fn new(ranges: &[(K, Option<K>, usize)], always: &[usize], bits: usize) -> Self {
        let words = bits.div_ceil(64).max(1);
        let mut starts: Vec<K> =
            ranges.iter().flat_map(|(first, end, _)| [Some(first.clone()), end.clone()]).flatten().collect();
        starts.sort();
        starts.dedup();
        let mut sets = vec![0; words * (starts.len() + 1)];
        for (stretch, set) in sets.chunks_mut(words).enumerate() {
            always.iter().for_each(|bit| set_bit(set, *bit));
            let Some(key) = stretch.checked_sub(1).map(|i| &starts[i]) else { continue };
            for (first, end, bit) in ranges {
                if first <= key && end.as_ref().is_none_or(|end| key < end) {
                    set_bit(set, *bit);
                }
            }
        }
        Self { starts, sets, words }
    }

    /// The bit set of the key for which `before` says whether a start is at or before it.
    #[inline]
    #[must_use]
    pub fn get(&self, at_or_before: impl FnMut(&K) -> bool) -> &[u64] {
        let stretch = self.starts.partition_point(at_or_before);
        self.sets.get(stretch * self.words..(stretch + 1) * self.words).unwrap_or_default()
    }
}

/// Sets bit `bit` of `set`.
pub fn set_bit(set: &mut [u64], bit: usize) {
    set[bit / 64] |= 1 << (bit % 64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_and_adjoining() {
        let table = Intervals::new(&[(10, Some(20), 0), (12, Some(15), 1), (20, None, 2)], &[70], 71);
        let get = |key: i32| {
            let set = table.get(|start| *start <= key);
            (0..71).filter(|bit| set[bit / 64] >> (bit % 64) & 1 == 1).collect::<Vec<_>>()
        };
        assert_eq!(get(9), [70]);
        assert_eq!(get(10), [0, 70]);
        assert_eq!(get(14), [0, 1, 70]);
        assert_eq!(get(15), [0, 70]);
        assert_eq!(get(20), [2, 70]);
        assert_eq!(get(99), [2, 70]);
    }
}
