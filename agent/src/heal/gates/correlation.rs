//! `correlation`: failures that have something in common and come together are one event. One machine is healed first,
//! as the canary; the others follow when it is well.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use super::Question;
use crate::fleet::{
    Diagnosis, FleetState, GroupId, Intent, IntentState, Machine, Origin, Rule, Turn,
};
use crate::heal::board::{Board, Failed};
use crate::heal::gate::Gate;
use crate::heal::timing::{EVENT_MS, MOMENT_MS};

/// Two machines may fail together by chance; three that have something in common are taken for one event.
const EVENT_MIN: usize = 3;

/// What machines may have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trait {
    Moment,
    Version,
    Rack,
    Zone,
    Template,
}

impl Trait {
    /// What says most last: of two that as many machines share, failed and others, the later one is named.
    const ALL: [Self; 5] = [
        Self::Moment,
        Self::Version,
        Self::Rack,
        Self::Zone,
        Self::Template,
    ];

    fn shared(self, board: &Board<'_>, one: &Kin<'_>, two: &Kin<'_>) -> bool {
        let both = |one: &Option<String>, two: &Option<String>| one.is_some() && one == two;
        let (here, there) = (&one.origin, &two.origin);
        match self {
            Self::Moment => here
                .failed_ms
                .zip(there.failed_ms)
                .is_some_and(|(here, there)| here.abs_diff(there) <= MOMENT_MS),
            // What most machines that are well run, too, is not what these failed of.
            Self::Version => {
                here.version.is_some()
                    && here.version == there.version
                    && here.version != board.usual_version
            }
            // Racks of different zones may have the same name.
            Self::Rack => both(&here.rack, &there.rack) && here.zone == there.zone,
            Self::Zone => both(&here.zone, &there.zone),
            Self::Template => one.group == two.group && here.revision == there.revision,
        }
    }

    /// How many machines share it, whether they failed or not: the fewer, the more it says of those that did.
    fn prevalence(self, state: &FleetState, machine: &Machine, failed: usize) -> usize {
        let shares = |other: &&Machine| match self {
            Self::Rack => {
                other.known_zone() == machine.known_zone()
                    && other.labels.get("rack") == machine.labels.get("rack")
            }
            Self::Zone => other.known_zone() == machine.known_zone(),
            Self::Template => {
                other.group() == machine.group() && other.revision == machine.revision
            }
            Self::Moment | Self::Version => false,
        };
        match self {
            Self::Moment => usize::MAX,
            // That most run it has been ruled out.
            Self::Version => failed,
            _ => state.machines.values().filter(shares).count(),
        }
    }

    fn words(self, kin: &Kin<'_>) -> String {
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        match self {
            Self::Moment => "the moment".to_owned(),
            Self::Version => {
                let version = kin.origin.version.clone().unwrap_or_default();
                format!("agent version {version}")
            }
            Self::Rack => format!("rack {}", word(&kin.origin.rack)),
            Self::Zone => format!("zone {}", word(&kin.origin.zone)),
            Self::Template => format!("the template of group {}", kin.group),
        }
    }
}

/// A machine, as far as others may have something in common with it.
struct Kin<'a> {
    group: &'a GroupId,
    origin: Cow<'a, Origin>,
}

impl<'a> Kin<'a> {
    /// A machine that failed at this time; `None` for one without a group.
    fn of(machine: &'a Machine, failed_ms: u64, board: &Board<'_>) -> Option<Self> {
        Some(Self {
            group: machine.group()?,
            origin: Cow::Owned(board.origin(machine, failed_ms)),
        })
    }

    fn failed(failed: &'a Failed) -> Self {
        Self {
            group: &failed.group,
            origin: Cow::Borrowed(&failed.origin),
        }
    }
}

/// Which machine took whose place: one that fails again and again in one place is one failure, not several.
struct Lines(BTreeMap<MachineId, MachineId>);

impl Lines {
    fn of(state: &FleetState) -> Self {
        let intents = state.intents.values();
        let succeeded =
            intents.filter_map(|intent| Some((intent.action.makes()?, intent.action.removes()?)));
        Self(succeeded.collect())
    }

    /// The first machine that was in the place of this one, as far as that is remembered.
    fn first(&self, machine: MachineId) -> MachineId {
        let before = |machine: &MachineId| self.0.get(machine).copied();
        let line = std::iter::successors(Some(machine), before);
        // A machine is made once, so no line comes back to where it began.
        line.take(self.0.len() + 1).last().unwrap_or(machine)
    }
}

/// What became of a machine of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It was healed once, and is not well.
    InVain,
    /// It is being healed, or on trial.
    UnderWay,
    /// It was healed, has had the time to fail again, and is well.
    Well,
}

