//! Which interfaces AF_XDP is set up on.

use crate::control::config::file;
use crate::control::config::{NodeInterface, NodeListener, NodePlan};
use crate::control::interface::{Interface, XdpMode};
use crate::control::links::{device, link_of};
use crate::io::af_xdp::socket::{InterfacePlan, Mode as CopyMode, ZeroCopy};
use crate::io::af_xdp::umem::{Geometry, Umem};
use crate::ip_route::{IpRoutes, LinkIndex, LinkKind};
use anyhow::bail;
use std::collections::BTreeSet;
use tracing::{info, warn};

/// An interface that AF_XDP is set up on.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) plan: NodeInterface,
    pub(super) link: LinkIndex,
    pub(super) queues: u32,
    pub(super) driver: String,
    /// Whether it had a carrier when it was chosen.
    pub(super) had_carrier: bool,
    /// `napi_defer_hard_irqs`, where it can be read.
    pub(super) defers_interrupts: Option<u32>,
}

/// The interfaces that the configuration names, else those of the listeners.
pub(super) fn choose(node: &NodePlan, routes: &IpRoutes) -> anyhow::Result<Vec<Chosen>> {
    let mut named = node.interfaces.clone();
    if named.is_empty() {
        let names: BTreeSet<_> = node.listeners.iter().filter_map(|l| device_of(l, routes)).collect();
        named.extend(names.iter().map(|name| NodeInterface::of(name)));
    }
    if named.is_empty() {
        let wildcards = node.listeners.iter().any(|listener| listener.address.ip().is_unspecified());
        bail!(
            "no interface: {}",
            if wildcards {
                "a listener on all addresses needs [[interface]] tables that name them"
            } else {
                "the listeners' addresses are on none but the loopback"
            }
        );
    }
    named.into_iter().map(|plan| Chosen::new(plan, routes)).collect()
}

/// The name of the device below a listener's interface, if that is known and not the loopback.
fn device_of(listener: &NodeListener, routes: &IpRoutes) -> Option<String> {
    let device = device(routes, link_of(listener, routes)?)?;
    (device.kind == LinkKind::Physical).then(|| device.name.clone())
}

impl Chosen {
    fn new(plan: NodeInterface, routes: &IpRoutes) -> anyhow::Result<Self> {
        let name = &plan.name;
        let known = || routes.links().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
        let (Some(interface), Some(link)) = (Interface::find(name)?, routes.link_named(name)) else {
            bail!("interface {name}: there is none of this name; there are {}", known());
        };
        match link.kind {
            LinkKind::Physical => {}
            LinkKind::Vlan { .. } => {
                let below = device(routes, link).map_or("?", |link| &link.name);
                bail!("interface {name} is a VLAN: name the device below it, {below}");
            }
            LinkKind::Loopback => bail!("interface {name} is the loopback: it has no queues for AF_XDP"),
            LinkKind::Other => bail!("interface {name} has no Ethernet frames"),
        }
        if let Some(program) = interface.xdp.first() {
            bail!(
                "interface {name} has an XDP program already, number {}; it is left alone: see `bpftool prog show id {}`, \
                 and take it off with `ip link set {name} xdp off` if nobody needs it",
                program.id,
                program.id
            );
        }
        let there = interface.rx_queues.min(interface.tx_queues) as u32;
        let queues = plan.queues.unwrap_or(there);
        if queues > there {
            bail!(
                "interface {name} has {there} queues, too few for interface.queues = {queues}: \
                 `ethtool -L {name} combined {queues}`, or ask for fewer"
            );
        }
        let driver = interface.driver.unwrap_or_else(|| "no driver".to_owned());
        let (had_carrier, defers_interrupts) = (interface.has_carrier, interface.napi_defer_hard_irqs);
        Ok(Self { link: link.index, queues, driver, had_carrier, defers_interrupts, plan })
    }

    /// What its sockets are to be.
    pub(super) fn plan(&self) -> InterfacePlan {
        let zero_copy = match self.plan.zero_copy {
            file::ZeroCopy::Require => ZeroCopy::Require,
            file::ZeroCopy::Auto if self.plan.xdp_mode != file::XdpMode::Generic => ZeroCopy::Auto,
            file::ZeroCopy::Auto | file::ZeroCopy::Never => ZeroCopy::Never,
        };
        InterfacePlan { name: self.plan.name.clone(), if_index: self.link.0, queues: self.queues, zero_copy }
    }

    /// Whether it has a carrier now. One that is gone has none.
    pub(super) fn has_carrier(&self) -> anyhow::Result<bool> {
        Ok(Interface::find(&self.plan.name)?.is_some_and(|interface| interface.has_carrier))
    }

    /// Says where busy polling is not what was asked for.
    pub(super) fn report_polling(&self, is_granted: bool) {
        let name = &self.plan.name;
        if !is_granted {
            warn!("interface {name}: no busy polling: the kernel does not grant it");
        } else if self.defers_interrupts == Some(0) {
            warn!(
                "interface {name}: napi_defer_hard_irqs is 0, so interrupts go on beside busy polling: \
                 `scripts/tune set {name} --busy-poll` before the start"
            );
        }
    }

    /// One line of what is in force.
    pub(super) fn report(&self, xdp_mode: XdpMode, copy_mode: CopyMode, rings: u32, umem: &Umem) {
        let Self { plan, queues, driver, .. } = self;
        let (name, Geometry { frame_size, .. }, pages) = (&plan.name, umem.geometry(), umem.pages());
        let copying = match copy_mode {
            CopyMode::ZeroCopy => "zero copy".to_owned(),
            CopyMode::CopyInstead(errno) => format!("copy mode (no zero copy: {errno})"),
            CopyMode::Copy if plan.zero_copy == file::ZeroCopy::Never => "copy mode".to_owned(),
            CopyMode::Copy if xdp_mode == XdpMode::Generic => {
                "copy mode (no zero copy without native XDP)".to_owned()
            }
            CopyMode::Copy => "copy mode (no zero copy on all queues)".to_owned(),
        };
        let s = if *queues == 1 { "" } else { "s" };
        info!(
            "interface {name} ({driver}): AF_XDP, {xdp_mode} XDP, {copying}, {queues} queue{s}, rings of {rings}, \
             frames of {frame_size} bytes on {pages}"
        );
        if copy_mode == CopyMode::ZeroCopy && frame_size <= SMALL_FRAME_BYTES {
            warn!(
                "interface {name}: with zero copy and frames of {frame_size} bytes some drivers (igb) lose packets over 1024 bytes (counted as passed{{truncated}}): \
                 io.frame_size = 4096 avoids it"
            );
        }
    }
}

/// Frames that some drivers receive too little into: igb tells its device a buffer's size in whole kilobytes, and of these frames not two are left when the kernel has taken its part.
const SMALL_FRAME_BYTES: u32 = 2_048;
