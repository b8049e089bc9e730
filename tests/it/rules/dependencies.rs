//! Arrows between crates point one way, and what comes from others comes under licences that allow it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::root;

/// What each crate of ours may know of the others.
const ARROWS: [(&str, &[&str]); 5] = [
    ("muster-mesh", &[]),
    ("muster-provisioners", &[]),
    ("muster-flavors", &["muster-provisioners"]),
    (
        "muster",
        &["muster-flavors", "muster-mesh", "muster-provisioners"],
    ),
    (
        "muster-tests",
        &[
            "muster",
            "muster-flavors",
            "muster-mesh",
            "muster-provisioners",
        ],
    ),
];

/// What `cargo metadata` says of the workspace.
fn metadata(arguments: &[&str]) -> Value {
    let words = ["metadata", "--format-version", "1"];
    let output = cargo(&[&words[..], arguments].concat());
    serde_json::from_str(&output).expect("cargo writes JSON")
}

/// What a command of cargo says.
fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .args(["--locked", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs, since it started this");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn arrows_point_one_way() {
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().expect("a list");
    let known: BTreeMap<_, _> = ARROWS.into_iter().collect();
    for package in packages {
        let name = text(package, "name");
        let may = known
            .get(name)
            .unwrap_or_else(|| panic!("give {name} its place in ARROWS"));
        for dependency in package["dependencies"].as_array().expect("a list") {
            let to = text(dependency, "name");
            // A crate may depend on itself for its tests, to turn on its own features for them.
            let ours = known.contains_key(to) && to != name;
            assert!(!ours || may.contains(&to), "{name} must not know {to}");
        }
    }
    assert_eq!(packages.len(), ARROWS.len());
}

#[test]
fn every_dependency_has_a_licence_that_deny_toml_allows() {
    let rules = std::fs::read_to_string(root().join("deny.toml")).expect("readable");
    let list = rules
        .split("allow = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next());
    let allowed: BTreeSet<_> = list
        .expect("a list")
        .split('"')
        .skip(1)
        .step_by(2)
        .collect();
    assert!(allowed.contains("Apache-2.0"), "{allowed:?}");
    let metadata = metadata(&["--filter-platform", "x86_64-unknown-linux-gnu"]);
    for package in metadata["packages"].as_array().expect("a list") {
        // Old packages write `MIT/Apache-2.0` where newer ones write `MIT OR Apache-2.0`.
        let licence = text(package, "license").replace('/', " OR ");
        assert!(
            permits(&licence, &allowed),
            "{}: `{licence}`",
            text(package, "name")
        );
    }
}

#[test]
fn nothing_that_deny_toml_bans_is_built() {
    let rules = std::fs::read_to_string(root().join("deny.toml")).expect("readable");
    let banned = rules
        .split("{ crate = \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    let banned: BTreeSet<_> = banned.collect();
    assert!(banned.contains("ring"), "{banned:?}");
    // The lock file also names what only other platforms or features would need.
    let tree = cargo(&["tree", "--workspace", "--prefix", "none", "--format", "{p}"]);
    let built: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(built.contains("muster") && built.len() > 50, "{built:?}");
    assert!(built.is_disjoint(&banned), "{banned:?}");
}

/// Whether an SPDX expression can be met with the allowed licences. `AND` binds closer than `OR`.
fn permits(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let flat = expression.replace(['(', ')'], " ");
    if expression.contains('(') {
        // Which licences are alternatives is then a question for a parser: demand all of them.
        return flat
            .split(" OR ")
            .flat_map(|part| part.split(" AND "))
            .all(|licence| allowed.contains(licence.trim()));
    }
    let all = |part: &str| {
        part.split(" AND ")
            .all(|licence| allowed.contains(licence.trim()))
    };
    flat.split(" OR ").any(all)
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0"]);
    for (expression, permitted) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND (GPL-3.0 OR Apache-2.0)", false),
        ("(MIT OR Apache-2.0) AND MIT", true),
        ("", false),
    ] {
        assert_eq!(permits(expression, &allowed), permitted, "{expression}");
    }
}
