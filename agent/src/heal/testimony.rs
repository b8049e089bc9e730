//! What one witness says in all, having tried a suspect over several paths.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use crate::fleet::{Answer, Path, WitnessEvidence};

/// The last report of each witness on each path, of those that count.
pub(super) fn last_reports(
    reports: &[WitnessEvidence],
    counts: impl Fn(&WitnessEvidence) -> bool,
) -> Vec<&WitnessEvidence> {
    let mut last: BTreeMap<(MachineId, Path), &WitnessEvidence> = BTreeMap::new();
    for report in reports.iter().filter(|report| counts(report)) {
        let place = last.entry((report.by, report.path)).or_insert(report);
        if place.at_ms <= report.at_ms {
            *place = report;
        }
    }
    last.into_values().collect()
}

/// What one witness got, over all paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// An answer of the suspect, or of something that may be it.
    Answered,
    /// The host's word that nobody listens.
    Refused,
    /// Nothing that comes from the suspect.
    Silent,
}

/// The word of each witness. An answer on any path counts; but where a handshake proved that another machine listens at
/// the suspect's address, what its port said was not the suspect's.
pub(super) fn testimonies(reports: &[&WitnessEvidence]) -> BTreeMap<MachineId, Word> {
    let mut said: BTreeMap<MachineId, Vec<(Path, Answer)>> = BTreeMap::new();
    for report in reports {
        let paths = said.entry(report.by).or_default();
        paths.push((report.path, report.answer));
    }
    said.into_iter()
        .map(|(by, answers)| (by, word(&answers)))
        .collect()
}

fn word(answers: &[(Path, Answer)]) -> Word {
    let got = |answer: Answer| answers.iter().any(|(_, got)| *got == answer);
    let shaken = answers.contains(&(Path::Handshake, Answer::Answered));
    if shaken || got(Answer::Answered) && !got(Answer::Stranger) {
        Word::Answered
    } else if got(Answer::Refused) {
        Word::Refused
    } else {
        Word::Silent
    }
}
