//! What observers saw of a machine. Kept with the decisions that rest on it.

use std::fmt;

use muster_flavors::Part;
use muster_mesh::identity::{Generation, MachineId};
use serde::{Deserialize, Serialize};

use super::text::Text;

/// One thing that was seen, said or counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// What the mesh says.
    Member(MemberEvidence),
    /// What the machine last said of itself.
    Record(RecordEvidence),
    /// What another machine got when it tried.
    Witness(WitnessEvidence),
    /// What its provisioner says.
    Provider(ProviderEvidence),
    /// What the roster says.
    Roster(RosterEvidence),
    /// What happened to it lately.
    History(HistoryEvidence),
    /// What was counted, for a group as a whole.
    Count {
        /// Machines that the group should have.
        desired: u32,
        /// Machines that it has or is getting.
        existing: u32,
    },
}

/// What the mesh says of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEvidence {
    /// How its peers see it.
    pub status: MemberStatus,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Which of its lives they see.
    pub generation: Generation,
}

/// How its peers see a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberStatus {
    /// It answers.
    Alive,
    /// It did not answer someone; others are asked and it may object.
    Suspect,
    /// It did not answer, nobody vouched for it, and it did not object in time.
    Down,
    /// It took its leave.
    Left,
}

impl fmt::Display for MemberStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Left => "left",
        })
    }
}

/// What a machine last said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordEvidence {
    /// The machine's own health.
    pub health: Health,
    /// Why it is not `ok`.
    pub reasons: Vec<Text>,
    /// Whether its flavor says that its workload is well; `None` when there is nothing to say.
    pub workload: Option<Workload>,
    /// The part that its workload plays in its ensemble; `None` where it fails, or is in none.
    pub part: Option<Part>,
    /// Whether it said that it is going away.
    pub leaving: Option<Leaving>,
    /// The version of its agent; `None` where it is not known.
    pub version: Option<Text>,
    /// How old that is: when it was said, in milliseconds since 1970.
    pub as_of_ms: u64,
}

/// A machine's own health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing to report.
    Ok,
    /// Something to look at.
    Warning,
    /// Something is wrong.
    Critical,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// What a machine's flavor says of its workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// It is stopped, because its machine has no lease: what its check would say nobody knows.
    Unleased,
    /// It does not, since a time in milliseconds since 1970.
    Failed {
        /// Since when.
        since_ms: u64,
        /// What its check said.
        detail: Text,
    },
}

/// A machine's word that it is going away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaving {
    /// It won't be back.
    ForGood,
    /// It will be back by `until_ms`, in milliseconds since 1970.
    Rebooting {
        /// By when.
        until_ms: u64,
    },
}

/// What another machine got when it tried the suspect over a fresh path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessEvidence {
    /// Who tried.
    pub by: MachineId,
    /// The witness's zone, when it has one.
    pub zone: Option<Text>,
    /// The witness's rack, when it has one.
    pub rack: Option<Text>,
    /// How it tried.
    pub path: Path,
    /// What it got.
    pub answer: Answer,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// How a witness tries a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// A version probe to the QUIC port, from a fresh socket.
    Probe,
    /// A handshake on a new connection, in which the machine proves who it is.
    Handshake,
}

/// What a witness got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The agent answered.
    Answered,
    /// The host said that nobody listens on the port.
    Refused,
    /// Nothing came in time.
    Silent,
    /// Another machine of the mesh answered: the address is not the suspect's any more.
    Stranger,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "an answer",
            Self::Refused => "a refusal",
            Self::Silent => "no answer",
            Self::Stranger => "an answer from another machine",
        })
    }
}

/// What a machine's provisioner says of its instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderEvidence {
    /// Its word.
    pub word: ProviderWord,
    /// Whether it can power an instance off, or destroy it, and prove that: what a pet's fence needs.
    pub can_prove_off: bool,
    /// Whether it can reboot an instance.
    pub can_reboot: bool,
    /// Whether it can take an instance's power away and give it back.
    pub can_power_cycle: bool,
    /// Whether it can write an instance's system anew.
    pub can_reimage: bool,
    /// Whether its instances are hardware, of which there is only so much.
    pub is_hardware: bool,
    /// How long a new instance may be missing from its list, in milliseconds: `Unknown` says nothing until then.
    pub list_lag_ms: u64,
    /// When it was asked, in milliseconds since 1970.
    pub at_ms: u64,
}

/// A provisioner's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderWord {
    /// The instance runs.
    Running,
    /// The instance is stopped or terminated.
    Stopped,
    /// There is no such instance.
    Unknown,
    /// The provisioner can't be asked, or does not know.
    CannotSay {
        /// Why not.
        why: Text,
    },
}

impl fmt::Display for ProviderWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Stopped => f.write_str("stopped"),
            Self::Unknown => f.write_str("no such instance"),
            Self::CannotSay { why } => write!(f, "can't say ({why})"),
        }
    }
}

/// What happened to a machine within the last hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HistoryEvidence {
    /// How often the leader saw it fall silent, this time included.
    pub silences: u32,
    /// How often something was the matter with it and it was well again.
    pub recoveries: u32,
    /// How often it was treated in its place.
    pub treatments: u32,
    /// How often its place in the group got another machine.
    pub replacements: u32,
}

impl HistoryEvidence {
    /// Whether there is nothing in it but the present trouble.
    pub fn is_uneventful(&self) -> bool {
        self.silences <= 1 && self.recoveries + self.treatments + self.replacements == 0
    }
}

/// What the roster says of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEvidence {
    /// Where it is in its life.
    pub phase: super::machine::Phase,
    /// When it was ordered or admitted, in milliseconds since 1970.
    pub ordered_ms: u64,
    /// When it joined.
    pub joined_ms: Option<u64>,
}
