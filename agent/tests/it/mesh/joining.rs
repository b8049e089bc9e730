//! How a machine gets in, and what it says while it does not.

use std::net::UdpSocket;
use std::time::Duration;

use rustix::process::Signal;

use super::machine::{Machine, free_port, row, until};

#[test]
fn a_machine_that_dies_between_its_admission_and_its_identity_does_not_burn_its_token() {
    let founder = Machine::founder(&[]);
    let token = founder.token(&["--uses", "1"]);
    let machine = Machine::new("m2", &[]);
    // Nobody listens there: the machine has asked, and has no answer.
    let nowhere = free_port().to_string();
    machine
        .run(&["join", &nowhere, "--token", &token, "--timeout", "1s"])
        .with(1);
    let key =
        std::fs::read(machine.data().join("joining")).expect("stored before the first question");

    let seed = founder.addr().to_string();
    let join = [
        "join",
        &seed,
        "--token",
        &token,
        "--json",
        "--timeout",
        "60s",
    ];
    let first = machine.run(&join).with(0).json();
    // As a crash after the admission leaves it: the key, and nothing that came with the answer.
    for file in ["identity", "peers"] {
        std::fs::remove_file(machine.data().join(file)).expect("it is there");
    }
    assert!(
        !machine.data().join("joining").exists(),
        "a key with an identity waits no more"
    );
    std::fs::write(machine.data().join("joining"), &key).expect("writable");
    let again = machine.run(&join).with(0).json();
    assert_eq!(first["machine"], again["machine"]);

    let other = Machine::new("m3", &[]);
    let refused = other.run(&join).with(1);
    assert!(refused.stderr.contains("used up"), "{refused:#?}");
}

#[test]
fn a_closed_port_is_said_at_once_and_once_more_when_the_time_is_over() {
    let founder = Machine::founder(&[]);
    let token = founder.token(&[]);
    let machine = Machine::new("m2", &[]);
    let nowhere = free_port().to_string();
    let gave_up = machine
        .run(&["join", &nowhere, "--token", &token, "--timeout", "2s"])
        .with(1);
    let lines: Vec<_> = gave_up.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "the same reason is not news: {gave_up:#?}");
    for line in &lines {
        assert!(
            line.contains(&nowhere) && line.contains("port closed"),
            "{gave_up:#?}"
        );
    }
    let last = lines.last().expect("a line");
    assert_eq!(last.matches("could not join").count(), 1, "{last}");

    // One that answers nothing: the time that was given is all that is used.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("bound").to_string();
    let gave_up = machine
        .run(&["join", &silent, "--token", &token, "--timeout", "1s"])
        .with(1);
    assert!(gave_up.stderr.contains("in time"), "{gave_up:#?}");
}

#[test]
fn an_agent_that_belongs_nowhere_says_what_to_do() {
    let machine = Machine::new("m1", &[]);
    let ended = machine.run(&["agent"]).with(64);
    for said in ["no identity", "muster init", "muster join"] {
        assert!(ended.stderr.contains(said), "{said}: {ended:#?}");
    }
}

#[test]
fn an_agent_that_waits_to_be_let_in_stops_when_it_is_told_to() {
    let founder = Machine::founder(&[]);
    let token = founder.token(&[]);
    for signal in [Signal::TERM, Signal::INT] {
        let nowhere = free_port().to_string();
        let mut machine = Machine::new("m2", &["--seeds", &nowhere, "--join-token", &token]);
        machine.start(&["agent"]);
        until("it asks", super::machine::PATIENCE, || {
            let log = machine.log();
            log.contains("asking again").then_some(()).ok_or(log)
        });
        machine.signal(signal);
        assert_eq!(machine.wait_ended().code(), Some(0), "{}", machine.log());
    }
}

#[test]
fn a_machine_that_is_restarted_elsewhere_is_known_to_be_there() {
    let founder = Machine::founder(&[]);
    let mut machine = Machine::joined("m2", &founder, &[]);
    machine.kill();
    machine.move_away();
    machine.start(&["agent"]);
    let moved = machine.addr().to_string();
    founder.wait_for("it is known to have moved", |status| {
        let row = row(status, "m2");
        if row["address"] == moved.as_str() {
            Ok(())
        } else {
            Err(row.to_string())
        }
    });
    until("the roster has it", Duration::from_secs(60), || {
        let events = founder.ask(&["events", "--json"]).stdout;
        let recorded = events.contains("\"moved\"") && events.contains(&moved);
        recorded.then_some(()).ok_or(events)
    });
}
