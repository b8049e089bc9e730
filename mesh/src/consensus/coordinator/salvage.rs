//! What the store of a coordinator that runs no more still tells.

use super::start::{StartError, about};
use super::{Coordinator, CoordinatorConfig};
use crate::consensus::image::Image;
use crate::consensus::machine::{MachineError, own_state};
use crate::consensus::raft::next_index;
use crate::consensus::store::Store;
use crate::consensus::{LogGeneration, StateMachine};

impl<S: StateMachine> Coordinator<S> {
    /// The state after everything that a stopped coordinator's store holds, entries included that it never learned to
    /// be committed: the leader may have told a client that they are, a moment before it died.
    ///
    /// Only for founding the next generation of the log, when nobody can say any more which of them were. Changes
    /// nothing in the store.
    ///
    /// # Errors
    /// When the store is missing, damaged, in use or somebody else's.
    pub async fn salvage(config: &CoordinatorConfig) -> Result<Image, StartError> {
        let store = Store::open(config.path.clone(), about(config)).await?;
        let salvaged = everything::<S>(&store, config.generation).await;
        store.close().await;
        salvaged
    }

    /// Which log this is.
    pub fn generation(&self) -> LogGeneration {
        self.inner.config.generation
    }
}

async fn everything<S: StateMachine>(
    store: &Store,
    generation: LogGeneration,
) -> Result<Image, StartError> {
    let own = own_state::<S>(store, generation).await;
    let mut state = own.map_err(|error| match error {
        MachineError::Store(error) => StartError::Store(error),
        error @ MachineError::Snapshot(_) => StartError::State(error.to_string()),
    })?;
    loop {
        let entries = store.entries_from(next_index(state.last())).await?;
        if entries.is_empty() {
            return Ok(state.image());
        }
        for entry in &entries {
            state.apply(entry);
        }
    }
}
