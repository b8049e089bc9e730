//! Stopping a whole fleet, bringing it back, and clearing it away.

use super::*;
use muster_provisioners::process::Resumed;

#[tokio::test]
async fn a_fleet_comes_back_as_it_was() {
    let rig = Rig::new().await;
    let (a, b) = (
        rig.make(&spec("a")).await,
        rig.make(&spec_with_disk("b", "disk")).await,
    );
    let (off, gone) = (rig.make(&spec("off")).await, rig.make(&spec("gone")).await);
    rig.provisioner.stop(&off, soon()).await.expect("stopped");
    rig.provisioner
        .destroy(&gone, &op("gone", "destroy"), soon())
        .await
        .expect("destroyed");
    let places = |list: Vec<Instance>| -> Vec<_> {
        list.into_iter()
            .map(|instance| (instance.id, instance.address, instance.tags))
            .collect()
    };
    let before = places(rig.list().await);

    rig.provisioner.shut_down(soon()).await.expect("shut down");
    rig.provisioner.shut_down(soon()).await.expect("again");
    assert_eq!(rig.processes(), BTreeSet::new());
    assert_eq!(rig.provisioner.is_shut_down(), Ok(true));
    assert!(
        rig.list()
            .await
            .iter()
            .all(|instance| instance.state == InstanceState::Stopped)
    );
    for result in [
        rig.provisioner
            .provision(&spec("c"), &op("c", "provision"), soon())
            .await
            .map(|_| ()),
        rig.provisioner.start(&a, soon()).await,
        rig.provisioner.reboot(&a, soon()).await,
    ] {
        assert!(
            matches!(result, Err(ProvisionError::Unavailable(_))),
            "{result:?}"
        );
    }

    // Another process, later.
    let later = config(&rig.root()).open(soon()).await.expect("opened");
    let mut resumed = later.resume(soon()).await.expect("resumed");
    resumed.sort_by(|one, other| one.id.cmp(&other.id));
    let mut expected = [&a, &b].map(|id| Resumed {
        id: id.clone(),
        result: Ok(()),
    });
    expected.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(resumed, expected);
    assert_eq!(places(rig.list().await), before);
    assert_eq!(rig.state(&off).await, InstanceState::Stopped);
    rig.until_processes(2).await;
    rig.make(&spec("c")).await;
}

#[tokio::test]
async fn a_fleet_that_was_killed_comes_back_too() {
    let rig = Rig::new().await;
    let ids = [rig.make(&spec("a")).await, rig.make(&spec("b")).await];
    rig.kill_agent(&ids[0]).await;
    let resumed = rig.provisioner.resume(soon()).await.expect("resumed");
    assert!(
        resumed.iter().all(|machine| machine.result.is_ok()),
        "{resumed:?}"
    );
    rig.until_processes(2).await;
}

#[tokio::test]
async fn nothing_slips_through_while_a_fleet_is_stopped() {
    let rig = Rig::new().await;
    for round in 0..6 {
        let makers: Vec<_> = (0..4)
            .map(|turn| {
                let provisioner = rig.provisioner.clone();
                tokio::spawn(async move {
                    let name = format!("m-{round}-{turn}");
                    provisioner
                        .provision(&spec(&name), &op(&name, "provision"), soon())
                        .await
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(4 * round)).await;
        rig.provisioner.shut_down(soon()).await.expect("shut down");
        // From here on nothing may appear, whatever was under way.
        let after = rig.processes();
        for maker in makers {
            if let Err(error) = maker.await.expect("no panic") {
                assert!(matches!(error, ProvisionError::Unavailable(_)), "{error}");
            }
        }
        assert_eq!(
            (after, rig.processes()),
            (BTreeSet::new(), BTreeSet::new()),
            "round {round}"
        );
        for machine in rig.provisioner.resume(soon()).await.expect("resumed") {
            machine.result.expect("started");
        }
    }
}

#[tokio::test]
async fn clearing_away_leaves_neither_processes_nor_files() {
    let rig = Rig::new().await;
    rig.make(&spec_with_disk("a", "disk")).await;
    let lost = rig
        .make(&spec_with(
            "b",
            r#"{"env": {"CHILD": 1, "IGNORE_TERM": 1}}"#,
        ))
        .await;
    let root = rig.provisioner.root().to_owned();
    // Somebody removed a directory whose machine runs.
    fs::remove_dir_all(rig.file(&lost, "")).expect("removed");
    rig.until_processes(3).await;
    clean(&rig.root(), soon()).await.expect("cleared away");
    assert_eq!(marked_below(&root.join("instances")), BTreeSet::new());
    assert!(!root.exists());
    clean(&rig.root(), soon())
        .await
        .expect("nothing is left to be done");
}

#[tokio::test]
async fn only_a_root_is_cleared_away() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("precious"), "x").expect("written");
    let result = clean(directory.path(), soon()).await;
    assert!(
        matches!(result, Err(ProvisionError::Failed(_))),
        "{result:?}"
    );
    assert!(directory.path().join("precious").exists());
    assert!(!directory.path().join("stopping").exists());
}

#[tokio::test]
async fn two_fleets_do_not_know_each_other() {
    let (one, other) = (Rig::new().await, Rig::new().await);
    let id = one.make(&spec("a")).await;
    // The same operation, so the same ID, in another root.
    assert_eq!(other.make(&spec("a")).await, id);
    let addresses = [one.find(&id).await.address, other.find(&id).await.address];
    assert_ne!(addresses[0], addresses[1]);
    one.provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    assert_eq!(other.state(&id).await, InstanceState::Running);
    clean(&one.root(), soon()).await.expect("cleared away");
    other.until_processes(1).await;
}

#[tokio::test]
async fn a_machine_that_lost_its_directory_is_stopped_with_the_others() {
    let rig = Rig::new().await;
    let (_listed, lost) = (rig.make(&spec("a")).await, rig.make(&spec("b")).await);
    fs::remove_dir_all(rig.file(&lost, "")).expect("deleted");
    rig.provisioner.shut_down(soon()).await.expect("shut down");
    assert_eq!(rig.processes(), BTreeSet::new());
}
