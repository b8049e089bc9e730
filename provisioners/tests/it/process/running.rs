//! What runs, how it is started, and how it ends.

use super::*;
use muster_provisioners::{Proof, Secret};

#[tokio::test]
async fn an_agent_gets_what_was_ordered_and_nothing_else() {
    let rig = Rig::new().await;
    let mut spec = spec_with(
        "web-1",
        r#"{"env": {"COLOUR": "red"}, "args": ["--verbose", "a b"], "zone": "a"}"#,
    );
    spec.boot.join_token = Secret::new("muster1-token");
    spec.boot.group = "web".into();
    spec.boot.seeds = vec!["127.0.0.1:1".parse().expect("valid")];
    let id = rig.make(&spec).await;
    let instance = rig.find(&id).await;

    let ready = rig.until_ready(&id).await;
    let (arguments, environment) = ready.split_once('\n').expect("two parts");
    let config = rig.file(&id, "agent.toml").canonicalize().expect("there");
    assert_eq!(
        arguments,
        format!("agent --config {} --verbose a b", config.display())
    );
    let variables: BTreeSet<&str> = environment
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    assert!(variables.contains("COLOUR") && variables.contains("MUSTER_INSTANCE"));
    // Cargo sets these in the process that made it.
    assert!(!variables.contains("CARGO_PKG_NAME"), "{variables:?}");
    assert!(!variables.contains("MUSTER_DATA"));

    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(&config).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the configuration holds the token");
    let table: toml::Table = fs::read_to_string(&config)
        .expect("text")
        .parse()
        .expect("TOML");
    assert_eq!(table["join_token"].as_str(), Some("muster1-token"));
    assert_eq!(table["labels"]["zone"].as_str(), Some("a"));
    let order = &table["instance"];
    assert_eq!(
        (order["group"].as_str(), order["id"].as_str()),
        (Some("web"), Some(id.as_str()))
    );
    assert_eq!(order["provisioner"].as_str(), Some("process"));
    assert_eq!(
        order["operation"].as_str(),
        Some(op("web-1", "provision").as_str())
    );
    let root = rig.provisioner.root().display().to_string();
    assert_eq!(table["process"]["root"].as_str(), Some(root.as_str()));
    let bind: std::net::SocketAddr = table["bind"]
        .as_str()
        .expect("text")
        .parse()
        .expect("address");
    assert_eq!(Some(bind.ip()), instance.address);
    let record = fs::read_to_string(rig.file(&id, "instance.json")).expect("text");
    assert!(
        !record.contains("muster1-token"),
        "secrets are not recorded"
    );

    // It leads a session of its own, so that no terminal and no process group reaches it.
    let pid = pid_of(&instance);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("alive");
    let session = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(3))
        .expect("a field");
    assert_eq!(session, pid.to_string());
}

#[tokio::test]
async fn machines_have_addresses_of_their_own_used_again_late() {
    let rig = Rig::new().await;
    let mut addresses = Vec::new();
    for name in ["a", "b", "c"] {
        let id = rig.make(&spec(name)).await;
        addresses.push(rig.find(&id).await.address.expect("known"));
        if name == "b" {
            rig.provisioner
                .destroy(&id, &op(name, "destroy"), soon())
                .await
                .expect("destroyed");
        }
    }
    assert_eq!(
        addresses.iter().collect::<BTreeSet<_>>().len(),
        3,
        "{addresses:?}"
    );
    assert!(addresses.iter().all(std::net::IpAddr::is_loopback));
}

