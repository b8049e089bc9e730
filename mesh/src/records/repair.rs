//! What rumours missed, and what does not fit into them: comparisons of hashes, and pulls on streams.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::entry::{ENTRY_MIN, Entry};
use super::heat::News;
use super::profile::Edition;
use super::{Command, Records, SIGNED_BYTES_MAX};
use crate::identity::{MachineId, Peer};
use crate::membership::MEMBERS_MAX;
use crate::wire::{Reader, WIRE_VERSION, WireError, put_machine, put_varint};

/// The shortest and the longest time between two comparisons with a random machine while nothing changes.
const COMPARE_EVERY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60));
/// After a change, a comparison comes within this time, and another one as much later.
const COMPARE_SOON: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_millis(1500));
/// The shortest time between two comparisons that lead to a pull of lines.
const COMPARE_PULL_EVERY: Duration = Duration::from_secs(2);
/// Lines in a bucket on average, and the most buckets: a difference costs at most 8 bytes a bucket to find.
const BUCKET_LINES: usize = 16;
const BUCKETS_MAX: usize = 256;
/// Profiles asked for at once: an answer of at most 2 MiB.
const PROFILES_MAX: usize = 256;
/// Pulls at a time.
const PULLS_MAX: usize = 4;
/// A pull of which nothing was heard for this long has failed.
const PULL_EXPIRES: Duration = Duration::from_secs(10);
/// How long a profile is left alone after it was offered but not given, or did not verify.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// First byte after the version: buckets or lines.
const LINES: u8 = 1;
/// First byte after the version: profiles.
const PROFILES: u8 = 2;

/// What is missing, and who is being asked.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// By machine, who has which version of its profile, and whether it is being fetched.
    wanted: BTreeMap<MachineId, Want>,
    /// By peer asked, when the pull expires.
    pulls: BTreeMap<MachineId, Duration>,
    compare_at: Option<Duration>,
    /// Whether the next comparison is followed by another soon: whoever missed a change does not know that it should
    /// compare, and one comparison by everybody else finds it with a probability of two thirds only.
    compare_again: bool,
    pull_lines_after: Duration,
    pub(super) own_fetches: u32,
}

#[derive(Debug)]
struct Want {
    from: Peer,
    version: u64,
    /// Who was asked; may be somebody else than `from` if a newer version was offered meanwhile.
    fetching: Option<MachineId>,
}

impl Repair {
    pub(super) fn due(&self) -> Option<Duration> {
        self.pulls.values().copied().chain(self.compare_at).min()
    }

    /// `from` has a newer profile of `machine` than we do.
    pub(super) fn want(&mut self, machine: MachineId, from: Peer, version: u64) {
        let want = self.wanted.entry(machine).or_insert(Want {
            from,
            version,
            fetching: None,
        });
        if version > want.version {
            (want.from, want.version) = (from, version);
        }
    }

    /// The pull from `peer` is over. Returns what it offered and did not give; somebody will offer that again.
    fn ended(&mut self, peer: MachineId) -> Vec<MachineId> {
        self.pulls.remove(&peer);
        let given_up = |want: &Want| want.fetching == Some(peer) && want.from.machine == peer;
        let missed = self
            .wanted
            .extract_if(.., |_, want| given_up(want))
            .map(|(machine, _)| machine);
        let missed = missed.collect();
        for want in self
            .wanted
            .values_mut()
            .filter(|want| want.fetching == Some(peer))
        {
            want.fetching = None;
        }
        missed
    }
}

impl Records {
    /// Answers another's pull.
    ///
    /// # Errors
    /// When the request does not decode.
    pub fn handle_pull(&mut self, request: &[u8]) -> Result<Bytes, WireError> {
        let mut reader = open(request).inspect_err(|_| self.stats.malformed += 1)?;
        let answer = match reader.u8()? {
            LINES => self.answer_lines(reader),
            PROFILES => self.answer_profiles(reader),
            _ => Err(WireError::Value),
        }
        .inspect_err(|_| self.stats.malformed += 1)?;
        self.stats.pull_bytes_out += answer.len() as u64;
        Ok(answer)
    }

    /// Takes the answer to [`Command::Pull`].
    ///
    /// # Errors
    /// When it does not decode; what came before the damage is kept.
    pub fn handle_pull_response(
        &mut self,
        now: Duration,
        from: Peer,
        answer: &[u8],
    ) -> Result<(), WireError> {
        let taken = self.take_answer(now, from, answer);
        if taken.is_err() {
            self.stats.malformed += 1;
        }
        let rows = &self.rows;
        self.repair.wanted.retain(|machine, want| {
            rows.get(machine)
                .is_some_and(|row| row.record.profile_version < want.version)
        });
        for machine in self.repair.ended(from.machine) {
            if let Some(row) = self.rows.get_mut(&machine) {
                row.fetch_after = now + REFUSED_PAUSE;
            }
        }
        self.pull_wanted(now);
        taken
    }

