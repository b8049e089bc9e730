//! Containers as the Engine lists them, and what that says of instances.

use std::net::IpAddr;

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status, ContainerSummary,
    ContainerSummaryStateEnum as Listed, RestartPolicyNameEnum,
};

use super::identity::{EngineName, instance_id};
use super::labels;
use crate::{Instance, InstanceState, Properties, ProvisionError, Tags, tag};

/// The instance that a listed container is, as far as it matches `filter`; `None` for what is not ours or doesn't match.
/// `engine` is where it was listed, needed for those whose labels don't say where they were made.
///
/// # Errors
/// If nobody could tell it from others by what the Engine says.
pub(super) fn instance(
    container: ContainerSummary,
    filter: &Tags,
    engine: Option<&EngineName>,
) -> Result<Option<Instance>, ProvisionError> {
    let labels = container.labels.clone().unwrap_or_default();
    if !labels::is_ours(&labels) {
        return Ok(None);
    }
    let state = state_of(container.state);
    let read = match labels::read(&labels) {
        Ok(read) if !read.tags.matches(filter) => return Ok(None),
        Ok(read) => Ok(read),
        Err(_) if filter.get(tag::OPERATION).is_some() => return Ok(None),
        Err(why) => Err(why),
    };
    // What is not listed is taken for gone, so a container whose labels somebody spoiled stays on the list.
    let engine = read.as_ref().ok().map(|read| &read.engine).or(engine);
    let engine = engine.map(EngineName::as_str).unwrap_or_default();
    let mut properties = properties_of(&container);
    let running = state == InstanceState::Running;
    Ok(Some(Instance {
        id: instance_id(engine, container.id.as_deref().unwrap_or_default())?,
        state: if read.is_ok() || running {
            state
        } else {
            InstanceState::Unknown
        },
        address: address_of(&container),
        created_at_ms: created_at_ms(&container),
        tags: read
            .as_ref()
            .map(|read| read.tags.clone())
            .unwrap_or_default(),
        attachments: match read {
            Ok(read) => read.attachments,
            Err(why) => {
                properties.set("why", why);
                Vec::new()
            }
        },
        properties,
    }))
}

/// What a container's state says of a machine. One that is paused is there with all it holds, and goes on when it is let.
pub(super) fn state_of(state: Option<Listed>) -> InstanceState {
    match state {
        Some(Listed::CREATED | Listed::RESTARTING) => InstanceState::Starting,
        Some(Listed::RUNNING | Listed::PAUSED) => InstanceState::Running,
        Some(Listed::REMOVING | Listed::STOPPING) => InstanceState::Stopping,
        Some(Listed::EXITED | Listed::DEAD) => InstanceState::Stopped,
        Some(Listed::EMPTY) | None => InstanceState::Unknown,
    }
}

/// Whether a container is listed as exited, which doesn't say whether the Engine may start it again.
pub(super) fn has_exited(container: &ContainerSummary) -> bool {
    matches!(container.state, Some(Listed::EXITED | Listed::DEAD))
}

/// Lets an instance that is listed as exited count as stopped only where a look at its container proves it off.
pub(super) fn look_closer(instance: &mut Instance, now: Option<&ContainerInspectResponse>) {
    let doubt = match now.map(off) {
        Some(Ok(_)) => return,
        Some(Err(Doubt::Runs)) => {
            instance.state = InstanceState::Running;
            return;
        }
        Some(Err(Doubt::Unknown(why))) => why,
        None => "it went while it was listed".to_owned(),
    };
    instance.state = InstanceState::Unknown;
    instance.properties.set("why", doubt);
}

/// Whether a container is certain not to run, and not to be started by the Engine itself; or what speaks against it.
pub(super) fn off(container: &ContainerInspectResponse) -> Result<String, Doubt> {
    let Some(state) = &container.state else {
        return Err(Doubt::Unknown(
            "the Engine doesn't say in which state the container is".to_owned(),
        ));
    };
    if may_run(state) {
        return Err(Doubt::Runs);
    }
    match state.status {
        Some(Status::DEAD) => Ok("the Engine has ended it and is removing it".to_owned()),
        Some(Status::EXITED) if restarts(container) => Err(Doubt::Unknown(
            "it has exited, and by its restart policy the Engine may start it again".to_owned(),
        )),
        Some(Status::EXITED) => {
            Ok("the Engine says that it has exited, and has no policy to restart it".to_owned())
        }
        Some(Status::CREATED) => Err(Doubt::Unknown(
            "it was made a moment ago and may be started".to_owned(),
        )),
        other => Err(Doubt::Unknown(format!(
            "the Engine says that it is `{}`",
            other.map(|status| status.to_string()).unwrap_or_default()
        ))),
    }
}

