//! How far talk of a later log counts, and how often it is looked into. Pure.
//!
//! Any member may speak of any log in the hints that it spreads, so talk costs the fleet one look now and then and no more:
//! what one look found no proof of is ignored for a while. A machine that refuses to stand behind the leader is another
//! matter, since whoever founds a log by order has such promises: each such log is looked into, but for a machine that goes
//! on naming others.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_mesh::consensus::LogGeneration;
use muster_mesh::identity::MachineId;
use tokio::time::Instant;

use super::assess::is_ordered_after;

/// For how long a leader ignores talk at least, after a look that found nothing to it.
const IGNORED: Duration = Duration::from_secs(60);

/// The pause after the first look. Each next one is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(4);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// For how many logs one machine may refuse the leader within [`REFUSALS_WITHIN`], each of which holds the leader until it was
/// looked into. Operators don't order more, so whoever names more has invented them.
const REFUSALS_MAX: u32 = 3;

/// How long such a refusal counts.
const REFUSALS_WITHIN: Duration = Duration::from_secs(3600);

/// Who refused to stand behind the leader for which log that an operator may have ordered. As large as the roster at most.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<MachineId, Refusal>);

#[derive(Debug)]
struct Refusal {
    since: Instant,
    latest: LogGeneration,
    logs: u32,
}

impl Refusals {
    /// Takes down that a machine refuses for the log `later`; whether it is to be believed that somebody had it promised.
    pub(super) fn counts(
        &mut self,
        machine: MachineId,
        later: LogGeneration,
        now: Instant,
    ) -> bool {
        self.0
            .retain(|_, one| now.duration_since(one.since) < REFUSALS_WITHIN);
        let known = self.0.entry(machine).or_insert(Refusal {
            since: now,
            latest: LogGeneration::default(),
            logs: 0,
        });
        if later > known.latest {
            known.latest = later;
            known.logs = known.logs.saturating_add(1);
        }
        known.logs <= REFUSALS_MAX
    }
}

/// What has been looked into.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Looked {
    /// The latest log that somebody had promised who refused to stand behind this machine.
    refused: LogGeneration,
    ignored_until: Option<Instant>,
}

impl Looked {
    /// What has been looked into after a look at `now`. The next one comes after `pause`: until then the leader need not
    /// wait for it.
    pub(super) fn at(now: Instant, refused: LogGeneration, pause: Duration) -> Self {
        Self {
            refused,
            ignored_until: Some(now + pause.max(IGNORED)),
        }
    }

    /// Whether the leader of `ours` may go on, as far as what is said goes: nobody speaks of a log that an operator ordered
    /// later, or it has been looked into.
    pub(super) fn settles(
        &self,
        ours: LogGeneration,
        rumour: LogGeneration,
        refused: LogGeneration,
        now: Instant,
    ) -> bool {
        let ignored = self.ignored_until.is_some_and(|until| now < until);
        (ignored || !is_ordered_after(ours, rumour)) && !self.calls_for_a_look(ours, refused)
    }

    /// Whether that a machine has promised `refused` was not looked into yet, and an operator may have ordered it.
    pub(super) fn calls_for_a_look(&self, ours: LogGeneration, refused: LogGeneration) -> bool {
        refused > self.refused && is_ordered_after(ours, refused)
    }
}

/// How long to wait between looks into what is said of logs after one and the same.
#[derive(Debug, Default)]
pub(super) struct Pause {
    ours: LogGeneration,
    last: Option<Duration>,
    most: usize,
}

impl Pause {
    /// The pause after a look by a machine that follows `ours`.
    pub(super) fn after_look(&mut self, ours: LogGeneration, active: usize) -> Duration {
        if self.ours != ours {
            *self = Self {
                ours,
                ..Self::default()
            };
        }
        self.most = self.most.max(active);
        let pause = self
            .last
            .map_or(PAUSE_MIN, |last| (last * 2).min(PAUSE_MAX));
        self.last = Some(pause);
        pause
    }

    /// Whether more machines are there than at any look before, as when two parts of a network meet: then it is worth
    /// looking again before the pause is over.
    pub(super) fn is_over_for(&self, active: usize) -> bool {
        active > self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: LogGeneration = LogGeneration(3);
    const ORDERED: LogGeneration = LogGeneration(1_000_007);
    const LATER: LogGeneration = LogGeneration(u64::MAX);
    const NONE: LogGeneration = LogGeneration(0);

    #[tokio::test(start_paused = true)]
    async fn talk_that_one_look_found_no_proof_of_holds_the_leader_no_more() {
        let now = Instant::now();
        let never = Looked::default();
        assert!(never.settles(OURS, LogGeneration(4), NONE, now));
        assert!(!never.settles(OURS, ORDERED, NONE, now), "one look");
        let looked = Looked::at(now, NONE, PAUSE_MIN);
        assert!(looked.settles(OURS, ORDERED, NONE, now));
        assert!(looked.settles(OURS, LATER, NONE, now), "invented ever anew");
        assert!(!looked.settles(OURS, LATER, NONE, now + IGNORED));
        // No look is due before the pause is over, and the leader does not wait that long.
        let looked = Looked::at(now, NONE, PAUSE_MAX);
        assert!(looked.settles(OURS, LATER, NONE, now + PAUSE_MAX - PAUSE_MIN));
    }

    #[tokio::test(start_paused = true)]
    async fn each_refusal_for_an_ordered_log_is_looked_into() {
        let now = Instant::now();
        let looked = Looked::at(now, ORDERED, PAUSE_MIN);
        assert!(looked.settles(OURS, NONE, ORDERED, now));
        assert!(!looked.settles(OURS, NONE, LATER, now), "another one");
        assert!(!Looked::at(now, NONE, PAUSE_MIN).settles(OURS, NONE, ORDERED, now));
        let by_itself = LogGeneration(4);
        assert!(Looked::default().settles(OURS, NONE, by_itself, now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_refuses_for_ever_other_logs_holds_the_leader_a_few_times_an_hour() {
        let (now, mut refusals) = (Instant::now(), Refusals::default());
        let [liar, other] = [1, 2].map(|id| MachineId::new(id).expect("not zero"));
        let mut counts = |machine, later, now| refusals.counts(machine, LogGeneration(later), now);
        for later in 1_000_000..1_000_003 {
            assert!(counts(liar, later, now));
            assert!(counts(liar, later, now), "the same once more");
        }
        assert!(!counts(liar, 1_000_003, now));
        assert!(counts(other, 1_000_004, now), "each for itself");
        assert!(!counts(liar, 1_000_005, now + REFUSALS_WITHIN / 2));
        assert!(counts(liar, 1_000_006, now + REFUSALS_WITHIN));
    }

    #[test]
    fn looks_that_find_nothing_grow_rare() {
        let mut pause = Pause::default();
        let waits: Vec<_> = (0..8)
            .map(|_| pause.after_look(OURS, 5).as_secs())
            .collect();
        assert_eq!(waits, [4, 8, 16, 32, 64, 128, 256, 300]);
        assert!(!pause.is_over_for(5), "some come and go");
        assert!(pause.is_over_for(6));
        assert_eq!(pause.after_look(ORDERED, 5), PAUSE_MIN, "another log");
    }
}
