//! What can be asked of the fleet state: the entries of the coordinators' log.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use muster_mesh::consensus::Seat;
use muster_mesh::identity::{ClusterId, Generation, MachineId};
use muster_provisioners::ledger::Changes;
use serde::{Deserialize, Serialize};

use super::decision::{DecisionId, Proposal, Would};
use super::demand::DemandId;
use super::intent::Step;
use super::lease::LeaseTerms;
use super::machine::Instance;
use super::names::{GroupId, MachineName, Member};
use super::orphan::Orphan;
use super::pause::PauseScope;
use super::quarantine::{ListedHardware, Quarantine};
use super::recovery::Recovery;
use super::rule::Rule;
use super::spec::{GroupSpec, HealMode, Labels, SpecRevision};
use super::text::Text;
use super::token::{KeyHash, SecretHash, TokenId};
use super::{InstanceId, OperationId};

/// The version of the encoding; its first byte.
pub const COMMAND_VERSION: u8 = 1;

/// A command with who proposes it, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The leader's clock, in milliseconds since 1970. Never moves the state's clock backwards.
    pub at_ms: u64,
    /// The leader.
    pub by: MachineId,
    /// The term of the log in which it leads.
    pub term: u64,
    /// The person or program that asked, as far as known; for the events.
    pub actor: Option<Text>,
    /// What is asked.
    pub command: Command,
}

impl Envelope {
    /// The bytes for the log: a version byte, then postcard.
    pub fn encode(&self) -> Vec<u8> {
        super::wire::encode(COMMAND_VERSION, self)
    }

    /// Reads [`Self::encode`]'s bytes.
    ///
    /// # Errors
    /// When the bytes are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, super::DecodeError> {
        super::wire::decode(COMMAND_VERSION, "command", bytes)
    }
}

/// What is asked of the fleet state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The fleet begins, with its first machine. The very first command, once.
    Found(Box<Found>),
    /// Groups are declared or changed: all of them or none.
    ApplySpecs(Vec<SpecChange>),
    /// The size of a cattle group changes.
    ScaleGroup {
        /// Which group.
        group: GroupId,
        /// How many machines it should have.
        size: u32,
    },
    /// A group and all its machines are to go.
    DestroyGroup {
        /// Which group.
        group: GroupId,
    },
    /// A group is forgotten; its machines stay as they are, and are taken up again when it is declared anew.
    FreeGroup {
        /// Which group.
        group: GroupId,
    },
    /// A group's heal mode changes.
    SetHealMode {
        /// Which group.
        group: GroupId,
        /// The new mode.
        mode: HealMode,
    },
    /// Healing and scaling stop.
    Pause {
        /// Where.
        scope: PauseScope,
        /// What it is called, where several may be in effect at one place.
        name: Option<MachineName>,
        /// Why.
        reason: Text,
        /// Until when, in milliseconds since 1970; `None` until it is ended by hand.
        until_ms: Option<u64>,
    },
    /// All pauses of a place end. Also ends the group's waiting after failed orders.
    Resume {
        /// Where.
        scope: PauseScope,
    },
    /// The pause of a name ends.
    EndPause {
        /// Which one.
        name: MachineName,
    },
    /// A join token is made.
    CreateToken {
        /// Its public number, drawn at random by the caller.
        id: TokenId,
        /// What its secret hashes to.
        secret: SecretHash,
        /// What it is for.
        note: Text,
        /// The group that its machines join.
        group: Option<GroupId>,
        /// When it stops working, in milliseconds since 1970.
        expires_ms: u64,
        /// How often it may be used.
        uses: u32,
    },
    /// A join token stops working.
    RevokeToken {
        /// Which token.
        id: TokenId,
    },
    /// A machine comes in with a token.
    Admit(Box<Admit>),
    /// An operator gets access.
    CreateOperator {
        /// Their name.
        name: MachineName,
        /// When their certificate ends, in milliseconds since 1970.
        expires_ms: u64,
    },
    /// An operator's access ends.
    RevokeOperator {
        /// Their name.
        name: MachineName,
    },
    /// A machine is shut out: its certificate is refused, and its slot is filled as if it had left for good.
    RevokeMachine {
        /// Which machine.
        machine: MachineId,
    },
    /// Decisions are put on record, with the intents and the spending that they imply: each one whole or not at
    /// all.
    Decide(Vec<Proposal>),
    /// An intent's step went well or wrong.
    Progress(Progress),
    /// A machine said goodbye for good, and is out of the mesh.
    MachineLeft {
        /// Which machine.
        machine: MachineId,
        /// Which of its lives said so.
        life: Generation,
    },
    /// A machine that had left for good is in the mesh again.
    MachineReturned {
        /// Which machine.
        machine: MachineId,
    },
    /// A machine is taken off the roster as it is.
    Forget {
        /// Which machine.
        machine: MachineId,
    },
    /// A machine gets a coordinator's seat.
    TakeSeat {
        /// Which machine.
        machine: MachineId,
    },
    /// A coordinator's seat is given up for good.
    FreeSeat {
        /// Which seat.
        seat: Seat,
    },
    /// A machine is reached at another address.
    RecordAddress {
        /// Which machine.
        machine: MachineId,
        /// Where.
        addr: SocketAddr,
    },
    /// Which instances nobody runs on, as far as provisioners can say: all that are known now.
    RecordOrphans(Vec<Orphan>),
    /// Something about hardware on which nothing is made.
    Quarantine(Box<QuarantineChange>),
    /// A machine promises to run its workload under a lease only, or is released from that.
    BindLease {
        /// Which machine.
        machine: MachineId,
        /// Under which terms; `None` to release it.
        terms: Option<LeaseTerms>,
    },
    /// Whether the pets' machines could be fenced today, for those of which that has changed.
    RecordFencing(Vec<(MachineId, Option<Text>)>),
    /// A machine that was made and joined has been on trial long enough: it works, or it does not.
    TrialOver {
        /// The intent that made it.
        op: OperationId,
        /// Whether it works.
        works: bool,
        /// What was found, in a sentence.
        detail: Text,
    },
    /// The workloads of a group's machines are known to have formed an ensemble.
    EnsembleFormed {
        /// Which group.
        group: GroupId,
    },
    /// A person approves what a decision proposed. It is done if it still passes every rule.
    Approve {
        /// Which decision.
        decision: DecisionId,
    },
    /// A person asks for something to be done to a machine. It is done once the rules let it pass.
    Ask(Box<Ask>),
    /// What was asked for is taken back, if it has not begun.
    Withdraw {
        /// Which demand.
        demand: DemandId,
    },
    /// What was asked for was not let pass in time.
    Expire {
        /// Which demand.
        demand: DemandId,
    },
    /// A machine is left alone by automatic healing, gets no coordinator's seat, and goes first when its group shrinks.
    Cordon {
        /// Which machine.
        machine: MachineId,
        /// Why.
        reason: Text,
    },
    /// That ends.
    Uncordon {
        /// Which machine.
        machine: MachineId,
    },
    /// The log was founded anew, with one coordinator.
    Refound {
        /// Which log it is.
        generation: u64,
        /// The coordinator's seat; higher than all that the state has given out.
        seat: Seat,
        /// Who it is.
        machine: MachineId,
        /// The order that it was founded by; `None` where the machines did it by themselves.
        recovery: Option<Box<Recovery>>,
    },
    /// A machine that was unaccounted for is back, and stands behind the leader of this log.
    Account {
        /// Which machine.
        machine: MachineId,
    },
    /// A provisioner notes something in its ledger.
    WriteLedger(Box<LedgerWrite>),
    /// A group is declared with instances that another tool made, which stay as they are.
    Adopt(Box<Adopt>),
}

