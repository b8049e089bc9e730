//! Where the machine's own commands run: the first-boot script and those of its flavor.

use std::io;
use std::path::PathBuf;

use muster_mesh::state_dir::StateDir;

/// Names a pet's disk to its agent and to its workload.
pub(super) const DATA_VARIABLE: &str = "MUSTER_DATA";

/// A pet's disk, where it has one; else `work` in the data directory, apart from the agent's own files.
pub(super) fn workplace(state_dir: &StateDir) -> PathBuf {
    disk().unwrap_or_else(|| state_dir.file("work"))
}

/// The pet's disk that this agent was started with.
pub(super) fn disk() -> Option<PathBuf> {
    std::env::var_os(DATA_VARIABLE).map(PathBuf::from)
}

/// Makes the workplace, if it is not there yet.
///
/// # Errors
/// When it can't be made.
pub(super) fn prepare(state_dir: &StateDir) -> io::Result<()> {
    std::fs::create_dir_all(workplace(state_dir))
}