    /// The pull from `machine` failed.
    pub fn handle_pull_failed(&mut self, now: Duration, machine: MachineId) {
        self.repair.ended(machine);
        self.pull_wanted(now);
        self.compare_soon(now);
    }

    pub(super) fn give_up_on(&mut self, machine: MachineId) {
        self.repair.ended(machine);
        self.repair
            .wanted
            .retain(|_, want| want.from.machine != machine);
    }

    /// Something changed, or a pull failed: see soon whether others agree, and once more a little later.
    pub(super) fn compare_soon(&mut self, now: Duration) {
        self.repair.compare_again = true;
        self.compare_within(now, COMPARE_SOON);
    }

    fn compare_within(&mut self, now: Duration, (shortest, longest): (Duration, Duration)) {
        if self.alive.is_empty() {
            return;
        }
        let at = now + self.rng.random_range(shortest..=longest);
        let before = self.repair.compare_at.unwrap_or(at);
        self.repair.compare_at = Some(before.min(at));
    }

    pub(super) fn repair_if_due(&mut self, now: Duration) {
        let expired: Vec<MachineId> = self
            .repair
            .pulls
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in expired {
            self.handle_pull_failed(now, peer);
        }
        if self.repair.compare_at.is_none_or(|at| at > now) {
            return;
        }
        self.repair.compare_at = None;
        let chosen = self
            .alive
            .choose(&mut self.rng)
            .and_then(|machine| self.rows.get(machine));
        if let Some(peer) = chosen.map(|row| row.peer) {
            self.send_hash(peer, true);
            let again = std::mem::take(&mut self.repair.compare_again);
            self.compare_within(now, if again { COMPARE_SOON } else { COMPARE_EVERY });
        }
    }

    /// Another's hash. If it differs, either may have missed something, so both look: the asked one tells its own hash.
    pub(super) fn compare(&mut self, now: Duration, from: Peer, question: bool, hash: u64) {
        if hash == self.hash() {
            return;
        }
        self.stats.hashes_differed += 1;
        if question {
            self.send_hash(from, false);
        }
        if now >= self.repair.pull_lines_after && !self.repair.pulls.contains_key(&from.machine) {
            self.repair.pull_lines_after = now + COMPARE_PULL_EVERY;
            let request = self.ask_lines();
            self.pull(now, from, request);
        }
    }

    /// A hash over the lines of all that are alive, in no order.
    pub(super) fn hash(&self) -> u64 {
        let hash = self.sum ^ self.own().entry().hash();
        debug_assert_eq!(hash, self.lines().fold(0, |sum, entry| sum ^ entry.hash()));
        hash
    }

    /// Takes the line of another machine into the sum as it is now: after each change of it.
    pub(super) fn recount(&mut self, machine: MachineId) {
        if let Some(row) = self.rows.get_mut(&machine) {
            let counts = if row.alive { row.entry().hash() } else { 0 };
            self.sum ^= row.counted ^ counts;
            row.counted = counts;
        }
    }

    fn lines(&self) -> impl Iterator<Item = Entry> {
        self.rows
            .values()
            .filter(|row| row.alive)
            .map(super::Row::entry)
    }

    fn bucket_hashes(&self, buckets: usize) -> Vec<u64> {
        let mut hashes = vec![0; buckets];
        for entry in self.lines() {
            if let Some(hash) = hashes.get_mut(entry.tag.bucket(buckets)) {
                *hash ^= entry.hash();
            }
        }
        hashes
    }

    fn ask_lines(&self) -> Bytes {
        let buckets = (self.alive.len() / BUCKET_LINES)
            .max(1)
            .next_power_of_two()
            .min(BUCKETS_MAX);
        let mut out = begin(LINES);
        put_varint(&mut out, buckets as u64);
        for hash in self.bucket_hashes(buckets) {
            out.put_u64(hash);
        }
        out.freeze()
    }

    /// All lines in the buckets that differ from the asker's.
    fn answer_lines(&self, mut reader: Reader<'_>) -> Result<Bytes, WireError> {
        let buckets = reader.count(BUCKETS_MAX, 8)?;
        if !buckets.is_power_of_two() {
            return Err(WireError::Value);
        }
        let mut differs = Vec::with_capacity(buckets);
        for ours in self.bucket_hashes(buckets) {
            differs.push(reader.u64()? != ours);
        }
        reader.finish()?;
        let lines: Vec<Entry> = self
            .lines()
            .filter(|entry| differs.get(entry.tag.bucket(buckets)) == Some(&true))
            .collect();
        let mut out = begin(LINES);
        put_varint(&mut out, lines.len() as u64);
        for entry in lines {
            entry.put(&mut out);
        }
        Ok(out.freeze())
    }

