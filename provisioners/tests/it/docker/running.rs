//! Machines that run, freeze, end and come back.

use super::*;

#[tokio::test]
async fn a_machine_gets_its_configuration_where_nobody_else_reads_it() {
    for kind in ["docker", "podman"] {
        let Some(rig) = Rig::start(kind).await else {
            return;
        };
        let mut spec = spec(
            "web-1",
            json!({ "env": { "COLOUR": "red" }, "memory_mib": 32, "cpus": 0.5 }),
        );
        spec.boot.join_token = Secret::new("muster1-secret");
        let id = rig.make(&spec).await;
        let config = rig.docker(&id, &["exec", "{}", "cat", "/etc/muster/agent.toml"]);
        assert!(
            config.contains("muster1-secret") && config.contains(id.as_str()),
            "{config}"
        );
        let listed = rig.docker(&id, &["exec", "{}", "ls", "-l", "/etc/muster/agent.toml"]);
        assert!(listed.starts_with("-rw-------"), "{listed}");
        let shown = rig.docker(&id, &["inspect", "{}"]);
        assert!(!shown.contains("muster1-secret"), "{kind}");
        assert_eq!(rig.docker(&id, &["exec", "{}", "hostname"]), "web-1");
        let first = rig.docker(&id, &["exec", "{}", "cat", "/proc/1/cmdline"]);
        assert!(first.starts_with("sh\0-c"), "{first}");
        let environment = rig.docker(&id, &["exec", "{}", "cat", "/proc/1/environ"]);
        assert!(environment.contains("COLOUR=red"), "{environment}");
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(shown[0]["HostConfig"]["Memory"], 32 << 20, "{kind}");
    }
}

#[tokio::test]
async fn simultaneous_calls_make_one_machine() {
    for kind in ["docker", "podman"] {
        let Some(rig) = Rig::start(kind).await else {
            return;
        };
        let calls = (0..4).map(|_| {
            let client = rig.client();
            tokio::spawn(async move {
                client
                    .provision(&spec("web-1", json!({})), &op("web-1", "provision"), soon())
                    .await
            })
        });
        let mut made = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            made.push(call.await.expect("no panic").expect("made"));
        }
        made.dedup();
        assert_eq!(made.len(), 1, "{kind}: {made:?}");
        let found = rig
            .client()
            .made_by(&op("web-1", "provision"), soon())
            .await
            .expect("listed");
        assert_eq!(found.len(), 1);
    }
}

#[tokio::test]
async fn a_frozen_machine_runs_and_is_mended() {
    for kind in ["docker", "podman"] {
        let Some(rig) = Rig::start(kind).await else {
            return;
        };
        let id = rig.make(&spec("web-1", json!({}))).await;
        for cycle in [false, true] {
            let before = rig.until(&id, InstanceState::Running).await;
            rig.docker(&id, &["pause", "{}"]);
            assert_eq!(rig.find(&id).await.state, InstanceState::Running, "{kind}");
            assert_eq!(rig.proof(&id).await, Proof::Running);
            let mended = if cycle {
                rig.client().power_cycle(&id, soon()).await
            } else {
                rig.client().reboot(&id, soon()).await
            };
            mended.unwrap_or_else(|error| panic!("{kind}, cycle {cycle}: {error}"));
            let after = rig.until(&id, InstanceState::Running).await;
            assert_eq!(after.address, before.address);
            assert_eq!(
                rig.docker(&id, &["inspect", "-f", "{{.State.Paused}}", "{}"]),
                "false"
            );
        }
        rig.docker(&id, &["pause", "{}"]);
        rig.destroy(&id).await;
        assert!(rig.proof(&id).await.is_off());
    }
}

#[tokio::test]
async fn what_the_engine_may_start_again_is_not_proven_off() {
    let Some(rig) = Rig::start("docker").await else {
        return;
    };
    let id = rig.make(&spec("web-1", json!({}))).await;
    assert_eq!(
        rig.docker(
            &id,
            &["inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", "{}"]
        ),
        "unless-stopped"
    );
    // As a crash ends it, its first process comes back at once.
    let started = rig.docker(&id, &["inspect", "-f", "{{.State.StartedAt}}", "{}"]);
    rig.docker(&id, &["exec", "{}", "kill", "-TERM", "1"]);
    let deadline = soon();
    while rig.docker(&id, &["inspect", "-f", "{{.State.StartedAt}}", "{}"]) == started {
        assert!(
            deadline.sleep(Duration::from_millis(50)).await,
            "it does not come back"
        );
    }
    rig.until(&id, InstanceState::Running).await;
    // Stopped by somebody, it has exited, but the policy stands.
    rig.docker(&id, &["stop", "-t", "1", "{}"]);
    rig.until(&id, InstanceState::Unknown).await;
    assert!(matches!(rig.proof(&id).await, Proof::Unknown { .. }));
    rig.client().stop(&id, soon()).await.expect("stopped");
    assert!(rig.proof(&id).await.is_off());
    rig.client().start(&id, soon()).await.expect("started");
    rig.until(&id, InstanceState::Running).await;
    assert_eq!(
        rig.docker(
            &id,
            &["inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", "{}"]
        ),
        "unless-stopped"
    );
}

#[tokio::test]
async fn what_can_not_be_made_is_said_and_leaves_nothing() {
    for kind in ["docker", "podman"] {
        let Some(rig) = Rig::start(kind).await else {
            return;
        };
        for (more, word) in [
            (
                json!({ "image": "nothing:1", "pull": "never" }),
                "nothing:1",
            ),
            (json!({ "networks": ["nowhere"] }), "nowhere"),
            (json!({ "networks": ["fleet", "nowhere"] }), "nowhere"),
            (
                json!({ "command": ["/no/such/program"] }),
                "/no/such/program",
            ),
            (
                json!({ "mounts": { "/x": "/no/such/directory" } }),
                "/no/such/directory",
            ),
        ] {
            if kind == "podman" && word == "/no/such/directory" {
                // It is made.
                continue;
            }
            let made = rig
                .client()
                .provision(&spec("web-1", more), &op("web-1", "provision"), soon())
                .await;
            let error = made.expect_err(word);
            assert!(
                !error.is_outcome_unknown() && error.to_string().contains(word),
                "{kind}, {word}: {error}"
            );
            assert_eq!(
                rig.engine_says(&["ps", "--all", "--quiet"]),
                "",
                "{kind}, {word}"
            );
        }
        // Nobody fetches from a registry that can't be reached, but it is tried.
        let spec = spec("web-1", json!({ "image": "127.0.0.1:1/nothing:1" }));
        let made = rig
            .client()
            .provision(&spec, &op("web-1", "provision"), soon())
            .await;
        assert!(made.is_err_and(|error| error.is_retryable()), "{kind}");
    }
}
