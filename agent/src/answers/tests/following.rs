//! Events as they happen.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::office::{ME, Office, registries};
use crate::answers::{Answers, LocalEvent};
use crate::api::types::{EventRow, EventsRequest};
use crate::api::{ApiError, Backend};
use crate::fleet::limits::EVENTS_MAX;
use crate::fleet::testing::group;
use crate::fleet::{Command, HealMode};

/// Far more than anything here takes: only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

struct Listener {
    rx: mpsc::Receiver<EventRow>,
    task: tokio::task::JoinHandle<Result<(), ApiError>>,
}

impl Listener {
    fn new(office: &Arc<Office>, request: EventsRequest, places: usize) -> Self {
        let answers = Answers::new(Arc::clone(office), registries());
        let (tx, rx) = mpsc::channel(places);
        let task = tokio::spawn(async move { answers.follow(&ME, request, tx).await });
        Self { rx, task }
    }

    async fn next(&mut self) -> EventRow {
        let next = timeout(PATIENCE, self.rx.recv()).await;
        next.expect("an event comes").expect("the stream goes on")
    }
}

fn change_mode(office: &Office, mode: HealMode) {
    let group = group("web");
    office.change(|scene| scene.fleet.ok(Command::SetHealMode { group, mode }));
}

#[tokio::test]
async fn past_events_come_first_then_new_ones_of_both_kinds() {
    let office = Office::new();
    let request = EventsRequest {
        follow: true,
        limit: Some(1),
        ..EventsRequest::default()
    };
    let mut listener = Listener::new(&office, request, 4);
    let past = listener.next().await;
    let last = office.scene().fleet.state.events.back().unwrap().number;
    assert_eq!(past.seq, last);

    change_mode(&office, HealMode::Observe);
    let new = listener.next().await;
    assert_eq!((new.seq, new.kind.as_str()), (last + 1, "heal_mode"));

    let machine = Some(office.scene().fleet.id("web-1"));
    let at_ms = office.scene().fleet.now_ms;
    let seen = LocalEvent {
        number: 1,
        at_ms,
        kind: "member_down",
        machine,
        detail: "".into(),
    };
    office.local.lock().unwrap().push_back(seen);
    office.change(|_| ());
    let local = listener.next().await;
    assert_eq!((local.seq, local.kind.as_str()), (last + 1, "member_down"));
    assert_eq!(local.machine.as_deref(), Some("web-1"));

    change_mode(&office, HealMode::Auto);
    assert_eq!(listener.next().await.seq, last + 2, "nothing comes twice");
    drop(listener.rx);
    let ended = timeout(PATIENCE, listener.task)
        .await
        .expect("it ends with its listener");
    assert_eq!(ended.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_listener_that_is_too_slow_is_told_how_much_it_missed() {
    let office = Office::new();
    let request = EventsRequest {
        follow: true,
        limit: Some(1),
        ..EventsRequest::default()
    };
    let mut listener = Listener::new(&office, request, 1);
    let mut last = listener.next().await.seq;
    for round in 0..2 * EVENTS_MAX {
        let mode = if round % 2 == 0 {
            HealMode::Observe
        } else {
            HealMode::Auto
        };
        change_mode(&office, mode);
    }
    let newest = office.scene().fleet.state.events.back().unwrap().number;
    let mut told = 0;
    while last < newest {
        let row = listener.next().await;
        if row.kind == "skipped" {
            told += row.seq - last;
        } else {
            assert_eq!(row.seq, last + 1);
        }
        last = row.seq;
    }
    assert!(told > 0, "some were forgotten, and it was told");
}
