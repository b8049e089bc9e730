//! The fleet's directory: whose it is, and who may change it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_provisioners::process::{ProcessConfig, ProcessProvisioner};
use muster_provisioners::{
    Deadline, Instance, InstanceId, InstanceState, ProvisionError, Provisioner, Tags,
};

use super::place::{is_fleet, name_of};
use crate::cli::failure::Failure;

/// How long looking at the directory may take.
const LOOK: Duration = Duration::from_secs(20);

/// A fleet's directory, opened.
pub(super) struct FleetRoot {
    /// The directory, absolute and without symbolic links.
    pub(super) dir: PathBuf,
    /// What makes and starts its machines.
    pub(super) provisioner: ProcessProvisioner,
}

/// One machine of it.
#[derive(Debug, Clone)]
pub(super) struct DevMachine {
    /// Its name; its instance's ID where its directory is damaged.
    pub(super) name: String,
    /// What its provisioner says.
    pub(super) instance: Instance,
}

/// The right to supervise a fleet; given back when dropped, or when the process ends however it ends.
#[derive(Debug)]
pub(super) struct Supervision(#[expect(dead_code, reason = "it locks as long as it is open")] File);

impl FleetRoot {
    /// Opens a fleet's directory, or makes a new one where there is nothing.
    pub(super) async fn open_or_create(dir: &Path) -> Result<Self, Failure> {
        if !is_fleet(dir) && !is_free(dir)? {
            return Err(Failure::other(format!(
                "{} holds something else than a fleet of `muster dev`, and is left alone; name another one with --dir",
                dir.display()
            )));
        }
        std::fs::create_dir_all(dir).map_err(unusable(dir))?;
        Self::open(dir).await
    }

    /// Opens a fleet's directory that is there.
    pub(super) async fn open_existing(dir: &Path) -> Result<Self, Failure> {
        if !is_fleet(dir) {
            return Err(no_fleet(dir));
        }
        Self::open(dir).await
    }

    async fn open(dir: &Path) -> Result<Self, Failure> {
        let dir = dir.canonicalize().map_err(unusable(dir))?;
        let config = ProcessConfig::new(&dir);
        let provisioner = config
            .open(Deadline::after(LOOK))
            .await
            .map_err(failed("opening the fleet"))?;
        Ok(Self { dir, provisioner })
    }

    /// All machines, by name.
    pub(super) async fn machines(&self) -> Result<Vec<DevMachine>, Failure> {
        let listed = self
            .provisioner
            .describe(&Tags::new(), Deadline::after(LOOK))
            .await;
        let instances = listed.map_err(failed("looking at the machines"))?;
        let mut machines: Vec<_> = instances
            .into_iter()
            .map(|instance| {
                let home = instance.properties.get("dir").and_then(|dir| dir.as_str());
                let name = home.and_then(|home| name_of(Path::new(home)));
                DevMachine {
                    name: name.unwrap_or_else(|| instance.id.to_string()),
                    instance,
                }
            })
            .collect();
        machines.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(machines)
    }

    /// How an instance is; unknown where there is none.
    pub(super) async fn state(&self, id: &InstanceId) -> Result<InstanceState, Failure> {
        let machines = self.machines().await?;
        let found = machines.iter().find(|machine| machine.instance.id == *id);
        Ok(found.map_or(InstanceState::Unknown, |machine| machine.instance.state))
    }

    /// The machine of this name, the newest where one is being replaced by another.
    pub(super) async fn machine(&self, name: &str) -> Result<InstanceId, Failure> {
        let machines = self.machines().await?;
        let named = machines.iter().filter(|machine| machine.name == name);
        match named.max_by_key(|machine| machine.instance.created_at_ms) {
            Some(machine) => Ok(machine.instance.id.clone()),
            None => {
                let names: Vec<_> = machines
                    .iter()
                    .map(|machine| machine.name.as_str())
                    .collect();
                Err(Failure::other(format!(
                    "there is no machine {name}; there are {}",
                    names.join(", ")
                )))
            }
        }
    }

    /// Takes the right to supervise this fleet.
    ///
    /// # Errors
    /// When another `muster dev` has it.
    pub(super) fn supervise(&self) -> Result<Supervision, Failure> {
        let path = self.dir.join("dev.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(unusable(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Only for the message.
                let _ = (&mut file).take(20).read_to_string(&mut pid);
                return Err(Failure::other(format!(
                    "another `muster dev` (process {}) runs the fleet in {}; stop that one first, or use another --dir",
                    pid.trim(),
                    self.dir.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        write!(file, "{}", std::process::id())?;
        Ok(Supervision(file))
    }
}

impl DevMachine {
    /// A property of the instance as text.
    pub(super) fn property(&self, name: &str) -> String {
        match self.instance.properties.get(name) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }
}

/// There is no fleet, and what to do.
pub(super) fn no_fleet(dir: &Path) -> Failure {
    Failure::other(format!(
        "there is no fleet in {}; start one with `muster dev`, or name its directory with --dir",
        dir.display()
    ))
}

/// A provisioner's error, with what was being done.
pub(super) fn failed(what: &str) -> impl FnOnce(ProvisionError) -> Failure {
    move |error| Failure::other(format!("{what}: {error}"))
}

/// Whether a new fleet may live there: nothing is there, or an empty directory.
fn is_free(dir: &Path) -> Result<bool, Failure> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Failure::other(format!(
            "can't look into {}: {error}",
            dir.display()
        ))),
    }
}

/// Why a file or a directory of the fleet's can't be used.
fn unusable(path: &Path) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |error| Failure::other(format!("{} can't be used: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_other_things_is_not_free() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(is_free(&dir.path().join("new")).expect("readable"));
        assert!(is_free(dir.path()).expect("readable"));
        std::fs::write(dir.path().join("thesis.tex"), "").expect("writable");
        assert!(!is_free(dir.path()).expect("readable"));
        assert!(is_free(&dir.path().join("thesis.tex")).is_err());
    }

    #[tokio::test]
    async fn only_one_supervises() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = async || FleetRoot::open_or_create(&dir.path().join("fleet")).await;
        let one = open().await.unwrap_or_else(|error| panic!("{error:?}"));
        let held = one.supervise().unwrap_or_else(|error| panic!("{error:?}"));
        let other = open().await.unwrap_or_else(|error| panic!("{error:?}"));
        let refused = other.supervise().expect_err("it is held");
        assert!(
            format!("{refused:?}").contains(&std::process::id().to_string()),
            "{refused:?}"
        );
        drop(held);
        assert!(other.supervise().is_ok());
    }
}
