//! Which rung of the ladder a machine is on: the gentlest cure that its provisioner and its flavor have, and that did
//! not fail on it lately.

use muster_flavors::Registry;

use super::board::Board;
use super::diagnose::Finding;
use crate::fleet::{
    Diagnosis, Group, Machine, Phase, ProviderEvidence, ProviderWord, Rung, Template, Turn,
    Unreachable, Would, span,
};
use crate::spec::for_flavor;

/// What is to be done about a machine, and why not something gentler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cure {
    /// What is to be done; `None` when nothing can be.
    pub(super) would: Option<Would>,
    /// Why that, in a sentence.
    pub(super) why: String,
    /// Whether a person asks for it.
    pub(super) by_hand: bool,
    /// What would have led to something else; `None` where nothing would have.
    pub(super) turn: Option<Turn>,
}

/// The next rung for a machine.
pub(super) fn cure(board: &Board<'_>, group: &Group, machine: &Machine, finding: &Finding) -> Cure {
    let rungs = rungs(board, group, machine, finding.diagnosis);
    let mut passed = Vec::new();
    for rung in rungs {
        if let Some(why) = passed_over(board, group, machine, *rung) {
            passed.push(why);
            continue;
        }
        passed.push(format!("`{rung}` is the next rung"));
        return Cure {
            would: Some(Would::Treat(*rung)),
            why: passed.join("; "),
            by_hand: false,
            turn: Some(Turn::InVain(*rung)),
        };
    }
    if finding.diagnosis == Diagnosis::Left {
        return Cure {
            would: Some(Would::Retire),
            why: "a machine that left is cleared away".to_owned(),
            by_hand: false,
            turn: None,
        };
    }
    // Nobody could take its old machine away, and it may well be at work.
    if !rungs.is_empty() && !is_ours(machine) {
        passed.push("no provisioner made it, so it is for a person to mend".to_owned());
        return Cure {
            would: None,
            why: passed.join("; "),
            by_hand: false,
            turn: Some(Turn::Made),
        };
    }
    passed.push(if rungs.is_empty() {
        format!("`replace` is for machines that are {}", finding.diagnosis)
    } else {
        "`replace` is what is left".to_owned()
    });
    Cure {
        would: Some(Would::Replace),
        why: passed.join("; "),
        by_hand: false,
        turn: (!rungs.is_empty()).then_some(Turn::Made),
    }
}

/// The rungs for a machine, in the order in which they are tried.
fn rungs(
    board: &Board<'_>,
    group: &Group,
    machine: &Machine,
    diagnosis: Diagnosis,
) -> &'static [Rung] {
    let silent = diagnosis == Diagnosis::Unreachable;
    if silent && !is_mended_first(board, group, machine) {
        return &[];
    }
    Rung::ladder(diagnosis)
}

/// Whether a machine that is silent is mended before it is replaced: where another one is not cheaply had, or its group
/// wants it so. Its provisioner has to say that it runs: then cutting its power ends whatever hangs there.
fn is_mended_first(board: &Board<'_>, group: &Group, machine: &Machine) -> bool {
    let Some(provider) = provider(board, machine) else {
        return false;
    };
    let first = match group.spec.heal.unreachable {
        Some(first) => first == Unreachable::PowerCycle,
        None => provider.is_hardware,
    };
    first && machine.phase == Phase::Joined && provider.word == ProviderWord::Running
}

fn provider<'a>(board: &'a Board<'_>, machine: &Machine) -> Option<&'a ProviderEvidence> {
    board.situation.machines.get(&machine.id)?.provider.as_ref()
}

/// Why a rung is not for a machine; `None` if it is.
fn passed_over(board: &Board<'_>, group: &Group, machine: &Machine, rung: Rung) -> Option<String> {
    if let Some(spent) = machine.treatments.spent(rung, board.now_ms) {
        let ago = span(board.now_ms.saturating_sub(spent.at_ms));
        return Some(if spent.helped {
            format!("`{rung}` has helped too often, last {ago} ago")
        } else {
            format!("`{rung}` did not help {ago} ago")
        });
    }
    missing(board, group, machine, rung)
}

/// What a person asks for, as far as there is a way to do it.
pub(super) fn by_hand(board: &Board<'_>, group: &Group, machine: &Machine, what: Would) -> Cure {
    let missing = match what {
        Would::Treat(rung) => missing(board, group, machine, rung),
        Would::Replace | Would::Retire if !is_ours(machine) => {
            Some("no provisioner made it, so none can take it away".to_owned())
        }
        Would::Replace | Would::Retire | Would::Drain => None,
    };
    let mut why = "a person asks for it".to_owned();
    let drains = flavor_of(group, machine).is_none_or(|flavor| flavor.can_drain());
    if what == Would::Drain && !drains {
        why.push_str(
            "; its flavor has no `drain`, so it is cordoned and there is nothing to drain",
        );
    }
    let turn = match what {
        Would::Treat(rung) => Some(Turn::Way(rung)),
        Would::Replace | Would::Retire => Some(Turn::Made),
        Would::Drain => None,
    };
    let would = missing.is_none().then_some(what);
    Cure {
        would,
        why: missing.unwrap_or(why),
        by_hand: true,
        turn,
    }
}

/// Why a rung can't be done to a machine; `None` if it can.
fn missing(board: &Board<'_>, group: &Group, machine: &Machine, rung: Rung) -> Option<String> {
    let provider = provider(board, machine);
    let (can, who) = match rung {
        Rung::RestartWorkload => (can_restart(group, machine), "flavor"),
        Rung::Reboot => (
            is_ours(machine) && provider.is_some_and(|provider| provider.can_reboot),
            "provisioner",
        ),
        Rung::PowerCycle => (
            is_ours(machine) && provider.is_some_and(|provider| provider.can_power_cycle),
            "provisioner",
        ),
        Rung::Reimage => (
            machine.instance.is_some() && provider.is_some_and(|provider| provider.can_reimage),
            "provisioner",
        ),
    };
    (!can).then(|| format!("its {who} has no `{rung}`"))
}

fn is_ours(machine: &Machine) -> bool {
    machine.instance.is_some() || machine.order.is_some()
}

/// What has a guard is stopped and started by that, without a command for it.
fn can_restart(group: &Group, machine: &Machine) -> bool {
    let leased = machine.lease.is_some();
    flavor_of(group, machine).is_some_and(|flavor| {
        flavor.can_restart() || (leased || flavor.is_kept()) && flavor.can_start()
    })
}

/// The flavor that a machine was made with; `None` if this program does not know it.
pub(super) fn flavor_of(
    group: &Group,
    machine: &Machine,
) -> Option<std::sync::Arc<dyn muster_flavors::Flavor>> {
    let made_from = machine
        .revision
        .and_then(|revision| group.templates.get(&revision));
    // What was declared for the members of then may say nothing of one that was declared since.
    let now = || flavor(group, group.templates.get(&group.template)?);
    made_from
        .and_then(|template| flavor(group, template))
        .or_else(now)
}

/// The flavor of a group's template; `None` if this program does not know it.
pub(super) fn flavor(
    group: &Group,
    template: &Template,
) -> Option<std::sync::Arc<dyn muster_flavors::Flavor>> {
    let allocation = for_flavor(&group.spec.allocation);
    let flavor = &template.flavor;
    Registry::builtin()
        .build(&flavor.name, &flavor.properties, &allocation)
        .ok()
}
