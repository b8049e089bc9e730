//! Controllers that answer one thing and do another.

use std::sync::Mutex;

use async_trait::async_trait;

use super::super::controller::{Boot, Look, Restore};
use super::*;

/// What a controller does with each button that is pressed, and what it answers.
#[derive(Debug, Clone)]
struct Deed {
    becomes: Option<Power>,
    answer: Result<(), ProvisionError>,
}

#[derive(Debug)]
struct Script {
    restore: Restore,
    power: Mutex<Power>,
    deeds: Mutex<Vec<Deed>>,
    pressed: Mutex<Vec<Button>>,
}

fn does(becomes: Power) -> Deed {
    Deed {
        becomes: Some(becomes),
        answer: Ok(()),
    }
}

fn nothing() -> Deed {
    Deed {
        becomes: None,
        answer: Ok(()),
    }
}

fn script(power: Power, deeds: &[Deed]) -> Script {
    Script {
        restore: Restore::Unsure,
        power: Mutex::new(power),
        deeds: Mutex::new(deeds.to_vec()),
        pressed: Mutex::default(),
    }
}

#[async_trait]
impl Controller for Script {
    async fn look(&self, deadline: Deadline) -> Result<Look, ProvisionError> {
        if deadline.has_passed() {
            return Err(ProvisionError::timeout("looking"));
        }
        Ok(Look {
            power: *self.power.lock().unwrap(),
            restore: self.restore,
        })
    }

    async fn press(&self, button: Button, _deadline: Deadline) -> Result<(), ProvisionError> {
        self.pressed.lock().unwrap().push(button);
        let deed = self.deeds.lock().unwrap().remove(0);
        if let Some(power) = deed.becomes {
            *self.power.lock().unwrap() = power;
        }
        deed.answer
    }

    async fn set_boot(&self, _boot: &Boot, _deadline: Deadline) -> Result<(), ProvisionError> {
        Ok(())
    }
}

async fn brought(script: &Script, wanted: Wanted) -> Result<bool, ProvisionError> {
    let deadline = Deadline::after(Duration::from_secs(60));
    bring(script, wanted, Duration::from_secs(15), deadline).await
}

fn pressed(script: &Script) -> Vec<Button> {
    script.pressed.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn what_is_so_already_is_left_alone() {
    let on = script(Power::On, &[]);
    assert_eq!(brought(&on, Wanted::On).await, Ok(false));
    let mut off = script(Power::Off, &[]);
    off.restore = Restore::StaysOff;
    assert_eq!(brought(&off, Wanted::Off).await, Ok(false));
    assert_eq!((pressed(&on), pressed(&off)), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_may_start_by_itself_is_told_to_be_off_though_it_is() {
    for restore in [Restore::Unsure, Restore::Starts] {
        let mut off = script(Power::Off, &[nothing()]);
        off.restore = restore;
        assert_eq!(brought(&off, Wanted::Off).await, Ok(true));
        assert_eq!(pressed(&off), [Button::Off]);
    }
    let refusal = Deed {
        becomes: None,
        answer: Err(ProvisionError::failed("409 it is off already")),
    };
    let off = script(Power::Off, &[refusal.clone(), refusal]);
    assert_eq!(brought(&off, Wanted::Off).await, Ok(false), "not our doing");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_believed() {
    let lazy = script(Power::Off, &[nothing(), nothing(), does(Power::On)]);
    assert_eq!(brought(&lazy, Wanted::On).await, Ok(true));
    assert_eq!(pressed(&lazy), [Button::On, Button::On, Button::Restart]);
    let dead = script(Power::Off, &[nothing(), nothing(), nothing()]);
    let error = brought(&dead, Wanted::On).await.expect_err("it stays off");
    assert!(
        error.is_outcome_unknown() && error.to_string().contains("stays off"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_failure_where_the_power_is_right() {
    let refusal = |becomes| Deed {
        becomes,
        answer: Err(ProvisionError::failed("409 it is off already")),
    };
    let quick = script(
        Power::On,
        &[refusal(Some(Power::Off)), refusal(Some(Power::Off))],
    );
    assert_eq!(brought(&quick, Wanted::Off).await, Ok(false));
    let stubborn = script(Power::On, &[refusal(None), refusal(None)]);
    let error = brought(&stubborn, Wanted::Off)
        .await
        .expect_err("it stays on");
    assert!(matches!(error, ProvisionError::Unavailable(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_resolved_by_looking() {
    let lost = |becomes| Deed {
        becomes,
        answer: Err(ProvisionError::timeout("pressing")),
    };
    assert_eq!(
        brought(&script(Power::Off, &[lost(Some(Power::On))]), Wanted::On).await,
        Ok(true)
    );
    let never = script(Power::On, &[lost(None), lost(None)]);
    let error = brought(&never, Wanted::Off).await.expect_err("it stays on");
    assert!(error.is_outcome_unknown(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_told_at_once() {
    let denied = Deed {
        becomes: None,
        answer: Err(ProvisionError::denied("no")),
    };
    let script = script(Power::On, &[denied]);
    assert_eq!(
        brought(&script, Wanted::Off).await,
        Err(ProvisionError::denied("no"))
    );
}