/// A group with the instances that it begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// The group, which isn't declared yet.
    pub spec: GroupSpec,
    /// What there is of it, each as one of its members.
    pub instances: Vec<(Member, Instance)>,
}

impl Command {
    /// The command's name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Found(_) => "found",
            Self::ApplySpecs(_) => "apply specs",
            Self::ScaleGroup { .. } => "scale group",
            Self::DestroyGroup { .. } => "destroy group",
            Self::FreeGroup { .. } => "free group",
            Self::SetHealMode { .. } => "set heal mode",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::EndPause { .. } => "end pause",
            Self::CreateToken { .. } => "create token",
            Self::RevokeToken { .. } => "revoke token",
            Self::Admit(_) => "admit",
            Self::CreateOperator { .. } => "create operator",
            Self::RevokeOperator { .. } => "revoke operator",
            Self::RevokeMachine { .. } => "revoke machine",
            Self::Decide(_) => "decide",
            Self::Progress(_) => "progress",
            Self::MachineLeft { .. } => "machine left",
            Self::MachineReturned { .. } => "machine returned",
            Self::Forget { .. } => "forget",
            Self::TakeSeat { .. } => "take seat",
            Self::FreeSeat { .. } => "free seat",
            Self::RecordAddress { .. } => "record address",
            Self::RecordOrphans(_) => "record orphans",
            Self::Quarantine(_) => "quarantine",
            Self::BindLease { .. } => "bind lease",
            Self::RecordFencing(_) => "record fencing",
            Self::TrialOver { .. } => "trial over",
            Self::EnsembleFormed { .. } => "ensemble formed",
            Self::Approve { .. } => "approve",
            Self::Ask(_) => "ask",
            Self::Withdraw { .. } => "withdraw",
            Self::Expire { .. } => "expire",
            Self::Cordon { .. } => "cordon",
            Self::Uncordon { .. } => "uncordon",
            Self::Refound { .. } => "refound",
            Self::Account { .. } => "account",
            Self::WriteLedger(_) => "write ledger",
            Self::Adopt(_) => "adopt",
        }
    }
}

/// The command's name.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The fleet begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The mesh's ID.
    pub cluster: ClusterId,
    /// The mesh's name, for people.
    pub name: Text,
    /// The cluster CA's certificate (DER).
    pub ca_der: Vec<u8>,
    /// The first machine's name.
    pub machine_name: MachineName,
    /// Where its endpoint listens.
    pub addr: SocketAddr,
    /// Its labels.
    pub labels: Labels,
    /// The key that it holds.
    pub key: KeyHash,
    /// Which member of a group that is declared later it is.
    pub place: Option<(GroupId, Member)>,
    /// What made it, so that it can be replaced like any other.
    pub instance: Option<Instance>,
}

