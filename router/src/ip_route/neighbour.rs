//! Neighbours that datagrams can be sent to.

use super::{LinkIndex, NeighbourPlan};
use crate::wire::ethernet::Mac;
use core::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A neighbour whose Ethernet address is known.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) mac: Mac,
    /// Whoever next sends there is to have it probed.
    poke: AtomicBool,
}

impl Neighbour {
    pub(super) fn poke(&self) {
        self.poke.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn take_poke(&self) -> bool {
        // The load keeps the cache line shared between workers as long as nobody pokes.
        self.poke.load(Ordering::Relaxed) && self.poke.swap(false, Ordering::Relaxed)
    }
}

/// Sorted: IPv4 addresses stand as IPv4-mapped ones.
type Key = (LinkIndex, u128);

#[derive(Clone, Debug)]
pub(super) struct Neighbours {
    keys: Vec<Key>,
    entries: Vec<Arc<Neighbour>>,
}

impl Neighbours {
    /// The usable ones of `plans`. Those that `previous` has with the same Ethernet address are shared with it.
    pub(super) fn new(plans: &[NeighbourPlan], previous: Option<&Self>) -> Self {
        let entry = |plan: &NeighbourPlan| {
            let mac = plan.usable_mac()?;
            let known = previous.and_then(|previous| previous.shared(plan.link, plan.address));
            let shared = known.filter(|known| known.mac == mac).map(Arc::clone);
            let new = || Arc::new(Neighbour { mac, poke: AtomicBool::new(false) });
            Some((key(plan.link, plan.address), shared.unwrap_or_else(new)))
        };
        let mut sorted: Vec<_> = plans.iter().filter_map(entry).collect();
        sorted.sort_by_key(|(key, _)| *key);
        sorted.dedup_by_key(|(key, _)| *key);
        let (keys, entries) = sorted.into_iter().unzip();
        Self { keys, entries }
    }

    #[inline]
    pub(super) fn get(&self, link: LinkIndex, address: IpAddr) -> Option<&Neighbour> {
        self.shared(link, address).map(|entry| &**entry)
    }

    /// Where it stands, for [`Self::at`].
    #[inline]
    pub(super) fn place(&self, link: LinkIndex, address: IpAddr) -> Option<usize> {
        self.keys.binary_search(&key(link, address)).ok()
    }

    #[inline]
    pub(super) fn at(&self, place: usize) -> Option<&Neighbour> {
        self.entries.get(place).map(|entry| &**entry)
    }

    #[inline]
    fn shared(&self, link: LinkIndex, address: IpAddr) -> Option<&Arc<Neighbour>> {
        self.entries.get(self.place(link, address)?)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

#[inline]
fn key(link: LinkIndex, address: IpAddr) -> Key {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    (link, address.to_bits())
}
