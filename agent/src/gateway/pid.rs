//! The file beside a plugin's socket that says which process serves it.

use std::path::{Path, PathBuf};

use super::GatewayError;

/// The file `NAME.pid`, which goes with its owner.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it. One of a process that is no more is replaced: InfraKit's own plugins would refuse to start for ever.
    pub(super) fn take(socket: &Path) -> Result<Self, GatewayError> {
        let mut name = socket.as_os_str().to_owned();
        name.push(".pid");
        let path = PathBuf::from(name);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let before = before.trim().parse::<u32>().ok();
        if let Some(pid) =
            before.filter(|pid| *pid != std::process::id() && is_alive(*pid) && is_served(socket))
        {
            return Err(GatewayError::Running {
                socket: socket.to_owned(),
                pid,
            });
        }
        std::fs::write(&path, std::process::id().to_string()).map_err(|error| {
            GatewayError::File {
                path: path.clone(),
                error,
            }
        })?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Another process may have the number by now, so this alone says little.
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

fn is_served(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}
