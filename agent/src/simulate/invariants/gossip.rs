//! Invariant 1: gossip never destroys. Only a committed intent touches a provisioner.

use super::{Invariant, Sight};

pub(super) struct GossipNeverDestroys;

impl Invariant for GossipNeverDestroys {
    fn title(&self) -> &'static str {
        "gossip never destroys"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Called(call) = sight else {
            return Ok(());
        };
        let intent = call.intent;
        if !intent.is_open() {
            return Err(format!(
                "`{}` was called for {}, which no open intent orders",
                call.step, call.op
            ));
        }
        let current = intent.current().map(|record| record.step);
        if current != Some(call.step) {
            return Err(format!(
                "`{}` was called for {}, which is at {current:?}",
                call.step, call.op
            ));
        }
        match call.ends {
            Some(machine) if intent.action.removes() != Some(machine) => Err(format!(
                "{} ended {machine}, which it is not about",
                call.op
            )),
            _ => Ok(()),
        }
    }
}
