//! Carriers, which many drivers drop for a while when a program is attached: they set up their queues anew, and the link is negotiated again. igb takes half a second
//! to three, faster links may take more.

use super::interfaces::Chosen;
use crate::io::af_xdp::handover::Hold;
use std::thread;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long a carrier is waited for. One that is not there then may not be there for hours: a cable may be out.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the kernel path is held meanwhile, for carriers that were there before. It is not held for a cable that is out.
const HELD: Duration = Duration::from_secs(3);

/// How often it is looked for.
const POLL: Duration = Duration::from_millis(50);

/// Waits until all interfaces have a carrier, or long enough; says for which it waits, and which have none. Lets go of `hold` when those have theirs back that had one before, or
/// when that takes long.
///
/// # Errors
/// The kernel cannot be asked.
pub(super) fn wait(interfaces: &[Chosen], hold: Hold) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut waiting = without(interfaces.iter())?;
    if waiting.is_empty() {
        return Ok(());
    }
    let is_due = |waiting: &[&Chosen]| waiting.iter().any(|chosen| chosen.had_carrier);
    let mut hold = Some(hold).filter(|_| is_due(&waiting));
    info!("waiting for the carrier of {}, {} seconds at most", names(&waiting), PATIENCE.as_secs());
    while !waiting.is_empty() && begin.elapsed() < PATIENCE {
        thread::sleep(POLL);
        waiting = without(waiting.into_iter())?;
        hold = hold.filter(|_| is_due(&waiting) && begin.elapsed() < HELD);
    }
    match waiting.is_empty() {
        true => info!("carriers are there after {} ms", begin.elapsed().as_millis()),
        false => warn!("{}: still no carrier; what leaves there is lost until there is one", names(&waiting)),
    }
    Ok(())
}

/// Those that have none.
fn without<'a>(interfaces: impl Iterator<Item = &'a Chosen>) -> anyhow::Result<Vec<&'a Chosen>> {
    let lacks = |chosen: &'a Chosen| Ok((!chosen.has_carrier()?).then_some(chosen));
    interfaces.filter_map(|chosen| lacks(chosen).transpose()).collect()
}

fn names(interfaces: &[&Chosen]) -> String {
    interfaces.iter().map(|chosen| chosen.plan.name.as_str()).collect::<Vec<_>>().join(", ")
}