/// Why a container is not proven off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doubt {
    Runs,
    Unknown(String),
}

/// Whether the Engine sees anything of it run.
pub(super) fn may_run(state: &ContainerState) -> bool {
    let flags = [state.running, state.paused, state.restarting];
    let status = state.status;
    flags.contains(&Some(true))
        || state.pid.is_some_and(|pid| pid != 0)
        || matches!(
            status,
            Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING)
        )
}

/// Whether the Engine starts it by itself under any circumstances.
pub(super) fn restarts(container: &ContainerInspectResponse) -> bool {
    let host = container.host_config.as_ref();
    let policy = host.and_then(|host| host.restart_policy.as_ref()?.name);
    !matches!(
        policy,
        Some(RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY)
    )
}

fn properties_of(container: &ContainerSummary) -> Properties {
    let mut properties = Properties::new();
    let name = container.names.iter().flatten().next();
    let name = name.map(|name| name.trim_start_matches('/'));
    let texts = [
        ("container", container.id.as_deref()),
        ("name", name),
        ("image", container.image.as_deref()),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            properties.set(key, text.chars().take(256).collect::<String>());
        }
    }
    properties
}

/// The address on the machine's first network, or on any other if that one has given none.
fn address_of(container: &ContainerSummary) -> Option<IpAddr> {
    let networks = container.network_settings.as_ref()?.networks.as_ref()?;
    let host = container.host_config.as_ref();
    let first = host
        .and_then(|host| host.network_mode.as_deref())
        .unwrap_or_default();
    let parse = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
    let given = networks.iter().filter_map(|(name, network)| {
        let address = parse(&network.ip_address).or(parse(&network.global_ipv6_address))?;
        Some((name != first, name, address))
    });
    given.min().map(|(_, _, address)| address)
}

fn created_at_ms(container: &ContainerSummary) -> u64 {
    let seconds = container
        .created
        .and_then(|seconds| u64::try_from(seconds).ok());
    seconds.unwrap_or_default().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use bollard::models::{HostConfig, RestartPolicy};

    use super::*;
    use crate::Attachment;

    fn inspected(status: Status, policy: RestartPolicyNameEnum) -> ContainerInspectResponse {
        ContainerInspectResponse {
            state: Some(ContainerState {
                status: Some(status),
                running: Some(status == Status::RUNNING),
                ..ContainerState::default()
            }),
            host_config: Some(HostConfig {
                restart_policy: Some(RestartPolicy {
                    name: Some(policy),
                    ..RestartPolicy::default()
                }),
                ..HostConfig::default()
            }),
            ..ContainerInspectResponse::default()
        }
    }

    fn seen(now: Option<&ContainerInspectResponse>) -> Instance {
        let mut instance = Instance {
            id: "abc234-0123456789ab".parse().expect("valid"),
            state: InstanceState::Stopped,
            tags: Tags::new(),
            address: None,
            properties: Properties::new(),
            created_at_ms: 0,
            attachments: Vec::<Attachment>::new(),
        };
        look_closer(&mut instance, now);
        instance
    }

    #[test]
    fn what_the_engine_may_start_again_is_not_stopped() {
        use RestartPolicyNameEnum as Policy;
        for policy in [Policy::ALWAYS, Policy::UNLESS_STOPPED, Policy::ON_FAILURE] {
            let seen = seen(Some(&inspected(Status::EXITED, policy)));
            assert_eq!(seen.state, InstanceState::Unknown, "{policy}");
            assert!(seen.properties.get("why").is_some(), "{policy}");
        }
        assert_eq!(seen(None).state, InstanceState::Unknown);
        let again = inspected(Status::RUNNING, Policy::ALWAYS);
        assert_eq!(seen(Some(&again)).state, InstanceState::Running);
    }

    #[test]
    fn what_nobody_starts_again_is_stopped() {
        use RestartPolicyNameEnum as Policy;
        for policy in [Policy::NO, Policy::EMPTY] {
            let seen = seen(Some(&inspected(Status::EXITED, policy)));
            assert_eq!(seen.state, InstanceState::Stopped, "{policy}");
        }
    }
}
