//! One machine's trouble, from the first decision about it to the end.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use crate::answers::snapshot::Snapshot;
use crate::api::types::Decided;
use crate::fleet::{Decision, Diagnosis, FleetState, GroupId, Outcome, Subject};

/// One machine's trouble.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) machine: MachineId,
    pub(super) group: Option<&'a GroupId>,
    /// The first decision, which is there in any case.
    first: &'a Decision,
    /// Those that followed, oldest first.
    rest: Vec<&'a Decision>,
    /// When the machine was well again, in milliseconds since 1970.
    pub(super) cleared_ms: Option<u64>,
    /// When something else than its trouble was decided about it, such as that it is one too many; in milliseconds
    /// since 1970.
    pub(super) withdrawn_ms: Option<u64>,
}

impl<'a> Case<'a> {
    /// All cases on record, by their first decision. A machine that took its leave has no trouble.
    pub(super) fn all(state: &'a FleetState) -> Vec<Self> {
        let mut cases: Vec<Self> = Vec::new();
        let mut open = BTreeMap::<MachineId, usize>::new();
        for decision in &state.decisions {
            let Subject::Machine(machine) = decision.proposal.subject else {
                continue;
            };
            let known = open.get(&machine).and_then(|at| cases.get_mut(*at));
            match (known, &decision.proposal.outcome) {
                (Some(case), Outcome::Clear) => {
                    case.cleared_ms = Some(decision.at_ms);
                    open.remove(&machine);
                }
                (None, Outcome::Clear) => {}
                (Some(case), _) if is_about_trouble(decision) => case.rest.push(decision),
                (Some(case), _) => {
                    case.withdrawn_ms = Some(decision.at_ms);
                    open.remove(&machine);
                }
                (None, _) if is_failure(decision) => {
                    open.insert(machine, cases.len());
                    cases.push(Self::new(machine, decision));
                }
                (None, _) => {}
            }
        }
        cases
    }

    fn new(machine: MachineId, first: &'a Decision) -> Self {
        Self {
            machine,
            group: first.proposal.group.as_ref(),
            first,
            rest: Vec::new(),
            cleared_ms: None,
            withdrawn_ms: None,
        }
    }

    fn decisions(&self) -> impl DoubleEndedIterator<Item = &'a Decision> + '_ {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }

    /// The decision that counts: the last that went furthest, where acting goes further than asking or saying, and
    /// those further than a hold.
    pub(super) fn decisive(&self) -> &'a Decision {
        let furthest = self.decisions().max_by_key(|decision| reach(decision));
        furthest.unwrap_or(self.first)
    }

    /// What was decided.
    pub(super) fn decided(&self) -> Decided {
        match self.decisive().proposal.outcome {
            Outcome::Act { .. } => Decided::Acted,
            Outcome::AwaitApproval { .. } => Decided::Asked,
            Outcome::Observe { .. } => Decided::Observed,
            Outcome::Hold { .. } | Outcome::Clear => Decided::Held,
        }
    }

    /// The decision at which its provisioner had proved the machine off, or known that it never came.
    pub(super) fn proof(&self) -> Option<&'a Decision> {
        let proves = |decision: &&Decision| {
            let diagnosis = decision.proposal.cause.diagnosis();
            matches!(diagnosis, Some(Diagnosis::Gone | Diagnosis::NeverJoined))
        };
        self.decisions().find(proves)
    }

    /// Whether it is still on record as what is the matter.
    pub(super) fn stands(&self, state: &FleetState) -> bool {
        let concern = state.concern(self.machine);
        concern.is_some_and(|concern| concern.decision == self.latest().id)
    }

    /// The last decision about it.
    pub(super) fn latest(&self) -> &'a Decision {
        self.rest.last().copied().unwrap_or(self.first)
    }

    /// When it began, in milliseconds since 1970.
    pub(super) fn began_ms(&self) -> u64 {
        self.first.at_ms
    }

    /// When it ended, in milliseconds since 1970; now, while it hasn't been cleared and nothing was done.
    pub(super) fn last_ms(&self, now_ms: u64) -> u64 {
        match (self.cleared_ms.or(self.withdrawn_ms), self.decided()) {
            (Some(ended_ms), _) => ended_ms,
            (None, Decided::Acted) => self.latest().at_ms,
            (None, _) => now_ms,
        }
    }

    /// What the machine is, or was, called.
    pub(super) fn name(&self, snapshot: &Snapshot<'_>) -> String {
        let then = self.decisions().find_map(|decision| decision.name.as_ref());
        then.map_or_else(|| snapshot.name_of(self.machine), ToString::to_string)
    }
}

/// Whether a decision is about what is the matter with a machine that ought to be there.
fn is_about_trouble(decision: &Decision) -> bool {
    let diagnosis = decision.proposal.cause.diagnosis();
    diagnosis.is_some_and(|diagnosis| diagnosis != Diagnosis::Left)
}

/// Whether a decision finds that a machine has failed.
pub(super) fn is_failure(decision: &Decision) -> bool {
    let diagnosis = decision.proposal.cause.diagnosis();
    is_about_trouble(decision) && diagnosis.is_some_and(|diagnosis| !diagnosis.is_calm())
}

fn reach(decision: &Decision) -> u8 {
    match decision.proposal.outcome {
        Outcome::Act { .. } => 2,
        Outcome::AwaitApproval { .. } | Outcome::Observe { .. } => 1,
        Outcome::Hold { .. } | Outcome::Clear => 0,
    }
}
