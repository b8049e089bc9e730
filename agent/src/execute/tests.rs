//! Whatever a provider answers, one order makes one machine, and a fence is a proof.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use muster_mesh::identity::MachineId;
use muster_provisioners::fake::{Call, Fake, Fault};
use muster_provisioners::{
    InstanceState, OperationId, Properties, ProvisionError, Provisioners, Secret,
};
use proptest::prelude::*;

use super::{Helpers, Surroundings, carry_out, job};
use crate::fleet::testing::{Fleet, cattle, group, pets};
use crate::fleet::{
    Check, Command, Diagnosis, EventKind, LeaseTerms, Phase, Progress, PutAside, Rule, Rung, Step,
    StepResult, Undrained, limits,
};
use muster_mesh::clock::unix_ms;

mod cells;
mod ending;
mod hardware;

/// Where nobody has anything to hand over.
struct NoHelpers;

#[async_trait]
impl Helpers for NoHelpers {
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
        Err("its flavor has no command for that".to_owned())
    }

    fn now_ms(&self) -> u64 {
        unix_ms()
    }

    fn lease_left(&self, _: MachineId, _: LeaseTerms) -> Duration {
        Duration::from_secs(8)
    }

    async fn begin(&self, _: &OperationId, _: Step, _: u32) -> Result<(), String> {
        Ok(())
    }

    async fn put_aside(&self, _: PutAside) -> Result<(), String> {
        Ok(())
    }

    async fn permit(&self) -> Result<(), Check> {
        Ok(())
    }
}

/// Whose permission ends after so many questions.
struct Losing(AtomicU32);

#[async_trait]
impl Helpers for Losing {
    async fn drain(&self, _: MachineId, _: Duration) -> Result<Option<Undrained>, String> {
        panic!("drained without a permission")
    }

    async fn strike(
        &self,
        _: MachineId,
        _: &str,
        _: &[MachineId],
        _: Duration,
    ) -> Result<(), String> {
        panic!("struck off without a permission")
    }

    async fn restart_workload(&self, _: MachineId, _: Duration) -> Result<(), String> {
        panic!("restarted without a permission")
    }

    fn now_ms(&self) -> u64 {
        unix_ms()
    }

    fn lease_left(&self, _: MachineId, _: LeaseTerms) -> Duration {
        Duration::MAX
    }

    async fn begin(&self, _: &OperationId, _: Step, _: u32) -> Result<(), String> {
        Ok(())
    }

    async fn put_aside(&self, _: PutAside) -> Result<(), String> {
        Ok(())
    }

    async fn permit(&self) -> Result<(), Check> {
        let left = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        left.map(|_| ())
            .map_err(|_| Check::hold(Rule::Quorum, "1 of 3 machines answered"))
    }
}

/// A fleet whose groups are made by a cloud that can be made to fail.
struct Scene {
    fleet: Fleet,
    cloud: Fake,
    provisioners: Provisioners,
}

impl Scene {
    fn new(specs: &[crate::fleet::GroupSpec]) -> Self {
        Self::on(specs, Fake::new())
    }

    fn on(specs: &[crate::fleet::GroupSpec], cloud: Fake) -> Self {
        let mut fleet = Fleet::new();
        specs.iter().cloned().for_each(|spec| fleet.declare(spec));
        let mut provisioners = Provisioners::new();
        for spec in specs {
            let cloud = std::sync::Arc::new(cloud.clone());
            provisioners.insert(spec.instance.provisioner.clone(), cloud);
        }
        Self {
            fleet,
            cloud,
            provisioners,
        }
    }

    /// Carries out the current step of a machine's intent once, as whoever leads now would, and returns the result
    /// without committing it.
    async fn attempt(&self, machine: MachineId) -> Progress {
        self.attempt_with(machine, &NoHelpers).await
    }

    async fn attempt_with(&self, machine: MachineId, helpers: &dyn Helpers) -> Progress {
        let op = &self.fleet.intent_of(machine).op;
        self.attempt_at(op, &self.provisioners, helpers).await
    }

