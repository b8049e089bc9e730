//! Rumours: a changed line is passed on to a few machines, and by each of those, until it is no longer news.
//!
//! Each machine passes it on to its two neighbours in a ring that all agree on, and to a few machines at random. The
//! random part is fast; the ring closes the gaps that chance leaves: a machine that chance has missed has neighbours
//! that it has not.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rand::seq::IndexedRandom;

use super::entry::{Entry, Tag};
use super::heat::News;
use super::{Records, Transmit};
use crate::identity::{MachineId, Peer};
use crate::wire::{DATAGRAM_MAX, Kind, Reader, WireError, put_kind, read_kind, scatter};

/// Datagrams in a round: three a second when there is much news.
const FANOUT: usize = 2;
/// Lines about lives that the membership has not told us of yet; the news of a life may overtake the life.
const STRANGERS_MAX: usize = 256;
/// How long those are kept.
const STRANGERS_KEEP: Duration = Duration::from_secs(30);
/// Datagrams that the runtime has not fetched, above which the oldest are dropped.
const TRANSMITS_MAX: usize = 64;

impl Records {
    /// Takes a datagram that the transport authenticated as coming from `from`. Rubbish is counted and ignored.
    pub fn handle_datagram(&mut self, now: Duration, from: Peer, datagram: &[u8]) {
        match self.read_datagram(now, from, datagram) {
            Ok(()) => self.stats.datagrams_in += 1,
            Err(_) => self.stats.malformed += 1,
        }
    }

    fn read_datagram(
        &mut self,
        now: Duration,
        from: Peer,
        datagram: &[u8],
    ) -> Result<(), WireError> {
        if datagram.len() > DATAGRAM_MAX {
            return Err(WireError::Length);
        }
        let mut reader = Reader::new(datagram);
        match read_kind(&mut reader)? {
            Kind::Entries => {
                while !reader.is_empty() {
                    let entry = Entry::read(&mut reader)?;
                    self.merge(now, from, entry);
                }
                self.pull_wanted(now);
                Ok(())
            }
            Kind::RecordsHash => {
                let (question, hash) = (reader.u8()? == 0, reader.u64()?);
                reader.finish()?;
                self.compare(now, from, question, hash);
                Ok(())
            }
            Kind::Swim | Kind::StateHash | Kind::Receipt => Err(WireError::Value),
        }
    }

    /// Takes in one line, and passes it on if it is news.
    pub(super) fn merge(&mut self, now: Duration, from: Peer, entry: Entry) {
        let Some(&machine) = self.tags.get(&entry.tag) else {
            return self.remember_stranger(now, from, entry);
        };
        if machine == self.me {
            return self.outdo(now, entry);
        }
        let Some(row) = self.rows.get_mut(&machine) else {
            return;
        };
        let record = &mut row.record;
        if entry.profile_version > record.profile_version && now >= row.fetch_after {
            self.repair.want(machine, from, entry.profile_version);
        }
        if entry.vitals_version > record.vitals_version {
            let before = record.vitals.filter(|_| record.vitals_version > 0);
            let news = entry.vitals.news_since(before);
            record.vitals = Some(entry.vitals);
            record.vitals_version = entry.vitals_version;
            record.vitals_received_at = now;
            self.stats.entries_new += 1;
            self.recount(machine);
            self.note_change(machine, false, true);
            self.heat(now, machine, news);
        } else {
            self.stats.entries_known += 1;
            let same = (entry.profile_version, entry.vitals_version)
                == (record.profile_version, record.vitals_version);
            if same {
                self.heat.heard_again(machine);
            }
        }
    }

    /// Somebody claims to know more of us than we have said. Whoever is at fault, our next word has to count as newer.
    fn outdo(&mut self, now: Duration, entry: Entry) {
        let record = &self.own().record;
        let (profile_version, vitals_version) = (record.profile_version, record.vitals_version);
        if entry.vitals_version > vitals_version && entry.vitals_version < u64::MAX {
            let vitals = record.vitals.unwrap_or_default();
            self.own_mut().record.vitals_version = entry.vitals_version;
            self.publish_vitals(now, vitals);
        }
        if entry.profile_version > profile_version
            && entry.profile_version < u64::MAX
            && let Some(profile) = self.own().record.profile.clone()
        {
            // A machine that cannot sign now tries again when it hears the claim again.
            let _ = self.publish_profile(now, profile, entry.profile_version + 1);
        }
    }

    fn remember_stranger(&mut self, now: Duration, from: Peer, entry: Entry) {
        self.stats.entries_unknown += 1;
        let strangers = &mut self.heat.strangers;
        if strangers.len() >= STRANGERS_MAX {
            strangers.retain(|_, (at, ..)| now < *at + STRANGERS_KEEP);
        }
        if strangers.len() < STRANGERS_MAX {
            strangers.insert(entry.tag, (now, from, entry));
        }
    }

