//! Writing a machine anew: its disk goes back to the snapshot from before its first start.

use serde_json::json;

use super::answer::{Config, Entry};
use super::api::Ended;
use super::create::{SNAPSHOT, check, marks};
use super::names::{RESERVED, STARTED, tags_of};
use super::power::{self, Manner};
use super::refusal::refusal;
use super::{Inner, attach, boot, state};
use crate::{Deadline, InstanceId, MachineSpec, OperationId, ProvisionError, tag};

/// Writes the instance anew for the machine of `spec`, or completes what an earlier call of `op` began.
pub(super) async fn reimage(
    inner: &Inner,
    id: &InstanceId,
    spec: &MachineSpec,
    op: &OperationId,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let mut entry = state::reach(inner, id, deadline).await?;
    let name = entry.name.clone();
    let properties = check(spec)?;
    if tags_of(&entry.config).get(tag::OPERATION) != Some(op.as_str()) {
        power::stop(inner, &name, Manner::AtOnce, deadline).await?;
        restore(inner, &name, deadline).await?;
        entry = state::reach(inner, id, deadline).await?;
        // From here on it is the machine of `op`: nothing is written over it again.
        let config = replaced(&entry, marks(spec, &properties, op));
        power::announce(inner, &name, config, deadline).await?;
    } else if entry.config.contains_key(STARTED) {
        return Ok(());
    }
    attach::make_disks(inner, &properties, &spec.attachments, deadline).await?;
    boot::write(inner, (id, &name), (spec, &properties, op), deadline).await?;
    power::start(inner, id, &name, Some(op), deadline).await
}

/// These keys, and the removal of those of ours that the machine before had and this one hasn't.
fn replaced(entry: &Entry, marks: Config) -> Config {
    let mut config: Config = entry
        .config
        .keys()
        .filter(|key| {
            key.starts_with(RESERVED[0]) || *key == STARTED || *key == super::names::ATTACHMENTS
        })
        .map(|key| (key.clone(), String::new()))
        .collect();
    config.extend(marks);
    config
}

/// Puts the disk, and with it the configuration and the devices, back to what they were before the first start.
async fn restore(inner: &Inner, name: &str, deadline: Deadline) -> Result<(), ProvisionError> {
    let request = inner
        .api
        .request(
            "going back to the snapshot",
            reqwest::Method::PUT,
            &format!("instances/{name}"),
        )
        .json(&json!({"restore": SNAPSHOT}));
    match inner.api.operate(&request, deadline).await? {
        Ended::Done => Ok(()),
        Ended::Refused(why) => Err(refusal(format!(
            "{why} (machines that were made with `snapshots = false` can't be written anew)"
        ))),
        Ended::Forgotten => Err(ProvisionError::timeout("going back to the snapshot")),
    }
}
