//! `muster apply`: read, plan, ask, do.

use std::path::Path;

use super::{Context, Failure, confirm, show, unexpected};
use crate::api::types::{ApiError, ApplyRequest, Change, Plan, Request, Response};
use crate::cli::args::ApplyArgs;
use crate::fleet::GroupId;
use crate::spec::{self, Registries, Source};

pub(super) async fn run(context: &Context<'_>, args: ApplyArgs) -> Result<(), Failure> {
    let from_stdin = args.files.iter().any(|file| file == Path::new("-"));
    if from_stdin && !args.yes && !args.dry_run {
        return Err(Failure::usage(
            "standard input can't hold both the spec and the answer",
            "say --yes to apply it, or --dry-run to only see what would change",
        ));
    }
    let (specs, sources) = spec::load_placed(&args.files, &Registries::builtin())?;
    let client = context.client().await?;
    let request = ApplyRequest {
        specs,
        dry_run: true,
        expected: Default::default(),
    };
    let placed = |error| placed(&sources, error);
    let answer = client.call(&Request::Apply(request.clone())).await;
    let plan = planned(answer.map_err(placed)?)?;
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
    let answer = client.call(&Request::Apply(request)).await;
    let applied = planned(answer.map_err(placed)?)?;
    tell(context, &applied)
}

/// An error with file and line in front of each problem whose group is in these files.
fn placed(sources: &[Source], mut error: ApiError) -> ApiError {
    for problem in &mut error.problems {
        let path = problem.field.strip_prefix("group.").unwrap_or_default();
        let (id, field) = path.split_once('.').unwrap_or((path, ""));
        let place = GroupId::new(id)
            .ok()
            .and_then(|id| spec::locate(sources, &id, field));
        if let Some((file, line)) = place {
            problem.field = format!("{file}:{line}: {}", problem.field);
        }
    }
    error
}

pub(super) fn planned(response: Response) -> Result<Plan, Failure> {
    match response {
        Response::Plan(plan) => Ok(plan),
        _ => Err(unexpected()),
    }
}

/// Shows a plan or what became of it; a refusal is a failure, told in full where the plan is not for people.
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
        // People have just read why, and what to do instead.
        Some((id, _)) if !context.out.json => Err(Failure::other(format!(
            "group {id} can't be changed so, and nothing was changed"
        ))),
        Some((id, refusal)) => {
            let message = format!("group {id}: {}", refusal.reason);
            Err(ApiError::refused(message)
                .remedy(refusal.remedy.clone())
                .into())
        }
        None => Ok(()),
    }
}
