//! A machine is written anew in its place: another identity, the same name, address and disk.

use std::fs;

use muster_tests::Fleet;

#[test]
fn a_reimaged_pet_is_another_machine_on_the_same_instance_with_its_disk() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let pets = before.machines_of("db");
    let leads = |name: &str| before.leader.as_deref() == Some(name);
    let pet = pets.into_iter().find(|pet| !leads(&pet.name));
    let pet = pet.expect("one of two does not lead").clone();
    let instance = pet.instance.clone().expect("it was made");
    let home = instance.properties["dir"].as_str().expect("a directory");
    let system = format!("{home}/state/written-by-hand");
    fs::write(&system, "x").expect("written");
    let disks = fs::read_dir(format!("{home}/disks")).expect("it has disks");
    let disk = disks.map(|disk| disk.expect("an entry").path()).next();
    let kept = disk.expect("a disk").join("rows");
    fs::write(&kept, "42").expect("written");

    let asked = before.machines_of("web")[0].api().to_owned();
    let order = ["reimage", &pet.name, "--reason", "broken system", "--wait"];
    let answer = fleet.ask(&asked, &order).ok();
    answer.says("done: it was carried out");
    let after = fleet.wait_whole();
    let now = after.machine(&pet.name);
    assert_ne!(
        now.machine_id, pet.machine_id,
        "it has an identity of its own"
    );
    assert_eq!(
        now.instance.as_ref().map(|made| &made.id),
        Some(&instance.id)
    );
    assert_eq!(now.address, pet.address);
    assert_ne!(now.pid(), pet.pid());
    assert!(!fs::exists(&system).expect("readable"), "the system is new");
    assert_eq!(fs::read_to_string(&kept).expect("kept"), "42");
    assert!(fleet.events_of("replacing").is_empty());
    assert_eq!(fleet.events_of("treated").len(), 1);
    fleet
        .ask(&asked, &["explain", &pet.name])
        .ok()
        .says("reimage");

    // It is written anew once more, this one as well: the operation is another one.
    fleet.ask(&asked, &["reimage", &pet.name, "--wait"]).ok();
    let again = fleet.wait_whole();
    assert_ne!(again.machine(&pet.name).machine_id, now.machine_id);
}
