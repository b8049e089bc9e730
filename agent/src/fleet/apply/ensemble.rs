//! Ensembles that the workloads of a group's machines have formed.

use super::super::event::EventKind;
use super::super::names::GroupId;
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::state::FleetState;
use super::{About, Applied, Context};

impl FleetState {
    /// Puts on record that a group's members have formed their ensemble, once and for all.
    pub(super) fn ensemble_formed(&mut self, context: &Context<'_>, id: &GroupId) -> Applied {
        let group = self.groups.get_mut(id);
        let group = group.ok_or_else(|| Refusal::NoGroup(id.clone()))?;
        if group.ensemble_ms.is_some() {
            return Err(Refusal::Stale("its ensemble is on record already".into()));
        }
        group.ensemble_ms = Some(context.now_ms);
        let about = About::group(
            id,
            "the workloads of its machines have formed an ensemble".to_owned(),
        );
        self.note(context, EventKind::EnsembleFormed, about);
        Ok(Reply::Done)
    }
}
