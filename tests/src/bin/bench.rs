//! `tests/bench`: measures muster next to Serf and prints a table and JSON.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use muster_tests::bench::figures::Figures;
use muster_tests::bench::muster::Muster;
use muster_tests::bench::report::{Row, json, table};
use muster_tests::bench::serf::Serf;
use muster_tests::bench::{Plan, Scenario, scenarios};
use muster_tests::system::{has_program, may_make_namespaces};

const USAGE: &str = "\
usage: tests/bench [--agents N,N...] [--scenarios NAME,NAME...] [--seconds S] [--runs R]
                   [--only muster|serf] [--json FILE]

  --agents      sizes of the fleet                                  [10,50]
  --scenarios   idle, kill, leader, silent, churn, loss10, loss25   [all]
  --seconds     how long averages are taken                         [60]
  --runs        how often single events are repeated                [3]
  --only        measure one system only
  --json        write the figures there, too

Needs root: each system runs in a network namespace of its own. Serf is measured where it is installed.";

/// What the command line asks for.
struct Arguments {
    plan: Plan,
    muster: bool,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if !may_make_namespaces() {
        eprintln!(
            "bench: network namespaces cannot be made here; run it as root with iproute2 and iptables"
        );
        return ExitCode::FAILURE;
    }
    let mut rows = Vec::new();
    for size in &arguments.plan.sizes {
        let mut row = Row {
            size: *size,
            ..Row::default()
        };
        if arguments.plan.serf {
            row.serf = Some(measure_serf(*size, &arguments.plan));
        }
        if arguments.muster {
            row.muster = measure_muster(*size, &arguments.plan);
        }
        rows.push(row);
        // What has been measured is shown at once: the next size may take long.
        println!("{}", table(&rows[rows.len() - 1..]));
    }
    let json = json(&rows);
    println!("{json}");
    if let Some(path) = &arguments.json
        && let Err(error) = std::fs::write(path, format!("{json:#}\n"))
    {
        eprintln!("bench: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure_serf(size: u32, plan: &Plan) -> Figures {
    let mut figures = Figures::default();
    let mut serf = Serf::start(size);
    scenarios::run(&mut serf, plan, &mut figures);
    drop(serf);
    if plan.scenarios.contains(&Scenario::Churn) {
        let mut serf = Serf::start(size);
        let tags = serf.tags();
        scenarios::churn(&mut serf, plan, &mut figures, &mut |round| {
            tags.set(&round.to_string(), scenarios::CHURN_EVERY * 9 / 10)
        });
    }
    figures
}

fn measure_muster(size: u32, plan: &Plan) -> Figures {
    let mut figures = Figures::default();
    let mut muster = Muster::start(size, None);
    scenarios::run(&mut muster, plan, &mut figures);
    drop(muster);
    if plan.scenarios.contains(&Scenario::Churn) {
        let mut muster = Muster::start(size, Some(Muster::changing_health(size)));
        scenarios::churn(&mut muster, plan, &mut figures, &mut |_| {});
    }
    figures
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut plan = Plan {
        sizes: vec![10, 50],
        scenarios: Scenario::ALL
            .iter()
            .map(|(_, scenario)| *scenario)
            .collect(),
        window: Duration::from_secs(60),
        runs: 3,
        serf: has_program("serf"),
    };
    let (mut muster, mut json) = (true, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: &str| {
            text.parse::<u32>()
                .map_err(|error| format!("{text}: {error}"))
        };
        match word.as_str() {
            "--agents" => plan.sizes = value()?.split(',').map(number).collect::<Result<_, _>>()?,
            "--scenarios" => {
                plan.scenarios = value()?
                    .split(',')
                    .map(scenario)
                    .collect::<Result<_, _>>()?
            }
            "--seconds" => plan.window = Duration::from_secs(number(&value()?)?.max(1).into()),
            "--runs" => plan.runs = number(&value()?)?.max(1),
            "--json" => json = Some(value()?.into()),
            "--only" => match value()?.as_str() {
                "muster" => plan.serf = false,
                "serf" if plan.serf => muster = false,
                "serf" => return Err("serf is not installed".to_owned()),
                other => return Err(format!("`{other}` is neither muster nor serf")),
            },
            other => return Err(format!("`{other}` is no option")),
        }
    }
    Ok(Arguments { plan, muster, json })
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let found = Scenario::ALL.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, scenario)| *scenario)
        .ok_or_else(|| format!("`{name}` is no scenario"))
}
