//! A provisioner's ledger in the fleet's log.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use muster_provisioners::ledger::{Changes, Ledger, Table};
use muster_provisioners::{Deadline, ProvisionError};

use super::propose::{ProposeFailure, propose};
use super::shared::Shared;
use crate::fleet::{Command, LedgerWrite, Refusal};

/// What gives provisioners their ledgers: made before the agent is, which it has to be told of.
#[derive(Clone, Default)]
pub(super) struct Ledgers(Arc<OnceLock<Weak<Shared>>>);

/// The ledger of one provisioner.
struct LogLedger {
    provisioner: String,
    agent: Arc<OnceLock<Weak<Shared>>>,
}

impl Ledgers {
    /// The ledger of a provisioner of this name.
    pub(super) fn of(&self, provisioner: &str) -> Arc<dyn Ledger> {
        Arc::new(LogLedger {
            provisioner: provisioner.to_owned(),
            agent: Arc::clone(&self.0),
        })
    }

    /// From now on the ledgers are those of this agent's log.
    pub(super) fn open(&self, agent: &Arc<Shared>) {
        // It is told once, right after it was made.
        let _ = self.0.set(Arc::downgrade(agent));
    }
}

impl LogLedger {
    fn agent(&self) -> Result<Arc<Shared>, ProvisionError> {
        let agent = self.agent.get().and_then(Weak::upgrade);
        agent.ok_or_else(|| ProvisionError::unavailable("the agent is not ready, or ends"))
    }
}

impl fmt::Debug for LogLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLedger").field(&self.provisioner).finish()
    }
}

#[async_trait]
impl Ledger for LogLedger {
    async fn read(&self, deadline: Deadline) -> Result<Table, ProvisionError> {
        if deadline.has_passed() {
            return Err(ProvisionError::timeout("reading the ledger"));
        }
        let agent = self.agent()?;
        agent.replica.read(|state, _| match &state.cluster {
            Some(_) => Ok(state
                .ledgers
                .get(&self.provisioner)
                .cloned()
                .unwrap_or_default()),
            None => Err(ProvisionError::unavailable(
                "this machine has no copy of the fleet's state yet",
            )),
        })
    }

    async fn write(
        &self,
        revision: u64,
        changes: &Changes,
        deadline: Deadline,
    ) -> Result<bool, ProvisionError> {
        let agent = self.agent()?;
        let command = Command::WriteLedger(Box::new(LedgerWrite {
            provisioner: self.provisioner.clone(),
            revision,
            changes: changes.clone(),
        }));
        let write = async {
            match propose(&agent, None, command).await {
                Ok(_) => Ok(true),
                Err(ProposeFailure::Refused(Refusal::Stale(_))) => Ok(false),
                Err(ProposeFailure::Refused(refusal)) => Err(ProvisionError::failed(refusal)),
                Err(ProposeFailure::NotProposed(why)) => Err(ProvisionError::unavailable(why)),
                Err(ProposeFailure::Unknown) => Err(ProvisionError::timeout("writing the ledger")),
            }
        };
        deadline.limit("writing the ledger", write).await
    }
}
