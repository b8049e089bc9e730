//! The rules that an action passes through, in their order.
//!
//! Each looks at one thing and says *pass* or *hold* with its margin in words that a person understands at three in
//! the morning. All of them are asked, also after one holds: whoever reads the decision sees everything that stood
//! in the way.

mod budget;
mod correlation;
mod ensemble;
mod fence;
mod grace;
mod ladder;
mod replica;
mod settled;
mod workload;

use super::board::Board;
use super::diagnose::Finding;
use super::gate::Gate;
use super::ladder::Cure;
use crate::fleet::limits::{HOUR_MS, PET_REPLACED_MAX};
use crate::fleet::{
    FleetState, Group, HealMode, Machine, Pause, PauseKey, Rule, Turn, Would, span,
};

/// What a rule is asked about: taking one machine away, or adding to a group.
pub(super) struct Question<'a> {
    /// The state as it will be after the actions that are proposed already.
    pub(super) state: &'a FleetState,
    pub(super) board: &'a Board<'a>,
    pub(super) group: &'a Group,
    /// The machine that would be treated or taken away.
    pub(super) machine: Option<(&'a Machine, &'a Finding)>,
    /// What is to be done about it, where it has failed.
    pub(super) cure: Option<&'a Cure>,
}

type Ask = fn(&Question<'_>) -> Gate;

/// The rules for replacing a machine that failed.
pub(super) const REPLACE: &[Ask] = &[
    ladder::evidence,
    ladder::ladder,
    paused,
    cordoned,
    mode,
    quorum,
    settled::settled,
    grace::grace,
    backoff,
    budget::budget,
    correlation::correlation,
    workload::workload_quorum,
    replica::last_good_replica,
    fence::fence,
];

/// The rules for treating a machine in its place. No second copy comes of that, so it needs no fence.
pub(super) const TREAT: &[Ask] = &[
    ladder::evidence,
    ladder::ladder,
    paused,
    cordoned,
    mode,
    quorum,
    settled::settled,
    grace::grace,
    backoff,
    budget::budget,
    correlation::correlation,
    workload::workload_quorum,
    replica::last_good_replica,
];

/// The rules for clearing away a machine that left by itself. It costs no budget: nobody decided that it failed.
pub(super) const CLEAR_AWAY: &[Ask] = &[
    ladder::evidence,
    paused,
    mode,
    quorum,
    settled::settled,
    backoff,
    fence::fence,
];

/// The rules for taking a surplus machine away. Someone ordered that, so the heal mode has no say.
pub(super) const SCALE_IN: &[Ask] = &[
    ladder::evidence,
    paused,
    quorum,
    settled::settled,
    backoff,
    budget::at_once,
    workload::workload_quorum,
    replica::last_good_replica,
    fence::fence,
];

/// The rules for taking away the machines of a group that is being destroyed.
pub(super) const DESTROY: &[Ask] = &[paused, quorum, settled::settled, backoff, fence::fence];

/// The rules for adding a machine. It is safe at any time: who is missing is read from the roster, not guessed from
/// silence.
pub(super) const SCALE_OUT: &[Ask] = &[paused, quorum, backoff];

/// The rules for replacing a machine because a person asks for it. `cordoned`, `mode` and `grace` are about what the
/// fleet does by itself.
pub(super) const REPLACE_BY_HAND: &[Ask] = &[
    ladder::evidence,
    ladder::ladder,
    paused,
    quorum,
    settled::settled,
    backoff,
    budget::budget,
    correlation::correlation,
    workload::workload_quorum,
    replica::last_good_replica,
    fence::fence,
];

/// The rules for treating a machine in its place because a person asks for it.
pub(super) const TREAT_BY_HAND: &[Ask] = &[
    ladder::evidence,
    ladder::ladder,
    paused,
    quorum,
    settled::settled,
    backoff,
    budget::budget,
    correlation::correlation,
    workload::workload_quorum,
    replica::last_good_replica,
];

/// The rules for draining a machine, which a person asks for. Like scaling in it costs nothing of the hour's budget.
pub(super) const DRAIN_BY_HAND: &[Ask] = &[
    ladder::evidence,
    ladder::ladder,
    paused,
    quorum,
    settled::settled,
    budget::at_once,
    workload::workload_quorum,
    replica::last_good_replica,
];

/// Asks all rules.
pub(super) fn ask(rules: &[Ask], question: &Question<'_>) -> Vec<Gate> {
    let said = rules.iter().map(|rule| rule(question));
    said.map(|gate| match question.board.left_out {
        Some(rule) if rule == gate.check.rule => Gate::pass(rule, "it is left out"),
        _ => gate,
    })
    .collect()
}

fn paused(question: &Question<'_>) -> Gate {
    let (state, now_ms) = (question.state, question.board.now_ms);
    let id = &question.group.spec.id;
    let pause = match question.machine {
        Some((machine, _)) => state.paused_in(id, Some(machine), None, now_ms),
        None => state.paused_growth(id, now_ms),
    };
    pause.map_or_else(
        || Gate::pass(Rule::Paused, "nobody paused it").turned_by(Turn::Pause),
        |(key, pause)| paused_by(key, pause),
    )
}

/// What a pause holds, with its reason and its end.
pub(super) fn paused_by(PauseKey { scope, name }: &PauseKey, pause: &Pause) -> Gate {
    let named = name
        .as_ref()
        .map_or_else(String::new, |name| format!(" by pause `{name}`"));
    let reason = match &*pause.reason {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let gate = match pause.until_ms {
        Some(until_ms) => {
            let margin = format!("{scope} is paused{named}{reason}");
            Gate::hold_until(Rule::Paused, margin, until_ms)
        }
        None => {
            let margin = format!("{scope} is paused{named} until resumed{reason}");
            Gate::hold(Rule::Paused, margin)
        }
    };
    gate.turned_by(Turn::Pause)
}

/// Whoever cordoned a machine wants to have it as it is.
fn cordoned(question: &Question<'_>) -> Gate {
    let machine = question.machine.map(|(machine, _)| machine.id);
    let cordon = machine.and_then(|id| question.state.cordons.get(&id));
    let Some(cordon) = cordon else {
        return Gate::pass(Rule::Cordoned, "nobody cordoned it").turned_by(Turn::Cordon);
    };
    let by = cordon.by.as_ref();
    let by = by.map_or_else(String::new, |by| format!(" by {by}"));
    let since = span(question.board.now_ms.saturating_sub(cordon.since_ms));
    let margin = format!(
        "it was cordoned {since} ago{by}, so it is left to people: {}",
        cordon.reason
    );
    Gate::hold(Rule::Cordoned, margin).turned_by(Turn::Cordon)
}

fn mode(question: &Question<'_>) -> Gate {
    match question.group.spec.heal.mode {
        HealMode::Auto => Gate::pass(Rule::Mode, "the group heals by itself").turned_by(Turn::Mode),
        HealMode::Approve => approved(question).turned_by(Turn::Approval),
        HealMode::Observe => {
            Gate::hold(Rule::Mode, "in mode `observe` nothing is done").turned_by(Turn::Mode)
        }
    }
}

/// An approval is good for what was approved: the same machine, the same diagnosis and the same action.
fn approved(question: &Question<'_>) -> Gate {
    let asks = "in mode `approve` a person has to approve";
    let now_ms = question.board.now_ms;
    let approval = question
        .machine
        .and_then(|(machine, _)| question.state.approval(machine.id, now_ms));
    let Some(approval) = approval else {
        return Gate::hold(Rule::Mode, asks);
    };
    let diagnosis = question.machine.map(|(_, finding)| finding.diagnosis);
    let would = question.cure.and_then(|cure| cure.would);
    let why = would.map(|would| approval.is_not_for(diagnosis, would));
    match why {
        Some(None) => {
            let by = approval.by.as_ref();
            let by = by.map_or_else(String::new, |by| format!(" by {by}"));
            let margin = format!("decision {} was approved{by}", approval.decision);
            Gate::pass(Rule::Mode, margin)
        }
        Some(Some(why)) => Gate::hold(Rule::Mode, format!("{asks}: {why}")),
        None => Gate::hold(Rule::Mode, asks),
    }
}

fn quorum(question: &Question<'_>) -> Gate {
    question.board.quorum.clone()
}

fn backoff(question: &Question<'_>) -> Gate {
    let now_ms = question.board.now_ms;
    if let Some(gate) = disk(question) {
        return gate;
    }
    match question.group.backoff(now_ms) {
        None => Gate::pass(Rule::Backoff, "no operation of the group failed lately")
            .turned_by(Turn::Failure),
        Some(backoff) => {
            let failed = backoff.failed;
            let id = &question.group.spec.id;
            let margin = if backoff.suspended {
                format!(
                    "{failed} operations failed without a success between them; nothing more is tried for an hour after the last, or `muster group resume {id}`"
                )
            } else {
                format!("{failed} of the last operations failed; the next try waits")
            };
            Gate::hold_until(Rule::Backoff, margin, backoff.until_ms).turned_by(Turn::Retry)
        }
    }
}

/// A pet that dies again and again with the same disk is left as it is: the disk is suspected.
fn disk(question: &Question<'_>) -> Option<Gate> {
    let (machine, _) = question.machine?;
    if question.cure?.would != Some(Would::Replace) {
        return None;
    }
    let now_ms = question.board.now_ms;
    let member = &machine.place.as_ref()?.member;
    let since_ms = question.group.suspects_disk(member, now_ms)?;
    let id = &question.group.spec.id;
    let margin = format!(
        "it was replaced {PET_REPLACED_MAX} times within {}, with the same disk each time, and failed again, so the disk is \
         suspected; everything is kept as it is until `muster group resume {id}`",
        span(now_ms.saturating_sub(since_ms))
    );
    let until_ms = since_ms.saturating_add(HOUR_MS);
    Some(Gate::hold_until(Rule::Backoff, margin, until_ms).turned_by(Turn::Disk))
}
