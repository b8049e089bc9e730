use proptest::prelude::*;
use serde_json::json;

mod fakes;

use super::*;
use crate::api::types::Change;
use crate::fleet::spec::{HealMode, Unreachable};

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.into(),
        text: text.into(),
    }
}

fn read(text: &str) -> Result<Vec<GroupSpec>, SpecError> {
    parse(&[source("fleet.toml", text)], &fakes::registries())
}

fn one(text: &str) -> GroupSpec {
    let mut specs = read(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(specs.len(), 1);
    specs.remove(0)
}

/// Each problem as `line: field: what`.
fn problems(text: &str) -> Vec<String> {
    let error = read(text).expect_err("it is wrong");
    assert!(
        error
            .problems
            .iter()
            .all(|problem| !problem.remedy.is_empty()),
        "{error}"
    );
    let shown =
        |problem: &SpecProblem| format!("{}: {}: {}", problem.line, problem.field, problem.what);
    error.problems.iter().map(shown).collect()
}

const FULL: &str = r#"
[[group]]
id = "db"
members = ["db-1", { id = "db-2", attachments = [{ id = "vol-2" }] }]
labels = { tier = "back", copies = 2 }
placement = { zones = ["b", "a"] }

[group.flavor]
name = "vanilla"

[group.heal]
mode = "approve"
boot_grace = "5m"
change_grace = "0s"
unreachable_after = "1m 30s"
unreachable = "power-cycle"
reimage_within = "45m"
budget = { at_once = 1, per_hour = 4 }
lease = "20s"
stop_within = "4s"
"#;

// === what is accepted ===

#[test]
fn a_short_spec_gets_the_defaults() {
    let spec = one("[[group]]\nid = 'web'\nsize = 3\n");
    assert_eq!(spec.id.as_str(), "web");
    assert_eq!(spec.allocation, Allocation::Cattle { size: 3 });
    assert_eq!(spec.instance.provisioner, "process");
    assert_eq!(spec.flavor.name, "vanilla");
    assert_eq!(
        spec.heal,
        crate::fleet::spec::HealPolicy::defaults("process")
    );
    assert!(spec.placement.zones.is_empty());
}

#[test]
fn a_pet_on_this_computer_has_a_disk_unless_its_spec_says_otherwise() {
    let attachments = |text: &str| {
        let spec = one(text);
        let Allocation::Pets { members } = &spec.allocation else {
            panic!("pets: {spec:?}")
        };
        members["db-1"]
            .attachments
            .iter()
            .map(|disk| disk.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(attachments("id = 'db'\nmembers = ['db-1']"), ["db-1"]);
    let other = "id = 'db'\nmembers = [{ id = 'db-1', attachments = [{ id = 'vol' }] }]";
    assert_eq!(attachments(other), ["vol"]);
    let none = "id = 'db'\nmembers = [{ id = 'db-1', attachments = [] }]";
    assert_eq!(attachments(none), [""; 0]);
    assert_eq!(
        one(&to_toml(&one(none))),
        one(none),
        "it survives being written back"
    );
}

#[test]
fn every_key_is_read() {
    let spec = one(FULL);
    let Allocation::Pets { members } = &spec.allocation else {
        panic!("pets: {spec:?}")
    };
    assert_eq!(members.len(), 2);
    assert_eq!(members["db-2"].attachments[0].id, "vol-2");
    assert_eq!(spec.labels["copies"], "2");
    assert_eq!(spec.placement.zones.len(), 2);
    assert_eq!(spec.heal.mode, HealMode::Approve);
    assert_eq!(spec.heal.unreachable_after_ms, 90_000);
    assert_eq!(spec.heal.reimage_within_ms, 45 * 60_000);
    assert_eq!(spec.heal.unreachable, Some(Unreachable::PowerCycle));
    assert_eq!(spec.heal.budget.at_once, Some(1));
    let lease = spec.heal.lease.expect("written");
    assert_eq!((lease.lease_ms, lease.stop_ms), (20_000, 4_000));
}

#[test]
fn all_forms_of_a_document_are_the_same() {
    let expected = one("[[group]]\nid = 'web'\nsize = 0\n");
    for (name, text) in [
        ("a.toml", "id = 'web'\nsize = 0\n"),
        ("a.toml", "[group]\nid = 'web'\nsize = 0\n"),
        ("a.json", r#"{"id": "web", "size": 0}"#),
        ("a.json", r#"[{"id": "web", "size": 0}]"#),
        ("a.json", r#"{"group": [{"id": "web", "size": 0}]}"#),
        ("<stdin>", "[[group]]\nid = 'web'\nsize = 0\n"),
        ("<stdin>", r#"{"id": "web", "size": 0, "labels": null}"#),
        ("<stdin>", r#"[ {"id": "web", "size": 0} ]"#),
    ] {
        let specs = parse(&[source(name, text)], &fakes::registries());
        assert_eq!(
            specs.unwrap_or_else(|error| panic!("{text}: {error}")),
            std::slice::from_ref(&expected),
            "{text}"
        );
    }
}

#[test]
fn what_is_written_back_is_read_again() {
    for spec in [one(FULL), one("[[group]]\nid = 'web'\nsize = 3\n")] {
        assert_eq!(one(&to_toml(&spec)), spec, "{}", to_toml(&spec));
        let json = document(&spec).to_string();
        let read = parse(&[source("a.json", &json)], &fakes::registries());
        assert_eq!(read.expect("our own document"), [spec]);
    }
}

// === what is refused, and how ===

#[test]
fn all_problems_are_reported_at_once_in_order() {
    let text = "[[group]]\nid = 'Web'\nszie = 3\n\n[[group]]\nid = 'db'\nsize = 'two'\n[group.heal]\nmode = 'atuo'\nboot_grace = 30\n";
    let found = problems(text);
    let lines: Vec<_> = found
        .iter()
        .map(|problem| problem.split(':').next().unwrap_or_default())
        .collect();
    assert_eq!(lines, ["1", "2", "3", "7", "9", "10"], "{found:#?}");
}

#[test]
fn a_problem_shows_file_line_field_and_remedy() {
    let error = read("[[group]]\nid = 'web'\nszie = 3\nsize = 3\n").expect_err("unknown key");
    assert_eq!(
        error.to_string(),
        "the spec can't be used\n\
         fleet.toml:3:1: group.web.szie: there is no such key; did you mean `size`?\n  \
         3 | szie = 3\n    | ^^^^"
    );
}

#[test]
fn contradictory_and_unhealable_specs_are_refused() {
    for (text, expected) in [
        ("id = 'a'\nsize = 1\nmembers = ['b']", "either a size"),
        ("id = 'a'", "is missing"),
        ("id = 'a'\nmembers = []", "without pets"),
        ("id = 'a'\nmembers = ['b', 'b']", "named twice"),
        ("id = 'a'\nmembers = ['B']", "not a machine name"),
        ("id = 'a'\nmembers = [{}]", "is missing"),
        ("id = 'a'\nmembers = [1]", "expected an object"),
        ("id = 'a'\nsize = -1", "not negative"),
        ("id = 'a'\nsize = 99999999", "more than a fleet"),
        ("id = 'a'\nsize = 1\nplacement = { zones = [] }", "no zone"),
        (
            "id = 'a'\nsize = 1\nplacement = { zones = ['x', 'x'] }",
            "named twice",
        ),
        (
            "id = 'a'\nsize = 1\nheal = { budget = { at_once = 0 } }",
            "nothing would ever be healed",
        ),
        (
            "id = 'a'\nsize = 1\nheal = { budget = { per_hour = 0 } }",
            "nothing would ever be healed",
        ),
        (
            "id = 'a'\nsize = 1\nheal = { boot_grace = '1s' }",
            "shorter than 6s",
        ),
        (
            "id = 'a'\nsize = 1\nheal = { unreachable_after = '1s' }",
            "shorter than 3s",
        ),
        (
            "id = 'a'\nsize = 1\nheal = { boot_grace = '1year' }",
            "longer than 30 days",
        ),
        ("id = 'a'\nsize = 1\nlabels = { '' = 'x' }", "short key"),
        (
            "id = 'a'\nsize = 1\ninstance = { provisioner = 'docker2' }",
            "no provisioner",
        ),
        (
            "id = 'a'\nsize = 1\nflavor = { name = 'zookeper' }",
            "no flavor",
        ),
        ("id = 'a'\nsize = 1\ninstance = 3", "expected an object"),
        ("id = ''\nsize = 1", "not a group name"),
        ("", "no group"),
        ("[[group]]\nid = 'a'\nsize = 1\n[groups]\n", "beside groups"),
    ] {
        assert_refused(text, expected);
    }
}

#[test]
fn groups_under_another_name_are_named() {
    for text in [
        "[[grup]]\nid = 'a'\nsize = 1\n",
        "[grup]\nid = 'a'\nsize = 1\n",
    ] {
        assert_refused(text, "there is no `group` beside it");
    }
}

#[test]
fn leases_that_leave_no_time_are_refused() {
    for (text, expected) in [
        (
            "id = 'a'\nsize = 1\nheal = { lease = '10s' }",
            "cattle run without leases",
        ),
        (
            "id = 'a'\nmembers = ['b']\nheal = { lease = '1s' }",
            "not between 5s",
        ),
        (
            "id = 'a'\nmembers = ['b']\nheal = { lease = '10s', stop_within = '10s' }",
            "leaves less than 3s of the lease",
        ),
        (
            "id = 'a'\nmembers = ['b']\nheal = { lease = '10s', stop_within = '7001ms' }",
            "leaves less than 3s of the lease",
        ),
        (
            "id = 'a'\nmembers = ['b']\nheal = { lease = '10s', stop_within = '999ms' }",
            "shorter than 1s",
        ),
        (
            "id = 'a'\nmembers = ['b']\nheal = { stop_within = '10s' }",
            "without a lease",
        ),
    ] {
        assert_refused(text, expected);
    }
}

fn assert_refused(text: &str, expected: &str) {
    let found = problems(text);
    assert_eq!(found.len(), 1, "{text}: {found:#?}");
    assert!(found[0].contains(expected), "{text}: {found:#?}");
}

#[test]
fn observing_needs_no_budget() {
    one("id = 'a'\nsize = 1\nheal = { mode = 'observe', budget = { at_once = 0 } }");
}

#[test]
fn names_are_unique_across_files_and_groups() {
    let parse_two = |first: &str, second: &str| {
        let sources = [source("one.toml", first), source("two.toml", second)];
        let error = parse(&sources, &fakes::registries()).expect_err("they clash");
        assert_eq!(error.problems.len(), 1, "{error}");
        error.problems[0].clone()
    };
    let twice = parse_two("id = 'web'\nsize = 1", "\nid = 'web'\nsize = 2");
    assert_eq!((twice.file.as_str(), twice.line), ("two.toml", 2));
    assert!(twice.what.contains("one.toml:1"), "{twice}");
    let pet = parse_two(
        "id = 'web'\nsize = 1",
        "id = 'db'\nmembers = ['web-1', 'web-x']",
    );
    assert!(pet.what.contains("`web-1`"), "{pet}");
    parse_two("id = 'db'\nmembers = ['web-1']", "id = 'web'\nsize = 1");
    parse_two("id = 'a'\nmembers = ['x']", "id = 'b'\nmembers = ['x']");
}

#[test]
fn problems_of_provisioner_and_flavor_have_their_lines() {
    let text = "[[group]]\nid = 'web'\nsize = 1\n[group.instance.properties]\ncolour = 'red'\n\
                [group.flavor.properties]\nshape = 'round'\n";
    let found = problems(text);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with("5: group.web.instance.properties.colour"),
        "{found:#?}"
    );
    assert!(
        found[1].starts_with("7: group.web.flavor.properties.shape"),
        "{found:#?}"
    );
}

#[test]
fn a_file_that_is_not_there_is_a_problem_beside_the_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let wrong = directory.path().join("wrong.toml");
    std::fs::write(&wrong, "id = 'a'\n").expect("writable");
    let error = load(
        &[directory.path().join("none.toml"), wrong],
        &fakes::registries(),
    )
    .expect_err("two problems");
    assert_eq!(error.problems.len(), 2, "{error}");
    assert!(error.problems[0].what.contains("can't be read"), "{error}");
}

#[test]
fn a_flood_of_problems_is_cut() {
    let text = (0..1000)
        .map(|index| format!("[[group]]\nid = 'g{index}'\n"))
        .collect::<String>();
    let error = read(&text).expect_err("no sizes");
    assert_eq!(error.problems.len(), PROBLEMS_MAX + 1);
    assert!(
        error.problems[PROBLEMS_MAX].what.contains("900 more"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>(), json in any::<bool>()) {
        let name = if json { "a.json" } else { "a.toml" };
        if let Err(error) = parse(&[source(name, &text)], &fakes::registries()) {
            let _ = error.to_string();
        }
    }

    #[test]
    fn no_spec_like_text_panics(
        lines in prop::collection::vec(
            prop_oneof![
                Just("[[group]]".to_owned()), Just("[group.heal]".to_owned()),
                Just("[group.instance.properties]".to_owned()), Just("[group.flavor]".to_owned()),
                Just("\t# ä\u{301} comment".to_owned()),
                ("(id|size|members|labels|mode|zones|budget|properties|boot_grace)", "[ -~]{0,20}|'[a-z]*'|[0-9]{1,20}|\\[.{0,10}\\]|\\{.{0,10}\\}")
                    .prop_map(|(key, value)| format!("{key} = {value}")),
            ],
            0..20,
        ),
    ) {
        if let Err(error) = read(&lines.join("\n")) {
            let _ = error.to_string();
        }
    }
}

// === plans ===

fn current(spec: &GroupSpec) -> Option<Current<'_>> {
    Some(Current {
        spec,
        revision: 4,
        machines: spec.desired(),
    })
}

#[test]
fn a_plan_tells_creation_scaling_update_and_nothing_apart() {
    let old = one("id = 'web'\nsize = 3\nlabels = { tier = 'front' }");
    let new = |text: &str| plan(current(&old), &one(text));
    let create = plan(None, &old);
    assert_eq!(
        (create.change, create.desired_before, create.desired_after),
        (Change::Create, 0, 3)
    );
    assert_eq!(create.revision, None);
    assert_eq!(
        new("id = 'web'\nsize = 3\nlabels = { tier = 'front' }").change,
        Change::Unchanged
    );
    let scale = new("id = 'web'\nsize = 1\nlabels = { tier = 'front' }");
    assert_eq!((scale.change, scale.revision), (Change::Scale, Some(4)));
    assert!(
        scale.warnings[0].starts_with("2 machines are taken away"),
        "{:?}",
        scale.warnings
    );
    let update =
        new("id = 'web'\nsize = 3\nlabels = { zone = 'a' }\nheal = { boot_grace = '90s' }");
    assert_eq!(update.change, Change::Update);
    let fields: Vec<_> = update
        .fields
        .iter()
        .map(|field| (field.field.as_str(), &field.before, &field.after))
        .collect();
    assert_eq!(
        fields,
        [
            ("heal.boot_grace", &json!(null), &json!("1m 30s")),
            ("labels.tier", &json!("front"), &json!(null)),
            ("labels.zone", &json!(null), &json!("a")),
        ]
    );
}

#[test]
fn a_plan_names_the_pets_that_come_and_go() {
    let old = one("id = 'db'\nmembers = ['db-1', 'db-2']");
    let plan = plan(current(&old), &one("id = 'db'\nmembers = ['db-2', 'db-3']"));
    assert_eq!(plan.change, Change::Scale);
    assert_eq!(plan.members_added, ["db-3"]);
    assert_eq!(plan.members_removed, ["db-1"]);
    assert!(
        plan.warnings[0].starts_with("db-1 is taken away"),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn a_lease_for_pets_that_were_made_without_start_and_stop_comes_with_a_warning() {
    let bare = one("id = 'db'\nmembers = ['db-1']");
    let commands = json!({ "start": "exec db", "stop": { "command": "db stop" } });
    let mut able = bare.clone();
    able.flavor.properties = serde_json::from_value(commands).expect("properties");
    let mut leased = able.clone();
    leased.heal.lease = Some(crate::fleet::LeaseTerms {
        lease_ms: 12_000,
        stop_ms: 3_000,
    });
    let warned = |old: &GroupSpec| {
        let warnings = plan(current(old), &leased).warnings;
        let told = |warning: &String| warning.contains("without a lease");
        warnings.iter().any(told)
    };
    assert!(warned(&bare));
    assert!(!warned(&able));
}

#[test]
fn what_a_running_group_cannot_become_is_refused_with_the_safe_way() {
    let cattle = one("id = 'a'\nsize = 2");
    let refused = plan(current(&cattle), &one("id = 'a'\nmembers = ['b']"))
        .refused
        .expect("refused");
    assert!(refused.remedy.contains("another ID"), "{refused:?}");
    let mut elsewhere = cattle.clone();
    elsewhere.instance.provisioner = "aws".into();
    assert!(plan(current(&cattle), &elsewhere).refused.is_some());
    let empty = Current {
        spec: &cattle,
        revision: 1,
        machines: 0,
    };
    assert_eq!(plan(Some(empty), &elsewhere).refused, None);
    let pets = one("id = 'db'\nmembers = ['db-1']");
    assert!(
        plan_scale(current(&pets).expect("some"), 3)
            .1
            .refused
            .is_some()
    );
    let (spec, plan) = plan_scale(current(&cattle).expect("some"), 5);
    assert_eq!(
        (spec.desired(), plan.change, plan.refused),
        (5, Change::Scale, None)
    );
}
