//! What an instance runs on its first boot, as the `Init` that InfraKit's plugins carry: user data, or a script.

use std::path::Path;

use crate::{AgentPlace, MachineSpec, OperationId, Problem, agent_config};

/// How the agent of a new machine gets its configuration, and is started with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgentBoot {
    /// Where the script of the first boot writes the agent's configuration.
    pub(super) config: String,
    /// What it runs afterwards, a line for `sh`.
    pub(super) start: String,
}

impl Default for AgentBoot {
    fn default() -> Self {
        Self {
            config: "/etc/muster.toml".to_owned(),
            start: "systemctl restart muster".to_owned(),
        }
    }
}

/// The script: it writes the agent's configuration where only root can read it, does what the flavor wants, and starts the agent.
///
/// # Errors
/// Where the flavor's part is no shell script, so that nothing can be put before it.
pub(super) fn script(
    spec: &MachineSpec,
    op: &OperationId,
    boot: &AgentBoot,
) -> Result<String, Vec<Problem>> {
    let init = spec.init.trim_end();
    if !is_shell(init) {
        let what: String = init
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(40)
            .collect();
        return Err(vec![Problem::new(
            "init",
            format!(
                "the first boot begins with `{what}`, and the agent's configuration can only be put into a shell script"
            ),
            "let the flavor write a script for sh, and the image do the rest",
        )]);
    }
    // The script runs the flavor's part itself, so the agent needn't.
    let mut spec = spec.clone();
    spec.init.clear();
    let config = agent_config(&spec, &AgentPlace::default());
    let end = format!("MUSTER-{}", op.short(26));
    let path = quoted(&boot.config);
    let above = Path::new(&boot.config)
        .parent()
        .map(|above| above.display().to_string());
    let above = above
        .filter(|above| !above.is_empty())
        .unwrap_or_else(|| ".".to_owned());
    let above = quoted(&above);
    let (shell, own) = match init.strip_prefix("#!") {
        Some(_) => init.split_once('\n').unwrap_or((init, "")),
        None => ("#!/bin/sh", init),
    };
    let mut lines = vec![
        shell.to_owned(),
        "# The muster agent's configuration; it admits one machine, once.".to_owned(),
        format!("mkdir -p {above}"),
        format!("(umask 077 && cat > {path}) <<'{end}'"),
        config.trim_end().to_owned(),
        end,
    ];
    let parts = [own, boot.start.as_str()];
    lines.extend(
        parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(str::to_owned),
    );
    Ok(lines.join("\n") + "\n")
}

/// Whether a text may be continued as a script for `sh`: plain lines, or a first line that names a shell.
fn is_shell(init: &str) -> bool {
    let first = init.lines().next().unwrap_or_default();
    match first.strip_prefix("#!") {
        Some(interpreter) => {
            let words = interpreter.split_whitespace();
            let named = words.filter_map(|word| Path::new(word).file_name());
            let shells = ["sh", "bash", "dash", "ash"];
            named
                .into_iter()
                .any(|name| shells.iter().any(|shell| name == *shell))
        }
        None => ![
            "#cloud-",
            "#include",
            "Content-Type:",
            "MIME-Version:",
            "#ps1",
            "{",
        ]
        .iter()
        .any(|other| first.starts_with(other)),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::{Properties, Secret};

    fn boot(dir: &Path) -> AgentBoot {
        AgentBoot {
            config: dir.join("it's/new/muster.toml").display().to_string(),
            start: "echo started >> \"$OUT\"".to_owned(),
        }
    }

    fn spec(init: &str) -> MachineSpec {
        let mut spec = MachineSpec::new("web-1", Properties::new());
        spec.init = init.to_owned();
        spec.boot.join_token = Secret::new("muster1-token");
        spec.labels
            .insert("quote".to_owned(), "'\"$HOME`id`\\".to_owned());
        spec
    }

    fn op() -> OperationId {
        OperationId::derive("c", "g", "m", 1, "provision")
    }

    #[test]
    fn the_script_writes_the_configuration_and_goes_on_with_the_flavors_part() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let out = dir.path().join("out");
        for init in [
            "echo flavor >> \"$OUT\"",
            "#!/bin/sh -e\necho flavor >> \"$OUT\"\n",
        ] {
            let _ = std::fs::remove_file(&out);
            let boot = boot(dir.path());
            let script = script(&spec(init), &op(), &boot).expect("a script");
            let ran = Command::new("sh")
                .arg("-c")
                .arg(&script)
                .env("OUT", &out)
                .status();
            assert!(ran.expect("sh runs").success(), "{script}");
            let said = std::fs::read_to_string(&out).expect("written");
            assert_eq!(said, "flavor\nstarted\n");
            let config = std::fs::read_to_string(&boot.config).expect("written");
            let table: toml::Table = config.parse().expect("valid TOML");
            assert_eq!(table["join_token"].as_str(), Some("muster1-token"));
            assert_eq!(table["labels"]["quote"].as_str(), Some("'\"$HOME`id`\\"));
            assert!(!table.contains_key("first_boot"), "the script has run it");
            let mode = std::fs::metadata(&boot.config)
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0);
        }
    }

    #[test]
    fn what_is_no_shell_script_is_refused() {
        let boot = AgentBoot::default();
        for init in [
            "#cloud-config\nruncmd: []",
            "#!/usr/bin/python3\nprint()",
            "{\"ignition\": {}}",
        ] {
            let problems = script(&spec(init), &op(), &boot).expect_err("no shell");
            assert_eq!(problems[0].field, "init");
        }
        for init in [
            "",
            "echo a",
            "# a remark\necho",
            "#!/usr/bin/env bash\necho",
        ] {
            assert!(script(&spec(init), &op(), &boot).is_ok(), "{init}");
        }
    }
}
