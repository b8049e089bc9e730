//! What a new machine runs on its first boot: it gets the agent's configuration from it.

use toml::Table;

use super::attachments::Wanted;
use super::properties::AwsProperties;
use crate::{AgentPlace, MachineSpec, OperationId, Problem, ProvisionError, agent_config};

/// EC2's limit, before it is encoded.
pub(super) const MAX_BYTES: usize = 16 * 1024;

/// The shell script for a machine, as cloud-init runs it once. It waits for the machine's volumes, which EC2 attaches only once
/// it runs, writes the configuration where only root can read it, and begins the agent.
pub(super) fn script(
    spec: &MachineSpec,
    properties: &AwsProperties,
    wanted: &[Wanted],
    op: &OperationId,
) -> Result<String, ProvisionError> {
    let config = configuration(spec, op);
    let end = end_mark(&config);
    let (file, start) = (&properties.config_file, &properties.start);
    let directory = file
        .rsplit_once('/')
        .map_or("/", |(directory, _)| directory);
    let waits: String = wanted.iter().filter_map(wait_for).collect();
    let script = format!(
        "#!/bin/sh\n\
         # Written by muster: the agent's configuration, for the first boot of {name}.\n\
         set -eu\n\
         umask 077\n\
         {waits}mkdir -p '{directory}'\n\
         cat > '{file}.new' <<'{end}'\n{config}\n{end}\n\
         mv '{file}.new' '{file}'\n\
         {start}\n",
        name = spec.name.replace(char::is_control, " "),
    );
    if script.len() > MAX_BYTES {
        let reason = format!(
            "with what the machine runs first, its user data would have {} bytes, and EC2 takes {MAX_BYTES}",
            script.len()
        );
        let remedy =
            "keep the first boot short: put what it runs into the image, or have it fetched";
        return Err(ProvisionError::Invalid(vec![Problem::new(
            "init", reason, remedy,
        )]));
    }
    Ok(script)
}

/// The agent's configuration. Its instance's ID is not known yet, only the order that it fulfils.
fn configuration(spec: &MachineSpec, op: &OperationId) -> String {
    let text = agent_config(spec, &AgentPlace::default());
    let Ok(mut table) = text.parse::<Table>() else {
        return text;
    };
    let instance = table
        .entry("instance")
        .or_insert_with(|| Table::new().into());
    if let Some(instance) = instance.as_table_mut() {
        instance.insert("provisioner".to_owned(), super::NAME.into());
        instance.insert("operation".to_owned(), op.as_str().into());
    }
    table.to_string()
}

/// A line that stands nowhere in the text.
fn end_mark(text: &str) -> String {
    let mut mark = "END_OF_MUSTER".to_owned();
    while text.contains(&mark) {
        mark.push('_');
    }
    mark
}

/// A volume shows under its ID on machines with NVMe, and under the name it was attached by on others.
fn wait_for(wanted: &Wanted) -> Option<String> {
    let Wanted::Volume { id, device } = wanted else {
        return None;
    };
    let serial = id.replace('-', "");
    Some(format!(
        "until [ -e '/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{serial}' ] || [ -e '{device}' ]; do sleep 1; done\n"
    ))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::{Attachment, Properties, Secret};

    fn properties(file: &str, start: &str) -> AwsProperties {
        let json = serde_json::json!({
            "image": "ami-1", "instance_type": "t", "config_file": file, "start": start
        });
        let properties = Properties::from_value(json).expect("an object");
        AwsProperties::read(&properties).expect("valid")
    }

    fn spec() -> MachineSpec {
        let mut spec = MachineSpec::new("web-1", Properties::new());
        spec.init = "echo '\nEND_OF_MUSTER\n' \"$HOME\" `x`".into();
        spec.boot.group = "web".into();
        spec.boot.join_token = Secret::new("muster1-secret");
        spec
    }

    #[test]
    fn a_shell_gives_the_agent_what_was_meant() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("etc/agent.toml");
        let mark = directory.path().join("began");
        let device = directory.path().join("device");
        std::fs::write(&device, "").expect("written");
        let properties = properties(
            file.to_str().expect("text"),
            &format!("touch {}", mark.display()),
        );
        let op = OperationId::derive("c", "web", "1", 1, "provision");
        let wanted = Wanted::Volume {
            id: "vol-1".into(),
            device: device.to_str().expect("text").into(),
        };
        let script = script(&spec(), &properties, &[wanted], &op).expect("short");
        let run = Command::new("sh").arg("-c").arg(&script).status();
        assert!(run.expect("a shell").success());
        assert!(mark.exists(), "the agent was begun");
        let text = std::fs::read_to_string(&file).expect("written");
        let table: Table = text.parse().expect("valid TOML");
        assert_eq!(table["first_boot"].as_str(), Some(spec().init.as_str()));
        assert_eq!(table["join_token"].as_str(), Some("muster1-secret"));
        assert_eq!(table["instance"]["provisioner"].as_str(), Some("aws"));
        assert_eq!(table["instance"]["operation"].as_str(), Some(op.as_str()));
        assert_eq!(table["instance"]["group"].as_str(), Some("web"));
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "it holds a token");
    }

    #[test]
    fn what_ec2_would_not_take_is_refused_before() {
        let mut spec = spec();
        spec.init = "x".repeat(MAX_BYTES);
        spec.attachments = vec![Attachment::new("vol-1", "")];
        let op = OperationId::derive("c", "web", "1", 1, "provision");
        let refused = script(&spec, &properties("/a", "true"), &[], &op);
        assert!(matches!(refused, Err(ProvisionError::Invalid(_))));
    }
}
