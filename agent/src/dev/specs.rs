//! What the fleet should be: the default, what `-f` says, and what was applied last.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::failure::Failure;
use crate::fleet::spec::{Allocation, GroupSpec};
use crate::spec::{self, Registries, SpecError};

/// The default fleet: one group of each kind, and enough machines for three coordinators that can spare one.
const DEFAULT: &str = r#"
[[group]]
id = "web"
size = 3

[[group]]
id = "db"
members = ["db-1", "db-2"]
"#;

/// How many machines of the default fleet are pets.
const PETS: u32 = 2;

/// The version of [`Applied`].
const VERSION: u32 = 1;

/// What was applied last in a directory: `dev.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Applied {
    version: u32,
    /// The specs, canonical.
    pub(super) specs: Vec<GroupSpec>,
}

/// The specs from files, or the default fleet with `machines` in all.
///
/// # Errors
/// Everything that is wrong with the files.
pub(crate) fn wanted(
    files: &[PathBuf],
    machines: Option<u32>,
) -> Result<Vec<GroupSpec>, SpecError> {
    let registries = Registries::builtin();
    if !files.is_empty() {
        return spec::load(files, &registries);
    }
    let source = spec::Source {
        name: "default.toml".into(),
        text: DEFAULT.into(),
    };
    let mut specs = spec::parse(&[source], &registries)?;
    if let Some(machines) = machines {
        resize(&mut specs, machines);
    }
    Ok(specs)
}

/// Makes `web` so large that there are `machines` in all. A fleet too small for the pets has none.
fn resize(specs: &mut Vec<GroupSpec>, machines: u32) {
    if machines <= PETS {
        specs.retain(|spec| matches!(spec.allocation, Allocation::Cattle { .. }));
    }
    for spec in specs {
        if let Allocation::Cattle { size } = &mut spec.allocation {
            *size = if machines <= PETS {
                machines
            } else {
                machines - PETS
            };
        }
    }
}

impl Applied {
    /// These specs.
    pub(super) fn new(specs: Vec<GroupSpec>) -> Self {
        Self {
            version: VERSION,
            specs,
        }
    }

    /// What was applied last; `None` where nothing was, or nobody can tell.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let bytes = std::fs::read(file(dir)).ok()?;
        serde_json::from_slice(&bytes)
            .ok()
            .filter(|applied: &Self| applied.version == VERSION)
    }

    /// Notes it down.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::other(format!("the specs can't be written down: {error}")))?;
        let temporary = dir.join("dev.json.new");
        std::fs::write(&temporary, text)?;
        Ok(std::fs::rename(temporary, file(dir))?)
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("dev.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(machines: Option<u32>) -> Vec<(String, usize)> {
        let specs = wanted(&[], machines).unwrap_or_else(|error| panic!("{error}"));
        specs
            .iter()
            .map(|spec| (spec.id.to_string(), spec.desired()))
            .collect()
    }

    #[test]
    fn the_default_fleet_has_as_many_machines_as_asked_for() {
        assert_eq!(sizes(None), [("web".to_owned(), 3), ("db".to_owned(), 2)]);
        for machines in 1..=20 {
            let total: usize = sizes(Some(machines)).iter().map(|(_, size)| size).sum();
            assert_eq!(total, machines as usize);
        }
        assert_eq!(sizes(Some(1)), [("web".to_owned(), 1)]);
    }

    #[test]
    fn what_was_applied_is_remembered() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Applied::read(dir.path()), None);
        let applied = Applied::new(wanted(&[], None).unwrap_or_else(|error| panic!("{error}")));
        applied
            .write(dir.path())
            .unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(Applied::read(dir.path()), Some(applied));
        std::fs::write(file(dir.path()), "{").expect("writable");
        assert_eq!(Applied::read(dir.path()), None);
    }
}
