//! `fence`: two copies of a pet never run.

use super::Question;
use crate::fleet::{ProviderWord, Rule};
use crate::heal::gate::Gate;

pub(super) fn fence(question: &Question<'_>) -> Gate {
    let rule = Rule::Fence;
    let Some((machine, finding)) = question.machine.filter(|(machine, _)| machine.is_pet()) else {
        return Gate::pass(rule, "cattle need no fence");
    };
    if finding.proved_off {
        return Gate::pass(rule, "its provider proves that it is off");
    }
    let made_by = machine
        .instance
        .as_ref()
        .map(|instance| instance.provisioner.as_str());
    let ordered = machine
        .order
        .as_ref()
        .map(|_| question.group.spec.instance.provisioner.as_str());
    let Some(provisioner) = made_by.or(ordered) else {
        let margin = format!(
            "no provisioner made it, so none can prove it off: turn it off, then `muster forget {}`",
            machine.name
        );
        return Gate::hold(rule, margin);
    };
    let seen = question.board.situation.machines.get(&machine.id);
    let provider = seen.and_then(|seen| seen.provider.as_ref());
    match provider {
        None => Gate::hold(rule, format!("`{}` has not been asked yet", provisioner)),
        Some(provider) => match &provider.word {
            ProviderWord::CannotSay { why } => {
                let margin = format!("`{}` can't say whether it is off: {why}", provisioner);
                Gate::hold(rule, margin)
            }
            _ if provider.can_prove_off => Gate::pass(
                rule,
                "it is destroyed and proved off before its successor is made",
            ),
            _ => Gate::hold(
                rule,
                format!("`{}` can't prove a machine off while it runs", provisioner),
            ),
        },
    }
}
