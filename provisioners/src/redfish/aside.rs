//! Nodes that nothing is made on.

use super::book::{Entry, Phase, Remark};
use super::desk::now_ms;
use super::{Inner, tidy};
use crate::{Deadline, InstanceId, ProvisionError, Quarantined};

pub(super) async fn quarantine(
    inner: &Inner,
    id: &InstanceId,
    why: &str,
    deadline: Deadline,
) -> Result<String, ProvisionError> {
    let (node, _) = inner.desk.holder(id, deadline).await?;
    let remark = Remark::new(why, now_ms());
    let aside = |entry: &mut Entry| {
        if entry.holder.as_ref().is_none_or(|holder| holder.id != *id) {
            return Err(ProvisionError::NotFound(id.clone()));
        }
        if entry.quarantine.is_none() {
            entry.quarantine = Some(remark.clone());
        }
        Ok(())
    };
    inner.desk.change(&node, deadline, aside).await?;
    Ok(node)
}

pub(super) async fn quarantined(
    inner: &Inner,
    deadline: Deadline,
) -> Result<Vec<Quarantined>, ProvisionError> {
    let book = inner.desk.read(deadline).await?;
    let aside = book.nodes.into_iter().filter_map(|(hardware, entry)| {
        let remark = entry?.quarantine?;
        Some(Quarantined {
            hardware,
            why: remark.why,
            since_ms: remark.at_ms,
        })
    });
    Ok(aside.collect())
}

/// Ends a quarantine. A node that could not be switched off must be off by now.
pub(super) async fn release(
    inner: &Inner,
    hardware: &str,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let book = inner.desk.read(deadline).await?;
    let rack = inner.shelf.rack(deadline).await?;
    let is_known = book.nodes.contains_key(hardware) || rack.inventory.nodes.contains_key(hardware);
    if !is_known {
        let text = format!("there is no node `{hardware}`; the inventory has their names");
        return Err(ProvisionError::failed(text));
    }
    let entry = book.entry(hardware);
    if let Some(holder) = entry
        .and_then(|entry| entry.holder)
        .filter(|one| one.phase == Phase::Leaving)
    {
        tidy::complete(inner, &rack, (hardware, &holder), deadline).await?;
    }
    let end = |entry: &mut Entry| {
        entry.quarantine = None;
        entry.trouble = None;
        Ok(())
    };
    inner.desk.change(hardware, deadline, end).await
}
