//! Leases: whether a pet could run under its group's, and stop within it.

use muster_flavors::vanilla::VanillaConfig;

use super::Case;
use super::Severity::{Error, Note, Warning};
use super::tasks::{ms, vanilla};
use crate::fleet::limits::SECOND_MS;
use crate::fleet::{Allocation, GroupSpec, LeaseTerms, Unreachable, span};
use crate::heal::timing::DETECTION_MS;

/// Until the coordinators have another leader, in milliseconds, as a rule. A lease that does not outlast it stops every
/// pet at each change of leadership.
const ELECTION_MS: u64 = 4 * SECOND_MS;

/// A pet's successor should be started within this time of its silence where nobody can prove it off.
const SAFE_START_MS: u64 = 20 * SECOND_MS;

pub(super) fn look(case: &mut Case<'_>) {
    for (at, spec) in case.specs.iter().enumerate() {
        let config = vanilla(spec);
        match spec.heal.lease {
            Some(terms) => {
                if let Some(config) = &config {
                    commands(case, at, &terms, config);
                }
                times(case, at, &terms);
                behind_power_cycle(case, at, spec);
                disks_out_of_reach(case, at, spec);
            }
            None => without(case, at, spec, config.as_ref()),
        }
    }
}

/// Whether the flavor can do what a lease needs.
fn commands(case: &mut Case<'_>, at: usize, terms: &LeaseTerms, config: &VanillaConfig) {
    let place = (at, "flavor.properties");
    let Some(stop) = &config.stop else {
        let what = "there is no command that stops the workload, so its machines get no lease";
        case.find(
            Error,
            "lease-without-stop",
            place,
            what,
            "write stop = { command = \"...\" }",
        );
        return;
    };
    if config.start.is_some() && config.restart.is_some() {
        let what = "under a lease a workload is restarted by `stop` and `start`, so this command never runs";
        let place = (at, "flavor.properties.restart");
        case.find(Warning, "restart-under-lease", place, what, "remove it");
    }
    if config.start.is_none() {
        let what = "there is no command that starts the workload, so its machines get no lease";
        case.find(
            Error,
            "lease-without-start",
            place,
            what,
            "write start = \"...\"",
        );
    }
    let (takes_ms, within_ms) = (ms(stop.timeout), terms.stop_ms);
    if takes_ms > within_ms {
        let (takes, within) = (exact(takes_ms), exact(within_ms));
        let what = format!(
            "stopping may take {takes}, and is cut short after {within}, when the lease ends"
        );
        let remedy = "write a longer heal.stop_within, or a shorter timeout";
        case.find(
            Warning,
            "lease-cuts-stop",
            (at, "heal.stop_within"),
            what,
            remedy,
        );
    }
}

/// A lease is there so that a successor starts soon; whoever has the power cycled first waits for whether that helps.
fn behind_power_cycle(case: &mut Case<'_>, at: usize, spec: &GroupSpec) {
    if spec.heal.unreachable != Some(Unreachable::PowerCycle) {
        return;
    }
    let what = format!(
        "a silent machine that runs, as its provisioner says, has {} after its power cycle, so the lease gains nothing",
        span(spec.heal.boot_grace_ms)
    );
    let remedy =
        "write unreachable = \"replace\", or no lease where the provisioner can prove machines off";
    let place = (at, "heal.unreachable");
    case.find(Warning, "lease-behind-power-cycle", place, what, remedy);
}

/// A time that was written, with its fraction of a second.
fn exact(ms: u64) -> String {
    match ms % SECOND_MS {
        0 => span(ms),
        rest => format!("{}.{} s", ms / SECOND_MS, rest / 100),
    }
}

fn times(case: &mut Case<'_>, at: usize, terms: &LeaseTerms) {
    let LeaseTerms { lease_ms, stop_ms } = *terms;
    if terms.run_ms() < terms.renew_ms() + ELECTION_MS {
        let (lease, stop) = (exact(lease_ms), exact(stop_ms));
        let needed = exact(terms.renew_ms() + ELECTION_MS);
        let what = format!(
            "of a lease of {lease}, stopping takes {stop}; renewing it and electing a leader takes {needed}, so a change \
             of leadership stops the workload"
        );
        let remedy = "write a longer lease, or a shorter stop_within";
        case.find(
            Warning,
            "lease-ends-in-election",
            (at, "heal.lease"),
            what,
            remedy,
        );
    }
    let start_ms = terms.over_ms().max(DETECTION_MS);
    if start_ms > SAFE_START_MS {
        let what = format!(
            "where nobody can prove a pet off, its successor starts {} after the last renewal",
            span(start_ms)
        );
        case.find(
            Note,
            "lease-slow",
            (at, "heal.lease"),
            what,
            "write lease = \"10s\" where that is too long",
        );
    }
}

/// Whether the machines of a group are out of reach by their own properties: nobody could tell whether one is off.
fn is_out_of_reach(spec: &GroupSpec) -> bool {
    let properties = spec.instance.properties.to_value();
    let is_set = properties.get("out_of_reach") == Some(&serde_json::Value::Bool(true));
    is_set && spec.instance.provisioner == muster_provisioners::process::NAME
}

/// A lease lets a successor start without a proof; its disk is still with the old machine.
fn disks_out_of_reach(case: &mut Case<'_>, at: usize, spec: &GroupSpec) {
    let Allocation::Pets { members } = &spec.allocation else {
        return;
    };
    let attached = members.values().find_map(|pet| pet.attachments.first());
    if let Some(attached) = attached.filter(|_| is_out_of_reach(spec)) {
        let what = format!(
            "nobody can prove these machines off, so `{}` stays with the old one, and no successor starts",
            attached.id
        );
        let remedy = "write members with attachments = [], or remove out_of_reach";
        let place = (at, "instance.properties.out_of_reach");
        case.find(Warning, "disk-out-of-reach", place, what, remedy);
    }
}

/// Pets that nobody could ever fence.
fn out_of_reach(case: &mut Case<'_>, at: usize, spec: &GroupSpec) {
    if is_out_of_reach(spec) {
        let what = "nobody can prove these machines off, and they run without a lease, so none is ever replaced";
        let place = (at, "instance.properties.out_of_reach");
        let remedy = "write heal.lease, with start and stop; or remove it";
        case.find(Error, "never-fenced", place, what, remedy);
    }
}

/// What only makes sense with a lease.
fn without(case: &mut Case<'_>, at: usize, spec: &GroupSpec, config: Option<&VanillaConfig>) {
    let pets = matches!(spec.allocation, Allocation::Pets { .. });
    if pets {
        out_of_reach(case, at, spec);
    }
    if config.is_some_and(|config| config.start.is_some()) {
        let what =
            "nothing runs `start` in a group without a lease: its workload starts with the machine";
        let remedy = match pets {
            true => "write heal.lease, or put the line into init",
            false => "put the line into init",
        };
        case.find(
            Warning,
            "start-without-lease",
            (at, "flavor.properties.start"),
            what,
            remedy,
        );
    }
}
