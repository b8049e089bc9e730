//! What provisioners have to remember.

use muster_provisioners::Table;

use super::super::limits::LEDGERS_MAX;
use super::super::testing::Fleet;
use super::super::*;

fn write(provisioner: &str, revision: u64, changes: &[(&str, Option<&str>)]) -> Command {
    let owned = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
    Command::WriteLedger(Box::new(LedgerWrite {
        provisioner: provisioner.to_owned(),
        revision,
        changes: changes.iter().map(owned).collect(),
    }))
}

#[test]
fn of_two_who_read_the_same_one_writes() {
    let mut fleet = Fleet::new();
    fleet.ok(write(
        "rack",
        0,
        &[("n1", Some("web-1")), ("n2", Some("web-2"))],
    ));
    fleet.ok(write("rack", 1, &[("n1", Some("db-1")), ("n2", None)]));
    let before = fleet.state.clone();
    let late = fleet.refused(write("rack", 1, &[("n1", Some("app-1"))]));
    assert!(matches!(late, Refusal::Stale(_)), "{late:?}");
    assert_eq!(fleet.state, before);
    fleet.ok(write("hall", 0, &[("n1", Some("app-1"))]));
    let rack = &fleet.state.ledgers["rack"];
    assert_eq!((rack.revision, rack.entries.len()), (2, 1));
    assert_eq!(rack.entries["n1"], "db-1");
    let bytes = fleet.state.to_snapshot();
    assert_eq!(FleetState::from_snapshot(&bytes).as_ref(), Ok(&fleet.state));
}

#[test]
fn ledgers_have_limits() {
    let mut fleet = Fleet::new();
    let long = "x".repeat(Table::VALUE_BYTES_MAX + 1);
    let refused = fleet.refused(write("rack", 0, &[("n1", Some(&long))]));
    assert!(matches!(refused, Refusal::Invalid(_)), "{refused:?}");
    assert!(fleet.state.ledgers.is_empty());
    assert!(matches!(
        fleet.refused(write("", 0, &[])),
        Refusal::Invalid(_)
    ));
    for number in 0..LEDGERS_MAX {
        fleet.ok(write(&format!("rack-{number}"), 0, &[("n1", Some(""))]));
    }
    let refused = fleet.refused(write("one more", 0, &[]));
    assert!(matches!(refused, Refusal::TooMany { .. }), "{refused:?}");
}
