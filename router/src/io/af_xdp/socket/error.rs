//! Why there are no sockets, and what to do about it.

use core::fmt;
use nix::errno::Errno;

/// Why there are no sockets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BindError {
    /// What was asked for makes no sense.
    Plan(String),
    /// The kernel refused.
    Refused {
        /// The interface's name.
        interface: String,
        /// The queue.
        queue: u32,
        /// What was being done.
        step: Step,
        /// What the kernel said.
        errno: Errno,
    },
}

/// What is done on the way to a bound socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// `socket`.
    Open,
    /// `XDP_UMEM_REG`.
    Register,
    /// Making and mapping rings.
    Rings,
    /// `bind`, in copy mode.
    Bind,
    /// `bind`, in zero-copy mode.
    BindZeroCopy,
}

impl BindError {
    /// Whether a socket of another process is in the way, or of one that has just ended.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Refused { errno: Errno::EBUSY, .. })
    }

    /// The interface that refused zero copy, if that is what it is.
    #[must_use]
    pub fn without_zero_copy(&self) -> Option<&str> {
        match self {
            Self::Refused { interface, step: Step::BindZeroCopy, errno, .. } if *errno != Errno::EBUSY => {
                Some(interface)
            }
            _ => None,
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (interface, queue, step, errno) = match self {
            Self::Plan(why) => return f.write_str(why),
            Self::Refused { interface, queue, step, errno } => (interface, queue, *step, *errno),
        };
        write!(f, "interface {interface}, queue {queue}: cannot {step}: {errno}")?;
        advice(step, errno).map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

impl std::error::Error for BindError {}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open an AF_XDP socket",
            Self::Register => "register the frames' memory",
            Self::Rings => "make its rings",
            Self::Bind => "bind in copy mode",
            Self::BindZeroCopy => "bind in zero-copy mode",
        })
    }
}

/// What to do about an error, in words.
fn advice(step: Step, errno: Errno) -> Option<&'static str> {
    Some(match (step, errno) {
        (Step::Open, Errno::EPERM | Errno::EACCES) => "it takes CAP_NET_RAW: start as root, or give it that",
        (Step::Open, Errno::EAFNOSUPPORT) => "this kernel is built without AF_XDP (CONFIG_XDP_SOCKETS)",
        (Step::Register, Errno::ENOBUFS) => {
            "more than may be locked: raise RLIMIT_MEMLOCK (`LimitMEMLOCK=infinity`), give it CAP_IPC_LOCK, or have fewer frames"
        }
        (_, Errno::ENOMEM | Errno::ENOBUFS) => "out of memory: have fewer frames or smaller rings",
        (Step::Bind | Step::BindZeroCopy, Errno::EBUSY) => {
            "an AF_XDP socket of another program has this queue, or one that has just ended"
        }
        (Step::Bind | Step::BindZeroCopy, Errno::ENODEV | Errno::ENXIO) => "the interface is gone",
        (Step::Bind | Step::BindZeroCopy, Errno::ENETDOWN) => "the interface is down: `ip link set ... up`",
        (Step::Bind, Errno::EINVAL) => {
            "the interface has no queue of this number: `ethtool -l` shows how many, `ethtool -L` sets it"
        }
        (Step::BindZeroCopy, Errno::EOPNOTSUPP) => {
            "this driver has no zero copy in this kernel: set zero_copy to \"auto\" or \"never\""
        }
        (Step::BindZeroCopy, Errno::EINVAL) => {
            "the device is not set up for it (virtio-net: it takes iommu_platform=on), its MTU is more than a frame takes, or it has no queue of this number (`ethtool -l`): \
             set zero_copy to \"auto\" or \"never\""
        }
        (Step::BindZeroCopy, _) => "copy mode may do: set zero_copy to \"never\"",
        _ => return None,
    })
}
