//! Who may join, and who may not.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use muster_tests::fleet::PATIENCE;
use muster_tests::{Fleet, wait};

/// A fleet-wide token, made with these further arguments.
#[track_caller]
fn token(fleet: &Fleet, arguments: &[&str]) -> (String, String) {
    let answer = fleet
        .ask_any(&[&["token", "create", "--json"], arguments].concat())
        .ok();
    let made = answer.json();
    let text = |key: &str| {
        made[key]
            .as_str()
            .unwrap_or_else(|| panic!("{key}: {answer}"))
            .to_owned()
    };
    (text("token"), text("id"))
}

/// A machine that tries to join by hand; ended when dropped.
struct Guest {
    child: Child,
    dir: PathBuf,
}

impl Guest {
    /// Tries to join with a token, and runs the agent if it may.
    #[track_caller]
    fn join(fleet: &Fleet, name: &str, address: &str, token: &str) -> Self {
        let seed = fleet
            .status()
            .machine("db-1")
            .address
            .clone()
            .expect("it has joined");
        Self::start(
            fleet,
            name,
            address,
            &["join", &seed, "--token", token, "--run"],
        )
    }

    /// Makes a mesh of its own.
    #[track_caller]
    fn found(fleet: &Fleet, name: &str, address: &str) -> Self {
        Self::start(
            fleet,
            name,
            address,
            &["init", "--cluster-name", "other", "--run"],
        )
    }

    #[track_caller]
    fn start(fleet: &Fleet, name: &str, address: &str, arguments: &[&str]) -> Self {
        let dir = fleet.scratch().join("guests").join(name);
        std::fs::create_dir_all(&dir).expect("the directory is ours");
        let log = std::fs::File::create(dir.join("agent.log")).expect("the directory is ours");
        let data = dir.display().to_string();
        let mut command = fleet.command(arguments);
        command.args(["--name", name, "--data-dir", &data, "--bind", address]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("muster runs");
        Self { child, dir }
    }

    fn socket(&self) -> String {
        self.dir.join("api.sock").display().to_string()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default()
    }

    /// Waits until it gives up, and says how.
    #[track_caller]
    fn wait_refused(mut self) -> String {
        let code = wait::until("it gives up", PATIENCE, || {
            let ended = self.child.try_wait().expect("it is our child");
            ended.ok_or_else(|| self.log())
        });
        assert_eq!(code.code(), Some(1), "{}", self.log());
        self.log()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn expect_unknown(fleet: &Fleet, name: &str) {
    assert!(fleet.status().find(name).is_none(), "{name} was let in");
}

#[test]
fn a_machine_joins_by_hand_and_leaves_again() {
    let fleet = Fleet::start();
    let (token, _) = token(&fleet, &[]);
    let guest = Guest::join(&fleet, "guest", "127.99.1.1:6878", &token);
    let status = fleet.wait_for("it has joined", |status| match status.find("guest") {
        Some(machine) if machine.status == "alive" => Ok(status.clone()),
        other => Err(format!("{other:?}\n{}", guest.log())),
    });
    assert_eq!(status.machine("guest").group, None);
    fleet.ask(&guest.socket(), &["leave", "--yes"]).ok();
    fleet.wait_for("it has left", |status| match status.find("guest") {
        Some(machine) if machine.status != "left" => Err(machine.status.clone()),
        _ if status.members.down > 0 => Err(format!("{:?}", status.members)),
        _ => Ok(()),
    });
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
    Guest::join(&fleet, "wrong", "127.99.1.2:6878", &wrong).wait_refused();

    let (revoked, id) = token(&fleet, &[]);
    fleet.ask_any(&["token", "revoke", &id]).ok();
    Guest::join(&fleet, "revoked", "127.99.1.3:6878", &revoked).wait_refused();

    let (expired, _) = token(&fleet, &["--ttl", "1s"]);
    std::thread::sleep(Duration::from_secs(2));
    Guest::join(&fleet, "expired", "127.99.1.4:6878", &expired).wait_refused();

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
    let first = Guest::join(&fleet, "first", "127.99.1.5:6878", &token);
    fleet.wait_for("the first has joined", |status| {
        match status.find("first") {
            Some(machine) if machine.status == "alive" => Ok(()),
            other => Err(format!("{other:?}\n{}", first.log())),
        }
    });
    Guest::join(&fleet, "second", "127.99.1.6:6878", &token).wait_refused();
    expect_unknown(&fleet, "second");
}

#[test]
fn a_token_of_another_cluster_is_refused() {
    let fleet = Fleet::start();
    let other = Guest::found(&fleet, "lone", "127.99.1.7:6878");
    let foreign = wait::until("the other mesh makes a token", PATIENCE, || {
        let answer = fleet.ask(&other.socket(), &["token", "create", "--json"]);
        match answer.code {
            Some(0) => Ok(answer.json()["token"].as_str().expect("a token").to_owned()),
            _ => Err(format!("{answer}\n{}", other.log())),
        }
    });
    // The CA that the token pins is not this cluster's: the joiner itself turns away.
    let log = Guest::join(&fleet, "stray", "127.99.1.8:6878", &foreign).wait_refused();
    assert!(!log.contains("panicked"), "{log}");
    expect_unknown(&fleet, "stray");
}
