//! What ends a hold: by itself, or by a person's hand.

use super::decisions::machine_name;
use super::snapshot::Snapshot;
use crate::fleet::{
    Decision, GroupId, Outcome, Pause, PauseKey, PauseScope, Rung, Subject, Turn, Wait,
};

/// What ends what stands, in a sentence; empty where nothing stands.
pub(super) fn what_ends(snapshot: &Snapshot<'_>, decision: &Decision) -> String {
    let proposal = &decision.proposal;
    match &proposal.outcome {
        Outcome::Hold { rule, .. } => {
            let mut checks = proposal.checks.iter();
            let check = checks.find(|check| check.rule == *rule && check.holds());
            let turn = check.and_then(|check| check.turn);
            turn.map_or_else(String::new, |turn| what_ends_hold(snapshot, decision, turn))
        }
        Outcome::Observe { .. } => mode_change(proposal.group.as_ref()),
        Outcome::AwaitApproval { .. } => {
            let what = machine_name(snapshot, decision).unwrap_or(decision.id.to_string());
            format!("`muster approve {what}` lets it be done, if it still passes every rule then.")
        }
        Outcome::Act { .. } | Outcome::Clear => String::new(),
    }
}

fn mode_change(group: Option<&GroupId>) -> String {
    let group = group.map_or("GROUP", GroupId::as_str);
    format!(
        "`muster group heal-mode {group} auto` lets the fleet act by itself, `approve` has it ask."
    )
}

/// What has to change before a rule lets go.
fn what_ends_hold(snapshot: &Snapshot<'_>, decision: &Decision, turn: Turn) -> String {
    let group = decision.proposal.group.as_ref();
    let name = || machine_name(snapshot, decision).unwrap_or_else(|| "NAME".to_owned());
    match turn {
        Turn::Made => format!(
            "Look at the machine and mend it; or turn it off, and `muster forget {}` has its group make another one.",
            name()
        ),
        Turn::Way(rung) => another_way(rung, &name()),
        Turn::Pause => resume(snapshot, decision),
        Turn::Cordon => format!(
            "`muster uncordon {}` ends it; orders by hand, such as `muster replace`, pass this rule.",
            name()
        ),
        Turn::Mode | Turn::Approval => mode_change(group),
        Turn::Retry => resume_group(group, "what made the orders fail is mended"),
        Turn::Disk => resume_group(group, "its disk is known to be sound"),
        Turn::Forgetting => format!(
            "Turn the machine off, so that two copies never run; then `muster forget {}` has its group make another one.",
            name()
        ),
        Turn::Later(wait) => waited_out(wait).to_owned(),
        other => what_lets_go(other).to_owned(),
    }
}

/// The same, where there is nothing to fill in; empty for what no rule holds by.
fn what_lets_go(turn: Turn) -> &'static str {
    match turn {
        Turn::NoAnswer => {
            "It ends when the machine answers the mesh again, or when nobody gets an answer from it any more."
        }
        Turn::LookedInto => {
            "It ends within seconds: when the machine answers, or others have tried it."
        }
        Turn::Quiet => "It ends when the machine answers no more: stop its agent, or turn it off.",
        Turn::Support => {
            "It ends by itself when enough machines answer again. Start those that are down; nothing is lost \
             meanwhile."
        }
        Turn::Rest => {
            "It ends by itself when nothing moves any more: within seconds, or a minute after a change of leader."
        }
        Turn::Ended => {
            "It ends by itself when one that is under way is done; `heal.budget` of the spec sets how many may be at \
             once."
        }
        Turn::Predecessor => {
            "It ends by itself when the other member is done; `muster status` says what keeps that one."
        }
        Turn::Income => {
            "It ends by itself when the next repair may be paid for; `heal.budget` of the spec sets how many that are \
             within an hour."
        }
        Turn::EndedElsewhere => {
            "It ends by itself when one that is under way there is done; how many may be at once follows from the \
             number of machines, and from the budgets of the groups."
        }
        Turn::IncomeElsewhere => {
            "It ends by itself when the next repair there may be paid for; how many that are within an hour follows from \
             the number of machines, and from the budgets of the groups."
        }
        Turn::Allowance => "It doesn't end by itself: `heal.budget` of the spec is nothing.",
        Turn::CanaryWell => {
            "When that one has proved to be well, the others follow by themselves; if it hasn't, the next is tried."
        }
        Turn::MoreWell(_) => {
            "It ends when more members of the group are well, so that the workload can do without this one."
        }
        Turn::Flavor => {
            "It ends when the leader runs a version of muster that has this flavor, or the spec names another one."
        }
        Turn::OtherWell => {
            "It ends when another machine of the group is well. Until then this one may be all that is left of its \
             data."
        }
        Turn::Proof | Turn::ProofOrLease => {
            "It ends when the old machine is proved off, or can be, so that two copies never run: mend what keeps its \
             provisioner from that, have it stop or destroy the machine, or start the machine again."
        }
        _ => "",
    }
}

