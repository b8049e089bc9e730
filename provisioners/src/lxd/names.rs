//! How a machine is called in LXD, and what stands in its configuration about it.
//!
//! | key | holds |
//! |---|---|
//! | `user.muster.X` | the tag `muster.X` |
//! | `user.muster.tag.X` | any other tag `X` |
//! | `user.muster-lxd.order` | the operation that made the instance, also when the machine on it was written anew since |
//! | `user.muster-lxd.server` | the beginning of the fingerprint of the server's certificate when it was made |
//! | `user.muster-lxd.project` | the project that it was made in |
//! | `user.muster-lxd.created` | when it was made, in milliseconds since 1970 |
//! | `user.muster-lxd.attachments` | the attachments that belong to it, in JSON |
//! | `user.muster-lxd.whole` | that LXD has made all of it; without it, a restart of LXD may have left it half-made |
//! | `user.muster-lxd.starting` | until when whoever wrote this may start it, in milliseconds since 1970 |
//! | `user.muster-lxd.started` | the operation whose machine has been started |

use super::answer::{Config, Entry};
use crate::{Attachment, InstanceId, OperationId, Tags, tag};

/// What the names of all our instances begin with. LXD allows letters, digits and hyphens, and no digit at the beginning.
const NAME_PREFIX: &str = "muster-";
/// 80 bits of the operation's ID tell a fleet's instances apart; that they do is checked.
const NAME_DIGITS: usize = 16;
/// How much of the fingerprint of a server's certificate stands in an instance's ID: 48 bits.
pub(super) const SERVER_DIGITS: usize = 12;

const TAGS: &str = "user.muster.";
const OTHER_TAGS: &str = "user.muster.tag.";
pub(super) const ORDER: &str = "user.muster-lxd.order";
pub(super) const SERVER: &str = "user.muster-lxd.server";
pub(super) const PROJECT: &str = "user.muster-lxd.project";
pub(super) const CREATED: &str = "user.muster-lxd.created";
pub(super) const ATTACHMENTS: &str = "user.muster-lxd.attachments";
pub(super) const WHOLE: &str = "user.muster-lxd.whole";
pub(super) const STARTING: &str = "user.muster-lxd.starting";
pub(super) const STARTED: &str = "user.muster-lxd.started";
/// No group may set keys with one of these beginnings.
pub(super) const RESERVED: [&str; 2] = [TAGS, "user.muster-lxd."];

/// The name of the instance that an operation makes. A function of the operation alone: LXD refuses a second instance of
/// the same name, and that is what makes it idempotent.
pub(super) fn name_for(op: &OperationId) -> String {
    format!("{NAME_PREFIX}{}", op.short(NAME_DIGITS))
}

