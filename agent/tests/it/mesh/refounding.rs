//! Most coordinators are lost for good, and the rest of the mesh goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::machine::{Machine, PATIENCE, now, row, until};

/// A mesh of so many machines with three coordinators.
fn mesh(count: usize) -> Vec<Machine> {
    mesh_of(count, 3, &[])
}

/// A mesh of so many machines and coordinators.
fn mesh_of(count: usize, seats: usize, flags: &[&str]) -> Vec<Machine> {
    let founder = Machine::founder(flags);
    let (token, seed) = (
        founder.token(&["--uses", "100"]),
        founder.addr().to_string(),
    );
    let mut machines = vec![founder];
    for number in 2..=count {
        let mut machine = Machine::new(&format!("m{number}"), flags);
        machine.start(&["join", &seed, "--token", &token, "--run"]);
        machines.push(machine);
    }
    for machine in &machines {
        machine.wait_for("all are there and enough coordinate", |status| {
            let alive = status["members"]["alive"].as_u64();
            let enough = alive == Some(count as u64) && coordinators(status).len() == seats;
            enough.then_some(()).ok_or_else(|| status.to_string())
        });
    }
    machines
}

fn coordinators(status: &Value) -> BTreeSet<String> {
    let names = status["coordinators"].as_array().expect("names");
    names
        .iter()
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect()
}

fn kill(machines: &mut [Machine], names: &BTreeSet<String>) {
    for machine in machines {
        if names.contains(&name(machine)) {
            machine.kill();
        }
    }
}

fn name(machine: &Machine) -> String {
    machine.name().to_owned()
}

/// Waits until a machine follows others than those that were lost, and has what was committed after that.
#[track_caller]
fn wait_follows(machine: &Machine, lost: &BTreeSet<String>) {
    machine.wait_for("it follows the new log", |status| {
        let leader = status["leader"].as_str();
        let good = status["quorum"] == true && leader.is_some_and(|leader| !lost.contains(leader));
        good.then_some(()).ok_or_else(|| status.to_string())
    });
    let tokens = machine.ask(&["token", "list", "--json"]).with(0).stdout;
    assert!(tokens.contains("after"), "{tokens}");
}

#[test]
fn two_of_three_coordinators_are_lost_and_the_mesh_finds_new_ones_by_itself() {
    let mut machines = mesh(10);
    let before = machines[9].status().expect("it answers");
    let leader = before["leader"].as_str().expect("there is one").to_owned();
    let old = coordinators(&before);
    // The leader and one more; what was just committed must not be lost with them.
    let mut lost: BTreeSet<String> = old
        .iter()
        .filter(|name| **name != leader)
        .take(1)
        .cloned()
        .collect();
    lost.insert(leader);
    let kept = machines[9]
        .ask(&["token", "create", "--note", "kept", "--json"])
        .with(0)
        .json();
    kill(&mut machines, &lost);
    let killed = now();
    let (dead, living): (Vec<_>, Vec<_>) = machines
        .into_iter()
        .partition(|machine| lost.contains(&name(machine)));
    for machine in &living {
        machine.wait_for("there are three coordinators that live", |status| {
            let now = coordinators(status);
            let good = status["quorum"] == true
                && now.len() == 3
                && now.is_disjoint(&lost.iter().cloned().collect());
            good.then_some(()).ok_or_else(|| status.to_string())
        });
    }
    let took = killed.elapsed();
    println!("a new set of coordinators after {took:?}");
    let tokens = living[0].ask(&["token", "list", "--json"]).with(0).stdout;
    assert!(
        tokens.contains(kept["id"].as_str().expect("an ID")),
        "{tokens}"
    );
    living[0]
        .ask(&["token", "create", "--note", "after"])
        .with(0);

    // The old ones come back together, a majority of the old log: they follow, and never act.
    let mut dead = dead;
    for machine in &mut dead {
        machine.start(&["agent"]);
    }
    for machine in &dead {
        machine.wait_for("it follows the new ones", |status| {
            let now = coordinators(status);
            let leads = status["leader"]
                .as_str()
                .is_some_and(|leader| !lost.contains(leader));
            let good = status["quorum"] == true && leads && now.len() == 3;
            good.then_some(()).ok_or_else(|| status.to_string())
        });
        let tokens = machine.ask(&["token", "list", "--json"]).with(0).stdout;
        assert!(tokens.contains("after"), "{tokens}");
    }
    for machine in living.iter().chain(&dead) {
        assert!(!machine.log().contains("panicked"), "{}", machine.log());
    }
}

#[test]
fn without_most_of_the_roster_nothing_is_founded() {
    let mut machines = mesh(5);
    let before = machines[0].status().expect("it answers");
    let old = coordinators(&before);
    // Two coordinators and one more: two of five are left.
    let mut lost: BTreeSet<String> = old.iter().take(2).cloned().collect();
    let other = machines.iter().map(name).find(|name| !old.contains(name));
    lost.extend(other);
    kill(&mut machines, &lost);
    let survivor = machines
        .iter()
        .find(|machine| old.contains(&name(machine)) && !lost.contains(&name(machine)))
        .expect("one coordinator is left");
    until("it says why it holds", PATIENCE, || {
        let log = survivor.log();
        log.contains("the fleet holds").then_some(()).ok_or(log)
    });
    // Several more attempts.
    std::thread::sleep(Duration::from_secs(15));
    let status = survivor.status().expect("it answers");
    assert_eq!(status["quorum"], false, "{status}");
    assert_eq!(coordinators(&status), old, "{status}");
    assert_eq!(row(&status, "m1")["name"], "m1");
    // One comes back: three of five agree, and there is one coordinator of three, or two of them and all is as it was.
    let back = machines
        .iter_mut()
        .find(|machine| lost.contains(&name(machine)));
    back.expect("lost").start(&["agent"]);
    let survivor = machines
        .iter()
        .find(|machine| old.contains(&name(machine)) && !lost.contains(&name(machine)))
        .expect("one coordinator is left");
    survivor.wait_for("the fleet has a leader again", |status| {
        let good = status["quorum"] == true;
        good.then_some(()).ok_or_else(|| status.to_string())
    });
}

