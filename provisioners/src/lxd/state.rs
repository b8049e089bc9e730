//! What is said of instances: the list, and what is certain to be off.

use serde_json::json;

use super::Inner;
use super::answer::{Devices, Entry, Power};
use super::attach;
use super::names::{
    CREATED, attachments_of, id_of, is_ours, is_same, order_of, place, place_of, split,
    starting_until, tags_of,
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
    let here = &place(&inner.api.known(deadline).await?.id, &inner.config.project);
    let now = now_ms();
    let mut all = Vec::new();
    for entry in &entries {
        let instance = match order_of(entry) {
            Some(_) => instance_of(entry, now).filter(|instance| instance.tags.matches(filter)),
            None if is_ours(&entry.name) => {
                let why = format!("LXD says `{}` and none of its tags", entry.status);
                unreadable(
                    &entry.name,
                    here,
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
        all.extend(unreadable(name, here, false, &why, filter));
    }
    all.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(all)
}

fn instance_of(entry: &Entry, now: u64) -> Option<Instance> {
    let id = id_of(&entry.name, &place_of(entry)?)?;
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
fn unreadable(name: &str, here: &str, runs: bool, why: &str, filter: &Tags) -> Option<Instance> {
    if filter.get(tag::OPERATION).is_some() {
        return None;
    }
    let mut properties = Properties::new();
    properties.set("why", why);
    Some(Instance {
        id: id_of(name, here)?,
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
        // After a crash of its host LXD starts one after the other: what waits for its turn is not off.
        Power::Stopped if starting_until(entry) > now || entry.starts_by_itself() => {
            InstanceState::Starting
        }
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

/// The instance of this ID; `None` if it is certain that it is not there, by another name or in another project either.
pub(super) async fn find(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<Option<Entry>, ProvisionError> {
    let Some((name, made_in)) = split(id) else {
        return Ok(None);
    };
    if let Some(entry) = find_by_name(inner, (name, made_in), deadline).await? {
        return Ok(Some(entry));
    }
    let (entries, _) = everything(inner, deadline).await?;
    match moved(&entries, name, made_in) {
        Some(why) => Err(ProvisionError::failed(why)),
        None => Ok(None),
    }
}

/// The instance of this name that was made in this place; `None` if it doesn't go by that name there.
async fn find_by_name(
    inner: &Inner,
    (name, made_in): (&str, &str),
    deadline: Deadline,
) -> Result<Option<Entry>, ProvisionError> {
    if let Some((entry, _)) = inner.api.instance(name, deadline).await? {
        return match place_of(&entry) {
            Some(there) if there != made_in => Err(elsewhere(inner, name, made_in, &there)),
            _ => Ok(Some(entry)),
        };
    }
    // Asked anew: an address may lead to another server by now.
    let server = inner.api.look_at_server(deadline).await?.id;
    if !inner.config.is_here(made_in, &server) {
        let here = place(&server, &inner.config.project);
        return Err(elsewhere(inner, name, made_in, &here));
    }
    Ok(None)
}

fn elsewhere(inner: &Inner, name: &str, made_in: &str, here: &str) -> ProvisionError {
    ProvisionError::failed(format!(
        "{name} was made in {made_in} (the beginning of the server's certificate, and the project), and {} shows {here}: \
         configure `endpoint` and `project` for it, or, if the server's certificate was renewed, name the old one in \
         `former_fingerprints`",
        inner.config.endpoint()
    ))
}

/// All instances of the project, and of all others that may be seen; and those that can't be read, with why.
async fn everything(
    inner: &Inner,
    deadline: Deadline,
) -> Result<(Vec<Entry>, Vec<(String, String)>), ProvisionError> {
    let (mut entries, mut strange) = inner.api.instances(false, deadline).await?;
    let (others, more) = inner.api.of_all_projects(deadline).await?;
    entries.extend(others);
    strange.extend(more);
    Ok((entries, strange))
}

/// Where the instance of this name and place has gone: a person may have given it another name, or another project.
fn moved(entries: &[Entry], name: &str, made_in: &str) -> Option<String> {
    let entry = entries.iter().find(|entry| is_same(entry, name, made_in))?;
    Some(format!(
        "{name} was renamed or moved: it is {} in the project `{}`",
        entry.name, entry.project
    ))
}

/// Whether an instance is certain not to run.
pub(super) async fn prove_off(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<Proof, ProvisionError> {
    let unknown = |why: String| Ok(Proof::Unknown { why });
    let Some((name, made_in)) = split(id) else {
        return unknown(format!("`{id}` is not an ID of this provisioner"));
    };
    let found = match find_by_name(inner, (name, made_in), deadline).await {
        Ok(found) => found,
        Err(ProvisionError::Failed(why)) => return unknown(why),
        Err(error) => return Err(error),
    };
    let Some(entry) = found else {
        return prove_gone(inner, (name, made_in), deadline).await;
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

/// There is no instance of that name.
async fn prove_gone(
    inner: &Inner,
    (name, made_in): (&str, &str),
    deadline: Deadline,
) -> Result<Proof, ProvisionError> {
    if inner.api.under_way(name, deadline).await?.is_some() {
        return Ok(Proof::Unknown {
            why: "LXD is about to do something with it".to_owned(),
        });
    }
    let (entries, strange) = everything(inner, deadline).await?;
    if let Some(why) = moved(&entries, name, made_in) {
        return Ok(Proof::Unknown { why });
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

#[cfg(test)]
mod tests {
    use super::super::names::STARTING;
    use super::*;

    #[test]
    fn what_will_start_is_not_listed_as_stopped() {
        let with = |key: &str, value: &str| {
            let config = json!({key: value});
            let entry = json!({"status_code": 102, "config": config, "expanded_config": config});
            let entry: Entry = serde_json::from_value(entry).expect("readable");
            state_of(&entry, 1_000)
        };
        let last = "volatile.last_state.power";
        assert_eq!(with(last, "RUNNING"), InstanceState::Starting);
        assert_eq!(with("boot.autostart", "true"), InstanceState::Starting);
        assert_eq!(with(STARTING, "1001"), InstanceState::Starting);
        assert_eq!(with(STARTING, "1000"), InstanceState::Stopped);
        assert_eq!(with(last, "STOPPED"), InstanceState::Stopped);
    }
}
