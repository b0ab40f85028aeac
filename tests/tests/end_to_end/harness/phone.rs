//! A user agent written by hand, for what SIPp does not do: one datagram at a time, byte for byte.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::message::{Field, Message};
use super::site::{Place, Site};

/// How long an expected datagram may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to listen before believing that nothing comes.
const SILENCE: Duration = Duration::from_millis(200);

/// A phone: a UDP socket.
#[derive(Debug)]
pub(crate) struct Phone {
    socket: UdpSocket,
    /// Its address.
    pub(crate) address: SocketAddr,
}

impl Phone {
    /// A phone on a free port.
    pub(crate) fn new(site: &Site, place: Place) -> Self {
        Self::at(site.end_ip(place))
    }

    /// A phone on a free port of an address.
    pub(crate) fn at(ip: IpAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).expect("a free UDP port");
        let address = socket.local_addr().expect("a bound socket has an address");
        Self { socket, address }
    }

    /// Its socket, for who has more to send than one message at a time.
    pub(crate) fn into_socket(self) -> UdpSocket {
        self.socket
    }

    /// Its SIP URI.
    pub(crate) fn uri(&self) -> String {
        format!("sip:phone@{}", self.address)
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: &Message, to: SocketAddr) {
        self.socket.send_to(&message.datagram(), to).expect("the socket takes a datagram");
    }

    /// Waits for a datagram.
    pub(crate) fn receive_datagram(&self) -> Vec<u8> {
        self.datagram_within(PATIENCE).expect("a datagram comes in time")
    }

    /// Waits for a message.
    pub(crate) fn receive(&self) -> Message {
        Message::parse(&self.receive_datagram())
    }

    /// Waits for a message for a moment.
    pub(crate) fn receive_soon(&self) -> Option<Message> {
        self.datagram_within(SILENCE).map(|datagram| Message::parse(&datagram))
    }

    /// Nothing comes.
    pub(crate) fn assert_silence(&self) {
        let datagram = self.datagram_within(SILENCE);
        assert!(
            datagram.is_none(),
            "nothing may come, but: {}",
            Message::parse(&datagram.unwrap_or_default())
        );
    }

    /// Waits for the message with this Call-ID; others are let pass.
    pub(crate) fn receive_of(&self, call_id: &str, patience: Duration) -> Option<Message> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            let message = Message::parse(&self.datagram_within(left)?);
            if message.call_id() == call_id {
                return Some(message);
            }
        }
    }

    fn datagram_within(&self, patience: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(patience)).expect("a socket takes a timeout");
        let mut buffer = vec![0; 65_536];
        let (length, _) = receive(&self.socket, &mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// A request of this phone.
    pub(crate) fn request(&self, method: &str, request_uri: &str, call_id: &str) -> Message {
        let via = format!("SIP/2.0/UDP {};branch=z9hG4bK-{call_id}-{method};rport", self.address);
        let fields = [
            ("Via", via.as_str()),
            ("Max-Forwards", "70"),
            ("From", &format!("<{}>;tag=from-{call_id}", self.uri())),
            ("To", "<sip:callee@example.net>"),
            ("Call-ID", call_id),
            ("CSeq", &format!("1 {method}")),
            ("Contact", &format!("<{}>", self.uri())),
            ("Content-Length", "0"),
        ];
        Message {
            start_line: format!("{method} {request_uri} SIP/2.0"),
            fields: fields.map(|(name, value)| Field::new(name, value)).to_vec(),
            body: String::new(),
        }
    }
}

/// Receives, also when the kernel interrupts the wait: it does so for more than signals, and a socket with a
/// timeout is not asked again by itself.
pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A node that is not sure of a neighbour sends one. Every SIP element lets it pass.
            Ok((length, _)) if &buffer[..length] == b"\r\n\r\n" => {}
            received => return received,
        }
    }
}

impl Message {
    /// The same with another method: so CANCEL, and the ACK for a non-2xx, are made of an INVITE.
    pub(crate) fn with_method(mut self, method: &str) -> Self {
        let old = self.method().to_owned();
        self.start_line = self.start_line.replacen(&old, method, 1);
        let cseq = self.fields.iter_mut().find(|field| field.is("CSeq")).expect("a CSeq");
        cseq.raw = cseq.raw.replacen(&old, method, 1);
        self
    }

    /// Puts a Route above all other header fields.
    pub(crate) fn with_route(mut self, uri: &str) -> Self {
        self.fields.insert(0, Field::new("Route", &format!("<{uri}>")));
        self
    }

    /// Gives it a body.
    pub(crate) fn with_body(mut self, body: String) -> Self {
        let field = self.fields.iter_mut().find(|field| field.is("Content-Length"));
        *field.expect("a Content-Length") = Field::new("Content-Length", &body.len().to_string());
        self.body = body;
        self
    }

    /// The response to a request (RFC 3261 8.2.6.2), without a tag.
    pub(crate) fn response_to(request: &Self, status: &str) -> Self {
        let copied = ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"];
        let is_copied = |field: &&Field| copied.iter().any(|name| field.is(name));
        let mut fields: Vec<Field> = request.fields.iter().filter(is_copied).cloned().collect();
        fields.push(Field::new("Content-Length", "0"));
        Self { start_line: format!("SIP/2.0 {status}"), fields, body: String::new() }
    }

    /// Gives To a tag.
    pub(crate) fn with_to_tag(mut self, tag: &str) -> Self {
        let field = self.fields.iter_mut().find(|field| field.is("To")).expect("a To");
        field.raw.push_str(&format!(";tag={tag}"));
        self
    }
}
