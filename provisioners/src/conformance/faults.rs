//! A back end in trouble.

use std::time::Duration;

use super::{Case, Harness, Trouble, ids};
use crate::{Deadline, ProvisionError};

/// Nothing is wrong with a back end with which nothing is wrong.
pub async fn a_healthy_back_end_says_so(harness: &dyn Harness) {
    let case = Case::new(harness);
    assert_eq!(case.provisioner.check(case.deadline()).await, Ok(()));
}

/// While the back end is down every call fails in a way that may be retried, an empty list among them, and nothing is
/// made; afterwards everything works without building anything anew.
pub async fn an_outage_is_an_error_and_ends(harness: &dyn Harness) {
    let case = Case::new(harness);
    let id = case.make("a").await;
    case.until_running(&id).await;
    if !harness.inject(Trouble::Down).await {
        return;
    }
    let op = case.op("b", "provision");
    let failed = case
        .provisioner
        .provision(&case.spec("b"), &op, case.deadline())
        .await;
    assert!(failed.expect_err("down").is_retryable());
    let list = case
        .provisioner
        .describe(&case.ours(), case.deadline())
        .await;
    assert!(list.expect_err("an outage is no empty list").is_retryable());
    let destroyed = case
        .provisioner
        .destroy(&id, &case.op("a", "destroy"), case.deadline())
        .await;
    assert!(destroyed.expect_err("down").is_retryable());
    if let Ok(proof) = case.provisioner.prove_off(&id, case.deadline()).await {
        assert!(!proof.is_off(), "{proof:?}");
    }
    assert!(case.provisioner.check(case.deadline()).await.is_err());
    harness.mend().await;
    assert_eq!(case.provisioner.check(case.deadline()).await, Ok(()));
    assert_eq!(ids(&case.list().await), [&id]);
    case.make("b").await;
    case.until("both are listed", |list| list.len() == 2).await;
}

/// Throttling is told as such, or waited out by the provisioner itself.
pub async fn throttling_is_told_and_retried(harness: &dyn Harness) {
    let case = Case::new(harness);
    if !harness.inject(Trouble::Throttling).await {
        return;
    }
    let op = case.op("a", "provision");
    let deadline = Deadline::after(Duration::from_secs(1));
    if let Err(error) = case
        .provisioner
        .provision(&case.spec("a"), &op, deadline)
        .await
    {
        assert!(
            matches!(
                error,
                ProvisionError::Throttled { .. } | ProvisionError::Timeout(_)
            ),
            "{error}"
        );
    }
    harness.mend().await;
    let id = case.make("a").await;
    case.until("one is listed", |list| ids(list) == [&id]).await;
}

/// A call to a back end that doesn't answer comes back at its deadline, its outcome unknown.
pub async fn a_back_end_that_hangs_is_cut_off_at_the_deadline(harness: &dyn Harness) {
    let case = Case::new(harness);
    if !harness.inject(Trouble::Hanging).await {
        return;
    }
    let op = case.op("a", "provision");
    let begun = tokio::time::Instant::now();
    let deadline = Deadline::after(Duration::from_millis(500));
    let error = case
        .provisioner
        .provision(&case.spec("a"), &op, deadline)
        .await
        .expect_err("hangs");
    assert!(error.is_outcome_unknown(), "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        begun.elapsed()
    );
    let deadline = Deadline::after(Duration::from_millis(500));
    assert!(
        case.provisioner
            .describe(&case.ours(), deadline)
            .await
            .is_err()
    );
    harness.mend().await;
    let id = case.make("a").await;
    case.until("one is listed", |list| ids(list) == [&id]).await;
}

/// Refused credentials are told as such, so that nobody retries for ever.
pub async fn bad_credentials_are_denied(harness: &dyn Harness) {
    let case = Case::new(harness);
    if !harness.inject(Trouble::BadCredentials).await {
        return;
    }
    let op = case.op("a", "provision");
    let error = case
        .provisioner
        .provision(&case.spec("a"), &op, case.deadline())
        .await;
    let error = error.expect_err("refused");
    assert!(
        matches!(error, ProvisionError::Denied(_)) && !error.is_retryable(),
        "{error}"
    );
    let list = case
        .provisioner
        .describe(&case.ours(), case.deadline())
        .await;
    assert!(matches!(list, Err(ProvisionError::Denied(_))), "{list:?}");
    harness.mend().await;
    assert_eq!(case.list().await, []);
}
