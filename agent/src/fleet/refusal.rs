//! Why a command was refused, for the person who asked: what is wrong, and what to do instead.

use muster_mesh::consensus::Seat;
use muster_mesh::identity::MachineId;
use serde::{Deserialize, Serialize};

use super::OperationId;
use super::decision::DecisionId;
use super::demand::DemandId;
use super::intent::Step;
use super::names::{GroupId, MachineName, Member};
use super::pause::PauseScope;
use super::rule::Rule;
use super::spec::{GroupKind, SpecRevision};
use super::text::{Text, count};
use super::token::TokenId;

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The bytes are not a command that this version knows.
    #[error("{0}; bring all coordinators to the same version of muster")]
    Unreadable(Text),
    /// Nothing can be done before the fleet was founded.
    #[error("this fleet has not been founded yet")]
    NotFounded,
    /// A fleet is founded once.
    #[error("this fleet has been founded already")]
    AlreadyFounded,
    /// A limit is reached.
    #[error("{what}: at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: Text,
        /// The limit.
        max: u64,
    },
    /// A value makes no sense.
    #[error("{0}")]
    Invalid(Text),
    /// There is no such group.
    #[error("there is no group {0}")]
    NoGroup(GroupId),
    /// There is no such machine.
    #[error("there is no machine {0} in the roster")]
    NoMachine(MachineId),
    /// There is no such decision on record.
    #[error("there is no decision {0} on record")]
    NoDecision(DecisionId),
    /// There is no such order by hand that could still be taken back.
    #[error("there is no order {0} by hand that stands; `muster status` shows those that do")]
    NoDemand(DemandId),
    /// The machine is not cordoned.
    #[error("machine {0} is not cordoned")]
    NotCordoned(MachineName),
    /// The hardware is in no quarantine.
    #[error("{0} is in no quarantine; `muster status` shows what is")]
    NotQuarantined(Text),
    /// There is no such seat.
    #[error("nobody has the coordinator's seat {0}")]
    NoSeat(Seat),
    /// There is nothing to resume.
    #[error("{0} is not paused")]
    NotPaused(PauseScope),
    /// There is no pause of that name.
    #[error("there is no pause `{0}`; `muster pause list` shows those in effect")]
    NoPause(MachineName),
    /// The name is another pause's.
    #[error(
        "`{name}` is the name of a pause of {scope}; choose another one, or end that with `muster resume {name}`"
    )]
    PauseNameInUse {
        /// The name.
        name: MachineName,
        /// What the other one covers.
        scope: PauseScope,
    },
    /// Somebody else changed the group in the meantime.
    #[error(
        "group {group} is at revision {}, not at {}: somebody changed it in the meantime; look at the difference and apply again",
        revision_or_none(.found), revision_or_none(.expected)
    )]
    RevisionMoved {
        /// The group.
        group: GroupId,
        /// The revision that the change was made from.
        expected: Option<SpecRevision>,
        /// The revision that it is at.
        found: Option<SpecRevision>,
    },
    /// Cattle can't become pets, nor the other way round, while machines run.
    #[error(
        "group {group} is of {from} and cannot become one of {to} while it runs: declare the new one under another name, move over, then `muster group destroy {group}`"
    )]
    KindChange {
        /// The group.
        group: GroupId,
        /// What it is.
        from: GroupKind,
        /// What was asked for.
        to: GroupKind,
    },
    /// Another provisioner can't take over running machines.
    #[error(
        "group {group} has machines made by provisioner `{from}`, and `{to}` knows nothing of them: declare a new group on `{to}` under another name, move over, then `muster group destroy {group}`"
    )]
    ProvisionerChange {
        /// The group.
        group: GroupId,
        /// The provisioner that made its machines.
        from: Text,
        /// The provisioner asked for.
        to: Text,
    },
    /// The group is on its way out.
    #[error("group {0} is being destroyed; wait until it is gone")]
    GroupDestroying(GroupId),
    /// A group of pets has no size.
    #[error(
        "group {0} is of pets, which are named: add or remove members in its specification and apply it"
    )]
    PetsHaveNoSize(GroupId),
    /// The group has work under way.
    #[error(
        "group {group} has {} under way; wait until that is done, or pause it and try again", count(*.open as usize, "operation")
    )]
    GroupBusy {
        /// The group.
        group: GroupId,
        /// How many.
        open: u32,
    },
    /// The name is taken.
    #[error("the name {name} is in use by machine {machine}; choose another one")]
    NameInUse {
        /// The name.
        name: MachineName,
        /// Who has it.
        machine: MachineId,
    },
    /// The token does not let anyone in. On purpose the same for an unknown token and for a wrong secret.
    #[error("token {0} is not valid: it is unknown, revoked, or its secret is wrong")]
    TokenInvalid(TokenId),
    /// The token was good once.
    #[error("token {0} has expired; make a new one with `muster token create`")]
    TokenExpired(TokenId),
    /// The token has let in as many machines as it may.
    #[error("token {0} has been used up; make a new one with `muster token create`")]
    TokenUsedUp(TokenId),
    /// The token's number is taken.
    #[error("there is a token {0} already; draw another number")]
    TokenExists(TokenId),
    /// The group has no place for another machine.
    #[error("group {group} has all of its {desired} machines; scale it up first")]
    GroupFull {
        /// The group.
        group: GroupId,
        /// How many it should have.
        desired: u32,
    },
    /// A machine that joins a group of pets must be one of its members.
    #[error("`{name}` is not a vacant member of group {group}; join with the name of one that is")]
    NotAVacantMember {
        /// The group.
        group: GroupId,
        /// The name that was asked for.
        name: Text,
    },
    /// The operator's name is taken.
    #[error(
        "there is an operator {0} already; revoke it and wait for its certificate to expire, or choose another name"
    )]
    OperatorExists(MachineName),
    /// There is no such operator.
    #[error("there is no operator {0}")]
    NoOperator(MachineName),
    /// A machine is the subject of an open intent.
    #[error(
        "machine {machine} is the subject of operation {op}, which is under way; wait until it is done"
    )]
    MachineBusy {
        /// The machine.
        machine: MachineId,
        /// The intent.
        op: OperationId,
    },
    /// A member of a group is the subject of an open intent.
    #[error(
        "member {member} of group {group} is the subject of operation {op}, which is under way"
    )]
    MemberBusy {
        /// The group.
        group: GroupId,
        /// The member.
        member: Member,
        /// The intent.
        op: OperationId,
    },
    /// The machine is in no state for that.
    #[error("machine {name} is {phase}: {why}")]
    WrongPhase {
        /// The machine.
        name: MachineName,
        /// Where it is in its life.
        phase: Text,
        /// What that means for the command.
        why: Text,
    },
    /// A pet would have the name of another machine.
    #[error("{name}, a member of group {group}, would have the name of {other}; use another name")]
    PetNameInUse {
        /// The group that declares it.
        group: GroupId,
        /// The name.
        name: MachineName,
        /// Who has it.
        other: Text,
    },
    /// A rule forbids it, checked once more against the state itself.
    #[error("the rule `{rule}` forbids it: {detail}")]
    Held {
        /// The rule.
        rule: Rule,
        /// Why.
        detail: Text,
    },
    /// The proposal was made from a state that has changed since, or by a leader that isn't one any more.
    #[error("the state has changed since that was decided: {0}")]
    Stale(Text),
    /// Nothing is new about it.
    #[error("the same is on record already, as decision {0}")]
    Unchanged(DecisionId),
    /// There is no such intent under way.
    #[error("operation {0} is not under way")]
    NoIntent(OperationId),
    /// A report about a step that isn't the current one.
    #[error(
        "operation {op} is at step `{current}`, attempt {attempt}: the report is late or a duplicate"
    )]
    StaleProgress {
        /// The intent.
        op: OperationId,
        /// The step that it is at.
        current: Step,
        /// How often that step has failed.
        attempt: u32,
    },
    /// There is nothing to approve.
    #[error("decision {decision} does not wait for approval: {why}")]
    NothingToApprove {
        /// Which decision was to be approved.
        decision: DecisionId,
        /// What became of it.
        why: Text,
    },
}

fn revision_or_none(revision: &Option<SpecRevision>) -> String {
    revision.map_or_else(
        || "none (no such group)".to_owned(),
        |revision| revision.to_string(),
    )
}
