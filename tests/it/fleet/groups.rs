//! Groups grow, shrink, pause and go, on command.

use muster_tests::{Fleet, Status};

/// Waits until the group has so many machines and all is well.
#[track_caller]
fn wait_size(fleet: &Fleet, group: &str, size: usize) -> Status {
    fleet.wait_for("the group has its size", |status| {
        let machines = status.machines_of(group).len();
        if machines != size {
            return Err(format!("{machines} machines: {:?}", status.groups));
        }
        status.whole().map(|()| status.clone())
    })
}

#[test]
fn a_group_scales_out_and_in_newest_first() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    fleet.ask_any(&["group", "scale", "web", "5", "--yes"]).ok();
    let grown = wait_size(&fleet, "web", 5);
    fleet.ask_any(&["group", "scale", "web", "3", "--yes"]).ok();
    let shrunk = wait_size(&fleet, "web", 3);
    assert_eq!(
        shrunk.identities(),
        before.identities(),
        "the newest of {:?} went",
        grown.identities()
    );
    assert!(fleet.events_of("replacing").is_empty());
    fleet.ask_any(&["group", "scale", "web", "0", "--yes"]).ok();
    let empty = wait_size(&fleet, "web", 0);
    assert_eq!(empty.machines.len(), 2);
    assert_eq!(
        fleet
            .processes()
            .iter()
            .filter(|process| process.command.contains("web-"))
            .count(),
        0
    );
    fleet.ask_any(&["group", "scale", "web", "1", "--yes"]).ok();
    wait_size(&fleet, "web", 1);
}

#[test]
fn a_paused_group_is_left_alone_until_it_is_resumed() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    fleet.ask_any(&["group", "pause", "web"]).ok();
    let victim = super::follower(&before);
    fleet.kill(&victim);
    fleet.wait_for("the hold is shown", |status| {
        let group = status.group("web");
        let held = group.holds.iter().any(|hold| hold.rule == "paused");
        if held && group.state == "paused" {
            Ok(())
        } else {
            Err(format!("{group:?}"))
        }
    });
    assert!(fleet.events_of("replacing").is_empty());
    fleet.ask_any(&["group", "resume", "web"]).ok();
    super::wait_replaced(&fleet, &victim);
}

#[test]
fn a_group_in_observe_mode_says_what_it_would_do() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    fleet
        .ask_any(&["group", "heal-mode", "web", "observe"])
        .ok();
    let victim = super::follower(&before);
    fleet.kill(&victim);
    muster_tests::until("it says so", muster_tests::fleet::PATIENCE, || {
        let events = fleet.events_of("observed");
        if events.is_empty() {
            Err("not yet".to_owned())
        } else {
            Ok(())
        }
    });
    assert!(fleet.events_of("replacing").is_empty());
    fleet.ask_any(&["group", "heal-mode", "web", "auto"]).ok();
    super::wait_replaced(&fleet, &victim);
}

#[test]
fn a_destroyed_group_goes_and_a_freed_one_is_forgotten() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let db: Vec<_> = before.machines_of("db").into_iter().cloned().collect();
    fleet.ask_any(&["group", "free", "db", "--yes"]).ok();
    fleet.wait_for("the group is forgotten", |status| {
        let known = status.groups.iter().any(|group| group.id == "db");
        if known {
            Err(format!("{:?}", status.groups))
        } else {
            Ok(())
        }
    });
    for machine in &db {
        assert!(fleet.process(machine).is_some(), "{} goes on", machine.name);
    }
    fleet.ask_any(&["group", "destroy", "web", "--yes"]).ok();
    fleet.wait_for("the group is gone", |status| {
        let left = status.groups.iter().any(|group| group.id == "web")
            || !status.machines_of("web").is_empty();
        if left {
            Err(format!("{:?}", status.groups))
        } else {
            Ok(())
        }
    });
}
