//! Reading and changing what is on record of nodes.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::book::{Book, Entry, Found, Holder};
use crate::ledger::{Changes, Ledger};
use crate::{Deadline, InstanceId, ProvisionError};

/// The pause before a change is tried again that another one came before.
const CONFLICT_PAUSE: Duration = Duration::from_millis(5);

/// How often that may happen to one change: each time another one was made, and there are few at a time.
const CONFLICTS_MAX: usize = 64;

/// The provisioner's table in the fleet's ledger.
#[derive(Debug, Clone)]
pub(super) struct Desk(Arc<dyn Ledger>);

impl Desk {
    pub(super) fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self(ledger)
    }

    pub(super) async fn read(&self, deadline: Deadline) -> Result<Book, ProvisionError> {
        Ok(Book::read(self.0.read(deadline).await?))
    }

    /// Writes the entry of a node, unless anything was changed since the book was read.
    pub(super) async fn write(
        &self,
        book: &Book,
        node: &str,
        entry: &Entry,
        deadline: Deadline,
    ) -> Result<bool, ProvisionError> {
        let changes = Changes::from([(node.to_owned(), Some(entry.to_text()))]);
        self.0.write(book.revision, &changes, deadline).await
    }

    /// Changes the entry of a node by a rule that looks at it first.
    ///
    /// # Errors
    /// The rule's own, and what stands in the way of writing it.
    pub(super) async fn change<T>(
        &self,
        node: &str,
        deadline: Deadline,
        mut rule: impl FnMut(&mut Entry) -> Result<T, ProvisionError>,
    ) -> Result<T, ProvisionError> {
        for _ in 0..CONFLICTS_MAX {
            let book = self.read(deadline).await?;
            let before = book.entry(node).ok_or_else(|| damaged(node))?;
            let mut entry = before.clone();
            let said = rule(&mut entry)?;
            if entry == before || self.write(&book, node, &entry, deadline).await? {
                return Ok(said);
            }
            if !deadline.sleep(CONFLICT_PAUSE).await {
                break;
            }
        }
        Err(ProvisionError::unavailable(format!(
            "the record of {node} is changed by others all the time"
        )))
    }

    /// Changes what is on record of a machine.
    ///
    /// # Errors
    /// [`ProvisionError::NotFound`] if it is on no node (any more).
    pub(super) async fn change_holder(
        &self,
        (node, id): (&str, &InstanceId),
        deadline: Deadline,
        mut rule: impl FnMut(&mut Holder) -> Result<(), ProvisionError>,
    ) -> Result<Holder, ProvisionError> {
        let rule = |entry: &mut Entry| {
            let holder = entry.holder.as_mut().filter(|holder| holder.id == *id);
            let holder = holder.ok_or_else(|| ProvisionError::NotFound(id.clone()))?;
            rule(holder)?;
            Ok(holder.clone())
        };
        self.change(node, deadline, rule).await
    }

    /// The node of a machine, and what is on record of it.
    ///
    /// # Errors
    /// [`ProvisionError::NotFound`] if it is on no node (any more).
    pub(super) async fn holder(
        &self,
        id: &InstanceId,
        deadline: Deadline,
    ) -> Result<(String, Holder), ProvisionError> {
        match self.read(deadline).await?.by_id(id) {
            Some(Found::Held(node, holder)) => Ok((node.to_owned(), holder.clone())),
            _ => Err(ProvisionError::NotFound(id.clone())),
        }
    }
}

fn damaged(node: &str) -> ProvisionError {
    ProvisionError::failed(format!("what is on record of {node} can't be read"))
}

/// Milliseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "provisioners don't know the mesh; this is their one look at the clock"
)]
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
