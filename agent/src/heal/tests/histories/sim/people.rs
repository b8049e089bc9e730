//! What people do: they declare, scale, pause, approve, destroy and let go.

use super::Sim;
use crate::fleet::testing::{cattle, group, pets};
use crate::fleet::*;

const GROUPS: [&str; 2] = ["web", "db"];

fn declared_cattle() -> GroupSpec {
    let mut spec = cattle("web", 4);
    spec.heal.budget = BudgetPolicy {
        at_once: Some(2),
        per_hour: Some(5),
    };
    spec
}

fn declared_pets(present: bool) -> GroupSpec {
    let members: &[&str] = if present {
        &["db-1", "db-2", "db-3"]
    } else {
        &["db-1", "db-2"]
    };
    let mut spec = pets("db", members);
    spec.heal.budget = BudgetPolicy {
        at_once: Some(1),
        per_hour: Some(4),
    };
    spec
}

fn either(which: u8) -> GroupId {
    group(GROUPS[usize::from(which) % GROUPS.len()])
}

impl Sim {
    /// Declares the groups that are not there.
    pub(in super::super) fn declare(&mut self) {
        for spec in [declared_cattle(), declared_pets(true)] {
            if !self.fleet.state.groups.contains_key(&spec.id) {
                let expected = None;
                self.now(Command::ApplySpecs(vec![SpecChange { spec, expected }]));
            }
        }
    }

    pub(in super::super) fn undeclare(&mut self, which: u8, destroy: bool) {
        let group = either(which);
        self.now(if destroy {
            Command::DestroyGroup { group }
        } else {
            Command::FreeGroup { group }
        });
    }

    pub(in super::super) fn scale(&mut self, size: u32) {
        let group = group("web");
        self.now(Command::ScaleGroup { group, size });
    }

    pub(in super::super) fn declare_pets(&mut self, present: bool) {
        let known = self.fleet.state.groups.get(&group("db"));
        let expected = known.map(|group| group.revision);
        let mut spec = declared_pets(present);
        if let Some(known) = known {
            spec.heal.mode = known.spec.heal.mode;
        }
        self.now(Command::ApplySpecs(vec![SpecChange { spec, expected }]));
    }

    pub(in super::super) fn set_mode(&mut self, which: u8, mode: HealMode) {
        let group = either(which);
        self.now(Command::SetHealMode { group, mode });
    }

    pub(in super::super) fn approve(&mut self, which: u8) {
        let waits = |concern: &&Concern| matches!(concern.outcome, Outcome::AwaitApproval { .. });
        let waiting = self.fleet.state.concerns.values().filter(waits);
        let waiting: Vec<_> = waiting.map(|concern| concern.decision).collect();
        if let Some(at) = Self::pick(&waiting, which) {
            let decision = waiting[at];
            self.now(Command::Approve { decision });
        }
    }

    pub(in super::super) fn pause(&mut self, begins: bool) {
        let scope = PauseScope::Fleet;
        self.now(if begins {
            Command::Pause {
                name: None,
                scope,
                reason: "a whim".into(),
                until_ms: None,
            }
        } else {
            Command::Resume { scope }
        });
    }

    pub(in super::super) fn ask(&mut self, machine: u8, what: Would, forced: bool) {
        let roster = self.roster();
        let Some(at) = Self::pick(&roster, machine) else {
            return;
        };
        let may = |rule: &Rule| forced && unforcible(*rule, what).is_none();
        self.now(Command::Ask(Box::new(Ask {
            machine: roster[at],
            what,
            reason: "a whim".into(),
            until_ms: self.fleet.state.clock_ms.max(self.clock_ms()) + 10 * limits::MINUTE_MS,
            forced: Rule::ORDER.into_iter().filter(may).collect(),
        })));
    }

    pub(in super::super) fn cancel(&mut self, which: u8) {
        let waiting = self.fleet.state.demands.iter();
        let waiting = waiting.filter(|(_, demand)| demand.waits());
        let waiting: Vec<_> = waiting.map(|(id, _)| *id).collect();
        if let Some(at) = Self::pick(&waiting, which) {
            let demand = waiting[at];
            self.now(Command::Withdraw { demand });
        }
    }

    pub(in super::super) fn cordon(&mut self, machine: u8, begins: bool) {
        let roster = self.roster();
        if let Some(at) = Self::pick(&roster, machine) {
            let machine = roster[at];
            self.now(if begins {
                let reason = "a whim".into();
                Command::Cordon { machine, reason }
            } else {
                Command::Uncordon { machine }
            });
        }
    }

    /// Everybody goes home: all modes are `auto`, nothing is paused or cordoned, and nothing is asked for.
    pub(super) fn let_be(&mut self) {
        self.pause(false);
        while self.fleet.state.demands.values().any(Demand::waits) {
            self.cancel(0);
        }
        for machine in self.roster() {
            self.now(Command::Uncordon { machine });
        }
        for which in 0..2 {
            self.set_mode(which, HealMode::Auto);
        }
    }
}
