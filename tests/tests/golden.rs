//! Golden vectors: a message, and exactly what becomes of it.
//!
//! Each vector is a file under `tests/vectors/golden/FOLDER`; [`sluice_tests::Vector`] says how it is written. One test a folder:
//!
//! | folder | proves |
//! |---|---|
//! | `noise` | what is told from SIP before it is parsed: keep-alives, STUN, other protocols |
//! | `grammar` | what is malformed, by which name, and what odd spellings are not (RFC 3261 7.3, 25) |
//! | `body` | where a message ends: Content-Length smaller, larger, absent, in all spellings (18.3) |
//! | `check` | 16.3: version, Max-Forwards, loops, Proxy-Require, scheme |
//! | `strict` | strict routers before us (16.4) and after us (16.6 step 6), also both at once |
//! | `pop` | which Route values go, and what is left of their lines (16.4, RFC 5658) |
//! | `police` | who may route through us: pre-loaded, foreign and sealed Routes, strangers and trusted |
//! | `target` | where a request goes: the Request-URI, `maddr`, every rule condition and action, and every refusal (16.5) |
//! | `record_route` | which requests get one, single or double, and where it stands (16.6 step 4) |
//! | `via` | `received`, `rport`, and our own Via on top (16.6 step 8, 18.2.1, RFC 3581) |
//! | `branch` | CANCEL and the ACK for a non-2xx share the branch of the INVITE, others do not (16.11) |
//! | `next_hop` | addresses, names, ports, `maddr`, transports (16.6 step 7) |
//! | `reply` | replies of our own: where they go, what they hold, and the ACK for them (8.2.6, 8.2.7, 18.2.2) |
//! | `response` | our Via off, the seal proven, the address of the Via below (16.7, 18.2.2) |
//!
//! `BLESS=1` writes the bytes that left into the vectors whose decision is as they say; the decision itself is only ever written by hand, and every blessed file is to be
//! read against the RFC before it is kept. Those in which more than the digits of seals, marks, branches and tags changed are printed (with `-- --nocapture`). `SHOW=1` prints what each vector changes in its message (with `-- --nocapture`), and `VECTOR=text` runs only the vectors whose
//! name holds the text.

use sluice_tests::{Vector, golden, line_diff, vectors};
use std::fmt::Write as _;

macro_rules! folders {
    ($($folder:ident)*) => {
        $(#[test] fn $folder() { verify(stringify!($folder)); })*
        const FOLDERS: &[&str] = &[$(stringify!($folder)),*];
    };
}

folders! { noise grammar body check strict pop police target record_route via branch next_hop reply response }

/// No vector lies where no test looks.
#[test]
fn every_folder_has_its_test() {
    for entry in std::fs::read_dir(vectors().join("golden")).expect("the folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        assert!(FOLDERS.iter().any(|folder| *folder == name), "{name} has no test");
    }
}

/// Every vector says what it is about and names its clause, and no two vectors send the same message the same way.
#[test]
fn every_vector_has_its_reason() {
    let all = golden("");
    assert!(all.len() > 200, "only {} vectors", all.len());
    for (i, vector) in all.iter().enumerate() {
        let cites = ["RFC", "ROUTING", "16.", "18.", "20.", "25.", "7.3", "8.2", "17.", "19."];
        assert!(cites.iter().any(|c| vector.about.contains(c)), "{}: which clause?", vector.name);
        let same = |other: &&Vector| {
            let pairs = || vector.inputs.iter().zip(&other.inputs);
            vector.inputs.len() == other.inputs.len()
                && pairs().all(|(a, b)| a.text == b.text && a.flow == b.flow && a.config == b.config)
        };
        let twin = all[..i].iter().find(same);
        assert!(twin.is_none(), "{} is {}", vector.name, twin.map_or("", |twin| &twin.name));
    }
}

fn verify(folder: &str) {
    let all = golden(folder);
    assert!(!all.is_empty(), "no vectors in {folder}");
    let only = std::env::var("VECTOR").unwrap_or_default();
    let (bless, show) = (std::env::var_os("BLESS").is_some(), std::env::var_os("SHOW").is_some());
    let mut failures = String::new();
    for vector in all.iter().filter(|vector| vector.name.contains(&only)) {
        let (input, fate, output) = vector.run();
        if show {
            println!("== {}\n{}\n{fate}\n{}", vector.name, vector.about, line_diff(&input, &output));
        }
        if fate == vector.fate && output == vector.output {
            continue;
        }
        if bless && fate == vector.fate {
            vector.bless(&output).expect("the vector can be written");
            if without_digits(&output) != without_digits(&vector.output) {
                println!("blessed, to be read: {}\n{}", vector.name, line_diff(&vector.output, &output));
            }
            continue;
        }
        let _ = writeln!(
            failures,
            "== {}\n{}\nexpected: {}\ngot:      {fate}\n{}",
            vector.name,
            vector.about,
            vector.fate,
            line_diff(&vector.output, &output)
        );
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// The message with a `#` for each digit that a key or a hash gave.
fn without_digits(message: &[u8]) -> Vec<u8> {
    let mut out = message.to_vec();
    for name in ["branch=z9hG4bK", "seal=", "mark=", "tag=s"] {
        let places = message.windows(name.len()).enumerate().filter(|(_, w)| *w == name.as_bytes());
        for (at, _) in places {
            let digits = out[at + name.len()..].iter_mut().take_while(|byte| byte.is_ascii_hexdigit());
            digits.for_each(|digit| *digit = b'#');
        }
    }
    out
}
