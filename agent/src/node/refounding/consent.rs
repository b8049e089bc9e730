//! Whether a machine promises a later log to the one that asks for it. Pure.

use std::fmt;

use muster_mesh::consensus::LogGeneration;
use muster_mesh::identity::MachineId;

use super::assess::is_ordered_after;
use super::ballots::Stands;
use crate::node::authority::Ballot;

/// What a machine knows when it is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    /// The log that it follows.
    pub ours: LogGeneration,
    /// Its highest promise.
    pub before: Option<Ballot>,
    /// To whom it has just promised a later log, if that one is there and may be about to found it.
    pub busy_with: Option<MachineId>,
    /// Whether the asking machine is one of those whose promises count.
    pub is_elector: bool,
    /// Whether the asking machine belongs to the fleet. An operator who orders a log vouches for those that are there, also
    /// for one that was unaccounted for.
    pub belongs: bool,
    /// Whether most coordinators are lost, as far as it can tell.
    pub orphaned: bool,
    /// Whether it has given its log up, having heard that most have promised a later one.
    pub given_up: bool,
}

/// Why it does not promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objection {
    /// It is asked on behalf of another one, or for a log that somebody leads.
    NotForItself,
    /// It follows a log that is as late.
    NotLater,
    /// The asking machine is not on the roster, or is unaccounted for.
    Stranger,
    /// It has just promised another one, which may be about to found its log.
    Busy(MachineId),
    /// Most coordinators are there.
    NotLost,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotForItself => {
                f.write_str("a machine can ask only for itself, and for a log without terms")
            }
            Self::NotLater => f.write_str("there is a log of that generation, or a later one"),
            Self::Stranger => f.write_str("it is not on the roster, or is unaccounted for"),
            Self::Busy(other) => write!(f, "it has just promised {other}"),
            Self::NotLost => f.write_str("most coordinators are there, as far as it can tell"),
        }
    }
}

/// What speaks against promising `ballot` to `from`.
pub(super) fn objection(
    situation: &Situation,
    from: MachineId,
    ballot: Ballot,
) -> Option<Objection> {
    let asked = LogGeneration(ballot.generation);
    if ballot.leader != from || ballot.term != 0 {
        return Some(Objection::NotForItself);
    }
    if asked <= situation.ours {
        return Some(Objection::NotLater);
    }
    let counts = if is_ordered_after(situation.ours, asked) {
        situation.belongs
    } else {
        situation.is_elector
    };
    if !counts {
        return Some(Objection::Stranger);
    }
    if let Some(other) = situation.busy_with.filter(|other| *other != from) {
        return Some(Objection::Busy(other));
    }
    let ends = situation.orphaned
        || situation.given_up
        || ends_here(situation.ours, situation.before, ballot);
    (!ends).then_some(Objection::NotLost)
}

/// Whether the coordinators of the log `ours` can lead it no more although most of them are there: too few of those that are
/// `there`, of so many, still stand behind it. What they say decides, not what a machine that follows them can see of them.
pub(super) fn have_let_go(
    ours: LogGeneration,
    (there, of): (&[MachineId], usize),
    stands: &Stands,
) -> bool {
    let stays = |voter: &&MachineId| {
        let stand = stands.get(voter);
        stand.is_none_or(|stand| stand.latest() <= ours && !stand.given_up)
    };
    there.iter().filter(stays).count() * 2 <= of
}

/// Whether a machine that follows the log `ours` has given that log up already, so that it need not find the coordinators
/// lost to promise `ballot`.
///
/// Whoever promised it, or another later log, stands behind no leader of `ours` any more, whether the coordinators come
/// back or not: to promise it once more takes nothing from the old log that it still has, and to refuse it would leave the
/// fleet with neither.
fn ends_here(ours: LogGeneration, before: Option<Ballot>, ballot: Ballot) -> bool {
    before.is_some_and(|before| before == ballot || before.generation > ours.0)
}

#[cfg(test)]
#[path = "consent_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod exchange;
