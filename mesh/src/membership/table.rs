//! The table of members: what foca believes, plus what foca does not keep (since when, how, round-trip times).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::{Event, How, Member, Status};
use super::life::Life;
use super::swim::{State, Update};
use crate::identity::{Generation, MachineId};
use crate::wire::scatter;

/// One machine's row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) life: Life,
    pub(super) incarnation: u16,
    pub(super) status: Status,
    pub(super) since: Duration,
    /// Since when this life has not been alive without a break.
    pub(super) silent_since: Option<Duration>,
    pub(super) how: Option<How>,
    /// The generation that announced its leaving.
    pub(super) leaving: Option<Generation>,
    pub(super) rtt: Option<Duration>,
    /// When it was last told that it is believed dead.
    pub(super) told_at: Option<Duration>,
    /// When the runtime last reported that it could not be reached.
    pub(super) hinted_at: Option<Duration>,
    /// Where it is in the table's list of the active.
    place: Option<usize>,
}

impl Row {
    /// What it adds to the table's hash: nothing unless it is active.
    fn hash(&self) -> u64 {
        if self.status.is_active() {
            life_hash(self.life, self.incarnation)
        } else {
            0
        }
    }

    pub(super) fn member(&self) -> Member {
        Member {
            machine: self.life.machine,
            addr: self.life.addr,
            generation: self.life.generation,
            status: self.status,
            since: self.since,
            silent_since: self.silent_since,
            how: self.how,
        }
    }
}

/// All machines that this member has heard of, but itself.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: BTreeMap<MachineId, Row>,
    /// The active ones, in the order of the ring.
    ring: BTreeMap<u64, MachineId>,
    /// The active ones once more, in no order, to draw from.
    active: Vec<MachineId>,
    /// Those believed dead.
    dead: BTreeSet<MachineId>,
    /// The sum, bit by bit, of the active rows' hashes.
    hash: u64,
}

impl Table {
    pub(super) fn get(&self, machine: MachineId) -> Option<&Row> {
        self.rows.get(&machine)
    }

    pub(super) fn get_mut(&mut self, machine: MachineId) -> Option<&mut Row> {
        self.rows.get_mut(&machine)
    }

    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = &Row> {
        self.rows.values()
    }

    pub(super) fn active(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().filter(|row| row.status.is_active())
    }

    /// One of the active, by its place in a list without order.
    pub(super) fn nth_active(&self, place: usize) -> Option<&Row> {
        self.rows.get(self.active.get(place)?)
    }

