//! What needs nobody to ask.

use super::node::{muster, run};

#[test]
fn wrong_usage_is_told_from_failure() {
    for words in [
        &["statsu"][..],
        &[],
        &["status", "--nope"],
        &["group", "scale", "web"],
    ] {
        run(muster(words), "").with(2);
    }
}

#[test]
fn a_bad_configuration_is_told_from_both() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("agent.toml");
    std::fs::write(&path, "nmae = \"x\"\n[health]\ninterval = 5\n").expect("writable");
    let mut command = muster(&["agent", "--config"]);
    command.arg(&path);
    let ended = run(command, "").with(64);
    for said in ["agent.toml:1", "did you mean `name`?", "agent.toml:3"] {
        assert!(ended.stderr.contains(said), "{said}: {ended:#?}");
    }
}

#[test]
fn the_configuration_is_printed_with_its_reference() {
    let printed = run(muster(&["agent", "--print-config", "--name", "web-7"]), "").with(0);
    assert!(printed.stdout.contains("web-7"), "{printed:#?}");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("agent.toml");
    std::fs::write(&path, &printed.stdout).expect("writable");
    let mut command = muster(&["agent", "--print-config", "--config"]);
    command.arg(&path);
    assert_eq!(
        run(command, "").with(0).stdout,
        printed.stdout,
        "it reads what it prints"
    );
}

#[test]
fn pages_and_completions_are_generated() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(muster(&["completions", shell]), "").with(0);
        assert!(script.stdout.contains("muster"), "{shell}");
    }
    let page = run(muster(&["man"]), "").with(0);
    assert!(page.stdout.contains(".TH muster"), "{}", page.stdout);
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = muster(&["man", "--out"]);
    command.arg(directory.path());
    run(command, "").with(0);
    assert!(directory.path().join("muster-apply.1").exists());
}

#[test]
fn a_fleet_is_not_made_where_other_things_are() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("thesis.tex"), "precious").expect("writable");
    for words in [
        &["dev"][..],
        &["dev", "clean", "--yes"],
        &["dev", "start", "web-1"],
    ] {
        let mut command = muster(words);
        command.arg("--dir").arg(directory.path());
        let ended = run(command, "").with(1);
        assert!(
            ended.stderr.contains("--dir"),
            "it says what to do: {ended:#?}"
        );
    }
    assert_eq!(
        std::fs::read_dir(directory.path()).expect("there").count(),
        1
    );
    let mut command = muster(&["dev", "clean"]);
    command.arg("--dir").arg(directory.path().join("nothing"));
    run(command, "").with(0);
}

#[test]
fn bad_specs_stop_a_fleet_before_anything_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let dir = directory.path().join("fleet");
    let mut command = muster(&["dev", "-f", "no-such-file.toml", "--dir"]);
    command.arg(&dir);
    run(command, "").with(64);
    assert!(!dir.exists());
}
