//! A pet's successor takes its name and its data.

use std::fs;

use muster_tests::Fleet;

use super::{expect_only_replaced, wait_replaced};

#[test]
fn a_pets_successor_keeps_its_name_and_its_data() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let victim = before.machine("db-1").clone();
    fs::write(victim.disk().join("kept"), "precious").expect("the directory is ours");
    fleet.kill(&victim);
    let after = wait_replaced(&fleet, &victim);
    expect_only_replaced(&fleet, &before, &after, &[&victim]);
    let successor = after.machine("db-1");
    assert_ne!(
        successor.machine_id, victim.machine_id,
        "it is another machine"
    );
    assert_eq!(successor.member.as_deref(), Some("db-1"));
    assert_eq!(
        fs::read_to_string(successor.disk().join("kept")).expect("kept"),
        "precious"
    );
}
