//! The torture messages of RFC 4475 and RFC 5118, one test each under the message's name, with what the RFC asks of a proxy above it.
//!
//! | asked | how it is asserted |
//! |---|---|
//! | forward it | [`Run::forwards`]: where to, and that apart from our own lines and the edits listed every byte stayed |
//! | reject it | [`Run::replies`]: status and reason; all Vias, From, Call-ID and CSeq as they came, a To tag, no body |
//! | drop it | [`Run::is`]: the reason |
//!
//! Two sources matter: a *stranger*, whose requests the catch-all rule takes whatever their Request-URI is, and a *trusted* one, whose requests go where they say, so that a name is answered 503.
//! In [`Plan`] `known` the domains of the messages are ours and the same rule takes them. Responses come twice: as they are, with Vias that are not ours, and with a Via on top that we
//! sealed for the Via that stands there.
//!
//! Where the folder of the corpora is missing, each test says that it was skipped, and `every_message_has_a_test` how many were.

use sluice::io::{Flow, ListenerIndex};
use sluice::proxy::identity::Authority;
use sluice::proxy::snapshot::{Plan, Snapshot};
use sluice_tests::{
    CORE, CORE6, PUBLIC, PUBLIC6, corpora, escape, fate, files_below, flow, forward, line_diff, named_plan,
};

/// 3.1.1.1, "A Short Tortuous INVITE". "All elements should treat this as a well-formed request." Proxies forward UnknownHeaderWithUnusualValue unchanged. Its Route is pre-loaded, so
/// only a trusted source's is followed, to a name; where services.example.com is us it is popped.
#[test]
fn wsinv() {
    let Some(message) = message("rfc4475/wsinv.dat") else { return };
    let edits = [
        ("Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n", ""),
        ("MaX-fOrWaRdS: 0068", "MaX-fOrWaRdS: 67"),
        (";branch=390skdjuw\r\n", ";branch=390skdjuw;received={source}\r\n"),
    ];
    message.known().forwards("core 10.0.1.1:5060", &edits);
    message.stranger().replies("403 route_forbidden");
    message.trusted().replies("503 next_hop_name");
}

/// 3.1.1.2, "Wide Range of Valid Characters". "If this unusual URI has been defined at a proxy, the proxy will forward this request normally."
#[test]
fn intmeth() {
    valid("rfc4475/intmeth.dat", ("255", "254"), "branch=z9hG4bK-.!%66*_+`'~");
}

/// 3.1.1.3, "Valid Use of the % Escaping Mechanism". Well-formed; the sips URI in the user part means nothing to a proxy.
#[test]
fn esc01() {
    valid("rfc4475/esc01.dat", ("87", "86"), "branch=z9hG4bKkdjuw");
}

/// 3.1.1.4, "Escaped Nulls in URIs". Well-formed.
#[test]
fn escnull() {
    valid("rfc4475/escnull.dat", ("70", "69"), "branch=z9hG4bKkdjuw");
}

/// 3.1.1.5, "Use of % When It Is Not an Escape". The method is not REGISTER, C%6Fntact is not Contact; a proxy forwards both as they are.
#[test]
fn esc02() {
    valid("rfc4475/esc02.dat", ("70", "69"), "branch=z9hG4bK209%fzsnel234");
}

/// 3.1.1.6, "Message with No LWS between Display Name and <". Well-formed.
#[test]
fn lwsdisp() {
    valid("rfc4475/lwsdisp.dat", ("70", "69"), "branch=z9hG4bKkdjuw");
}

/// 3.1.1.7, "Long Values in Header Fields". Well-formed, with 34 Vias.
#[test]
fn longreq() {
    valid("rfc4475/longreq.dat", ("70", "69"), "SIP/2.0/TCP sip33.example.com");
}

/// 3.1.1.8, "Extra Trailing Octets in a UDP Datagram". The REGISTER is processed, what follows its Content-Length is ignored.
#[test]
fn dblreq() {
    let Some(message) = message("rfc4475/dblreq.dat") else { return };
    assert!(within_content_length(&message.bytes).len() < 400 && message.bytes.len() == 750);
    valid("rfc4475/dblreq.dat", ("8", "7"), "branch=z9hG4bKkdjuw23492");
}

/// 3.1.1.9, "Semicolon-Separated Parameters in URI User Part". The user is `user;par=u%40example.net`, and the domain example.com.
#[test]
fn semiuri() {
    valid("rfc4475/semiuri.dat", ("3", "2"), "branch=z9hG4bKkdjuw");
}

