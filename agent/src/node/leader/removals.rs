//! Which machines can't be taken away yet, although it is decided and under way, because they coordinate.

use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::identity::MachineId;

use crate::fleet::{Action, Check, FleetState, Intent, OperationId, Rule, count};
use crate::node::shared::Shared;

/// How long a leader gives its own seat away to another machine before it carries out an order that ends itself. Where
/// there is no machine to take it, its successor goes on with the order.
const SUCCESSION_MS: u64 = 60_000;

/// The coordinators, as far as it matters whether one can be taken away.
pub(super) struct Company {
    me: MachineId,
    /// The machines that vote, with whether each takes part in the mesh.
    voters: BTreeMap<MachineId, bool>,
}

impl Company {
    pub(super) fn of(shared: &Shared) -> Self {
        let world = shared.mesh.look();
        let seats = shared.replica.seats();
        let voters = seats.voters.values().map(|node| node.machine);
        Self {
            me: shared.me,
            voters: voters
                .map(|machine| (machine, world.is_active(machine)))
                .collect(),
        }
    }

    /// The intents that must not take their machine away, or restart it, yet: the coordinators would lose their quorum with it, and
    /// with those that are on their way out already; or it leads, and others are still to be done.
    pub(super) fn held(&self, state: &FleetState, now_ms: u64) -> BTreeMap<OperationId, Check> {
        let votes = |machine: &MachineId| self.voters.get(machine) == Some(&true);
        let removing: Vec<_> = state
            .open_intents()
            .filter_map(|intent| Some((intent, intent.action.stops()?)))
            .filter(|(_, machine)| state.machines.contains_key(machine))
            .collect();
        let mut leaving = BTreeSet::new();
        let mut held = BTreeMap::new();
        for (intent, machine) in removing.iter().filter(|(_, machine)| votes(machine)) {
            let check = match self.staying(state, &leaving, *machine) {
                _ if *machine == self.me => self.succession(state, intent, removing.len(), now_ms),
                (staying, needed) if staying < needed => Some(Check::hold(
                    Rule::Quorum,
                    format!(
                        "it is a coordinator, and without it {staying} would be left, where {needed} are needed; another machine gets its seat first"
                    ),
                )),
                _ => None,
            };
            // What is held stays for now, and keeps no other from going.
            if check.is_none() {
                leaving.insert(*machine);
            }
            held.extend(check.map(|check| (intent.op.clone(), check)));
        }
        let drains = state.open_intents();
        held.extend(drains.filter_map(|intent| self.drained_later(intent, now_ms)));
        held
    }

    /// A machine that is drained by hand gives its seat away first, if there is one that can take it.
    fn drained_later(&self, intent: &Intent, now_ms: u64) -> Option<(OperationId, Check)> {
        let Action::Drain { machine, .. } = intent.action else {
            return None;
        };
        let since_ms = intent.current()?.started_ms?;
        let in_time = now_ms.saturating_sub(since_ms) < SUCCESSION_MS;
        (self.voters.contains_key(&machine) && in_time).then(|| {
            let why = "it is a coordinator; another machine gets its seat first if one can take it";
            (intent.op.clone(), Check::hold(Rule::Quorum, why))
        })
    }

    /// How many voters that take part stay when `machine` and those that are leaving go, and how many are needed.
    fn staying(
        &self,
        state: &FleetState,
        leaving: &BTreeSet<MachineId>,
        machine: MachineId,
    ) -> (usize, usize) {
        let stays = |(voter, active): &(&MachineId, &bool)| {
            **active
                && **voter != machine
                && !leaving.contains(voter)
                && state.machines.contains_key(voter)
        };
        let staying = self.voters.iter().filter(stays).count();
        (staying, self.voters.len() / 2 + 1)
    }

    /// What keeps the leader from ending itself: everything else is done first, and its seat goes to another machine if
    /// there is one that can take it.
    fn succession(
        &self,
        state: &FleetState,
        intent: &Intent,
        removals: usize,
        now_ms: u64,
    ) -> Option<Check> {
        let (staying, needed) = self.staying(state, &BTreeSet::new(), self.me);
        if staying < needed {
            return Some(Check::hold(
                Rule::Quorum,
                format!(
                    "it leads, and without it {staying} coordinators would be left, where {needed} are needed; another machine gets its seat first"
                ),
            ));
        }
        if removals > 1 {
            let others = count(removals - 1, "other machine");
            let margin = format!("it leads, and goes last, after {others}");
            return Some(Check::hold(Rule::Quorum, margin));
        }
        let started_ms = intent.current()?.started_ms?;
        (now_ms.saturating_sub(started_ms) < SUCCESSION_MS).then(|| {
            Check::hold(
                Rule::Quorum,
                "it leads; another machine gets its seat first if one can take it",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::testing::{Fleet, cattle, group};
    use crate::fleet::{Cause, Command};

    /// A group of four of which web-1, web-2 and web-3 coordinate, and web-1 leads; it is to have none.
    fn scene() -> (Fleet, Company) {
        let mut fleet = Fleet::with(&[cattle("web", 4)]);
        let voters = ["web-1", "web-2", "web-3"].map(|name| (fleet.id(name), true));
        let company = Company {
            me: fleet.id("web-1"),
            voters: voters.into(),
        };
        fleet.ok(Command::DestroyGroup {
            group: group("web"),
        });
        (fleet, company)
    }

    fn retire(fleet: &mut Fleet, name: &str) -> OperationId {
        let id = fleet.id(name);
        fleet.act(fleet.retire(id, Cause::Destroyed));
        fleet.intent_of(id).op.clone()
    }

    #[test]
    fn a_coordinator_without_which_there_is_no_quorum_stays_and_says_why() {
        let (mut fleet, mut company) = scene();
        let op = retire(&mut fleet, "web-3");
        assert!(company.held(&fleet.state, fleet.now_ms).is_empty());
        company.voters.insert(fleet.id("web-2"), false);
        let held = company.held(&fleet.state, fleet.now_ms);
        let check = &held[&op];
        assert_eq!(check.rule, Rule::Quorum);
        assert!(
            check.margin.contains("1 would be left, where 2 are needed"),
            "{}",
            check.margin
        );
    }

    #[test]
    fn of_two_only_one_goes_at_a_time() {
        let (mut fleet, company) = scene();
        let ops = ["web-2", "web-3"].map(|name| retire(&mut fleet, name));
        let held = company.held(&fleet.state, fleet.now_ms);
        assert_eq!(ops.iter().filter(|op| held.contains_key(op)).count(), 1);
    }

    #[test]
    fn the_leader_goes_last_and_gives_its_seat_away_first() {
        let (mut fleet, company) = scene();
        let leader = retire(&mut fleet, "web-1");
        let other = retire(&mut fleet, "web-4");
        let held = company.held(&fleet.state, fleet.now_ms);
        assert!(
            held[&leader].margin.contains("1 other machine"),
            "{:?}",
            held
        );
        assert!(!held.contains_key(&other));
        let web_4 = fleet.id("web-4");
        fleet.done(web_4);
        fleet.done(web_4);
        let held = company.held(&fleet.state, fleet.now_ms);
        assert!(
            held[&leader]
                .margin
                .contains("another machine gets its seat"),
            "{:?}",
            held
        );
        // Where nobody can take it, its successor goes on.
        assert!(
            company
                .held(&fleet.state, fleet.now_ms + SUCCESSION_MS)
                .is_empty()
        );
    }
}