fn another_way(rung: Rung, name: &str) -> String {
    let owner = match rung {
        Rung::RestartWorkload => "`restart` of the group's flavor sets how",
        Rung::Reboot | Rung::PowerCycle | Rung::Reimage => "its provisioner would have to be able",
    };
    format!("There is no way to do that: {owner}. `muster replace {name}` makes another machine.")
}

fn waited_out(wait: Wait) -> &'static str {
    match wait {
        Wait::Silence => {
            "It ends by itself when the time is over; `heal.unreachable_after` of the spec sets it."
        }
        Wait::Crowd => {
            "It ends by itself when the time is over. Where several fall silent together, which may be the network, it is \
             12 s; a longer `heal.unreachable_after` of the spec counts."
        }
        Wait::Supervisor => {
            "It ends by itself when the time is over. For an agent or a workload, which may be started again on its \
             machine, it is 30 s; a longer `heal.unreachable_after` of the spec counts."
        }
        Wait::Boot => {
            "It ends by itself when the time is over; `heal.boot_grace` of the spec sets it."
        }
        Wait::Change => {
            "It ends by itself when the time is over; `heal.change_grace` of the spec sets it."
        }
    }
}

fn resume_group(group: Option<&GroupId>, when: &str) -> String {
    let group = group.map_or("GROUP", GroupId::as_str);
    format!(
        "It ends by itself when the time is over; when {when}, `muster group resume {group}` ends it at once."
    )
}

// === pauses ===

/// How the pauses are ended that hold what a decision is about. All have to be.
fn resume(snapshot: &Snapshot<'_>, decision: &Decision) -> String {
    let pauses = pauses_over(snapshot, decision);
    if pauses.is_empty() {
        return "The pause is over; it goes on at the leader's next look.".to_owned();
    }
    let commands: Vec<_> = pauses.iter().map(|(key, _)| resume_command(key)).collect();
    let ends = if commands.len() == 1 {
        "ends it"
    } else {
        "end it, together"
    };
    let commands = commands.join(" and ");
    let by_itself = pauses.iter().all(|(_, pause)| pause.until_ms.is_some());
    let by_itself = if by_itself {
        "by itself it ends when its time is over"
    } else {
        "by itself it doesn't"
    };
    format!("{commands} {ends}; {by_itself}.")
}

fn pauses_over<'a>(snapshot: &Snapshot<'a>, decision: &Decision) -> Vec<(&'a PauseKey, &'a Pause)> {
    let Some(group) = &decision.proposal.group else {
        return Vec::new();
    };
    let machine = match &decision.proposal.subject {
        Subject::Machine(id) => snapshot.state.machines.get(id),
        Subject::Group(_) => None,
    };
    let covers = |key: &PauseKey| key.scope.covers(group, machine, None);
    let pauses: Vec<_> = snapshot.pauses().filter(|(key, _)| covers(key)).collect();
    if !pauses.is_empty() {
        return pauses;
    }
    // Those of all zones that the group may grow in: the end of one is enough.
    let growth = snapshot.state.paused_growth(group, snapshot.now_ms);
    growth.into_iter().collect()
}

fn resume_command(key: &PauseKey) -> String {
    match (&key.name, &key.scope) {
        (Some(name), _) => format!("`muster resume {name}`"),
        (None, PauseScope::Fleet) => "`muster resume`".to_owned(),
        (None, PauseScope::Group(id)) => format!("`muster resume --group {id}`"),
        (None, PauseScope::Zone(zone)) => format!("`muster resume --zone {zone}`"),
        (None, PauseScope::Machine(name)) => format!("`muster resume --machine {name}`"),
    }
}
