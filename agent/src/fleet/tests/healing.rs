use crate::fleet::limits::{
    BACKOFF_MS_MIN, DRAIN_ATTEMPTS_MAX, HOUR_MS, MINUTE_MS, SECOND_MS, STEP_ATTEMPTS_MAX,
};
use crate::fleet::testing::{Fleet, cattle, group, name, pets};
use crate::fleet::*;

fn decide(proposal: Proposal) -> Command {
    Command::Decide(vec![proposal])
}

fn held(refusal: &Refusal) -> Option<Rule> {
    match refusal {
        Refusal::Held { rule, .. } => Some(*rule),
        _ => None,
    }
}

#[test]
fn a_replacement_goes_step_by_step() {
    let mut fleet = Fleet::with(&[cattle("web", 3)]);
    let old = fleet.id("web-1");
    let new = fleet.act(fleet.replace(old, Diagnosis::Gone));
    assert_eq!(fleet.phase(old), Some(Phase::Retiring));
    assert_eq!(fleet.state.existing(&group("web")), 3);

    let step = |fleet: &Fleet| fleet.intent_of(new).current().unwrap().step;
    assert_eq!(step(&fleet), Step::Destroy);
    fleet.done(new);
    assert_eq!(fleet.phase(old), None);
    assert_eq!(step(&fleet), Step::Provision);
    assert!(matches!(
        fleet.report(new, StepResult::Done),
        Reply::Refused(Refusal::Invalid(_))
    ));
    fleet.made(new);
    assert_eq!(step(&fleet), Step::AwaitJoin);
    fleet.join(new);
    assert_eq!(fleet.state.open_intents().count(), 0);
    assert!(fleet.state.is_at_rest());
    assert_eq!(fleet.state.machines[&new].name.as_str(), "web-4");
}

#[test]
fn a_pet_keeps_its_name_and_is_refused_only_once_it_is_off() {
    let mut fleet = Fleet::with(&[pets("db", &["db-1", "db-2"])]);
    let old = fleet.id("db-1");
    let new = fleet.act(fleet.replace(old, Diagnosis::Unreachable));
    assert_eq!(fleet.state.machines[&new].name, name("db-1"));
    assert_eq!(fleet.intent_of(new).current().unwrap().step, Step::Fence);
    assert!(!fleet.state.revoked_machines().contains(&old));
    fleet.done(new);
    assert!(fleet.state.revoked_machines().contains(&old));
    assert_eq!(fleet.intent_of(new).current().unwrap().step, Step::Destroy);
}

#[test]
fn one_failure_has_one_intent() {
    let mut fleet = Fleet::with(&[cattle("web", 3), pets("db", &["db-1"])]);
    for machine in ["web-1", "db-1"] {
        let old = fleet.id(machine);
        let proposal = fleet.replace(old, Diagnosis::Gone);
        fleet.act(proposal.clone());
        // The same command again, and the same decision made anew.
        assert!(matches!(
            fleet.refused(decide(proposal)),
            Refusal::MachineBusy { .. }
        ));
        let anew = fleet.replace(old, Diagnosis::Gone);
        assert!(matches!(
            fleet.refused(decide(anew)),
            Refusal::MachineBusy { .. }
        ));
    }
}

#[test]
fn the_budget_is_kept_whoever_leads() {
    let mut spec = cattle("web", 5);
    spec.heal.budget = BudgetPolicy {
        at_once: Some(2),
        per_hour: Some(3),
    };
    let mut fleet = Fleet::with(&[spec]);
    let old: Vec<_> = (1..=5).map(|n| fleet.id(&format!("web-{n}"))).collect();
    fleet.act(fleet.replace(old[0], Diagnosis::Gone));
    let second = fleet.act(fleet.replace(old[1], Diagnosis::Gone));
    fleet.term = 2;
    let third = fleet.replace(old[2], Diagnosis::Gone);
    assert_eq!(held(&fleet.refused(decide(third))), Some(Rule::Budget));
    fleet.done(second);
    fleet.made(second);
    fleet.join(second);
    let third = fleet.act(fleet.replace(old[2], Diagnosis::Gone));
    fleet.done(third);
    fleet.made(third);
    fleet.join(third);
    let fourth = fleet.replace(old[3], Diagnosis::Gone);
    assert_eq!(held(&fleet.refused(decide(fourth))), Some(Rule::Budget));
    fleet.pass(HOUR_MS / 3);
    fleet.act(fleet.replace(old[3], Diagnosis::Gone));
}

