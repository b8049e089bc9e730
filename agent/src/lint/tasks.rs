//! The flavor's commands: looks at the workload's health, draining, stopping.

use muster_flavors::HealthPlan;
use muster_flavors::run::CommandLine;
use muster_flavors::vanilla::{Quorum, Task, VanillaConfig};

use super::Case;
use super::Severity::{Error, Warning};
use crate::execute::STEP_DEADLINE;
use crate::fleet::limits::{DRAIN_ATTEMPTS_MAX, MINUTE_MS, SECOND_MS};
use crate::fleet::{GroupSpec, count, span};
use crate::spec::for_flavor;

/// A failed workload should be noticed within this time.
const NOTICED_MS_MAX: u64 = 10 * MINUTE_MS;
/// Looking more often costs more than it tells.
const INTERVAL_MS_MIN: u64 = SECOND_MS;

pub(super) fn look(case: &mut Case<'_>) {
    for (at, spec) in case.specs.iter().enumerate() {
        if let Some(config) = vanilla(spec) {
            let drained = format!("after {DRAIN_ATTEMPTS_MAX} tries the machine goes undrained");
            task(
                case,
                (at, "flavor.properties.drain.timeout"),
                config.drain.as_ref(),
                &drained,
            );
            let restarted = "the restart counts as failed while it still runs";
            task(
                case,
                (at, "flavor.properties.restart.timeout"),
                config.restart.as_ref(),
                restarted,
            );
            let stopped = "the stop counts as failed while it still runs";
            task(
                case,
                (at, "flavor.properties.stop.timeout"),
                config.stop.as_ref(),
                stopped,
            );
            if let Some(health) = &config.health {
                noticing(case, at, &health.plan);
                starting(case, at, spec, &health.plan);
                always_failing(case, at, &health.command);
            }
            votes(case, at, spec, &config);
        }
    }
}

fn task(case: &mut Case<'_>, place: (usize, &'static str), task: Option<&Task>, then: &str) {
    let (timeout_ms, deadline_ms) = (task.map_or(0, |task| ms(task.timeout)), ms(STEP_DEADLINE));
    if timeout_ms > deadline_ms {
        let (may, ends) = (span(timeout_ms), span(deadline_ms));
        let what = format!("it may take {may}, and a step ends after {ends}: {then}");
        let remedy = format!("write timeout = \"{}s\" or less", deadline_ms / SECOND_MS);
        case.find(Error, "task-outlasts-step", place, what, remedy);
    }
}

fn noticing(case: &mut Case<'_>, at: usize, plan: &HealthPlan) {
    let (interval_ms, failures) = (ms(plan.interval), u64::from(plan.failures));
    let noticed_ms = interval_ms
        .saturating_mul(failures)
        .saturating_add(ms(plan.timeout));
    if noticed_ms > NOTICED_MS_MAX {
        let what = format!(
            "a workload that fails is noticed after {} only",
            span(noticed_ms)
        );
        let remedy = "look more often, or take fewer failures in a row for enough";
        case.find(
            Warning,
            "health-blind",
            (at, "flavor.properties.health"),
            what,
            remedy,
        );
    }
    if failures == 1 {
        let what = "one look that fails is taken for a failed workload";
        let place = (at, "flavor.properties.health.failures");
        case.find(
            Warning,
            "health-hair-trigger",
            place,
            what,
            "write failures = 3",
        );
    }
    if interval_ms < INTERVAL_MS_MIN {
        let what = format!(
            "the command runs every {} on every machine",
            span(interval_ms)
        );
        let place = (at, "flavor.properties.health.interval");
        case.find(
            Warning,
            "health-too-often",
            place,
            what,
            "write interval = \"10s\"",
        );
    }
}

/// The command that is there to fail.
fn always_failing(case: &mut Case<'_>, at: usize, command: &CommandLine) {
    let name = match command {
        CommandLine::Shell(line) => line.trim(),
        CommandLine::Program(words) => words.first().map_or("", String::as_str),
    };
    if matches!(name, "false" | "/bin/false" | "/usr/bin/false") {
        let what = format!("`{name}` always fails, so every machine's workload counts as failed");
        let place = (at, "flavor.properties.health.command");
        let remedy = "write a command that succeeds while the workload works";
        case.find(Error, "health-always-fails", place, what, remedy);
    }
}

/// A workload that needs all of its members lets none of them go.
fn votes(case: &mut Case<'_>, at: usize, spec: &GroupSpec, config: &VanillaConfig) {
    let members = spec.desired();
    if config.quorum == Quorum::Majority && (1..=2).contains(&members) {
        let what = format!(
            "more than half of {} is all of them, so none that may serve is ever drained, rebooted or replaced",
            count(members, "member")
        );
        let place = (at, "flavor.properties.quorum");
        let remedy = "have three members or more, or write quorum = \"none\"";
        case.find(Warning, "majority-of-all", place, what, remedy);
    }
}

fn starting(case: &mut Case<'_>, at: usize, spec: &GroupSpec, plan: &HealthPlan) {
    let well_ms = ms(plan.interval).saturating_mul(u64::from(plan.successes));
    if well_ms > spec.heal.boot_grace_ms {
        let (well, boot) = (span(well_ms), span(spec.heal.boot_grace_ms));
        let what =
            format!("a new machine counts as well after {well}, and its boot grace is {boot}");
        let remedy = "write fewer successes, or a longer heal.boot_grace";
        let place = (at, "flavor.properties.health.successes");
        case.find(Warning, "health-outlasts-boot", place, what, remedy);
    }
}

pub(super) fn vanilla(spec: &GroupSpec) -> Option<VanillaConfig> {
    let allocation = for_flavor(&spec.allocation);
    (spec.flavor.name == muster_flavors::vanilla::KIND.name)
        .then(|| VanillaConfig::read(&spec.flavor.properties, &allocation).ok())
        .flatten()
}

pub(super) fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
