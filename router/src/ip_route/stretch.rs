//! Longest prefix match by one binary search.
//!
//! Prefixes nest or lie apart. So their ends cut the addresses into stretches, in each of which one prefix is the longest.

/// An address as a number.
pub(super) trait Bits: Copy + Ord {
    /// Bits of an address.
    const LEN: u8;
    /// The lowest one.
    const ZERO: Self;
    /// The last address of the prefix of `len` bits that begins at `self`.
    fn last(self, len: u8) -> Self;
    /// The next address, unless this is the last.
    fn next(self) -> Option<Self>;
}

macro_rules! bits {
    ($($number:ty)*) => { $(impl Bits for $number {
        const LEN: u8 = <$number>::BITS as u8;
        const ZERO: Self = 0;
        fn last(self, len: u8) -> Self {
            self | <$number>::MAX.checked_shr(u32::from(len)).unwrap_or(0)
        }
        fn next(self) -> Option<Self> {
            self.checked_add(1)
        }
    })* };
}
bits!(u32 u128);

/// From each address to the value of the longest prefix that holds it.
#[derive(Clone, Debug)]
pub(super) struct Stretches<K> {
    /// First address of each stretch, ascending; the first is the lowest of all.
    starts: Vec<K>,
    /// One for each stretch.
    values: Vec<u32>,
}

/// No prefix holds the stretch.
const NONE: u32 = u32::MAX;

impl<K: Bits> Stretches<K> {
    /// The table of `prefixes`: first address, length, value. Of one prefix that stands there twice, the first counts.
    pub(super) fn new(mut prefixes: Vec<(K, u8, u32)>) -> Self {
        prefixes.sort_by_key(|(first, len, _)| (*first, *len));
        prefixes.dedup_by_key(|(first, len, _)| (*first, *len));
        let mut table = Self { starts: vec![K::ZERO], values: vec![NONE] };
        // Last address and value of the prefixes that hold the current address, the longest on top.
        let mut open: Vec<(K, u32)> = Vec::with_capacity(usize::from(K::LEN) + 1);
        for (first, len, value) in prefixes {
            table.close(&mut open, Some(first));
            open.push((first.last(len), value));
            table.begin(first, value);
        }
        table.close(&mut open, None);
        table.starts.shrink_to_fit();
        table.values.shrink_to_fit();
        table
    }

    /// Ends the prefixes that end before `until`.
    fn close(&mut self, open: &mut Vec<(K, u32)>, until: Option<K>) {
        while let Some((last, _)) = open.pop_if(|(last, _)| until.is_none_or(|until| *last < until)) {
            if let Some(start) = last.next() {
                self.begin(start, open.last().map_or(NONE, |(_, value)| *value));
            }
        }
    }

    /// From `start` on, which is no less than any before, it is `value`.
    fn begin(&mut self, start: K, value: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }

    /// The value of the longest prefix that holds `address`.
    #[inline]
    pub(super) fn get(&self, address: K) -> Option<u32> {
        let place = self.starts.partition_point(|start| *start <= address).checked_sub(1)?;
        self.values.get(place).copied().filter(|value| *value != NONE)
    }
}
