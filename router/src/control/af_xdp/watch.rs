//! What the control plane keeps of a running data plane.

use super::interfaces::Chosen;
use crate::control::config::NodeListener;
use crate::control::links::device;
use crate::control::xdp::Steering;
use crate::io::af_xdp::depot::Depot;
use crate::io::af_xdp::handover::{Handovers, Hold};
use crate::io::af_xdp::ledger::{Page, Whereabouts};
use crate::io::af_xdp::socket::{self, SocketStatistics};
use crate::ip_route::{Family, IpRoutes, LinkIndex};
use anyhow::Context;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// What the control plane keeps of it: the programs, and where to read what happens.
pub struct Watch {
    pub(super) interfaces: Vec<Chosen>,
    pub(super) listeners: Vec<NodeListener>,
    pub(super) steering: Mutex<Vec<Steering>>,
    pub(super) sockets: Vec<SocketStatistics>,
    pub(super) pages: Vec<Arc<Page>>,
    pub(super) depot: Arc<Depot>,
    pub(super) handovers: Arc<Handovers>,
    pub(super) frames: u32,
}

impl Watch {
    /// Tells the programs where the listeners are by now: those on all addresses are on others when `routes` have changed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn follow(&self, routes: &IpRoutes) -> anyhow::Result<()> {
        let mut steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        for (chosen, steering) in self.interfaces.iter().zip(steering.iter_mut()) {
            let addresses = self.listeners.iter().flat_map(|l| addresses(l, chosen.link, routes)).collect();
            steering.listen(&addresses).with_context(|| format!("interface {}", chosen.plan.name))?;
        }
        Ok(())
    }

    /// Detaches the programs: from now on everything goes by the kernel's own sockets. The kernel path is held meanwhile, as at the start.
    pub fn detach(&self) {
        let _hold = Hold::of(&self.handovers);
        self.steering.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().for_each(Steering::detach);
    }

    /// Whether datagrams wait for the kernel path.
    #[must_use]
    pub fn has_handovers(&self) -> bool {
        !self.handovers.is_empty()
    }

    /// What is counted beside the workers, and where the frames are.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, u64)> {
        let mut counters = self.passed();
        counters.extend(self.sockets());
        let Whereabouts { held, filled, transmitted } = Whereabouts::of(self.pages.iter().map(AsRef::as_ref));
        let frames = [
            ("frames", u64::from(self.frames)),
            ("frames_free", held + self.depot.len() as u64),
            ("frames_fill", filled),
            ("frames_transmit", transmitted),
            ("frames_handover", self.handovers.len() as u64),
        ];
        counters.extend(frames.map(|(name, value)| (name.to_owned(), value)));
        counters
    }

    /// What the programs left to the kernel.
    fn passed(&self) -> Vec<(String, u64)> {
        let mut sums: Vec<(String, u64)> = Vec::new();
        let steering = self.steering.lock().unwrap_or_else(PoisonError::into_inner);
        // A map that cannot be read any more is missing from the sums.
        for passed in steering.iter().filter_map(|steering| steering.passed().ok()) {
            for (i, (reason, count)) in passed.into_iter().enumerate() {
                match sums.get_mut(i) {
                    Some((_, sum)) => *sum += count,
                    None => sums.push((format!("passed{{{}}}", reason.name()), count)),
                }
            }
        }
        sums
    }

    /// What the kernel counts of the sockets.
    fn sockets(&self) -> impl Iterator<Item = (String, u64)> {
        let mut sum = socket::Statistics::default();
        for statistics in self.sockets.iter().filter_map(|socket| socket.read().ok()) {
            sum.rx_dropped += statistics.rx_dropped;
            sum.rx_ring_full += statistics.rx_ring_full;
            sum.rx_invalid += statistics.rx_invalid;
            sum.tx_invalid += statistics.tx_invalid;
            // Each socket of a queue reports the queue's.
            sum.fill_ring_empty = sum.fill_ring_empty.max(statistics.fill_ring_empty);
        }
        let counters = [
            ("dropped", sum.rx_dropped),
            ("rx_ring_full", sum.rx_ring_full),
            ("fill_ring_empty", sum.fill_ring_empty),
            ("rx_invalid", sum.rx_invalid),
            ("tx_invalid", sum.tx_invalid),
        ];
        counters.into_iter().map(|(name, value)| (format!("xsk{{{name}}}"), value))
    }
}

/// The addresses of a listener whose datagrams the device `device` takes.
///
/// Link-local ones mean nothing without their link, which a frame does not say: those the kernel's sockets get.
fn addresses(listener: &NodeListener, device_link: LinkIndex, routes: &IpRoutes) -> Vec<SocketAddr> {
    let is_elsewhere = |name: &String| {
        let below = routes.link_named(name).and_then(|link| device(routes, link));
        below.is_some_and(|below| below.index != device_link)
    };
    if listener.interface.as_ref().is_some_and(is_elsewhere) {
        return Vec::new();
    }
    let is_steered = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let bound = listener.address;
    let addresses: Vec<IpAddr> = if bound.ip().is_unspecified() {
        routes.local_addresses(Family::of(bound.ip())).map(|(address, _)| address).collect()
    } else {
        vec![bound.ip()]
    };
    addresses.into_iter().filter(is_steered).map(|ip| SocketAddr::new(ip, bound.port())).collect()
}
