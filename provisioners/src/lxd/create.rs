//! Making an instance: an empty one, its first files, its attachments, its first start.
//!
//! Every step can be done again, so whoever calls with the same operation goes on where the last caller stopped.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Config, Entry, Power};
use super::api::{Ended, LOOK_AGAIN, Said};
use super::names::{
    ATTACHMENTS, CREATED, ORDER, PROJECT, SERVER, STARTED, STARTING, WHOLE, config_of, id_of,
    name_for, order_of, place_of, tags_of,
};
use super::properties::{LxdProperties, check_attachments};
use super::refusal::refusal;
use super::{Inner, attach, boot, changes, power};
use crate::clock::now_ms;
use crate::{Deadline, InstanceId, MachineSpec, OperationId, Problem, ProvisionError, tag};

/// The state of the disk before anything was written to it, which a reimage goes back to.
pub(super) const SNAPSHOT: &str = "muster-pristine";
/// How often something is asked for that others may be making at the same time.
const TRIES: usize = 4;
/// How long taking an instance back may take beyond the call's deadline.
const ABANDON_WITHIN: Duration = Duration::from_secs(3);
/// How long after an instance was made it may take until that is written down on it.
const MARK_WITHIN: Duration = Duration::from_secs(2);

/// Everything that is wrong with a spec for this provisioner.
pub(super) fn check(spec: &MachineSpec) -> Result<LxdProperties, ProvisionError> {
    let mut problems = check_attachments(&spec.attachments);
    if spec.init.len() > MachineSpec::INIT_MAX_BYTES {
        let reason = format!("{} bytes are too long", spec.init.len());
        problems.push(Problem::new(
            "init",
            reason,
            "fetch the rest from elsewhere",
        ));
    }
    match LxdProperties::read(&spec.properties) {
        Ok(properties) if problems.is_empty() => Ok(properties),
        Ok(_) => Err(ProvisionError::Invalid(problems)),
        Err(more) => Err(ProvisionError::Invalid([problems, more].concat())),
    }
}

/// Makes and starts the instance of `op`, unless it was started before.
pub(super) async fn create(
    inner: &Inner,
    spec: &MachineSpec,
    op: &OperationId,
    deadline: Deadline,
) -> Result<InstanceId, ProvisionError> {
    let properties = check(spec)?;
    let name = name_for(op);
    let entry = make(inner, spec, &properties, op, deadline).await?;
    let made_by = order_of(&entry);
    if made_by.as_ref() != Some(op) {
        let whose = made_by.map_or_else(|| "nobody".to_owned(), |other| other.to_string());
        return Err(ProvisionError::failed(format!(
            "{name} belongs to {whose}, not to {op}"
        )));
    }
    let Some(id) = place_of(&entry).and_then(|place| id_of(&name, &place)) else {
        return Err(ProvisionError::failed(format!(
            "{name} doesn't say which server made it"
        )));
    };
    let written_anew = tags_of(&entry.config).get(tag::OPERATION) != Some(op.as_str());
    if written_anew || entry.config.contains_key(STARTED) {
        return Ok(id);
    }
    let completed = complete(
        inner,
        (&id, &name),
        (spec, &properties, op),
        &entry,
        deadline,
    )
    .await;
    match completed {
        Ok(()) => Ok(id),
        Err(error) if error.is_outcome_unknown() => Err(error),
        Err(error) => match inner.api.instance(&name, deadline).await {
            // Another call with the same operation was faster, and this one was in its way.
            Ok(Some((entry, _))) if entry.config.contains_key(STARTED) => Ok(id),
            Ok(None) => {
                changes::taken_back();
                Err(ProvisionError::unavailable(format!(
                    "another call with the same operation took {name} back ({error})"
                )))
            }
            _ => Err(abandon(inner, &name, error).await),
        },
    }
}

/// The instance of `op`, as it is or as it is made now.
async fn make(
    inner: &Inner,
    spec: &MachineSpec,
    properties: &LxdProperties,
    op: &OperationId,
    deadline: Deadline,
) -> Result<Entry, ProvisionError> {
    let name = name_for(op);
    let mut refused = None;
    for _ in 0..TRIES {
        if let Some(entry) = whole(inner, &name, deadline).await? {
            return Ok(entry);
        }
        if let Some(why) = refused {
            changes::taken_back();
            return Err(refusal(why));
        }
        let server = inner.api.known(deadline).await?.id.clone();
        let mut request = inner
            .api
            .request("making the instance", reqwest::Method::POST, "instances")
            .json(&body(
                (spec, properties, op),
                (&server, &inner.config.project),
                deadline,
            ));
        if let Some(target) = &properties.target {
            request = request.query("target", target);
        }
        match inner.api.operate(&request, deadline).await? {
            Ended::Done => {
                let whole = Config::from([(WHOLE.to_owned(), "true".to_owned())]);
                inner.api.set(&name, &whole, deadline).await?;
            }
            Ended::Refused(why) => refused = Some(why),
            Ended::Forgotten => {}
        }
    }
    Err(ProvisionError::unavailable(format!(
        "{name} was made and has gone again"
    )))
}

/// The instance of this name, once it is known to be whole. One that LXD did not finish, because it was ended on the way, stays
/// on its list for ever; it never ran, so it is deleted. `None` if there is none now.
async fn whole(
    inner: &Inner,
    name: &str,
    deadline: Deadline,
) -> Result<Option<Entry>, ProvisionError> {
    let patience = deadline.at_most(MARK_WITHIN);
    loop {
        inner.api.settle(name, deadline).await?;
        let Some((entry, _)) = inner.api.instance(name, deadline).await? else {
            return Ok(None);
        };
        if entry.config.contains_key(WHOLE) || order_of(&entry).is_none() {
            return Ok(Some(entry));
        }
        // Another call may have made it and be about to say so.
        if !patience.sleep(LOOK_AGAIN).await {
            break;
        }
    }
    delete(inner, name, deadline).await?;
    Ok(None)
}

