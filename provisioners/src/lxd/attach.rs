//! Attachments: disks (custom volumes) and addresses, of which at most one machine that may run has each.
//!
//! LXD mounts one volume into as many containers as one likes, so this is ours to prevent. A device stands in the
//! configuration of one instance of ours at a time. Whoever wants it says so first, on its own instance ([`STARTING`]), and
//! looks at all others then: of two that want it at the same moment at least one sees the other and gives way. A holder that
//! is off loses the device, so that it can't come back with it.
//!
//! [`STARTING`]: super::names::STARTING

use serde_json::json;

use super::Inner;
use super::answer::{Config, Devices, Entry, Power};
use super::api::Ended;
use super::names::{attachments_of, id_of, order_of, place_of, starting_until};
use super::properties::{DEVICE_PREFIX, LxdProperties};
use super::refusal::refusal as refused;
use crate::clock::now_ms;
use crate::{Attachment, Deadline, InstanceId, ProvisionError};

/// Where the properties that say how things are attached are kept with the instance, for its later starts.
pub(super) const POOL: &str = "user.muster-lxd.disk-pool";
pub(super) const PATH: &str = "user.muster-lxd.disk-path";
pub(super) const NETWORK_DEVICE: &str = "user.muster-lxd.address-device";
/// The network device as it was before it got an address, in JSON.
const NETWORK_DEVICE_WAS: &str = "user.muster-lxd.address-device-was";

/// The keys by which an instance knows how its attachments are attached.
pub(super) fn config_of(properties: &LxdProperties) -> Config {
    Config::from([
        (POOL.to_owned(), properties.disk_pool.clone()),
        (PATH.to_owned(), properties.disk_path.clone()),
        (NETWORK_DEVICE.to_owned(), properties.address_device.clone()),
    ])
}

/// Whether these devices, an instance's own, hold the attachment.
pub(super) fn has(devices: &Devices, attachment: &Attachment) -> bool {
    if is_address(attachment) {
        devices
            .values()
            .any(|device| has_address(device, &attachment.id))
    } else {
        devices.contains_key(&disk_device(&attachment.id))
    }
}

fn is_address(attachment: &Attachment) -> bool {
    attachment.kind == "address"
}

fn has_address(device: &Config, address: &str) -> bool {
    ["ipv4.address", "ipv6.address"]
        .iter()
        .any(|key| device.get(*key).is_some_and(|value| value == address))
}

fn disk_device(volume: &str) -> String {
    format!("{DEVICE_PREFIX}{volume}")
}

/// Makes the disks that are not there, where the group says how large they are to be.
pub(super) async fn make_disks(
    inner: &Inner,
    properties: &LxdProperties,
    attachments: &[Attachment],
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    for disk in attachments
        .iter()
        .filter(|attachment| !is_address(attachment))
    {
        let (pool, id) = (&properties.disk_pool, &disk.id);
        let volumes = format!("storage-pools/{pool}/volumes/custom");
        let look = inner.api.request(
            "looking for the disk",
            reqwest::Method::GET,
            &format!("{volumes}/{id}"),
        );
        if inner.api.read(&look, deadline).await?.is_some() {
            continue;
        }
        let Some(size) = &properties.disk_size else {
            return Err(ProvisionError::failed(format!(
                "there is no volume `{id}` in the pool `{pool}`: make it with `lxc storage volume create {pool} {id}`, or write \
                 `disk_size` so that it is made"
            )));
        };
        let make = inner
            .api
            .request("making the disk", reqwest::Method::POST, &volumes)
            .json(&json!({"name": id, "config": {"size": size}, "description": "made by muster"}));
        match inner.api.operate(&make, deadline).await? {
            Ended::Done => {}
            // Another call may have been faster.
            Ended::Refused(why) if inner.api.read(&look, deadline).await?.is_none() => {
                return Err(refused(format!(
                    "the disk `{id}` in the pool `{pool}`: {why}"
                )));
            }
            Ended::Refused(_) | Ended::Forgotten => {}
        }
    }
    Ok(())
}

/// Gives all attachments to the instance `name`, which has been announced, or refuses if another holds one.
pub(super) async fn take(
    inner: &Inner,
    name: &str,
    attachments: &[Attachment],
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    if attachments.is_empty() {
        return Ok(());
    }
    let (entries, strange) = inner.api.instances(false, deadline).await?;
    if let Some((other, why)) = strange.first() {
        return Err(ProvisionError::unavailable(format!(
            "what LXD says of `{other}` is not understood, and it might hold an attachment: {why}"
        )));
    }
    let Some(ours) = entries.iter().find(|entry| entry.name == name) else {
        return Err(ProvisionError::failed(format!("{name} has gone")));
    };
    let now = now_ms();
    for attachment in attachments {
        for other in entries.iter().filter(|entry| entry.name != name) {
            if holds(ours, other, attachment) && may_use(other) {
                return Err(refusal(attachment, other));
            }
            if starting_until(other) > now && attachments_of(other).contains(attachment) {
                return Err(refusal(attachment, other));
            }
        }
    }
    for other in entries.iter().filter(|entry| entry.name != name) {
        if attachments
            .iter()
            .any(|attachment| holds(ours, other, attachment))
        {
            revoke(inner, &other.name, attachments, deadline).await?;
        }
    }
    attach(inner, ours, attachments, deadline).await
}

