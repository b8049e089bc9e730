//! What `explain` says.

use std::collections::BTreeSet;

use super::scene::Scene;
use crate::answers::explain;
use crate::answers::hand::cancel;
use crate::answers::otherwise::otherwise;
use crate::api::types::{CheckVerdict, DecisionRow, Explanation, OutcomeKind};
use crate::api::{ApiError, ErrorKind};
use crate::fleet::testing::{cattle, group};
use crate::fleet::{
    Ask, Check, Command, DemandState, Diagnosis, GroupSpec, HealMode, MemberStatus, Orphan,
    Outcome, PauseScope, Proposal, Rule, StepResult, Turn, Verdict, Wait, Would,
};

fn ask(scene: &Scene, subject: &str) -> Result<Explanation, ApiError> {
    scene.look(|snapshot| explain(snapshot, subject))
}

#[track_caller]
fn summary(scene: &Scene, subject: &str) -> String {
    ask(scene, subject).unwrap().summary
}

#[track_caller]
fn says(scene: &Scene, subject: &str, parts: &[&str]) {
    let summary = summary(scene, subject);
    for part in parts {
        assert!(summary.contains(part), "`{part}` is not in: {summary}");
    }
}

#[test]
fn a_healthy_machine_needs_no_decision() {
    let mut scene = Scene::new();
    assert_eq!(
        summary(&scene, "seed-1"),
        "seed-1 has been alive for 0 s. Nothing is the matter with it."
    );
    scene.see("seed-1", MemberStatus::Suspect);
    says(&scene, "seed-1", &["alive"]);
}

#[test]
fn a_group_that_was_let_go_is_explained_by_what_is_on_record() {
    let mut scene = Scene::new();
    scene.fleet.ok(Command::FreeGroup {
        group: group("web"),
    });
    says(
        &scene,
        "web",
        &["Group web is not declared any more; 3 machines of it left as they are."],
    );
}

#[test]
fn a_machine_that_is_down_without_a_decision_says_why_there_is_none() {
    let mut scene = Scene::new();
    let id = scene.fleet.id("web-1");
    scene.see("web-1", MemberStatus::Down);
    scene.fleet.pass(4_000);
    says(
        &scene,
        "web-1",
        &[
            "web-1 has been down for 4 s (its port refused), as seed-1 sees it.",
            "seed-1 leads and decides within seconds",
            "The last about it: Decision 0 of seed-1",
        ],
    );
    scene.leader = None;
    says(&scene, &id.to_string(), &["nobody leads at the moment"]);
    scene.fleet.ok(Command::Pause {
        name: None,
        scope: PauseScope::Group(group("web")),
        reason: "upgrade".into(),
        until_ms: None,
    });
    says(&scene, "web-1", &["group web is paused: upgrade"]);
    scene.lose_quorum();
    says(
        &scene,
        "web-1",
        &["no leader can put a decision on record", "2 are needed"],
    );
}

