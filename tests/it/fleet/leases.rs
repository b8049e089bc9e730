//! A pet that runs under a lease is stopped in time, whatever happens to its agent or to the whole machine; so its
//! successor can be started although nobody can prove that it is off.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use muster_tests::fleet::PATIENCE;
use muster_tests::process::all_of;
use muster_tests::{Fleet, MachineRow, Options, wait};
use rustix::process::Signal;

use super::leader;

/// How long the machine stands still: longer than its lease, and than replacing it takes.
const STILL: Duration = Duration::from_secs(60);

/// A pet whose workload writes, as fast as it can, which instance it runs on and when, by the clock since the boot. Its
/// provisioner plays one that has lost sight of its host.
fn start(scratch: &tempfile::TempDir, unreachable_after: &str) -> Fleet {
    let (proof, stops) = (scratch.path().join("proof"), scratch.path().join("stops"));
    let spec = format!(
        r#"
[[group]]
id = "web"
size = 8

[[group]]
id = "db"
members = [{{ id = "db-1", attachments = [] }}]
heal = {{ lease = "10s", stop_within = "3s", unreachable_after = "{unreachable_after}", boot_grace = "6s", change_grace = "1s" }}
instance = {{ properties = {{ out_of_reach = true, env = {{ PROOF = "{}", STOPS = "{}" }} }} }}

[group.flavor.properties]
start = 'while :; do read up rest < /proc/uptime; echo "$MUSTER_LEASE $up" >> "$PROOF"; sleep 0.02; done'
stop = {{ command = 'echo stop >> "$STOPS"' }}
"#,
        proof.display(),
        stops.display()
    );
    Fleet::start_with(Options {
        spec: Some(spec),
        ..Options::default()
    })
}

/// What was written: by which instance, and when in seconds since the boot.
fn written(scratch: &tempfile::TempDir) -> Vec<(PathBuf, f64)> {
    let text = fs::read_to_string(scratch.path().join("proof")).unwrap_or_default();
    let line = |line: &str| {
        let (who, when) = line.split_once(' ')?;
        Some((PathBuf::from(who), when.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Waits until the instance in `dir` writes, and returns how much has been written then.
#[track_caller]
fn wait_writes(scratch: &tempfile::TempDir, dir: &PathBuf, more_than: usize) -> usize {
    wait::until("its workload writes", PATIENCE, || {
        let lines = written(scratch);
        match lines.last() {
            Some((who, _)) if who.starts_with(dir) && lines.len() > more_than => Ok(lines.len()),
            last => Err(format!("{} lines, the last {last:?}", lines.len())),
        }
    })
}

/// Sends a signal to every process of a machine; twice, because some may have been made meanwhile.
fn signal_all(machine: &MachineRow, signal: Signal) {
    for _ in 0..2 {
        for process in all_of(&machine.dir()) {
            process.signal(signal);
        }
    }
}

#[test]
fn a_machine_that_was_frozen_as_a_whole_writes_nothing_after_its_successor_began() {
    let scratch = tempfile::tempdir().expect("made");
    let fleet = start(&scratch, "6s");
    let before = fleet.wait_whole();
    let frozen = before.machine("db-1").clone();
    wait_writes(&scratch, &frozen.dir(), 0);
    signal_all(&frozen, Signal::STOP);
    let since = wait::now();
    // Whoever leads next knows nothing of the leases that were given out.
    let led = leader(&before);
    if led.name != frozen.name {
        fleet.kill(&led);
    }
    let successor = fleet.wait_for("its successor is there", |status| {
        let there = status
            .find("db-1")
            .filter(|row| row.machine_id != frozen.machine_id);
        there
            .filter(|row| row.instance.is_some())
            .cloned()
            .ok_or_else(|| format!("{:#?}", status.groups))
    });
    wait_writes(&scratch, &successor.dir(), 0);
    while since.elapsed() < STILL {
        thread::sleep(Duration::from_millis(200));
    }
    signal_all(&frozen, Signal::CONT);
    let lines = wait_writes(&scratch, &successor.dir(), written(&scratch).len() + 200);
    let proof = written(&scratch);
    assert!(lines <= proof.len());
    let began = proof
        .iter()
        .position(|(who, _)| who.starts_with(successor.dir()));
    let (old, new) = proof.split_at(began.expect("it writes"));
    let late = new
        .iter()
        .find(|(who, _)| !who.starts_with(successor.dir()));
    assert_eq!(late, None, "written by the thawed machine");
    let (_, last) = old.last().expect("it wrote before");
    let (_, first) = new.first().expect("it writes");
    assert!(last < first, "{last} and {first}");
    println!(
        "the successor began {:.1} s after the last word",
        first - last
    );
    // The thawed machine answers, too, and knows of none of it.
    let fenced = wait::until("what became of it is on record", PATIENCE, || {
        let (fenced, kept) = (fleet.events_of("fenced"), fleet.events_of("kept"));
        let told = (fenced.len(), kept.len()) == (1, 1);
        told.then_some(fenced).ok_or_else(|| format!("{kept:#?}"))
    });
    assert!(fenced[0].to_string().contains("its lease"), "{fenced:#?}");
}

#[test]
fn an_agent_that_hangs_has_its_workload_stopped_and_gets_it_back() {
    let scratch = tempfile::tempdir().expect("made");
    let fleet = start(&scratch, "10m");
    let before = fleet.wait_whole();
    let pet = before.machine("db-1").clone();
    wait_writes(&scratch, &pet.dir(), 0);
    let agent = fleet.process(&pet).expect("it runs");
    agent.signal(Signal::STOP);
    let stops = scratch.path().join("stops");
    let said = || {
        fs::read_to_string(&stops)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let before_it_hung = said();
    wait::until("its workload is stopped", PATIENCE, || {
        (said() > before_it_hung)
            .then_some(())
            .ok_or("not yet".to_owned())
    });
    wait::until("nothing is written any more", PATIENCE, || {
        let one = written(&scratch).len();
        thread::sleep(Duration::from_millis(500));
        let two = written(&scratch).len();
        (one == two)
            .then_some(())
            .ok_or(format!("{one} and {two} lines"))
    });
    let lines = written(&scratch).len();
    agent.signal(Signal::CONT);
    wait_writes(&scratch, &pet.dir(), lines);
    let after = fleet.wait_whole();
    assert_eq!(after.machine("db-1").machine_id, pet.machine_id);
}