/// 3.1.1.10, "Varied and Unknown Transport Types". The transports of the Vias below do not matter to a request.
#[test]
fn transports() {
    valid("rfc4475/transports.dat", ("70", "69"), "t1.example.com;branch=z9hG4bKkdjuw");
}

/// 3.1.1.11, "Multipart MIME Message". The body holds all octets, NUL too, and leaves as it came. Its Route has no `lr`: a strict router, followed for trusted sources only.
#[test]
fn mpart01() {
    let Some(message) = message("rfc4475/mpart01.dat") else { return };
    let edits = [
        ("MESSAGE sip:kumiko@example.org", "MESSAGE sip:127.0.0.1:5080"),
        ("-1--d87543-;rport\r\n", "-1--d87543-;rport=5060;received={source}\r\n"),
        ("Max-Forwards: 70", "Max-Forwards: 69"),
        ("Route: <sip:127.0.0.1:5080>", "Route: <sip:kumiko@example.org>"),
    ];
    message.trusted().forwards("core 127.0.0.1:5080", &edits);
    message.stranger().replies("403 route_forbidden");
}

/// 3.1.1.12, "Unusual Reason Phrase". A legal reason phrase, which leaves as it came.
#[test]
fn unreason() {
    response("rfc4475/unreason.dat", Ok("public 192.0.2.198:5060"));
}

/// 3.1.1.13, "Empty Reason Phrase". A legal response.
#[test]
fn noreason() {
    response("rfc4475/noreason.dat", Ok("public 192.0.2.105:5060"));
}

/// 3.1.2.1, "Extraneous Header Field Separators". "An element receiving this request should respond with a 400 Bad Request error."
#[test]
fn badinv01() {
    invalid("rfc4475/badinv01.dat", "400 bad_via");
}

/// 3.1.2.2, "Content Length Larger Than Message". Over UDP, "the receiving element should respond with a 400 Bad Request error".
#[test]
fn clerr() {
    invalid("rfc4475/clerr.dat", "400 content_length_too_large");
}

/// 3.1.2.3, "Negative Content-Length". "An element receiving this message should respond with an error."
#[test]
fn ncl() {
    invalid("rfc4475/ncl.dat", "400 bad_content_length");
}

/// 3.1.2.4, "Request Scalar Fields with Overlarge Values". "An element receiving this request should respond with a 400 Bad Request due to the CSeq error."
#[test]
fn scalar02() {
    invalid("rfc4475/scalar02.dat", "400 bad_cseq");
}

/// 3.1.2.5, "Response Scalar Fields with Overlarge Values". "An element receiving this response will simply discard it."
#[test]
fn scalarlg() {
    response("rfc4475/scalarlg.dat", Err("bad_cseq"));
}

/// 3.1.2.6, "Unterminated Quoted String in Display Name". "An element receiving this request should return a 400 Bad Request error."
#[test]
fn quotbal() {
    invalid("rfc4475/quotbal.dat", "400 bad_to");
}

/// 3.1.2.7, "<> Enclosing Request-URI". "It is reasonable always to reject a request with this error with a 400 Bad Request."
#[test]
fn ltgtruri() {
    invalid("rfc4475/ltgtruri.dat", "400 bad_request_uri");
}

/// 3.1.2.8, "Malformed SIP Request-URI (embedded LWS)". "An element receiving this request should respond with a 400 Bad Request."
#[test]
fn lwsruri() {
    invalid("rfc4475/lwsruri.dat", "400 bad_request_uri");
}

/// 3.1.2.9, "Multiple SP Separating Request-Line Elements". "It is acceptable to reject this request as malformed"; who forwards it must not forward the extra SP.
#[test]
fn lwsstart() {
    invalid("rfc4475/lwsstart.dat", "400 bad_start_line");
}

/// 3.1.2.10, "SP Characters at End of Request-Line". As before.
#[test]
fn trws() {
    invalid("rfc4475/trws.dat", "400 bad_start_line");
}

/// 3.1.2.11, "Escaped Headers in SIP Request-URI". "It is acceptable for an element to reject this request with a 400 Bad Request."
#[test]
fn escruri() {
    invalid("rfc4475/escruri.dat", "400 bad_request_uri");
}

/// 3.1.2.12, "Invalid Time Zone in Date Header Field". "An element shouldn't" reject it "unless the contents of the Date header field were actually important to its processing": to a proxy they are not.
#[test]
fn baddate() {
    valid("rfc4475/baddate.dat", ("70", "69"), "branch=z9hG4bKkdjuw");
}

