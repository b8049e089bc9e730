//! Whose last words are meant, and how what several machines hold becomes one table.

use muster_mesh::identity::MachineId;
use muster_mesh::records::Vitals;

use super::office::Office;
use super::scene::Scene;
use crate::answers::Heard;
use crate::answers::last_words::find;
use crate::api::types::{HealthLevel, LastWords};
use crate::api::{Request, Response};
use crate::fleet::{Diagnosis, MemberStatus};
use crate::flight::{Held, HeldFrame};

fn frame(version: u64, age_ms: u64, memory: i32) -> HeldFrame {
    let level = u8::from(memory >= 90);
    let mut figures = [None; 8];
    figures[1] = Some(memory);
    HeldFrame {
        age_ms,
        generation: 7,
        version,
        vitals: Vitals {
            level,
            // Two bits for each subject; memory is the third.
            reasons: u64::from(level) << 4,
            figures,
        },
    }
}

fn heard(by: MachineId, at_ms: u64, frames: Vec<HeldFrame>, ended: Option<u64>) -> Heard {
    Heard {
        by,
        at_ms,
        held: Some(Held {
            frames,
            ended_age_ms: ended,
        }),
    }
}

async fn ask(office: &std::sync::Arc<Office>, name: &str) -> LastWords {
    let request = Request::LastWords { name: name.into() };
    match office.ask(request).await.unwrap() {
        Response::LastWords(words) => *words,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_several_hold_is_one_table_by_time() {
    let office = Office::new();
    let (id, now_ms) = {
        let mut scene = office.scene();
        scene.see("web-2", MemberStatus::Down);
        (
            ["web-1", "web-2", "web-3"].map(|name| scene.fleet.id(name)),
            scene.fleet.now_ms,
        )
    };
    *office.heard.lock().unwrap() = vec![
        heard(
            id[0],
            now_ms,
            vec![frame(1, 60_000, 70), frame(2, 30_000, 95)],
            Some(9_000),
        ),
        heard(id[2], now_ms + 50, vec![frame(2, 31_000, 95)], Some(12_000)),
        Heard {
            by: id[1],
            at_ms: now_ms,
            held: None,
        },
    ];
    let said = ask(&office, "web-2").await;
    assert_eq!((said.name.as_str(), said.machine_id), ("web-2", id[1]));
    assert_eq!(
        said.ended_ms,
        Some(now_ms + 50 - 12_000),
        "whoever saw it first"
    );
    let rows: Vec<_> = said
        .words
        .iter()
        .map(|row| (row.report, row.at_ms, row.health, row.held_by.join(" ")))
        .collect();
    assert_eq!(
        rows,
        [
            (
                Some(1),
                now_ms - 60_000,
                HealthLevel::Ok,
                "web-1".to_owned()
            ),
            (
                Some(2),
                now_ms + 50 - 31_000,
                HealthLevel::Warning,
                "web-1 web-3".to_owned()
            ),
        ]
    );
    assert_eq!(said.words[1].reasons, ["memory used 95 % (warning)"]);
    assert_eq!(said.words[1].readings["memory_used_percent"], 95.0);
    let asked: Vec<_> = said
        .asked
        .iter()
        .map(|one| (one.name.as_str(), one.answered, one.reports))
        .collect();
    assert_eq!(
        asked,
        [("web-1", true, 2), ("web-3", true, 1), ("web-2", false, 0)]
    );
}

#[tokio::test]
async fn what_the_machine_itself_took_down_is_never_put_together() {
    let office = Office::new();
    let (me, now_ms) = {
        let scene = office.scene();
        (scene.fleet.id("seed-1"), scene.fleet.now_ms)
    };
    let own = vec![frame(0, 10_000, 40), frame(0, 5_000, 41)];
    *office.heard.lock().unwrap() = vec![heard(me, now_ms, own, None)];
    let said = ask(&office, "seed-1").await;
    assert_eq!(said.words.len(), 2);
    assert_eq!(said.words[0].report, None);
    assert_eq!(said.ended_ms, None);
}

#[test]
fn a_name_means_the_machine_that_is_gone_and_an_id_any() {
    let mut scene = Scene::new();
    let old = scene.fleet.id("db-1");
    assert_eq!(
        scene.look(|snapshot| find(snapshot, "db-1").unwrap().machine),
        old
    );
    scene.see("db-1", MemberStatus::Down);
    let new = scene
        .fleet
        .act(scene.fleet.replace(old, Diagnosis::Unreachable));
    assert_eq!(
        scene.look(|snapshot| find(snapshot, "db-1").unwrap().machine),
        old
    );
    scene.fleet.done(new);
    scene.fleet.done(new);
    scene.fleet.made(new);
    scene.fleet.join(new);
    scene.meet_all();
    assert!(!scene.fleet.state.machines.contains_key(&old), "replaced");
    let (by_name, by_id) = scene.look(|snapshot| {
        (
            find(snapshot, "db-1").unwrap(),
            find(snapshot, &new.to_string()).unwrap(),
        )
    });
    assert_eq!((by_name.machine, by_name.namesakes), (old, vec![new]));
    assert_eq!((by_id.machine, by_id.namesakes), (new, vec![old]));
    let error = scene.look(|snapshot| find(snapshot, "db-9").unwrap_err());
    assert!(error.remedy.is_some());
}
