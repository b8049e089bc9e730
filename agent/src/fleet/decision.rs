//! What was decided about a machine or a group, and why: acting, holding, or only watching.

use std::fmt;

use muster_mesh::identity::MachineId;
use serde::{Deserialize, Serialize};

use super::OperationId;
use super::demand::DemandId;
use super::diagnosis::Diagnosis;
use super::evidence::{Evidence, MemberStatus, Workload};
use super::intent::Action;
use super::machine::Phase;
use super::names::{GroupId, MachineName, Member};
use super::rule::{Check, Rule};
use super::rung::Rung;
use super::spec::SpecRevision;
use super::text::{Text, count};
use super::token::SecretHash;

/// A decision's number: grows, and is never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct DecisionId(pub u64);

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A committed decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Its number.
    pub id: DecisionId,
    /// When it was committed, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who decided.
    pub leader: MachineId,
    /// In which term of the log.
    pub term: u64,
    /// The name of the machine that it is about, as it was then.
    pub name: Option<MachineName>,
    /// What was decided, on what grounds.
    pub proposal: Proposal,
}

impl Decision {
    /// Whether what was seen of its machine says that it had failed, whatever it was decided for: it did not answer the mesh, or
    /// its workload did not work.
    pub fn saw_failure(&self) -> bool {
        self.proposal.evidence.iter().any(|seen| match seen {
            Evidence::Member(member) => {
                matches!(member.status, MemberStatus::Suspect | MemberStatus::Down)
            }
            Evidence::Record(record) => matches!(record.workload, Some(Workload::Failed { .. })),
            _ => false,
        })
    }
}

/// What a leader wants to have committed: a decision with its grounds, and the order that it implies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// What it is about.
    pub subject: Subject,
    /// The group concerned.
    pub group: Option<GroupId>,
    /// Why there was anything to decide.
    pub cause: Cause,
    /// What was seen.
    pub evidence: Vec<Evidence>,
    /// Every rule in its order, with what it said and by what margin.
    pub checks: Vec<Check>,
    /// On whose authority.
    pub mandate: Mandate,
    /// What follows.
    pub outcome: Outcome,
    /// The new machine, where one is ordered.
    pub order: Option<Order>,
    /// Whether the machine that is taken away has to be struck off the ensemble of its group's workload first.
    pub strikes: bool,
}

/// What a decision is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// One machine.
    Machine(MachineId),
    /// A group as a whole: its size.
    Group(GroupId),
}

/// Why there was anything to decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A machine was diagnosed.
    Diagnosed {
        /// With what.
        diagnosis: Diagnosis,
        /// Since when, in milliseconds since 1970.
        since_ms: u64,
        /// In a sentence.
        summary: Text,
    },
    /// A group has fewer machines than it should have.
    TooFew {
        /// How many it should have.
        desired: u32,
        /// How many it has or is getting.
        existing: u32,
    },
    /// A group has more machines than it should have.
    TooMany {
        /// How many it should have.
        desired: u32,
        /// How many it has or is getting.
        existing: u32,
    },
    /// A group is being destroyed.
    Destroyed,
    /// A person asked for it.
    Asked {
        /// The order by hand.
        demand: DemandId,
        /// What was asked for.
        what: Would,
        /// Who asked, as far as known.
        by: Option<Text>,
        /// Why, in their words.
        reason: Text,
        /// How the machine was found to be.
        found: Diagnosis,
    },
    /// A group has what it should have.
    Complete,
}

impl Proposal {
    /// The version of the agent of the machine that it is about, as that machine last said.
    pub fn agent_version(&self) -> Option<Text> {
        self.evidence.iter().find_map(|evidence| match evidence {
            Evidence::Record(record) => record.version.clone(),
            _ => None,
        })
    }
}

impl Cause {
    /// Since when, where a diagnosis is the cause; in milliseconds since 1970.
    pub fn since_ms(&self) -> Option<u64> {
        match self {
            Self::Diagnosed { since_ms, .. } => Some(*since_ms),
            _ => None,
        }
    }

    /// The diagnosis, when one is the cause.
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        match self {
            Self::Diagnosed { diagnosis, .. } => Some(*diagnosis),
            _ => None,
        }
    }

    /// How the machine was found to be, where something is the matter with it: also where that is not why anything was
    /// decided.
    pub fn found(&self) -> Option<Diagnosis> {
        match self {
            Self::Asked { found, .. } => Some(*found).filter(|found| !found.is_calm()),
            other => other.diagnosis(),
        }
    }

    /// Whether two causes are the same to someone who asks whether anything is new: numbers and times aside.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.found() == other.found()
            && self.demand() == other.demand()
    }

    /// The order by hand, when one is the cause.
    pub fn demand(&self) -> Option<DemandId> {
        match self {
            Self::Asked { demand, .. } => Some(*demand),
            _ => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diagnosed {
                diagnosis, summary, ..
            } => write!(f, "{diagnosis}: {summary}"),
            Self::TooFew { desired, existing } => {
                write!(f, "{existing} of {}", count(*desired as usize, "machine"))
            }
            Self::TooMany { desired, existing } => {
                let machines = count(*existing as usize, "machine");
                write!(f, "{machines} where {desired} are wanted")
            }
            Self::Destroyed => f.write_str("the group is being destroyed"),
            Self::Asked {
                demand,
                what,
                by,
                reason,
                ..
            } => {
                write!(f, "order {demand} by hand, to {}", what.of_it())?;
                if let Some(by) = by {
                    write!(f, ", from {by}")?;
                }
                if !reason.is_empty() {
                    write!(f, ": {reason}")?;
                }
                Ok(())
            }
            Self::Complete => f.write_str("the group has the machines that it should have"),
        }
    }
}