/// 3.1.2.13, "Failure to Enclose name-addr URI in <>". Contact is the registrar's to read; a proxy forwards it.
#[test]
fn regbadct() {
    valid("rfc4475/regbadct.dat", ("70", "69"), "branch=z9hG4bKkdjuw");
}

/// 3.1.2.14, "Spaces within addr-spec". "Parsers receiving this request must not break. ... Elements attempting to be liberal may ignore the spaces": this proxy has no use for To but its tag, and is.
#[test]
fn badaspec() {
    valid("rfc4475/badaspec.dat", ("70", "69"), "branch=z9hG4bKkdju43234");
}

/// 3.1.2.15, "Non-token Characters in Display Name". "If this element were a proxy, it must not propagate the error into the request it forwards"; "the message should simply be rejected". The archive's
/// message lacks its empty line too, so it is rejected with that put right as well.
#[test]
fn baddn() {
    invalid("rfc4475/baddn.dat", "400 no_empty_line");
    let Some(mut message) = message("rfc4475/baddn.dat") else { return };
    message.bytes.extend_from_slice(b"\r\n");
    message.stranger().replies("400 bad_from");
    message.known().replies("400 bad_from");
}

/// 3.1.2.16, "Unknown Protocol Version". "The element should respond to the request with a 505 Version Not Supported error."
#[test]
fn badvers() {
    invalid("rfc4475/badvers.dat", "505 bad_version");
}

/// 3.1.2.17, "Start Line and CSeq Method Mismatch". "Any element receiving this request will respond with a 400 Bad Request."
#[test]
fn mismatch01() {
    invalid("rfc4475/mismatch01.dat", "400 cseq_method");
}

/// 3.1.2.18, "Unknown Method with CSeq Method Mismatch". 501, but "a 400 Bad Request is also acceptable", and ROUTING asks for it.
#[test]
fn mismatch02() {
    invalid("rfc4475/mismatch02.dat", "400 cseq_method");
}

/// 3.1.2.19, "Overlarge Response Code". "An element receiving this response should simply drop it."
#[test]
fn bigcode() {
    response("rfc4475/bigcode.dat", Err("bad_status_code"));
}

/// 3.2.1, "Missing Transaction Identifier". "It could fall back to the RFC 2543-style transaction identifier": it does, so another Request-URI gets another branch.
#[test]
fn badbranch() {
    valid("rfc4475/badbranch.dat", ("3", "2"), "branch=z9hG4bK");
    let Some(message) = message("rfc4475/badbranch.dat") else { return };
    let branch = |run: Run| {
        let text = escape(&run.output);
        let ours = text.lines().find(|line| line.contains(";seal=")).expect("our Via");
        ours.split(';').nth(1).expect("a branch").to_owned()
    };
    let other = Torture { bytes: edited(&message.bytes, &[("sip:user@", "sip:resu@")], "") };
    assert_ne!(branch(message.stranger()), branch(other.stranger()));
}

/// 3.3.1, "Missing Required Header Fields". "Must not break because of the missing information. Ideally, it will respond with a 400 Bad Request error."
#[test]
fn insuf() {
    let Some(message) = message("rfc4475/insuf.dat") else { return };
    for run in [message.stranger(), message.trusted(), message.known()] {
        run.is("reply 400 missing_from");
        let expected = "SIP/2.0 400 Missing From\r\nCSeq: 193942 INVITE\r\n\
            Via: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf;received={source}\r\nContent-Length: 0\r\n\r\n";
        let expected = expected.replace("{source}", &run.flow.source.ip().to_string());
        assert_eq!(escape(&run.output), escape(expected.as_bytes()));
    }
}

/// 3.3.2, "Request-URI with Unknown Scheme". "An element receiving this request will reject it with a 416 Unsupported URI Scheme response"; To holds no routing information.
#[test]
fn unkscm() {
    invalid("rfc4475/unkscm.dat", "416 unsupported_scheme");
}

/// 3.3.3, "Request-URI with Known but Atypical Scheme". "It is appropriate to treat it as unknown and return a 416."
#[test]
fn novelsc() {
    invalid("rfc4475/novelsc.dat", "416 unsupported_scheme");
}

/// 3.3.4, "Unknown URI Schemes in Header Fields". "Proxies should treat this message as they would any other request for this URI."
#[test]
fn unksm2() {
    valid("rfc4475/unksm2.dat", ("70", "69"), "branch=z9hG4bKkdjuw");
}

