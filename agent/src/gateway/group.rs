//! InfraKit's *group* interface: groups of the mesh.

use muster_provisioners::infrakit::field;
use serde_json::{Value, json};

use super::calls::{Called, Calls, strange, unknown};
use super::instance::description;
use super::rpc::Params;
use crate::api::types::{ApplyRequest, Change, GroupState, Plan, Request, Response, ScaleRequest};
use crate::fleet::spec::{Allocation, GroupSpec};
use crate::spec::infrakit::{as_name, export};
use crate::spec::{self, Registries, Source};

/// The interface and its version.
pub(super) const VERSION: &str = "Group/0.1.1";

pub(super) async fn call(calls: &Calls, method: &str, params: &Params) -> Called {
    if method == "CommitGroup" {
        return commit(calls, params).await;
    }
    let given = match field(params, "ID") {
        Some(Value::String(id)) => id.as_str(),
        Some(_) => return Err("ID is no text".to_owned()),
        None => "",
    };
    if method == "InspectGroups" {
        let groups = inspect(calls, given).await?;
        return Ok(json!({"Name": calls.name(params), "ID": given, "Groups": groups}));
    }
    // Groups whose names were no names of muster's have others here.
    let id = as_name(given);
    let mut answer = json!({"Name": calls.name(params), "ID": given});
    match method {
        "FreeGroup" => calls.order(&Request::GroupFree { id }).await?,
        "DestroyGroup" => calls.order(&Request::GroupDestroy { id }).await?,
        "DescribeGroup" => answer["Description"] = describe(calls, &id).await?,
        "Size" => answer["Size"] = json!(calls.group(&id).await?.spec.desired()),
        "SetSize" => {
            let size = field(params, "Size").and_then(Value::as_u64);
            let size = size.and_then(|size| u32::try_from(size).ok());
            let size = size.ok_or("Size is no number of machines")?;
            scale(calls, id, size).await?;
        }
        "DestroyInstances" => destroy_instances(calls, &id, params).await?,
        _ => return Err(unknown("Group", method)),
    }
    Ok(answer)
}

/// Applies a group, or says what that would change.
async fn commit(calls: &Calls, params: &Params) -> Called {
    let pretend = match field(params, "Pretend") {
        None | Some(Value::Null) => false,
        Some(pretend) => pretend
            .as_bool()
            .ok_or("Pretend is neither true nor false")?,
    };
    let spec = field(params, "Spec").ok_or("Spec is missing")?;
    let spec = read(spec)?;
    let id = export::id(&spec);
    let desired = spec.desired();
    let request = Request::Apply(ApplyRequest {
        specs: vec![spec],
        dry_run: pretend,
        expected: Default::default(),
    });
    let Response::Plan(plan) = calls.ask(&request).await? else {
        return Err(strange());
    };
    let details = details(&plan, desired)?;
    Ok(json!({"Name": calls.name(params), "ID": id, "Details": details}))
}

fn read(spec: &Value) -> Result<GroupSpec, String> {
    let source = Source {
        name: "spec.json".to_owned(),
        text: spec.to_string(),
    };
    let mut specs = spec::parse(&[source], &Registries::builtin()).map_err(|error| {
        let problems = error.problems.iter();
        let problems = problems
            .map(|problem| format!("{}: {}; {}", problem.field, problem.what, problem.remedy));
        problems.collect::<Vec<_>>().join("; ")
    })?;
    match (specs.pop(), specs.is_empty()) {
        (Some(spec), true) => Ok(spec),
        _ => Err("a commit is of one group".to_owned()),
    }
}

/// What a commit does, in a sentence, as InfraKit's controller says it.
fn details(plan: &Plan, desired: usize) -> Result<String, String> {
    if let Some((id, refusal)) = plan.refusal() {
        return Err(format!(
            "group {id}: {}; {}",
            refusal.reason, refusal.remedy
        ));
    }
    let change = plan.groups.first().map(|group| group.change);
    Ok(match change {
        Some(Change::Unchanged) | None => "Noop".to_owned(),
        Some(Change::Create) => format!("Managing {desired} instances"),
        Some(Change::Scale) => format!("Scaling to {desired} instances"),
        Some(Change::Update) => {
            "Machines that exist stay as they are; further ones are made from the new revision"
                .to_owned()
        }
    })
}

async fn describe(calls: &Calls, id: &str) -> Called {
    let group = calls.group(id).await?;
    let instances = group
        .machines
        .iter()
        .filter_map(|machine| description(machine, Some(&group.spec)));
    Ok(json!({
        "Instances": instances.collect::<Vec<_>>(),
        "Converged": group.group.state == GroupState::Converged,
    }))
}

/// The specs of one group or of all; null for none, as Go writes it.
async fn inspect(calls: &Calls, id: &str) -> Called {
    let Response::Groups(groups) = calls.ask(&Request::Groups).await? else {
        return Err(strange());
    };
    let mut specs = Vec::new();
    for group in groups.items {
        let spec = calls.group(&group.id).await?.spec;
        if id.is_empty() || export::id(&spec) == id || spec.id.as_str() == id {
            specs.push(export::export(&spec, export::Envelope::Plain));
        }
    }
    Ok(match specs.is_empty() {
        true => Value::Null,
        false => Value::Array(specs),
    })
}

async fn scale(calls: &Calls, id: String, size: u32) -> Result<(), String> {
    let request = Request::Scale(ScaleRequest {
        id,
        size,
        dry_run: false,
    });
    match calls.ask(&request).await? {
        Response::Plan(plan) => details(&plan, size as usize).map(|_| ()),
        _ => Err(strange()),
    }
}

/// Takes away just these machines, and as many from the group's size, as InfraKit's controller does. What is cordoned goes first
/// when a group shrinks. Those that are no longer there are passed over.
async fn destroy_instances(calls: &Calls, id: &str, params: &Params) -> Result<(), String> {
    let wanted = field(params, "Instances").and_then(Value::as_array);
    let wanted: Vec<&str> = wanted
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let group = calls.group(id).await?;
    let Allocation::Cattle { size } = group.spec.allocation else {
        return Err("pets are not counted: commit the group without their logical IDs".to_owned());
    };
    let is_wanted = |instance: &str| {
        let own = super::instance::own(instance);
        wanted
            .iter()
            .any(|wanted| *wanted == instance || *wanted == own)
    };
    let mut gone: u32 = 0;
    for machine in &group.machines {
        let found = machine
            .instance
            .as_ref()
            .filter(|instance| is_wanted(&instance.id));
        if found.is_none() {
            continue;
        }
        let request = Request::Cordon {
            name: machine.machine_id.to_string(),
            reason: "its instance is to be destroyed, by InfraKit's group interface".to_owned(),
        };
        calls.order(&request).await?;
        gone = gone.saturating_add(1);
    }
    match gone {
        0 => Ok(()),
        gone => {
            // Whoever says it again means the same machines: those that are on their way out are not counted twice.
            let left = u32::try_from(group.machines.len())
                .unwrap_or(u32::MAX)
                .saturating_sub(gone);
            let wanted = size.saturating_sub(gone).max(left).min(size);
            scale(calls, id.to_owned(), wanted).await
        }
    }
}
