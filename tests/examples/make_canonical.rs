//! Writes the canonical messages under `tests/vectors/canonical` anew. Needed only when a seal's format changes.

use sluice_tests::{CORE, PUBLIC, flow, forward, snapshot, vectors};

const SDP: &str = "v=0\r\no=alice 2890844526 2890844526 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\n\
m=audio 49170 RTP/AVP 8 0 18 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:18 G729/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";

fn invite() -> String {
    format!(
        "INVITE sip:+4930123456@example.com SIP/2.0\r\n\
Via: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK-524287-1---8d3b1f6a2c4e7b90;rport\r\nMax-Forwards: 70\r\n\
Contact: <sip:alice@203.0.113.9:5060;transport=udp>\r\nTo: <sip:+4930123456@example.com>\r\n\
From: \"Alice\" <sip:alice@example.com>;tag=5fc2a9d3\r\nCall-ID: 7c1e2f4ab09d4e6f8a3b5c7d9e1f0a2b@203.0.113.9\r\n\
CSeq: 1 INVITE\r\nAllow: INVITE, ACK, CANCEL, BYE, NOTIFY, REFER, MESSAGE, OPTIONS, INFO, SUBSCRIBE\r\n\
Content-Type: application/sdp\r\nSupported: replaces, norefersub, extended-refer, timer, outbound, path\r\n\
User-Agent: Carrier Edge SBC 12.4.1\r\nAllow-Events: presence, kpml, talk\r\nContent-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    )
}

/// The value of the `n`th header field called `name` (with colon and space).
fn value(message: &[u8], name: &str, n: usize) -> String {
    let text = String::from_utf8_lossy(message);
    text.lines().filter_map(|l| l.strip_prefix(name)).nth(n).expect("the header field").to_owned()
}

fn main() -> std::io::Result<()> {
    let snapshot = snapshot();
    let invite = invite();
    let (sent, _) = forward(&snapshot, flow("203.0.113.9:5060", PUBLIC), invite.as_bytes());
    let sent = sent.expect("the INVITE is forwarded").payload;
    let (via, via_below) = (value(&sent, "Via: ", 0), value(&sent, "Via: ", 1));
    let (egress, ingress) = (value(&sent, "Record-Route: ", 0), value(&sent, "Record-Route: ", 1));
    let ok = format!(
        "SIP/2.0 200 OK\r\nVia: {via}\r\nVia: {via_below}\r\nRecord-Route: {egress}\r\nRecord-Route: {ingress}\r\n\
To: <sip:+4930123456@example.com>;tag=c0re77\r\nFrom: \"Alice\" <sip:alice@example.com>;tag=5fc2a9d3\r\n\
Call-ID: 7c1e2f4ab09d4e6f8a3b5c7d9e1f0a2b@203.0.113.9\r\nCSeq: 1 INVITE\r\n\
Contact: <sip:+4930123456@10.0.1.1:5060>\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\nContent-Type: application/sdp\r\n\
Server: Core PBX 9.1\r\nContent-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    );
    // The single Record-Route of a call that stays on one listener.
    let single = {
        let mut plan = sluice_tests::plan();
        plan.rules[0].egress = Some(PUBLIC);
        let snapshot = sluice::proxy::snapshot::Snapshot::new(plan).expect("a good plan");
        let (sent, _) = forward(&snapshot, flow("203.0.113.9:5060", PUBLIC), invite.as_bytes());
        value(&sent.expect("forwarded").payload, "Record-Route: ", 0)
    };
    let bye = |routes: &str, agent: &str| {
        format!(
            "BYE sip:bob@10.0.1.1:5060 SIP/2.0\r\n\
Via: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK-524287-2---1f4a6c8e0b2d4f60;rport\r\nMax-Forwards: 70\r\n{routes}\
From: \"Alice\" <sip:alice@example.com>;tag=5fc2a9d3\r\nTo: <sip:+4930123456@example.com>;tag=c0re77\r\n\
Call-ID: 7c1e2f4ab09d4e6f8a3b5c7d9e1f0a2b@203.0.113.9\r\nCSeq: 2 BYE\r\n\
Contact: <sip:alice@203.0.113.9:5060>\r\nUser-Agent: {agent}\r\nSupported: replaces, norefersub, timer, outbound, path\r\n\
Reason: Q.850;cause=16\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let route = format!("Route: {single}\r\n");
    let short = bye(&route, "").len();
    let agent = &"Carrier Edge SBC 12.4.1 build 20261121 x86_64 release"[..549 - short];
    let pair = format!("Route: {ingress}\r\nRoute: {egress}\r\n");
    let options = "OPTIONS sip:192.0.2.1:5060 SIP/2.0\r\n\
Via: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK-ping-00000017;rport\r\nMax-Forwards: 70\r\n\
From: <sip:ping@203.0.113.9>;tag=p17\r\nTo: <sip:192.0.2.1:5060>\r\nCall-ID: ping-17@203.0.113.9\r\n\
CSeq: 17 OPTIONS\r\nContact: <sip:ping@203.0.113.9:5060>\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n";
    let files = [
        ("invite", invite.clone()),
        ("200", ok),
        ("bye", bye(&route, agent)),
        ("bye_r2", bye(&pair, agent)),
        ("options", options.into()),
    ];
    for (name, text) in files {
        println!("{name}: {} bytes", text.len());
        std::fs::write(vectors().join("canonical").join(format!("{name}.sip")), text)?;
    }
    let _ = CORE;
    Ok(())
}
