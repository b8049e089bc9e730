//! Refusals of the fleet state, in the API's words.

use crate::api::types::Problem;
use crate::api::{ApiError, ErrorKind};
use crate::fleet::Refusal;

/// What a refused command is to the one who asked.
pub(super) fn refused(refusal: &Refusal) -> ApiError {
    // Where a refusal knows what to do instead, it says so after a semicolon.
    let text = refusal.to_string();
    let (message, remedy) = match text.split_once("; ") {
        Some((message, remedy)) => (message.to_owned(), Some(remedy.to_owned())),
        None => (text, None),
    };
    let mut error = ApiError::new(kind(refusal), message);
    error.problems.extend(problem(refusal, remedy.as_deref()));
    match remedy.or_else(|| known_remedy(refusal)) {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

/// Which field of what was sent is wrong, where that is known: whoever has the file can say in which line it is.
fn problem(refusal: &Refusal, remedy: Option<&str>) -> Option<Problem> {
    match refusal {
        Refusal::PetNameInUse { group, name, other } => Some(Problem {
            field: format!("group.{group}.members"),
            message: format!("{name} would have the name of {other}"),
            remedy: remedy.map(str::to_owned),
        }),
        _ => None,
    }
}

fn kind(refusal: &Refusal) -> ErrorKind {
    match refusal {
        Refusal::Unreadable(_) => ErrorKind::Internal,
        Refusal::NotFounded => ErrorKind::Unavailable,
        Refusal::Invalid(_) | Refusal::TooMany { .. } | Refusal::PetNameInUse { .. } => {
            ErrorKind::Invalid
        }
        Refusal::NoGroup(_)
        | Refusal::NoMachine(_)
        | Refusal::NoDecision(_)
        | Refusal::NoSeat(_)
        | Refusal::NoOperator(_)
        | Refusal::NoIntent(_) => ErrorKind::NotFound,
        Refusal::RevisionMoved { .. }
        | Refusal::TokenExists(_)
        | Refusal::Stale(_)
        | Refusal::StaleProgress { .. } => ErrorKind::Conflict,
        _ => ErrorKind::Refused,
    }
}

fn known_remedy(refusal: &Refusal) -> Option<String> {
    let remedy = match refusal {
        Refusal::NoGroup(_) => "`muster group list` shows the groups",
        Refusal::NoMachine(_) => "`muster status` shows the machines",
        Refusal::NoDecision(_) => "`muster decisions` lists the latest",
        Refusal::NoOperator(_) => "`muster operator list` shows the operators",
        Refusal::NotPaused(_) => "`muster status` shows what is paused",
        Refusal::TokenInvalid(_) => "`muster token list` shows the tokens",
        Refusal::NothingToApprove { .. } => "`muster status` shows what waits for approval",
        Refusal::NotFounded => "wait until this machine has a copy of the fleet state",
        _ => return None,
    };
    Some(remedy.to_owned())
}
