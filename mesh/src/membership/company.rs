//! Finding company and keeping it: join, rejoin, new generations, leaving, forgetting.

use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;

use super::Membership;
use super::event::{Event, Status};
use super::life::Life;
use super::swim::State;
use super::table::Row;
use super::timers::Timer;
use crate::identity::{Generation, MachineId, Peer};

/// Addresses of others that are kept for a time of need. A mesh needs two or three; more are for big configurations.
const SEEDS_MAX: usize = 64;
/// How many are asked at once when joining.
const JOIN_FANOUT: usize = 3;
/// The first pause after an attempt to find company that found nobody.
const LONELY_FIRST: Duration = Duration::from_millis(500);
/// All members together knock at one dead machine this often at first, and less often the longer it is dead.
const KNOCK_FIRST: Duration = Duration::from_secs(5);
/// The pause between two knocks at a dead machine grows to this share of the time that it is dead.
const KNOCK_AGE_SHARE: u32 = 8;
/// Bounds of one member's pause between knocks.
const KNOCK_PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));
/// The dead of so long a time are looked at together.
const PLAN_AFTER: Duration = Duration::from_millis(500);
/// The pause before the second new generation in a row; doubles with each, up to the longest.
const RENEW_PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// The runtime is asked again if it has not made a new generation durable in this time.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// After this long without being believed dead, the pauses start over.
const RENEW_CALM: Duration = Duration::from_secs(120);
/// How many of those that believed us dead are greeted in the new life.
const GREETED_MAX: usize = 8;
/// Rounds of gossip with which a member says goodbye.
const FAREWELLS: usize = 3;

/// Whom to turn to.
#[derive(Debug, Default)]
pub(super) struct Company {
    seeds: Vec<Peer>,
    /// Attempts in a row that found nobody.
    attempts: u32,
    expected: usize,
}

/// The state of asking for a new generation.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// The lowest generation that will do, if one is wanted.
    wanted: Option<Generation>,
    /// Those that told us of our death.
    witnesses: Vec<Life>,
    last: Option<Duration>,
    in_a_row: u32,
}

impl Membership {
    /// Looks for company at `seeds`, now and whenever this member is alone: members of the mesh at addresses known from
    /// the configuration, from the answer to the admission, or from the last run. At most 64 are kept.
    pub fn join(&mut self, now: Duration, seeds: &[Peer]) {
        let me = self.swim.me().machine;
        let others = seeds.iter().filter(|seed| seed.machine != me);
        self.company.seeds = others.take(SEEDS_MAX).copied().collect();
        self.company.attempts = 0;
        self.timers.set(Timer::Rejoin, now);
        self.handle_timeout(now);
    }

    /// Says how many machines there should be, this one included. While fewer are alive, seeds are tried as well as the
    /// dead that are remembered. Default 0.
    pub fn expect_members(&mut self, now: Duration, count: usize) {
        self.company.expected = count;
        self.arm_rejoin(now);
    }

    /// Says goodbye: tells a few members that this life is over, after which this core ignores all input. Publish the
    /// signed intention to leave (in the record) beforehand, or others will take it for a failure.
    pub fn leave(&mut self, now: Duration) {
        if self.left {
            return;
        }
        self.swim.leave();
        for _ in 1..FAREWELLS {
            self.swim.gossip();
        }
        self.left = true;
        self.flush(now);
        self.timers = super::Timers::default();
    }

    /// Notes that `machine` announced, in that generation, that it will leave or reboot: its death is a departure.
    pub fn mark_leaving(&mut self, machine: MachineId, generation: Generation) {
        if let Some(event) = self.table.mark_leaving(machine, generation) {
            self.events.push_back(event);
        }
    }

    /// Goes on as `generation`, which the runtime made durable after [`Event::Renew`]. Ignored unless it is higher than
    /// the one in use.
    pub fn renewed(&mut self, now: Duration, generation: Generation) {
        let me = self.swim.me();
        if generation <= me.generation || self.left {
            return;
        }
        self.swim.renew(Life { generation, ..me });
        self.stats.renewals += 1;
        let calm = self.renewal.last.is_none_or(|last| now > last + RENEW_CALM);
        let in_a_row = if calm {
            1
        } else {
            self.renewal.in_a_row.saturating_add(1)
        };
        let witnesses = std::mem::take(&mut self.renewal.witnesses);
        self.timers.cancel(Timer::Renew);
        self.renewal = Renewal {
            in_a_row,
            last: Some(now),
            ..Renewal::default()
        };
        for witness in &witnesses {
            self.knock_peer(witness.peer());
        }
        if let Some(witness) = witnesses.first() {
            self.pull_now(witness.peer());
        }
        self.flush(now);
    }

    /// Forgets a machine that is down or gone, before its day is over. Others may still mention it.
    pub fn forget(&mut self, machine: MachineId) {
        if let Some(life) = self
            .table
            .get(machine)
            .filter(|row| !row.status.is_active())
            .map(|row| row.life)
        {
            self.forget_life(life);
        }
    }

