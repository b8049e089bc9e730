//! Founding, leading, losing the leader.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::storage::RaftLogStorageExt;

use super::cluster::{Cluster, Ledger, PATIENCE, TIMING, assert_prefixes, machine, node};
use crate::consensus::coordinator::{FoundError, ProposeError, Role, StartError};
use crate::consensus::raft::{Command, Entry, EntryPayload, LogId};
use crate::consensus::seats::{MachineView, SeatChange, plan};
use crate::consensus::store::{About, LogStore, Store};
use crate::consensus::{COMMAND_BYTES_MAX, Coordinator, LogGeneration, Replica, Seat};

#[tokio::test]
async fn a_single_coordinator_leads_and_commits() {
    let cluster = Cluster::found(1).await;
    let only = &cluster.coordinators[&1];
    let first = only
        .propose("one", TIMING.patience)
        .await
        .expect("committed");
    let second = only
        .propose("two", TIMING.patience)
        .await
        .expect("committed");
    assert_eq!(second.reply, 2u64.to_be_bytes());
    assert_eq!(second.at.index, first.at.index + 1);
    let confirmed = only.confirm(TIMING.patience).await.expect("it leads");
    assert_eq!(
        (confirmed.term, confirmed.index),
        (second.at.term, second.at.index)
    );
    let ledger = cluster.replicas[&1].read(|ledger, at| (ledger.applied.clone(), at));
    assert_eq!(
        ledger.0,
        [
            (first.at.index, b"one".to_vec()),
            (second.at.index, b"two".to_vec())
        ]
    );
    assert_eq!(ledger.1, Some(second.at));
    let again = only.found(node(1)).await;
    assert!(matches!(again, Err(FoundError::Exists)), "{again:?}");
}

#[tokio::test]
async fn commands_that_are_too_long_are_refused_and_the_longest_is_not() {
    let cluster = Cluster::found(2).await;
    let only = &cluster.coordinators[&1];
    let outcome = only
        .propose(vec![0; COMMAND_BYTES_MAX + 1], TIMING.patience)
        .await;
    assert_eq!(
        outcome,
        Err(ProposeError::TooLong {
            bytes: COMMAND_BYTES_MAX + 1
        })
    );
    only.propose(vec![0; COMMAND_BYTES_MAX], TIMING.patience * 10)
        .await
        .expect("committed");
}

#[tokio::test]
async fn a_restarted_coordinator_has_everything_that_was_committed() {
    let mut cluster = Cluster::found(3).await;
    let last = cluster.propose("kept").await;
    cluster.stop(1).await;
    let reopened = cluster.open(1).await;
    cluster.applied(last).await;
    assert_eq!(cluster.leader().await.seat(), Seat::FIRST);
    assert_eq!(reopened.status().borrow().role, Role::Leader);
    cluster.replicas[&1].read(|ledger, _| assert_eq!(ledger.applied.len(), 1));
    assert_prefixes(cluster.replicas.values());
}

#[tokio::test]
async fn a_dead_leader_is_succeeded_and_loses_nothing() {
    let mut cluster = Cluster::of(3, 4).await;
    cluster.propose("before").await;
    let dead = cluster.leader().await.seat();
    cluster.stop(dead.0).await;
    let last = cluster.propose("after").await;
    assert_ne!(cluster.leader().await.seat(), dead);
    cluster.open(dead.0).await;
    cluster.applied(last).await;
    assert_prefixes(cluster.replicas.values());
    cluster.replicas[&dead.0].read(|ledger, _| {
        let commands: Vec<_> = ledger
            .applied
            .iter()
            .map(|(_, command)| command.as_slice())
            .collect();
        assert_eq!(commands, [b"before".as_slice(), b"after"]);
    });
}

#[tokio::test]
async fn a_minority_commits_nothing_and_says_so() {
    let cluster = Cluster::of(3, 5).await;
    let old = cluster.leader().await;
    cluster.wires.with(|wires| wires.cut_off(&[old.seat().0]));
    let outcome = old.propose("lost", TIMING.patience).await;
    assert_eq!(outcome, Err(ProposeError::Unknown), "it could not know yet");
    assert!(
        old.confirm(TIMING.patience).await.is_err(),
        "nobody confirms it"
    );
    let mut status = old.status();
    while status.borrow_and_update().quorum_silence() <= TIMING.patience + TIMING.beat {
        tokio::time::sleep(TIMING.beat).await;
    }
    assert_eq!(
        old.propose("lost", TIMING.patience).await,
        Err(ProposeError::NoQuorum)
    );

    let new = loop {
        let led = cluster.coordinators.values().find(|other| {
            other.seat() != old.seat() && other.status().borrow().role == Role::Leader
        });
        match led {
            Some(new) => break new.clone(),
            None => tokio::time::sleep(TIMING.beat).await,
        }
    };
    let kept = new
        .propose("kept", TIMING.patience * 5)
        .await
        .expect("the majority commits");
    cluster.wires.with(|wires| wires.heal());
    cluster.applied(kept.at.index).await;
    assert_prefixes(cluster.replicas.values());
    for replica in cluster.replicas.values() {
        replica.read(|ledger, _| {
            assert!(ledger.applied.iter().all(|(_, command)| command != b"lost"));
        });
    }
}