/// What a provisioner notes in its ledger, all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerWrite {
    /// Which provisioner.
    pub provisioner: String,
    /// The revision that the change was made from.
    pub revision: u64,
    /// The new values by key; `None` takes an entry away.
    pub changes: Changes,
}

/// One group's new specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecChange {
    /// The specification.
    pub spec: GroupSpec,
    /// The revision that the change was made from; `None` when there was no such group.
    pub expected: Option<SpecRevision>,
}

/// A machine comes in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admit {
    /// The token's public number.
    pub token: TokenId,
    /// What the secret that it showed hashes to.
    pub secret: SecretHash,
    /// The key that it proved to hold.
    pub key: KeyHash,
    /// The name that it would like; an ordered machine has its name already.
    pub name: Option<MachineName>,
    /// Where its endpoint listens.
    pub addr: SocketAddr,
    /// Its labels.
    pub labels: Labels,
}

/// Something about hardware on which nothing is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuarantineChange {
    /// The hardware of a machine that failed was put into quarantine.
    PutAside(PutAside),
    /// A person wants hardware to be released.
    Release {
        /// The provisioner's name.
        provisioner: String,
        /// What it calls the hardware.
        hardware: String,
    },
    /// What one provisioner has in quarantine: all that it says.
    Listed(QuarantineListing),
}

/// Hardware that was put into quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutAside {
    /// The intent that takes its machine away.
    pub op: OperationId,
    /// The provisioner's name.
    pub provisioner: String,
    /// What it calls the hardware.
    pub hardware: String,
    /// The machine's instance.
    pub instance: InstanceId,
    /// Why.
    pub why: Text,
}

/// What one provisioner has in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineListing {
    /// The provisioner's name.
    pub provisioner: String,
    /// All of it, or as much as there is room for.
    pub listed: Vec<ListedHardware>,
    /// What is out of it, as it was on record before the provisioner was asked. What has changed since stays.
    pub gone: Vec<Quarantine>,
}

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// About which machine.
    pub machine: MachineId,
    /// What is to be done; not to retire it.
    pub what: Would,
    /// Why.
    pub reason: Text,
    /// Until when that stands, in milliseconds since 1970.
    pub until_ms: u64,
    /// Rules that are not to stop it, each named by the person.
    pub forced: BTreeSet<Rule>,
}

/// How an intent's step went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which intent.
    pub op: OperationId,
    /// Which step. Refused when it isn't the current one: the report is late, or a duplicate.
    pub step: Step,
    /// How often the step had failed before this try; refused when that isn't so any more.
    pub attempt: u32,
    /// How it went.
    pub result: StepResult,
}

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepResult {
    /// Well.
    Done,
    /// The old machine's lease, and its time to stop, are over, and nobody can prove it off. For `Fence`.
    LeaseOver,
    /// The old machine's instance is left as it is, since nobody can prove it off. For `Destroy`.
    Kept,
    /// Well, and this is what was made. For `Provision` only, and required there.
    Provisioned(Instance),
    /// Its call is about to be made: from now on it may have been carried out. For `Fence`, `Destroy` and `Reimage`.
    Begun,
    /// Wrong, and nothing was done; to be tried again.
    Error {
        /// What went wrong.
        error: Text,
        /// After how long, in milliseconds; the caller computes back-off and jitter, since there is no randomness
        /// here.
        retry_ms: u64,
    },
    /// Nobody can say whether it was done; to be tried again.
    Unknown {
        /// What went wrong.
        error: Text,
        /// After how long, in milliseconds.
        retry_ms: u64,
    },
    /// Not tried, because a rule forbids it at this moment; looked at again later. No failure.
    Held {
        /// The rule.
        rule: Rule,
        /// Why, in plain words with numbers.
        detail: Text,
    },
    /// Put on record as begun, and then not called, because a rule forbade it at that moment; else as `Held`. For steps that
    /// begin.
    Uncalled {
        /// The rule.
        rule: Rule,
        /// Why, in plain words with numbers.
        detail: Text,
    },
    /// Wrong for good, or not in time: the intent fails.
    GiveUp {
        /// Why.
        error: Text,
    },
    /// The instance was proved gone before its machine joined, so there is nothing to wait for. For `AwaitJoin`.
    Vanished {
        /// How that is known.
        error: Text,
    },
    /// Nothing was handed over. For `Drain`.
    Undrained(Undrained),
    /// Nothing was done to the machine, and the intent is given up: the machine is back, or a rule has kept the step from
    /// being tried for too long. For steps that end a machine or treat it.
    Spared {
        /// Which of the two, and how it is known.
        why: Text,
    },
}

/// Why a machine's workload handed nothing over, although nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undrained {
    /// Its flavor has no way to: there is nothing to drain.
    Nothing,
    /// It does not take part in the mesh, so there is nobody to ask.
    Absent,
}
