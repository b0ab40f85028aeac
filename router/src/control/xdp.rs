//! The steering program on an interface: loaded, told who listens where, attached, and gone with the process.
//!
//! Each interface has an instance of the program and its maps of its own. It is attached by a link: when the process ends, however it ends, the kernel closes the link
//! and with it goes the program. What arrives then gets to whoever listens by an ordinary socket.

use super::config::file::{Steer, XdpMode as Wanted};
use super::interface::{Interface, XdpMode as ModeInForce, XdpProgram};
use anyhow::{Context, anyhow, bail};
use aya::maps::{HashMap, MapData, PerCpuArray, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use sluice_steer::{ListenerKey, Pass, names};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use tracing::warn;

/// The compiled program, as it stands beside its source.
const OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf/sluice.bpf.o");

/// What the program is told when it is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How many workers.
    pub workers: u32,
    /// How many queues of the interface have sockets.
    pub queues: u32,
    /// What chooses the worker.
    pub steer: Steer,
    /// The longest frame that is redirected, in bytes from the Ethernet header on; longer ones go by the kernel.
    pub frame_bytes_max: u32,
    /// The key of the hash of Call-IDs. Only this process uses it.
    pub seed: u64,
}

/// The program, loaded for one interface. Dropped, it is detached.
pub struct Steering {
    /// The name of the interface, for messages.
    interface: String,
    ebpf: Ebpf,
    link: Option<FdLink>,
}

impl Steering {
    /// Loads the program for the interface called `interface`.
    ///
    /// # Errors
    /// The kernel refuses it: too old, no privilege, no memory.
    pub fn load(interface: &str, settings: &Settings) -> anyhow::Result<Self> {
        let steer = match settings.steer {
            Steer::CallId => names::STEER_BY_CALL_ID,
            Steer::Queue => names::STEER_BY_QUEUE,
        };
        let sockets = settings.queues.checked_mul(settings.workers).context("too many sockets")?;
        let mut ebpf = EbpfLoader::new()
            .override_global(names::WORKERS, &settings.workers, true)
            .override_global(names::STEER, &steer, true)
            .override_global(names::FRAME_BYTES_MAX, &settings.frame_bytes_max, true)
            .override_global(names::SEED, &settings.seed, true)
            .map_max_entries(names::XSKS, sockets)
            .load(OBJECT)
            .context("the kernel does not take the steering program's maps")?;
        program(&mut ebpf)?.load().map_err(|error| anyhow!(load_failure(&error)))?;
        Ok(Self { interface: interface.to_owned(), ebpf, link: None })
    }

    /// Puts a socket where the program looks for the one of this queue and worker.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_socket(&mut self, index: u32, socket: BorrowedFd<'_>) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut(names::XSKS).context("the steering program has no socket map")?;
        let mut map: XskMap<&mut MapData> = XskMap::try_from(map)?;
        map.set(index, socket.as_raw_fd(), 0)
            .with_context(|| format!("cannot put socket {index} into the socket map"))
    }

    /// Makes the program take what is for `addresses`, and nothing else.
    ///
    /// # Errors
    /// The kernel refuses, or there are more than the map holds. Some may have been changed then.
    pub fn listen(&mut self, addresses: &BTreeSet<SocketAddr>) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut(names::LISTENERS).context("the steering program has no listener map")?;
        let mut map: HashMap<&mut MapData, [u8; ListenerKey::BYTES], u32> = HashMap::try_from(map)?;
        let wanted: Vec<_> = addresses.iter().map(|address| ListenerKey::new(*address).to_bytes()).collect();
        let there: Vec<_> = map.keys().collect::<Result<_, _>>()?;
        for key in there.iter().filter(|key| !wanted.contains(key)) {
            map.remove(key)?;
        }
        for (key, address) in wanted.iter().zip(addresses) {
            map.insert(key, 1, 0).with_context(|| format!("cannot steer what is for {address}"))?;
        }
        Ok(())
    }

    /// Attaches the program to the interface of index `if_index`, and says what mode is in force by what the kernel tells of the interface then.
    ///
    /// With [`Wanted::Auto`] it is attached behind the driver only where the driver cannot and `may_be_generic`.
    ///
    /// # Errors
    /// There is a program already, or the interface does not run one as wanted, in one line that says what to do.
    pub fn attach(
        &mut self,
        if_index: u32,
        wanted: Wanted,
        may_be_generic: bool,
    ) -> anyhow::Result<ModeInForce> {
        if wanted == Wanted::Generic {
            return self.attach_as(if_index, XdpMode::Skb);
        }
        let native = self.attach_as(if_index, XdpMode::Driver);
        match native {
            Err(error) if wanted == Wanted::Auto && may_be_generic => {
                warn!("{error:#}; trying it behind the driver (generic mode), which is slower");
                self.attach_as(if_index, XdpMode::Skb)
            }
            other => other,
        }
    }

    fn attach_as(&mut self, if_index: u32, mode: XdpMode) -> anyhow::Result<ModeInForce> {
        self.attach_link(if_index, mode)?;
        let name = &self.interface;
        let in_force = Interface::find(name).and_then(|interface| {
            in_force(name, mode, &interface.map(|interface| interface.xdp).unwrap_or_default())
        });
        if in_force.is_err() {
            self.link = None;
        }
        in_force
    }

    fn attach_link(&mut self, if_index: u32, mode: XdpMode) -> anyhow::Result<()> {
        let name = &self.interface;
        let program = program(&mut self.ebpf)?;
        let attached = program.attach_to_if_index(if_index, mode);
        let link = attached.map_err(|error| anyhow!(attach_failure(name, mode, &error)))?;
        // Without links (before 5.9) it would stay when the process is killed. Dropping what is no such link detaches it.
        let Ok(link) = FdLink::try_from(program.take_link(link)?) else {
            bail!("interface {name}: the kernel does not attach by a link");
        };
        self.link = Some(link);
        Ok(())
    }

    /// Detaches the program: what arrives from now on goes by the kernel.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// How many frames for a listener were left to the kernel, by reason.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn passed(&self) -> anyhow::Result<Vec<(Pass, u64)>> {
        let map = self.ebpf.map(names::PASSED).context("the steering program has no counters")?;
        let map: PerCpuArray<&MapData, u64> = PerCpuArray::try_from(map)?;
        let count = |reason: &Pass| Ok((*reason, map.get(&(*reason as u32), 0)?.iter().sum()));
        Pass::ALL.iter().map(count).collect()
    }
}

