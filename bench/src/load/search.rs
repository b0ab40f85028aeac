//! The highest rate that a device under test takes.
//!
//! First a short overload shows about how much it can do; then the rate goes up or down by steps until one is passed and the next is not, and the gap is halved until it is
//! small. A rate counts as passed when most of three runs lose less than [`LOSS_MAX`]: this machine's other work is not the device's loss.

use super::run::Outcome;
use serde::{Deserialize, Serialize};

/// The share of messages that may be lost: under 0.1 %.
pub const LOSS_MAX: f64 = 0.001;

/// A generator that sends less than this share of what it is told is itself the limit.
const SENT_MIN: f64 = 0.98;

/// How a search goes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Plan {
    /// Messages a second of the first run, more than any device takes.
    pub overload: f64,
    /// The first step, as a factor.
    pub step: f64,
    /// The search ends when the rate is known to this factor.
    pub precision: f64,
}

/// What a search has found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Found {
    /// The highest rate that was passed, in messages a second; 0 if none was.
    pub rate: f64,
    /// Whether the next higher rate failed because the generator could not send it.
    pub is_generator_bound: bool,
    /// What arrived in the overload, in messages a second.
    pub overload_rate: f64,
    /// All runs, in their order.
    pub runs: Vec<Outcome>,
}

/// What a rate came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Passed,
    Lost,
    Unsent,
}

/// Searches by `run`, which sends at a rate.
///
/// # Errors
/// Those of `run`.
pub fn search<E>(plan: Plan, mut run: impl FnMut(f64) -> Result<Outcome, E>) -> Result<Found, E> {
    let mut runs = vec![run(plan.overload)?];
    let overload_rate = runs[0].rate_arrived.min(runs[0].rate_sent);
    let mut try_rate = |rate: f64| judge(rate, &mut runs, &mut run);

    let mut rate = overload_rate.max(LOWEST);
    let mut step = plan.step;
    let (mut passed, mut failed) = (0.0, None);
    // Up or down, in growing steps, until the rate lies between two.
    while failed.is_none() || passed == 0.0 {
        match try_rate(rate)? {
            Verdict::Passed => {
                passed = rate;
                if rate >= plan.overload {
                    break;
                }
                rate = (rate * step).min(plan.overload);
            }
            verdict => {
                failed = Some((rate, verdict));
                if rate <= LOWEST {
                    break;
                }
                rate = (rate / step).max(LOWEST);
            }
        }
        if failed.is_none() || passed == 0.0 {
            step = step.powf(STEP_GROWTH);
        }
    }
    while let Some((above, _)) = failed.filter(|(above, _)| passed > 0.0 && above / passed > plan.precision) {
        let rate = (passed * above).sqrt();
        match try_rate(rate)? {
            Verdict::Passed => passed = rate,
            verdict => failed = Some((rate, verdict)),
        }
    }
    let is_generator_bound = failed.is_none_or(|(_, verdict)| verdict == Verdict::Unsent);
    Ok(Found { rate: passed, is_generator_bound, overload_rate, runs })
}

/// A rate that any device takes.
const LOWEST: f64 = 1_000.0;
/// What a step grows by, as an exponent.
const STEP_GROWTH: f64 = 1.5;

/// The best of three.
fn judge<E>(
    rate: f64,
    runs: &mut Vec<Outcome>,
    run: &mut impl FnMut(f64) -> Result<Outcome, E>,
) -> Result<Verdict, E> {
    let (mut passed, mut failed) = (0, 0);
    loop {
        let outcome = run(rate)?;
        let is_sent = outcome.rate_sent >= SENT_MIN * rate;
        let is_passed = is_sent && outcome.loss() < LOSS_MAX;
        runs.push(outcome);
        passed += u32::from(is_passed);
        failed += u32::from(!is_passed);
        if passed == 2 {
            return Ok(Verdict::Passed);
        }
        if failed == 2 {
            return Ok(if is_sent { Verdict::Lost } else { Verdict::Unsent });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that takes so much, behind a generator that sends so much; each `hiccup`th run loses all the same.
    fn found(capacity: f64, generator: f64, hiccup: usize) -> Found {
        let mut count = 0;
        let run = |rate: f64| {
            count += 1;
            let rate_sent = rate.min(generator);
            let is_hiccup = hiccup > 0 && count % hiccup == 0;
            let share = if is_hiccup { 0.9 } else { (capacity / rate_sent).min(1.0) };
            let arrived = (rate_sent * share) as u64;
            Ok::<_, ()>(Outcome {
                rate,
                rate_sent,
                sent: rate_sent as u64,
                arrived,
                duplicates: 0,
                untagged: 0,
                elsewhere: 0,
                lag_max_ns: 0,
                rate_arrived: arrived as f64,
            })
        };
        search(Plan { overload: 4e6, step: 1.05, precision: 1.02 }, run).unwrap()
    }

    #[test]
    fn it_finds_what_a_device_takes() {
        for capacity in [2_000.0, 150_000.0, 777_777.0, 1.9e6] {
            for hiccup in [0, 4] {
                let found = found(capacity, 3e6, hiccup);
                assert!(
                    found.rate <= capacity * 1.001 && found.rate > capacity / 1.03,
                    "{capacity}: {found:?}"
                );
                assert!(!found.is_generator_bound);
                assert!(found.runs.len() < 40, "{} runs", found.runs.len());
            }
        }
    }

    #[test]
    fn it_says_when_the_generator_is_the_limit() {
        let found = found(5e6, 900_000.0, 0);
        assert!(found.is_generator_bound && found.rate > 880_000.0 && found.rate < 920_000.0, "{found:?}");
    }

    #[test]
    fn a_device_that_sends_nothing_on_has_no_rate() {
        assert_eq!(found(0.0, 3e6, 0).rate, 0.0);
    }
}
