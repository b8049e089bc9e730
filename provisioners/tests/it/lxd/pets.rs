//! Disks and addresses of pets.

use muster_provisioners::{Attachment, ProvisionError};

use super::*;

fn pet(member: &str, attachments: &[Attachment]) -> MachineSpec {
    let mut spec = spec_with(member, &json!({"disk_size": "1MiB"}));
    spec.attachments = attachments.to_vec();
    spec
}

#[tokio::test]
async fn a_disk_keeps_its_data_when_it_moves() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let disk = [Attachment::new("data-1", "disk")];
    let first = rig.make(&pet("a", &disk)).await;
    rig.exec(&first, &["sh", "-c", "echo kept > /disks/data-1/note"])
        .await;
    rig.provisioner.stop(&first, soon()).await.expect("stopped");
    let second = rig.make(&pet("b", &disk)).await;
    assert_eq!(
        rig.file(&second, "/disks/data-1/note").await.as_deref(),
        Some("kept\n")
    );
    assert_eq!(rig.find(&second).await.attachments, disk);
    assert_eq!(
        rig.find(&first).await.attachments,
        [],
        "it was taken away from the one that is off"
    );
    let back = rig.provisioner.start(&first, soon()).await;
    assert_eq!(
        back,
        Err(ProvisionError::Held {
            attachment: "data-1".to_owned(),
            holder: second.clone()
        })
    );
    rig.provisioner
        .stop(&second, soon())
        .await
        .expect("stopped");
    rig.provisioner
        .start(&first, soon())
        .await
        .expect("it is free again");
    assert_eq!(
        rig.file(&first, "/disks/data-1/note").await.as_deref(),
        Some("kept\n")
    );
}

#[tokio::test]
async fn of_two_that_want_a_disk_at_once_at_most_one_gets_it() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let disk = [Attachment::new("data-1", "")];
    for round in 0..3 {
        let calls: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|member| {
                let member = format!("{member}{round}");
                let (provisioner, spec) = (rig.provisioner.clone(), pet(&member, &disk));
                tokio::spawn(async move {
                    provisioner
                        .provision(&spec, &op(&member, "provision"), soon())
                        .await
                })
            })
            .collect();
        let mut made = Vec::new();
        for call in calls {
            match call.await.expect("no panic") {
                Ok(id) => made.push(id),
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
        assert!(made.len() <= 1, "{made:?}");
        let list = rig.list().await;
        let ids: Vec<_> = list.iter().map(|instance| instance.id.clone()).collect();
        assert_eq!(ids, made, "who was refused leaves nothing");
        for id in made {
            rig.provisioner
                .destroy(&id, &op("x", "destroy"), soon())
                .await
                .expect("destroyed");
        }
    }
}

#[tokio::test]
async fn a_disk_that_a_stranger_holds_is_never_taken() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let volumes = "storage-pools/default/volumes/custom";
    rig.lxd(Method::POST, volumes, Some(json!({"name": "data-1"})))
        .await;
    let device = json!({"type": "disk", "pool": "default", "source": "data-1", "path": "/data"});
    let stranger = json!({"name": "stranger", "source": {"type": "image", "alias": "muster"}, "devices": {"d": device}});
    rig.lxd(Method::POST, "instances", Some(stranger)).await;
    let spec = pet("a", &[Attachment::new("data-1", "")]);
    let made = rig
        .provisioner
        .provision(&spec, &op("a", "provision"), soon())
        .await;
    assert!(
        matches!(&made, Err(ProvisionError::Held { holder, .. }) if holder.as_str() == "stranger"),
        "{made:?}"
    );
    assert_eq!(rig.list().await, []);
}

#[tokio::test]
async fn a_disk_that_nobody_made_is_not_made_unasked() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let mut spec = spec("a");
    spec.attachments = vec![Attachment::new("data-9", "")];
    let made = rig
        .provisioner
        .provision(&spec, &op("a", "provision"), soon())
        .await;
    let error = made.expect_err("there is none").to_string();
    assert!(
        error.contains("data-9") && error.contains("disk_size"),
        "{error}"
    );
    assert_eq!(rig.list().await, []);
}

#[tokio::test]
async fn an_address_moves_with_its_pet() {
    let Some(rig) = Rig::start(&["--network"]).await else {
        return;
    };
    let host = rig.counterpart.text("https").trim_start_matches("https://");
    let network = host.rsplit_once('.').expect("an address").0;
    let address = format!("{network}.77");
    let attachments = [
        Attachment::new(&address, "address"),
        Attachment::new("data-1", ""),
    ];
    let first = rig.make(&pet("a", &attachments)).await;
    let has_it = async |id: &InstanceId| rig.find(id).await.address == address.parse().ok();
    until("it has the address", || has_it(&first)).await;
    let held = rig.find(&first).await.attachments;
    assert!(attachments.iter().all(|one| held.contains(one)), "{held:?}");
    let refused = rig
        .provisioner
        .provision(&pet("b", &attachments), &op("b", "provision"), soon())
        .await;
    assert!(
        matches!(refused, Err(ProvisionError::Held { .. })),
        "{refused:?}"
    );
    rig.provisioner.stop(&first, soon()).await.expect("stopped");
    let second = rig.make(&pet("b", &attachments)).await;
    until("its successor has the address", || has_it(&second)).await;
    let other = rig.make(&pet("c", &[])).await;
    until("another has another address", || async {
        rig.find(&other).await.address.is_some()
    })
    .await;
    assert!(!has_it(&other).await);
}
