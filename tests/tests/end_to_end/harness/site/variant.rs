//! What the environment chooses: where the tests take place and how the nodes do their I/O.

use std::env;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::str::FromStr;

/// Where the tests take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// On the loopback of this machine.
    Loopback,
    /// In network namespaces.
    Namespaces,
    /// Between here and an emulated machine.
    Guest,
}

/// How the nodes do their I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IoMode {
    /// By ordinary sockets.
    Udp,
    /// By AF_XDP, which needs other links than the loopback.
    AfXdp,
}

const KINDS: [(&str, Kind); 3] =
    [("loopback", Kind::Loopback), ("namespaces", Kind::Namespaces), ("guest", Kind::Guest)];

/// One way to run all tests.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    /// `SLUICE_SITE=loopback|namespaces|guest`; loopback unless said otherwise.
    pub(crate) kind: Kind,
    /// `SLUICE_GUEST=ADDRESS:PORT`: where the emulated machine's shell listens.
    pub(crate) guest: Option<SocketAddr>,
    /// `SLUICE_IO=udp|af_xdp`; udp unless said otherwise.
    pub(crate) io: IoMode,
    /// `SLUICE_QUEUES`: of each interface; 2 unless said otherwise.
    pub(crate) queues: usize,
    /// `SLUICE_WORKERS`: of each node; 2 unless said otherwise.
    pub(crate) workers: usize,
    /// `SLUICE_VLAN`: everybody's addresses are on a VLAN of this id; none unless said otherwise.
    pub(crate) vlan: Option<u16>,
    /// `SLUICE_STEER=call-id|queue`; sluice's default unless said otherwise.
    pub(crate) steer: Option<String>,
    /// `SLUICE_XDP_MODE=auto|native|generic`; sluice's default unless said otherwise.
    pub(crate) xdp_mode: Option<String>,
    /// `SLUICE_ZERO_COPY=auto|require|never`; sluice's default unless said otherwise. Where it is required a node that
    /// started must say that it has it.
    pub(crate) zero_copy: Option<String>,
    /// `SLUICE_OFFLOAD=on|off`: with it, which is veth's default, the kernel leaves the checksums of what it
    /// sends to the device, that is: to nobody, and what comes to a node by the kernel has none that is right.
    pub(crate) offload: bool,
    /// `SLUICE_CALL_RATE`: calls that SIPp begins in a second; 200 unless said otherwise. An emulated machine
    /// needs fewer.
    pub(crate) call_rate: usize,
    /// `SLUICE_CAPTURE=on|off`: writes down all that the nodes send and has tshark look for faults in it.
    pub(crate) capture: bool,
}

impl Variant {
    /// Reads the environment.
    pub(crate) fn from_environment() -> Self {
        let variant = Self {
            kind: choice("SLUICE_SITE", &KINDS),
            guest: parsed("SLUICE_GUEST"),
            io: choice("SLUICE_IO", &[("udp", IoMode::Udp), ("af_xdp", IoMode::AfXdp)]),
            queues: parsed("SLUICE_QUEUES").unwrap_or(2),
            workers: parsed("SLUICE_WORKERS").unwrap_or(2),
            vlan: parsed("SLUICE_VLAN"),
            steer: text("SLUICE_STEER"),
            xdp_mode: text("SLUICE_XDP_MODE"),
            zero_copy: text("SLUICE_ZERO_COPY"),
            offload: choice("SLUICE_OFFLOAD", &[("on", true), ("off", false)]),
            call_rate: parsed("SLUICE_CALL_RATE").unwrap_or(200),
            capture: choice("SLUICE_CAPTURE", &[("off", false), ("on", true)]),
        };
        let bare = variant.kind == Kind::Loopback;
        assert!(
            !(bare && variant.io == IoMode::AfXdp),
            "SLUICE_IO=af_xdp needs SLUICE_SITE=namespaces or guest"
        );
        let alone = variant.kind == Kind::Guest && variant.guest.is_none();
        assert!(!alone, "SLUICE_SITE=guest needs SLUICE_GUEST: scripts/zero-copy sets both");
        assert!(!(bare && variant.vlan.is_some()), "SLUICE_VLAN needs SLUICE_SITE=namespaces");
        variant
    }
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn parsed<T: FromStr<Err: Debug>>(name: &str) -> Option<T> {
    text(name).map(|value| value.parse().unwrap_or_else(|error| panic!("{name}={value}: {error:?}")))
}

/// The value of a variable that takes few; the first when it is not set.
fn choice<T: Copy>(name: &str, values: &[(&str, T)]) -> T {
    let Some(text) = text(name) else {
        return values[0].1;
    };
    let found = values.iter().find(|(word, _)| *word == text);
    found
        .unwrap_or_else(|| {
            panic!("{name}={text}: none of {:?}", values.iter().map(|v| v.0).collect::<Vec<_>>())
        })
        .1
}
