//! Restarting, stopping, destroying, and what can be proven.

use super::{Case, Harness, ids, is_unsupported};
use crate::{Destroyed, InstanceState, Proof, ProvisionError};

/// What is destroyed is no longer listed and is proven off; doing it again says that it has gone.
pub async fn destroying_twice_is_fine(harness: &dyn Harness) {
    let case = Case::new(harness);
    let (id, other) = (case.make("a").await, case.make("b").await);
    case.until_running(&id).await;
    case.until_running(&other).await;
    let op = case.op("a", "destroy");
    let first = case.provisioner.destroy(&id, &op, case.deadline()).await;
    assert_eq!(first, Ok(Destroyed::Destroyed));
    case.until_off(&id).await;
    case.until("only the other is listed", |list| ids(list) == [&other])
        .await;
    let another = harness.another().await;
    for client in [&case.provisioner, &another] {
        let again = client.destroy(&id, &op, case.deadline()).await;
        assert_eq!(again, Ok(Destroyed::AlreadyGone));
    }
    case.until_running(&other).await;
}

/// Of an instance that isn't there nothing is claimed but that.
pub async fn what_is_missing_is_said_so(harness: &dyn Harness) {
    let case = Case::new(harness);
    let missing = harness.missing();
    let op = case.op("missing", "destroy");
    let destroyed = case
        .provisioner
        .destroy(&missing, &op, case.deadline())
        .await;
    assert_eq!(destroyed, Ok(Destroyed::AlreadyGone));
    let not_found = Err(ProvisionError::NotFound(missing.clone()));
    let provisioner = &case.provisioner;
    for result in [
        provisioner.reboot(&missing, case.deadline()).await,
        provisioner.power_cycle(&missing, case.deadline()).await,
        provisioner
            .reimage(&missing, &case.spec("missing"), &op, case.deadline())
            .await,
        provisioner
            .quarantine(&missing, "a test", case.deadline())
            .await
            .map(|_| ()),
        provisioner.stop(&missing, case.deadline()).await,
        provisioner.start(&missing, case.deadline()).await,
    ] {
        assert!(result == not_found || is_unsupported(&result), "{result:?}");
    }
    let proof = provisioner
        .prove_off(&missing, case.deadline())
        .await
        .expect("answered");
    assert_ne!(proof, Proof::Running);
}

/// Nothing that runs is called off.
pub async fn a_running_instance_is_not_proven_off(harness: &dyn Harness) {
    let case = Case::new(harness);
    let id = case.make("a").await;
    case.until_running(&id).await;
    let proof = case
        .provisioner
        .prove_off(&id, case.deadline())
        .await
        .expect("answered");
    assert!(!proof.is_off(), "{proof:?}");
}

/// After a reboot it is the same machine.
pub async fn a_reboot_keeps_the_machine(harness: &dyn Harness) {
    let case = Case::new(harness);
    let id = case.make("a").await;
    let before = case.until_running(&id).await;
    let result = case.provisioner.reboot(&id, case.deadline()).await;
    if !case.provisioner.capabilities().reboot {
        assert!(is_unsupported(&result), "{result:?}");
        return;
    }
    result.expect("rebooted");
    let after = case.until_running(&id).await;
    assert_eq!((after.tags, after.address), (before.tags, before.address));
    assert_eq!(case.list().await.len(), 1);
}

/// After a power cycle it is the same machine.
pub async fn a_power_cycle_keeps_the_machine(harness: &dyn Harness) {
    let case = Case::new(harness);
    let id = case.make("a").await;
    let before = case.until_running(&id).await;
    let result = case.provisioner.power_cycle(&id, case.deadline()).await;
    if !case.provisioner.capabilities().power_cycle {
        assert!(is_unsupported(&result), "{result:?}");
        return;
    }
    result.expect("power-cycled");
    let after = case.until_running(&id).await;
    assert_eq!((after.tags, after.address), (before.tags, before.address));
}

