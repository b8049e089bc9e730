//! Freezing, restarts, and what they prove.

use muster_provisioners::{Proof, ProvisionError};

use super::*;

async fn boots(rig: &Rig, id: &InstanceId) -> usize {
    rig.file(id, "/var/log/boots")
        .await
        .map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn a_frozen_machine_is_not_off_and_a_power_cycle_brings_it_back() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let id = rig.make(&spec("a")).await;
    until("it has booted", || async { boots(&rig, &id).await == 1 }).await;
    rig.set_state(&id, json!({"action": "freeze"})).await;
    let instance = rig.find(&id).await;
    assert_eq!(
        (instance.state, status(&instance)),
        (InstanceState::Running, Some("Frozen"))
    );
    assert_eq!(
        rig.provisioner.prove_off(&id, soon()).await,
        Ok(Proof::Running)
    );

    let rebooted = rig
        .provisioner
        .reboot(&id, soon())
        .await
        .expect_err("it can't hear");
    assert!(
        matches!(&rebooted, ProvisionError::Failed(why) if why.contains("frozen")),
        "{rebooted}"
    );
    rig.provisioner
        .power_cycle(&id, soon())
        .await
        .expect("cycled");
    assert_eq!(status(&rig.find(&id).await), Some("Running"));
    until("it has booted again", || async {
        boots(&rig, &id).await == 2
    })
    .await;

    rig.set_state(&id, json!({"action": "freeze"})).await;
    rig.provisioner.start(&id, soon()).await.expect("thawed");
    assert_eq!(status(&rig.find(&id).await), Some("Running"));
    assert_eq!(boots(&rig, &id).await, 2, "thawing is no restart");

    rig.set_state(&id, json!({"action": "freeze"})).await;
    rig.provisioner.stop(&id, soon()).await.expect("stopped");
    assert!(
        rig.provisioner
            .prove_off(&id, soon())
            .await
            .expect("answered")
            .is_off()
    );
}

#[tokio::test]
async fn a_reboot_goes_through_the_init() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let id = rig.make(&spec("a")).await;
    until("it has booted", || async { boots(&rig, &id).await == 1 }).await;
    rig.provisioner.reboot(&id, soon()).await.expect("rebooted");
    until("it has booted again", || async {
        boots(&rig, &id).await == 2
    })
    .await;
}

#[tokio::test]
async fn what_lxd_would_start_by_itself_is_not_off() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let id = rig.make(&spec("a")).await;
    let profile = json!({"config": {"boot.autostart": "true"}});
    rig.lxd(Method::PATCH, "profiles/default", Some(profile))
        .await;
    rig.set_state(&id, json!({"action": "stop", "force": true}))
        .await;
    let proof = rig
        .provisioner
        .prove_off(&id, soon())
        .await
        .expect("answered");
    assert!(
        matches!(&proof, Proof::Unknown { why } if why.contains("by itself")),
        "{proof:?}"
    );
    rig.provisioner
        .stop(&id, soon())
        .await
        .expect("it stays off from now on");
    assert!(
        rig.provisioner
            .prove_off(&id, soon())
            .await
            .expect("answered")
            .is_off()
    );
    rig.provisioner.start(&id, soon()).await.expect("started");
    let entry = rig
        .lxd(Method::GET, &format!("instances/{}", name(&id)), None)
        .await;
    assert_eq!(
        entry["expanded_config"]["boot.autostart"], "true",
        "the profile counts again"
    );
}

#[tokio::test]
async fn a_machine_that_was_renamed_is_not_gone() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let id = rig.make(&spec("a")).await;
    rig.set_state(&id, json!({"action": "stop", "force": true}))
        .await;
    let path = format!("instances/{}", name(&id));
    rig.lxd(Method::POST, &path, Some(json!({"name": "kept"})))
        .await;
    let proof = rig
        .provisioner
        .prove_off(&id, soon())
        .await
        .expect("answered");
    assert!(
        matches!(&proof, Proof::Unknown { why } if why.contains("kept")),
        "{proof:?}"
    );
}

#[tokio::test]
async fn an_instance_without_its_tags_is_still_listed_and_never_destroyed() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let id = rig.make(&spec("a")).await;
    let path = format!("instances/{}", name(&id));
    let keys = ["order", "server", "started", "created"];
    let config: serde_json::Map<_, _> = keys
        .map(|key| (format!("user.muster-lxd.{key}"), json!("")))
        .into_iter()
        .chain([("user.muster.cluster".to_owned(), json!(""))])
        .collect();
    rig.lxd(Method::PATCH, &path, Some(json!({ "config": config })))
        .await;
    let ours = Tags::new().with(tag::CLUSTER, "c");
    let list = rig
        .provisioner
        .describe(&ours, soon())
        .await
        .expect("listed");
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!((&list[0].id, list[0].state), (&id, InstanceState::Running));
    assert!(
        list[0].tags.is_empty() && list[0].properties.get("why").is_some(),
        "{list:?}"
    );
    let destroyed = rig
        .provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await;
    assert!(
        matches!(destroyed, Err(ProvisionError::Failed(_))),
        "{destroyed:?}"
    );
    assert_eq!(rig.state(&id).await, InstanceState::Running);
    rig.set_state(&id, json!({"action": "freeze"})).await;
    rig.set_state(&id, unfreeze()).await;
}
