//! Rumours: a changed line is passed on to a few random machines, and by each of those, until it is no longer news.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use rand::seq::IndexedRandom;

use super::entry::{Entry, Tag};
use super::{Records, Transmit};
use crate::identity::{MachineId, Peer};
use crate::wire::{DATAGRAM_MAX, Kind, Reader, WireError, put_kind, read_kind};

/// Between two rounds while there is much news, and while there is little.
const ROUND_EVERY: Duration = Duration::from_millis(500);
const ROUND_EVERY_CALM: Duration = Duration::from_millis(250);
/// How long the first round waits for more news to travel with it.
const ROUND_DELAY: Duration = Duration::from_millis(50);
/// Machines told in a round: at most four datagrams a second when there is much news.
const FANOUT: u8 = 2;
/// News a second that is little.
const CALM_RATE: f32 = 2.0;
/// News in excess of that rate, above which there is much of it; and the most that is counted, so that calm returns
/// within ten seconds.
const CALM_BURST: f32 = 8.0;
const BURST_MAX: f32 = 20.0;
/// While there is little, each line is passed on more often than it must be: reaches all at once where otherwise one
/// in fifty would wait for the next comparison.
const CALM_EXTRA: u8 = 4;
/// Lines about lives that the membership has not told us of yet; the news of a life may overtake the life.
const STRANGERS_MAX: usize = 256;
/// How long those are kept.
const STRANGERS_KEEP: Duration = Duration::from_secs(30);
/// Datagrams that the runtime has not fetched, above which the oldest are dropped.
const TRANSMITS_MAX: usize = 64;

/// What is being passed on.
#[derive(Debug, Default)]
pub(super) struct Gossip {
    /// By machine, how many more times its line is to be sent.
    hot: BTreeMap<MachineId, u8>,
    due: Option<Duration>,
    last_round: Option<Duration>,
    /// When news was last counted, and how much of it there was in excess of [`CALM_RATE`].
    burst: (Duration, f32),
    strangers: BTreeMap<Tag, (Duration, Peer, Entry)>,
}

impl Gossip {
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    pub(super) fn cool(&mut self, machine: MachineId) {
        self.hot.remove(&machine);
    }

    /// Counts a piece of news.
    fn count(&mut self, now: Duration) {
        let (counted_at, burst) = self.burst;
        let drained = now.saturating_sub(counted_at).as_secs_f32() * CALM_RATE;
        self.burst = (now, ((burst - drained).max(0.0) + 1.0).min(BURST_MAX));
    }

    fn is_calm(&self) -> bool {
        self.burst.1 < CALM_BURST
    }

    fn pause(&self) -> Duration {
        if self.is_calm() {
            ROUND_EVERY_CALM
        } else {
            ROUND_EVERY
        }
    }

    /// Somebody else knows it already: one time less.
    fn heard_again(&mut self, machine: MachineId) {
        if let Some(left) = self.hot.get_mut(&machine) {
            *left -= 1;
            if *left == 0 {
                self.cool(machine);
            }
        }
    }
}

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
            record.vitals = Some(entry.vitals);
            record.vitals_version = entry.vitals_version;
            record.vitals_received_at = now;
            self.stats.entries_new += 1;
            self.note_change(machine, false, true);
            self.heat(now, machine);
        } else {
            self.stats.entries_known += 1;
            let same = (entry.profile_version, entry.vitals_version)
                == (record.profile_version, record.vitals_version);
            if same {
                self.gossip.heard_again(machine);
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
        let strangers = &mut self.gossip.strangers;
        if strangers.len() >= STRANGERS_MAX {
            strangers.retain(|_, (at, ..)| now < *at + STRANGERS_KEEP);
        }
        if strangers.len() < STRANGERS_MAX {
            strangers.insert(entry.tag, (now, from, entry));
        }
    }

    /// The membership has just told us of the life that goes by `tag`.
    pub(super) fn recall_stranger(&mut self, now: Duration, tag: Tag) {
        if let Some((at, from, entry)) = self.gossip.strangers.remove(&tag)
            && now < at + STRANGERS_KEEP
        {
            self.merge(now, from, entry);
            self.pull_wanted(now);
        }
    }

    /// The line of `machine` is news: it will be passed on.
    pub(super) fn heat(&mut self, now: Duration, machine: MachineId) {
        // Blind rumours leave out e^-m of all when each is passed on m times (Demers et al., 1987), so m = ln n
        // leaves out one machine on average, which hears the next change or the next comparison.
        let least = (self.alive.len().max(2) as f64).ln().ceil() as u8;
        self.gossip.count(now);
        let extra = if self.gossip.is_calm() { CALM_EXTRA } else { 0 };
        self.gossip.hot.insert(machine, least + extra);
        let rested = self
            .gossip
            .last_round
            .map_or(now, |last| last + self.gossip.pause());
        self.gossip.due.get_or_insert(rested.max(now + ROUND_DELAY));
    }

    pub(super) fn gossip_if_due(&mut self, now: Duration) {
        if self.gossip.due.is_none_or(|due| due > now) {
            return;
        }
        self.gossip.due = None;
        self.gossip.last_round = Some(now);
        let told: Vec<Peer> = self
            .alive
            .sample(&mut self.rng, FANOUT.into())
            .filter_map(|machine| self.rows.get(machine).map(|row| row.peer))
            .collect();
        if told.is_empty() {
            // Nobody to tell; a comparison will tell whoever comes.
            self.gossip.hot.clear();
            return;
        }
        let datagram = self.round(told.len() as u8).freeze();
        for to in told {
            self.push(to, datagram.clone());
        }
        if self.gossip.hot.is_empty() {
            self.compare_soon(now);
        } else {
            self.gossip.due = Some(now + self.gossip.pause());
        }
    }

    /// The lines of one round, those that were passed on least first, as many as fit.
    pub(super) fn round(&mut self, copies: u8) -> BytesMut {
        let mut hot: Vec<(u8, MachineId)> = self
            .gossip
            .hot
            .iter()
            .map(|(machine, left)| (*left, *machine))
            .collect();
        hot.sort_unstable_by_key(|(left, _)| std::cmp::Reverse(*left));
        let mut out = BytesMut::with_capacity(DATAGRAM_MAX);
        put_kind(&mut out, Kind::Entries);
        for (left, machine) in hot {
            let Some(row) = self.rows.get(&machine) else {
                self.gossip.cool(machine);
                continue;
            };
            let before = out.len();
            row.entry().put(&mut out);
            if out.len() > DATAGRAM_MAX {
                out.truncate(before);
                break;
            }
            if left > copies {
                self.gossip.hot.insert(machine, left - copies);
            } else {
                self.gossip.cool(machine);
            }
        }
        out
    }

    pub(super) fn send_hash(&mut self, to: Peer, question: bool) {
        let mut out = BytesMut::with_capacity(16);
        put_kind(&mut out, Kind::RecordsHash);
        out.put_u8(u8::from(!question));
        out.put_u64(self.hash());
        self.stats.hashes_out += 1;
        self.push(to, out.freeze());
    }

    fn push(&mut self, to: Peer, bytes: bytes::Bytes) {
        self.stats.datagrams_out += 1;
        self.stats.bytes_out += bytes.len() as u64;
        if self.transmits.len() >= TRANSMITS_MAX {
            self.transmits.pop_front();
        }
        self.transmits.push_back(Transmit { to, bytes });
    }
}