#[test]
fn an_operator_has_two_of_five_go_on_and_the_others_stand_down_when_they_are_back() {
    let mut machines = mesh(5);
    let before = machines[0].status().expect("it answers");
    let old = coordinators(&before);
    let mut lost: BTreeSet<String> = old.iter().take(2).cloned().collect();
    lost.extend(machines.iter().map(name).find(|name| !old.contains(name)));
    kill(&mut machines, &lost);
    let (mut dead, living): (Vec<_>, Vec<_>) = machines
        .into_iter()
        .partition(|machine| lost.contains(&name(machine)));
    let (founder, other): (Vec<_>, Vec<_>) = living
        .iter()
        .partition(|machine| old.contains(&name(machine)));
    let (founder, other) = (founder[0], other[0]);
    // The hold names what an operator may do, and only a machine with the key takes it.
    founder.wait_for("the hold names the way out", |status| {
        let named = status.to_string().contains("muster recover");
        named.then_some(()).ok_or_else(|| status.to_string())
    });
    let order = ["recover", "--yes", "muster", "--they-are-off"];
    let elsewhere = other.ask(&order).with(1).stderr;
    assert!(
        elsewhere.contains(&format!("run it on {}", name(founder))),
        "{elsewhere}"
    );
    let found = founder
        .ask(&["recover", "--dry-run", "--json"])
        .with(0)
        .json();
    assert_eq!(found["obstacle"], Value::Null, "{found}");
    assert_eq!(
        found["survivors"].as_array().map(Vec::len),
        Some(2),
        "{found}"
    );
    assert_eq!(found["absent"].as_array().map(Vec::len), Some(3), "{found}");
    // They were there a moment ago, and that is said.
    let doubted = founder.ask(&["recover", "--yes", "muster"]).with(1).stderr;
    assert!(doubted.contains("--they-are-off"), "{doubted}");
    founder
        .ask(&["recover", "--yes", "other", "--they-are-off"])
        .with(1);
    founder.ask(&["recover"]).with(2);
    assert_eq!(founder.status().expect("it answers")["quorum"], false);

    let done = founder.ask(&order).with(0).stdout;
    println!("{done}");
    founder.wait_for("it leads two machines", |status| {
        let good = status["quorum"] == true && status["leader"] == name(founder);
        good.then_some(()).ok_or_else(|| status.to_string())
    });
    founder.ask(&["token", "create", "--note", "after"]).with(0);
    let needless = founder.ask(&order).with(1).stderr;
    assert!(
        needless.contains("most coordinators are there"),
        "{needless}"
    );

    // Two coordinators of three and three machines of five: enough for the old log, and yet they follow the new one.
    dead.iter_mut()
        .for_each(|machine| machine.start(&["agent"]));
    for machine in dead.iter().chain([other]) {
        wait_follows(machine, &lost);
    }
    until("they count again", PATIENCE, || {
        let events = founder.ask(&["events", "--json"]).with(0).stdout;
        let count = |kind: &str| events.matches(&format!("\"kind\":\"{kind}\"")).count();
        let good = (count("unaccounted"), count("accounted")) == (3, 3);
        good.then_some(()).ok_or(events)
    });
    for machine in living.iter().chain(&dead) {
        assert!(!machine.log().contains("panicked"), "{}", machine.log());
    }
}

#[test]
fn three_of_five_coordinators_are_lost_and_five_others_take_over() {
    let mut machines = mesh_of(10, 5, &["--coordinators", "5"]);
    let before = machines[9].status().expect("it answers");
    let leader = before["leader"].as_str().expect("there is one").to_owned();
    let old = coordinators(&before);
    let others = old.iter().filter(|name| **name != leader).take(2).cloned();
    let lost: BTreeSet<String> = others.chain([leader.clone()]).collect();
    kill(&mut machines, &lost);
    let killed = now();
    let (mut dead, living): (Vec<_>, Vec<_>) = machines
        .into_iter()
        .partition(|machine| lost.contains(&name(machine)));
    let decides = |status: &Value| {
        let good = status["quorum"] == true && coordinators(status).is_disjoint(&lost);
        good.then_some(()).ok_or_else(|| status.to_string())
    };
    living[0].wait_for("the fleet can decide again", decides);
    println!("decides again after {:?}", killed.elapsed());
    for machine in &living {
        machine.wait_for("there are five coordinators that live", |status| {
            decides(status)?;
            let five = coordinators(status).len() == 5;
            five.then_some(()).ok_or_else(|| status.to_string())
        });
    }
    println!("five coordinators after {:?}", killed.elapsed());
    living[0]
        .ask(&["token", "create", "--note", "after"])
        .with(0);
    // The old ones, together most of the old log, follow.
    dead.iter_mut()
        .for_each(|machine| machine.start(&["agent"]));
    dead.iter().for_each(|machine| wait_follows(machine, &lost));
    for machine in living.iter().chain(&dead) {
        assert!(!machine.log().contains("panicked"), "{}", machine.log());
    }
}
