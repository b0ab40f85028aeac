//! Times the stages of the data plane, and the whole, on the canonical messages. `bench/README.md` says what each row means.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sluice::forward::Forwarder;
use sluice::io::Io;
use sluice::io::memory::Memory;
use sluice::stats::Stats;
use sluice::wire::{self, Basis, Checksum, Envelope, HEADERS_BYTES_MAX, Outgoing, vlan::Tags};
use sluice_bench::{Frames, Rig, grow, pin};
use std::hint::black_box;
use std::time::{Duration, Instant};

const NAMES: [&str; 5] = ["bye", "bye_r2", "invite", "200", "options"];

/// Frames of one batch: what a worker takes in at once, and few enough to stay in the first-level cache together.
const BATCH: usize = 16;

/// More than the last-level cache of any machine at hand.
const COLD_BYTES: usize = 64 << 20;

/// The time of `iterations` calls of `work`, each on a frame that holds the message as it came in.
///
/// Working on a frame changes it, so it has to be put back before the next call. Here that happens for a batch of frames while the clock stands still;
/// what remains of the clock itself is two readings in `frames.count()` calls.
fn timed(iterations: u64, frames: &mut Frames, mut work: impl FnMut(&mut Frames, usize)) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let batch = left.min(frames.count() as u64) as usize;
        (0..batch).for_each(|index| frames.restore(index));
        let start = Instant::now();
        (0..batch).for_each(|index| work(frames, index));
        total += start.elapsed();
        left -= batch as u64;
    }
    total
}

fn rig(name: &str) -> Rig {
    let mut rig = Rig::canonical(name);
    assert!(rig.leaves(), "{name}");
    rig
}

fn stages(criterion: &mut Criterion) {
    for name in NAMES {
        let mut rig = rig(name);
        let flow = rig.flow;
        let mut frames = Frames::new(&rig.bytes, BATCH);
        let id = |stage: &str| BenchmarkId::new(stage, name);
        let mut group = criterion.benchmark_group("stage");
        group.throughput(Throughput::Bytes(rig.bytes.len() as u64));
        group.bench_function(id("copy"), |b| {
            b.iter(|| {
                frames.restore(black_box(0));
                black_box(&mut frames);
            });
        });
        group.bench_function(id("scan"), |b| b.iter(|| black_box(&rig).scan()));
        group.bench_function(id("parse"), |b| b.iter(|| black_box(&mut rig).parse()));
        group.bench_function(id("decide"), |b| b.iter(|| black_box(&mut rig).decide()));
        let _ = rig.decide();
        group.bench_function(id("edit"), |b| {
            b.iter_custom(|n| {
                timed(n, &mut frames, |frames, index| {
                    black_box(black_box(&mut rig).edit(&mut frames.datagram(index, flow)));
                })
            });
        });
        group.bench_function(id("forward"), |b| {
            b.iter_custom(|n| {
                timed(n, &mut frames, |frames, index| {
                    black_box(black_box(&mut rig).forward(&mut frames.datagram(index, flow)));
                })
            });
        });
        group.bench_function(id("copy+forward"), |b| {
            b.iter(|| {
                frames.restore(black_box(0));
                black_box(&mut rig).forward(&mut frames.datagram(0, flow))
            });
        });
        group.finish();
    }
}

/// The same through the seam: put in, forwarded, taken out, with the copies and allocations of `io::memory`.
fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory");
    for name in NAMES {
        let rig = rig(name);
        let (mut forwarder, stats, mut io) = (Forwarder::new(), Stats::new(), Memory::default());
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            b.iter(|| {
                io.push(rig.flow, black_box(&rig.bytes));
                io.breathe(&mut |datagram| forwarder.forward(&rig.snapshot, &stats, 0, datagram));
                black_box(&mut io).sent.clear();
            });
        });
    }
    group.finish();
}

