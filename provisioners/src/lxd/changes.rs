//! Whether a call has changed something already: an error that says that nothing was done must not come after that.

use std::cell::Cell;
use std::future::Future;

use crate::ProvisionError;

tokio::task_local! {
    static CHANGED: Cell<bool>;
}

/// LXD has accepted a change.
pub(super) fn accepted() {
    set(true);
}

/// It is certain that nothing is left of what was changed.
pub(super) fn taken_back() {
    set(false);
}

fn set(changed: bool) {
    // Only calls that change something keep count.
    let _ = CHANGED.try_with(|cell| cell.set(changed));
}

/// Makes a call that takes several changes.
pub(super) async fn counted<T>(
    call: impl Future<Output = Result<T, ProvisionError>>,
) -> Result<T, ProvisionError> {
    let call = async {
        let done = call.await;
        match CHANGED.with(Cell::get) {
            true => done.map_err(half_done),
            false => done,
        }
    };
    CHANGED.scope(Cell::new(false), call).await
}

/// The same error, where a part has been done.
fn half_done(error: ProvisionError) -> ProvisionError {
    match error {
        ProvisionError::Unavailable(_)
        | ProvisionError::Throttled { .. }
        | ProvisionError::Denied(_)
        | ProvisionError::Capacity(_) => {
            ProvisionError::timeout(format!("going on after a first change ({error})"))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn after(steps: &[fn()]) -> ProvisionError {
        let call = async {
            steps.iter().for_each(|step| step());
            Err::<(), _>(ProvisionError::unavailable("down"))
        };
        counted(call).await.expect_err("an error")
    }

    #[tokio::test]
    async fn after_a_change_no_error_says_that_nothing_was_done() {
        accepted();
        let nothing = ProvisionError::unavailable("down");
        assert_eq!(after(&[]).await, nothing);
        assert_eq!(after(&[accepted, taken_back]).await, nothing);
        let error = after(&[accepted]).await;
        assert!(error.is_outcome_unknown(), "{error}");
        let failed = counted(async {
            accepted();
            Err::<(), _>(ProvisionError::failed("protected"))
        });
        assert_eq!(failed.await, Err(ProvisionError::failed("protected")));
    }
}
