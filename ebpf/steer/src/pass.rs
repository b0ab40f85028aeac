//! Why a frame for a listener is left to the kernel.

/// Why a frame for a listener passes to the kernel's socket. Its value is the index in the program's counters.
///
/// A later fragment names no port, so only the first one of a datagram is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Pass {
    /// The first fragment of an IPv4 or IPv6 datagram.
    Fragment = 0,
    /// An IPv4 header with options.
    IpOptions = 1,
    /// An IPv6 routing header that has not come to its end.
    RoutingHeader = 2,
    /// The frame is shorter than its IP header says.
    Truncated = 3,
    /// The UDP length is not what the IP length leaves.
    UdpLength = 4,
    /// The frame is longer than a socket's frames.
    TooLarge = 5,
    /// The payload is shorter than any SIP message: a keep-alive.
    Short = 6,
    /// No Call-ID in the header fields, as far as they are searched; or its value begins on another line.
    NoCallId = 7,
    /// There is no socket for the queue and worker.
    NoSocket = 8,
}

impl Pass {
    /// How many reasons there are.
    pub const COUNT: u32 = 9;

    /// All reasons, each at its index.
    pub const ALL: [Self; Self::COUNT as usize] = [
        Self::Fragment,
        Self::IpOptions,
        Self::RoutingHeader,
        Self::Truncated,
        Self::UdpLength,
        Self::TooLarge,
        Self::Short,
        Self::NoCallId,
        Self::NoSocket,
    ];

    /// The reason's name, for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fragment => "fragment",
            Self::IpOptions => "ip_options",
            Self::RoutingHeader => "routing_header",
            Self::Truncated => "truncated",
            Self::UdpLength => "udp_length",
            Self::TooLarge => "too_large",
            Self::Short => "short",
            Self::NoCallId => "no_call_id",
            Self::NoSocket => "no_socket",
        }
    }
}