/// Whether another instance has what an attachment of ours means.
fn holds(ours: &Entry, other: &Entry, attachment: &Attachment) -> bool {
    if is_address(attachment) {
        let network = ours
            .expanded_devices
            .get(&network_device(ours))
            .and_then(network_of);
        let mut devices = other.expanded_devices.values();
        return devices
            .any(|device| has_address(device, &attachment.id) && network_of(device) == network);
    }
    let pool = pool_of(ours);
    let mut devices = other.expanded_devices.values();
    devices.any(|device| {
        let is = |key: &str, value: &str| device.get(key).is_some_and(|there| there == value);
        is("type", "disk") && is("pool", pool) && is("source", &attachment.id)
    })
}

fn network_of(device: &Config) -> Option<&String> {
    device.get("network").or_else(|| device.get("parent"))
}

fn pool_of(entry: &Entry) -> &str {
    entry.config.get(POOL).map_or("default", String::as_str)
}

fn network_device(entry: &Entry) -> String {
    entry
        .config
        .get(NETWORK_DEVICE)
        .cloned()
        .unwrap_or_else(|| "eth0".to_owned())
}

/// Whether it may use what it holds. From machines that are not ours nothing is ever taken away.
fn may_use(other: &Entry) -> bool {
    other.power() != Power::Stopped || order_of(other).is_none()
}

fn refusal(attachment: &Attachment, other: &Entry) -> ProvisionError {
    let id: Option<InstanceId> = match place_of(other) {
        Some(place) => id_of(&other.name, &place),
        None => other.name.parse().ok(),
    };
    match id {
        Some(holder) => ProvisionError::Held {
            attachment: attachment.id.clone(),
            holder,
        },
        None => {
            ProvisionError::unavailable(format!("`{}` is held by another instance", attachment.id))
        }
    }
}

/// Takes attachments away from an instance that is off. Nothing is lost if it was started meanwhile: LXD then takes the
/// device out of the running machine, or refuses.
async fn revoke(
    inner: &Inner,
    name: &str,
    attachments: &[Attachment],
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let Some((entry, etag)) = inner.api.instance(name, deadline).await? else {
        return Ok(());
    };
    if let Some(attachment) = attachments.iter().find(|_| may_use(&entry)) {
        return Err(refusal(attachment, &entry));
    }
    let mut devices = entry.devices.clone();
    for attachment in attachments {
        if is_address(attachment) {
            for device in devices.values_mut() {
                // Without the whole device LXD forgets the lease too, which would keep the address from its successor.
                if has_address(device, &attachment.id) {
                    *device = Config::from([("type".to_owned(), "none".to_owned())]);
                }
            }
        } else {
            devices.remove(&disk_device(&attachment.id));
        }
    }
    replace_devices(inner, &entry, etag, &devices, deadline).await
}

/// Writes the whole configuration of an instance, with other devices.
async fn replace_devices(
    inner: &Inner,
    entry: &Entry,
    etag: Option<String>,
    devices: &Devices,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let mut request = inner
        .api
        .request(
            "taking away attachments",
            reqwest::Method::PUT,
            &format!("instances/{}", entry.name),
        )
        .json(&json!({
            "architecture": entry.architecture,
            "config": entry.config,
            "devices": devices,
            "ephemeral": entry.ephemeral,
            "profiles": entry.profiles,
            "stateful": entry.stateful,
            "description": entry.description,
        }));
    if let Some(etag) = etag {
        request = request.header(reqwest::header::IF_MATCH, &etag);
    }
    match inner.api.operate(&request, deadline).await? {
        Ended::Done => Ok(()),
        Ended::Refused(why) => Err(ProvisionError::unavailable(why)),
        Ended::Forgotten => Err(ProvisionError::unavailable(
            "LXD restarted while attachments were moved",
        )),
    }
}

async fn attach(
    inner: &Inner,
    ours: &Entry,
    attachments: &[Attachment],
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let (mut config, mut devices) = (Config::new(), Devices::new());
    for attachment in attachments {
        if has(&ours.devices, attachment) {
            continue;
        }
        if !is_address(attachment) {
            devices.insert(disk_device(&attachment.id), disk(ours, &attachment.id));
            continue;
        }
        let name = network_device(ours);
        let was = network_device_was(ours, &attachment.id)?;
        let text = serde_json::to_string(&was).expect("texts can be written as JSON");
        config.insert(NETWORK_DEVICE_WAS.to_owned(), text);
        let device = devices.entry(name).or_insert(was);
        let key = if attachment.id.contains(':') {
            "ipv6.address"
        } else {
            "ipv4.address"
        };
        device.insert(key.to_owned(), attachment.id.clone());
    }
    if devices.is_empty() {
        return Ok(());
    }
    let request = inner
        .api
        .request(
            "attaching",
            reqwest::Method::PATCH,
            &format!("instances/{}", ours.name),
        )
        .json(&json!({ "config": config, "devices": devices }));
    inner.api.change(&request, deadline).await
}

fn disk(ours: &Entry, volume: &str) -> Config {
    let path = ours.config.get(PATH).map_or("/disks", String::as_str);
    [
        ("type", "disk".to_owned()),
        ("pool", pool_of(ours).to_owned()),
        ("source", volume.to_owned()),
        ("path", format!("{path}/{volume}")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The instance's network device without any attached address.
fn network_device_was(ours: &Entry, address: &str) -> Result<Config, ProvisionError> {
    let name = network_device(ours);
    let kept = ours.config.get(NETWORK_DEVICE_WAS);
    let kept = kept.and_then(|text| serde_json::from_str::<Config>(text).ok());
    let device = kept.or_else(|| ours.expanded_devices.get(&name).cloned());
    let is_network = |device: &Config| device.get("type").is_some_and(|kind| kind == "nic");
    device.filter(is_network).ok_or_else(|| {
        ProvisionError::failed(format!(
            "the machine has no network device `{name}` to give {address} to: name one in `address_device`"
        ))
    })
}
