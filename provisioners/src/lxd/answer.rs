//! What LXD says of an instance, read so that nothing that is missing or strange stops anything.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Names and values of an instance's configuration.
pub(super) type Config = BTreeMap<String, String>;
/// An instance's devices by name, each with its own names and values.
pub(super) type Devices = BTreeMap<String, Config>;

/// One instance. What LXD leaves out (older servers, members of its cluster that are out of reach) is empty.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) status: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) status_code: u64,
    #[serde(deserialize_with = "or_default")]
    pub(super) config: Config,
    #[serde(deserialize_with = "or_default")]
    pub(super) expanded_config: Config,
    #[serde(deserialize_with = "or_default")]
    pub(super) devices: Devices,
    #[serde(deserialize_with = "or_default")]
    pub(super) expanded_devices: Devices,
    #[serde(deserialize_with = "or_default")]
    pub(super) profiles: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) architecture: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) description: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) ephemeral: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) stateful: bool,
    /// The member of LXD's cluster that it is on; `none` without a cluster.
    #[serde(deserialize_with = "or_default")]
    pub(super) location: String,
    /// Empty on servers that don't say it.
    #[serde(deserialize_with = "or_default")]
    pub(super) project: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) last_used_at: String,
    /// Only in lists that ask for it.
    #[serde(deserialize_with = "or_default")]
    state: State,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct State {
    #[serde(deserialize_with = "or_default")]
    network: BTreeMap<String, Interface>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Interface {
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<Address>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Address {
    address: String,
    scope: String,
}

/// What LXD's status codes mean here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    Running,
    /// All its processes are stopped, and go on when it is thawed.
    Frozen,
    Stopped,
    Starting,
    Stopping,
    /// LXD says `Error`, or a word that we don't know.
    Unclear,
}

impl Entry {
    /// Whether it runs. The codes are part of LXD's API; the words are for people.
    pub(super) fn power(&self) -> Power {
        match self.status_code {
            // 111 was frozen, and 113 has said itself that it is ready.
            103 | 111 | 113 => Power::Running,
            109 | 110 => Power::Frozen,
            102 => Power::Stopped,
            101 | 105 | 106 => Power::Starting,
            107 | 108 => Power::Stopping,
            _ => Power::Unclear,
        }
    }

    /// Whether LXD starts it by itself when LXD starts: it is told to, or it believes that it still runs.
    pub(super) fn starts_by_itself(&self) -> bool {
        match self.expanded_config.get("boot.autostart") {
            Some(value) if !value.is_empty() => is_true(value),
            _ => {
                self.config
                    .get("volatile.last_state.power")
                    .map(String::as_str)
                    == Some("RUNNING")
            }
        }
    }

    /// Where it can be reached: an address of an interface, one that holds beyond the machine, IPv4 first.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let interfaces = self.state.network.values();
        let mut known: Vec<IpAddr> = interfaces
            .flat_map(|interface| &interface.addresses)
            .filter(|address| address.scope == "global")
            .filter_map(|address| address.address.parse().ok())
            .collect();
        known.sort_unstable();
        known.first().copied()
    }
}

/// LXD's words for yes.
pub(super) fn is_true(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "true" | "1" | "yes" | "on"
    )
}

/// Reads a list of instances one by one, so that a strange one doesn't hide the others. Gives those that can't be read by
/// their names, with why.
pub(super) fn entries(list: Vec<Value>) -> (Vec<Entry>, Vec<(String, String)>) {
    let (mut good, mut strange) = (Vec::new(), Vec::new());
    for value in list {
        let name = value["name"].as_str().unwrap_or_default().to_owned();
        match Entry::deserialize(value) {
            Ok(entry) => good.push(entry),
            Err(error) => strange.push((name, error.to_string())),
        }
    }
    (good, strange)
}

/// Go writes what is empty as `null`.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn entry(value: Value) -> Entry {
        Entry::deserialize(value).expect("readable")
    }

    #[test]
    fn what_is_missing_is_empty() {
        let this = entry(json!({"name": "a", "config": null, "state": null, "status_code": 112}));
        assert_eq!((this.name.as_str(), this.power()), ("a", Power::Unclear));
        assert_eq!(this.address(), None);
        assert!(!this.starts_by_itself());
    }

    #[test]
    fn the_first_address_that_holds_outside_counts() {
        let of = |address: &str, scope: &str| json!({"address": address, "scope": scope});
        let this = entry(json!({"state": {"network": {
            "eth0": {"addresses": [of("fe80::1", "link"), of("fd00::5", "global"), of("10.0.0.5", "global")]},
            "lo": {"addresses": [of("127.0.0.1", "local")]},
            "odd": {"addresses": null},
        }}}));
        assert_eq!(this.address(), Some([10, 0, 0, 5].into()));
    }

    #[test]
    fn a_machine_that_lxd_would_start_is_told_from_one_that_stays_off() {
        let with = |autostart: &str, last: &str| {
            entry(json!({
                "config": {"volatile.last_state.power": last},
                "expanded_config": {"boot.autostart": autostart},
            }))
            .starts_by_itself()
        };
        assert!(with("true", "STOPPED") && with("1", "") && with("", "RUNNING"));
        assert!(!with("false", "RUNNING") && !with("", "STOPPED"));
    }

    #[test]
    fn one_strange_entry_hides_no_other() {
        let list = vec![
            json!({"name": "a"}),
            json!({"name": "b", "config": 5}),
            json!(7),
        ];
        let (good, strange) = entries(list);
        assert_eq!(good.len(), 1);
        let names: Vec<_> = strange.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["b", ""]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), code in any::<u64>()) {
            let value = json!({"name": text, "status": text, "status_code": code,
                "state": {"network": {text.clone(): {"addresses": [{"address": text, "scope": "global"}]}}}});
            let this = entry(value);
            let _ = (this.power(), this.address());
        }
    }
}
