//! Invariant 9: any member answers any read from its own copy, cut off or not, and says how old it is.

use super::{Invariant, Sight};
use crate::answers::{Snapshot, explain, status};
use crate::api::types::AsOf;

pub(super) struct AnyMemberAnswers;

impl Invariant for AnyMemberAnswers {
    fn title(&self) -> &'static str {
        "any member answers"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Answered {
            snapshot,
            age_ms,
            present,
            ..
        } = sight
        else {
            return Ok(());
        };
        if present.is_some_and(|present| present != snapshot.state) {
            return Err("whoever follows the leader has another copy of the state".to_owned());
        }
        let failed = |what: &str| format!("{} can't answer `{what}`", snapshot.name);
        let answer = status(snapshot).map_err(|_| failed("status"))?;
        tells_its_age(&answer.as_of, *age_ms)?;
        explains_what_stands(snapshot, *age_ms)
    }
}

fn tells_its_age(as_of: &AsOf, age_ms: u64) -> Result<(), String> {
    let stale = age_ms > AsOf::STALE_AFTER_MS;
    if as_of.age_ms != age_ms || as_of.stale != stale {
        return Err(format!(
            "an answer that is {age_ms} ms old says that it is {} ms old",
            as_of.age_ms
        ));
    }
    Ok(())
}

/// What stands on record about anybody can be explained, with each rule.
fn explains_what_stands(snapshot: &Snapshot<'_>, age_ms: u64) -> Result<(), String> {
    for concern in snapshot.state.concerns.values() {
        let number = concern.decision.0;
        // Only so many decisions are kept.
        let known = |decision: &crate::fleet::Decision| decision.id == concern.decision;
        if !snapshot.state.decisions.iter().any(known) {
            continue;
        }
        let failed = || format!("{} can't explain decision {number}", snapshot.name);
        let told = explain(snapshot, &format!("#{number}")).map_err(|_| failed())?;
        tells_its_age(&told.answer, age_ms)?;
        let told = told.decisions.iter().any(|row| row.id == number);
        if !told {
            return Err(failed());
        }
    }
    Ok(())
}
