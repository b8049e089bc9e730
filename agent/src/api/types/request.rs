//! What can be asked and ordered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AskRequest, HealMode, RecoverOrder};
use crate::fleet::spec::GroupSpec;

/// One request, on one line, tagged by `op`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The whole fleet at a glance. Answered by [`Response::Status`](super::Response::Status).
    Status,
    /// The mesh as the answering machine sees it.
    Members,
    /// All that is known of one machine.
    Machine {
        /// Its name or its machine ID.
        name: String,
    },
    /// The last minutes of what a machine said of itself, from those that heard it.
    LastWords {
        /// Its name or its machine ID. Of several machines of one name the last that is gone is meant, if one is.
        name: String,
    },
    /// All groups, without their machines.
    Groups,
    /// One group with its spec, budget and machines.
    Group {
        /// The group's ID.
        id: String,
    },
    /// Why something was done, or was not.
    Explain {
        /// The name of a machine, pet or group, or the number of a decision.
        subject: String,
    },
    /// The latest decisions, newest first.
    Decisions {
        /// Only those about this machine.
        #[serde(default)]
        machine: Option<String>,
        /// Only those about this group.
        #[serde(default)]
        group: Option<String>,
        /// At most so many; 20 unless told, [`EVENTS_MAX`](Self::EVENTS_MAX) at most.
        #[serde(default)]
        limit: Option<u32>,
    },
    /// How well healing went.
    Report {
        /// Only cases that had not ended before this time, in milliseconds since 1970; all that are remembered when
        /// absent.
        #[serde(default)]
        since_ms: Option<u64>,
    },
    /// What happened, oldest first; with `follow`, what happens next too.
    Events(EventsRequest),
    /// How every machine feels.
    Health,
    /// Who coordinates, who leads, and how far each has got.
    Coordinators,
    /// The answering machine's metrics as Prometheus text.
    Metrics,
    /// Makes groups be as their specs say, or shows what that would change.
    Apply(ApplyRequest),
    /// Declares a group with the instances that another tool made for it, which go on as they are.
    Adopt(AdoptRequest),
    /// Changes the number of machines in a cattle group.
    Scale(ScaleRequest),
    /// Retires all machines of a group, then forgets it.
    GroupDestroy {
        /// The group's ID.
        id: String,
    },
    /// Forgets a group and leaves its machines running.
    GroupFree {
        /// The group's ID.
        id: String,
    },
    /// Sets how far healing may go without a person.
    HealMode {
        /// The group's ID.
        id: String,
        /// The new mode.
        mode: HealMode,
    },
    /// Stops all healing and scaling: of one group, of one zone, of one machine, or of the fleet.
    Pause {
        /// The group's ID. The whole fleet is meant where neither group nor zone nor machine is given.
        #[serde(default)]
        id: Option<String>,
        /// The zone, in place of a group.
        #[serde(default)]
        zone: Option<String>,
        /// The machine's name, in place of a group.
        #[serde(default)]
        machine: Option<String>,
        /// What the pause is called, so that several can be in effect at one place; none when absent.
        #[serde(default)]
        name: Option<String>,
        /// Why, for those who come later.
        #[serde(default)]
        reason: Option<String>,
        /// For how long, in milliseconds; until it is ended by hand when absent.
        #[serde(default)]
        for_ms: Option<u64>,
    },
    /// Ends the pauses of one place, and a group's waiting after orders that failed; or the pause of a name.
    Resume {
        /// The group's ID. The whole fleet is meant where nothing is given.
        #[serde(default)]
        id: Option<String>,
        /// The zone, in place of a group.
        #[serde(default)]
        zone: Option<String>,
        /// The machine's name, in place of a group.
        #[serde(default)]
        machine: Option<String>,
        /// The pause's name, in place of a place.
        #[serde(default)]
        name: Option<String>,
    },
    /// All pauses in effect.
    PauseList,
    /// Shuts a machine out: its certificate is refused, and it is replaced as if it had left for good.
    MachineRevoke {
        /// Its name or its machine ID.
        name: String,
    },
    /// Takes a machine off the roster as it is: what a person does who knows that it is gone where nobody can prove it.
    MachineForget {
        /// Its name or its machine ID.
        name: String,
    },
    /// Lets a decision that waits for a person be carried out.
    Approve {
        /// The decision's number, or the name or ID of the machine that it is about.
        subject: String,
    },
    /// Asks for something to be done to one machine, through the same rules as what the fleet does by itself. Answered
    /// by what the rules say.
    Ask(AskRequest),
    /// Takes back what was asked for, if it has not begun.
    Cancel {
        /// The order's number, or its machine's name.
        subject: String,
    },
    /// How far an order by hand is.
    Order {
        /// Its number.
        order: u64,
    },
    /// Leaves a machine to people: it is not healed by itself, gets no coordinator's seat, and goes first when its group
    /// shrinks.
    Cordon {
        /// Its name or its machine ID.
        name: String,
        /// Why, for those who come later.
        #[serde(default)]
        reason: String,
    },
    /// Ends that.
    Uncordon {
        /// Its name or its machine ID.
        name: String,
    },
    /// Releases hardware from its quarantine: machines may be made on it again.
    Release {
        /// The hardware's name, or that of the machine that failed on it, or its instance's.
        name: String,
    },
    /// Makes a token that lets machines join.
    TokenCreate(TokenRequest),
    /// All tokens, without their secrets.
    TokenList,
    /// Ends a token.
    TokenRevoke {
        /// The token's ID.
        id: String,
    },
    /// Makes a certificate for a person or a program.
    OperatorCreate(OperatorRequest),
    /// All operators.
    OperatorList,
    /// Ends an operator's certificates.
    OperatorRevoke {
        /// The operator's name.
        name: String,
    },
    /// What is left of a fleet that lost most of its coordinators and machines, and what [`Self::Recover`] would do on the
    /// answering machine.
    Recovery,
    /// The answering machine founds the log anew with the machines that are there.
    Recover(RecoverOrder),
    /// The answering machine leaves the mesh for good and stops.
    Leave,
    /// Shows or changes what the answering machine logs.
    LogLevel {
        /// A `tracing` filter such as `info,muster_mesh=debug`; absent only shows the present one.
        #[serde(default)]
        filter: Option<String>,
    },
}

