//! Specs as they arrive, checked whole once more.

use serde_json::json;

use crate::api::ApiError;
use crate::api::types::{ApplyRequest, Problem};
use crate::fleet::limits::SPECS_PER_COMMAND_MAX;
use crate::fleet::{GroupSpec, count};
use crate::spec::{self, Registries, Source, SpecProblem};

/// What specs are called while they are checked; its ending says that they are JSON.
const SOURCE: &str = "request.json";

/// Checks all that the author's own command has checked before it sent the specs: clients may be old, or lie.
///
/// # Errors
/// `invalid`, with everything that is wrong.
pub(super) fn check(request: &ApplyRequest, registries: &Registries) -> Result<(), ApiError> {
    if request.specs.len() > SPECS_PER_COMMAND_MAX {
        let message = format!(
            "{} in one request, and at most {SPECS_PER_COMMAND_MAX} are possible",
            count(request.specs.len(), "group")
        );
        return Err(ApiError::invalid(message).remedy("apply them in several requests"));
    }
    let problems = problems(&request.specs, registries);
    if problems.is_empty() {
        Ok(())
    } else {
        Err(wrong(problems))
    }
}

/// Everything that the reader of spec files finds wrong with specs. What it reads from them must be the same specs:
/// else they say something that no file can say.
fn problems(specs: &[GroupSpec], registries: &Registries) -> Vec<Problem> {
    if specs.is_empty() {
        return Vec::new();
    }
    let documents: Vec<_> = specs.iter().map(spec::document).collect();
    let source = Source {
        name: SOURCE.to_owned(),
        text: json!({ "group": documents }).to_string(),
    };
    match spec::parse(&[source], registries) {
        Ok(read) if read == specs => Vec::new(),
        Ok(_) => vec![Problem {
            field: String::new(),
            message: "the specs are not in their canonical form".into(),
            remedy: Some("send what `muster apply` of the same version sends".into()),
        }],
        Err(error) => error.problems.into_iter().map(problem).collect(),
    }
}

fn problem(problem: SpecProblem) -> Problem {
    Problem {
        field: problem.field,
        message: problem.what,
        remedy: Some(problem.remedy),
    }
}

fn wrong(problems: Vec<Problem>) -> ApiError {
    let message = match problems.as_slice() {
        [only] => format!("the spec can't be used: {}: {}", only.field, only.message),
        several => format!(
            "the specs can't be used: {}",
            count(several.len(), "problem")
        ),
    };
    let mut error = ApiError::invalid(message);
    error.remedy = problems.first().and_then(|first| first.remedy.clone());
    error.problems = problems;
    error
}
