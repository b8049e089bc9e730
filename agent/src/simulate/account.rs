//! What a simulation tells: what happened when, how long healing took, what held, what was spent.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;
use serde::Serialize;

use super::course::Course;
use super::invariants::Violation;
use crate::fleet::{GroupId, Rule};

/// Lines of a timeline that are kept. What comes after is counted.
const LINES_MAX: usize = 10_000;

/// Happenings of one kind within this time become one line, in milliseconds.
const TOGETHER_MS: u64 = 1000;

/// Names that a line lists; the others are counted.
const NAMES_MAX: usize = 5;

/// What came of a simulation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The seed that it came from.
    pub seed: u64,
    /// A fingerprint of everything that happened: the same on any machine.
    pub trace: String,
    /// How many machines it began with.
    pub machines: usize,
    /// How much virtual time passed, in milliseconds.
    pub length_ms: u64,
    /// What happened, in order.
    pub timeline: Vec<Line>,
    /// Lines that were not kept.
    pub more_lines: u64,
    /// Machines that were lost for good: killed or silenced.
    pub lost: usize,
    /// How many of them were replaced by a machine that joined.
    pub healed: usize,
    /// How many came back by themselves.
    pub returned: usize,
    /// From the loss to the order of the replacement.
    pub time_to_order: Times,
    /// From the loss until the replacement had joined.
    pub time_to_heal: Times,
    /// How long each machine that was lost waited.
    #[serde(skip)]
    pub waits: Vec<Wait>,
    /// Which rules held, by rule.
    pub holds: BTreeMap<String, Holds>,
    /// What each group spent.
    pub spending: BTreeMap<String, Spending>,
    /// How each group stands at the end.
    pub groups: Vec<GroupEnd>,
    /// Why nobody leads at the end, in the words of a machine that runs; absent while somebody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nobody_leads: Option<String>,
    /// How often another machine began to lead.
    pub leader_changes: u32,
    /// Machines that were well and were taken for dead by one that was well.
    pub wrong_deaths: usize,
    /// Invariants that were broken. Must be empty.
    pub violations: Vec<Violation>,
    /// What befell whom, and what was made of it.
    pub course: Course,
}

impl Report {
    /// Whether no invariant was broken.
    pub fn is_sound(&self) -> bool {
        self.violations.is_empty()
    }
}

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When, in milliseconds since the beginning.
    pub at_ms: u64,
    /// What kind of thing: `fault`, `end`, `leader`, `act`, `hold`, `joined`, `failed`, `clear`.
    pub kind: &'static str,
    /// The group concerned, if one is.
    pub group: Option<String>,
    /// What happened.
    pub what: String,
    /// How many machines it happened to.
    pub count: usize,
    /// Some of their names.
    pub names: Vec<String>,
}

/// A distribution of times, in milliseconds; zeros when there were none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// How many.
    pub count: usize,
    /// Half took at most this.
    pub p50_ms: u64,
    /// Nine in ten took at most this.
    pub p90_ms: u64,
    /// All but one in a hundred took at most this.
    pub p99_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl Times {
    /// The distribution of these.
    pub fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        // The smallest value that so many percent do not exceed.
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied().unwrap_or(0)
        };
        Self {
            count: times.len(),
            p50_ms: at(50),
            p90_ms: at(90),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

/// How long a machine that was lost waited, in milliseconds since its loss.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wait {
    /// Its group, if it had one.
    pub group: Option<String>,
    /// Until a replacement was ordered; `None` if none was.
    pub to_order_ms: Option<u64>,
    /// Until a replacement had joined; `None` if none has.
    pub to_heal_ms: Option<u64>,
}

/// How often a rule held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Holds {
    /// How often: decisions on record, and, while nobody could put one on record, groups that machines said it of.
    pub times: u64,
    /// What it said first.
    pub example: String,
}

/// What a group spent on healing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Spending {
    /// Replacements paid for.
    pub replacements: u64,
    /// Most machines that were being removed at one time.
    pub at_once_most: usize,
    /// How many may be.
    pub at_once: usize,
    /// Replacements that an hour's budget allows.
    pub per_hour: u32,
}

