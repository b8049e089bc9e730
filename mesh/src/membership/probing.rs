//! Whom to probe and when, and what follows when nobody answers.

use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;

use super::Membership;
use super::event::{Command, How, PortAnswer, Status};
use super::health::smooth;
use super::inquiry::{Finding, Inquiry, Phase};
use super::life::Life;
use super::swim::{State, SwimMessage, Update};
use super::timers::Timer;
use crate::identity::{Generation, MachineId, Peer};

/// Inquiries at a time: more than a member starts in the longest window even when half of its peers are gone at once.
const INQUIRIES_MAX: usize = 64;
/// How many others are asked to ping on our behalf, and how many check a suspicion that they heard of.
const HELPERS: usize = 3;
/// A suspect's sign of life counts for this long when its time is up.
const SIGN_OF_LIFE_FRESH: Duration = Duration::from_millis(1500);
/// How often a verdict is put off for signs of life before it falls: "slow is not dead" must not become "never".
const POSTPONED_MAX: u32 = 8;

/// A suspicion that this member will end.
#[derive(Debug)]
pub(super) struct Suspicion {
    life: Life,
    incarnation: u16,
    pub(super) ends: Duration,
    postponed: u32,
}

/// Whose turn it is to be probed.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// A random order of the members, followed to its end before the next.
    order: Vec<MachineId>,
    /// Our successor in the ring, once computed: `Some(None)` when alone.
    watched: Option<Option<MachineId>>,
    watch_next: bool,
    number: u8,
}

impl Rounds {
    pub(super) fn membership_changed(&mut self) {
        self.watched = None;
    }
}

impl Membership {
    /// The runtime's answer to [`Command::CheckPort`].
    pub fn handle_check(
        &mut self,
        now: Duration,
        machine: MachineId,
        generation: Generation,
        answer: PortAnswer,
    ) {
        let Some(inquiry) = self.inquiries.get_mut(&machine) else {
            return;
        };
        if inquiry.life.generation != generation || self.left {
            return;
        }
        let finding = inquiry.checked(now, answer);
        self.timers.set(Timer::Inquiry(machine), inquiry.next());
        if finding == Finding::Dead {
            self.declare_refused(now, machine);
        }
        self.flush(now);
    }

    /// The transport lost its connection to `machine`, or could not make one: find out at once.
    pub fn handle_unreachable_hint(&mut self, now: Duration, machine: MachineId) {
        if self.left {
            return;
        }
        if let Some(row) = self.table.get(machine).filter(|row| row.status.is_active()) {
            let life = row.life;
            self.inquire(now, life, true);
            self.flush(now);
        }
    }

    /// Probes the next member. Every other probe goes to our successor in a ring that all agree on, so that each
    /// member is looked at every two periods by somebody; the others go round all members in random order, so that
    /// no single watcher's view decides.
    pub(super) fn probe_next(&mut self, now: Duration) {
        if self.table.active_count() == 0 {
            return;
        }
        let period = self.config.probe_period * self.health.stretch();
        // A little jitter, or members that started together would ping together for ever.
        let jitter = self.rng.random_range(0.9..1.1);
        self.timers.set(Timer::Probe, now + period.mul_f64(jitter));

        self.rounds.watch_next = !self.rounds.watch_next;
        let watched = if self.rounds.watch_next {
            self.watched()
        } else {
            None
        };
        let free = |machine: &MachineId| !self.inquiries.contains_key(machine);
        let Some(machine) = watched.filter(free).or_else(|| self.next_in_round()) else {
            return;
        };
        if let Some(row) = self.table.get(machine) {
            let life = row.life;
            self.stats.probes += 1;
            self.inquire(now, life, false);
        }
    }

    fn watched(&mut self) -> Option<MachineId> {
        let me = self.swim.me().machine;
        *self
            .rounds
            .watched
            .get_or_insert_with(|| self.table.ring_successor(me))
    }

    fn next_in_round(&mut self) -> Option<MachineId> {
        for _ in 0..2 {
            while let Some(machine) = self.rounds.order.pop() {
                if self.table.is_active(machine) && !self.inquiries.contains_key(&machine) {
                    return Some(machine);
                }
            }
            self.rounds.order = self.table.active().map(|row| row.life.machine).collect();
            self.rounds.order.shuffle(&mut self.rng);
        }
        None
    }

    /// Begins to ask whether `life` is there, if that is not being asked already.
    pub(super) fn inquire(&mut self, now: Duration, life: Life, urgent: bool) {
        if self
            .inquiries
            .get(&life.machine)
            .is_some_and(|inquiry| inquiry.life == life)
        {
            return;
        }
        if self.inquiries.len() >= INQUIRIES_MAX {
            return;
        }
        let rtt = self.table.get(life.machine).and_then(|row| row.rtt);
        let pace = self.health.pace(&self.config, rtt);
        self.rounds.number = self.rounds.number.wrapping_add(1);
        let inquiry = Inquiry::new(now, life, self.rounds.number, pace, urgent);
        self.inquiries.insert(life.machine, inquiry);
        self.step_inquiry(now, life.machine);
    }

    pub(super) fn drop_inquiry(&mut self, machine: MachineId) {
        self.inquiries.remove(&machine);
        self.timers.cancel(Timer::Inquiry(machine));
    }

