//! What earlier orders have left undone, taken up with the next one: nodes that could not be switched off, and wipes.
//!
//! Only orders do this, never what only looks: so whatever is done here, too, is done by a leader who may act.

use std::time::Duration;

use futures::future::join_all;

use super::book::{Entry, Holder, Phase, Wipe};
use super::controller::{Button, Power};
use super::desk::now_ms;
use super::{Inner, Rack, end, wipe};
use crate::{Deadline, ProvisionError};

/// How many nodes are seen to with one order.
const NODES_MAX: usize = 4;

/// How long that may take: the order itself is what matters.
const WITHIN: Duration = Duration::from_secs(5);

/// How long a wipe waits for whoever still wants the proof that the node was off; and how long one may seem to hang before it is
/// ordered again.
const WIPE_AFTER_MS: u64 = 180_000;

/// A step that was not completed.
enum Left<'a> {
    Machine(&'a str, &'a Holder),
    Wipe(&'a str),
}

/// Takes up what is left, as far as it goes quickly. What fails is left for the next order.
pub(super) async fn tidy(inner: &Inner, rack: &Rack, deadline: Deadline) {
    let deadline = deadline.at_most(WITHIN.min(deadline.remaining() / 4));
    let Ok(book) = inner.desk.read(deadline).await else {
        return;
    };
    let now = now_ms();
    let left = book
        .nodes
        .iter()
        .filter_map(|(node, entry)| left(node, entry.as_ref()?, now));
    let work = left.take(NODES_MAX).map(|left| async move {
        match left {
            Left::Machine(node, holder) => {
                let ended = complete(inner, rack, (node, holder), deadline).await;
                if let Err(error) = ended {
                    tracing::debug!(node, %error, "it is still not given back");
                }
            }
            Left::Wipe(node) => wipe::begin(inner, rack, node, deadline).await,
        }
    });
    join_all(work).await;
}

fn left<'a>(node: &'a str, entry: &'a Entry, now_ms: u64) -> Option<Left<'a>> {
    match (&entry.holder, entry.wipe) {
        // One that is not in quarantine is being destroyed right now.
        (Some(holder), _) if holder.phase == Phase::Leaving && entry.quarantine.is_some() => {
            Some(Left::Machine(node, holder))
        }
        (None, Some(Wipe::Due { at_ms } | Wipe::Ordered { at_ms })) => {
            (now_ms.saturating_sub(at_ms) >= WIPE_AFTER_MS).then_some(Left::Wipe(node))
        }
        _ => None,
    }
}

/// Gives back a node whose machine was to be destroyed, if it is off by now; otherwise presses the button again.
pub(super) async fn complete(
    inner: &Inner,
    rack: &Rack,
    (node, holder): (&str, &Holder),
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let controller = rack.controller(node)?;
    if inner.look_by(&*controller, node, deadline).await?.power != Power::Off {
        controller.press(Button::Off, deadline).await?;
        return Err(ProvisionError::unavailable("it was still on"));
    }
    // Off by itself is not off for good.
    let (controller, holder) = end::switch_off(inner, rack, (node, holder), deadline).await?;
    end::give_back(inner, rack, (node, &holder), &*controller, deadline).await
}
