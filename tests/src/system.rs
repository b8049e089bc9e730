//! What a test needs of the machine that it runs on: programs and rights.

use std::process::{Command, Stdio};

/// Whether a need is met. With `CI=true` an unmet need fails the test; elsewhere the test says so and is to return.
#[track_caller]
pub fn require(what: &str, is_met: bool) -> bool {
    if !is_met {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "{what} is missing, and CI must not skip a test");
        println!("skip: {what} is missing");
    }
    is_met
}

/// Whether a program is there to be run.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.into_iter().any(|dir| dir.join(name).is_file())
}

/// Whether this process may make network namespaces and filter packets in them.
pub fn may_make_namespaces() -> bool {
    succeeds(Command::new("unshare").args(["--net", "--", "iptables", "--list", "--numeric"]))
}

/// Runs a command for its success only.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Whether this process may mount file systems that only its children see.
pub fn may_mount() -> bool {
    succeeds(Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]))
}
