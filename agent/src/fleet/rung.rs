//! The rungs of the ladder below replacing: what can be done to a machine in its place, and what came of it.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::diagnosis::Diagnosis;
use super::intent::Step;
use super::limits::{HOUR_MS, RUNG_USES_MAX, TREATMENTS_KEPT_MAX};

/// What can be done to a machine in its place, the gentlest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Its agent stops its workload and starts it again, as its flavor says.
    RestartWorkload,
    /// Its provisioner restarts it through its operating system.
    Reboot,
    /// Its provisioner takes its power away and gives it back.
    PowerCycle,
    /// Its provisioner writes its system anew, on the same hardware and with the same attachments: another machine in its
    /// place.
    Reimage,
}

impl Rung {
    /// The rungs for a diagnosis, in the order in which they are tried. After them comes replacing.
    pub fn ladder(diagnosis: Diagnosis) -> &'static [Self] {
        match diagnosis {
            Diagnosis::WorkloadFailed => &[Self::RestartWorkload, Self::Reboot, Self::Reimage],
            Diagnosis::AgentDown => &[Self::Reboot, Self::PowerCycle, Self::Reimage],
            // Where that is better than another machine, which the decision core knows.
            Diagnosis::Unreachable => &[Self::PowerCycle, Self::Reimage],
            _ => &[],
        }
    }

    /// The step that does it.
    pub fn step(self) -> Step {
        match self {
            Self::RestartWorkload => Step::RestartWorkload,
            Self::Reboot => Step::Reboot,
            Self::PowerCycle => Step::PowerCycle,
            Self::Reimage => Step::Reimage,
        }
    }

    /// The word that goes into operation IDs and answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::RestartWorkload => "restart-workload",
            Self::Reboot => "reboot",
            Self::PowerCycle => "power-cycle",
            Self::Reimage => "reimage",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What was done to a machine in its place lately, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Treatments {
    /// How many there have been; each has its number.
    pub count: u32,
    /// The last ones.
    pub last: VecDeque<Treatment>,
}

/// One treatment that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Treatment {
    /// What was done.
    pub rung: Rung,
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whether the machine was well after it.
    pub helped: bool,
}

impl Treatments {
    /// Why a rung is not tried: it failed on this machine within the last hour, or has helped too often for that to be
    /// a cure. `None` if it may be.
    pub fn spent(&self, rung: Rung, now_ms: u64) -> Option<Treatment> {
        let recent = |treatment: &&Treatment| {
            treatment.rung == rung && now_ms.saturating_sub(treatment.at_ms) < HOUR_MS
        };
        let uses: Vec<_> = self.last.iter().rev().filter(recent).copied().collect();
        let failed = uses.iter().find(|treatment| !treatment.helped).copied();
        let often = || {
            uses.first()
                .copied()
                .filter(|_| uses.len() >= RUNG_USES_MAX)
        };
        failed.or_else(often)
    }

    /// Whether the last treatment was in vain for what has been the matter since a time in milliseconds since 1970.
    pub fn are_in_vain_since(&self, since_ms: u64) -> bool {
        let last = self.last.back();
        last.is_some_and(|last| !last.helped && since_ms <= last.at_ms)
    }

    pub(super) fn note(&mut self, treatment: Treatment) {
        self.last.push_back(treatment);
        while self.last.len() > TREATMENTS_KEPT_MAX {
            self.last.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_within_the_hour_or_helped_twice_is_not_tried_again() {
        let mut treatments = Treatments::default();
        let treated = |rung, at_ms, helped| Treatment {
            rung,
            at_ms,
            helped,
        };
        assert_eq!(treatments.spent(Rung::Reboot, 0), None);
        treatments.note(treated(Rung::Reboot, 1000, true));
        assert_eq!(treatments.spent(Rung::Reboot, 2000), None, "it helped");
        let failed = treated(Rung::RestartWorkload, 2000, false);
        treatments.note(failed);
        assert_eq!(treatments.spent(Rung::RestartWorkload, 3000), Some(failed));
        assert_eq!(
            treatments.spent(Rung::RestartWorkload, 2000 + HOUR_MS),
            None,
            "an hour later it may be tried again"
        );
        let again = treated(Rung::Reboot, 4000, true);
        treatments.note(again);
        assert_eq!(treatments.spent(Rung::Reboot, 5000), Some(again));
        assert_eq!(treatments.spent(Rung::PowerCycle, 5000), None);
        for at_ms in 0..100 {
            treatments.note(treated(Rung::PowerCycle, at_ms, true));
        }
        assert_eq!(treatments.last.len(), TREATMENTS_KEPT_MAX);
    }
}
