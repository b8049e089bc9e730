//! Machine IDs and operation IDs, which follow from numbers that are never used twice.

use muster_mesh::identity::{ClusterId, MachineId};

use super::OperationId;
use super::intent::Action;
use super::names::{GroupId, Member};

/// The ID of the machine that the fleet's `sequence`-th order or admission brings. The founder's number is 1.
///
/// The IDs look random, so that nobody mistakes one for another, and yet no two are the same: the finalizer of
/// splitmix64 (Steele, Lea, Flood 2014) and the steps before it are reversible. `None` for the one number of all
/// that gives zero, which is no machine's ID.
pub fn machine_id(cluster: ClusterId, sequence: u64) -> Option<MachineId> {
    let mut bits = sequence
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(cluster.get());
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    MachineId::new(bits ^ (bits >> 31))
}

/// The ID of an intent: derived from the place of the machine that it makes, or of the one that it treats or takes
/// away where it makes none.
pub fn operation_id(
    cluster: ClusterId,
    group: &GroupId,
    member: &Member,
    generation: u64,
    action: Action,
) -> OperationId {
    let member = member.to_string();
    let word = match action {
        // The same may be done to a machine more than once.
        Action::Treat { rung, number, .. } => format!("{rung}-{number}"),
        Action::Drain { number, .. } => format!("drain-{number}"),
        _ => action.word().to_owned(),
    };
    OperationId::derive(
        &cluster.to_string(),
        group.as_str(),
        &member,
        generation,
        &word,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn machine_ids_are_unique_and_stable() {
        let cluster = ClusterId::new(0xfee1).expect("not zero");
        let ids: BTreeSet<_> = (1..=10_000)
            .filter_map(|n| machine_id(cluster, n))
            .collect();
        assert_eq!(ids.len(), 10_000);
        // A fleet that is updated must go on giving out what the old version would have given out.
        assert_eq!(
            machine_id(cluster, 1).map(|id| id.to_string()).as_deref(),
            Some("56642d9f9fec6498")
        );
    }

    #[test]
    fn the_number_that_gives_zero_gives_no_id() {
        let cluster = ClusterId::new(0u64.wrapping_sub(0x9e37_79b9_7f4a_7c15)).expect("not zero");
        assert_eq!(machine_id(cluster, 1), None);
        assert!(machine_id(cluster, 2).is_some());
    }
}
