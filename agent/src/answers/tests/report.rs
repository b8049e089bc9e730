//! How what was decided is marked against what happened.

use super::scene::Scene;
use crate::answers::report::report;
use crate::api::types::{Decided, Mark, Report};
use crate::fleet::testing::group;
use crate::fleet::{
    Cause, Command, Diagnosis, HealMode, Outcome, Proposal, Rule, Rung, StepResult, Subject, Would,
};

fn ask(scene: &Scene) -> Report {
    scene.look(|snapshot| report(snapshot, 0))
}

/// Puts on record that something would have been done.
fn observe(scene: &mut Scene, name: &str, diagnosis: Diagnosis) {
    let would = Would::Replace;
    let hold = scene
        .fleet
        .hold(scene.fleet.id(name), diagnosis, Rule::Mode);
    let observed = Proposal {
        outcome: Outcome::Observe { would },
        ..hold
    };
    scene.fleet.ok(Command::Decide(vec![observed]));
}

fn hold(scene: &mut Scene, name: &str, diagnosis: Diagnosis, rule: Rule) {
    let hold = scene.fleet.hold(scene.fleet.id(name), diagnosis, rule);
    scene.fleet.ok(Command::Decide(vec![hold]));
}

fn recover(scene: &mut Scene, name: &str) {
    let id = scene.fleet.id(name);
    let over = Proposal {
        cause: scene.fleet.diagnosed(Diagnosis::Healthy),
        checks: Vec::new(),
        outcome: Outcome::Clear,
        ..scene.fleet.hold(id, Diagnosis::Slow, Rule::Evidence)
    };
    scene.fleet.ok(Command::Decide(vec![over]));
}

fn in_mode(mode: HealMode) -> Scene {
    let mut scene = Scene::new();
    for id in ["web", "db"] {
        let group = group(id);
        scene.fleet.ok(Command::SetHealMode { group, mode });
    }
    scene
}

#[track_caller]
fn marks(report: &Report, expected: &[(&str, Decided, Mark)]) {
    let marks: Vec<_> = report
        .cases
        .iter()
        .map(|case| (case.machine.as_str(), case.decided, case.mark))
        .collect();
    assert_eq!(marks, expected, "{:#?}", report.cases);
}

#[test]
fn a_fleet_without_trouble_has_nothing_to_report() {
    let report = ask(&Scene::new());
    marks(&report, &[]);
    assert_eq!((report.fleet.precision, report.fleet.recall), (None, None));
    assert_eq!(report.fleet.time_to_heal.count, 0, "growth is no healing");
    assert_eq!(report.groups.len(), 2);
}

#[test]
fn what_would_have_been_done_is_right_where_the_machine_had_failed_and_wrong_where_it_came_back() {
    let mut scene = in_mode(HealMode::Observe);
    observe(&mut scene, "web-1", Diagnosis::Gone);
    observe(&mut scene, "web-2", Diagnosis::Unreachable);
    observe(&mut scene, "web-3", Diagnosis::Unreachable);
    marks(
        &ask(&scene),
        &[
            ("web-1", Decided::Observed, Mark::Right),
            ("web-2", Decided::Observed, Mark::Open),
            ("web-3", Decided::Observed, Mark::Open),
        ],
    );
    scene.fleet.pass(40_000);
    recover(&mut scene, "web-2");
    scene.fleet.pass(600_000);
    let report = ask(&scene);
    marks(
        &report,
        &[
            ("web-1", Decided::Observed, Mark::Right),
            ("web-2", Decided::Observed, Mark::Wrong),
            ("web-3", Decided::Observed, Mark::Right),
        ],
    );
    assert_eq!(
        report.cases[1].why,
        "it was well again by itself, 40 s after the first decision"
    );
    assert_eq!(report.cases[0].action.as_deref(), Some("replace web-1"));
    assert_eq!(report.fleet.precision, Some(2.0 / 3.0));
    assert_eq!(report.fleet.recall, Some(1.0));
    let web = &report.groups[1];
    assert_eq!((web.figures.right, web.figures.wrong), (2, 1));
    assert_eq!(report.groups[0].figures.right, 0, "db had no trouble");
    let mode = &report.held[0];
    assert_eq!(
        (mode.rule.as_str(), mode.times, mode.standing),
        ("mode", 3, 2)
    );
}

#[test]
fn a_hold_missed_a_failure_or_saved_a_machine() {
    let mut scene = Scene::new();
    hold(&mut scene, "web-1", Diagnosis::Unreachable, Rule::Grace);
    hold(&mut scene, "web-2", Diagnosis::Slow, Rule::Evidence);
    hold(&mut scene, "web-3", Diagnosis::Gone, Rule::Budget);
    hold(&mut scene, "db-1", Diagnosis::Slow, Rule::Evidence);
    scene.fleet.pass(20_000);
    assert_eq!(ask(&scene).fleet.missed, 0, "the rule may let go yet");
    recover(&mut scene, "web-1");
    recover(&mut scene, "web-2");
    scene.fleet.pass(3_600_000);
    let report = ask(&scene);
    marks(
        &report,
        &[
            ("web-1", Decided::Held, Mark::NearMiss),
            ("web-2", Decided::Held, Mark::Spared),
            ("web-3", Decided::Held, Mark::Missed),
            // Slow for an hour is not dead.
            ("db-1", Decided::Held, Mark::Open),
        ],
    );
    assert_eq!(report.cases[2].rule.as_deref(), Some("budget"));
    assert_eq!(report.fleet.recall, Some(0.0));
    assert_eq!(report.fleet.precision, None, "nothing was done");
    let held: Vec<_> = report.held.iter().map(|row| row.rule.as_str()).collect();
    assert_eq!(held, ["evidence", "grace", "budget"]);
}

