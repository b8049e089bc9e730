//! Invariant 4: two copies of a pet never run.

use std::collections::BTreeMap;

use super::{Invariant, Sight};
use crate::fleet::{FleetState, Machine, Phase};

pub(super) struct TwoCopiesNeverRun;

impl Invariant for TwoCopiesNeverRun {
    fn title(&self) -> &'static str {
        "two copies of a pet never run"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Called(call) => match call.makes {
                Some((place, running)) if place.member.is_pet() && !running.is_empty() => {
                    Err(format!(
                        "a machine is made for {} while {} still runs it",
                        place.member, running[0]
                    ))
                }
                _ => Ok(()),
            },
            Sight::Applied {
                before: Some(_),
                state,
                ..
            } => self.sound(state),
            _ => Ok(()),
        }
    }

    fn sound(&self, state: &FleetState) -> Result<(), String> {
        names(state)
    }
}

/// Names are unique, except while one machine replaces another; no member has two machines, except then.
fn names(state: &FleetState) -> Result<(), String> {
    let mut names: BTreeMap<&str, Vec<&Machine>> = BTreeMap::new();
    for machine in state.machines.values() {
        names
            .entry(machine.name.as_str())
            .or_default()
            .push(machine);
    }
    for (name, machines) in names {
        let [one, other] = machines.as_slice() else {
            if machines.len() > 2 {
                return Err(format!("{name} is the name of {} machines", machines.len()));
            }
            continue;
        };
        let goes = |machine: &Machine| machine.phase == Phase::Retiring;
        if goes(one) == goes(other) || one.intent != other.intent {
            return Err(format!(
                "{name} has two machines, and neither replaces the other"
            ));
        }
    }
    Ok(())
}
