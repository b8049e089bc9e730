//! The flavor against plugins that are not ours.

use muster_provisioners::conformance::Counterpart;
use muster_provisioners::{Attachment, tag};

use super::*;
use crate::HealthStatus;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn flavor(counterpart: &Counterpart, properties: &str, allocation: &Allocation) -> Infrakit {
    let properties = properties.parse().expect("valid JSON");
    let mut flavor = Infrakit::read(&properties, allocation).expect("valid");
    flavor.plugins = Arc::new(Plugins::new(Directory::new(counterpart.text("plugins"))));
    flavor
}

fn spec() -> MachineSpec {
    let properties = r#"{"plugin": "file", "properties": {"size": "m1"}}"#;
    let mut spec = MachineSpec::new("n-1", properties.parse().expect("valid"));
    spec.tags.insert(tag::CLUSTER, "c");
    spec.init = "echo before".to_owned();
    spec
}

fn pets() -> Allocation {
    let members = vec!["n-1".to_owned(), "n2".to_owned()];
    Allocation::Pets { members }
}

fn place(allocation: &Allocation) -> Place<'_> {
    Place {
        group: "pets",
        member: "n-1",
        allocation,
        peers: &[],
    }
}

#[tokio::test]
async fn plugins_of_every_generation_complete_a_machine() {
    let Some(counterpart) = Counterpart::start("infrakit", &[]) else {
        return;
    };
    let pets = pets();
    for plugin in ["vanilla", "flavor-vanilla", "flavor-zookeeper"] {
        let properties = format!(
            r#"{{"Plugin": "{plugin}", "Properties": {{"Init": ["echo a", "echo b"], "Tags": {{"tier": "web", "muster.cluster": "x"}},
                "Attachments": [{{"ID": "vol", "Type": "ebs"}}]}}, "logical_ids": {{"n-1": "N_1"}}, "group": "Pets"}}"#
        );
        let flavor = flavor(&counterpart, &properties, &pets);
        let done = flavor
            .complete(spec(), &place(&pets), soon())
            .await
            .expect("prepared");
        assert_eq!(done.init, "echo before\necho a\necho b");
        assert_eq!(done.tags.get("tier"), Some("web"));
        assert_eq!(
            done.tags.get("sequence"),
            Some("2"),
            "as InfraKit's controller says"
        );
        assert_eq!(done.tags.get(tag::CLUSTER), Some("c"), "muster's own stay");
        assert_eq!(done.tags.get(marks::GROUP), None, "set by the provisioner");
        assert_eq!(done.attachments, [Attachment::new("vol", "ebs")]);
        assert_eq!(done.properties, spec().properties);
    }
}

#[tokio::test]
async fn a_list_of_flavors_is_handed_on() {
    let Some(counterpart) = Counterpart::start("infrakit", &[]) else {
        return;
    };
    let cattle = Allocation::Cattle { size: 2 };
    let properties = r#"{"plugin": "combo", "properties": [
        {"Plugin": "vanilla", "Properties": {"Init": ["one"]}}, {"Plugin": "vanilla", "Properties": {"Init": ["two"]}}]}"#;
    let combo = flavor(&counterpart, properties, &cattle);
    let done = combo
        .complete(spec(), &place(&cattle), soon())
        .await
        .expect("prepared");
    assert_eq!(done.init, "echo before\none\ntwo");
    let bad = flavor(
        &counterpart,
        r#"{"plugin": "vanilla", "properties": {"Init": "x"}}"#,
        &cattle,
    );
    let error = bad
        .complete(spec(), &place(&cattle), soon())
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("Spec.Init"), "{error}");
}

#[tokio::test]
async fn health_and_draining_are_the_plugins() {
    let Some(counterpart) = Counterpart::start("infrakit", &[]) else {
        return;
    };
    let flavor = flavor(
        &counterpart,
        r#"{"plugin": "vanilla", "logical_ids": {"n-1": "N_1"}}"#,
        &pets(),
    );
    let workload = Workload {
        machine: "n-1".to_owned(),
        group: "pets".to_owned(),
        member: "n-1".to_owned(),
        environment: BTreeMap::from([(INSTANCE_VARIABLE.to_owned(), "file:i-7".to_owned())]),
        ..Workload::default()
    };
    assert_eq!(flavor.instance(&workload)["ID"], "i-7");
    assert_eq!(flavor.healthy(&workload).await.status, HealthStatus::Ok);
    std::fs::write(counterpart.directory().join("sick"), "N_1").expect("written");
    assert_eq!(
        flavor.healthy(&workload).await.status,
        HealthStatus::Critical
    );
    flavor.drain(&workload, soon()).await.expect("drained");
    let drained = std::fs::read_to_string(counterpart.directory().join("drained"));
    assert_eq!(drained.expect("written"), "N_1\n");
    drop(counterpart);
    assert_eq!(
        flavor.healthy(&workload).await.status,
        HealthStatus::Unknown
    );
}

#[test]
fn cattle_share_what_is_attached_to_them() {
    let answer = json!({"Spec": {"Attachments": [{"ID": "a", "Type": "b"}]}});
    let tag = |shared: bool| {
        let spec = wire::prepared(spec(), &answer, shared).expect("prepared");
        spec.tags.get(marks::ATTACHMENTS).map(str::to_owned)
    };
    assert_eq!(tag(true).as_deref(), Some(marks::SHARED));
    assert_eq!(tag(false), None);
}

#[test]
fn answers_that_can_t_be_used_are_refused() {
    for bad in [
        json!(null),
        json!({}),
        json!({"Spec": {"Init": 5}}),
        json!({"Spec": {"Init": "x".repeat(MachineSpec::INIT_MAX_BYTES + 1)}}),
        json!({"Spec": {"Tags": [1]}}),
        json!({"Spec": {"Attachments": [{}]}}),
        json!({"Spec": {"Attachments": {"a": 1}}}),
    ] {
        assert!(wire::prepared(spec(), &bad, false).is_err(), "{bad}");
    }
    assert_eq!(
        wire::health(&json!({"Health": 0})).status,
        HealthStatus::Unknown
    );
    assert_eq!(wire::health(&json!([])).status, HealthStatus::Unknown);
}

#[test]
fn everything_that_is_wrong_with_properties_is_said() {
    let cattle = Allocation::Cattle { size: 1 };
    let bad = r#"{"colour": 1, "properties": [1]}"#.parse().expect("valid");
    let problems = Infrakit::read(&bad, &cattle).expect_err("two mistakes");
    let fields: Vec<_> = problems
        .iter()
        .map(|problem| problem.field.as_str())
        .collect();
    assert_eq!(fields, ["plugin", "colour"]);
}