/// 3.3.5, "Proxy-Require and Require". 420, "containing an Unsupported header field listing these features from" Proxy-Require, as we are a proxy.
#[test]
fn bext01() {
    invalid("rfc4475/bext01.dat", "420 proxy_require");
    let Some(message) = message("rfc4475/bext01.dat") else { return };
    let reply = escape(&message.stranger().output);
    assert!(reply.contains("\nUnsupported: noProxiesSupportThis, norDoAnyProxiesSupportThis\n"), "{reply}");
    assert!(!reply.contains("nothingSupportsThis"), "{reply}");
}

/// 3.3.6, "Unknown Content-Type". "A proxy receiving this request would process it just as it would any other INVITE."
#[test]
fn invut() {
    valid("rfc4475/invut.dat", ("70", "69"), "branch=z9hG4bKkdjuw");
}

/// 3.3.7, "Unknown Authorization Scheme". "If it forwards the request, it will include this Authorization header field unmodified."
#[test]
fn regaut01() {
    valid("rfc4475/regaut01.dat", ("8", "7"), "branch=z9hG4bKkdjuw");
}

/// 3.3.8, "Multiple Values in Single Value Required Fields". "An element receiving this request would respond with a 400 Bad Request error."
#[test]
fn multi01() {
    let Some(message) = message("rfc4475/multi01.dat") else { return };
    for run in [message.stranger(), message.trusted(), message.known()] {
        run.is("reply 400 duplicate_cseq");
        let reply = escape(&run.output);
        for once in ["\nCall-ID: ", "\nCSeq: ", "\nFrom: ", "\nTo: "] {
            assert_eq!(reply.matches(once).count(), 1, "{reply}");
        }
    }
}

/// 3.3.9, "Multiple Content-Length Values". "An element receiving this message should respond with an error."
#[test]
fn mcl01() {
    invalid("rfc4475/mcl01.dat", "400 duplicate_content_length");
}

/// 3.3.10, "200 OK Response with Broadcast Via Header Field Value". "If a proxy followed normal response processing rules blindly, it would forward this response to the broadcast address. ... proxies
/// should drop such responses." Its first Via is not ours. With ours in its place, the broadcast Via is not what we sealed; and with seals off, the broadcast address is refused.
#[test]
fn bcast() {
    response("rfc4475/bcast.dat", Ok("public 192.0.2.198:5060"));
    let Some(message) = message("rfc4475/bcast.dat") else { return };
    let first = "Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923\r\n";
    let via = "SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23";
    for (plan, drop) in [("default", "drop response_forged"), ("unsealed", "drop response_next_hop")] {
        let snapshot = Snapshot::new(named_plan(plan)).expect("a good plan");
        let ours = our_via(&snapshot, via, "bcast.0384840201234ksdfak3j2erwedfsASdf", "203.0.113.9:5060");
        let blind = Torture { bytes: edited(&message.bytes, &[(first, &format!("Via: {ours}\r\n"))], "") };
        blind.run(&snapshot, flow("10.0.1.1:5060", CORE)).is(drop);
    }
}

/// 3.3.11, "Max-Forwards of Zero". "A proxy should not forward the request and should respond 483 (Too Many Hops)."
#[test]
fn zeromf() {
    invalid("rfc4475/zeromf.dat", "483 max_forwards_zero");
}

/// 3.3.12, "REGISTER with a Contact Header Parameter". The registrar's to read.
#[test]
fn cparam01() {
    valid("rfc4475/cparam01.dat", ("70", "69"), "branch=z9hG4bKkdjuw");
}

/// 3.3.13, "REGISTER with a url-parameter". The registrar's to read.
#[test]
fn cparam02() {
    valid("rfc4475/cparam02.dat", ("70", "69"), "branch=z9hG4bKkdjuw");
}

/// 3.3.14, "REGISTER with a URL Escaped Header". The registrar's to read.
#[test]
fn regescrt() {
    valid("rfc4475/regescrt.dat", ("70", "69"), "branch=z9hG4bKkdjuw");
}

/// 3.3.15, "Unacceptable Accept Offering". The recipient's to read.
#[test]
fn sdp01() {
    valid("rfc4475/sdp01.dat", ("5", "4"), "branch=z9hG4bKkdjuw");
}