    /// Takes the steps of an inquiry that are due.
    pub(super) fn step_inquiry(&mut self, now: Duration, machine: MachineId) {
        let second_path = self.config.safeguards.second_path;
        let Some(inquiry) = self.inquiries.get_mut(&machine) else {
            return;
        };
        let (life, number) = (inquiry.life, inquiry.number);
        if !self
            .table
            .get(machine)
            .is_some_and(|row| row.life == life && row.status.is_active())
        {
            return self.drop_inquiry(machine);
        }
        let step = inquiry.step(now);
        let repeated = inquiry.tries > 1;
        self.timers.set(Timer::Inquiry(machine), inquiry.next());
        if step.ping && (second_path || !repeated) {
            self.stats.pings_repeated += u64::from(repeated);
            self.ping(life, number);
        }
        if step.ask_others {
            self.ask_others(life, number);
        }
        if step.check_port && second_path {
            self.stats.checks += 1;
            self.commands.push_back(Command::CheckPort {
                peer: life.peer(),
                generation: life.generation,
            });
        }
        if step.failed {
            self.suspect(now, life);
        }
    }

    /// Pings `life`, and tells it if it is suspected: its answer is then the objection.
    pub(super) fn ping(&mut self, life: Life, number: u8) {
        let mut packet = self.swim.packet(life, SwimMessage::Ping(number));
        if let Some(row) = self.table.get(life.machine)
            && row.status == Status::Suspect
        {
            let (life, incarnation) = (row.life, row.incarnation);
            packet.updates.push(Update {
                life,
                incarnation,
                state: State::Suspect,
            });
        }
        self.send(life, &packet.encode());
    }

    /// Asks a few others to ping `life` on our behalf.
    fn ask_others(&mut self, life: Life, number: u8) {
        let mut helpers: Vec<Life> = Vec::with_capacity(HELPERS);
        let candidates = self
            .table
            .rows()
            .filter(|row| row.status == Status::Alive && row.life.machine != life.machine);
        for (seen, row) in candidates.enumerate() {
            if helpers.len() < HELPERS {
                helpers.push(row.life);
            } else if let Some(slot) = helpers.get_mut(self.rng.random_range(0..=seen)) {
                *slot = row.life;
            }
        }
        for helper in helpers {
            let message = SwimMessage::PingReq {
                target: life,
                probe_number: number,
            };
            let packet = self.swim.packet(helper, message);
            self.send(helper, &packet.encode());
        }
    }

    /// No path led to an answer in time: `life` becomes suspect, and the clock runs.
    fn suspect(&mut self, now: Duration, life: Life) {
        self.stats.probes_failed += 1;
        let lasts = self
            .health
            .suspicion(&self.config, self.table.active_count() + 1);
        let Some(inquiry) = self.inquiries.get_mut(&life.machine) else {
            return;
        };
        // Lifeguard: if not even those that we asked for help got our request, the fault may be ours.
        let own_fault = inquiry.receipts == 0;
        inquiry.suspect(now);
        self.timers
            .set(Timer::Inquiry(life.machine), inquiry.next());
        if own_fault && self.config.safeguards.local_health {
            self.health.worse();
        }
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
            self.absorb(now, vec![life.machine], How::Silent);
        }
        let ends = now + lasts;
        self.suspicions.insert(
            life.machine,
            Suspicion {
                life,
                incarnation,
                ends,
                postponed: 0,
            },
        );
        self.timers.set(Timer::Verdict(life.machine), ends);
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

    /// A ping of ours, or one made for us, was answered by `machine`.
    pub(super) fn settle(&mut self, now: Duration, machine: MachineId, number: u8, direct: bool) {
        let Some(inquiry) = self
            .inquiries
            .get_mut(&machine)
            .filter(|inquiry| inquiry.number == number)
        else {
            return;
        };
        match inquiry.phase {
            Phase::Suspecting => {
                inquiry.heard(now);
                self.timers.set(Timer::Inquiry(machine), inquiry.next());
            }
            Phase::Asking => {
                let rtt = inquiry.rtt(now).filter(|_| direct);
                self.health
                    .answered(if direct { inquiry.tries } else { 2 }, rtt);
                self.health.better();
                if let (Some(rtt), Some(row)) = (rtt, self.table.get_mut(machine)) {
                    row.rtt = Some(smooth(row.rtt, rtt));
                }
                self.drop_inquiry(machine);
            }
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
            return;
        }
        let heard_at = self
            .inquiries
            .get(&machine)
            .and_then(|inquiry| inquiry.heard_at);
        let fresh = heard_at.is_some_and(|at| now < at + SIGN_OF_LIFE_FRESH);
        if fresh && suspicion.postponed < POSTPONED_MAX && self.config.safeguards.second_path {
            suspicion.postponed += 1;
            suspicion.ends = now + SIGN_OF_LIFE_FRESH;
            self.stats.postponed += 1;
            return self.timers.set(Timer::Verdict(machine), suspicion.ends);
        }
        self.suspicions.remove(&machine);
        self.stats.verdicts += u64::from(holds);
        self.swim.end_suspicion(life, incarnation);
        self.absorb(now, vec![machine], How::Silent);
    }

    /// Its host says that nothing listens on its port.
    fn declare_refused(&mut self, now: Duration, machine: MachineId) {
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
        self.absorb(now, vec![machine], How::Refused);
    }

    /// Sends a ping that nobody waits for: to make oneself known, or to learn whether somebody is there at all.
    pub(super) fn knock(&mut self, life: Life) {
        self.rounds.number = self.rounds.number.wrapping_add(1);
        self.ping(life, self.rounds.number);
    }

    /// Knocks at a machine whose generation is unknown; it answers as the life that it is.
    pub(super) fn knock_peer(&mut self, peer: Peer) {
        let Peer { machine, addr } = peer;
        let generation = self
            .table
            .get(machine)
            .map_or(Generation(0), |row| row.life.generation);
        self.knock(Life {
            machine,
            generation,
            addr,
        });
    }
}
