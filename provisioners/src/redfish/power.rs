//! Bringing a node's power to where it shall be, whatever its controller answers.
//!
//! Firmware is slow, answers 204 and does nothing, refuses what is so already, and runs out of sessions. So a button is pressed,
//! the node is looked at until it is as it shall be, and the next button is pressed when it is not.

use std::time::Duration;

use super::controller::{Button, Controller, Power, Restore};
use crate::{Deadline, ProvisionError};

/// The pause between two looks; controllers are small computers.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// What power may be wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    On,
    Off,
}

impl Wanted {
    fn is(self, power: Power) -> bool {
        matches!(
            (self, power),
            (Self::On, Power::On) | (Self::Off, Power::Off)
        )
    }

    /// What is pressed, one after the other. To turn on what says that it is on already is not tried: who wants it to run anew turns it
    /// off first, and sees that it is.
    fn buttons(self) -> &'static [Button] {
        match self {
            Self::On => &[Button::On, Button::On, Button::Restart],
            Self::Off => &[Button::Off, Button::Off],
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::On => "stays off",
            Self::Off => "stays on",
        }
    }
}

/// Brings a node's power to what is wanted, and has seen it there. Each button gets `patience` to do its work. Says whether that
/// is our doing: a button was accepted, or its answer was lost and the power has changed.
///
/// What is off is told to be off all the same, unless it stays off by itself: it may be about to start, as it ran when the
/// hall's power went.
///
/// # Errors
/// [`ProvisionError::Denied`] at once. [`ProvisionError::Timeout`] if it was not seen to be so: what was pressed may
/// still work. [`ProvisionError::Unavailable`] if nothing was pressed.
pub(super) async fn bring(
    controller: &dyn Controller,
    wanted: Wanted,
    patience: Duration,
    deadline: Deadline,
) -> Result<bool, ProvisionError> {
    let mut last = None;
    let mut pressed = false;
    let mut accepted = false;
    let mut was_so = false;
    let mut refused = false;
    // A look that fails is no reason not to press: the answer to that may come.
    match controller.look(deadline.at_most(patience)).await {
        Ok(look) if wanted.is(look.power) => {
            if wanted == Wanted::On || look.restore == Restore::StaysOff {
                return Ok(false);
            }
            was_so = true;
        }
        Err(error @ ProvisionError::Denied(_)) => return Err(error),
        Ok(_) => {}
        Err(error) if deadline.has_passed() => return Err(error),
        Err(error) => {
            // How it was is not known, so what is seen later may have been so before.
            was_so = true;
            last = Some(error);
        }
    }
    for button in wanted.buttons() {
        if deadline.has_passed() {
            break;
        }
        match controller.press(*button, deadline.at_most(patience)).await {
            Ok(()) => (pressed, accepted) = (true, true),
            Err(error @ ProvisionError::Denied(_)) if !pressed => return Err(error),
            Err(error) => {
                pressed |= error.is_outcome_unknown();
                last = Some(error);
            }
        }
        match until(controller, wanted, deadline.at_most(patience)).await {
            Ok(true) if accepted || (pressed && !was_so) => return Ok(true),
            // Another coordinator, or a person: what counts for a start is that it runs.
            Ok(true) if wanted == Wanted::On => return Ok(false),
            Ok(is_so) => refused = is_so,
            Err(error) => last = Some(error),
        }
    }
    if refused {
        return Ok(false);
    }
    let why = last.map_or_else(String::new, |error| format!(" ({error})"));
    if pressed {
        let text = format!("switching it: it {}{why}", wanted.words());
        Err(ProvisionError::timeout(text))
    } else {
        Err(ProvisionError::unavailable(format!(
            "its controller does nothing{why}"
        )))
    }
}

/// Looks until it is so, or until the deadline.
async fn until(
    controller: &dyn Controller,
    wanted: Wanted,
    deadline: Deadline,
) -> Result<bool, ProvisionError> {
    loop {
        let look = controller.look(deadline).await;
        if look.as_ref().is_ok_and(|look| wanted.is(look.power)) {
            return Ok(true);
        }
        if !deadline.sleep(LOOK_PAUSE).await {
            return look.map(|_| false);
        }
    }
}

#[cfg(test)]
mod tests;
