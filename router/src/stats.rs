//! What happened to every datagram, counted: one set of counters a worker, written by that worker alone.
//!
//! The balance that tests and operators rely on: `received = forwarded_requests + forwarded_responses +
//! replied + absorbed + dropped`, where the last three are sums over their reasons.

use crate::wire::Odd;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Defines an enum whose variants each carry a name for people and metrics.
macro_rules! named {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every value, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
            /// The name used in counters, logs and `explain`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}
pub(crate) use named;

named! {
    /// Counters without a reason.
    pub enum Counter {
        /// Datagrams handed to `forward`.
        Received = "received",
        /// Payload bytes of those.
        ReceivedBytes = "received_bytes",
        /// Requests sent on.
        ForwardedRequests = "forwarded_requests",
        /// Responses sent on.
        ForwardedResponses = "forwarded_responses",
        /// Datagrams that the I/O layer took for transmission.
        Sent = "sent",
        /// Payload bytes of those.
        SentBytes = "sent_bytes",
        /// Datagrams forwarded or replied that the kernel refused to send.
        SendFailed = "send_failed",
        /// Datagrams cut short on receive because they exceeded the buffer; dropped before `forward`.
        ReceiveTruncated = "receive_truncated",
        /// Receive calls that failed for another reason than "nothing there" (an ICMP error, say).
        ReceiveFailed = "receive_failed",
        /// Datagrams forwarded or replied for which a transmit ring had no room (AF_XDP).
        TransmitFull = "transmit_full",
        /// Datagrams forwarded or replied that the kernel path was too busy to take over (AF_XDP).
        HandoverFull = "handover_full",
        /// Keep-alives that the kernel path sent so that the kernel asks whether a neighbour is still there (AF_XDP); also among those sent.
        NeighbourProbes = "neighbour_probes",
        /// Times round the loop that found nothing.
        IdleBatches = "idle_batches",
        /// Times round the loop that found at least one datagram.
        BusyBatches = "busy_batches",
        /// Nanoseconds spent in those, from the receive call to the last send. What the kernel does meanwhile on the worker's CPU is in it.
        BusyNs = "busy_ns",
    }
}

named! {
    /// Why a datagram was taken and nothing sent, as it should be.
    pub enum Absorbed {
        /// Empty, CRLF, double CRLF, or up to four bytes of NAT keep-alive.
        KeepAlive = "keep_alive",
        /// The ACK for a non-2xx reply of our own.
        AckOfOwnReply = "ack_of_own_reply",
        /// A response without a Via below ours: it answers a request of our own.
        OwnResponse = "own_response",
    }
}

named! {
    /// Why a frame that the steering program chose for us never got to `forward`, besides [`Odd`] headers.
    pub enum Refused {
        /// The kernel's descriptor is no packet in a frame of ours.
        Descriptor = "descriptor",
        /// The UDP checksum is wrong.
        UdpChecksum = "udp_checksum",
        /// No listener has its destination.
        NoListener = "no_listener",
    }
}

named! {
    /// Why a worker on AF_XDP gave a datagram to the kernel path to send. The worker counts it here, the kernel path counts it as sent.
    pub enum Handover {
        /// Larger than the path takes in one packet, so the kernel cuts it: over the MTU of the route, or, on IPv6, over 1,280 bytes, because only the
        /// kernel knows what routers on the way have said about their MTU.
        TooLarge = "too_large",
        /// The link-layer address of the gateway or destination is not known; the kernel asks for it.
        NoNeighbour = "no_neighbour",
        /// No route leads there.
        NoRoute = "no_route",
        /// The route leaves by an interface that has no AF_XDP sockets, or ends on this machine.
        OtherInterface = "other_interface",
        /// The interface of the route is down.
        LinkDown = "link_down",
        /// An earlier datagram to the same address is still on this way, and must not be overtaken.
        Order = "order",
    }
}

/// Defines [`Reason`]: variant = counter name, status (0: never answered), reason phrase.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal, $phrase:literal;)*) => {
        /// Why a datagram was answered by this node or dropped: the parser's errors, one for each
        /// production, and the decisions of policy. The same value is the label of the counter.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every value, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
            /// The name used in counters, logs and `explain`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
            /// The status that a request is answered with; 0 where it never is.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
            /// The reason phrase of that answer. It names the header field.
            #[must_use]
            pub const fn phrase(self) -> &'static str {
                match self { $(Self::$variant => $phrase,)* }
            }
        }
    };
}

