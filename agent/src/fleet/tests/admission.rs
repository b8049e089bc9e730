use muster_mesh::identity::Generation;

use crate::fleet::testing::{Fleet, SECRET, addr, cattle, group, name, pets};
use crate::fleet::*;

const OTHER: SecretHash = SecretHash([9; 32]);

fn token(id: u64, group: Option<&str>, uses: u32, expires_ms: u64) -> Command {
    Command::CreateToken {
        id: TokenId(id),
        secret: OTHER,
        note: "for a test".into(),
        group: group.map(testing::group),
        expires_ms,
        uses,
    }
}

fn admit(id: u64, key: u8, wanted: Option<&str>) -> Command {
    Command::Admit(Box::new(Admit {
        token: TokenId(id),
        secret: OTHER,
        key: KeyHash([key; 32]),
        name: wanted.map(name),
        addr: addr(3),
        labels: Labels::new(),
    }))
}

fn admitted(reply: Reply) -> Admitted {
    match reply {
        Reply::Admitted(admitted) => *admitted,
        reply => panic!("{reply:?}"),
    }
}

#[test]
fn a_token_lets_in_as_many_as_it_may_and_a_lost_answer_costs_no_use() {
    let mut fleet = Fleet::new();
    let expires_ms = fleet.now_ms + 1000;
    fleet.ok(token(5, None, 2, expires_ms));
    let first = admitted(fleet.ok(admit(5, 1, Some("alpha"))));
    assert_eq!(admitted(fleet.ok(admit(5, 1, Some("alpha")))), first);
    assert!(matches!(
        fleet.refused(admit(5, 2, Some("alpha"))),
        Refusal::NameInUse { .. }
    ));
    let second = admitted(fleet.ok(admit(5, 2, None)));
    assert_eq!(second.name.as_str(), "machine-3");
    assert_ne!(first.machine, second.machine);
    assert_eq!(
        fleet.refused(admit(5, 3, None)),
        Refusal::TokenUsedUp(TokenId(5))
    );
}

#[test]
fn who_left_gives_its_name_to_the_next_one_that_asks_for_it() {
    let mut fleet = Fleet::new();
    let expires_ms = fleet.now_ms + 1000;
    fleet.ok(token(5, None, 9, expires_ms));
    let first = admitted(fleet.ok(admit(5, 1, Some("alpha")))).machine;
    fleet.ok(Command::MachineLeft {
        machine: first,
        life: Generation(1),
    });
    let second = admitted(fleet.ok(admit(5, 2, Some("alpha"))));
    assert_eq!(second.name.as_str(), "alpha");
    assert_ne!(second.machine, first);
    assert_eq!(fleet.phase(first), None, "there is one alpha");
    assert!(
        fleet.state.revoked_machines().contains(&first),
        "the old identity cannot come back beside the new one"
    );
}

#[test]
fn a_token_that_is_wrong_expired_or_revoked_lets_nobody_in() {
    let mut fleet = Fleet::new();
    let expires_ms = fleet.now_ms + 1000;
    assert_eq!(
        fleet.refused(admit(5, 1, None)),
        Refusal::TokenInvalid(TokenId(5))
    );
    fleet.ok(token(5, None, 2, expires_ms));
    let Command::Admit(mut wrong) = admit(5, 1, None) else {
        unreachable!()
    };
    wrong.secret = SECRET;
    assert_eq!(
        fleet.refused(Command::Admit(wrong)),
        Refusal::TokenInvalid(TokenId(5))
    );
    fleet.pass(1000);
    assert_eq!(
        fleet.refused(admit(5, 1, None)),
        Refusal::TokenExpired(TokenId(5))
    );
    let expires_ms = fleet.now_ms + 1000;
    fleet.ok(token(6, None, 1, expires_ms));
    fleet.ok(Command::RevokeToken { id: TokenId(6) });
    assert_eq!(
        fleet.refused(admit(6, 1, None)),
        Refusal::TokenInvalid(TokenId(6))
    );
}

