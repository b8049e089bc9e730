//! Rules of the repository that no compiler knows, as ordinary tests: each reads the sources and needs nothing else.

mod dependencies;
mod documents;
mod files;
mod layout;
mod purity;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

/// The crates, each in the directory of its name.
const CRATES: [&str; 5] = ["mesh", "provisioners", "flavors", "agent", "tests"];

/// The root of the repository.
fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("the test crate lies in the repository")
        .to_owned()
}

/// A source file, named from the root of the repository.
#[derive(Debug)]
struct Source {
    name: String,
    text: String,
}

/// All text files below a directory of the repository whose names pass, in order.
fn sources(below: &str, passes: impl Fn(&str) -> bool) -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut pending = vec![root.join(below)];
    while let Some(path) = pending.pop() {
        let name = path.strip_prefix(&root).expect("below the root");
        let name = name.to_string_lossy().into_owned();
        let last = path
            .file_name()
            .map(|last| last.to_string_lossy().into_owned());
        let hidden = last.is_some_and(|last| {
            matches!(last.as_str(), "target" | ".git" | ".dev" | ".muster-dev")
        });
        if path.is_symlink() || (hidden && path != root) {
            continue;
        }
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            pending.extend(entries.map(|entry| entry.expect("readable").path()));
        } else if passes(&name)
            && let Ok(text) = fs::read_to_string(&path)
        {
            found.push(Source { name, text });
        }
    }
    found.sort_by(|left, right| left.name.cmp(&right.name));
    found
}

/// All Rust files of all crates.
fn rust_sources() -> Vec<Source> {
    let found: Vec<_> = CRATES
        .into_iter()
        .flat_map(|name| sources(name, |name| name.ends_with(".rs")))
        .collect();
    assert!(found.len() > 50, "only {} sources found", found.len());
    found
}

/// Fails with a list, unless it is empty.
fn expect_none(what: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{what}:\n  {}", offences.join("\n  "));
}
