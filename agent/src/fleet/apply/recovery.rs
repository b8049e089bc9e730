//! The log goes on by an operator's order, without most of the roster.

use muster_mesh::identity::MachineId;

use super::super::event::EventKind;
use super::super::recovery::Recovery;
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::state::FleetState;
use super::{About, Applied, Context, roster};

impl FleetState {
    /// Who was not there when the log was founded anew stays on the roster, and counts for nothing until it is back.
    pub(super) fn recover(&mut self, context: &Context<'_>, recovery: Recovery) {
        let Recovery { by, present, proof } = recovery;
        let absent: Vec<MachineId> = self
            .electors()
            .map(|machine| machine.id)
            .filter(|id| !present.contains(id))
            .collect();
        for id in absent {
            if let Some(machine) = self.machines.get_mut(&id) {
                machine.unaccounted_ms = Some(context.now_ms);
            }
            let detail = format!(
                "was not there when {by} had generation {} of the log founded",
                proof.generation
            );
            self.note(context, EventKind::Unaccounted, About::machine(id, detail));
        }
        // One that was unaccounted for before and has promised this log is back.
        for id in present {
            if let Some(machine) = self.machines.get_mut(&id) {
                machine.unaccounted_ms = None;
            }
        }
        self.recovered = Some(proof);
    }

    pub(super) fn account(&mut self, context: &Context<'_>, id: MachineId) -> Applied {
        let machine = self.machines.get_mut(&id).ok_or(Refusal::NoMachine(id))?;
        if machine.unaccounted_ms.take().is_none() {
            return Err(roster::wrong_phase(machine, "it is not unaccounted for"));
        }
        let about = About::machine(id, "is back, and follows this log");
        self.note(context, EventKind::Accounted, about);
        Ok(Reply::Done)
    }
}