/// Stopped means proven off, stays so, and can be undone; both may be repeated.
pub async fn a_stopped_machine_is_proven_off_and_starts_again(harness: &dyn Harness) {
    let case = Case::new(harness);
    let id = case.make("a").await;
    let before = case.until_running(&id).await;
    let capabilities = case.provisioner.capabilities();
    let stopped = case.provisioner.stop(&id, case.deadline()).await;
    if !capabilities.stop_start {
        assert!(is_unsupported(&stopped), "{stopped:?}");
        return;
    }
    stopped.expect("stopped");
    case.provisioner
        .stop(&id, case.deadline())
        .await
        .expect("stopped again");
    if capabilities.prove_off {
        case.until_off(&id).await;
    }
    let list = case.list().await;
    assert_eq!(
        (ids(&list), list[0].state),
        (vec![&id], InstanceState::Stopped)
    );
    case.provisioner
        .start(&id, case.deadline())
        .await
        .expect("started");
    case.provisioner
        .start(&id, case.deadline())
        .await
        .expect("started again");
    let after = case.until_running(&id).await;
    assert_eq!((after.tags, after.address), (before.tags, before.address));
    let proof = case
        .provisioner
        .prove_off(&id, case.deadline())
        .await
        .expect("answered");
    assert!(!proof.is_off(), "{proof:?}");
}

/// A machine that fails by itself is listed as stopped and, where that is possible, proven off.
pub async fn a_killed_machine_is_seen_and_proven_off(harness: &dyn Harness) {
    let case = Case::new(harness);
    let id = case.make("a").await;
    let instance = case.until_running(&id).await;
    if !harness.kill(&instance).await {
        return;
    }
    case.until("it is seen stopped", |list| {
        list.iter()
            .all(|instance| instance.state == InstanceState::Stopped)
    })
    .await;
    if case.provisioner.capabilities().prove_off {
        case.until_off(&id).await;
    }
    case.destroy(&id).await;
    case.until("it has gone", <[_]>::is_empty).await;
}

/// Two machines never hold one attachment at the same time.
pub async fn an_attachment_moves_only_after_its_holder_is_off(harness: &dyn Harness) {
    let case = Case::new(harness);
    let capabilities = case.provisioner.capabilities();
    if !capabilities.attach {
        return;
    }
    let (first_spec, second_spec) = (
        case.spec_with_disk("a", "disk"),
        case.spec_with_disk("b", "disk"),
    );
    let (first_op, second_op) = (case.op("a", "provision"), case.op("b", "provision"));
    let first = case
        .provisioner
        .provision(&first_spec, &first_op, case.deadline())
        .await;
    let first = first.expect("made");
    let holder = case.until_running(&first).await;
    assert_eq!(holder.attachments, first_spec.attachments);

    let refused = case
        .provisioner
        .provision(&second_spec, &second_op, case.deadline())
        .await;
    match refused {
        Err(ProvisionError::Held { attachment, holder }) => {
            assert_eq!(
                (attachment, &holder),
                (first_spec.attachments[0].id.clone(), &first)
            );
        }
        other => panic!("it was not refused: {other:?}"),
    }
    assert_eq!(
        ids(&case.list().await),
        [&first],
        "a refused call leaves nothing"
    );

    case.destroy(&first).await;
    case.until_off(&first).await;
    let second = case
        .provisioner
        .provision(&second_spec, &second_op, case.deadline())
        .await;
    let second = second.expect("the attachment is free");
    let successor = case.until_running(&second).await;
    assert_eq!(successor.attachments, second_spec.attachments);

    if capabilities.stop_start {
        hand_over_by_stopping(&case, &second).await;
    }
}

/// A holder that is only stopped gives the attachment up as well, and can't come back while another has it.
async fn hand_over_by_stopping(case: &Case<'_>, second: &crate::InstanceId) {
    case.provisioner
        .stop(second, case.deadline())
        .await
        .expect("stopped");
    case.until_off(second).await;
    let spec = case.spec_with_disk("c", "disk");
    let third = case
        .provisioner
        .provision(&spec, &case.op("c", "provision"), case.deadline())
        .await;
    let third = third.expect("the attachment is free");
    case.until_running(&third).await;
    let back = case.provisioner.start(second, case.deadline()).await;
    assert!(matches!(back, Err(ProvisionError::Held { .. })), "{back:?}");
}
