//! What a new machine finds, and finds again when it was written anew.

use muster_provisioners::Secret;

use super::*;

#[tokio::test]
async fn a_machine_finds_its_configuration_and_the_program() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let mut spec = spec_with(
        "a",
        &json!({"zone": "z1", "config_path": "/opt/m/agent.toml", "agent_path": "/opt/m/bin/muster"}),
    );
    spec.boot.join_token = Secret::new("muster1-first");
    spec.boot.seeds = vec!["10.0.0.1:6878".parse().expect("valid")];
    let id = rig.make(&spec).await;
    let text = rig.file(&id, "/opt/m/agent.toml").await.expect("written");
    let table: toml::Table = text.parse().expect("TOML");
    assert_eq!(table["name"].as_str(), Some("a"));
    assert_eq!(table["labels"]["zone"].as_str(), Some("z1"));
    assert_eq!(table["instance"]["id"].as_str(), Some(id.as_str()));
    assert_eq!(table["join_token"].as_str(), Some("muster1-first"));
    let about = rig
        .lxd(Method::GET, &format!("instances/{}", name(&id)), None)
        .await;
    assert!(
        !about.to_string().contains("muster1-first"),
        "the token is not in LXD's own configuration"
    );
    rig.exec(&id, &["test", "-x", "/opt/m/bin/muster"]).await;
}

#[tokio::test]
async fn cloud_init_gets_the_same_as_user_data() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let mut spec = spec_with("a", &json!({"boot": "cloud-init"}));
    spec.boot.join_token = Secret::new("muster1-first");
    let id = rig.make(&spec).await;
    assert_eq!(rig.file(&id, "/etc/muster.toml").await, None);
    let about = rig
        .lxd(Method::GET, &format!("instances/{}", name(&id)), None)
        .await;
    let data = about["config"]["cloud-init.user-data"]
        .as_str()
        .expect("set");
    assert!(
        data.starts_with("#cloud-config\n") && data.contains("muster1-first"),
        "{data}"
    );
}

#[tokio::test]
async fn a_reimage_leaves_nothing_of_the_machine_before() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let mut first = spec("a");
    first.boot.join_token = Secret::new("muster1-first");
    first.tags.insert("colour", "red");
    let id = rig.make(&first).await;
    until("it has booted", || async {
        rig.file(&id, "/var/log/boots").await.is_some()
    })
    .await;
    let mut second = spec("a");
    second.boot.join_token = Secret::new("muster1-second");
    let again = op("a", "reimage");
    rig.provisioner
        .reimage(&id, &second, &again, soon())
        .await
        .expect("written anew");
    let config = rig.file(&id, "/etc/muster.toml").await.expect("written");
    assert!(
        config.contains("muster1-second") && config.contains(again.as_str()),
        "{config}"
    );
    until("it has booted once", || async {
        rig.file(&id, "/var/log/boots").await.as_deref() == Some("boot\n")
    })
    .await;
    assert_eq!(rig.find(&id).await.tags, second.tags_for(&again));

    let plain = LxdConfig {
        snapshots: false,
        ..config_of(&rig)
    };
    let plain = plain.open().expect("opened");
    assert!(!plain.capabilities().reimage);
    let made = plain
        .provision(&spec("b"), &op("b", "provision"), soon())
        .await
        .expect("made");
    let refused = rig
        .provisioner
        .reimage(&made, &spec("b"), &op("b", "reimage"), soon())
        .await;
    assert!(
        refused
            .expect_err("no snapshot")
            .to_string()
            .contains("snapshots = false")
    );
}

fn config_of(rig: &Rig) -> LxdConfig {
    config(&rig.socket())
}

#[tokio::test]
async fn what_a_killed_daemon_left_unfinished_is_finished() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let running = rig.make(&spec("a")).await;
    let pid_file = rig.counterpart.text("pid_file").to_owned();
    let daemon = || -> i32 {
        std::fs::read_to_string(&pid_file)
            .expect("written")
            .trim()
            .parse()
            .expect("a process ID")
    };
    for (round, pause_ms) in [0, 20, 60, 150, 300].into_iter().enumerate() {
        let member = format!("b{round}");
        let (provisioner, machine) = (rig.provisioner.clone(), spec(&member));
        let order = op(&member, "provision");
        let (same, again) = (machine.clone(), order.clone());
        let call = tokio::spawn(async move { provisioner.provision(&same, &again, soon()).await });
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let killed = daemon();
        let pid = rustix::process::Pid::from_raw(killed).expect("a process ID");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        if let Err(error) = call.await.expect("no panic") {
            assert!(error.is_retryable(), "after {pause_ms} ms: {error}");
        }
        until("another daemon answers", || async {
            daemon() != killed && rig.provisioner.check(soon()).await.is_ok()
        })
        .await;
        let id = rig.make(&machine).await;
        until("it runs", || async {
            rig.state(&id).await == InstanceState::Running
        })
        .await;
        let made = rig
            .provisioner
            .made_by(&order, soon())
            .await
            .expect("listed");
        assert_eq!(made.len(), 1, "after {pause_ms} ms: {made:?}");
    }
    assert_eq!(
        rig.state(&running).await,
        InstanceState::Running,
        "machines outlive the daemon"
    );
}
