//! Which instance becomes which member, and what is refused.

use muster_provisioners::{InstanceState, Properties};

use super::*;
use crate::spec::{Source, parse};

const HASH: &str = "bmbiu24k37oo4ln52t3bzn5ehda5j3go";

fn spec(allocation: &str) -> GroupSpec {
    let text = format!(
        r#"{{"ID": "Web", "Properties": {{"Allocation": {allocation}, "Instance": {{"Plugin": "file", "Properties": {{"Note": "v1"}}}},
            "Flavor": {{"Plugin": "vanilla", "Properties": {{"Init": ["echo v1"], "Tags": {{"tier": "web"}}}}}}}}}}"#
    );
    let source = Source {
        name: "x.json".to_owned(),
        text,
    };
    parse(&[source], &Registries::builtin())
        .expect("valid")
        .remove(0)
}

fn listed(id: &str, hash: &str, further: &[(&str, &str)]) -> Listed {
    let mut tags = Tags::new()
        .with(marks::GROUP, "Web")
        .with(marks::CONFIG_HASH, hash);
    tags.extend(further.iter().copied());
    Listed {
        id: id.parse().expect("valid"),
        state: InstanceState::Running,
        tags,
        address: None,
        properties: Properties::new(),
        created_at_ms: 0,
        attachments: Vec::new(),
    }
}

#[test]
fn cattle_are_numbered_and_pets_known_by_their_logical_ids() {
    let cattle = [
        listed("file:a", HASH, &[]),
        listed("file:b", HASH, &[(tag::CLUSTER, "c")]),
    ];
    let members = claim(&spec(r#"{"Size": 3}"#), &cattle, "c").expect("claimed");
    let names: Vec<_> = members
        .iter()
        .map(|(member, one)| (member.to_string(), one.id.to_string()))
        .collect();
    let expected = [("1", "file:a"), ("2", "file:b")];
    assert_eq!(
        names,
        expected.map(|(member, id)| (member.to_owned(), id.to_owned()))
    );
    let pets = [listed("file:a", HASH, &[(marks::LOGICAL_ID, "N_2")])];
    let members = claim(&spec(r#"{"LogicalIDs": ["n1", "N_2"]}"#), &pets, "c").expect("claimed");
    assert_eq!(members[0].0.to_string(), "n-2");
}

#[test]
fn what_is_not_the_groups_is_refused() {
    let cattle = spec(r#"{"Size": 1}"#);
    let pets = spec(r#"{"LogicalIDs": ["n1"]}"#);
    let one = |further: &[(&str, &str)]| vec![listed("file:a", HASH, further)];
    for (spec, instances, word) in [
        (&cattle, Vec::new(), "no instance"),
        (
            &cattle,
            vec![listed("file:a", HASH, &[]), listed("file:b", HASH, &[])],
            "wants 1",
        ),
        (&cattle, vec![listed("file:a", "other", &[])], HASH),
        (&cattle, one(&[(tag::CLUSTER, "theirs")]), "theirs"),
        (&pets, one(&[(marks::LOGICAL_ID, "n9")]), "n9"),
        (&pets, one(&[]), "none"),
    ] {
        let error = claim(spec, &instances, "ours").expect_err("refused");
        assert!(error.message.contains(word), "{}", error.message);
        assert!(error.remedy.is_some());
    }
}
