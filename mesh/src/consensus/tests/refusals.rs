//! What a coordinator does not take from others.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteRequest};
use proptest::prelude::*;

use tokio::time::Instant;

use super::cluster::{Cluster, PATIENCE, TIMING, assert_prefixes, machine, node};
use crate::consensus::coordinator::Timing;
use crate::consensus::raft::{
    Command, Entry, EntryPayload, Membership, Node, StoredMembership, Types, Vote,
};
use crate::consensus::wire::{Answer, Canvass, Envelope, Refusal, Request, decode, encode};
use crate::consensus::{COMMAND_BYTES_MAX, IMAGE_BYTES_MAX, LogGeneration, Seat};

fn envelope(from: u64, to: u64, request: Request) -> Envelope {
    Envelope {
        generation: LogGeneration::FIRST,
        from: Seat(from),
        to: Seat(to),
        request,
    }
}

fn vote(term: u64, seat: u64) -> Request {
    Request::Vote(VoteRequest::new(Vote::new(term, Seat(seat)), None))
}

async fn ask(cluster: &Cluster, from: u64, to: u64, envelope: &Envelope) -> Answer {
    let asked = &cluster.coordinators[&to];
    let answer = asked.handle(machine(from), encode(envelope).into()).await;
    decode(&answer).expect("an answer")
}

#[tokio::test]
async fn a_machine_speaks_for_its_own_seat_only() {
    let cluster = Cluster::of(3, 41).await;
    let leader = cluster.leader().await;
    let term = leader.status().borrow().term;
    let target = (1..=3)
        .find(|number| Seat(*number) != leader.seat())
        .expect("a follower");
    let other = (1..=3)
        .find(|number| Seat(*number) != leader.seat() && *number != target)
        .expect("another follower");

    let refused = |answer: Answer| match answer {
        Answer::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    };
    // A stranger and a follower's machine, for the leader's seat.
    for impostor in [9, other] {
        let request = envelope(leader.seat().0, target, vote(term + 5, leader.seat().0));
        assert_eq!(
            refused(ask(&cluster, impostor, target, &request).await),
            Refusal::Impostor
        );
    }
    // A seat that nobody has, high enough to be newer than our log.
    let request = envelope(9, target, vote(term + 5, 9));
    assert_eq!(
        refused(ask(&cluster, 9, target, &request).await),
        Refusal::Stranger
    );
    // In its own name, but with another's vote.
    let request = envelope(other, target, vote(term + 5, leader.seat().0));
    assert!(matches!(
        refused(ask(&cluster, other, target, &request).await),
        Refusal::Malformed(_)
    ));
    // To a seat that is not the target's, and of another log.
    let request = envelope(other, other, vote(term + 5, other));
    assert_eq!(
        refused(ask(&cluster, other, target, &request).await),
        Refusal::Misaddressed
    );
    let mut request = envelope(other, target, vote(term + 5, other));
    request.generation = LogGeneration(2);
    assert_eq!(
        refused(ask(&cluster, other, target, &request).await),
        Refusal::Generation(LogGeneration::FIRST)
    );
    // Well-formed and its own, while there is a leader.
    let request = envelope(other, target, vote(term + 5, other));
    assert_eq!(
        refused(ask(&cluster, other, target, &request).await),
        Refusal::Led
    );
    let request = envelope(other, leader.seat().0, vote(term + 5, other));
    assert_eq!(
        refused(ask(&cluster, other, leader.seat().0, &request).await),
        Refusal::Led
    );

    cluster.propose("untouched").await;
    assert_eq!(leader.status().borrow().term, term);
}

#[tokio::test]
async fn a_voter_that_is_behind_listens_to_a_leader_that_others_vouch_for() {
    let mut cluster = Cluster::of(3, 43).await;
    let last = cluster.propose("before").await;
    cluster.applied(last).await;
    let first = cluster.leader().await.seat().0;
    let (behind, other) = (first % 3 + 1, (first + 1) % 3 + 1);
    // While one is away, the others take a fourth on in place of the leader.
    cluster.wires.with(|wires| wires.cut_off(&[behind]));
    cluster.join(4).await;
    let old = cluster.leader().await.seat().0;
    let voters = (1..=4).filter(|number| *number != old).map(Seat).collect();
    cluster
        .leader()
        .await
        .set_voters(voters, PATIENCE)
        .await
        .expect("replaced");
    cluster.retire(old).await;
    let third = if old == first { other } else { first };
    // Now the one that was away and the fourth, which do not know each other, are all that is left.
    cluster.wires.with(|wires| {
        wires.heal();
        wires.cut_off(&[third]);
    });
    let last = cluster.propose("after").await;
    let follower = cluster.replicas[&behind].clone();
    let mut at = follower.watch();
    let applied = at.wait_for(|at| at.is_some_and(|at| at.index >= last));
    tokio::time::timeout(PATIENCE, applied)
        .await
        .expect("it listens")
        .expect("it lives");
    assert_eq!(cluster.leader().await.seat(), Seat(4));
    assert_prefixes(cluster.replicas.values());
}