#[test]
fn a_minority_never_acts() {
    let mut fleet = Fleet::with(&[cattle("web", 4)]);
    let old = fleet.id("web-1");
    let mandate = fleet.mandate();
    let cases = [
        Mandate {
            quorum_confirmed: false,
            ..mandate
        },
        Mandate { acks: 2, ..mandate },
        Mandate {
            acks: 0,
            proven_gone: 5,
            ..mandate
        },
    ];
    for mandate in cases {
        let proposal = Proposal {
            mandate,
            ..fleet.replace(old, Diagnosis::Gone)
        };
        assert_eq!(
            held(&fleet.refused(decide(proposal))),
            Some(Rule::Quorum),
            "{mandate:?}"
        );
    }
    let small = Mandate {
        roster: 3,
        acks: 3,
        ..mandate
    };
    let proposal = Proposal {
        mandate: small,
        ..fleet.replace(old, Diagnosis::Gone)
    };
    assert!(matches!(fleet.refused(decide(proposal)), Refusal::Stale(_)));
    let proven = Mandate {
        acks: 2,
        proven_gone: 2,
        ..mandate
    };
    fleet.act(Proposal {
        mandate: proven,
        ..fleet.replace(old, Diagnosis::Gone)
    });
}

#[test]
fn a_leader_of_the_past_decides_nothing() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let old = fleet.id("web-1");
    fleet.term = 3;
    fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 3,
    });
    fleet.term = 2;
    let proposal = fleet.replace(old, Diagnosis::Gone);
    assert!(matches!(fleet.refused(decide(proposal)), Refusal::Stale(_)));
}

#[test]
fn what_stops_healing_stops_it_in_the_state_too() {
    let mut fleet = Fleet::with(&[cattle("web", 3)]);
    let old = fleet.id("web-1");
    let replace = |fleet: &Fleet| decide(fleet.replace(old, Diagnosis::Gone));
    let scope = PauseScope::Fleet;
    fleet.ok(Command::Pause {
        name: None,
        scope: scope.clone(),
        reason: "maintenance".into(),
        until_ms: None,
    });
    let command = replace(&fleet);
    assert_eq!(held(&fleet.refused(command)), Some(Rule::Paused));
    fleet.ok(Command::Resume { scope });
    for mode in [HealMode::Observe, HealMode::Approve] {
        fleet.ok(Command::SetHealMode {
            group: group("web"),
            mode,
        });
        let command = replace(&fleet);
        assert_eq!(held(&fleet.refused(command)), Some(Rule::Mode));
    }
    for diagnosis in [Diagnosis::Healthy, Diagnosis::Slow, Diagnosis::Partitioned] {
        let proposal = fleet.replace(old, diagnosis);
        assert!(matches!(
            fleet.refused(decide(proposal)),
            Refusal::WrongPhase { .. } | Refusal::Invalid(_)
        ));
    }
}

#[test]
fn a_decision_whose_checks_say_no_is_no_action() {
    let mut fleet = Fleet::with(&[cattle("web", 3)]);
    let old = fleet.id("web-1");
    let mut proposal = fleet.replace(old, Diagnosis::Gone);
    proposal.checks = vec![Check::hold(Rule::Settled, "not yet")];
    assert!(matches!(
        fleet.refused(decide(proposal)),
        Refusal::Invalid(_)
    ));
    let mut unordered = fleet.replace(old, Diagnosis::Gone);
    unordered.checks = vec![Check::pass(Rule::Fence, ""), Check::pass(Rule::Paused, "")];
    assert!(matches!(
        fleet.refused(decide(unordered)),
        Refusal::Invalid(_)
    ));
    let mut no_token = fleet.replace(old, Diagnosis::Gone);
    no_token.order.as_mut().unwrap().token = None;
    assert!(matches!(
        fleet.refused(decide(no_token)),
        Refusal::Invalid(_)
    ));
}

