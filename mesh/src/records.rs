//! Each machine's own versioned record, known to all: who it is, what it is for, how it is doing.
//!
//! The core does no I/O: it takes time, datagrams and answers as arguments and returns datagrams, events and commands.
//!
//! A record has two parts. The [`Profile`] rarely changes; it is signed by its machine and pulled on streams, from
//! whoever told of it, so that it spreads like a tree. The [`Vitals`] change often; a dozen bytes of them travel in
//! lines of a digest (`entry`), many to a datagram, each passed on a few times and then no more (`gossip`).
//! What rumours miss, a comparison of hashes finds (`repair`). When nothing changes, nothing but that is sent.

mod entry;
mod event;
mod gossip;
mod heat;
mod profile;
mod repair;
mod signing;
mod vitals;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

pub use self::event::{Command, Event, Record, Stats};
pub use self::profile::{
    LABELS_MAX, Leaving, PROFILE_BYTES_MAX, Profile, ProfileError, TEXT_BYTES_MAX,
};
pub use self::signing::{RecordSigner, RecordVerifier, SIGNED_BYTES_MAX};
pub use self::vitals::{FIGURES, Vitals};

use self::entry::{Entry, Tag};
use self::heat::{Heat, News};
use self::profile::Edition;
use self::repair::Repair;
use crate::identity::{Generation, MachineId, Peer};
use crate::membership::{MEMBERS_MAX, Transmit};

/// Figures that changed while level and reasons did not are published at most this often.
const FIGURES_EVERY: Duration = Duration::from_secs(5);
/// What `FIGURES_EVERY` is at least for each member, so that all members together publish at most ten a second.
const FIGURES_EVERY_PER_MEMBER: Duration = Duration::from_millis(100);

/// Everybody's records, this machine's included.
///
/// Use it like [`Membership`](crate::membership::Membership): give it input, fetch all output, ask when to call
/// [`handle_timeout`](Self::handle_timeout). It learns who is alive by [`peer_up`](Self::peer_up) and
/// [`peer_down`](Self::peer_down); records of others than those are not kept.
pub struct Records {
    me: MachineId,
    signer: Box<dyn RecordSigner>,
    verifier: Box<dyn RecordVerifier>,
    rng: Xoshiro256PlusPlus,
    rows: BTreeMap<MachineId, Row>,
    /// The hashes of all others' lines that are alive, put together.
    sum: u64,
    tags: BTreeMap<Tag, MachineId>,
    /// The others that are alive, in no order, to draw from.
    alive: Vec<MachineId>,
    vitals_published: Option<Duration>,
    vitals_waiting: Option<(Duration, Vitals)>,
    heat: Heat,
    repair: Repair,
    transmits: VecDeque<Transmit>,
    commands: VecDeque<Command>,
    /// Machine, whether its profile, whether its vitals changed.
    changed: BTreeMap<MachineId, (bool, bool)>,
    stats: Stats,
}

/// One machine's record with what is needed to pass it on.
#[derive(Debug)]
struct Row {
    peer: Peer,
    alive: bool,
    record: Record,
    /// The profile as its machine signed it; empty if we do not hold the current life's.
    signed: Bytes,
    /// Not before this is its profile fetched again: somebody offered one that did not verify.
    fetch_after: Duration,
    /// What it contributes to the sum of all; nothing while it is not alive.
    counted: u64,
}

impl Row {
    fn new(peer: Peer, generation: Generation) -> Self {
        let record = Record {
            machine: peer.machine,
            generation,
            profile: None,
            profile_version: 0,
            profile_received_at: Duration::ZERO,
            vitals: None,
            vitals_version: 0,
            vitals_received_at: Duration::ZERO,
        };
        Self {
            peer,
            alive: true,
            record,
            signed: Bytes::new(),
            fetch_after: Duration::ZERO,
            counted: 0,
        }
    }

    fn tag(&self) -> Tag {
        Tag::new(self.record.machine, self.record.generation)
    }

    fn entry(&self) -> Entry {
        Entry {
            tag: self.tag(),
            profile_version: self.record.profile_version,
            vitals_version: self.record.vitals_version,
            vitals: self
                .record
                .vitals
                .filter(|_| self.record.vitals_version > 0)
                .unwrap_or_default(),
        }
    }

