//! How the agent's configuration reaches a new machine.

use std::path::PathBuf;

use reqwest::header::HeaderName;
use serde_json::json;

use super::answer::Config;
use super::api::Said;
use super::properties::{Boot, LxdProperties};
use super::refusal::refusal;
use super::{Inner, NAME};
use crate::{
    AgentPlace, Deadline, InstanceId, MachineSpec, OperationId, ProvisionError, agent_config,
};

/// The largest program that is written into a machine.
const PROGRAM_BYTES_MAX: u64 = 256 << 20;
const USER_DATA: &str = "cloud-init.user-data";

/// Writes what the machine needs for its first start, again if it was written before: it gets the newest token.
pub(super) async fn write(
    inner: &Inner,
    (id, name): (&InstanceId, &str),
    (spec, properties, op): (&MachineSpec, &LxdProperties, &OperationId),
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let config = text(spec, properties, id, op);
    let path = &properties.config_path;
    match properties.boot {
        Boot::CloudInit => {
            let data = Config::from([(USER_DATA.to_owned(), user_data(spec, path, &config))]);
            inner.api.set(name, &data, deadline).await
        }
        Boot::File => {
            if let Some(place) = &properties.agent_path {
                let program = program().await?;
                put(inner, name, (place, "0755"), program, deadline).await?;
            }
            put(inner, name, (path, "0600"), config.into_bytes(), deadline).await
        }
    }
}

fn text(
    spec: &MachineSpec,
    properties: &LxdProperties,
    id: &InstanceId,
    op: &OperationId,
) -> String {
    let mut spec = spec.clone();
    if let Some(zone) = &properties.zone {
        let label = spec.labels.entry("zone".to_owned());
        label.or_insert_with(|| zone.clone());
    }
    let place = AgentPlace {
        instance: Some((NAME, id, op)),
        ..AgentPlace::default()
    };
    agent_config(&spec, &place)
}

/// User data that makes cloud-init write the file. JSON is YAML as well, and needs no quoting of its own.
fn user_data(spec: &MachineSpec, path: &str, config: &str) -> String {
    let file =
        json!({"path": path, "permissions": "0600", "owner": "root:root", "content": config});
    let data = json!({"hostname": spec.name, "write_files": [file]});
    format!("#cloud-config\n{data}\n")
}

/// This program.
async fn program() -> Result<Vec<u8>, ProvisionError> {
    let read = || {
        let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
        let size = std::fs::metadata(&path)?.len();
        if size > PROGRAM_BYTES_MAX {
            return Err(std::io::Error::other(format!("{size} bytes are too large")));
        }
        std::fs::read(&path)
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(|error| {
            ProvisionError::failed(format!("reading this agent's own program: {error}"))
        })
}

/// Writes a file of root's, and the directories above it that are missing.
async fn put(
    inner: &Inner,
    name: &str,
    (path, mode): (&str, &str),
    content: Vec<u8>,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    for directory in missing(inner, name, path, deadline).await? {
        let made = post(
            inner,
            name,
            (directory, "directory", "0755"),
            Vec::new(),
            deadline,
        )
        .await;
        // Another call may have been faster.
        if made.is_err() && !is_there(inner, name, directory, deadline).await? {
            return made;
        }
    }
    post(inner, name, (path, "file", mode), content, deadline).await
}

/// The directories above a path that are not there, the outermost first.
async fn missing<'a>(
    inner: &Inner,
    name: &str,
    path: &'a str,
    deadline: Deadline,
) -> Result<Vec<&'a str>, ProvisionError> {
    let mut missing = Vec::new();
    let mut above = path;
    while let Some((parent, _)) = above
        .rsplit_once('/')
        .filter(|(parent, _)| !parent.is_empty())
    {
        above = parent;
        if is_there(inner, name, parent, deadline).await? {
            break;
        }
        missing.push(parent);
    }
    missing.reverse();
    Ok(missing)
}

async fn is_there(
    inner: &Inner,
    name: &str,
    path: &str,
    deadline: Deadline,
) -> Result<bool, ProvisionError> {
    let look = inner
        .api
        .request(
            "looking for a directory of the machine",
            reqwest::Method::GET,
            &files(name),
        )
        .query("path", path);
    match inner.api.ask(&look, deadline).await? {
        Said::Yes(_) => Ok(true),
        Said::Missing(_) => Ok(false),
        Said::No(why) => Err(refusal(why)),
    }
}

async fn post(
    inner: &Inner,
    name: &str,
    (path, kind, mode): (&str, &str, &str),
    content: Vec<u8>,
    deadline: Deadline,
) -> Result<(), ProvisionError> {
    let what = format!("writing {path} into the machine");
    let mut request = inner
        .api
        .request(&what, reqwest::Method::POST, &files(name))
        .query("path", path)
        .body("application/octet-stream", content);
    // Incus calls the same headers by its own name.
    for (lxd, incus, value) in [
        ("x-lxd-type", "x-incus-type", kind),
        ("x-lxd-mode", "x-incus-mode", mode),
        ("x-lxd-uid", "x-incus-uid", "0"),
        ("x-lxd-gid", "x-incus-gid", "0"),
        ("x-lxd-write", "x-incus-write", "overwrite"),
    ] {
        request = request
            .header(HeaderName::from_static(lxd), value)
            .header(HeaderName::from_static(incus), value);
    }
    inner.api.change(&request, deadline).await
}

fn files(name: &str) -> String {
    format!("instances/{name}/files")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Properties, Secret};

    #[test]
    fn user_data_writes_the_file_that_was_meant() {
        let mut spec = MachineSpec::new("web-1", Properties::new());
        spec.init = "echo \"a\": 'b'\n".to_owned();
        spec.boot.join_token = Secret::new("muster1-token");
        let op = OperationId::derive("c", "g", "m", 1, "provision");
        let properties = r#"{"image": "x", "zone": "a"}"#.parse().expect("valid");
        let properties = LxdProperties::read(&properties).expect("valid");
        let config = text(&spec, &properties, &"i".parse().expect("valid"), &op);
        let data = user_data(&spec, "/etc/muster.toml", &config);
        let (first, rest) = data.split_once('\n').expect("two lines");
        assert_eq!(first, "#cloud-config");
        let read: serde_json::Value = serde_json::from_str(rest).expect("JSON");
        let file = &read["write_files"][0];
        assert_eq!(
            (file["path"].as_str(), file["permissions"].as_str()),
            (Some("/etc/muster.toml"), Some("0600"))
        );
        let table: toml::Table = file["content"]
            .as_str()
            .expect("text")
            .parse()
            .expect("TOML");
        assert_eq!(table["first_boot"].as_str(), Some(spec.init.as_str()));
        assert_eq!(table["labels"]["zone"].as_str(), Some("a"));
        assert_eq!(table["instance"]["provisioner"].as_str(), Some(NAME));
    }
}
