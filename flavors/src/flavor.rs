//! The trait that every flavor implements.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::{Deadline, MachineSpec, Problem};
use serde::{Deserialize, Serialize};

use crate::run::CommandLine;
use crate::{Allocation, Health, HealthPlan, PeerMember, Workload};

/// What a machine is for, bound to one group's properties (see [`Kind`](crate::Kind)).
///
/// What every implementation must keep:
///
/// - [`prepare`](Self::prepare), [`health_plan`](Self::health_plan) and
///   [`may_be_missing`](Self::may_be_missing) are pure, and the same arguments give the same answer
///   everywhere: a successor of a dead leader prepares the same machine.
/// - [`healthy`](Self::healthy) never blocks longer than its plan's time-out, leaves no process behind, and
///   says [`Unknown`](crate::HealthStatus::Unknown) if it could not look: a check that can't run says nothing
///   about the workload.
/// - [`stop`](Self::stop) is safe to repeat and succeeds only if the workload no longer runs: a pet's fence
///   relies on it.
#[async_trait]
pub trait Flavor: fmt::Debug + Send + Sync {
    /// Completes the spec of a machine that is to be made: first boot, tags, attachments.
    ///
    /// # Errors
    /// What makes it impossible for this member, found only now.
    fn prepare(&self, spec: MachineSpec, place: &Place<'_>) -> Result<MachineSpec, Vec<Problem>>;

    /// Whether [`complete`](Self::complete) does anything.
    fn must_be_asked(&self) -> bool {
        false
    }

    /// The part of preparing a machine that takes a call to something outside. The leader makes it right before the machine is
    /// made; it changes nothing, so it may be repeated.
    ///
    /// # Errors
    /// Why the machine can't be made now.
    async fn complete(
        &self,
        spec: MachineSpec,
        _place: &Place<'_>,
        _deadline: Deadline,
    ) -> Result<MachineSpec, FlavorError> {
        Ok(spec)
    }

    /// How the health of the workload is watched on its machine; `None` if it isn't.
    fn health_plan(&self) -> Option<HealthPlan>;

    /// Looks once at the workload on this machine, within the plan's time-out.
    async fn healthy(&self, workload: &Workload) -> Health;

    /// Whether [`drain`](Self::drain) does anything.
    fn can_drain(&self) -> bool;

    /// Asks the workload on this machine to hand over its duties, before it is stopped for good.
    ///
    /// # Errors
    /// If it didn't, or not in time; the caller decides whether to go on.
    async fn drain(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError>;

    /// Whether [`stop`](Self::stop) does anything.
    fn can_stop(&self) -> bool;

    /// Whether [`start`](Self::start) does anything: the agent has to start the workload, which is under a lease then, or
    /// [kept](Self::is_kept).
    fn can_start(&self) -> bool {
        false
    }

    /// Whether the agent keeps the workload running where it is under no lease, too; else it starts with the machine then.
    fn is_kept(&self) -> bool {
        false
    }

    /// Makes everything ready for the workload to run on this machine, and gives the command that starts it. Done before each
    /// start, in the process that becomes the workload; while the command goes on it is the workload itself. Where the
    /// workload runs already that does no harm.
    ///
    /// # Errors
    /// Why it can't be started now.
    async fn start(&self, _: &Workload, _: Deadline) -> Result<CommandLine, FlavorError> {
        Err(FlavorError::nothing("start"))
    }

    /// Stops the workload on this machine.
    ///
    /// # Errors
    /// If it may still be running.
    async fn stop(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError>;

    /// Whether [`restart`](Self::restart) does anything.
    fn can_restart(&self) -> bool;

    /// Stops the workload on this machine, if it runs, and starts it again: the gentlest cure.
    ///
    /// # Errors
    /// If it could not be started, as far as known. That it is well is for [`healthy`](Self::healthy) to say.
    async fn restart(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError>;

    /// How many of `members` may be missing without the workload losing its quorum. For a workload without
    /// any, that is all of them. What the members of an [ensemble](Self::is_ensemble) say themselves goes before it.
    fn may_be_missing(&self, members: usize) -> usize;

    /// Whether the members decide together by majority, and say which [`Part`](crate::Part) they play: then no voter is taken
    /// away without whom those that are left would be no majority, one goes after the other, and the one that leads last.
    fn is_ensemble(&self) -> bool {
        false
    }

    /// What this member does for its ensemble from time to time, after each look at its health: joining, or letting one in
    /// that has caught up.
    ///
    /// # Errors
    /// What did not work. It is tried again after the next look.
    async fn tend(&self, _: &Workload, _: Deadline) -> Result<(), FlavorError> {
        Ok(())
    }

    /// Whether a member that goes has to be struck off the ensemble by another one: for good, or where its machine is
    /// replaced by another one as the same member.
    fn strikes(&self, _replaced: bool) -> bool {
        false
    }

    /// Strikes another member off the ensemble, from this machine. Done when that is so already.
    ///
    /// # Errors
    /// Why it is still counted, as far as known.
    async fn strike(&self, _: &Workload, _: &str, _: Deadline) -> Result<(), FlavorError> {
        Ok(())
    }
}

/// The member that a machine is prepared for.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The group's ID.
    pub group: &'a str,
    /// Which member: slot name or logical ID.
    pub member: &'a str,
    /// Who the group declares.
    pub allocation: &'a Allocation,
    /// The members that exist now, this one left out.
    pub peers: &'a [PeerMember],
}

/// Why a flavor could not do something with its workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum FlavorError {
    /// It took longer than it may.
    #[error("{what} took longer than {limit}")]
    Timeout {
        /// What was being done.
        what: String,
        /// How long it may take, for people.
        limit: String,
    },
    /// It was tried and failed.
    #[error("{what} failed: {why}")]
    Failed {
        /// What was being done.
        what: String,
        /// What it said.
        why: String,
    },
}

impl FlavorError {
    /// Something failed, and why: one bounded line.
    pub fn failed(what: impl Into<String>, why: impl AsRef<str>) -> Self {
        Self::Failed {
            what: what.into(),
            why: Health::critical(why).reason,
        }
    }

    /// It took longer than it may.
    pub fn timeout(what: impl Into<String>, limit: Duration) -> Self {
        Self::Timeout {
            what: what.into(),
            limit: humantime::format_duration(limit).to_string(),
        }
    }

    /// The flavor has nothing that does it.
    pub(crate) fn nothing(what: &str) -> Self {
        Self::failed(what, "this flavor has no such thing")
    }
}