    /// Turns to a new life: what the former one said stays readable, but anything that the new one says replaces it.
    fn begin(&mut self, peer: Peer, generation: Generation) {
        self.peer = peer;
        self.record.generation = generation;
        self.record.profile_version = 0;
        self.record.vitals_version = 0;
        self.signed = Bytes::new();
        self.fetch_after = Duration::ZERO;
    }
}

impl Records {
    /// Records of nobody but `me`, whose own is empty until set. `seed` decides all random choices.
    pub fn new(
        me: Peer,
        generation: Generation,
        seed: u64,
        signer: Box<dyn RecordSigner>,
        verifier: Box<dyn RecordVerifier>,
    ) -> Self {
        let row = Row::new(me, generation);
        Self {
            me: me.machine,
            signer,
            verifier,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            tags: [(row.tag(), me.machine)].into(),
            rows: [(me.machine, row)].into(),
            sum: 0,
            alive: Vec::new(),
            vitals_published: None,
            vitals_waiting: None,
            heat: Heat::default(),
            repair: Repair::default(),
            transmits: VecDeque::new(),
            commands: VecDeque::new(),
            changed: BTreeMap::new(),
            stats: Stats::default(),
        }
    }

    // === input ===

    /// Publishes a new profile of this machine. Does nothing if it is the same as before.
    ///
    /// # Errors
    /// When a limit is exceeded or it cannot be signed; the old one stays.
    pub fn set_profile(&mut self, now: Duration, profile: Profile) -> Result<(), ProfileError> {
        if self.own().record.profile.as_ref() == Some(&profile) && !self.own().signed.is_empty() {
            return Ok(());
        }
        let version = self.own().record.profile_version + 1;
        self.publish_profile(now, profile, version)
    }

