//! Which links the listeners are on, and the snapshot that goes with the IP layer's tables.

use super::config::{NodeListener, NodePlan};
use crate::ip_route::{IpRoutes, Link, LinkIndex, LinkKind};
use crate::proxy::snapshot::Snapshot;
use std::sync::Arc;

/// The snapshot over these routes: they choose the listener that a message leaves by, where nothing else does.
#[must_use]
pub fn routed(snapshot: &Snapshot, node: &NodePlan, routes: &Arc<IpRoutes>) -> Snapshot {
    let links: Vec<_> = node.listeners.iter().map(|listener| sending_link(listener, routes)).collect();
    snapshot.routed(Arc::clone(routes), &links)
}

/// The link that a listener is on: by its interface's name, else by its address.
#[must_use]
pub fn link_of<'a>(listener: &NodeListener, routes: &'a IpRoutes) -> Option<&'a Link> {
    match &listener.interface {
        Some(name) => routes.link_named(name),
        None => routes.link(routes.link_of_address(listener.address.ip())?),
    }
}

/// The link that a listener sends by, if that follows from its address: not from one on the loopback, which packets leave from by any link.
#[must_use]
pub fn sending_link(listener: &NodeListener, routes: &IpRoutes) -> Option<LinkIndex> {
    let link = link_of(listener, routes)?;
    matches!(link.kind, LinkKind::Physical | LinkKind::Vlan { .. }).then_some(link.index)
}

/// The device below a VLAN, up or down; of another link, itself.
#[must_use]
pub fn device<'a>(routes: &'a IpRoutes, link: &'a Link) -> Option<&'a Link> {
    let mut link = link;
    // A VLAN in a VLAN is as deep as frames can say.
    for _ in 0..crate::wire::vlan::TAGS_MAX {
        let LinkKind::Vlan { parent, .. } = link.kind else { break };
        link = routes.link(parent)?;
    }
    Some(link)
}
