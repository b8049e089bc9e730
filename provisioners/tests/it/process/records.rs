//! Records that say what isn't so any more, or nothing that can be read.

use muster_provisioners::Proof;
use serde_json::Value;

use super::*;

/// Changes what is recorded of an instance's process.
fn rewrite(rig: &Rig, id: &InstanceId, change: impl FnOnce(&mut Value)) {
    let path = rig.file(id, "process.json");
    let mut record: Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("there")).expect("JSON");
    change(&mut record["process"]);
    fs::write(path, record.to_string()).expect("written");
}

#[tokio::test]
async fn a_process_that_got_the_number_of_a_dead_agent_is_not_its_agent() {
    let rig = Rig::new().await;
    let id = rig.make(&spec_with_disk("a", "disk")).await;
    rig.kill_agent(&id).await;
    // The number has been given to somebody else's process.
    let mut bystander = std::process::Command::new("sleep")
        .arg("100000")
        .spawn()
        .expect("started");
    rewrite(&rig, &id, |process| process["pid"] = bystander.id().into());

    let instance = rig.find(&id).await;
    assert_eq!(instance.state, InstanceState::Stopped);
    assert_eq!(instance.properties.get("pid"), None);
    let proof = rig
        .provisioner
        .prove_off(&id, soon())
        .await
        .expect("answered");
    assert!(
        matches!(&proof, Proof::Off { how, .. } if how.contains("another process")),
        "{proof:?}"
    );
    rig.provisioner.stop(&id, soon()).await.expect("stopped");
    rig.provisioner.start(&id, soon()).await.expect("started");
    rig.kill_agent(&id).await;
    rewrite(&rig, &id, |process| process["pid"] = bystander.id().into());
    rig.provisioner
        .power_cycle(&id, soon())
        .await
        .expect("power-cycled");
    rig.kill_agent(&id).await;
    rewrite(&rig, &id, |process| process["pid"] = bystander.id().into());
    rig.provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");

    assert!(
        bystander.try_wait().expect("waited").is_none(),
        "the bystander was killed"
    );
    bystander.kill().expect("killed");
    bystander.wait().expect("reaped");
}

#[tokio::test]
async fn after_a_restart_of_the_computer_nothing_runs() {
    let rig = Rig::new().await;
    let id = rig.make(&spec("a")).await;
    rig.kill_agent(&id).await;
    rewrite(&rig, &id, |process| {
        process["boot"] = "00000000-0000-0000-0000-000000000000".into();
        // Whatever has that number now, for instance this test.
        process["pid"] = std::process::id().into();
    });
    assert_eq!(rig.state(&id).await, InstanceState::Stopped);
    assert!(
        rig.provisioner
            .prove_off(&id, soon())
            .await
            .expect("answered")
            .is_off()
    );
    rig.provisioner.start(&id, soon()).await.expect("started");
    assert_eq!(rig.state(&id).await, InstanceState::Running);
}

#[tokio::test]
async fn what_runs_in_another_container_is_unknown_and_left_alone() {
    let rig = Rig::new().await;
    let id = rig.make(&spec("a")).await;
    let mut namespace = String::new();
    rewrite(&rig, &id, |process| {
        namespace = process["namespace"].as_str().expect("text").to_owned();
        process["namespace"] = "pid:[1]".into();
    });
    assert_eq!(rig.state(&id).await, InstanceState::Unknown);
    let proof = rig
        .provisioner
        .prove_off(&id, soon())
        .await
        .expect("answered");
    assert!(matches!(proof, Proof::Unknown { .. }), "{proof:?}");
    let destroyed = rig
        .provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await;
    assert!(
        matches!(destroyed, Err(ProvisionError::Unavailable(_))),
        "{destroyed:?}"
    );
    rig.until_processes(1).await;
    // From where it can be seen the order to destroy it is carried out.
    rewrite(&rig, &id, |process| process["namespace"] = namespace.into());
    assert_eq!(rig.state(&id).await, InstanceState::Stopping);
    rig.provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    assert_eq!(rig.processes(), BTreeSet::new());
}

