//! What a group may say about machines that are EC2 instances.

use std::collections::BTreeMap;

use crate::{Fields, Problem, Properties};

/// A text of the API that is longer is none.
const TEXT_MAX_BYTES: usize = 256;
const SUBNETS_MAX: usize = 16;
/// EC2's own limit for one interface, unless it was raised.
const SECURITY_GROUPS_MAX: usize = 16;
/// EC2 allows 50; muster needs up to 20 of its own.
const TAGS_MAX: usize = 25;
const VOLUME_GB_MAX: u64 = 65_536;
const HOPS_MAX: u64 = 64;
/// How the image's agent is begun after its configuration has been written.
const START: &str = "systemctl enable --now muster";
/// Where the image's agent looks for its configuration.
const CONFIG_FILE: &str = "/etc/muster.toml";

/// The properties of a group's template, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AwsProperties {
    /// The image (AMI).
    pub(super) image: Option<String>,
    /// The type.
    pub(super) instance_type: Option<String>,
    /// A launch template, with what isn't said here.
    pub(super) launch_template: Option<LaunchTemplate>,
    /// Where it may stand; the default network if there are none.
    pub(super) subnets: Vec<String>,
    /// Its security groups, by ID.
    pub(super) security_groups: Vec<String>,
    /// A key pair, for people to log in.
    pub(super) key_name: Option<String>,
    /// Its role: the name or ARN of an instance profile.
    pub(super) instance_profile: Option<String>,
    /// Whether it is a spot instance.
    pub(super) spot: Option<Spot>,
    /// Its root volume, where it isn't as the image says.
    pub(super) root_volume: Option<RootVolume>,
    /// More tags for people, on the instance.
    pub(super) tags: BTreeMap<String, String>,
    /// How far from the machine the metadata service answers; 2 with containers.
    pub(super) metadata_hops: u64,
    /// Where the image's agent looks for its configuration.
    pub(super) config_file: String,
    /// The command that begins the agent.
    pub(super) start: String,
}

/// A launch template of one version: a repair must not bring in another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LaunchTemplate {
    /// `lt-...`, or else its name.
    pub(super) name: String,
    /// Its version.
    pub(super) version: u64,
}

/// What is asked of the spot market.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Spot {
    /// The most to be paid for an hour, in dollars; the price on demand if `None`.
    pub(super) max_price: Option<String>,
}

/// A root volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootVolume {
    /// The image's name of the device.
    pub(super) device: String,
    /// Its size in GiB.
    pub(super) size_gb: Option<u64>,
    /// Its type, such as `gp3`.
    pub(super) kind: Option<String>,
    /// Whether it is encrypted.
    pub(super) encrypted: Option<bool>,
}

impl AwsProperties {
    /// Reads and checks a group's properties. Pure.
    pub(super) fn read(properties: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(properties);
        let this = Self {
            image: id(&mut fields, "image", "ami-"),
            instance_type: text(&mut fields, "instance_type"),
            launch_template: fields.object("launch_template", read_template).flatten(),
            subnets: ids(&mut fields, "subnets", "subnet-", SUBNETS_MAX),
            security_groups: ids(&mut fields, "security_groups", "sg-", SECURITY_GROUPS_MAX),
            key_name: text(&mut fields, "key_name"),
            instance_profile: text(&mut fields, "instance_profile"),
            spot: read_spot(&mut fields),
            root_volume: fields.object("root_volume", read_root_volume).flatten(),
            tags: read_tags(&mut fields),
            metadata_hops: fields.integer("metadata_hops").unwrap_or(1),
            config_file: text(&mut fields, "config_file").unwrap_or_else(|| CONFIG_FILE.to_owned()),
            start: fields.string("start").unwrap_or_else(|| START.to_owned()),
        };
        this.check(&mut fields);
        let problems = fields.finish();
        if problems.is_empty() {
            Ok(this)
        } else {
            Err(problems)
        }
    }

