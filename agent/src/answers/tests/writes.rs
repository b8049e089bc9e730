//! What people order.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::office::Office;
use super::scene::Scene;
use crate::answers::refused::refused;
use crate::api::types::{ApplyRequest, Change, HealMode, Plan, RecoverOrder, ScaleRequest};
use crate::api::{ApiError, Caller, ErrorKind, Request, Response};
use crate::fleet::testing::{cattle, group, pets};
use crate::fleet::{
    self, Diagnosis, GroupSpec, HealPolicy, MemberStatus, PauseKey, PauseScope, Refusal,
    SpecRevision, TokenId,
};

fn apply(specs: &[GroupSpec]) -> Request {
    Request::Apply(ApplyRequest {
        specs: specs.to_vec(),
        dry_run: false,
        expected: BTreeMap::new(),
    })
}

#[track_caller]
fn plan(answer: Result<Response, ApiError>) -> Plan {
    match answer {
        Ok(Response::Plan(plan)) => plan,
        other => panic!("no plan: {other:?}"),
    }
}

#[track_caller]
pub(super) fn done(answer: Result<Response, ApiError>) -> String {
    match answer {
        Ok(Response::Done(done)) => done.detail,
        other => panic!("not done: {other:?}"),
    }
}

#[tokio::test]
async fn an_apply_is_planned_committed_and_answered_with_the_new_revisions() {
    let office = Office::new();
    let mut web = cattle("web", 5);
    web.labels.insert("tier".into(), "front".into());
    let specs = [web, cattle("new", 2)];
    let dry = Request::Apply(ApplyRequest {
        dry_run: true,
        ..match apply(&specs) {
            Request::Apply(request) => request,
            _ => unreachable!(),
        }
    });
    let planned = plan(office.ask(dry).await);
    assert!(!planned.applied);
    assert_eq!(office.proposals(), 0);
    let changes: Vec<_> = planned.groups.iter().map(|group| group.change).collect();
    assert_eq!(changes, [Change::Update, Change::Create]);
    assert_eq!(
        (
            planned.groups[0].desired_before,
            planned.groups[0].desired_after
        ),
        (3, 5)
    );
    assert_eq!(planned.groups[0].fields[0].field, "labels.tier");

    let applied = plan(office.ask(apply(&specs)).await);
    assert!(applied.applied);
    let state = &office.scene().fleet.state;
    let revision = |id: &str| Some(state.groups[id].revision.0);
    assert_eq!(applied.groups[0].revision, revision("web"));
    assert_eq!(applied.groups[1].revision, revision("new"));
    let event = state.events.back().unwrap();
    assert!(event.detail.contains("uid 0 on seed-1"), "{}", event.detail);
}

#[tokio::test]
async fn an_apply_that_changes_nothing_costs_nothing() {
    let office = Office::new();
    let applied = plan(office.ask(apply(&[cattle("web", 3)])).await);
    assert!(applied.applied && applied.is_empty());
    assert_eq!(office.proposals(), 0);
}

#[tokio::test]
async fn an_apply_from_an_old_plan_is_a_conflict() {
    let office = Office::new();
    let request = |expected| {
        Request::Apply(ApplyRequest {
            specs: vec![cattle("web", 4)],
            dry_run: false,
            expected: BTreeMap::from([("web".into(), expected)]),
        })
    };
    for stale in [None, Some(77)] {
        let error = office.ask(request(stale)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.remedy.is_some(), "{error:?}");
    }
    let now = office.scene().fleet.state.groups["web"].revision.0;
    assert!(plan(office.ask(request(Some(now))).await).applied);
}