#[tokio::test]
async fn an_order_to_destroy_outlives_whoever_gave_it() {
    let rig = Rig::new().await;
    let id = rig.make(&spec("a")).await;
    let order = format!("{{\"operation\":\"{}\",\"at_ms\":0}}", op("a", "destroy"));
    fs::write(rig.file(&id, "doomed"), order).expect("written");
    assert_eq!(rig.state(&id).await, InstanceState::Stopping);
    let not_found = Err(ProvisionError::NotFound(id.clone()));
    assert_eq!(rig.provisioner.reboot(&id, soon()).await, not_found);
    rig.kill_agent(&id).await;
    assert_eq!(rig.state(&id).await, InstanceState::Stopping);
    assert_eq!(rig.provisioner.start(&id, soon()).await, not_found);
    let again = rig
        .provisioner
        .provision(&spec("a"), &op("a", "provision"), soon())
        .await;
    assert_eq!(again, Ok(id.clone()));
    assert_eq!(rig.processes(), BTreeSet::new());
    rig.provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    assert_eq!(rig.list().await, []);
}

#[tokio::test]
async fn a_damaged_record_of_the_process_hides_it_but_not_from_its_end() {
    let rig = Rig::new().await;
    let id = rig.make(&spec_with_disk("a", "disk")).await;
    fs::write(rig.file(&id, "process.json"), "{\"version\":").expect("written");
    let instance = rig.find(&id).await;
    assert_eq!(instance.state, InstanceState::Unknown);
    assert!(
        instance
            .properties
            .get("why")
            .expect("told")
            .to_string()
            .contains("damaged")
    );
    let proof = rig
        .provisioner
        .prove_off(&id, soon())
        .await
        .expect("answered");
    assert!(matches!(proof, Proof::Unknown { .. }), "{proof:?}");
    let other = spec_with_disk("b", "disk");
    let held = rig
        .provisioner
        .provision(&other, &op("b", "provision"), soon())
        .await;
    assert!(matches!(held, Err(ProvisionError::Held { .. })), "{held:?}");
    // Its mark tells which process it is.
    rig.provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    assert_eq!(rig.processes(), BTreeSet::new());
    rig.make(&other).await;
}

#[tokio::test]
async fn a_damaged_record_of_an_instance_is_reported_and_harms_no_other() {
    let rig = Rig::new().await;
    let (id, other) = (rig.make(&spec("a")).await, rig.make(&spec("b")).await);
    fs::write(rig.file(&id, "instance.json"), "").expect("written");
    // One that is not listed would be taken for gone.
    assert_eq!(rig.find(&other).await.state, InstanceState::Running);
    assert_eq!(rig.find(&id).await.state, InstanceState::Running);
    let check = rig
        .provisioner
        .check(soon())
        .await
        .expect_err("it is damaged");
    assert!(check.to_string().contains(id.as_str()), "{check}");
    rig.make(&spec("c")).await;
    // Nobody knows which disks it has.
    let disk = spec_with_disk("d", "disk");
    let held = rig
        .provisioner
        .provision(&disk, &op("d", "provision"), soon())
        .await;
    let said = held.expect_err("it may be in use").to_string();
    let record = rig.file(&id, "instance.json").display().to_string();
    assert!(said.contains(&record) && said.contains("disk"), "{said}");
    rig.kill_agent(&id).await;
    let damaged = rig.find(&id).await;
    assert_eq!(damaged.state, InstanceState::Unknown);
    let why = damaged.properties.get("why").expect("it says why");
    assert!(why.to_string().contains("instance.json"), "{why}");
    let by_operation = Tags::new().with(tag::OPERATION, op("a", "provision").as_str());
    let found = rig.provisioner.describe(&by_operation, soon()).await;
    assert_eq!(found, Ok(Vec::new()), "nobody knows who ordered it");
    rig.provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    assert_eq!(rig.provisioner.check(soon()).await, Ok(()));
    rig.make(&disk).await;
    rig.until_processes(3).await;
}

#[tokio::test]
async fn a_grave_holds_no_secrets_and_is_remembered() {
    let rig = Rig::new().await;
    let mut spec = spec_with_disk("a", "disk");
    spec.boot.join_token = muster_provisioners::Secret::new("muster1-token");
    let id = rig.make(&spec).await;
    fs::write(rig.file(&id, "state/key"), "secret").expect("written");
    rig.provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    let grave = rig.root().join("graveyard").join(id.as_str());
    let mut left: Vec<_> = fs::read_dir(grave)
        .expect("there")
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["agent.log", "doomed", "instance.json"]);
    assert!(
        rig.root().join("disks/disk/mark").exists(),
        "disks outlive instances"
    );
    let again = rig
        .provisioner
        .provision(&spec, &op("a", "provision"), soon())
        .await;
    assert_eq!(again, Ok(id));
    assert_eq!(rig.list().await, []);
}
