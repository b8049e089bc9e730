//! Taking a machine away, and its node back.

use super::book::{Entry, Found, Holder, Phase, Remark, Wipe};
use super::controller::{Boot, Controller, Restore};
use super::desk::now_ms;
use super::inventory::WipePolicy;
use super::power::{Wanted, bring};
use super::{Inner, Rack, describe, of_node, tidy, wipe};
use crate::{Deadline, Destroyed, InstanceId, ProvisionError};

pub(super) async fn destroy(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<Destroyed, ProvisionError> {
    let book = inner.desk.read(deadline).await?;
    let (node, was) = match book.by_id(id) {
        None => return Ok(Destroyed::AlreadyGone),
        Some(Found::Held(node, _)) => (node, Destroyed::Destroyed),
        Some(Found::Past(node, _)) => (node, Destroyed::AlreadyGone),
    };
    let rack = inner.shelf.rack(deadline).await?;
    tidy::tidy(inner, &rack, deadline).await;
    if was == Destroyed::AlreadyGone {
        // Whoever asks again has had the proof that it is off, if one was wanted.
        let is_due = book
            .entry(node)
            .is_some_and(|entry| matches!(entry.wipe, Some(Wipe::Due { .. })));
        if is_due {
            wipe::begin(inner, &rack, node, deadline).await;
        }
        return Ok(was);
    }
    let order = |holder: &mut Holder| {
        holder.phase = Phase::Leaving;
        Ok(())
    };
    let holder = inner.desk.change_holder((node, id), deadline, order).await;
    let holder = match holder {
        Err(ProvisionError::NotFound(_)) => return Ok(Destroyed::AlreadyGone),
        holder => holder?,
    };
    match switch_off(inner, &rack, (node, &holder), deadline).await {
        Ok((controller, holder)) => {
            let back = give_back(inner, &rack, (node, &holder), &*controller, deadline).await;
            back.map(|()| was)
                .map_err(|error| begun(&format!("giving {node} back"), error))
        }
        Err(error) => leave(inner, &rack, (node, &holder), error, deadline).await,
    }
}

/// What went wrong after a change was made: what is left undone is not "nothing was done".
pub(super) fn begun(what: &str, error: ProvisionError) -> ProvisionError {
    match error {
        timeout @ ProvisionError::Timeout(_) => timeout,
        other => ProvisionError::timeout(format!("{what}: {other}")),
    }
}

/// Switches off a node that shall stay so, and puts that on record.
///
/// # Errors
/// Also for a pet of which only its controller's word is to be had that it is off, while it may start by itself.
pub(super) async fn switch_off(
    inner: &Inner,
    rack: &Rack,
    (node, holder): (&str, &Holder),
    deadline: Deadline,
) -> Result<(std::sync::Arc<dyn Controller>, Holder), ProvisionError> {
    let controller = rack.controller(node)?;
    let off = bring(
        &*controller,
        Wanted::Off,
        inner.config.power_within,
        deadline,
    )
    .await;
    let is_ours = off.map_err(|error| of_node(node, error))?;
    let held = |holder: &mut Holder| {
        // Whoever ordered it on since knows better.
        holder.is_held_off |= is_ours && matches!(holder.phase, Phase::Off | Phase::Leaving);
        Ok(())
    };
    let change = inner.desk.change_holder((node, &holder.id), deadline, held);
    let holder = match change.await {
        Err(error) if is_ours => return Err(begun(&format!("switching {node} off"), error)),
        changed => changed?,
    };
    if holder.is_pet && holder.phase == Phase::Leaving && !holder.is_held_off {
        let look = inner.look_by(&*controller, node, deadline).await?;
        if look.restore != Restore::StaysOff {
            return Err(ProvisionError::unavailable(format!(
                "{node} is off, but its controller does not take the order to be so, and it may start by itself"
            )));
        }
    }
    Ok((controller, holder))
}

/// Gives a node back that was seen off. Its disks come first, if it is to be wiped.
pub(super) async fn give_back(
    inner: &Inner,
    rack: &Rack,
    (node, holder): (&str, &Holder),
    controller: &dyn Controller,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    // That it starts from nothing of ours any more is good manners: what comes next says what it starts from.
    if let Err(error) = controller.set_boot(&Boot::Usual, deadline).await {
        tracing::debug!(node, %error, "the boot order was not set back");
    }
    if let Some(store) = &inner.store {
        // Nobody can join by what is left there: a token is good for one machine, once.
        if let Err(error) = store.forget(rack.node(node)?, &holder.ops, deadline).await {
            tracing::debug!(node, %error, "an agent's configuration was not removed");
        }
    }
    let is_to_be_wiped = rack.node(node)?.wipe == WipePolicy::Image;
    let free = |entry: &mut Entry| {
        if entry.holder.as_ref().is_some_and(|one| one.id == holder.id) {
            entry.free();
            entry.wipe = is_to_be_wiped.then(|| Wipe::Due { at_ms: now_ms() });
        }
        Ok(())
    };
    inner.desk.change(node, deadline, free).await?;
    if is_to_be_wiped && !holder.is_pet {
        wipe::begin(inner, rack, node, deadline).await;
    }
    Ok(())
}

/// A node that can't be switched off is nobody's to use, and its machine is as good as destroyed: it stays on the list until it
/// is seen off, and what proves it off is its power alone. But if no controller answers at all, it is not this node that has failed.
async fn leave(
    inner: &Inner,
    rack: &Rack,
    (node, holder): (&str, &Holder),
    error: ProvisionError,
    deadline: Deadline,
) -> Result<Destroyed, ProvisionError> {
    let is_alone =
        holder.is_pet || matches!(error, ProvisionError::Denied(_)) || deadline.has_passed();
    if is_alone
        || describe::sample_but(inner, rack, Some(node), deadline)
            .await
            .is_err()
    {
        return Err(error);
    }
    let why = Remark::new(&format!("it can't be switched off: {error}"), now_ms());
    let aside = |entry: &mut Entry| {
        if entry.quarantine.is_none() {
            entry.quarantine = Some(why.clone());
        }
        Ok(())
    };
    inner.desk.change(node, deadline, aside).await?;
    tracing::warn!(node, %error, "a node can't be switched off; it stays on the list, and nothing is made on it");
    Ok(Destroyed::Destroyed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_is_never_nothing() {
        for error in [
            ProvisionError::unavailable("the ledger"),
            ProvisionError::denied("no"),
            ProvisionError::timeout("writing"),
        ] {
            assert!(begun("giving n1 back", error).is_outcome_unknown());
        }
    }
}
