//! Random messages: by the letter of the grammar in all its spellings, made of what was seen on the wire, and broken.

use super::lines::{split_outside_quotes, unfold};
use super::tape::Tape;
use super::world::World;
use crate::oracle::Came;

impl World<'_> {
    pub(crate) fn message(&mut self, tape: &mut Tape<'_>) -> (Came, Vec<u8>) {
        if !self.vias.is_empty() && tape.chance(4) {
            return self.response(tape);
        }
        if !self.forwarded.is_empty() && tape.chance(8) {
            return self.looping(tape);
        }
        if !self.dialogs.is_empty() && tape.chance(3) {
            return self.in_dialog(tape);
        }
        if tape.chance(60) {
            let came = self.came(tape);
            return (came, tape.choose(&["", "\r\n\r\n", "\0\0\0\0", "\r\n"]).into());
        }
        self.request(tape)
    }

    fn came(&self, tape: &mut Tape<'_>) -> Came {
        let listener = tape.below(self.plan.listeners.len());
        let v6 = self.plan.listeners[listener].address.is_ipv6();
        let sources = match (v6, self.plan.listeners[listener].trusted) {
            (false, false) => ["203.0.113.9:5060", "203.0.113.9:40000", "198.51.100.7:5060", "10.0.1.1:5060"],
            (false, true) => ["10.0.1.1:5060", "10.0.1.1:40000", "203.0.113.9:5060", "10.0.1.9:5060"],
            (true, _) => {
                ["[2001:db8:99::9]:5060", "[2001:db8:99::9]:40000", "[fd00::9]:5060", "[fd00::a]:5060"]
            }
        };
        Came { from: tape.choose(&sources).parse().expect("a source"), listener }
    }

    /// A request within a dialog that we record-routed, from either side, by a loose or a strict router before us, to a loose or a strict one behind us.
    fn in_dialog(&mut self, tape: &mut Tape<'_>) -> (Came, Vec<u8>) {
        let (call_id, mut ours) = self.dialogs[tape.below(self.dialogs.len())].clone();
        if tape.chance(2) {
            ours.reverse();
        }
        for _ in 0..tape.below(3) {
            ours.push(self.route_uri(tape));
        }
        let target = self.request_uri(tape);
        let uri = if tape.chance(2) {
            ours.push(target);
            ours.remove(0)
        } else {
            target
        };
        let values: Vec<String> = ours.iter().map(|uri| format!("<{uri}>")).collect();
        let came = self.came(tape);
        let method = tape.choose(&["BYE", "INVITE", "ACK", "odd-Method.1"]);
        let mut lines = vec![format!("Via: {}\r\n", random_via(tape, came))];
        push_list(tape, &["Route"], &values, &mut lines);
        lines.push(format!(
            "From: <sip:alice@example.net>;tag=a1\r\nTo: <sip:bob@example.com>{}\r\n",
            tape.choose(&[";tag=b1", ""])
        ));
        lines.push(field(tape, &["Call-ID", "i"], &call_id));
        lines.push(format!("CSeq: 2 {method}\r\nMax-Forwards: 70\r\n"));
        self.put_body(tape, format!("{method} {uri} SIP/2.0\r\n"), lines, came)
    }

    /// A request comes back with our Via on it: on top, or below another's; mostly as it was, else it is a spiral.
    fn looping(&self, tape: &mut Tape<'_>) -> (Came, Vec<u8>) {
        let (mut came, bytes, ours) = self.forwarded[tape.below(self.forwarded.len())].clone();
        let line_end = bytes.windows(2).position(|w| w == b"\r\n").expect("a line") + 2;
        let other = if tape.chance(2) { "SIP/2.0/UDP p1.example;branch=z9hG4bKp, " } else { "" };
        let (start, rest) = bytes.split_at(line_end);
        let mut start = String::from_utf8_lossy(start).into_owned();
        match tape.below(6) {
            4 => start = start.replacen(" sip:", " SIP:", 1),
            5 => came = self.came(tape),
            _ => {}
        }
        (came, [start.as_bytes(), format!("v: {other}{ours}\r\n").as_bytes(), rest].concat())
    }

    /// A request by the letter of the grammar, with a little of everything, and sometimes one thing wrong that is answered.
    pub(crate) fn request(&mut self, tape: &mut Tape<'_>) -> (Came, Vec<u8>) {
        let came = self.came(tape);
        let method = tape.choose(&[
            "INVITE",
            "BYE",
            "ACK",
            "CANCEL",
            "OPTIONS",
            "MESSAGE",
            "SUBSCRIBE",
            "REFER",
            "NOTIFY",
            "REGISTER",
            "odd-Method.1",
        ]);
        let uri = self.request_uri(tape);
        let mut lines = vec![];
        self.put_vias(tape, came, &mut lines);
        self.put_routes(tape, &mut lines);
        let from = address(tape, "sip:alice@example.net");
        let from_tag = tape.choose(&[";tag=a1", ";tag=a1;x=\"y;tag=no\"", "", ";x ; TAG = A1"]);
        lines.push(field(tape, &["From", "f"], &format!("{from}{from_tag}")));
        let uri_of_to = tape_uri(tape);
        let to = address(tape, uri_of_to);
        let to_tag = match tape.below(4) {
            0 | 1 => String::new(),
            2 => ";tag=b1".to_owned(),
            _ if self.tags.is_empty() => " ;\t x=y;Tag =b2".to_owned(),
            _ => format!(";tag={}", self.tags[tape.below(self.tags.len())]),
        };
        lines.push(field(tape, &["To", "t"], &format!("{to}{to_tag}")));
        let call =
            tape.choose(&["c1@203.0.113.9", "c1@203.0.113.9", "c2", "C1@203.0.113.9", "<odd>\\{call}@\"?"]);
        lines.push(field(tape, &["Call-ID", "i"], call));
        let number = tape.choose(&["1", "1", "2", "0001", "4294967295"]);
        let cseq_method = if tape.chance(40) { "OTHER" } else { method };
        let lws = tape.choose(&[" ", "  ", "\t", "\r\n "]);
        lines.push(field(tape, &["CSeq"], &format!("{number}{lws}{cseq_method}")));
        if !tape.chance(10) {
            let hops =
                if tape.chance(25) { "0" } else { tape.choose(&["70", "70", "1", "10", "0068", "255"]) };
            lines.push(field(tape, &["Max-Forwards"], hops));
        }
        if tape.chance(25) {
            let tags = tape.choose(&["foo", "foo, bar", "foo,\r\n bar"]);
            lines.push(field(tape, &["Proxy-Require"], tags));
        }
        self.put_others(tape, &mut lines);
        if tape.chance(60) {
            let twice = tape.below(lines.len());
            lines.push(lines[twice].clone());
        }
        self.put_body(tape, format!("{method} {uri} SIP/2.0\r\n"), lines, came)
    }

    fn put_others(&self, tape: &mut Tape<'_>, lines: &mut Vec<String>) {
        for _ in 0..tape.below(4) {
            lines.push(match tape.below(6) {
                0 => "Subject: plain\r\n".to_owned(),
                1 => field(tape, &["Contact", "m"], "\"a, b\" <sip:x@y;lr>;q=0.1, sip:z"),
                2 => field(tape, &["Record-Route"], "<sip:p1.example;lr>, <sip:10.9.9.9;lr;r2=on>"),
                3 => field(tape, &["X-Odd"], ";;,,\"<>\u{fffd}\u{e4}"),
                4 => field(tape, &["Max-Forward", "Viaa", "Content-Lengths"], "70"),
                _ => field(tape, &["Supported", "k"], ""),
            });
        }
    }

    /// Puts the lines in any order, and a body behind them.
    fn put_body(
        &self,
        tape: &mut Tape<'_>,
        start: String,
        mut lines: Vec<String>,
        came: Came,
    ) -> (Came, Vec<u8>) {
        let body = tape.choose(&["", "hello", "v=0\r\n\r\nVia: x\r\n", "\0\r\n\n\r"]);
        match tape.below(5) {
            0 | 1 => lines.push(field(tape, &["Content-Length", "l"], &body.len().to_string())),
            2 => lines.push(field(tape, &["Content-Length", "l"], "0")),
            3 => {}
            _ if tape.chance(6) => lines.push(field(tape, &["Content-Length", "l"], "99")),
            _ => lines.push(field(tape, &["Content-Length"], &format!("00{}", body.len()))),
        }
        if tape.chance(2) {
            tape.shuffle(&mut lines);
        }
        (came, (start + &lines.concat() + "\r\n" + body).into_bytes())
    }

    fn put_vias(&mut self, tape: &mut Tape<'_>, came: Came, lines: &mut Vec<String>) {
        let mut values = vec![random_via(tape, came)];
        if !self.vias.is_empty() && tape.chance(3) {
            let (ours, next) = self.vias[tape.below(self.vias.len())].clone();
            let place = tape.below(2);
            values.insert(place, ours);
            values.push(next);
        }
        for _ in 0..tape.below(3) {
            values.push(random_via(tape, came));
        }
        push_list(tape, &["Via", "v"], &values, lines);
    }

    fn put_routes(&mut self, tape: &mut Tape<'_>, lines: &mut Vec<String>) {
        let mut values = vec![];
        for _ in 0..tape.below(5) {
            let uri = self.route_uri(tape);
            let value = match tape.below(5) {
                0..=2 => format!("<{uri}>"),
                3 => format!(
                    "{}<{uri}>;x=\"a, <b>\"",
                    tape.choose(&["\"a, <sip:b> \\\"\" ", "name ", "a b\t"])
                ),
                _ if uri.contains(['?', ',']) => format!("<{uri}>"),
                _ => {
                    uri.split(';').next().unwrap_or_default().to_owned()
                        + tape.choose(&["", ";lr", " ;r2=on"])
                }
            };
            values.push(value);
        }
        push_list(tape, &["Route"], &values, lines);
    }

    fn route_uri(&mut self, tape: &mut Tape<'_>) -> String {
        let genuine = self.routes.len();
        if genuine > 0 && tape.chance(2) {
            let uri = self.routes[tape.below(genuine)].clone();
            return self.tamper(tape, uri);
        }
        let host = tape.choose(&HOSTS);
        let user = tape.choose(&["", "", "bob@", "10.0.0.1:5060@", "a,b;lr@"]);
        let params = tape.choose(&[
            ";lr",
            ";lr;r2=on",
            "",
            ";LR=on;R2=ON",
            ";lr;r2=off",
            ";transport=udp;lr",
            ";lr;maddr=10.0.1.9",
            ";transport=tcp;lr",
            ";lr;seal=0100000000000000000",
            ";lr;maddr=[2001:db8::7]",
            ";lr?x=y",
            ";method=BYE;lr",
            ";method=BYE",
            ";lr;r2=ok",
            ";xlr",
        ]);
        let scheme = if tape.chance(30) { tape.choose(&["sips", "SIP"]) } else { "sip" };
        format!("{scheme}:{user}{host}{params}")
    }

    /// A URI of ours, mostly as it is.
    fn tamper(&self, tape: &mut Tape<'_>, uri: String) -> String {
        match tape.below(8) {
            0..=4 => uri,
            5 => {
                let last = uri.chars().last().unwrap_or('0');
                uri[..uri.len() - 1].to_owned() + if last == '0' { "1" } else { "0" }
            }
            6 => uri + ";x=y",
            _ => uri.replace(":5060;", ";").replace("sip:", "SIP:").replace(";lr", ";Lr"),
        }
    }

    fn request_uri(&mut self, tape: &mut Tape<'_>) -> String {
        match tape.below(10) {
            0 => "sip:bob@example.com".to_owned(),
            1..=4 => {
                let host = tape.choose(&HOSTS);
                let user = tape.choose(&["bob@", "", "+49123;x=y:pw@", "%6Cr@"]);
                let params = tape.choose(&[
                    "",
                    "",
                    ";x",
                    ";transport=udp",
                    ";lr",
                    ";transport=TCP",
                    ";maddr=10.0.1.9",
                ]);
                format!("sip:{user}{host}{params}")
            }
            5 => {
                let maddr =
                    tape.choose(&["192.0.2.1", "10.0.0.1", "10.0.1.9", "example.com", "[fd00::1]", "name"]);
                let more = tape.choose(&["", ";transport=udp", ";transport=tcp", ";x=y"]);
                let port = tape.choose(&["", ":5060", ":5062"]);
                format!(
                    "sip:bob@{}{port};maddr={maddr}{more}",
                    tape.choose(&["10.0.1.8", "example.com", "a.example"])
                )
            }
            6 if !self.routes.is_empty() => {
                let uri = self.routes[tape.below(self.routes.len())].clone();
                self.tamper(tape, uri)
            }
            7 => tape
                .choose(&["tel:+49123;x=y", "sips:bob@example.com", "urn:service:sos", "sip:a@b.example?x=y"])
                .into(),
            _ => format!(
                "sip:{}",
                tape.choose(&["192.0.2.1", "10.0.0.1:5060", "example.com", "10.0.1.9:5070"])
            ),
        }
    }

    /// A response to something that left, mostly honest.
    fn response(&mut self, tape: &mut Tape<'_>) -> (Came, Vec<u8>) {
        let came = self.came(tape);
        let (ours, next) = self.vias[tape.below(self.vias.len())].clone();
        let mut values = vec![ours];
        if !tape.chance(20) {
            values.push(match tape.below(8) {
                0..=2 => next,
                3..=5 => rewrite(tape, &next),
                6 => next + tape.choose(&[";maddr=10.9.9.9", ";rport=9", ";received=10.9.9.9", ";new=1"]),
                _ => random_via(tape, came),
            });
        }
        for _ in 0..tape.below(3) {
            values.push(random_via(tape, came));
        }
        if tape.chance(20) {
            values.remove(0);
        }
        let mut lines = vec![];
        push_list(tape, &["Via", "v"], &values, &mut lines);
        lines.push(field(tape, &["From", "f"], "<sip:alice@example.net>;tag=a1"));
        lines.push(field(tape, &["To", "t"], "<sip:bob@example.com>;tag=b1"));
        let call = tape.choose(&["c1@203.0.113.9", "c1@203.0.113.9", "c2", "C1@203.0.113.9"]);
        lines.push(field(tape, &["Call-ID", "i"], call));
        lines.push(field(tape, &["CSeq"], "1 INVITE"));
        self.put_others(tape, &mut lines);
        let status = tape.choose(&["200 OK", "100 Trying", "699 ", "486 \u{44f}"]);
        self.put_body(tape, format!("SIP/2.0 {status}\r\n"), lines, came)
    }
}

