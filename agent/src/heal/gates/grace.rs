//! `grace`: has mere silence lasted long enough, and is there no better explanation for it?

use super::Question;
use crate::fleet::{Diagnosis, Phase, Rule, span};
use crate::heal::Finding;
use crate::heal::gate::Gate;
use crate::heal::timing::{CROWD_MIN, CROWD_SILENT_MS, SUPERVISOR_MS};

pub(super) fn grace(question: &Question<'_>) -> Gate {
    let Some((machine, finding)) = question.machine else {
        return Gate::pass(Rule::Grace, "no machine is taken away");
    };
    let (policy, now_ms) = (&question.group.spec.heal, question.board.now_ms);
    match finding.diagnosis {
        Diagnosis::Gone => {
            return Gate::pass(Rule::Grace, "it is proved gone: nothing to wait for");
        }
        Diagnosis::NeverJoined => {
            let margin = format!("it had {} to join", span(policy.boot_grace_ms));
            return Gate::pass(Rule::Grace, margin);
        }
        // It had its time before it was given up.
        _ if matches!(machine.phase, Phase::Lost { .. }) => {
            return Gate::pass(Rule::Grace, "it has been given up before");
        }
        _ => {}
    }
    let needed_ms = needed_ms(question, finding);
    let waits = [
        (what_lasts(finding), finding.since_ms, needed_ms),
        (
            "it joined",
            machine.joined_ms.unwrap_or(machine.ordered_ms),
            policy.boot_grace_ms,
        ),
        (
            "the group was changed",
            question.group.changed_ms,
            policy.change_grace_ms,
        ),
    ];
    let ends = |(_, at_ms, wait_ms): &(_, u64, u64)| at_ms.saturating_add(*wait_ms);
    let longest = waits.iter().max_by_key(|wait| ends(wait));
    match longest.filter(|wait| now_ms < ends(wait)) {
        None => {
            let (what, lasted) = (
                what_lasts(finding),
                span(now_ms.saturating_sub(finding.since_ms)),
            );
            let needed = span(needed_ms);
            Gate::pass(
                Rule::Grace,
                format!("{what} for {lasted}; {needed} are needed"),
            )
        }
        Some(wait @ (what, _, wait_ms)) => {
            let margin = format!("{what}, and that is waited out for {}", span(*wait_ms));
            Gate::hold_until(Rule::Grace, margin, ends(wait))
        }
    }
}

/// How long it must have lasted, in milliseconds.
fn needed_ms(question: &Question<'_>, finding: &Finding) -> u64 {
    let silent_ms = question.group.spec.heal.unreachable_after_ms;
    match finding.diagnosis {
        Diagnosis::AgentDown | Diagnosis::WorkloadFailed => silent_ms.max(SUPERVISOR_MS),
        _ if question.board.silent_with(finding.since_ms) >= CROWD_MIN => {
            silent_ms.max(CROWD_SILENT_MS)
        }
        _ => silent_ms,
    }
}

fn what_lasts(finding: &Finding) -> &'static str {
    match finding.diagnosis {
        Diagnosis::WorkloadFailed => "its workload has failed",
        Diagnosis::AgentDown => "its agent has been down",
        _ => "it has been silent",
    }
}
