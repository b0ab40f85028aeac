//! The tape that choices are read from, and the runner that makes tapes.

use crate::oracle::Came;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};
use sluice_tests::escape;

pub(crate) type Verdict = Result<(), TestCaseError>;

/// Tries `cases` tapes of up to `length` numbers.
pub(crate) fn check(cases: u32, length: usize, mut property: impl FnMut(&mut Tape<'_>) -> Verdict) {
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/properties.regressions");
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let mut runner = TestRunner::new(Config {
        cases: asked.unwrap_or(cases),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        max_shrink_iters: 20_000,
        max_global_rejects: 100_000,
        ..Config::default()
    });
    let property = std::cell::RefCell::new(&mut property);
    let outcome = runner.run(&vec(any::<u16>(), 0..length), |numbers| {
        (property.borrow_mut())(&mut Tape { numbers: &numbers, at: 0 })
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, numbers)) => panic!("{why}\nthe tape: {numbers:?}"),
        Err(abort) => panic!("{abort}"),
    }
}

pub(crate) fn require(holds: bool, why: impl FnOnce() -> String, messages: &[(Came, Vec<u8>)]) -> Verdict {
    if holds {
        return Ok(());
    }
    let shown: String = messages
        .iter()
        .map(|(came, bytes)| {
            format!("--- from {} by listener {}\n{}", came.from, came.listener, escape(bytes))
        })
        .collect();
    Err(TestCaseError::fail(format!("{}\n{shown}", why())))
}

/// A tape of numbers that choices are read from. Past its end all are 0.
pub(crate) struct Tape<'a> {
    pub(crate) numbers: &'a [u16],
    pub(crate) at: usize,
}

impl Tape<'_> {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let number = self.numbers.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(number) % bound
    }

    /// True once in so many times, and never for 0.
    pub(crate) fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == one_in - 1
    }

    pub(crate) fn choose<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let other = i - self.below(i + 1);
            items.swap(i, other);
        }
    }
}
