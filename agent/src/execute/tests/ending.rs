//! What is about to end a machine that might be spared is on record before it does.

use std::time::Duration;

use async_trait::async_trait;
use muster_mesh::clock::unix_ms;
use muster_mesh::identity::MachineId;
use muster_provisioners::fake::{Call, Fake, Fault};
use muster_provisioners::{OperationId, ProvisionError};

use super::super::Helpers;
use super::Scene;
use crate::fleet::testing::{group, pets};
use crate::fleet::{
    Check, Command, Diagnosis, LeaseTerms, PutAside, Rule, Step, StepResult, Undrained,
};

/// A leader to whom something happens as it puts on record that a call is about to be made.
struct Interrupted {
    cloud: Fake,
    /// What becomes of the next proof.
    proof: Option<Fault>,
    /// Whether that gets on record.
    begins: bool,
    /// Whether it may act after that.
    permits: bool,
    begun: std::sync::atomic::AtomicBool,
}

impl Interrupted {
    fn new(scene: &Scene) -> Self {
        Self {
            cloud: scene.cloud.clone(),
            proof: None,
            begins: true,
            permits: true,
            begun: false.into(),
        }
    }
}

#[async_trait]
impl Helpers for Interrupted {
    async fn drain(&self, _: MachineId, _: Duration) -> Result<Option<Undrained>, String> {
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
        unix_ms()
    }

    fn lease_left(&self, _: MachineId, _: LeaseTerms) -> Duration {
        Duration::from_secs(8)
    }

    async fn begin(&self, _: &OperationId, step: Step, _: u32) -> Result<(), String> {
        assert_eq!(step, Step::Fence);
        assert_eq!(self.cloud.calls(Call::Destroy), 0, "it comes first");
        self.begun.store(true, std::sync::atomic::Ordering::Relaxed);
        self.cloud.inject(Call::ProveOff, self.proof.clone());
        match self.begins {
            true => Ok(()),
            false => Err("nobody commits it".to_owned()),
        }
    }

    async fn put_aside(&self, _: PutAside) -> Result<(), String> {
        Ok(())
    }

    async fn permit(&self) -> Result<(), Check> {
        if self.permits || !self.begun.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(());
        }
        Err(Check::hold(Rule::Quorum, "1 of 3 machines answered"))
    }
}

/// A pet that runs, and the machine that is to take its place.
async fn replaced() -> (Scene, MachineId) {
    let (mut scene, old) = running().await;
    let replace = scene.fleet.replace(old, Diagnosis::Unreachable);
    let new = scene.fleet.act(replace);
    (scene, new)
}

async fn running() -> (Scene, MachineId) {
    let mut scene = Scene::new(&[pets("db", &["db-1"])]);
    let old = scene.fleet.act(scene.fleet.provision(&group("db")));
    scene.carry_on(old).await;
    scene.fleet.join(old);
    (scene, old)
}

fn has_begun(scene: &Scene, machine: MachineId) -> bool {
    let record = scene.fleet.intent_of(machine).current().expect("open");
    record.begun.is_some()
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_put_on_record_is_not_destroyed() {
    let (scene, new) = replaced().await;
    let helpers = Interrupted {
        begins: false,
        ..Interrupted::new(&scene)
    };
    let failed = scene.attempt_with(new, &helpers).await;
    assert!(
        matches!(failed.result, StepResult::Error { .. }),
        "{failed:?}"
    );
    assert_eq!(scene.cloud.calls(Call::Destroy), 0);
}

#[tokio::test(start_paused = true)]
async fn destruction_that_was_accepted_and_is_not_proved_has_begun() {
    let (mut scene, new) = replaced().await;
    let silent = ProvisionError::unavailable("no answer");
    let helpers = Interrupted {
        proof: Some(Fault::Refuse(silent)),
        ..Interrupted::new(&scene)
    };
    let unproved = scene.attempt_with(new, &helpers).await;
    assert_eq!(scene.cloud.calls(Call::Destroy), 1);
    scene.fleet.report(new, StepResult::Begun);
    scene.fleet.ok(Command::Progress(unproved));
    assert!(has_begun(&scene, new));
    scene.carry_on(new).await;
    let (step, states) = (
        scene
            .fleet
            .intent_of(new)
            .current()
            .map(|record| record.step),
        scene.cloud.instances().len(),
    );
    assert_eq!((step, states), (Some(Step::AwaitJoin), 1));
}

#[tokio::test(start_paused = true)]
async fn destruction_that_was_refused_or_not_called_has_not_begun() {
    let errors = [
        (ProvisionError::Denied("not yours".into()), false),
        (ProvisionError::Failed("half of it".into()), true),
        (ProvisionError::Timeout("it took a minute".into()), true),
    ];
    for (error, may_have_begun) in errors {
        let (mut scene, new) = replaced().await;
        scene.cloud.inject(Call::Destroy, [Fault::Refuse(error)]);
        let failed = scene.attempt(new).await;
        scene.fleet.report(new, StepResult::Begun);
        scene.fleet.ok(Command::Progress(failed));
        assert_eq!(has_begun(&scene, new), may_have_begun);
    }
    let (mut scene, new) = replaced().await;
    let helpers = Interrupted {
        permits: false,
        ..Interrupted::new(&scene)
    };
    let held = scene.attempt_with(new, &helpers).await;
    assert_eq!(scene.cloud.calls(Call::Destroy), 0);
    scene.fleet.report(new, StepResult::Begun);
    scene.fleet.ok(Command::Progress(held));
    assert!(!has_begun(&scene, new));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_under_a_lease_waits_for_its_end_and_has_not_begun() {
    let (mut scene, old) = running().await;
    let terms = LeaseTerms {
        lease_ms: 10_000,
        stop_ms: 3_000,
    };
    scene.fleet.ok(Command::BindLease {
        machine: old,
        terms: Some(terms),
    });
    let replace = scene.fleet.replace(old, Diagnosis::Unreachable);
    let new = scene.fleet.act(replace);
    let denied = ProvisionError::Denied("not yours".into());
    scene.cloud.inject(Call::Destroy, [Fault::Refuse(denied)]);
    let waits = scene.attempt(new).await;
    scene.fleet.report(new, StepResult::Begun);
    scene.fleet.ok(Command::Progress(waits));
    let record = scene.fleet.intent_of(new).current().expect("open");
    let held = record.held.as_ref().map(|held| held.rule);
    assert_eq!((held, record.begun), (Some(Rule::Fence), None));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_leader_began_is_not_undone_by_the_word_of_the_next() {
    let (mut scene, new) = replaced().await;
    scene.fleet.report(new, StepResult::Begun);
    // The next leader had not read that when it made its own call.
    scene.fleet.term += 1;
    scene.fleet.report(new, StepResult::Begun);
    let error = "denied".into();
    scene
        .fleet
        .report(new, StepResult::Error { error, retry_ms: 0 });
    assert!(has_begun(&scene, new));
}
