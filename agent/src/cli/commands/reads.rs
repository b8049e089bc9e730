//! Commands that only ask.

use async_trait::async_trait;

use super::{Context, Failure, show, unexpected};
use crate::api::client::Client;
use crate::api::types::{ApiError, Request, Response};
use crate::cli::args::{DecisionsArgs, ReportArgs, StatusArgs};
use crate::cli::output::Paint;
use crate::dashboard::{self, Nodes};

pub(super) async fn status(context: &Context<'_>, args: StatusArgs) -> Result<(), Failure> {
    if args.watch {
        return dashboard::watch(&Asked(context)).await;
    }
    let Response::Status(status) = context.call(&Request::Status).await? else {
        return Err(unexpected());
    };
    context.out.either(&*status, show::status)?;
    let complaints = status.complaints();
    if args.check && !complaints.is_empty() {
        return Err(Failure::NotHealthy(complaints));
    }
    Ok(())
}

/// Whom the flags mean; looked up anew whenever the last one is lost.
struct Asked<'a>(&'a Context<'a>);

#[async_trait]
impl Nodes for Asked<'_> {
    async fn connect(&self) -> Result<Client, ApiError> {
        self.0.client().await.map_err(|failure| match failure {
            Failure::Api(error) => error,
            other => ApiError::internal(other.report(false, Paint::default())),
        })
    }
}

pub(super) async fn members(context: &Context<'_>) -> Result<(), Failure> {
    match context.call(&Request::Members).await? {
        Response::Members(members) => context.out.either(&members, show::members),
        _ => Err(unexpected()),
    }
}

pub(super) async fn machine(context: &Context<'_>, name: String) -> Result<(), Failure> {
    match context.call(&Request::Machine { name }).await? {
        Response::Machine(machine) => context.out.either(&*machine, show::machine),
        _ => Err(unexpected()),
    }
}

pub(super) async fn last_words(context: &Context<'_>, name: String) -> Result<(), Failure> {
    match context.call(&Request::LastWords { name }).await? {
        Response::LastWords(words) => context.out.either(&*words, show::last_words),
        _ => Err(unexpected()),
    }
}

pub(super) async fn coordinators(context: &Context<'_>) -> Result<(), Failure> {
    match context.call(&Request::Coordinators).await? {
        Response::Coordinators(coordinators) => {
            context.out.either(&coordinators, show::coordinators)
        }
        _ => Err(unexpected()),
    }
}

pub(super) async fn health(context: &Context<'_>) -> Result<(), Failure> {
    match context.call(&Request::Health).await? {
        Response::Health(health) => context.out.either(&health, show::health),
        _ => Err(unexpected()),
    }
}

pub(super) async fn explain(context: &Context<'_>, subject: String) -> Result<(), Failure> {
    match context.call(&Request::Explain { subject }).await? {
        Response::Explain(explanation) => context.out.either(&*explanation, show::explanation),
        _ => Err(unexpected()),
    }
}

pub(super) async fn decisions(context: &Context<'_>, args: DecisionsArgs) -> Result<(), Failure> {
    let DecisionsArgs {
        machine,
        group,
        limit,
    } = args;
    let request = Request::Decisions {
        machine,
        group,
        limit: Some(limit),
    };
    match context.call(&request).await? {
        Response::Decisions(decisions) => context.out.either(&decisions, show::decisions),
        _ => Err(unexpected()),
    }
}

pub(super) async fn report(context: &Context<'_>, args: ReportArgs) -> Result<(), Failure> {
    let since_ms = args.since.map(|since| context.since_ms(since));
    match context.call(&Request::Report { since_ms }).await? {
        Response::Report(report) => context.out.either(&*report, show::report),
        _ => Err(unexpected()),
    }
}

pub(super) async fn metrics(context: &Context<'_>) -> Result<(), Failure> {
    match context.call(&Request::Metrics).await? {
        Response::Metrics(metrics) => context
            .out
            .either(&metrics, |metrics, _| metrics.text.clone()),
        _ => Err(unexpected()),
    }
}
