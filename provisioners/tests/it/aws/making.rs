//! Making: zones, capacity, and operations that others began.

use super::*;
use muster_provisioners::{InstanceState, Proof};

checks! {
    a_successor_with_other_seeds_adopts_what_was_made
    a_zone_without_room_is_passed_over
    a_group_spreads_over_its_subnets
    an_internal_error_leaves_the_outcome_open
    what_is_wrong_is_told_by_its_property
    a_machine_gets_its_configuration_and_its_role
    a_template_makes_up_for_what_is_not_said
    what_ended_long_ago_is_a_proof_only_for_who_saw_it
    a_machine_that_is_protected_is_not_said_to_be_destroyed
    a_power_cycle_that_takes_long_is_gone_on_with
}

async fn a_successor_with_other_seeds_adopts_what_was_made(rig: &Rig) {
    rig.knobs(&json!({"lag_ms": 400}));
    let mut spec = rig.spec("a");
    let first = rig.make(&spec).await;
    // The list doesn't show it yet, and EC2 knows the token with other user data.
    spec.boot.seeds = vec!["10.0.0.9:6878".parse().expect("valid")];
    assert_eq!(rig.make(&spec).await, first);
    assert_eq!(rig.list().await.len(), 1);
}

async fn a_zone_without_room_is_passed_over(rig: &Rig) {
    rig.trouble(&json!({"kind": "capacity", "actions": ["RunInstances"], "zone": ZONE}));
    for member in ["a", "b", "c"] {
        let mut spec = rig.spec(member);
        spec.properties = rig.properties_in(&[ZONE, OTHER_ZONE]);
        let id = rig.make(&spec).await;
        assert_eq!(rig.instance(&id)["zone"], OTHER_ZONE);
    }
    let mut spec = rig.spec("d");
    spec.labels.insert("zone".into(), ZONE.into());
    spec.properties = rig.properties_in(&[ZONE, OTHER_ZONE]);
    let full = rig.order(&spec).await;
    assert!(matches!(full, Err(ProvisionError::Capacity(_))), "{full:?}");
    rig.mend();
    let id = rig.make(&spec).await;
    assert_eq!(rig.instance(&id)["zone"], ZONE);
}

async fn a_group_spreads_over_its_subnets(rig: &Rig) {
    let mut zones = std::collections::BTreeSet::new();
    for member in 0..12 {
        let mut spec = rig.spec(&member.to_string());
        spec.properties = rig.properties_in(&[ZONE, OTHER_ZONE]);
        let id = rig.make(&spec).await;
        zones.insert(rig.instance(&id)["zone"].to_string());
    }
    assert_eq!(zones.len(), 2);
    let zones: Vec<_> = rig
        .list()
        .await
        .into_iter()
        .map(|one| one.properties.get("zone").cloned())
        .collect();
    assert!(zones.iter().all(Option::is_some), "{zones:?}");
}

async fn an_internal_error_leaves_the_outcome_open(rig: &Rig) {
    rig.trouble(&json!({"kind": "error", "actions": ["RunInstances"]}));
    let spec = rig.spec("a");
    let error = rig.order(&spec).await;
    assert!(error.expect_err("an error").is_outcome_unknown());
    rig.trouble(&json!({"kind": "html", "actions": ["RunInstances"]}));
    let error = rig.order(&spec).await;
    assert!(error.expect_err("no answer of EC2").is_outcome_unknown());
    // What only reads is asked again.
    rig.trouble(&json!({"kind": "error", "actions": ["DescribeInstances"], "count": 2}));
    assert_eq!(rig.list().await, []);
    rig.trouble(&json!({"kind": "html", "actions": ["DescribeInstances"]}));
    let listed = rig.provisioner.describe(&rig.ours(), soon()).await;
    assert!(listed.expect_err("no list").is_retryable());
}

async fn what_is_wrong_is_told_by_its_property(rig: &Rig) {
    for (property, value) in [
        ("image", json!("ami-0aaaaaaaaaaaaaaaa")),
        ("instance_type", json!("t3.gigantic")),
        ("key_name", json!("nobody")),
        ("subnets", json!(["subnet-0cccccccccccccccc"])),
        ("security_groups", json!(["sg-0aaaaaaaaaaaaaaaa"])),
    ] {
        let mut spec = rig.spec("a");
        spec.properties.set(property, value);
        let made = rig
            .provisioner
            .provision(&spec, &rig.op(property, "provision"), soon())
            .await;
        match made {
            Err(ProvisionError::Invalid(problems)) => assert_eq!(problems[0].field, property),
            other => panic!("{property}: {other:?}"),
        }
    }
    assert_eq!(rig.list().await, []);
}

