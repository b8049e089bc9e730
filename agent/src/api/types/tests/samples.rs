//! One of every request and answer, with every optional part there.

use super::*;
use crate::fleet::spec::GroupSpec;

pub(super) fn spec() -> GroupSpec {
    let text = "id = 'db'\nmembers = ['db-1']\nlabels = { tier = 'back' }\n\
                [flavor.properties]\ninit = ['echo hello']\n[heal]\nbudget = { at_once = 1 }";
    let source = crate::spec::Source {
        name: "a.toml".into(),
        text: text.into(),
    };
    let specs = crate::spec::parse(&[source], &crate::spec::Registries::builtin());
    specs.unwrap_or_else(|error| panic!("{error}")).remove(0)
}

pub(super) fn requests() -> Vec<Request> {
    [reads(), writes(), by_hand()].concat()
}

fn id() -> String {
    "web".to_owned()
}

fn name() -> String {
    "web-1".to_owned()
}

fn reads() -> Vec<Request> {
    vec![
        Request::Status,
        Request::Members,
        Request::Machine { name: name() },
        Request::LastWords { name: name() },
        Request::Groups,
        Request::Group { id: id() },
        Request::Explain {
            subject: "17".into(),
        },
        Request::Decisions {
            machine: Some(name()),
            group: Some(id()),
            limit: Some(3),
        },
        Request::Report { since_ms: Some(1) },
        Request::Events(EventsRequest {
            follow: true,
            after: Some(1),
            since_ms: Some(2),
            limit: Some(3),
        }),
        Request::Health,
        Request::Coordinators,
        Request::Metrics,
        Request::Order { order: 3 },
    ]
}

fn writes() -> Vec<Request> {
    vec![
        Request::Apply(ApplyRequest {
            specs: vec![spec()],
            dry_run: true,
            expected: BTreeMap::from([("db".into(), Some(4)), ("new".into(), None)]),
        }),
        Request::Adopt(AdoptRequest {
            spec: spec(),
            dry_run: true,
        }),
        Request::Scale(ScaleRequest {
            id: id(),
            size: 0,
            dry_run: false,
        }),
        Request::GroupDestroy { id: id() },
        Request::GroupFree { id: id() },
        Request::HealMode {
            id: id(),
            mode: HealMode::Observe,
        },
        Request::PauseList,
        Request::Pause {
            id: Some(id()),
            zone: Some("a".into()),
            machine: Some(name()),
            name: Some("racks".into()),
            reason: Some("upgrade".into()),
            for_ms: Some(1),
        },
        Request::Resume {
            id: None,
            zone: Some("a".into()),
            machine: None,
            name: Some("racks".into()),
        },
        Request::MachineRevoke { name: name() },
        Request::MachineForget { name: name() },
        Request::Approve {
            subject: "web-2".into(),
        },
        Request::TokenCreate(TokenRequest {
            ttl_ms: Some(1),
            uses: Some(2),
            group: Some(id()),
            note: Some("note".into()),
        }),
        Request::TokenList,
        Request::TokenRevoke { id: "00ab".into() },
        Request::OperatorCreate(OperatorRequest {
            name: "alice".into(),
            ttl_ms: Some(1),
        }),
        Request::OperatorList,
        Request::OperatorRevoke {
            name: "alice".into(),
        },
        Request::Leave,
        Request::LogLevel {
            filter: Some("info".into()),
        },
    ]
}

fn by_hand() -> Vec<Request> {
    vec![
        Request::Ask(AskRequest {
            name: name(),
            what: Deed::PowerCycle,
            reason: "stuck".into(),
            for_ms: Some(1),
            force: vec!["budget".into()],
        }),
        Request::Cancel {
            subject: "3".into(),
        },
        Request::Cordon {
            name: name(),
            reason: "memory test".into(),
        },
        Request::Uncordon { name: name() },
        Request::Release { name: name() },
        Request::Recovery,
        Request::Recover(RecoverOrder {
            cluster: "prod".into(),
            plan: Some("0a1b".into()),
            despite_doubts: true,
        }),
    ]
}

