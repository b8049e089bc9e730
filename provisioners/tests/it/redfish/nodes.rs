//! Which node is whose, and how it gets its system.

use std::collections::BTreeSet;

use super::*;

#[tokio::test]
async fn a_node_that_is_on_and_nobodys_is_left_alone() {
    let Some(rig) = Rig::redfish() else { return };
    for node in ["r1n1", "r2n1"] {
        rig.power(node, "On").await;
    }
    let (_, node) = rig.make("a").await;
    assert_eq!(node, "r3n1");
    let error = rig
        .provisioner
        .provision(&spec("b"), &op("b", "provision"), soon())
        .await;
    let Err(ProvisionError::Capacity(why)) = error else {
        panic!("{error:?}")
    };
    assert!(
        why.contains("1 in use, 2 on although nothing of ours runs there"),
        "{why}"
    );
    assert_eq!(rig.told("r1n1").await, []);
}

#[tokio::test]
async fn orders_of_two_coordinators_at_one_moment_get_a_node_each() {
    let Some(rig) = Rig::start("redfish", &["--nodes", "8"]) else {
        return;
    };
    let another = rig.another();
    let orders: Vec<_> = (0..8)
        .map(|number| {
            let client = if number % 2 == 0 {
                rig.provisioner.clone()
            } else {
                another.clone()
            };
            let member = format!("m{number}");
            tokio::spawn(async move { insist(&client, &member).await })
        })
        .collect();
    let mut ids = BTreeSet::new();
    for order in orders {
        ids.insert(order.await.expect("no panic"));
    }
    let nodes: BTreeSet<_> = rig.list().await.iter().map(node_of).collect();
    assert_eq!((ids.len(), nodes.len()), (8, 8));
}

/// Asks again while a busy machine makes controllers slow, as the agent does.
async fn insist(client: &RedfishProvisioner, member: &str) -> InstanceId {
    let deadline = soon();
    loop {
        match client
            .provision(&spec(member), &op(member, "provision"), soon())
            .await
        {
            Ok(id) => return id,
            Err(error) if error.is_retryable() && !deadline.has_passed() => {}
            Err(error) => panic!("making {member}: {error}"),
        }
    }
}

