//! The consensus library's own test suite for stores, against ours.

use std::sync::Arc;

use openraft::testing::{StoreBuilder, Suite};
use openraft::{AnyError, StorageError, StorageIOError};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::cluster::{CLUSTER, Ledger};
use crate::consensus::machine::Machine;
use crate::consensus::raft::Types;
use crate::consensus::replica::Replica;
use crate::consensus::seat::{LogGeneration, Seat};
use crate::consensus::store::{About, LogStore, Store};

struct Builder;

impl StoreBuilder<Types, LogStore, Machine<Ledger>, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine<Ledger>), StorageError<Seat>> {
        let folder = tempfile::tempdir().expect("a folder for a test");
        let about = About {
            cluster: CLUSTER,
            generation: LogGeneration::FIRST,
            seat: Seat::FIRST,
        };
        let failed = |error: &dyn ToString| {
            StorageError::from(StorageIOError::read(AnyError::error(error.to_string())))
        };
        let store = Store::create(folder.path().join("log.redb"), about, None).await;
        let store = store.map_err(|error| failed(&error))?;
        let grown = Arc::new(Notify::new());
        let machine = Machine::load(Replica::new(), store.clone(), about.generation, grown).await;
        let machine = machine.map_err(|error| failed(&error))?;
        Ok((folder, LogStore(store), machine))
    }
}

#[test]
fn the_store_passes_the_librarys_suite() {
    Suite::test_all(Builder).expect("the suite passes");
}
