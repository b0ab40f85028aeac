//! The committed steering program, loaded into this machine's kernel and run on frames that no interface sees.

use aya::maps::{HashMap, PerCpuArray, XskMap};
use aya::programs::{ProgramInfo, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use sluice_steer::{ListenerKey, Pass, names};
use std::env;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program's action for what it leaves to the kernel (`XDP_PASS` of `linux/bpf.h`).
pub const XDP_PASS: u32 = 2;
/// The program's action for what goes to a socket (`XDP_REDIRECT`).
pub const XDP_REDIRECT: u32 = 4;

/// What is set at load.
#[derive(Clone, Copy, Debug)]
pub struct Globals {
    /// How many workers there are.
    pub workers: u32,
    /// How many queues the map has room for.
    pub queues: u32,
    /// By Call-ID or by queue, as in `sluice_steer::names`.
    pub steer: u32,
    /// The longest frame that is taken.
    pub frame_bytes_max: u32,
    /// The key of the hash.
    pub seed: u64,
}

/// The steering program in the kernel, with its maps.
pub struct Steering {
    program: Ebpf,
}

impl Steering {
    /// Loads the object, for what is sent to `listeners`. The error is a text.
    pub fn load(globals: Globals, listeners: &[SocketAddr]) -> Result<Self, String> {
        let object = std::fs::read(object()).map_err(|error| format!("{}: {error}", object().display()))?;
        let mut program = EbpfLoader::new()
            .override_global(names::WORKERS, &globals.workers, true)
            .override_global(names::STEER, &globals.steer, true)
            .override_global(names::FRAME_BYTES_MAX, &globals.frame_bytes_max, true)
            .override_global(names::SEED, &globals.seed, true)
            .map_max_entries(names::XSKS, globals.queues * globals.workers)
            .load(&object)
            .map_err(|error| format!("{error:?}"))?;
        let map = program.map_mut(names::LISTENERS).expect("the map of listeners");
        let mut map: HashMap<_, [u8; ListenerKey::BYTES], u32> =
            HashMap::try_from(map).expect("a hash map of keys");
        for listener in listeners {
            map.insert(ListenerKey::new(*listener).to_bytes(), 0, 0).map_err(|error| error.to_string())?;
        }
        let xdp: &mut Xdp =
            program.program_mut(names::PROGRAM).expect("the program").try_into().expect("an XDP program");
        xdp.load().map_err(|error| format!("{error:?}"))?;
        Ok(Self { program })
    }

    /// Puts `socket`, one of AF_XDP, at `index` of the map of sockets.
    pub fn set_socket(&mut self, index: u32, socket: &impl AsRawFd) {
        let map = self.program.map_mut(names::XSKS).expect("the map of sockets");
        let mut map = XskMap::try_from(map).expect("an XSKMAP");
        map.set(index, socket.as_raw_fd(), 0).expect("a socket of AF_XDP, and an index within the map");
    }

    /// Takes the socket at `index` out again.
    pub fn unset_socket(&mut self, index: u32) {
        let map = self.program.map_mut(names::XSKS).expect("the map of sockets");
        XskMap::try_from(map).expect("an XSKMAP").unset(index).expect("there was a socket");
    }

    /// Runs the program on `frame` so often, in the context `context` (`struct xdp_md`) if there is one. Its action, and how long a run took on average.
    #[must_use]
    pub fn run(&self, frame: &[u8], context: Option<&[u8]>, repeat: u32) -> (u32, Duration) {
        let options =
            TestRunOptions { data_in: Some(frame), ctx_in: context, repeat, ..TestRunOptions::default() };
        let result = self.xdp().test_run(options).expect("the kernel runs the program");
        (result.return_value, result.duration)
    }

    /// How many frames passed, by reason.
    #[must_use]
    pub fn passed(&self) -> [u64; Pass::COUNT as usize] {
        let map = self.program.map(names::PASSED).expect("the map of counters");
        let map: PerCpuArray<_, u64> = PerCpuArray::try_from(map).expect("a per-CPU array");
        Pass::ALL.map(|reason| map.get(&(reason as u32), 0).expect("a counter").iter().sum())
    }

    /// What the kernel says of the program.
    #[must_use]
    pub fn info(&self) -> ProgramInfo {
        self.xdp().info().expect("the kernel tells about the program")
    }

    fn xdp(&self) -> &Xdp {
        self.program.program(names::PROGRAM).expect("the program").try_into().expect("an XDP program")
    }
}

/// The object: the committed one, or the one that `SLUICE_EBPF_OBJECT` names.
#[must_use]
pub fn object() -> PathBuf {
    let committed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../ebpf/sluice.bpf.o");
    env::var_os("SLUICE_EBPF_OBJECT").map_or_else(committed, PathBuf::from)
}

/// `payload` in an Ethernet frame, in IPv4 and UDP, from 203.0.113.9:5060 to `to`.
#[must_use]
pub fn ipv4_frame(to: std::net::SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let udp_bytes = u16::try_from(8 + payload.len()).expect("a datagram");
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend([0x45, 0]);
    frame.extend((20 + udp_bytes).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 203, 0, 113, 9]);
    frame.extend(to.ip().octets());
    frame.extend(5060_u16.to_be_bytes());
    frame.extend(to.port().to_be_bytes());
    frame.extend(udp_bytes.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}
