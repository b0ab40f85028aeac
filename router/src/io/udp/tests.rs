//! Over loopback sockets: what goes in comes out, from where it should, in order, and nothing that fails stops what comes after.

use super::*;
use core::net::{IpAddr, Ipv4Addr};
use std::net::UdpSocket;
use std::time::Instant;

/// Longest that a test waits for a datagram. On loopback it is there when the send returns; this is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A worker's I/O on these addresses, and its counters.
fn udp(addresses: &[&str], batch_datagrams_max: usize) -> (Udp, Arc<Stats>) {
    let stats = Arc::new(Stats::new());
    let addresses: Vec<_> = addresses.iter().map(|a| address(a)).collect();
    let options = Options { batch_datagrams_max, ..Options::default() };
    (Udp::bind(&addresses, &options, Arc::clone(&stats)).unwrap(), stats)
}

/// Somebody who sends and receives.
fn peer(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address(at)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(peer: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 70_000];
    let (len, from) = peer.recv_from(&mut buffer).unwrap();
    buffer.truncate(len);
    (buffer, from)
}

/// Nothing more is there for `peer`.
fn assert_quiet(peer: &UdpSocket) {
    peer.set_nonblocking(true).unwrap();
    assert_eq!(peer.recv_from(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    peer.set_nonblocking(false).unwrap();
}

/// Breathes until `count` datagrams have come, and returns how many times that took.
fn breathe(udp: &mut Udp, count: usize, mut forward: impl FnMut(&mut Datagram<'_>) -> Verdict) -> usize {
    let deadline = Instant::now() + PATIENCE;
    let (mut came, mut breaths) = (0, 0);
    while came < count {
        assert!(Instant::now() < deadline, "{came} of {count} datagrams came");
        udp.wait(1_000);
        came += udp.breathe(&mut forward);
        breaths += 1;
    }
    assert_eq!(came, count);
    breaths
}

/// Back to where it came from, by the same listener.
fn echo(datagram: &mut Datagram<'_>) -> Verdict {
    Verdict::Transmit { egress: datagram.flow.listener, to: datagram.flow.source }
}

fn counters<const N: usize>(stats: &Stats, which: [Counter; N]) -> [u64; N] {
    which.map(|counter| stats.read().counter(counter))
}

#[test]
fn both_families_come_and_go() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let (mut udp, stats) = udp(&[local], 8);
        let bound = udp.addresses().next().unwrap();
        assert_ne!(bound.port(), 0);
        let peer = peer(local);
        peer.send_to(b"OPTIONS", bound).unwrap();
        let mut flow = None;
        breathe(&mut udp, 1, |datagram| {
            assert_eq!(datagram.payload(), b"OPTIONS");
            assert_eq!(datagram.headroom(), HEADROOM);
            assert!(datagram.tailroom() >= super::super::TAILROOM);
            flow = Some(datagram.flow);
            echo(datagram)
        });
        let source = peer.local_addr().unwrap();
        let expected = super::super::Flow { source, destination: bound, listener: ListenerIndex(0) };
        assert_eq!(flow, Some(expected));
        assert_eq!(receive(&peer), (b"OPTIONS".to_vec(), bound));
        assert_eq!(counters(&stats, [Counter::Sent, Counter::SentBytes, Counter::SendFailed]), [1, 7, 0]);
    }
}

#[test]
fn a_wildcard_knows_where_it_was_reached_and_answers_from_there() {
    let all = [
        ("0.0.0.0:0", "127.0.0.1:0", vec!["127.0.0.1", "127.0.0.2", "127.9.8.7"]),
        ("[::]:0", "[::1]:0", vec!["::1"]),
    ];
    for (wildcard, from, targets) in all {
        let (mut udp, _) = udp(&[wildcard], 8);
        let port = udp.addresses().next().unwrap().port();
        let peer = peer(from);
        for target in targets {
            let target = SocketAddr::new(target.parse().unwrap(), port);
            peer.send_to(b"x", target).unwrap();
            breathe(&mut udp, 1, |datagram| {
                assert_eq!(datagram.flow.destination, target);
                echo(datagram)
            });
            assert_eq!(receive(&peer), (b"x".to_vec(), target));
        }
    }
}

/// Reached at 127.0.0.2, whether by an address or a wildcard, it leaves by another wildcard: from the route's own address, 127.0.0.1.
#[test]
fn a_wildcard_that_another_listener_leaves_by_takes_the_routes_address() {
    let (mut udp, _) = udp(&["127.0.0.2:0", "0.0.0.0:0", "0.0.0.0:0"], 8);
    let ports: Vec<_> = udp.addresses().map(|a| a.port()).collect();
    let peer = peer("127.0.0.1:0");
    for ingress in [0, 1] {
        peer.send_to(b"x", SocketAddr::new([127, 0, 0, 2].into(), ports[ingress])).unwrap();
        breathe(&mut udp, 1, |d| Verdict::Transmit { egress: ListenerIndex(2), to: d.flow.source });
        assert_eq!(receive(&peer).1, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ports[2]));
    }
}