#[test]
fn what_was_done_counts_with_the_time_that_it_took() {
    let mut scene = Scene::new();
    let old = scene.fleet.id("web-1");
    hold(&mut scene, "web-1", Diagnosis::Gone, Rule::Settled);
    scene.fleet.pass(2_000);
    let new = scene.fleet.act(scene.fleet.replace(old, Diagnosis::Gone));
    scene.fleet.pass(1_000);
    scene.fleet.done(new);
    scene.fleet.made(new);
    scene.fleet.pass(500);
    scene.fleet.join(new);
    let report = ask(&scene);
    marks(&report, &[("web-1", Decided::Acted, Mark::Right)]);
    assert_eq!(
        report.cases[0].action.as_deref(),
        Some("replace web-1 by web-4")
    );
    let healed = report.fleet.time_to_heal;
    assert_eq!((healed.count, healed.max_ms), (1, Some(1_500)));
    assert_eq!(report.held[0].standing, 0);

    let later = scene.fleet.now_ms + 1;
    let since = scene.look(|snapshot| super::super::report::report(snapshot, later));
    marks(&since, &[]);
    assert_eq!(since.fleet.time_to_heal.count, 0);
}

#[test]
fn an_order_that_failed_on_a_machine_that_came_back_was_wrong() {
    let mut scene = Scene::new();
    let old = scene.fleet.id("web-1");
    let new = scene
        .fleet
        .act(scene.fleet.replace(old, Diagnosis::Unreachable));
    marks(&ask(&scene), &[("web-1", Decided::Acted, Mark::Open)]);
    let error = "no".into();
    scene.fleet.report(new, StepResult::GiveUp { error });
    hold(&mut scene, "web-1", Diagnosis::Unreachable, Rule::Backoff);
    recover(&mut scene, "web-1");
    marks(&ask(&scene), &[("web-1", Decided::Acted, Mark::Wrong)]);
}

#[test]
fn what_is_taken_away_for_another_reason_is_no_verdict() {
    let mut scene = Scene::new();
    hold(&mut scene, "web-3", Diagnosis::Unreachable, Rule::Budget);
    scene.fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 2,
    });
    let (desired, existing) = (2, 3);
    let surplus = Cause::TooMany { desired, existing };
    let retire = scene.fleet.retire(scene.fleet.id("web-3"), surplus);
    assert!(matches!(retire.subject, Subject::Machine(_)));
    scene.fleet.act(retire);
    marks(&ask(&scene), &[("web-3", Decided::Held, Mark::Open)]);
}

#[test]
fn a_machine_that_was_back_before_it_was_taken_away_was_to_be_replaced_wrongly() {
    for diagnosis in [Diagnosis::Unreachable, Diagnosis::Gone] {
        let mut scene = Scene::new();
        let old = scene.fleet.id("db-1");
        scene.fleet.act(scene.fleet.replace(old, diagnosis));
        let why = "it is back: it answers".into();
        scene.fleet.report(old, StepResult::Spared { why });
        recover(&mut scene, "db-1");
        let report = ask(&scene);
        marks(&report, &[("db-1", Decided::Acted, Mark::Wrong)]);
        let why = &report.cases[0].why;
        assert!(why.contains("it is back"), "{why}");
        assert_eq!(report.fleet.precision, Some(0.0));
    }
}

#[test]
fn a_machine_that_was_back_before_it_was_treated_was_to_be_treated_wrongly() {
    let mut scene = Scene::new();
    let id = scene.fleet.id("web-2");
    let treat = scene
        .fleet
        .treat(id, Rung::RestartWorkload, Diagnosis::WorkloadFailed);
    scene.fleet.act(treat);
    let why = "it is back: it answers".into();
    scene.fleet.report(id, StepResult::Spared { why });
    scene.fleet.pass(1_000);
    recover(&mut scene, "web-2");
    let report = ask(&scene);
    marks(&report, &[("web-2", Decided::Acted, Mark::Wrong)]);
    let why = &report.cases[0].why;
    assert!(why.contains("it is back"), "{why}");
}

/// A workload fails, and is restarted in vain.
fn restarted_in_vain(scene: &mut Scene) {
    let id = scene.fleet.id("web-2");
    let treat = scene
        .fleet
        .treat(id, Rung::RestartWorkload, Diagnosis::WorkloadFailed);
    scene.fleet.act(treat);
    scene.fleet.pass(5_000);
    let error = "exit code 1".into();
    scene.fleet.report(id, StepResult::GiveUp { error });
}

#[test]
fn a_treatment_that_did_not_help_was_right_where_the_machine_was_still_ill() {
    let mut scene = Scene::new();
    restarted_in_vain(&mut scene);
    scene.fleet.pass(60_000);
    recover(&mut scene, "web-2");
    let report = ask(&scene);
    marks(&report, &[("web-2", Decided::Acted, Mark::Right)]);
    let why = &report.cases[0].why;
    assert!(why.contains("it did not help"), "{why}");
}

#[test]
fn what_becomes_of_a_machine_after_it_was_treated_is_no_proof_of_its_trouble() {
    let mut scene = Scene::new();
    restarted_in_vain(&mut scene);
    scene.fleet.pass(60_000);
    hold(&mut scene, "web-2", Diagnosis::Gone, Rule::Budget);
    marks(&ask(&scene), &[("web-2", Decided::Acted, Mark::Open)]);
}
