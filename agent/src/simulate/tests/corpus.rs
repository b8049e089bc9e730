//! The corpus: kinds of faults as data (`agent/corpus`), each with what it should be taken for and what may be done.
//!
//! Each is run over several seeds: the evidence arises from the modelled network and provider, the diagnosis and the
//! decisions are the shipped ones. What comes of it stands in `docs/healing.md`; with `MUSTER_WRITE_DOCS=1` it is
//! written there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{cattle, pets};
use crate::fleet::{Diagnosis, GroupSpec};
use crate::simulate::{CloudModel, Fault, Report, Scenario, read_faults, simulate};

/// Each case is run from these seeds.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=4;

/// Kinds of faults that there have to be at least.
const KINDS_MIN: usize = 18;

/// How long a case runs.
const LENGTH: Duration = Duration::from_secs(15 * 60);

/// What a case's file says besides its faults.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    about: String,
    /// What may be done to those whom a fault befalls; to others nothing may.
    permitted: BTreeSet<String>,
    #[serde(default)]
    list_lag: Option<String>,
    /// Whether machines are hardware, of which there is only so much.
    #[serde(default)]
    hardware: bool,
    expect: Vec<Expect>,
}

/// What those whom the first fault befalls should be taken for, so long after it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    after: String,
    /// The first is what it is; others are right, too.
    diagnosis: Vec<String>,
}

/// One case.
struct Case {
    name: String,
    written: Written,
    faults: Vec<Fault>,
}

