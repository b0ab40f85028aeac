//! A strict router as RFC 2543 had them: it goes where the Request-URI says and nowhere else.
//!
//! - A request outside a dialog goes to a fixed next hop, with a Record-Route whose URI has no `lr`.
//! - A request inside a dialog must have the router's own URI as Request-URI. The topmost Route value
//!   takes its place and says where the request goes.
//! - Responses go the way of the Vias. It keeps no state.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::message::{Field, Message, RouteValue, Via};
use super::phone::receive;
use super::site::{Place, Site};

/// How often the thread looks whether it shall stop.
const POLL: Duration = Duration::from_millis(20);

/// What the router saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Requests outside a dialog, and those that follow them hop by hop: CANCEL, ACK for a non-2xx.
    pub(crate) initial: usize,
    /// Requests inside a dialog.
    pub(crate) in_dialog: usize,
    /// Responses.
    pub(crate) responses: usize,
}

/// A strict router on a thread of its own.
#[derive(Debug)]
pub(crate) struct StrictRouter {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

impl StrictRouter {
    /// Starts a router that sends requests outside a dialog to `next_hop`.
    pub(crate) fn start(site: &Site, place: Place, next_hop: SocketAddr) -> Self {
        let socket = UdpSocket::bind((site.end_ip(place), 0)).expect("a free UDP port");
        let address = socket.local_addr().expect("a bound socket has an address");
        socket.set_read_timeout(Some(POLL)).expect("a socket takes a timeout");
        let stop = Arc::new(AtomicBool::new(false));
        let mut router = Routing { socket, address, next_hop, seen: Seen::default() };
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                router.route_one();
            }
            router.seen
        });
        Self { address, stop, thread: Some(thread) }
    }

    /// Stops it. Fails if it met a request that a strict router cannot route.
    pub(crate) fn stop(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("stopped only once");
        thread.join().expect("the strict router could route all that it got")
    }
}

impl Drop for StrictRouter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The test fails already when the router was not stopped in order.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Routing {
    socket: UdpSocket,
    address: SocketAddr,
    next_hop: SocketAddr,
    seen: Seen,
}

impl Routing {
    fn route_one(&mut self) {
        let mut buffer = [0; 65_536];
        let (length, source) = match receive(&self.socket, &mut buffer) {
            Ok(datagram) => datagram,
            // Nothing came, or an ICMP message says that an end has left already.
            Err(error) if is_idle(error.kind()) => return,
            Err(error) => panic!("the strict router's socket: {error}"),
        };
        let message = Message::parse(&buffer[..length]);
        let (message, next_hop) = match message.is_request() {
            true => self.request(message, source),
            false => self.response(message),
        };
        self.socket.send_to(&message.datagram(), next_hop).expect("the socket takes a datagram");
    }

    fn request(&mut self, mut message: Message, source: SocketAddr) -> (Message, SocketAddr) {
        let next_hop = if message.has_to_tag() && !is_ack_for_non_2xx(&message) {
            self.seen.in_dialog += 1;
            self.follow_route(&mut message)
        } else {
            self.seen.initial += 1;
            if message.method() == "INVITE" {
                let own = format!("<sip:{}>", self.address);
                message.fields.insert(0, Field::new("Record-Route", &own));
            }
            self.next_hop
        };
        lower_max_forwards(&mut message);
        self.push_via(&mut message, source);
        (message, next_hop)
    }

    /// Request-URI: own URI out, topmost Route value in.
    fn follow_route(&self, message: &mut Message) -> SocketAddr {
        let own = RouteValue::parse(message.request_uri());
        assert_eq!(
            own.host_port,
            self.address.to_string(),
            "the Request-URI names the strict router:\n{message}"
        );
        let routes = message.route_values("Route");
        let (first, others) = routes.split_first().unwrap_or_else(|| panic!("a Route to follow:\n{message}"));
        message.start_line = format!("{} {} SIP/2.0", message.method(), first.uri);
        message.fields.retain(|field| !field.is("Route"));
        for route in others.iter().rev() {
            message.fields.insert(0, Field::new("Route", &format!("<{}>", route.uri)));
        }
        parse_address(&first.host_port)
    }

    /// Fills the sender's Via and puts the own one above it.
    fn push_via(&self, message: &mut Message, source: SocketAddr) {
        let mut vias = message.vias();
        let sender = filled(&vias[0], source);
        let own = format!("SIP/2.0/UDP {};branch={}s;rport", self.address, vias[0].branch());
        vias[0] = Via::parse(&sender);
        vias.insert(0, Via::parse(&own));
        set_vias(message, &vias);
    }

    fn response(&mut self, mut message: Message) -> (Message, SocketAddr) {
        self.seen.responses += 1;
        let vias = message.vias();
        assert_eq!(vias[0].sent_by, self.address.to_string(), "the topmost Via is the strict router's");
        set_vias(&mut message, &vias[1..]);
        (message, response_address(&vias[1]))
    }
}

/// It has the To tag of the response, but goes where the INVITE went (RFC 3261 17.1.1.3). The ACK for a
/// 2xx always has a Route here: at least the remote target, which gave its place to the router's URI.
fn is_ack_for_non_2xx(message: &Message) -> bool {
    message.method() == "ACK" && message.values("Route").is_empty()
}

fn is_idle(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused)
}

/// A Via with `received` and `rport` filled where they are asked for or needed.
fn filled(via: &Via, source: SocketAddr) -> String {
    let (received, rport) = via.fill_from(source);
    let mut text = via.text.clone();
    if let Some(rport) = rport {
        text = text.replacen("rport", &format!("rport={rport}"), 1);
    }
    if let Some(received) = received {
        text.push_str(&format!(";received={received}"));
    }
    text
}

/// Where a response goes whose topmost Via is this (RFC 3261 18.2.2, RFC 3581 4).
fn response_address(via: &Via) -> SocketAddr {
    let sent_by = parse_address(&via.sent_by);
    let received = via.param("received").flatten().map(|ip| ip.parse().expect("received is an address"));
    let rport = via.param("rport").flatten().map(|port| port.parse().expect("rport is a port"));
    SocketAddr::new(received.unwrap_or(sent_by.ip()), rport.unwrap_or(sent_by.port()))
}

fn parse_address(host_port: &str) -> SocketAddr {
    host_port.parse().unwrap_or_else(|_| panic!("{host_port} is not ADDRESS:PORT"))
}

fn set_vias(message: &mut Message, vias: &[Via]) {
    message.fields.retain(|field| !field.is("Via"));
    let lines = vias.iter().map(|via| Field::new("Via", &via.text));
    message.fields.splice(0..0, lines);
}

fn lower_max_forwards(message: &mut Message) {
    let value = message.max_forwards().expect("a Max-Forwards") - 1;
    let field = message.fields.iter_mut().find(|field| field.is("Max-Forwards"));
    *field.expect("a Max-Forwards") = Field::new("Max-Forwards", &value.to_string());
}