reasons! {
    /// Not a SIP start-line.
    NotSip = "not_sip", 0, "";
    /// A STUN message (RFC 8489).
    Stun = "stun", 0, "";
    /// The first line is like SIP, but not by the grammar (RFC 3261 7.1, 7.2).
    BadStartLine = "bad_start_line", 400, "Bad Start-Line";
    /// The Request-URI is not by the grammar (RFC 3261 19.1, 25.1).
    BadRequestUri = "bad_request_uri", 400, "Bad Request-URI";
    /// SIP-Version other than 2.0.
    BadVersion = "bad_version", 505, "Version Not Supported";
    /// The status code is not three digits from 100 to 699.
    BadStatusCode = "bad_status_code", 0, "";
    /// A CR or a LF that stands alone among the header fields.
    BadLineEnd = "bad_line_end", 400, "Bad Line End";
    /// No empty line ends the header fields.
    NoEmptyLine = "no_empty_line", 400, "Missing Empty Line";
    /// A line without a header field name and colon.
    BadHeaderField = "bad_header_field", 400, "Bad Header Field";
    /// More header fields that a proxy reads than the bound allows.
    TooManyHeaderFields = "too_many_header_fields", 400, "Too Many Header Fields";
    /// Topmost or next Via not by the grammar.
    BadVia = "bad_via", 400, "Bad Via";
    /// No Via.
    MissingVia = "missing_via", 400, "Missing Via";
    /// From not by the grammar.
    BadFrom = "bad_from", 400, "Bad From";
    /// No From.
    MissingFrom = "missing_from", 400, "Missing From";
    /// From more than once.
    DuplicateFrom = "duplicate_from", 400, "Duplicate From";
    /// To not by the grammar.
    BadTo = "bad_to", 400, "Bad To";
    /// No To.
    MissingTo = "missing_to", 400, "Missing To";
    /// To more than once.
    DuplicateTo = "duplicate_to", 400, "Duplicate To";
    /// Call-ID empty or with white space in it.
    BadCallId = "bad_call_id", 400, "Bad Call-ID";
    /// No Call-ID.
    MissingCallId = "missing_call_id", 400, "Missing Call-ID";
    /// Call-ID more than once.
    DuplicateCallId = "duplicate_call_id", 400, "Duplicate Call-ID";
    /// CSeq not by the grammar, or its number wider than 32 bits.
    BadCSeq = "bad_cseq", 400, "Bad CSeq";
    /// No CSeq.
    MissingCSeq = "missing_cseq", 400, "Missing CSeq";
    /// CSeq more than once.
    DuplicateCSeq = "duplicate_cseq", 400, "Duplicate CSeq";
    /// The method of CSeq is not the request's.
    CSeqMethod = "cseq_method", 400, "CSeq Method Mismatch";
    /// Max-Forwards not a number from 0 to 255.
    BadMaxForwards = "bad_max_forwards", 400, "Bad Max-Forwards";
    /// Max-Forwards more than once.
    DuplicateMaxForwards = "duplicate_max_forwards", 400, "Duplicate Max-Forwards";
    /// Content-Length not a number.
    BadContentLength = "bad_content_length", 400, "Bad Content-Length";
    /// Content-Length more than once.
    DuplicateContentLength = "duplicate_content_length", 400, "Duplicate Content-Length";
    /// Content-Length larger than the datagram's body (RFC 3261 18.3).
    ContentLengthTooLarge = "content_length_too_large", 400, "Content-Length Too Large";
    /// Route not by the grammar.
    BadRoute = "bad_route", 400, "Bad Route";

    /// Max-Forwards is 0.
    MaxForwardsZero = "max_forwards_zero", 483, "Too Many Hops";
    /// Our own loop mark with the same routing inputs.
    Loop = "loop", 482, "Loop Detected";
    /// Proxy-Require names extensions, and this proxy has none.
    ProxyRequire = "proxy_require", 420, "Bad Extension";
    /// The next hop would be a Request-URI of a scheme that is not sip, sips or tel.
    UnsupportedScheme = "unsupported_scheme", 416, "Unsupported URI Scheme";
    /// A stranger's request with a pre-loaded, foreign or unproven Route.
    RouteForbidden = "route_forbidden", 403, "Route Not Allowed";
    /// A stranger's request to a Request-URI that is not ours, and no rule takes it.
    RelayForbidden = "relay_forbidden", 403, "Relay Not Allowed";
    /// A stranger's Via asks by `maddr` for responses to be sent to somebody else.
    MaddrForbidden = "maddr_forbidden", 403, "Via maddr Not Allowed";
    /// For us, and no rule chooses a target.
    NoRule = "no_rule", 404, "Not Found";
    /// Every member of the target set is down.
    NoTarget = "no_target", 503, "No Target Available";
    /// The next hop is a name, and names are not resolved.
    NextHopName = "next_hop_name", 503, "Next Hop Name Not Resolved";
    /// The next hop asks for a transport that we do not speak.
    NextHopTransport = "next_hop_transport", 503, "Next Hop Transport Not Supported";
    /// The next hop's address is unspecified, multicast or broadcast, or its port 0.
    NextHopAddress = "next_hop_address", 503, "Next Hop Address Not Usable";
    /// No listener can reach the next hop.
    NoListener = "no_listener", 503, "No Listener For Next Hop";
    /// What would leave does not fit the buffer or a bound of the rewriting.
    TooLarge = "too_large", 513, "Message Too Large";
    /// OPTIONS to this node, answered.
    Options = "options", 200, "OK";
    /// A rule's reply.
    RuleReply = "rule_reply", 0, "";
    /// A rule's redirect.
    RuleRedirect = "rule_redirect", 302, "Moved Temporarily";

    /// A response whose topmost Via is not ours.
    ResponseViaNotOurs = "response_via_not_ours", 0, "";
    /// A response whose return seal does not prove.
    ResponseForged = "response_forged", 0, "";
    /// A response whose next Via gives no usable address, or one that no listener reaches.
    ResponseNextHop = "response_next_hop", 0, "";
    /// A reply that the per-source rate did not allow.
    ReplyRateLimited = "reply_rate_limited", 0, "";
}

