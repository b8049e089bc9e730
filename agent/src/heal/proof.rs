//! What a provider's word proves: that a machine is off, unless its list may lag or somebody heard the machine.

use super::situation::MachineEvidence;
use super::testimony::{Word, last_reports, testimonies};
use super::timing::REPORT_MS;
use crate::fleet::{Machine, MemberStatus, Phase, ProviderEvidence, ProviderWord};

/// Whether its provider's word proves a machine off. It does not while the mesh or a witness gets an answer: slow is not
/// dead, and words may be of something that is over.
pub(super) fn is_proved_off(machine: &Machine, seen: &MachineEvidence) -> bool {
    let ours = machine.instance.is_some() || machine.order.is_some();
    let Some(provider) = seen.provider.as_ref().filter(|_| ours) else {
        return false;
    };
    let said_so = match provider.word {
        ProviderWord::Stopped => true,
        ProviderWord::Unknown => must_be_listed(machine, provider),
        ProviderWord::Running | ProviderWord::CannotSay { .. } => false,
    };
    said_so && !answers(machine, seen, provider.at_ms)
}

/// Whether an instance of this machine, if there were one, would be on the list. Lists lag: it may not be for some time
/// after it was made. When that was nobody knows, but that it was before it went on record and before its machine joined;
/// and where it never did, whether anything comes of its order is open until it is given up.
fn must_be_listed(machine: &Machine, provider: &ProviderEvidence) -> bool {
    let given_up_ms = match machine.phase {
        Phase::Lost { at_ms } => Some(at_ms),
        _ => None,
    };
    let age_ms = machine
        .made_by_ms()
        .or(given_up_ms)
        .and_then(|made_ms| provider.at_ms.checked_sub(made_ms));
    age_ms.is_some_and(|age_ms| age_ms >= provider.list_lag_ms)
}

/// Whether the mesh gets answers, or a witness got one after its provider's word of `word_ms`, or so shortly before that
/// a report is still good, and none of the same witness since.
fn answers(machine: &Machine, seen: &MachineEvidence, word_ms: u64) -> bool {
    let silent_ms = match seen.member {
        Some(member) if member.status == MemberStatus::Alive => return true,
        member => member.map_or(0, |member| member.since_ms),
    };
    let from_ms = silent_ms.max(word_ms.saturating_sub(REPORT_MS).saturating_add(1));
    let reports = last_reports(&seen.witnesses, |report| {
        report.at_ms >= from_ms && report.by != machine.id
    });
    testimonies(&reports)
        .values()
        .any(|word| *word == Word::Answered)
}
