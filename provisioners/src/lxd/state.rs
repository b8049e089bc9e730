//! What is said of instances: the list, and what is certain to be off.

use serde_json::json;

use super::Inner;
use super::answer::{Devices, Entry, Power};
use super::attach;
use super::names::{
    CREATED, SERVER, attachments_of, id_of, is_ours, name_for, order_of, split, starting_until,
    tags_of,
};
use crate::clock::now_ms;
use crate::{
    Deadline, Instance, InstanceId, InstanceState, Proof, Properties, ProvisionError, Tags, tag,
};

/// All instances of ours whose tags match.
pub(super) async fn describe(
    inner: &Inner,
    filter: &Tags,
    deadline: Deadline,
) -> Result<Vec<Instance>, ProvisionError> {
    let (entries, strange) = inner.api.instances(true, deadline).await?;
    let server = &inner.api.known(deadline).await?.id;
    let now = now_ms();
    let mut all = Vec::new();
    for entry in &entries {
        let instance = match order_of(entry) {
            Some(_) => instance_of(entry, now).filter(|instance| instance.tags.matches(filter)),
            None if is_ours(&entry.name) => {
                let why = format!("LXD says `{}` and none of its tags", entry.status);
                unreadable(
                    &entry.name,
                    server,
                    entry.power() == Power::Running,
                    &why,
                    filter,
                )
            }
            None => None,
        };
        all.extend(instance);
    }
    for (name, why) in strange.iter().filter(|(name, _)| is_ours(name)) {
        let why = format!("what LXD says of it is not understood: {why}");
        all.extend(unreadable(name, server, false, &why, filter));
    }
    all.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(all)
}

fn instance_of(entry: &Entry, now: u64) -> Option<Instance> {
    let id = id_of(&entry.name, entry.config.get(SERVER)?)?;
    let mut properties = Properties::new();
    properties.set("status", entry.status.as_str());
    properties.set("profiles", json!(entry.profiles));
    if !matches!(entry.location.as_str(), "" | "none") {
        properties.set("location", entry.location.as_str());
    }
    let state = state_of(entry, now);
    if state == InstanceState::Unknown {
        properties.set("why", format!("LXD says `{}`", entry.status));
    }
    Some(Instance {
        id,
        state,
        tags: tags_of(&entry.config),
        address: entry.address(),
        properties,
        created_at_ms: entry
            .config
            .get(CREATED)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        attachments: held(entry),
    })
}

/// An instance of ours of which LXD says no tags: its host is out of reach, or somebody removed them. It belongs to whoever
/// asks, since what is not listed is taken for gone.
fn unreadable(name: &str, server: &str, runs: bool, why: &str, filter: &Tags) -> Option<Instance> {
    if filter.get(tag::OPERATION).is_some() {
        return None;
    }
    let mut properties = Properties::new();
    properties.set("why", why);
    Some(Instance {
        id: id_of(name, server)?,
        state: if runs {
            InstanceState::Running
        } else {
            InstanceState::Unknown
        },
        tags: Tags::new(),
        address: None,
        properties,
        created_at_ms: 0,
        attachments: Vec::new(),
    })
}

fn state_of(entry: &Entry, now: u64) -> InstanceState {
    match entry.power() {
        // What is frozen holds its memory and its disks, and goes on when it is thawed.
        Power::Running | Power::Frozen => InstanceState::Running,
        Power::Starting => InstanceState::Starting,
        Power::Stopping => InstanceState::Stopping,
        Power::Stopped if starting_until(entry) > now => InstanceState::Starting,
        Power::Stopped => InstanceState::Stopped,
        Power::Unclear => InstanceState::Unknown,
    }
}

/// Those of its attachments that it has at present: one that was only stopped gives them up to its successor.
fn held(entry: &Entry) -> Vec<crate::Attachment> {
    let mut all = attachments_of(entry);
    let devices: &Devices = &entry.devices;
    all.retain(|attachment| attach::has(devices, attachment));
    all
}

