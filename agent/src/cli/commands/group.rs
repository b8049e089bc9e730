//! `muster group`.

use std::path::PathBuf;

use serde_json::Value;

use super::{Context, Failure, apply, millis, show, unexpected};
use crate::api::types::{AdoptRequest, Request, Response, ScaleRequest};
use crate::cli::args::GroupCommand;
use crate::fleet::spec::GroupSpec;
use crate::spec::infrakit::export::{self, Envelope};
use crate::spec::{self, Registries};

pub(super) async fn run(context: &Context<'_>, command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List => match context.call(&Request::Groups).await? {
            Response::Groups(groups) => context.out.either(&groups, show::groups),
            _ => Err(unexpected()),
        },
        GroupCommand::Show { id, spec } => show_one(context, id, spec).await,
        GroupCommand::Export {
            id,
            infrakit,
            envelope,
        } => export(context, id, infrakit.then(|| envelope.into())).await,
        GroupCommand::Adopt { file, yes, dry_run } => adopt(context, file, yes, dry_run).await,
        GroupCommand::Scale {
            id,
            size,
            yes,
            dry_run,
        } => {
            if size == 0 && !dry_run {
                let question = format!("All machines of group {id} are taken away. Sure?");
                context.confirm_unless(yes, &question)?;
            }
            let request = Request::Scale(ScaleRequest { id, size, dry_run });
            let plan = apply::planned(context.call(&request).await?)?;
            apply::tell(context, &plan)
        }
        GroupCommand::Pause { id, reason, period } => {
            let request = Request::Pause {
                id,
                zone: None,
                machine: None,
                name: None,
                reason,
                for_ms: period.map(millis),
            };
            context.order(&request).await
        }
        GroupCommand::Resume { id } => {
            let request = Request::Resume {
                id,
                zone: None,
                machine: None,
                name: None,
            };
            context.order(&request).await
        }
        GroupCommand::Destroy { id, yes } => {
            let question = format!("All machines of group {id} are taken away. Sure?");
            context.confirm_unless(yes, &question)?;
            context.order(&Request::GroupDestroy { id }).await
        }
        GroupCommand::Free { id, yes } => {
            let question = format!(
                "Group {id} is forgotten; its machines run on and nobody heals them. Sure?"
            );
            context.confirm_unless(yes, &question)?;
            context.order(&Request::GroupFree { id }).await
        }
        GroupCommand::HealMode { id, mode } => {
            context
                .order(&Request::HealMode {
                    id,
                    mode: mode.into(),
                })
                .await
        }
    }
}

async fn show_one(context: &Context<'_>, id: String, only_spec: bool) -> Result<(), Failure> {
    let Response::Group(group) = context.call(&Request::Group { id }).await? else {
        return Err(unexpected());
    };
    match only_spec {
        true if context.out.json => context.out.json(&spec::document(&group.spec)),
        true => context.out.text(&spec::to_toml(&group.spec)),
        false => context.out.either(&*group, show::group),
    }
}

/// Writes specs, for InfraKit in an envelope of its own.
async fn export(
    context: &Context<'_>,
    id: Option<String>,
    envelope: Option<Envelope>,
) -> Result<(), Failure> {
    let ids = match id {
        Some(id) => vec![id],
        None => match context.call(&Request::Groups).await? {
            Response::Groups(groups) => groups.items.into_iter().map(|group| group.id).collect(),
            _ => return Err(unexpected()),
        },
    };
    let mut specs: Vec<GroupSpec> = Vec::new();
    for id in ids {
        match context.call(&Request::Group { id }).await? {
            Response::Group(group) => specs.push(group.spec),
            _ => return Err(unexpected()),
        }
    }
    let Some(envelope) = envelope else {
        let texts: Vec<_> = specs.iter().map(spec::to_toml).collect();
        return context.out.text(&texts.join("\n"));
    };
    for spec in &specs {
        let lost = export::lost(spec);
        if !lost.is_empty() {
            eprintln!(
                "{}: InfraKit has no words for: {}",
                spec.id,
                lost.join(", ")
            );
        }
    }
    let mut written: Vec<_> = specs
        .iter()
        .map(|spec| export::export(spec, envelope))
        .collect();
    if envelope == Envelope::List {
        let items = written.into_iter().flat_map(|list| match list {
            Value::Array(items) => items,
            other => vec![other],
        });
        written = vec![items.collect()];
    }
    written.iter().try_for_each(|group| context.out.json(group))
}

async fn adopt(
    context: &Context<'_>,
    file: PathBuf,
    yes: bool,
    dry_run: bool,
) -> Result<(), Failure> {
    let mut specs = spec::load(&[file], &Registries::builtin())?;
    let (Some(spec), true) = (specs.pop(), specs.is_empty()) else {
        return Err(Failure::usage(
            "the file has several groups",
            "adopt one at a time",
        ));
    };
    if !dry_run {
        let question = format!(
            "The instances that InfraKit made for {} become this fleet's. Sure?",
            spec.id
        );
        context.confirm_unless(yes, &question)?;
    }
    context
        .order(&Request::Adopt(AdoptRequest { spec, dry_run }))
        .await
}
