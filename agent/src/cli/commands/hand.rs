//! Orders by hand.

use std::time::Duration;

use super::{Context, Failure, millis, show, unexpected};
use crate::api::types::{AskRequest, Deed, OrderDetail, OrderState, Request, Response};
use crate::cli::args::HandArgs;

/// How often an order that is waited for is looked at.
const LOOKS_APART: Duration = Duration::from_millis(500);

/// How many answers in a row may fail while an order is waited for: a leader that falls is followed by another one within
/// seconds, and the asked machine may be the one that is rebooted.
const MISSES_MAX: u32 = 60;

pub(super) async fn order(
    context: &Context<'_>,
    what: Deed,
    args: HandArgs,
) -> Result<(), Failure> {
    let request = Request::Ask(AskRequest {
        name: args.name,
        what,
        reason: args.reason,
        for_ms: args.period.map(millis),
        force: args.force,
    });
    let detail = asked(context.call(&request).await?)?;
    if !args.wait {
        return context.out.either(&detail, show::order);
    }
    if !context.out.json {
        context.out.either(&detail, show::order)?;
    }
    let ended = follow(context, detail).await?;
    if context.out.json {
        context.out.either(&ended, show::order)?;
    }
    match ended.order.state {
        OrderState::Done => Ok(()),
        state => Err(Failure::other(format!(
            "order {}, to {} {}: {state}: {}",
            ended.order.order, ended.order.what, ended.order.machine, ended.order.detail
        ))),
    }
}

/// Says how an order goes, each piece of news once, until it is over.
async fn follow(context: &Context<'_>, mut detail: OrderDetail) -> Result<OrderDetail, Failure> {
    let mut said = String::new();
    let mut misses = 0;
    let request = Request::Order {
        order: detail.order.order,
    };
    loop {
        let says = show::progress(&detail);
        if says != said && !context.out.json {
            context.out.text(&says)?;
        }
        said = says;
        if detail.order.state.is_over() {
            return Ok(detail);
        }
        tokio::time::sleep(LOOKS_APART).await;
        match context.call(&request).await {
            Ok(response) => {
                misses = 0;
                detail = asked(response)?;
            }
            Err(failure) => {
                misses += 1;
                if misses >= MISSES_MAX {
                    return Err(failure);
                }
            }
        }
    }
}

fn asked(response: Response) -> Result<OrderDetail, Failure> {
    match response {
        Response::Order(detail) => Ok(*detail),
        _ => Err(unexpected()),
    }
}

pub(super) async fn show_one(context: &Context<'_>, order: u64) -> Result<(), Failure> {
    let detail = asked(context.call(&Request::Order { order }).await?)?;
    context.out.either(&detail, show::order)
}
