//! InfraKit's *flavor* interface: muster's flavors, each under its name as the type.

use muster_flavors::{Allocation, Place, Registry};
use muster_provisioners::infrakit::{attachments, field, tags};
use muster_provisioners::{Attachment, MachineSpec, Problem, Properties};
use serde_json::{Map, Value, json};

use super::calls::{Called, Calls, unknown};
use super::instance::machine;
use super::rpc::Params;
use crate::api::types::{AskRequest, Deed, MachineRow, MachineState, Request};
use crate::fleet::Diagnosis;

/// The interface and its version.
pub(super) const VERSION: &str = "Flavor/0.1.1";

pub(super) async fn call(calls: &Calls, method: &str, params: &Params) -> Called {
    let kind = field(params, "Type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !Registry::builtin().kinds().any(|known| known.name == kind) {
        return Err(format!("no-plugin:{kind}"));
    }
    let done = json!({"Type": kind, "OK": true});
    match method {
        "Validate" => build(kind, params).map(|_| done),
        "Prepare" => prepare(kind, params),
        "Healthy" => {
            let machine = of_instance(calls, params).await?;
            Ok(json!({"Type": kind, "Health": health(&machine)}))
        }
        "Drain" => {
            let machine = of_instance(calls, params).await?;
            let request = Request::Ask(AskRequest {
                name: machine.machine_id.to_string(),
                what: Deed::Drain,
                reason: "asked for by InfraKit's flavor interface".to_owned(),
                for_ms: None,
                force: Vec::new(),
            });
            calls.order(&request).await.map(|()| done)
        }
        _ => Err(unknown("Flavor", method)),
    }
}

fn build(
    kind: &str,
    params: &Params,
) -> Result<(std::sync::Arc<dyn muster_flavors::Flavor>, Allocation), String> {
    let properties = field(params, "Properties")
        .cloned()
        .unwrap_or_else(|| json!({}));
    let properties = Properties::from_value(properties).map_err(|error| error.to_string())?;
    let allocation = allocation(field(params, "Allocation"))?;
    let flavor = Registry::builtin().build(kind, &properties, &allocation);
    Ok((flavor.map_err(joined)?, allocation))
}

/// `{Size}` or `{LogicalIDs}`.
fn allocation(value: Option<&Value>) -> Result<Allocation, String> {
    let empty = Map::new();
    let value = value.and_then(Value::as_object).unwrap_or(&empty);
    let members: Vec<String> = match field(value, "LogicalIDs") {
        None => Vec::new(),
        Some(Value::Array(ids)) => ids
            .iter()
            .filter_map(|id| id.as_str().map(str::to_owned))
            .collect(),
        Some(_) => return Err("Allocation.LogicalIDs is no list".to_owned()),
    };
    let size = field(value, "Size").and_then(Value::as_u64).unwrap_or(0);
    Ok(match members.is_empty() {
        false => Allocation::Pets { members },
        true => Allocation::Cattle {
            size: usize::try_from(size).map_err(|error| error.to_string())?,
        },
    })
}

fn prepare(kind: &str, params: &Params) -> Called {
    let (flavor, allocation) = build(kind, params)?;
    if flavor.must_be_asked() {
        return Err(format!("{kind} is prepared by its own plugin: ask that"));
    }
    let given = field(params, "Spec")
        .and_then(Value::as_object)
        .ok_or("Spec is missing")?;
    let member = field(given, "LogicalID")
        .and_then(Value::as_str)
        .unwrap_or("1");
    let index = field(params, "Index").and_then(Value::as_object);
    let group = index
        .and_then(|index| field(index, "Group")?.as_str())
        .unwrap_or("group");
    let mut spec = MachineSpec::new(member, Properties::new());
    spec.init = field(given, "Init")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    spec.tags = tags(field(given, "Tags"))?;
    spec.attachments = listed(field(given, "Attachments"));
    let place = Place {
        group,
        member,
        allocation: &allocation,
        peers: &[],
    };
    let prepared = flavor.prepare(spec, &place).map_err(joined)?;
    let tags: Map<_, _> = prepared
        .tags
        .iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let get = |name: &str| field(given, name).cloned().unwrap_or(Value::Null);
    Ok(json!({"Type": kind, "Spec": {
        "Properties": get("Properties"),
        "Tags": tags,
        "Init": prepared.init,
        "LogicalID": get("LogicalID"),
        "Attachments": attachments(&prepared.attachments),
    }}))
}

fn listed(value: Option<&Value>) -> Vec<Attachment> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    let one = |item: &Value| {
        let item = item.as_object()?;
        let kind = field(item, "Type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Some(Attachment::new(field(item, "ID")?.as_str()?, kind))
    };
    items.filter_map(one).collect()
}

async fn of_instance(calls: &Calls, params: &Params) -> Result<MachineRow, String> {
    let instance = field(params, "Instance").and_then(Value::as_object);
    let id = instance.and_then(|instance| field(instance, "ID")?.as_str());
    machine(calls, id.ok_or("Instance.ID is missing")?).await
}

/// 1 for healthy, 2 for unhealthy, 0 where nobody knows yet.
fn health(machine: &MachineRow) -> u8 {
    let diagnosis = machine.diagnosis.as_deref();
    match machine.status {
        MachineState::Alive if diagnosis == Some(&Diagnosis::WorkloadFailed.to_string()) => 2,
        MachineState::Alive => 1,
        MachineState::Down | MachineState::Left => 2,
        MachineState::Suspect
        | MachineState::Provisioning
        | MachineState::Destroying
        | MachineState::Adopted => 0,
    }
}

fn joined(problems: Vec<Problem>) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
