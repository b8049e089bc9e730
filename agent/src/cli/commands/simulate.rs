//! `muster simulate`: one simulation, or a hunt through many seeds.

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::{Context, Failure};
use crate::cli::args::SimulateArgs;
use crate::cli::show;
use crate::dev::specs;
use crate::fleet::{Allocation, GroupSpec};
use crate::simulate::{Report, Scenario, Times, Violation, random_scenario, read_faults, simulate};
use crate::spec::FILE_BYTES_MAX;

/// Failing seeds that are kept. Whoever has more begins with the first.
const FAILED_MAX: usize = 100;

/// How often a hunt says how far it is, in seeds.
const PROGRESS: u64 = 1000;

/// What a hunt found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Hunt {
    /// The first seed.
    pub(crate) first: u64,
    /// How many were simulated.
    pub(crate) seeds: u64,
    /// How many broke an invariant.
    pub(crate) broken: u64,
    /// The first of those, with what they broke.
    pub(crate) failed: Vec<Failed>,
    /// Machines that were lost, and how many of them were replaced.
    pub(crate) lost: usize,
    /// How many of them were replaced.
    pub(crate) healed: usize,
    /// The longest time to heal of each seed in which anything was healed.
    pub(crate) longest_heal: Times,
}

/// A seed that broke an invariant.
#[derive(Debug, Serialize)]
pub(crate) struct Failed {
    /// The seed.
    pub(crate) seed: u64,
    /// What it broke first.
    pub(crate) violation: Violation,
}

pub(super) fn run(context: &Context<'_>, args: &SimulateArgs) -> Result<(), Failure> {
    let scenario = scenario(args)?;
    let of = |seed: u64| match &scenario {
        Some(scenario) => Scenario {
            seed,
            ..scenario.clone()
        },
        None => random_scenario(seed),
    };
    match args.seeds {
        None => one(context, args, &of(args.seed)),
        Some(seeds) => many(context, args.seed, seeds, &of),
    }
}

fn one(context: &Context<'_>, args: &SimulateArgs, scenario: &Scenario) -> Result<(), Failure> {
    let report = simulate(scenario).map_err(unfit)?;
    context.out.either(&report, |report, out| {
        show::simulation(report, args.lines, out)
    })?;
    let line = |violation: &Violation| format!("{}: {}", violation.invariant, violation.what);
    if report.is_sound() {
        Ok(())
    } else {
        Err(Failure::Broken(
            report.violations.iter().map(line).collect(),
        ))
    }
}

fn unfit(error: crate::simulate::SimulateError) -> Failure {
    Failure::usage(
        error.to_string(),
        "see `muster simulate --help` and docs/simulating.md",
    )
}

/// The scenario that is the same for all seeds; `None` where each has its own.
fn scenario(args: &SimulateArgs) -> Result<Option<Scenario>, Failure> {
    if args.random {
        return Ok(None);
    }
    let mut specs = specs::wanted(&args.files, None)?;
    if let Some(machines) = args.machines {
        resize(&mut specs, machines)?;
    }
    let mut faults = args.faults.faults();
    if let Some(path) = &args.faults.file {
        faults.extend(faults_of(path)?);
    }
    Ok(Some(Scenario {
        length: args.length,
        loss: args.faults.loss.map_or(0.0, |loss| loss.0),
        cloud: args.cloud.model(),
        faults,
        exact: args.exact,
        ..Scenario::new(args.seed, specs)
    }))
}

/// Gives the first cattle group as many machines as it takes to have so many in all.
fn resize(specs: &mut [GroupSpec], machines: u32) -> Result<(), Failure> {
    let is_cattle = |spec: &&mut GroupSpec| matches!(spec.allocation, Allocation::Cattle { .. });
    let total: usize = specs.iter().map(GroupSpec::desired).sum();
    let group = specs.iter_mut().find(is_cattle);
    let others = total - group.as_ref().map_or(0, |group| group.desired());
    let rest = usize::try_from(machines)
        .unwrap_or(usize::MAX)
        .checked_sub(others);
    match (group, rest.and_then(|rest| u32::try_from(rest).ok())) {
        (Some(group), Some(size)) => {
            group.allocation = Allocation::Cattle { size };
            Ok(())
        }
        _ => Err(Failure::usage(
            format!("these specs can't have {machines} machines in all"),
            format!("give a cattle group, and at least the {others} machines of the others"),
        )),
    }
}

