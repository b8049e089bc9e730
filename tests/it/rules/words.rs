//! What does not belong into a repository that strangers read.

use super::{expect_none, rust_sources, sources};

/// Words that say that something is unfinished.
const UNFINISHED: [&str; 5] = ["TODO", "FIXME", "XXX", "HACK", "simplified"];

/// Beginnings of paths that exist on one person's machine only.
const PRIVATE_PATHS: [&str; 3] = ["/home/", "/root/", "/work/"];

/// This file names the words that it forbids.
const SELF: &str = "tests/it/rules/words.rs";

#[test]
fn nothing_says_that_it_is_unfinished() {
    let mut offences = Vec::new();
    for source in rust_sources()
        .into_iter()
        .filter(|source| source.name != SELF)
    {
        for (number, line) in source.text.lines().enumerate() {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            if UNFINISHED.iter().any(|word| comment.contains(word)) {
                offences.push(format!("{}:{}: {}", source.name, number + 1, line.trim()));
            }
        }
    }
    expect_none(
        "finish it, or open an issue and say nothing here",
        &offences,
    );
}

#[test]
fn no_path_of_one_machine_is_in_it() {
    let all = sources("", |name| !name.ends_with("Cargo.lock") && name != SELF);
    let mut offences = Vec::new();
    for source in all {
        for (number, line) in source.text.lines().enumerate() {
            if PRIVATE_PATHS.iter().any(|path| line.contains(path)) {
                offences.push(format!("{}:{}: {}", source.name, number + 1, line.trim()));
            }
        }
    }
    expect_none("write a path that everybody has", &offences);
}

#[test]
fn scripts_stop_at_the_first_error() {
    let scripts = sources("", |name| !name.contains('.') || name.starts_with(".ci/"));
    let mut seen = 0;
    for script in scripts.iter().filter(|file| file.text.starts_with("#!")) {
        seen += 1;
        let first = script.text.lines().next().unwrap_or_default();
        let strict = first.ends_with("bash") && script.text.contains("set -euo pipefail");
        assert!(
            // Python does so by itself.
            strict || first.ends_with("python3"),
            "{}: bash with `set -euo pipefail`, or Python",
            script.name
        );
    }
    assert!(seen >= 2, "found {seen} scripts");
}
