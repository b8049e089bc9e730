//! Putting a command into the log, on the leader.

use std::time::Duration;

use muster_mesh::consensus::coordinator::{ProposeError, Role};

use tokio::time::Instant;

use super::council::Stuck;
use super::shared::Shared;
use crate::fleet::{Command, Envelope, Refusal, Reply, Text};

/// How long a commit may take: a disk write on most coordinators, normally a few milliseconds.
const COMMIT_DEADLINE: Duration = Duration::from_secs(5);

/// Why a command did not change the state, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProposeFailure {
    /// The state refused it; nothing changed.
    #[error("{0}")]
    Refused(Refusal),
    /// It was not proposed, because this machine doesn't lead or too few coordinators answer.
    #[error("{0}")]
    NotProposed(String),
    /// Nobody can say whether it was committed.
    #[error("nobody can say yet whether it was committed; look before trying again")]
    Unknown,
}

/// Proposes a command and waits for what the state makes of it. Refusals are errors.
///
/// # Errors
/// See [`ProposeFailure`].
pub(super) async fn propose(
    shared: &Shared,
    actor: Option<Text>,
    command: Command,
) -> Result<Reply, ProposeFailure> {
    propose_in(shared, None, actor, command).await
}

/// [`propose`], if this machine leads in the term that `expected` says: what one reign decided is nothing for the next.
///
/// # Errors
/// See [`ProposeFailure`].
pub(super) async fn propose_in(
    shared: &Shared,
    expected: Option<u64>,
    actor: Option<Text>,
    command: Command,
) -> Result<Reply, ProposeFailure> {
    let not_proposed = |why: &str| ProposeFailure::NotProposed(why.to_owned());
    let coordinator = shared
        .council
        .coordinator()
        .ok_or_else(|| not_proposed("this machine is no coordinator"))?;
    let (term, role, applied) = {
        let status = coordinator.status();
        let status = status.borrow();
        (status.term, status.role, status.applied)
    };
    if role != Role::Leader || expected.is_some_and(|expected| expected != term) {
        return Err(not_proposed("this machine does not lead, or not any more"));
    }
    let name = command.name();
    let envelope = Envelope {
        at_ms: shared.fleet_now_ms(),
        by: shared.me,
        term,
        actor,
        command,
    };
    let begun = Instant::now();
    let proposed = coordinator
        .propose(envelope.encode(), COMMIT_DEADLINE)
        .await;
    match &proposed {
        Ok(_) => shared.council.committed(),
        Err(ProposeError::Unknown) => shared.council.not_committed(Stuck {
            term,
            begun,
            applied,
        }),
        Err(_) => {}
    }
    match proposed {
        Ok(proposed) => match Reply::decode(&proposed.reply) {
            Ok(reply) => reply.accepted().map_err(|refusal| {
                tracing::debug!(command = name, %refusal, "refused");
                ProposeFailure::Refused(refusal)
            }),
            Err(error) => Err(not_proposed(&error.to_string())),
        },
        Err(ProposeError::Unknown) => Err(ProposeFailure::Unknown),
        Err(error) => Err(not_proposed(&error.to_string())),
    }
}
