//! Exactly once, cell by cell: every plan × every way that a provider may answer × a crash of whoever carries it out at
//! each point at which it waits. Its successor finds the intent in the log and goes on; in the end there is one machine where
//! there should be one, and none that nobody knows of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use muster_mesh::clock::unix_ms;
use muster_mesh::identity::MachineId;
use muster_provisioners::fake::{Act, Call, Fake, Fault};
use muster_provisioners::{
    Capabilities, Deadline, Destroyed, Idempotency, Instance, InstanceId, MachineSpec, OperationId,
    Problem, Proof, Properties, ProvisionError, Provisioner, Provisioners, Tags,
};
use tokio::sync::Notify;

use super::super::Helpers;
use super::Scene;
use crate::fleet::testing::{cattle, group, pets};
use crate::fleet::{Cause, Check, Command, Diagnosis, PutAside, Step, Undrained};

/// Ends whoever passes it for the n-th time.
#[derive(Debug)]
struct Fuse {
    left: AtomicUsize,
    burnt: Notify,
}

impl Fuse {
    fn of(points: usize) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(points),
            burnt: Notify::new(),
        })
    }

    /// A point at which somebody waits.
    async fn pass(&self) {
        let left = |left: usize| left.checked_sub(1);
        if self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .is_err()
        {
            self.burnt.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn is_whole(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }
}

/// A provisioner that is waited for before each call, and after it: a crash comes before the request leaves, or before its
/// answer is read.
#[derive(Debug)]
struct Waited {
    fake: Fake,
    fuse: Arc<Fuse>,
}

impl Waited {
    async fn around<T>(&self, call: impl Future<Output = T>) -> T {
        self.fuse.pass().await;
        let answer = call.await;
        self.fuse.pass().await;
        answer
    }
}

#[async_trait]
impl Provisioner for Waited {
    fn capabilities(&self) -> Capabilities {
        self.fake.capabilities()
    }

    fn validate(&self, properties: &Properties) -> Vec<Problem> {
        self.fake.validate(properties)
    }

    async fn provision(
        &self,
        spec: &MachineSpec,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<InstanceId, ProvisionError> {
        self.around(self.fake.provision(spec, op, deadline)).await
    }

    async fn describe(
        &self,
        filter: &Tags,
        deadline: Deadline,
    ) -> Result<Vec<Instance>, ProvisionError> {
        self.around(self.fake.describe(filter, deadline)).await
    }

    async fn reboot(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.around(self.fake.reboot(id, deadline)).await
    }

    async fn power_cycle(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.around(self.fake.power_cycle(id, deadline)).await
    }

    async fn reimage(
        &self,
        id: &InstanceId,
        spec: &MachineSpec,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        self.around(self.fake.reimage(id, spec, op, deadline)).await
    }

    async fn quarantine(
        &self,
        id: &InstanceId,
        why: &str,
        deadline: Deadline,
    ) -> Result<String, ProvisionError> {
        self.around(self.fake.quarantine(id, why, deadline)).await
    }

    async fn stop(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.around(self.fake.stop(id, deadline)).await
    }

    async fn start(&self, id: &InstanceId, deadline: Deadline) -> Result<(), ProvisionError> {
        self.around(self.fake.start(id, deadline)).await
    }

    async fn destroy(
        &self,
        id: &InstanceId,
        op: &OperationId,
        deadline: Deadline,
    ) -> Result<Destroyed, ProvisionError> {
        self.around(self.fake.destroy(id, op, deadline)).await
    }

    async fn prove_off(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<Proof, ProvisionError> {
        self.around(self.fake.prove_off(id, deadline)).await
    }

    async fn check(&self, deadline: Deadline) -> Result<(), ProvisionError> {
        self.around(self.fake.check(deadline)).await
    }
}

#[async_trait]
impl Helpers for Fuse {
    fn now_ms(&self) -> u64 {
        unix_ms()
    }

    fn lease_left(&self, _: MachineId, _: crate::fleet::LeaseTerms) -> Duration {
        Duration::MAX
    }

    async fn drain(&self, _: MachineId, _: Duration) -> Result<Option<Undrained>, String> {
        self.pass().await;
        Ok(None)
    }

    async fn strike(
        &self,
        _: MachineId,
        _: &str,
        _: &[MachineId],
        _: Duration,
    ) -> Result<(), String> {
        self.pass().await;
        Ok(())
    }

    async fn restart_workload(&self, _: MachineId, _: Duration) -> Result<(), String> {
        self.pass().await;
        Ok(())
    }

    async fn begin(&self, _: &OperationId, _: Step, _: u32) -> Result<(), String> {
        self.pass().await;
        Ok(())
    }

    async fn put_aside(&self, _: PutAside) -> Result<(), String> {
        self.pass().await;
        Ok(())
    }

    async fn permit(&self) -> Result<(), Check> {
        self.pass().await;
        Ok(())
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Plan {
    ProvisionCattle,
    ProvisionPet,
    ReplaceCattle,
    ReplacePet,
    ReimageCattle,
    ReimagePet,
    RetireCattle,
}

const PLANS: [Plan; 7] = [
    Plan::ProvisionCattle,
    Plan::ProvisionPet,
    Plan::ReplaceCattle,
    Plan::ReplacePet,
    Plan::ReimageCattle,
    Plan::ReimagePet,
    Plan::RetireCattle,
];

impl Plan {
    fn is_about_pets(self) -> bool {
        matches!(
            self,
            Self::ProvisionPet | Self::ReplacePet | Self::ReimagePet
        )
    }

    /// Opens its intent.
    async fn open(self, scene: &mut Scene) -> OperationId {
        let id = group(if self.is_about_pets() { "db" } else { "web" });
        let first = scene.fleet.act(scene.fleet.provision(&id));
        if matches!(self, Self::ProvisionCattle | Self::ProvisionPet) {
            return scene.fleet.intent_of(first).op.clone();
        }
        scene.carry_on(first).await;
        scene.fleet.join(first);
        let proposal = match self {
            Self::RetireCattle => {
                scene.fleet.declare(cattle("web", 0));
                let (desired, existing) = (0, 1);
                scene
                    .fleet
                    .retire(first, Cause::TooMany { desired, existing })
            }
            Self::ReimageCattle | Self::ReimagePet => {
                scene.fleet.reimage(first, Diagnosis::AgentDown)
            }
            _ => scene.fleet.replace(first, Diagnosis::Unreachable),
        };
        let machine = scene.fleet.act(proposal);
        scene.fleet.intent_of(machine).op.clone()
    }

    /// Instances that there should be in the end.
    fn leaves(self) -> usize {
        usize::from(!matches!(self, Self::RetireCattle))
    }
}

/// How the provider answers.
#[derive(Debug, Clone, Copy)]
enum Answers {
    Well,
    TimeOutAfterSuccess,
    ErrorAfterSuccess,
    TimeOutBefore,
    Throttled,
    ListLags,
    KnowsByTagOnly,
}

const ANSWERS: [Answers; 7] = [
    Answers::Well,
    Answers::TimeOutAfterSuccess,
    Answers::ErrorAfterSuccess,
    Answers::TimeOutBefore,
    Answers::Throttled,
    Answers::ListLags,
    Answers::KnowsByTagOnly,
];

impl Answers {
    fn cloud(self) -> Fake {
        let mut capabilities = Fake::new().capabilities();
        match self {
            Self::ListLags => capabilities.list_lag = Duration::from_secs(60),
            Self::KnowsByTagOnly => capabilities.idempotency = Idempotency::ByTag,
            _ => {}
        }
        Fake::with(capabilities)
    }

    /// Each call that changes anything goes wrong once.
    fn inject(self, cloud: &Fake) {
        let fault = match self {
            Self::TimeOutAfterSuccess => Fault::LoseAnswer,
            Self::ErrorAfterSuccess => Fault::FailAfter(ProvisionError::unavailable("internal")),
            Self::TimeOutBefore => Fault::LoseRequest,
            Self::Throttled => Fault::Refuse(ProvisionError::Throttled { retry_after: None }),
            Self::Well | Self::ListLags | Self::KnowsByTagOnly => return,
        };
        for call in [
            Call::Provision,
            Call::Destroy,
            Call::ProveOff,
            Call::Reimage,
        ] {
            cloud.inject(call, [fault.clone()]);
        }
    }
}

/// What came of a plan that whoever carried it out did not live to end, if it came to that point.
struct End {
    crashed: bool,
    /// Instances more than there should be.
    duplicates: usize,
    /// Instances that the state knows nothing of.
    orphans: usize,
}

async fn cell(plan: Plan, answers: Answers, point: usize) -> End {
    let specs = [cattle("web", 1), pets("db", &["db-1"])];
    let mut scene = Scene::on(&specs, answers.cloud());
    let op = plan.open(&mut scene).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    answers.inject(&scene.cloud);
    let fuse = Fuse::of(point);
    let mut crashed = false;
    // One leader, which ends at its point.
    while !crashed && scene.is_to_do(&op) {
        let mut provisioners = Provisioners::new();
        let waited = Arc::new(Waited {
            fake: scene.cloud.clone(),
            fuse: Arc::clone(&fuse),
        });
        provisioners.insert("process", Arc::clone(&waited) as Arc<dyn Provisioner>);
        let attempt = scene.attempt_at(&op, &provisioners, &*fuse);
        tokio::select! {
            biased;
            () = fuse.burnt.notified() => crashed = true,
            progress = attempt => {
                // It may also end before it has committed what it did.
                crashed = !fuse.is_whole();
                if !crashed {
                    fuse.pass().await;
                    scene.fleet.ok(Command::Progress(progress));
                    scene.wait().await;
                }
            }
        }
    }
    // Another one follows at once.
    scene.fleet.term += 1;
    scene.go_on(&op).await;
    let there = scene.cloud.instances();
    let known = |instance: &&Instance| {
        let machines = scene.fleet.state.machines.values();
        let mut on_record = machines.filter_map(|machine| machine.instance.as_ref());
        !on_record.any(|known| known.id == instance.id)
    };
    // To write one anew is to make a machine as well, on the same instance.
    let made = scene.cloud.acts().into_iter();
    let made = made.filter(|act| matches!(act, Act::Made(..) | Act::Reimaged(..)));
    let made = made.count();
    let alone = [
        Plan::ProvisionCattle,
        Plan::ProvisionPet,
        Plan::RetireCattle,
    ];
    let orders = 1 + usize::from(!alone.contains(&plan));
    End {
        crashed,
        duplicates: there.len().saturating_sub(plan.leaves()) + made.saturating_sub(orders),
        orphans: there.iter().filter(known).count(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_leaves_one_machine_and_no_orphan() {
    println!("plan              provider             points  duplicates  orphans");
    for plan in PLANS {
        for answers in ANSWERS {
            let (mut points, mut duplicates, mut orphans) = (0, 0, 0);
            loop {
                let end = cell(plan, answers, points).await;
                duplicates += end.duplicates;
                orphans += end.orphans;
                if !end.crashed {
                    break;
                }
                points += 1;
                assert!(points < 200, "{plan:?} under {answers:?} never ends");
            }
            let (plan, answers) = (format!("{plan:?}"), format!("{answers:?}"));
            println!("{plan:<17} {answers:<20} {points:>6} {duplicates:>11} {orphans:>8}");
            assert!(
                points >= 3,
                "{plan} under {answers}: {points} points are too few"
            );
            assert_eq!((duplicates, orphans), (0, 0), "{plan} under {answers}");
        }
    }
}

impl Scene {
    /// Whether an intent is at a step that an executor carries out.
    fn is_to_do(&self, op: &OperationId) -> bool {
        let intent = self.fleet.state.intents.get(op);
        let current = intent.and_then(|intent| intent.current());
        current.is_some_and(|record| record.step != Step::AwaitJoin)
    }

    /// Longer than any list lags, and than any step waits for its next try.
    async fn wait(&mut self) {
        self.fleet.pass(120_000);
        tokio::time::sleep(Duration::from_secs(120)).await;
    }

    async fn go_on(&mut self, op: &OperationId) {
        for _ in 0..40 {
            if !self.is_to_do(op) {
                return;
            }
            let provisioners = self.provisioners.clone();
            let progress = self.attempt_at(op, &provisioners, &super::NoHelpers).await;
            self.fleet.ok(Command::Progress(progress));
            self.wait().await;
        }
        panic!("it does not get on: {:?}", self.fleet.state.intents[op]);
    }
}