/// Whether an instance's name is of the form that we give.
pub(super) fn is_ours(name: &str) -> bool {
    name.strip_prefix(NAME_PREFIX).is_some_and(|digits| {
        digits.len() == NAME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// A project on a server, as it stands in an ID.
pub(super) fn place(server: &str, project: &str) -> String {
    format!("{server}/{project}")
}

/// Where an instance was made: a project on a server, or only the server if nothing says the project.
pub(super) fn place_of(entry: &Entry) -> Option<String> {
    let server = entry.config.get(SERVER)?;
    Some(match entry.config.get(PROJECT) {
        Some(project) => place(server, project),
        None => server.clone(),
    })
}

/// The ID of an instance: its name, and where it was made. Asking another server, or for another project, must not look
/// like proof that it is gone.
pub(super) fn id_of(name: &str, place: &str) -> Option<InstanceId> {
    format!("{name}@{place}").parse().ok()
}

/// The name and the place in an ID; `None` if it is not of the form that we give.
pub(super) fn split(id: &InstanceId) -> Option<(&str, &str)> {
    let (name, place) = id.as_str().split_once('@')?;
    let is_place = match place.split_once('/') {
        Some((server, project)) => server.len() == SERVER_DIGITS && !project.is_empty(),
        None => place.len() == SERVER_DIGITS,
    };
    (is_ours(name) && is_place).then_some((name, place))
}

/// Whether an instance that goes by any name, in any project, is the one that an ID with this name and place means.
pub(super) fn is_same(entry: &Entry, name: &str, place: &str) -> bool {
    let name_fits = match order_of(entry) {
        Some(op) => name_for(&op) == name,
        None => entry.name == name,
    };
    name_fits && place_of(entry).is_none_or(|made_in| made_in == place)
}

/// Tags as keys of an instance's configuration. LXD drops keys whose value is empty, so such a value is quoted; and what
/// begins with a quote is too, to be told from that.
pub(super) fn config_of(tags: &Tags) -> Config {
    let quoted = |value: &str| match value {
        _ if value.is_empty() || value.starts_with('"') => format!("\"{value}\""),
        _ => value.to_owned(),
    };
    tags.iter()
        .map(|(name, value)| (key_of(name), quoted(value)))
        .collect()
}

fn key_of(tag: &str) -> String {
    match tag.strip_prefix(tag::PREFIX) {
        Some(rest) => format!("{TAGS}{rest}"),
        None => format!("{OTHER_TAGS}{tag}"),
    }
}

/// The tags in an instance's configuration.
pub(super) fn tags_of(config: &Config) -> Tags {
    let plain = |value: &str| {
        let inner = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        inner.unwrap_or(value).to_owned()
    };
    let tags = config.iter().filter_map(|(key, value)| {
        let name = match key.strip_prefix(OTHER_TAGS) {
            Some(name) => name.to_owned(),
            None => format!("{}{}", tag::PREFIX, key.strip_prefix(TAGS)?),
        };
        Some((name, plain(value)))
    });
    tags.collect()
}

/// The operation by which an instance was made; `None` for instances that are not ours, or were tampered with.
pub(super) fn order_of(entry: &Entry) -> Option<OperationId> {
    entry.config.get(ORDER)?.parse().ok()
}

/// The attachments that belong to an instance, whether it has them at present or not.
pub(super) fn attachments_of(entry: &Entry) -> Vec<Attachment> {
    let text = entry.config.get(ATTACHMENTS);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Until when somebody may start it, in milliseconds since 1970; 0 if nobody is about to.
pub(super) fn starting_until(entry: &Entry) -> u64 {
    let until = entry.config.get(STARTING);
    until.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_ids_are_told_from_others() {
        let op = OperationId::derive("c", "g", "m", 1, "provision");
        let name = name_for(&op);
        assert!(is_ours(&name) && name.len() <= 63, "{name}");
        for place in ["0123456789ab", "0123456789ab/fleet"] {
            let id = id_of(&name, place).expect("valid");
            assert_eq!(split(&id), Some((name.as_str(), place)));
        }
        for other in [
            "web-1",
            "muster-short@0123456789ab",
            "muster-aaaaaaaaaaaaaaaa",
            "muster-aaaaaaaaaaaaaaaa@x",
            "muster-aaaaaaaaaaaaaaaa@0123456789ab/",
            "muster-aaaaaaaaaaaaaaaa@x/fleet",
        ] {
            assert_eq!(split(&other.parse().expect("printable")), None, "{other}");
        }
    }

    #[test]
    fn a_machine_is_known_by_where_it_was_made_wherever_it_is_now() {
        let op = OperationId::derive("c", "g", "m", 1, "provision");
        let name = name_for(&op);
        let entry = |called: &str, keys: &[(&str, &str)]| -> Entry {
            let config: Config = keys
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            let entry = serde_json::json!({"name": called, "config": config});
            serde_json::from_value(entry).expect("readable")
        };
        let marks = [
            (ORDER, op.as_str()),
            (SERVER, "0123456789ab"),
            (PROJECT, "a"),
        ];
        let moved = entry("kept", &marks);
        assert!(is_same(&moved, &name, "0123456789ab/a"));
        assert!(!is_same(&moved, &name, "0123456789ab/b"), "another project");
        assert!(!is_same(&moved, &name, "ba9876543210/a"), "another server");
        let older = entry(&name, &marks[..2]);
        assert!(is_same(&older, &name, "0123456789ab"));
        assert!(is_same(&entry(&name, &[]), &name, "0123456789ab/a"));
        assert!(!is_same(&entry("web", &[]), &name, "0123456789ab/a"));
    }

    #[test]
    fn people_find_machines_by_the_usual_keys() {
        let tags = Tags::from_iter([(tag::GROUP, "web"), ("tier", "front")]);
        let config = config_of(&tags);
        assert_eq!(config["user.muster.group"], "web");
        assert_eq!(config["user.muster.tag.tier"], "front");
    }

    proptest! {
        #[test]
        fn any_tag_survives(name in "[a-zé/ ]{1,9}", value in any::<String>()) {
            let tags = Tags::new().with(name, value).with(tag::CLUSTER, "").with("q", "\"").with("qq", "\"\"");
            let config = config_of(&tags);
            prop_assert!(config.values().all(|value| !value.is_empty()));
            prop_assert_eq!(tags_of(&config), tags);
        }
    }
}