#[test]
fn a_hold_names_its_rule_its_margin_and_what_ends_it() {
    // A mode has outcomes of its own.
    let holds = [
        (Rule::Evidence, Turn::NoAnswer, "when nobody gets an answer"),
        (Rule::Ladder, Turn::Made, "`muster forget web-1`"),
        (Rule::Paused, Turn::Pause, "The pause is over"),
        (Rule::Cordoned, Turn::Cordon, "`muster uncordon web-1`"),
        (Rule::Quorum, Turn::Support, "enough machines answer"),
        (Rule::Settled, Turn::Rest, "nothing moves any more"),
        (
            Rule::Grace,
            Turn::Later(Wait::Silence),
            "`heal.unreachable_after`",
        ),
        (Rule::Grace, Turn::Later(Wait::Crowd), "it is 12 s"),
        (Rule::Grace, Turn::Later(Wait::Supervisor), "it is 30 s"),
        (Rule::Grace, Turn::Later(Wait::Boot), "`heal.boot_grace`"),
        (Rule::Backoff, Turn::Retry, "`muster group resume web`"),
        (Rule::Backoff, Turn::Disk, "its disk is known to be sound"),
        (
            Rule::Budget,
            Turn::Ended,
            "under way is done; `heal.budget`",
        ),
        (Rule::Budget, Turn::Income, "may be paid for; `heal.budget`"),
        (
            Rule::Budget,
            Turn::IncomeElsewhere,
            "the number of machines",
        ),
        (Rule::Correlation, Turn::CanaryWell, "the others follow"),
        (Rule::WorkloadQuorum, Turn::MoreWell(1), "more members"),
        (Rule::LastGoodReplica, Turn::OtherWell, "another machine"),
        (Rule::Fence, Turn::ProofOrLease, "proved off, or can be"),
        (Rule::Fence, Turn::Forgetting, "`muster forget web-1`"),
    ];
    for (rule, turn, ends) in holds {
        let mut scene = Scene::new();
        scene.see("web-1", MemberStatus::Down);
        let mut hold = scene
            .fleet
            .hold(scene.fleet.id("web-1"), Diagnosis::Unreachable, rule);
        hold.checks[0].turn = Some(turn);
        scene.fleet.ok(Command::Decide(vec![hold]));
        let explanation = ask(&scene, "web-1").unwrap();
        assert!(
            explanation.summary.contains(ends),
            "{}",
            explanation.summary
        );
        let expected = format!("Nothing is done, because rule `{rule}` holds: not now. ");
        assert!(
            explanation.summary.contains(&expected),
            "{}",
            explanation.summary
        );
        assert!(explanation.summary.ends_with('.'));
        let decision = &explanation.decisions[0];
        assert_eq!(decision.outcome.kind, OutcomeKind::Hold);
        assert_eq!(decision.outcome.rule, Some(rule.to_string()));
        assert_eq!(decision.checks[0].verdict, CheckVerdict::Hold);
        assert_eq!(explanation.machine.unwrap().name, "web-1");
    }
}

#[test]
fn an_action_is_told_with_its_progress() {
    let mut scene = Scene::new();
    let new = scene.fleet.act(
        scene
            .fleet
            .replace(scene.fleet.id("web-2"), Diagnosis::Gone),
    );
    says(
        &scene,
        "web-2",
        &[
            "on its way out",
            "gone: as the test says",
            "replace web-2 by web-4",
            "step `destroy`",
        ],
    );
    scene.fleet.report(
        new,
        StepResult::Error {
            error: "quota exceeded".into(),
            retry_ms: 1_000,
        },
    );
    says(
        &scene,
        "web-4",
        &["which has failed 1 time (last: quota exceeded)"],
    );
    scene.fleet.done(new);
    scene.fleet.made(new);
    scene.fleet.join(new);
    says(
        &scene,
        "web-2",
        &[
            "web-2 is no longer on the roster.",
            "replace web-2 by web-4; that is done",
        ],
    );
    let past = ask(&scene, "web-2").unwrap();
    assert_eq!(past.machine, None);
    assert!(!past.events.is_empty());
}

#[test]
fn a_step_that_fails_again_and_again_shows_as_a_hold() {
    let mut scene = Scene::new();
    let old = scene.fleet.id("db-1");
    let new = scene
        .fleet
        .act(scene.fleet.replace(old, Diagnosis::Unreachable));
    let holds = |scene: &Scene| {
        let groups = scene.look(|snapshot| crate::answers::group::groups(snapshot).items);
        let db = groups.into_iter().find(|group| group.id == "db");
        db.expect("declared").holds
    };
    let error = || StepResult::Error {
        error: "out of reach".into(),
        retry_ms: 60_000,
    };
    scene.fleet.report(new, error());
    assert_eq!(holds(&scene), [], "once may be chance");
    scene.fleet.report(new, error());
    let [hold] = &holds(&scene)[..] else {
        panic!("{:?}", holds(&scene));
    };
    assert_eq!(hold.rule, "fence");
    for words in [
        "stuck at `fence`",
        "failed 2 times",
        "out of reach",
        "next try in 60 s",
    ] {
        assert!(hold.detail.contains(words), "{}", hold.detail);
    }
}