#[test]
fn approval_opens_the_gate_once() {
    let mut fleet = Fleet::with(&[cattle("web", 3)]);
    fleet.ok(Command::SetHealMode {
        group: group("web"),
        mode: HealMode::Approve,
    });
    let old = fleet.id("web-1");
    let mut ask = fleet.hold(old, Diagnosis::Gone, Rule::Mode);
    ask.outcome = Outcome::AwaitApproval {
        would: Would::Replace,
    };
    let Reply::Decided(ids) = fleet.ok(decide(ask)) else {
        panic!("not decided")
    };
    let decision = *ids[0].as_ref().unwrap();
    assert_eq!(fleet.held(&group("web")), [Rule::Mode]);
    fleet.ok(Command::Approve { decision });
    fleet.act(fleet.replace(old, Diagnosis::Gone));
    assert!(matches!(
        fleet.refused(Command::Approve { decision }),
        Refusal::NothingToApprove { .. }
    ));
    assert!(fleet.state.approvals.is_empty());
}

#[test]
fn reports_that_are_late_or_doubled_are_refused() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let old = fleet.id("web-1");
    let new = fleet.act(fleet.replace(old, Diagnosis::Gone));
    let op = fleet.intent_of(new).op.clone();
    let report = |step, attempt, result| {
        Command::Progress(Progress {
            op: op.clone(),
            step,
            attempt,
            result,
        })
    };
    let error = |text: &str| StepResult::Error {
        error: text.into(),
        retry_ms: 1000,
    };
    fleet.ok(report(Step::Destroy, 0, error("busy")));
    assert!(matches!(
        fleet.refused(report(Step::Destroy, 0, error("busy"))),
        Refusal::StaleProgress { attempt: 1, .. }
    ));
    let intent = fleet.intent_of(new);
    assert_eq!(intent.due(fleet.now_ms), None);
    assert_eq!(
        intent.due(fleet.now_ms + 1000).map(|record| record.step),
        Some(Step::Destroy)
    );
    fleet.ok(report(Step::Destroy, 1, StepResult::Done));
    assert!(matches!(
        fleet.refused(report(Step::Destroy, 1, StepResult::Done)),
        Refusal::StaleProgress { .. }
    ));
}

#[test]
fn a_step_that_keeps_failing_ends_the_intent_and_the_old_machine_is_still_to_be_replaced() {
    for pet in [false, true] {
        let spec = if pet {
            pets("web", &["web-1", "web-2"])
        } else {
            cattle("web", 2)
        };
        let mut fleet = Fleet::with(&[spec]);
        let old = fleet.id("web-1");
        let new = fleet.act(fleet.replace(old, Diagnosis::Unreachable));
        for _ in 0..STEP_ATTEMPTS_MAX {
            let result = StepResult::Error {
                error: "denied".into(),
                retry_ms: 0,
            };
            assert_eq!(fleet.report(new, result), Reply::Done);
        }
        assert_eq!(fleet.state.open_intents().count(), 0);
        assert_eq!(fleet.phase(new), None);
        // An unfenced pet is what it was; cattle were condemned with the decision.
        match fleet.phase(old) {
            Some(Phase::Joined) if pet => {}
            Some(Phase::Lost { .. }) if !pet => {}
            phase => panic!("{phase:?}"),
        }
        let again = fleet.replace(old, Diagnosis::Unreachable);
        assert_eq!(held(&fleet.refused(decide(again))), Some(Rule::Backoff));
        fleet.pass(BACKOFF_MS_MIN);
        fleet.act(fleet.replace(old, Diagnosis::Unreachable));
    }
}

#[test]
fn a_machine_that_never_joins_is_given_up_in_time_and_not_before() {
    let mut fleet = Fleet::new();
    fleet.declare(cattle("web", 1));
    let machine = fleet.act(fleet.provision(&group("web")));
    fleet.made(machine);
    let give_up = || StepResult::GiveUp {
        error: "not in time".into(),
    };
    let early = fleet.report(machine, give_up());
    assert!(
        matches!(
            early,
            Reply::Refused(Refusal::Held {
                rule: Rule::Grace,
                ..
            })
        ),
        "{early:?}"
    );
    fleet.pass(60 * SECOND_MS);
    assert_eq!(fleet.report(machine, give_up()), Reply::Done);
    assert!(matches!(fleet.phase(machine), Some(Phase::Lost { .. })));
    assert_eq!(fleet.state.existing(&group("web")), 1);

    let mut late = fleet.clone();
    late.join(machine);
    assert_eq!(late.phase(machine), Some(Phase::Joined));

    fleet.pass(BACKOFF_MS_MIN);
    let new = fleet.act(fleet.replace(machine, Diagnosis::NeverJoined));
    let admit = fleet.admit(machine);
    assert!(matches!(
        fleet.refused(Command::Admit(Box::new(admit))),
        Refusal::TokenInvalid(_)
    ));
    fleet.done(new);
    fleet.made(new);
    fleet.join(new);
    assert!(fleet.state.groups[&group("web")].failures.is_empty());
}

