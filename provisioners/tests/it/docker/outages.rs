//! The Engine ends and comes back, loses answers, or is another one.

use super::*;

#[tokio::test]
async fn machines_come_back_with_the_engine() {
    let Some(rig) = Rig::start("docker").await else {
        return;
    };
    let kept = rig.make(&spec("web-1", json!({}))).await;
    let left = rig.make(&spec("web-2", json!({ "restart": "no" }))).await;
    let before = rig.until(&kept, InstanceState::Running).await;
    rig.order("stop").await;
    let down = rig.client().describe(&Tags::new(), soon()).await;
    assert!(down.expect_err("it is down").is_retryable());
    let proof = rig.client().prove_off(&left, soon()).await;
    assert!(proof.expect_err("it is down").is_retryable());
    rig.order("start").await;
    let back = rig.until(&kept, InstanceState::Running).await;
    assert_eq!(back.address, before.address);
    rig.until(&left, InstanceState::Stopped).await;
    assert!(rig.proof(&left).await.is_off());
    rig.client().start(&left, soon()).await.expect("started");
    rig.until(&left, InstanceState::Running).await;
    // When it is killed, it ends what it finds running: what it would start again is not proved off by that.
    rig.order("kill").await;
    rig.until(&left, InstanceState::Stopped).await;
    assert!(rig.proof(&left).await.is_off());
    let proof = rig.proof(&kept).await;
    assert!(!proof.is_off(), "{proof:?}");
    rig.client().start(&kept, soon()).await.expect("started");
    let again = rig.until(&kept, InstanceState::Running).await;
    assert_eq!(again.address, before.address);
}

#[tokio::test]
async fn a_lost_answer_of_any_step_leaves_one_machine() {
    for kind in ["docker", "podman"] {
        let Some(rig) = Rig::start(kind).await else {
            return;
        };
        for (member, what) in [
            ("a", "/containers/create"),
            ("b", "/archive"),
            ("c", "/start"),
        ] {
            let spec =
                with_attachments(spec(member, json!({})), [(&*format!("{member}-data"), "")]);
            rig.proxy.set(Way::Loses(what));
            let made = rig
                .client()
                .provision(&spec, &op(member, "provision"), soon())
                .await;
            assert!(
                made.expect_err("its answer is lost").is_outcome_unknown(),
                "{kind}, {what}"
            );
            rig.proxy.set(Way::Clear);
            let id = rig.make(&spec).await;
            rig.until(&id, InstanceState::Running).await;
            let made = rig
                .client()
                .made_by(&op(member, "provision"), soon())
                .await
                .expect("listed");
            assert_eq!(made.len(), 1, "{kind}, {what}");
        }
        let id = rig.find_member("a").await;
        rig.proxy.set(Way::Loses("DELETE "));
        let lost = rig.client().destroy(&id, &op("a", "destroy"), soon()).await;
        assert!(lost.expect_err("its answer is lost").is_outcome_unknown());
        rig.proxy.set(Way::Clear);
        assert!(rig.proof(&id).await.is_off(), "{kind}");
    }
}

impl Rig {
    async fn find_member(&self, member: &str) -> InstanceId {
        let filter = Tags::new().with(tag::MEMBER, member);
        let list = self
            .client()
            .describe(&filter, soon())
            .await
            .expect("listed");
        list.into_iter().next().expect("one").id
    }
}

#[tokio::test]
async fn nothing_is_concluded_from_another_engine() {
    let Some(rig) = Rig::start("docker").await else {
        return;
    };
    let foreign: InstanceId = FOREIGN.parse().expect("valid");
    match rig.proof(&foreign).await {
        Proof::Unknown { why } => {
            assert!(why.contains("aaaaaa") && why.contains(&rig.name), "{why}")
        }
        other => panic!("{other:?}"),
    }
    let destroyed = rig
        .client()
        .destroy(&foreign, &op("x", "destroy"), soon())
        .await;
    assert!(destroyed.expect_err("it may run elsewhere").is_retryable());
    let pinned = DockerConfig {
        socket: Some(rig.proxy.socket().to_owned()),
        engine: Some("aaaaaa".to_owned()),
        ..DockerConfig::default()
    };
    let pinned = pinned.open().expect("opened");
    for result in [
        pinned.check(soon()).await,
        pinned.describe(&Tags::new(), soon()).await.map(|_| ()),
        pinned
            .provision(&spec("a", json!({})), &op("a", "provision"), soon())
            .await
            .map(|_| ()),
    ] {
        assert!(
            matches!(result, Err(ProvisionError::Denied(_))),
            "{result:?}"
        );
    }
    assert_eq!(rig.engine_says(&["ps", "--all", "--quiet"]), "");
}

#[tokio::test]
async fn a_slow_engine_is_waited_for_within_the_deadline() {
    let Some(rig) = Rig::start("docker").await else {
        return;
    };
    rig.proxy.set(Way::Slow(Duration::from_millis(300)));
    let made = rig.make(&spec("a", json!({}))).await;
    rig.until(&made, InstanceState::Running).await;
    let begun = tokio::time::Instant::now();
    let deadline = Deadline::after(Duration::from_millis(500));
    let cut = rig.client().reboot(&made, deadline).await;
    assert!(cut.expect_err("too slow").is_outcome_unknown());
    assert!(begun.elapsed() < Duration::from_secs(5));
}