    /// Signs the present profile anew: when the leaf certificate was renewed, since nobody accepts an expired one.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn sign_again(&mut self, now: Duration) -> Result<(), ProfileError> {
        let record = &self.own().record;
        match record.profile.clone() {
            Some(profile) => self.publish_profile(now, profile, record.profile_version + 1),
            None => Ok(()),
        }
    }

    /// Publishes how this machine is doing. A new level or new reasons travel at once; mere figures at most every 5 s,
    /// and every 0.1 s times the number of members. Does nothing if nothing changed.
    pub fn set_vitals(&mut self, now: Duration, vitals: Vitals) {
        let record = &self.own().record;
        let before = record.vitals.filter(|_| record.vitals_version > 0);
        if before == Some(vitals) {
            self.vitals_waiting = None;
            return;
        }
        let urgent = vitals.news_since(before) == News::Word;
        let pause = FIGURES_EVERY.max(FIGURES_EVERY_PER_MEMBER * self.alive.len() as u32);
        let due = self.vitals_published.map_or(now, |at| at + pause);
        if urgent || due <= now {
            self.publish_vitals(now, vitals);
        } else {
            self.vitals_waiting = Some((due, vitals));
        }
    }

    /// Takes the share of packets that get lost, as the membership [measures](crate::membership::Stats::loss) it, from 0
    /// to 1: news is told more often then. Default 0.
    pub fn set_loss(&mut self, share: f32) {
        self.heat.loss = share.clamp(0.0, 1.0);
    }

    /// This machine goes on in a new generation.
    ///
    /// # Errors
    /// When the profile cannot be signed for it.
    pub fn renewed(&mut self, now: Duration, generation: Generation) -> Result<(), ProfileError> {
        if generation <= self.own().record.generation {
            return Ok(());
        }
        self.tags.remove(&self.own().tag());
        let peer = self.own().peer;
        self.own_mut().begin(peer, generation);
        self.tags.insert(self.own().tag(), self.me);
        if let Some(vitals) = self.own().record.vitals {
            self.publish_vitals(now, vitals);
        }
        self.sign_again(now)
    }

    /// A machine is alive in this generation: from [`Event::Up`](crate::membership::Event::Up).
    pub fn peer_up(&mut self, now: Duration, peer: Peer, generation: Generation) {
        if peer.machine == self.me {
            return;
        }
        let full = self.rows.len() > MEMBERS_MAX;
        match self.rows.get_mut(&peer.machine) {
            None if full => return,
            None => {
                self.rows.insert(peer.machine, Row::new(peer, generation));
                self.alive.push(peer.machine);
            }
            Some(row) => {
                if !row.alive {
                    self.alive.push(peer.machine);
                    row.alive = true;
                }
                if row.record.generation != generation {
                    self.tags.remove(&row.tag());
                    row.begin(peer, generation);
                }
            }
        }
        self.recount(peer.machine);
        self.heat.neighbours = None;
        let tag = Tag::new(peer.machine, generation);
        self.tags.entry(tag).or_insert(peer.machine);
        self.compare_soon(now);
        self.recall_stranger(now, tag);
    }

    /// A machine is down or gone. Its record stays readable until [`forget`](Self::forget).
    pub fn peer_down(&mut self, machine: MachineId) {
        if let Some(row) = self.rows.get_mut(&machine)
            && machine != self.me
        {
            row.alive = false;
            self.alive.retain(|other| *other != machine);
            self.recount(machine);
            self.heat.neighbours = None;
            self.give_up_on(machine);
        }
    }

    /// Drops a machine's record: when the membership no longer remembers it.
    pub fn forget(&mut self, machine: MachineId) {
        self.peer_down(machine);
        if machine != self.me
            && let Some(row) = self.rows.remove(&machine)
        {
            self.tags.remove(&row.tag());
            self.heat.cool(machine);
        }
    }

    /// Does what is due at `now`. Calling it too early does nothing.
    pub fn handle_timeout(&mut self, now: Duration) {
        if let Some((due, vitals)) = self.vitals_waiting
            && due <= now
        {
            self.publish_vitals(now, vitals);
        }
        self.gossip_if_due(now);
        self.repair_if_due(now);
    }

    // === output ===

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next change to know about.
    pub fn poll_event(&mut self) -> Option<Event> {
        let (machine, (profile, vitals)) = self.changed.pop_first()?;
        Some(Event::Changed {
            machine,
            profile,
            vitals,
        })
    }

    /// The next piece of work for the runtime.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None`: not before other input.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let vitals = self.vitals_waiting.map(|(due, _)| due);
        [vitals, self.heat.due(), self.repair.due()]
            .into_iter()
            .flatten()
            .min()
    }

    // === getters ===

    /// One machine's record, this one's included.
    pub fn get(&self, machine: MachineId) -> Option<&Record> {
        self.rows.get(&machine).map(|row| &row.record)
    }

    /// All records, this machine's included, by machine ID.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.rows.values().map(|row| &row.record)
    }

    /// How often others fetched this machine's present profile. Before leaving on purpose, wait until two have: they
    /// carry the news on.
    pub fn profile_fetches(&self) -> u32 {
        self.repair.own_fetches
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    // === own record ===

    fn own(&self) -> &Row {
        self.rows
            .get(&self.me)
            .expect("this machine's own row is made first and never removed")
    }

    fn own_mut(&mut self) -> &mut Row {
        self.rows
            .get_mut(&self.me)
            .expect("this machine's own row is made first and never removed")
    }

    fn publish_profile(
        &mut self,
        now: Duration,
        profile: Profile,
        version: u64,
    ) -> Result<(), ProfileError> {
        let edition = Edition {
            machine: self.me,
            generation: self.own().record.generation,
            version,
            profile,
        };
        let signed = self
            .signer
            .sign(edition.encode()?)
            .map_err(ProfileError::Sign)?;
        if signed.len() > SIGNED_BYTES_MAX {
            return Err(ProfileError::TooBig(signed.len()));
        }
        let row = self.own_mut();
        row.signed = signed.into();
        row.record.profile = Some(edition.profile);
        row.record.profile_version = version;
        row.record.profile_received_at = now;
        self.repair.own_fetches = 0;
        self.note_change(self.me, true, false);
        self.heat(now, self.me, News::Word);
        Ok(())
    }

    fn publish_vitals(&mut self, now: Duration, vitals: Vitals) {
        self.vitals_waiting = None;
        self.vitals_published = Some(now);
        let record = &mut self.own_mut().record;
        let before = record.vitals.filter(|_| record.vitals_version > 0);
        let news = vitals.news_since(before);
        record.vitals = Some(vitals);
        record.vitals_version += 1;
        record.vitals_received_at = now;
        self.note_change(self.me, false, true);
        self.heat(now, self.me, news);
    }

    fn note_change(&mut self, machine: MachineId, profile: bool, vitals: bool) {
        let noted = self.changed.entry(machine).or_default();
        noted.0 |= profile;
        noted.1 |= vitals;
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records")
            .field("me", &self.me)
            .field("known", &self.rows.len())
            .field("alive", &self.alive.len())
            .finish_non_exhaustive()
    }
}
