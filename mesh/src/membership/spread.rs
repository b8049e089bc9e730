//! Passing news on: gossip while there is any, and a comparison of hashes to catch what gossip missed.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rand::RngExt;

use super::config::retransmits;
use super::event::{Command, Transmit};
use super::hint::Hint;
use super::life::Life;
use super::swim::{Packet, State, SwimMessage, Update};
use super::table::life_hash;
use super::timers::Timer;
use super::{Membership, TRANSMITS_MAX};
use crate::identity::{MachineId, Peer};
use crate::wire::{Kind, put_kind, put_machine};

/// How long the first round of gossip waits for more news to travel with it.
const GOSSIP_DELAY: Duration = Duration::from_millis(15);
/// After a change, hashes are compared within this time instead of at the next regular comparison.
const COMPARE_SOON: (Duration, Duration) =
    (Duration::from_millis(1500), Duration::from_millis(3000));
/// The shortest time between two state transfers that this member asks for; each costs 25 bytes a member.
const PULL_EVERY: Duration = Duration::from_secs(5);
/// What `PULL_EVERY` grows by with each member: 30 s and 8 kB/s at 10,000 members that change all the time.
const PULL_EVERY_PER_MEMBER: Duration = Duration::from_millis(3);
/// One machine is told this often at most that it is believed dead.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// A death is passed on for this long after we learned of it. Gossip takes a second, half of a big mesh at once some more.
const DEATH_IS_NEWS: Duration = Duration::from_secs(20);
/// News kept for our neighbours in the ring. More at once comes from a disaster, and then comparisons do the rest.
const FOR_NEIGHBOURS_MAX: usize = 1024;
/// News in one datagram to them: at 42 bytes, the longest, it fits.
const NEWS_PER_DATAGRAM: usize = 22;

/// When hashes may next lead to a transfer.
#[derive(Debug, Default)]
pub(super) struct Spread {
    pull_after: Duration,
    /// Comparisons in a row that found a difference, since the last change here.
    differed: u32,
    /// Since when there has been something to tell without a break: nothing that foca tells is older.
    telling_since: Option<Duration>,
    /// News that our neighbours in the ring have yet to be told.
    for_neighbours: BTreeMap<MachineId, Update>,
}

impl Spread {
    /// Our neighbours in the ring will be told, besides whom foca chooses at random: those that chance leaves out have
    /// neighbours that it does not.
    pub(super) fn tell_neighbours(&mut self, news: Update) {
        if self.for_neighbours.len() < FOR_NEIGHBOURS_MAX {
            self.for_neighbours.insert(news.life.machine, news);
        }
    }
}

impl Membership {
    /// One round of gossip, and the next one while there is news.
    pub(super) fn gossip(&mut self, now: Duration) {
        if self.table.active_count() == 0 {
            return;
        }
        self.swim.gossip();
        if self.config.safeguards.ring_gossip {
            self.gossip_to_neighbours();
        } else {
            self.spread.for_neighbours.clear();
        }
        if self.has_news() {
            let next = now + self.config.gossip_interval;
            self.timers.set(Timer::Gossip, next);
        }
    }

    fn gossip_to_neighbours(&mut self) {
        let mut updates = Vec::new();
        while updates.len() < NEWS_PER_DATAGRAM
            && let Some((_, update)) = self.spread.for_neighbours.pop_first()
        {
            updates.push(update);
        }
        if updates.is_empty() {
            return;
        }
        let [next, before] = self.neighbours();
        let neighbours = [next, before.filter(|before| Some(*before) != next)];
        for machine in neighbours.into_iter().flatten() {
            if let Some(life) = self.table.get(machine).map(|row| row.life) {
                let mut packet = self.swim.packet(life, SwimMessage::Gossip);
                packet.updates.clone_from(&updates);
                self.send(life, &packet.encode());
            }
        }
    }

