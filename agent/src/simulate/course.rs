//! What befell whom, what each machine was diagnosed with over time, and what was done to it.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;
use serde::Serialize;

use crate::fleet::{Diagnosis, FleetState};
use crate::heal::Finding;

/// Entries of each list that are kept. What comes after is counted.
const KEPT_MAX: usize = 10_000;

/// What befell whom, what each machine was diagnosed with over time, and what was done to it. Times are in milliseconds
/// since the beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Course {
    /// Whom each fault befell.
    pub befell: Vec<Befell>,
    /// Each change of a diagnosis. Machines are healthy until something else is said.
    pub diagnoses: Vec<Diagnosed>,
    /// What was done about machines that there were.
    pub actions: Vec<Acted>,
    /// Entries that were not kept.
    pub more: u64,
    /// What was said last of each machine that is not healthy.
    #[serde(skip)]
    last: BTreeMap<MachineId, Diagnosis>,
}

/// A fault that began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Befell {
    /// When.
    pub at_ms: u64,
    /// Which one, in the scenario's order, from 0.
    pub fault: usize,
    /// Whom.
    pub machines: Vec<MachineId>,
}

/// A diagnosis that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosed {
    /// When the leader saw it.
    pub at_ms: u64,
    /// Whose.
    pub machine: MachineId,
    /// What it is now.
    pub diagnosis: Diagnosis,
}

/// Something that was ordered about a machine that there was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Acted {
    /// When it was ordered.
    pub at_ms: u64,
    /// About which machine.
    pub machine: MachineId,
    /// What: `replace`, `reboot` and so on.
    pub action: String,
}

impl Course {
    /// The machines that any fault befell.
    pub fn is_befallen(&self, machine: MachineId) -> bool {
        let mut befell = self.befell.iter();
        befell.any(|befell| befell.machines.contains(&machine))
    }

    /// What a machine was diagnosed with at a time.
    pub fn diagnosis(&self, machine: MachineId, at_ms: u64) -> Diagnosis {
        let before = self.diagnoses.iter().rev();
        before
            .filter(|one| one.machine == machine && one.at_ms <= at_ms)
            .map(|one| one.diagnosis)
            .next()
            .unwrap_or(Diagnosis::Healthy)
    }

    pub(super) fn note_fault(&mut self, at_ms: u64, fault: usize, machines: &[MachineId]) {
        let machines = machines.to_vec();
        let befell = Befell {
            at_ms,
            fault,
            machines,
        };
        keep(&mut self.befell, befell, &mut self.more);
    }

    /// Takes down that nothing is the matter with anybody.
    pub(super) fn note_rest(&mut self, at_ms: u64) {
        for machine in std::mem::take(&mut self.last).into_keys() {
            let diagnosed = Diagnosed {
                at_ms,
                machine,
                diagnosis: Diagnosis::Healthy,
            };
            keep(&mut self.diagnoses, diagnosed, &mut self.more);
        }
    }

    /// Takes down what changed. A machine that is on the roster no more keeps what was said of it last.
    pub(super) fn note_findings(
        &mut self,
        at_ms: u64,
        state: &FleetState,
        findings: &BTreeMap<MachineId, Finding>,
    ) {
        for (machine, finding) in findings {
            let diagnosis = finding.diagnosis;
            let known = self.last.get(machine).copied();
            if known.unwrap_or(Diagnosis::Healthy) != diagnosis {
                match diagnosis {
                    Diagnosis::Healthy => self.last.remove(machine),
                    _ => self.last.insert(*machine, diagnosis),
                };
                let diagnosed = Diagnosed {
                    at_ms,
                    machine: *machine,
                    diagnosis,
                };
                keep(&mut self.diagnoses, diagnosed, &mut self.more);
            }
        }
        self.last
            .retain(|machine, _| state.machines.contains_key(machine));
    }

    pub(super) fn note_action(&mut self, at_ms: u64, machine: MachineId, action: String) {
        let acted = Acted {
            at_ms,
            machine,
            action,
        };
        keep(&mut self.actions, acted, &mut self.more);
    }
}

fn keep<T>(list: &mut Vec<T>, entry: T, more: &mut u64) {
    if list.len() < KEPT_MAX {
        list.push(entry);
    } else {
        *more += 1;
    }
}
