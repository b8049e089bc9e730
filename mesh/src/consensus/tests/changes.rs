//! Seats that come, go and are replaced.

use std::collections::BTreeSet;

use tokio::time::{Instant, timeout};

use super::cluster::{Cluster, PATIENCE, TIMING, assert_prefixes, node};
use crate::consensus::Seat;
use crate::consensus::coordinator::{ChangeError, Compaction, Role};

fn seats(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<Seat> {
    numbers.into_iter().map(Seat).collect()
}

#[tokio::test]
async fn a_learner_that_is_far_behind_catches_up_by_a_snapshot() {
    let mut cluster = Cluster::found(31).await;
    cluster.compaction = Compaction {
        entries: 50,
        bytes: 64 << 10,
    };
    cluster.stop(1).await;
    cluster.open(1).await;
    // More than the library keeps after a snapshot, and in bytes more than one piece of it.
    let mut last = 0;
    for number in 0..150 {
        last = cluster
            .propose(&format!("{number}: {}", "x".repeat(10_000)))
            .await;
    }
    cluster.join(2).await;
    cluster.applied(last).await;
    assert_prefixes(cluster.replicas.values());
    let log = std::fs::metadata(cluster.folder.path().join("2/log.redb")).expect("its file");
    assert!(log.len() > 1_000_000, "it has the snapshot");
    // What it got by snapshot it has after a restart, too.
    cluster.stop(2).await;
    cluster.open(2).await;
    cluster.applied(last).await;
    assert_prefixes(cluster.replicas.values());
}

#[tokio::test]
async fn the_log_does_not_grow_without_bound() {
    let mut cluster = Cluster::found(32).await;
    cluster.compaction = Compaction {
        entries: 1000,
        bytes: 64 << 10,
    };
    cluster.stop(1).await;
    cluster.open(1).await;
    for number in 0..200 {
        cluster
            .propose(&format!("{number}: {}", "x".repeat(2000)))
            .await;
    }
    let only = &cluster.coordinators[&1];
    let compacted = async {
        // Not below what is kept, nor above twice that: a snapshot is due before.
        while only.log_bytes().0 > 128 << 10 {
            tokio::time::sleep(TIMING.beat).await;
        }
    };
    timeout(PATIENCE, compacted).await.expect("it is compacted");
    assert!(only.log_bytes().1 > 10, "some entries are kept");
}

#[tokio::test]
async fn a_lost_voter_is_replaced_while_the_others_go_on() {
    let mut cluster = Cluster::of(3, 33).await;
    cluster.propose("before").await;
    let leader = cluster.leader().await.seat();
    let lost = (1..=3)
        .find(|number| Seat(*number) != leader)
        .expect("a follower");
    cluster.stop(lost).await;
    cluster.join(4).await;
    let voters = seats((1..=4).filter(|number| *number != lost));
    let leader = cluster.leader().await;
    leader
        .set_voters(voters.clone(), PATIENCE)
        .await
        .expect("replaced");
    let last = cluster.propose("after").await;
    cluster.applied(last).await;
    assert_prefixes(cluster.replicas.values());
    let now = cluster.replicas[&4].seats();
    assert_eq!(now.voters.keys().copied().collect::<BTreeSet<_>>(), voters);
    assert!(now.learners.is_empty() && now.changing.is_none());

    // The lost one comes back, is told that it has no seat any more, and disturbs nobody.
    let term = leader.status().borrow().term;
    let returned = cluster.open(lost).await;
    let mut status = returned.status();
    let told = timeout(PATIENCE, status.wait_for(|status| status.removed)).await;
    told.expect("it is told").expect("it runs");
    assert_eq!(
        cluster.leader().await.status().borrow().term,
        term,
        "the leader still leads"
    );
}

#[tokio::test]
async fn a_seat_that_nobody_ever_calls_is_given_up() {
    let mut cluster = Cluster::found(35).await;
    let created = cluster.create(2).await;
    let mut status = created.status();
    let told = timeout(PATIENCE, status.wait_for(|status| status.removed)).await;
    told.expect("it gives up").expect("it runs");
}

#[tokio::test]
async fn a_cut_off_voter_that_comes_back_does_not_end_the_leaders_reign() {
    let cluster = Cluster::of(3, 34).await;
    let leader = cluster.leader().await;
    let term = leader.status().borrow().term;
    let other = cluster
        .coordinators
        .values()
        .find(|other| other.seat() != leader.seat());
    let other = other.expect("a follower").seat();
    cluster.wires.with(|wires| wires.cut_off(&[other.0]));
    // Long enough for several elections, if it held any.
    tokio::time::sleep(TIMING.patience * 6).await;
    cluster.wires.with(|wires| wires.heal());
    let last = cluster.propose("after").await;
    cluster.applied(last).await;
    assert_eq!(leader.status().borrow().term, term);
    assert_eq!(leader.status().borrow().role, Role::Leader);
}

#[tokio::test]
async fn word_of_the_leaders_death_shortens_the_wait() {
    let mut cluster = Cluster::of(3, 35).await;
    let leader = cluster.leader().await.seat();
    // Without a goodbye, as if it had been killed.
    cluster.wires.with(|wires| wires.cut_off(&[leader.0]));
    let cut = Instant::now();
    cluster.coordinators.remove(&leader.0);
    // The membership says so at every change of anything.
    let survivors: Vec<_> = cluster.coordinators.values().cloned().collect();
    let telling = async {
        loop {
            survivors
                .iter()
                .for_each(|survivor| survivor.elect_now(leader));
            tokio::time::sleep(TIMING.beat / 30).await;
        }
    };
    tokio::select! {
        () = telling => {}
        _ = cluster.leader() => {}
    }
    let took = cut.elapsed();
    // The promise and the vote; well below the least patience plus them. Generous to a busy machine.
    println!("succeeded after {took:?}");
    assert!(took < TIMING.patience + TIMING.beat * 3, "it took {took:?}");
}

#[tokio::test]
async fn word_of_a_living_leaders_death_changes_nothing() {
    let cluster = Cluster::of(3, 36).await;
    let leader = cluster.leader().await;
    let term = leader.status().borrow().term;
    for _ in 0..5 {
        let liar = cluster
            .coordinators
            .values()
            .find(|other| other.seat() != leader.seat());
        liar.expect("a follower").elect_now(leader.seat());
        tokio::time::sleep(TIMING.beat).await;
    }
    cluster.propose("still").await;
    assert_eq!(leader.status().borrow().term, term);
}

#[tokio::test]
async fn a_leader_can_be_replaced() {
    let mut cluster = Cluster::of(3, 37).await;
    let old = cluster.leader().await;
    cluster.join(4).await;
    let voters = seats((1..=4).filter(|number| Seat(*number) != old.seat()));
    old.set_voters(voters, PATIENCE).await.expect("replaced");
    let mut status = old.status();
    let told = timeout(PATIENCE, status.wait_for(|status| status.removed)).await;
    told.expect("it knows").expect("it runs");
    cluster.stop(old.seat().0).await;
    let last = cluster.propose("after").await;
    cluster.applied(last).await;
    assert_ne!(cluster.leader().await.seat(), old.seat());
    assert_prefixes(cluster.replicas.values());
}

#[tokio::test]
async fn a_change_that_a_leader_did_not_end_is_ended_by_the_next() {
    let mut cluster = Cluster::of(3, 38).await;
    cluster.join(4).await;
    cluster.join(5).await;
    let old = cluster.leader().await;
    let voters = seats((1..=5).filter(|number| *number != 2));
    let all = |cluster: &Cluster| -> Vec<_> { cluster.coordinators.values().cloned().collect() };
    // Give up as soon as the change has begun.
    let changing = old.set_voters(voters.clone(), PATIENCE);
    let mut status = old.status();
    tokio::select! {
        _ = changing => {}
        _ = status.wait_for(|status| status.seats.changing.is_some()) => {}
    }
    cluster.stop(old.seat().0).await;
    let ended = timeout(PATIENCE, async {
        loop {
            let ended = all(&cluster).iter().any(|coordinator| {
                let seats = coordinator.status().borrow().seats.clone();
                seats.changing.is_none() && coordinator.status().borrow().role == Role::Leader
            });
            if ended {
                return;
            }
            tokio::time::sleep(TIMING.beat).await;
        }
    });
    ended.await.expect("it has ended");
    cluster.propose("after").await;
}

#[tokio::test]
async fn seats_are_given_out_once() {
    let mut cluster = Cluster::found(39).await;
    cluster.join(2).await;
    let leader = cluster.leader().await;
    let again = leader.add_learner(Seat(2), node(2), PATIENCE).await;
    assert_eq!(again, Ok(()), "saying it twice is no harm");
    let other = leader.add_learner(Seat(2), node(3), PATIENCE).await;
    assert_eq!(other, Err(ChangeError::SeatUsed(Seat(2))));
    leader
        .add_learner(Seat(5), node(5), PATIENCE)
        .await
        .expect("added");
    leader
        .remove_learner(Seat(5), PATIENCE)
        .await
        .expect("removed");
    leader
        .remove_learner(Seat(5), PATIENCE)
        .await
        .expect("saying it twice is no harm");
    let unknown = leader.set_voters(seats([1, 7]), PATIENCE).await;
    assert_eq!(unknown, Err(ChangeError::NoSuchSeat));
    let none = leader.set_voters(BTreeSet::new(), PATIENCE).await;
    assert_eq!(none, Err(ChangeError::NoSuchSeat));
}
