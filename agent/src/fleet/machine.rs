//! A machine of the roster: one that the fleet says should exist, whatever the mesh sees.

use std::fmt;
use std::net::SocketAddr;

use muster_mesh::identity::{Generation, MachineId};
use serde::{Deserialize, Serialize};

use super::lease::LeaseTerms;
use super::names::{GroupId, MachineName, Member};
use super::rung::Treatments;
use super::spec::{Labels, SpecRevision};
use super::text::Text;
use super::token::{KeyHash, SecretHash, TokenId};
use super::{InstanceId, OperationId, Properties};

/// A machine of the roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its ID; never given out twice.
    pub id: MachineId,
    /// Its name.
    pub name: MachineName,
    /// Which member of which group it is; `None` for a machine that joined on its own.
    pub place: Option<Place>,
    /// The zone it was ordered for.
    pub zone: Option<String>,
    /// The template it was made from; `None` when it was not made by us.
    pub revision: Option<SpecRevision>,
    /// What its provisioner made; `None` until that is known, and for machines that joined on their own.
    pub instance: Option<Instance>,
    /// The operation that makes, or made, it: the tag by which its provisioner finds the instance, also while it is
    /// not known whether there is one. `None` for machines that joined on their own.
    pub order: Option<OperationId>,
    /// Where its endpoint listens (UDP); `None` until it joined.
    pub addr: Option<SocketAddr>,
    /// Its labels.
    pub labels: Labels,
    /// Where it is in its life.
    pub phase: Phase,
    /// The open intent that is about it, as the machine that is made, treated, replaced or retired.
    pub intent: Option<OperationId>,
    /// What the secret of the token that was made for it hashes to; only it can use that one. `None` for machines
    /// that came with another token.
    pub token: Option<SecretHash>,
    /// Who it proved to be when it joined: the token and the key that it came with.
    pub admission: Option<Admission>,
    /// When it was ordered or admitted, in milliseconds since 1970.
    pub ordered_ms: u64,
    /// When what its provisioner made, or wrote anew, went on record, in milliseconds since 1970; `None` until then, and
    /// for machines that came with an instance or have none.
    pub made_ms: Option<u64>,
    /// When it joined; `None` until then.
    pub joined_ms: Option<u64>,
    /// Whether its certificate is refused by everyone: it has been replaced, or an operator revoked it.
    pub condemned: bool,
    /// What was done to it in its place.
    pub treatments: Treatments,
    /// When its workload handed over its duties, in milliseconds since 1970: it serves nobody until it is restarted. `None`
    /// for one that has not.
    pub drained_ms: Option<u64>,
    /// The lease under which alone it runs its workload, since it promised so; `None` when it runs it without.
    pub lease: Option<LeaseTerms>,
    /// Why its successor could not be started safely if it failed today; `None` for cattle, and while nothing is known
    /// against it.
    pub unfenceable: Option<Text>,
    /// Since when nobody can say what became of it, in milliseconds since 1970: an operator had the log founded anew without
    /// it, and it has not been back since. `None` for all others.
    pub unaccounted_ms: Option<u64>,
}

impl Machine {
    /// Its group, when it has one.
    pub fn group(&self) -> Option<&GroupId> {
        self.place.as_ref().map(|place| &place.group)
    }

    /// Its zone: the one it was ordered for, or else the one that its labels say.
    pub fn known_zone(&self) -> Option<&str> {
        let labelled = || self.labels.get("zone").map(String::as_str);
        self.zone.as_deref().or_else(labelled)
    }

    /// A time by which its instance had been made, in milliseconds since 1970; `None` as long as it may not be made yet.
    pub fn made_by_ms(&self) -> Option<u64> {
        [self.made_ms, self.joined_ms].into_iter().flatten().min()
    }

    /// Whether it is a pet.
    pub fn is_pet(&self) -> bool {
        self.place
            .as_ref()
            .is_some_and(|place| place.member.is_pet())
    }

    /// Whether it counts towards its group's size: it is there, on its way, or failed and not yet replaced. One
    /// that left for good or is being taken away does not count.
    pub fn fills_its_slot(&self) -> bool {
        !matches!(self.phase, Phase::Left { .. } | Phase::Retiring)
    }

    /// Whether its acknowledgement counts when a leader asks the roster: it belongs to the mesh, and is not unaccounted for.
    pub fn is_elector(&self) -> bool {
        self.belongs() && self.unaccounted_ms.is_none()
    }

    /// Whether it belongs to the mesh: it joined, has not left for good and is not condemned.
    pub fn belongs(&self) -> bool {
        self.joined_ms.is_some() && !self.condemned && !matches!(self.phase, Phase::Left { .. })
    }
}

/// Which member of which group a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The group.
    pub group: GroupId,
    /// Which member of it.
    pub member: Member,
    /// Which order of the whole fleet made this machine: a number that grows and is never used twice, so that two
    /// machines in the same place are told apart, also when a group was destroyed and declared anew.
    pub generation: u64,
}

/// What a provisioner made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The provisioner's name.
    pub provisioner: String,
    /// What the provisioner calls it.
    pub id: InstanceId,
    /// What the provisioner says about it: `pid` and `dir` for `process`.
    pub properties: Properties,
}

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is being made.
    Ordered,
    /// It is in the mesh, or should be.
    Joined,
    /// It could not be made, as far as known, or did not join in time, or was condemned and could not be destroyed.
    /// Needs replacing; there may be an instance, so it is not just forgotten.
    Lost {
        /// When it was given up, in milliseconds since 1970.
        at_ms: u64,
    },
    /// It said goodbye for good, or was revoked. Needs taking away.
    Left {
        /// When that was committed, in milliseconds since 1970.
        at_ms: u64,
        /// Which of its lives said goodbye: a newer one is back. `None` for a machine that was revoked.
        life: Option<Generation>,
    },
    /// It is being taken away.
    Retiring,
    /// Another tool made it, and its provisioner watches over it: no agent of it has joined yet.
    Adopted {
        /// When it was taken over, in milliseconds since 1970.
        at_ms: u64,
    },
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ordered => "ordered",
            Self::Adopted { .. } => "adopted",
            Self::Joined => "joined",
            Self::Lost { .. } => "lost",
            Self::Left { .. } => "left",
            Self::Retiring => "retiring",
        })
    }
}

/// How a machine came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The token it showed.
    pub token: TokenId,
    /// The key it proved to hold. The same key with the same token gets the same answer again, so that a reply
    /// that was lost on the way can be asked for once more.
    pub key: KeyHash,
}