#[tokio::test]
async fn the_agents_configuration_is_where_the_node_starts_from_until_the_node_is_given_back() {
    let Some(rig) = Rig::redfish() else { return };
    let (id, node) = rig.make("a").await;
    let told = rig.told(&node).await;
    let inserted = told
        .iter()
        .find(|(_, end, _)| end == "VirtualMedia.InsertMedia")
        .expect("inserted");
    let image = inserted.2["Image"].as_str().expect("an address");
    let place = image.strip_suffix("boot.iso").expect("beside the image");
    let path = place
        .strip_prefix(rig.counterpart.text("control"))
        .expect("there");
    let text = rig
        .control(Request::get(
            "the configuration",
            format!("{path}agent.toml"),
        ))
        .await;
    let table: toml::Table = String::from_utf8(text)
        .expect("text")
        .parse()
        .expect("TOML");
    assert_eq!(table["join_token"].as_str(), Some("token-a"));
    assert_eq!(table["instance"]["id"].as_str(), Some(id.as_str()));
    assert_eq!(
        table["labels"]["rack"].as_str(),
        Some(&node[..2]),
        "the node's own label"
    );
    assert!(
        !image.contains("token-a"),
        "the address holds a key and no token"
    );
    let boots =
        |(_, _, body): &(String, String, Value)| body["Boot"]["BootSourceOverrideTarget"] == "Cd";
    assert!(told.iter().any(boots), "{told:?}");

    // Another coordinator that takes the order up puts nothing elsewhere.
    let again = rig
        .another()
        .provision(&spec("a"), &op("a", "provision"), soon())
        .await;
    assert_eq!(again, Ok(id.clone()));
    let stored = || {
        std::fs::read_dir(rig.file("boot"))
            .expect("readable")
            .count()
    };
    assert_eq!(stored(), 1);
    rig.destroy(&id).await;
    assert_eq!(stored(), 0);
    let told = rig.told(&node).await;
    assert!(
        told.iter()
            .any(|(_, end, _)| end == "VirtualMedia.EjectMedia"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_node_that_can_not_be_switched_off_keeps_nobody_waiting_and_is_given_back_once_it_is_off()
{
    let Some(rig) = Rig::redfish() else { return };
    let (id, node) = rig.make("a").await;
    rig.quirk(&node, "down", 0).await;
    rig.destroy(&id).await;
    assert!(!rig.proof(&id).await.is_off());
    let aside = rig.provisioner.quarantined(soon()).await.expect("listed");
    assert_eq!(
        (aside.len(), aside[0].hardware.as_str()),
        (1, node.as_str())
    );
    let (other, _) = rig.make("b").await;
    let list = rig.list().await;
    let left = list
        .iter()
        .find(|instance| instance.id == id)
        .expect("listed until it is seen off");
    assert_eq!(left.state, InstanceState::Unknown);
    assert!(
        rig.provisioner.release(&node, soon()).await.is_err(),
        "nobody knows whether it is off"
    );
    rig.quirk(&node, "none", 0).await;
    // The button is pressed with the next order; by the one after it the node is off.
    rig.destroy(&other).await;
    let (third, _) = rig.make("c").await;
    let ids: Vec<_> = rig
        .list()
        .await
        .into_iter()
        .map(|instance| instance.id)
        .collect();
    assert_eq!(ids, [third]);
    assert!(rig.proof(&id).await.is_off());
    assert_eq!(
        rig.provisioner
            .quarantined(soon())
            .await
            .expect("listed")
            .len(),
        1
    );
    rig.provisioner
        .release(&node, soon())
        .await
        .expect("released");
}

#[tokio::test]
async fn a_pets_node_that_can_not_be_switched_off_is_an_error() {
    let Some(rig) = Rig::redfish() else { return };
    let mut pet = spec("a");
    pet.logical_id = Some("a".to_owned());
    let id = rig
        .provisioner
        .provision(&pet, &op("a", "provision"), soon())
        .await
        .expect("made");
    let node = node_of(&rig.find(&id).await);
    rig.quirk(&node, "dead", 0).await;
    let destroyed = rig
        .provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await;
    assert!(destroyed.expect_err("it stays on").is_retryable());
    assert_eq!(rig.proof(&id).await, Proof::Running);
    assert_eq!(rig.find(&id).await.state, InstanceState::Stopping);
}

#[tokio::test]
async fn what_may_come_back_by_itself_is_off_only_by_our_order() {
    let Some(rig) = Rig::redfish() else { return };
    rig.quirk("*", "resumes", 0).await;
    let (id, node) = rig.make("a").await;
    rig.power(&node, "Off").await;
    assert!(
        !rig.proof(&id).await.is_off(),
        "the hall's power may be out"
    );
    assert_eq!(rig.find(&id).await.state, InstanceState::Unknown);
    rig.destroy(&id).await;
    assert_eq!(rig.pressed(&node).await, ["On", "ForceOff"]);
    assert!(rig.proof(&id).await.is_off());
}

#[tokio::test]
async fn disks_are_wiped_before_the_node_is_anybodys_again() {
    let Some(rig) = Rig::redfish() else { return };
    let inventory = rig
        .read("inventory.toml")
        .replace("[defaults]", "[defaults]\nwipe = \"image\"");
    std::fs::write(rig.file("inventory.toml"), inventory).expect("written");
    for node in ["r2n1", "r3n1"] {
        rig.power(node, "On").await;
    }
    let (id, node) = rig.make("a").await;
    rig.destroy(&id).await;
    let pressed = rig.pressed(&node).await;
    assert_eq!(pressed, ["On", "ForceOff", "On"], "the wiping image runs");
    assert_eq!(rig.list().await, []);
    assert!(!rig.proof(&id).await.is_off(), "who knows what runs there");
    let error = rig
        .provisioner
        .provision(&spec("b"), &op("b", "provision"), soon())
        .await;
    let Err(ProvisionError::Capacity(why)) = error else {
        panic!("{error:?}")
    };
    assert!(why.contains("1 being wiped"), "{why}");
    // The image has done its work, and switches the node off.
    rig.power(&node, "Off").await;
    assert!(rig.proof(&id).await.is_off());
    assert_eq!(rig.make("b").await.1, node);

    // A pet's disks are wiped when it was proved off, not before.
    let mut pet = spec("p");
    pet.logical_id = Some("p".to_owned());
    rig.power("r2n1", "Off").await;
    let id = rig
        .provisioner
        .provision(&pet, &op("p", "provision"), soon())
        .await
        .expect("made");
    let before = rig.pressed("r2n1").await.len();
    rig.destroy(&id).await;
    assert!(rig.proof(&id).await.is_off());
    assert_eq!(rig.pressed("r2n1").await.len(), before + 1);
    rig.destroy(&id).await;
    assert_eq!(
        rig.pressed("r2n1").await.len(),
        before + 2,
        "the wiping image runs"
    );
}

#[tokio::test]
async fn a_machine_whose_node_left_the_inventory_is_not_forgotten() {
    let Some(rig) = Rig::redfish() else { return };
    let (id, node) = rig.make("a").await;
    let (other, _) = rig.make("b").await;
    let whole = rig.read("inventory.toml");
    let less: Vec<_> = whole
        .split("\n[")
        .filter(|part| !part.starts_with(&format!("nodes.{node}]")))
        .collect();
    std::fs::write(rig.file("inventory.toml"), less.join("\n[")).expect("written");
    let lost = rig.find(&id).await;
    assert_eq!(lost.state, InstanceState::Unknown);
    let why = lost
        .properties
        .get("why")
        .and_then(Value::as_str)
        .unwrap_or_default();
    assert!(why.contains("put it back"), "{why}");
    assert!(!rig.proof(&id).await.is_off());
    assert_eq!(rig.find(&other).await.state, InstanceState::Running);
    std::fs::write(rig.file("inventory.toml"), whole).expect("written");
    assert_eq!(rig.find(&id).await.state, InstanceState::Running);
}

#[tokio::test]
async fn what_can_not_be_set_up_is_given_back_and_tried_last() {
    let Some(rig) = Rig::redfish() else { return };
    let mut bad = spec("a");
    bad.properties = r#"{"boot_url": "http://127.0.0.1:1/{key}/boot.iso"}"#
        .parse()
        .expect("valid");
    // The emulator fetches the image, and fails.
    let made = rig
        .provisioner
        .provision(&bad, &op("a", "provision"), soon())
        .await;
    let error = made.expect_err("there is no image");
    let key = std::fs::read_dir(rig.file("boot"))
        .expect("readable")
        .next()
        .expect("stored");
    let key = key
        .expect("readable")
        .file_name()
        .into_string()
        .expect("text");
    assert!(
        !error.to_string().contains(&key[30..]),
        "the key is a secret: {error}"
    );
    assert_eq!(
        rig.list().await.len(),
        usize::from(error.is_outcome_unknown()),
        "{error}"
    );
    if !error.is_outcome_unknown() {
        assert_ne!(
            rig.make("b").await.1,
            "r1n1",
            "it gave trouble a moment ago"
        );
    }
}
