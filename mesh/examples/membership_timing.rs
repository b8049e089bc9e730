//! How fast deaths are noticed, how often wrongly, and what it costs, from the shipped cores in virtual time.
//!
//! `cargo run -p muster-mesh --example membership_timing [-- MACHINES... [--loss PERCENT...] [--deaths N]]` prints one
//! line for each number of machines and loss. `docs/timing.md` has the figures and what they mean.

use std::time::Duration;

use muster_mesh::membership::Status;
use muster_mesh::records::Vitals;
use muster_mesh::simulator::{Setup, Simulation, Traffic};

/// Between two deaths, so that the mesh is calm again.
const REST: Duration = Duration::from_secs(20);
/// Watched without any fault but loss.
const CALM: Duration = Duration::from_secs(300);

fn main() {
    let arguments = Arguments::parse(std::env::args().skip(1));
    println!(
        "Times in s: median, 99th percentile, maximum. B/s and datagrams/s sent by each machine."
    );
    println!("machines loss | kill -9: first, all know | power off: all know");
    println!("  | calm: wrong suspicions, wrong deaths, B/s, dg/s");
    println!("  | all change every 5 s: B/s, dg/s, all know | one changes: all know");
    for &machines in &arguments.machines {
        for &loss in &arguments.loss {
            line(machines, f64::from(loss) / 100.0, arguments.deaths);
        }
    }
}

struct Arguments {
    machines: Vec<usize>,
    loss: Vec<u32>,
    deaths: usize,
}

impl Arguments {
    fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let mut parsed = Self {
            machines: Vec::new(),
            loss: Vec::new(),
            deaths: 20,
        };
        let mut option = String::new();
        for argument in arguments {
            let Ok(number) = argument.parse::<u32>() else {
                option = argument;
                continue;
            };
            match option.as_str() {
                "--loss" => parsed.loss.push(number),
                "--deaths" => parsed.deaths = number as usize,
                _ => parsed.machines.push(number as usize),
            }
        }
        if parsed.machines.is_empty() {
            parsed.machines = vec![10, 50, 200];
        }
        if parsed.loss.is_empty() {
            parsed.loss = vec![0, 10, 25];
        }
        parsed
    }
}

