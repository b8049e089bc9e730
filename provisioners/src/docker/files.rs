//! How a machine gets its agent's configuration: as a file in the container, written before it first starts.
//!
//! Not as a variable, which everybody who may look at the container could read: it holds the join token.

use crate::{AgentPlace, InstanceId, MachineSpec, OperationId, ProvisionError, agent_config};

use super::NAME;

/// Where the agent finds its configuration.
pub(super) const CONFIG_PATH: &str = "/etc/muster/agent.toml";
/// Only the agent's own user, root, may read it.
const MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o755;

/// The archive that is unpacked over the new container's root.
pub(super) fn archive(
    spec: &MachineSpec,
    id: &InstanceId,
    op: &OperationId,
) -> Result<Vec<u8>, ProvisionError> {
    let place = AgentPlace {
        instance: Some((NAME, id, op)),
        ..AgentPlace::default()
    };
    let text = agent_config(spec, &place);
    pack(text.as_bytes()).map_err(|error| {
        ProvisionError::failed(format!("packing the agent's configuration: {error}"))
    })
}

fn pack(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let file = CONFIG_PATH.trim_start_matches('/');
    for (end, _) in file.match_indices('/') {
        let mut header = header(tar::EntryType::Directory, DIRECTORY_MODE, 0);
        archive.append_data(&mut header, format!("{}/", &file[..end]), std::io::empty())?;
    }
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let mut header = header(tar::EntryType::Regular, MODE, length);
    archive.append_data(&mut header, file, text)?;
    archive.into_inner()
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::{Properties, Secret};

    #[test]
    fn the_agent_finds_what_only_it_may_read() {
        let mut spec = MachineSpec::new("web-1", Properties::new());
        spec.boot.join_token = Secret::new("muster1-token");
        let op = OperationId::derive("c", "web", "web-1", 1, "provision");
        let id = "abcdef-0123456789ab".parse().expect("valid");
        let bytes = archive(&spec, &id, &op).expect("packed");
        let mut seen = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().expect("readable") {
            let mut entry = entry.expect("readable");
            let path = entry.path().expect("a path").display().to_string();
            let mode = entry.header().mode().expect("a mode");
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            seen.push((path, mode, text));
        }
        let names: Vec<_> = seen
            .iter()
            .map(|(path, mode, _)| (path.as_str(), *mode))
            .collect();
        assert_eq!(
            names,
            [
                ("etc/", 0o755),
                ("etc/muster/", 0o755),
                ("etc/muster/agent.toml", 0o600)
            ]
        );
        let config: toml::Table = seen[2].2.parse().expect("valid TOML");
        assert_eq!(config["join_token"].as_str(), Some("muster1-token"));
        assert_eq!(config["instance"]["provisioner"].as_str(), Some("docker"));
        assert_eq!(
            config["instance"]["id"].as_str(),
            Some("abcdef-0123456789ab")
        );
    }
}
