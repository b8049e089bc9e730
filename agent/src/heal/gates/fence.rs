//! `fence`: two copies of a pet never run.

use super::Question;
use crate::fleet::{LeaseTerms, Machine, Phase, ProviderWord, Rule, Turn, clock_time, span};
use crate::heal::gate::Gate;

pub(super) fn fence(question: &Question<'_>) -> Gate {
    let rule = Rule::Fence;
    let Some((machine, finding)) = question.machine.filter(|(machine, _)| machine.is_pet()) else {
        return Gate::pass(rule, "cattle need no fence");
    };
    let needs_proof = machine.lease.is_none() || machine.unaccounted_ms.is_some();
    if finding.proved_off {
        let gate = Gate::pass(rule, "its provider proves that it is off");
        return match needs_proof {
            true => gate.turned_by(Turn::NoProof),
            false => gate,
        };
    }
    let (made, proof) = provable(question, machine);
    if let (Err(why), Some(since_ms)) = (&proof, machine.unaccounted_ms) {
        // Its lease says nothing: a leader of the old log may be with it, and renew it.
        return Gate::hold(
            rule,
            format!(
                "{why}; it was not there at {}, when the log was recovered: make sure that it is off, then `muster forget {}`",
                clock_time(since_ms),
                machine.name
            ),
        )
        .turned_by(if made { Turn::Proof } else { Turn::Forgetting });
    }
    match (proof, machine.lease) {
        (Ok(()), None) => {
            let margin = "it is destroyed and proved off before its successor is made";
            Gate::pass(rule, margin).turned_by(Turn::NoProof)
        }
        (Ok(()), Some(terms)) => {
            let over = over(terms);
            let margin = format!("its successor is made once it is proved off, or {over}");
            Gate::pass(rule, margin)
        }
        (Err(why), Some(terms)) => {
            let over = over(terms);
            let margin =
                format!("{why}; but it runs under a lease, and its successor is made {over}");
            Gate::pass(rule, margin).turned_by(Turn::NoLease)
        }
        (Err(why), None) => Gate::hold(rule, why).turned_by(if made {
            Turn::ProofOrLease
        } else {
            Turn::Forgetting
        }),
    }
}

/// Whether some provisioner made the machine, and whether that could prove it off now.
fn provable(question: &Question<'_>, machine: &Machine) -> (bool, Result<(), String>) {
    let made_by = machine
        .instance
        .as_ref()
        .map(|instance| instance.provisioner.as_str());
    let ordered = machine
        .order
        .as_ref()
        .map(|_| question.group.spec.instance.provisioner.as_str());
    let seen = question.board.situation.machines.get(&machine.id);
    let provider = seen.and_then(|seen| seen.provider.as_ref());
    let made = made_by.or(ordered).is_some();
    let proof = match (made_by.or(ordered), provider) {
        (None, _) => Err(format!(
            "no provisioner made it, so none can prove it off: turn it off, then `muster forget {}`",
            machine.name
        )),
        (Some(provisioner), None) => Err(format!("`{provisioner}` has not been asked yet")),
        (Some(provisioner), Some(provider)) => match &provider.word {
            ProviderWord::CannotSay { why } => Err(format!(
                "`{provisioner}` can't say whether it is off: {why}"
            )),
            _ if provider.can_prove_off => Ok(()),
            _ => Err(format!(
                "`{provisioner}` can't prove a machine off while it runs"
            )),
        },
    };
    // A provider that can prove machines off in general may not be able to for this one, or not now: that is rehearsed.
    let unfenceable = machine.unfenceable.as_ref();
    let unfenceable = unfenceable.filter(|_| machine.phase == Phase::Joined);
    let proof = match (proof, unfenceable) {
        (Ok(()), Some(why)) if machine.lease.is_none() => Err(why.to_string()),
        (proof, _) => proof,
    };
    (made, proof)
}

fn over(terms: LeaseTerms) -> String {
    let long = span(terms.over_ms());
    format!("{long} after it last got one")
}
