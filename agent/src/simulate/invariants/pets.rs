//! Invariant 4: two copies of a pet never run.

use super::{Invariant, Sight};

pub(super) struct TwoCopiesNeverRun;

impl Invariant for TwoCopiesNeverRun {
    fn title(&self) -> &'static str {
        "two copies of a pet never run"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Called(call) = sight else {
            return Ok(());
        };
        match call.makes {
            Some((place, running)) if place.member.is_pet() && !running.is_empty() => Err(format!(
                "a machine is made for {} while {} still runs it",
                place.member, running[0]
            )),
            _ => Ok(()),
        }
    }
}