/// 3.4.1, "INVITE with RFC 2543 Syntax". "Should be accepted by RFC 3261 elements that want to maintain backwards compatibility": no branch, no From tag, no Content-Length, no Max-Forwards (70 is
/// added, RFC 3261 16.6 step 3), and a Record-Route that stays below ours.
#[test]
fn inv2543() {
    let Some(message) = message("rfc4475/inv2543.dat") else { return };
    let edits = [(
        "Via: SIP/2.0/UDP iftgw.example.com\r\n",
        "Max-Forwards: 70\r\nVia: SIP/2.0/UDP iftgw.example.com;received={source}\r\n",
    )];
    message.stranger().forwards("core 10.0.1.1:5060", &edits);
    message.known().forwards("core 10.0.1.1:5060", &edits);
}

/// In the archive of RFC 4475, but not in its text: no version, no Via, a line without a colon. There is nothing to answer to.
#[test]
fn test() {
    let Some(message) = message("rfc4475/test.dat") else { return };
    message.stranger().is("drop not_sip");
    message.trusted().is("drop not_sip");
}

/// RFC 5118 4.1, "Valid SIP Message with an IPv6 Reference".
#[test]
fn ipv6_good() {
    let edits = [("Max-Forwards: 70", "Max-Forwards: 69")];
    ipv6("rfc5118/ipv6-good", "[2001:db8::9:1]:5060", "[2001:db8::10]:5060", &edits);
}

/// RFC 5118 4.2, "Invalid SIP Message with an IPv6 Reference": no brackets, so the request "is malformed", and 400 is what a malformed request gets.
#[test]
fn ipv6_bad() {
    invalid("rfc5118/ipv6-bad", "400 bad_request_uri");
}

/// RFC 5118 4.3, "Port Ambiguous in a SIP URI": 5070 is the last part of the address, and the port is the default.
#[test]
fn port_ambiguous() {
    let edits = [("Max-Forwards: 70", "Max-Forwards: 69")];
    ipv6("rfc5118/port-ambiguous", "[2001:db8::9:1]:5060", "[2001:db8::10:5070]:5060", &edits);
}

/// RFC 5118 4.4, "Port Unambiguous in a SIP URI".
#[test]
fn port_unambiguous() {
    let edits = [("Max-Forwards: 70", "Max-Forwards: 69")];
    ipv6("rfc5118/port-unambiguous", "[2001:db8::9:1]:5060", "[2001:db8::10]:5070", &edits);
}

/// RFC 5118 4.5, "IPv6 Reference Delimiters in Via Header", with them: accepted. The value is the source here and stays; from another source it is a lie and is put right, as the grammar has it.
#[test]
fn via_received_param_with_delim() {
    let mut edits = vec![("Max-Forwards: 70", "Max-Forwards: 69")];
    let name = "rfc5118/via-received-param-with-delim";
    ipv6(name, "[2001:db8::9:255]:5060", "[2001:db8::10]:5060", &edits);
    edits.push(("received=[2001:db8::9:255]", "received={source}"));
    ipv6(name, "[2001:db8::9:1]:5060", "[2001:db8::10]:5060", &edits);
}

/// RFC 5118 4.5, "IPv6 Reference Delimiters in Via Header", without them: accepted likewise.
#[test]
fn via_received_param_no_delim() {
    let mut edits = vec![("Max-Forwards: 70", "Max-Forwards: 69")];
    let name = "rfc5118/via-received-param-no-delim";
    ipv6(name, "[2001:db8::9:255]:5060", "[2001:db8::10]:5060", &edits);
    edits.push(("received=2001:db8::9:255", "received={source}"));
    ipv6(name, "[2001:db8::9:1]:5060", "[2001:db8::10]:5060", &edits);
}

/// RFC 5118 4.6, "SIP Request with IPv6 Addresses in Session Description Protocol (SDP) Body".
#[test]
fn ipv6_in_sdp() {
    let edits = [("Max-Forwards: 70", "Max-Forwards: 69")];
    ipv6("rfc5118/ipv6-in-sdp", "[2001:db8::20]:5060", "[2001:db8::10]:5060", &edits);
}

/// RFC 5118 4.7, "Multiple IP Addresses in SIP Headers": IPv4 and IPv6 in the Vias of one message.
#[test]
fn mult_ip_in_header() {
    let Some(message) = message("rfc5118/mult-ip-in-header") else { return };
    let edits = [("Max-Forwards: 70", "Max-Forwards: 69")];
    message
        .run(&snapshot("default"), flow("[2001:db8::9:1]:6050", PUBLIC6))
        .forwards("core 10.0.1.1:5060", &edits);
    message.run(&known(), flow("[2001:db8::9:1]:6050", CORE6)).forwards("core 10.0.1.1:5060", &edits);
    message.run(&snapshot("default"), flow("[2001:db8::9:1]:6050", CORE6)).replies("503 next_hop_name");
}