#[test]
fn three_failed_orders_in_an_hour_suspend_the_group() {
    let mut fleet = Fleet::new();
    fleet.declare(cattle("web", 1));
    for _ in 0..3 {
        let machine = fleet.act(fleet.provision(&group("web")));
        let error = "denied".into();
        assert_eq!(
            fleet.report(machine, StepResult::GiveUp { error }),
            Reply::Done
        );
        assert_eq!(fleet.phase(machine), None, "the provider would not make it");
        fleet.pass(BACKOFF_MS_MIN * 4);
    }
    let fourth = fleet.provision(&group("web"));
    assert_eq!(
        held(&fleet.refused(decide(fourth.clone()))),
        Some(Rule::Backoff)
    );
    let backoff = fleet.state.groups[&group("web")].backoff(fleet.now_ms);
    assert!(backoff.is_some_and(|backoff| backoff.suspended));
    let said = fleet.state.events.iter();
    let said = said.filter(|event| event.kind == EventKind::GroupFailed);
    assert_eq!(said.count(), 1, "it is said once");
    let mut resumed = fleet.clone();
    resumed.ok(Command::Resume {
        scope: PauseScope::Group(group("web")),
    });
    resumed.act(fourth.clone());
    fleet.pass(HOUR_MS);
    fleet.act(fourth);
}

#[test]
fn what_may_have_been_made_is_not_forgotten() {
    for (spec, errors) in [(cattle("web", 1), 1), (pets("web", &["web-1"]), 0)] {
        let mut fleet = Fleet::new();
        fleet.declare(spec);
        let machine = fleet.act(fleet.provision(&group("web")));
        for _ in 0..errors {
            let error = "timed out".into();
            let result = StepResult::Error { error, retry_ms: 0 };
            assert_eq!(fleet.report(machine, result), Reply::Done);
        }
        let error = "denied".into();
        assert_eq!(
            fleet.report(machine, StepResult::GiveUp { error }),
            Reply::Done
        );
        assert!(matches!(fleet.phase(machine), Some(Phase::Lost { .. })));
        assert_eq!(fleet.state.existing(&group("web")), 1);
        fleet.pass(BACKOFF_MS_MIN);
        let new = fleet.act(fleet.replace(machine, Diagnosis::NeverJoined));
        assert!(fleet.state.machines[&machine].order.is_some());
        assert!(matches!(
            fleet.intent_of(new).plan[0].step,
            Step::Fence | Step::Destroy
        ));
    }
}

#[test]
fn draining_is_a_courtesy() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 1,
    });
    let machine = fleet.id("web-2");
    let cause = Cause::TooMany {
        desired: 1,
        existing: 2,
    };
    fleet.act(fleet.retire(machine, cause.clone()));
    for _ in 0..DRAIN_ATTEMPTS_MAX {
        let result = StepResult::Error {
            error: "busy".into(),
            retry_ms: 0,
        };
        assert_eq!(fleet.report(machine, result), Reply::Done);
    }
    assert_eq!(
        fleet.intent_of(machine).current().unwrap().step,
        Step::Destroy
    );
    let last = fleet.retire(fleet.id("web-1"), cause);
    assert!(matches!(fleet.refused(decide(last)), Refusal::Stale(_)));
}

#[test]
fn an_instance_is_one_machines() {
    let mut fleet = Fleet::with(&[cattle("web", 1)]);
    let taken = fleet
        .state
        .machine_by_name("web-1")
        .unwrap()
        .instance
        .clone()
        .unwrap();
    fleet.ok(Command::ScaleGroup {
        group: group("web"),
        size: 2,
    });
    let machine = fleet.act(fleet.provision(&group("web")));
    let reply = fleet.report(machine, StepResult::Provisioned(taken));
    assert!(
        matches!(reply, Reply::Refused(Refusal::Invalid(_))),
        "{reply:?}"
    );
}

