//! A controller that speaks IPMI 2.0, by way of `ipmitool`.

use std::process::Stdio;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::controller::{Boot, Button, Controller, Credentials, Look, Power, Restore};
use crate::{Deadline, ProvisionError};

/// What is read of its output.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;

/// How long one packet is waited for, in seconds, and how often it is sent.
const RESEND: [&str; 4] = ["-N", "2", "-R", "3"];

/// A node's controller.
#[derive(Debug)]
pub(super) struct Ipmi {
    tool: String,
    host: String,
    port: u16,
    /// The cipher suite; negotiated where it is `None`.
    cipher: Option<u8>,
    /// Whether the node's firmware is UEFI.
    is_uefi: bool,
    credentials: Credentials,
    /// Whoever holds it is asking: there are only a few sessions.
    turn: Mutex<()>,
}

/// Where a controller is, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) cipher: Option<u8>,
    pub(super) is_uefi: bool,
}

impl Ipmi {
    pub(super) fn new(tool: &str, way: Way, credentials: Credentials) -> Self {
        Self {
            tool: tool.to_owned(),
            host: way.host,
            port: way.port,
            cipher: way.cipher,
            is_uefi: way.is_uefi,
            credentials,
            turn: Mutex::new(()),
        }
    }

    /// Runs one command and gives what it prints.
    async fn run(
        &self,
        what: &'static str,
        words: &[&str],
        changes: bool,
        deadline: Deadline,
    ) -> Result<String, ProvisionError> {
        let turn = deadline.limit("waiting for the controller", async {
            Ok(self.turn.lock().await)
        });
        let _turn = turn.await.map_err(|_| {
            ProvisionError::unavailable("the controller is still busy with an earlier request")
        })?;
        let (done, output, errors) = deadline.limit(what, self.spawn(words)).await?;
        if done {
            return Ok(output);
        }
        Err(judge(what, &errors, changes))
    }

    async fn spawn(&self, words: &[&str]) -> Result<(bool, String, String), ProvisionError> {
        let failed = |error: std::io::Error| {
            ProvisionError::unavailable(format!(
                "running `{}`: {error}; install it on every machine that may coordinate",
                self.tool
            ))
        };
        let mut command = Command::new(&self.tool);
        command
            .args([
                "-v", "-I", "lanplus", "-L", "OPERATOR", "-E", "-H", &self.host,
            ])
            .args([
                "-p",
                &self.port.to_string(),
                "-U",
                &self.credentials.username,
            ])
            .args(RESEND)
            .args(self.cipher.map(|cipher| format!("-C{cipher}")))
            .args(words)
            // Unlike its arguments, its environment is nobody else's to read.
            .env("IPMI_PASSWORD", self.credentials.password.expose())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let (output, errors) = tokio::join!(read(output), read(errors));
        let status = child.wait().await.map_err(failed)?;
        Ok((status.success(), output, errors))
    }
}

