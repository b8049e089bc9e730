//! Meshes in trouble.

mod faults;
mod histories;
mod speed;
mod traps;

use std::time::Duration;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A mesh of which all members know all others.
fn mesh(seed: u64, machines: usize) -> Simulation {
    mesh_of(Setup::new(seed, machines))
}

fn mesh_of(setup: Setup) -> Simulation {
    let mut simulation = Simulation::new(setup);
    simulation.start_all();
    settle(&mut simulation, 30 * SECOND);
    simulation
}

/// Waits until all agree again.
fn settle(simulation: &mut Simulation, limit: Duration) {
    let agreed = simulation.run_until(limit, Simulation::agrees);
    let seed = simulation.setup.seed;
    assert!(
        agreed,
        "seed {seed}, after {limit:?}: {:?}",
        simulation.disagreement()
    );
    assert_eq!(simulation.findings().violations, [], "seed {seed}");
}

/// How long each survivor takes to know that `victim` is dead, counted from now; in order.
fn detection(simulation: &mut Simulation, victim: usize) -> Vec<Duration> {
    let (start, machine) = (simulation.now(), simulation.machine(victim));
    let seen = simulation.findings().deaths.len();
    let known = simulation.run_until(60 * SECOND, |mesh| {
        mesh.running()
            .all(|node| !mesh.status(node, victim).is_some_and(Status::is_active))
    });
    assert!(known, "not everybody knows");
    let deaths = simulation.findings().deaths[seen..].iter();
    let of_victim = deaths.filter(|death| death.machine == machine);
    let mut times: Vec<Duration> = of_victim.map(|death| death.at - start).collect();
    times.sort_unstable();
    times
}

/// Members' statistics summed up by `pick`.
fn sum(simulation: &Simulation, pick: impl Fn(&membership::Stats) -> u64) -> u64 {
    let all = simulation
        .running()
        .filter_map(|node| simulation.membership(node));
    all.map(|membership| pick(&membership.stats())).sum()
}