    fn has_news(&self) -> bool {
        self.swim.backlog() > 0 || !self.spread.for_neighbours.is_empty()
    }

    /// Fits dissemination to the number of members and to measured loss.
    pub(super) fn update_dissemination(&mut self) {
        let rounded = self.config.safeguards.rounded_retransmits;
        let calm = retransmits(self.table.active_count() + 1, rounded);
        let transmissions = if rounded {
            (f32::from(calm) * (1.0 + self.health.loss())).ceil() as u8
        } else {
            calm
        };
        self.swim
            .set_dissemination(transmissions, self.config.gossip_fanout);
    }

    /// Sends the table's hash to a random member, which asks for the table if its own differs.
    pub(super) fn compare_with_somebody(&mut self, now: Duration) {
        let (shortest, longest) = self.config.sync_interval;
        let Some(life) = self.random_active() else {
            return;
        };
        self.timers
            .set(Timer::Sync, now + self.rng.random_range(shortest..=longest));
        self.send_hash(life.peer(), true);
    }

    fn send_hash(&mut self, to: Peer, question: bool) {
        let mut out = self.frame(Kind::StateHash);
        out.put_u8(u8::from(!question));
        out.put_u64(self.state_hash());
        self.stats.hashes_out += 1;
        self.push(to, out.freeze());
    }

    /// Something changed here: see soon whether others agree.
    pub(super) fn compare_after_change(&mut self, now: Duration) {
        self.spread.differed = 0;
        self.compare_soon(now);
    }

    /// Compares before the regular time; later and later while that does not help, because two members that cannot
    /// reach each other differ for as long as that lasts.
    fn compare_soon(&mut self, now: Duration) {
        if self.table.active_count() > 0 {
            let (shortest, longest) = COMPARE_SOON;
            let pause =
                self.rng.random_range(shortest..=longest) * (1 << self.spread.differed.min(4));
            self.timers.set_no_later(Timer::Sync, now + pause);
        }
    }

    /// A member's hash: if it is not ours, one of us has missed something.
    pub(super) fn compare_hash(&mut self, now: Duration, from: Peer, question: bool, hash: u64) {
        if !self.table.is_active(from.machine) {
            return;
        }
        if hash == self.state_hash() {
            self.spread.differed = 0;
            return;
        }
        self.compare_soon(now);
        self.spread.differed = self.spread.differed.saturating_add(1);
        // A transfer goes both ways, so it does not matter who asks.
        if !self.pull(now, from) && question {
            self.send_hash(from, false);
        }
    }

    /// Asks for the table of `peer`, and gives it ours; not too often. Whether it was asked.
    fn pull(&mut self, now: Duration, peer: Peer) -> bool {
        let due = now >= self.spread.pull_after;
        if due {
            let members = self.table.active_count() as u32;
            self.spread.pull_after = now + PULL_EVERY + PULL_EVERY_PER_MEMBER * members;
            self.pull_now(peer);
        }
        due
    }

    pub(super) fn pull_now(&mut self, peer: Peer) {
        self.stats.pulls += 1;
        self.commands.push_back(Command::PullState(peer));
    }

    /// The table's hash, this member included.
    fn state_hash(&mut self) -> u64 {
        let me = self.swim.myself();
        self.table.hash() ^ life_hash(me.life, me.incarnation)
    }

    pub(super) fn random_active(&mut self) -> Option<Life> {
        let count = self.table.active_count();
        if count == 0 {
            return None;
        }
        let index = self.rng.random_range(0..count);
        self.table.nth_active(index).map(|row| row.life)
    }

    /// Tells a member that somebody will not believe in its present life again, so it needs a new one.
    pub(super) fn tell_dead(&mut self, life: Life) {
        let packet = self.swim.packet(life, SwimMessage::TurnUndead);
        self.send(life, &packet.encode());
    }