/// Listeners of both families, with packet info and without, have the same frames one after the other; none finds the other's lengths there.
#[test]
fn listeners_that_differ_share_the_frames() {
    let (mut udp, stats) = udp(&["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"], 8);
    let addresses: Vec<_> = udp.addresses().collect();
    let peers = [peer("127.0.0.1:0"), peer("[::1]:0")];
    for round in 0..32 {
        let to = addresses[(round + round / 4) % 4];
        let peer = &peers[usize::from(to.is_ipv6())];
        let to = SocketAddr::new(peer.local_addr().unwrap().ip(), to.port());
        peer.send_to(&vec![1; 100 - round], to).unwrap();
        breathe(&mut udp, 1, |datagram| {
            assert_eq!(datagram.flow.destination, to);
            echo(datagram)
        });
        assert_eq!(receive(peer), (vec![1; 100 - round], to));
    }
    assert_eq!(counters(&stats, [Counter::Sent, Counter::ReceiveFailed]), [32, 0]);
}

#[test]
fn it_leaves_by_the_listener_that_it_is_told() {
    let (mut udp, stats) = udp(&["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"], 8);
    let addresses: Vec<_> = udp.addresses().collect();
    let (peer, peer6) = (peer("127.0.0.1:0"), peer("[::1]:0"));
    let to6 = peer6.local_addr().unwrap();
    for i in 0..6_u8 {
        peer.send_to(&[i], addresses[0]).unwrap();
    }
    // Three listeners in turn, within one batch.
    breathe(&mut udp, 6, |datagram| {
        let egress = u16::from(datagram.payload()[0] % 3);
        let to = if egress == 2 { to6 } else { datagram.flow.source };
        Verdict::Transmit { egress: ListenerIndex(egress), to }
    });
    let came: Vec<_> = (0..4).map(|_| receive(&peer)).map(|(bytes, from)| (bytes[0], from)).collect();
    assert_eq!(came, [(0, addresses[0]), (3, addresses[0]), (1, addresses[1]), (4, addresses[1])]);
    let came: Vec<_> = (0..2).map(|_| receive(&peer6)).map(|(bytes, from)| (bytes[0], from)).collect();
    assert_eq!(came, [(2, addresses[2]), (5, addresses[2])]);
    assert_eq!(counters(&stats, [Counter::Sent, Counter::SendFailed]), [6, 0]);
}

#[test]
fn it_sends_what_came_another_way() {
    let (mut udp, stats) = udp(&["127.0.0.1:0", "0.0.0.0:0"], 4);
    let peer = peer("127.0.0.1:0");
    let to = peer.local_addr().unwrap();
    let bound: Vec<_> = udp.addresses().collect();
    udp.send(ListenerIndex(0), to, None, b"one");
    assert_eq!(receive(&peer), (b"one".to_vec(), bound[0]));
    udp.send(ListenerIndex(1), to, Some([127, 0, 0, 7].into()), b"two");
    assert_eq!(receive(&peer), (b"two".to_vec(), SocketAddr::new([127, 0, 0, 7].into(), bound[1].port())));
    // Longer than a frame, to nobody, by no listener.
    udp.send(ListenerIndex(0), to, None, &vec![0; 70_000]);
    udp.send(ListenerIndex(0), address("[::1]:1"), None, b"three");
    udp.send(ListenerIndex(7), to, None, b"four");
    assert_quiet(&peer);
    assert_eq!(counters(&stats, [Counter::Sent, Counter::SendFailed]), [2, 3]);
}

