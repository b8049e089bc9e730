//! Instances that nobody knows are put on record, and nothing else happens to them.

use muster_provisioners::{Instance, InstanceState, Tags, tag};

use crate::fleet::testing::{Fleet, cattle};
use crate::fleet::{Command, EventKind, FleetState};
use crate::heal::{Listing, OrphanWatch};

fn listed(id: &str, op: Option<&str>) -> Instance {
    let mut tags = Tags::new().with(tag::GROUP, "web");
    if let Some(op) = op {
        tags = tags.with(tag::OPERATION, op);
    }
    Instance {
        id: id.parse().unwrap(),
        state: InstanceState::Running,
        tags,
        address: None,
        properties: Default::default(),
        created_at_ms: 0,
        attachments: Vec::new(),
    }
}

fn listing(said: Result<Vec<Instance>, String>) -> Listing {
    Listing {
        at_ms: 0,
        list_lag_ms: 0,
        can_prove_off: true,
        can_reboot: true,
        can_power_cycle: false,
        can_reimage: false,
        is_hardware: false,
        said,
    }
}

/// One look, with what follows from it done.
fn look(
    watch: &mut OrphanWatch,
    fleet: &mut Fleet,
    said: Result<Vec<Instance>, String>,
) -> Vec<String> {
    let listing = listing(said);
    if let Some(command) = watch.look(&fleet.state, [("process", &listing)], fleet.now_ms) {
        fleet.ok(command);
    }
    let recorded = |state: &FleetState| {
        let ids = state.orphans.iter().map(|orphan| orphan.id.to_string());
        ids.collect()
    };
    recorded(&fleet.state)
}

#[test]
fn an_instance_without_a_machine_is_on_record_after_a_minute_and_until_it_is_gone() {
    let mut fleet = Fleet::with(&[cattle("web", 1)]);
    let own = fleet.state.machines[&fleet.id("web-1")].instance.clone();
    let own = listed(own.unwrap().id.as_str(), None);
    let said = || Ok(vec![own.clone(), listed("p-stray", None)]);
    let mut watch = OrphanWatch::default();
    assert!(look(&mut watch, &mut fleet, said()).is_empty(), "not yet");
    assert!(watch.is_curious(&fleet.state));
    fleet.pass(60_000);
    assert_eq!(look(&mut watch, &mut fleet, said()), ["p-stray"]);
    assert!(!watch.is_curious(&fleet.state));
    let since_ms = fleet.state.orphans[0].since_ms;
    assert_eq!(since_ms, fleet.now_ms - 60_000);

    // A provisioner that can't say proves nothing, and neither does a new leader.
    fleet.pass(60_000);
    assert_eq!(
        look(&mut watch, &mut fleet, Err("down".into())),
        ["p-stray"]
    );
    let mut next = OrphanWatch::default();
    assert_eq!(look(&mut next, &mut fleet, said()), ["p-stray"]);
    assert_eq!(fleet.state.orphans[0].since_ms, since_ms);

    assert!(look(&mut next, &mut fleet, Ok(vec![own])).is_empty());
    let kinds = fleet.state.events.iter().map(|event| event.kind);
    let kinds: Vec<_> = kinds
        .filter(|kind| kind.as_str().starts_with("orphan"))
        .collect();
    assert_eq!(kinds, [EventKind::OrphanFound, EventKind::OrphanGone]);
}

#[test]
fn what_comes_and_goes_is_no_orphan() {
    let mut fleet = Fleet::with(&[cattle("web", 2)]);
    let mut watch = OrphanWatch::default();
    let old = fleet.id("web-1");
    let replace = fleet.replace(old, crate::fleet::Diagnosis::Gone);
    let new = fleet.act(replace);
    fleet.done(new);
    // Made, and nobody lived to say so: its order is under way.
    let op = fleet.intent_of(new).op.to_string();
    let made = || vec![listed("p-new", Some(&op))];
    look(&mut watch, &mut fleet, Ok(made()));
    fleet.pass(120_000);
    assert!(look(&mut watch, &mut fleet, Ok(made())).is_empty());
    // Destroyed, and still listed for a moment.
    let both = [made(), vec![listed("p-old", None)]].concat();
    look(&mut watch, &mut fleet, Ok(both));
    fleet.pass(60_000);
    assert!(look(&mut watch, &mut fleet, Ok(made())).is_empty());
    // Nothing new is no command.
    let listing = listing(Ok(made()));
    let again = watch.look(&fleet.state, [("process", &listing)], fleet.now_ms);
    assert_eq!(again, None::<Command>);
}