    fn check(&self, fields: &mut Fields<'_>) {
        let template = fields.written("launch_template").is_some();
        for (field, example) in [
            ("image", "ami-0123456789abcdef0"),
            ("instance_type", "t3.small"),
        ] {
            if fields.written(field).is_none() && !template {
                let remedy =
                    format!("write {field} = \"{example}\", or a launch_template that has one");
                fields.problem(field, "it is missing", remedy);
            }
        }
        if !(1..=HOPS_MAX).contains(&self.metadata_hops) {
            let remedy = format!("write a number from 1 to {HOPS_MAX}");
            fields.problem("metadata_hops", "no number of hops", remedy);
        }
        let plain = self
            .config_file
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        if !self.config_file.starts_with('/') || !plain || self.config_file.ends_with('/') {
            let remedy = "write an absolute path of letters, digits, dots, hyphens and underscores";
            fields.problem("config_file", "no path of a file", remedy);
        }
        if self.start.len() > 1024 || self.start.contains(['\0', '\n']) {
            let remedy = "write one line of shell, at most 1024 bytes";
            fields.problem("start", "no command", remedy);
        }
    }
}

/// Whether a text can be an ID: the prefix, and then lower-case letters and digits.
pub(super) fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        (1..=40).contains(&rest.len())
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

fn id(fields: &mut Fields<'_>, name: &str, prefix: &str) -> Option<String> {
    let id = fields.string(name)?;
    if is_id(&id, prefix) {
        return Some(id);
    }
    no_id(fields, name, &id, prefix);
    None
}

fn ids(fields: &mut Fields<'_>, name: &str, prefix: &str, max: usize) -> Vec<String> {
    let ids = fields.strings(name).unwrap_or_default();
    for (index, id) in ids.iter().enumerate() {
        let field = format!("{name}[{index}]");
        if !is_id(id, prefix) {
            no_id(fields, &field, id, prefix);
        } else if ids[..index].contains(id) {
            fields.problem(
                &field,
                format!("`{id}` stands there twice"),
                "write it once",
            );
        }
    }
    if ids.len() > max {
        fields.problem(
            name,
            format!("{} are too many", ids.len()),
            format!("keep to {max}"),
        );
    }
    ids
}

fn no_id(fields: &mut Fields<'_>, field: &str, id: &str, prefix: &str) {
    let shown: String = id.chars().take(60).collect();
    let remedy = format!("write one such as {prefix}0123456789abcdef0");
    fields.problem(field, format!("`{shown}` is no ID of that kind"), remedy);
}

fn text(fields: &mut Fields<'_>, name: &str) -> Option<String> {
    let text = fields.string(name)?;
    let printable = text.chars().all(|c| !c.is_control());
    if (1..=TEXT_MAX_BYTES).contains(&text.len()) && printable {
        return Some(text);
    }
    let remedy = format!("write 1 to {TEXT_MAX_BYTES} printable characters");
    fields.problem(name, "empty, too long or not printable", remedy);
    None
}

fn read_template(fields: &mut Fields<'_>) -> Option<LaunchTemplate> {
    let (id, name) = (id(fields, "id", "lt-"), text(fields, "name"));
    let version = fields.integer("version");
    let wrote = |field| usize::from(fields.written(field).is_some());
    if wrote("id") + wrote("name") != 1 {
        fields.problem("id", "a template is named once", "write either id or name");
    }
    if version.is_none_or(|version| version == 0) {
        let reason = "a repair must not bring in another version, so one is named";
        fields.problem("version", reason, "write version = 1, a number");
    }
    Some(LaunchTemplate {
        name: id.or(name)?,
        version: version?,
    })
}

fn read_spot(fields: &mut Fields<'_>) -> Option<Spot> {
    match fields.written("spot") {
        None => None,
        Some(_) => {
            let spot = fields.object("spot", |spot| Spot {
                max_price: spot.string("max_price"),
            })?;
            let price = spot.max_price.as_deref();
            let is_price = |price: &str| {
                price.len() <= 16
                    && price
                        .parse::<f64>()
                        .is_ok_and(|price| price > 0.0 && price.is_finite())
            };
            if price.is_some_and(|price| !is_price(price)) {
                fields.problem(
                    "spot.max_price",
                    "no price",
                    "write dollars an hour, such as \"0.05\"",
                );
            }
            Some(spot)
        }
    }
}

