//! Rehearsing the fence: whether the successor of each pet could be started safely if its machine failed now.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use crate::fleet::{Command, FleetState, Machine, Phase, Text};

/// What was found out about one pet's machine just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// Whether its provisioner, asked with the credentials that a fence would be asked with, could tell whether it is off;
    /// why not.
    pub proof: Result<(), String>,
    /// Whether it has got a lease lately.
    pub leased: bool,
}

/// The machines of pets that are in the mesh and that nothing is done to: those to be rehearsed.
pub fn rehearsable(state: &FleetState) -> impl Iterator<Item = &Machine> {
    let pets = state.machines.values().filter(|machine| machine.is_pet());
    pets.filter(|machine| machine.phase == Phase::Joined && machine.intent.is_none())
}

/// What is to be put on record of what was found, if that has changed. Of a machine that nothing was found out about,
/// what is on record stays.
pub fn rehearsed(state: &FleetState, found: &BTreeMap<MachineId, Rehearsal>) -> Option<Command> {
    let judged = rehearsable(state).filter_map(|machine| {
        let why = unfenceable(state, machine, found.get(&machine.id)?);
        (machine.unfenceable != why).then_some((machine.id, why))
    });
    let changes: Vec<_> = judged.collect();
    (!changes.is_empty()).then_some(Command::RecordFencing(changes))
}

/// Why a machine could not be fenced; `None` if it could.
fn unfenceable(state: &FleetState, machine: &Machine, found: &Rehearsal) -> Option<Text> {
    let Err(why) = &found.proof else { return None };
    let wanted = machine
        .group()
        .and_then(|id| state.groups.get(id)?.spec.heal.lease);
    let lease = match (machine.lease, wanted) {
        (Some(_), _) if found.leased => return None,
        (Some(_), _) => "it has got no lease lately",
        (None, Some(_)) => {
            "it has not promised to run under its group's lease: its flavor needs `start` and `stop`"
        }
        (None, None) => "it runs without a lease",
    };
    Some(format!("{why}; and {lease}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::testing::{Fleet, cattle, pets};
    use crate::fleet::{Diagnosis, LeaseTerms};

    fn found(
        fleet: &Fleet,
        proof: Result<(), &str>,
        leased: bool,
    ) -> BTreeMap<MachineId, Rehearsal> {
        let proof = proof.map_err(str::to_owned);
        let one = |machine: &Machine| {
            (
                machine.id,
                Rehearsal {
                    proof: proof.clone(),
                    leased,
                },
            )
        };
        fleet.state.machines.values().map(one).collect()
    }

    #[test]
    fn a_pet_needs_a_proof_or_a_lease_and_what_it_lacks_is_said_once() {
        let mut fleet = Fleet::with(&[cattle("web", 2), pets("db", &["db-1"])]);
        let pet = fleet.id("db-1");
        assert_eq!(rehearsed(&fleet.state, &found(&fleet, Ok(()), false)), None);
        let refused = found(&fleet, Err("`cloud` refuses our credentials"), false);
        let command = rehearsed(&fleet.state, &refused).expect("news");
        let Command::RecordFencing(changes) = &command else {
            panic!("{command:?}")
        };
        assert_eq!(changes.len(), 1, "cattle need no fence");
        fleet.ok(command);
        let why = fleet.state.machines[&pet]
            .unfenceable
            .clone()
            .expect("said");
        assert!(
            why.contains("credentials") && why.contains("without a lease"),
            "{why}"
        );
        assert_eq!(rehearsed(&fleet.state, &refused), None, "it is no news");
        assert_eq!(rehearsed(&fleet.state, &BTreeMap::new()), None);

        let terms = LeaseTerms {
            lease_ms: 10_000,
            stop_ms: 3_000,
        };
        fleet.ok(Command::BindLease {
            machine: pet,
            terms: Some(terms),
        });
        let leased = found(&fleet, Err("nobody can say"), true);
        fleet.ok(rehearsed(&fleet.state, &leased).expect("a lease is enough"));
        assert_eq!(fleet.state.machines[&pet].unfenceable, None);
        let lost = found(&fleet, Err("nobody can say"), false);
        assert!(rehearsed(&fleet.state, &lost).is_some());
        fleet.act(fleet.replace(pet, Diagnosis::Gone));
        assert_eq!(rehearsed(&fleet.state, &lost), None, "it is being replaced");
    }
}
