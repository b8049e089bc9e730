//! How long a pet is without a running copy where nobody can prove the old one off: its machine freezes as a whole, and its
//! provisioner has lost sight of it. Measured with and without the leader's death at the same moment.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::figures::Figures;
use crate::fleet::{Fleet, Options, PATIENCE};
use crate::process::{all_of, kill_all_of};
use crate::status::{MachineRow, Status};
use crate::wait::{now, pause, until};

/// As long as a fleet must have stood for its next leader to know that only the old one failed, and a pet for its boot to
/// explain nothing.
const CALM: Duration = Duration::from_secs(40);

/// How often it is looked whether the successor writes; the result is late by half of that on average.
const PAUSE: Duration = Duration::from_millis(50);

/// A lease as the documents recommend it, and a workload that writes which instance it runs on as fast as it can.
fn spec(size: u32, proof: &Path) -> String {
    format!(
        r#"
[[group]]
id = "web"
size = {}

[[group]]
id = "db"
members = [{{ id = "db-1", attachments = [] }}]
heal = {{ lease = "12s", stop_within = "3s", boot_grace = "10s", change_grace = "1s" }}
instance = {{ properties = {{ out_of_reach = true, env = {{ PROOF = "{}" }} }} }}

[group.flavor.properties]
start = 'while :; do echo "$MUSTER_LEASE" >> "$PROOF"; sleep 0.02; done'
stop = {{ command = 'true' }}
"#,
        size.saturating_sub(1),
        proof.display()
    )
}

/// Measures a fleet of `size`, `runs` times, each time anew: a pet that dies a third time within an hour is left to people.
pub fn measure(size: u32, runs: u32, figures: &mut Figures) {
    for round in 0..runs {
        eprintln!("muster: pet, {} of {runs}", round + 1);
        let scratch = tempfile::tempdir().expect("the temporary directory is writable");
        let proof = scratch.path().join("proof");
        let fleet = Fleet::start_with(Options {
            spec: Some(spec(size, &proof)),
            alone: true,
            ..Options::default()
        });
        once(&fleet, &proof, figures, false);
        once(&fleet, &proof, figures, true);
    }
}

fn once(fleet: &Fleet, proof: &Path, figures: &mut Figures, with_leader: bool) {
    let before = fleet.wait_whole();
    let pet = before.machine("db-1").clone();
    wait_writes(proof, |who| who.starts_with(pet.dir()));
    pause(CALM);
    let leader = before.leader.as_deref().map(|name| before.machine(name));
    let pet_leads = leader.is_some_and(|leader| leader.name == pet.name);
    let since = now();
    freeze(&pet);
    if let Some(leader) = leader.filter(|_| with_leader && !pet_leads) {
        fleet.kill(leader);
    }
    let name = match with_leader || pet_leads {
        true => "pet_leader_start_s",
        false => "pet_start_s",
    };
    wait_writes(proof, |who| !who.starts_with(pet.dir()));
    figures.add(name, elapsed(since));
    kill_all_of(&pet.dir());
    wait_without(fleet, &pet);
    // The next one tells old lines from new ones by their instance.
    fs::write(proof, "").expect("it is ours");
}

fn elapsed(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// Stops every process of a machine; twice, because some may have been made meanwhile.
fn freeze(machine: &MachineRow) {
    for _ in 0..2 {
        for process in all_of(&machine.dir()) {
            process.signal(Signal::STOP);
        }
    }
}

fn wait_writes(proof: &Path, is_it: impl Fn(&PathBuf) -> bool) {
    let start = now();
    loop {
        let text = fs::read_to_string(proof).unwrap_or_default();
        if text
            .lines()
            .last()
            .map(PathBuf::from)
            .is_some_and(|who| is_it(&who))
        {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "nothing writes: {text:.200}");
        pause(PAUSE);
    }
}

fn wait_without(fleet: &Fleet, old: &MachineRow) -> Status {
    until("the pet is replaced, and all is well", PATIENCE, || {
        let node = fleet.any_node();
        let status = fleet.status_of(&node)?;
        let old = status
            .machines
            .iter()
            .any(|row| row.machine_id == old.machine_id);
        if old {
            return Err("the old one is still on the roster".to_owned());
        }
        status.whole().map(|()| status.clone())
    })
}