#[tokio::test]
async fn the_next_generation_goes_on_from_a_copy() {
    let mut cluster = Cluster::of(3, 6).await;
    let last = cluster.propose("kept").await;
    cluster.applied(last).await;
    // Machines 2 and 3 are lost for good; machine 1 has a copy, and its old coordinator is stopped.
    let copy = cluster.replicas[&1].image();
    for number in 1..=3 {
        cluster.stop(number).await;
    }
    let replica = Replica::from_image(&copy).expect("readable");
    cluster.replicas.insert(1, replica.clone());
    let mut config = cluster.config(1);
    config.path = cluster.folder.path().join("1/next.redb");
    config.seat = Seat(4);
    let network = cluster.wires.from(machine(1));
    let found = |config, remembered: Result<(), String>| {
        let (replica, network) = (replica.clone(), network.clone());
        // Whoever remembers the seat only after its copy is of the new log may be cut off between the two.
        let known = replica.generation();
        let copy = replica.clone();
        Coordinator::found_anew(config, node(1), replica, network, move || {
            assert_eq!(copy.generation(), known, "the seat is remembered too late");
            remembered
        })
    };
    let early = found(config.clone(), Ok(()));
    let error = early.await.expect_err("the same generation is no next one");
    assert!(
        matches!(error, StartError::NothingToGoOnFrom { .. }),
        "{error}"
    );
    config.generation = LogGeneration(2);
    let forgotten = found(config.clone(), Err("the disk is full".to_owned())).await;
    let error = forgotten.expect_err("its seat would be unknown after a restart");
    assert!(matches!(error, StartError::Unremembered(_)), "{error}");
    assert_eq!(replica.generation(), LogGeneration::FIRST);
    std::fs::remove_file(&config.path).expect("it is there");
    let anew = found(config, Ok(())).await.expect("founded");
    cluster.keep(1, anew.clone());
    let proposed = cluster
        .leader()
        .await
        .propose("after", TIMING.patience)
        .await;
    let proposed = proposed.expect("committed");
    assert!(proposed.at.index > last && proposed.at.term > copy.at().expect("it has entries").term);
    replica.read(|ledger, at| {
        assert_eq!(at, Some(proposed.at));
        let commands: Vec<_> = ledger
            .applied
            .iter()
            .map(|(_, command)| command.as_slice())
            .collect();
        assert_eq!(commands, [b"kept".as_slice(), b"after"]);
    });
    assert_eq!(replica.generation(), LogGeneration(2));
    assert_eq!(
        replica.seats().voters.keys().collect::<Vec<_>>(),
        [&Seat(4)]
    );
    // The old coordinator of this machine does not come back.
    let (config, network) = (cluster.config(1), cluster.wires.from(machine(1)));
    let error = Coordinator::open(config, replica, network)
        .await
        .expect_err("it was given up");
    assert!(matches!(error, StartError::Outlived { .. }), "{error}");
}

#[tokio::test]
async fn a_stopped_store_gives_all_it_has_and_is_left_as_it_was() {
    let mut cluster = Cluster::of(3, 7).await;
    let last = cluster.propose("committed").await;
    cluster.applied(last).await;
    let at = cluster.replicas[&2].at().expect("it has entries");
    cluster.stop(2).await;
    let config = cluster.config(2);
    let about = About {
        cluster: config.cluster,
        generation: config.generation,
        seat: config.seat,
    };
    // An entry of which this coordinator never learned that it is committed.
    let leader = openraft::CommittedLeaderId::new(at.term, at.leader);
    let tail = Entry {
        log_id: LogId::new(leader, at.index + 1),
        payload: EntryPayload::Normal(Command(Bytes::from_static(b"acknowledged"))),
    };
    let store = Store::open(config.path.clone(), about)
        .await
        .expect("opens");
    let known = store.entries_from(at.index + 1).await.expect("readable");
    assert_eq!(known.len(), 0);
    let mut log = LogStore(store.clone());
    log.blocking_append([tail]).await.expect("written");
    store.close().await;
    for _ in 0..2 {
        let image = Coordinator::<Ledger>::salvage(&config)
            .await
            .expect("whole");
        assert_eq!(image.at().map(|at| at.index), Some(at.index + 1));
        let replica = Replica::<Ledger>::from_image(&image).expect("readable");
        replica.read(|ledger, _| {
            let last = ledger.applied.last().map(|(_, command)| command.as_slice());
            assert_eq!(last, Some(b"acknowledged".as_slice()));
        });
    }
}

#[tokio::test]
async fn a_mesh_elects_its_coordinators_by_the_plan() {
    let mut cluster = Cluster::found(7).await;
    let well = || MachineView {
        zone: None,
        alive: true,
        healthy_for: TIMING.patience * 1000,
        leaving: false,
        eligible: true,
        has_taken_seat: false,
    };
    let machines: BTreeMap<_, _> = (1..=5).map(|number| (machine(number), well())).collect();
    let mut next_seat = 2;
    let grown = async {
        loop {
            let leader = cluster.leader().await;
            let council = leader.council(machines.clone(), machines.len());
            match council.as_ref().and_then(plan).map(|plan| plan.change) {
                None if leader.status().borrow().seats.voters.len() == 3 => return,
                // Something is on its way.
                None => tokio::time::sleep(TIMING.beat / 4).await,
                // The cluster of the test seats machine k on seat k.
                Some(SeatChange::AddLearner(_)) => {
                    cluster.join(next_seat).await;
                    next_seat += 1;
                }
                Some(SeatChange::SetVoters(voters)) => {
                    leader.set_voters(voters, PATIENCE).await.expect("promoted");
                }
                Some(SeatChange::RemoveLearner(seat)) => panic!("seat {seat} is needed"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, grown)
        .await
        .expect("three voters");
    assert_eq!(next_seat, 4, "no more seats than needed");
}
