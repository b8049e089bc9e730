//! Making and finding: one operation, one instance.

use super::{Case, Harness, Trouble, ids};
use crate::{Deadline, Idempotency, InstanceState, OperationId, ProvisionError, Tags, tag};
use std::time::Duration;

/// The same operation again gives the same instance, and so does another client's.
pub async fn one_operation_makes_one_instance(harness: &dyn Harness) {
    let case = Case::new(harness);
    let first = case.make("a").await;
    assert_eq!(case.make("a").await, first, "the second call");
    case.until("it is listed", |list| ids(list) == [&first])
        .await;
    let another = harness.another().await;
    let op = case.op("a", "provision");
    let again = another
        .provision(&case.spec("a"), &op, case.deadline())
        .await;
    assert_eq!(again, Ok(first.clone()), "another client's call");
    let other = case.make("b").await;
    assert_ne!(other, first, "another operation");
    case.until("both are listed", |list| list.len() == 2).await;
}

/// Calls with one operation at the same moment, from two clients, make one instance.
pub async fn simultaneous_calls_make_one_instance(harness: &dyn Harness) {
    let case = Case::new(harness);
    if case.provisioner.capabilities().idempotency != Idempotency::Native {
        return;
    }
    let another = harness.another().await;
    let (spec, op) = (case.spec("a"), case.op("a", "provision"));
    let call = |client: std::sync::Arc<dyn crate::Provisioner>| {
        let (spec, op, deadline) = (spec.clone(), op.clone(), case.deadline());
        tokio::spawn(async move { client.provision(&spec, &op, deadline).await })
    };
    let calls: Vec<_> = (0..4)
        .map(|turn| {
            call(if turn % 2 == 0 {
                case.provisioner.clone()
            } else {
                another.clone()
            })
        })
        .collect();
    let mut made = Vec::new();
    for call in calls {
        made.push(call.await.expect("no panic").expect("made"));
    }
    made.dedup();
    assert_eq!(made.len(), 1, "{made:?}");
    let running = |list: &[crate::Instance]| {
        ids(list) == [&made[0]] && list[0].state == InstanceState::Running
    };
    case.until("one is listed and runs", running).await;
}

/// What was made although its answer never came is found by its operation, and adopted by the same call.
pub async fn a_lost_answer_is_found_again(harness: &dyn Harness) {
    let case = Case::new(harness);
    let op = case.op("a", "provision");
    let lossy = harness.inject(Trouble::LostAnswers).await;
    let answer = case
        .provisioner
        .provision(&case.spec("a"), &op, case.deadline())
        .await;
    if lossy {
        let error = answer.expect_err("its answer is lost");
        assert!(error.is_outcome_unknown(), "{error}");
        harness.mend().await;
    }
    let filter = case.ours().with(tag::OPERATION, op.as_str());
    let list = case.until("it is listed", |list| list.len() == 1).await;
    assert!(list[0].tags.matches(&filter), "{:?}", list[0].tags);
    assert_eq!(list[0].operation(), Some(op.clone()));
    let made = case.provisioner.made_by(&op, case.deadline()).await;
    assert_eq!(ids(&made.expect("answered")), [&list[0].id]);
    let again = case
        .provisioner
        .provision(&case.spec("a"), &op, case.deadline())
        .await;
    assert_eq!(again.as_ref(), Ok(&list[0].id));
    assert_eq!(case.list().await.len(), 1);
}

/// A call that has no time comes back at once, and the same operation makes one instance later.
pub async fn a_passed_deadline_leaves_at_most_one(harness: &dyn Harness) {
    let case = Case::new(harness);
    let op = case.op("a", "provision");
    for budget in [0, 1, 3, 10] {
        let begun = tokio::time::Instant::now();
        let deadline = Deadline::after(Duration::from_millis(budget));
        match case
            .provisioner
            .provision(&case.spec("a"), &op, deadline)
            .await
        {
            Ok(_) => {}
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "it took {:?}",
            begun.elapsed()
        );
    }
    let id = case.make("a").await;
    case.until_running(&id).await;
    assert_eq!(ids(&case.list().await), [&id]);
}

/// An operation that was carried out is not carried out again because its instance has gone.
pub async fn an_operation_is_not_repeated_after_its_instance_was_destroyed(harness: &dyn Harness) {
    let case = Case::new(harness);
    if case.provisioner.capabilities().idempotency != Idempotency::Native {
        return;
    }
    let id = case.make("a").await;
    case.destroy(&id).await;
    case.until("it has gone", <[_]>::is_empty).await;
    assert_eq!(case.make("a").await, id);
    assert_eq!(case.list().await, []);
}

/// Bad properties are refused, purely and by the call itself, each with its field and a remedy, and make nothing.
pub async fn bad_properties_are_refused_with_every_field(harness: &dyn Harness) {
    let case = Case::new(harness);
    assert_eq!(case.provisioner.validate(&harness.properties()), []);
    for (bad, field) in harness.bad_properties() {
        let problems = case.provisioner.validate(&bad);
        assert!(
            problems.iter().any(|problem| problem.field == field),
            "{bad}: {problems:?}"
        );
        for problem in &problems {
            assert!(
                !problem.reason.is_empty() && !problem.remedy.is_empty(),
                "{problem:?}"
            );
        }
        let mut spec = case.spec("a");
        spec.properties = bad;
        let op = case.op("a", "provision");
        let made = case
            .provisioner
            .provision(&spec, &op, case.deadline())
            .await;
        assert!(matches!(made, Err(ProvisionError::Invalid(_))), "{made:?}");
    }
    assert_eq!(case.list().await, []);
}

/// All tags come back as they were given, and with them the operation.
pub async fn tags_survive(harness: &dyn Harness) {
    let case = Case::new(harness);
    let mut spec = case.spec("a");
    spec.tags.extend([
        ("tier", "web front"),
        ("owner", "größe/5 = \"x\""),
        ("empty", ""),
    ]);
    let op = case.op("a", "provision");
    let id = case
        .provisioner
        .provision(&spec, &op, case.deadline())
        .await
        .expect("made");
    let instance = case.until_running(&id).await;
    assert_eq!(instance.tags, spec.tags_for(&op));
}

/// Only instances with all the tags that are asked for are listed: no other cluster's, ever.
pub async fn the_list_shows_only_what_is_asked_for(harness: &dyn Harness) {
    let (case, neighbour) = (Case::new(harness), Case::new(harness));
    let ours = case.make("a").await;
    let other = case.make("b").await;
    let theirs = neighbour.make("a").await;
    case.until("ours are listed", |list| list.len() == 2).await;
    let list = neighbour
        .until("theirs is listed", |list| !list.is_empty())
        .await;
    assert_eq!(ids(&list), [&theirs]);
    let one = case.ours().with(tag::MEMBER, "b");
    let list = case
        .provisioner
        .describe(&one, case.deadline())
        .await
        .expect("listed");
    assert_eq!(ids(&list), [&other]);
    let everything = case
        .provisioner
        .describe(&Tags::new(), case.deadline())
        .await
        .expect("listed");
    for id in [&ours, &other, &theirs] {
        assert!(ids(&everything).contains(&id), "{id} is missing");
    }
    let nobody = OperationId::derive("nobody", "", "", 0, "");
    let none = Tags::new().with(tag::OPERATION, nobody.as_str());
    assert_eq!(
        case.provisioner.describe(&none, case.deadline()).await,
        Ok(Vec::new())
    );
}
