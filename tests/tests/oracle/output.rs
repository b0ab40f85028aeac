//! What must leave: bytes, with the digits open that a key or a hash gives.

use std::ops::Range;

/// A piece of what must leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    /// So many hexadecimal digits.
    Digits(usize, Digits),
    /// A reason phrase.
    Phrase,
}

/// What digits stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digits {
    Branch,
    Return,
    Mark,
    RouteSingle,
    RouteEgress,
    RouteIngress,
    Tag,
}

pub(crate) fn text(text: &str) -> Piece {
    Piece::Bytes(text.as_bytes().to_vec())
}

/// The bytes with each range replaced. Of two edits at one place, the one without length comes first.
pub(crate) fn assemble(bytes: &[u8], mut edits: Vec<(Range<usize>, Vec<Piece>)>) -> Vec<Piece> {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut pieces = vec![];
    let mut at = 0;
    for (range, new) in edits {
        assert!(range.start >= at, "the oracle's edits overlap");
        pieces.push(Piece::Bytes(bytes[at..range.start].to_vec()));
        pieces.extend(new);
        at = range.end;
    }
    pieces.push(Piece::Bytes(bytes[at..].to_vec()));
    pieces
}

/// Whether `output` is what the pieces say; if so, the digits in it.
pub(crate) fn agree(pieces: &[Piece], output: &[u8]) -> Result<Vec<(Digits, String)>, String> {
    let mut rest = output;
    let mut digits = vec![];
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => match rest.strip_prefix(&bytes[..]) {
                Some(after) => rest = after,
                None => {
                    let common = rest.iter().zip(bytes).take_while(|(a, b)| a == b).count();
                    let show = |bytes: &[u8]| {
                        let end = bytes.len().min(common + 60);
                        String::from_utf8_lossy(&bytes[common.min(end)..end]).into_owned()
                    };
                    return Err(format!("expected {:?}, and there is {:?}", show(bytes), show(rest)));
                }
            },
            Piece::Digits(count, kind) => {
                let text = rest.get(..*count).ok_or("digits are missing")?;
                if !text.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte)) {
                    return Err(format!("{:?} are no digits for {kind:?}", String::from_utf8_lossy(text)));
                }
                digits.push((*kind, String::from_utf8_lossy(text).into_owned()));
                rest = &rest[*count..];
            }
            Piece::Phrase => {
                let end = rest.iter().position(|byte| *byte == b'\r').ok_or("no line end")?;
                if end == 0 {
                    return Err("no reason phrase".into());
                }
                rest = &rest[end..];
            }
        }
    }
    if rest.is_empty() { Ok(digits) } else { Err(format!("{} bytes too many", rest.len())) }
}
