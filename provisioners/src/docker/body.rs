//! The request that makes a container, from a machine's spec. Pure.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, Mount, MountType,
    NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};

use super::properties::{ADDRESS, DockerProperties, Restart, kind_of};
use crate::MachineSpec;

/// The longest host name that Linux takes; a longer name of a machine is cut.
const HOST_NAME_MAX: usize = 63;
const MIB: i64 = 1024 * 1024;
const NANO: f64 = 1e9;

/// What the Engine is asked for.
pub(super) fn create(
    spec: &MachineSpec,
    properties: &DockerProperties,
    labels: HashMap<String, String>,
    chosen: Option<IpAddr>,
    restart: Restart,
) -> ContainerCreateBody {
    let command = (!properties.command.is_empty()).then(|| properties.command.clone());
    let host = HostConfig {
        mounts: Some(mounts(spec, properties)),
        network_mode: properties.networks.first().cloned(),
        restart_policy: Some(policy(restart)),
        cap_add: (!properties.capabilities.is_empty()).then(|| properties.capabilities.clone()),
        memory: properties
            .memory_mib
            .and_then(|mib| i64::try_from(mib).ok()?.checked_mul(MIB)),
        nano_cpus: properties.cpus.map(nano_cpus),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        hostname: Some(spec.name.chars().take(HOST_NAME_MAX).collect()),
        image: Some(properties.image.clone()),
        // An entrypoint of its own makes the Engine forget the image's whole command.
        entrypoint: command,
        env: Some(environment(properties)),
        labels: Some(labels),
        host_config: Some(host),
        networking_config: networking(spec, properties, chosen),
        ..ContainerCreateBody::default()
    }
}

/// What the Engine does by itself, in its own words.
pub(super) fn policy(restart: Restart) -> RestartPolicy {
    let name = match restart {
        Restart::No => RestartPolicyNameEnum::NO,
        Restart::UnlessStopped => RestartPolicyNameEnum::UNLESS_STOPPED,
    };
    RestartPolicy {
        name: Some(name),
        ..RestartPolicy::default()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a few thousand processors at most, as was checked"
)]
fn nano_cpus(cpus: f64) -> i64 {
    (cpus * NANO) as i64
}

fn environment(properties: &DockerProperties) -> Vec<String> {
    let variables = properties.env.iter();
    variables
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn mounts(spec: &MachineSpec, properties: &DockerProperties) -> Vec<Mount> {
    let disks = spec.attachments.iter().filter_map(|disk| {
        let path = properties.path_of(disk)?;
        Some(Mount {
            typ: Some(MountType::VOLUME),
            source: Some(disk.id.clone()),
            target: Some(path.to_owned()),
            ..Mount::default()
        })
    });
    let given = properties.mounts.iter().map(|(target, mount)| Mount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.clone()),
        target: Some(target.clone()),
        read_only: Some(mount.read_only),
        ..Mount::default()
    });
    disks.chain(given).collect()
}

/// The first network, with the machine's address on it: a pet's own, or the one that was chosen for it. Engines before 25 take
/// only one network here.
fn networking(
    spec: &MachineSpec,
    properties: &DockerProperties,
    chosen: Option<IpAddr>,
) -> Option<NetworkingConfig> {
    let network = properties.networks.first()?;
    let fixed = spec.attachments.iter().find(|one| kind_of(one) == ADDRESS);
    let fixed = fixed.and_then(|one| one.id.parse::<IpAddr>().ok());
    let address = fixed.or(chosen);
    let endpoint = EndpointSettings {
        ipam_config: address.map(|address| EndpointIpamConfig {
            ipv4_address: address.is_ipv4().then(|| address.to_string()),
            ipv6_address: address.is_ipv6().then(|| address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    };
    Some(NetworkingConfig {
        endpoints_config: Some(HashMap::from([(network.clone(), endpoint)])),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attachment, Properties};

    fn body(json: &str, attachments: Vec<Attachment>) -> serde_json::Value {
        let properties: Properties = json.parse().expect("valid");
        let read = DockerProperties::read(&properties).expect("valid");
        let mut spec = MachineSpec::new("db-1", properties);
        spec.attachments = attachments;
        let body = create(&spec, &read, HashMap::new(), None, Restart::UnlessStopped);
        serde_json::to_value(body).expect("serialises")
    }

    #[test]
    fn the_engine_is_asked_for_what_the_spec_says() {
        let attachments = vec![
            Attachment::new("db-1", ""),
            Attachment::new("10.88.0.5", "address"),
        ];
        let body = body(
            r#"{"image": "muster:1", "networks": ["fleet", "back"], "env": {"A": "b c"}, "memory_mib": 64, "cpus": 0.5,
                "mounts": {"/run/engine": "/run/docker:ro"}, "capabilities": ["NET_ADMIN"]}"#,
            attachments,
        );
        assert_eq!(body["Hostname"], "db-1");
        assert_eq!(
            body["Entrypoint"],
            serde_json::json!(["muster", "agent", "--config", "/etc/muster/agent.toml"])
        );
        assert!(body.get("Cmd").is_none());
        assert_eq!(body["Env"][0], "A=b c");
        let host = &body["HostConfig"];
        assert_eq!(
            (&host["Memory"], &host["NanoCpus"]),
            (&(64 << 20).into(), &500_000_000.into())
        );
        assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped");
        assert_eq!(host["NetworkMode"], "fleet");
        assert_eq!(host["Mounts"][0]["Source"], "db-1");
        assert_eq!(host["Mounts"][0]["Target"], "/data");
        assert_eq!(host["Mounts"][1]["ReadOnly"], true);
        let networks = &body["NetworkingConfig"]["EndpointsConfig"];
        assert_eq!(networks["fleet"]["IPAMConfig"]["IPv4Address"], "10.88.0.5");
        assert!(networks.get("back").is_none());
    }

    #[test]
    fn what_is_not_said_is_left_to_the_engine_and_the_image() {
        let body = body(r#"{"image": "muster:1", "command": []}"#, Vec::new());
        for absent in ["Cmd", "Entrypoint", "NetworkingConfig"] {
            assert!(body.get(absent).is_none(), "{absent}");
        }
        assert!(body["HostConfig"].get("Memory").is_none());
    }
}