/// The counters of one worker. Only that worker writes; anybody may read at any time.
///
/// Aligned to 128 bytes so that two workers' counters never share a pair of cache lines.
#[repr(align(128))]
#[derive(Debug)]
pub struct Stats {
    counters: [AtomicU64; Counter::COUNT],
    absorbed: [AtomicU64; Absorbed::COUNT],
    odd: [AtomicU64; Odd::COUNT],
    refused: [AtomicU64; Refused::COUNT],
    handed_over: [AtomicU64; Handover::COUNT],
    replied: [AtomicU64; Reason::COUNT],
    dropped: [AtomicU64; Reason::COUNT],
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds without a locked instruction: sound because each counter has one writer.
#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

impl Stats {
    /// All zero.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            counters: [const { AtomicU64::new(0) }; Counter::COUNT],
            absorbed: [const { AtomicU64::new(0) }; Absorbed::COUNT],
            odd: [const { AtomicU64::new(0) }; Odd::COUNT],
            refused: [const { AtomicU64::new(0) }; Refused::COUNT],
            handed_over: [const { AtomicU64::new(0) }; Handover::COUNT],
            replied: [const { AtomicU64::new(0) }; Reason::COUNT],
            dropped: [const { AtomicU64::new(0) }; Reason::COUNT],
        }
    }

    /// Adds `n` to a counter.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        add(&self.counters[counter as usize], n);
    }

    /// Counts one absorbed datagram.
    #[inline]
    pub fn absorbed(&self, why: Absorbed) {
        add(&self.absorbed[why as usize], 1);
    }

    /// Counts one frame whose headers are odd.
    #[inline]
    pub fn odd(&self, why: Odd) {
        add(&self.odd[why as usize], 1);
    }

    /// Counts one frame that never gets to `forward`.
    #[inline]
    pub fn refused(&self, why: Refused) {
        add(&self.refused[why as usize], 1);
    }

    /// Counts one datagram that goes to the kernel path.
    #[inline]
    pub fn handed_over(&self, why: Handover) {
        add(&self.handed_over[why as usize], 1);
    }

    /// Counts one reply of our own.
    #[inline]
    pub fn replied(&self, why: Reason) {
        add(&self.replied[why as usize], 1);
    }

    /// Counts one dropped datagram.
    #[inline]
    pub fn dropped(&self, why: Reason) {
        add(&self.dropped[why as usize], 1);
    }

    /// Reads all counters into plain numbers.
    #[must_use]
    pub fn read(&self) -> Totals {
        let mut totals = Totals::default();
        totals.add(self);
        totals
    }
}