#[test]
fn it_wakes_for_another_descriptor() {
    let (mut udp, _) = udp(&["127.0.0.1:0"], 4);
    let (mine, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    udp.watch(mine.as_fd());
    std::io::Write::write_all(&mut &theirs, b"x").unwrap();
    let begin = Instant::now();
    udp.wait(5_000_000);
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[test]
fn an_empty_datagram_is_a_datagram() {
    for local in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        let (mut udp, stats) = udp(&[local], 8);
        let port = udp.addresses().next().unwrap().port();
        let peer = peer(if local.starts_with('[') { local } else { "127.0.0.1:0" });
        peer.send_to(b"", SocketAddr::new(peer.local_addr().unwrap().ip(), port)).unwrap();
        breathe(&mut udp, 1, |datagram| {
            assert_eq!(datagram.payload(), b"");
            echo(datagram)
        });
        assert_eq!(receive(&peer).0, b"");
        assert_eq!(counters(&stats, [Counter::Sent, Counter::SentBytes]), [1, 0]);
    }
}

/// The largest that IPv4 and IPv6 carry, reached by growing into the headroom. IPv6 is fragmented on the way, for the loopback's MTU is 65,536.
#[test]
fn the_largest_datagram_grows_and_leaves() {
    for (local, largest) in [("127.0.0.1:0", 65_507), ("[::1]:0", 65_527)] {
        let (mut udp, stats) = udp(&[local], 2);
        let bound = udp.addresses().next().unwrap();
        let peer = peer(local);
        let whole: Vec<u8> = (0..largest).map(|i| (i % 251) as u8).collect();
        for cut in [0, 200, HEADROOM] {
            peer.send_to(&whole[cut..], bound).unwrap();
            breathe(&mut udp, 1, |datagram| {
                assert_eq!(datagram.payload(), &whole[cut..]);
                let (frame, start, _) = datagram.frame();
                frame[*start - cut..*start].copy_from_slice(&whole[..cut]);
                *start -= cut;
                echo(datagram)
            });
            let (bytes, from) = receive(&peer);
            assert!(bytes == whole && from == bound);
        }
        // One byte more than UDP carries.
        peer.send_to(&whole, bound).unwrap();
        breathe(&mut udp, 1, |datagram| {
            *datagram.frame().1 -= 1;
            echo(datagram)
        });
        assert_eq!(counters(&stats, [Counter::Sent, Counter::SendFailed]), [3, 1]);
        assert_quiet(&peer);
    }
}

#[test]
fn more_than_a_batch_comes_in_several_and_in_order() {
    let (mut udp, stats) = udp(&["127.0.0.1:0"], 16);
    let bound = udp.addresses().next().unwrap();
    let peer = peer("127.0.0.1:0");
    for i in 0..100_u8 {
        peer.send_to(&[i; 5], bound).unwrap();
    }
    assert_eq!(breathe(&mut udp, 100, echo), 7);
    for i in 0..100_u8 {
        assert_eq!(receive(&peer).0, [i; 5]);
    }
    assert_eq!(counters(&stats, [Counter::Sent, Counter::SentBytes]), [100, 500]);
}

/// Each listener that has something gets one batch a turn.
#[test]
fn listeners_have_their_turns() {
    for listeners in [1, 2, 70] {
        let (mut udp, _) = udp(&vec!["127.0.0.1:0"; listeners], 4);
        let peer = peer("127.0.0.1:0");
        for bound in udp.addresses() {
            (0..10).for_each(|_| assert_eq!(peer.send_to(b"x", bound).unwrap(), 1));
        }
        for expected in [4, 4, 2, 0] {
            let mut came = vec![0; listeners];
            let count = udp.breathe(&mut |datagram| {
                came[usize::from(datagram.flow.listener.0)] += 1;
                Verdict::Release
            });
            assert_eq!((came, count), (vec![expected; listeners], expected * listeners));
        }
    }
}

/// Who comes first changes with every breath, so that none is always last.
#[test]
fn listeners_take_turns_at_being_first() {
    let (mut udp, _) = udp(&["127.0.0.1:0"; 3], 1);
    let peer = peer("127.0.0.1:0");
    for bound in udp.addresses() {
        (0..4).for_each(|_| assert_eq!(peer.send_to(b"x", bound).unwrap(), 1));
    }
    for first in [0, 1, 2, 0] {
        let mut order = vec![];
        udp.breathe(&mut |datagram| {
            order.push(datagram.flow.listener.0);
            Verdict::Release
        });
        assert_eq!(order, [first, (first + 1) % 3, (first + 2) % 3]);
    }
}

/// What cannot be sent is left out and counted: no port, another family, broadcast, a listener that is not there, a range outside the frame.
#[test]
fn a_datagram_that_fails_holds_up_no_other() {
    let (mut udp, stats) = udp(&["127.0.0.1:0"], 64);
    let bound = udp.addresses().next().unwrap();
    let peer = peer("127.0.0.1:0");
    for i in 0..40_u8 {
        peer.send_to(&[i], bound).unwrap();
    }
    breathe(&mut udp, 40, |datagram| {
        let source = datagram.flow.source;
        let egress = ListenerIndex(0);
        match datagram.payload()[0] {
            0 | 39 => Verdict::Transmit { egress, to: address("127.0.0.1:0") },
            7 | 8 => Verdict::Transmit { egress, to: address("[::1]:5060") },
            12 => Verdict::Transmit { egress, to: address("255.255.255.255:5060") },
            20 => Verdict::Transmit { egress: ListenerIndex(9), to: source },
            25 => {
                *datagram.frame().2 = 1 << 20;
                Verdict::Transmit { egress, to: source }
            }
            30 => Verdict::Release,
            _ => Verdict::Transmit { egress, to: source },
        }
    });
    for i in (0..40_u8).filter(|i| ![0, 7, 8, 12, 20, 25, 30, 39].contains(i)) {
        assert_eq!(receive(&peer).0, [i]);
    }
    assert_quiet(&peer);
    assert_eq!(counters(&stats, [Counter::Sent, Counter::SendFailed]), [32, 7]);
}

/// Nobody listens at the destination. A socket that is not connected hears nothing of that; one that is (as no socket of ours) does, both when it sends
/// and when it receives, and neither costs a datagram.
#[test]
fn a_refused_port_stops_nothing() {
    let (mut udp, stats) = udp(&["127.0.0.1:0"], 8);
    let bound = udp.addresses().next().unwrap();
    let peer = peer("127.0.0.1:0");
    let closed = self::peer("127.0.3.2:0").local_addr().unwrap();
    for i in 0..20_u8 {
        peer.send_to(&[i], bound).unwrap();
        breathe(&mut udp, 1, |d| {
            if i % 2 == 0 { Verdict::Transmit { egress: ListenerIndex(0), to: closed } } else { echo(d) }
        });
    }
    assert_eq!(counters(&stats, [Counter::Sent, Counter::SendFailed, Counter::ReceiveFailed]), [20, 0, 0]);
    (0..10).for_each(|i| assert_eq!(receive(&peer).0, [2 * i + 1]));

    let waiting = [b"a", b"b", b"c"];
    waiting.iter().for_each(|bytes| assert_eq!(peer.send_to(*bytes, bound).unwrap(), 1));
    udp.sockets[0].connect(closed);
    udp.sockets[0].refuse(closed);
    assert_eq!(udp.breathe(&mut echo), 0, "the error comes first");
    assert_eq!(counters(&stats, [Counter::ReceiveFailed]), [1]);
    // Each send to the closed port makes an error that the next send reports.
    let mut turn = 0;
    breathe(&mut udp, 3, |datagram| {
        turn += 1;
        let to = if turn == 2 { datagram.flow.source } else { closed };
        Verdict::Transmit { egress: ListenerIndex(0), to }
    });
    assert_eq!(receive(&peer).0, b"b");
    assert_eq!(counters(&stats, [Counter::Sent, Counter::SendFailed]), [23, 0]);
}

#[test]
fn a_cut_datagram_is_counted_and_dropped() {
    let stats = Arc::new(Stats::new());
    let mut udp =
        Udp::bind_with(&[address("127.0.0.1:0")], &Options::default(), Arc::clone(&stats), 100).unwrap();
    let bound = udp.addresses().next().unwrap();
    let peer = peer("127.0.0.1:0");
    for len in [100, 101, 60_000, 99] {
        peer.send_to(&vec![1; len], bound).unwrap();
    }
    let mut came = vec![];
    breathe(&mut udp, 4, |datagram| {
        came.push(datagram.payload().len());
        Verdict::Release
    });
    assert_eq!(came, [100, 99]);
    assert_eq!(counters(&stats, [Counter::ReceiveTruncated, Counter::ReceiveFailed]), [2, 0]);
}

/// The kernel's answers to `sendmmsg`, one by one, and what becomes of five datagrams.
#[test]
fn sending_goes_on_and_comes_to_an_end() {
    type Answer = Result<usize, Errno>;
    let run = |answers: &[Answer], then: Answer| {
        let (mut calls, mut answers) = (vec![], answers.iter());
        let failed = send_all(5, |first| {
            calls.push(first);
            answers.next().copied().unwrap_or(then)
        });
        (failed, calls)
    };
    assert_eq!(run(&[Ok(5)], Ok(5)), (0, vec![0]));
    assert_eq!(run(&[Ok(2), Ok(3)], Ok(5)), (0, vec![0, 2]));
    assert_eq!(run(&[Ok(2), Err(Errno::EPERM), Ok(2)], Ok(5)), (1, vec![0, 2, 3]));
    assert_eq!(run(&[Ok(2), Err(Errno::EAGAIN), Err(Errno::EINTR), Ok(3)], Ok(5)), (0, vec![0, 2, 2, 2]));
    assert_eq!(run(&[Ok(1), Err(Errno::ECONNREFUSED), Ok(4)], Ok(5)), (0, vec![0, 1, 1]));
    assert_eq!(run(&[], Err(Errno::ENETUNREACH)), (5, vec![0, 1, 2, 3, 4]));
    assert_eq!(run(&[], Ok(0)), (5, vec![0, 1, 2, 3, 4]));
    let (failed, calls) = run(&[Ok(1)], Err(Errno::EAGAIN));
    assert_eq!((failed, calls.len()), (4, 1 + SEND_TRIES_MAX + 1));
    let (failed, calls) = run(&[Ok(1)], Err(Errno::EINTR));
    assert_eq!((failed, calls.len()), (4, 1 + SEND_TRIES_MAX + 4));
}

#[test]
fn a_wait_ends_with_a_datagram_or_its_time() {
    for listeners in [1, 5] {
        let (mut udp, _) = udp(&vec!["127.0.0.1:0"; listeners], 8);
        let bound = udp.addresses().last().unwrap();
        let peer = peer("127.0.0.1:0");
        let timed = |udp: &mut Udp, idle_us_max| {
            let start = Instant::now();
            udp.wait(idle_us_max);
            start.elapsed()
        };
        assert!(timed(&mut udp, 20_000) >= Duration::from_millis(20));
        assert!(timed(&mut udp, 0) < Duration::from_millis(20));
        peer.send_to(b"x", bound).unwrap();
        assert!(timed(&mut udp, 60_000_000) < PATIENCE);
        assert_eq!(udp.breathe(&mut echo), 1);
    }
}

#[test]
fn a_second_instance_is_noticed() {
    // An address of its own, where no other test asks for a port.
    let (udp, stats) = udp(&["127.0.3.1:0"], 8);
    let bound = udp.addresses().next().unwrap();
    let error = probe(bound).unwrap_err();
    assert_eq!(error.error.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(error.address, bound);
    assert_eq!(error.to_string(), format!("{bound}: cannot bind: Address already in use (os error 98)"));
    let wildcard = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), bound.port());
    assert_eq!(probe(wildcard).unwrap_err().error.kind(), std::io::ErrorKind::AddrInUse);
    // Another worker is no second instance.
    drop(Udp::bind(&[bound], &Options::default(), stats).unwrap());
    drop(udp);
    probe(bound).unwrap();
    probe(bound).unwrap();
}

