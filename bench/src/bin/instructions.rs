//! Takes every canonical message through every stage a few times, for callgrind to count; `scripts/instructions` reads what it counts.
//!
//! Each stage is a function that is not inlined, in the module `measured`. Callgrind is told to collect inside of those only, and to write down
//! what it has whenever one returns. So the n-th line that this program prints belongs to the n-th count.

use sluice_bench::{Frames, Rig};

/// Calls of each stage with each message. The first warms up what is filled once; the last one counts, and the gate checks that the one before it agrees.
const CALLS: usize = 3;

/// Calls for each line that is printed when one stage goes on for ever.
const CALLS_A_LINE: u32 = 1 << 20;

/// What is counted, and nothing besides.
mod measured {
    use sluice::io::Datagram;
    use sluice_bench::Rig;
    use std::hint::black_box;

    #[inline(never)]
    pub(super) fn scan(rig: &mut Rig, _: &mut Datagram<'_>) {
        black_box(rig.scan());
    }

    #[inline(never)]
    pub(super) fn parse(rig: &mut Rig, _: &mut Datagram<'_>) {
        black_box(rig.parse());
    }

    #[inline(never)]
    pub(super) fn decide(rig: &mut Rig, _: &mut Datagram<'_>) {
        black_box(rig.decide());
    }

    #[inline(never)]
    pub(super) fn edit(rig: &mut Rig, datagram: &mut Datagram<'_>) {
        black_box(rig.edit(datagram));
    }

    #[inline(never)]
    pub(super) fn forward(rig: &mut Rig, datagram: &mut Datagram<'_>) {
        black_box(rig.forward(datagram));
    }
}

type Stage = fn(&mut Rig, &mut sluice::io::Datagram<'_>);

const STAGES: [(&str, Stage); 5] = [
    ("scan", measured::scan),
    ("parse", measured::parse),
    ("decide", measured::decide),
    ("edit", measured::edit),
    ("forward", measured::forward),
];

fn main() {
    // Given a stage and a message, that one for ever: something for `perf record` to look at. What it takes includes putting the message back.
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (name, ..) in sluice_tests::CANONICAL {
        let mut rig = Rig::canonical(name);
        assert!(rig.leaves(), "{name}");
        let flow = rig.flow;
        let mut frames = Frames::new(&rig.bytes, 1);
        for (stage, run) in STAGES {
            let mut call = |rig: &mut Rig| {
                frames.restore(0);
                run(rig, &mut frames.datagram(0, flow));
            };
            if wanted.is_empty() {
                // What is edited is what was decided last.
                let _ = rig.decide();
                for _ in 0..CALLS {
                    call(&mut rig);
                    println!("{stage} {name}");
                }
            } else if *wanted == [stage, name] {
                loop {
                    let begin = std::time::Instant::now();
                    (0..CALLS_A_LINE).for_each(|_| call(&mut rig));
                    println!("{} ns a call", begin.elapsed().as_nanos() / u128::from(CALLS_A_LINE));
                }
            }
        }
    }
}
