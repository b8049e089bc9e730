//! `lint`, `simulate` and `replay`: what answers without an agent.

use serde_json::Value;

use super::node::{muster, run};

fn spec(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("web.toml");
    std::fs::write(&path, text).expect("writable");
    let path = path.display().to_string();
    (dir, path)
}

#[test]
fn lint_fails_for_errors_and_passes_what_is_good() {
    let (_dir, good) = spec("[[group]]\nid = \"web\"\nsize = 3\n");
    run(muster(&["lint", "-f", &good]), "").with(0);
    let (_dir, bad) =
        spec("[[group]]\nid = \"web\"\nsize = 40\n[group.heal.budget]\nat_once = 40\n");
    let found = run(muster(&["lint", "-f", &bad, "--json"]), "")
        .with(1)
        .json();
    let findings = found["findings"].as_array().expect("a list");
    let is_it = |finding: &Value| finding["rule"] == "all-at-once" && finding["line"] == 5;
    assert!(findings.iter().any(is_it), "{found:#}");
}

#[test]
fn a_simulation_tells_what_happened_and_is_the_same_again() {
    let args = [
        "simulate", "--for", "10m", "--kill", "web-2@1m", "--seed", "7", "--json",
    ];
    let (one, two) = (
        run(muster(&args), "").with(0).json(),
        run(muster(&args), "").with(0).json(),
    );
    assert_eq!(one, two);
    assert_eq!(
        (&one["lost"], &one["healed"]),
        (&Value::from(1), &Value::from(1))
    );
    assert_eq!(one["violations"], Value::Array(Vec::new()));
    let text = run(muster(&args[..args.len() - 1]), "").with(0).stdout;
    for word in [
        "TIMELINE",
        "web-2 killed",
        "P99",
        "INVARIANTS\nall of them held",
    ] {
        assert!(text.contains(word), "no `{word}` in {text}");
    }
    let hunt = run(
        muster(&["simulate", "--random", "--seeds", "3", "--json"]),
        "",
    )
    .with(0)
    .json();
    assert_eq!(hunt["seeds"], 3);
}

#[test]
fn what_cannot_be_simulated_is_refused_with_a_remedy() {
    let refused = |words: &[&str]| run(muster(words), "").with(2).stderr;
    assert!(refused(&["simulate", "--kill", "zone:a@10m"]).contains("placement.zones"));
    assert!(refused(&["simulate", "--kill", "web-1"]).contains("web-1@10m"));
    let (_dir, faults) = spec("[[fault]]\nkind = \"kill\"\ntarget = \"zone:\"\nat = \"1m\"\n");
    let said = refused(&["simulate", "--faults", &faults]);
    assert!(said.contains("web.toml:3: fault[0].target: "), "{said}");
}

#[test]
fn replay_says_where_records_are_when_there_are_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().display().to_string();
    let said = run(muster(&["replay", &path]), "").with(2).stderr;
    assert!(said.contains("decisions"), "{said}");
}
