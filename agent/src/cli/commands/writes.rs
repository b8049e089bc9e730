//! Single orders that need a word more than "do it".

use super::{Context, Failure, unexpected};
use crate::api::types::{LogFilter, Request, Response};

pub(super) async fn forget(context: &Context<'_>, name: String, yes: bool) -> Result<(), Failure> {
    let question = format!(
        "{name} is taken off the roster, whether it still runs or not. Is it certain to be gone?"
    );
    context.confirm_unless(yes, &question)?;
    context.order(&Request::MachineForget { name }).await
}

pub(super) async fn leave(context: &Context<'_>, yes: bool) -> Result<(), Failure> {
    context.confirm_unless(yes, "The asked machine leaves the mesh for good. Sure?")?;
    context.order(&Request::Leave).await
}

pub(super) async fn log_level(
    context: &Context<'_>,
    filter: Option<String>,
) -> Result<(), Failure> {
    let Response::LogLevel(answer) = context.call(&Request::LogLevel { filter }).await? else {
        return Err(unexpected());
    };
    context.out.either(
        &answer,
        |LogFilter { filter, previous }, _| match previous {
            Some(previous) => format!("{filter} (was {previous})"),
            None => filter.clone(),
        },
    )
}
