//! Making a machine on a node, and making another one of it.

use super::book::{Entry, Holder, Phase, Remark};
use super::claim::{Claim, claim};
use super::controller::{Boot, Controller};
use super::desk::now_ms;
use super::end::begun;
use super::inventory::{BootMethod, Node};
use super::power::{Wanted, bring};
use super::{Inner, MAY_START_MS, NAME, Rack, RedfishProperties, of_node, store, tidy};
use crate::{
    AgentPlace, Deadline, InstanceId, MachineSpec, OperationId, Problem, ProvisionError, Secret,
    agent_config,
};

/// The machine that is to run on a node.
#[derive(Clone, Copy)]
struct Order<'a> {
    properties: &'a RedfishProperties,
    spec: &'a MachineSpec,
    op: &'a OperationId,
}

pub(super) async fn provision(
    inner: &Inner,
    spec: &MachineSpec,
    op: &OperationId,
    deadline: Deadline,
) -> Result<InstanceId, ProvisionError> {
    let properties = RedfishProperties::read(&spec.properties).map_err(ProvisionError::Invalid)?;
    if !spec.attachments.is_empty() {
        return Err(ProvisionError::Unsupported(
            "attach anything to a node".to_owned(),
        ));
    }
    let rack = inner.shelf.rack(deadline).await?;
    tidy::tidy(inner, &rack, deadline).await;
    let claimed = claim(inner, &rack, &properties, (spec, op), deadline).await?;
    let (node, holder) = match claimed {
        Claim::Done(id) => return Ok(id),
        Claim::Held(node, holder) => (node, holder),
    };
    let order = Order {
        properties: &properties,
        spec,
        op,
    };
    if holder.phase == Phase::Claimed {
        let prepared = prepare(inner, &rack, (&node, &holder.id), order, deadline).await;
        if let Err(error) = prepared {
            return Err(take_back(inner, (&node, &holder.id), error, deadline).await);
        }
    }
    if holder.phase == Phase::Claimed || holder.may_start_until_ms > now_ms() {
        switch_on(inner, &rack, (&node, &holder.id), deadline).await?;
    }
    Ok(holder.id)
}

/// Another machine in place of that of an instance, on the same node.
pub(super) async fn reimage(
    inner: &Inner,
    id: &InstanceId,
    (spec, op): (&MachineSpec, &OperationId),
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let properties = RedfishProperties::read(&spec.properties).map_err(ProvisionError::Invalid)?;
    let (name, holder) = inner.desk.holder(id, deadline).await?;
    let rack = inner.shelf.rack(deadline).await?;
    let node = rack.node(&name)?;
    if properties.boot.unwrap_or(node.boot) == BootMethod::Disk {
        return Err(ProvisionError::Unsupported(format!(
            "reimage {name}: it starts from its own disk"
        )));
    }
    let is_begun = holder.op() == Some(op);
    if is_begun && holder.phase == Phase::On && holder.may_start_until_ms == 0 {
        return Ok(());
    }
    if !is_begun || holder.phase == Phase::Reimaging {
        let begin = |holder: &mut Holder| {
            refuse_leaving(holder)?;
            if holder.op() != Some(op) {
                holder.reimaged(op, spec.tags_for(op));
            }
            holder.phase = Phase::Reimaging;
            Ok(())
        };
        inner
            .desk
            .change_holder((&name, id), deadline, begin)
            .await?;
        let controller = rack.controller(&name)?;
        let off = bring(
            &*controller,
            Wanted::Off,
            inner.config.power_within,
            deadline,
        )
        .await;
        off.map_err(|error| of_node(&name, error))?;
        let order = Order {
            properties: &properties,
            spec,
            op,
        };
        let prepared = prepare(inner, &rack, (&name, id), order, deadline).await;
        prepared
            .map_err(|error| begun(&format!("preparing {name}, which was switched off"), error))?;
    }
    switch_on(inner, &rack, (&name, id), deadline).await
}

/// That what goes back to the pool is left alone.
pub(super) fn refuse_leaving(holder: &Holder) -> Result<(), ProvisionError> {
    if holder.phase == Phase::Leaving {
        return Err(ProvisionError::failed(format!(
            "{} is being destroyed",
            holder.id
        )));
    }
    Ok(())
}

/// Does all that comes before the power: the agent's configuration, and what the node starts from. Errors don't show the key.
async fn prepare(
    inner: &Inner,
    rack: &Rack,
    machine: (&str, &InstanceId),
    order: Order<'_>,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let prepared = try_prepare(inner, rack, machine, order, deadline).await;
    prepared.map_err(|error| without_key(order.op, error))
}

async fn try_prepare(
    inner: &Inner,
    rack: &Rack,
    (name, id): (&str, &InstanceId),
    order: Order<'_>,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let node = rack.node(name)?;
    let method = order.properties.boot.unwrap_or(node.boot);
    let template = order
        .properties
        .boot_url
        .as_ref()
        .or(inner.config.boot_url.as_ref());
    let mut key = String::new();
    if let Some(store) = &inner.store {
        key = store::key(node, method, template, (order.spec, order.op))?;
        let text = configuration(node, id, order);
        store.put(&key, &text, deadline).await?;
    }
    let address = || match template {
        Some(template) => Ok(Secret::new(template.fill(node, &key, order.op))),
        None => Err(ProvisionError::Invalid(vec![Problem::new(
            "boot_url",
            format!("there is no address that {name} could start from"),
            "write it into the group's properties or `[provisioners.redfish]`, or have the node start by `pxe` or from `disk`",
        )])),
    };
    let boot = match method {
        BootMethod::Pxe => Boot::Pxe,
        BootMethod::Disk => Boot::Disk,
        BootMethod::Http => Boot::Http(address()?),
        BootMethod::Media => Boot::Media(address()?),
    };
    let controller = rack.controller(name)?;
    let set = controller.set_boot(&boot, deadline).await;
    set.map_err(|error| of_node(name, error))
}

