//! What a group may say about machines that are LXD's.

use std::collections::BTreeMap;

use super::answer::{Config, Devices};
use super::names::RESERVED;
use crate::{Attachment, Fields, Problem, Properties};

const ENTRIES_MAX: usize = 64;
const TEXT_MAX_BYTES: usize = 4096;
/// What devices are called that muster makes.
pub(super) const DEVICE_PREFIX: &str = "muster-";
/// Configuration of its kind is LXD's own business, or muster's.
const OTHERS: [(&str, &str); 4] = [
    ("volatile.", "it is LXD's own"),
    ("image.", "it is LXD's own"),
    ("boot.autostart", "muster decides when a machine starts"),
    ("cloud-init.user-data", "muster writes it"),
];

/// The properties of a group's template, checked.
///
/// | property | meaning | default |
/// |---|---|---|
/// | `image` | the image's alias or fingerprint | needed |
/// | `image_server` | the simplestreams server that has the image | the LXD server itself |
/// | `type` | `container` or `virtual-machine` | `container` |
/// | `profiles` | LXD's profiles, in their order | `["default"]` |
/// | `config` | keys of the instance's configuration | none |
/// | `devices` | devices by name, each an object of texts | none |
/// | `target` | the member of LXD's cluster, or `@group` of members | LXD chooses |
/// | `zone` | the machine's label `zone` | none |
/// | `boot` | how the agent's configuration gets there: `file` or `cloud-init` | `file` |
/// | `config_path` | where the agent's configuration is written | `/etc/muster.toml` |
/// | `agent_path` | where this agent's own program is written, if at all | not |
/// | `disk_pool` | the storage pool of the disks that are attached | `default` |
/// | `disk_size` | the size of a disk that is made because there is none; without it none is made | none |
/// | `disk_path` | the directory that disks are mounted in, each under its own name | `/disks` |
/// | `address_device` | the network device that attached addresses are given to | `eth0` |
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LxdProperties {
    pub(super) image: String,
    pub(super) image_server: Option<String>,
    pub(super) virtual_machine: bool,
    pub(super) profiles: Vec<String>,
    pub(super) config: Config,
    pub(super) devices: Devices,
    pub(super) target: Option<String>,
    pub(super) zone: Option<String>,
    pub(super) boot: Boot,
    pub(super) config_path: String,
    pub(super) agent_path: Option<String>,
    pub(super) disk_pool: String,
    pub(super) disk_size: Option<String>,
    pub(super) disk_path: String,
    pub(super) address_device: String,
}

/// How the agent's configuration reaches a new machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Boot {
    /// A file written before the first start.
    File,
    /// User data for cloud-init, which writes the file.
    CloudInit,
}

impl LxdProperties {
    /// Reads and checks a group's properties. Pure.
    pub(super) fn read(properties: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(properties);
        let virtual_machine = choice(&mut fields, "type", ["container", "virtual-machine"]) == 1;
        let boot = match choice(&mut fields, "boot", ["file", "cloud-init"]) {
            0 => Boot::File,
            _ => Boot::CloudInit,
        };
        let this = Self {
            image: read_image(&mut fields),
            image_server: read_image_server(&mut fields),
            virtual_machine,
            profiles: fields
                .strings("profiles")
                .unwrap_or_else(|| vec!["default".to_owned()]),
            config: read_config(&mut fields),
            devices: read_devices(&mut fields),
            target: read_word(&mut fields, "target"),
            zone: read_word(&mut fields, "zone"),
            boot,
            config_path: read_path(&mut fields, "config_path")
                .unwrap_or_else(|| "/etc/muster.toml".to_owned()),
            agent_path: read_path(&mut fields, "agent_path"),
            disk_pool: read_word(&mut fields, "disk_pool").unwrap_or_else(|| "default".to_owned()),
            disk_size: read_word(&mut fields, "disk_size"),
            disk_path: read_path(&mut fields, "disk_path").unwrap_or_else(|| "/disks".to_owned()),
            address_device: read_word(&mut fields, "address_device")
                .unwrap_or_else(|| "eth0".to_owned()),
        };
        if virtual_machine && boot == Boot::File {
            let reason = "files can't be written into a virtual machine that has not started yet";
            fields.problem("boot", reason, "write boot = \"cloud-init\"");
        }
        if this.agent_path.is_some() && (virtual_machine || boot != Boot::File) {
            let reason = "the agent's program is written together with its configuration file";
            fields.problem("agent_path", reason, "put the agent into the image");
        }
        let problems = fields.finish();
        if problems.is_empty() {
            Ok(this)
        } else {
            Err(problems)
        }
    }
}

