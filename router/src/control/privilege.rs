//! Capabilities: what AF_XDP needs at the start, and that nothing is left of them afterwards.
//!
//! They are dropped before the node's threads start, because each thread has its own set and takes it from the one that starts it.

use caps::{CapSet, Capability, CapsHashSet};
use std::panic::resume_unwind;
use std::thread;

/// What AF_XDP needs, and for what (capabilities(7), `net/xdp/xsk.c`, `kernel/bpf/syscall.c`, `kernel/bpf/verifier.c`).
const NEEDED: [(Capability, &str); 4] = [
    (Capability::CAP_NET_RAW, "to open AF_XDP sockets"),
    (Capability::CAP_NET_ADMIN, "to attach the steering program"),
    (Capability::CAP_BPF, "to load it"),
    (
        Capability::CAP_PERFMON,
        "so that it may subtract packet pointers and runs without speculation barriers",
    ),
];

/// Whether this process may set AF_XDP up.
///
/// # Errors
/// The capabilities that are missing, and how to give them, in one line.
pub fn check() -> Result<(), String> {
    let held =
        caps::read(None, CapSet::Effective).map_err(|error| format!("cannot read capabilities: {error}"))?;
    missing(&held)
}

fn missing(held: &CapsHashSet) -> Result<(), String> {
    // Before it had capabilities of its own, loading programs was the system administrator's, and still is.
    let has = |capability| {
        held.contains(&capability)
            || matches!(capability, Capability::CAP_BPF | Capability::CAP_PERFMON)
                && held.contains(&Capability::CAP_SYS_ADMIN)
    };
    let missing: Vec<_> = NEEDED.iter().filter(|(capability, _)| !has(*capability)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = missing.iter().map(|(capability, why)| format!("{capability} {why}")).collect();
    let set: Vec<_> = NEEDED.iter().map(|(capability, _)| capability.to_string().to_lowercase()).collect();
    Err(format!(
        "no privilege: missing {}; start it as root, or give it `setcap {}+ep`",
        list.join(", "),
        set.join(",")
    ))
}

/// Drops all capabilities of this thread, and of those that it will start, for good.
///
/// # Errors
/// The kernel refuses; then some are left.
pub fn drop_all() -> Result<(), String> {
    // Whatever is executed from here on gets none either. Without CAP_SETPCAP the bounding set stays, which then makes no difference.
    let no_new = nix::sys::prctl::set_no_new_privs();
    no_new.map_err(|errno| format!("cannot set no_new_privs: {errno}"))?;
    let _ = caps::clear(None, CapSet::Bounding);
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(|error| format!("cannot drop {set:?} capabilities: {error}"))?;
    }
    Ok(())
}

/// Does `work` on a thread that has no capabilities, nor have the threads that it starts.
///
/// # Panics
/// As `work` does.
pub fn without<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let work = || {
        // Where they cannot be dropped, the node says so when it drops its own.
        let _ = drop_all();
        work()
    };
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        use Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON, CAP_SYS_ADMIN};
        let check = |held: &[Capability]| missing(&held.iter().copied().collect());
        assert_eq!(check(&[CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON]), Ok(()));
        assert_eq!(check(&[CAP_NET_RAW, CAP_NET_ADMIN, CAP_SYS_ADMIN]), Ok(()));
        assert_eq!(
            check(&[CAP_NET_ADMIN, CAP_PERFMON]).unwrap_err(),
            "no privilege: missing CAP_NET_RAW to open AF_XDP sockets, CAP_BPF to load it; \
             start it as root, or give it `setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon+ep`"
        );
    }

    #[test]
    fn all_are_dropped_for_this_thread_and_those_it_starts() {
        let sets = [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient];
        let held = move || sets.map(|set| caps::read(None, set).unwrap().len());
        let before = held();
        assert_eq!(without(|| thread::spawn(held).join().unwrap()), [0; 4]);
        assert_eq!(held(), before, "those of who asked stay");
    }
}