    /// The membership has just told us of the life that goes by `tag`.
    pub(super) fn recall_stranger(&mut self, now: Duration, tag: Tag) {
        if let Some((at, from, entry)) = self.heat.strangers.remove(&tag)
            && now < at + STRANGERS_KEEP
        {
            self.merge(now, from, entry);
            self.pull_wanted(now);
        }
    }

    /// The line of `machine` is news: it will be passed on.
    pub(super) fn heat(&mut self, now: Duration, machine: MachineId, news: News) {
        self.heat.heat(now, machine, news, self.alive.len());
    }

    /// One round: a datagram for one of our neighbours in the ring, in turns, with what it has not been told, and one
    /// or two for random machines.
    pub(super) fn gossip_if_due(&mut self, now: Duration) {
        if !self.heat.begin_round(now) {
            return;
        }
        if self.alive.is_empty() {
            // Nobody to tell; a comparison will tell whoever comes.
            return self.heat.clear();
        }
        let neighbours = self.neighbours();
        let told = self.tell_neighbour(neighbours);
        self.tell_random(FANOUT - usize::from(told), neighbours);
        if self.heat.take_comparison() {
            self.compare_soon(now);
        }
        if !self.heat.is_empty() {
            self.heat.next_round(now);
        }
    }

    /// Those next to us in the ring: the same where there are two of us.
    fn neighbours(&mut self) -> [Option<MachineId>; 2] {
        let from_me = scatter(self.me.get());
        let after_me = |machine: &&MachineId| scatter(machine.get()).wrapping_sub(from_me);
        let alive = &self.alive;
        let find = || {
            let next = alive.iter().min_by_key(after_me).copied();
            let before = alive.iter().max_by_key(after_me).copied();
            [next, before]
        };
        *self.heat.neighbours.get_or_insert_with(find)
    }

    /// Tells the neighbour whose turn it is, or else the other; whether there was anything to tell.
    fn tell_neighbour(&mut self, neighbours: [Option<MachineId>; 2]) -> bool {
        for _ in 0..2 {
            let which = self.heat.turn;
            self.heat.turn = 1 - which;
            let untold = self.heat.for_neighbour(which);
            let peer = neighbours
                .get(which)
                .copied()
                .flatten()
                .and_then(|machine| self.rows.get(&machine));
            let Some(peer) = peer.map(|row| row.peer).filter(|_| !untold.is_empty()) else {
                continue;
            };
            let (datagram, told) = self.digest(untold.into_iter());
            told.into_iter()
                .for_each(|machine| self.heat.told_neighbour(machine, which));
            self.push(peer, datagram);
            return true;
        }
        false
    }

    /// Tells `count` random machines, neighbours excepted, what was told least, as much as fits.
    fn tell_random(&mut self, count: usize, neighbours: [Option<MachineId>; 2]) {
        let hot = self.heat.for_random();
        if hot.is_empty() {
            return;
        }
        let (datagram, lines) = self.digest(hot.into_iter());
        let told: Vec<Peer> = self
            .alive
            .sample(&mut self.rng, count + neighbours.len())
            .filter(|machine| !neighbours.contains(&Some(**machine)))
            .filter_map(|machine| self.rows.get(machine).map(|row| row.peer))
            .take(count)
            .collect();
        for machine in lines {
            // All of them count as told, or a line would stay for ever where there is nobody else.
            self.heat.told_random(machine, told.len().max(1) as u8);
        }
        for to in told {
            self.push(to, datagram.clone());
        }
    }

    /// A datagram with the lines of as many of `machines` as fit, and which these are.
    pub(super) fn digest(
        &self,
        machines: impl Iterator<Item = MachineId>,
    ) -> (Bytes, Vec<MachineId>) {
        let mut out = BytesMut::with_capacity(DATAGRAM_MAX);
        put_kind(&mut out, Kind::Entries);
        let mut taken = Vec::new();
        for machine in machines {
            let Some(row) = self.rows.get(&machine) else {
                continue;
            };
            let before = out.len();
            row.entry().put(&mut out);
            if out.len() > DATAGRAM_MAX {
                out.truncate(before);
                break;
            }
            taken.push(machine);
        }
        (out.freeze(), taken)
    }

    pub(super) fn send_hash(&mut self, to: Peer, question: bool) {
        let mut out = BytesMut::with_capacity(16);
        put_kind(&mut out, Kind::RecordsHash);
        out.put_u8(u8::from(!question));
        out.put_u64(self.hash());
        self.stats.hashes_out += 1;
        self.push(to, out.freeze());
    }

    fn push(&mut self, to: Peer, bytes: Bytes) {
        self.stats.datagrams_out += 1;
        self.stats.bytes_out += bytes.len() as u64;
        if self.transmits.len() >= TRANSMITS_MAX {
            self.transmits.pop_front();
        }
        self.transmits.push_back(Transmit { to, bytes });
    }
}
