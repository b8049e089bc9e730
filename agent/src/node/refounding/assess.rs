//! What an operator has to know before the log is founded anew without most of the roster. Pure.
//!
//! Nobody can prove what the machines that are missing do. So this says what is known, what may be lost, what speaks
//! against it, and what makes it impossible or needless; a person decides.

use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::consensus::{At, LogGeneration, Seat};
use muster_mesh::identity::MachineId;
use sha2::{Digest as _, Sha256};

use super::ballots::{Rosters, Stands, furthest, majority};
use crate::fleet::{MemberStatus, span};

/// The generations that follow on one another without an operator. An order to recover begins the next such block, at a
/// place that is drawn: whatever the rest of the fleet founds meanwhile, or is ordered to, is another log.
const BLOCK: u64 = 1_000_000;

/// So many blocks further than one's own log an honest machine may be, which knows of orders that came to nothing.
const BLOCKS_AHEAD: u64 = 100;

/// A machine that has been missing for less may be starting, in milliseconds.
const RECENT_MS: u64 = 120_000;

/// Machines that fell silent within this time of each other may have been cut off together, in milliseconds.
const TOGETHER_MS: u64 = 10_000;

/// How the mesh has one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// What is believed of it.
    pub status: MemberStatus,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Whether it says that it can't use its log.
    pub log_failed: bool,
}

/// All that is known.
pub(super) struct Sight<'a> {
    /// The machine that would found the log.
    pub me: MachineId,
    /// Its log.
    pub ours: LogGeneration,
    /// Whether it takes most coordinators for lost.
    pub orphaned: bool,
    /// The coordinators, by its copy.
    pub voters: &'a BTreeMap<Seat, MachineId>,
    /// The rosters of all that answered.
    pub rosters: &'a Rosters,
    /// All that belong to the fleet, by its copy, also those that are unaccounted for: those on the rosters count, and an
    /// operator's order may count on the rest.
    pub members: &'a BTreeSet<MachineId>,
    /// What those say.
    pub stands: &'a Stands,
    /// How the mesh has each machine; one that is missing was not heard of since this agent's start.
    pub seen: &'a BTreeMap<MachineId, Seen>,
    /// How far the log was known to be by gossip.
    pub announced: Option<u64>,
    /// The present, in milliseconds since 1970.
    pub now_ms: u64,
}

/// What an operator has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assessment {
    /// Machines of a roster that answer.
    pub present: BTreeSet<MachineId>,
    /// Those that don't.
    pub absent: BTreeSet<MachineId>,
    /// Who has most of the log, and how much.
    pub newest: Option<(MachineId, At)>,
    /// What may be lost.
    pub loss: Loss,
    /// What speaks against it, and only a person can say.
    pub doubts: Vec<Doubt>,
    /// What makes it impossible or needless.
    pub obstacle: Option<Obstacle>,
}

/// What may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing: whatever was committed is on a machine that answers.
    Nothing,
    /// What came after this index, if anything did.
    After {
        /// The last entry that a machine has that answers.
        index: u64,
        /// How far the log was known to be, where that is further.
        announced: Option<u64>,
    },
}

/// What speaks against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The mesh takes them for alive, and they don't answer.
    Mute(BTreeSet<MachineId>),
    /// They are suspected only.
    Suspected(BTreeSet<MachineId>),
    /// They were there a moment ago.
    Recent(BTreeSet<MachineId>),
    /// They fell silent together, as machines do that are cut off.
    Together(BTreeSet<MachineId>),
    /// This machine has not heard of them since its start, and can't say since when they are gone.
    Unheard(BTreeSet<MachineId>),
}

/// What makes it impossible or needless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Somebody has a later log, or an operator's order for one.
    Outlived(LogGeneration),
    /// Most coordinators are there.
    NotLost,
    /// These machines take most coordinators for there.
    Reached(BTreeSet<MachineId>),
    /// A roster that some machine has could not be fetched.
    UnknownRoster,
    /// No machine that answers has the CA's key.
    NoKey,
    /// This machine has not got the CA's key; these have.
    KeyElsewhere(BTreeSet<MachineId>),
    /// More than half of the roster agree: they do it by themselves.
    ByItself,
}

