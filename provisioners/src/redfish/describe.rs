//! What there is: the record, and what the nodes' controllers say.

use std::sync::atomic::Ordering;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};

use super::book::{Book, Found, Holder, Phase};
use super::controller::{Look, Power, Restore};
use super::desk::now_ms;
use super::{Inner, Rack};
use crate::{
    Deadline, Instance, InstanceId, InstanceState, Proof, Properties, ProvisionError, Tags, tag,
};

/// Controllers that are asked at one time: each is another small computer.
const LOOKS_AT_ONCE: usize = 64;

/// Nodes that are looked at where none has to be, to see whether controllers can be asked at all.
const SAMPLE: usize = 3;

/// A machine and what its controller says of it.
type Asked<'a> = (&'a str, &'a Holder, Result<Look, ProvisionError>);

pub(super) async fn describe(
    inner: &Inner,
    filter: &Tags,
    deadline: Deadline,
) -> Result<Vec<Instance>, ProvisionError> {
    let rack = inner.shelf.rack(deadline).await?;
    let book = inner.desk.read(deadline).await?;
    let asked = look_at_all(inner, &rack, (&book, filter), deadline).await;
    let is_for_one = filter.get(tag::OPERATION).is_some();
    if asked.is_empty() && !is_for_one {
        sample(inner, &rack, deadline).await?;
    }
    // A controller that doesn't answer is one machine of which nothing is known; if none answers, nothing is known at all.
    let errors: Vec<_> = asked
        .iter()
        .filter_map(|(_, _, look)| look.as_ref().err())
        .collect();
    if let Some(error) = errors.first().filter(|_| errors.len() == asked.len()) {
        return Err((*error).clone());
    }
    let now = now_ms();
    let mut list: Vec<_> = asked
        .into_iter()
        .map(|one| instance(one, &rack, now))
        .collect();
    if !is_for_one {
        list.extend(damaged(&book));
    }
    list.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(list)
}

async fn look_at_all<'a>(
    inner: &Inner,
    rack: &Rack,
    (book, filter): (&'a Book, &Tags),
    deadline: Deadline,
) -> Vec<Asked<'a>> {
    // Those that don't answer in time shall not make the whole list late.
    let deadline = deadline.at_most(deadline.remaining() * 9 / 10);
    let wanted: Vec<_> = book
        .holders()
        .filter(|(_, holder)| holder.tags.matches(filter))
        .collect();
    let mut looks: Vec<BoxFuture<'_, Asked<'a>>> = Vec::with_capacity(wanted.len());
    for (node, holder) in wanted {
        let look = async move { (node, holder, inner.look(rack, node, deadline).await) };
        looks.push(look.boxed());
    }
    stream::iter(looks)
        .buffer_unordered(LOOKS_AT_ONCE)
        .collect()
        .await
}

fn instance((node, holder, look): Asked<'_>, rack: &Rack, now_ms: u64) -> Instance {
    let known = rack.inventory.nodes.get(node);
    let mut properties = Properties::new();
    properties.set("node", node);
    if let Some(rack) = known.and_then(|node| node.labels.get("rack")) {
        properties.set("rack", rack.clone());
    }
    let state = match look {
        Ok(look) => state(node, holder, look, now_ms),
        Err(error) => Err(error.to_string()),
    };
    let state = state.unwrap_or_else(|why| {
        properties.set("why", why);
        InstanceState::Unknown
    });
    Instance {
        id: holder.id.clone(),
        state,
        tags: holder.tags.clone(),
        address: known.and_then(|node| node.address),
        properties,
        created_at_ms: holder.made_ms,
        attachments: Vec::new(),
    }
}

/// How a machine is; why that is not known, where it is not.
fn state(node: &str, holder: &Holder, look: Look, now_ms: u64) -> Result<InstanceState, String> {
    let is_starting = match holder.phase {
        Phase::On => now_ms < holder.may_start_until_ms,
        Phase::Reimaging => true,
        Phase::Claimed => now_ms < holder.made_ms.saturating_add(super::MAY_START_MS),
        Phase::Off | Phase::Leaving => false,
    };
    Ok(match (look.power, holder.phase) {
        (Power::On, Phase::Leaving) | (Power::TurningOff, _) => InstanceState::Stopping,
        (Power::On, _) => InstanceState::Running,
        (Power::TurningOn, _) => InstanceState::Starting,
        (Power::Off, _) if is_starting => InstanceState::Starting,
        // Stopped is taken for proof.
        (Power::Off, _) => match comes_back(node, look.restore, holder.is_held_off) {
            Some(why) => return Err(why),
            None => InstanceState::Stopped,
        },
        (Power::Unclear, _) => return Err(unclear(node)),
    })
}

