//! A table in memory, for tests.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Changes, Ledger, Table};
use crate::{Deadline, ProvisionError};

/// A table in memory. Clones share it, as coordinators do.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger(Arc<Mutex<Table>>);

#[async_trait]
impl Ledger for MemoryLedger {
    async fn read(&self, deadline: Deadline) -> Result<Table, ProvisionError> {
        if deadline.has_passed() {
            return Err(ProvisionError::timeout("reading the table"));
        }
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(table.clone())
    }

    async fn write(
        &self,
        revision: u64,
        changes: &Changes,
        deadline: Deadline,
    ) -> Result<bool, ProvisionError> {
        if deadline.has_passed() {
            return Err(ProvisionError::unavailable(
                "there is no time left to write it",
            ));
        }
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.revision != revision {
            return Ok(false);
        }
        if let Some(why) = table.refuse(changes) {
            return Err(ProvisionError::failed(why));
        }
        table.change(changes.clone());
        Ok(true)
    }
}
