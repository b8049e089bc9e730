use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::api::server::Server;
use crate::api::types::{AsOf, ErrorKind, Listed, MemberCounts};
use crate::api::{Backend, Caller};

/// A machine that knows some events, and tells no new ones.
struct Machine {
    name: &'static str,
    events: Vec<u64>,
}

#[async_trait]
impl Backend for Machine {
    async fn call(&self, _: &Caller, request: Request) -> Result<Response, ApiError> {
        match request {
            Request::Status => Ok(Response::Status(Box::new(status(self.name)))),
            Request::Decisions { .. } => Ok(Response::Decisions(Listed {
                as_of: AsOf::default(),
                items: vec![],
            })),
            _ => Err(ApiError::refused("not asked by a feed")),
        }
    }

    async fn follow(
        &self,
        _: &Caller,
        request: EventsRequest,
        events: mpsc::Sender<EventRow>,
    ) -> Result<(), ApiError> {
        let known = self
            .events
            .iter()
            .filter(|seq| request.after.is_none_or(|after| **seq > after));
        for seq in known {
            // It only fails when the feed has gone.
            let _ = events.send(event(*seq)).await;
        }
        events.closed().await;
        Ok(())
    }
}

fn status(answered_by: &str) -> crate::api::types::Status {
    crate::api::types::Status {
        cluster: crate::api::types::ClusterInfo {
            id: muster_mesh::identity::ClusterId::new(1).expect("not zero"),
            name: "dev".into(),
        },
        as_of: AsOf::new(answered_by, 0, 0),
        orphans: vec![],
        quarantine: vec![],
        orders: vec![],
        leader: None,
        coordinators: vec![],
        quorum: false,
        members: MemberCounts::default(),
        holds: vec![],
        groups: vec![],
        machines: vec![],
    }
}

fn event(seq: u64) -> EventRow {
    EventRow {
        seq,
        at: String::new(),
        at_ms: 0,
        kind: "joined".into(),
        machine: None,
        group: None,
        decision: None,
        detail: String::new(),
    }
}

/// Two machines, of which the second is asked when the first is gone.
struct Pair {
    directory: TempDir,
    servers: Mutex<Vec<JoinHandle<()>>>,
    connected: AtomicUsize,
}

impl Pair {
    async fn start(machines: [Machine; 2]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut servers = Vec::new();
        for machine in machines {
            let server = Server::bind(&directory.path().join(machine.name))
                .await
                .expect("free");
            servers.push(tokio::spawn(server.serve(Arc::new(machine))));
        }
        Self {
            directory,
            servers: Mutex::new(servers),
            connected: AtomicUsize::new(0),
        }
    }

    fn kill_first(&self) {
        self.servers.lock().expect("no panic").remove(0).abort();
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

#[async_trait]
impl Nodes for Pair {
    async fn connect(&self) -> Result<Client, ApiError> {
        self.connected.fetch_add(1, Ordering::Relaxed);
        let name = ["one", "two"]
            .into_iter()
            .find(|name| self.socket(name).exists());
        let name = name.ok_or_else(|| ApiError::new(ErrorKind::Unreachable, "nobody is left"))?;
        Ok(Client::socket(self.socket(name)))
    }
}

/// The next events, until there were so many.
async fn events(feed: &mut Feed<'_>, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        if let Update::Event(event) = feed.next().await {
            seen.push(event.seq);
        }
    }
    seen
}

fn answered_by(feed: &Feed<'_>) -> String {
    let status = feed.snapshot().status.as_ref().expect("it has asked");
    status.as_of.answered_by.clone()
}

#[tokio::test]
async fn when_a_machine_is_lost_the_next_one_goes_on_without_a_gap_or_a_double() {
    let pair = Pair::start([
        Machine {
            name: "one",
            // The last of them it saw for itself, before its copy of the log was as far.
            events: vec![1, 2, 0],
        },
        Machine {
            name: "two",
            events: vec![1, 2, 3],
        },
    ])
    .await;
    let mut feed = Feed::new(&pair);
    feed.connect().await.expect("the first answers");
    assert_eq!(events(&mut feed, 3).await, [1, 2, 0]);
    assert_eq!(answered_by(&feed), "one");
    pair.kill_first();
    assert_eq!(events(&mut feed, 1).await, [3]);
    assert_eq!(answered_by(&feed), "two");
    assert_eq!(feed.snapshot().trouble, None);
}

#[tokio::test]
async fn nobody_is_said_and_tried_again() {
    let pair = Pair::start([
        Machine {
            name: "one",
            events: vec![],
        },
        Machine {
            name: "two",
            events: vec![7],
        },
    ])
    .await;
    let two = pair.socket("two");
    let hidden = pair.socket("hidden");
    std::fs::rename(&two, &hidden).expect("same directory");
    let mut feed = Feed::new(&pair);
    feed.connect().await.expect("the first answers");
    pair.kill_first();
    let lost = loop {
        if let Update::Lost(error) = feed.next().await
            && error.kind == ErrorKind::Unreachable
        {
            break error;
        }
    };
    assert_eq!(
        feed.snapshot().trouble.as_deref(),
        Some(lost.message.as_str())
    );
    std::fs::rename(&hidden, &two).expect("same directory");
    assert_eq!(events(&mut feed, 1).await, [7]);
    assert_eq!(feed.snapshot().trouble, None);
}

#[tokio::test]
async fn what_was_told_before_is_skipped() {
    let pair = Pair::start([
        Machine {
            name: "one",
            events: vec![1, 2, 3, 4],
        },
        Machine {
            name: "two",
            events: vec![],
        },
    ])
    .await;
    let mut feed = Feed::new(&pair);
    feed.skip_events_until(2);
    assert_eq!(events(&mut feed, 2).await, [3, 4]);
    assert_eq!(pair.connected.load(Ordering::Relaxed), 1);
}
