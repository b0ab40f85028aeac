//! Links, and the device and VLAN tags that a link stands for.

use super::{LinkIndex, LinkKind, LinkPlan, Mac, NoWay};

/// Most VLAN tags of a frame: two make QinQ (802.1ad), and the steering program reads no more either.
pub const TAGS_MAX: usize = 2;

/// A VLAN tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tag {
    /// Its EtherType: 0x8100 or 0x88a8.
    pub tpid: u16,
    /// Priority (always 0) and VLAN number.
    pub tci: u16,
}

/// Up to [`TAGS_MAX`] VLAN tags, outer first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tags {
    tags: [Tag; TAGS_MAX],
    count: u8,
}

impl Tags {
    /// The tags, outer first.
    #[inline]
    #[must_use]
    pub fn list(&self) -> &[Tag] {
        self.tags.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Puts `tag` around those that are there. None if there is no room.
    fn wrapped_in(self, tag: Tag) -> Option<Self> {
        let [first, last] = self.tags;
        let count = self.count + 1;
        (usize::from(count) <= TAGS_MAX && last == Tag::default())
            .then_some(Self { tags: [tag, first], count })
    }
}

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
    let mut tags = Tags::default();
    let mut link = plan;
    // Every turn but the last adds a tag, so the tags' bound ends it.
    loop {
        if link.kind == LinkKind::Loopback {
            return Err(NoWay::Local);
        }
        if !(link.is_up && link.has_carrier) {
            return Err(NoWay::LinkDown);
        }
        let LinkKind::Vlan { parent, protocol, id } = link.kind else { break };
        tags = tags.wrapped_in(Tag { tpid: protocol, tci: id }).ok_or(NoWay::UnsupportedLink)?;
        let place = sorted.binary_search_by_key(&parent, |plan| plan.index);
        link = place.map(|place| sorted[place]).map_err(|_| NoWay::UnsupportedLink)?;
    }
    match link.kind {
        LinkKind::Physical => Ok(Egress { link: link.index, tags }),
        _ => Err(NoWay::UnsupportedLink),
    }
}
