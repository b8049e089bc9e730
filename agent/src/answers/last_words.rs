//! Whose last words are meant, and putting together what several machines hold of them.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;
use muster_mesh::records::Vitals;

use super::desk::Heard;
use super::machine::no_machine;
use super::rows::health_level;
use super::snapshot::{Snapshot, at, number};
use crate::api::ApiError;
use crate::api::types::{HeldBy, LastWords, WordsRow};
use crate::fleet::{Diagnosis, EventKind, Phase, Subject};
use crate::health::Report;

/// How far apart a machine and those that it told may date one report, in milliseconds: as long as news takes to spread.
const SPREAD_MS: u64 = 10_000;

/// Reports that are shown, the latest.
const WORDS_SHOWN: usize = 500;

/// One machine, which may be no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) machine: MachineId,
    pub(super) namesakes: Vec<MachineId>,
}

/// The machine of this ID; or of this name: the last one of it that is gone, or the present one where none is.
///
/// # Errors
/// `not_found` when no machine on the roster or on record went by that name.
pub(super) fn find(snapshot: &Snapshot<'_>, text: &str) -> Result<Life, ApiError> {
    let lives = match text.parse() {
        Ok(id) => lives_of(snapshot, &snapshot.name_of(id)),
        Err(_) => lives_of(snapshot, text),
    };
    let is_there = |id: &MachineId| snapshot.world.is_active(*id);
    let latest_gone = lives.iter().rev().find(|id| !is_there(id));
    let machine = match text.parse() {
        Ok(id) => id,
        Err(_) => *latest_gone
            .or(lives.last())
            .ok_or_else(|| no_machine(text))?,
    };
    Ok(Life {
        machine,
        namesakes: lives.into_iter().filter(|id| *id != machine).collect(),
    })
}

/// All machines that were ever in the mesh under a name, as far as is remembered, in the order in which the log last
/// spoke of them; those on the roster come last.
fn lives_of(snapshot: &Snapshot<'_>, name: &str) -> Vec<MachineId> {
    let state = snapshot.state;
    let mut lives: BTreeMap<MachineId, (u64, u64)> = BTreeMap::new();
    for decision in &state.decisions {
        // One that never joined has not said anything.
        let joined = decision.proposal.cause.diagnosis() != Some(Diagnosis::NeverJoined);
        let named = decision
            .name
            .as_ref()
            .is_some_and(|known| known.as_str() == name);
        if let Subject::Machine(id) = decision.proposal.subject
            && named
            && joined
        {
            lives.insert(id, (decision.at_ms, 0));
        }
    }
    for event in &state.events {
        let named = event
            .name
            .as_ref()
            .is_some_and(|known| known.as_str() == name);
        if let Some(id) = event.machine
            && named
            && (event.kind == EventKind::Joined || lives.contains_key(&id))
        {
            lives.insert(id, (event.at_ms, event.number));
        }
    }
    let roster = state.machines.values();
    for machine in roster.filter(|machine| machine.name.as_str() == name) {
        if machine.phase == Phase::Ordered {
            lives.remove(&machine.id);
        } else {
            lives.insert(machine.id, (u64::MAX, machine.ordered_ms));
        }
    }
    let mut lives: Vec<_> = lives.into_iter().collect();
    lives.sort_by_key(|(id, order)| (*order, *id));
    lives.into_iter().map(|(id, _)| id).collect()
}

/// What all that were asked hold, each report once, by the time at which the first of them heard it.
pub(super) fn merge(snapshot: &Snapshot<'_>, life: &Life, heard: &[Heard]) -> LastWords {
    let mut words: Vec<WordsRow> = Vec::new();
    let mut own: Vec<WordsRow> = Vec::new();
    let mut reported: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    let mut ended_ms: Option<u64> = None;
    for heard in heard {
        let Some(held) = &heard.held else { continue };
        let by = snapshot.name_of(heard.by);
        for frame in &held.frames {
            let at_ms = heard.at_ms.saturating_sub(frame.age_ms);
            let key = (frame.generation, frame.version);
            match reported.get(&key) {
                _ if frame.version == 0 => own.push(row(key, at_ms, &frame.vitals, by.clone())),
                Some(index) => {
                    let row = &mut words[*index];
                    row.at_ms = row.at_ms.min(at_ms);
                    row.held_by.push(by.clone());
                }
                None => {
                    reported.insert(key, words.len());
                    words.push(row(key, at_ms, &frame.vitals, by.clone()));
                }
            }
        }
        let seen_ms = held
            .ended_age_ms
            .map(|age_ms| heard.at_ms.saturating_sub(age_ms));
        ended_ms = ended_ms.into_iter().chain(seen_ms).min();
    }
    take_in_own(&mut words, own);
    words.sort_by_key(|row| (row.at_ms, row.generation, row.report));
    words.drain(..words.len().saturating_sub(WORDS_SHOWN));
    words.iter_mut().for_each(|row| row.at = at(row.at_ms));
    LastWords {
        answer: snapshot.as_of(),
        name: snapshot.name_of(life.machine),
        machine_id: life.machine,
        namesakes: life.namesakes.clone(),
        ended_ms: ended_ms.filter(|_| !snapshot.world.is_active(life.machine)),
        asked: heard
            .iter()
            .map(|heard| HeldBy {
                name: snapshot.name_of(heard.by),
                answered: heard.held.is_some(),
                reports: number(heard.held.as_ref().map_or(0, |held| held.frames.len())),
            })
            .collect(),
        words,
    }
}

/// What the machine holds of itself has no numbers: some of it was told to others, and is theirs by what it says.
fn take_in_own(words: &mut Vec<WordsRow>, own: Vec<WordsRow>) {
    let told = words.len();
    let says = |row: &WordsRow| (row.health, row.reasons.clone(), row.readings.clone());
    for mut one in own {
        let same = words.iter_mut().take(told).find(|row| {
            row.generation == one.generation
                && row.at_ms.abs_diff(one.at_ms) <= SPREAD_MS
                && says(row) == says(&one)
        });
        match same {
            Some(row) => {
                row.at_ms = row.at_ms.min(one.at_ms);
                if !one.held_by.iter().all(|by| row.held_by.contains(by)) {
                    row.held_by.append(&mut one.held_by);
                }
            }
            None => words.push(one),
        }
    }
}

fn row((generation, version): (u64, u64), at_ms: u64, vitals: &Vitals, by: String) -> WordsRow {
    let report = Report::from(vitals);
    WordsRow {
        at: String::new(),
        at_ms,
        generation,
        report: (version > 0).then_some(version),
        health: health_level(report.level()),
        reasons: report.reasons(),
        readings: report
            .readings
            .named()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        held_by: vec![by],
    }
}
