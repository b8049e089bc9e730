//! Hardware on which nothing is made.

use super::scene::Scene;
use crate::answers::{machine, quarantine, status};
use crate::fleet::{Command, Diagnosis, PutAside, QuarantineChange};

#[test]
fn hardware_in_quarantine_is_shown_and_released_by_any_of_its_names() {
    let mut scene = Scene::new();
    let old = scene.fleet.id("web-2");
    let instance = scene.fleet.state.machines[&old]
        .instance
        .clone()
        .unwrap()
        .id;
    let new = scene
        .fleet
        .act(scene.fleet.replace(old, Diagnosis::Unreachable));
    let aside = PutAside {
        op: scene.fleet.intent_of(new).op.clone(),
        provisioner: "rack".to_owned(),
        hardware: "node-3".to_owned(),
        instance: instance.clone(),
        why: "unreachable".into(),
    };
    scene
        .fleet
        .ok(Command::Quarantine(Box::new(QuarantineChange::PutAside(
            aside,
        ))));
    let status = scene.look(status).unwrap();
    assert_eq!(status.quarantine[0].machine.as_deref(), Some("web-2"));
    let web_2 = scene.look(|snapshot| machine::machine(snapshot, "web-2"));
    assert_eq!(web_2.unwrap().quarantine, status.quarantine);
    let web_1 = scene.look(|snapshot| machine::machine(snapshot, "web-1"));
    assert_eq!(web_1.unwrap().quarantine, []);
    let release =
        |scene: &Scene, name: &str| scene.look(|snapshot| quarantine::release(snapshot, name));
    for name in ["node-3", "web-2", instance.as_str()] {
        let (command, said) = release(&scene, name).unwrap();
        assert!(matches!(command, Command::Quarantine(_)), "{command:?}");
        assert!(said.contains("node-3 of rack"), "{said}");
    }
    let error = release(&scene, "node-4").unwrap_err();
    assert!(
        error.message.contains("nothing called `node-4`"),
        "{error:?}"
    );
}
