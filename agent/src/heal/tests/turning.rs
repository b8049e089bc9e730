//! What a rule says would have turned it does turn it: in many worlds, each rule that names such a change is asked again in
//! the same world with that one thing changed.

mod change;
mod worlds;

use std::collections::BTreeSet;

use change::change;

use crate::fleet::*;
use crate::heal::testing::World;

/// What is decided about a subject, be it news or not.
fn decided(world: &World, subject: &Subject) -> Option<Proposal> {
    let mut world = world.clone();
    world.fleet.state.concerns.clear();
    let mut proposals = world.look().proposals.into_iter();
    proposals.find(|proposal| proposal.subject == *subject)
}

/// Whether nothing is left of what a rule said but its opposite; or, for what leaves nothing to decide or leads elsewhere,
/// whether something else is done.
fn is_turned(before: &Proposal, after: Option<&Proposal>, check: &Check) -> bool {
    let elsewhere = matches!(
        check.turn,
        Some(Turn::Joining | Turn::WorksAgain | Turn::InVain(_))
    );
    let Some(after) = after else {
        return elsewhere;
    };
    let mut checks = after.checks.iter();
    let found = checks.find(|other| other.rule == check.rule);
    if elsewhere {
        return after.outcome != before.outcome
            || found.is_none_or(|other| other.margin != check.margin);
    }
    found.is_some_and(|other| other.holds() != check.holds())
}

#[test]
fn what_is_said_to_turn_a_rule_turns_it() {
    let (mut tried, mut wrong) = (BTreeSet::new(), Vec::new());
    for (name, world) in worlds::ALL {
        println!("{name}");
        let (world, subject) = world();
        let before = decided(&world, &subject).unwrap_or_else(|| panic!("{name}: no decision"));
        assert!(!before.checks.is_empty(), "{name}: {:?}", before.outcome);
        for check in &before.checks {
            let Some(turn) = check.turn else {
                if check.holds() {
                    wrong.push(format!("{name}: nothing ends {}", check.rule));
                }
                continue;
            };
            tried.insert(kind(turn));
            let mut changed = world.clone();
            change(&mut changed, &subject, check);
            let after = decided(&changed, &subject);
            if !is_turned(&before, after.as_ref(), check) {
                let after = after.map(|after| (after.cause, after.outcome));
                let (rule, margin) = (check.rule, &check.margin);
                wrong.push(format!(
                    "{name}: {rule}, {margin}: {turn:?} gives {after:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let all: BTreeSet<_> = change::KINDS.into_iter().map(kind).collect();
    let missing: Vec<_> = all.difference(&tried).collect();
    assert!(missing.is_empty(), "no world has {missing:?}");
}

/// A turn with its numbers aside.
fn kind(turn: Turn) -> String {
    let words = format!("{turn:?}");
    words.split('(').next().unwrap_or_default().to_owned()
}