/// RFC 5118 4.8, "Multiple IP Addresses in SDP".
#[test]
fn mult_ip_in_sdp() {
    let edits = [("Max-Forwards: 70", "Max-Forwards: 69")];
    ipv6("rfc5118/mult-ip-in-sdp", "[2001:db8::9:1]:5060", "[2001:db8::10]:5060", &edits);
}

/// RFC 5118 4.9, "IPv4-Mapped IPv6 Addresses": valid. Its sent-by spells the source's IPv4 address, so nothing is received; the response goes back there.
#[test]
fn ipv4_mapped_ipv6() {
    let Some(message) = message("rfc5118/ipv4-mapped-ipv6") else { return };
    let run = message.run(&snapshot("default"), flow("192.0.2.10:19823", PUBLIC));
    run.forwards("core 10.0.1.1:5060", &[("Max-Forwards: 70", "Max-Forwards: 69")]);
    let text = String::from_utf8(run.output).expect("a text");
    let response = text.replace("INVITE sip:user@example.com SIP/2.0", "SIP/2.0 486 Busy Here");
    let response = Torture { bytes: response.into_bytes() };
    response.run(&snapshot("default"), flow("10.0.1.1:5060", CORE)).is("forward public 192.0.2.10:19823");
}

/// RFC 5118 4.10, "IPv6 Reference Bug in RFC 3261 ABNF", as RFC 5954 and everybody write it.
#[test]
fn ipv6_correct_abnf_2_colons() {
    three_or_two_colons("rfc5118/ipv6-correct-abnf-2-colons");
}

/// RFC 5118 4.10, "IPv6 Reference Bug in RFC 3261 ABNF", as the grammar of RFC 3261 produces it: an implementation should accept both.
#[test]
fn ipv6_bug_abnf_3_colons() {
    three_or_two_colons("rfc5118/ipv6-bug-abnf-3-colons");
}

fn three_or_two_colons(name: &str) {
    let edits = [
        ("Max-Forwards: 70", "Max-Forwards: 69"),
        ("branch=z9hG4bKas3-111\r\n", "branch=z9hG4bKas3-111;received={source}\r\n"),
    ];
    ipv6(name, "[2001:db8::9:1]:5060", "[2001:db8::c000:201]:5060", &edits);
}

/// Every message of the corpora is named by a test here.
#[test]
fn every_message_has_a_test() {
    let Some(folder) = corpora() else {
        println!("SKIPPED: all 62 messages of RFC 4475 and RFC 5118, for ../shared/corpora is missing");
        return;
    };
    let source = include_str!("torture.rs");
    let files = files_below(&folder);
    let messages = files.iter().filter(|(path, _)| path.extension().is_none_or(|ext| ext != "md"));
    let mut count = 0;
    for (path, _) in messages {
        let name = path.file_stem().expect("a name").to_string_lossy().replace('-', "_");
        assert!(source.contains(&format!("#[test]\nfn {name}() {{")), "{name} has no test");
        count += 1;
    }
    assert_eq!(count, 62);
}

/// The message `name` of the corpora, or the word that it was skipped.
fn message(name: &str) -> Option<Torture> {
    let Some(folder) = corpora() else {
        println!("SKIPPED {name}: ../shared/corpora is missing");
        return None;
    };
    let path = folder.join(name);
    Some(Torture { bytes: std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())) })
}

/// A request that is forwarded from both sides: Max-Forwards falls, and the Via that ends with `via` gets `received`.
#[track_caller]
fn valid(name: &str, (before, after): (&str, &str), via: &str) {
    let Some(message) = message(name) else { return };
    let (before, after) = (format!("Max-Forwards: {before}\r\n"), format!("Max-Forwards: {after}\r\n"));
    let (via, filled) = (format!("{via}\r\n"), format!("{via};received={{source}}\r\n"));
    let edits = [(&*before, &*after), (&*via, &*filled)];
    message.stranger().forwards("core 10.0.1.1:5060", &edits);
    message.known().forwards("core 10.0.1.1:5060", &edits);
}

/// A request that is answered the same from everywhere.
#[track_caller]
fn invalid(name: &str, reply: &str) {
    let Some(message) = message(name) else { return };
    message.stranger().replies(reply);
    message.trusted().replies(reply);
    message.known().replies(reply);
}

