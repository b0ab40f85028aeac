//! The Call-ID finder against a slow one that reads byte by byte, and the hash against the shares that it should give.

use proptest::prelude::*;
use sluice_steer::bytes::BLOCK_BYTES;
use sluice_steer::call_id::{
    HASHED_BYTES_MAX, PAYLOAD_BYTES_MAX, REACH, SCAN_BYTES_MAX, WHITE_SPACE_MAX, worker,
};
use sluice_steer::{Pass, hash};

const SEED: u64 = 0x0123_4567_89ab_cdef;

/// The part of the Call-ID that counts, found without any of the tricks of the real one.
fn oracle(payload: &[u8]) -> Result<&[u8], Pass> {
    if payload.len() < REACH {
        return Err(Pass::Short);
    }
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Pass::TooLarge);
    }
    name_end(payload).and_then(|at| value(payload, at)).ok_or(Pass::NoCallId)
}

fn name_end(payload: &[u8]) -> Option<usize> {
    let last = payload.len() - REACH;
    let mut words: Vec<usize> = Vec::new();
    let mut at = 0;
    while at <= last && at < SCAN_BYTES_MAX {
        words.extend((0..BLOCK_BYTES).step_by(8).map(|within| at + within));
        at += BLOCK_BYTES;
    }
    if last < SCAN_BYTES_MAX {
        words.extend((0..BLOCK_BYTES).step_by(8).map(|within| last + within));
    }
    for word in words {
        let feeds = (word..word + 8).filter(|at| payload[*at] == b'\n' && payload[at + 1] & 0x90 == 0);
        for (count, feed) in feeds.enumerate() {
            let line = &payload[feed + 1..];
            if count == 2 || matches!(line[0], b'\r' | b'\n') {
                return None;
            }
            let is = |name: &[u8]| {
                line.len() > name.len()
                    && line[..name.len()].eq_ignore_ascii_case(name)
                    && matches!(line[name.len()], b':' | b' ' | b'\t')
            };
            for name in [&b"call-id"[..], b"i"] {
                if is(name) {
                    return Some(feed + 1 + name.len());
                }
            }
        }
    }
    None
}

fn value(payload: &[u8], name_end: usize) -> Option<&[u8]> {
    let behind_white_space = |at: usize| {
        let spaces = payload.get(at..)?.iter().take(WHITE_SPACE_MAX);
        Some(at + spaces.take_while(|byte| matches!(byte, b' ' | b'\t')).count())
    };
    let colon = behind_white_space(name_end)?;
    if payload.get(colon) != Some(&b':') {
        return None;
    }
    let value = &payload[behind_white_space(colon + 1)?..];
    let length = value.iter().take(HASHED_BYTES_MAX).position(|byte| *byte <= b' ');
    match length {
        Some(0) => None,
        Some(length) => Some(&value[..length]),
        None => value.get(..HASHED_BYTES_MAX),
    }
}

/// The hash of `value` as the finder gives it for a message that holds nothing else of interest.
fn hash_of(value: &[u8]) -> u64 {
    let message = [b"BYE sip:a@example.com SIP/2.0\r\nCall-ID: ", value, b"\r\n\r\n        "].concat();
    hash(&message, SEED).expect("a Call-ID")
}