#[test]
fn modes_say_what_would_be_done_and_how_to_have_it_done() {
    for (mode, kind) in [
        (HealMode::Observe, OutcomeKind::Observe),
        (HealMode::Approve, OutcomeKind::AwaitApproval),
    ] {
        let mut scene = Scene::new();
        scene.fleet.ok(Command::SetHealMode {
            group: group("web"),
            mode,
        });
        let would = Would::Replace;
        let outcome = match mode {
            HealMode::Observe => Outcome::Observe { would },
            _ => Outcome::AwaitApproval { would },
        };
        let hold = scene
            .fleet
            .hold(scene.fleet.id("web-1"), Diagnosis::Gone, Rule::Mode);
        scene
            .fleet
            .ok(Command::Decide(vec![Proposal { outcome, ..hold }]));
        let found = ask(&scene, "web-1").unwrap();
        let decision = &found.decisions[0];
        assert_eq!(decision.outcome.kind, kind);
        assert_eq!(decision.outcome.action.as_deref(), Some("replace web-1"));
        let command = match mode {
            HealMode::Observe => "`muster group heal-mode web auto`".to_owned(),
            _ => "`muster approve web-1`".to_owned(),
        };
        assert!(found.summary.contains(&command), "{}", found.summary);
        says(
            &scene,
            "web",
            &["Group web is holding", "Rule `mode` holds: web-1 (gone): "],
        );
    }
}

#[test]
fn decisions_are_found_by_number_and_names_go_first() {
    let mut scene = Scene::new();
    let numbered = GroupSpec {
        id: group("1"),
        ..cattle("web", 0)
    };
    scene.fleet.declare(numbered);
    says(
        &scene,
        "1",
        &["Group 1 is converged: 0 of 0 machines running."],
    );
    let by_number = ask(&scene, "#1").unwrap();
    assert_eq!(by_number.decisions.len(), 1);
    assert_eq!(by_number.decisions[0].id, 1);
    let error = ask(&scene, "99999").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.remedy.unwrap().contains("are on record"));
    assert_eq!(
        ask(&scene, "no such thing").unwrap_err().kind,
        ErrorKind::NotFound
    );
}

#[test]
fn each_rule_says_what_would_have_turned_it() {
    let mut scene = Scene::new();
    let (one, two) = (scene.fleet.id("web-1"), scene.fleet.id("web-2"));
    let mut replace = scene.fleet.replace(one, Diagnosis::Gone);
    // Six of six stand behind the leader, four are needed.
    let mut quorum = Check::pass(Rule::Quorum, "fine");
    quorum.turn = Some(Turn::Support);
    let alone = Check::pass(Rule::Fence, "cattle need no fence");
    replace.checks = vec![quorum, alone];
    scene.fleet.act(replace);
    let acted = ask(&scene, "web-1").unwrap().decisions.remove(0);
    let turned = |row: &DecisionRow, rule: &str| {
        let of_rule = row.checks.iter().find(|check| check.rule == rule);
        of_rule.unwrap().otherwise.clone()
    };
    assert_eq!(
        turned(&acted, "quorum"),
        "answers from fewer than 4 of the 6 machines, or from no quorum of coordinators, would have held it"
    );
    // What was forced had held.
    let mut forced = Check::hold(Rule::Backoff, "2 failed");
    (forced.verdict, forced.turn) = (Verdict::Forced, Some(Turn::Retry));
    assert_eq!(
        otherwise(scene.fleet.state.decisions.back().unwrap(), &forced),
        "without the operations that had failed it would have passed"
    );
    assert_eq!(turned(&acted, "fence"), "", "nothing would have");

    let mut held = scene.fleet.hold(two, Diagnosis::Unreachable, Rule::Quorum);
    // The condemned one doesn't count any more: three of five.
    held.mandate.acks = 1;
    held.checks[0].turn = Some(Turn::Support);
    scene.fleet.ok(Command::Decide(vec![held]));
    let held = ask(&scene, "web-2").unwrap().decisions.remove(0);
    assert_eq!(
        turned(&held, "quorum"),
        "2 more of the machines behind the leader would have let it pass"
    );
}