/// Reads what a program prints: the beginning is kept, the rest passed over so that it is not held up.
async fn read(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else {
        return String::new();
    };
    let mut bytes = Vec::new();
    let _ = (&mut from)
        .take(OUTPUT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .await;
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[async_trait]
impl Controller for Ipmi {
    async fn look(&self, deadline: Deadline) -> Result<Look, ProvisionError> {
        let output = self
            .run(
                "looking at the chassis",
                &["chassis", "status"],
                false,
                deadline,
            )
            .await?;
        Ok(look(&output))
    }

    async fn press(&self, button: Button, deadline: Deadline) -> Result<(), ProvisionError> {
        let word = match button {
            Button::On => "on",
            Button::Off => "off",
            Button::Restart => "reset",
            // It can only ask the system to stop.
            Button::AskToRestart => {
                return Err(ProvisionError::Unsupported("ask to restart".to_owned()));
            }
        };
        let words = ["chassis", "power", word];
        self.run("pressing a button", &words, true, deadline)
            .await
            .map(|_| ())
    }

    async fn set_boot(&self, boot: &Boot, deadline: Deadline) -> Result<(), ProvisionError> {
        let device = match boot {
            Boot::Usual => "none",
            Boot::Pxe => "pxe",
            Boot::Disk => "disk",
            Boot::Http(_) | Boot::Media(_) => {
                return Err(ProvisionError::Unsupported(
                    "tell a node by IPMI an address to boot from".to_owned(),
                ));
            }
        };
        let mut words = vec!["chassis", "bootdev", device];
        words.extend(self.is_uefi.then_some("options=efiboot"));
        self.run("setting the boot order", &words, true, deadline)
            .await
            .map(|_| ())
    }
}

/// What `chassis status` says.
fn look(output: &str) -> Look {
    let value = |name: &str| {
        let line = output
            .lines()
            .find(|line| line.trim_start().starts_with(name))?;
        Some(line.split_once(':')?.1.trim())
    };
    Look {
        power: match value("System Power") {
            Some("on") => Power::On,
            Some("off") => Power::Off,
            _ => Power::Unclear,
        },
        restore: match value("Power Restore Policy") {
            Some("always-off") => Restore::StaysOff,
            Some("always-on") => Restore::Starts,
            _ => Restore::Unsure,
        },
    }
}

/// What its complaints mean. Where it never got into a session, it changed nothing.
fn judge(what: &str, errors: &str, changes: bool) -> ProvisionError {
    let lower = errors.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let line = errors
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    let text = format!("{what}: {}", line.trim());
    if says(&[
        "hmac is invalid",
        "unauthorized name",
        "insufficient privilege",
        "password",
    ]) {
        ProvisionError::denied(format!(
            "{text} (are name and password right, and may they press buttons?)"
        ))
    } else if says(&[
        "insufficient resources",
        "unable to establish",
        "address lookup",
    ]) {
        ProvisionError::unavailable(text)
    } else if says(&[
        "failed:",
        "invalid data field",
        "invalid command",
        "not supported",
    ]) {
        ProvisionError::failed(text)
    } else if changes {
        ProvisionError::timeout(text)
    } else {
        ProvisionError::unavailable(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_status_is_understood() {
        let text = "System Power         : off\nPower Overload       : false\nPower Restore Policy : always-on\n";
        assert_eq!(
            look(text),
            Look {
                power: Power::Off,
                restore: Restore::Starts
            }
        );
        let text = "System Power         : on\nPower Restore Policy : previous\n";
        assert_eq!(
            look(text),
            Look {
                power: Power::On,
                restore: Restore::Unsure
            }
        );
        let policy = |word: &str| look(&format!("Power Restore Policy : {word}\n")).restore;
        assert_eq!(policy("always-off"), Restore::StaysOff);
        assert_eq!(policy("unknown"), Restore::Unsure);
        assert_eq!(look("rubbish").power, Power::Unclear);
    }

    #[test]
    fn complaints_say_whether_anything_was_done() {
        let judged = |errors: &str| judge("pressing a button", errors, true);
        let bad = "Loading...\n> RAKP 2 HMAC is invalid\nError: Unable to establish IPMI v2 / RMCP+ session\n";
        assert!(matches!(judged(bad), ProvisionError::Denied(_)));
        let down = "Error: Unable to establish IPMI v2 / RMCP+ session\n";
        assert!(matches!(judged(down), ProvisionError::Unavailable(_)));
        let refused =
            "Set Chassis Power Control to Up/On failed: Command not supported in present state\n";
        assert!(matches!(judged(refused), ProvisionError::Failed(_)));
        assert!(judged("No response from remote controller\n").is_outcome_unknown());
        assert!(!judge("looking", "No response\n", false).is_outcome_unknown());
    }

    proptest! {
        #[test]
        fn no_output_panics(text in any::<String>()) {
            let _ = look(&text);
            let _ = judge("looking", &text, false);
        }
    }
}
