//! What the start has to know about a network interface before AF_XDP can be set up on it.

use super::netlink;
use crate::ip_route::LinkIndex;
use crate::wire::ethernet::Mac;
use anyhow::{Context, bail};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{
    LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// An interface as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: LinkIndex,
    /// What made it, as `ip -d link` says it: `veth`, `vlan`, `bond`; none for a device with a driver.
    pub kind: Option<String>,
    /// Its driver, or `kind` where there is none.
    pub driver: Option<String>,
    /// Its Ethernet address; none if it is no Ethernet device.
    pub mac: Option<Mac>,
    /// Longest IP packet, in bytes.
    pub mtu: u32,
    /// Whether it is set up.
    pub is_up: bool,
    /// Whether it has a carrier.
    pub has_carrier: bool,
    /// Receive queues in use.
    pub rx_queues: usize,
    /// Transmit queues in use.
    pub tx_queues: usize,
    /// The NUMA node that it is attached to; none if that makes no difference.
    pub numa_node: Option<u32>,
    /// Interrupts that the kernel leaves off while polling finds nothing (`napi_defer_hard_irqs`).
    pub napi_defer_hard_irqs: Option<u32>,
    /// How long it does, in nanoseconds (`gro_flush_timeout`).
    pub gro_flush_timeout_ns: Option<u64>,
    /// The XDP programs that are attached.
    pub xdp: Vec<XdpProgram>,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XdpProgram {
    /// The kernel's number for it, as `bpftool prog` shows it.
    pub id: u32,
    /// How it is attached.
    pub mode: XdpMode,
}

/// How an XDP program is attached (`XDP_ATTACHED_*` in `linux/if_link.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the kernel's generic receive path.
    Generic,
    /// In the card.
    Offloaded,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        })
    }
}

impl Interface {
    /// The interface called `name`; none if there is none.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn find(name: &str) -> anyhow::Result<Option<Self>> {
        let found = netlink::runtime()?.block_on(async {
            let (connection, handle, _) =
                rtnetlink::new_connection().context("cannot open a netlink socket")?;
            tokio::spawn(connection);
            let mut links = std::pin::pin!(handle.link().get().match_name(name).execute());
            match links.try_next().await {
                Err(rtnetlink::Error::NetlinkError(error)) if is_absent(error.raw_code()) => Ok(None),
                Err(error) => bail!("cannot ask for interface \"{name}\": {error}"),
                Ok(link) => Ok(link),
            }
        });
        Ok(found?.map(|link| Self::of(name, &link, Path::new("/sys/class/net"))))
    }

    fn of(name: &str, link: &LinkMessage, classes: &Path) -> Self {
        let flags = link.header.flags;
        let mut interface = Self {
            name: name.to_owned(),
            index: LinkIndex(link.header.index),
            kind: None,
            driver: None,
            mac: None,
            mtu: 0,
            is_up: flags.contains(LinkFlags::Up),
            has_carrier: flags.contains(LinkFlags::LowerUp),
            rx_queues: 1,
            tx_queues: 1,
            numa_node: None,
            napi_defer_hard_irqs: None,
            gro_flush_timeout_ns: None,
            xdp: Vec::new(),
        };
        let is_ethernet = link.header.link_layer_type == LinkLayerType::Ether;
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::NumRxQueues(count) => interface.rx_queues = *count as usize,
                LinkAttribute::NumTxQueues(count) => interface.tx_queues = *count as usize,
                LinkAttribute::Address(bytes) if is_ethernet => {
                    interface.mac = Mac::try_from(&bytes[..]).ok();
                }
                LinkAttribute::LinkInfo(infos) => {
                    interface.kind = netlink::kind(infos).map(ToString::to_string);
                }
                LinkAttribute::Xdp(values) => interface.xdp = programs(values),
                _ => {}
            }
        }
        interface.add_sysfs(&classes.join(name));
        interface.driver = interface.driver.or_else(|| interface.kind.clone());
        interface
    }

    /// Adds what only sysfs says. What netlink says of queues is how many there could be.
    ///
    /// Sysfs may be that of another namespace, where the name means another interface, or none.
    fn add_sysfs(&mut self, class: &Path) {
        if number(class.join("ifindex")) != Some(self.index.0) {
            return;
        }
        self.rx_queues = count(&class.join("queues"), "rx-").unwrap_or(self.rx_queues);
        self.tx_queues = count(&class.join("queues"), "tx-").unwrap_or(self.tx_queues);
        self.napi_defer_hard_irqs = number(class.join("napi_defer_hard_irqs"));
        self.gro_flush_timeout_ns = number(class.join("gro_flush_timeout"));
        // -1: none
        self.numa_node = number(class.join("device/numa_node"));
        let driver = fs::read_link(class.join("device/driver")).ok();
        self.driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    }
}

