//! Specs with known faults, and specs without.

use std::path::{Path, PathBuf};

use super::*;

fn specs(kind: &str) -> Vec<(PathBuf, Source)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/lint")
        .join(kind);
    let entries = std::fs::read_dir(&dir).expect("the data is there");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    let source = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("readable");
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        (path, Source { name, text })
    };
    paths.into_iter().map(source).collect()
}

fn look(source: &Source) -> Vec<LintFinding> {
    lint(std::slice::from_ref(source), &Registries::builtin())
}

#[test]
fn every_seeded_fault_is_found_with_its_line_and_a_remedy() {
    let specs = specs("bad");
    assert!(specs.len() >= 30, "{} bad specs", specs.len());
    for (path, source) in specs {
        let first = source.text.lines().next().unwrap_or_default();
        let expected = first
            .strip_prefix("# finds: ")
            .expect("it says what is to be found");
        let findings = look(&source);
        for rule in expected.split_whitespace() {
            let found = findings
                .iter()
                .find(|finding| finding.rule == rule && finding.severity < Severity::Note);
            let found =
                found.unwrap_or_else(|| panic!("{}: no `{rule}` in {findings:#?}", path.display()));
            assert!(found.line > 1, "{found:#?}");
            assert!(
                !found.what.is_empty() && !found.remedy.is_empty() && !found.field.is_empty(),
                "{found:#?}"
            );
        }
        let also = findings.iter().filter(|finding| {
            finding.severity < Severity::Note
                && !expected.split_whitespace().any(|rule| rule == finding.rule)
        });
        assert_eq!(also.count(), 0, "{}: {findings:#?}", path.display());
    }
}

#[test]
fn nothing_is_found_in_what_is_good() {
    let specs = specs("good");
    assert!(specs.len() >= 30, "{} good specs", specs.len());
    for (path, source) in specs {
        assert_eq!(look(&source), [], "{}", path.display());
    }
}

#[test]
fn small_fleets_are_told_what_they_cannot_survive() {
    let of = |text: &str| {
        look(&Source {
            name: "web.toml".into(),
            text: text.into(),
        })
    };
    let one = of("[[group]]\nid = \"web\"\nsize = 1\n");
    assert_eq!(
        (one[0].rule, one[0].severity),
        ("nobody-is-left", Severity::Note)
    );
    let two = of("[[group]]\nid = \"web\"\nsize = 2\n");
    assert_eq!((two[0].rule, two[0].line), ("never-heals-silence", 2));
    assert!(two[0].what.contains("`quorum`"), "{two:?}");
}

#[test]
fn each_group_of_a_small_fleet_is_told_the_same_and_times_are_as_written() {
    let of = |text: &str| {
        look(&Source {
            name: "both.toml".into(),
            text: text.into(),
        })
    };
    let both = of("[[group]]\nid = \"web\"\nsize = 1\n\n[[group]]\nid = \"app\"\nsize = 1\n");
    let told: Vec<_> = both
        .iter()
        .map(|finding| (finding.rule, finding.line))
        .collect();
    assert_eq!(
        told,
        [("never-heals-silence", 2), ("never-heals-silence", 6)]
    );
    let lease = of("[[group]]\nid = \"db\"\nmembers = [\"a\", \"b\", \"c\"]\n\
         heal = { lease = \"10s\", stop_within = \"4900ms\" }\n\
         [group.flavor.properties]\nstart = \"db\"\nstop = { command = \"x\", timeout = \"2s\" }\n");
    assert!(
        lease
            .iter()
            .any(|finding| finding.what.contains("stopping takes 4.9 s")),
        "{lease:?}"
    );
}
