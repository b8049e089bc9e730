//! A group as the fleet state keeps it: what it should be, and what was spent on healing it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::budget::Bucket;
use super::limits::{
    BACKOFF_MS_MIN, FAILED_ORDERS_MAX, FAILURES_KEPT_MAX, HOUR_MS, PET_REPLACED_MAX,
};
use super::names::{MachineName, Member};
use super::spec::{Allocation, GroupSpec, SpecRevision, Template};

/// How many boot graces one order takes that fails as slowly as may be: to join, on trial, and with four rungs before the next.
const FAILURE_GRACES: u64 = 6;

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What it should be.
    pub spec: GroupSpec,
    /// Which revision that is.
    pub revision: SpecRevision,
    /// The templates that its machines were made from, and the current one, by the revision that brought them.
    pub templates: BTreeMap<SpecRevision, Template>,
    /// Which of those is current.
    pub template: SpecRevision,
    /// When the specification last changed, in milliseconds since 1970.
    pub changed_ms: u64,
    /// The ordinal that the next cattle machine gets.
    pub next_ordinal: u64,
    /// What is left of the hour's heal budget.
    pub bucket: Bucket,
    /// When orders failed, oldest first, since one last succeeded, in milliseconds since 1970.
    pub failures: VecDeque<u64>,
    /// When each of its pets was replaced lately, oldest first, in milliseconds since 1970.
    pub replaced: BTreeMap<MachineName, VecDeque<u64>>,
    /// When its machines' workloads were first known to have formed an ensemble, in milliseconds since 1970; `None` before, and
    /// where they are none. What is founded is never founded again.
    pub ensemble_ms: Option<u64>,
    /// Whether all its machines are to go, and the group with them.
    pub destroying: bool,
}

impl Group {
    /// How many machines it should have; none while it is being destroyed.
    pub fn desired(&self) -> usize {
        if self.destroying {
            0
        } else {
            self.spec.desired()
        }
    }

    /// Whether these are all the members that it should have: as many as declared, and of pets those declared.
    pub fn is_made_of(&self, members: &[&Member]) -> bool {
        let is_declared = |member: &&Member| match (&self.spec.allocation, member) {
            (Allocation::Pets { members }, Member::Pet(name)) => members.contains_key(name),
            (Allocation::Cattle { .. }, Member::Cattle(_)) => true,
            _ => false,
        };
        members.len() == self.desired() && members.iter().all(is_declared)
    }

    /// How many machines may be replaced at one time.
    pub fn at_once(&self) -> usize {
        self.spec.heal.budget.at_once(self.spec.desired())
    }

    /// How many machines may be replaced within an hour.
    pub fn per_hour(&self) -> u32 {
        self.spec.heal.budget.per_hour(self.spec.desired())
    }

    /// Until when nothing is ordered because earlier orders failed, in milliseconds since 1970; `None` when
    /// nothing stands in the way. With how many failed lately.
    ///
    /// The wait doubles with each failure. After [`FAILED_ORDERS_MAX`] failures that still count it is an hour.
    pub fn backoff(&self, now_ms: u64) -> Option<Backoff> {
        let counts_ms = self.failures_count_ms();
        let recent = |at_ms: &&u64| now_ms.saturating_sub(**at_ms) < counts_ms;
        let failed = self.failures.iter().filter(recent).count();
        let last_ms = *self.failures.back()?;
        let suspended = failed >= FAILED_ORDERS_MAX;
        let until_ms = if suspended {
            last_ms.saturating_add(HOUR_MS)
        } else {
            let doublings = u32::try_from(failed.saturating_sub(1))
                .unwrap_or(u32::MAX)
                .min(16);
            last_ms.saturating_add(BACKOFF_MS_MIN << doublings)
        };
        (failed > 0 && now_ms < until_ms).then_some(Backoff {
            failed,
            until_ms,
            suspended,
        })
    }

    /// For how long a failure counts, in milliseconds: an hour, or as long as so many orders take that fail as slowly as may
    /// be. Then each is given its boot grace to join, as long again on trial, and as long for each rung of the ladder before the
    /// next one is made.
    fn failures_count_ms(&self) -> u64 {
        let one_ms = self.spec.heal.boot_grace_ms.saturating_mul(FAILURE_GRACES);
        HOUR_MS.max(one_ms.saturating_mul(FAILED_ORDERS_MAX as u64))
    }

    /// The wait after so many failures that someone should have a look; `None` if there were not so many.
    pub fn suspended(&self, now_ms: u64) -> Option<Backoff> {
        self.backoff(now_ms).filter(|backoff| backoff.suspended)
    }

    /// Whether it waits after something that failed, for longer or for a person.
    pub fn waits(&self, now_ms: u64) -> bool {
        let suspected = |name: &MachineName| self.suspects_disk(&Member::Pet(name.clone()), now_ms);
        self.backoff(now_ms).is_some() || self.replaced.keys().any(|name| suspected(name).is_some())
    }

    /// Since when a pet's disk is suspected, in milliseconds since 1970: it has been replaced as often as may be within
    /// an hour, with the same disk each time. `None` when it is not.
    pub fn suspects_disk(&self, member: &Member, now_ms: u64) -> Option<u64> {
        let Member::Pet(name) = member else {
            return None;
        };
        let recent = |at_ms: &&u64| now_ms.saturating_sub(**at_ms) < HOUR_MS;
        let mut replaced = self.replaced.get(name)?.iter().rev().filter(recent);
        replaced.nth(PET_REPLACED_MAX - 1).copied()
    }

    /// A pet's successor was made, with what is attached to it. What was decided and not done says nothing of a disk.
    pub(super) fn note_replaced(&mut self, member: &Member, at_ms: u64) {
        let (Member::Pet(name), Allocation::Pets { members }) = (member, &self.spec.allocation)
        else {
            return;
        };
        self.replaced.retain(|name, _| members.contains_key(name));
        let times = self.replaced.entry(name.clone()).or_default();
        times.push_back(at_ms);
        while times.len() > PET_REPLACED_MAX {
            times.pop_front();
        }
    }

    pub(super) fn note_failure(&mut self, at_ms: u64) {
        self.failures.push_back(at_ms);
        while self.failures.len() > FAILURES_KEPT_MAX {
            self.failures.pop_front();
        }
    }
}

/// Why a group orders nothing for now: earlier orders failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// How many orders failed, of those that still count.
    pub failed: usize,
    /// Until when nothing is ordered, in milliseconds since 1970.
    pub until_ms: u64,
    /// Whether so many failed that someone should have a look.
    pub suspended: bool,
}
