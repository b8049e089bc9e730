//! `grace`: has mere silence lasted long enough, and is there no better explanation for it?

use super::Question;
use crate::fleet::{Diagnosis, Machine, Phase, Rule, Turn, Wait, span};
use crate::heal::Finding;
use crate::heal::gate::Gate;
use crate::heal::timing::{CROWD_MIN, CROWD_SILENT_MS, SUPERVISOR_MS};

pub(super) fn grace(question: &Question<'_>) -> Gate {
    let Some((machine, finding)) = question.machine else {
        return Gate::pass(Rule::Grace, "no machine is taken away");
    };
    let (policy, now_ms) = (&question.group.spec.heal, question.board.now_ms);
    let given_up = matches!(machine.phase, Phase::Lost { .. });
    let running = longest_wait(question, machine, finding).filter(|wait| now_ms < wait.ends_ms());
    match finding.diagnosis {
        Diagnosis::Gone => {
            let gate = Gate::pass(Rule::Grace, "it is proved gone: nothing to wait for");
            return match running {
                Some(_) if !given_up => gate.turned_by(Turn::Unproved),
                _ => gate,
            };
        }
        Diagnosis::NeverJoined => {
            let margin = format!("it had {} to join", span(policy.boot_grace_ms));
            return Gate::pass(Rule::Grace, margin).turned_by(Turn::Joining);
        }
        // It had its time before it was given up.
        _ if given_up => {
            return Gate::pass(Rule::Grace, "it has been given up before");
        }
        _ => {}
    }
    // Whoever could have mended it has had the time: the next rung follows without a wait.
    if machine.treatments.are_in_vain_since(finding.since_ms) {
        let margin = "what was done to it last was in vain";
        return Gate::pass(Rule::Grace, margin);
    }
    match running {
        None => {
            let lasted = span(now_ms.saturating_sub(finding.since_ms));
            let needed = span(needed(question, finding).1);
            let margin = format!("{} for {lasted}; {needed} are needed", what_lasts(finding));
            Gate::pass(Rule::Grace, margin).turned_by(Turn::Sooner)
        }
        Some(wait) => {
            let margin = format!(
                "{}, and that is waited out for {}",
                wait.what,
                span(wait.for_ms)
            );
            Gate::hold_until(Rule::Grace, margin, wait.ends_ms()).turned_by(Turn::Later(wait.kind))
        }
    }
}

/// Something that is waited out.
struct Waits {
    kind: Wait,
    what: &'static str,
    since_ms: u64,
    for_ms: u64,
}

impl Waits {
    fn ends_ms(&self) -> u64 {
        self.since_ms.saturating_add(self.for_ms)
    }
}

/// What is to be waited out the longest, over or not.
fn longest_wait(question: &Question<'_>, machine: &Machine, finding: &Finding) -> Option<Waits> {
    let policy = &question.group.spec.heal;
    let (kind, needed_ms) = needed(question, finding);
    let waits = [
        Waits {
            kind,
            what: what_lasts(finding),
            since_ms: finding.since_ms,
            for_ms: needed_ms,
        },
        Waits {
            kind: Wait::Boot,
            what: "it joined",
            since_ms: machine.joined_ms.unwrap_or(machine.ordered_ms),
            for_ms: policy.boot_grace_ms,
        },
        Waits {
            kind: Wait::Change,
            what: "the group was changed",
            since_ms: question.group.changed_ms,
            for_ms: policy.change_grace_ms,
        },
    ];
    waits.into_iter().max_by_key(Waits::ends_ms)
}

/// How long it must have lasted, in milliseconds, and for which reason.
fn needed(question: &Question<'_>, finding: &Finding) -> (Wait, u64) {
    let silent_ms = question.group.spec.heal.unreachable_after_ms;
    let (kind, least_ms) = match finding.diagnosis {
        Diagnosis::AgentDown | Diagnosis::WorkloadFailed => (Wait::Supervisor, SUPERVISOR_MS),
        _ if question.board.silent_with(finding.since_ms) >= CROWD_MIN => {
            (Wait::Crowd, CROWD_SILENT_MS)
        }
        _ => (Wait::Silence, 0),
    };
    if least_ms > silent_ms {
        (kind, least_ms)
    } else {
        (Wait::Silence, silent_ms)
    }
}

fn what_lasts(finding: &Finding) -> &'static str {
    match finding.diagnosis {
        Diagnosis::WorkloadFailed => "its workload has failed",
        Diagnosis::AgentDown => "its agent has been down",
        _ => "it has been silent",
    }
}
