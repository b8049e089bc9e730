//! The agent's configuration file for a machine that is to be made.
//!
//! Every provisioner has to get this text to the new machine, by whatever it can: a file, user data, the
//! environment.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use toml::{Table, Value as Toml};

use crate::{InstanceId, MachineSpec, OperationId, Properties};

/// Where an agent lives on its machine, as far as its provisioner decides that. What is `None` is left to the
/// agent's defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct AgentPlace<'a> {
    /// The agent's own directory.
    pub data_dir: Option<&'a Path>,
    /// The UDP address that its endpoint binds.
    pub bind: Option<SocketAddr>,
    /// The Unix socket for commands.
    pub api_socket: Option<&'a Path>,
    /// Which order the machine fulfils: the provisioner's name, what it calls the machine, and the operation.
    pub instance: Option<(&'a str, &'a InstanceId, &'a OperationId)>,
    /// A provisioner by its name, and its configuration, that the agent needs when it comes to decide itself.
    pub settings: Option<(&'a str, &'a Properties)>,
}

/// The text (TOML) of the configuration file for the agent of a new machine.
///
/// Keys: `name`, `labels`, `seeds`, `join_token`, `first_boot`; `data_dir`, `bind`, `api_socket` and a table named
/// after the provisioner as `place` says; the table `instance` with `group`, `member`, `provisioner`, `id` and
/// `operation`; and the spec's own [`settings`](crate::BootConfig::settings) for all others. It holds the join
/// token, so write it where only the agent can read it.
pub fn agent_config(spec: &MachineSpec, place: &AgentPlace<'_>) -> String {
    let boot = &spec.boot;
    let mut table = table_of(&boot.settings);
    let mut set = |key: &str, value: Toml| {
        table.insert(key.to_owned(), value);
    };
    set("name", spec.name.clone().into());
    for (key, text) in [
        ("join_token", boot.join_token.expose()),
        ("first_boot", spec.init.as_str()),
    ] {
        if !text.is_empty() {
            set(key, text.into());
        }
    }
    if !boot.seeds.is_empty() {
        set(
            "seeds",
            Toml::Array(
                boot.seeds
                    .iter()
                    .map(|seed| seed.to_string().into())
                    .collect(),
            ),
        );
    }
    if !spec.labels.is_empty() {
        let labels = spec
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into()));
        set("labels", Toml::Table(labels.collect()));
    }
    for (key, path) in [
        ("data_dir", place.data_dir),
        ("api_socket", place.api_socket),
    ] {
        if let Some(path) = path {
            set(key, path.display().to_string().into());
        }
    }
    if let Some(bind) = place.bind {
        set("bind", bind.to_string().into());
    }
    let instance = instance_of(spec, place);
    if !instance.is_empty() {
        set("instance", Toml::Table(instance));
    }
    if let Some((name, settings)) = place.settings {
        set(name, Toml::Table(table_of(settings)));
    }
    table.to_string()
}

/// Which order the machine fulfils.
fn instance_of(spec: &MachineSpec, place: &AgentPlace<'_>) -> Table {
    let mut table = Table::new();
    for (key, text) in [("group", &spec.boot.group), ("member", &spec.boot.member)] {
        if !text.is_empty() {
            table.insert(key.to_owned(), text.clone().into());
        }
    }
    if let Some((provisioner, id, operation)) = place.instance {
        table.insert("provisioner".to_owned(), provisioner.into());
        table.insert("id".to_owned(), id.as_str().into());
        table.insert("operation".to_owned(), operation.as_str().into());
    }
    table
}

fn table_of(properties: &Properties) -> Table {
    properties
        .iter()
        .filter_map(|(key, value)| Some((key.to_owned(), toml_of(value)?)))
        .collect()
}