    /// Confirms a request for an indirect probe: whatever comes of it, the asker's network works.
    pub(super) fn send_receipt(&mut self, to: Peer, target: MachineId, number: u8) {
        let mut out = self.frame(Kind::Receipt);
        put_machine(&mut out, target);
        out.put_u8(number);
        self.push(to, out.freeze());
    }

    /// Moves what foca wants sent to the runtime, and keeps gossip going while there is news.
    pub(super) fn flush(&mut self, now: Duration) {
        if self.swim.take_defunct() && !self.left {
            let me = self.swim.me();
            self.want_generation(now, me.generation, me);
        }
        let sends = self.swim.take_sends();
        for (life, bytes) in sends {
            if let Some(bytes) = self.fit_to_send(now, life, bytes) {
                self.send(life, &bytes);
            }
        }
        if self.swim.backlog() == 0 {
            self.spread.telling_since = None;
        } else if self.spread.telling_since.is_none() {
            self.spread.telling_since = Some(now);
        }
        if self.table.active_count() == 0 {
            self.spread.for_neighbours.clear();
        }
        if self.has_news()
            && self.table.active_count() > 0
            && self.timers.get(Timer::Gossip).is_none()
            && !self.left
        {
            self.timers.set(Timer::Gossip, now + GOSSIP_DELAY);
        }
    }

    /// What of foca's message may go out; `None` if nothing.
    ///
    /// Two members that believe each other dead would tell each other so at the speed of the network, so that is rationed.
    /// And foca keeps updates until they were passed on often enough, so a member that was alone for hours would come
    /// back with its verdicts of that time and be believed: old deaths are left to the comparison of tables, in which
    /// they are judged.
    fn fit_to_send(&mut self, now: Duration, life: Life, bytes: Bytes) -> Option<Bytes> {
        if Packet::tells_of_death(&bytes) {
            let Some(row) = self.table.get_mut(life.machine) else {
                return Some(bytes);
            };
            if row.told_at.is_some_and(|at| now < at + TELL_EVERY) {
                return None;
            }
            row.told_at = Some(now);
            return Some(bytes);
        }
        let recent = |since: Duration| now <= since + DEATH_IS_NEWS;
        if self.spread.telling_since.is_none_or(recent) {
            return Some(bytes);
        }
        let Ok(mut packet) = Packet::decode(&bytes) else {
            return Some(bytes);
        };
        let count = packet.updates.len();
        packet
            .updates
            .retain(|update| !self.is_old_death(now, update));
        Some(if packet.updates.len() == count {
            bytes
        } else {
            packet.encode()
        })
    }

    fn is_old_death(&self, now: Duration, update: &Update) -> bool {
        update.state == State::Down
            && self
                .table
                .get(update.life.machine)
                .is_some_and(|row| row.life == update.life && now > row.since + DEATH_IS_NEWS)
    }

    /// Frames a SWIM message and hands it to the runtime.
    pub(super) fn send(&mut self, to: Life, message: &Bytes) {
        let mut out = self.frame(Kind::Swim);
        out.extend_from_slice(message);
        // A life met in somebody's message may have moved since; the table has it from the horse's mouth.
        let addr = self
            .table
            .get(to.machine)
            .map_or(to.addr, |row| row.life.addr);
        self.push(
            Peer {
                machine: to.machine,
                addr,
            },
            out.freeze(),
        );
    }

    fn frame(&self, kind: Kind) -> BytesMut {
        let mut out = BytesMut::with_capacity(192);
        put_kind(&mut out, kind);
        Hint::put(self.hint, &mut out);
        out
    }

    fn push(&mut self, to: Peer, bytes: Bytes) {
        self.stats.datagrams_out += 1;
        self.stats.bytes_out += bytes.len() as u64;
        if self.transmits.len() >= TRANSMITS_MAX {
            self.transmits.pop_front();
            self.stats.transmits_dropped += 1;
        }
        self.transmits.push_back(Transmit { to, bytes });
    }
}
