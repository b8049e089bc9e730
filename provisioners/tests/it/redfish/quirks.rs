//! Controllers as they are: slow, short of sessions, and never to be believed.

use super::*;

#[tokio::test]
async fn an_accepted_button_that_does_nothing_is_pressed_again_and_then_another_one() {
    let Some(rig) = Rig::redfish() else { return };
    rig.quirk("*", "lazy", 2).await;
    let (id, node) = rig.make("a").await;
    assert_eq!(rig.find(&id).await.state, InstanceState::Running);
    assert_eq!(rig.pressed(&node).await, ["On", "On", "ForceRestart"]);
    rig.quirk("*", "lazy", 1).await;
    rig.destroy(&id).await;
    let pressed = rig.pressed(&node).await;
    assert_eq!(pressed[3..], ["ForceOff", "ForceOff"]);
    assert!(rig.proof(&id).await.is_off());
}

#[tokio::test]
async fn a_node_that_never_comes_on_is_told_and_the_next_machine_gets_another_one() {
    let Some(rig) = Rig::redfish() else { return };
    rig.quirk("*", "dead", 0).await;
    let made = rig
        .provisioner
        .provision(&spec("a"), &op("a", "provision"), soon())
        .await;
    let error = made.expect_err("it stays off");
    assert!(
        error.is_outcome_unknown() && error.to_string().contains("stays off"),
        "{error}"
    );
    let made = rig
        .provisioner
        .made_by(&op("a", "provision"), soon())
        .await
        .expect("answered");
    let [dead] = &made[..] else {
        panic!("{made:?}")
    };
    assert_eq!(dead.state, InstanceState::Starting, "it may still come");
    assert!(!rig.proof(&dead.id).await.is_off(), "it may still come");
    rig.quirk("*", "none", 0).await;
    let hardware = rig
        .provisioner
        .quarantine(&dead.id, "it never came on", soon())
        .await
        .expect("put aside");
    assert_eq!(hardware, node_of(dead));
    rig.destroy(&dead.id).await;
    assert!(
        !rig.proof(&dead.id).await.is_off(),
        "it may still come, also when it was given back"
    );
    let (_, other) = rig.make("b").await;
    assert_ne!(other, hardware);
}

#[tokio::test]
async fn a_machine_that_hangs_is_seen_off_before_it_is_switched_on() {
    let Some(rig) = Rig::redfish() else { return };
    let (id, node) = rig.make("a").await;
    rig.provisioner
        .power_cycle(&id, soon())
        .await
        .expect("power-cycled");
    assert_eq!(rig.pressed(&node).await, ["On", "ForceOff", "On"]);
    rig.provisioner.reboot(&id, soon()).await.expect("rebooted");
    assert_eq!(rig.pressed(&node).await[3..], ["GracefulRestart"]);
    // One that does not go off is not said to have been cycled.
    rig.quirk(&node, "dead", 0).await;
    let error = rig
        .provisioner
        .power_cycle(&id, soon())
        .await
        .expect_err("it stays on");
    assert!(error.to_string().contains("stays on"), "{error}");
    assert_eq!(rig.proof(&id).await, Proof::Running);
}

#[tokio::test]
async fn what_is_so_already_is_no_error() {
    let Some(rig) = Rig::redfish() else { return };
    rig.quirk("*", "picky", 0).await;
    let (id, _) = rig.make("a").await;
    let another = rig.another();
    for client in [&rig.provisioner, &another] {
        client.stop(&id, soon()).await.expect("stopped");
    }
    for client in [&rig.provisioner, &another] {
        client.start(&id, soon()).await.expect("started");
    }
    rig.destroy(&id).await;
}

#[tokio::test]
async fn few_sessions_and_slow_answers_are_waited_out() {
    let Some(rig) = Rig::redfish() else { return };
    rig.quirk("*", "sessions", 0).await;
    let another = rig.another();
    let (one, two) = (spec("a"), spec("b"));
    let (op_one, op_two) = (op("a", "provision"), op("b", "provision"));
    let made = tokio::join!(
        rig.provisioner.provision(&one, &op_one, soon()),
        another.provision(&two, &op_two, soon()),
        rig.provisioner.provision(&one, &op_one, soon()),
    );
    let (first, second, again) = (
        made.0.expect("made"),
        made.1.expect("made"),
        made.2.expect("made"),
    );
    assert_eq!(first, again);
    assert_ne!(first, second);
    rig.quirk("*", "slow", 0).await;
    assert_eq!(rig.list().await.len(), 2);
    rig.destroy(&first).await;
}

#[tokio::test]
async fn rubbish_is_no_answer() {
    let Some(rig) = Rig::redfish() else { return };
    let (id, node) = rig.make("a").await;
    let (other, _) = rig.make("b").await;
    rig.quirk(&node, "rubbish", 0).await;
    let unclear = rig.find(&id).await;
    assert_eq!(unclear.state, InstanceState::Unknown);
    assert!(unclear.properties.get("why").is_some(), "{unclear:?}");
    assert_eq!(rig.find(&other).await.state, InstanceState::Running);
    assert!(matches!(rig.proof(&id).await, Proof::Unknown { .. }));
    rig.quirk("*", "rubbish", 0).await;
    assert!(
        rig.provisioner
            .describe(&Tags::new(), soon())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn hardware_that_takes_its_time_is_waited_for() {
    let Some(rig) = Rig::start("redfish", &["--nodes", "1", "--delay-max", "3"]) else {
        return;
    };
    let (id, _) = rig.make("a").await;
    rig.provisioner
        .power_cycle(&id, soon())
        .await
        .expect("power-cycled");
    assert_eq!(rig.find(&id).await.state, InstanceState::Running);
    rig.destroy(&id).await;
    assert!(rig.proof(&id).await.is_off());
}
