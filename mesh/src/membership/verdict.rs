//! What follows when nobody answers: suspicion, and the end of it.

use std::time::Duration;

use rand::RngExt;

use super::Membership;
use super::event::{How, Status};
use super::inquiry::Phase;
use super::life::Life;
use super::probing::HELPERS;
use super::swim::{State, Update};
use super::timers::Timer;
use crate::identity::MachineId;

/// A suspect's sign of life counts for this long when its time is up.
const SIGN_OF_LIFE_FRESH: Duration = Duration::from_millis(1500);
/// How often a verdict is put off, for signs of life or because this member seems to be deaf, before it falls: "slow is
/// not dead" must not become "never".
const POSTPONED_MAX: u32 = 8;

/// A suspicion that this member will end.
#[derive(Debug)]
pub(super) struct Suspicion {
    life: Life,
    incarnation: u16,
    pub(super) ends: Duration,
    postponed: u32,
}

impl Membership {
    /// No path led to an answer in time: `life` becomes suspect, and the clock runs.
    pub(super) fn suspect(&mut self, now: Duration, life: Life) {
        self.stats.probes_failed += 1;
        let Some(inquiry) = self.inquiries.get_mut(&life.machine) else {
            return;
        };
        let deaf = inquiry.deaf();
        if inquiry.accused && !deaf {
            return self.declare(now, life.machine, How::Told);
        }
        inquiry.suspect(now);
        self.timers
            .set(Timer::Inquiry(life.machine), inquiry.next());
        let Some(row) = self.table.get(life.machine) else {
            return;
        };
        let incarnation = row.incarnation;
        if row.status == Status::Alive {
            self.stats.suspicions += 1;
            self.swim.apply(
                Update {
                    life,
                    incarnation,
                    state: State::Suspect,
                },
                true,
            );
            self.absorb(now, vec![life.machine], How::Silent, true);
        }
        self.run_clock(now, life, incarnation);
        // Lifeguard: if not even those that we asked for help got our request, the fault may be ours. What runs already
        // is not stretched by it.
        if deaf && self.config.safeguards.local_health {
            self.health.worse();
        }
    }

    /// Somebody suspects `life`: a few of those who hear of it look for themselves, so that neither one bad link nor
    /// the death of the first observer decides.
    pub(super) fn corroborate(&mut self, now: Duration, life: Life) {
        let others = self.table.active_count().max(1);
        if self
            .rng
            .random_ratio(HELPERS.min(others) as u32, others as u32)
        {
            self.inquire(now, life, true);
        }
    }

    /// A suspicion's time is up. foca 2.0.0 checks the incarnation, but then tells the suspect that it is down in any
    /// case; a healthy member that had refuted would renew its identity. So this is delivered only if it still holds.
    pub(super) fn end_suspicion(&mut self, now: Duration, machine: MachineId) {
        let Some(suspicion) = self.suspicions.get_mut(&machine) else {
            return;
        };
        let (life, incarnation) = (suspicion.life, suspicion.incarnation);
        let holds = self.table.get(machine).is_some_and(|row| {
            row.life == life && row.status == Status::Suspect && row.incarnation == incarnation
        });
        if !holds && self.config.safeguards.stale_timer_filter {
            self.stats.stale_timers += 1;
            self.suspicions.remove(&machine);
            return self.suspect_again(now, life);
        }
        let safeguards = self.config.safeguards;
        let (heard, deaf) = self
            .inquiries
            .get(&machine)
            .map_or((false, false), |inquiry| {
                let heard = |at| now < at + SIGN_OF_LIFE_FRESH;
                (inquiry.heard_at.is_some_and(heard), inquiry.deaf())
            });
        let doubt = (heard && safeguards.second_path) || (deaf && safeguards.local_health);
        if doubt && suspicion.postponed < POSTPONED_MAX {
            suspicion.postponed += 1;
            suspicion.ends = now + SIGN_OF_LIFE_FRESH * self.health.stretch();
            self.stats.postponed += 1;
            return self.timers.set(Timer::Verdict(machine), suspicion.ends);
        }
        self.suspicions.remove(&machine);
        self.stats.verdicts += u64::from(holds);
        self.swim.end_suspicion(life, incarnation);
        self.absorb(now, vec![machine], How::Silent, true);
    }

    /// A suspicion ended because its subject had objected. If others suspected it anew meanwhile, and it still does not
    /// answer us, the clock runs again.
    fn suspect_again(&mut self, now: Duration, life: Life) {
        let asked = self.inquiries.get(&life.machine);
        let silent = asked.is_some_and(|inquiry| inquiry.phase == Phase::Suspecting);
        let row = self.table.get(life.machine).filter(|row| row.life == life);
        if let Some(row) = row.filter(|row| silent && row.status == Status::Suspect) {
            self.run_clock(now, life, row.incarnation);
        }
    }

    fn run_clock(&mut self, now: Duration, life: Life, incarnation: u16) {
        let ends = now
            + self
                .health
                .suspicion(&self.config, self.table.active_count() + 1);
        let suspicion = Suspicion {
            life,
            incarnation,
            ends,
            postponed: 0,
        };
        self.suspicions.insert(life.machine, suspicion);
        self.timers.set(Timer::Verdict(life.machine), ends);
    }

    /// Declares a member down without a suspicion: its host says that nothing listens on its port, or we found it
    /// silent where another member has declared it down before.
    pub(super) fn declare(&mut self, now: Duration, machine: MachineId, how: How) {
        let Some(row) = self.table.get(machine).filter(|row| row.status.is_active()) else {
            return;
        };
        let (life, incarnation) = (row.life, row.incarnation);
        self.stats.verdicts += 1;
        self.swim.apply(
            Update {
                life,
                incarnation,
                state: State::Down,
            },
            true,
        );
        self.absorb(now, vec![machine], how, true);
    }
}
