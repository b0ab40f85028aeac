//! Times sluice's parser beside those that a Rust program could use, on the same requests in the same run. `bench/README.md` says what each does.

mod others;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use others::{MESSAGES, Parser, check};
use sluice_bench::pin;
use std::hint::black_box;
use std::time::Duration;

/// Rows `parsers/message/M/NAME` and `parsers/proxy/M/NAME`.
fn of<P: Parser>(criterion: &mut Criterion) {
    check::<P>();
    for (name, _) in MESSAGES {
        let bytes = Bytes::from(sluice_tests::canonical(name));
        let mut parser = P::default();
        let mut group = criterion.benchmark_group("parsers");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new(format!("message/{name}"), P::NAME), |b| {
            b.iter(|| parser.message(black_box(&bytes)));
        });
        if P::TYPES {
            group.bench_function(BenchmarkId::new(format!("proxy/{name}"), P::NAME), |b| {
                b.iter(|| {
                    parser.proxy(black_box(&bytes), |seen| {
                        black_box(seen);
                    });
                });
            });
        }
        group.finish();
    }
}

fn all(criterion: &mut Criterion) {
    of::<others::sluice::Sluice>(criterion);
    of::<others::rsip::Rsip>(criterion);
    of::<others::rsipstack::Rsipstack>(criterion);
    of::<others::ezk::Ezk>(criterion);
    of::<others::rvoip::Rvoip>(criterion);
    of::<others::parsip::Parsip>(criterion);
}

fn config() -> Criterion {
    println!("pinned to CPU {}", pin());
    Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
}

criterion_group! { name = benches; config = config(); targets = all }
criterion_main!(benches);