fn faults_of(path: &std::path::Path) -> Result<Vec<crate::simulate::Fault>, Failure> {
    let name = path.display().to_string();
    let length = std::fs::metadata(path).map(|file| file.len());
    let text = match length {
        Ok(length) if length > FILE_BYTES_MAX => {
            return Err(Failure::usage(
                format!("{name} is longer than {FILE_BYTES_MAX} bytes"),
                "give fewer faults",
            ));
        }
        Ok(_) => std::fs::read_to_string(path),
        Err(error) => Err(error),
    };
    let text = text.map_err(|error| {
        Failure::usage(
            format!("{name} can't be read: {error}"),
            "name a file of faults",
        )
    })?;
    read_faults(&name, &text).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure::usage(
            lines.join("\n"),
            "docs/simulating.md says what a file of faults may have in it",
        )
    })
}

// === many seeds ===

fn many(
    context: &Context<'_>,
    first: u64,
    seeds: u64,
    of: &(dyn Fn(u64) -> Scenario + Sync),
) -> Result<(), Failure> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let done = AtomicU64::new(0);
    let next = AtomicU64::new(0);
    let says = std::io::stderr().is_terminal();
    let work = || {
        let mut reports = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= seeds {
                return Ok(reports);
            }
            let report = simulate(&of(first.wrapping_add(number))).map_err(unfit)?;
            reports.push(Brief::of(&report));
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if says && done.is_multiple_of(PROGRESS) {
                eprintln!("{done} of {seeds}");
            }
        }
    };
    let briefs: Result<Vec<Vec<Brief>>, Failure> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker
                .join()
                .unwrap_or_else(|_| Err(Failure::other("a simulation panicked")))
        };
        workers.into_iter().map(join).collect()
    });
    let hunt = collect(first, seeds, briefs?.into_iter().flatten().collect());
    context.out.either(&hunt, show::hunt)?;
    let line = |failed: &Failed| {
        let Violation {
            invariant, what, ..
        } = &failed.violation;
        format!("seed {}: {invariant}: {what}", failed.seed)
    };
    if hunt.broken == 0 {
        Ok(())
    } else {
        Err(Failure::Broken(hunt.failed.iter().map(line).collect()))
    }
}

/// What a hunt keeps of one simulation.
struct Brief {
    seed: u64,
    lost: usize,
    healed: usize,
    longest: Option<Duration>,
    violation: Option<Violation>,
}

impl Brief {
    fn of(report: &Report) -> Self {
        let heal = report.time_to_heal;
        Self {
            seed: report.seed,
            lost: report.lost,
            healed: report.healed,
            longest: (heal.count > 0).then(|| Duration::from_millis(heal.max_ms)),
            violation: report.violations.first().cloned(),
        }
    }
}

fn collect(first: u64, seeds: u64, mut briefs: Vec<Brief>) -> Hunt {
    briefs.sort_by_key(|brief| brief.seed);
    let longest = briefs.iter().filter_map(|brief| brief.longest);
    let longest = longest.map(|longest| u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
    let mut hunt = Hunt {
        first,
        seeds,
        longest_heal: Times::of(longest.collect()),
        ..Hunt::default()
    };
    for brief in briefs {
        hunt.lost += brief.lost;
        hunt.healed += brief.healed;
        if let Some(violation) = brief.violation {
            hunt.broken += 1;
            if hunt.failed.len() < FAILED_MAX {
                hunt.failed.push(Failed {
                    seed: brief.seed,
                    violation,
                });
            }
        }
    }
    hunt
}