#[test]
fn only_the_ordered_machine_can_use_its_token_and_only_once() {
    let mut fleet = Fleet::new();
    fleet.declare(cattle("web", 1));
    let machine = fleet.act(fleet.provision(&group("web")));
    let mut wrong = fleet.admit(machine);
    wrong.secret = OTHER;
    let invalid = Refusal::TokenInvalid(TokenId(machine.get()));
    assert_eq!(fleet.refused(Command::Admit(Box::new(wrong))), invalid);
    fleet.join(machine);
    fleet.join(machine);
    let mut thief = fleet.admit(machine);
    thief.key = KeyHash([0xee; 32]);
    let used = Refusal::TokenUsedUp(TokenId(machine.get()));
    assert_eq!(fleet.refused(Command::Admit(Box::new(thief))), used);
    // It joined before its instance was known; both end the intent.
    assert!(fleet.intent_of(machine).is_open());
    fleet.made(machine);
    assert_eq!(fleet.state.open_intents().count(), 0);
}

#[test]
fn a_machine_that_was_replaced_does_not_get_in() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let old = fleet.id("web-1");
    fleet.act(fleet.replace(old, Diagnosis::Gone));
    let again = fleet.admit(old);
    assert_eq!(
        fleet.refused(Command::Admit(Box::new(again))),
        Refusal::TokenUsedUp(TokenId(old.get()))
    );
    assert!(fleet.state.revoked_machines().contains(&old));
}

#[test]
fn a_groups_token_fills_it_and_no_more() {
    let mut fleet = Fleet::new();
    fleet.declare(cattle("web", 1));
    fleet.declare(pets("db", &["db-1"]));
    let expires_ms = fleet.now_ms + 1000;
    fleet.ok(token(5, Some("web"), 9, expires_ms));
    fleet.ok(token(6, Some("db"), 9, expires_ms));
    assert_eq!(admitted(fleet.ok(admit(5, 1, None))).name.as_str(), "web-1");
    assert!(matches!(
        fleet.refused(admit(5, 2, None)),
        Refusal::GroupFull { desired: 1, .. }
    ));
    assert!(matches!(
        fleet.refused(admit(6, 3, None)),
        Refusal::NotAVacantMember { .. }
    ));
    let pet = admitted(fleet.ok(admit(6, 3, Some("db-1"))));
    assert_eq!(
        pet.place.map(|place| place.member),
        Some(Member::Pet(name("db-1")))
    );
    assert!(matches!(
        fleet.refused(admit(6, 4, Some("db-1"))),
        Refusal::NotAVacantMember { .. }
    ));
    fleet.ok(token(7, None, 9, expires_ms));
    assert!(matches!(
        fleet.refused(admit(7, 5, Some("db-1"))),
        Refusal::Invalid(_)
    ));
}

#[test]
fn operators_names_are_not_given_out_again_while_a_certificate_lives() {
    let mut fleet = Fleet::new();
    let create = |expires_ms| Command::CreateOperator {
        name: name("alice"),
        expires_ms,
    };
    let expires_ms = fleet.now_ms + 1000;
    fleet.ok(create(expires_ms));
    fleet.ok(Command::RevokeOperator {
        name: name("alice"),
    });
    assert_eq!(
        fleet.state.revoked_operators().collect::<Vec<_>>(),
        [&name("alice")]
    );
    assert_eq!(
        fleet.refused(create(expires_ms + 1)),
        Refusal::OperatorExists(name("alice"))
    );
    fleet.pass(1000);
    fleet.ok(create(expires_ms + 1));
    assert_eq!(fleet.state.revoked_operators().count(), 0);
}

#[test]
fn a_revoked_machine_is_shut_out_and_its_slot_is_free() {
    let mut fleet = Fleet::with(&[cattle("web", 1)]);
    let machine = fleet.id("web-1");
    fleet.ok(Command::RevokeMachine { machine });
    assert!(fleet.state.revoked_machines().contains(&machine));
    assert_eq!(fleet.state.existing(&group("web")), 0);
    assert!(matches!(
        fleet.refused(Command::MachineReturned { machine }),
        Refusal::WrongPhase { .. }
    ));
}

#[test]
fn seats_are_never_given_out_twice() {
    let mut fleet = Fleet::with(&[cattle("web", 1)]);
    let machine = fleet.id("web-1");
    let take = Command::TakeSeat { machine };
    let Reply::Seat(first) = fleet.ok(take.clone()) else {
        panic!("no seat")
    };
    assert_eq!(fleet.ok(take.clone()), Reply::Seat(first));
    fleet.ok(Command::FreeSeat { seat: first });
    assert_eq!(
        fleet.refused(Command::FreeSeat { seat: first }),
        Refusal::NoSeat(first)
    );
    let Reply::Seat(second) = fleet.ok(take) else {
        panic!("no seat")
    };
    assert!(second > first);
}
