//! Attachments: volumes, elastic addresses and network interfaces.

use super::*;

checks! {
    all_kinds_move_to_the_successor_once_the_holder_is_off
    an_order_that_ran_out_of_time_is_completed_by_the_same_call
    what_can_not_be_is_refused_before_anything_is_made
}

impl Rig {
    fn address(&self) -> Attachment {
        let made = self.control("address", &json!({}));
        Attachment::new(made["id"].as_str().expect("an ID"), "")
    }

    fn interface(&self, zone: &str) -> Attachment {
        let made = self.control("interface", &json!({ "zone": zone }));
        Attachment::new(made["id"].as_str().expect("an ID"), "interface")
    }

    fn with(&self, member: &str, attachments: &[Attachment]) -> MachineSpec {
        let mut spec = self.spec(member);
        spec.properties = self.properties_in(&[ZONE, OTHER_ZONE]);
        spec.attachments = attachments.to_vec();
        spec
    }

    async fn held_by(&self, id: &InstanceId) -> Vec<Attachment> {
        let list = self.list().await;
        let found = list.into_iter().find(|instance| instance.id == *id);
        found
            .map(|instance| instance.attachments)
            .unwrap_or_default()
    }

    async fn refused(&self, spec: &MachineSpec) -> ProvisionError {
        self.order(spec).await.expect_err("refused")
    }
}

async fn all_kinds_move_to_the_successor_once_the_holder_is_off(rig: &Rig) {
    rig.knobs(&json!({"slow_ms": 100}));
    let mut all = vec![
        rig.address(),
        rig.interface(OTHER_ZONE),
        rig.volume_named("moving", OTHER_ZONE),
    ];
    all.sort_by(|one, other| one.id.cmp(&other.id));
    let first = rig.make(&rig.with("a", &all)).await;
    assert_eq!(rig.held_by(&first).await, all);
    assert_eq!(
        rig.instance(&first)["zone"],
        OTHER_ZONE,
        "where its volume is"
    );
    let data = rig.instance(&first)["user_data"].to_string();
    let volume = all
        .iter()
        .find(|one| one.id.starts_with("vol-"))
        .expect("there");
    assert!(
        data.contains(&volume.id.replace('-', "")),
        "the first boot waits for it: {data}"
    );

    let heir = rig.with("b", &all);
    assert!(
        matches!(rig.refused(&heir).await, ProvisionError::Held { holder, .. } if holder == first)
    );
    rig.provisioner.stop(&first, soon()).await.expect("stopped");
    let second = rig.make(&heir).await;
    assert_eq!(
        (rig.held_by(&second).await, rig.held_by(&first).await),
        (all.clone(), Vec::new())
    );

    let back = rig.provisioner.start(&first, soon()).await;
    assert!(matches!(back, Err(ProvisionError::Held { .. })), "{back:?}");
    rig.provisioner
        .stop(&second, soon())
        .await
        .expect("stopped");
    rig.provisioner
        .start(&first, soon())
        .await
        .expect("taken back");
    assert_eq!(rig.held_by(&first).await, all);
}

async fn an_order_that_ran_out_of_time_is_completed_by_the_same_call(rig: &Rig) {
    rig.knobs(&json!({"slow_ms": 1200}));
    let spec = rig.with("a", &[rig.volume_named("data", ZONE)]);
    let short = Deadline::after(Duration::from_millis(600));
    let cut = rig
        .provisioner
        .provision(&spec, &rig.op("a", "provision"), short)
        .await;
    let error = cut.expect_err("a volume is attached only to a machine that runs");
    assert!(error.is_retryable(), "{error}");
    let id = rig.make(&spec).await;
    assert_eq!(rig.held_by(&id).await, spec.attachments);
    assert_eq!(rig.list().await.len(), 1);
}

async fn what_can_not_be_is_refused_before_anything_is_made(rig: &Rig) {
    let multi = rig.control(
        "volume",
        &json!({"name": "multi", "zone": ZONE, "multi": true}),
    );
    let multi = Attachment::new(multi["id"].as_str().expect("an ID"), "ebs");
    let apart = [
        rig.volume_named("here", ZONE),
        rig.volume_named("there", OTHER_ZONE),
    ];
    let mut elsewhere = rig.with("elsewhere", &apart[..1]);
    elsewhere.labels.insert("zone".into(), OTHER_ZONE.into());
    let mut no_subnet = rig.with("no-subnet", &apart[1..]);
    no_subnet.properties = rig.properties_in(&[ZONE]);
    for (spec, field) in [
        (rig.with("multi", &[multi]), "attachments"),
        (rig.with("apart", &apart), "attachments"),
        (
            rig.with("missing", &[Attachment::new("vol-0aaaaaaaaaaaaaaaa", "")]),
            "attachments",
        ),
        (
            rig.with("named", &[Attachment::new("data", "ebs")]),
            "attachments",
        ),
        (elsewhere, "attachments"),
        (no_subnet, "subnets"),
    ] {
        match rig.refused(&spec).await {
            ProvisionError::Invalid(problems) => {
                assert_eq!(problems[0].field, field, "{problems:?}")
            }
            other => panic!("{}: {other}", spec.name),
        }
    }
    assert_eq!(rig.list().await, []);
}