    /// Somebody (`src`) believes that our life is over, or knows a later one: ask for a generation above `above`.
    pub(super) fn want_generation(&mut self, now: Duration, above: Generation, src: Life) {
        let least = Generation(above.0.max(self.swim.me().generation.0).saturating_add(1));
        let renewal = &mut self.renewal;
        let known = renewal
            .witnesses
            .iter()
            .any(|witness| witness.machine == src.machine);
        if !known && renewal.witnesses.len() < GREETED_MAX && src.machine != self.swim.me().machine
        {
            renewal.witnesses.push(src);
        }
        if renewal.wanted.is_some_and(|wanted| wanted >= least) {
            return;
        }
        renewal.wanted = Some(least);
        // Damped: under heavy loss every renewal would be news for everybody, and cause more loss.
        let pause = match (renewal.last, renewal.in_a_row) {
            (Some(last), in_a_row) if now <= last + RENEW_CALM => {
                let doublings = in_a_row.saturating_sub(1).min(5);
                last + (RENEW_PAUSE.0 * (1 << doublings)).min(RENEW_PAUSE.1)
            }
            _ => now,
        };
        if pause > now {
            self.timers.set(Timer::Renew, pause);
        } else {
            self.ask_for_generation(now);
        }
    }

    /// Asks the runtime, and again later if it could not make a generation durable.
    pub(super) fn ask_for_generation(&mut self, now: Duration) {
        if let Some(generation) = self.renewal.wanted {
            self.timers.set(Timer::Renew, now + ASK_AGAIN);
            self.events.push_back(Event::Renew { generation });
        }
    }

    /// Decides soon when to look for company next: that takes a walk through the dead, and many die together. At once where
    /// nobody is left.
    pub(super) fn plan_rejoin(&mut self, now: Duration) {
        if self.table.active_count() == 0 || self.timers.get(Timer::Rejoin).is_none() {
            self.arm_rejoin(now);
        } else {
            self.timers.set_no_later(Timer::Plan, now + PLAN_AFTER);
        }
    }

    /// Decides when to look for company next.
    pub(super) fn arm_rejoin(&mut self, now: Duration) {
        match self.rejoin_pause(now) {
            Some(pause) => self.timers.set_no_later(Timer::Rejoin, now + pause),
            None => self.timers.cancel(Timer::Rejoin),
        }
    }

    fn rejoin_pause(&mut self, now: Duration) -> Option<Duration> {
        let jitter = self.rng.random_range(0.5..1.5);
        if self.table.active_count() == 0 {
            let anybody = !self.company.seeds.is_empty() || self.table.len() > 0;
            let pause = LONELY_FIRST * (1 << self.company.attempts.min(10));
            return anybody.then(|| pause.min(self.config.rejoin_max).mul_f64(jitter));
        }
        self.company.attempts = 0;
        let members = self.table.active_count() as f64 + 1.0;
        // Knocks a second that all members together owe to the dead, and our share of it.
        let owed: f64 = self
            .table
            .down()
            .map(|row| {
                let dead_for = now.saturating_sub(row.since);
                1.0 / KNOCK_FIRST.max(dead_for / KNOCK_AGE_SHARE).as_secs_f64()
            })
            .sum();
        let missing =
            self.table.active_count() + 1 < self.company.expected && !self.company.seeds.is_empty();
        let share = if owed > 0.0 {
            members / owed
        } else {
            f64::INFINITY
        };
        let longest = if missing {
            self.config.rejoin_max
        } else {
            KNOCK_PAUSE.1
        }
        .as_secs_f64();
        (owed > 0.0 || missing).then(|| {
            Duration::from_secs_f64(share.clamp(KNOCK_PAUSE.0.as_secs_f64(), longest))
                .mul_f64(jitter)
        })
    }

    /// Knocks at a machine believed dead: a partition may have healed. Alone, asks seeds and last-known peers.
    pub(super) fn look_for_company(&mut self, now: Duration) {
        let lonely = self.table.active_count() == 0;
        // Alone, one tries even those that left: they may have come back.
        let gone = |row: &&Row| {
            if lonely {
                !row.status.is_active()
            } else {
                row.status == Status::Down
            }
        };
        let down: Vec<Peer> = self
            .table
            .rows()
            .filter(gone)
            .map(|row| row.life.peer())
            .collect();
        let seeds = self
            .company
            .seeds
            .iter()
            .filter(|seed| !self.table.is_active(seed.machine));
        let (candidates, count): (Vec<Peer>, usize) = if lonely {
            (seeds.copied().chain(down).collect(), JOIN_FANOUT)
        } else if self.table.active_count() + 1 < self.company.expected {
            (seeds.copied().chain(down).collect(), 1)
        } else {
            (down, 1)
        };
        let chosen: Vec<Peer> = candidates.sample(&mut self.rng, count).copied().collect();
        for peer in &chosen {
            self.stats.rejoins += 1;
            self.knock_peer(*peer);
        }
        if lonely && let Some(peer) = chosen.first() {
            self.pull_now(*peer);
            self.company.attempts = self.company.attempts.saturating_add(1);
        }
        self.arm_rejoin(now);
    }

    /// Forgets the dead whose day is over.
    pub(super) fn forget_the_dead(&mut self, now: Duration) {
        let remember = self.config.remember_dead;
        let over = |row: &&Row| !row.status.is_active() && now >= row.since + remember;
        let lives: Vec<Life> = self.table.rows().filter(over).map(|row| row.life).collect();
        for life in lives {
            self.forget_life(life);
        }
        if let Some(oldest) = self.table.longest_dead() {
            self.timers.set(Timer::Forget, oldest.since + remember);
        }
    }

    pub(super) fn forget_life(&mut self, life: Life) {
        self.swim.forget(life);
        self.table.remove(life.machine);
        debug_assert!(
            !self
                .swim
                .beliefs(&[life.machine])
                .iter()
                .any(|belief| belief.state != State::Down),
            "only the dead are forgotten"
        );
    }
}