/// A request with IPv6: a stranger's is taken by the rule, a trusted one's goes to the address in its Request-URI.
#[track_caller]
fn ipv6(name: &str, source: &str, to: &str, edits: &[(&str, &str)]) {
    let Some(message) = message(name) else { return };
    let snapshot = snapshot("default");
    message.run(&snapshot, flow(source, PUBLIC6)).forwards("core 10.0.1.1:5060", edits);
    message.run(&snapshot, flow(source, CORE6)).forwards(&format!("core6 {to}"), edits);
}

/// A response: as it is, its topmost Via is not ours. With a Via on top that we sealed for it, it goes where `expected` says, or is dropped for that reason.
#[track_caller]
fn response(name: &str, expected: Result<&str, &str>) {
    let Some(message) = message(name) else { return };
    let from_core = flow("10.0.1.1:5060", CORE);
    let snapshot = snapshot("default");
    let text = String::from_utf8_lossy(&message.bytes).into_owned();
    let value = |field: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        line.expect("the header field").trim().to_owned()
    };
    let via = value("Via:");
    let address = expected.map_or("192.0.2.129:5060", |to| to.rsplit(' ').next().expect("an address"));
    let ours = our_via(&snapshot, &via, &value("Call-ID:"), address);
    let line_end = message.bytes.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    let mut bytes = message.bytes.clone();
    bytes.splice(line_end..line_end, format!("Via: {ours}\r\n").into_bytes());
    let with_ours = Torture { bytes }.run(&snapshot, from_core);
    match expected {
        Ok(to) => {
            message.run(&snapshot, from_core).is("drop response_via_not_ours");
            with_ours.is(&format!("forward {to}"));
            assert!(with_ours.output == message.bytes, "{}", line_diff(&message.bytes, &with_ours.output));
        }
        Err(reason) => {
            message.run(&snapshot, from_core).is(&format!("drop {reason}"));
            with_ours.is(&format!("drop {reason}"));
        }
    }
}

/// The value of the Via that we put on a request of this Call-ID whose topmost Via is `via`.
fn our_via(snapshot: &Snapshot, via: &str, call_id: &str, source: &str) -> String {
    let request = format!(
        "OPTIONS sip:user@example.com SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\n\
Call-ID: {call_id}\r\nCSeq: 35 OPTIONS\r\n\r\n"
    );
    let (sent, _) = forward(snapshot, flow(source, PUBLIC), request.as_bytes());
    let text = String::from_utf8(sent.expect("the request is forwarded").payload).expect("a text");
    text.lines().find_map(|line| line.strip_prefix("Via: ")).expect("our Via").to_owned()
}

fn snapshot(plan: &str) -> Snapshot {
    Snapshot::new(named_plan(plan)).expect("a good plan")
}

/// The plan in which the domains of the messages are ours.
fn known() -> Snapshot {
    let mut plan: Plan = named_plan("default");
    let names = ["net", "org"].map(|tld| format!("example.{tld}"));
    let others = ["services.example.com", "chair-dnrc.example.com", "registrar.example.com", "company.com"];
    let all = names.iter().map(String::as_str).chain(others).chain(["host.example.net"]);
    plan.domains.extend(all.map(|name| Authority::parse(name).expect("an authority")));
    Snapshot::new(plan).expect("a good plan")
}

/// A message.
struct Torture {
    bytes: Vec<u8>,
}

impl Torture {
    fn stranger(&self) -> Run {
        self.run(&snapshot("default"), flow("203.0.113.9:5060", PUBLIC))
    }

    fn trusted(&self) -> Run {
        self.run(&snapshot("default"), flow("10.0.7.7:5060", CORE))
    }

    /// From a trusted source, where the domains of the messages are ours.
    fn known(&self) -> Run {
        self.run(&known(), flow("10.0.7.7:5060", CORE))
    }

    fn run(&self, snapshot: &Snapshot, flow: Flow) -> Run {
        let (sent, totals) = forward(snapshot, flow, &self.bytes);
        let fate = fate(snapshot, sent.as_ref(), &totals);
        Run {
            input: self.bytes.clone(),
            flow,
            fate,
            output: sent.map(|sent| sent.payload).unwrap_or_default(),
        }
    }
}

/// What went in, and what became of it.
struct Run {
    input: Vec<u8>,
    flow: Flow,
    fate: String,
    output: Vec<u8>,
}

impl Run {
    /// The fate, up to where a reply goes.
    #[track_caller]
    fn is(&self, fate: &str) {
        assert!(self.fate.starts_with(fate), "{} is not {fate}\n{}", self.fate, escape(&self.output));
    }

