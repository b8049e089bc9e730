//! Controllers that answer one thing and do another.

use std::sync::Mutex;

use async_trait::async_trait;

use super::super::controller::{Boot, Look};
use super::*;

/// What a controller does with each button that is pressed, and what it answers.
#[derive(Debug, Clone)]
struct Deed {
    becomes: Option<Power>,
    answer: Result<(), ProvisionError>,
}

#[derive(Debug)]
struct Script {
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
            starts_alone: false,
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

async fn brought(script: &Script, wanted: Wanted) -> Result<(), ProvisionError> {
    let deadline = Deadline::after(Duration::from_secs(60));
    bring(script, wanted, Duration::from_secs(15), deadline).await
}

fn pressed(script: &Script) -> Vec<Button> {
    script.pressed.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn what_is_so_already_is_left_alone() {
    let script = script(Power::Off, &[]);
    assert_eq!(brought(&script, Wanted::Off).await, Ok(()));
    assert_eq!(pressed(&script), []);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_believed() {
    let lazy = script(Power::Off, &[nothing(), nothing(), does(Power::On)]);
    assert_eq!(brought(&lazy, Wanted::On).await, Ok(()));
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
    let quick = script(Power::On, &[refusal(Some(Power::Off))]);
    assert_eq!(brought(&quick, Wanted::Off).await, Ok(()));
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
        Ok(())
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
