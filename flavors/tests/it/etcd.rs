//! `etcd` against etcd.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use data_encoding::BASE64;
use muster_flavors::{HealthStatus, Part, Role};
use muster_provisioners::Deadline;
use muster_provisioners::conformance::Counterpart;
use muster_provisioners::http::{Http, HttpConfig, Request};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::ensemble::{Ensemble, PATIENCE, build, peer};

const VOTES: [Role; 2] = [Role::Leader, Role::Follower];

fn three(counterpart: &Counterpart) -> Ensemble {
    // Small waits: the test is about what is done, not about when.
    let arguments = [
        "--heartbeat-interval=100",
        "--election-timeout=1000",
        "--logger=zap",
    ];
    let properties = json!({
        "program": counterpart.text("program"), "arguments": arguments, "health": { "timeout": "3s" }
    });
    Ensemble::new("etcd", &["a", "b", "c"], properties)
}

/// Three that have formed an ensemble, which is on record.
async fn founded(counterpart: &Counterpart) -> Ensemble {
    let mut etcd = three(counterpart);
    for name in ["a", "b", "c"] {
        etcd.start(name).await;
    }
    for name in ["a", "b", "c"] {
        etcd.plays(name, &VOTES).await;
    }
    etcd.founded();
    etcd
}

fn client(host: &str) -> Http {
    let config = HttpConfig::new(format!("http://{host}:2379"));
    config.build().expect("a client")
}

/// Writes throughout, to whoever takes it, and keeps what was acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<Vec<u32>>,
}