/// Which events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsRequest {
    /// Keep answering as things happen.
    #[serde(default)]
    pub follow: bool,
    /// Only events after this sequence number.
    #[serde(default)]
    pub after: Option<u64>,
    /// Only events at or after this time, in milliseconds since 1970.
    #[serde(default)]
    pub since_ms: Option<u64>,
    /// At most so many of the past ones, the latest; all that are kept when absent.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// What the groups should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The canonical specs, one per group, each ID once.
    pub specs: Vec<GroupSpec>,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// The revision of each group that the asker's plan was made from (`null`: the group didn't exist). Where it
    /// isn't the current one any more, the answer is a `conflict`. A group that isn't listed isn't checked.
    #[serde(default)]
    pub expected: BTreeMap<String, Option<u64>>,
}

/// A group whose machines are there already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptRequest {
    /// Its canonical spec; the group isn't declared yet.
    pub spec: GroupSpec,
    /// Only say what would be taken over.
    #[serde(default)]
    pub dry_run: bool,
}

/// How many machines a cattle group should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// The group's ID.
    pub id: String,
    /// The new size; 0 is fine.
    pub size: u32,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a new join token may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// How long it lasts, in milliseconds; the cluster's default (24 h) when absent.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    /// How many machines may join with it; as many as a fleet can have when absent.
    #[serde(default)]
    pub uses: Option<u32>,
    /// The group that the machines which join with it belong to; none when absent.
    #[serde(default)]
    pub group: Option<String>,
    /// What it is for, in the words of who made it.
    #[serde(default)]
    pub note: Option<String>,
}

/// Who a new operator is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorRequest {
    /// The operator's name: letters, digits and `-`, as for machines.
    pub name: String,
    /// How long the certificate lasts, in milliseconds; the cluster's default (90 days) when absent.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

// === impl Request ===

impl Request {
    /// No answer lists more events or decisions than this, so that none grows beyond a few megabytes.
    pub const EVENTS_MAX: u32 = 10_000;

    /// Whether many answers come back, until someone hangs up.
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Events(EventsRequest { follow: true, .. }))
    }

    /// Whether the answer changes the fleet or the answering machine.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Apply(ApplyRequest { dry_run, .. })
            | Self::Scale(ScaleRequest { dry_run, .. }) => !dry_run,
            Self::LogLevel { filter } => filter.is_some(),
            // Only the leader can ask provisioners, also for what is not done.
            Self::Adopt(_)
            | Self::GroupDestroy { .. }
            | Self::GroupFree { .. }
            | Self::HealMode { .. }
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::MachineRevoke { .. }
            | Self::MachineForget { .. }
            | Self::Approve { .. }
            | Self::Ask(_)
            | Self::Cancel { .. }
            | Self::Cordon { .. }
            | Self::Uncordon { .. }
            | Self::Release { .. }
            | Self::TokenCreate(_)
            | Self::TokenRevoke { .. }
            | Self::OperatorCreate(_)
            | Self::OperatorRevoke { .. }
            | Self::Recover(_)
            | Self::Leave => true,
            Self::Status
            | Self::Members
            | Self::Machine { .. }
            | Self::LastWords { .. }
            | Self::Groups
            | Self::Group { .. }
            | Self::Explain { .. }
            | Self::Decisions { .. }
            | Self::Report { .. }
            | Self::Events(_)
            | Self::Health
            | Self::Coordinators
            | Self::Metrics
            | Self::PauseList
            | Self::Order { .. }
            | Self::TokenList
            | Self::OperatorList
            | Self::Recovery => false,
        }
    }
}
