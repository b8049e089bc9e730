//! Whether the log may be founded anew: what machines say, and what follows from it. Pure.
//!
//! Each machine of the roster promises one machine one generation of the log, durably, and stands behind no leader of
//! a lower one from then on ([`Promise`](crate::node::authority::Promise)). A generation that more than half of the
//! roster has promised to one machine can be promised to no other, and no leader of an older log finds more than half
//! of the roster behind it any more, once the acknowledgements that it held have run out. The roster may have changed
//! in entries that not everybody has, so there must be more than half of every roster that any answer comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use muster_mesh::consensus::{At, LogGeneration};
use muster_mesh::identity::MachineId;
use serde::{Deserialize, Serialize};

use super::assess::is_plausible_after;
use crate::fleet::Recovered;
use crate::node::authority::Ballot;

/// Which machines may acknowledge, as a short number that differs where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct RosterMark(pub [u8; 16]);

/// What one machine says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stand {
    /// The log that its copy is of.
    pub generation: LogGeneration,
    /// How far its copy is.
    pub at: Option<At>,
    /// Its highest promise.
    pub promised: Option<Ballot>,
    /// Whether most coordinators are lost, as far as it can tell.
    pub orphaned: bool,
    /// The roster in its copy.
    pub roster: RosterMark,
    /// Whether it has the CA's key, without which no log can be founded.
    pub has_key: bool,
    /// What shows that the log that it follows was founded by an operator's order, if one of its logs was.
    pub recovered: Option<Recovered>,
    /// Whether it helps no leader of its log any more, or knows that none can act.
    pub given_up: bool,
}

impl Stand {
    /// How much of the log it has, to be compared.
    fn rank(&self) -> (LogGeneration, Option<(u64, u64)>) {
        (self.generation, self.at.map(|at| (at.term, at.index)))
    }

    /// Whether the log `ours` may end as far as this machine goes: most coordinators are lost, or it has given the log up, or
    /// promised a later one, and stands behind no leader of this one even when they come back.
    fn lets_go(&self, ours: LogGeneration) -> bool {
        let promised = self.promised.map_or(0, |ballot| ballot.generation);
        self.orphaned || self.given_up || promised > ours.0
    }

    /// The latest log that it knows to have been tried.
    pub(super) fn latest(&self) -> LogGeneration {
        let promised = self.promised.map_or(0, |ballot| ballot.generation);
        self.generation.max(LogGeneration(promised))
    }
}

/// Why the log is not founded anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hold {
    /// There is a later log already.
    Outlived(LogGeneration),
    /// Too few machines of a roster agree.
    TooFew {
        /// How many do.
        have: usize,
        /// Of how many.
        of: usize,
    },
    /// Too few machines of a roster promise it.
    Unpromised {
        /// How many do.
        have: usize,
        /// Of how many.
        of: usize,
    },
    /// A roster that some machine has could not be fetched.
    UnknownRoster,
    /// This machine does not hold the CA's key; without it no machine could be let in or keep its certificate.
    NoKey,
    /// This machine's own log can't be read or written; others go first.
    OwnLog,
    /// This machine itself would not promise the new log yet.
    Unwilling,
    /// It was tried, and failed.
    Failed(String),
}

