//! `tests/bench`: measures muster next to Serf and prints a table and JSON.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use muster_tests::bench::muster::Muster;
use muster_tests::bench::report::{Row, json, table};
use muster_tests::bench::scenarios::Start;
use muster_tests::bench::serf::Serf;
use muster_tests::bench::{Failure, Plan, Scenario, scenarios};
use muster_tests::system::{has_program, may_make_namespaces};
use muster_tests::wait::unwind_on_signals;

const USAGE: &str = "\
usage: tests/bench [--agents N,N...] [--scenarios NAME,NAME...] [--seconds S] [--runs R]
                   [--only muster|serf] [--json FILE]

  --agents      sizes of the fleet                                  [10,50]
  --scenarios   idle, kill, leader, silent, explain, churn, pet,
                loss10, loss25                                           [all]
  --seconds     how long averages are taken                         [60]
  --runs        how often single events are repeated                [3]
  --only        measure one system only
  --json        write the figures there, too

Progress goes to standard error, tables and JSON to standard output. Ends with 1 when something could not be measured.

Needs root: each system runs in a network namespace of its own. Serf is measured where it is installed.";

/// What the command line asks for.
struct Arguments {
    plan: Plan,
    serf: bool,
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
    if let Err(error) = unwind_on_signals() {
        eprintln!(
            "bench: no signal can be caught, so Ctrl-C would leave processes behind: {error}"
        );
        return ExitCode::FAILURE;
    }
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for size in &arguments.plan.sizes {
        let row = measure(*size, &arguments, &mut failures);
        // What has been measured is shown at once: the next size may take long.
        println!("{}", table(&[&row]));
        rows.push(row);
    }
    let json = json(&rows);
    println!("{json}");
    if let Some(path) = &arguments.json
        && let Err(error) = std::fs::write(path, format!("{json:#}\n"))
    {
        eprintln!("bench: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    for Failure { what, why } in &failures {
        eprintln!("bench: {what} could not be measured: {why}");
    }
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn measure(size: u32, arguments: &Arguments, failures: &mut Vec<Failure>) -> Row {
    let mut row = Row {
        size,
        ..Row::default()
    };
    let mut run = |name, start: Start<'_>| {
        let (figures, failed) = scenarios::run(name, size, &arguments.plan, start);
        failures.extend(failed);
        figures
    };
    if arguments.serf {
        row.serf = Some(run("serf", &|_| Box::new(Serf::start(size))));
    }
    if arguments.muster {
        row.muster = run("muster", &|scenario| {
            let changing = scenario == Scenario::Churn;
            let spec = changing.then(|| Muster::changing_health(size));
            Box::new(Muster::start(size, spec))
        });
    }
    row
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
    };
    let (mut serf, mut muster, mut json) = (has_program("serf"), true, None);
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
                "muster" => serf = false,
                "serf" if serf => muster = false,
                "serf" => return Err("serf is not installed".to_owned()),
                other => return Err(format!("`{other}` is neither muster nor serf")),
            },
            other => return Err(format!("`{other}` is no option")),
        }
    }
    Ok(Arguments {
        plan,
        serf,
        muster,
        json,
    })
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let found = Scenario::ALL.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, scenario)| *scenario)
        .ok_or_else(|| format!("`{name}` is no scenario"))
}