/// What follows from a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done, under this operation ID.
    Act {
        /// The intent's ID.
        op: OperationId,
        /// What is done.
        action: Action,
    },
    /// Nothing is done, because a rule forbids it.
    Hold {
        /// The first rule that forbids it.
        rule: Rule,
        /// Why, in plain words with numbers.
        detail: Text,
        /// Until when, if nothing else changes, in milliseconds since 1970; `None` where time alone changes nothing.
        until_ms: Option<u64>,
    },
    /// It would be done if the group were not in `observe` mode.
    Observe {
        /// What would be done.
        would: Would,
    },
    /// It is done when a person approves.
    AwaitApproval {
        /// What would be done.
        would: Would,
    },
    /// What stood on record is over: the machine is well, or the group complete.
    Clear,
}

impl Outcome {
    /// The hold of a rule that forbids it.
    pub fn held_by(check: &Check) -> Self {
        Self::Hold {
            rule: check.rule,
            detail: check.margin.clone(),
            until_ms: check.until_ms,
        }
    }

    /// Until when it holds, if nothing else changes, in milliseconds since 1970; `None` for what does not end with time.
    pub fn until_ms(&self) -> Option<u64> {
        match self {
            Self::Hold { until_ms, .. } => *until_ms,
            _ => None,
        }
    }

    /// Whether two outcomes are the same to someone who asks whether anything is new: numbers in texts aside.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            // The words of a pause are a person's, and have no numbers.
            (
                Self::Hold {
                    rule: Rule::Paused,
                    detail: one,
                    ..
                },
                Self::Hold {
                    rule: Rule::Paused,
                    detail: two,
                    ..
                },
            ) => one == two,
            (Self::Hold { rule: one, .. }, Self::Hold { rule: two, .. }) => one == two,
            (Self::Observe { would: one }, Self::Observe { would: two })
            | (Self::AwaitApproval { would: one }, Self::AwaitApproval { would: two }) => {
                one == two
            }
            (Self::Clear, Self::Clear) => true,
            _ => false,
        }
    }
}

/// What would be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Would {
    /// A machine would be replaced.
    Replace,
    /// A machine would be taken away.
    Retire,
    /// Something would be done to a machine in its place.
    Treat(Rung),
    /// A machine's workload would hand over its duties, and its coordinator's seat would be given to another one.
    Drain,
}

impl Would {
    /// What would be done, of a machine that was named before: `replace it`, `restart its workload`.
    pub fn of_it(self) -> String {
        match self {
            Self::Treat(Rung::RestartWorkload) => "restart its workload".to_owned(),
            would => format!("{would} it"),
        }
    }

    /// Whether a person may ask for it about a machine in this phase.
    pub fn is_for(self, phase: Phase) -> bool {
        match phase {
            Phase::Joined => true,
            Phase::Adopted { .. } | Phase::Lost { .. } => self == Self::Replace,
            Phase::Ordered | Phase::Left { .. } | Phase::Retiring => false,
        }
    }
}

impl fmt::Display for Would {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replace => "replace",
            Self::Retire => "retire",
            Self::Treat(Rung::RestartWorkload) => "restart the workload of",
            Self::Treat(rung) => rung.word(),
            Self::Drain => "drain",
        })
    }
}

/// The authority that a leader had when it decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mandate {
    /// Whether a quorum of coordinators confirmed the leader for this very decision.
    pub quorum_confirmed: bool,
    /// Machines of the roster that acknowledged the leader within the last seconds.
    pub acks: u32,
    /// Machines of the roster that count.
    pub roster: u32,
    /// Machines of the roster that don't count because their provisioners have proved them gone for long enough.
    pub proven_gone: u32,
}

impl Mandate {
    /// How many acknowledgements make more than half.
    pub fn needed(&self) -> u32 {
        self.roster.saturating_sub(self.proven_gone) / 2 + 1
    }

    /// Whether the leader may act: invariant 2, *a minority never acts*.
    pub fn suffices(&self) -> bool {
        self.quorum_confirmed && self.acks >= self.needed()
    }
}

/// A machine to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its ID, which follows from `sequence`.
    pub machine: MachineId,
    /// Which order of the whole fleet this is; becomes the place's generation.
    pub sequence: u64,
    /// Which member of the group it will be.
    pub member: Member,
    /// The zone that it goes to.
    pub zone: Option<String>,
    /// The template that it is made from.
    pub revision: SpecRevision,
    /// For how long it is on trial once it joined, in milliseconds: as long as its workload's check takes to find that it
    /// does not work. Zero where nothing checks that.
    pub trial_ms: u64,
    /// What the secret of its join token hashes to. Left empty by the decision core, which knows no keys; the
    /// leader fills it in, and a proposal without it is refused.
    pub token: Option<SecretHash>,
}