pub(super) fn answers() -> Vec<Response> {
    fn listed<T>(item: T) -> Listed<T> {
        Listed {
            as_of: as_of(),
            items: vec![item],
        }
    }
    vec![
        Response::Status(Box::new(status())),
        Response::Members(listed(member())),
        Response::Machine(Box::new(machine_detail())),
        Response::LastWords(Box::new(last_words())),
        Response::Groups(listed(status().groups.remove(0))),
        Response::Group(Box::new(group_detail())),
        Response::Explain(Box::new(explanation())),
        Response::Decisions(listed(decision())),
        Response::Report(Box::new(report())),
        Response::Events(listed(event())),
        Response::Event(event()),
        Response::Health(listed(health())),
        Response::Coordinators(listed(coordinator())),
        Response::Metrics(MetricsText {
            text: "# HELP\nmuster_up 1\n".into(),
        }),
        Response::Plan(Plan {
            as_of: as_of(),
            applied: true,
            groups: vec![plan()],
        }),
        Response::TokenCreated(token_created()),
        Response::Tokens(listed(token())),
        Response::Pauses(listed(PauseRow {
            name: Some("racks".into()),
            scope: "zone".into(),
            of: Some("a".into()),
            reason: "moving racks".into(),
            by: Some("operator alice".into()),
            since_ms: 1,
            until_ms: Some(2),
        })),
        Response::Order(Box::new(OrderDetail {
            answer: as_of(),
            order: order(),
            decision: Some(decision()),
            intent: Some(intent()),
        })),
        Response::OperatorCreated(OperatorCreated {
            name: "alice".into(),
            cluster: ClusterId::new(1).expect("not zero"),
            pem: "-----BEGIN".into(),
            expires_ms: 1,
        }),
        Response::Operators(listed(OperatorRow {
            name: "alice".into(),
            created_ms: 1,
            expires_ms: 2,
            revoked: false,
        })),
        Response::Recovery(Box::new(recovery())),
        Response::LogLevel(LogFilter {
            filter: "info".into(),
            previous: Some("debug".into()),
        }),
        Response::Done(Done {
            detail: "done".into(),
        }),
    ]
}

fn group_detail() -> GroupDetail {
    GroupDetail {
        answer: as_of(),
        group: status().groups.remove(0),
        spec: spec(),
        revisions: vec![RevisionUse {
            revision: 4,
            machines: 2,
        }],
        budget: BudgetRow {
            at_once: 1,
            in_repair: 0,
            available: 9.5,
            capacity: 10.0,
            per_hour: 10.0,
        },
        paused: Some("upgrade".into()),
        intents: vec![intent()],
        machines: vec![machine("web-1", MachineState::Alive)],
        orphans: vec![],
        without_lease: vec![],
        leader: Some("web-1".into()),
    }
}

fn recovery() -> Recovery {
    Recovery {
        cluster: "prod".into(),
        machine: "web-1".into(),
        generation: 1,
        survivors: vec![SurvivorRow {
            name: "web-1".into(),
            log_term: Some(2),
            log_index: Some(17),
            seat: Some(1),
            has_key: true,
        }],
        absent: vec![AbsentRow {
            name: "web-2".into(),
            status: "down".into(),
            since_ms: Some(1),
            seat: None,
        }],
        coordinators: vec![LostCoordinatorRow {
            seat: 1,
            name: "web-1".into(),
            there: true,
        }],
        newest: Some("web-1".into()),
        may_lose: Some("entries".into()),
        doubts: vec!["suspected".into()],
        obstacle: Some("no".into()),
        remedy: Some("wait".into()),
        plan: "0a1b".into(),
        founded: Some(1_000_001),
    }
}

fn machine_detail() -> MachineDetail {
    MachineDetail {
        answer: as_of(),
        machine: machine("web-1", MachineState::Alive),
        member: Some(member()),
        health: Some(health()),
        revision: Some(4),
        ordered_ms: Some(1),
        joined_ms: Some(2),
        intents: vec![intent()],
        quarantine: vec![],
        decisions: vec![decision()],
        events: vec![event()],
    }
}

fn last_words() -> LastWords {
    LastWords {
        answer: as_of(),
        name: "web-2".into(),
        machine_id: MachineId::new(7).expect("not zero"),
        namesakes: vec![MachineId::new(8).expect("not zero")],
        ended_ms: Some(1),
        asked: vec![HeldBy {
            name: "web-1".into(),
            answered: true,
            reports: 1,
        }],
        words: vec![WordsRow {
            at: "2023-11-14T22:13:20.000Z".into(),
            at_ms: 1,
            generation: u64::MAX,
            report: Some(3),
            health: HealthLevel::Warning,
            reasons: vec!["memory used 93 % (warning)".into()],
            readings: BTreeMap::from([("memory_used_percent".into(), 93.0)]),
            held_by: vec!["web-1".into()],
        }],
    }
}

fn order() -> OrderRow {
    OrderRow {
        order: 3,
        machine: "web-1".into(),
        group: "web".into(),
        what: "power-cycle".into(),
        reason: "stuck".into(),
        by: Some("operator alice".into()),
        at_ms: 1,
        until_ms: 2,
        forced: vec!["budget".into()],
        state: OrderState::UnderWay,
        detail: "now at step `await_well`".into(),
    }
}

fn explanation() -> Explanation {
    Explanation {
        answer: as_of(),
        subject: "web-1".into(),
        summary: "all is well".into(),
        machine: Some(machine("web-1", MachineState::Alive)),
        decisions: vec![decision()],
        events: vec![event()],
    }
}

fn as_of() -> AsOf {
    AsOf::new("web-1", 1_000, 1_250)
}

