//! What every provisioner has to pass.
//!
//! Implement [`Harness`] for a back end and let [`conformance_suite!`](crate::conformance_suite) make a test of every
//! check. A check panics with what it found; it leaves nothing behind that the harness's tear-down would not clear away.
//!
//! ```ignore
//! muster_provisioners::conformance_suite!(MyHarness::start().await);
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Attachment, Deadline, Instance, InstanceId, InstanceState, MachineSpec, OperationId, Proof,
    Properties, ProvisionError, Provisioner, Tags, tag,
};

mod counterpart;
mod faults;
mod lifecycle;
mod making;
mod mending;

pub use counterpart::Counterpart;
pub use faults::*;
pub use lifecycle::*;
pub use making::*;
pub use mending::*;

/// A back end to be tested, with nothing of the tested cluster in it.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A client of the back end.
    fn provisioner(&self) -> Arc<dyn Provisioner>;

    /// Another client of the same back end that shares nothing with the first, as another coordinator's.
    async fn another(&self) -> Arc<dyn Provisioner>;

    /// Properties with which a small machine can be made.
    fn properties(&self) -> Properties;

    /// Properties that must be refused, each with a field that must be among those complained of.
    fn bad_properties(&self) -> Vec<(Properties, &'static str)>;

    /// The ID of an instance that is not there, in the form that this back end gives.
    fn missing(&self) -> InstanceId;

    /// An attachment of this name, which exists or is made with its first holder. Unused where there are none.
    fn attachment(&self, name: &str) -> Attachment {
        Attachment::new(name, "")
    }

    /// How long a change may take until it shows.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Kills the machine as a failure would, not through the provisioner; `false` if this harness can't.
    async fn kill(&self, _instance: &Instance) -> bool {
        false
    }

    /// Makes the back end misbehave until [`mend`](Self::mend); `false` if this harness can't.
    async fn inject(&self, _trouble: Trouble) -> bool {
        false
    }

    /// Ends all misbehaviour.
    async fn mend(&self) {}
}

/// How a back end may misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It does what it is asked, and its answers are lost.
    LostAnswers,
    /// It can't be reached.
    Down,
    /// It asks for fewer requests.
    Throttling,
    /// It doesn't answer in time.
    Hanging,
    /// It refuses the credentials.
    BadCredentials,
}

/// A number that no other check of this process uses, so that checks can share a back end.
fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One check's own cluster in the back end.
struct Case<'a> {
    harness: &'a dyn Harness,
    provisioner: Arc<dyn Provisioner>,
    cluster: String,
}

impl<'a> Case<'a> {
    fn new(harness: &'a dyn Harness) -> Self {
        let cluster = format!("conformance-{}-{}", std::process::id(), unique());
        Self {
            harness,
            provisioner: harness.provisioner(),
            cluster,
        }
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.harness.patience())
    }

    fn op(&self, member: &str, step: &str) -> OperationId {
        OperationId::derive(&self.cluster, "suite", member, 1, step)
    }

    /// The tags that all of this check's machines have, and no others.
    fn ours(&self) -> Tags {
        Tags::new().with(tag::CLUSTER, &self.cluster)
    }

    fn spec(&self, member: &str) -> MachineSpec {
        let mut spec = MachineSpec::new(
            format!("{}-{member}", self.cluster),
            self.harness.properties(),
        );
        spec.tags = self
            .ours()
            .with(tag::GROUP, "suite")
            .with(tag::MEMBER, member);
        spec.boot.group = "suite".to_owned();
        spec.boot.member = member.to_owned();
        spec
    }

    fn spec_with_disk(&self, member: &str, disk: &str) -> MachineSpec {
        let mut spec = self.spec(member);
        spec.attachments = vec![self.harness.attachment(&format!("{}-{disk}", self.cluster))];
        spec
    }

    async fn make(&self, member: &str) -> InstanceId {
        let op = self.op(member, "provision");
        let made = self
            .provisioner
            .provision(&self.spec(member), &op, self.deadline())
            .await;
        made.unwrap_or_else(|error| panic!("making {member}: {error}"))
    }

    async fn list(&self) -> Vec<Instance> {
        let list = self
            .provisioner
            .describe(&self.ours(), self.deadline())
            .await;
        list.unwrap_or_else(|error| panic!("describing: {error}"))
    }

    /// Waits until the list is as `condition` will have it.
    async fn until(&self, what: &str, condition: impl Fn(&[Instance]) -> bool) -> Vec<Instance> {
        let deadline = self.deadline();
        loop {
            let list = self.list().await;
            if condition(&list) {
                return list;
            }
            assert!(
                deadline.sleep(Duration::from_millis(20)).await,
                "not in time: {what}: {list:?}"
            );
        }
    }

    async fn until_running(&self, id: &InstanceId) -> Instance {
        let running =
            |instance: &Instance| instance.id == *id && instance.state == InstanceState::Running;
        let list = self.until("it runs", |list| list.iter().any(running)).await;
        list.into_iter().find(running).expect("waited for")
    }

    /// Waits until it is proven off.
    async fn until_off(&self, id: &InstanceId) {
        let deadline = self.deadline();
        loop {
            match self.provisioner.prove_off(id, self.deadline()).await {
                Ok(Proof::Off { .. }) => return,
                Ok(proof) => {
                    let on = deadline.sleep(Duration::from_millis(20)).await;
                    assert!(on, "{id} is not proven off in time: {proof:?}");
                }
                Err(error) => panic!("proving {id} off: {error}"),
            }
        }
    }

    async fn destroy(&self, id: &InstanceId) {
        let op = self.op(id.as_str(), "destroy");
        let destroyed = self.provisioner.destroy(id, &op, self.deadline()).await;
        destroyed.unwrap_or_else(|error| panic!("destroying {id}: {error}"));
    }
}