/// How a group stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupEnd {
    /// Which.
    pub id: String,
    /// Machines that it should have.
    pub desired: usize,
    /// Machines that it has and that work.
    pub running: usize,
    /// Work under way.
    pub open: usize,
    /// Machines that a rule keeps from being dealt with.
    pub held: usize,
}

/// A machine that was lost.
#[derive(Debug, Clone)]
struct Loss {
    at_ms: u64,
    group: Option<String>,
    ordered_ms: Option<u64>,
    healed_ms: Option<u64>,
    returned: bool,
    /// The machine that takes its place, and whatever takes that one's.
    successor: Option<MachineId>,
}

impl Loss {
    fn wait(&self) -> Wait {
        let since = |at_ms: u64| at_ms.saturating_sub(self.at_ms);
        Wait {
            group: self.group.clone(),
            to_order_ms: self.ordered_ms.map(since),
            to_heal_ms: self.healed_ms.map(since),
        }
    }
}

/// The account as it grows. Times are in milliseconds since the beginning.
#[derive(Default)]
pub(super) struct Account {
    lines: Vec<Line>,
    more_lines: u64,
    losses: BTreeMap<MachineId, Loss>,
    holds: BTreeMap<Rule, Holds>,
    spending: BTreeMap<GroupId, Spending>,
    pub(super) leader_changes: u32,
    pub(super) course: Course,
}

impl Account {
    /// Adds to the timeline; what is like the last line and follows it closely becomes part of it.
    pub(super) fn tell(
        &mut self,
        at_ms: u64,
        kind: &'static str,
        group: Option<&GroupId>,
        what: impl Into<String>,
        names: impl IntoIterator<Item = String>,
    ) {
        let (what, group) = (what.into(), group.map(ToString::to_string));
        let mut names: Vec<String> = names.into_iter().collect();
        let like = |line: &&mut Line| {
            line.kind == kind
                && line.what == what
                && line.group == group
                && at_ms.saturating_sub(line.at_ms) < TOGETHER_MS
        };
        let recent = self.lines.iter_mut().rev().take(4);
        if let Some(line) = recent.into_iter().find(like).filter(|_| !names.is_empty()) {
            line.count += names.len();
            let room = NAMES_MAX.saturating_sub(line.names.len());
            line.names.extend(names.into_iter().take(room));
            return;
        }
        if self.lines.len() >= LINES_MAX {
            self.more_lines += 1;
            return;
        }
        let count = names.len();
        names.truncate(NAMES_MAX);
        self.lines.push(Line {
            at_ms,
            kind,
            group,
            what,
            count,
            names,
        });
    }

    pub(super) fn lost(&mut self, at_ms: u64, machine: MachineId, group: Option<&GroupId>) {
        self.losses.entry(machine).or_insert(Loss {
            at_ms,
            group: group.map(ToString::to_string),
            ordered_ms: None,
            healed_ms: None,
            returned: false,
            successor: None,
        });
    }

    /// A machine works again by itself.
    pub(super) fn returned(&mut self, machine: MachineId) {
        if let Some(loss) = self
            .losses
            .get_mut(&machine)
            .filter(|loss| loss.ordered_ms.is_none())
        {
            loss.returned = true;
        }
    }

    /// `new` is ordered in place of `old`.
    pub(super) fn ordered(&mut self, at_ms: u64, old: MachineId, new: MachineId) {
        let takes_over = |(machine, loss): &(&MachineId, &mut Loss)| {
            **machine == old || loss.successor == Some(old) && loss.healed_ms.is_none()
        };
        for (_, loss) in self.losses.iter_mut().filter(takes_over) {
            loss.ordered_ms.get_or_insert(at_ms);
            loss.successor = Some(new);
        }
    }