fn member() -> MemberRow {
    MemberRow {
        name: Some("web-1".into()),
        machine_id: MachineId::new(7).expect("not zero"),
        address: "127.1.2.3:6880".parse().expect("an address"),
        status: MachineState::Suspect,
        since_ms: 1,
        generation: u64::MAX,
        version: Some("0.1.0".into()),
        coordinator: true,
        rtt_ms: Some(0.25),
        labels: BTreeMap::from([("zone".into(), "a".into())]),
        as_of_ms: 1,
    }
}

fn health() -> HealthRow {
    HealthRow {
        name: "web-1".into(),
        machine_id: MachineId::new(7).expect("not zero"),
        health: Some(HealthLevel::Warning),
        reasons: vec!["the disk is 91 % full".into()],
        readings: BTreeMap::from([("disk_used_percent".into(), 91.0)]),
        workload: Some("well".into()),
        as_of_ms: 1,
    }
}

fn intent() -> IntentRow {
    IntentRow {
        op: "op-1".into(),
        action: "replace".into(),
        machine: "web-1".into(),
        group: Some("web".into()),
        step: "provision".into(),
        attempts: 1,
        last_error: Some("no capacity".into()),
        next_attempt_ms: Some(1),
        decision: Some(17),
    }
}

fn decision() -> DecisionRow {
    DecisionRow {
        id: 17,
        at: "2023-11-14T22:13:20.000Z".into(),
        at_ms: 1,
        leader: "web-1".into(),
        term: 3,
        group: Some("web".into()),
        machine: Some("web-2".into()),
        diagnosis: "gone".into(),
        evidence: vec![EvidenceRow {
            source: "mesh".into(),
            detail: "down".into(),
            at_ms: Some(1),
        }],
        checks: vec![CheckRow {
            rule: "quorum".into(),
            verdict: CheckVerdict::Pass,
            margin: "3 of 5".into(),
            otherwise: "1 fewer would have held it".into(),
        }],
        outcome: Outcome {
            kind: OutcomeKind::Act,
            action: Some("replace web-2".into()),
            op: Some("op-1".into()),
            rule: None,
            detail: String::new(),
        },
    }
}

fn report() -> Report {
    let figures = Figures {
        right: 3,
        wrong: 1,
        open: 1,
        missed: 1,
        near_misses: 2,
        spared: 2,
        precision: Some(0.75),
        recall: Some(0.75),
        time_to_heal: TimeToHeal {
            count: 1,
            p50_ms: Some(4_000),
            p90_ms: Some(4_000),
            max_ms: Some(4_000),
        },
    };
    Report {
        answer: as_of(),
        since_ms: 1,
        complete_since_ms: 2,
        fleet: figures,
        groups: vec![GroupReport {
            id: "web".into(),
            heal_mode: HealMode::Observe,
            figures,
            budget: group_detail().budget,
        }],
        held: vec![HeldRow {
            rule: "mode".into(),
            times: 3,
            standing: 1,
        }],
        cases: vec![CaseRow {
            decision: 17,
            at: "2023-11-14T22:13:20.000Z".into(),
            at_ms: 1,
            machine: "web-2".into(),
            group: Some("web".into()),
            diagnosis: "gone".into(),
            decided: Decided::Observed,
            action: Some("replace web-2".into()),
            rule: None,
            mark: Mark::Right,
            why: "its provider says so".into(),
        }],
    }
}

fn event() -> EventRow {
    EventRow {
        seq: 9,
        at: "2023-11-14T22:13:20.000Z".into(),
        at_ms: 1,
        kind: "joined".into(),
        machine: Some("web-1".into()),
        group: Some("web".into()),
        decision: Some(17),
        detail: "it is here".into(),
    }
}

fn coordinator() -> CoordinatorRow {
    CoordinatorRow {
        seat: 1,
        name: "web-1".into(),
        machine_id: MachineId::new(7).expect("not zero"),
        role: "leader".into(),
        term: 3,
        log_index: Some(99),
        lag: Some(0),
    }
}

fn plan() -> GroupPlan {
    GroupPlan {
        id: "db".into(),
        kind: GroupKind::Pets,
        change: Change::Update,
        revision: Some(4),
        desired_before: 2,
        desired_after: 1,
        members_added: vec!["db-3".into()],
        members_removed: vec!["db-1".into()],
        fields: vec![FieldChange {
            field: "labels.tier".into(),
            before: json!("a"),
            after: json!(null),
        }],
        warnings: vec!["careful".into()],
        refused: Some(Refusal {
            reason: "no".into(),
            remedy: "otherwise".into(),
        }),
    }
}

fn token_created() -> TokenCreated {
    TokenCreated {
        id: "00ab".into(),
        token: "muster1-secret".into(),
        expires_ms: 1,
        uses: 3,
        addresses: vec!["10.0.0.1:6878".parse().expect("an address")],
    }
}

fn token() -> TokenRow {
    TokenRow {
        id: "00ab".into(),
        created_ms: 1,
        expires_ms: 2,
        uses_left: 3,
        used: 4,
        group: Some("web".into()),
        note: "note".into(),
        state: "valid".into(),
    }
}
