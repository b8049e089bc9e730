//! Hardware in quarantine: on record, released by a person, and as its provisioner says.

use super::super::limits::QUARANTINE_MAX;
use super::super::testing::{Fleet, cattle};
use super::super::*;

fn change(change: QuarantineChange) -> Command {
    Command::Quarantine(Box::new(change))
}

/// What the rack says, asked when this was on record.
fn listed(known: &[Quarantine], names: &[&str]) -> Command {
    let one = |name: &&str| ListedHardware {
        hardware: (*name).to_owned(),
        why: "it fails to boot".into(),
    };
    change(QuarantineChange::Listed(QuarantineListing {
        provisioner: "rack".to_owned(),
        listed: names.iter().map(one).collect(),
        gone: known.to_vec(),
    }))
}

fn events(fleet: &Fleet, kind: EventKind) -> Vec<String> {
    let of_kind = fleet.state.events.iter().filter(|event| event.kind == kind);
    of_kind.map(|event| event.detail.to_string()).collect()
}

/// A fleet in which `web-2` is replaced, and `node-3`, on which it was, has been put aside.
fn put_aside() -> (Fleet, PutAside) {
    let mut fleet = Fleet::with(&[cattle("web", 3)]);
    let old = fleet.id("web-2");
    let instance = fleet.state.machines[&old].instance.clone().unwrap().id;
    let new = fleet.act(fleet.replace(old, Diagnosis::Unreachable));
    let aside = PutAside {
        op: fleet.intent_of(new).op.clone(),
        provisioner: "rack".to_owned(),
        hardware: "node-3".to_owned(),
        instance,
        why: "unreachable".into(),
    };
    fleet.ok(change(QuarantineChange::PutAside(aside.clone())));
    (fleet, aside)
}

#[test]
fn hardware_that_failed_is_on_record_with_its_machine_until_it_is_released() {
    let (mut fleet, aside) = put_aside();
    // The step was tried again.
    fleet.ok(change(QuarantineChange::PutAside(aside.clone())));
    let [known] = &fleet.state.quarantine[..] else {
        panic!("{:?}", fleet.state.quarantine);
    };
    for name in ["node-3", "web-2", aside.instance.as_str()] {
        assert!(known.is_called(name), "{name}");
    }
    assert!(!known.is_called("rack"));
    assert_eq!(events(&fleet, EventKind::Quarantined).len(), 1);
    let release = |hardware: &str| {
        change(QuarantineChange::Release {
            provisioner: "rack".to_owned(),
            hardware: hardware.to_owned(),
        })
    };
    let refusal = fleet.refused(release("node-4"));
    assert!(matches!(refusal, Refusal::NotQuarantined(_)), "{refusal}");
    fleet.ok(release("node-3"));
    assert_eq!(fleet.state.quarantine[0].released_ms, Some(fleet.now_ms));
    assert_eq!(events(&fleet, EventKind::Releasing).len(), 1);
    // It is out once its provisioner says so.
    fleet.ok(listed(&fleet.state.quarantine, &[]));
    assert!(fleet.state.quarantine.is_empty());
    assert_eq!(events(&fleet, EventKind::Released).len(), 1);
}

#[test]
fn what_a_provisioner_says_is_taken_as_it_is_and_once() {
    let (mut fleet, _) = put_aside();
    let refusal = fleet.refused(listed(&fleet.state.quarantine, &["node-3"]));
    assert!(refusal.to_string().contains("already"), "{refusal}");
    fleet.ok(listed(&fleet.state.quarantine, &["node-3", "node-7"]));
    let [known, other] = &fleet.state.quarantine[..] else {
        panic!("{:?}", fleet.state.quarantine);
    };
    assert!(known.failed.is_some() && other.failed.is_none());
    assert_eq!(other.hardware, "node-7");
    let many: Vec<_> = (0..=QUARANTINE_MAX).map(|n| format!("node-{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let refusal = fleet.refused(listed(&fleet.state.quarantine, &many));
    assert!(matches!(refusal, Refusal::TooMany { .. }), "{refusal}");
}

#[test]
fn what_was_put_aside_while_a_provisioner_was_asked_stays_on_record() {
    let (mut fleet, aside) = put_aside();
    fleet.refused(listed(&[], &[]));
    fleet.ok(change(QuarantineChange::Release {
        provisioner: "rack".to_owned(),
        hardware: "node-3".to_owned(),
    }));
    let before = fleet.state.quarantine.clone();
    // Another machine fails on it before the answer is on record.
    fleet.ok(change(QuarantineChange::PutAside(aside)));
    fleet.ok(listed(&before, &["node-7"]));
    let [known, other] = &fleet.state.quarantine[..] else {
        panic!("{:?}", fleet.state.quarantine);
    };
    assert!(known.failed.is_some() && known.released_ms.is_none());
    assert_eq!(other.hardware, "node-7");
}
