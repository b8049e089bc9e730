//! What the provider announced: scheduled events, and spot interruptions.

use super::*;
use muster_provisioners::aws::notices_here;

checks! {
    a_scheduled_event_shows_on_the_instance
    a_machine_learns_what_is_going_to_happen_to_it
}

async fn a_scheduled_event_shows_on_the_instance(rig: &Rig) {
    let (quiet, doomed) = (
        rig.make(&rig.spec("a")).await,
        rig.make(&rig.spec("b")).await,
    );
    let event = json!({"code": "instance-retirement", "description": "its host fails", "notBefore": "2026-11-30T10:00:00.000Z"});
    rig.control("notice", &json!({"id": doomed, "notice": {"event": event}}));
    let notice = |list: &[Instance], id: &InstanceId| {
        let found = list
            .iter()
            .find(|instance| instance.id == *id)
            .expect("listed");
        found.properties.get("notice").cloned()
    };
    let list = rig.list().await;
    assert_eq!(
        notice(&list, &doomed),
        Some(json!("instance-retirement from 2026-11-30T10:00:00Z"))
    );
    assert_eq!(notice(&list, &quiet), None);
    // A list without events is better than none.
    rig.trouble(&json!({"kind": "credentials", "actions": ["DescribeInstanceStatus"]}));
    assert_eq!(rig.list().await.len(), 2);
}

async fn a_machine_learns_what_is_going_to_happen_to_it(rig: &Rig) {
    let settings =
        json!({"region": "eu-west-1", "metadata_endpoint": rig.counterpart.text("endpoint")});
    let settings = Properties::from_value(settings).expect("an object");
    assert_eq!(notices_here(&settings, soon()).await, Ok(Vec::new()));
    let notice = json!({
        "spot": {"action": "terminate", "time": "2026-11-22T12:02:00Z"},
        "scheduled": [
            {"Code": "system-reboot", "NotBefore": "23 Nov 2026 09:00:00 GMT", "State": "active"},
            {"Code": "system-maintenance", "NotBefore": "21 Nov 2026 09:00:00 GMT", "State": "completed"},
        ],
    });
    rig.control("notice", &json!({"id": "*", "notice": notice}));
    let notices = notices_here(&settings, soon()).await.expect("answered");
    let said: Vec<_> = notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "spot-terminate from 2026-11-22T12:02:00Z",
            "system-reboot from 2026-11-23T09:00:00Z"
        ]
    );
}
