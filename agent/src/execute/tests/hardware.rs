//! Machines that are hardware: written anew in their place, and left out once they have failed.

use std::time::Duration;

use muster_mesh::identity::MachineId;
use muster_provisioners::fake::{Act, Call, Fake, Fault};
use muster_provisioners::{Deadline, OperationId, Properties, ProvisionError, Provisioner, Secret};

use super::super::Work;
use super::{Scene, Surroundings, job};
use crate::fleet::testing::{cattle, group, pets};
use crate::fleet::{
    Ask, Cause, Command, Diagnosis, Evidence, IntentState, MemberEvidence, MemberStatus,
    StepResult, Would,
};

fn rack() -> Fake {
    let mut capabilities = Fake::new().capabilities();
    capabilities.hardware = true;
    Fake::with(capabilities)
}

/// Why each node is in quarantine.
async fn quarantine(scene: &Scene) -> Vec<String> {
    let deadline = Deadline::after(Duration::from_secs(5));
    let listed = scene.cloud.quarantined(deadline).await.expect("listed");
    listed.into_iter().map(|one| one.why).collect()
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_written_anew_once_whatever_becomes_of_the_answer() {
    let mut scene = Scene::on(&[pets("db", &["db-1"])], rack());
    let old = scene.fleet.act(scene.fleet.provision(&group("db")));
    scene.carry_on(old).await;
    scene.fleet.join(old);
    let held = scene.fleet.state.machines[&old].instance.clone();
    let held = held.expect("on record").id;
    let new = scene
        .fleet
        .act(scene.fleet.reimage(old, Diagnosis::AgentDown));
    scene.cloud.inject(Call::Reimage, [Fault::LoseAnswer]);
    let lost = scene.attempt(new).await;
    assert!(
        matches!(lost.result, StepResult::Unknown { .. }),
        "{lost:?}"
    );
    scene.fleet.ok(Command::Progress(lost));
    scene.fleet.pass(120_000);
    // The first leader calls again and dies; the next one calls once more.
    let _unsaid = scene.attempt(new).await;
    scene.carry_on(new).await;
    let op = scene.fleet.intent_of(new).op.clone();
    let acts = scene.cloud.acts();
    let anew = acts.iter().filter(|act| matches!(act, Act::Reimaged(..)));
    assert_eq!(anew.count(), 1, "{acts:?}");
    let there = scene.cloud.instances();
    assert_eq!(there.len(), 1);
    assert_eq!(
        (&there[0].id, there[0].operation()),
        (&held, Some(op.clone()))
    );
    scene.fleet.join(new);
    let intent = &scene.fleet.state.intents[&op];
    assert!(matches!(intent.state, IntentState::Done { .. }));
    assert!(quarantine(&scene).await.is_empty(), "nothing was given up");
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_not_told_to_ask_itself_for_admission() {
    let mut scene = Scene::on(&[cattle("web", 2)], rack());
    let old = scene.fleet.act(scene.fleet.provision(&group("web")));
    scene.carry_on(old).await;
    scene.fleet.join(old);
    let own = scene.fleet.state.machines[&old].addr.expect("it joined");
    let other = ([127, 0, 0, 77], 1).into();
    let new = scene
        .fleet
        .act(scene.fleet.reimage(old, Diagnosis::AgentDown));
    let token = |_: MachineId, _: &OperationId| Secret::new("muster1-token");
    let surroundings = Surroundings {
        seeds: vec![own, other],
        token: &token,
        settings: Properties::new(),
    };
    let intent = scene.fleet.intent_of(new);
    let work = job(&scene.fleet.state, intent, &surroundings).expect("the state makes sense");
    match work.expect("a step for an executor").work {
        Work::Reimage { spec, .. } => assert_eq!(spec.boot.seeds, [other]),
        work => panic!("{work:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn hardware_that_failed_is_left_out_before_it_is_free_again() {
    for spec in [cattle("web", 1), pets("web", &["web-1"])] {
        let mut scene = Scene::on(&[spec], rack());
        let old = scene.fleet.act(scene.fleet.provision(&group("web")));
        scene.carry_on(old).await;
        scene.fleet.join(old);
        let new = scene
            .fleet
            .act(scene.fleet.replace(old, Diagnosis::Unreachable));
        // Where it can't be left out it is not given back either.
        let down = ProvisionError::unavailable("its controller does not answer");
        scene.cloud.inject(Call::Quarantine, [Fault::Refuse(down)]);
        let failed = scene.attempt(new).await;
        assert!(
            matches!(failed.result, StepResult::Error { .. }),
            "{failed:?}"
        );
        assert_eq!(scene.cloud.calls(Call::Destroy), 0);
        scene.fleet.ok(Command::Progress(failed));
        scene.fleet.pass(120_000);
        scene.carry_on(new).await;
        let why = quarantine(&scene).await;
        assert!(
            matches!(&why[..], [why] if why.contains("as the test says")),
            "{why:?}"
        );
        let acts = scene.cloud.acts();
        let at = |wanted: fn(&Act) -> bool| acts.iter().position(wanted);
        let (aside, destroyed) = (
            at(|act| matches!(act, Act::Quarantined(_))),
            at(|act| matches!(act, Act::Destroyed(_))),
        );
        assert!(aside < destroyed && aside.is_some(), "{acts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_lost_its_permission_while_hardware_was_put_aside_destroys_nothing() {
    for spec in [cattle("web", 1), pets("web", &["web-1"])] {
        let mut scene = Scene::on(&[spec], rack());
        let old = scene.fleet.act(scene.fleet.provision(&group("web")));
        scene.carry_on(old).await;
        scene.fleet.join(old);
        let new = scene
            .fleet
            .act(scene.fleet.replace(old, Diagnosis::Unreachable));
        let held = scene.attempt_with(new, &super::Losing(1.into())).await;
        assert!(matches!(held.result, StepResult::Held { .. }), "{held:?}");
        assert_eq!(quarantine(&scene).await.len(), 1);
        assert_eq!(scene.cloud.calls(Call::Destroy), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn hardware_that_nobody_needs_any_more_is_free_again() {
    let mut scene = Scene::on(&[cattle("web", 1)], rack());
    let old = scene.fleet.act(scene.fleet.provision(&group("web")));
    scene.carry_on(old).await;
    scene.fleet.join(old);
    scene.fleet.declare(cattle("web", 0));
    let cause = Cause::TooMany {
        desired: 0,
        existing: 1,
    };
    scene.fleet.act(scene.fleet.retire(old, cause));
    while scene.fleet.state.machines.contains_key(&old) {
        let progress = scene.attempt(old).await;
        scene.fleet.ok(Command::Progress(progress));
        scene.fleet.pass(120_000);
    }
    assert!(quarantine(&scene).await.is_empty());
}

/// Where nothing can be put on record.
struct Mute(std::sync::atomic::AtomicU32);

#[async_trait::async_trait]
impl super::Helpers for Mute {
    async fn drain(
        &self,
        _: MachineId,
        _: Duration,
    ) -> Result<Option<crate::fleet::Undrained>, String> {
        Ok(None)
    }

    async fn strike(
        &self,
        _: MachineId,
        _: &str,
        _: &[MachineId],
        _: Duration,
    ) -> Result<(), String> {
        Ok(())
    }

    async fn restart_workload(&self, _: MachineId, _: Duration) -> Result<(), String> {
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        muster_mesh::clock::unix_ms()
    }

    fn lease_left(&self, _: MachineId, _: crate::fleet::LeaseTerms) -> Duration {
        Duration::MAX
    }

    async fn begin(&self, _: &OperationId, _: crate::fleet::Step, _: u32) -> Result<(), String> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Err("nobody commits it".to_owned())
    }

    async fn put_aside(&self, _: crate::fleet::PutAside) -> Result<(), String> {
        Ok(())
    }

    async fn permit(&self) -> Result<(), crate::fleet::Check> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_reimage_is_on_record_before_it_begins_and_only_once() {
    let mut scene = Scene::on(&[cattle("web", 1)], rack());
    let old = scene.fleet.act(scene.fleet.provision(&group("web")));
    scene.carry_on(old).await;
    scene.fleet.join(old);
    let new = scene
        .fleet
        .act(scene.fleet.reimage(old, Diagnosis::AgentDown));
    let mute = Mute(0.into());
    let failed = scene.attempt_with(new, &mute).await;
    assert!(
        matches!(failed.result, StepResult::Error { .. }),
        "{failed:?}"
    );
    assert_eq!(scene.cloud.calls(Call::Reimage), 0);
    // Once it is on record it needs no second entry; and what one call did not do, an earlier one may have done.
    scene.fleet.report(new, StepResult::Begun);
    let down = ProvisionError::unavailable("its controller does not answer");
    scene.cloud.inject(Call::Reimage, [Fault::Refuse(down)]);
    let refused = scene.attempt_with(new, &mute).await;
    assert!(
        matches!(refused.result, StepResult::Unknown { .. }),
        "{refused:?}"
    );
    let done = scene.attempt_with(new, &mute).await;
    assert!(
        matches!(done.result, StepResult::Provisioned(_)),
        "{done:?}"
    );
    assert_eq!(mute.0.into_inner(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reimage_that_failed_may_have_begun_unless_its_error_says_that_nothing_was_done() {
    for (error, may_have_begun) in [
        (ProvisionError::Failed("the disk is full".into()), true),
        (ProvisionError::Denied("not yours".into()), false),
    ] {
        let mut scene = Scene::on(&[cattle("web", 1)], rack());
        let old = scene.fleet.act(scene.fleet.provision(&group("web")));
        scene.carry_on(old).await;
        scene.fleet.join(old);
        let new = scene
            .fleet
            .act(scene.fleet.reimage(old, Diagnosis::AgentDown));
        scene.cloud.inject(Call::Reimage, [Fault::Refuse(error)]);
        let failed = scene.attempt(new).await;
        scene.fleet.report(new, StepResult::Begun);
        scene.fleet.ok(Command::Progress(failed));
        let record = scene.fleet.intent_of(new).current().expect("open");
        assert_eq!(record.begun.is_some(), may_have_begun, "{record:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reimage_that_was_not_called_has_not_begun() {
    for begun_before in [false, true] {
        let mut scene = Scene::on(&[cattle("web", 1)], rack());
        let old = scene.fleet.act(scene.fleet.provision(&group("web")));
        scene.carry_on(old).await;
        scene.fleet.join(old);
        let new = scene
            .fleet
            .act(scene.fleet.reimage(old, Diagnosis::AgentDown));
        let held = if begun_before {
            scene.fleet.report(new, StepResult::Begun);
            scene.attempt_with(new, &super::Losing(0.into())).await
        } else {
            // Its permission ends while that it begins is put on record.
            let held = scene.attempt_with(new, &super::Losing(1.into())).await;
            scene.fleet.report(new, StepResult::Begun);
            held
        };
        scene.fleet.ok(Command::Progress(held.clone()));
        assert_eq!(scene.cloud.calls(Call::Reimage), 0);
        let record = scene.fleet.intent_of(new).current().expect("open");
        assert_eq!(record.begun.is_some(), begun_before, "{held:?}");
        assert!(record.held.is_some(), "{record:?}");
        // Once more, in the same words.
        if !begun_before {
            scene.fleet.report(new, StepResult::Begun);
            scene.fleet.ok(Command::Progress(held));
            let record = scene.fleet.intent_of(new).current().expect("open");
            assert_eq!(record.begun, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hardware_that_failed_is_left_out_whoever_had_its_machine_replaced() {
    for fails in [true, false] {
        let mut scene = Scene::on(&[cattle("web", 1)], rack());
        let old = scene.fleet.act(scene.fleet.provision(&group("web")));
        scene.carry_on(old).await;
        scene.fleet.join(old);
        scene.fleet.ok(Command::Ask(Box::new(Ask {
            machine: old,
            what: Would::Replace,
            reason: "a test".into(),
            until_ms: scene.fleet.now_ms + 60_000,
            forced: [].into(),
        })));
        let mut proposal = scene.fleet.replace(old, Diagnosis::Unreachable);
        let (demand, _) = scene.fleet.state.demand_on(old).expect("it stands");
        proposal.cause = Cause::Asked {
            demand,
            what: Would::Replace,
            by: None,
            reason: "a test".into(),
            found: match fails {
                true => Diagnosis::Unreachable,
                false => Diagnosis::Healthy,
            },
        };
        let status = if fails {
            MemberStatus::Down
        } else {
            MemberStatus::Alive
        };
        proposal.evidence = vec![Evidence::Member(MemberEvidence {
            status,
            since_ms: scene.fleet.now_ms,
            generation: muster_mesh::identity::Generation(1),
        })];
        let new = scene.fleet.act(proposal);
        scene.fleet.done(new);
        scene.carry_on(new).await;
        assert_eq!(quarantine(&scene).await.len(), usize::from(fails));
    }
}
