//! Times that are too short to be true, too long to be meant, or that contradict each other.

use super::Case;
use super::Severity::{Error, Warning};
use crate::fleet::limits::{HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::fleet::{GroupSpec, HealMode, span};

/// What lost packets may look like for, and a machine that is moved while it runs.
const SILENCE_MS_MIN: u64 = 5 * SECOND_MS;
/// Hardly a cloud makes and boots a machine faster.
const BOOT_MS_MIN: u64 = 60 * SECOND_MS;
/// Whoever waits longer has hardly wanted healing.
const SILENCE_MS_MAX: u64 = 30 * MINUTE_MS;
/// Bare metal with a memory test takes half as long.
const BOOT_MS_MAX: u64 = HOUR_MS;

pub(super) fn look(case: &mut Case<'_>) {
    for (at, spec) in case.specs.iter().enumerate() {
        if spec.heal.mode != HealMode::Observe {
            silence(case, at, spec);
            boot(case, at, spec);
            change(case, at, spec);
        }
    }
}

fn silence(case: &mut Case<'_>, at: usize, spec: &GroupSpec) {
    let place = (at, "heal.unreachable_after");
    let silence_ms = spec.heal.unreachable_after_ms;
    if silence_ms < SILENCE_MS_MIN {
        let what = format!(
            "a machine that stands still for {} is replaced",
            span(silence_ms)
        );
        let remedy = "write unreachable_after = \"5s\", or longer where machines stand still while they are moved or copied";
        case.find(Warning, "silence-too-short", place, what, remedy);
    } else if silence_ms > SILENCE_MS_MAX {
        let what = format!(
            "a machine that falls silent is replaced after {} only",
            span(silence_ms)
        );
        let remedy = "write minutes; to leave that to people write mode = \"approve\"";
        case.find(Warning, "silence-too-long", place, what, remedy);
    }
}

fn boot(case: &mut Case<'_>, at: usize, spec: &GroupSpec) {
    let place = (at, "heal.boot_grace");
    let boot_ms = spec.heal.boot_grace_ms;
    let local = spec.instance.provisioner == muster_provisioners::process::NAME;
    if !local && boot_ms < BOOT_MS_MIN {
        let what = format!(
            "a machine that is not up within {} is given up, and another one made",
            span(boot_ms)
        );
        let remedy = "write boot_grace = \"10m\", or what your slowest boot takes, twice";
        case.find(Error, "boot-too-short", place, what, remedy);
    } else if boot_ms > BOOT_MS_MAX {
        let what = format!(
            "a machine that never comes up blocks its place in the budget for {}",
            span(boot_ms)
        );
        case.find(
            Warning,
            "boot-too-long",
            place,
            what,
            "write what your slowest boot takes, twice",
        );
    }
}

fn change(case: &mut Case<'_>, at: usize, spec: &GroupSpec) {
    let place = (at, "heal.change_grace");
    let change_ms = spec.heal.change_grace_ms;
    if change_ms > HOUR_MS {
        let what = format!(
            "after each change of the spec silence is put down to it for {}",
            span(change_ms)
        );
        let remedy = "write minutes; to stop healing for a while use `muster group pause`";
        case.find(Warning, "change-too-long", place, what, remedy);
    } else if change_ms == 0 {
        let what = "a change that silences its machines has them replaced at once, by machines that are changed alike";
        case.find(
            Warning,
            "no-change-grace",
            place,
            what,
            "write change_grace = \"60s\"",
        );
    }
}
