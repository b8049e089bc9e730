//! Where everything lies under the root.
//!
//! ```text
//! root.json                 network and port
//! next-address              where the next address is looked for
//! lock                      held while instances are added
//! stopping                  there while the fleet is being stopped: nothing may start
//! instances/ID/
//!   lock                    held by whoever changes the instance
//!   instance.json           what was ordered; changes only when it is reimaged
//!   agent.toml              the agent's configuration, readable by the owner alone
//!   starting                there from the order to start until the process is recorded
//!   process.json            which process the agent is (or was)
//!   stopped                 there after a stop: nothing may start it but a start
//!   doomed                  there from the order to destroy until it lies in the graveyard
//!   state/, api.sock        the agent's own
//!   agent.log, agent.log.1  what it said
//! disks/ID/                 what outlives instances
//! disks/.locks/ID           held while an instance with that disk starts
//! graveyard/ID/             records and logs of the destroyed
//! ```

use std::path::{Path, PathBuf};

use crate::InstanceId;

/// The longest socket path that the kernel accepts, without the final NUL (`sun_path`).
pub(super) const SOCKET_PATH_MAX: usize = 107;

/// The directory that all machines of a fleet lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root(PathBuf);

impl Root {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn record(&self) -> PathBuf {
        self.0.join("root.json")
    }

    pub(super) fn next_address_path(&self) -> PathBuf {
        self.0.join("next-address")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub(super) fn stopping(&self) -> PathBuf {
        self.0.join("stopping")
    }

    pub(super) fn instances(&self) -> PathBuf {
        self.0.join("instances")
    }

    pub(super) fn instance(&self, id: &InstanceId) -> Place {
        Place(self.instances().join(id.as_str()))
    }

    pub(super) fn disks(&self) -> PathBuf {
        self.0.join("disks")
    }

    pub(super) fn disk(&self, attachment: &str) -> PathBuf {
        self.disks().join(attachment)
    }

    pub(super) fn disk_locks(&self) -> PathBuf {
        self.disks().join(".locks")
    }

    pub(super) fn graveyard(&self) -> PathBuf {
        self.0.join("graveyard")
    }

    pub(super) fn grave(&self, id: &InstanceId) -> Place {
        Place(self.graveyard().join(id.as_str()))
    }

    /// How many bytes longer than the root's path the longest socket path below it is.
    pub(super) fn socket_path_extra() -> usize {
        let id = format!(
            "{}{}",
            super::create::ID_PREFIX,
            "x".repeat(super::create::ID_DIGITS)
        );
        Place(Path::new("/instances").join(id))
            .socket()
            .as_os_str()
            .len()
    }
}

/// The directory of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The root that an instance's directory is under.
    pub(super) fn root(&self) -> Option<Root> {
        Some(Root::new(self.0.parent()?.parent()?))
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub(super) fn record(&self) -> PathBuf {
        self.0.join("instance.json")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.0.join("agent.toml")
    }

    pub(super) fn starting(&self) -> PathBuf {
        self.0.join("starting")
    }

    pub(super) fn process(&self) -> PathBuf {
        self.0.join("process.json")
    }

    pub(super) fn stopped(&self) -> PathBuf {
        self.0.join("stopped")
    }

    pub(super) fn doomed(&self) -> PathBuf {
        self.0.join("doomed")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("api.sock")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.0.join("agent.log")
    }

    pub(super) fn old_log(&self) -> PathBuf {
        self.0.join("agent.log.1")
    }
}
