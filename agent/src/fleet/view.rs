//! The state as people ask for it: how a group is, and why things are as they are.

use std::fmt;

use muster_mesh::identity::MachineId;
use serde::{Deserialize, Serialize};

use super::decision::{Decision, DecisionId, Outcome, Subject};
use super::event::Event;
use super::group::Group;
use super::intent::{Action, Intent};
use super::machine::{Machine, Phase};
use super::names::GroupId;
use super::rule::Rule;
use super::spec::GroupKind;
use super::state::{Concern, FleetState};
use super::text::{Text, span};

/// How a group is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// Cattle or pets.
    pub kind: GroupKind,
    /// How many machines it should have.
    pub desired: usize,
    /// How many of its machines joined and answer.
    pub running: usize,
    /// What is going on.
    pub state: GroupState,
    /// What is not done although it should be, and why.
    pub holds: Vec<Hold>,
}

/// What is going on in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// It is what it should be.
    Converged,
    /// Machines are being made or taken away.
    Provisioning,
    /// Machines are being replaced, or one has failed and is about to be.
    Healing,
    /// Machines are being brought to a new version.
    Updating,
    /// Something should be done, and a rule forbids it.
    Holding,
    /// Somebody said not to act.
    Paused,
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Converged => "converged",
            Self::Provisioning => "provisioning",
            Self::Healing => "healing",
            Self::Updating => "updating",
            Self::Holding => "holding",
            Self::Paused => "paused",
        })
    }
}

/// Something that is not done although it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The rule that forbids it.
    pub rule: Rule,
    /// Why, in plain words.
    pub detail: Text,
    /// The machine concerned; `None` for the group as a whole.
    pub machine: Option<MachineId>,
    /// The decision that says so; `None` for a pause, or while too many operations fail.
    pub decision: Option<DecisionId>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

/// Why things are as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// The machine, if it is on the roster.
    pub machine: Option<&'a Machine>,
    /// What stands on record about it.
    pub concern: Option<&'a Concern>,
    /// The decisions that concern it, newest first.
    pub decisions: Vec<&'a Decision>,
    /// What was ordered, newest first.
    pub intents: Vec<&'a Intent>,
    /// What happened, oldest first.
    pub events: Vec<&'a Event>,
}

impl FleetState {
    /// How a group is, given which machines answer. `None` when there is no such group.
    ///
    /// The fleet state knows who should be there; who answers is for the mesh to say.
    pub fn group_view(
        &self,
        id: &GroupId,
        now_ms: u64,
        answers: impl Fn(MachineId) -> bool,
    ) -> Option<GroupView> {
        let group = self.groups.get(id)?;
        let serves = |m: &&Machine| m.phase == Phase::Joined && !m.condemned && answers(m.id);
        let running = self.group_machines(id).filter(serves).count();
        let joined = |m: &&Machine| m.phase == Phase::Joined;
        let silent = self.group_machines(id).filter(joined).count() > running;
        let holds = self.holds(id, group, now_ms);
        let intents: Vec<_> = self.group_intents(id).collect();
        let replacing = intents
            .iter()
            .any(|i| matches!(i.action, Action::Replace { .. }));
        let state = if self.paused(id, now_ms).is_some() {
            GroupState::Paused
        } else if replacing {
            GroupState::Healing
        } else if !holds.is_empty() {
            GroupState::Holding
        } else if silent {
            GroupState::Healing
        } else if !intents.is_empty() || self.existing(id) != group.desired() || group.destroying {
            GroupState::Provisioning
        } else {
            GroupState::Converged
        };
        let (kind, desired) = (group.spec.allocation.kind(), group.desired());
        Some(GroupView {
            kind,
            desired,
            running,
            state,
            holds,
        })
    }