#[test]
fn a_foreign_address_is_named() {
    let listeners = [address("127.0.0.1:0"), address("192.0.2.1:5060")];
    let error = Udp::bind(&listeners, &Options::default(), Arc::new(Stats::new())).err().unwrap();
    assert_eq!(error.address, listeners[1]);
    assert_eq!(error.error.raw_os_error(), Some(Errno::EADDRNOTAVAIL as i32));
    assert!(probe(listeners[1]).is_err());
}

#[test]
fn what_was_granted_is_told() {
    let listeners = [address("127.0.0.1:0"), address("[::1]:0")];
    let options = Options {
        receive_buffer_bytes: Some(100_000),
        send_buffer_bytes: Some(50_000),
        busy_poll_us: Some(50),
        ..Options::default()
    };
    let udp = Udp::bind(&listeners, &options, Arc::new(Stats::new())).unwrap();
    for granted in udp.granted() {
        assert_eq!((granted.receive_buffer_bytes, granted.send_buffer_bytes), (200_000, 100_000));
        // Being preferred needs a privilege always, polling only above `net.core.busy_read`.
        assert!(granted.is_busy_polling || !granted.is_busy_polling_preferred);
    }
    let udp = super::tests::udp(&["127.0.0.1:0"], 8).0;
    assert!(udp.granted().all(|granted| !granted.is_busy_polling && !granted.is_busy_polling_preferred));
}

#[test]
fn no_listener_is_no_error() {
    let (mut udp, _) = udp(&[], 0);
    assert_eq!(udp.breathe(&mut echo), 0);
    udp.wait(1);
}

#[test]
fn one_family_has_the_port_that_the_other_has() {
    let (udp4, _) = udp(&["0.0.0.0:0"], 8);
    let port = udp4.addresses().next().unwrap().port();
    let (udp6, _) = udp(&[&format!("[::]:{port}")], 8);
    assert_eq!(udp6.addresses().next().unwrap().ip(), IpAddr::from([0_u16; 8]));
}