pub(super) fn correlation(question: &Question<'_>) -> Gate {
    let rule = Rule::Correlation;
    let Some((machine, finding)) = question.machine else {
        return Gate::pass(rule, "no machine has failed");
    };
    if finding.diagnosis.is_calm() {
        return Gate::pass(rule, "it has not failed");
    }
    let since_ms = finding.since_ms;
    let Some(kin) = Kin::of(machine, since_ms, question.board) else {
        return Gate::pass(rule, "it is of no group");
    };
    let lines = Lines::of(question.state);
    let events = Trait::ALL.map(|common| {
        let event = event(question, &lines, &kin, (since_ms, common));
        let rarity = (event.size >= EVENT_MIN)
            .then(|| Reverse(common.prevalence(question.state, machine, event.size)));
        (common, event, rarity)
    });
    let says_most = events
        .into_iter()
        .max_by_key(|(_, event, rarity)| (event.size, *rarity));
    let Some((common, event, _)) = says_most else {
        return Gate::pass(rule, "it fails alone");
    };
    let others = event.size.saturating_sub(1);
    if event.size < EVENT_MIN {
        let margin = match others {
            0 => "it fails alone".to_owned(),
            _ => format!("{others} other has failed with it, which may be chance"),
        };
        let missing = EVENT_MIN.saturating_sub(event.size);
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        return Gate::pass(rule, margin).turned_by(Turn::Company(missing));
    }
    let what = format!(
        "{} that failed together share {}",
        event.size,
        common.words(&kin)
    );
    match event.canary {
        Some((Fate::Well, name)) => {
            Gate::pass(rule, format!("{what}; {name} was healed first and is well"))
                .turned_by(Turn::CanaryOnTrial)
        }
        Some((Fate::UnderWay, name)) => Gate::hold(
            rule,
            format!(
                "{what}, so they are one event: {name} is healed first, as the canary, and has to prove to be well"
            ),
        )
        .turned_by(Turn::CanaryWell),
        _ => Gate::pass(rule, format!("{what}; it is healed first, as the canary"))
            .turned_by(Turn::OtherCanary),
    }
}

/// Machines that failed together and have something in common.
struct Event<'q> {
    /// How many, those that are being healed or were a moment ago included.
    size: usize,
    /// Of those that were dealt with, the one for which that went best, with its name.
    canary: Option<(Fate, &'q str)>,
}

/// The event that one failure is part of.
fn event<'q>(
    question: &Question<'q>,
    lines: &Lines,
    kin: &Kin<'_>,
    (since_ms, common): (u64, Trait),
) -> Event<'q> {
    let (state, board) = (question.state, question.board);
    let mut dealt_with: BTreeMap<MachineId, (Fate, &'q str)> = BTreeMap::new();
    // What a person asked for is no failure.
    let healing = |intent: &&Intent| {
        intent.paid
            && intent.asked.is_none()
            && intent.opened_ms.saturating_add(EVENT_MS) >= since_ms
    };
    for intent in state.intents.values().filter(healing) {
        let (Some(subject), Some(origin)) = (intent.action.finds(), &intent.origin) else {
            continue;
        };
        let other = Kin {
            group: &intent.group,
            origin: Cow::Borrowed(origin),
        };
        if common.shared(board, kin, &other) {
            let fate = fate(board, intent);
            let entry = dealt_with
                .entry(lines.first(subject))
                .or_insert((fate, intent.name.as_str()));
            entry.0 = entry.0.max(fate);
        }
    }
    let waits = |failed: &&Failed| {
        let near = failed.since_ms.abs_diff(since_ms) <= EVENT_MS;
        near && !dealt_with.contains_key(&lines.first(failed.machine))
            && common.shared(board, kin, &Kin::failed(failed))
    };
    Event {
        size: board.failed.iter().filter(waits).count() + dealt_with.len(),
        canary: dealt_with.into_values().max_by_key(|(fate, _)| *fate),
    }
}

/// A machine that was healed is well only once its workload's check has had the time to fail.
fn fate(board: &Board<'_>, intent: &Intent) -> Fate {
    match intent.state {
        IntentState::Open => return Fate::UnderWay,
        IntentState::Done { .. } => {}
        IntentState::Failed { .. } => return Fate::InVain,
    }
    let now = intent.action.makes().or(intent.action.treats());
    let Some(finding) = now.and_then(|id| board.findings.get(&id)) else {
        return Fate::InVain;
    };
    let on_trial = intent.on_trial_since_ms().is_some();
    // A treatment ends only once the workload's check has had the time to fail.
    let proved = intent.works.unwrap_or(!on_trial);
    match (finding.diagnosis.is_calm(), proved) {
        (true, true) => Fate::Well,
        (true, false) if intent.works.is_none() => Fate::UnderWay,
        // It may be about to begin to work: whether it does is found once its trial is over.
        (false, _) if on_trial && finding.diagnosis == Diagnosis::WorkloadFailed => Fate::UnderWay,
        _ => Fate::InVain,
    }
}
