//! Who may join, and who may not.

use std::fs;
use std::time::Duration;

use muster_tests::fleet::PATIENCE;
use muster_tests::{Fleet, wait};

use super::guest::{Guest, token};

#[track_caller]
fn expect_unknown(fleet: &Fleet, name: &str) {
    assert!(fleet.status().find(name).is_none(), "{name} was let in");
}

#[test]
fn a_machine_joins_by_hand_leaves_and_comes_back() {
    let fleet = Fleet::start();
    let (token, _) = token(&fleet, &[]);
    let mut guest = Guest::join(&fleet, "guest", &token);
    let first = guest.wait_joined(&fleet, "guest");
    assert_eq!(first.machine("guest").group, None);
    fleet.ask(&guest.socket(), &["leave", "--yes"]).ok();
    assert_eq!(guest.wait_ended(), Some(0), "{}", guest.log());
    fleet.wait_for("it has left", |status| match status.find("guest") {
        Some(machine) if machine.status != "left" => Err(machine.status.clone()),
        _ if status.members.down > 0 => Err(format!("{:?}", status.members)),
        _ => Ok(()),
    });

    // With what it still has on its disk it stays away, so that its supervisor does not undo what a person said.
    let log = Guest::join(&fleet, "guest", &token).wait_refused();
    assert!(log.contains("has left its mesh for good"), "{log}");
    fs::remove_dir_all(guest.dir()).expect("the directory is ours");
    let again = Guest::join(&fleet, "guest", &token);
    let second = again.wait_joined(&fleet, "guest");
    assert_ne!(
        second.machine("guest").machine_id,
        first.machine("guest").machine_id,
        "without its identity it is another machine"
    );
    assert!(
        fleet.events_of("replacing").is_empty(),
        "who leaves is not replaced"
    );
}

#[test]
fn wrong_tokens_are_refused_and_the_fleet_stays_as_it_is() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let (good, _) = token(&fleet, &[]);

    // A secret that is not the token's: the last letter is another one.
    let mut wrong = good.clone();
    let last = wrong.pop().expect("not empty");
    wrong.push(if last == 'a' { 'b' } else { 'a' });
    Guest::join(&fleet, "wrong", &wrong).wait_refused();

    let (revoked, id) = token(&fleet, &[]);
    fleet.ask_any(&["token", "revoke", &id]).ok();
    Guest::join(&fleet, "revoked", &revoked).wait_refused();

    let (expired, _) = token(&fleet, &["--ttl", "1s"]);
    std::thread::sleep(Duration::from_secs(2));
    Guest::join(&fleet, "expired", &expired).wait_refused();

    let rubbish = fleet.run(&["join", "127.0.0.1:1", "--token", "hunter2"]);
    assert_ne!(rubbish.code, Some(0), "{rubbish}");
    assert!(
        !rubbish.stderr.contains("hunter2"),
        "secrets are not repeated: {rubbish}"
    );
    for name in ["wrong", "revoked", "expired"] {
        expect_unknown(&fleet, name);
    }
    assert_eq!(fleet.wait_whole().identities(), before.identities());
}

#[test]
fn a_single_use_token_admits_one_machine() {
    let fleet = Fleet::start();
    let (token, _) = token(&fleet, &["--uses", "1"]);
    let first = Guest::join(&fleet, "first", &token);
    first.wait_joined(&fleet, "first");
    Guest::join(&fleet, "second", &token).wait_refused();
    expect_unknown(&fleet, "second");
}

#[test]
fn a_token_of_another_cluster_is_refused() {
    let fleet = Fleet::start();
    let other = Guest::found(&fleet, "lone");
    let foreign = wait::until("the other mesh makes a token", PATIENCE, || {
        let answer = fleet.ask(&other.socket(), &["token", "create", "--json"]);
        match answer.code {
            Some(0) => Ok(answer.json()["token"].as_str().expect("a token").to_owned()),
            _ => Err(format!("{answer}\n{}", other.log())),
        }
    });
    // The CA that the token pins is not this cluster's: the joiner itself turns away.
    let log = Guest::join(&fleet, "stray", &foreign).wait_refused();
    assert!(!log.contains("panicked"), "{log}");
    expect_unknown(&fleet, "stray");
}