    async fn attempt_at(
        &self,
        op: &OperationId,
        provisioners: &Provisioners,
        helpers: &dyn Helpers,
    ) -> Progress {
        let intent = &self.fleet.state.intents[op];
        let token = |_: MachineId, _: &OperationId| Secret::new("muster1-token");
        let surroundings = Surroundings {
            seeds: Vec::new(),
            token: &token,
            settings: Properties::new(),
        };
        let job = job(&self.fleet.state, intent, &surroundings)
            .expect("the state makes sense")
            .expect("there is a step for an executor");
        carry_out(&job, provisioners, helpers).await
    }

    /// Attempts and commits until the machine's intent awaits its join, or has ended.
    async fn carry_on(&mut self, machine: MachineId) {
        for _ in 0..20 {
            let intent = self.fleet.intent_of(machine);
            if intent
                .current()
                .is_none_or(|record| record.step == Step::AwaitJoin)
            {
                return;
            }
            let progress = self.attempt(machine).await;
            self.fleet.ok(Command::Progress(progress));
            self.fleet.pass(120_000);
        }
        panic!(
            "the intent does not get on: {:?}",
            self.fleet.intent_of(machine)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_is_lost_makes_one_machine() {
    let mut scene = Scene::new(&[cattle("web", 3)]);
    let machine = scene.fleet.act(scene.fleet.provision(&group("web")));
    scene.cloud.inject(Call::Provision, [Fault::LoseAnswer]);
    scene.carry_on(machine).await;
    assert_eq!(scene.cloud.instances().len(), 1);
    assert!(scene.fleet.state.machines[&machine].instance.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_after_the_call_leaves_its_successor_one_machine() {
    let mut scene = Scene::new(&[cattle("web", 3)]);
    let machine = scene.fleet.act(scene.fleet.provision(&group("web")));
    // The first leader makes the machine and dies before it can say so.
    let unsaid = scene.attempt(machine).await;
    assert!(
        matches!(unsaid.result, StepResult::Provisioned(_)),
        "{unsaid:?}"
    );
    scene.carry_on(machine).await;
    assert_eq!(scene.cloud.instances().len(), 1);
    // What the first one had to say comes too late, and changes nothing.
    let before = scene.fleet.state.clone();
    scene.fleet.refused(Command::Progress(unsaid));
    assert_eq!(before.machines, scene.fleet.state.machines);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_denied_is_given_up_at_once() {
    let mut scene = Scene::new(&[cattle("web", 3)]);
    let machine = scene.fleet.act(scene.fleet.provision(&group("web")));
    let denied = ProvisionError::denied("this account may not create machines");
    scene.cloud.inject(Call::Provision, [Fault::Refuse(denied)]);
    let progress = scene.attempt(machine).await;
    assert!(
        matches!(progress.result, StepResult::GiveUp { .. }),
        "{progress:?}"
    );
    assert_eq!(scene.cloud.instances().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_waits_as_long_as_it_is_told() {
    let mut scene = Scene::new(&[cattle("web", 3)]);
    let machine = scene.fleet.act(scene.fleet.provision(&group("web")));
    let throttled = ProvisionError::Throttled {
        retry_after: Some(Duration::from_secs(17)),
    };
    scene
        .cloud
        .inject(Call::Provision, [Fault::Refuse(throttled)]);
    let progress = scene.attempt(machine).await;
    assert!(
        matches!(
            progress.result,
            StepResult::Error {
                retry_ms: 17_000,
                ..
            }
        ),
        "{progress:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pets_successor_is_not_made_before_its_old_machine_is_proved_off() {
    let mut scene = Scene::new(&[pets("db", &["db-1"])]);
    let old = scene.fleet.act(scene.fleet.provision(&group("db")));
    scene.carry_on(old).await;
    scene.fleet.join(old);
    let new = scene.fleet.act(scene.fleet.replace(old, Diagnosis::Gone));
    assert_eq!(
        scene
            .fleet
            .intent_of(new)
            .current()
            .map(|record| record.step),
        Some(Step::Fence)
    );
    // The provider can't say whether it is off, and can't destroy it either.
    scene.cloud.inject(
        Call::ProveOff,
        [Fault::Refuse(ProvisionError::unavailable("no answer"))],
    );
    let progress = scene.attempt(new).await;
    assert!(
        matches!(progress.result, StepResult::Error { .. }),
        "{progress:?}"
    );
    assert_eq!(
        scene.cloud.instances().len(),
        1,
        "nothing was made beside the old one"
    );
    scene.cloud.mend();
    scene.carry_on(new).await;
    let running: Vec<_> = scene
        .cloud
        .instances()
        .into_iter()
        .filter(|instance| instance.state != InstanceState::Stopped)
        .collect();
    assert_eq!(
        running.len(),
        1,
        "the old one is gone, the new one is there"
    );
    assert_eq!(scene.fleet.phase(new), Some(Phase::Ordered));
}

/// Where all leases are over.
struct Outlived;

#[async_trait]
impl Helpers for Outlived {
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
        Duration::ZERO
    }

    async fn begin(&self, _: &OperationId, _: Step, _: u32) -> Result<(), String> {
        Ok(())
    }

    async fn put_aside(&self, _: PutAside) -> Result<(), String> {
        Ok(())
    }

    async fn permit(&self) -> Result<(), Check> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_pet_under_a_lease_is_waited_for_without_a_proof_and_then_left_as_it_is() {
    let mut scene = Scene::new(&[pets("db", &["db-1"])]);
    let old = scene.fleet.act(scene.fleet.provision(&group("db")));
    scene.carry_on(old).await;
    scene.fleet.join(old);
    let terms = LeaseTerms {
        lease_ms: 10_000,
        stop_ms: 3_000,
    };
    scene.fleet.ok(Command::BindLease {
        machine: old,
        terms: Some(terms),
    });
    let new = scene
        .fleet
        .act(scene.fleet.replace(old, Diagnosis::Unreachable));
    let silent = || [Fault::Refuse(ProvisionError::unavailable("no answer"))];
    scene.cloud.inject(Call::ProveOff, silent());
    let waits = scene.attempt(new).await;
    assert!(
        matches!(&waits.result, StepResult::Held { rule: Rule::Fence, detail } if detail.contains("its lease")),
        "{waits:?}"
    );
    scene.cloud.inject(Call::ProveOff, silent());
    let over = scene.attempt_with(new, &Outlived).await;
    assert_eq!(over.result, StepResult::LeaseOver);
    scene.fleet.ok(Command::Progress(over));
    scene.cloud.inject(Call::ProveOff, silent());
    let kept = scene.attempt_with(new, &Outlived).await;
    assert_eq!(kept.result, StepResult::Kept);
    assert_eq!(scene.cloud.instances().len(), 1, "it was not destroyed");
    // With a proof it is destroyed, at once and without a lease having to end.
    scene.cloud.mend();
    scene.fleet.ok(Command::Progress(kept));
    let made = scene.attempt(new).await;
    assert!(
        matches!(made.result, StepResult::Provisioned(_)),
        "{made:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pet_whose_order_was_given_up_is_fenced_only_when_no_call_of_it_can_come_any_more() {
    let mut scene = Scene::new(&[pets("db", &["db-1"])]);
    let lost = scene.fleet.act(scene.fleet.provision(&group("db")));
    // As the wall clock has it, it is given up this very moment.
    scene.fleet.now_ms = unix_ms();
    scene.fleet.state.clock_ms = scene.fleet.now_ms;
    let error = "denied".into();
    scene.fleet.report(lost, StepResult::GiveUp { error });
    scene.fleet.pass(limits::MINUTE_MS);
    let new = scene
        .fleet
        .act(scene.fleet.replace(lost, Diagnosis::NeverJoined));
    let progress = scene.attempt(new).await;
    let StepResult::Error { error, .. } = &progress.result else {
        panic!("the fence passes while a call may still come: {progress:?}")
    };
    assert!(error.contains("may still be carried out"), "{error}");
    // Had it been given up long ago, the list would be proof enough.
    let op = scene.fleet.intent_of(new).op.clone();
    let intent = scene.fleet.state.intents.get_mut(&op).expect("open");
    intent.was = Some(Phase::Lost { at_ms: 0 });
    assert_eq!(scene.attempt(new).await.result, StepResult::Done);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_that_times_out_is_not_repeated_and_one_that_is_refused_is() {
    let mut scene = Scene::new(&[cattle("web", 3)]);
    let id = scene.fleet.act(scene.fleet.provision(&group("web")));
    scene.carry_on(id).await;
    scene.fleet.join(id);
    scene.fleet.pass(limits::HOUR_MS);
    scene
        .fleet
        .act(scene.fleet.treat(id, Rung::Reboot, Diagnosis::AgentDown));
    let busy = ProvisionError::unavailable("busy");
    scene
        .cloud
        .inject(Call::Reboot, [Fault::Refuse(busy), Fault::LoseAnswer]);
    let progress = scene.attempt(id).await;
    assert!(
        matches!(progress.result, StepResult::Error { .. }),
        "{progress:?}"
    );
    scene.fleet.ok(Command::Progress(progress));
    let progress = scene.attempt(id).await;
    assert_eq!(
        progress.result,
        StepResult::Done,
        "whether it helped is yet to be seen"
    );
    scene.fleet.ok(Command::Progress(progress));
    let step = scene
        .fleet
        .intent_of(id)
        .current()
        .map(|record| record.step);
    assert_eq!(step, Some(Step::AwaitWell));
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::LoseAnswer),
        Just(Fault::LoseRequest),
        Just(Fault::Refuse(ProvisionError::unavailable("down"))),
        Just(Fault::Refuse(ProvisionError::capacity("full"))),
        Just(Fault::Refuse(ProvisionError::Throttled {
            retry_after: None
        })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Leaders come and go, each attempt's result may or may not be committed, and the provider misbehaves as it
    /// likes: in the end there is exactly one machine for the order.
    #[test]
    fn one_order_makes_one_machine(
        faults in prop::collection::vec((any_fault(), any::<bool>()), 0..6),
        lost_reports in 0_usize..3,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime for tests");
        runtime.block_on(async {
            let mut scene = Scene::new(&[cattle("web", 3)]);
            let machine = scene.fleet.act(scene.fleet.provision(&group("web")));
            for (fault, on_describe) in faults {
                let call = if on_describe { Call::Describe } else { Call::Provision };
                scene.cloud.inject(call, [fault]);
            }
            for _ in 0..lost_reports {
                let _lost_with_its_leader = scene.attempt(machine).await;
            }
            scene.carry_on(machine).await;
            assert_eq!(scene.cloud.instances().len(), 1);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_mandate_nothing_is_called_and_the_step_waits_visibly() {
    let mut scene = Scene::new(&[cattle("web", 1), pets("db", &["db-1"])]);
    let machine = scene.fleet.act(scene.fleet.provision(&group("web")));
    let held = scene
        .attempt_with(machine, &Losing(AtomicU32::new(0)))
        .await;
    assert!(
        matches!(
            held.result,
            StepResult::Held {
                rule: Rule::Quorum,
                ..
            }
        ),
        "{held:?}"
    );
    assert!(scene.cloud.instances().is_empty());
    scene.fleet.ok(Command::Progress(held.clone()));
    scene.fleet.refused(Command::Progress(held));
    let record = scene.fleet.intent_of(machine).current().unwrap().clone();
    assert_eq!(
        (record.attempts, record.held.map(|held| held.rule)),
        (0, Some(Rule::Quorum))
    );
    let events = scene.fleet.state.events.iter();
    assert_eq!(
        events.filter(|event| event.kind == EventKind::Held).count(),
        1
    );
    scene.carry_on(machine).await;
    let held = |record: &crate::fleet::StepRecord| record.held.is_some();
    assert!(!scene.fleet.intent_of(machine).plan.iter().any(held));
    scene.fleet.join(machine);

    // A mandate that ends while a fence is looked into.
    let pet = scene.fleet.act(scene.fleet.provision(&group("db")));
    scene.carry_on(pet).await;
    scene.fleet.join(pet);
    let new = scene
        .fleet
        .act(scene.fleet.replace(pet, Diagnosis::Unreachable));
    let held = scene.attempt_with(new, &Losing(AtomicU32::new(0))).await;
    assert_eq!(held.step, Step::Fence);
    assert!(matches!(held.result, StepResult::Held { .. }), "{held:?}");
    assert_eq!(scene.cloud.instances().len(), 2, "nothing was destroyed");
}
