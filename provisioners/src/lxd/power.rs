//! Starting and stopping, until the instance is as it should be.

use std::time::Duration;

use serde_json::{Value, json};

use super::Inner;
use super::answer::{Config, Entry, Power, is_true};
use super::api::{Ended, LOOK_AGAIN};
use super::names::{STARTED, STARTING, attachments_of};
use super::refusal::refusal;
use super::{attach, state};
use crate::clock::now_ms;
use crate::{Deadline, InstanceId, OperationId, ProvisionError};

/// How often an order is given that LXD refuses. Others may work on the instance at the same time.
const TRIES: usize = 3;
/// How long after the deadline of a call a start may still come about that was sent just before it, with what the clocks of
/// two coordinators may differ.
const STRAY_START: Duration = Duration::from_secs(60);
/// LXD waits so long for a machine to shut down beyond what it is told, and then says that it did not.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// How a machine is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Through its operating system, or not at all.
    Politely,
    /// As if its power were cut.
    AtOnce,
}

/// Stops an instance that runs, and keeps LXD from starting it by itself.
pub(super) async fn stop(
    inner: &Inner,
    name: &str,
    manner: Manner,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let grace = inner
        .config
        .stop_grace()
        .min(deadline.remaining().saturating_sub(ANSWER_MARGIN));
    let order = match manner {
        // LXD takes a time-out of 0 for none.
        Manner::Politely => json!({"action": "stop", "timeout": grace.as_secs().max(1)}),
        Manner::AtOnce => json!({"action": "stop", "force": true}),
    };
    let tries = if manner == Manner::Politely { 1 } else { TRIES };
    let entry = bring(inner, name, Power::Stopped, &order, tries, deadline).await?;
    let autostart = entry.expanded_config.get("boot.autostart");
    if autostart.is_some_and(|value| is_true(value)) {
        let off = Config::from([("boot.autostart".to_owned(), "false".to_owned())]);
        inner.api.set(name, &off, deadline).await?;
    }
    Ok(())
}

/// Stops it politely if it listens, and at once if it does not.
pub(super) async fn stop_in_any_case(
    inner: &Inner,
    name: &str,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let half = deadline.at_most(deadline.remaining() / 2);
    match stop(inner, name, Manner::Politely, half).await {
        Ok(()) => Ok(()),
        Err(_) => stop(inner, name, Manner::AtOnce, deadline).await,
    }
}

/// Refuses what can't be restarted through its operating system, instead of waiting for it.
pub(super) fn refuse_if_deaf(entry: &Entry) -> Result<(), ProvisionError> {
    if entry.power() == Power::Frozen {
        return Err(ProvisionError::failed(
            "it is frozen, so its operating system can't restart it; a power cycle can",
        ));
    }
    Ok(())
}

/// Starts an instance with all its attachments. `op` is the operation whose machine it is then on record as started.
pub(super) async fn start(
    inner: &Inner,
    id: &InstanceId,
    name: &str,
    op: Option<&OperationId>,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    announce(inner, name, Config::new(), deadline).await?;
    let started = start_announced(inner, id, name, deadline).await;
    // The announcement stands for itself until it runs out, where it is not known what came of the start.
    if started
        .as_ref()
        .is_err_and(ProvisionError::is_outcome_unknown)
    {
        return started;
    }
    let mut config = Config::from([(STARTING.to_owned(), String::new())]);
    if let Some(op) = op.filter(|_| started.is_ok()) {
        config.insert(STARTED.to_owned(), op.as_str().to_owned());
    }
    let noted = inner.api.set(name, &config, deadline).await;
    started.and(noted)
}

/// Says on the instance that it is about to be started, for others that want its attachments to see; with other keys to
/// be set at the same time.
pub(super) async fn announce(
    inner: &Inner,
    name: &str,
    mut config: Config,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    config.insert(STARTING.to_owned(), starting_by(deadline).to_string());
    inner.api.set(name, &config, deadline).await
}

/// When nobody who has to be done by `deadline` will start anything any more, in milliseconds since 1970.
pub(super) fn starting_by(deadline: Deadline) -> u64 {
    let longest = deadline.remaining() + STRAY_START;
    now_ms().saturating_add(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX))
}

async fn start_announced(
    inner: &Inner,
    id: &InstanceId,
    name: &str,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let entry = state::reach(inner, id, deadline).await?;
    let attachments = attachments_of(&entry);
    attach::take(inner, name, &attachments, deadline).await?;
    if entry.config.get("boot.autostart").map(String::as_str) == Some("false") {
        // Only `stop` sets it so.
        let own = Config::from([("boot.autostart".to_owned(), String::new())]);
        inner.api.set(name, &own, deadline).await?;
    }
    bring(
        inner,
        name,
        Power::Running,
        &json!({"action": "start"}),
        TRIES,
        deadline,
    )
    .await?;
    Ok(())
}

/// Gives an order until the instance is as it should be. What counts is what the instance then is, not what became of the
/// order: others may have been faster, and its answer may be lost.
async fn bring(
    inner: &Inner,
    name: &str,
    wanted: Power,
    order: &Value,
    tries: usize,
    deadline: Deadline,
) -> Result<Entry, ProvisionError> {
    let mut refused = None;
    let mut left = tries;
    loop {
        inner.api.settle(name, deadline).await?;
        let Some((entry, _)) = inner.api.instance(name, deadline).await? else {
            return Err(ProvisionError::failed(format!("{name} has gone")));
        };
        let power = entry.power();
        if power == wanted {
            return Ok(entry);
        }
        if left == 0 {
            return Err(match refused {
                Some(why) => refusal(format!("{name}: {why}")),
                None => ProvisionError::failed(format!("{name}: LXD says `{}`", entry.status)),
            });
        }
        left -= 1;
        // Whether it is started or thawed, it runs.
        let thaw = wanted == Power::Running && power == Power::Frozen;
        let order = if thaw {
            &json!({"action": "unfreeze"})
        } else {
            order
        };
        let request = inner
            .api
            .request(
                "changing the state of the instance",
                reqwest::Method::PUT,
                &format!("instances/{name}/state"),
            )
            .json(order);
        if let Ended::Refused(why) = inner.api.operate(&request, deadline).await? {
            refused = Some(why);
            deadline.sleep(LOOK_AGAIN).await;
        }
    }
}
