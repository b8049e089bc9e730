//! An instance written anew: nothing of the old system, everything of the disk.

use muster_provisioners::Secret;

use super::*;

#[tokio::test]
async fn a_reimage_throws_the_state_away_and_keeps_disk_and_address() {
    let rig = Rig::new().await;
    let mut first = spec_with_disk("db-1", "db-1");
    first.properties = r#"{"env": {"CHILD": 1}}"#.parse().expect("valid");
    first.boot.join_token = Secret::new("muster1-first");
    let id = rig.make(&first).await;
    let before = rig.find(&id).await;
    rig.until_processes(2).await;
    fs::write(rig.file(&id, "state/identity"), "old").expect("written");
    fs::write(rig.file(&id, "disks/db-1/rows"), "42").expect("written");

    let mut next = spec_with_disk("db-1", "db-1");
    next.boot.join_token = Secret::new("muster1-second");
    let reimaged = rig
        .provisioner
        .reimage(&id, &next, &op("db-1", "reimage"), soon())
        .await;
    reimaged.expect("reimaged");
    let after = rig.find(&id).await;
    assert_ne!(pid_of(&after), pid_of(&before));
    assert_eq!(after.address, before.address);
    // What the old agent had left behind has ended, too.
    rig.until_processes(1).await;
    assert!(!rig.file(&id, "state/identity").exists());
    let rows = fs::read_to_string(rig.file(&id, "disks/db-1/rows"));
    assert_eq!(rows.expect("kept"), "42");
    let config = fs::read_to_string(rig.file(&id, "agent.toml")).expect("readable");
    assert!(config.contains("muster1-second") && !config.contains("muster1-first"));

    // Another call of the same operation, which may come late, leaves the new machine alone.
    fs::write(rig.file(&id, "state/identity"), "new").expect("written");
    let again = rig
        .provisioner
        .reimage(&id, &next, &op("db-1", "reimage"), soon())
        .await;
    again.expect("done before");
    assert_eq!(pid_of(&rig.find(&id).await), pid_of(&after));
    assert!(rig.file(&id, "state/identity").exists());
}

#[tokio::test]
async fn a_reimage_that_was_cut_short_is_completed_by_the_next_call() {
    let rig = Rig::new().await;
    let id = rig.make(&spec("a")).await;
    // As a crash leaves it: off, and half thrown away.
    rig.provisioner.stop(&id, soon()).await.expect("stopped");
    fs::remove_file(rig.file(&id, "process.json")).expect("removed");
    fs::remove_dir_all(rig.file(&id, "state")).expect("removed");
    let operation = op("a", "reimage");
    let reimaged = rig
        .provisioner
        .reimage(&id, &spec("a"), &operation, soon())
        .await;
    reimaged.expect("reimaged");
    rig.until_processes(1).await;
    assert_eq!(rig.state(&id).await, InstanceState::Running);

    // It was written, and never came to be started.
    rig.kill_agent(&id).await;
    fs::remove_file(rig.file(&id, "process.json")).expect("removed");
    let reimaged = rig
        .provisioner
        .reimage(&id, &spec("a"), &operation, soon())
        .await;
    reimaged.expect("started");
    rig.until_processes(1).await;
}

#[tokio::test]
async fn what_was_destroyed_or_is_unknown_is_not_reimaged() {
    let rig = Rig::new().await;
    let id = rig.make(&spec("a")).await;
    rig.provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    let reimaged = rig
        .provisioner
        .reimage(&id, &spec("a"), &op("a", "reimage"), soon())
        .await;
    assert_eq!(reimaged, Err(ProvisionError::NotFound(id)));
}