    /// The signed profiles asked for, as far as we hold them.
    fn answer_profiles(&mut self, mut reader: Reader<'_>) -> Result<Bytes, WireError> {
        let count = reader.count(PROFILES_MAX, 8)?;
        let mut out = begin(PROFILES);
        for _ in 0..count {
            let machine = reader.machine()?;
            if machine == self.me {
                self.repair.own_fetches = self.repair.own_fetches.saturating_add(1);
            }
            if let Some(row) = self.rows.get(&machine).filter(|row| !row.signed.is_empty()) {
                put_varint(&mut out, row.signed.len() as u64);
                out.extend_from_slice(&row.signed);
            }
        }
        reader.finish()?;
        Ok(out.freeze())
    }

    fn take_answer(&mut self, now: Duration, from: Peer, answer: &[u8]) -> Result<(), WireError> {
        let mut reader = open(answer)?;
        match reader.u8()? {
            LINES => {
                let count = reader.count(MEMBERS_MAX + 1, ENTRY_MIN)?;
                for _ in 0..count {
                    let entry = Entry::read(&mut reader)?;
                    self.merge(now, from, entry);
                }
                reader.finish()
            }
            PROFILES => {
                for _ in 0..PROFILES_MAX {
                    if reader.is_empty() {
                        break;
                    }
                    let length = reader.count(SIGNED_BYTES_MAX, 1)?;
                    let signed = Bytes::copy_from_slice(reader.bytes(length)?);
                    if self.take_profile(now, signed).is_none() {
                        self.stats.unverified += 1;
                    }
                }
                reader.finish()
            }
            _ => Err(WireError::Value),
        }
    }

    /// Takes one signed profile; `None` if it is not what it should be.
    fn take_profile(&mut self, now: Duration, signed: Bytes) -> Option<()> {
        let (machine, payload) = self.verifier.verify(&signed)?;
        let edition = Edition::decode(&payload).ok()?;
        if edition.machine != machine || machine == self.me {
            return None;
        }
        let row = self.rows.get_mut(&machine)?;
        let newer = (edition.generation, edition.version)
            > (row.record.generation, row.record.profile_version);
        if edition.generation != row.record.generation || !newer {
            return Some(());
        }
        row.signed = signed;
        row.record.profile = Some(edition.profile);
        row.record.profile_version = edition.version;
        row.record.profile_received_at = now;
        self.recount(machine);
        self.note_change(machine, true, false);
        self.heat(now, machine, News::Word);
        Some(())
    }

    /// Fetches what was offered and is not being fetched yet, from those who offered it, a few at a time.
    pub(super) fn pull_wanted(&mut self, now: Duration) {
        while self.repair.pulls.len() < PULLS_MAX {
            let pulls = &self.repair.pulls;
            let free =
                |want: &&Want| want.fetching.is_none() && !pulls.contains_key(&want.from.machine);
            let Some(from) = self.repair.wanted.values().find(free).map(|want| want.from) else {
                return;
            };
            let request = self.ask_profiles(from.machine);
            self.pull(now, from, request);
        }
    }

    fn ask_profiles(&mut self, from: MachineId) -> Bytes {
        let offered = |want: &Want| want.fetching.is_none() && want.from.machine == from;
        let machines: Vec<MachineId> = self
            .repair
            .wanted
            .iter_mut()
            .filter(|(_, want)| offered(want))
            .take(PROFILES_MAX)
            .map(|(machine, want)| {
                want.fetching = Some(from);
                *machine
            })
            .collect();
        let mut out = begin(PROFILES);
        put_varint(&mut out, machines.len() as u64);
        for machine in machines {
            put_machine(&mut out, machine);
        }
        out.freeze()
    }

    fn pull(&mut self, now: Duration, from: Peer, request: Bytes) {
        self.stats.pulls += 1;
        self.repair.pulls.insert(from.machine, now + PULL_EXPIRES);
        self.commands.push_back(Command::Pull { from, request });
    }
}

fn begin(kind: u8) -> BytesMut {
    let mut out = BytesMut::with_capacity(256);
    out.put_u8(WIRE_VERSION);
    out.put_u8(kind);
    out
}

fn open(bytes: &[u8]) -> Result<Reader<'_>, WireError> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        WIRE_VERSION => Ok(reader),
        other => Err(WireError::Version(other)),
    }
}