/// Why a node that is off may start by itself; `None` if it stays off.
fn comes_back(node: &str, restore: Restore, is_held_off: bool) -> Option<String> {
    match restore {
        Restore::StaysOff => None,
        Restore::Unsure if is_held_off => None,
        Restore::Unsure => Some(format!(
            "{node} is off, but not by our order, and may start by itself when the hall's power comes back; it is sure to stay off where its power restore policy is always off"
        )),
        Restore::Starts => Some(format!(
            "{node} is off, but starts by itself when the hall's power comes back; set its power restore policy to always off"
        )),
    }
}

fn unclear(node: &str) -> String {
    format!("the controller of {node} does not say whether it is on")
}

/// Nodes of which the record can't be read: whose they are is not known, so they are anybody's.
fn damaged(book: &Book) -> Vec<Instance> {
    let unreadable = book.nodes.iter().filter(|(_, entry)| entry.is_none());
    let named = unreadable.filter_map(|(node, _)| {
        let mut properties = Properties::new();
        properties.set("why", format!("what is on record of {node} can't be read"));
        Some(Instance {
            id: format!("{node}.unreadable").parse().ok()?,
            state: InstanceState::Unknown,
            tags: Tags::new(),
            address: None,
            properties,
            created_at_ms: 0,
            attachments: Vec::new(),
        })
    });
    named.collect()
}

/// Looks at a few nodes of all, others each time.
///
/// # Errors
/// If not one of them answers.
pub(super) async fn sample(
    inner: &Inner,
    rack: &Rack,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    sample_but(inner, rack, None, deadline).await
}

/// [`sample`], of all nodes but one.
pub(super) async fn sample_but(
    inner: &Inner,
    rack: &Rack,
    but: Option<&str>,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let nodes: Vec<_> = rack
        .inventory
        .nodes
        .keys()
        .filter(|node| Some(node.as_str()) != but)
        .collect();
    if nodes.is_empty() {
        return but.map_or(Ok(()), |node| {
            Err(ProvisionError::unavailable(format!(
                "there is no controller besides that of {node}"
            )))
        });
    }
    let first = inner.sample.fetch_add(SAMPLE, Ordering::Relaxed);
    let mut last = Ok(());
    for turn in 0..SAMPLE.min(nodes.len()) {
        let node = nodes[first.wrapping_add(turn) % nodes.len()];
        match inner.look(rack, node, deadline).await {
            Ok(_) => return Ok(()),
            Err(error) => last = Err(error),
        }
    }
    last
}

