//! `muster apply`: read, plan, ask, do.

use std::path::Path;

use super::{Context, Failure, confirm, show, unexpected};
use crate::api::types::{ApiError, ApplyRequest, Change, Plan, Request, Response};
use crate::cli::args::ApplyArgs;
use crate::spec::{self, Registries};

pub(super) async fn run(context: &Context<'_>, args: ApplyArgs) -> Result<(), Failure> {
    let from_stdin = args.files.iter().any(|file| file == Path::new("-"));
    if from_stdin && !args.yes && !args.dry_run {
        return Err(Failure::usage(
            "standard input can't hold both the spec and the answer",
            "say --yes to apply it, or --dry-run to only see what would change",
        ));
    }
    let specs = spec::load(&args.files, &Registries::builtin())?;
    let client = context.client().await?;
    let request = ApplyRequest {
        specs,
        dry_run: true,
        expected: Default::default(),
    };
    let plan = planned(client.call(&Request::Apply(request.clone())).await?)?;
    let nothing_to_do = plan.is_empty() || plan.refusal().is_some();
    if args.dry_run || nothing_to_do {
        return tell(context, &plan);
    }
    if !args.yes {
        // On standard error, as the question: standard output is for what was done.
        eprint!("{}", show::plan(&plan, &context.out));
        confirm("Apply this?")?;
    }
    let expected = plan
        .groups
        .iter()
        .map(|group| (group.id.clone(), group.revision))
        .collect();
    let request = ApplyRequest {
        dry_run: false,
        expected,
        ..request
    };
    let applied = planned(client.call(&Request::Apply(request)).await?)?;
    tell(context, &applied)
}

pub(super) fn planned(response: Response) -> Result<Plan, Failure> {
    match response {
        Response::Plan(plan) => Ok(plan),
        _ => Err(unexpected()),
    }
}

/// Shows a plan or what became of it; a refusal is a failure.
pub(super) fn tell(context: &Context<'_>, plan: &Plan) -> Result<(), Failure> {
    context.out.either(plan, |plan, out| {
        let mut text = show::plan(plan, out);
        if plan.applied && !plan.is_empty() {
            let changed = plan
                .groups
                .iter()
                .filter(|group| group.change != Change::Unchanged);
            let ids: Vec<_> = changed.map(|group| group.id.as_str()).collect();
            text += &format!(
                "applied to {}; `muster status --watch` shows it happen\n",
                ids.join(", ")
            );
        }
        text
    })?;
    match plan.refusal() {
        Some((id, refusal)) => {
            let message = format!("group {id}: {}", refusal.reason);
            Err(ApiError::refused(message)
                .remedy(refusal.remedy.clone())
                .into())
        }
        None => Ok(()),
    }
}
