//! Power cuts at every sync, and files that were damaged.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::cluster::{CLUSTER, Cluster};
use crate::consensus::coordinator::{StartError, StoreError};
use crate::consensus::raft::{Command, Entry, EntryPayload, LogId, Node, SnapshotMeta, Vote};
use crate::consensus::seat::{LogGeneration, Seat};
use crate::consensus::store::{About, LogStore, Store};
use crate::consensus::{Coordinator, Replica};

const ABOUT: About = About {
    cluster: CLUSTER,
    generation: LogGeneration::FIRST,
    seat: Seat::FIRST,
};

/// A disk with a cache in front of it: what was synced is on the disk, and of what was only written any part may be.
/// At the `cut_at`-th sync the power goes: nothing reaches the disk from then on.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug, Default)]
struct DiskState {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// What was done since the last sync, and before the power went.
    unsynced: Vec<Change>,
    syncs: u64,
    cut_at: Option<u64>,
}

#[derive(Debug, Clone)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if end > bytes.len() {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }
}

impl DiskState {
    fn cut(&self) -> bool {
        self.cut_at.is_some_and(|at| self.syncs >= at)
    }

    fn change(&mut self, change: Change) {
        change.make(&mut self.live);
        if !self.cut() {
            self.unsynced.push(change);
        }
    }
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.0
            .lock()
            .expect("no test panics while it holds the disk")
    }

    /// The disk after the power is back, with those changes since the last sync that `survives` picks.
    fn after_crash(&self, mut survives: impl FnMut(&Change) -> bool) -> Self {
        let state = self.lock();
        let mut live = state.durable.clone();
        state
            .unsynced
            .iter()
            .filter(|change| survives(change))
            .for_each(|change| change.make(&mut live));
        Self(Arc::new(Mutex::new(DiskState {
            durable: live.clone(),
            live,
            ..DiskState::default()
        })))
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        let offset = offset as usize;
        let bytes = state.live.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().change(Change::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.syncs += 1;
        if !state.cut() {
            state.durable = state.live.clone();
            state.unsynced.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lock()
            .change(Change::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}

/// What the store has acknowledged.
#[derive(Debug, Clone, Default, PartialEq)]
struct Promised {
    vote: Option<Vote>,
    log: Vec<Entry>,
    purged: Option<LogId>,
    snapshot: Option<LogId>,
}

fn entry(term: u64, index: u64, length: usize) -> Entry {
    Entry {
        log_id: openraft::testing::log_id(term, Seat::FIRST, index),
        payload: EntryPayload::Normal(Command(vec![index as u8; length].into())),
    }
}

/// A life of a coordinator's store: votes, batches, a conflict, a snapshot, a purge. After every step `acknowledged`
/// is told what holds from now on.
async fn live(store: &Store, mut acknowledged: impl FnMut(&Promised)) -> Promised {
    let mut log = LogStore(store.clone());
    let mut now = Promised::default();
    for term in 1..=4u64 {
        let vote = Vote::new_committed(term, Seat::FIRST);
        log.save_vote(&vote).await.expect("saved");
        now.vote = Some(vote);
        acknowledged(&now);
        for batch in 1..=3u64 {
            let next = now
                .log
                .last()
                .map_or(now.purged.map_or(0, |id| id.index + 1), |last| {
                    last.log_id.index + 1
                });
            // Long ones too, so that the file grows.
            let length = if batch == 2 { 100_000 } else { 100 };
            let entries: Vec<_> = (next..next + 4)
                .map(|index| entry(term, index, length))
                .collect();
            log.blocking_append(entries.clone())
                .await
                .expect("appended");
            now.log.extend(entries);
            log.save_committed(now.log.last().map(|last| last.log_id))
                .await
                .expect("noted");
            acknowledged(&now);
        }
        let since = now.log[now.log.len() - 2].log_id;
        log.truncate(since).await.expect("truncated");
        now.log.truncate(now.log.len() - 2);
        acknowledged(&now);
        if term % 2 == 0 {
            let upto = now.log[now.log.len() - 3].log_id;
            let meta = SnapshotMeta {
                last_log_id: Some(upto),
                ..openraft::SnapshotMeta::<Seat, Node>::default()
            };
            let image = vec![term as u8; 700_000];
            store
                .save_snapshot(meta, image.into())
                .await
                .expect("saved");
            now.snapshot = Some(upto);
            acknowledged(&now);
            log.purge(upto).await.expect("purged");
            now.log.retain(|entry| entry.log_id > upto);
            now.purged = Some(upto);
            acknowledged(&now);
        }
    }
    now
}

/// What a reopened store has.
async fn recovered(store: &Store) -> Promised {
    let mut log = LogStore(store.clone());
    let snapshot = store.load_snapshot().await.expect("a whole snapshot");
    Promised {
        vote: log.read_vote().await.expect("a vote"),
        log: log.try_get_log_entries(..).await.expect("whole entries"),
        purged: log
            .get_log_state()
            .await
            .expect("a state")
            .last_purged_log_id,
        snapshot: snapshot.and_then(|(meta, _)| meta.last_log_id),
    }
}

/// The ways in which the writes since the last sync may have reached the disk.
fn survivals(disk: &Disk, seed: u64) -> Vec<(String, Disk)> {
    let mut images = vec![
        ("nothing".to_owned(), disk.after_crash(|_| false)),
        ("everything".to_owned(), disk.after_crash(|_| true)),
        // The header is small and often written.
        (
            "the header".to_owned(),
            disk.after_crash(|change| matches!(change, Change::Write(0, _))),
        ),
    ];
    for pick in 0..3 {
        let mut rng = StdRng::seed_from_u64(seed * 31 + pick);
        images.push((format!("pick {pick}"), disk.after_crash(|_| rng.random())));
    }
    images
}

#[tokio::test]
async fn a_power_cut_at_any_sync_loses_nothing_that_was_acknowledged() {
    let path = PathBuf::from("disk");
    let whole = Disk::default();
    let store = Store::on_backend(path.clone(), whole.clone(), ABOUT)
        .await
        .expect("made");
    let made = whole.lock().syncs;
    let mut steps = vec![Promised::default()];
    live(&store, |now| steps.push(now.clone())).await;
    let syncs = whole.lock().syncs;
    drop(store);
    assert!(syncs > made + 20, "the life has enough syncs to be cut at");

    for cut_at in made + 1..=syncs {
        let disk = Disk::default();
        let store = Store::on_backend(path.clone(), disk.clone(), ABOUT)
            .await
            .expect("made");
        disk.lock().cut_at = Some(cut_at);
        let mut promised = 0;
        let mut step = 0;
        live(&store, |_| {
            step += 1;
            if !disk.lock().cut() {
                promised = step;
            }
        })
        .await;
        drop(store);
        for (survivor, image) in survivals(&disk, cut_at) {
            let store = Store::on_backend(path.clone(), image, ABOUT).await;
            let case = format!("cut at sync {cut_at}, {survivor} survives");
            let store = store.unwrap_or_else(|error| panic!("{case}: {error}"));
            let found = recovered(&store).await;
            // The step that was cut off is there or not, but whole; all steps before it are there.
            assert!(
                found == steps[promised] || steps.get(promised + 1) == Some(&found),
                "{case}: promised {:?}, found {found:?}",
                steps[promised]
            );
            assert!(
                found.vote >= steps[promised].vote,
                "{case}: the vote went backwards"
            );
        }
    }
}

/// The library purges the log that a leader's snapshot covers without waiting for the snapshot to be stored.
#[tokio::test]
async fn a_log_is_not_purged_before_the_snapshot_that_covers_it_is_stored() {
    let disk = Disk::default();
    let path = PathBuf::from("disk");
    let store = Store::on_backend(path.clone(), disk.clone(), ABOUT)
        .await
        .expect("made");
    let mut log = LogStore(store.clone());
    log.blocking_append((0..5).map(|index| entry(1, index, 10)))
        .await
        .expect("appended");
    let upto = openraft::testing::log_id(2, Seat(2), 100);
    let expected = store.expect_snapshot(upto.index);
    let purging = tokio::spawn(async move { log.purge(upto).await });
    // As long as the snapshot is on its way, a power cut finds the log as it was.
    for _ in 0..20 {
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(|| ()).await.expect("no panic");
    }
    let cut = Store::on_backend(path.clone(), disk.after_crash(|_| true), ABOUT).await;
    assert_eq!(recovered(&cut.expect("sound")).await.log.len(), 5);
    assert!(!purging.is_finished());

    let meta = SnapshotMeta {
        last_log_id: Some(upto),
        ..openraft::SnapshotMeta::<Seat, Node>::default()
    };
    store
        .save_snapshot(meta, vec![1; 1000].into())
        .await
        .expect("saved");
    purging.await.expect("no panic").expect("purged");
    drop(expected);
    let found = recovered(&store).await;
    assert_eq!(
        (found.log.len(), found.purged, found.snapshot),
        (0, Some(upto), Some(upto))
    );
}

#[tokio::test]
async fn damage_is_found_when_the_file_is_opened_and_never_panics() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.redb");
    let store = Store::create(path.clone(), ABOUT, None)
        .await
        .expect("made");
    let expected = live(&store, |_| ()).await;
    store.close().await;
    drop(store);
    let sound = fs::read(&path).expect("the file");

    let mut found = 0;
    let mut try_with = async |damaged: &[u8], what: String| {
        fs::write(&path, damaged).expect("written");
        match Store::open(path.clone(), ABOUT).await {
            // A page that is not in use, or the older of two headers.
            Ok(store) => assert_eq!(recovered(&store).await, expected, "{what} went unnoticed"),
            Err(error @ StoreError::Damaged { .. }) => {
                found += 1;
                let text = error.to_string();
                assert!(
                    text.contains("log.redb") && text.contains("joins again"),
                    "{text}"
                );
            }
            Err(error) => panic!("{what}: {error}"),
        }
    };
    for length in [0, 1, 100, 4096, sound.len() / 2, sound.len() - 1] {
        try_with(&sound[..length], format!("cut to {length} bytes")).await;
    }
    let stride = sound.len() / 97;
    for offset in (0..sound.len()).step_by(stride) {
        let mut damaged = sound.clone();
        let end = (offset + 16).min(damaged.len());
        damaged[offset..end]
            .iter_mut()
            .for_each(|byte| *byte ^= 0x5a);
        try_with(&damaged, format!("16 bytes at {offset}")).await;
    }
    assert!(found > 10, "only {found} kinds of damage were found");
}

#[tokio::test]
async fn a_store_is_opened_by_whom_it_belongs_to() {
    let mut cluster = Cluster::found(21).await;
    cluster.stop(1).await;
    let path = cluster.folder.path().join("1/log.redb");
    assert_eq!(
        Coordinator::<super::cluster::Ledger>::stored(path.clone())
            .await
            .expect("sound"),
        Some((Seat::FIRST, LogGeneration::FIRST))
    );
    let other = About {
        seat: Seat(2),
        ..ABOUT
    };
    let error = Store::open(path.clone(), other)
        .await
        .expect_err("another's");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    let error = Store::create(path.clone(), ABOUT, None)
        .await
        .expect_err("it is there");
    assert!(matches!(error, StoreError::Exists { .. }), "{error}");
    let held = Store::open(path.clone(), ABOUT).await.expect("ours");
    let error = Store::open(path.clone(), ABOUT).await.expect_err("in use");
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    held.close().await;
    let closed = held.load_snapshot().await;
    assert!(
        closed.is_ok_and(|snapshot| snapshot.is_none())
            || matches!(held.load_snapshot().await, Err(StoreError::Closed { .. }))
    );
    fs::remove_file(&path).expect("removed");
    let error = Store::open(path.clone(), ABOUT).await.expect_err("gone");
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
}

#[tokio::test]
async fn a_log_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.redb");
    fs::write(
        path.with_extension("new"),
        "left by a start that was cut off",
    )
    .expect("written");
    let store = Store::create(path.clone(), ABOUT, None).await;
    store.expect("made");
    let mode = fs::metadata(&path).expect("its file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_machine_that_lost_its_store_gets_no_second_vote() {
    let mut cluster = Cluster::of(3, 22).await;
    let last = cluster.propose("known").await;
    cluster.applied(last).await;
    let replica: Replica<_> = cluster.replicas[&2].clone();
    cluster.stop(2).await;
    fs::remove_file(cluster.folder.path().join("2/log.redb")).expect("removed");
    cluster.replicas.insert(2, replica);
    let error = cluster.try_create(2).await.expect_err("its votes are lost");
    assert!(matches!(error, StartError::SeatInUse(Seat(2))), "{error}");
}
