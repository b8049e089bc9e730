//! Giving out a node.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::book::{Book, Entry, Found, Holder, Phase, Wipe, id_for};
use super::choose::{Choice, Wish};
use super::controller::Power;
use super::desk::now_ms;
use super::{Inner, Rack, RedfishProperties};
use crate::{Deadline, InstanceId, MachineSpec, OperationId, ProvisionError};

/// How many nodes are looked at together.
const LOOKS_TOGETHER: usize = 4;

/// What an operation has got.
#[derive(Debug)]
pub(super) enum Claim {
    /// A node.
    Held(String, Holder),
    /// What it made is gone.
    Done(InstanceId),
}

/// How a node was found.
type Seen = BTreeMap<String, Result<Power, ProvisionError>>;

/// Gives a node to an operation, or finds the one that it has got before.
///
/// # Errors
/// [`ProvisionError::Capacity`] where none is free and fits. Then nothing was given out.
pub(super) async fn claim(
    inner: &Inner,
    rack: &Rack,
    properties: &RedfishProperties,
    (spec, op): (&MachineSpec, &OperationId),
    deadline: Deadline,
) -> Result<Claim, ProvisionError> {
    let wish = Wish {
        labels: &properties.labels,
        spec,
    };
    let mut seen = Seen::new();
    loop {
        let book = inner.desk.read(deadline).await?;
        match book.by_operation(op) {
            Some(Found::Held(node, holder)) => {
                return Ok(Claim::Held(node.to_owned(), holder.clone()));
            }
            Some(Found::Past(_, past)) => return Ok(Claim::Done(past.id.clone())),
            None => {}
        }
        let choice = Choice::of(&rack.inventory, &book, wish, now_ms());
        let node = pick(inner, rack, (choice, &book), &mut seen, deadline).await?;
        let holder = holder(&node, spec, op)?;
        let mut entry = book.entry(&node).unwrap_or_default();
        entry = Entry {
            holder: Some(holder.clone()),
            wipe: None,
            ..entry
        };
        if inner.desk.write(&book, &node, &entry, deadline).await? {
            return Ok(Claim::Held(node, holder));
        }
        if deadline.has_passed() {
            return Err(ProvisionError::unavailable(
                "no node was given out in time: others changed the record all the time",
            ));
        }
    }
}

fn holder(node: &str, spec: &MachineSpec, op: &OperationId) -> Result<Holder, ProvisionError> {
    Ok(Holder {
        id: id_for(node, op)
            .ok_or_else(|| ProvisionError::failed(format!("`{node}` is no name of a node")))?,
        ops: vec![op.clone()],
        tags: spec.tags_for(op),
        made_ms: now_ms(),
        phase: Phase::Claimed,
        may_start_until_ms: 0,
        is_pet: spec.logical_id.is_some(),
        is_held_off: false,
    })
}

/// The first node that is off: one that is on, and nobody's, may be somebody else's.
async fn pick(
    inner: &Inner,
    rack: &Rack,
    (mut choice, book): (Choice, &Book),
    seen: &mut Seen,
    deadline: Deadline,
) -> Result<String, ProvisionError> {
    let mut silent = None;
    let mut answered = false;
    for some in std::mem::take(&mut choice.nodes).chunks(LOOKS_TOGETHER) {
        let new = some.iter().filter(|node| !seen.contains_key(*node));
        let looks = new.map(|node| async move {
            let look = inner.look(rack, node, deadline).await;
            (node.clone(), look.map(|look| look.power))
        });
        seen.extend(join_all(looks).await);
        for node in some {
            let is_wiped = matches!(
                book.entry(node).and_then(|entry| entry.wipe),
                Some(Wipe::Seen { .. })
            );
            match seen.get(node) {
                Some(Ok(Power::Off)) => return Ok(node.clone()),
                Some(Ok(_)) if is_wiped => choice.count("being wiped"),
                Some(Ok(_)) => choice.count("on although nothing of ours runs there"),
                Some(Err(error)) => {
                    choice.count(match error {
                        ProvisionError::Denied(_) => "with a controller that refuses us",
                        _ => "with a controller that does not answer",
                    });
                    silent = Some(error.clone());
                    continue;
                }
                None => continue,
            }
            answered = true;
        }
    }
    match silent {
        // Whoever could be asked has none; or nobody could be asked.
        Some(error) if !answered => Err(error),
        _ => Err(ProvisionError::capacity(choice.explain())),
    }
}
