//! InfraKit's *instance* interface: the machines of the mesh.
//!
//! They can be described and destroyed. What is destroyed is replaced by its group, as with InfraKit. They are made through groups
//! only: what no group declares, nobody would heal.

use std::collections::BTreeMap;

use muster_provisioners::infrakit::{field, marks};
use muster_provisioners::tag;
use serde_json::{Value, json};

use super::calls::{Called, Calls, text, unknown};
use super::rpc::Params;
use crate::api::types::{AskRequest, Deed, MachineRow, Request};
use crate::fleet::names::MachineName;
use crate::fleet::spec::{Allocation, GroupSpec};
use crate::spec::infrakit::export;

/// The interface and its version.
pub(super) const VERSION: &str = "Instance/0.6.1";

pub(super) async fn call(calls: &Calls, method: &str, params: &Params) -> Called {
    let kind = field(params, "Type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !kind.is_empty() && kind != "." {
        return Err(format!("no-plugin:{kind}"));
    }
    let done = json!({"Type": kind, "OK": true});
    match method {
        "Validate" => match field(params, "Properties") {
            None | Some(Value::Object(_)) => Ok(done),
            Some(_) => Err("Properties is no object".to_owned()),
        },
        "DescribeInstances" => {
            let listed = describe(calls, params).await?;
            Ok(json!({"Type": kind, "Descriptions": listed}))
        }
        "Destroy" => {
            destroy(calls, text(params, "Instance")?).await?;
            Ok(done)
        }
        "Provision" => {
            Err("muster makes machines for groups only: commit a group, or set its size".to_owned())
        }
        "Label" => Err(
            "muster's machines have the labels of their group: commit it with others".to_owned(),
        ),
        _ => Err(unknown("Instance", method)),
    }
}

/// All machines that have an instance, with these tags.
async fn describe(calls: &Calls, params: &Params) -> Result<Vec<Value>, String> {
    let wanted = match field(params, "Tags") {
        None => Default::default(),
        Some(Value::Object(tags)) => tags.clone(),
        Some(_) => return Err("Tags is no object".to_owned()),
    };
    let status = calls.status().await?;
    let mut specs: BTreeMap<&str, GroupSpec> = BTreeMap::new();
    for group in &status.groups {
        specs.insert(&group.id, calls.group(&group.id).await?.spec);
    }
    let spec = |machine: &MachineRow| specs.get(machine.group.as_deref()?);
    let all = status
        .machines
        .iter()
        .filter_map(|machine| description(machine, spec(machine)));
    let matches = |one: &Value| {
        wanted
            .iter()
            .all(|(name, value)| one["Tags"].get(name) == Some(value))
    };
    Ok(all.filter(matches).collect())
}

/// A machine as an instance; `None` where nothing was made yet.
pub(super) fn description(machine: &MachineRow, spec: Option<&GroupSpec>) -> Option<Value> {
    let instance = machine.instance.as_ref()?;
    let mut tags: BTreeMap<&str, String> = BTreeMap::new();
    tags.extend(
        machine
            .labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone())),
    );
    let mut logical_id = None;
    if let Some(spec) = spec {
        tags.insert(marks::GROUP, export::id(spec));
        tags.insert(tag::GROUP, spec.id.to_string());
        if let Allocation::Pets { .. } = spec.allocation {
            let name = MachineName::new(machine.name.as_str()).ok();
            logical_id = name.map(|name| export::logical_id(spec, &name));
        }
    }
    if let Some(id) = &logical_id {
        tags.insert(marks::LOGICAL_ID, id.clone());
    }
    if let Some(member) = &machine.member {
        tags.insert(tag::MEMBER, member.clone());
    }
    let properties = json!({
        "Name": machine.name,
        "Provisioner": instance.provisioner,
        "Status": machine.status.to_string(),
        "Diagnosis": machine.diagnosis,
        "Address": machine.address,
    });
    Some(
        json!({"ID": instance.id, "LogicalID": logical_id, "Tags": tags, "Properties": properties}),
    )
}

/// An instance's ID as its own plugin has it.
pub(super) fn own(id: &str) -> String {
    marks::plugins_own(id)
}

/// The machine of this instance.
pub(super) async fn machine(calls: &Calls, id: &str) -> Result<MachineRow, String> {
    let status = calls.status().await?;
    let called = |is_it: &dyn Fn(&str) -> bool| {
        let machines = status.machines.iter();
        let mut found = machines.filter(|machine| {
            let instance = machine.instance.as_ref();
            instance.is_some_and(|instance| is_it(&instance.id))
        });
        (found.next().cloned(), found.next().is_some())
    };
    if let (Some(machine), _) = called(&|whole| whole == id) {
        return Ok(machine);
    }
    match called(&|whole| own(whole) == id) {
        (Some(machine), false) => Ok(machine),
        (Some(_), true) => Err(format!(
            "several plugins have an instance {id}: write PLUGIN/{id}"
        )),
        (None, _) => Err(format!("instance {id} does not exist")),
    }
}

/// Has a machine replaced, by the rules for orders of people.
async fn destroy(calls: &Calls, id: &str) -> Result<(), String> {
    let machine = machine(calls, id).await?;
    let request = Request::Ask(AskRequest {
        name: machine.machine_id.to_string(),
        what: Deed::Replace,
        reason: "its instance is to be destroyed, by InfraKit's instance interface".to_owned(),
        for_ms: None,
        force: Vec::new(),
    });
    calls.order(&request).await
}
