//! Having a node's disks wiped, by an image that does so and then switches the node off.

use super::book::{Entry, Wipe};
use super::controller::{Boot, Power};
use super::desk::now_ms;
use super::power::{Wanted, bring};
use super::{Inner, Rack};
use crate::{Deadline, OperationId, ProvisionError, Secret};

/// Starts the wiping of a free node. What goes wrong is tried again with a later order.
pub(super) async fn begin(inner: &Inner, rack: &Rack, node: &str, deadline: Deadline) {
    if let Err(error) = try_begin(inner, rack, node, deadline).await {
        tracing::warn!(node, %error, "its disks are not being wiped yet");
    }
}

async fn try_begin(
    inner: &Inner,
    rack: &Rack,
    node: &str,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let known = rack.node(node)?;
    let controller = rack.controller(node)?;
    // What is on runs something else, or an earlier order's image that has not ended.
    if inner.look_by(&*controller, node, deadline).await?.power != Power::Off {
        return Err(ProvisionError::unavailable(format!("{node} is not off")));
    }
    let at_ms = now_ms();
    let order = |entry: &mut Entry| {
        let is_due = entry.holder.is_none()
            && matches!(entry.wipe, Some(Wipe::Due { .. } | Wipe::Ordered { .. }));
        if is_due {
            entry.wipe = Some(Wipe::Ordered { at_ms });
            entry.runs_again();
        }
        Ok(is_due)
    };
    if !inner.desk.change(node, deadline, order).await? {
        return Ok(());
    }
    // There is no machine, and so no key and no operation of one.
    let nothing = OperationId::derive("", "", node, 0, "wipe");
    let boot = match &inner.config.wipe_url {
        None => Boot::Pxe,
        Some(url) if known.boot == super::inventory::BootMethod::Http => {
            Boot::Http(Secret::new(url.fill(known, "wipe", &nothing)))
        }
        Some(url) => Boot::Media(Secret::new(url.fill(known, "wipe", &nothing))),
    };
    controller.set_boot(&boot, deadline).await?;
    let is_ours = bring(
        &*controller,
        Wanted::On,
        inner.config.power_within,
        deadline,
    )
    .await?;
    if !is_ours {
        return Err(ProvisionError::unavailable(format!(
            "{node} was switched on by somebody else, and may run anything"
        )));
    }
    let seen = |entry: &mut Entry| {
        if entry.wipe == Some(Wipe::Ordered { at_ms }) {
            entry.wipe = Some(Wipe::Seen { at_ms });
        }
        Ok(())
    };
    inner.desk.change(node, deadline, seen).await
}