fn ids(list: &[Instance]) -> Vec<&InstanceId> {
    list.iter().map(|instance| &instance.id).collect()
}

fn is_unsupported<T>(result: &Result<T, ProvisionError>) -> bool {
    matches!(result, Err(ProvisionError::Unsupported(_)))
}

/// Makes a test of every check of the suite. `$harness` is an expression, evaluated anew for each test within an
/// asynchronous function, that gives a [`Harness`].
///
/// Where a back end is slow to start, `conformance_suite!(shared: $harness)` makes one test of all checks, one after another
/// against one harness; an expression that gives an `Option`, with `None` where the back end can't be had.
#[macro_export]
macro_rules! conformance_suite {
    (shared: $harness:expr) => {
        $crate::conformance_suite! { @checks shared $harness; }
    };
    ($harness:expr) => {
        $crate::conformance_suite! { @checks tests $harness; }
    };
    (@checks $way:ident $harness:expr;) => {
        $crate::conformance_suite! { @$way $harness;
            one_operation_makes_one_instance
            simultaneous_calls_make_one_instance
            a_lost_answer_is_found_again
            a_passed_deadline_leaves_at_most_one
            an_operation_is_not_repeated_after_its_instance_was_destroyed
            bad_properties_are_refused_with_every_field
            tags_survive
            the_list_shows_only_what_is_asked_for
            destroying_twice_is_fine
            what_is_missing_is_said_so
            a_running_instance_is_not_proven_off
            a_reboot_keeps_the_machine
            a_power_cycle_keeps_the_machine
            a_reimage_makes_another_machine_in_its_place
            a_reimage_is_done_once
            hardware_that_failed_is_not_picked_again
            a_stopped_machine_is_proven_off_and_starts_again
            a_killed_machine_is_seen_and_proven_off
            an_attachment_moves_only_after_its_holder_is_off
            a_healthy_back_end_says_so
            an_outage_is_an_error_and_ends
            throttling_is_told_and_retried
            a_back_end_that_hangs_is_cut_off_at_the_deadline
            bad_credentials_are_denied
        }
    };
    (@shared $harness:expr; $($check:ident)*) => {
        #[tokio::test]
        async fn passes_the_conformance_suite() {
            let Some(harness) = $harness else { return };
            $(
                eprintln!(stringify!($check));
                $crate::conformance::$check(&harness).await;
            )*
        }
    };
    (@tests $harness:expr; $($check:ident)*) => {
        $(
            #[tokio::test]
            async fn $check() {
                let harness = $harness;
                $crate::conformance::$check(&harness).await;
            }
        )*
    };
}
