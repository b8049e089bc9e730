//! What is the matter with a machine, in one word.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is the matter with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Diagnosis {
    /// Nothing.
    Healthy,
    /// It is being made, and still in time.
    Starting,
    /// It does not answer everyone, and too little is known yet to say more.
    Suspected,
    /// It said goodbye for good.
    Left,
    /// It said that it would be back by a time that has not passed.
    Rebooting,
    /// Every witness got some answer from it.
    Slow,
    /// Some witnesses get an answer from it, some don't.
    Partitioned,
    /// The machine answers, its agent does not.
    AgentDown,
    /// Its agent is well, its workload is not.
    WorkloadFailed,
    /// No witness gets an answer; its provider says that it runs, or can't say.
    Unreachable,
    /// Its provider says that it is stopped or unknown.
    Gone,
    /// It was made and did not join the mesh in time.
    NeverJoined,
}

impl Diagnosis {
    /// Whether the machine may still be doing its work, as far as anyone can tell.
    pub fn may_serve(self) -> bool {
        matches!(
            self,
            Self::Healthy
                | Self::Suspected
                | Self::Slow
                | Self::Partitioned
                | Self::AgentDown
                | Self::WorkloadFailed
        )
    }

    /// Whether nothing is the matter, or nothing that needs anyone's attention.
    pub fn is_calm(self) -> bool {
        matches!(
            self,
            Self::Healthy | Self::Starting | Self::Suspected | Self::Rebooting
        )
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Starting => "starting",
            Self::Suspected => "suspected",
            Self::Left => "left",
            Self::Rebooting => "rebooting",
            Self::Slow => "slow",
            Self::Partitioned => "partitioned",
            Self::AgentDown => "agent down",
            Self::WorkloadFailed => "workload failed",
            Self::Unreachable => "unreachable",
            Self::Gone => "gone",
            Self::NeverJoined => "never joined",
        })
    }
}
