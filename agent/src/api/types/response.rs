//! The answers.

use muster_mesh::identity::{ClusterId, MachineId};
use serde::{Deserialize, Serialize};

use super::{
    ApiError, DecisionRow, EventRow, Explanation, GroupDetail, GroupStatus, HealthRow, LastWords,
    MachineDetail, MemberRow, OrderDetail, Plan, Recovery, Report, Status,
};

/// One line of answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The answer, or the next of many.
    Ok(Response),
    /// There is none, and why. Ends a stream.
    Error(ApiError),
}

/// Who answers, and how old the answer is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AsOf {
    /// The name of the machine that answers from its own copy.
    pub answered_by: String,
    /// When that copy was last known to be complete, in milliseconds since 1970 by the answering machine's clock.
    pub as_of_ms: u64,
    /// How long before the answer that was, in milliseconds.
    pub age_ms: u64,
    /// Whether that is too long for the answer to be taken for the present: more than
    /// [`STALE_AFTER_MS`](Self::STALE_AFTER_MS).
    #[serde(default)]
    pub stale: bool,
}

/// A list, with its age.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed<T> {
    /// Who answers, and how old the answer is.
    #[serde(flatten)]
    pub as_of: AsOf,
    /// The rows.
    pub items: Vec<T>,
}

/// All answers, tagged by `answer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Response {
    /// To `status`.
    Status(Box<Status>),
    /// To `members`.
    Members(Listed<MemberRow>),
    /// To `machine`.
    Machine(Box<MachineDetail>),
    /// To `last_words`.
    LastWords(Box<LastWords>),
    /// To `groups`.
    Groups(Listed<GroupStatus>),
    /// To `group`.
    Group(Box<GroupDetail>),
    /// To `explain`.
    Explain(Box<Explanation>),
    /// To `decisions`.
    Decisions(Listed<DecisionRow>),
    /// To `report`.
    Report(Box<Report>),
    /// To `events` without `follow`.
    Events(Listed<EventRow>),
    /// To `events` with `follow`: one of many.
    Event(EventRow),
    /// To `health`.
    Health(Listed<HealthRow>),
    /// To `coordinators`.
    Coordinators(Listed<CoordinatorRow>),
    /// To `metrics`.
    Metrics(MetricsText),
    /// To `apply` and `scale`.
    Plan(Plan),
    /// To `pause_list`.
    Pauses(Listed<PauseRow>),
    /// To `ask` and `order`.
    Order(Box<OrderDetail>),
    /// To `token_create`.
    TokenCreated(TokenCreated),
    /// To `token_list`.
    Tokens(Listed<TokenRow>),
    /// To `operator_create`.
    OperatorCreated(OperatorCreated),
    /// To `operator_list`.
    Operators(Listed<OperatorRow>),
    /// To `recovery` and `recover`.
    Recovery(Box<Recovery>),
    /// To `log_level`.
    LogLevel(LogFilter),
    /// To whatever only needs doing.
    Done(Done),
}

/// It is done, or committed to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done, in one sentence.
    pub detail: String,
}

/// A page of Prometheus text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsText {
    /// The text exposition format.
    pub text: String,
}

/// What the answering machine logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFilter {
    /// The filter in force.
    pub filter: String,
    /// The one before, when it was changed just now.
    pub previous: Option<String>,
}

/// One coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorRow {
    /// Its seat, never given out twice.
    pub seat: u64,
    /// The machine in it.
    pub name: String,
    /// What the mesh calls it.
    pub machine_id: MachineId,
    /// `leader`, `voter` or `learner`; `failed` where it can't read or write its log.
    pub role: String,
    /// The term that the answering machine knows.
    pub term: u64,
    /// The last entry of the log it is known to have; `null` where only the leader knows.
    pub log_index: Option<u64>,
    /// How many entries it lacks; `null` where only the leader knows.
    pub lag: Option<u64>,
}

/// A new join token. The only answer that shows its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCreated {
    /// What `token revoke` takes.
    pub id: String,
    /// The token itself; it can't be shown again.
    pub token: String,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: u64,
    /// How many machines may join with it.
    pub uses: u32,
    /// Addresses of the mesh that `muster join` can be given.
    pub addresses: Vec<std::net::SocketAddr>,
}

/// A pause in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRow {
    /// What `resume` takes, where it was given a name.
    pub name: Option<String>,
    /// `fleet`, `group`, `zone` or `machine`.
    pub scope: String,
    /// Which group, zone or machine; `None` for the fleet.
    pub of: Option<String>,
    /// Why, in the words of who set it; may be empty.
    pub reason: String,
    /// Who set it, as far as known.
    pub by: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// When it ends by itself, in milliseconds since 1970; `None` until it is ended by hand.
    pub until_ms: Option<u64>,
}

/// A join token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// What `token revoke` takes.
    pub id: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: u64,
    /// How many machines may still join with it.
    pub uses_left: u32,
    /// How many have joined with it.
    pub used: u32,
    /// The group that the machines which join with it belong to.
    pub group: Option<String>,
    /// What it is for; may be empty.
    pub note: String,
    /// `valid`, `expired`, `used` or `revoked`.
    pub state: String,
}

/// A new operator's identity. The only answer that shows its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorCreated {
    /// The operator's name.
    pub name: String,
    /// The cluster that the certificate is for.
    pub cluster: ClusterId,
    /// The operator's certificate, the cluster CA's, and the private key, which is kept nowhere else; PEM. What
    /// `--identity` takes.
    pub pem: String,
    /// When the certificate ends, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// An operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRow {
    /// Its name.
    pub name: String,
    /// When its certificate was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When its certificate ends, in milliseconds since 1970.
    pub expires_ms: u64,
    /// Whether it has been revoked.
    pub revoked: bool,
}

// === impl AsOf ===

impl AsOf {
    /// A copy that hasn't been known to be complete for longer than this is stale, in milliseconds. The leader's word
    /// that there is nothing newer comes every second and needs some rounds of gossip; a machine that hears none of
    /// it for so long is cut off, or nobody leads.
    pub const STALE_AFTER_MS: u64 = 30_000;

    /// The age of something known to be complete at `as_of_ms`, when it is `now_ms`.
    pub fn new(answered_by: impl Into<String>, as_of_ms: u64, now_ms: u64) -> Self {
        let age_ms = now_ms.saturating_sub(as_of_ms);
        Self {
            answered_by: answered_by.into(),
            as_of_ms,
            age_ms,
            stale: age_ms > Self::STALE_AFTER_MS,
        }
    }
}