impl Hold {
    /// The same where machines were asked for their promise, and not how things stand.
    pub(super) fn of_promises(self) -> Self {
        match self {
            Self::TooFew { have, of } => Self::Unpromised { have, of },
            other => other,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outlived(generation) => {
                write!(f, "generation {generation} of the log is there already")
            }
            Self::TooFew { have, of } => write!(
                f,
                "{have} of {of} machines say that most coordinators are lost; more than half ({}) must. Where the others are gone for good, see `muster recover`",
                of / 2 + 1
            ),
            Self::Unpromised { have, of } => write!(
                f,
                "{have} of {of} machines would stand behind a log that this machine founds; more than half ({}) must. The others don't answer, or have promised another one a moment ago",
                of / 2 + 1
            ),
            Self::UnknownRoster => f.write_str("a machine has another roster, and did not tell it"),
            Self::NoKey => {
                f.write_str("only a machine that was a coordinator, and has the CA's key, can; see `muster recover` there")
            }
            Self::OwnLog => f.write_str("its own log can't be read or written, so others go first"),
            Self::Unwilling => f.write_str("this machine has promised another one, or finds most coordinators there by now"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// The rosters that count, by their marks.
pub(crate) type Rosters = BTreeMap<RosterMark, BTreeSet<MachineId>>;

/// What the machines that answered say.
pub(crate) type Stands = BTreeMap<MachineId, Stand>;

/// Whether more than half of every roster is in `agreeing`.
///
/// # Errors
/// With the roster that lacks most.
pub(crate) fn majority(rosters: &Rosters, agreeing: &BTreeSet<MachineId>) -> Result<(), Hold> {
    let counts = rosters.values().map(|roster| {
        let have = roster.intersection(agreeing).count();
        (have, roster.len())
    });
    let short = counts.filter(|(have, of)| *have * 2 <= *of);
    match short.min_by_key(|(have, of)| (of / 2 + 1).abs_diff(*have)) {
        Some((have, of)) => Err(Hold::TooFew { have, of }),
        None if rosters.is_empty() => Err(Hold::TooFew { have: 0, of: 0 }),
        None => Ok(()),
    }
}

/// The generation to ask promises for, if most machines find that the coordinators are lost, or the log can't act any more.
/// `ours` is the log that would be gone on from.
///
/// # Errors
/// Why it must not be tried.
pub(crate) fn next_generation(
    ours: LogGeneration,
    rosters: &Rosters,
    stands: &Stands,
) -> Result<LogGeneration, Hold> {
    if let Some(later) = there_is_later(ours, stands) {
        return Err(Hold::Outlived(later));
    }
    if stands
        .values()
        .any(|stand| !rosters.contains_key(&stand.roster))
    {
        return Err(Hold::UnknownRoster);
    }
    let agreeing = stands.iter().filter(|(_, stand)| stand.lets_go(ours));
    let mut abandoned = rosters.values();
    if !abandoned.any(|roster| is_abandoned(ours, roster, stands)) {
        majority(rosters, &agreeing.map(|(machine, _)| *machine).collect())?;
    }
    let known = stands.values().map(Stand::latest);
    let known = known.filter(|later| is_plausible_after(ours, *later));
    let latest = known.max().unwrap_or(ours);
    Ok(LogGeneration(latest.max(ours).0.saturating_add(1)))
}

/// The latest log after `ours` that somebody has, or shows that an operator had it founded.
fn there_is_later(ours: LogGeneration, stands: &Stands) -> Option<LogGeneration> {
    let known = stands.values().map(|stand| {
        let ordered = stand.recovered.as_ref().map_or(0, |one| one.generation);
        stand.generation.max(LogGeneration(ordered))
    });
    known.max().filter(|later| *later > ours)
}

/// Whether no leader of the log `ours` can act any more although its coordinators may all be there: somebody has promised a
/// later log, which nobody has, and those that are left to stand behind `ours` are no more than half of the roster.
pub(in crate::node) fn is_abandoned(
    ours: LogGeneration,
    roster: &BTreeSet<MachineId>,
    stands: &Stands,
) -> bool {
    let of_roster = || {
        stands
            .iter()
            .filter(|(machine, _)| roster.contains(machine))
            .map(|(_, stand)| stand.latest())
    };
    let left = of_roster().filter(|latest| *latest <= ours).count();
    let promised = of_roster().any(|latest| latest > ours);
    promised && left * 2 <= roster.len() && there_is_later(ours, stands).is_none()
}

/// Whether coordinators that have not promised may go on from the old log without those that have: there are enough of them,
/// and somebody takes them for there.
pub(super) fn may_go_on(voters: &[MachineId], granted: &Stands) -> bool {
    let others = voters.iter().filter(|voter| !granted.contains_key(voter));
    let are_seen = granted.values().any(|stand| !stand.orphaned);
    are_seen && others.count() * 2 > voters.len()
}

/// The machine with most of the log; `me` where another has no more.
pub(in crate::node) fn furthest(me: MachineId, stands: &Stands) -> Option<MachineId> {
    let rank = |(machine, stand): &(&MachineId, &Stand)| (stand.rank(), **machine == me);
    stands.iter().max_by_key(rank).map(|(machine, _)| *machine)
}

/// Which later log than `ours` has been founded, as far as this can be told: the latest one of which more than half of the
/// roster have promised it or a later one, so that no leader of an earlier log can ever act again. Or one that somebody
/// follows, where those that are left to stand behind `ours` are no more than half of the roster: then no leader of `ours` can
/// act now, and those of the later one may need this very machine. What fewer have promised and nobody has may come to nothing,
/// and keeps nobody from following the log that is there.
pub(in crate::node) fn outlived(
    ours: LogGeneration,
    roster: &BTreeSet<MachineId>,
    stands: &Stands,
) -> Option<LogGeneration> {
    let of_roster = || {
        let stands = stands.iter();
        stands
            .filter(|(machine, _)| roster.contains(machine))
            .map(|(_, stand)| stand)
    };
    let mut latest: Vec<LogGeneration> = of_roster().map(Stand::latest).collect();
    latest.sort_unstable_by(|one, two| two.cmp(one));
    let promised_by_most = latest.get(roster.len() / 2).copied();
    let left = latest.iter().filter(|latest| **latest <= ours).count();
    let there = of_roster().map(|stand| stand.generation).max();
    let there = there.filter(|_| left * 2 <= roster.len());
    promised_by_most.max(there).filter(|later| *later > ours)
}

#[cfg(test)]
#[path = "ballots_tests.rs"]
mod tests;