    /// Those believed dead, without those that left.
    pub(super) fn down(&self) -> impl Iterator<Item = &Row> {
        self.dead
            .iter()
            .filter_map(|machine| self.rows.get(machine))
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn active_count(&self) -> usize {
        self.ring.len()
    }

    /// A hash of who is active, in which life and incarnation; the same for the same beliefs in any order. The dead are left
    /// out: members forget them at different times.
    pub(super) fn hash(&self) -> u64 {
        let sum = |sum, row: &Row| sum ^ row.hash();
        debug_assert_eq!(self.hash, self.rows.values().fold(0, sum));
        self.hash
    }

    pub(super) fn is_active(&self, machine: MachineId) -> bool {
        self.get(machine).is_some_and(|row| row.status.is_active())
    }

    /// The row that has been dead or gone for longest: the first to make room.
    pub(super) fn longest_dead(&self) -> Option<&Row> {
        self.rows
            .values()
            .filter(|row| !row.status.is_active())
            .min_by_key(|row| row.since)
    }

    pub(super) fn remove(&mut self, machine: MachineId) {
        self.count(machine, None);
        let hash = self.rows.remove(&machine).map_or(0, |row| row.hash());
        self.hash ^= hash;
    }

    /// Those next to `me` in a ring of the active members that all agree on, unrelated to how IDs were given: the next
    /// and the one before.
    pub(super) fn ring_neighbours(&self, me: MachineId) -> [Option<MachineId>; 2] {
        let from_me = scatter(me.get());
        let after = self.ring.range(from_me..).next();
        let before = self.ring.range(..from_me).next_back();
        let ends = [
            after.or(self.ring.first_key_value()),
            before.or(self.ring.last_key_value()),
        ];
        ends.map(|end| end.map(|(_, machine)| *machine))
    }

    /// Takes over what foca believes of one machine now, and says what changed.
    pub(super) fn absorb(&mut self, now: Duration, update: Update, how: How) -> Vec<Event> {
        let Some(row) = self.rows.get_mut(&update.life.machine) else {
            return self.insert(now, update);
        };
        let same_life = row.life == update.life;
        if same_life
            && row.incarnation == update.incarnation
            && same_state(row.status, update.state)
        {
            return Vec::new();
        }
        let (before, previous) = (row.status, row.life.generation);
        self.hash ^= row.hash();
        let status = match update.state {
            State::Alive => Status::Alive,
            State::Suspect => Status::Suspect,
            State::Down if row.leaving == Some(update.life.generation) => Status::Left,
            State::Down => Status::Down,
        };
        row.incarnation = update.incarnation;
        if !same_life {
            // A life's address is the one that its first news gave, so it only changes with the life.
            row.life = update.life;
            row.told_at = None;
        }
        if !same_life || before != status {
            row.since = now;
        }
        let silent_since = row.silent_since.filter(|_| same_life).unwrap_or(now);
        row.silent_since = (status != Status::Alive).then_some(silent_since);
        row.status = status;
        row.how = (status == Status::Down).then_some(how);
        self.hash ^= row.hash();
        let member = row.member();
        self.count(member.machine, Some(status));
        transition(before, same_life, previous, member, how)
    }

    fn insert(&mut self, now: Duration, update: Update) -> Vec<Event> {
        let status = match update.state {
            State::Alive => Status::Alive,
            State::Suspect => Status::Suspect,
            State::Down => Status::Down,
        };
        let row = Row {
            life: update.life,
            incarnation: update.incarnation,
            status,
            since: now,
            silent_since: (status != Status::Alive).then_some(now),
            how: (status == Status::Down).then_some(How::Told),
            leaving: None,
            rtt: None,
            told_at: None,
            hinted_at: None,
            place: None,
        };
        let member = row.member();
        self.hash ^= row.hash();
        self.rows.insert(update.life.machine, row);
        self.count(update.life.machine, Some(status));
        match status {
            Status::Alive => vec![Event::Up {
                member,
                previous: None,
            }],
            Status::Suspect => vec![
                Event::Up {
                    member,
                    previous: None,
                },
                Event::Suspect { member },
            ],
            // Never known alive here: remembered, so that nothing resurrects it, but no news.
            Status::Down | Status::Left => Vec::new(),
        }
    }

    /// Notes that a life announced its leaving; a death already known becomes a departure.
    pub(super) fn mark_leaving(
        &mut self,
        machine: MachineId,
        generation: Generation,
    ) -> Option<Event> {
        let row = self.rows.get_mut(&machine)?;
        row.leaving = Some(generation);
        if row.status != Status::Down || row.life.generation != generation {
            return None;
        }
        row.status = Status::Left;
        row.how = None;
        let member = row.member();
        self.count(machine, Some(Status::Left));
        Some(Event::Left { member })
    }

    fn list(&mut self, machine: MachineId) {
        if let Some(row) = self.rows.get_mut(&machine) {
            row.place = Some(self.active.len());
            self.active.push(machine);
        }
    }

    /// The last one of the list takes the place that is free.
    fn unlist(&mut self, machine: MachineId) {
        let row = self.rows.get_mut(&machine);
        let Some(place) = row.and_then(|row| row.place.take()) else {
            return;
        };
        self.active.swap_remove(place);
        let moved = self.active.get(place).copied();
        if let Some(row) = moved.and_then(|moved| self.rows.get_mut(&moved)) {
            row.place = Some(place);
        }
    }

    /// Keeps the ring and the lists of the active and of the dead as the rows are; `None` for a machine that was forgotten.
    fn count(&mut self, machine: MachineId, status: Option<Status>) {
        let row = self.rows.get(&machine);
        let listed = row.is_some_and(|row| row.place.is_some());
        if listed && status.is_some_and(Status::is_active) {
            return;
        }
        let place = scatter(machine.get());
        if status.is_some_and(Status::is_active) {
            if self.ring.insert(place, machine).is_none() {
                self.list(machine);
            }
        } else if self.ring.remove(&place).is_some() {
            self.unlist(machine);
        }
        if status == Some(Status::Down) {
            self.dead.insert(machine);
        } else {
            self.dead.remove(&machine);
        }
    }
}

/// A number that stands for a life at an incarnation.
pub(super) fn life_hash(life: Life, incarnation: u16) -> u64 {
    scatter(life.machine.get() ^ scatter(life.generation.0 ^ scatter(incarnation.into())))
}

fn same_state(status: Status, state: State) -> bool {
    match state {
        State::Alive => status == Status::Alive,
        State::Suspect => status == Status::Suspect,
        State::Down => !status.is_active(),
    }
}

/// The news in a change from `before` to `member`.
fn transition(
    before: Status,
    same_life: bool,
    previous: Generation,
    member: Member,
    how: How,
) -> Vec<Event> {
    let mut events = Vec::new();
    let mut was_active = before.is_active();
    let mut was_suspect = before == Status::Suspect;
    if !same_life && member.status.is_active() {
        events.push(Event::Up {
            member,
            previous: Some(previous),
        });
        (was_active, was_suspect) = (true, false);
    }
    match member.status {
        Status::Alive if was_suspect => events.push(Event::Refuted { member }),
        Status::Alive => {}
        Status::Suspect if !was_suspect => events.push(Event::Suspect { member }),
        Status::Suspect => {}
        Status::Down if was_active => events.push(Event::Down { member, how }),
        Status::Left if was_active => events.push(Event::Left { member }),
        Status::Down | Status::Left => {}
    }
    events
}
