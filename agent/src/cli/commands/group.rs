//! `muster group`.

use super::{Context, Failure, apply, millis, show, unexpected};
use crate::api::types::{Request, Response, ScaleRequest};
use crate::cli::args::GroupCommand;
use crate::spec;

pub(super) async fn run(context: &Context<'_>, command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List => match context.call(&Request::Groups).await? {
            Response::Groups(groups) => context.out.either(&groups, show::groups),
            _ => Err(unexpected()),
        },
        GroupCommand::Show { id, spec } => show_one(context, id, spec).await,
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
