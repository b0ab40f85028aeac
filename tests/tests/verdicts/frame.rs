//! Frames put together from parts, right or wrong.

use std::net::{IpAddr, SocketAddr};

/// A frame with a UDP datagram in it. The fields that are changed after `new` make it odd.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// EtherType and tag control of each VLAN tag, the outer one first.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) kind: u16,
    pub(crate) ip: Ip,
    pub(crate) source_port: u16,
    pub(crate) port: u16,
    /// What the UDP header says beyond the truth.
    pub(crate) udp_length_off: i32,
    pub(crate) payload: Vec<u8>,
    /// What follows the IP packet.
    pub(crate) trailer: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum Ip {
    V4 {
        version: u8,
        to: [u8; 4],
        options: Vec<u8>,
        fragment: u16,
        protocol: u8,
        length_off: i32,
    },
    /// Each extension header is its number and all of its bytes but the first.
    V6 {
        version: u8,
        to: [u8; 16],
        headers: Vec<(u8, Vec<u8>)>,
        protocol: u8,
        length_off: i32,
    },
}

impl Frame {
    pub(crate) fn new(to: SocketAddr, payload: &[u8]) -> Self {
        let (kind, ip) = match to.ip() {
            IpAddr::V4(ip) => (
                0x0800,
                Ip::V4 {
                    version: 4,
                    to: ip.octets(),
                    options: vec![],
                    fragment: 0x4000,
                    protocol: 17,
                    length_off: 0,
                },
            ),
            IpAddr::V6(ip) => {
                (0x86dd, Ip::V6 { version: 6, to: ip.octets(), headers: vec![], protocol: 17, length_off: 0 })
            }
        };
        Self {
            tags: vec![],
            kind,
            ip,
            source_port: 5060,
            port: to.port(),
            udp_length_off: 0,
            payload: payload.to_vec(),
            trailer: vec![],
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        for (kind, control) in &self.tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        frame.extend(self.kind.to_be_bytes());
        let udp_bytes = 8 + self.payload.len();
        match &self.ip {
            Ip::V4 { version, to, options, fragment, protocol, length_off } => {
                let header_bytes = 20 + options.len();
                frame.extend([version << 4 | (header_bytes / 4) as u8, 0]);
                frame.extend(off(header_bytes + udp_bytes, *length_off));
                frame.extend([0x12, 0x34]);
                frame.extend(fragment.to_be_bytes());
                frame.extend([64, *protocol, 0, 0, 203, 0, 113, 9]);
                frame.extend(to);
                frame.extend(options);
            }
            Ip::V6 { version, to, headers, protocol, length_off } => {
                let headers_bytes: usize = headers.iter().map(|(_, rest)| 1 + rest.len()).sum();
                frame.extend([version << 4, 0, 0, 0]);
                frame.extend(off(headers_bytes + udp_bytes, *length_off));
                frame.extend([headers.first().map_or(*protocol, |(number, _)| *number), 64]);
                frame.extend("2001:db8::9".parse::<std::net::Ipv6Addr>().expect("an address").octets());
                frame.extend(to);
                for (k, (_, rest)) in headers.iter().enumerate() {
                    frame.push(headers.get(k + 1).map_or(*protocol, |(number, _)| *number));
                    frame.extend(rest);
                }
            }
        }
        frame.extend(self.source_port.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend(off(udp_bytes, self.udp_length_off));
        frame.extend([0, 0]);
        frame.extend(&self.payload);
        frame.extend(&self.trailer);
        frame
    }

    pub(crate) fn tagged(mut self, tags: &[(u16, u16)]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn options(mut self, bytes: &[u8]) -> Self {
        let Ip::V4 { options, .. } = &mut self.ip else { panic!("no IPv4") };
        *options = bytes.to_vec();
        self
    }

    pub(crate) fn fragment(mut self, field: u16) -> Self {
        let Ip::V4 { fragment, .. } = &mut self.ip else { panic!("no IPv4") };
        *fragment = field;
        self
    }

    pub(crate) fn headers(mut self, list: &[(u8, &[u8])]) -> Self {
        let Ip::V6 { headers, .. } = &mut self.ip else { panic!("no IPv6") };
        *headers = list.iter().map(|(number, rest)| (*number, rest.to_vec())).collect();
        self
    }

    pub(crate) fn protocol(mut self, number: u8) -> Self {
        let (Ip::V4 { protocol, .. } | Ip::V6 { protocol, .. }) = &mut self.ip;
        *protocol = number;
        self
    }

    pub(crate) fn version(mut self, number: u8) -> Self {
        let (Ip::V4 { version, .. } | Ip::V6 { version, .. }) = &mut self.ip;
        *version = number;
        self
    }

    pub(crate) fn ip_length_off(mut self, by: i32) -> Self {
        let (Ip::V4 { length_off, .. } | Ip::V6 { length_off, .. }) = &mut self.ip;
        *length_off = by;
        self
    }
}

fn off(bytes: usize, by: i32) -> [u8; 2] {
    ((bytes as i32 + by) as u16).to_be_bytes()
}