impl Writer {
    fn begin(hosts: &BTreeMap<String, String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<Http> = hosts.values().map(|host| client(host)).collect();
        let stopped = Arc::clone(&stop);
        let writing = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let body = json!({ "key": BASE64.encode(format!("k{number:08}").as_bytes()), "value": "eA==" });
                let request = Request::post("writing", "/v3/kv/put").json(&body);
                let client = &clients[number as usize % clients.len()];
                let put = client
                    .send(&request, Deadline::after(Duration::from_secs(2)))
                    .await;
                if put.is_ok_and(|answer| answer.status.is_success()) {
                    acknowledged.push(number);
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
        let body = json!({
            "key": BASE64.encode(b"k"), "range_end": BASE64.encode(b"l"), "keys_only": true
        });
        let request = Request::post("reading", "/v3/kv/range")
            .reading()
            .json(&body);
        let answer = client(host).call(&request, Deadline::after(PATIENCE)).await;
        let answer: Value = answer.expect("it answers").json().expect("JSON");
        let keys = answer["kvs"].as_array().expect("a list").iter();
        let keys: Vec<String> = keys
            .map(|kv| {
                BASE64
                    .decode(kv["key"].as_str().expect("a text").as_bytes())
                    .expect("valid")
            })
            .map(|key| String::from_utf8(key).expect("a text"))
            .collect();
        println!(
            "{} writes were acknowledged, {} are there",
            acknowledged.len(),
            keys.len()
        );
        assert!(acknowledged.len() > 10, "it wrote throughout");
        for number in acknowledged {
            let key = format!("k{number:08}");
            assert!(keys.binary_search(&key).is_ok(), "{key} was lost");
        }
    }
}

#[tokio::test]
async fn an_ensemble_outlives_what_happens_to_its_members_and_loses_no_write() {
    let Some(counterpart) = Counterpart::start("etcd", &[]) else {
        return;
    };
    let mut etcd = founded(&counterpart).await;
    let writer = Writer::begin(&etcd.hosts);

    println!("the leader is killed, and comes back with its data");
    let leader = etcd.leader(&["a", "b", "c"]).await;
    etcd.kill(&leader).await;
    let others: Vec<&str> = ["a", "b", "c"]
        .into_iter()
        .filter(|name| *name != leader)
        .collect();
    etcd.leader(&others).await;
    assert_eq!(etcd.health(&leader).await.status, HealthStatus::Critical);
    etcd.start(&leader).await;
    etcd.plays(&leader, &VOTES).await;

    println!("the leader hands over when it is drained");
    let leader = etcd.leader(&["a", "b", "c"]).await;
    let drained = etcd
        .flavor
        .drain(etcd.workload(&leader), Deadline::after(PATIENCE))
        .await;
    drained.expect("it hands over");
    etcd.plays(&leader, &[Role::Follower]).await;

    println!("one is frozen, and does not answer");
    etcd.signal(&leader, Signal::STOP);
    etcd.is(&leader, HealthStatus::Critical).await;
    etcd.signal(&leader, Signal::CONT);
    etcd.plays(&leader, &VOTES).await;

    println!("the data of one is damaged: it does not come up, and joins the others anew");
    etcd.kill(&leader).await;
    let data = etcd.directory(&leader).join("etcd/member");
    for file in [
        data.join("snap/db"),
        data.join("wal/0000000000000000-0000000000000000.wal"),
    ] {
        std::fs::write(&file, vec![0xa5; 4096]).expect("damaged");
    }
    etcd.start(&leader).await;
    etcd.ended(&leader).await;
    etcd.start(&leader).await;
    etcd.plays(&leader, &VOTES).await;
    assert!(
        etcd.directory(&leader).join("etcd.aside/member").exists(),
        "it is kept"
    );

    println!("the data of one is lost");
    etcd.kill("b").await;
    std::fs::remove_dir_all(etcd.directory("b").join("etcd")).expect("lost");
    for _ in 0..2 {
        etcd.start("b").await;
        // Nobody tends the ensemble meanwhile, so it has no vote, and keeps its data.
        let learns = etcd.is("b", HealthStatus::Ok).await;
        assert_eq!(learns.part, Some(Part::new(Role::Learner)), "{learns:?}");
        etcd.kill("b").await;
    }
    etcd.start("b").await;
    etcd.plays("b", &VOTES).await;

    println!("one goes for good, and is struck off by another one");
    let striking = etcd.workload("a").clone();
    etcd.flavor
        .strike(&striking, "c", Deadline::after(PATIENCE))
        .await
        .expect("struck off");
    etcd.flavor
        .strike(&striking, "c", Deadline::after(PATIENCE))
        .await
        .expect("it is no member");
    etcd.plays("a", &VOTES).await;
    etcd.counts("a", 2).await;
    writer.end(&etcd.hosts["a"]).await;
}

#[tokio::test]
async fn one_that_is_left_alone_says_so_and_founds_nothing() {
    let Some(counterpart) = Counterpart::start("etcd", &[]) else {
        return;
    };
    let mut etcd = founded(&counterpart).await;
    etcd.kill("b").await;
    etcd.kill("c").await;
    let outside = Part::new(Role::Outside);
    let alone = etcd.is("a", HealthStatus::Warning).await;
    assert_eq!(alone.part, Some(outside), "{alone:?}");
    // It counts those that its peers say they are.
    etcd.members.get_mut("a").expect("a member").workload.peers = vec![peer("b", outside)];

    println!("one without data waits for a majority of the others");
    std::fs::remove_dir_all(etcd.directory("b").join("etcd")).expect("lost");
    let (flavor, workload) = (Arc::clone(&etcd.flavor), etcd.workload("b").clone());
    let started = flavor
        .start(&workload, Deadline::after(Duration::from_secs(3)))
        .await;
    let why = started.expect_err("nobody lets it in").to_string();
    assert!(why.contains("no majority"), "{why}");
    etcd.kill("a").await;
    let started = flavor
        .start(&workload, Deadline::after(Duration::from_secs(3)))
        .await;
    let why = started.expect_err("it founds nothing").to_string();
    assert!(why.contains("was founded"), "{why}");
}

#[tokio::test]
async fn a_member_that_the_group_does_not_declare_is_not_prepared() {
    let hosts = BTreeMap::from([("a".to_owned(), "127.0.0.1".to_owned())]);
    let flavor = build("etcd", &hosts, json!({}));
    let started = flavor
        .start(
            &muster_flavors::Workload {
                member: "z".to_owned(),
                directory: Some(tempfile::tempdir().expect("made").path().to_owned()),
                ..Default::default()
            },
            Deadline::after(Duration::from_secs(1)),
        )
        .await;
    assert!(
        started
            .expect_err("no member")
            .to_string()
            .contains("no member z")
    );
}
