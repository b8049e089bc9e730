//! Certificates over time: renewed, run out, and revoked.

use rustix::process::Signal;

use super::machine::{Machine, PATIENCE, row, until};

const SHORT: &[&str] = &["--certificate-lifetime", "10s"];

fn renewals(machine: &Machine) -> usize {
    machine.log().matches("has a new certificate").count()
}

#[test]
fn certificates_are_renewed_and_one_that_ran_out_is_replaced_while_the_agent_runs() {
    let founder = Machine::founder(SHORT);
    let machine = Machine::joined("m2", &founder, SHORT);
    until("both are renewed, twice", PATIENCE, || {
        let counts = [renewals(&founder), renewals(&machine)];
        let enough = counts.iter().all(|count| *count >= 2);
        enough
            .then_some(())
            .ok_or_else(|| format!("{counts:?}\n{}", machine.log()))
    });

    // The only coordinator is away for longer than certificates live: then both have run out.
    founder.signal(Signal::STOP);
    until("the certificate runs out", PATIENCE, || {
        let log = machine.log();
        log.contains("expired=true").then_some(()).ok_or(log)
    });
    let before = renewals(&machine);
    founder.signal(Signal::CONT);
    until("it has a new one", PATIENCE, || {
        (renewals(&machine) > before)
            .then_some(())
            .ok_or_else(|| machine.log())
    });
    founder.wait_alive("m2");
    machine.wait_alive("m1");
    assert!(!machine.log().contains("panicked"));
}

#[test]
fn a_revoked_machine_stays_outside() {
    let founder = Machine::founder(&[]);
    let mut machine = Machine::joined("m2", &founder, &[]);
    founder.ask(&["revoke", "m2"]).with(0);
    let gone = |status: &serde_json::Value| match row(status, "m2")["status"].as_str() {
        Some("alive" | "suspect") => Err(row(status, "m2").to_string()),
        _ => Ok(()),
    };
    founder.wait_for("it is shut out", gone);
    machine.kill();
    machine.start(&["agent"]);
    until("it has tried to come back", PATIENCE, || {
        // Of the fleet it may know nothing any more; that it answers at all is enough.
        let answered = machine.ask(&["status", "--json"]).code != Some(3);
        answered.then_some(()).ok_or_else(|| machine.log())
    });
    founder.wait_for("it is still shut out", gone);
}