#[tokio::test]
async fn a_plan_is_refused_where_the_apply_would_be() {
    let office = Office::new();
    for dry_run in [true, false] {
        let request = Request::Apply(ApplyRequest {
            specs: vec![pets("other", &["db-1"])],
            dry_run,
            expected: BTreeMap::new(),
        });
        let error = office.ask(request).await.unwrap_err();
        assert!(
            error.message.contains("db-1, a member of group"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn what_a_running_group_can_t_become_is_refused_whole() {
    let office = Office::new();
    let specs = [cattle("fine", 1), pets("web", &["web-a"])];
    let error = office.ask(apply(&specs)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("group of cattle"), "{error:?}");
    assert!(error.remedy.is_some());
    assert_eq!(office.proposals(), 0);
    assert!(!office.scene().fleet.state.groups.contains_key("fine"));
}

#[tokio::test]
async fn specs_are_checked_again_since_clients_may_lie() {
    let office = Office::new();
    let mut unknown = cattle("one", 1);
    unknown.flavor.name = "vanila".into();
    let mut unhealable = cattle("two", 1);
    unhealable.heal = HealPolicy {
        unreachable_after_ms: 1,
        ..HealPolicy::defaults("process")
    };
    let error = office.ask(apply(&[unknown, unhealable])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.problems.len() >= 2, "{error:?}");
    assert!(
        error
            .problems
            .iter()
            .any(|problem| problem.field.contains("two")),
        "{error:?}"
    );
    let twice = office
        .ask(apply(&[cattle("one", 1), cattle("one", 2)]))
        .await
        .unwrap_err();
    assert_eq!(twice.kind, ErrorKind::Invalid);
    let many: Vec<_> = (0..65).map(|n| cattle(&format!("g{n}"), 0)).collect();
    assert_eq!(
        office.ask(apply(&many)).await.unwrap_err().kind,
        ErrorKind::Invalid
    );
    assert_eq!(office.proposals(), 0);
}

#[tokio::test]
async fn scaling_changes_the_size_and_nothing_else() {
    let office = Office::new();
    let scale = |id: &str, size| {
        Request::Scale(ScaleRequest {
            id: id.into(),
            size,
            dry_run: false,
        })
    };
    let scaled = plan(office.ask(scale("web", 7)).await);
    assert!(scaled.applied);
    assert_eq!(scaled.groups[0].change, Change::Scale);
    assert_eq!(office.scene().fleet.state.groups["web"].desired(), 7);
    let revision = office.scene().fleet.state.groups["web"].revision;
    assert_eq!(scaled.groups[0].revision, Some(revision.0));
    assert_eq!(
        office.ask(scale("db", 1)).await.unwrap_err().kind,
        ErrorKind::Refused
    );
    assert_eq!(
        office.ask(scale("nope", 1)).await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    assert_eq!(
        plan(office.ask(scale("web", 0)).await).groups[0].desired_after,
        0
    );
}

#[tokio::test]
async fn groups_are_paused_resumed_freed_and_destroyed() {
    let office = Office::new();
    let pause = Request::Pause {
        id: Some("web".into()),
        zone: None,
        machine: None,
        name: None,
        reason: None,
        for_ms: Some(60_000),
    };
    let said = done(office.ask(pause).await);
    assert_eq!(
        said,
        "group web is paused for 60 s: nothing is healed or scaled"
    );
    let scope = PauseScope::Group(group("web"));
    let until_ms = office.scene().fleet.state.pauses[&PauseKey { scope, name: None }].until_ms;
    assert_eq!(until_ms, Some(office.scene().fleet.now_ms + 60_000));
    done(
        office
            .ask(Request::Resume {
                id: Some("web".into()),
                zone: None,
                machine: None,
                name: None,
            })
            .await,
    );
    let error = office
        .ask(Request::Resume {
            id: None,
            zone: None,
            machine: None,
            name: None,
        })
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.remedy.is_some()),
        (ErrorKind::Refused, true)
    );

    done(
        office
            .ask(Request::HealMode {
                id: "web".into(),
                mode: HealMode::Observe,
            })
            .await,
    );
    let mode = office.scene().fleet.state.groups["web"].spec.heal.mode;
    assert_eq!(mode, fleet::HealMode::Observe);

    let said = done(office.ask(Request::GroupFree { id: "db".into() }).await);
    assert_eq!(said, "group db is forgotten; 2 machines left as they are");
    done(office.ask(Request::GroupDestroy { id: "web".into() }).await);
    let error = office.ask(apply(&[cattle("web", 9)])).await.unwrap_err();
    assert!(error.message.contains("being destroyed"), "{error:?}");
}

#[tokio::test]
async fn machines_are_shut_out_and_forgotten_by_name() {
    let office = Office::new();
    let id = office.scene().fleet.id("web-1");
    done(
        office
            .ask(Request::MachineRevoke {
                name: "web-1".into(),
            })
            .await,
    );
    assert!(office.scene().fleet.state.revoked_machines().contains(&id));
    let error = office
        .ask(Request::MachineRevoke {
            name: "web-77".into(),
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    let forget = || Request::MachineForget {
        name: id.to_string(),
    };
    let error = office.ask(forget()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(
        error.message.starts_with("web-1 still answers"),
        "{error:?}"
    );
    let remedy = error.remedy.unwrap();
    assert!(remedy.contains("`muster revoke web-1`"), "{remedy}");
    assert!(office.scene().fleet.state.machines.contains_key(&id));
    office.change(|scene| scene.see("web-1", MemberStatus::Down));
    done(office.ask(forget()).await);
    assert!(!office.scene().fleet.state.machines.contains_key(&id));
    let error = office
        .ask(Request::Approve {
            subject: "4711".into(),
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn without_enough_coordinators_a_write_fails_at_once_and_says_so() {
    let office = Office::new();
    office.leads.store(false, Ordering::Relaxed);
    office.change(Scene::lose_quorum);
    let error = office.ask(apply(&[cattle("web", 4)])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoQuorum);
    assert!(
        error.message.contains("1 of 3 coordinators answers"),
        "{error:?}"
    );
    assert!(office.forwarded.lock().unwrap().is_empty());
    assert_eq!(office.proposals(), 0);
}

#[tokio::test]
async fn a_zone_that_nobody_is_in_is_a_slip() {
    let office = Office::new();
    let pause = || Request::Pause {
        id: None,
        zone: Some("nozone".into()),
        machine: None,
        name: None,
        reason: None,
        for_ms: None,
    };
    let error = office.ask(pause()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains("`nozone`"), "{error:?}");
    assert_eq!(office.proposals(), 0);
    let mut zoned = cattle("web", 3);
    zoned.placement.zones = ["nozone".into()].into();
    plan(office.ask(apply(&[zoned])).await);
    done(office.ask(pause()).await);
}

#[tokio::test]
async fn writes_go_to_the_leader_and_reads_stay() {
    let office = Office::new();
    office.leads.store(false, Ordering::Relaxed);
    let request = apply(&[cattle("web", 4)]);
    assert_eq!(done(office.ask(request.clone()).await), "done elsewhere");
    assert_eq!(office.forwarded.lock().unwrap()[0], request);
    assert_eq!(office.proposals(), 0);
    assert!(matches!(
        office.ask(Request::Status).await,
        Ok(Response::Status(_))
    ));
    let dry = Request::Scale(ScaleRequest {
        id: "web".into(),
        size: 9,
        dry_run: true,
    });
    assert!(!plan(office.ask(dry).await).applied);
    assert_eq!(office.forwarded.lock().unwrap().len(), 1);

    let peer = passed_on(&office);
    let error = office.ask_as(&peer, request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoLeader, "never passed on twice");
    assert_eq!(office.forwarded.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_for_a_leader_that_can_commit_and_not_for_ever() {
    let office = Office::new();
    let pause = || Request::Pause {
        id: None,
        zone: None,
        machine: None,
        name: None,
        reason: Some("works".into()),
        for_ms: None,
    };
    office.unheard.store(3, Ordering::Relaxed);
    office.ask(pause()).await.expect("it leads, after all");
    assert_eq!(office.proposals(), 4);
    let begun = tokio::time::Instant::now();
    office.unheard.store(u64::MAX, Ordering::Relaxed);
    let error = office
        .ask(pause())
        .await
        .expect_err("it can commit nothing");
    assert_eq!(error.kind, ErrorKind::NoLeader);
    assert!(begun.elapsed() < std::time::Duration::from_secs(12));
}

#[tokio::test]
async fn another_machine_may_not_stop_or_blind_this_one() {
    let office = Office::new();
    let peer = passed_on(&office);
    for request in [
        Request::Leave,
        Request::LogLevel {
            filter: Some("off".into()),
        },
        Request::Recovery,
        Request::Recover(RecoverOrder::default()),
    ] {
        let error = office.ask_as(&peer, request).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Forbidden);
    }
    assert!(!office.left.load(Ordering::Relaxed));
    assert!(office.recovered.lock().unwrap().is_empty());
    done(office.ask(Request::Leave).await);
    assert!(office.left.load(Ordering::Relaxed));
}

#[tokio::test]
async fn only_who_knows_the_clusters_name_recovers_it_and_the_asked_machine_does_it() {
    let office = Office::new();
    office.leads.store(false, Ordering::Relaxed);
    let order = |cluster: &str| RecoverOrder {
        cluster: cluster.into(),
        ..RecoverOrder::default()
    };
    let error = office.ask(Request::Recover(order("another"))).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(office.recovered.lock().unwrap().is_empty());
    let name = office.scene().fleet.state.cluster.clone().unwrap().name;
    let order = order(&name.to_string());
    let _ = office.ask(Request::Recover(order.clone())).await;
    assert_eq!(*office.recovered.lock().unwrap(), [order]);
    assert!(office.forwarded.lock().unwrap().is_empty());
}

#[tokio::test]
async fn logs_and_metrics_are_the_asked_machines_own() {
    let office = Office::new();
    let level = |filter: Option<&str>| Request::LogLevel {
        filter: filter.map(Into::into),
    };
    let show = async |request| match office.ask(request).await {
        Ok(Response::LogLevel(filter)) => (filter.filter, filter.previous),
        other => panic!("{other:?}"),
    };
    assert_eq!(show(level(None)).await, ("info".into(), None));
    assert_eq!(
        show(level(Some("debug"))).await,
        ("debug".into(), Some("info".into()))
    );
    let error = office.ask(level(Some("loud"))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(matches!(
        office.ask(Request::Metrics).await,
        Ok(Response::Metrics(_))
    ));
    match office.ask(Request::Members).await {
        Ok(Response::Members(listed)) => assert_eq!(listed.items[0].rtt_ms, Some(1.5)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_say_what_to_do() {
    let moved = Refusal::RevisionMoved {
        group: group("web"),
        expected: None,
        found: Some(SpecRevision(3)),
    };
    let error = refused(&moved);
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.message.ends_with("in the meantime"), "{error:?}");
    assert_eq!(
        error.remedy.as_deref(),
        Some("look at the difference and apply again")
    );
    let error = refused(&Refusal::TokenUsedUp(TokenId(1)));
    assert_eq!(
        error.remedy.as_deref(),
        Some("make a new one with `muster token create`")
    );
}

proptest! {
    /// Whatever is asked about whatever, the answer is an answer or an error.
    #[test]
    fn any_text_may_be_asked_for(text in "\\PC{0,40}|#?[0-9]{0,22}|[0-9a-f]{16}", size: u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let office = Office::new();
        {
            let mut scene = office.scene();
            let replace = scene.fleet.replace(scene.fleet.id("web-1"), Diagnosis::Gone);
            scene.fleet.act(replace);
        }
        let name = text.clone();
        let id = text.clone();
        for request in [
            Request::Machine { name: name.clone() },
            Request::Group { id: id.clone() },
            Request::Explain { subject: name.clone() },
            Request::Decisions { machine: Some(name.clone()), group: None, limit: Some(size) },
            Request::Decisions { machine: None, group: Some(id.clone()), limit: None },
            Request::Scale(ScaleRequest { id: id.clone(), size, dry_run: false }),
            Request::GroupDestroy { id: id.clone() },
            Request::Pause {
                id: Some(id.clone()),
                zone: None,
                machine: None,
                name: Some(name.clone()),
                reason: Some(text.clone()),
                for_ms: Some(u64::MAX),
            },
            Request::Pause {
                id: None,
                zone: Some(text.clone()),
                machine: None,
                name: None,
                reason: None,
                for_ms: None,
            },
            Request::Resume { id: None, zone: None, machine: None, name: Some(name.clone()) },
            Request::Resume { id: Some(id.clone()), zone: None, machine: None, name: None },
            Request::MachineRevoke { name: name.clone() },
            Request::MachineForget { name: name.clone() },
            Request::TokenRevoke { id: id.clone() },
            Request::OperatorRevoke { name: name.clone() },
            Request::Approve { subject: name.clone() },
        ] {
            let _ = runtime.block_on(office.ask(request));
        }
    }
}

/// A request that another machine passes on.
fn passed_on(office: &Office) -> Caller {
    let machine = office.scene().fleet.id("web-1");
    Caller::Machine {
        machine,
        asker: "operator ann".to_owned(),
    }
}
