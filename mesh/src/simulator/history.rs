//! Random histories: a phase in which anything may break, and a phase in which the mesh must come to rest.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::{Condition, Setup, Simulation};
use crate::membership::Config;

/// Everybody must agree this long after the last fault ended. Half of a mesh that was cut off for minutes needs a knock
/// (at most 10 minutes after a day, some 20 s after two minutes), a new generation for each, and one comparison.
const LIVENESS_MAX: Duration = Duration::from_secs(180);

/// One thing that a history does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// `kill -9`.
    Kill(usize),
    /// Power off.
    PowerOff(usize),
    /// Start again, if it is not running.
    Start(usize),
    /// Stand still.
    Pause(usize),
    /// Go on.
    Resume(usize),
    /// Announce and leave.
    Leave(usize),
    /// Lose this share of all packets.
    Lose(f64),
    /// Deliver this share of all packets twice.
    Duplicate(f64),
    /// Cut these off from the rest.
    Partition(Vec<usize>),
    /// Let a machine lose this share of its packets.
    LoseAt(usize, f64),
    /// End the network's faults.
    Heal,
    /// Let time pass.
    Wait(Duration),
}

/// A random history, reproducible from its seed.
#[derive(Debug, Clone)]
pub struct History {
    /// The seed that it was made from.
    pub seed: u64,
    /// How many machines take part.
    pub machines: usize,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// How a history ended badly. Its text has all that is needed to see it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed} with {machines} machines: {what}")]
pub struct Failure {
    /// The seed of the history.
    pub seed: u64,
    /// The number of machines.
    pub machines: usize,
    /// What went wrong.
    pub what: String,
}

impl History {
    /// The history of `steps` random steps among 2 to `machines_max` machines that `seed` stands for.
    pub fn random(seed: u64, machines_max: usize, steps: usize) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let machines = rng.random_range(2..=machines_max.max(2));
        let steps =
            (0..steps).flat_map(|_| [random_step(&mut rng, machines), random_wait(&mut rng)]);
        Self {
            seed,
            machines,
            steps: steps.collect(),
        }
    }

    /// Lets it happen, then ends all faults, starts what is down, and waits for agreement. Returns the finished
    /// simulation.
    ///
    /// # Errors
    /// When something happened that never must, or the mesh did not come to rest.
    pub fn play(&self, membership: Config) -> Result<Simulation, Failure> {
        let failure = |what: String| Failure {
            seed: self.seed,
            machines: self.machines,
            what,
        };
        let mut simulation = Simulation::new(Setup {
            membership,
            ..Setup::new(self.seed, self.machines)
        });
        simulation.start_all();
        simulation.run_for(Duration::from_secs(5));
        for step in &self.steps {
            simulation.take(step);
        }
        // Liveness: the dead stay dead, everything else is mended.
        simulation.heal();
        for node in 0..self.machines {
            simulation.resume(node);
        }
        let calm = simulation.run_until(LIVENESS_MAX, Simulation::agrees);
        let findings = simulation.findings();
        if let Some(violation) = findings.violations.first() {
            return Err(failure(format!("{violation:?}")));
        }
        if let Some(pair) = simulation.disagreement().filter(|_| !calm) {
            return Err(failure(format!(
                "no agreement after {LIVENESS_MAX:?}: {pair:?}"
            )));
        }
        if let Some(excess) = simulation.excess() {
            return Err(failure(excess));
        }
        Ok(simulation)
    }
}

impl Simulation {
    /// Takes one step of a history.
    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Kill(node) => self.kill(*node),
            Step::PowerOff(node) => self.power_off(*node),
            Step::Start(node) => self.start(*node),
            Step::Pause(node) => self.pause(*node),
            Step::Resume(node) => self.resume(*node),
            Step::Leave(node) if self.condition(*node) == Condition::Running => self.leave(*node),
            Step::Leave(_) => {}
            Step::Lose(share) => self.network().loss = *share,
            Step::Duplicate(share) => self.network().duplication = *share,
            Step::Partition(island) => self.partition(island),
            Step::LoseAt(node, share) => {
                self.network().loss_at.insert(*node, *share);
                self.excuse(*node, true);
            }
            Step::Heal => self.heal(),
            Step::Wait(duration) => self.run_for(*duration),
        }
    }

    /// A limit that was exceeded, if any.
    fn excess(&self) -> Option<String> {
        self.running().find_map(|node| {
            let stats = self.membership(node)?.stats();
            let refused = stats.refused_full + stats.transmits_dropped;
            let wrong = stats.malformed + stats.spoofed;
            (refused + wrong > 0).then(|| format!("machine {node}: {stats:?}"))
        })
    }
}

fn random_wait(rng: &mut Xoshiro256PlusPlus) -> Step {
    // Mostly short, so that faults overlap; sometimes long enough for everything to be noticed.
    let share: f64 = rng.random_range(0.0..1.0);
    Step::Wait(Duration::from_secs_f64(share * share * share * 20.0))
}

fn random_step(rng: &mut Xoshiro256PlusPlus, machines: usize) -> Step {
    let node = rng.random_range(0..machines);
    match rng.random_range(0..14) {
        0 => Step::Kill(node),
        1 => Step::PowerOff(node),
        2..=4 => Step::Start(node),
        5 => Step::Pause(node),
        6..=7 => Step::Resume(node),
        8 => Step::Leave(node),
        9 => Step::Lose(rng.random_range(0.0..0.3)),
        10 => Step::Duplicate(rng.random_range(0.0..0.3)),
        11 => {
            let share = rng.random_range(0.0..1.0);
            Step::Partition((0..machines).filter(|_| rng.random_bool(share)).collect())
        }
        12 => Step::LoseAt(node, rng.random_range(0.3..1.0)),
        _ => Step::Heal,
    }
}
