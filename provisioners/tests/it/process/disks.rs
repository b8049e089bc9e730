//! Disks outlive machines and have one user at a time.

use super::*;

#[tokio::test]
async fn a_successor_finds_its_predecessors_data() {
    let rig = Rig::new().await;
    let first = rig.make(&spec_with_disk("a", "db-1")).await;
    let disk = rig.root().join("disks/db-1").canonicalize().expect("made");
    let ready = rig.until_ready(&first).await;
    assert!(
        ready.contains(&format!("MUSTER_DATA={}\n", disk.display())),
        "{ready}"
    );
    assert_eq!(
        rig.file(&first, "disks/db-1")
            .canonicalize()
            .expect("a link"),
        disk
    );
    fs::write(disk.join("rows"), "42").expect("written");
    rig.kill_agent(&first).await;
    let second = rig.make(&spec_with_disk("b", "db-1")).await;
    assert_eq!(
        fs::read_to_string(rig.file(&second, "disks/db-1/rows")).expect("kept"),
        "42"
    );
    // The predecessor can't come back while the successor runs.
    let back = rig.provisioner.start(&first, soon()).await;
    assert!(matches!(back, Err(ProvisionError::Held { holder, .. }) if holder == second));
    rig.provisioner
        .destroy(&first, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    assert!(disk.join("rows").exists());
}

#[tokio::test]
async fn a_dead_agents_workload_still_holds_its_disk() {
    let rig = Rig::new().await;
    let mut spec = spec_with_disk("a", "db-1");
    spec.properties = r#"{"env": {"CHILD": 1}}"#.parse().expect("valid");
    let first = rig.make(&spec).await;
    rig.kill_agent(&first).await;
    let successor = spec_with_disk("b", "db-1");
    let attempt = rig
        .provisioner
        .provision(&successor, &op("b", "provision"), soon())
        .await;
    assert!(
        matches!(attempt, Err(ProvisionError::Held { .. })),
        "{attempt:?}"
    );
    rig.provisioner.stop(&first, soon()).await.expect("stopped");
    rig.make(&successor).await;
}

#[tokio::test]
async fn of_many_that_want_one_disk_one_gets_it() {
    let rig = Rig::new().await;
    for round in 0..5 {
        let tasks: Vec<_> = (0..4)
            .map(|turn| {
                let provisioner = rig.provisioner.clone();
                let name = format!("m-{round}-{turn}");
                tokio::spawn(async move {
                    let spec = spec_with_disk(&name, "db-1");
                    provisioner
                        .provision(&spec, &op(&name, "provision"), soon())
                        .await
                })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            match task.await.expect("no panic") {
                Ok(id) => winners.push(id),
                Err(error) => assert!(matches!(error, ProvisionError::Held { .. }), "{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        rig.until_processes(1).await;
        assert_eq!(rig.list().await.len(), 1, "the losers left something");
        let destroy = op(&format!("{round}"), "destroy");
        rig.provisioner
            .destroy(&winners[0], &destroy, soon())
            .await
            .expect("destroyed");
    }
}

#[tokio::test]
async fn of_several_calls_with_one_operation_none_claims_what_another_took_back() {
    let rig = Rig::new().await;
    let holder = rig.make(&spec_with_disk("a", "db-1")).await;
    for round in 0..8 {
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let provisioner = rig.provisioner.clone();
                tokio::spawn(async move {
                    let spec = spec_with_disk("b", "db-1");
                    provisioner
                        .provision(&spec, &op("b", "provision"), soon())
                        .await
                })
            })
            .collect();
        for call in calls {
            let error = call.await.expect("no panic").expect_err("the disk is held");
            assert!(
                error.is_retryable() && !error.is_outcome_unknown(),
                "round {round}: {error}"
            );
        }
    }
    // What is left of a refused call is taken back by the last of them at the latest.
    let list = rig.list().await;
    assert_eq!(
        list.iter().map(|instance| &instance.id).collect::<Vec<_>>(),
        [&holder]
    );
    rig.provisioner
        .destroy(&holder, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    rig.make(&spec_with_disk("b", "db-1")).await;
}

#[tokio::test]
async fn disks_in_any_order_do_not_lock_each_other_out() {
    let rig = Rig::new().await;
    let both = |name: &str, disks: [&str; 2]| MachineSpec {
        attachments: disks.map(|disk| Attachment::new(disk, "")).to_vec(),
        ..spec(name)
    };
    let (one, other) = (both("a", ["x", "y"]), both("b", ["y", "x"]));
    let (one_op, other_op) = (op("a", "provision"), op("b", "provision"));
    let results = tokio::join!(
        rig.provisioner.provision(&one, &one_op, soon()),
        rig.provisioner.provision(&other, &other_op, soon()),
    );
    assert!(results.0.is_ok() != results.1.is_ok(), "{results:?}");
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_refused() {
    let rig = Rig::new().await;
    for name in ["..", "../other", "/etc", ".locks", ""] {
        let spec = spec_with_disk("a", name);
        let made = rig
            .provisioner
            .provision(&spec, &op("a", "provision"), soon())
            .await;
        assert!(
            matches!(made, Err(ProvisionError::Invalid(_))),
            "{name}: {made:?}"
        );
    }
    let foreign: InstanceId = "../../etc".parse().expect("printable");
    let result = rig.provisioner.stop(&foreign, soon()).await;
    assert_eq!(result, Err(ProvisionError::NotFound(foreign)));
}