    fn holds(&self, id: &GroupId, group: &Group, now_ms: u64) -> Vec<Hold> {
        let mut holds = Vec::new();
        if let Some((scope, pause)) = self.paused(id, now_ms) {
            let until = pause.until_ms.map_or_else(String::new, |until_ms| {
                format!(", for another {}", span(until_ms.saturating_sub(now_ms)))
            });
            holds.push(Hold {
                rule: Rule::Paused,
                detail: format!("{scope} is paused{until}: {}", pause.reason).into(),
                machine: None,
                decision: None,
                since_ms: pause.since_ms,
            });
        }
        if let Some(backoff) = group.backoff(now_ms).filter(|backoff| backoff.suspended) {
            let wait = span(backoff.until_ms.saturating_sub(now_ms));
            let detail = format!(
                "{} operations failed within the last hour; nothing more is tried for {wait}, or until `muster group resume {id}`",
                backoff.failed
            );
            holds.push(Hold {
                rule: Rule::Backoff,
                detail: detail.into(),
                machine: None,
                decision: None,
                since_ms: group.failures.back().copied().unwrap_or_default(),
            });
        }
        let concerns = self.concerns.iter().filter(|(subject, _)| match subject {
            Subject::Group(group) => group == id,
            Subject::Machine(machine) => self
                .machines
                .get(machine)
                .is_some_and(|machine| machine.group() == Some(id)),
        });
        holds.extend(concerns.filter_map(|(subject, concern)| self.hold(subject, concern)));
        holds
    }

    fn hold(&self, subject: &Subject, concern: &Concern) -> Option<Hold> {
        let (machine, who) = match subject {
            Subject::Machine(id) => (
                Some(*id),
                self.machines.get(id).map(|machine| machine.name.as_str()),
            ),
            Subject::Group(_) => (None, None),
        };
        let (rule, detail) = match &concern.outcome {
            Outcome::Hold { rule, detail } => (*rule, detail.to_string()),
            Outcome::AwaitApproval { would } => (
                Rule::Mode,
                format!(
                    "waits for `muster approve {}` to {would} it",
                    concern.decision
                ),
            ),
            _ => return None,
        };
        let detail = who.map_or_else(|| detail.clone(), |who| format!("{who}: {detail}"));
        let (decision, since_ms) = (Some(concern.decision), concern.since_ms);
        Some(Hold {
            rule,
            detail: detail.into(),
            machine,
            decision,
            since_ms,
        })
    }

    /// What stands on record about a machine.
    pub fn concern(&self, machine: MachineId) -> Option<&Concern> {
        self.concerns.get(&Subject::Machine(machine))
    }

    /// Why a machine is as it is, by its name. Also for machines of the past, as long as something about them is
    /// remembered.
    pub fn explain_machine(&self, name: &str) -> Explanation<'_> {
        let machine = self.machine_by_name(name);
        let is_named = |given: Option<&str>| given == Some(name);
        let mut intents: Vec<_> = self
            .intents
            .values()
            .filter(|intent| intent.name.as_str() == name)
            .collect();
        let ids: Vec<_> = intents.iter().map(|intent| intent.decision).collect();
        let concerns = |decision: &&Decision| {
            is_named(decision.name.as_ref().map(|name| name.as_str())) || ids.contains(&decision.id)
        };
        intents.sort_by_key(|intent| std::cmp::Reverse(intent.opened_ms));
        Explanation {
            machine,
            concern: machine.and_then(|machine| self.concern(machine.id)),
            decisions: self.decisions.iter().rev().filter(concerns).collect(),
            intents,
            events: self
                .events
                .iter()
                .filter(|event| is_named(event.name.as_ref().map(|name| name.as_str())))
                .collect(),
        }
    }

    /// Why a group is as it is: what stands on record, and what was decided, ordered and done.
    pub fn explain_group(&self, id: &GroupId) -> Explanation<'_> {
        let mut intents: Vec<_> = self.intents.values().filter(|i| i.group == *id).collect();
        intents.sort_by_key(|intent| std::cmp::Reverse(intent.opened_ms));
        let decided = |d: &&Decision| d.proposal.group.as_ref() == Some(id);
        Explanation {
            machine: None,
            concern: self.concerns.get(&Subject::Group(id.clone())),
            decisions: self.decisions.iter().rev().filter(decided).collect(),
            intents,
            events: self
                .events
                .iter()
                .filter(|e| e.group.as_ref() == Some(id))
                .collect(),
        }
    }

    /// Why a decision was made, and what came of it. `None` when it is not on record.
    pub fn explain_decision(&self, id: DecisionId) -> Option<Explanation<'_>> {
        let decision = self.decision(id)?;
        let machine = match &decision.proposal.subject {
            Subject::Machine(machine) => self.machines.get(machine),
            Subject::Group(_) => None,
        };
        Some(Explanation {
            machine,
            concern: self.concerns.get(&decision.proposal.subject),
            decisions: vec![decision],
            intents: self
                .intents
                .values()
                .filter(|intent| intent.decision == id)
                .collect(),
            events: self
                .events
                .iter()
                .filter(|event| event.decision == Some(id))
                .collect(),
        })
    }
}
