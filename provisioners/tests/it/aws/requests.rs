//! What is asked: names of the provider's own model, signed, and no more than the shipped policy allows.

use std::collections::BTreeSet;

use super::*;
use muster_provisioners::aws::ACTIONS;

checks! {
    names_are_judged_by_the_providers_own_model
    a_long_list_is_read_to_its_end
}

#[test]
fn the_shipped_policy_allows_what_is_asked_and_no_more() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/examples/aws-policy.json"
    );
    let text = std::fs::read_to_string(path).expect("readable");
    let policy: Value = serde_json::from_str(&text).expect("JSON");
    let statements = policy["Statement"].as_array().expect("a list");
    let actions = statements
        .iter()
        .flat_map(|one| one["Action"].as_array().expect("a list"));
    let allowed: BTreeSet<_> = actions
        .map(|action| action.as_str().expect("a text").to_owned())
        .collect();
    // Tags that are set while something is made need a permission of their own, as handing on a role does.
    let more = ["ec2:CreateTags".to_owned(), "iam:PassRole".to_owned()];
    let asked: BTreeSet<_> = ACTIONS
        .iter()
        .map(|action| format!("ec2:{action}"))
        .chain(more)
        .collect();
    assert_eq!(allowed, asked);
}

/// The counterpart judges every request of every test by that model; here only that it does.
async fn names_are_judged_by_the_providers_own_model(rig: &Rig) {
    let judge = |form: Value| rig.control("judge", &form)["refused"].clone();
    for action in ACTIONS {
        let refused = judge(json!({"Action": action, "Version": "2016-11-15"}));
        let missing = refused
            .as_str()
            .is_none_or(|code| code == "MissingParameter");
        assert!(missing, "{action}: {refused}");
    }
    let run = json!({"Action": "RunInstances", "Version": "2016-11-15", "MinCount": "1", "MaxCount": "1"});
    assert_eq!(judge(run.clone()), Value::Null);
    for (name, value) in [
        ("ImageID", "ami-1"),
        ("SecurityGroupIds.1", "sg-1"),
        ("MetadataOptions.HttpTokens", "perhaps"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "large"),
        ("TagSpecification.0.ResourceType", "instance"),
    ] {
        let mut wrong = run.clone();
        wrong[name] = value.into();
        assert_eq!(judge(wrong), "UnknownParameter", "{name}");
    }
    assert_eq!(judge(json!({"Action": "MakeInstances"})), "InvalidAction");
}

async fn a_long_list_is_read_to_its_end(rig: &Rig) {
    rig.knobs(&json!({"page": 3}));
    let mut made = Vec::new();
    for member in 0..8 {
        made.push(rig.make(&rig.spec(&member.to_string())).await);
    }
    made.sort();
    let listed: Vec<_> = rig
        .list()
        .await
        .into_iter()
        .map(|instance| instance.id)
        .collect();
    assert_eq!(listed, made);
    // A list whose second page does not come is none.
    rig.trouble(&json!({"kind": "html", "actions": ["DescribeInstances"], "after": 1}));
    let cut = rig.provisioner.describe(&rig.ours(), soon()).await;
    assert!(cut.is_err(), "{cut:?}");
}
