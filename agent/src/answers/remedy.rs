//! What ends a hold: by itself, or by a person's hand.

use super::snapshot::Snapshot;
use crate::fleet::{DecisionId, Group, GroupId, Outcome, PauseKey, PauseScope, Rule, span};

/// What ends what stands, in a sentence; empty where nothing stands.
pub(super) fn what_ends(
    snapshot: &Snapshot<'_>,
    group: Option<&GroupId>,
    decision: DecisionId,
    outcome: &Outcome,
) -> String {
    match outcome {
        Outcome::Hold { rule, .. } => what_ends_hold(snapshot, group, *rule),
        Outcome::Observe { .. } => mode_change(group),
        Outcome::AwaitApproval { .. } => {
            format!(
                "`muster approve {decision}` lets it be done, if it still passes every rule then."
            )
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
pub(super) fn what_ends_hold(
    snapshot: &Snapshot<'_>,
    group: Option<&GroupId>,
    rule: Rule,
) -> String {
    let spec = group.and_then(|id| snapshot.state.groups.get(id));
    let words = match rule {
        Rule::Evidence => {
            "It ends when the evidence says more: when the machine answers again, or its provisioner can prove it \
             off."
        }
        Rule::Ladder => {
            "Nothing that its provisioner and flavor can do mends this; look at the machine, or destroy it by hand: \
             once its provisioner says that it is gone, it is replaced."
        }
        Rule::Paused => return resume(snapshot, group),
        Rule::Cordoned => {
            "`muster uncordon` with the machine's name ends it; orders by hand, such as `muster replace`, pass this rule."
        }
        Rule::Mode => return mode_change(group),
        Rule::Quorum => {
            "It ends by itself when enough machines answer again. Start those that are down; nothing is lost \
             meanwhile."
        }
        Rule::Settled => {
            "It ends by itself when nothing moves any more: within seconds, or a minute after a change of leader."
        }
        Rule::Grace => {
            "It ends by itself when the time is over; `heal.boot_grace` and `heal.change_grace` of the spec set it."
        }
        Rule::Backoff => return backoff(snapshot, group, spec),
        Rule::Budget => return budget(snapshot, spec),
        Rule::Correlation => {
            "One machine is tried first; when its replacement is well, the others follow by themselves."
        }
        Rule::WorkloadQuorum => {
            "It ends when more members of the group are well, so that the workload can do without this one."
        }
        Rule::LastGoodReplica => {
            "It ends when another machine of the group is well. Until then this one may be all that is left of its \
             data."
        }
        Rule::Fence => {
            "It ends when the old machine is proved off, so that two copies never run: have its provisioner stop or \
             destroy it, or start it again."
        }
    };
    words.to_owned()
}

fn resume(snapshot: &Snapshot<'_>, group: Option<&GroupId>) -> String {
    let pause = group.and_then(|id| snapshot.state.paused_growth(id, snapshot.now_ms));
    let command = match &pause {
        Some((
            PauseKey {
                name: Some(name), ..
            },
            _,
        )) => format!("`muster resume {name}`"),
        Some((key, _)) => match &key.scope {
            PauseScope::Fleet => "`muster resume`".to_owned(),
            PauseScope::Group(id) => format!("`muster resume --group {id}`"),
            PauseScope::Zone(zone) => format!("`muster resume --zone {zone}`"),
            PauseScope::Machine(name) => format!("`muster resume --machine {name}`"),
        },
        None if snapshot.pauses().next().is_some() => {
            return "`muster pause list` shows what is paused, and `muster resume` ends it."
                .to_owned();
        }
        None => return "The pause is over; it goes on at the leader's next look.".to_owned(),
    };
    let command = format!("{command} ends it");
    match pause.and_then(|(_, pause)| pause.until_ms) {
        Some(until_ms) => {
            let left = span(until_ms.saturating_sub(snapshot.now_ms));
            format!("{command}; by itself it ends in {left}.")
        }
        None => format!("{command}; by itself it doesn't."),
    }
}

fn backoff(snapshot: &Snapshot<'_>, id: Option<&GroupId>, group: Option<&Group>) -> String {
    let id = id.map_or("GROUP", GroupId::as_str);
    let waiting = group.and_then(|group| group.backoff(snapshot.now_ms));
    let by_itself = match waiting {
        Some(waiting) => {
            let left = span(waiting.until_ms.saturating_sub(snapshot.now_ms));
            format!("The next try is in {left}")
        }
        None => "The wait is over".to_owned(),
    };
    format!(
        "{by_itself}; when what made the orders fail is mended, `muster group resume {id}` ends the wait at once."
    )
}

fn budget(snapshot: &Snapshot<'_>, group: Option<&Group>) -> String {
    let next = group.and_then(|group| group.bucket.wait_ms(group.per_hour(), snapshot.now_ms));
    let next = match next {
        Some(0) => "It ends by itself when a repair that is under way is done".to_owned(),
        Some(wait_ms) => format!(
            "It ends by itself when the next repair may be paid for, in {}",
            span(wait_ms)
        ),
        None => "It doesn't end by itself, since the budget is nothing".to_owned(),
    };
    format!("{next}; `heal.budget` of the spec sets how much there is.")
}
