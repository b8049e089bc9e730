//! `muster recover`.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use super::{Context, Failure, ask, show, unexpected};
use crate::api::types::{RecoverOrder, Recovery, Request, Response};
use crate::cli::args::{Global, RecoverArgs};

/// How long founding a log takes at most, where nothing else is said.
const FOUNDING_TIMEOUT: Duration = Duration::from_secs(60);

/// What has to be typed where something speaks for it that missing machines run on.
const THEY_ARE_OFF: &str = "they are off";

pub(super) async fn run(context: &Context<'_>, args: RecoverArgs) -> Result<(), Failure> {
    let found = recovery(context.call(&Request::Recovery).await?)?;
    if args.dry_run {
        return context.out.either(&found, show::recovery);
    }
    let asked = args.yes.is_none();
    if asked && context.out.json {
        return Err(Failure::usage(
            "nobody can be asked in JSON",
            "say --dry-run, or --yes with the cluster's name",
        ));
    }
    if asked {
        context.out.text(&show::recovery(&found, &context.out))?;
    }
    if let Some(obstacle) = found.obstacle {
        return Err(Failure::Api(refused(obstacle, found.remedy)));
    }
    let order = RecoverOrder {
        cluster: match args.yes {
            Some(cluster) => cluster,
            None => typed_name(&found)?,
        },
        plan: asked.then(|| found.plan.clone()),
        despite_doubts: args.they_are_off || (asked && vouched(&found)?),
    };
    let global = Global {
        timeout: Some(context.global.timeout.unwrap_or(FOUNDING_TIMEOUT)),
        ..context.global.clone()
    };
    let client = ask::client(&global).await?;
    let done = recovery(client.call(&Request::Recover(order)).await?)?;
    context.out.either(&done, show::recovered)
}

fn recovery(response: Response) -> Result<Recovery, Failure> {
    match response {
        Response::Recovery(recovery) => Ok(*recovery),
        _ => Err(unexpected()),
    }
}

fn refused(obstacle: String, remedy: Option<String>) -> crate::api::ApiError {
    let error = crate::api::ApiError::refused(obstacle);
    match remedy {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

fn typed_name(found: &Recovery) -> Result<String, Failure> {
    let question = "Type the cluster's name to go on without the machines that are missing:";
    let name = typed(question)?;
    if name == found.cluster {
        Ok(name)
    } else {
        Err(Failure::Declined)
    }
}

/// Whether somebody vouches for machines that may run on; asked only where there are such.
fn vouched(found: &Recovery) -> Result<bool, Failure> {
    if found.doubts.is_empty() {
        return Ok(false);
    }
    let question = format!("Have you made sure of it? Then type `{THEY_ARE_OFF}`:");
    if typed(&question)? == THEY_ARE_OFF {
        Ok(true)
    } else {
        Err(Failure::Declined)
    }
}

/// Asks on standard error for a line. Where nobody sits at a terminal there is none.
fn typed(question: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "nobody sits here to be asked",
            "say --yes with the cluster's name where that is meant, or --dry-run to look only",
        ));
    }
    eprint!("{question} ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::Read::take(io::stdin().lock(), 200).read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}