pub(super) async fn prove_off(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<Proof, ProvisionError> {
    let unknown = |why: String| Ok(Proof::Unknown { why });
    let book = inner.desk.read(deadline).await?;
    let node = match book.by_id(id) {
        Some(Found::Held(node, _) | Found::Past(node, _)) => node.to_owned(),
        None => return unknown(format!("no node is on record for {id}")),
    };
    let rack = inner.shelf.rack(deadline).await?;
    let looked = match inner.look(&rack, &node, deadline).await {
        Ok(look) => Ok(look),
        Err(error @ ProvisionError::Denied(_)) => return Err(error),
        Err(error) => Err(error.to_string()),
    };
    // What was ordered while it was looked at counts, too.
    let book = inner.desk.read(deadline).await?;
    match (book.by_id(id), book.entry(&node)) {
        (Some(Found::Held(_, holder)), _) => {
            let held = holder.is_held_off;
            Ok(judge(&node, looked, (held, holder.may_start_until_ms)))
        }
        (Some(Found::Past(_, past)), Some(entry)) => match &entry.holder {
            // It may start from the disk that this one has left there, whatever it was told to start from.
            Some(holder) => unknown(format!("{node} is now that of {}", holder.id)),
            None if entry.wipe.is_some()
                && looked.as_ref().is_ok_and(|look| look.power != Power::Off) =>
            {
                unknown(format!("{node} is being wiped, so it is on"))
            }
            None => {
                let held = entry.is_held_off();
                Ok(judge(&node, looked, (held, past.may_start_until_ms)))
            }
        },
        _ => unknown(format!("{id} is on record no more")),
    }
}

fn judge(
    node: &str,
    looked: Result<Look, String>,
    (is_held_off, may_start_until_ms): (bool, u64),
) -> Proof {
    let unknown = |why: String| Proof::Unknown { why };
    let now = now_ms();
    let look = match looked {
        Ok(look) => look,
        Err(why) => return unknown(why),
    };
    match look.power {
        Power::Off if now < may_start_until_ms => unknown(format!(
            "{node} is off, but a call that switches it on may still be carried out for {} s",
            (may_start_until_ms - now).div_ceil(1000)
        )),
        Power::Off => match comes_back(node, look.restore, is_held_off) {
            Some(why) => unknown(why),
            None => Proof::Off {
                how: format!("the controller of {node} says that its power is off"),
                at_ms: now,
            },
        },
        Power::On | Power::TurningOn | Power::TurningOff => Proof::Running,
        Power::Unclear => unknown(unclear(node)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OperationId;

    #[test]
    fn only_what_is_certain_is_off() {
        let look = |power, restore| Ok(Look { power, restore });
        let is_off = |looked, held| judge("n1", looked, held).is_off();
        let soon = now_ms() + 60_000;
        assert!(is_off(look(Power::Off, Restore::StaysOff), (false, 0)));
        assert!(is_off(look(Power::Off, Restore::Unsure), (true, 0)));
        assert!(
            !is_off(look(Power::Off, Restore::Unsure), (false, 0)),
            "it may have been on when the hall's power went"
        );
        assert!(
            !is_off(look(Power::Off, Restore::StaysOff), (true, soon)),
            "it may start"
        );
        assert!(
            !is_off(look(Power::Off, Restore::Starts), (true, 0)),
            "it starts by itself"
        );
        assert!(!is_off(
            look(Power::TurningOff, Restore::StaysOff),
            (true, 0)
        ));
        assert!(!is_off(look(Power::Unclear, Restore::StaysOff), (true, 0)));
        assert!(!is_off(Err("no answer".to_owned()), (true, 0)));
    }

    #[test]
    fn the_state_follows_from_what_was_ordered_and_from_the_power() {
        let op = OperationId::derive("c", "g", "m", 1, "provision");
        let holder = |phase, until| Holder {
            id: super::super::book::id_for("n1", &op).expect("valid"),
            ops: vec![op.clone()],
            tags: Tags::new(),
            made_ms: 0,
            phase,
            may_start_until_ms: until,
            is_pet: false,
            is_held_off: false,
        };
        let by = |phase, until, power, restore| {
            let look = Look { power, restore };
            state("n1", &holder(phase, until), look, 1_000_000).unwrap_or(InstanceState::Unknown)
        };
        let state = |phase, until, power| by(phase, until, power, Restore::StaysOff);
        for restore in [Restore::Unsure, Restore::Starts] {
            let state = by(Phase::On, 0, Power::Off, restore);
            assert_eq!(state, InstanceState::Unknown, "it may start by itself");
        }
        assert_eq!(state(Phase::On, 0, Power::Off), InstanceState::Stopped);
        assert_eq!(
            state(Phase::On, 2_000_000, Power::Off),
            InstanceState::Starting
        );
        assert_eq!(
            state(Phase::Off, 2_000_000, Power::Off),
            InstanceState::Stopped
        );
        assert_eq!(state(Phase::Off, 0, Power::On), InstanceState::Running);
        assert_eq!(state(Phase::Leaving, 0, Power::On), InstanceState::Stopping);
        assert_eq!(state(Phase::Claimed, 0, Power::Off), InstanceState::Stopped);
        assert_eq!(
            state(Phase::Reimaging, 0, Power::Off),
            InstanceState::Starting
        );
        assert_eq!(state(Phase::On, 0, Power::Unclear), InstanceState::Unknown);
    }
}
