//! Who stands behind a leader: invariant 2, *a minority never acts*.
//!
//! Two majorities are needed: of the coordinators, or nothing could be committed; and of the roster, because three
//! coordinators that were cut off together with one rack must not replace the other forty racks.

use std::collections::BTreeSet;

use muster_mesh::identity::MachineId;

use super::gate::Gate;
use super::situation::Authority;
use super::timing::PROOF_STANDS_MS;
use crate::fleet::{FleetState, Mandate, Rule, Turn, count, span};

/// The leader's mandate, and what the rule `quorum` says about it.
pub fn quorum(state: &FleetState, authority: &Authority, now_ms: u64) -> (Mandate, Gate) {
    let (mandate, gate) = judged(state, authority, now_ms);
    (mandate, gate.turned_by(Turn::Support))
}

fn judged(state: &FleetState, authority: &Authority, now_ms: u64) -> (Mandate, Gate) {
    let roster: BTreeSet<MachineId> = state.electors().map(|machine| machine.id).collect();
    let acks = authority.acknowledged.intersection(&roster).count();
    // Who has just acknowledged is not gone, whatever a provider says.
    let gone = authority
        .proven_gone
        .iter()
        .filter(|(id, _)| roster.contains(id) && !authority.acknowledged.contains(id));
    let proofs: Vec<u64> = gone.map(|(_, since_ms)| *since_ms).collect();
    let stands = |since_ms: &&u64| now_ms.saturating_sub(**since_ms) >= PROOF_STANDS_MS;
    let standing = proofs.iter().filter(stands).count();
    let mandate = |proven_gone: usize| Mandate {
        quorum_confirmed: authority.quorum_confirmed,
        acks: small(acks),
        roster: small(roster.len()),
        proven_gone: small(proven_gone),
    };
    let plain = mandate(0);
    if !authority.quorum_confirmed {
        return (
            plain,
            Gate::hold(Rule::Quorum, without_coordinators(authority)),
        );
    }
    if authority.rivalled {
        let margin = "a machine has promised another leader, or speaks of a later log that may act";
        return (plain, Gate::hold(Rule::Quorum, margin));
    }
    let answered = format!("{acks} of {}", count(roster.len(), "machine"));
    if plain.suffices() {
        let margin = format!("{answered} answered; {} are needed", plain.needed());
        return (plain, Gate::pass(Rule::Quorum, margin));
    }
    let proven = mandate(standing);
    if proven.suffices() {
        let margin = format!(
            "{answered} answered; {standing} proved gone don't count, so {} are needed",
            proven.needed()
        );
        return (proven, Gate::pass(Rule::Quorum, margin));
    }
    let short = format!("{answered} answered; {} are needed", plain.needed());
    // How long until so many proofs have stood long enough that the answers are more than half.
    let mut ages = proofs.clone();
    ages.sort_unstable();
    let enough = (1..=ages.len()).find(|proved| mandate(*proved).suffices());
    let gate = match enough.and_then(|proved| ages.get(proved - 1)) {
        Some(since_ms) => {
            let until_ms = since_ms.saturating_add(PROOF_STANDS_MS);
            let margin = format!(
                "{short}. {} proved gone stop counting when that has stood for {}; until then they may return",
                ages.len(),
                span(PROOF_STANDS_MS)
            );
            Gate::hold_until(Rule::Quorum, margin, until_ms)
        }
        None if ages.is_empty() => Gate::hold(Rule::Quorum, short),
        None => Gate::hold(
            Rule::Quorum,
            format!("{short}, also without the {} proved gone", ages.len()),
        ),
    };
    (proven, gate)
}

fn without_coordinators(authority: &Authority) -> String {
    format!(
        "{} of {} answered; {} are needed",
        authority.voters_reachable,
        count(authority.voters as usize, "coordinator"),
        authority.voters / 2 + 1
    )
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