fn program(ebpf: &mut Ebpf) -> anyhow::Result<&mut Xdp> {
    let program = ebpf.program_mut(names::PROGRAM).context("the object has no steering program")?;
    Ok(program.try_into()?)
}

fn load_failure(error: &ProgramError) -> String {
    let log = match error {
        ProgramError::LoadError { verifier_log, io_error } => {
            let last = verifier_log.to_string();
            let last = last.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
            format!("{io_error}: {last}")
        }
        other => other.to_string(),
    };
    format!("the kernel does not take the steering program: {log}")
}

/// What the kernel calls a mode that was asked for, when it tells of the interface.
fn as_told(mode: XdpMode) -> ModeInForce {
    if mode == XdpMode::Skb { ModeInForce::Generic } else { ModeInForce::Native }
}

/// The mode in force on an interface with these programs, after one of ours was attached as `wanted`.
fn in_force(interface: &str, wanted: XdpMode, programs: &[XdpProgram]) -> anyhow::Result<ModeInForce> {
    let wanted = as_told(wanted);
    match programs {
        [program] if program.mode == wanted => Ok(wanted),
        [program] => {
            bail!("interface {interface}: XDP is in {} mode there, and not in {wanted} mode", program.mode)
        }
        [] => bail!(
            "interface {interface}: the kernel attached the steering program, and does not know of it now"
        ),
        _ => bail!(
            "interface {interface}: another XDP program was attached beside ours; it is left alone: see `ip link show {interface}`"
        ),
    }
}

fn attach_failure(interface: &str, mode: XdpMode, error: &ProgramError) -> String {
    let errno = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    let how = as_told(mode);
    use nix::libc::{EBUSY, EEXIST, EOPNOTSUPP, EPERM, ERANGE};
    let why = match errno {
        Some(EBUSY | EEXIST) => format!(
            "another XDP program is attached; it is left alone: see `ip link show {interface}`, take it off or use another interface"
        ),
        Some(EOPNOTSUPP) => {
            "the driver cannot run XDP programs, or not with the offloads that are on (`ethtool -k`)"
                .to_owned()
        }
        Some(ERANGE) => "the MTU is too large for XDP in the driver (on veth, the peer's)".to_owned(),
        Some(EPERM) => "no privilege: it needs CAP_NET_ADMIN".to_owned(),
        _ => error.to_string(),
    };
    format!("interface {interface}: no {how} XDP: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_in_force_is_the_one_that_was_wanted() {
        let program = |mode| XdpProgram { id: 7, mode };
        let (native, generic) = (program(ModeInForce::Native), program(ModeInForce::Generic));
        assert_eq!(in_force("eth0", XdpMode::Driver, &[native]).unwrap(), ModeInForce::Native);
        assert_eq!(in_force("eth0", XdpMode::Skb, &[generic]).unwrap(), ModeInForce::Generic);
        let refusal =
            |programs: &[XdpProgram]| in_force("eth0", XdpMode::Driver, programs).unwrap_err().to_string();
        assert_eq!(
            refusal(&[generic]),
            "interface eth0: XDP is in generic mode there, and not in native mode"
        );
        assert!(refusal(&[]).ends_with("does not know of it now"), "{}", refusal(&[]));
        assert!(refusal(&[native, generic]).contains("another XDP program was attached beside ours"));
    }
}