/// The instance of this ID.
pub(super) async fn reach(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<Entry, ProvisionError> {
    match find(inner, id, deadline).await? {
        Some(entry) => Ok(entry),
        None => Err(ProvisionError::NotFound(id.clone())),
    }
}

/// The instance of this ID; `None` if it is certain that it is not there.
pub(super) async fn find(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<Option<Entry>, ProvisionError> {
    let Some((name, server)) = split(id) else {
        return Ok(None);
    };
    if let Some((entry, _)) = inner.api.instance(name, deadline).await? {
        let made_on = entry.config.get(SERVER).map(String::as_str);
        return match made_on {
            Some(there) if there != server => Err(elsewhere(inner, name, server, there)),
            _ => Ok(Some(entry)),
        };
    }
    // Asked anew: an address may lead to another server by now.
    let here = inner.api.look_at_server(deadline).await?.id;
    if here != server && !inner.config.is_former(server) {
        return Err(elsewhere(inner, name, server, &here));
    }
    Ok(None)
}

fn elsewhere(inner: &Inner, name: &str, server: &str, here: &str) -> ProvisionError {
    ProvisionError::failed(format!(
        "{name} was made by the server whose certificate begins with {server}, and {} shows one with {here}: configure `endpoint` \
         for that server, or, if its certificate was renewed, name the old one in `former_fingerprints`",
        inner.config.endpoint()
    ))
}

/// Whether an instance is certain not to run.
pub(super) async fn prove_off(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<Proof, ProvisionError> {
    let unknown = |why: String| Ok(Proof::Unknown { why });
    let Some((name, _)) = split(id) else {
        return unknown(format!("`{id}` is not an ID of this provisioner"));
    };
    let found = match find(inner, id, deadline).await {
        Ok(found) => found,
        Err(ProvisionError::Failed(why)) => return unknown(why),
        Err(error) => return Err(error),
    };
    let Some(entry) = found else {
        return prove_gone(inner, name, deadline).await;
    };
    match entry.power() {
        Power::Running | Power::Frozen | Power::Stopping | Power::Starting => {
            return Ok(Proof::Running);
        }
        Power::Unclear => return unknown(format!("LXD says `{}`", entry.status)),
        Power::Stopped => {}
    }
    if inner.api.under_way(name, deadline).await?.is_some() {
        return unknown("LXD is about to do something with it".to_owned());
    }
    if starting_until(&entry) > now_ms() {
        return unknown("somebody is about to start it".to_owned());
    }
    if entry.starts_by_itself() {
        return unknown(
            "it is stopped, and LXD would start it by itself when it starts".to_owned(),
        );
    }
    Ok(Proof::Off {
        how: format!("LXD says that {name} is stopped, and does not start it by itself"),
        at_ms: now_ms(),
    })
}

/// There is no instance of that name. A person may have given it another one.
async fn prove_gone(
    inner: &Inner,
    name: &str,
    deadline: Deadline,
) -> Result<Proof, ProvisionError> {
    if inner.api.under_way(name, deadline).await?.is_some() {
        return Ok(Proof::Unknown {
            why: "LXD is about to do something with it".to_owned(),
        });
    }
    let (entries, strange) = inner.api.instances(false, deadline).await?;
    let was = |entry: &&Entry| order_of(entry).is_some_and(|op| name_for(&op) == name);
    if let Some(entry) = entries.iter().find(was) {
        return Ok(Proof::Unknown {
            why: format!("it was renamed to {}", entry.name),
        });
    }
    if let Some((other, why)) = strange.first() {
        return Ok(Proof::Unknown {
            why: format!("what LXD says of `{other}` is not understood: {why}"),
        });
    }
    Ok(Proof::Off {
        how: format!("LXD has no instance {name}"),
        at_ms: now_ms(),
    })
}
