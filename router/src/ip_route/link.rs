//! Links, and the device and VLAN tags that a link stands for.

use super::{LinkIndex, LinkKind, LinkPlan, NoWay};
use crate::wire::ethernet::Mac;
use crate::wire::vlan::{TAGS_MAX, Tag, Tags};

/// A link, and what it takes to send by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its number.
    pub index: LinkIndex,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Its Ethernet address; all zero where it has none.
    pub mac: Mac,
    /// Longest IP packet, in bytes.
    pub mtu: u32,
    /// The device that takes its frames, or why there is none now.
    pub egress: Result<Egress, NoWay>,
}

/// The device that takes a link's frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Egress {
    /// The device.
    pub link: LinkIndex,
    /// The tags that the link's frames carry there.
    pub tags: Tags,
}

/// All links, sorted by number.
#[derive(Clone, Debug)]
pub(super) struct Links(Vec<Link>);

impl Links {
    pub(super) fn new(plans: &[LinkPlan]) -> Self {
        let mut sorted: Vec<&LinkPlan> = plans.iter().collect();
        sorted.sort_by_key(|plan| plan.index);
        sorted.dedup_by_key(|plan| plan.index);
        let link = |plan: &&LinkPlan| Link {
            index: plan.index,
            name: plan.name.clone(),
            kind: plan.kind,
            mac: plan.mac,
            mtu: plan.mtu,
            egress: egress(&sorted, plan),
        };
        Self(sorted.iter().map(link).collect())
    }

    /// Where in the order of links `index` stands, for [`Self::at`].
    pub(super) fn place(&self, index: LinkIndex) -> Option<usize> {
        self.0.binary_search_by_key(&index, |link| link.index).ok()
    }

    #[inline]
    pub(super) fn at(&self, place: usize) -> Option<&Link> {
        self.0.get(place)
    }

    pub(super) fn get(&self, index: LinkIndex) -> Option<&Link> {
        self.at(self.place(index)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.0.iter()
    }
}

/// Follows VLANs down to the device. `sorted` is by number.
fn egress(sorted: &[&LinkPlan], plan: &LinkPlan) -> Result<Egress, NoWay> {
    let mut inner_first = Vec::with_capacity(TAGS_MAX);
    let mut link = plan;
    // A VLAN has a parent that was there before it; the bound is for tables that were read while that changed.
    while inner_first.len() <= TAGS_MAX {
        if link.kind == LinkKind::Loopback {
            return Err(NoWay::Local);
        }
        if !(link.is_up && link.has_carrier) {
            return Err(NoWay::LinkDown);
        }
        match link.kind {
            LinkKind::Vlan { parent, protocol, id, priority } => {
                inner_first.push(Tag { tpid: protocol, tci: u16::from(priority) << 13 | id });
                let place = sorted.binary_search_by_key(&parent, |plan| plan.index);
                link = place.map(|place| sorted[place]).map_err(|_| NoWay::UnsupportedLink)?;
            }
            LinkKind::Physical => {
                let mut tags = Tags::NONE;
                let pushed = inner_first.iter().rev().try_for_each(|tag| tags.push(*tag));
                return pushed
                    .map(|()| Egress { link: link.index, tags })
                    .map_err(|_| NoWay::UnsupportedLink);
            }
            _ => break,
        }
    }
    Err(NoWay::UnsupportedLink)
}