#[test]
fn each_pause_that_holds_is_named_by_the_command_that_ends_it() {
    let mut scene = Scene::new();
    let id = scene.fleet.id("web-2");
    for (scope, name) in [
        (PauseScope::Machine("web-2".parse().unwrap()), None),
        (
            PauseScope::Group(group("web")),
            Some("move".parse().unwrap()),
        ),
        (PauseScope::Machine("web-1".parse().unwrap()), None),
    ] {
        scene.fleet.ok(Command::Pause {
            name,
            scope,
            reason: "moving racks".into(),
            until_ms: None,
        });
    }
    let mut hold = scene.fleet.hold(id, Diagnosis::Gone, Rule::Paused);
    hold.checks[0].turn = Some(Turn::Pause);
    scene.fleet.ok(Command::Decide(vec![hold]));
    says(
        &scene,
        "web-2",
        &[
            "`muster resume move` and `muster resume --machine web-2` end it, together; by itself it doesn't.",
        ],
    );
}

#[test]
fn what_is_over_is_told_in_the_past() {
    let mut scene = Scene::new();
    let id = scene.fleet.id("web-2");
    let mut hold = scene.fleet.hold(id, Diagnosis::Slow, Rule::Evidence);
    hold.checks[0].turn = Some(Turn::NoAnswer);
    scene.fleet.ok(Command::Decide(vec![hold]));
    let over = Proposal {
        cause: scene.fleet.diagnosed(Diagnosis::Healthy),
        checks: Vec::new(),
        outcome: Outcome::Clear,
        ..scene.fleet.hold(id, Diagnosis::Slow, Rule::Evidence)
    };
    scene.fleet.ok(Command::Decide(vec![over]));
    let first = scene.fleet.state.decisions.iter().rev().nth(1).unwrap().id;
    let told = summary(&scene, &first.to_string());
    assert!(
        told.ends_with("Nothing was done then, because rule `evidence` held: not now."),
        "{told}"
    );
}

#[test]
fn an_orphan_is_explained_by_its_instance() {
    let mut scene = Scene::new();
    let now_ms = scene.fleet.now_ms;
    scene.fleet.state.orphans.push(Orphan {
        provisioner: "process".into(),
        id: "p-1234".parse().unwrap(),
        group: Some("db".into()),
        op: None,
        since_ms: now_ms - 60_000,
    });
    says(
        &scene,
        "p-1234",
        &[
            "Instance p-1234 of process",
            "of group db",
            "60 s ago: it is an orphan",
        ],
    );
}

#[test]
fn an_order_that_has_begun_is_not_taken_back_and_says_how_far_it_is() {
    let mut scene = Scene::new();
    let (id, until_ms) = (scene.fleet.id("web-2"), scene.fleet.now_ms + 600_000);
    scene.fleet.ok(Command::Ask(Box::new(Ask {
        machine: id,
        what: Would::Replace,
        reason: "new kernel".into(),
        until_ms,
        forced: BTreeSet::new(),
    })));
    let new = scene.fleet.act(scene.fleet.replace(id, Diagnosis::Gone));
    let op = scene.fleet.intent_of(new).op.clone();
    let demands = &mut scene.fleet.state.demands;
    let (number, demand) = demands.iter_mut().next().expect("it was ordered");
    demand.state = DemandState::UnderWay { op };
    let number = number.to_string();
    for subject in ["web-2", &number, &format!("#{number}")] {
        let error = scene
            .look(|snapshot| cancel(snapshot, subject))
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
        assert!(
            error
                .message
                .contains("to replace web-2, has begun: now at step"),
            "{error:?}"
        );
    }
}