/// Headers and checksums around a message, over IPv4 without a tag.
fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    for name in ["bye", "invite"] {
        let mut rig = rig(name);
        let id = |stage: &str| BenchmarkId::new(stage, name);
        let envelope = Envelope {
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 9],
            vlans: Tags::NONE,
        };
        let (source, destination) = (rig.flow.source, rig.flow.destination);
        let outgoing = Outgoing { source, destination, identification: 1, basis: Basis::Payload };
        let mut memory = [&[0; HEADERS_BYTES_MAX], &rig.bytes[..]].concat();
        let payload = HEADERS_BYTES_MAX..memory.len();
        let place = wire::write(&mut memory, payload.clone(), &envelope, &outgoing).expect("room");
        let frame = memory[place].to_vec();

        let received = wire::read(&frame).expect("a good frame");
        assert_eq!(received.check(&frame), Checksum::Right);
        group.bench_function(id("read"), |b| b.iter(|| wire::read(black_box(&frame))));
        group.bench_function(id("check"), |b| b.iter(|| black_box(&received).check(black_box(&frame))));

        let _ = rig.decide();
        let flow = rig.flow;
        let mut frames = Frames::new(&rig.bytes, BATCH);
        group.bench_function(id("edit_noting"), |b| {
            b.iter_custom(|n| {
                timed(n, &mut frames, |frames, index| {
                    let mut datagram = frames.datagram(index, flow).noting_front();
                    black_box(black_box(&mut rig).edit(&mut datagram));
                    black_box(datagram.front());
                })
            });
        });
        frames.restore(0);
        let mut datagram = frames.datagram(0, flow).noting_front();
        assert!(rig.edit(&mut datagram));
        let (front, payload) = (datagram.front(), datagram.range());
        assert!(matches!(received.basis(Checksum::Right, front), Basis::Tail { .. }));
        let (memory, ..) = datagram.frame();
        for (row, checksum) in [("write_updated", Checksum::Right), ("write_computed", Checksum::Partial)] {
            group.bench_function(id(row), |b| {
                b.iter(|| {
                    let basis = black_box(&received).basis(black_box(checksum), black_box(front));
                    let outgoing = Outgoing { basis, ..outgoing };
                    wire::write(black_box(memory), payload.clone(), black_box(&envelope), &outgoing)
                });
            });
        }
    }
    group.finish();
}

/// `forward` on messages of which no byte is in the cache.
fn cold(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cold");
    group.sample_size(10);
    for name in ["bye", "invite", "200"] {
        let mut rig = rig(name);
        let flow = rig.flow;
        let mut frames = Frames::of_bytes(&rig.bytes, COLD_BYTES);
        let count = frames.count() as u64;
        group.bench_function(BenchmarkId::new("forward", name), |b| {
            // All frames every time: the last restored must be far from the first worked on.
            b.iter_custom(|n| {
                let rounds = n.div_ceil(count);
                let total = timed(rounds * count, &mut frames, |frames, index| {
                    black_box(rig.forward(&mut frames.datagram(index, flow)));
                });
                total.mul_f64(n as f64 / (rounds * count) as f64)
            });
        });
    }
    group.finish();
}

/// `forward`, by the size of everything that it might hang on.
fn growth(criterion: &mut Criterion) {
    let mut bench = |group: &str, size: usize, mut rig: Rig| {
        assert!(rig.leaves(), "{group} {size}");
        let flow = rig.flow;
        let mut frames = Frames::new(&rig.bytes, BATCH);
        let mut group = criterion.benchmark_group(group);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_custom(|n| {
                timed(n, &mut frames, |frames, index| {
                    black_box(black_box(&mut rig).forward(&mut frames.datagram(index, flow)));
                })
            });
        });
        group.finish();
    };
    let (bye, invite) = (sluice_tests::canonical("bye"), sluice_tests::canonical("invite"));
    for count in [1, 16, 256] {
        bench("listeners", count, Rig::new("bye", grow::listeners(count), bye.clone()));
    }
    for count in [1, 16, 512] {
        bench("targets", count, Rig::new("invite", grow::targets(count), invite.clone()));
    }
    for count in [1, 16, 256, 4096] {
        bench("rules", count, Rig::new("invite", grow::rules(count), invite.clone()));
    }
    for bytes in [0, 1 << 10, 4 << 10, 16 << 10] {
        let message = grow::header_bytes(&bye, bytes);
        bench("header_bytes", bytes, Rig::new("bye", sluice_tests::plan(), message));
    }
}

fn config() -> Criterion {
    println!("pinned to CPU {}", pin());
    Criterion::default()
        .without_plots()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000))
}

criterion_group! { name = benches; config = config(); targets = stages, memory, headers, cold, growth }
criterion_main!(benches);
