use clap::CommandFactory;

use super::args::{Command, DevCommand, GroupCommand};
use super::*;

fn parse(words: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("muster").chain(words.split_whitespace()))
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

/// Commands as the documents show them.
const SHOWN: [&str; 68] = [
    "dev",
    "dev --machines 7 --dir /tmp/x --json",
    "dev -f a.toml b.toml",
    "dev start web-1 --dir /tmp/x",
    "dev stop web-1",
    "dev list",
    "dev clean --yes",
    "init --cluster-name prod --bind 127.0.0.1:1",
    "init --run",
    "join 10.0.0.1 10.0.0.2:6878 --token muster1-x",
    "agent --config /etc/muster.toml --health-interval 10s",
    "agent --print-config",
    "leave",
    "leave --yes",
    "token create --ttl 1h --uses 3 --group web",
    "token list",
    "tokens list",
    "token revoke 0123",
    "operator create alice --out /tmp/alice.pem",
    "operator list",
    "operator revoke alice",
    "apply -f a.toml -f b.json --dry-run",
    "apply -f a.toml b.toml --yes",
    "apply -f -",
    "group list",
    "groups list",
    "group show web --spec",
    "group scale web 0",
    "group pause",
    "group pause web --reason upgrade --for 1h",
    "group resume web",
    "group destroy web --yes",
    "group free web",
    "group heal-mode web observe",
    "status",
    "status --check",
    "status --watch",
    "status --json --node /run/x.sock",
    "--node 127.0.0.1:6878 --identity a.pem status",
    "members",
    "machine web-1",
    "coordinators",
    "health",
    "explain 17",
    "decisions -n 5 --group web",
    "events -f --since 10m",
    "events -n 5 --json",
    "approve 17",
    "group export web",
    "group export --infrakit --envelope list",
    "group adopt -f a.json --dry-run",
    "infrakit serve --socket /tmp/x",
    "pause --reason racks",
    "pause --zone a --reason racks --for 2h --name power",
    "pause list",
    "resume",
    "resume power",
    "resume --machine web-1",
    "revoke web-1",
    "forget web-1",
    "log-level",
    "log-level info,muster=debug",
    "metrics",
    "completions bash",
    "man",
    "process-launch /tmp/x",
    "lease-guard /tmp/x",
    "lease-exec 1",
];

#[test]
fn every_command_of_the_documents_is_understood() {
    for words in SHOWN {
        parse(words).unwrap_or_else(|error| panic!("{words}: {error}"));
    }
}

#[test]
fn nonsense_is_wrong_usage() {
    for words in [
        "",
        "statsu",
        "status --check --watch",
        "group scale web many",
        "group scale web -1",
        "group heal-mode web maybe",
        "dev --machines 0",
        "dev --machines 3 -f a.toml",
        "dev --machines 3 clean",
        "token create --ttl 5",
        "token create --uses 0",
        "events --since yesterday",
        "status --timeout 0s",
        "apply",
        "group adopt",
        "group export --envelope list",
        "infrakit",
        "join --token x",
        "init --cluster-name=",
        "init --cluster-name=a\tb",
        "approve",
    ] {
        let error = parse(words)
            .err()
            .unwrap_or_else(|| panic!("`{words}` is accepted"));
        assert_eq!(error.exit_code(), 2, "{words}: {error}");
    }
}

#[test]
fn flags_come_before_or_after_the_command() {
    for words in ["--json status", "status --json"] {
        assert!(parse(words).expect("it parses").global.json);
    }
}

#[test]
fn words_become_what_they_mean() {
    let command = |words: &str| parse(words).expect("it parses").command;
    let Command::Dev(dev) = command("dev stop web-3 --dir d") else {
        panic!("dev")
    };
    assert!(
        matches!(dev.command, Some(DevCommand::Stop { name, place }) if name == "web-3" && place.dir.ends_with("d"))
    );
    let Command::Dev(dev) = command("dev") else {
        panic!("dev")
    };
    assert_eq!(dev.place.dir, std::path::Path::new(crate::dev::DIR_DEFAULT));
    let Command::Group(GroupCommand::HealMode { mode, .. }) = command("group heal-mode web auto")
    else {
        panic!("heal-mode")
    };
    assert_eq!(
        crate::api::types::HealMode::from(mode),
        crate::api::types::HealMode::Auto
    );
}

#[test]
fn help_teaches_by_example() {
    let mut cli = Cli::command();
    let long = cli.render_long_help().to_string();
    for word in ["Exit codes:", "MUSTER_NODE", "muster dev", "NO_COLOR"] {
        assert!(long.contains(word), "{word} in {long}");
    }
    for command in ["apply", "status", "join", "explain", "dev"] {
        let help = cli
            .find_subcommand_mut(command)
            .expect("there")
            .render_long_help()
            .to_string();
        assert!(help.contains("Examples:"), "{command}: {help}");
    }
    assert!(!long.contains("process-launch"), "it is not for people");
}

/// The commands that the README has people type, without what the shell does around them.
fn typed_in_readme() -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let mut in_code = false;
    let mut typed = Vec::new();
    for line in readme.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
            continue;
        }
        let command = line.strip_prefix("$ muster ");
        let Some(words) = command.filter(|_| in_code) else {
            continue;
        };
        let ends = [" | ", " > ", " < ", " && ", "; ", " & ", " # "];
        let end = ends.iter().filter_map(|end| words.find(end)).min();
        let words = end.map_or(words, |end| words.split_at(end).0);
        typed.push(words.trim_end_matches(" &").to_owned());
    }
    typed
}

#[test]
fn every_command_of_the_readme_is_understood() {
    let typed = typed_in_readme();
    assert!(typed.len() >= 15, "{typed:?}");
    for words in typed {
        if let Err(error) = parse(&words) {
            panic!("README: muster {words}: {error}");
        }
    }
}

#[test]
fn every_command_is_in_the_readme() {
    let readme = include_str!("../../../README.md");
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let listed = readme.contains(&format!("| `{name}")) || readme.contains(&format!("`{name}"));
        assert!(
            listed || command.is_hide_set(),
            "the README doesn't know `muster {name}`"
        );
    }
}