/// What is wrong with the attachments of a machine.
pub(super) fn check_attachments(attachments: &[Attachment]) -> Vec<Problem> {
    let check = |(index, attachment): (usize, &Attachment)| {
        let field = format!("attachments[{index}]");
        match attachment.kind.as_str() {
            "" | "disk" if is_word(&attachment.id) => None,
            "" | "disk" => Some(Problem::new(
                field,
                format!("`{}` can't be the name of a volume", shown(&attachment.id)),
                "use 1 to 63 letters, digits, dots, underscores and hyphens",
            )),
            "address" if attachment.id.parse::<std::net::IpAddr>().is_ok() => None,
            "address" => Some(Problem::new(
                field,
                format!("`{}` is no address", shown(&attachment.id)),
                "write an address such as 10.0.0.5",
            )),
            other => Some(Problem::new(
                field,
                format!("there is no kind of attachment `{}`", shown(other)),
                "write `disk` or `address`",
            )),
        }
    };
    attachments.iter().enumerate().filter_map(check).collect()
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

fn read_image(fields: &mut Fields<'_>) -> String {
    let image = fields.string("image");
    if fields.written("image").is_none() {
        fields.problem(
            "image",
            "there is no image to make machines from",
            "write the alias or fingerprint of an image, such as \"debian-12\"",
        );
    }
    let image = image.unwrap_or_default();
    let blank = fields.written("image").is_some() && image.trim().is_empty();
    if blank || image.len() > TEXT_MAX_BYTES {
        fields.problem(
            "image",
            "no alias or fingerprint of an image",
            "write one of those that `lxc image list` shows",
        );
    }
    image
}

fn read_image_server(fields: &mut Fields<'_>) -> Option<String> {
    let server = fields.string("image_server")?;
    if !server.starts_with("https://") {
        fields.problem(
            "image_server",
            "it is no `https` address",
            "write `https://…`, a simplestreams server",
        );
    }
    Some(server)
}

fn read_config(fields: &mut Fields<'_>) -> Config {
    let config = fields.string_map("config").unwrap_or_default();
    for (key, value) in &config {
        let field = format!("config.{key}");
        let ours = RESERVED.map(|prefix| (prefix, "muster keeps its own there"));
        let reserved = OTHERS
            .iter()
            .chain(&ours)
            .find(|(prefix, _)| key.starts_with(prefix));
        if let Some((_, why)) = reserved {
            fields.problem(&field, *why, "leave it out");
        }
        if value.len() > TEXT_MAX_BYTES {
            fields.problem(
                &field,
                format!("{} bytes are too long", value.len()),
                "put it into a profile",
            );
        }
    }
    limit(fields, "config", config.len());
    config
}

fn read_devices(fields: &mut Fields<'_>) -> Devices {
    let Some(value) = fields.value("devices") else {
        return Devices::new();
    };
    let Some(written) = value.as_object() else {
        fields.problem(
            "devices",
            "expected an object of devices",
            "write devices = { eth0 = { type = \"nic\", network = \"lxdbr0\" } }",
        );
        return Devices::new();
    };
    let mut devices = Devices::new();
    for (name, device) in written {
        let field = format!("devices.{name}");
        if name.starts_with(DEVICE_PREFIX) || !is_word(name) {
            let reason = format!("devices can't be called so; `{DEVICE_PREFIX}…` are muster's");
            fields.problem(&field, reason, "choose another name");
        }
        match device_of(device) {
            Some(device) if device.contains_key("type") => {
                devices.insert(name.clone(), device);
            }
            Some(_) => fields.problem(
                &field,
                "it has no type",
                "write type = \"disk\", \"nic\" or another of LXD's",
            ),
            None => fields.problem(
                &field,
                "expected an object of texts",
                "write { type = \"nic\", network = \"lxdbr0\" }",
            ),
        }
    }
    limit(fields, "devices", devices.len());
    devices
}

/// Numbers and truth values become their text, as LXD has them.
fn device_of(value: &serde_json::Value) -> Option<BTreeMap<String, String>> {
    let text = |(key, value): (&String, &serde_json::Value)| {
        let text = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::Bool(truth) => truth.to_string(),
            _ => return None,
        };
        Some((key.clone(), text))
    };
    value.as_object()?.iter().map(text).collect()
}

fn limit(fields: &mut Fields<'_>, name: &str, count: usize) {
    if count > ENTRIES_MAX {
        fields.problem(
            name,
            format!("{count} entries are too many"),
            format!("keep to {ENTRIES_MAX}, and put the rest into a profile"),
        );
    }
}

