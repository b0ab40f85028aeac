//! Takes the requests through every parser a few times, for callgrind to count; `scripts/instructions --parsers` reads what it counts.
//!
//! As `src/bin/instructions.rs`, but an example: so the other parsers are needed by nothing that is installed.

#[path = "../benches/parsers/others.rs"]
mod others;

use bytes::Bytes;
use others::{MESSAGES, Parser, check};

/// Calls of each parser with each message: the first warms up, the last counts.
const CALLS: usize = 3;

/// What is counted, and nothing besides.
mod measured {
    use super::others::Parser;
    use bytes::Bytes;
    use std::hint::black_box;

    #[inline(never)]
    pub(super) fn message<P: Parser>(parser: &mut P, bytes: &Bytes) {
        parser.message(black_box(bytes));
    }

    #[inline(never)]
    pub(super) fn proxy<P: Parser>(parser: &mut P, bytes: &Bytes) {
        parser.proxy(black_box(bytes), |seen| {
            black_box(seen);
        });
    }
}

fn take<P: Parser>() {
    check::<P>();
    for (name, _) in MESSAGES {
        let bytes = Bytes::from(sluice_tests::canonical(name));
        let mut parser = P::default();
        for _ in 0..CALLS {
            measured::message(&mut parser, &bytes);
            println!("message {name} {}", P::NAME);
        }
        for _ in (0..CALLS).filter(|_| P::TYPES) {
            measured::proxy(&mut parser, &bytes);
            println!("proxy {name} {}", P::NAME);
        }
    }
}

fn main() {
    take::<others::sluice::Sluice>();
    take::<others::rsip::Rsip>();
    take::<others::rsipstack::Rsipstack>();
    take::<others::ezk::Ezk>();
    take::<others::rvoip::Rvoip>();
    take::<others::parsip::Parsip>();
}