#[tokio::test]
async fn contradictions_are_refused_before_the_library_sees_them() {
    let entry = |term, index, payload| Entry {
        log_id: openraft::testing::log_id(term, Seat(1), index),
        payload,
    };
    let append = |prev, entries| {
        Request::Append(AppendEntriesRequest {
            vote: Vote::new_committed(3, Seat(1)),
            prev_log_id: prev,
            entries,
            leader_commit: None,
        })
    };
    let id = |term, index| Some(openraft::testing::log_id(term, Seat(1), index));
    let snapshot = |offset, data: Vec<u8>| {
        Request::Snapshot(InstallSnapshotRequest::<Types> {
            vote: Vote::new_committed(3, Seat(1)),
            meta: openraft::SnapshotMeta {
                last_log_id: id(1, 5),
                ..Default::default()
            },
            offset,
            data,
            done: true,
        })
    };
    let blank = || EntryPayload::Blank;
    let nobody = Membership::new(vec![[Seat(1)].into()], None);
    let long = Command(vec![0; COMMAND_BYTES_MAX + 1].into());
    let senseless = [
        ("a hole", append(id(1, 3), vec![entry(1, 5, blank())])),
        (
            "a hole in between",
            append(None, vec![entry(1, 0, blank()), entry(1, 2, blank())]),
        ),
        ("terms back", append(id(2, 3), vec![entry(1, 4, blank())])),
        (
            "a later term than the leader's",
            append(id(2, 3), vec![entry(4, 4, blank())]),
        ),
        (
            "too long",
            append(id(2, 3), vec![entry(2, 4, EntryPayload::Normal(long))]),
        ),
        (
            "nobody's seat",
            append(
                id(2, 3),
                vec![entry(2, 4, EntryPayload::Membership(nobody))],
            ),
        ),
        ("a candidate as a leader", vote_as_leader()),
        ("a made-up term", vote(u64::MAX, 1)),
        ("a snapshot without seats", snapshot(0, vec![1])),
        ("a snapshot without end", snapshot(IMAGE_BYTES_MAX, vec![1])),
        ("a snapshot beyond everything", snapshot(u64::MAX, vec![1])),
    ];
    for (what, request) in senseless {
        let checked = envelope(1, 2, request).check();
        assert!(
            matches!(checked, Err(Refusal::Malformed(_))),
            "{what}: {checked:?}"
        );
    }
    let sound = append(id(2, 3), vec![entry(2, 4, blank()), entry(3, 5, blank())]);
    assert_eq!(envelope(1, 2, sound).check(), Ok(()));
}

fn vote_as_leader() -> Request {
    Request::Vote(VoteRequest::new(Vote::new_committed(3, Seat(1)), None))
}

/// Installing a snapshot takes a while, and this one never comes to its end.
#[tokio::test]
async fn a_seat_without_a_vote_is_not_given_up_while_its_leader_sends_a_snapshot() {
    let hasty = Timing {
        beat: Duration::from_millis(10),
        patience: Duration::from_millis(20),
    };
    let mut cluster = Cluster::with(1, 43, hasty).await;
    let leader = cluster.leader().await;
    let image = leader.replica().image();
    cluster.replica(4).install(&image).expect("followed");
    let created = cluster.create(4).await;
    let node = BTreeMap::from([(Seat(1), Node(Some(node(1))))]);
    let membership = Membership::new(vec![[Seat(1)].into()], node);
    let last = openraft::testing::log_id(1, Seat(1), 5);
    let piece = envelope(
        1,
        4,
        Request::Snapshot(InstallSnapshotRequest::<Types> {
            vote: Vote::new_committed(1, Seat(1)),
            meta: openraft::SnapshotMeta {
                last_log_id: Some(last),
                last_membership: StoredMembership::new(Some(last), membership),
                snapshot_id: "of a test".into(),
            },
            offset: 7,
            data: vec![1],
            done: false,
        }),
    );
    // More than twice as long as a seat waits that nobody speaks to.
    let begun = Instant::now();
    while begun.elapsed() < 100 * hasty.patience {
        let answer = ask(&cluster, 1, 4, &piece).await;
        assert!(matches!(answer, Answer::Snapshot(Err(_))), "{answer:?}");
        tokio::time::sleep(hasty.beat).await;
    }
    assert!(!created.status().borrow().removed);
    let mut status = created.status();
    let given_up = status.wait_for(|status| status.removed);
    let waited = tokio::time::timeout(PATIENCE, given_up).await;
    waited
        .expect("nobody speaks to it any more")
        .expect("it lives");
}

#[tokio::test]
async fn garbage_is_answered_with_a_refusal() {
    let cluster = Cluster::found(42).await;
    let only = &cluster.coordinators[&1];
    let canvass = encode(&envelope(
        1,
        1,
        Request::Canvass(Canvass { last_log: None }),
    ));
    let mut pieces: Vec<Vec<u8>> = (0..canvass.len())
        .map(|end| canvass[..end].to_vec())
        .collect();
    pieces.push(vec![0xff; 4096]);
    pieces.push(vec![1; 4096]);
    pieces.push([canvass.as_slice(), &[0; 100]].concat());
    for piece in pieces {
        let answer = only.handle(machine(9), Bytes::from(piece)).await;
        assert!(matches!(
            decode(&answer),
            Ok(Answer::Refused(_) | Answer::Canvassed(_))
        ));
    }
    only.propose("untouched", TIMING.patience)
        .await
        .expect("it still leads");
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let versioned = [&[1], bytes.as_slice()].concat();
        for bytes in [bytes.as_slice(), versioned.as_slice()] {
            if let Ok(envelope) = decode::<Envelope>(bytes) {
                let _ = envelope.check();
            }
            let _ = decode::<Answer>(bytes).map(|answer| answer.is_sound());
            let _ = crate::consensus::Image::from_bytes(bytes);
        }
    }
}