/// The index of the word that is written; 0, the default, if none is.
fn choice<const N: usize>(fields: &mut Fields<'_>, name: &str, words: [&str; N]) -> usize {
    let Some(word) = fields.string(name) else {
        return 0;
    };
    let index = words.iter().position(|known| **known == word);
    if index.is_none() {
        fields.problem(
            name,
            format!("`{}` is not known", shown(&word)),
            format!("write one of: {}", words.join(", ")),
        );
    }
    index.unwrap_or(0)
}

fn read_word(fields: &mut Fields<'_>, name: &str) -> Option<String> {
    let word = fields.string(name)?;
    let bare = word.strip_prefix('@').filter(|_| name == "target");
    if !is_word(bare.unwrap_or(&word)) {
        fields.problem(
            name,
            "no name",
            "use 1 to 63 letters, digits, dots, underscores and hyphens",
        );
    }
    Some(word)
}

/// Names of pools, volumes, devices and members, all of which become parts of addresses.
fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

fn read_path(fields: &mut Fields<'_>, name: &str) -> Option<String> {
    let path = fields.string(name)?;
    let plain = path.len() <= TEXT_MAX_BYTES && !path.contains(char::is_control);
    let parts = path
        .split('/')
        .skip(1)
        .all(|part| !matches!(part, "" | "." | ".."));
    if !path.starts_with('/') || !plain || !parts {
        fields.problem(
            name,
            "no absolute path",
            "write a path such as /etc/muster.toml",
        );
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<LxdProperties, Vec<Problem>> {
        LxdProperties::read(&json.parse().expect("valid JSON"))
    }

    #[test]
    fn an_image_is_enough() {
        let this = read(r#"{"image": "debian-12"}"#).expect("valid");
        assert_eq!(
            (this.boot, this.profiles),
            (Boot::File, vec!["default".to_owned()])
        );
        assert_eq!(this.config_path, "/etc/muster.toml");
    }

    #[test]
    fn every_problem_is_found_with_its_field() {
        let cases = [
            (r"{}", "image"),
            (r#"{"image": ""}"#, "image"),
            (
                r#"{"image": "x", "image_server": "http://x"}"#,
                "image_server",
            ),
            (r#"{"image": "x", "type": "vm"}"#, "type"),
            (r#"{"image": "x", "type": "virtual-machine"}"#, "boot"),
            (
                r#"{"image": "x", "boot": "cloud-init", "agent_path": "/bin/muster"}"#,
                "agent_path",
            ),
            (
                r#"{"image": "x", "config": {"user.muster.group": "y"}}"#,
                "config.user.muster.group",
            ),
            (
                r#"{"image": "x", "config": {"boot.autostart": true}}"#,
                "config.boot.autostart",
            ),
            (
                r#"{"image": "x", "config": {"volatile.x": "y"}}"#,
                "config.volatile.x",
            ),
            (
                r#"{"image": "x", "devices": {"muster-a": {"type": "disk"}}}"#,
                "devices.muster-a",
            ),
            (
                r#"{"image": "x", "devices": {"a": {"path": "/"}}}"#,
                "devices.a",
            ),
            (
                r#"{"image": "x", "devices": {"a": {"type": []}}}"#,
                "devices.a",
            ),
            (r#"{"image": "x", "devices": []}"#, "devices"),
            (r#"{"image": "x", "target": "a/b"}"#, "target"),
            (r#"{"image": "x", "config_path": "etc/x"}"#, "config_path"),
            (r#"{"image": "x", "disk_path": "/a/../b"}"#, "disk_path"),
            (r#"{"image": "x", "colour": 1}"#, "colour"),
        ];
        for (json, field) in cases {
            let problems = read(json).expect_err(json);
            assert!(
                problems.iter().any(|problem| problem.field == field),
                "{json}: {problems:?}"
            );
        }
    }

    #[test]
    fn only_disks_and_addresses_can_be_attached() {
        let good = [
            ("data-1", ""),
            ("data_1", "disk"),
            ("10.0.0.5", "address"),
            ("fd00::1", "address"),
        ];
        assert_eq!(
            check_attachments(&good.map(|(id, kind)| Attachment::new(id, kind))),
            []
        );
        let bad = [
            ("a/b", ""),
            ("..", "disk"),
            ("", ""),
            ("10.0.0", "address"),
            ("x", "ebs"),
        ];
        let problems = check_attachments(&bad.map(|(id, kind)| Attachment::new(id, kind)));
        assert_eq!(problems.len(), bad.len(), "{problems:?}");
    }
}
