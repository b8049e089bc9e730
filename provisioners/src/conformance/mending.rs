//! Mending in place, and hardware that failed.

use std::collections::BTreeSet;

use super::{Case, Harness, ids, is_unsupported};
use crate::{Deadline, InstanceState, MachineSpec, Provisioner, tag};

/// The spec of the machine that follows in place of member `a`.
fn successor(case: &Case<'_>, disk: bool) -> MachineSpec {
    let mut spec = if disk {
        case.spec_with_disk("a", "disk")
    } else {
        case.spec("a")
    };
    spec.tags.insert(tag::GENERATION, "2");
    spec
}

/// A reimaged instance is the same piece with another machine on it: the new tags, the same ID and attachments.
pub async fn a_reimage_makes_another_machine_in_its_place(harness: &dyn Harness) {
    let case = Case::new(harness);
    let capabilities = case.provisioner.capabilities();
    let disk = capabilities.attach;
    let first = if disk {
        case.spec_with_disk("a", "disk")
    } else {
        case.spec("a")
    };
    let made = case
        .provisioner
        .provision(&first, &case.op("a", "provision"), case.deadline())
        .await;
    let id = made.expect("made");
    let before = case.until_running(&id).await;
    let (spec, op) = (successor(&case, disk), case.op("a", "reimage"));
    let result = case
        .provisioner
        .reimage(&id, &spec, &op, case.deadline())
        .await;
    if !capabilities.reimage {
        assert!(is_unsupported(&result), "{result:?}");
        assert_eq!(case.until_running(&id).await.tags, before.tags);
        return;
    }
    result.expect("reimaged");
    let after = case.until_running(&id).await;
    assert_eq!(after.tags, spec.tags_for(&op));
    assert_eq!(
        (after.address, after.attachments),
        (before.address, before.attachments)
    );
    assert_eq!(ids(&case.list().await), [&id], "it is still the only one");
    let found = case.provisioner.made_by(&op, case.deadline()).await;
    assert_eq!(
        ids(&found.expect("answered")),
        [&id],
        "found by what it did"
    );
    case.destroy(&id).await;
    case.until_off(&id).await;
}

/// The same operation again, by whomever and after however little time, writes nothing twice; another one does.
pub async fn a_reimage_is_done_once(harness: &dyn Harness) {
    let case = Case::new(harness);
    if !case.provisioner.capabilities().reimage {
        return;
    }
    let id = case.make("a").await;
    case.until_running(&id).await;
    let (spec, op) = (successor(&case, false), case.op("a", "reimage"));
    // Out of time: begun or not, the next call completes it.
    let hasty = Deadline::after(std::time::Duration::ZERO);
    let cut = case.provisioner.reimage(&id, &spec, &op, hasty).await;
    assert!(cut.is_err_and(|error| error.is_retryable()));
    let another = harness.another().await;
    let clients = [&case.provisioner, &another, &case.provisioner];
    for client in clients {
        let done = client.reimage(&id, &spec, &op, case.deadline()).await;
        done.expect("reimaged");
        let now = case.until_running(&id).await;
        assert_eq!(now.tags, spec.tags_for(&op));
    }
    let next = case.op("a", "reimage again");
    let done = case
        .provisioner
        .reimage(&id, &spec, &next, case.deadline())
        .await;
    done.expect("reimaged again");
    let now = case.until_running(&id).await;
    assert_eq!(
        (now.operation(), now.state),
        (Some(next), InstanceState::Running)
    );
}

/// Hardware on which a machine failed is listed, with why, and nothing is made on it until it is released.
pub async fn hardware_that_failed_is_not_picked_again(harness: &dyn Harness) {
    let case = Case::new(harness);
    let provisioner = &case.provisioner;
    let id = case.make("a").await;
    case.until_running(&id).await;
    let before = names(&**provisioner, case.deadline()).await;
    let put = provisioner
        .quarantine(&id, "it fails to boot", case.deadline())
        .await;
    if !provisioner.capabilities().hardware {
        let put = put.map(|_| ());
        assert!(is_unsupported(&put), "{put:?}");
        let released = provisioner.release("x", case.deadline()).await;
        assert!(is_unsupported(&released), "{released:?}");
        assert!(before.is_empty());
        return;
    }
    let named = put.expect("put into quarantine");
    let again = provisioner
        .quarantine(&id, "it fails to boot", case.deadline())
        .await;
    let again = again.expect("it is fine if it is there already");
    assert_eq!(again, named);
    let first = names(&**provisioner, case.deadline()).await;
    let first: Vec<_> = first.difference(&before).cloned().collect();
    let [(hardware, why)] = &first[..] else {
        panic!("one more is in quarantine: {first:?}");
    };
    assert_eq!(why, "it fails to boot");
    assert_eq!(*hardware, named, "it is listed as it was named");
    case.until_running(&id).await;
    case.destroy(&id).await;
    case.until("it has gone", <[_]>::is_empty).await;

    // What is made now is on another piece: a quarantine of its own shows which.
    let other = case.make("b").await;
    case.until_running(&other).await;
    let put = provisioner
        .quarantine(&other, "a second one", case.deadline())
        .await;
    put.expect("put into quarantine");
    let both = names(&*harness.another().await, case.deadline()).await;
    let both: BTreeSet<_> = both.difference(&before).map(|(name, _)| name).collect();
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(both.contains(hardware), "destroying is no release");
    case.destroy(&other).await;
    case.until("it has gone", <[_]>::is_empty).await;

    for hardware in both {
        for _ in 0..2 {
            let released = provisioner.release(hardware, case.deadline()).await;
            released.expect("released, also when it is already");
        }
    }
    assert_eq!(names(&**provisioner, case.deadline()).await, before);
    let unknown = provisioner.release("no such thing", case.deadline()).await;
    assert!(unknown.is_err(), "{unknown:?}");
    let third = case.make("c").await;
    case.until_running(&third).await;
    case.destroy(&third).await;
}

/// All that is in quarantine, with why.
async fn names(provisioner: &dyn Provisioner, deadline: Deadline) -> BTreeSet<(String, String)> {
    let listed = provisioner.quarantined(deadline).await;
    let listed = listed.unwrap_or_else(|error| panic!("listing the quarantine: {error}"));
    let named = listed.into_iter().map(|one| (one.hardware, one.why));
    named.collect()
}
