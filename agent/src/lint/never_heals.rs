//! What the rules would never do. The shipped decision core is asked about a fleet of these groups in which all is well
//! but one machine: first one that its provider proves gone, then one that is only silent.

use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::identity::{Generation, MachineId};

use super::Case;
use super::Severity::{Error, Note, Warning};
use crate::fleet::limits::HOUR_MS;
use crate::fleet::{
    Allocation, Answer, FleetState, GroupSpec, HealMode, Machine, MemberEvidence, MemberStatus,
    Outcome, Path, ProviderEvidence, ProviderWord, Subject, WitnessEvidence, count,
};
use crate::heal::{Authority, MachineEvidence, Situation, decide};
use crate::simulate::filled_fleet;

/// More machines of one group prove nothing more.
const SIZE_MAX: u32 = 40;

/// How long the machine has been gone or silent: longer than anything is waited for.
const SINCE_MS: u64 = 40 * 24 * HOUR_MS;

pub(super) fn look(case: &mut Case<'_>) {
    let specs: Vec<GroupSpec> = case.specs.iter().map(smaller).collect();
    let total: usize = specs.iter().map(GroupSpec::desired).sum();
    if total == 1 {
        let what = "a fleet of one machine has nobody who could heal it";
        case.find(
            Note,
            "nobody-is-left",
            (0, ""),
            what,
            "apply it to a fleet with others, or have three",
        );
        return;
    }
    let Ok((state, leader, now_ms)) = filled_fleet(&specs) else {
        return;
    };
    for (at, spec) in case.specs.iter().enumerate() {
        if spec.heal.mode == HealMode::Observe {
            continue;
        }
        let Some(victim) = state.group_machines(&spec.id).next() else {
            continue;
        };
        // Whoever is lost does not lead.
        let others = state.electors().map(|machine| machine.id);
        let leads = std::iter::once(leader)
            .chain(others)
            .find(|id| *id != victim.id);
        let Some(leads) = leads else { continue };
        let asked = |proved| held(&state, leads, now_ms + SINCE_MS, victim, proved);
        if let Some((rule, detail)) = asked(true) {
            let what = format!(
                "a machine of it that is proved gone is never replaced; `{rule}` holds: {detail}"
            );
            let remedy = "see what the rule asks for in docs/healing.md";
            case.find(Error, "never-heals", (at, ""), what, remedy);
        } else if let Some((rule, detail)) = asked(false) {
            let what = format!(
                "among {} one that falls silent is never replaced unless it is proved gone; `{rule}` holds: {detail}",
                count(total, "machine")
            );
            let remedy = "with three machines or more in the fleet a majority is left";
            case.find(Note, "never-heals-silence", (at, ""), what, remedy);
        }
    }
    let outsized = |spec: &&GroupSpec| spec.desired() > crate::fleet::limits::MACHINES_MAX / 2;
    if let Some(at) = case.specs.iter().position(|spec| outsized(&spec)) {
        let what = "replacements need room beside the machines that they replace";
        case.find(
            Warning,
            "no-room",
            (at, "size"),
            what,
            "declare half of what a fleet may have, at most",
        );
    }
}

fn smaller(spec: &GroupSpec) -> GroupSpec {
    let mut spec = spec.clone();
    if let Allocation::Cattle { size } = &mut spec.allocation {
        *size = (*size).min(SIZE_MAX);
    }
    spec
}

/// The rule that keeps a machine from being replaced, if one does.
fn held(
    state: &FleetState,
    leader: MachineId,
    now_ms: u64,
    victim: &Machine,
    proved: bool,
) -> Option<(String, String)> {
    let situation = situation(state, leader, now_ms, victim.id, proved);
    let plan = decide(state, &situation);
    let subject = Subject::Machine(victim.id);
    let decided = plan
        .proposals
        .iter()
        .find(|proposal| proposal.subject == subject);
    match decided.map(|proposal| &proposal.outcome) {
        Some(Outcome::Hold { rule, detail, .. }) => Some((rule.to_string(), detail.to_string())),
        _ => None,
    }
}

fn situation(
    state: &FleetState,
    leader: MachineId,
    now_ms: u64,
    victim: MachineId,
    proved: bool,
) -> Situation {
    let since_ms = now_ms - SINCE_MS;
    let well: BTreeSet<MachineId> = state
        .electors()
        .map(|machine| machine.id)
        .filter(|id| *id != victim)
        .collect();
    let member = |status| MemberEvidence {
        status,
        since_ms,
        generation: Generation(1),
    };
    let alive = || MachineEvidence {
        member: Some(member(MemberStatus::Alive)),
        ..MachineEvidence::default()
    };
    let mut machines: BTreeMap<_, _> = well.iter().map(|id| (*id, alive())).collect();
    let provider = ProviderEvidence {
        word: if proved {
            ProviderWord::Stopped
        } else {
            ProviderWord::Running
        },
        can_prove_off: true,
        can_reboot: true,
        can_power_cycle: true,
        can_reimage: false,
        is_hardware: false,
        list_lag_ms: 0,
        at_ms: now_ms,
    };
    let report = |by: &MachineId| WitnessEvidence {
        by: *by,
        zone: None,
        rack: None,
        path: Path::Probe,
        answer: Answer::Silent,
        at_ms: now_ms,
    };
    let seen = MachineEvidence {
        member: Some(member(MemberStatus::Down)),
        record: None,
        provider: Some(provider),
        witnesses: well.iter().take(4).map(report).collect(),
        works_since_ms: None,
        silences: 0,
    };
    machines.insert(victim, seen);
    Situation {
        now_ms,
        leader,
        term: state.term,
        leader_since_ms: since_ms,
        watching_since_ms: since_ms,
        authority: Authority {
            quorum_confirmed: true,
            rivalled: false,
            voters: 1,
            voters_reachable: 1,
            acknowledged: well,
            proven_gone: if proved {
                BTreeMap::from([(victim, since_ms)])
            } else {
                BTreeMap::new()
            },
        },
        machines,
        strangers: Vec::new(),
    }
}
