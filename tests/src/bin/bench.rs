//! `tests/bench`: measures muster next to Serf and prints a table and JSON.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, ValueEnum, value_parser};
use muster_tests::bench::muster::Muster;
use muster_tests::bench::report::{Row, json, table};
use muster_tests::bench::scenarios::Start;
use muster_tests::bench::serf::Serf;
use muster_tests::bench::{Failure, Plan, Scenario, scenarios};
use muster_tests::system::{has_program, may_make_namespaces};
use muster_tests::wait::unwind_on_signals;

/// Measures a fleet of real agents, next to Serf of the same size where it is installed.
///
/// Progress goes to standard error, tables and JSON to standard output. Ends with 1 when something could not be measured.
/// Needs root: each system runs in a network namespace of its own.
#[derive(Parser)]
#[command(name = "tests/bench", bin_name = "tests/bench")]
struct Arguments {
    /// Sizes of the fleet
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10, 50], value_parser = value_parser!(u32).range(2..=200))]
    agents: Vec<u32>,
    /// What to measure; all of it unless given
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = scenarios_by_name())]
    scenarios: Vec<Scenario>,
    /// How long averages are taken
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// How often single events are repeated
    #[arg(long, value_name = "R", default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Measure one system only
    #[arg(long)]
    only: Option<System>,
    /// Write the figures there, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum System {
    Muster,
    Serf,
}

impl Arguments {
    fn plan(&self) -> Plan {
        let all = || {
            Scenario::ALL
                .iter()
                .map(|(_, scenario)| *scenario)
                .collect()
        };
        Plan {
            scenarios: match self.scenarios.as_slice() {
                [] => all(),
                chosen => chosen.to_vec(),
            },
            window: Duration::from_secs(self.seconds.into()),
            runs: self.runs,
        }
    }
}

fn scenarios_by_name() -> impl TypedValueParser<Value = Scenario> {
    let names = Scenario::ALL.map(|(name, _)| name);
    PossibleValuesParser::new(names).map(|chosen| {
        let found = Scenario::ALL.iter().find(|(name, _)| *name == chosen);
        found.expect("only these are possible").1
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.only == Some(System::Serf) && !has_program("serf") {
        eprintln!("bench: serf is not installed");
        return ExitCode::FAILURE;
    }
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
    for size in &arguments.agents {
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
    let plan = arguments.plan();
    let mut row = Row {
        size,
        ..Row::default()
    };
    let mut run = |name, start: Start<'_>| {
        let (figures, failed) = scenarios::run(name, size, &plan, start);
        failures.extend(failed);
        figures
    };
    if arguments.only != Some(System::Muster) && has_program("serf") {
        row.serf = Some(run("serf", &|_| Box::new(Serf::start(size))));
    }
    if arguments.only != Some(System::Serf) {
        row.muster = run("muster", &|scenario| {
            let changing = scenario == Scenario::Churn;
            let spec = changing.then(|| Muster::changing_health(size));
            Box::new(Muster::start(size, spec))
        });
    }
    row
}
