//! Says what the steering program costs, by the kernel's own clock: it is run a million times on the canonical BYE, several times over.

use sluice_steer::names::{STEER_BY_CALL_ID, STEER_BY_QUEUE};
use sluice_tests::steering::{Globals, Steering, XDP_PASS, XDP_REDIRECT, ipv4_frame};
use std::net::{SocketAddr, SocketAddrV4};

const REPEAT: u32 = 1_000_000;
const RUNS: usize = 7;

fn main() {
    let listener: SocketAddrV4 = "192.0.2.1:5060".parse().expect("an address");
    let elsewhere: SocketAddrV4 = "192.0.2.1:5061".parse().expect("an address");
    let globals = Globals { workers: 4, queues: 1, steer: STEER_BY_CALL_ID, frame_bytes_max: 4096, seed: 1 };
    let load = |globals| {
        Steering::load(globals, &[SocketAddr::V4(listener)]).unwrap_or_else(|error| panic!("{error}"))
    };
    let by_call_id = load(globals);
    let by_queue = load(Globals { steer: STEER_BY_QUEUE, ..globals });
    let info = by_call_id.info();
    println!("instructions that the verifier looked at  {:?}", info.verified_instruction_count());
    println!("bytes of machine code                     {}", info.size_jitted());
    for (name, ..) in sluice_tests::CANONICAL {
        let message = sluice_tests::canonical(name);
        report(&format!("{name}, by Call-ID"), &by_call_id, &ipv4_frame(listener, &message));
    }
    let bye = sluice_tests::canonical("bye");
    report("bye, by queue", &by_queue, &ipv4_frame(listener, &bye));
    report("bye, to another port", &by_call_id, &ipv4_frame(elsewhere, &bye));
}

fn report(what: &str, program: &Steering, frame: &[u8]) {
    let mut nanoseconds: Vec<u128> = (0..RUNS)
        .map(|_| {
            let (action, duration) = program.run(frame, None, REPEAT);
            assert!(action == XDP_PASS || action == XDP_REDIRECT);
            duration.as_nanos()
        })
        .collect();
    nanoseconds.sort_unstable();
    println!("{what:<24} {:>3} ns  (of {RUNS} runs: {nanoseconds:?})", nanoseconds[RUNS / 2]);
}
