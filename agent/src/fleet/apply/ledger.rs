//! What provisioners have to remember.

use super::super::command::LedgerWrite;
use super::super::limits::{LEDGERS_BYTES_MAX, LEDGERS_MAX};
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::state::FleetState;
use super::Applied;
use super::values::{at_most, check_word, invalid};

impl FleetState {
    /// Changes a provisioner's ledger, unless somebody changed it in the meantime.
    pub(super) fn write_ledger(&mut self, write: LedgerWrite) -> Applied {
        let LedgerWrite {
            provisioner,
            revision,
            changes,
        } = write;
        check_word("the provisioner's name", &provisioner)?;
        let known = self.ledgers.get(&provisioner);
        let new = usize::from(known.is_none());
        at_most("ledgers", self.ledgers.len() + new, LEDGERS_MAX)?;
        let mut table = known.cloned().unwrap_or_default();
        if table.revision != revision {
            let why = format!(
                "the ledger of `{provisioner}` is at revision {}, not at {revision}",
                table.revision
            );
            return Err(Refusal::Stale(why.into()));
        }
        if let Some(why) = table.refuse(&changes) {
            return Err(invalid(why));
        }
        let others = self
            .ledgers
            .iter()
            .filter(|(name, _)| **name != provisioner);
        table.change(changes);
        let bytes = others.map(|(_, table)| table.bytes()).sum::<usize>() + table.bytes();
        at_most("bytes of ledgers", bytes, LEDGERS_BYTES_MAX)?;
        self.ledgers.insert(provisioner, table);
        Ok(Reply::Done)
    }
}
