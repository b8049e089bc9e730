//! What happened, one line each.

use std::fmt;

use muster_mesh::identity::MachineId;
use serde::{Deserialize, Serialize};

use super::decision::DecisionId;
use super::names::{GroupId, MachineName};
use super::text::Text;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one with each event; a gap means that older ones were forgotten.
    pub number: u64,
    /// When, by the leader's clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub kind: EventKind,
    /// The machine concerned.
    pub machine: Option<MachineId>,
    /// Its name then.
    pub name: Option<MachineName>,
    /// The group concerned.
    pub group: Option<GroupId>,
    /// The decision that led to it.
    pub decision: Option<DecisionId>,
    /// The rest, for people.
    pub detail: Text,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What kind of event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum EventKind {
            $($(#[$doc])* $name,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name, as scripts see it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

kinds! {
    /// The fleet began.
    Founded = "founded",
    /// A group was declared.
    GroupCreated = "group_created",
    /// A group's specification changed.
    GroupChanged = "group_changed",
    /// A group's size changed.
    GroupScaled = "group_scaled",
    /// A group is being destroyed.
    GroupDestroying = "group_destroying",
    /// A group is no more.
    GroupDestroyed = "group_destroyed",
    /// A machine that another tool made is one of the fleet's.
    Adopted = "adopted",
    /// A group was let go, its machines untouched.
    GroupFreed = "group_freed",
    /// So many operations of a group failed that nothing more is tried.
    GroupFailed = "group_failed",
    /// A group's heal mode changed.
    HealMode = "heal_mode",
    /// Healing was paused.
    Paused = "paused",
    /// A pause ended.
    Resumed = "resumed",
    /// A join token was made.
    TokenCreated = "token_created",
    /// A join token was revoked.
    TokenRevoked = "token_revoked",
    /// An operator was given access.
    OperatorCreated = "operator_created",
    /// An operator's access was revoked.
    OperatorRevoked = "operator_revoked",
    /// A machine was ordered to fill a group.
    Ordered = "ordered",
    /// A machine is being replaced.
    Replacing = "replacing",
    /// Something is done to a machine in its place: its workload restarted, itself rebooted, power-cycled or reimaged.
    Treating = "treating",
    /// That was done; whether it helped is yet to be seen.
    Treated = "treated",
    /// A machine is being taken away.
    Retiring = "retiring",
    /// A pet's old machine was proved off.
    Fenced = "fenced",
    /// A pet's old machine, which outlived its lease unproved, was left as it is.
    Kept = "kept",
    /// A machine runs its workload under a lease only, or does so no more.
    Leased = "leased",
    /// A pet's successor could not be started safely if its machine failed now.
    NotHealable = "not_healable",
    /// A pet's successor could be started safely again.
    Healable = "healable",
    /// The workloads of a group's machines formed an ensemble.
    EnsembleFormed = "ensemble_formed",
    /// A machine was drained.
    Drained = "drained",
    /// A machine's instance was destroyed.
    Destroyed = "destroyed",
    /// A machine's instance was made.
    Provisioned = "provisioned",
    /// A machine joined.
    Joined = "joined",
    /// An intent did what it was for.
    Done = "done",
    /// An intent failed.
    Failed = "failed",
    /// A step failed and will be tried again.
    Retrying = "retrying",
    /// A rule forbids acting.
    Held = "held",
    /// It would have been done in another mode.
    Observed = "observed",
    /// A decision waits for a person.
    AwaitingApproval = "awaiting_approval",
    /// A person approved.
    Approved = "approved",
    /// A person asked for something to be done to a machine.
    Asked = "asked",
    /// What was asked for was taken back, or something else came first.
    Withdrawn = "withdrawn",
    /// What was asked for was not let pass in time.
    Expired = "expired",
    /// A machine is left alone by automatic healing and gets no new duties.
    Cordoned = "cordoned",
    /// That has ended.
    Uncordoned = "uncordoned",
    /// A machine's workload is asked to hand over its duties.
    Draining = "draining",
    /// What stood on record is over.
    Cleared = "cleared",
    /// A machine left for good.
    Left = "left",
    /// A machine that had left is back.
    Returned = "returned",
    /// A machine was taken off the roster by an operator.
    Forgotten = "forgotten",
    /// A machine's certificate is refused from now on.
    Revoked = "revoked",
    /// A machine is reached elsewhere.
    Moved = "moved",
    /// An instance was found that nobody runs on.
    OrphanFound = "orphan_found",
    /// Such an instance is there no more, or somebody's.
    OrphanGone = "orphan_gone",
    /// Hardware is in quarantine: nothing is made on it.
    Quarantined = "quarantined",
    /// A person wants it to be released.
    Releasing = "releasing",
    /// It is in quarantine no more.
    Released = "released",
    /// A machine was given a coordinator's seat.
    SeatTaken = "seat_taken",
    /// A coordinator's seat was given up.
    SeatFreed = "seat_freed",
    /// A machine is unaccounted for: an operator had the log founded anew without it.
    Unaccounted = "unaccounted",
    /// It is back.
    Accounted = "accounted",
    /// Most coordinators were lost, and the log was founded anew.
    Refounded = "refounded",
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
