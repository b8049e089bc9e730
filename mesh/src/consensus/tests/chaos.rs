//! Random faults: first everything may happen, then all is well and the cluster must recover.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::cluster::{Cluster, TIMING, assert_prefixes};
use crate::consensus::coordinator::Compaction;

/// Loses, delays, cuts and restarts while commands are proposed; whatever was acknowledged must be in all replicas
/// in the end, in one order, and at no time may two replicas disagree.
async fn survive(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::of(5, seed).await;
    cluster.compaction = Compaction {
        entries: 20,
        bytes: 4 << 20,
    };
    let mut acknowledged = Vec::new();
    for round in 0..12u64 {
        let victim = rng.random_range(1..=5);
        match rng.random_range(0..5) {
            0 => cluster
                .wires
                .with(|wires| wires.lose(rng.random_range(5..30))),
            1 => cluster.wires.with(|wires| {
                wires.delay(Duration::from_millis(rng.random_range(1..40)));
            }),
            2 => {
                let other = rng.random_range(1..=5);
                cluster.wires.with(|wires| wires.cut_off(&[victim, other]));
            }
            3 => {
                cluster.stop(victim).await;
                cluster.open(victim).await;
            }
            _ => cluster.wires.with(|wires| wires.heal()),
        }
        for turn in 0..4 {
            let command = format!("{round}/{turn}");
            let asked = cluster
                .coordinators
                .values()
                .nth(rng.random_range(0..5))
                .cloned();
            let asked = asked.expect("five coordinators");
            if asked
                .propose(command.clone(), TIMING.patience)
                .await
                .is_ok()
            {
                acknowledged.push(command);
            }
            assert_prefixes(cluster.replicas.values());
        }
    }
    cluster.wires.with(|wires| wires.heal());
    let last = cluster.propose("last").await;
    cluster.applied(last).await;
    assert_prefixes(cluster.replicas.values());
    for (number, replica) in &cluster.replicas {
        replica.read(|ledger, _| {
            for command in &acknowledged {
                let times = ledger
                    .applied
                    .iter()
                    .filter(|(_, applied)| applied == command.as_bytes());
                assert_eq!(
                    times.count(),
                    1,
                    "seed {seed}: {command} on machine {number}"
                );
            }
        });
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_chaos() {
    for seed in 1..=4 {
        survive(seed).await;
    }
}

#[tokio::test]
#[ignore = "slow; for changes to the store or the elections"]
async fn what_was_acknowledged_survives_much_chaos() {
    for seed in 100..160 {
        println!("seed {seed}");
        survive(seed).await;
    }
}

#[tokio::test]
async fn an_idle_cluster_only_beats() {
    let cluster = Cluster::of(3, 9).await;
    let last = cluster.propose("settled").await;
    cluster.applied(last).await;
    // Two beats for what is still on its way.
    tokio::time::sleep(TIMING.beat * 2).await;
    let before = cluster.wires.calls();
    let beats = 20;
    tokio::time::sleep(TIMING.beat * beats).await;
    let calls = cluster.wires.calls() - before;
    // Two others, one call each a beat; a busy machine may make fewer.
    assert!(
        calls <= u64::from(2 * beats + 4),
        "{calls} calls in {beats} beats"
    );
}
