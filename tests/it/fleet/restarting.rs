//! A fleet that was stopped whole comes back whole, as itself.

use std::fs;

use muster_tests::Fleet;

#[test]
fn a_fleet_that_was_stopped_comes_back_as_itself() {
    let mut fleet = Fleet::start();
    let before = fleet.wait_whole();
    let file = before.machine("db-1").disk().join("kept");
    fs::write(&file, "precious").expect("the directory is ours");
    for _ in 0..2 {
        fleet.stop_dev();
        fleet.start_dev();
        let after = fleet.wait_whole();
        assert_eq!(after.cluster, before.cluster);
        assert_eq!(after.identities(), before.identities());
        assert_eq!(fs::read_to_string(&file).expect("it was kept"), "precious");
        assert!(
            fleet.events_of("replacing").is_empty(),
            "nothing was replaced"
        );
    }
}

#[test]
fn a_fleet_that_lost_power_comes_back_as_itself() {
    let mut fleet = Fleet::start();
    let before = fleet.wait_whole();
    fleet.kill_dev();
    for process in fleet.processes() {
        process.kill();
    }
    fleet.start_dev();
    let after = fleet.wait_whole();
    assert_eq!(after.identities(), before.identities());
    assert!(
        fleet.events_of("replacing").is_empty(),
        "nothing was replaced"
    );
}
