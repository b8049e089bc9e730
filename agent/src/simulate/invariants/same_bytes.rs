//! Invariant 11: cores take arguments and return values. The same log gives the same bytes, and the same situation the
//! same decisions.

use super::{Invariant, Sight};
use crate::fleet::{Command, Envelope, FleetState, Reply};
use crate::heal::decide_without;

/// Decisions about larger rosters are not made twice each time, only one in so many.
const OFTEN: usize = 20;
const SELDOM: u64 = 64;

#[derive(Default)]
pub(super) struct SameBytes {
    /// A copy that applies the same log.
    shadow: FleetState,
    looks: u64,
}

impl Invariant for SameBytes {
    fn title(&self) -> &'static str {
        "the same log gives the same bytes"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        match sight {
            Sight::Decided {
                state,
                situation,
                plan,
                left_out,
            } => {
                self.looks += 1;
                let again = state.machines.len() <= OFTEN || self.looks.is_multiple_of(SELDOM);
                if again && decide_without(state, situation, *left_out) != **plan {
                    return Err("the same situation was decided differently".to_owned());
                }
                Ok(())
            }
            Sight::Applied {
                before,
                state,
                envelope,
                bytes,
                reply,
            } => {
                if let Some(before) = before {
                    goes_forward(before, state, envelope, reply)?;
                }
                if self.shadow.apply_bytes(bytes) == **reply {
                    Ok(())
                } else {
                    Err("another copy of the state answers a command differently".to_owned())
                }
            }
            Sight::Ended { state, .. } => {
                let bytes = self.shadow.to_snapshot();
                if bytes != state.to_snapshot() {
                    return Err("another copy of the state is not the same".to_owned());
                }
                match FleetState::from_snapshot(&bytes) {
                    Ok(loaded) if loaded == **state => Ok(()),
                    _ => Err("a state that was stored and loaded is another one".to_owned()),
                }
            }
            Sight::Called(_) | Sight::Answered { .. } => Ok(()),
        }
    }
}

/// What is refused changes nothing, time does not go back, and no leader of the past decides.
fn goes_forward(
    before: &FleetState,
    after: &FleetState,
    envelope: &Envelope,
    reply: &Reply,
) -> Result<(), String> {
    if let Reply::Refused(refusal) = reply {
        return if before == after {
            Ok(())
        } else {
            Err(format!("refused and yet changed: {refusal}"))
        };
    }
    if after.clock_ms < before.clock_ms {
        return Err("time goes back".to_owned());
    }
    if after.next_decision < before.next_decision {
        return Err("numbers of decisions go back".to_owned());
    }
    let decides = matches!(
        (&envelope.command, reply),
        (Command::Decide(_), Reply::Decided(results)) if results.iter().any(Result::is_ok)
    );
    if decides && envelope.term < before.term {
        return Err("a leader of the past decides".to_owned());
    }
    Ok(())
}
