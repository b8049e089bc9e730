//! Random histories. `MUSTER_SIM_SEED` and `MUSTER_SIM_RUNS` play others than the fixed ones.

use super::*;

#[test]
fn small_histories_end_well() {
    play(12, 40, 25);
}

#[test]
fn histories_of_up_to_fifty_machines_end_well() {
    play(50, 30, 3);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let play = |seed| {
        let history = History::random(seed, 12, 30);
        history
            .play(membership::Config::default())
            .expect("ends well")
            .trace_hash()
    };
    assert_eq!(play(7), play(7));
    assert_ne!(play(7), play(8));
}

fn play(machines_max: usize, steps: usize, runs: u64) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("MUSTER_SIM_SEED").unwrap_or(1);
    for seed in first..first + number("MUSTER_SIM_RUNS").unwrap_or(runs) {
        let history = History::random(seed, machines_max, steps);
        let simulation = match history.play(membership::Config::default()) {
            Ok(simulation) => simulation,
            Err(failure) => {
                panic!("{failure}; MUSTER_SIM_SEED={seed} MUSTER_SIM_RUNS=1 plays it again")
            }
        };
        let wrong: Vec<&Death> = simulation.findings().wrong_deaths().collect();
        assert!(
            wrong.is_empty(),
            "seed {seed} with {} machines: {wrong:?}",
            history.machines
        );
    }
}
