//! A fleet of which too little is left to go on by itself: a person has it go on.

use muster_tests::fleet::PATIENCE;
use muster_tests::{Fleet, wait};

use super::quorum::majority;

#[test]
fn a_minority_goes_on_by_order_and_heals() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let (killed, left) = majority(&before);
    killed.iter().for_each(|machine| drop(fleet.kill(machine)));
    let founder = left
        .iter()
        .find(|machine| before.coordinators.contains(&machine.name))
        .expect("one coordinator is left");
    wait::until("the hold names the way out", PATIENCE, || {
        let answer = fleet.ask(founder.api(), &["status"]);
        let names = answer.stdout.contains("muster recover");
        names.then_some(()).ok_or_else(|| answer.to_string())
    });
    let shown = fleet.ask(founder.api(), &["recover", "--dry-run"]).ok();
    println!("{shown}");
    shown.says("The danger");
    let status = fleet.ask(founder.api(), &["status", "--json"]).ok().json();
    let cluster = status["cluster"]["name"].as_str().expect("a name");
    let order = ["recover", "--yes", cluster, "--they-are-off"];
    println!("{}", fleet.ask(founder.api(), &order).ok());
    let after = fleet.wait_whole();
    for machine in &killed {
        let replaced = after
            .machines
            .iter()
            .all(|row| row.machine_id != machine.machine_id);
        assert!(replaced, "{} is still there", machine.name);
    }
    for machine in &left {
        let same = after.machine(&machine.name);
        assert_eq!(same.machine_id, machine.machine_id, "it was well");
    }
    assert_eq!(fleet.events_of("unaccounted").len(), 3);
    assert_eq!(fleet.events_of("replacing").len(), 3, "one for each");
}
