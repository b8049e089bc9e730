//! What makes one set of voters better than another.

use std::collections::BTreeMap;

/// How much a voter is worth keeping, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Leads: replacing it costs an election.
    Leader,
    /// Votes, answers, and nobody says anything bad of it.
    Well,
    /// Votes. The membership calls it down, or it has been silent for a moment; neither is enough to take its vote.
    Doubtful,
    /// Could vote at once.
    Ready,
    /// Votes and leaves: any successor is better, and none is worse.
    Leaving,
    /// Votes and has not answered the leader for long.
    Failed,
    /// Votes, and its machine is no part of the mesh any more.
    Gone,
}

/// How many coordinators each zone has.
#[derive(Debug, Default)]
pub(super) struct Spread<'a> {
    zones: BTreeMap<Option<&'a str>, usize>,
}

impl<'a> Spread<'a> {
    pub(super) fn add(&mut self, zone: Option<&'a str>) {
        *self.zones.entry(zone).or_default() += 1;
    }

    pub(super) fn count(&self, zone: Option<&str>) -> usize {
        self.zones.get(&zone).copied().unwrap_or_default()
    }
}
