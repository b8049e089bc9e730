//! What is known of orphans.

use super::super::event::EventKind;
use super::super::limits::{ORPHANS_MAX, WORD_BYTES_MAX};
use super::super::orphan::Orphan;
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::state::FleetState;
use super::values::at_most;
use super::{About, Applied, Context};

impl FleetState {
    /// Puts on record which orphans there are, all of them.
    pub(super) fn record_orphans(
        &mut self,
        context: &Context<'_>,
        mut orphans: Vec<Orphan>,
    ) -> Applied {
        at_most("orphans", orphans.len(), ORPHANS_MAX)?;
        for orphan in &orphans {
            let group = orphan.group.as_ref().map_or(0, String::len);
            let longest = orphan.provisioner.len().max(group);
            at_most("bytes in a word of an orphan", longest, WORD_BYTES_MAX)?;
        }
        orphans.sort();
        orphans.dedup_by(|one, other| one.key() == other.key());
        if orphans == self.orphans {
            return Err(Refusal::Invalid(
                "these orphans are on record already".into(),
            ));
        }
        let before = std::mem::replace(&mut self.orphans, orphans.clone());
        let is_in = |all: &[Orphan], one: &Orphan| all.iter().any(|other| other.key() == one.key());
        for orphan in orphans.iter().filter(|orphan| !is_in(&before, orphan)) {
            let detail = format!("{}: no machine of the roster runs on it", words(orphan));
            self.note(context, EventKind::OrphanFound, About::fleet(detail));
        }
        for orphan in before.iter().filter(|orphan| !is_in(&orphans, orphan)) {
            let detail = format!("{} is none any more", words(orphan));
            self.note(context, EventKind::OrphanGone, About::fleet(detail));
        }
        Ok(Reply::Done)
    }
}

fn words(orphan: &Orphan) -> String {
    let of = |group: &String| format!(" of group {group}");
    let group = orphan.group.as_ref().map_or_else(String::new, of);
    format!("{} {}{group}", orphan.provisioner, orphan.id)
}