/// Hosts of URIs: ours in several spellings, almost ours, and others.
const HOSTS: [&str; 21] = [
    "10.0.1.9",
    "192.0.2.1",
    "192.0.2.1:5060",
    "10.0.0.1:5060",
    "203.0.113.20:5070",
    "example.com",
    "EXAMPLE.Com.:5060",
    "pbx.example",
    "192.0.2.1:5062",
    "[2001:db8::1]:5060",
    "[2001:DB8:0:0::1]",
    "[fd00::1]",
    "[2001:db8:7::7]",
    "[::ffff:10.0.1.9]:5070",
    "sip.example.net",
    "edge.example.net:5080",
    "edge.example.net",
    "255.255.255.255",
    "10.0.1.9:0",
    "xexample.com",
    "10.0.1.99999999999999999999.example",
];

fn tape_uri(tape: &mut Tape<'_>) -> &'static str {
    tape.choose(&["sip:bob@example.com", "sip:bob@example.com;tag=no", "urn:x:y", "tel:+49123"])
}

/// `name-addr / addr-spec`
fn address(tape: &mut Tape<'_>, uri: &str) -> String {
    match tape.below(5) {
        0 | 1 => format!("<{uri}>"),
        2 => format!("\"a, <b>; \\\"tag=c\\\\\" <{uri}>"),
        3 => format!("{}<{uri}>", tape.choose(&["Bob ", "b.o-b! x\t", "bob", "Bob\r\n "])),
        _ if uri.contains(';') => format!("<{uri}>"),
        _ => uri.to_owned(),
    }
}

/// A header field, its name in one of the spellings, with odd white space.
fn field(tape: &mut Tape<'_>, names: &[&str], value: &str) -> String {
    let name = tape.choose(names);
    let name = match tape.below(6) {
        4 => name.to_uppercase(),
        5 => name.to_lowercase(),
        _ => name.to_owned(),
    };
    let colon = tape.choose(&[": ", ": ", ": ", ":", " : ", "\t:\r\n ", ":  \t"]);
    let end = tape.choose(&["\r\n", "\r\n", "\r\n", " \r\n", "\t\r\n"]);
    format!("{name}{colon}{value}{end}")
}

/// Values in lines of their own or in comma lists, with other lines between.
fn push_list(tape: &mut Tape<'_>, names: &[&str], values: &[String], lines: &mut Vec<String>) {
    let mut rest = values;
    while !rest.is_empty() {
        let count = 1 + tape.below(rest.len());
        let comma = tape.choose(&[",", ", ", " ,\r\n  ", "\t, "]);
        lines.push(field(tape, names, &rest[..count].join(comma)));
        if tape.chance(4) {
            lines.push("Subject: between\r\n".to_owned());
        }
        rest = &rest[count..];
    }
}

fn random_via(tape: &mut Tape<'_>, came: Came) -> String {
    let protocol = tape.choose(&[
        "SIP/2.0/UDP ",
        "SIP/2.0/UDP ",
        "SIP / 2.0 / UDP\t",
        "sip/2.0/TCP  ",
        "SIP/2.0/UDP\r\n ",
    ]);
    let source = came.from.ip();
    let literal = if source.is_ipv6() { format!("[{source}]") } else { source.to_string() };
    let host = match tape.below(6) {
        0..=2 => literal,
        3 => "client.Example".to_owned(),
        4 => tape
            .choose(&["192.168.1.5", "[2001:DB8:0:99::9]", "[::ffff:203.0.113.9]", "192.0.2.1"])
            .to_owned(),
        _ => source.to_string().replace([':', '.'], "-") + ".nat.example",
    };
    let port = tape.choose(&["", ":5060", ":7000", " : 7000", ":0"]);
    let mut params = vec![match tape.below(7) {
        0..=3 => format!(";branch=z9hG4bK{}", tape.choose(&["x", "y", "X", "x-_.!%*+`'~"])),
        4 => ";Branch = z9hG4bK".to_owned(),
        5 => ";branch=1".to_owned(),
        _ => String::new(),
    }];
    params.push(tape.choose(&["", "", ";rport", " ; RPort", ";rport=1234"]).to_owned());
    if tape.chance(5) {
        params.push(match tape.below(4) {
            0 => format!(";received={source}"),
            1 => ";received=198.51.100.66".to_owned(),
            2 => ";received = [2001:db8::66]".to_owned(),
            _ => ";received=nat".to_owned(),
        });
    }
    if tape.chance(12) {
        params.push(if tape.chance(2) {
            ";maddr=10.0.1.7".into()
        } else {
            format!(";maddr={source}").replace(":::", "")
        });
    }
    if tape.chance(5) {
        params.push(
            tape.choose(&[";x", ";x=\"a, b; rport\\\"\"", ";ttl=1 ; y = z", ";mark=0123456789abcdef"])
                .to_owned(),
        );
    }
    tape.shuffle(&mut params);
    format!("{protocol}{host}{port}{}", params.concat())
}

/// A Via as a user agent writes it anew: the same values with other white space, case and order.
pub(crate) fn rewrite(tape: &mut Tape<'_>, via: &str) -> String {
    let flat = unfold(via);
    let mut parts = split_outside_quotes(&flat, ';').into_iter();
    let head = parts.next().unwrap_or_default();
    let mut params: Vec<String> = parts
        .map(|param| {
            let (name, value) = param.split_once('=').map_or((&*param, None), |(n, v)| (n, Some(v)));
            let name = match tape.below(3) {
                0 => name.trim().to_owned(),
                1 => name.trim().to_uppercase(),
                _ => format!(" {}\t", name.trim()),
            };
            let equals = tape.choose(&["=", " = ", "=\r\n "]);
            value.map_or(name.clone(), |value| format!("{name}{equals}{}", value.trim()))
        })
        .collect();
    tape.shuffle(&mut params);
    let semicolon = tape.choose(&[";", " ; ", "\r\n ;"]);
    let params: String = params.iter().map(|param| format!("{semicolon}{param}")).collect();
    head.trim().to_owned() + params.trim_end()
}

/// Breaks something: a byte goes, comes, changes or doubles, or a stretch moves.
pub(crate) fn mutate(tape: &mut Tape<'_>, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    const BYTES: &[u8] = b";,:<>\"=@[]\\ \t\r\n/%?0z\0\xff";
    let wide = tape.below(1 << 8) << 8 | tape.below(1 << 8);
    let at = wide % bytes.len();
    let byte = BYTES[tape.below(BYTES.len())];
    match tape.below(6) {
        0 => drop(bytes.remove(at)),
        1 => bytes.insert(at, byte),
        2 => bytes[at] = byte,
        3 => {
            let end = (at + 1 + tape.below(30)).min(bytes.len());
            let stretch = bytes[at..end].to_vec();
            bytes.splice(at..at, stretch);
        }
        4 => {
            let end = (at + 1 + tape.below(30)).min(bytes.len());
            bytes.drain(at..end);
        }
        _ => bytes.truncate(at),
    }
}