/// TOML has no null (left out) and no integers beyond 64 bits signed (become floating-point numbers).
fn toml_of(value: &Value) -> Option<Toml> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(truth) => Toml::Boolean(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Toml::Integer(integer),
            None => Toml::Float(number.as_f64()?),
        },
        Value::String(text) => Toml::String(text.clone()),
        Value::Array(items) => Toml::Array(items.iter().filter_map(toml_of).collect()),
        Value::Object(map) => Toml::Table(
            map.iter()
                .filter_map(|(key, value)| Some((key.clone(), toml_of(value)?)))
                .collect(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Secret;

    fn spec() -> MachineSpec {
        let mut spec = MachineSpec::new("web-1", Properties::new());
        spec.init = "echo \"hello\"\n\ttrue\n".into();
        spec.labels.insert("zone".into(), "a".into());
        spec.boot.group = "web".into();
        spec.boot.member = "web-1".into();
        spec.boot.seeds = vec!["127.1.2.3:4000".parse().expect("valid")];
        spec.boot.join_token = Secret::new("muster1-token");
        spec.boot.settings = r#"{"name":"loses","log":{"level":"debug"},"limit":5,"none":null}"#
            .parse()
            .expect("valid");
        spec
    }

    #[test]
    fn the_agent_reads_what_was_meant() {
        let settings: Properties = r#"{"root":"/r"}"#.parse().expect("valid");
        let id: InstanceId = "p-1".parse().expect("valid");
        let op = OperationId::derive("c", "web", "web-1", 1, "provision");
        let place = AgentPlace {
            data_dir: Some(Path::new("/r/state")),
            bind: Some("127.1.2.4:4000".parse().expect("valid")),
            api_socket: Some(Path::new("/r/api.sock")),
            instance: Some(("process", &id, &op)),
            settings: Some(("process", &settings)),
        };
        let text = agent_config(&spec(), &place);
        let table: Table = text.parse().expect("valid TOML");
        let get = |key: &str| table.get(key).and_then(Toml::as_str);
        assert_eq!(get("name"), Some("web-1"));
        assert_eq!(table["instance"]["group"].as_str(), Some("web"));
        assert_eq!(table["instance"]["member"].as_str(), Some("web-1"));
        assert_eq!(table["instance"]["provisioner"].as_str(), Some("process"));
        assert_eq!(table["instance"]["id"].as_str(), Some("p-1"));
        assert_eq!(table["instance"]["operation"].as_str(), Some(op.as_str()));
        assert_eq!(get("join_token"), Some("muster1-token"));
        assert_eq!(get("first_boot"), Some("echo \"hello\"\n\ttrue\n"));
        assert_eq!(get("data_dir"), Some("/r/state"));
        assert_eq!(get("bind"), Some("127.1.2.4:4000"));
        assert_eq!(get("api_socket"), Some("/r/api.sock"));
        assert_eq!(table["seeds"].as_array().map(Vec::len), Some(1));
        assert_eq!(table["labels"]["zone"].as_str(), Some("a"));
        assert_eq!(table["process"]["root"].as_str(), Some("/r"));
        assert_eq!(table["log"]["level"].as_str(), Some("debug"));
        assert_eq!(table["limit"].as_integer(), Some(5));
        assert!(!table.contains_key("none"));
    }

    #[test]
    fn what_is_not_given_is_left_to_the_agent() {
        let text = agent_config(
            &MachineSpec::new("m", Properties::new()),
            &AgentPlace::default(),
        );
        assert_eq!(text.trim(), "name = \"m\"");
    }

    proptest! {
        #[test]
        fn any_text_survives(init in any::<String>(), label in any::<String>()) {
            let mut spec = spec();
            spec.init = format!("x{init}");
            spec.labels.insert(label.clone(), init.clone());
            let table: Table =
                agent_config(&spec, &AgentPlace::default()).parse().expect("valid TOML");
            prop_assert_eq!(table["first_boot"].as_str(), Some(spec.init.as_str()));
            prop_assert_eq!(table["labels"][label.as_str()].as_str(), Some(init.as_str()));
        }
    }
}