/// The same error, without the key.
fn without_key(op: &OperationId, error: ProvisionError) -> ProvisionError {
    let clean = |why: String| store::without_key(&why, op);
    match error {
        ProvisionError::Denied(why) => ProvisionError::Denied(clean(why)),
        ProvisionError::Unavailable(why) => ProvisionError::Unavailable(clean(why)),
        ProvisionError::Timeout(why) => ProvisionError::Timeout(clean(why)),
        ProvisionError::Failed(why) => ProvisionError::Failed(clean(why)),
        ProvisionError::Capacity(why) => ProvisionError::Capacity(clean(why)),
        ProvisionError::Unsupported(why) => ProvisionError::Unsupported(clean(why)),
        ProvisionError::Invalid(problems) => ProvisionError::Invalid(
            problems
                .into_iter()
                .map(|problem| {
                    Problem::new(
                        clean(problem.field),
                        clean(problem.reason),
                        clean(problem.remedy),
                    )
                })
                .collect(),
        ),
        other => other,
    }
}

/// The agent's configuration, with the labels of the node that the group doesn't give itself.
fn configuration(node: &Node, id: &InstanceId, order: Order<'_>) -> String {
    let mut spec = order.spec.clone();
    for (name, value) in &node.labels {
        spec.labels
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    let place = AgentPlace {
        instance: Some((NAME, id, order.op)),
        ..AgentPlace::default()
    };
    agent_config(&spec, &place)
}

/// What the order ends with when its node was given back: another one may do better, so that it is worth another try. What is
/// wrong with the order itself stays so.
fn given_back(node: &str, error: ProvisionError) -> ProvisionError {
    match error {
        error @ (ProvisionError::Failed(_)
        | ProvisionError::Unsupported(_)
        | ProvisionError::Invalid(_)) => {
            ProvisionError::unavailable(format!("{node} was given back: {error}"))
        }
        other => other,
    }
}

/// Gives back a node that was never switched on, so that an error means that nothing was done. The next one who looks for a
/// node tries others first.
async fn take_back(
    inner: &Inner,
    (node, id): (&str, &InstanceId),
    error: ProvisionError,
    deadline: Deadline,
) -> ProvisionError {
    if error.is_outcome_unknown() {
        return error;
    }
    let trouble = Remark::new(&error.to_string(), now_ms());
    let back = |entry: &mut Entry| {
        let is_it = |holder: &&Holder| holder.id == *id && holder.phase == Phase::Claimed;
        if entry.holder.as_ref().filter(is_it).is_some() {
            entry.holder = None;
            entry.trouble = Some(trouble.clone());
        }
        Ok(())
    };
    match inner.desk.change(node, deadline, back).await {
        Ok(()) => given_back(node, error),
        Err(why) => ProvisionError::timeout(format!("giving {node} back ({why}) after: {error}")),
    }
}

/// Orders a node to be on, and sees that it is.
///
/// # Errors
/// [`ProvisionError::Timeout`] whatever goes wrong once it is on record that it may start.
pub(super) async fn switch_on(
    inner: &Inner,
    rack: &Rack,
    (node, id): (&str, &InstanceId),
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let order = |holder: &mut Holder| {
        refuse_leaving(holder)?;
        holder.phase = Phase::On;
        holder.is_held_off = false;
        holder.may_start_until_ms = now_ms().saturating_add(MAY_START_MS);
        Ok(())
    };
    inner
        .desk
        .change_holder((node, id), deadline, order)
        .await?;
    let on = async {
        let controller = rack.controller(node)?;
        finish_on(inner, &*controller, (node, id), deadline).await
    };
    on.await.map_err(|error| match error {
        timeout @ ProvisionError::Timeout(_) => of_node(node, timeout),
        other => ProvisionError::timeout(format!("switching {node} on: {other}")),
    })
}

/// Sees a node on that was ordered to be.
pub(super) async fn finish_on(
    inner: &Inner,
    controller: &dyn Controller,
    (node, id): (&str, &InstanceId),
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let _ = bring(controller, Wanted::On, inner.config.power_within, deadline).await?;
    let seen = |holder: &mut Holder| {
        if holder.phase == Phase::On {
            holder.may_start_until_ms = 0;
        }
        Ok(())
    };
    inner
        .desk
        .change_holder((node, id), deadline, seen)
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_node_can_not_is_no_end_of_the_order() {
        let invalid =
            ProvisionError::Invalid(vec![Problem::new("mac", "there is none", "write it")]);
        for error in [
            ProvisionError::failed("400"),
            ProvisionError::Unsupported("insert a virtual medium".to_owned()),
            invalid,
        ] {
            let after = given_back("n1", error);
            assert!(matches!(after, ProvisionError::Unavailable(_)), "{after}");
        }
        let denied = ProvisionError::denied("no");
        assert_eq!(given_back("n1", denied.clone()), denied);
    }

    #[test]
    fn no_error_shows_the_key() {
        let op = OperationId::derive("c", "g", "m", 1, "provision");
        let said = format!("no http://b/{op}-0123456789abcdef/x");
        let problem = Problem::new("boot_url", said.clone(), said.clone());
        for error in [
            ProvisionError::Denied(said.clone()),
            ProvisionError::Unavailable(said.clone()),
            ProvisionError::Timeout(said.clone()),
            ProvisionError::Failed(said.clone()),
            ProvisionError::Unsupported(said.clone()),
            ProvisionError::Invalid(vec![problem]),
        ] {
            let clean = format!("{:?}", without_key(&op, error));
            assert!(!clean.contains("0123"), "{clean}");
        }
    }
}
