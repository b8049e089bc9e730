//! `zookeeper` against ZooKeeper.

mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_flavors::{HealthStatus, Role};
use muster_provisioners::Deadline;
use muster_provisioners::conformance::Counterpart;
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinHandle;

use super::ensemble::{Ensemble, PATIENCE, build};
use client::Client;

const VOTES: [Role; 2] = [Role::Leader, Role::Follower];
const NAMES: [&str; 3] = ["zk-1", "zk-2", "zk-3"];

fn three(counterpart: &Counterpart, admin_port: Option<u16>) -> Ensemble {
    let mut properties = json!({
        "command": counterpart.ready()["command"],
        // Small waits: the test is about what is done, not about when.
        "settings": { "tickTime": "500", "initLimit": "40", "syncLimit": "20" },
        "health": { "timeout": "3s" }
    });
    if let Some(port) = admin_port {
        properties["admin_port"] = json!(port);
    }
    Ensemble::new("zookeeper", &NAMES, properties)
}

/// Three that have formed an ensemble, which is on record.
async fn founded(counterpart: &Counterpart, admin_port: Option<u16>) -> Ensemble {
    let mut zookeeper = three(counterpart, admin_port);
    for name in NAMES {
        zookeeper.start(name).await;
    }
    for name in NAMES {
        zookeeper.plays(name, &VOTES).await;
    }
    zookeeper.founded();
    zookeeper
}

/// Writes throughout, to whoever takes it, and keeps what was acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<BTreeSet<String>>,
}