/// Takes stock.
pub(super) fn assess(sight: &Sight<'_>) -> Assessment {
    let roster = sight.rosters.values().flatten().chain(sight.members);
    let roster: BTreeSet<MachineId> = roster.copied().collect();
    let present: BTreeSet<MachineId> = roster
        .iter()
        .copied()
        .filter(|machine| sight.stands.contains_key(machine))
        .collect();
    let absent: BTreeSet<MachineId> = roster.difference(&present).copied().collect();
    let newest = furthest(sight.me, sight.stands)
        .and_then(|machine| Some((machine, sight.stands.get(&machine)?.at?)));
    Assessment {
        loss: loss(sight, &present, newest),
        doubts: doubts(sight, &absent),
        obstacle: obstacle(sight, &present),
        present,
        absent,
        newest,
    }
}

impl Assessment {
    /// A short mark that changes with what would be done: an order that was given on another assessment is refused.
    pub(super) fn mark(&self) -> String {
        let mut hash = Sha256::new();
        for machines in [&self.present, &self.absent] {
            for machine in machines {
                hash.update(machine.get().to_be_bytes());
            }
            hash.update([0]);
        }
        data_encoding::HEXLOWER.encode(&hash.finalize()[..6])
    }
}

/// Whether a log that is later than `ours` belongs to another operator's order: it may act without more than half of the
/// roster.
pub(super) fn is_ordered_after(ours: LogGeneration, later: LogGeneration) -> bool {
    later.0 / BLOCK > ours.0 / BLOCK
}

/// Whether a machine that follows `ours` may have come to know of `later`: one order is given before the next is, and whoever
/// names a log that is further off has invented it. If it were believed there would soon be no number left.
pub(super) fn is_plausible_after(ours: LogGeneration, later: LogGeneration) -> bool {
    later.0 / BLOCK <= (ours.0 / BLOCK).saturating_add(BLOCKS_AHEAD)
}

/// The generation of a log that is founded by order. `drawn` is any number; that of a rival order is another one.
pub(super) fn generation(ours: LogGeneration, stands: &Stands, drawn: u64) -> LogGeneration {
    let known = stands.values().map(super::ballots::Stand::latest);
    let latest = known.filter(|later| is_plausible_after(ours, *later)).max();
    let latest = latest.unwrap_or(ours).max(ours).0;
    let block = (latest / BLOCK).saturating_add(1).saturating_mul(BLOCK);
    // The upper part of a block is left for what follows without an order.
    LogGeneration(block.saturating_add(drawn % (BLOCK / 2)))
}

fn loss(sight: &Sight<'_>, present: &BTreeSet<MachineId>, newest: Option<(MachineId, At)>) -> Loss {
    let broken = |machine: &MachineId| sight.seen.get(machine).is_some_and(|one| one.log_failed);
    let lost = sight
        .voters
        .values()
        .filter(|machine| !present.contains(machine) || broken(machine))
        .count();
    if lost < sight.voters.len() / 2 + 1 {
        return Loss::Nothing;
    }
    let index = newest.map_or(0, |(_, at)| at.index);
    Loss::After {
        index,
        announced: sight.announced.filter(|announced| *announced > index),
    }
}

fn doubts(sight: &Sight<'_>, absent: &BTreeSet<MachineId>) -> Vec<Doubt> {
    let which = |check: &dyn Fn(Option<&Seen>) -> bool| -> BTreeSet<MachineId> {
        let all = absent.iter().copied();
        all.filter(|machine| check(sight.seen.get(machine)))
            .collect()
    };
    let is = |seen: Option<&Seen>, status| seen.is_some_and(|seen| seen.status == status);
    let recent = |seen: &Seen| {
        seen.status == MemberStatus::Down && sight.now_ms.saturating_sub(seen.since_ms) < RECENT_MS
    };
    let all = [
        Doubt::Mute(which(&|seen| is(seen, MemberStatus::Alive))),
        Doubt::Suspected(which(&|seen| is(seen, MemberStatus::Suspect))),
        Doubt::Recent(which(&|seen| seen.is_some_and(recent))),
        Doubt::Together(together(sight, absent)),
        Doubt::Unheard(which(&|seen| seen.is_none())),
    ];
    all.into_iter()
        .filter(|doubt| !doubt.machines().is_empty())
        .collect()
}

/// The most machines that fell silent together, if that are two or more.
fn together(sight: &Sight<'_>, absent: &BTreeSet<MachineId>) -> BTreeSet<MachineId> {
    let mut falls: Vec<(u64, MachineId)> = absent
        .iter()
        .filter_map(|machine| Some((sight.seen.get(machine)?, *machine)))
        .filter(|(seen, _)| seen.status == MemberStatus::Down)
        .map(|(seen, machine)| (seen.since_ms, machine))
        .collect();
    falls.sort_unstable();
    let near = |from: usize| {
        let first = falls[from].0;
        let rest = falls[from..].iter();
        rest.take_while(move |(at_ms, _)| at_ms.saturating_sub(first) <= TOGETHER_MS)
            .map(|(_, machine)| *machine)
            .collect::<BTreeSet<_>>()
    };
    let most = (0..falls.len()).map(near).max_by_key(BTreeSet::len);
    most.filter(|machines| machines.len() > 1)
        .unwrap_or_default()
}