/// Whether the kernel says that there is no such interface, or that there cannot be one of that name.
fn is_absent(code: i32) -> bool {
    use nix::libc::{EINVAL, ENODEV, ERANGE};
    [ENODEV, EINVAL, ERANGE].contains(&code.saturating_neg())
}

/// The programs that `values` name, with their modes.
fn programs(values: &[LinkXdp]) -> Vec<XdpProgram> {
    let only_mode = values.iter().find_map(|value| match value {
        LinkXdp::Attached(XdpAttached::Driver) => Some(XdpMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpMode::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(XdpMode::Offloaded),
        _ => None,
    });
    let program = |value: &LinkXdp| {
        let (id, mode) = match value {
            LinkXdp::DrvProgId(id) => (*id, XdpMode::Native),
            LinkXdp::SkbProgId(id) => (*id, XdpMode::Generic),
            LinkXdp::HwProgId(id) => (*id, XdpMode::Offloaded),
            // It names again the one that there is; older kernels name it so only.
            LinkXdp::ProgId(id) => (*id, only_mode?),
            _ => return None,
        };
        (id != 0).then_some(XdpProgram { id, mode })
    };
    let mut programs: Vec<_> = values.iter().filter_map(program).collect();
    programs.sort_by_key(|program| program.id);
    programs.dedup();
    programs
}

/// The number in a file of sysfs; none if it is not there, or negative.
fn number<T: std::str::FromStr>(path: PathBuf) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// How many entries of a folder begin with `prefix`; none if it has none.
fn count(folder: &Path, prefix: &str) -> Option<usize> {
    let is_one = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(prefix);
    let count = fs::read_dir(folder).ok()?.flatten().filter(is_one).count();
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn sysfs_has_the_say_about_queues_if_it_is_the_same_interface() {
        let class = std::env::temp_dir().join(format!("sluice-interface-{}", std::process::id()));
        let folder = class.join("eth7");
        for queue in ["rx-0", "rx-1", "tx-0", "tx-1", "tx-2"] {
            fs::create_dir_all(folder.join("queues").join(queue)).unwrap();
        }
        fs::create_dir_all(folder.join("device")).unwrap();
        symlink("../../../bus/pci/drivers/ice", folder.join("device/driver")).unwrap();
        for (file, text) in [
            ("ifindex", "7\n"),
            ("napi_defer_hard_irqs", "2\n"),
            ("gro_flush_timeout", "200000\n"),
            ("device/numa_node", "1\n"),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        let mut link = LinkMessage::default();
        link.header.index = 7;
        link.attributes = vec![LinkAttribute::NumRxQueues(64), LinkAttribute::NumTxQueues(63)];
        let interface = Interface::of("eth7", &link, &class);
        assert_eq!((interface.rx_queues, interface.tx_queues), (2, 3));
        assert_eq!((interface.driver.as_deref(), interface.kind), (Some("ice"), None));
        assert_eq!((interface.numa_node, interface.napi_defer_hard_irqs), (Some(1), Some(2)));
        assert_eq!(interface.gro_flush_timeout_ns, Some(200_000));

        fs::write(folder.join("device/numa_node"), "-1\n").unwrap();
        assert_eq!(Interface::of("eth7", &link, &class).numa_node, None);
        link.header.index = 8;
        let other = Interface::of("eth7", &link, &class);
        assert_eq!((other.rx_queues, other.tx_queues, other.driver), (64, 63, None));
        fs::remove_dir_all(&class).unwrap();
    }

    #[test]
    fn programs_and_their_modes() {
        use XdpAttached::{Driver, Multiple, None as Nothing, SocketBuffer};
        let of = |values: &[LinkXdp]| {
            programs(values).iter().map(|program| (program.id, program.mode)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[LinkXdp::Attached(Nothing)]), []);
        // As a kernel of today says it: the number twice.
        let native = [LinkXdp::Attached(Driver), LinkXdp::ProgId(5), LinkXdp::DrvProgId(5)];
        assert_eq!(of(&native), [(5, XdpMode::Native)]);
        let generic = [LinkXdp::Attached(SocketBuffer), LinkXdp::ProgId(6), LinkXdp::SkbProgId(6)];
        assert_eq!(of(&generic), [(6, XdpMode::Generic)]);
        assert_eq!(of(&generic[..2]), [(6, XdpMode::Generic)], "an older one");
        let both = [LinkXdp::Attached(Multiple), LinkXdp::HwProgId(9), LinkXdp::SkbProgId(8)];
        assert_eq!(of(&both), [(8, XdpMode::Generic), (9, XdpMode::Offloaded)]);
    }
}