#[test]
fn a_treatment_fits_its_diagnosis_has_its_number_and_is_not_repeated_in_vain() {
    let mut fleet = Fleet::with(&[cattle("web", 3)]);
    let id = fleet.id("web-1");
    let refused =
        |fleet: &mut Fleet, proposal: Proposal| fleet.refused(Command::Decide(vec![proposal]));
    let wrong = fleet.treat(id, Rung::PowerCycle, Diagnosis::WorkloadFailed);
    assert!(matches!(
        refused(&mut fleet, wrong),
        Refusal::WrongPhase { .. }
    ));
    let slow = fleet.treat(id, Rung::Reboot, Diagnosis::Slow);
    assert!(matches!(
        refused(&mut fleet, slow),
        Refusal::WrongPhase { .. }
    ));
    let first = fleet.treat(id, Rung::Reboot, Diagnosis::AgentDown);
    fleet.act(first.clone());
    let op = fleet.intent_of(id).op.clone();
    assert_eq!(fleet.phase(id), Some(Phase::Joined));
    let again = fleet.treat(id, Rung::PowerCycle, Diagnosis::AgentDown);
    assert!(matches!(
        refused(&mut fleet, again),
        Refusal::MachineBusy { .. }
    ));
    fleet.done(id);
    let early = fleet.report(
        id,
        StepResult::GiveUp {
            error: "late".into(),
        },
    );
    assert!(matches!(
        early,
        Reply::Refused(Refusal::Held {
            rule: Rule::Grace,
            ..
        })
    ));
    fleet.pass(60 * SECOND_MS);
    fleet.report(
        id,
        StepResult::GiveUp {
            error: "late".into(),
        },
    );
    assert_eq!(fleet.state.machines[&id].intent, None);
    let group = &fleet.state.groups[&group("web")];
    assert!(group.failures.is_empty(), "that was no order");
    assert!(matches!(refused(&mut fleet, first), Refusal::Stale(_)));
    let vain = fleet.treat(id, Rung::Reboot, Diagnosis::AgentDown);
    let held = refused(&mut fleet, vain);
    assert!(
        matches!(
            held,
            Refusal::Held {
                rule: Rule::Ladder,
                ..
            }
        ),
        "{held}"
    );
    fleet.pass(HOUR_MS);
    let later = fleet.treat(id, Rung::Reboot, Diagnosis::AgentDown);
    fleet.act(later);
    assert_ne!(fleet.intent_of(id).op, op, "no operation ID is used twice");
}

#[test]
fn orders_that_fail_slowly_add_up_all_the_same() {
    let mut spec = cattle("web", 3);
    spec.heal.boot_grace_ms = 10 * MINUTE_MS;
    let mut fleet = Fleet::with(&[spec]);
    let group = fleet.state.groups.get_mut(&group("web")).unwrap();
    // Each had its grace to join, failed its trial, and was treated before the next was made.
    let last_ms = fleet.now_ms + 80 * MINUTE_MS;
    group.failures = [0, 40, 80]
        .map(|minutes| fleet.now_ms + minutes * MINUTE_MS)
        .into();
    let backoff = group.suspended(last_ms + MINUTE_MS).unwrap();
    assert_eq!((backoff.failed, backoff.until_ms), (3, last_ms + HOUR_MS));
    assert_eq!(group.suspended(last_ms + HOUR_MS), None);
    group.spec.heal.boot_grace_ms = MINUTE_MS;
    assert_eq!(group.suspended(last_ms + MINUTE_MS), None);
}

#[test]
fn what_left_is_cleared_away_only_where_the_mode_lets_it() {
    let mut fleet = Fleet::with(&[cattle("web", 3)]);
    let machine = fleet.id("web-2");
    let life = muster_mesh::identity::Generation(1);
    fleet.ok(Command::MachineLeft { machine, life });
    let set = |mode| Command::SetHealMode {
        group: group("web"),
        mode,
    };
    for mode in [HealMode::Observe, HealMode::Approve] {
        fleet.ok(set(mode));
        let retire = fleet.retire(machine, fleet.diagnosed(Diagnosis::Left));
        assert_eq!(held(&fleet.refused(decide(retire))), Some(Rule::Mode));
    }
    fleet.ok(set(HealMode::Auto));
    let retire = fleet.retire(machine, fleet.diagnosed(Diagnosis::Left));
    fleet.act(retire);
}
