//! A disk that is full: said, survived, and forgotten once there is room again.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use muster_tests::fleet::PATIENCE;
use muster_tests::system::{may_mount, require};
use muster_tests::{Fleet, Options, Status, wait};

use super::guest::{Guest, token};
use super::{follower, wait_replaced};

/// Enough for an agent, and filled in no time.
const DISK_BYTES: u64 = 24 << 20;

#[test]
fn a_coordinator_whose_disk_is_full_says_so_and_goes_on_when_there_is_room() {
    if !require("the right to mount", may_mount()) {
        return;
    }
    let fleet = Fleet::start_with(Options {
        machines: Some(1),
        ..Options::default()
    });
    let mut guest = Guest::found_on_small_disk(&fleet, "full", DISK_BYTES);
    let node = guest.socket();
    let mut acknowledged = vec![wait_written(&fleet, &guest)];
    let filler = guest.dir().join("filler");
    fill(&filler);
    wait::until("it says so", PATIENCE, || {
        let answer = fleet.ask(&node, &["health"]);
        let named = answer.stdout.contains("disk of the data directory");
        if named && answer.stdout.contains("critical") {
            Ok(())
        } else {
            Err(format!("{answer}\n{}", guest.log()))
        }
    });
    // What is left of the log's own room is used up; then it refuses.
    wait::until("it refuses", PATIENCE, || {
        let id = write(&fleet, &guest);
        id.map_or(Ok(()), |id| {
            acknowledged.push(id);
            Err(format!("{} tokens fitted in", acknowledged.len()))
        })
    });
    wait::until("its log says why", PATIENCE, || {
        let log = guest.log();
        let says = log.contains("No space left on device");
        if says { Ok(()) } else { Err(log) }
    });
    fleet.ask(&node, &["status"]).ok().says("critical");
    assert!(guest.is_running(), "{}", guest.log());
    fs::remove_file(&filler).expect("it is ours");
    acknowledged.push(wait_written(&fleet, &guest));
    let list = fleet.ask(&node, &["token", "list", "--json"]).ok();
    for id in acknowledged {
        assert!(list.stdout.contains(&id), "{id} was lost: {list}");
    }
}

#[test]
fn a_member_whose_disk_is_full_says_so_and_keeps_nobody_from_being_healed() {
    if !require("the right to mount", may_mount()) {
        return;
    }
    let fleet = Fleet::start();
    fleet.wait_whole();
    let (token, _) = token(&fleet, &[]);
    let mut guest = Guest::join_on_small_disk(&fleet, "full", DISK_BYTES, &token);
    let before = guest.wait_joined(&fleet, "full");
    let filler = guest.dir().join("filler");
    fill(&filler);
    // On a busy computer it may have more to complain of, but nothing critical.
    let known = |what: &str, full: bool| {
        fleet.wait_for(what, |status| {
            let health = status.machine("full").health.clone();
            match (health.as_deref() == Some("critical")) == full {
                true => Ok(()),
                false => Err(format!("{health:?}")),
            }
        });
    };
    known("everybody knows that its disk is full", true);
    // It answers, so nothing is done about it; and what fails elsewhere is healed as always.
    let lost = follower(&before);
    fleet.kill(&lost);
    let after = wait_replaced(&fleet, &lost);
    assert_eq!(
        fleet.events_of("replacing").len(),
        1,
        "one order for one loss"
    );
    let full = |status: &Status| status.machine("full").machine_id.clone();
    assert_eq!(full(&after), full(&before));
    let own = fleet.status_of(&guest.socket()).expect("it answers");
    assert_eq!(own.leader, after.leader);
    assert!(guest.is_running(), "{}", guest.log());
    fs::remove_file(&filler).expect("it is ours");
    known("everybody knows that there is room", false);
}

/// Has the guest's mesh remember something, which its log has to write, and says what.
fn write(fleet: &Fleet, guest: &Guest) -> Option<String> {
    let answer = fleet.ask(&guest.socket(), &["token", "create", "--json"]);
    let id = || Some(answer.json()["id"].as_str()?.to_owned());
    if answer.code == Some(0) { id() } else { None }
}

/// Waits until that works.
#[track_caller]
fn wait_written(fleet: &Fleet, guest: &Guest) -> String {
    wait::until("the mesh remembers something", PATIENCE, || {
        write(fleet, guest).ok_or_else(|| guest.log())
    })
}

/// Writes until there is no room.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("there is room for a name");
    let block = [0; 4096];
    while file.write_all(&block).is_ok() {}
}
