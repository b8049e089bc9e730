use std::path::Path;
use std::time::Duration;

use clap::{Args, FromArgMatches};

use super::*;

fn read_text(text: &str) -> Result<AgentConfig, ConfigError> {
    let path = Path::new("muster.toml");
    read(Some(File { path, text }), &ConfigFlags::default())
}

fn flags_of(arguments: &[&str]) -> ConfigFlags {
    let command = ConfigFlags::augment_args(clap::Command::new("agent").no_binary_name(true));
    let matches = command
        .try_get_matches_from(arguments)
        .expect("the flags parse");
    ConfigFlags::from_arg_matches(&matches).expect("text always converts")
}

fn problems_of(text: &str) -> Vec<String> {
    let error = read_text(text).expect_err("the text is bad");
    error.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_printed_defaults_parse_and_equal_the_defaults() {
    let text = render_defaults();
    let mut expected = AgentConfig::default();
    assert_eq!(read_text(&text), Ok(expected.clone()));
    // Not only because all is commented out: a changed line changes the result.
    let changed = text.replace("\ninterval = \"5s\"\n", "\ninterval = \"7s\"\n");
    expected.health.interval = Duration::from_secs(7);
    assert_eq!(read_text(&changed), Ok(expected));
}

#[test]
fn every_example_in_the_printed_defaults_is_of_the_right_form() {
    let text = render_defaults();
    let mut examples = 0;
    for (number, line) in text.lines().enumerate() {
        let is_example = line.strip_prefix("# ").is_some_and(|rest| {
            rest.split_once(" = ")
                .is_some_and(|(key, _)| !key.contains(' '))
        });
        if !is_example {
            continue;
        }
        examples += 1;
        let uncommented: Vec<_> = text
            .lines()
            .enumerate()
            .map(|(other, line)| if other == number { &line[2..] } else { line })
            .collect();
        if let Err(error) = read_text(&uncommented.join("\n")) {
            // An example alone may lack its companion, but it must not be malformed.
            let remedies: Vec<_> = error
                .problems
                .iter()
                .map(|problem| problem.remedy.as_str())
                .collect();
            let allowed = [
                "set both or neither",
                "set `seeds` to the addresses of machines of the mesh",
            ];
            assert!(
                remedies.iter().all(|remedy| allowed.contains(remedy)),
                "{line}: {error}"
            );
        }
    }
    assert!(examples >= 10, "found only {examples} examples");
}

#[test]
fn every_key_has_a_flag_a_variable_a_default_and_a_description() {
    let text = render_defaults();
    for (section, table) in AgentConfig::default().sections() {
        for (index, key) in table.keys().iter().enumerate() {
            let path = source::join(section, key.name);
            assert!(key.doc.trim().len() > 20, "{path} has no description");
            let empty = table
                .get(index)
                .is_none_or(|value| value.as_str() == Some(""));
            assert!(
                !empty || key.example.is_some(),
                "{path} has neither default nor example"
            );
            let names = format!(
                "# --{} or ${}\n",
                flags::flag_name(section, key.name),
                flags::environment_name(section, key.name)
            );
            assert!(text.contains(&names), "{path}: {names}");
        }
    }
}

#[test]
fn a_rendered_configuration_reads_back_the_same() {
    let text = "name = \"web-1\"\nseeds = [\"10.0.0.1\", \"[fe80::1]:7\", \"a.example:9\"]\n\
                labels = { zone = \"a\" }\n[health]\ncpu_warning_percent = \"off\"\n\
                clock_critical = \"1m 5s\"\n";
    let config = read_text(text).expect("good");
    assert_eq!(read_text(&render(&config)), Ok(config));
}

#[test]
fn the_join_token_is_not_printed() {
    let config =
        read_text("join_token = \"muster1-secret\"\nseeds = [\"10.0.0.1\"]").expect("good");
    assert_eq!(config.machine.join_token.as_deref(), Some("muster1-secret"));
    assert!(!render(&config).contains("secret"), "{}", render(&config));
}

#[test]
fn all_problems_are_reported_at_once_with_line_and_remedy() {
    let text = "\
nmae = \"web-1\"
data_dir = \"relative\"
bind = 7

[health]
interval = 5
memory_warning_percent = 99
raise_after = -1

[metrics]
listen = \"0.0.0.0:6879\"

[helth]
interval = \"5s\"
";
    let problems = problems_of(text);
    let expected = [
        "muster.toml:1: nmae: there is no such key; did you mean `name`?",
        "muster.toml:3: bind: this is a number, expected an IP address with a port",
        "muster.toml:6: health.interval: this is a number, expected a duration with its unit",
        "muster.toml:8: health.raise_after: -1 is not a whole number, not negative; write",
        "muster.toml:13: helth: there is no such key; did you mean `[health]`?",
        "muster.toml:2: data_dir: `relative` is relative",
        "muster.toml:7: health.memory_warning_percent: the warning (99) is not below",
        "muster.toml:11: metrics.listen: `0.0.0.0:6879` is reachable from other machines",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(
            problem.starts_with(expected),
            "{problem}\nexpected {expected}"
        );
    }
}

#[test]
fn broken_toml_names_its_line() {
    let problems = problems_of("name = \"web\"\n\ndata_dir = \n");
    assert!(problems[0].starts_with("muster.toml:3: "), "{problems:?}");
    assert!(problems_of("name = \"a\"\nname = \"b\"\n")[0].starts_with("muster.toml:2: "));
}

#[test]
fn a_section_where_a_value_belongs_and_the_reverse() {
    assert!(problems_of("health = 5")[0].contains("write `[health]` on a line of its own"));
    assert!(problems_of("[name]\nx = 1\n")[0].contains("expected a text"));
}

#[test]
fn flags_outrank_the_file_and_are_named_in_problems() {
    let flags = flags_of(&[
        "--health-interval",
        "9s",
        "--seeds",
        "a",
        "--seeds",
        "b:7,c",
        "--bind",
        "x",
    ]);
    let path = Path::new("muster.toml");
    let text = "[health]\ninterval = \"5s\"\n";
    let error = read(Some(File { path, text }), &flags).expect_err("bind is bad");
    let shown = error.to_string();
    assert!(
        shown.contains("--bind: bind: `x` is not an IP address with a port"),
        "{shown}"
    );
    let flags = flags_of(&[
        "--health-interval",
        "9s",
        "--seeds",
        "a",
        "--seeds",
        "b:7,c",
        "--labels",
        "zone=a,rack=2",
    ]);
    let config = read(Some(File { path, text }), &flags).expect("good");
    assert_eq!(config.health.interval, Duration::from_secs(9));
    let seeds: Vec<_> = config
        .machine
        .seeds
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(seeds, ["a:6878", "b:7", "c:6878"]);
    assert_eq!(config.machine.labels["rack"], "2");
}

#[test]
fn pairs_stand_for_flags() {
    let config = read(
        None,
        &ConfigFlags::from_pairs([("name", "db-1"), ("coordinator", "false")]),
    )
    .expect("good");
    assert_eq!(config.machine.name.as_deref(), Some("db-1"));
    assert!(!config.machine.coordinator);
}

#[test]
fn derived_paths_lie_in_the_data_directory() {
    let config = read_text("data_dir = \"/srv/m\"").expect("good");
    assert_eq!(config.api_socket(), Path::new("/srv/m/api.sock"));
    assert_eq!(config.process_root(), Path::new("/srv/m/machines"));
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    for (text, what) in [
        (
            "join_token = \"muster1-a\"\njoin_token_file = \"/t\"\nseeds = [\"a\"]",
            "are both set",
        ),
        ("join_token = \"muster1-a\"", "nobody to show it to"),
        (
            "join_token = \"hunter2\"\nseeds = [\"a\"]",
            "this is not a join token",
        ),
        (
            "bind = \"10.0.0.1:7\"\nseeds = [\"10.0.0.1:7\"]",
            "is this machine itself",
        ),
        ("bind = \"10.0.0.1:0\"", "port 0"),
        ("advertise = \"0.0.0.0:7\"", "nobody can reach"),
        (
            "bind = \"10.0.0.1:7\"\nadvertise = \"[2001:db8::1]:7\"",
            "different address families",
        ),
        ("name = \"Web_1\"", "is not a name"),
        ("[instance]\nmember = \"web-1\"", "`instance.group` is not"),
        ("[log]\nlevel = \"loud=very\"", "is no level"),
        (
            "labels = { \"a b\" = \"c\" }",
            "cannot be the key of a label",
        ),
        ("[health]\nclock_warning = \"9s\"", "is not below"),
    ] {
        let problems = problems_of(text);
        assert!(
            problems.iter().any(|problem| problem.contains(what)),
            "{text}: {problems:?}"
        );
        assert!(
            problems.iter().all(|problem| !problem.contains("hunter2")),
            "{problems:?}"
        );
    }
    let long = format!("data_dir = \"/{}\"", "d".repeat(120));
    assert!(
        problems_of(&long)[0].contains("Unix allows 107"),
        "{:?}",
        problems_of(&long)
    );
}

#[test]
fn what_a_provisioner_writes_is_read() {
    use muster_provisioners::{
        AgentPlace, MachineSpec, OperationId, Properties, Secret, agent_config,
    };
    let mut spec = MachineSpec::new("web-1", Properties::new());
    spec.init = "echo \"hello\"\n".into();
    spec.labels.insert("zone".into(), "a".into());
    spec.boot.group = "web".into();
    spec.boot.member = "web-1".into();
    spec.boot.seeds = vec!["127.1.2.3:4000".parse().expect("an address")];
    spec.boot.join_token = Secret::new("muster1-token");
    spec.boot.settings = r#"{"log":{"level":"debug"}}"#.parse().expect("properties");
    let settings: Properties = r#"{"root":"/r"}"#.parse().expect("properties");
    let id = "web-1-abc".parse().expect("an instance ID");
    let op = OperationId::derive("c", "web", "web-1", 1, "provision");
    let place = AgentPlace {
        data_dir: Some(Path::new("/r/state")),
        bind: Some("127.1.2.4:4000".parse().expect("an address")),
        api_socket: Some(Path::new("/r/api.sock")),
        instance: Some(("process", &id, &op)),
        settings: Some(("process", &settings)),
    };
    let config = read_text(&agent_config(&spec, &place)).expect("both agree on the keys");
    assert_eq!(config.instance.group.as_deref(), Some("web"));
    assert_eq!(config.instance.id.as_deref(), Some("web-1-abc"));
    assert_eq!(config.machine.first_boot, Some(spec.init));
    assert_eq!(config.machine.seeds[0].to_string(), "127.1.2.3:4000");
    assert_eq!(config.process_root(), Path::new("/r"));
    assert_eq!(config.log.level, "debug");
}

#[test]
fn tables_of_provisioners_are_checked_and_handed_on() {
    let problems =
        problems_of("bind = \"0.0.0.0:1\"\n\n[provisioners.no-such-cloud]\nregion = \"x\"\n");
    assert!(problems[0].contains("muster.toml:3"), "{problems:?}");
    assert!(
        problems[0].contains("there is no provisioner `no-such-cloud`"),
        "{problems:?}"
    );
    let problems = problems_of("[provisioners.process]\nroot = \"/r\"\n");
    assert!(problems[0].contains("[process]"), "{problems:?}");
    assert!(problems_of("provisioners = 5")[0].contains("a table of tables"));

    let mut config = AgentConfig::default();
    assert!(config.handed_on().is_empty());
    let table = r#"{"zone":"a","hosts":["h1"]}"#.parse().expect("properties");
    config
        .machine
        .provisioners
        .insert("cloud".to_owned(), table);
    let mut spec = muster_provisioners::MachineSpec::new("web-1", Properties::new());
    spec.boot.settings = config.handed_on();
    let text =
        muster_provisioners::agent_config(&spec, &muster_provisioners::AgentPlace::default());
    let toml: toml::Table = text.parse().expect("TOML");
    assert_eq!(
        toml["provisioners"]["cloud"]["hosts"][0].as_str(),
        Some("h1")
    );
}

#[test]
fn a_missing_or_oversized_file_is_a_problem_of_its_own() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let missing = dir.path().join("none.toml");
    let error = load(Some(&missing), &ConfigFlags::default()).expect_err("missing");
    assert!(error.to_string().contains("cannot be opened"), "{error}");
    assert_eq!(error.exit_code(), 64);
    let long = dir.path().join("long.toml");
    std::fs::write(&long, "#".repeat(FILE_BYTES_MAX as usize + 1)).expect("written");
    let error = load(Some(&long), &ConfigFlags::default()).expect_err("too long");
    assert!(error.to_string().contains("is longer than"), "{error}");
    let binary = dir.path().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe]).expect("written");
    assert!(load(Some(&binary), &ConfigFlags::default()).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_panics(
        text in ".{0,200}",
        key in "[a-z_]{1,20}",
        value in "[-0-9a-z\"\\[\\]{}=.,]{0,20}",
    ) {
        let _ = read_text(&text);
        let _ = read_text(&format!("{key} = {value}\n[health]\n{key} = {value}"));
    }

    #[test]
    fn no_seed_panics_and_good_ones_round_trip(text in "[a-z0-9.:\\[\\]-]{0,30}") {
        if let Ok(seed) = text.parse::<Seed>() {
            proptest::prop_assert_eq!(seed.to_string().parse::<Seed>(), Ok(seed));
        }
    }
}