impl Writer {
    fn begin(hosts: &BTreeMap<String, String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let hosts: Vec<String> = hosts.values().cloned().collect();
        let stopped = Arc::clone(&stop);
        let writing = tokio::spawn(async move {
            let mut acknowledged = BTreeSet::new();
            let mut client: Option<Client> = None;
            for number in 0_usize.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                if client.is_none() {
                    client = Client::connect(&hosts[number % hosts.len()]).await.ok();
                }
                let name = format!("k{number:08}");
                // What is not acknowledged may be there or not.
                if let Some(session) = &mut client {
                    if session.create(&format!("/{name}")).await.is_ok() {
                        acknowledged.insert(name);
                    } else {
                        client = None;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            acknowledged
        });
        Self { stop, writing }
    }

    /// Looks whether all that was acknowledged is there.
    async fn end(self, host: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let acknowledged = self.writing.await.expect("it wrote");
        let mut client = Client::connect(host).await.expect("it answers");
        client.sync().await.expect("it is as far as the leader");
        let there = client.children().await.expect("a list");
        println!(
            "{} writes were acknowledged, {} are there",
            acknowledged.len(),
            there.len()
        );
        assert!(acknowledged.len() > 10, "it wrote throughout");
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "{lost:?} were lost");
    }
}

/// Tends the ensemble from one member, as its agent would, for a while.
async fn tend(zookeeper: &Ensemble, name: &str) {
    for _ in 0..10 {
        let deadline = Deadline::after(Duration::from_secs(5));
        let tended = zookeeper.flavor.tend(zookeeper.workload(name), deadline);
        tended.await.expect("tended");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn an_ensemble_outlives_what_happens_to_its_members_and_loses_no_write() {
    let Some(counterpart) = Counterpart::start("zookeeper", &[]) else {
        return;
    };
    let mut zookeeper = founded(&counterpart, None).await;
    let writer = Writer::begin(&zookeeper.hosts);

    println!("the leader is killed, and comes back with its data");
    let leader = zookeeper.leader(&NAMES).await;
    zookeeper.kill(&leader).await;
    let others: Vec<&str> = NAMES.into_iter().filter(|name| *name != leader).collect();
    zookeeper.leader(&others).await;
    assert_eq!(
        zookeeper.health(&leader).await.status,
        HealthStatus::Critical
    );
    zookeeper.start(&leader).await;
    zookeeper.plays(&leader, &VOTES).await;

    println!("one is frozen, and does not answer");
    zookeeper.signal(&leader, Signal::STOP);
    zookeeper.is(&leader, HealthStatus::Critical).await;
    zookeeper.signal(&leader, Signal::CONT);
    zookeeper.plays(&leader, &VOTES).await;

    println!("the data of one is damaged: it does not come up, and gets that of the others");
    zookeeper.kill(&leader).await;
    let data = zookeeper.directory(&leader).join("zookeeper/version-2");
    for entry in std::fs::read_dir(&data).expect("it has data").flatten() {
        std::fs::write(entry.path(), vec![0xa5; 4096]).expect("damaged");
    }
    zookeeper.start(&leader).await;
    zookeeper.ended(&leader).await;
    zookeeper.start(&leader).await;
    zookeeper.plays(&leader, &VOTES).await;
    assert!(
        zookeeper
            .directory(&leader)
            .join("zookeeper.aside/version-2")
            .exists(),
        "it is kept"
    );

    println!("the data of one is lost");
    zookeeper.kill("zk-2").await;
    std::fs::remove_dir_all(zookeeper.directory("zk-2").join("zookeeper")).expect("lost");
    zookeeper.start("zk-2").await;
    zookeeper.plays("zk-2", &VOTES).await;

    println!("one goes for good, and is struck off by another one");
    tend(&zookeeper, "zk-3").await;
    let striking = zookeeper.workload("zk-1").clone();
    let strike = || {
        zookeeper
            .flavor
            .strike(&striking, "zk-3", Deadline::after(PATIENCE))
    };
    strike().await.expect("struck off");
    strike().await.expect("it is no member");
    zookeeper.plays("zk-1", &VOTES).await;
    zookeeper.counts("zk-1", 2).await;

    println!("it runs on, and does not add itself again");
    tend(&zookeeper, "zk-3").await;
    zookeeper.is("zk-3", HealthStatus::Warning).await;
    zookeeper.counts("zk-1", 2).await;

    println!("it is declared again, and let in with a vote");
    zookeeper.kill("zk-3").await;
    zookeeper.start("zk-3").await;
    zookeeper.plays("zk-3", &VOTES).await;
    zookeeper.counts("zk-3", 3).await;
    writer.end(&zookeeper.hosts["zk-1"]).await;
}

#[tokio::test]
async fn the_admin_server_tells_the_part_as_well() {
    let Some(counterpart) = Counterpart::start("zookeeper", &[]) else {
        return;
    };
    let mut zookeeper = founded(&counterpart, Some(8088)).await;
    zookeeper.kill("zk-2").await;
    zookeeper.kill("zk-3").await;
    let alone = zookeeper.is("zk-1", HealthStatus::Warning).await;
    assert_eq!(alone.part.map(|part| part.role), Some(Role::Outside));

    println!("one without data waits for a majority of the others");
    std::fs::remove_dir_all(zookeeper.directory("zk-2").join("zookeeper")).expect("lost");
    let workload = zookeeper.workload("zk-2").clone();
    let started = zookeeper
        .flavor
        .start(&workload, Deadline::after(Duration::from_secs(3)))
        .await;
    let why = started.expect_err("nobody has a majority").to_string();
    assert!(why.contains("no majority"), "{why}");
}

#[tokio::test]
async fn a_member_that_the_group_does_not_declare_is_not_started() {
    let hosts = BTreeMap::from([("zk-1".to_owned(), "127.0.0.1".to_owned())]);
    let flavor = build("zookeeper", &hosts, json!({}));
    let workload = muster_flavors::Workload {
        member: "zk-9".to_owned(),
        ..Default::default()
    };
    let started = flavor
        .start(&workload, Deadline::after(Duration::from_secs(1)))
        .await;
    assert!(
        started
            .expect_err("no member")
            .to_string()
            .contains("no member zk-9")
    );
}