    /// It goes to `to`, and is what came in with `edits` and our own lines.
    #[track_caller]
    fn forwards(&self, to: &str, edits: &[(&str, &str)]) {
        self.is(&format!("forward {to}"));
        let egress = sluice_tests::listener(to.split(' ').next().expect("a listener"));
        let output = self.without_ours(egress);
        let source = self.flow.source.ip().to_string();
        let expected = edited(within_content_length(&self.input), edits, &source);
        assert!(output == expected, "{}", line_diff(&expected, &output));
    }

    /// It is answered by a reply that repeats what a reply repeats (RFC 3261 8.2.6.2), to the address it came from.
    #[track_caller]
    fn replies(&self, status_and_reason: &str) {
        self.is(&format!("reply {status_and_reason} "));
        let text = escape(&self.output);
        assert!(text.ends_with("\nContent-Length: 0\n\n"), "{text}");
        let lines = |bytes: &[u8], names: &[&str]| -> Vec<String> {
            let text = escape(bytes).replace("\n ", " ");
            let head = text.split("\n\n").next().unwrap_or_default().to_owned();
            let is_named = |line: &&str| {
                let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
                names.contains(&&*name)
            };
            head.lines().filter(is_named).map(str::to_owned).collect()
        };
        let kept = ["via", "v", "from", "f", "call-id", "i", "cseq"];
        let (asked, answered) = (lines(&self.input, &kept), lines(&self.output, &kept));
        assert_eq!(asked.len(), answered.len(), "{text}");
        for (asked, answered) in asked.iter().zip(&answered) {
            let filled = format!(";received={}", self.flow.source.ip());
            assert_eq!(answered.replace(&filled, "").replace(";rport=5060", ";rport"), *asked);
        }
        let to = lines(&self.output, &["to", "t"]);
        assert!(to.len() == 1 && to[0].contains("tag"), "{text}");
        let answered = self.fate.split(' ').next_back().and_then(|to| to.parse().ok());
        assert_eq!(answered.map(|to: std::net::SocketAddr| to.ip()), Some(self.flow.source.ip()));
    }

    /// What left, without the Via and the Record-Routes that are ours, which stand together.
    #[track_caller]
    fn without_ours(&self, egress: ListenerIndex) -> Vec<u8> {
        let seal = b";seal=";
        let is_ours = |line: &&[u8]| line.windows(seal.len()).any(|w| w == seal);
        let lines: Vec<_> = self.output.split_inclusive(|byte| *byte == b'\n').collect();
        let at = lines.iter().position(is_ours).expect("a Via of ours");
        let address = named_plan("default").listeners[usize::from(egress.0)].address;
        let head = format!("Via: SIP/2.0/UDP {address};branch=z9hG4bK");
        assert!(lines[at].starts_with(head.as_bytes()), "{}", escape(lines[at]));
        let count = lines[at..].iter().take_while(|line| is_ours(line)).count();
        let invite = self.input.starts_with(b"INVITE") && !self.to_has_tag();
        let pair = self.flow.listener != egress;
        assert_eq!(count, 1 + usize::from(invite) + usize::from(invite && pair), "{}", escape(&self.output));
        lines[..at].iter().chain(&lines[at + count..]).copied().flatten().copied().collect()
    }

    fn to_has_tag(&self) -> bool {
        let text = escape(&self.input).to_ascii_lowercase().replace("\n ", " ");
        let is_to = |line: &&str| line.starts_with("to") || line.starts_with("t:");
        text.lines().find(is_to).is_some_and(|line| line.contains("tag"))
    }
}

/// The message as far as its Content-Length goes (RFC 3261 18.3); some of RFC 5118's bodies are longer.
fn within_content_length(bytes: &[u8]) -> &[u8] {
    let body = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("an empty line") + 4;
    let head = escape(&bytes[..body]).to_ascii_lowercase();
    let field = head.lines().find(|line| line.starts_with("content-length") || line.starts_with("l:"));
    let length = field.and_then(|line| line.split(':').nth(1)?.trim().parse().ok());
    length.map_or(bytes, |length: usize| &bytes[..body + length])
}

/// The bytes with the first place of each text replaced; `{source}` in the replacement stands for `source`.
#[track_caller]
fn edited(bytes: &[u8], edits: &[(&str, &str)], source: &str) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for (from, to) in edits {
        let at = out.windows(from.len()).position(|w| w == from.as_bytes());
        let at = at.unwrap_or_else(|| panic!("{from:?} is not there"));
        out.splice(at..at + from.len(), to.replace("{source}", source).into_bytes());
    }
    out
}