fn read_root_volume(fields: &mut Fields<'_>) -> Option<RootVolume> {
    let device = text(fields, "device");
    if fields.written("device").is_none() {
        let remedy = "write the image's root device, such as \"/dev/xvda\"";
        fields.problem("device", "it is missing", remedy);
    }
    let size_gb = fields.integer("size_gb");
    if size_gb.is_some_and(|size| !(1..=VOLUME_GB_MAX).contains(&size)) {
        let remedy = format!("write a number from 1 to {VOLUME_GB_MAX}");
        fields.problem("size_gb", "no size in GiB", remedy);
    }
    Some(RootVolume {
        device: device?,
        size_gb,
        kind: text(fields, "type"),
        encrypted: fields.boolean("encrypted"),
    })
}

fn read_tags(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let tags = fields.string_map("tags").unwrap_or_default();
    for (name, value) in &tags {
        if let Some(reason) = refuse_tag(name, value) {
            fields.problem(&format!("tags.{name}"), reason, "choose another one");
        } else if name.starts_with(crate::tag::PREFIX) || name == NAME_TAG {
            fields.problem(
                &format!("tags.{name}"),
                "muster sets it itself",
                "choose another name",
            );
        }
    }
    if tags.len() > TAGS_MAX {
        fields.problem(
            "tags",
            format!("{} are too many", tags.len()),
            format!("keep to {TAGS_MAX}"),
        );
    }
    tags
}

/// The tag that consoles show as an instance's name.
pub(super) const NAME_TAG: &str = "Name";

/// Why EC2 would refuse a tag.
pub(super) fn refuse_tag(name: &str, value: &str) -> Option<&'static str> {
    if name.is_empty() || name.chars().count() > 128 {
        return Some("the name of a tag has 1 to 128 characters");
    }
    if name.to_lowercase().starts_with("aws:") {
        return Some("names that begin with `aws:` are the provider's");
    }
    (value.chars().count() > 256).then_some("the value of a tag has at most 256 characters")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(json: serde_json::Value) -> Vec<String> {
        let properties = Properties::from_value(json).expect("an object");
        let problems = AwsProperties::read(&properties).err().unwrap_or_default();
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn the_least_and_the_most_are_accepted() {
        let least = json!({"image": "ami-0a", "instance_type": "t3.small"});
        assert_eq!(fields(least), Vec::<String>::new());
        let template = json!({"launch_template": {"name": "web", "version": 3}});
        assert_eq!(fields(template), Vec::<String>::new());
        let most = json!({
            "image": "ami-0a", "instance_type": "t3.small", "launch_template": {"id": "lt-1", "version": 3},
            "subnets": ["subnet-1", "subnet-2"], "security_groups": ["sg-1"], "key_name": "ops",
            "instance_profile": "web", "spot": {"max_price": "0.05"}, "tags": {"owner": "me"},
            "root_volume": {"device": "/dev/xvda", "size_gb": 20, "type": "gp3", "encrypted": true},
            "metadata_hops": 2, "config_file": "/etc/a.toml", "start": "service muster start"
        });
        assert_eq!(fields(most), Vec::<String>::new());
    }

    #[test]
    fn every_problem_is_found_with_its_field() {
        assert_eq!(fields(json!({})), ["image", "instance_type"]);
        let wrong = json!({
            "image": "debian", "instance_type": "", "subnets": ["subnet-1", "subnet-1", "net"],
            "spot": {"max_price": "much"}, "tags": {"aws:x": "1", "muster.cluster": "c", "Name": "n"},
            "root_volume": {"size_gb": 0}, "metadata_hops": 0, "config_file": "a.toml", "start": "a\nb", "zone": "a"
        });
        let found = fields(wrong);
        for field in [
            "image",
            "instance_type",
            "subnets[1]",
            "subnets[2]",
            "spot.max_price",
            "tags.aws:x",
            "tags.muster.cluster",
            "tags.Name",
            "root_volume.device",
            "root_volume.size_gb",
            "metadata_hops",
            "config_file",
            "start",
            "zone",
        ] {
            assert!(
                found.iter().any(|one| one == field),
                "{field} is missing: {found:?}"
            );
        }
        assert_eq!(
            fields(json!({"launch_template": {"id": "lt-1", "name": "x", "version": "$Latest"}})),
            [
                "launch_template.version",
                "launch_template.id",
                "launch_template.version"
            ]
        );
    }
}
