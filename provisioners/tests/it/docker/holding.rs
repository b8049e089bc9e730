//! Pets' volumes and addresses.

use super::*;

fn pet(member: &str) -> MachineSpec {
    with_attachments(
        spec(member, json!({ "disks": { "disk": "/srv" } })),
        [("db-1", ""), ("10.77.0.200", "address")],
    )
}

#[tokio::test]
async fn a_successor_gets_the_data_and_the_address() {
    for kind in ["docker", "podman"] {
        let Some(rig) = Rig::start(kind).await else {
            return;
        };
        let first = rig.make(&pet("a")).await;
        rig.docker(&first, &["exec", "{}", "sh", "-c", "echo kept > /srv/file"]);
        let before = rig.until(&first, InstanceState::Running).await;
        assert_eq!(before.address, "10.77.0.200".parse().ok(), "{kind}");
        let refused = rig
            .client()
            .provision(&pet("b"), &op("b", "provision"), soon())
            .await;
        assert!(
            matches!(refused, Err(ProvisionError::Held { .. })),
            "{refused:?}"
        );
        rig.destroy(&first).await;
        let second = rig.make(&pet("b")).await;
        let after = rig.until(&second, InstanceState::Running).await;
        assert_eq!(
            (after.address, after.attachments),
            (before.address, before.attachments)
        );
        assert_eq!(
            rig.docker(&second, &["exec", "{}", "cat", "/srv/file"]),
            "kept"
        );
    }
}

#[tokio::test]
async fn a_stranger_with_the_volume_holds_it() {
    for kind in ["docker", "podman"] {
        let Some(rig) = Rig::start(kind).await else {
            return;
        };
        let words = [
            "run", "--detach", "--name", "stranger", "--volume", "db-1:/x", IMAGE, "sleep", "1000",
        ];
        let container = rig.engine_says(&words);
        let refused = rig
            .client()
            .provision(&pet("a"), &op("a", "provision"), soon())
            .await;
        match refused {
            Err(ProvisionError::Held { holder, .. }) => {
                assert!(
                    container.starts_with(&holder.as_str()[7..]),
                    "{holder} {container}"
                );
                // It is shown, and never touched.
                let destroyed = rig.client().destroy(&holder, &op("a", "x"), soon()).await;
                assert!(destroyed.is_err(), "{destroyed:?}");
            }
            other => panic!("{kind}: it was not refused: {other:?}"),
        }
        assert_eq!(rig.engine_says(&["ps", "--quiet", "--no-trunc"]), container);
        rig.engine_says(&["kill", "stranger"]);
        rig.make(&pet("a")).await;
    }
}

#[tokio::test]
async fn of_two_that_want_one_volume_at_most_one_runs() {
    let Some(rig) = Rig::start("docker").await else {
        return;
    };
    let calls = ["a", "b", "c", "d"].map(|member| {
        let client = rig.client();
        tokio::spawn(async move {
            client
                .provision(&pet(member), &op(member, "provision"), soon())
                .await
        })
    });
    let mut made = 0;
    for call in calls {
        match call.await.expect("no panic") {
            Ok(_) => made += 1,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    assert!(made <= 1, "{made} have it");
    let running = rig.engine_says(&["ps", "--all", "--quiet"]);
    assert_eq!(running.lines().count(), made, "what was refused is gone");
}
