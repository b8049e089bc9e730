//! Restarting a machine where it is, and stopping it.

use super::Inner;
use super::book::{Holder, Phase};
use super::controller::{Button, Power};
use super::desk::now_ms;
use super::end::{begun, switch_off};
use super::make::{finish_on, refuse_leaving, switch_on};
use super::power::{Wanted, bring};
use super::{MAY_START_MS, of_node};
use crate::{Deadline, InstanceId, ProvisionError};

/// Asks the operating system to restart; where the controller can't, resets the node. What is off is switched on.
pub(super) async fn reboot(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let (node, _) = inner.desk.holder(id, deadline).await?;
    let rack = inner.shelf.rack(deadline).await?;
    let controller = rack.controller(&node)?;
    if inner.look_by(&*controller, &node, deadline).await?.power == Power::Off {
        return switch_on(inner, &rack, (&node, id), deadline).await;
    }
    inner
        .desk
        .change_holder((&node, id), deadline, may_start)
        .await?;
    let pressed = match controller.press(Button::AskToRestart, deadline).await {
        Err(ProvisionError::Unsupported(_) | ProvisionError::Failed(_)) => {
            controller.press(Button::Restart, deadline).await
        }
        pressed => pressed,
    };
    pressed.map_err(|error| of_node(&node, error))
}

/// Takes the power away, sees that it is gone, and gives it back: a machine that hangs is on, and to switch on what is on does
/// nothing.
pub(super) async fn power_cycle(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let (node, _) = inner.desk.holder(id, deadline).await?;
    let rack = inner.shelf.rack(deadline).await?;
    let controller = rack.controller(&node)?;
    // Before it is off, so that nobody takes it for stopped.
    inner
        .desk
        .change_holder((&node, id), deadline, may_start)
        .await?;
    let cycle = async {
        bring(
            &*controller,
            Wanted::Off,
            inner.config.power_within,
            deadline,
        )
        .await
        .map_err(|error| of_node(&node, error))?;
        let on = finish_on(inner, &*controller, (&node, id), deadline).await;
        on.map_err(|error| begun(&format!("switching {node} on again"), error))
    };
    cycle.await
}

/// Puts on record that it may start from now on.
fn may_start(holder: &mut Holder) -> Result<(), ProvisionError> {
    refuse_leaving(holder)?;
    holder.phase = Phase::On;
    holder.is_held_off = false;
    holder.may_start_until_ms = now_ms().saturating_add(MAY_START_MS);
    Ok(())
}

pub(super) async fn stop(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let (node, _) = inner.desk.holder(id, deadline).await?;
    let rack = inner.shelf.rack(deadline).await?;
    let order = |holder: &mut Holder| {
        refuse_leaving(holder)?;
        holder.phase = Phase::Off;
        Ok(())
    };
    let holder = inner
        .desk
        .change_holder((&node, id), deadline, order)
        .await?;
    switch_off(inner, &rack, (&node, &holder), deadline)
        .await
        .map(|_| ())
}

pub(super) async fn start(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let (node, holder) = inner.desk.holder(id, deadline).await?;
    let rack = inner.shelf.rack(deadline).await?;
    let is_on = inner.look(&rack, &node, deadline).await?.power == Power::On;
    if is_on && holder.phase == Phase::On {
        return Ok(());
    }
    switch_on(inner, &rack, (&node, id), deadline).await
}