/// Counters summed over workers, as plain numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    counters: [u64; Counter::COUNT],
    absorbed: [u64; Absorbed::COUNT],
    odd: [u64; Odd::COUNT],
    refused: [u64; Refused::COUNT],
    handed_over: [u64; Handover::COUNT],
    replied: [u64; Reason::COUNT],
    dropped: [u64; Reason::COUNT],
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            counters: [0; Counter::COUNT],
            absorbed: [0; Absorbed::COUNT],
            odd: [0; Odd::COUNT],
            refused: [0; Refused::COUNT],
            handed_over: [0; Handover::COUNT],
            replied: [0; Reason::COUNT],
            dropped: [0; Reason::COUNT],
        }
    }
}

impl Totals {
    /// Adds one worker's counters.
    pub fn add(&mut self, stats: &Stats) {
        let pairs = [
            (&mut self.counters[..], &stats.counters[..]),
            (&mut self.absorbed[..], &stats.absorbed[..]),
            (&mut self.odd[..], &stats.odd[..]),
            (&mut self.refused[..], &stats.refused[..]),
            (&mut self.handed_over[..], &stats.handed_over[..]),
            (&mut self.replied[..], &stats.replied[..]),
            (&mut self.dropped[..], &stats.dropped[..]),
        ];
        for (sums, counters) in pairs {
            for (sum, counter) in sums.iter_mut().zip(counters) {
                *sum = sum.wrapping_add(counter.load(Relaxed));
            }
        }
    }

    /// One counter.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// How many were absorbed for this reason.
    #[must_use]
    pub fn absorbed(&self, why: Absorbed) -> u64 {
        self.absorbed[why as usize]
    }

    /// How many frames had headers that are odd in this way.
    #[must_use]
    pub fn odd(&self, why: Odd) -> u64 {
        self.odd[why as usize]
    }

    /// How many frames were refused for this reason.
    #[must_use]
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused[why as usize]
    }

    /// How many went to the kernel path for this reason.
    #[must_use]
    pub fn handed_over(&self, why: Handover) -> u64 {
        self.handed_over[why as usize]
    }

    /// How many were answered by this node for this reason.
    #[must_use]
    pub fn replied(&self, why: Reason) -> u64 {
        self.replied[why as usize]
    }

    /// How many were dropped for this reason.
    #[must_use]
    pub fn dropped(&self, why: Reason) -> u64 {
        self.dropped[why as usize]
    }

    /// All absorbed, replied and dropped.
    #[must_use]
    pub fn sums(&self) -> (u64, u64, u64) {
        (self.absorbed.iter().sum(), self.replied.iter().sum(), self.dropped.iter().sum())
    }

    /// Whether every datagram received has exactly one fate.
    #[must_use]
    pub fn balance(&self) -> bool {
        let (absorbed, replied, dropped) = self.sums();
        let forwarded = self.counter(Counter::ForwardedRequests) + self.counter(Counter::ForwardedResponses);
        self.counter(Counter::Received) == forwarded + absorbed + replied + dropped
    }

    /// Every counter by name: plain ones always, reasons as `dropped{reason}`, zeros included.
    pub fn lines(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let plain = Counter::ALL.iter().map(|c| (c.name().to_owned(), self.counter(*c)));
        let absorbed = Absorbed::ALL.iter().map(|a| (format!("absorbed{{{}}}", a.name()), self.absorbed(*a)));
        let odd = Odd::ALL.iter().map(|o| (format!("refused{{{}}}", o.name()), self.odd(*o)));
        let refused = Refused::ALL.iter().map(|r| (format!("refused{{{}}}", r.name()), self.refused(*r)));
        let handed = |h: &Handover| (format!("handed_over{{{}}}", h.name()), self.handed_over(*h));
        let handed_over = Handover::ALL.iter().map(handed);
        let replied = Reason::ALL.iter().map(|r| (format!("replied{{{}}}", r.name()), self.replied(*r)));
        let dropped = Reason::ALL.iter().map(|r| (format!("dropped{{{}}}", r.name()), self.dropped(*r)));
        plain.chain(odd).chain(refused).chain(absorbed).chain(handed_over).chain(replied).chain(dropped)
    }
}