    pub(super) fn joined(&mut self, at_ms: u64, machine: MachineId) {
        let succeeds =
            |loss: &&mut Loss| loss.successor == Some(machine) && loss.healed_ms.is_none();
        for loss in self.losses.values_mut().filter(succeeds) {
            loss.healed_ms = Some(at_ms);
        }
    }

    pub(super) fn held(&mut self, rule: Rule, detail: &str) {
        let holds = self.holds.entry(rule).or_default();
        holds.times += 1;
        if holds.example.is_empty() {
            detail.clone_into(&mut holds.example);
        }
    }

    pub(super) fn spending(&mut self, group: &GroupId) -> &mut Spending {
        self.spending.entry(group.clone()).or_default()
    }

    /// Closes the account.
    pub(super) fn close(self, ended: Ended) -> Report {
        let losses: Vec<&Loss> = self.losses.values().collect();
        let waits: Vec<Wait> = losses.iter().map(|loss| loss.wait()).collect();
        let times =
            |pick: fn(&Wait) -> Option<u64>| Times::of(waits.iter().filter_map(pick).collect());
        let count = |is: fn(&Loss) -> bool| losses.iter().filter(|loss| is(loss)).count();
        Report {
            seed: ended.seed,
            trace: ended.trace,
            machines: ended.machines,
            length_ms: ended.length_ms,
            lost: losses.len(),
            healed: count(|loss| loss.healed_ms.is_some()),
            returned: count(|loss| loss.returned && loss.healed_ms.is_none()),
            time_to_order: times(|wait| wait.to_order_ms),
            time_to_heal: times(|wait| wait.to_heal_ms),
            waits,
            timeline: self.lines,
            more_lines: self.more_lines,
            holds: self
                .holds
                .into_iter()
                .map(|(rule, holds)| (rule.to_string(), holds))
                .collect(),
            spending: self
                .spending
                .into_iter()
                .map(|(id, spent)| (id.to_string(), spent))
                .collect(),
            groups: ended.groups,
            nobody_leads: ended.nobody_leads,
            leader_changes: self.leader_changes,
            wrong_deaths: ended.wrong_deaths,
            violations: ended.violations,
            course: self.course,
        }
    }
}

/// What a report needs besides the account.
pub(super) struct Ended {
    pub(super) seed: u64,
    pub(super) trace: String,
    pub(super) machines: usize,
    pub(super) length_ms: u64,
    pub(super) groups: Vec<GroupEnd>,
    pub(super) nobody_leads: Option<String>,
    pub(super) wrong_deaths: usize,
    pub(super) violations: Vec<Violation>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_tells_what_so_many_did_not_exceed() {
        let times = Times::of((1..=200).rev().collect());
        assert_eq!((times.count, times.p50_ms, times.p90_ms), (200, 100, 180));
        assert_eq!((times.p99_ms, times.max_ms), (198, 200));
        assert_eq!(Times::of(vec![7]).p99_ms, 7);
        assert_eq!(Times::of(Vec::new()), Times::default());
    }

    #[test]
    fn what_happens_together_is_told_together() {
        let mut account = Account::default();
        for number in 0..9 {
            account.tell(
                1000 + number,
                "fault",
                None,
                "killed",
                [format!("web-{number}")],
            );
        }
        account.tell(5000, "fault", None, "killed", ["web-9".to_owned()]);
        let counts: Vec<_> = account
            .lines
            .iter()
            .map(|line| (line.count, line.names.len()))
            .collect();
        assert_eq!(counts, [(9, 5), (1, 1)]);
    }

    #[test]
    fn a_loss_is_healed_by_the_last_of_its_successors() {
        let id = |number| MachineId::new(number).expect("not zero");
        let mut account = Account::default();
        account.lost(1000, id(1), None);
        account.ordered(2000, id(1), id(2));
        account.ordered(9000, id(2), id(3));
        account.joined(9500, id(2));
        account.joined(12_000, id(3));
        let loss = &account.losses[&id(1)];
        assert_eq!(
            (loss.ordered_ms, loss.healed_ms),
            (Some(2000), Some(12_000))
        );
    }
}
