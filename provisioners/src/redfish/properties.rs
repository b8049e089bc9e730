//! What a group may say about machines of bare metal.

use super::inventory::BootMethod;
use super::store::Template;
use crate::{Fields, Labels, Problem, Properties};

/// The properties of a group's template, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct RedfishProperties {
    /// Labels that a node must have.
    pub(super) labels: Labels,
    /// How a node gets its system, in place of what the inventory says.
    pub(super) boot: Option<BootMethod>,
    /// What a node starts from, in place of what the agent's configuration says.
    pub(super) boot_url: Option<Template>,
}

impl RedfishProperties {
    /// Reads and checks a group's properties. Pure.
    pub(super) fn read(properties: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(properties);
        let this = Self {
            labels: fields.string_map("labels").unwrap_or_default(),
            boot: read_boot(&mut fields),
            boot_url: Template::take(&mut fields, "boot_url"),
        };
        match fields.finish() {
            problems if problems.is_empty() => Ok(this),
            problems => Err(problems),
        }
    }
}

fn read_boot(fields: &mut Fields<'_>) -> Option<BootMethod> {
    let text = fields.string("boot")?;
    let found = BootMethod::named(&text);
    if found.is_none() {
        let reason = format!("`{text}` is no way to start a node");
        fields.problem("boot", reason, "write `pxe`, `http`, `media` or `disk`");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_told() {
        let read = |json: &str| RedfishProperties::read(&json.parse().expect("valid"));
        let good = read(
            r#"{"labels": {"rack": "r1", "gpus": 2}, "boot": "media", "boot_url": "http://b/{key}/web.iso"}"#,
        );
        let good = good.expect("valid");
        assert_eq!(
            (good.labels["gpus"].as_str(), good.boot),
            ("2", Some(BootMethod::Media))
        );
        let bad = read(
            r#"{"labels": {"rack": [1]}, "boot": "floppy", "boot_url": "b/{kee}", "image": "x"}"#,
        );
        let fields: Vec<_> = bad
            .expect_err("bad")
            .into_iter()
            .map(|problem| problem.field)
            .collect();
        assert_eq!(fields, ["labels.rack", "boot", "boot_url", "image"]);
    }
}