/// What came of all cases.
#[derive(Default)]
struct Found {
    /// How often each expected diagnosis was given as which.
    matrix: BTreeMap<(String, String), usize>,
    /// What was done, by case and action.
    done: BTreeMap<(String, String), usize>,
    wrong: Vec<String>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn read(path: &Path) -> Case {
    let name = path.file_stem().expect("it has a name");
    let name = name.to_str().expect("it is ASCII").to_owned();
    let text = std::fs::read_to_string(path).expect("it can be read");
    let mut table: toml::Table = text
        .parse()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let faults = table
        .remove("fault")
        .unwrap_or_else(|| panic!("{name}: no fault"));
    let faults = toml::Table::from_iter([("fault".to_owned(), faults)]).to_string();
    let written = table
        .try_into()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    Case {
        faults: read_faults(&name, &faults).unwrap_or_else(|problems| panic!("{problems:?}")),
        name,
        written,
    }
}

fn cases() -> Vec<Case> {
    let entries = std::fs::read_dir(directory()).expect("it is there");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// Thirteen of `web` and three pets, over three zones of a cloud.
fn fleet() -> Vec<GroupSpec> {
    let mut groups = vec![cattle("web", 13), pets("db", &["db-1", "db-2", "db-3"])];
    for group in &mut groups {
        group.instance.provisioner = "cloud".into();
        group.placement.zones = ["a", "b", "c"].map(str::to_owned).into();
    }
    groups
}

impl Case {
    fn run(&self, seed: u64) -> Report {
        let mut cloud = CloudModel {
            hardware: self.written.hardware,
            ..CloudModel::default()
        };
        if let Some(lag) = &self.written.list_lag {
            cloud.list_lag = humantime::parse_duration(lag).expect("a time");
        }
        let scenario = Scenario {
            length: LENGTH,
            cloud,
            faults: self.faults.clone(),
            ..Scenario::new(seed, fleet())
        };
        simulate(&scenario).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn judge(&self, seed: u64, report: &Report, found: &mut Found) {
        let place = format!("{} with seed {seed}", self.name);
        for violation in &report.violations {
            found.wrong.push(format!("{place}: {violation:?}"));
        }
        let course = &report.course;
        let first = course.befell.iter().find(|befell| befell.fault == 0);
        let first = first.unwrap_or_else(|| panic!("{place}: nothing happened"));
        let victims: BTreeSet<_> = course.befell.iter().flat_map(|one| &one.machines).collect();
        assert!(!victims.is_empty(), "{place}: it befell nobody");
        for expect in &self.written.expect {
            let after = humantime::parse_duration(&expect.after).expect("a time");
            let at_ms = first.at_ms + u64::try_from(after.as_millis()).expect("minutes");
            for victim in &victims {
                let given = course.diagnosis(**victim, at_ms).to_string();
                if !expect.diagnosis.contains(&given) {
                    let expected = &expect.diagnosis;
                    found.wrong.push(format!(
                        "{place}: {} later {victim} is {given}, not {expected:?}",
                        expect.after
                    ));
                }
                let cell = (expect.diagnosis[0].clone(), given);
                *found.matrix.entry(cell).or_default() += 1;
            }
        }
        for acted in &course.actions {
            let cell = (self.name.clone(), acted.action.clone());
            *found.done.entry(cell).or_default() += 1;
            if !victims.contains(&acted.machine) || !self.written.permitted.contains(&acted.action)
            {
                found.wrong.push(format!(
                    "{place}: {} of {} after {} ms",
                    acted.action, acted.machine, acted.at_ms
                ));
            }
        }
    }
}

/// The page's part: what there is, and the matrix.
fn page(cases: &[Case], found: &Found) -> String {
    let mut page = String::from("| fault | may be done | was done |\n|---|---|---|\n");
    for case in cases {
        let permitted: Vec<_> = case.written.permitted.iter().cloned().collect();
        let of_case = found
            .done
            .iter()
            .filter(|((name, _), _)| *name == case.name);
        let done: Vec<_> = of_case.map(|((_, action), _)| action.clone()).collect();
        let words = |words: Vec<String>| match words.is_empty() {
            true => "nothing".to_owned(),
            false => words.join(", "),
        };
        writeln!(
            page,
            "| `{}`: {} | {} | {} |",
            case.name,
            case.written.about,
            words(permitted),
            words(done)
        )
        .expect("a string takes it");
    }
    let labels: BTreeSet<&String> = found
        .matrix
        .keys()
        .flat_map(|(expected, given)| [expected, given])
        .collect();
    let row = |first: &str, cells: Vec<String>| format!("| {first} | {} |\n", cells.join(" | "));
    page += "\n";
    page += &row(
        "expected, given as",
        labels.iter().map(ToString::to_string).collect(),
    );
    page += &row("---", labels.iter().map(|_| "---:".to_owned()).collect());
    for expected in &labels {
        let cell = |given: &&String| {
            let key = ((*expected).clone(), (*given).clone());
            found
                .matrix
                .get(&key)
                .map_or_else(String::new, ToString::to_string)
        };
        page += &row(expected, labels.iter().map(cell).collect());
    }
    page
}

/// The part of the document between its marks.
fn document(page: &str) -> (PathBuf, String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/healing.md");
    let text = std::fs::read_to_string(&path).expect("the document is there");
    let (begin, end) = ("<!-- corpus -->\n", "<!-- end of the corpus -->");
    let (before, rest) = text.split_once(begin).expect("it has the first mark");
    let (_, after) = rest.split_once(end).expect("it has the second mark");
    let wanted = format!("{before}{begin}{page}{end}{after}");
    (path, text, wanted)
}

#[test]
fn every_kind_of_fault_is_taken_for_what_it_is_and_nothing_wrong_is_done() {
    let cases = cases();
    assert!(cases.len() >= KINDS_MIN, "{} kinds", cases.len());
    let mut found = Found::default();
    for case in &cases {
        for seed in SEEDS {
            case.judge(seed, &case.run(seed), &mut found);
        }
    }
    let page = page(&cases, &found);
    println!("{page}");
    assert!(found.wrong.is_empty(), "{:#?}", found.wrong);
    let (path, text, wanted) = document(&page);
    if std::env::var_os("MUSTER_WRITE_DOCS").is_some() {
        std::fs::write(&path, &wanted).expect("the document can be written");
    } else {
        assert!(
            text == wanted,
            "docs/healing.md is of another day; run this with MUSTER_WRITE_DOCS=1"
        );
    }
}

#[test]
fn only_diagnoses_that_there_are_are_expected() {
    let known = [
        Diagnosis::Healthy,
        Diagnosis::Suspected,
        Diagnosis::Left,
        Diagnosis::Rebooting,
        Diagnosis::Slow,
        Diagnosis::Partitioned,
        Diagnosis::AgentDown,
        Diagnosis::WorkloadFailed,
        Diagnosis::Unreachable,
        Diagnosis::Gone,
    ]
    .map(|diagnosis| diagnosis.to_string());
    for case in cases() {
        let expected = case
            .written
            .expect
            .iter()
            .flat_map(|expect| &expect.diagnosis);
        for diagnosis in expected {
            assert!(known.contains(diagnosis), "{}: {diagnosis}", case.name);
        }
    }
}
