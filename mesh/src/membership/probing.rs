//! Whom to probe and when, and what follows from an answer.

use std::ops::Range;
use std::time::Duration;

use rand::RngExt;
use rand::seq::{IteratorRandom, SliceRandom};

use super::Membership;
use super::event::{Command, How, PortAnswer, Status};
use super::health::smooth;
use super::inquiry::{Finding, Inquiry, Phase};
use super::life::Life;
use super::swim::{State, SwimMessage, Update};
use super::table::Row;
use super::timers::Timer;
use crate::identity::{Generation, MachineId, Peer};

/// Inquiries at a time: more than a member starts in the longest window even when half of its peers are gone at once.
const INQUIRIES_MAX: usize = 64;
/// How many others are asked to ping on our behalf, and how many check a suspicion that they heard of.
pub(super) const HELPERS: usize = 3;
/// Draws that are made to find them, before everybody is looked at.
const DRAWS_MAX: usize = 12;
/// Every this many periods, a member in random order is probed besides our successor.
const ROUND_EVERY: u32 = 4;
/// Parts of the period until the next probe, of a member that keeps its own time. A little jitter, or members that started
/// together would ping together for ever.
pub(super) const ALONE: Range<f64> = 1.0..1.1;
/// The same, of a member that went along with the one before it: later than that one will ping again.
const ALONG: Range<f64> = 1.2..1.3;
/// The part of the period that a member rests between two probes, whoever pings it: almost all of it, or a wave that has come
/// round the ring would go round again.
const REST: f64 = 0.9;
/// The same, of a member whose last probe was no part of a wave, so that it falls in with the others soon.
const REST_ALONE: f64 = 0.5;
/// One machine is looked into this often at most because the runtime could not reach it.
const HINT_EVERY: Duration = Duration::from_secs(2);

/// Whose turn it is to be probed.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// A random order of the members, followed to its end before the next.
    order: Vec<MachineId>,
    /// Our neighbours in the ring, once computed: the next, whom we watch, and the one before.
    neighbours: Option<[Option<MachineId>; 2]>,
    /// Periods since somebody other than our successor was probed.
    watched_in_a_row: u32,
    number: u8,
    pub(super) probed_at: Duration,
    /// Whether we probed last because we were pinged.
    along: bool,
}

