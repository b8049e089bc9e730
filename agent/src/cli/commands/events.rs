//! `muster events`.

use super::{Context, Failure, show, unexpected};
use crate::api::types::{EventsRequest, Request, Response};
use crate::cli::args::EventsArgs;

/// So many past events come before those that are followed.
const PAST_DEFAULT: u32 = 10;

pub(super) async fn run(context: &Context<'_>, args: EventsArgs) -> Result<(), Failure> {
    let since_ms = args.since.map(|since| context.since_ms(since));
    let default = (args.follow && since_ms.is_none()).then_some(PAST_DEFAULT);
    let request = EventsRequest {
        follow: args.follow,
        after: None,
        since_ms,
        limit: args.limit.or(default),
    };
    if args.follow {
        return follow(context, request).await;
    }
    let Response::Events(events) = context.call(&Request::Events(request)).await? else {
        return Err(unexpected());
    };
    if !context.out.json {
        let none_asked_for = args.limit == Some(0);
        if events.items.is_empty() && !none_asked_for {
            return context.out.text("nothing happened in that time");
        }
        return events.items.iter().try_for_each(|event| {
            let line = show::event(event, &context.out);
            context.out.text(&context.out.paint.fold(&line))
        });
    }
    let mut items = events.items.iter();
    items.try_for_each(|event| context.out.json(event))
}

async fn follow(context: &Context<'_>, request: EventsRequest) -> Result<(), Failure> {
    let mut events = context.client().await?.follow(request).await?;
    while let Some(event) = events.next().await? {
        context.out.either(&event, show::event)?;
    }
    Ok(())
}
