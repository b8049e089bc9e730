//! Which server it is, and whom it trusts.

use muster_provisioners::http::Trust;
use muster_provisioners::{Destroyed, Proof, ProvisionError};

use super::*;

fn over_https(rig: &Rig, certificate: &str) -> LxdConfig {
    let place = Path::new(rig.counterpart.text("certificates")).join(certificate);
    LxdConfig {
        endpoint: Some(rig.counterpart.text("https").to_owned()),
        certificate: Some((place.join("client.crt"), place.join("client.key"))),
        trust: Trust::fingerprint(rig.counterpart.text("fingerprint")).expect("a fingerprint"),
        ..LxdConfig::default()
    }
}

#[tokio::test]
async fn https_with_certificates_on_both_sides() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let trusted = over_https(&rig, "trusted").open().expect("opened");
    trusted.check(soon()).await.expect("trusted");
    let id = trusted
        .provision(&spec("a"), &op("a", "provision"), soon())
        .await
        .expect("made");
    assert_eq!(
        rig.find(&id).await.state,
        InstanceState::Running,
        "it is the same server by both ways"
    );

    let stranger = over_https(&rig, "stranger").open().expect("opened");
    for error in [
        stranger.check(soon()).await.expect_err("a stranger"),
        stranger
            .describe(&Tags::new(), soon())
            .await
            .expect_err("a stranger"),
        stranger
            .destroy(&id, &op("a", "destroy"), soon())
            .await
            .expect_err("a stranger"),
        stranger
            .prove_off(&id, soon())
            .await
            .expect_err("a stranger"),
    ] {
        assert!(matches!(error, ProvisionError::Denied(_)), "{error}");
    }
    let other = LxdConfig {
        trust: Trust::Fingerprint([7; 32]),
        ..over_https(&rig, "trusted")
    };
    let brief = Deadline::after(Duration::from_secs(2));
    let error = other
        .open()
        .expect("opened")
        .check(brief)
        .await
        .expect_err("another server");
    assert!(error.to_string().contains("another certificate"), "{error}");
}

#[tokio::test]
async fn a_certificate_for_one_project_is_enough() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let confined = LxdConfig {
        project: "fleet".to_owned(),
        ..over_https(&rig, "confined")
    };
    let confined = confined.open().expect("opened");
    confined.check(soon()).await.expect("trusted");
    let id = confined
        .provision(&spec("a"), &op("a", "provision"), soon())
        .await
        .expect("made");
    assert_eq!(rig.list().await, [], "it is in its own project");
    confined.reboot(&id, soon()).await.expect("rebooted");
    let op = op("a", "destroy");
    assert_eq!(
        confined.destroy(&id, &op, soon()).await,
        Ok(Destroyed::Destroyed)
    );
    assert!(
        confined
            .prove_off(&id, soon())
            .await
            .expect("answered")
            .is_off()
    );
    let other = over_https(&rig, "confined").open().expect("opened");
    let list = other.describe(&Tags::new(), soon()).await;
    assert!(
        list.is_err(),
        "the default project is none of its business: {list:?}"
    );
}

#[tokio::test]
async fn another_server_proves_nothing() {
    let (Some(rig), Some(elsewhere)) = (Rig::start(&[]).await, Rig::start(&[]).await) else {
        return;
    };
    let id = rig.make(&spec("a")).await;
    let proof = elsewhere
        .provisioner
        .prove_off(&id, soon())
        .await
        .expect("answered");
    assert!(
        matches!(&proof, Proof::Unknown { why } if why.contains("former_fingerprints")),
        "{proof:?}"
    );
    let destroyed = elsewhere
        .provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await;
    assert!(
        matches!(destroyed, Err(ProvisionError::Failed(_))),
        "{destroyed:?}"
    );

    let renewed = LxdConfig {
        former_fingerprints: vec![rig.counterpart.text("fingerprint").to_owned()],
        ..config(&elsewhere.socket())
    };
    let proof = renewed.open().expect("opened").prove_off(&id, soon()).await;
    assert!(
        proof.expect("answered").is_off(),
        "the operator vouches for it"
    );
}

#[tokio::test]
async fn another_project_proves_nothing() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let fleet = LxdConfig {
        project: "fleet".to_owned(),
        ..config(&rig.socket())
    };
    let fleet = fleet.open().expect("opened");
    let id = rig.make(&spec("a")).await;
    let proof = fleet.prove_off(&id, soon()).await.expect("answered");
    assert!(
        matches!(&proof, Proof::Unknown { why } if why.contains("`project`")),
        "{proof:?}"
    );
    let destroyed = fleet.destroy(&id, &op("a", "destroy"), soon()).await;
    assert!(
        matches!(destroyed, Err(ProvisionError::Failed(_))),
        "{destroyed:?}"
    );
}

#[tokio::test]
async fn a_certificate_that_comes_later_counts_without_a_restart() {
    let Some(rig) = Rig::start(&[]).await else {
        return;
    };
    let place = tempfile::tempdir().expect("a directory");
    let config = LxdConfig {
        certificate: Some((
            place.path().join("client.crt"),
            place.path().join("client.key"),
        )),
        ..over_https(&rig, "trusted")
    };
    let provisioner = config.open().expect("opened without it");
    let missing = provisioner.check(soon()).await;
    assert!(
        matches!(missing, Err(ProvisionError::Denied(_))),
        "{missing:?}"
    );
    for who in ["stranger", "trusted"] {
        for file in ["client.crt", "client.key"] {
            let from = Path::new(rig.counterpart.text("certificates")).join(who);
            std::fs::copy(from.join(file), place.path().join(file)).expect("copied");
        }
        let answer = provisioner.check(soon()).await;
        assert_eq!(answer.is_ok(), who == "trusted", "{who}: {answer:?}");
    }
}
