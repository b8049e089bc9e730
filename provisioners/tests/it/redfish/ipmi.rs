//! Nodes whose controllers speak IPMI.

use super::*;

mod conformance {
    use super::*;
    muster_provisioners::conformance_suite!(shared: Rig::start("ipmi", &["--nodes", "28"]));
}

#[tokio::test]
async fn a_node_starts_from_the_network_and_a_button_that_does_nothing_is_pressed_again() {
    let Some(rig) = Rig::start("ipmi", &["--nodes", "1"]) else {
        return;
    };
    std::fs::write(rig.file("i1.lazy"), "").expect("written");
    let (id, node) = rig.make("a").await;
    assert_eq!((node.as_str(), rig.read("i1.power").trim()), ("i1", "1"));
    assert_eq!(rig.read("i1.boot").trim(), "pxe");
    rig.provisioner
        .power_cycle(&id, soon())
        .await
        .expect("power-cycled");
    assert_eq!(rig.find(&id).await.state, InstanceState::Running);
    rig.destroy(&id).await;
    assert_eq!(rig.read("i1.power").trim(), "0");
    assert!(rig.proof(&id).await.is_off());
}