fn agrees(payload: &[u8]) {
    match (hash(payload, SEED), oracle(payload)) {
        (Ok(hash), Ok(value)) => {
            assert_eq!(hash, hash_of(value), "{:?} in {:?}", text(value), text(payload));
        }
        (found, expected) => {
            assert_eq!(found.err(), expected.err(), "{:?} in {:?}", expected.map(text), text(payload));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let call_id = ("(?i)(call-id|i)[ \t]{0,9}:?[ \t]{0,9}", "[!-~]{0,40}|[!-~]{100,200}");
    let short = prop::collection::vec(prop::sample::select(b"\r\n:\t iIcCaA-d\x0b\x80\xff\0".to_vec()), 0..9);
    let parts = prop_oneof![
        4 => "(Via|v|To|From|f|Max-Forwards|Contact|CSeq|Identity|Call-Info|Call-IDs): [ -~]{0,90}".prop_map(String::into_bytes),
        3 => call_id.prop_map(|(name, value)| (name + &value).into_bytes()),
        1 => "[а-я日本語é ]{0,20}".prop_map(String::into_bytes),
        2 => short,
    ];
    let end = prop_oneof![6 => Just(&b"\r\n"[..]), 1 => Just(&b"\n"[..]), 1 => Just(&b"\r\n\r\n"[..]), 1 => Just(&b""[..])];
    (parts, end).prop_map(|(line, end)| [&line, end].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn lines_of_all_kinds(lines in prop::collection::vec(line(), 0..24)) {
        agrees(&lines.concat());
    }

    #[test]
    fn few_kinds_of_bytes(bytes in prop::collection::vec(prop::sample::select(b"\r\n\n:: \ticCALl-Idx\x0b\x90".to_vec()), 0..160)) {
        agrees(&bytes);
    }
}

/// Each canonical message, cut off at every length, begun at every place, and with every byte of its first 700 replaced in turn.
#[test]
fn canonical_messages_and_what_is_left_of_them() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/canonical");
    let mut messages = 0;
    for entry in std::fs::read_dir(folder).expect("the canonical messages") {
        let message = std::fs::read(entry.expect("an entry").path()).expect("a message");
        messages += 1;
        assert!(hash(&message, SEED).is_ok());
        for cut in 0..=message.len() {
            agrees(&message[..cut]);
            agrees(&message[cut..]);
        }
        for at in 0..message.len().min(700) {
            for byte in [b'\n', b'\r', b' ', b':', b'i', b'\0', 0x80] {
                let mut changed = message.clone();
                changed[at] = byte;
                agrees(&changed);
            }
        }
    }
    assert_eq!(messages, 5);
}

/// The Call-ID at every distance from the begin and from the end of the message, past the end of the search.
#[test]
fn every_place() {
    for before in 0..SCAN_BYTES_MAX + 3 * BLOCK_BYTES {
        for after in [0, 1, 4, 7, 8, 9, 33, 100] {
            let filler = vec![b'x'; before];
            for name in ["Call-ID: ", "i:"] {
                let message =
                    [&filler[..], b"\r\n", name.as_bytes(), b"a7c@b\r\n\r\n", &vec![b'y'; after]].concat();
                agrees(&message);
                if before < SCAN_BYTES_MAX - 2 && message.len() >= REACH {
                    assert!(hash(&message, SEED).is_ok(), "{before} {name} {after}");
                }
            }
        }
    }
}

/// All ways to write it are one call.
#[test]
fn forms() {
    let with = |field: &str| {
        hash(
            format!("BYE sip:a@example.com SIP/2.0\r\nTo: <sip:b>\r\n{field}\r\nCSeq: 1 BYE\r\n\r\n")
                .as_bytes(),
            SEED,
        )
    };
    let expected = Ok(hash_of(b"abc@host"));
    for field in [
        "Call-ID: abc@host",
        "CALL-ID:abc@host",
        "call-id \t :  \t abc@host",
        "cAlL-iD:        abc@host",
        "i: abc@host",
        "I:abc@host",
        "i\t:\tabc@host",
        "Call-ID: abc@host  ",
        "Call-ID: abc@host\r\nCall-ID: other",
        "Call-Info: <x>\r\nIdentity: y\r\ni: abc@host",
        "Call-IDs: other\r\nCall-ID: abc@host",
    ] {
        assert_eq!(with(field), expected, "{field:?}");
    }
    for field in [
        "Call-ID:\r\n abc@host",
        "Call-ID: \r\n\tabc@host",
        "Call-ID:",
        "Call-ID",
        "Call-ID abc@host",
        "Call-ID          : abc@host",
        "Call-ID:          abc@host",
        " Call-ID: abc@host",
        "X-Call-ID: abc@host",
        "CallxID: abc@host",
        "Call\rID: abc@host",
        "\r\nCall-ID: abc@host",
        "",
    ] {
        assert_eq!(with(field), Err(Pass::NoCallId), "{field:?}");
    }
    assert_eq!(hash(b"\r\n\r\n", SEED), Err(Pass::Short));
    assert_eq!(hash(&vec![b'x'; PAYLOAD_BYTES_MAX + 1], SEED), Err(Pass::TooLarge));
}

/// Writes the Call-ID of a number.
type Make = Box<dyn FnMut(u64) -> String>;

/// 100,000 Call-IDs of each make go to each of 2 to 16 workers within 5 % of its share, whatever the key.
#[test]
fn shares() {
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ state >> 29
    };
    let makes: [(&str, Make); 6] = [
        ("SIPp", Box::new(|n| format!("{n}-31337@203.0.113.9"))),
        (
            "a counter behind a long beginning",
            Box::new(|n| format!("sbc-edge-frankfurt-0001.carrier.example.net-{n:010}@192.0.2.1")),
        ),
        ("a counter in hexadecimal digits", Box::new(|n| format!("{n:016x}"))),
        ("steps of 256", Box::new(|n| format!("{:08x}@10.0.0.1", n * 256))),
        (
            "a UUID",
            Box::new({
                let mut random = random;
                move |_| {
                    let (a, b) = (random(), random());
                    format!(
                        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
                        a >> 32,
                        a & 0xffff,
                        a >> 16 & 0xfff,
                        b >> 52,
                        b & 0xffff_ffff_ffff
                    )
                }
            }),
        ),
        (
            "32 digits and a host",
            Box::new(move |_| format!("{:016x}{:016x}@203.0.113.9", random(), random())),
        ),
    ];
    const CALLS: u32 = 100_000;
    for (make, mut call_id) in makes {
        let call_ids: Vec<String> = (0..u64::from(CALLS)).map(&mut call_id).collect();
        for seed in [0, 1, SEED, u64::MAX] {
            let hashes: Vec<u64> = call_ids
                .iter()
                .map(|call_id| {
                    let message =
                        format!("BYE sip:a@example.com SIP/2.0\r\nCall-ID: {call_id}\r\nCSeq: 1 BYE\r\n\r\n");
                    hash(message.as_bytes(), seed).expect("a Call-ID")
                })
                .collect();
            for workers in 2..=16_u32 {
                let mut counts = vec![0_u32; workers as usize];
                for hash in &hashes {
                    counts[worker(*hash, workers) as usize] += 1;
                }
                let share = f64::from(CALLS) / f64::from(workers);
                for count in &counts {
                    let off = (f64::from(*count) - share).abs() / share;
                    assert!(off < 0.05, "{make}, seed {seed}: {counts:?}");
                }
            }
        }
    }
}
