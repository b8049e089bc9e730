//! Specs for InfraKit of every form, and back.

use serde_json::{Value, json};

use super::export::{Envelope, export, flavor, instance, lost};
use crate::fleet::spec::{Allocation, GroupSpec};
use crate::spec::{Registries, Source, SpecError, parse};

/// The same group of pets in every envelope, with odd names and odd case.
const PLAIN: &str = r#"{
  "id": "My_Pets",
  "properties": {
    "ALLOCATION": {"Size": 0, "LogicalIDs": ["10.0.0.1", "node-b"]},
    "Instance": {"plugin": "aws/ec2-instance", "properties": {"RunInstancesInput": {"Cpu": 2}}},
    "Flavor": {"Plugin": "vanilla", "Properties": {"Init": ["echo <hi>"]}},
    "Updating": {"Duration": "0s", "Count": 0, "SkipBeforeInstanceDestroy": null},
    "Unheard": 1
  }
}"#;
const LIST: &str = r#"[{"Plugin": "group", "Properties": {"ID": "My_Pets", "Properties": {
    "Allocation": {"LogicalIDs": ["10.0.0.1", "node-b"]},
    "Instance": {"Plugin": "aws/ec2-instance", "Properties": {"RunInstancesInput": {"Cpu": 2}}},
    "Flavor": {"Plugin": "vanilla", "Properties": {"Init": ["echo <hi>"]}}}}}]"#;
const KIND: &str = "# a group of pets
kind: group
version: group/0.1
metadata:
  name: My_Pets
  tags: {a: b}
properties:
  Allocation:
    LogicalIDs: [10.0.0.1, node-b]
  Instance:
    Plugin: aws/ec2-instance
    Properties:
      RunInstancesInput: {Cpu: 2}
  Flavor:
    Plugin: vanilla
    Properties:
      Init:
        - echo <hi>
options:
  x: 1
";

fn read(name: &str, text: &str) -> Result<Vec<GroupSpec>, SpecError> {
    let source = Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    parse(&[source], &Registries::builtin())
}

fn one(name: &str, text: &str) -> GroupSpec {
    let mut specs = read(name, text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(specs.len(), 1);
    specs.remove(0)
}

#[test]
fn every_envelope_says_the_same() {
    let spec = one("pets.json", PLAIN);
    assert_eq!(spec.id.as_str(), "my-pets");
    let Allocation::Pets { members } = &spec.allocation else {
        panic!("pets");
    };
    let names: Vec<_> = members.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["10-0-0-1", "node-b"]);
    assert_eq!(spec.instance.provisioner, "infrakit");
    let expected = json!({
        "plugin": "aws/ec2-instance", "properties": {"RunInstancesInput": {"Cpu": 2}},
        "logical_ids": {"10-0-0-1": "10.0.0.1"}, "group": "My_Pets",
    });
    assert_eq!(spec.instance.properties.to_value(), expected);
    assert_eq!(one("pets.json", LIST), spec);
    assert_eq!(one("pets.yml", KIND), spec);
    assert_eq!(one("<stdin>", KIND), spec, "told by how it begins");
}

#[test]
fn what_is_exported_is_read_back() {
    let spec = one("pets.json", PLAIN);
    for envelope in [Envelope::Plain, Envelope::List, Envelope::Kind] {
        let text = export(&spec, envelope).to_string();
        assert!(
            text.contains("10.0.0.1") && text.contains("My_Pets"),
            "{text}"
        );
        assert_eq!(one("x.json", &text), spec);
        assert_eq!(one("x.yaml", &text), spec, "JSON is YAML");
    }
    assert_eq!(lost(&spec), [""; 0]);
}

#[test]
fn a_group_of_musters_own_is_exported_with_what_is_lost() {
    let spec = one(
        "web.toml",
        "id = \"web\"\nsize = 2\nlabels = { a = \"b\" }\nheal = { mode = \"observe\" }\n",
    );
    let exported = export(&spec, Envelope::Plain);
    assert_eq!(exported["Properties"]["Allocation"], json!({"Size": 2}));
    assert_eq!(exported["Properties"]["Instance"]["Plugin"], "process");
    assert_eq!(lost(&spec), ["labels", "heal"]);
}

#[test]
fn the_hash_is_that_of_the_plugins_as_they_were_written() {
    let text = r#"{"ID": "c", "Properties": {"Allocation": {"Size": 3}, "Instance": {"Plugin": "file", "Properties": {"Note": "v1"}},
        "Flavor": {"Plugin": "vanilla", "Properties": {"Init": ["echo v1"], "Tags": {"tier": "web"}}}}}"#;
    let spec = one("c.json", text);
    let hash = muster_provisioners::infrakit::config_hash(&instance(&spec), &flavor(&spec));
    assert_eq!(hash, "bmbiu24k37oo4ln52t3bzn5ehda5j3go");
}

#[test]
fn bad_specs_are_refused_with_the_line() {
    for (text, line, word) in [
        (
            "kind: group\nmetadata: {name: a}\nproperties:\n  Instance: {Plugin: x}\n  Flavor: {Plugin: x}\n",
            2,
            "Allocation",
        ),
        (
            "kind: group\nmetadata: {name: a}\nproperties:\n  Allocation: {Size: 2, LogicalIDs: [a]}\n  Instance: {Plugin: x}\n  Flavor: {Plugin: x}\n",
            4,
            "either",
        ),
        (
            "kind: group\nmetadata: {name: a}\nproperties:\n  Allocation:\n    Size: many\n  Instance: {Plugin: x}\n  Flavor: {Plugin: x}\n",
            5,
            "size",
        ),
        (
            "kind: group\nmetadata: {name: a}\nproperties:\n  Allocation: {Size: 1}\n  Instance:\n    Properties: {}\n  Flavor: {Plugin: x}\n",
            5,
            "Plugin",
        ),
        (
            "kind: group\nmetadata: {name: a}\nproperties:\n  Allocation: {Size: 1}\n  Instance:\n    Plugin: ../up\n  Flavor: {Plugin: x}\n",
            6,
            "plugin",
        ),
        (
            "kind: group\nmetadata: {name: a}\nproperties:\n  Allocation: {Size: 1}\n  Instance: {Plugin: x}\n",
            2,
            "Flavor",
        ),
        (
            "kind: ingress\nmetadata: {name: a}\nproperties:\n  Routes: []\n",
            1,
            "kind",
        ),
        (
            "ID: a\nProperties:\n  Allocation: {LogicalIDs: [A_b, a.b]}\n  Instance: {Plugin: x}\n  Flavor: {Plugin: x}\n",
            3,
            "both",
        ),
        ("ID: a\nProperties:\n  Allocation: {Size: 1\n", 4, "YAML"),
        (
            "ID: '***'\nProperties:\n  Allocation: {Size: 1}\n  Instance: {Plugin: x}\n  Flavor: {Plugin: x}\n",
            1,
            "name",
        ),
    ] {
        let error = read("bad.yml", text).expect_err(text);
        let found = error
            .problems
            .iter()
            .any(|problem| problem.line == line && problem.to_string().contains(word));
        assert!(found, "{text}{error}");
    }
}

#[test]
fn json_of_musters_own_is_still_read_as_that() {
    let spec = one("web.json", r#"{"id": "web", "size": 2}"#);
    assert_eq!(spec.instance.provisioner, "process");
    let yaml = one("web.yaml", "id: web\nsize: 2\n");
    assert_eq!(yaml, spec, "and in YAML as well");
    let value: Value = json!({"group": [{"id": "web", "size": 2}]});
    assert_eq!(one("web.yaml", &value.to_string()), spec);
}