fn obstacle(sight: &Sight<'_>, present: &BTreeSet<MachineId>) -> Option<Obstacle> {
    let stands = sight.stands;
    let later = stands.values().map(|stand| stand.generation).max();
    if let Some(later) = later.filter(|later| *later > sight.ours) {
        return Some(Obstacle::Outlived(later));
    }
    if !sight.orphaned {
        return Some(Obstacle::NotLost);
    }
    let reach = stands.iter().filter(|(_, stand)| !stand.orphaned);
    let reach: BTreeSet<_> = reach.map(|(machine, _)| *machine).collect();
    if !reach.is_empty() {
        return Some(Obstacle::Reached(reach));
    }
    if stands
        .values()
        .any(|stand| !sight.rosters.contains_key(&stand.roster))
    {
        return Some(Obstacle::UnknownRoster);
    }
    let keys = stands.iter().filter(|(_, stand)| stand.has_key);
    let keys: BTreeSet<_> = keys.map(|(machine, _)| *machine).collect();
    if keys.is_empty() {
        return Some(Obstacle::NoKey);
    }
    if majority(sight.rosters, present).is_ok() {
        return Some(Obstacle::ByItself);
    }
    (!keys.contains(&sight.me)).then_some(Obstacle::KeyElsewhere(keys))
}

impl Doubt {
    fn machines(&self) -> &BTreeSet<MachineId> {
        match self {
            Self::Mute(machines)
            | Self::Suspected(machines)
            | Self::Recent(machines)
            | Self::Together(machines)
            | Self::Unheard(machines) => machines,
        }
    }

    /// In words, with the machines' names.
    pub(super) fn say(&self, names: &dyn Fn(&BTreeSet<MachineId>) -> String) -> String {
        let who = names(self.machines());
        match self {
            Self::Mute(_) => format!("alive in the mesh, and without an answer to this: {who}"),
            Self::Suspected(_) => format!("suspected only, not given up: {who}"),
            Self::Recent(_) => format!(
                "there less than {} ago, so they may be starting: {who}",
                span(RECENT_MS)
            ),
            Self::Together(_) => format!(
                "fell silent within {} of each other, as machines do that are cut off and run on: {who}",
                span(TOGETHER_MS)
            ),
            Self::Unheard(_) => {
                format!("not heard of since the asked agent started: {who}")
            }
        }
    }
}

impl Obstacle {
    /// In words, and what to do.
    pub(super) fn say(&self, names: &dyn Fn(&BTreeSet<MachineId>) -> String) -> (String, String) {
        let (what, remedy) = match self {
            Self::Outlived(later) => (
                format!("generation {later} of the log is there already"),
                "wait: this machine follows it in a moment".to_owned(),
            ),
            Self::NotLost => (
                "most coordinators are there, as far as this machine can tell".to_owned(),
                "nothing is to be recovered; `muster status` says what holds, and `muster forget NAME` takes a machine \
                 off the roster that is certain to be gone"
                    .to_owned(),
            ),
            Self::Reached(machines) => (
                format!(
                    "{} can't tell that most coordinators are lost, or still reach them",
                    names(machines)
                ),
                "wait two minutes, in which they find out, or mend the network between them and this machine".to_owned(),
            ),
            Self::UnknownRoster => (
                "a machine has another roster, and did not tell it".to_owned(),
                "try again; if that goes on, restart the agents that are there".to_owned(),
            ),
            Self::NoKey => (
                "no machine that answers has the CA's key, so none could let others in or renew a certificate".to_owned(),
                "bring a former coordinator back, or its data directory to another computer".to_owned(),
            ),
            Self::KeyElsewhere(machines) => (
                "this machine has not got the CA's key".to_owned(),
                format!("run it on {}", names(machines)),
            ),
            Self::ByItself => (
                "more than half of the roster are there and agree: they found the log anew by themselves".to_owned(),
                "wait half a minute; `muster status` says why it takes longer".to_owned(),
            ),
        };
        (what, remedy)
    }
}

#[cfg(test)]
#[path = "assess_tests.rs"]
mod tests;