impl Rounds {
    pub(super) fn membership_changed(&mut self) {
        self.neighbours = None;
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
            self.declare(now, machine, How::Refused);
        }
        self.flush(now);
    }

    /// The transport lost its connection to `machine`, or could not make one: find out at once. Repeated reports within
    /// two seconds are ignored.
    pub fn handle_unreachable_hint(&mut self, now: Duration, machine: MachineId) {
        let Some(row) = self
            .table
            .get_mut(machine)
            .filter(|row| row.status.is_active())
        else {
            return;
        };
        if self.left || row.hinted_at.is_some_and(|at| now < at + HINT_EVERY) {
            return;
        }
        row.hinted_at = Some(now);
        let life = row.life;
        self.inquire(now, life, true);
        self.flush(now);
    }

    /// Probes our successor in a ring that all agree on, so that somebody looks at each member every period; and every
    /// few periods, in the same wake-up, another member in a random order that goes round all, so that no single
    /// watcher's death or bad network leaves its successor unwatched.
    pub(super) fn probe_next(&mut self, now: Duration, pause: Range<f64>) {
        if self.table.active_count() == 0 {
            return;
        }
        self.update_dissemination();
        let period = self.config.probe_period * self.health.stretch();
        let until_next = period.mul_f64(self.rng.random_range(pause));
        self.timers.set(Timer::Probe, now + until_next);
        self.rounds.probed_at = now;
        self.rounds.along = false;

        let [next, _] = self.neighbours();
        let watched = next.filter(|machine| !self.inquiries.contains_key(machine));
        self.rounds.watched_in_a_row += 1;
        let round = watched.is_none() || self.rounds.watched_in_a_row >= ROUND_EVERY;
        let other = if round && self.table.active_count() > 1 {
            self.rounds.watched_in_a_row = 0;
            self.next_in_round()
        } else {
            None
        };
        for machine in [watched, other.filter(|other| Some(*other) != watched)]
            .into_iter()
            .flatten()
        {
            if let Some(life) = self.table.get(machine).map(|row| row.life) {
                self.stats.probes += 1;
                self.inquire(now, life, false);
            }
        }
    }

    /// Probes at once because the member before us in the ring has just pinged us, so that one wake-up does for both: the
    /// probes of a ring follow each other as a wave, whose pace is that of its most hurried member. A member that has
    /// reason to doubt itself keeps its own, slower time.
    pub(super) fn probe_along(&mut self, now: Duration, from: MachineId) {
        let rest = if self.rounds.along { REST } else { REST_ALONE };
        let rested = now >= self.rounds.probed_at + self.config.probe_period.mul_f64(rest);
        let [_, before] = self.neighbours();
        if rested && before == Some(from) && self.health.stretch() == 1 {
            self.probe_next(now, ALONG);
            self.rounds.along = true;
        }
    }

    /// Those next to us in the ring of active members: the next and the one before; the same if there is one only.
    pub(super) fn neighbours(&mut self) -> [Option<MachineId>; 2] {
        let me = self.swim.me().machine;
        let find = || self.table.ring_neighbours(me);
        *self.rounds.neighbours.get_or_insert_with(find)
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
        let asked = self.inquiries.get_mut(&life.machine);
        if let Some(inquiry) = asked.filter(|inquiry| inquiry.life == life) {
            if urgent {
                inquiry.hurry(now);
                self.step_inquiry(now, life.machine);
            }
            return;
        }
        if self.inquiries.len() >= INQUIRIES_MAX {
            return;
        }
        let rtt = self.table.get(life.machine).and_then(|row| row.rtt);
        let pace = self.health.pace(&self.config, rtt);
        let inquiry = Inquiry::new(now, life, pace, urgent);
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
        let life = inquiry.life;
        if !self
            .table
            .get(machine)
            .is_some_and(|row| row.life == life && row.status.is_active())
        {
            return self.drop_inquiry(machine);
        }
        let step = inquiry.step(now);
        let repeated = inquiry.tries > 0;
        self.timers.set(Timer::Inquiry(machine), inquiry.next());
        if step.ping && (second_path || !repeated) {
            self.stats.pings_repeated += u64::from(repeated);
            let number = self.knock(life);
            if let Some(inquiry) = self.inquiries.get_mut(&machine) {
                inquiry.pinged(now, number);
            }
        }
        if step.ask_others {
            self.ask_others(life);
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

    /// Pings `life`, under a new number which is returned, and tells it if it is suspected: its answer is then the
    /// objection. Also used without an inquiry, to make oneself known and to learn whether somebody is there at all.
    pub(super) fn knock(&mut self, life: Life) -> u8 {
        self.rounds.number = self.rounds.number.wrapping_add(1);
        let number = self.rounds.number;
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
        number
    }

    /// Asks a few others to ping `life` on our behalf.
    fn ask_others(&mut self, life: Life) {
        let Some(number) = self.inquiries.get(&life.machine).and_then(Inquiry::number) else {
            return;
        };
        let helpers = self.helpers(life);
        if let Some(inquiry) = self.inquiries.get_mut(&life.machine) {
            inquiry.requests = inquiry.requests.saturating_add(helpers.len() as u32);
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

    /// A few others that are alive. Drawn, as long as that finds them; where many are suspect, all are looked at.
    fn helpers(&mut self, life: Life) -> Vec<Life> {
        let fits = |row: &&Row| row.status == Status::Alive && row.life.machine != life.machine;
        let mut helpers: Vec<Life> = Vec::with_capacity(HELPERS);
        let count = self.table.active_count();
        for _ in 0..DRAWS_MAX {
            if helpers.len() >= HELPERS.min(count) {
                return helpers;
            }
            let place = self.rng.random_range(0..count);
            let drawn = self.table.nth_active(place).filter(fits);
            if let Some(row) = drawn.filter(|row| !helpers.contains(&row.life)) {
                helpers.push(row.life);
            }
        }
        let all = self.table.active().filter(fits).map(|row| row.life);
        all.sample(&mut self.rng, HELPERS)
    }

    /// A ping of ours, or one made for us, was answered by `machine`.
    pub(super) fn settle(&mut self, now: Duration, machine: MachineId, number: u8, direct: bool) {
        let Some(inquiry) = self.inquiries.get_mut(&machine) else {
            return;
        };
        let Some((rtt, first)) = inquiry.answered(now, number) else {
            return;
        };
        match inquiry.phase {
            Phase::Suspecting => {
                inquiry.heard(now);
                self.timers.set(Timer::Inquiry(machine), inquiry.next());
            }
            Phase::Asking => {
                self.health
                    .answered(!(first && direct), direct.then_some(rtt));
                self.health.better();
                if let Some(row) = self.table.get_mut(machine).filter(|_| direct) {
                    row.rtt = Some(smooth(row.rtt, rtt));
                }
                self.drop_inquiry(machine);
            }
        }
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