#[tokio::test]
async fn an_agent_that_ignores_requests_is_killed() {
    let rig = Rig::new().await;
    let id = rig
        .make(&spec_with("a", r#"{"env": {"IGNORE_TERM": 1}}"#))
        .await;
    let pid = pid_of(&rig.find(&id).await);
    rig.provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn restarts_change_the_process_and_keep_the_directory() {
    let rig = Rig::new().await;
    let id = rig.make(&spec("a")).await;
    let mut pids = BTreeSet::from([pid_of(&rig.find(&id).await)]);
    fs::write(rig.file(&id, "state/kept"), "x").expect("written");
    for round in 0..4 {
        if round % 2 == 0 {
            rig.provisioner.reboot(&id, soon()).await.expect("rebooted");
        } else {
            rig.provisioner
                .power_cycle(&id, soon())
                .await
                .expect("power-cycled");
        }
        pids.insert(pid_of(&rig.find(&id).await));
        rig.until_processes(1).await;
    }
    assert_eq!(pids.len(), 5);
    assert!(rig.file(&id, "state/kept").exists());
}

#[tokio::test]
async fn a_workload_that_outlives_its_agent_is_neither_off_nor_spared() {
    let rig = Rig::new().await;
    let id = rig.make(&spec_with("a", r#"{"env": {"CHILD": 1}}"#)).await;
    rig.until_processes(2).await;
    rig.kill_agent(&id).await;
    let instance = rig.find(&id).await;
    assert_eq!(instance.state, InstanceState::Running);
    let left = instance
        .properties
        .get("left_over")
        .expect("told")
        .to_string();
    let child = rig.processes().into_iter().next().expect("the child");
    assert_eq!(left, format!("[{child}]"));
    assert_eq!(
        rig.provisioner.prove_off(&id, soon()).await,
        Ok(Proof::Running)
    );

    // A restart of the machine ends what was left of it.
    rig.provisioner.start(&id, soon()).await.expect("started");
    assert!(!is_alive(child));
    rig.until_ready(&id).await;
    rig.until_processes(2).await;

    rig.kill_agent(&id).await;
    rig.provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    assert_eq!(rig.processes(), BTreeSet::new());
    assert!(
        rig.provisioner
            .prove_off(&id, soon())
            .await
            .expect("answered")
            .is_off()
    );
}

#[tokio::test]
async fn what_cannot_be_run_leaves_nothing() {
    let rig = Rig::new().await;
    let attempt = async |change: fn(&mut ProcessConfig)| {
        let mut config = config(&rig.root());
        change(&mut config);
        let provisioner = config.open(soon()).await.expect("opened");
        let result = provisioner
            .provision(&spec("a"), &op("a", "provision"), soon())
            .await;
        assert_eq!(rig.list().await, []);
        result.expect_err("it can't be run")
    };
    let error = attempt(|config| {
        config.launcher = config.executable.replace("/no/such/program".into());
    });
    assert!(matches!(error.await, ProvisionError::Failed(why) if why.contains("/no/such/program")));
    let error = attempt(|config| config.launcher = Some("/no/such/launcher".into())).await;
    assert!(matches!(error, ProvisionError::Failed(_)), "{error}");
    let error = attempt(|config| config.launcher = Some("/bin/echo".into())).await;
    assert!(error.to_string().contains("no launcher"), "{error}");
    // The same operation succeeds once that has been put right.
    let id = rig.make(&spec("a")).await;
    assert_eq!(rig.state(&id).await, InstanceState::Running);
}

#[tokio::test]
async fn a_launcher_that_dies_leaves_no_process_and_an_unknown_outcome() {
    let rig = Rig::new().await;
    let mut config = config(&rig.root());
    config.launcher = Some("/bin/true".into());
    let provisioner = config.open(soon()).await.expect("opened");
    let result = provisioner
        .provision(&spec("a"), &op("a", "provision"), soon())
        .await;
    assert!(result.expect_err("it says nothing").is_outcome_unknown());
    assert_eq!(rig.list().await[0].state, InstanceState::Starting);
    let id = rig.make(&spec("a")).await;
    assert_eq!(rig.list().await.len(), 1);
    assert_eq!(rig.state(&id).await, InstanceState::Running);
}

#[tokio::test]
async fn a_root_keeps_the_network_and_port_that_it_was_made_with() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = config(&directory.path().join("fleet"));
    config.network = Some("127.150.3.0/28".into());
    config.port = Some(7001);
    let provisioner = config.open(soon()).await.expect("opened");
    let rig = Rig {
        directory,
        provisioner,
    };
    let id = rig.make(&spec("a")).await;
    assert_eq!(rig.find(&id).await.address, Some([127, 150, 3, 1].into()));

    let defaults = super::config(&rig.root());
    defaults
        .open(soon())
        .await
        .expect("says nothing, so accepts what is there");
    config.network = Some("127.150.4.0/28".into());
    config.port = Some(7002);
    let Err(ProvisionError::Invalid(problems)) = config.open(soon()).await else {
        panic!("it was accepted")
    };
    let fields: Vec<_> = problems
        .iter()
        .map(|problem| problem.field.as_str())
        .collect();
    assert_eq!(fields, ["network", "port"]);
}