async fn a_machine_gets_its_configuration_and_its_role(rig: &Rig) {
    let mut spec = rig.spec("a");
    spec.properties.set("instance_profile", "muster");
    spec.properties.set("tags", json!({"owner": "ops"}));
    spec.properties.set(
        "root_volume",
        json!({"device": "/dev/xvda", "size_gb": 9, "type": "gp3"}),
    );
    spec.properties.set("spot", json!({"max_price": "0.05"}));
    spec.boot.join_token = muster_provisioners::Secret::new("muster1-token");
    let id = rig.make(&spec).await;
    let instance = rig.instance(&id);
    let data = instance["user_data"].as_str().expect("user data");
    assert!(
        data.starts_with("#!/bin/sh\n") && data.contains("muster1-token"),
        "{data}"
    );
    let listed = rig.list().await;
    assert_eq!(listed[0].tags.get("owner"), Some("ops"));
    assert_eq!(listed[0].tags.get("Name"), None, "for people only");
    assert!(listed[0].created_at_ms > 0);
    assert_eq!(rig.provisioner.check(soon()).await, Ok(()));
}

async fn a_template_makes_up_for_what_is_not_said(rig: &Rig) {
    let data = json!({"ImageId": rig.counterpart.text("image"), "InstanceType": "t3.small"});
    rig.control("template", &json!({"name": "web", "data": data}));
    let mut spec = rig.spec("a");
    let properties = json!({
        "launch_template": {"name": "web", "version": 1}, "subnets": [rig.subnet(ZONE)],
    });
    spec.properties = Properties::from_value(properties).expect("an object");
    let id = rig.make(&spec).await;
    assert_eq!(rig.instance(&id)["type"], "t3.small");
}

async fn what_ended_long_ago_is_a_proof_only_for_who_saw_it(rig: &Rig) {
    let id = rig.make(&rig.spec("a")).await;
    assert_eq!(rig.list().await[0].state, InstanceState::Running);
    rig.control("forget", &json!({ "id": id }));
    let proof = rig
        .provisioner
        .prove_off(&id, soon())
        .await
        .expect("answered");
    assert!(proof.is_off(), "{proof:?}");
    let stranger = rig
        .another()
        .await
        .prove_off(&id, soon())
        .await
        .expect("answered");
    assert!(matches!(stranger, Proof::Unknown { .. }), "{stranger:?}");
}

async fn a_machine_that_is_protected_is_not_said_to_be_destroyed(rig: &Rig) {
    let id = rig.make(&rig.spec("a")).await;
    rig.control("protect", &json!({ "id": id }));
    let destroyed = rig
        .provisioner
        .destroy(&id, &rig.op("a", "destroy"), soon())
        .await;
    assert!(
        matches!(destroyed, Err(ProvisionError::Failed(_))),
        "{destroyed:?}"
    );
    let proof = rig.provisioner.prove_off(&id, soon()).await;
    assert_eq!(proof, Ok(Proof::Running));
}

async fn a_power_cycle_that_takes_long_is_gone_on_with(rig: &Rig) {
    rig.knobs(&json!({"slow_ms": 1500}));
    let id = rig.make(&rig.spec("a")).await;
    rig.control("settle", &json!({}));
    let short = Deadline::after(Duration::from_millis(700));
    let first = rig.provisioner.power_cycle(&id, short).await;
    let error = first.expect_err("it takes longer");
    assert!(error.is_outcome_unknown(), "it was stopped: {error}");
    rig.provisioner
        .power_cycle(&id, soon())
        .await
        .expect("gone on with");
    let list = rig.list().await;
    assert!(
        matches!(
            list[0].state,
            InstanceState::Starting | InstanceState::Running
        ),
        "{list:?}"
    );
    let calls = rig.control("calls", &json!({}));
    let stops = calls["calls"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|call| *call == "StopInstances");
    assert_eq!(stops.count(), 1, "it was stopped once");
}