/// What LXD is told of a new instance.
fn body(
    (spec, properties, op): (&MachineSpec, &LxdProperties, &OperationId),
    (server, project): (&str, &str),
    deadline: Deadline,
) -> Value {
    let mut config = properties.config.clone();
    config.extend(marks(spec, properties, op));
    config.insert(ORDER.to_owned(), op.as_str().to_owned());
    config.insert(SERVER.to_owned(), server.to_owned());
    config.insert(PROJECT.to_owned(), project.to_owned());
    config.insert(CREATED.to_owned(), now_ms().to_string());
    config.insert(
        STARTING.to_owned(),
        power::starting_by(deadline).to_string(),
    );
    json!({
        "name": name_for(op),
        "type": if properties.virtual_machine { "virtual-machine" } else { "container" },
        "source": source(properties),
        "profiles": properties.profiles,
        "config": config,
        "devices": properties.devices,
        "description": format!("{} of {}", spec.name, spec.boot.group),
    })
}

/// What the instance of an operation carries, and gets anew with every reimage.
pub(super) fn marks(spec: &MachineSpec, properties: &LxdProperties, op: &OperationId) -> Config {
    let mut config = config_of(&spec.tags_for(op));
    config.extend(attach::config_of(properties));
    if !spec.attachments.is_empty() {
        let attachments =
            serde_json::to_string(&spec.attachments).expect("texts can be written as JSON");
        config.insert(ATTACHMENTS.to_owned(), attachments);
    }
    config
}

fn source(properties: &LxdProperties) -> Value {
    let image = &properties.image;
    if let Some(server) = &properties.image_server {
        return json!({"type": "image", "mode": "pull", "server": server, "protocol": "simplestreams", "alias": image});
    }
    // LXD takes beginnings of fingerprints from 12 digits on.
    let is_fingerprint =
        (12..=64).contains(&image.len()) && image.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = if is_fingerprint {
        "fingerprint"
    } else {
        "alias"
    };
    json!({"type": "image", key: image})
}

/// Everything between an empty instance and one that runs.
async fn complete(
    inner: &Inner,
    (id, name): (&InstanceId, &str),
    (spec, properties, op): (&MachineSpec, &LxdProperties, &OperationId),
    entry: &Entry,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    if entry.power() == Power::Running {
        let started = Config::from([
            (STARTED.to_owned(), op.as_str().to_owned()),
            (STARTING.to_owned(), String::new()),
        ]);
        return inner.api.set(name, &started, deadline).await;
    }
    attach::make_disks(inner, properties, &spec.attachments, deadline).await?;
    if inner.config.snapshots {
        keep_pristine(inner, name, deadline).await?;
    }
    boot::write(inner, (id, name), (spec, properties, op), deadline).await?;
    power::start(inner, id, name, Some(op), deadline).await
}

/// Keeps the state of the disk before anything was written to it.
async fn keep_pristine(
    inner: &Inner,
    name: &str,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let all = format!("instances/{name}/snapshots");
    let look = inner.api.request(
        "looking for the snapshot",
        reqwest::Method::GET,
        &format!("{all}/{SNAPSHOT}"),
    );
    if inner.api.read(&look, deadline).await?.is_some() {
        return Ok(());
    }
    // A profile may say that snapshots expire; this one must not, which LXD writes as the year 1.
    let make = inner
        .api
        .request("taking a snapshot", reqwest::Method::POST, &all)
        .json(&json!({"name": SNAPSHOT, "stateful": false, "expires_at": "0001-01-01T00:00:00Z"}));
    if let Ended::Refused(why) = inner.api.operate(&make, deadline).await? {
        // Another call may have been faster.
        if inner.api.read(&look, deadline).await?.is_none() {
            return Err(refusal(format!(
                "taking the snapshot that a reimage needs (`snapshots = false` does without): {why}"
            )));
        }
    }
    Ok(())
}

/// Takes back an instance that can't be started, so that an error means that nothing was done. Gives the error to be
/// reported: if it can't be taken back, what is left is to be looked for.
async fn abandon(inner: &Inner, name: &str, error: ProvisionError) -> ProvisionError {
    let deadline = Deadline::after(ABANDON_WITHIN);
    let request = inner.api.request(
        "taking it back",
        reqwest::Method::DELETE,
        &format!("instances/{name}"),
    );
    let ended = inner.api.operate(&request, deadline).await;
    let gone =
        ended == Ok(Ended::Done) || matches!(inner.api.instance(name, deadline).await, Ok(None));
    if !gone {
        return ProvisionError::timeout(format!("making {name} ({error})"));
    }
    changes::taken_back();
    error
}

/// Deletes an instance that is stopped, until it is gone.
pub(super) async fn delete(
    inner: &Inner,
    name: &str,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let mut refused = None;
    for _ in 0..TRIES {
        inner.api.settle(name, deadline).await?;
        if inner.api.instance(name, deadline).await?.is_none() {
            return Ok(());
        }
        let request = inner.api.request(
            "deleting the instance",
            reqwest::Method::DELETE,
            &format!("instances/{name}"),
        );
        match inner.api.ask(&request, deadline).await? {
            Said::Missing(_) => return Ok(()),
            Said::No(why) => refused = Some(why),
            Said::Yes(response) => {
                if let Ended::Refused(why) = inner.api.follow(&response, deadline).await? {
                    refused = Some(why);
                }
            }
        }
    }
    Err(refusal(refused.unwrap_or_else(|| {
        format!("{name} comes back after it was deleted")
    })))
}
