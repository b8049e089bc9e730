//! The shapes of all requests and answers, as plain data.
//!
//! These are the public JSON of muster: scripts rely on them, so keys are only ever added. They are kept apart from
//! the fleet state's own types, which change with the log's version. Times are milliseconds since 1970 where the
//! key ends in `_ms`, RFC 3339 text where it is called `at`. Absent knowledge is `null`, never a missing key.

mod decision;
mod error;
mod group;
mod hand;
mod last_words;
mod machine;
mod plan;
mod recovery;
mod report;
mod request;
mod response;
mod status;

pub use decision::{
    CheckRow, CheckVerdict, DecisionRow, EventRow, EvidenceRow, Explanation, Outcome, OutcomeKind,
};
pub use error::{ApiError, ErrorKind, ExitCode, Problem};
pub use group::{BudgetRow, GroupDetail, IntentRow, RevisionUse};
pub use hand::{AskRequest, CordonRow, Deed, OrderDetail, OrderRow, OrderState};
pub use last_words::{HeldBy, LastWords, WordsRow};
pub use machine::{HealthRow, MachineDetail, MemberRow};
pub use plan::{Change, FieldChange, GroupPlan, Plan, Refusal};
pub use recovery::{AbsentRow, LostCoordinatorRow, RecoverOrder, Recovery, SurvivorRow};
pub use report::{CaseRow, Decided, Figures, GroupReport, HeldRow, Mark, Report, TimeToHeal};
pub use request::{
    AdoptRequest, ApplyRequest, EventsRequest, OperatorRequest, Request, ScaleRequest, TokenRequest,
};
pub use response::{
    AsOf, CoordinatorRow, Done, Listed, LogFilter, MetricsText, OperatorCreated, OperatorRow,
    PauseRow, Reply, Response, TokenCreated, TokenRow,
};
pub use status::{
    ClusterInfo, FailedRow, GroupKind, GroupState, GroupStatus, HealMode, HealthLevel, Hold,
    InstanceRow, MachineRow, MachineState, MemberCounts, OrphanRow, QuarantineRow, Status,
};

#[cfg(test)]
mod tests;