fn line(machines: usize, loss: f64, deaths: usize) {
    let mut mesh = Simulation::new(Setup::new(machines as u64, machines));
    mesh.start_all();
    assert!(
        mesh.run_until(Duration::from_secs(60), Simulation::agrees),
        "the mesh forms"
    );
    mesh.network().loss = loss;
    mesh.run_for(Duration::from_secs(60));

    let (suspicions, wrong) = (
        mesh.findings().wrong_suspicions,
        mesh.findings().wrong_deaths().count(),
    );
    let before = total(&mesh, machines);
    mesh.run_for(CALM);
    let calm = rate(total(&mesh, machines), before, machines, CALM);
    let suspicions = mesh.findings().wrong_suspicions - suspicions;
    let wrong = mesh.findings().wrong_deaths().count() - wrong;

    let (vitals, mut busy, mut single) = vitals(&mut mesh, machines);

    let (mut first, mut all, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    for death in 0..deaths {
        let victim = death * 7 % machines;
        let times = detect(&mut mesh, victim, Simulation::kill);
        first.extend(times.first());
        all.extend(times.last());
        let victim = (death * 7 + 3) % machines;
        silent.extend(detect(&mut mesh, victim, Simulation::power_off).last());
    }
    println!(
        "{machines:>5} {:>3.0}% | {} / {} | {} | {suspicions} {wrong} {:.0} B/s {:.1} dg/s | {:.0} B/s {:.1} dg/s, {} | {}",
        loss * 100.0,
        percentiles(&mut first),
        percentiles(&mut all),
        percentiles(&mut silent),
        calm.0,
        calm.1,
        vitals.0,
        vitals.1,
        percentiles(&mut busy),
        percentiles(&mut single),
    );
}

/// Lets a machine die, and start again once all know. When each survivor knew.
fn detect(
    mesh: &mut Simulation,
    victim: usize,
    die: impl Fn(&mut Simulation, usize),
) -> Vec<Duration> {
    let (start, machine, seen) = (
        mesh.now(),
        mesh.machine(victim),
        mesh.findings().deaths.len(),
    );
    die(mesh, victim);
    mesh.run_until(Duration::from_secs(120), |mesh| {
        mesh.running()
            .all(|node| !mesh.status(node, victim).is_some_and(Status::is_active))
    });
    let deaths = mesh.findings().deaths[seen..].iter();
    let mut times: Vec<Duration> = deaths
        .filter(|death| death.machine == machine)
        .map(|death| death.at - start)
        .collect();
    times.sort_unstable();
    mesh.start(victim);
    mesh.run_until(Duration::from_secs(60), Simulation::agrees);
    mesh.run_for(REST);
    times
}

/// Every machine's health changes every 5 s: what it costs, and how long the slowest machine takes to hear of a change
/// of one of them; and the same for a single change in a calm mesh.
fn vitals(mesh: &mut Simulation, machines: usize) -> ((f64, f64), Vec<Duration>, Vec<Duration>) {
    let rounds = 20_u64;
    let before = total(mesh, machines);
    let mut busy = Vec::new();
    for round in 0..rounds {
        let vitals = Vitals {
            level: (round % 2) as u8,
            reasons: round,
            figures: [Some(round as i32); 8],
        };
        let (start, mut known) = (mesh.now(), None);
        for node in 0..machines {
            mesh.set_vitals(node, vitals);
            let until = start + Duration::from_secs(5) * (node as u32 + 1) / machines as u32;
            while mesh.now() < until {
                mesh.run_for(Duration::from_millis(50).min(until - mesh.now()));
                if known.is_none() && all_know(mesh, 0, vitals) {
                    known = Some(mesh.now() - start);
                }
            }
        }
        busy.push(known.unwrap_or(Duration::from_secs(5)));
    }
    let spent = Duration::from_secs(5 * rounds);
    let rate = rate(total(mesh, machines), before, machines, spent);
    let mut calm = Vec::new();
    for change in 0..20 {
        mesh.run_for(REST);
        let (start, vitals) = (
            mesh.now(),
            Vitals {
                level: 9,
                reasons: change,
                ..Vitals::default()
            },
        );
        mesh.set_vitals(1, vitals);
        mesh.run_until(Duration::from_secs(60), |mesh| all_know(mesh, 1, vitals));
        calm.push(mesh.now() - start);
    }
    (rate, busy, calm)
}

fn all_know(mesh: &Simulation, node: usize, vitals: Vitals) -> bool {
    let machine = mesh.machine(node);
    let mut records = mesh
        .running()
        .filter_map(|node| mesh.records(node)?.get(machine));
    records.all(|record| record.vitals == Some(vitals))
}

fn total(mesh: &Simulation, machines: usize) -> Vec<Traffic> {
    (0..machines).map(|node| mesh.traffic(node)).collect()
}

/// Bytes on the wire and datagrams per second and machine.
fn rate(after: Vec<Traffic>, before: Vec<Traffic>, machines: usize, spent: Duration) -> (f64, f64) {
    let (mut bytes, mut datagrams) = (0, 0);
    for (after, before) in after.into_iter().zip(before) {
        let traffic = after.since(before);
        bytes += traffic.wire_bytes();
        datagrams += traffic.datagrams;
    }
    let each = machines as f64 * spent.as_secs_f64();
    (bytes as f64 / each, datagrams as f64 / each)
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len().max(1) - 1) as f64 * share).round() as usize;
        times.get(index).map_or(f64::NAN, Duration::as_secs_f64)
    };
    format!("{:.1} {:.1} {:.1}", at(0.5), at(0.99), at(1.0))
}
