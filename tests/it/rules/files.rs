//! Files are short, and modules lie where everybody looks for them.

use super::{CRATES, expect_none, root, rust_sources};

/// More than this no reader holds in mind. Aim at 400.
const LINES_MAX: usize = 600;

#[test]
fn no_file_is_long() {
    let long = |lines: usize| lines > LINES_MAX;
    let offences: Vec<_> = rust_sources()
        .iter()
        .map(|source| (&source.name, source.text.lines().count()))
        .filter(|(_, lines)| long(*lines))
        .map(|(name, lines)| format!("{name}: {lines} lines of at most {LINES_MAX}"))
        .collect();
    expect_none("split these by idea", &offences);
}

#[test]
fn no_module_is_called_mod() {
    let offences: Vec<_> = rust_sources()
        .into_iter()
        .map(|source| source.name)
        .filter(|name| name.ends_with("/mod.rs"))
        .collect();
    expect_none("write `name.rs` beside `name/`", &offences);
}

#[test]
fn every_module_says_what_it_is() {
    let tests = |name: &str| name.ends_with("/tests.rs") || name.contains("/tests/");
    let offences: Vec<_> = rust_sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//!") && !tests(&source.name[5..]))
        .map(|source| source.name)
        .collect();
    expect_none("begin with a `//!` paragraph", &offences);
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    for name in CRATES {
        let path = root().join(name).join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path).expect("every crate has a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name}");
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("readable");
    for lint in [
        "missing_docs = ",
        "unsafe_code = \"deny\"",
        "unreachable_pub = ",
    ] {
        assert!(
            manifest.contains(lint),
            "{lint} is no lint of the workspace any more"
        );
    }
}

/// The one file that calls what no safe function offers, and says there why that is safe.
const UNSAFE: &str = "agent/src/node/footprint.rs";

#[test]
fn one_file_is_excused_from_safety_and_no_other() {
    let excused: Vec<_> = rust_sources()
        .into_iter()
        .filter(|source| source.name != "tests/it/rules/files.rs")
        .filter(|source| source.text.contains("unsafe_code"))
        .map(|source| source.name)
        .collect();
    assert_eq!(excused, [UNSAFE]);
}

#[test]
fn no_lint_is_silenced_wholesale() {
    let lints = [
        "missing_docs",
        "unsafe_code",
        "clippy::all",
        "warnings",
        "unused",
        "dead_code",
    ];
    let mut offences = Vec::new();
    for source in rust_sources() {
        for (number, line) in source.text.lines().enumerate() {
            let silences = line.contains("allow(") && line.trim_start().starts_with("#");
            if silences && lints.iter().any(|lint| line.contains(lint)) {
                offences.push(format!("{}:{}: {}", source.name, number + 1, line.trim()));
            }
        }
    }
    expect_none("mend what the lint shows", &offences);
}
