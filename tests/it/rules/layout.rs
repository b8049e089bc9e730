//! The linker's list of what an idle agent runs names modules that exist, or it would lose its effect without a word.

use std::fs;

use super::{expect_none, root};

/// Our own crates, as symbols name them, and where their modules lie.
const OURS: [(&str, &str); 3] = [
    ("muster", "agent/src"),
    ("muster_mesh", "mesh/src"),
    ("muster_flavors", "flavors/src"),
];

/// Names of Rust's own crates, which are in no lock file.
const RUSTS: [&str; 4] = ["core", "alloc", "std", "__rustc"];

/// The patterns of `agent/idle.ld` that are paths in symbols: `*11muster_mesh4wire*` is `["muster_mesh", "wire"]`.
fn paths() -> Vec<Vec<String>> {
    let script = fs::read_to_string(root().join("agent/idle.ld")).expect("readable");
    let words = script.split(|letter: char| letter.is_whitespace() || "()".contains(letter));
    words.filter_map(path).collect()
}

/// The path in a pattern, each name after its length; what does not fit its length is left whole, and so found nowhere.
fn path(pattern: &str) -> Option<Vec<String>> {
    let (_, mut rest) = pattern.strip_suffix('*')?.split_once("._*")?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let name = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let length = rest[..rest.len() - name.len()].parse().ok();
        // What begins with an underscore has one more before it.
        let name = name.strip_prefix('_').unwrap_or(name);
        let split = length.and_then(|length| name.split_at_checked(length));
        let (name, after) = split.unwrap_or((rest, ""));
        found.push(name.to_owned());
        rest = after;
    }
    let is_path = pattern.contains(|letter: char| letter.is_ascii_digit());
    is_path.then_some(found)
}

/// Whether there is such a module of ours, or such a function in one.
fn is_ours(sources: &str, names: &[String]) -> bool {
    let below = root().join(sources);
    let Some((last, above)) = names.split_last() else {
        return false;
    };
    let parent = below.join(above.join("/")).with_extension("rs");
    let text = fs::read_to_string(parent).unwrap_or_default();
    below.join(names.join("/")).with_extension("rs").exists()
        || text.contains(&format!("fn {last}("))
}

#[test]
fn patterns_of_symbols_name_what_is_there() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("readable");
    let in_lock = |name: &str| lock.contains(&format!("\nname = \"{name}\"\n"));
    let exists = |path: &Vec<String>| {
        let (name, inside) = path.split_first().expect("no path is empty");
        match OURS.iter().find(|(ours, _)| ours == name) {
            Some((_, sources)) => is_ours(sources, inside),
            None => {
                RUSTS.contains(&name.as_str()) || in_lock(name) || in_lock(&name.replace('_', "-"))
            }
        }
    };
    let mut paths = paths();
    assert!(paths.len() > 50, "only {} patterns found", paths.len());
    paths.retain(|path| !exists(path));
    let offences: Vec<_> = paths.iter().map(|path| path.join("::")).collect();
    expect_none("these are nowhere; see agent/idle.ld", &offences);
}
