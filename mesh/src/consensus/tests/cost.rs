//! What coordinators cost and how fast they are, with the timing that a mesh has. For people: nothing is asserted
//! that depends on the machine.

use std::time::Duration;

use tokio::time::Instant;

use super::cluster::Cluster;
use crate::consensus::coordinator::Timing;

/// CPU time and context switches of this process so far.
fn used() -> (Duration, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let switches = threads.filter_map(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    (Duration::from_millis(ticks * 10), switches.sum())
}

#[tokio::test]
#[ignore = "measures for half a minute"]
async fn idle_coordinators() {
    let cluster = Cluster::with(3, 61, Timing::default()).await;
    let last = cluster.propose("settled").await;
    cluster.applied(last).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    let (before, calls) = (used(), cluster.wires.calls());
    let period = Duration::from_secs(20);
    tokio::time::sleep(period).await;
    let (after, calls) = (used(), cluster.wires.calls() - calls);
    let cpu = after.0 - before.0;
    println!(
        "three idle coordinators in {period:?}: {calls} requests, {cpu:?} of CPU time, {} wake-ups",
        after.1 - before.1
    );
}

#[tokio::test]
#[ignore = "measures the disk"]
async fn proposals_and_confirmations() {
    for size in [1, 3] {
        let cluster = Cluster::with(size, 62, Timing::default()).await;
        let leader = cluster.leader().await;
        let deadline = Duration::from_secs(10);
        let mut took = Vec::new();
        for _ in 0..200 {
            let asked = Instant::now();
            leader
                .propose(vec![7; 300], deadline)
                .await
                .expect("committed");
            took.push(asked.elapsed());
        }
        took.sort_unstable();
        let asked = Instant::now();
        for _ in 0..200 {
            leader.confirm(deadline).await.expect("it leads");
        }
        let confirmed = asked.elapsed() / 200;
        println!(
            "{size} coordinators: a proposal takes {:?} (99 %: {:?}), a confirmation {confirmed:?}",
            took[100], took[198]
        );
    }
}

#[tokio::test]
#[ignore = "measures for a minute"]
async fn successions() {
    for word in [true, false] {
        let mut cluster = Cluster::with(3, 63, Timing::default()).await;
        let mut took = Vec::new();
        for _ in 0..4 {
            let leader = cluster.leader().await.seat();
            // Without a goodbye, as if it had been killed.
            cluster.wires.with(|wires| wires.cut_off(&[leader.0]));
            let cut = Instant::now();
            let old = cluster.coordinators.remove(&leader.0).expect("it runs");
            if word {
                cluster
                    .coordinators
                    .values()
                    .for_each(|survivor| survivor.elect_now(leader));
            }
            cluster.leader().await;
            took.push(cut.elapsed());
            cluster.wires.with(|wires| wires.heal());
            cluster.coordinators.insert(leader.0, old);
            tokio::time::sleep(Timing::default().beat * 2).await;
        }
        println!("a leader is succeeded, with word of its death {word}: {took:?}");
    }
}
