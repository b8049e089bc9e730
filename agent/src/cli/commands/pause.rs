//! `muster pause` and `muster resume`.

use super::{Context, Failure, millis, show, unexpected};
use crate::api::types::{Request, Response};
use crate::cli::args::{PauseArgs, PauseCommand, ResumeArgs};

pub(super) async fn pause(context: &Context<'_>, args: PauseArgs) -> Result<(), Failure> {
    if let Some(PauseCommand::List) = args.command {
        return match context.call(&Request::PauseList).await? {
            Response::Pauses(pauses) => context.out.either(&pauses, show::pauses),
            _ => Err(unexpected()),
        };
    }
    let request = Request::Pause {
        id: args.place.group,
        zone: args.place.zone,
        machine: args.place.machine,
        name: args.name,
        reason: args.reason,
        for_ms: args.period.map(millis),
    };
    context.order(&request).await
}

pub(super) async fn resume(context: &Context<'_>, args: ResumeArgs) -> Result<(), Failure> {
    let request = Request::Resume {
        id: args.place.group,
        zone: args.place.zone,
        machine: args.place.machine,
        name: args.name,
    };
    context.order(&request).await
}
