use super::*;
use crate::tag;

fn op(step: &str) -> OperationId {
    OperationId::derive("c", "g", "m", 1, step)
}

fn spec() -> MachineSpec {
    let mut spec = MachineSpec::new("m", Properties::new());
    spec.tags.insert(tag::CLUSTER, "c");
    spec
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

#[tokio::test(start_paused = true)]
async fn faults_say_one_thing_and_do_another() {
    let fake = Fake::new();
    let refused = ProvisionError::Throttled { retry_after: None };
    let lied = ProvisionError::failed("no");
    fake.inject(
        Call::Provision,
        [
            Fault::Refuse(refused.clone()),
            Fault::LoseRequest,
            Fault::LoseAnswer,
            Fault::FailAfter(lied.clone()),
            Fault::Hang,
        ],
    );
    assert_eq!(
        fake.provision(&spec(), &op("1"), soon()).await,
        Err(refused)
    );
    let lost = fake
        .provision(&spec(), &op("1"), soon())
        .await
        .expect_err("lost");
    assert!(lost.is_outcome_unknown());
    assert!(fake.instances().is_empty());
    let lost = fake
        .provision(&spec(), &op("1"), soon())
        .await
        .expect_err("lost");
    assert!(lost.is_outcome_unknown());
    assert_eq!(fake.instances().len(), 1);
    assert_eq!(fake.provision(&spec(), &op("2"), soon()).await, Err(lied));
    assert_eq!(fake.instances().len(), 2);
    let deadline = soon();
    let late = fake
        .provision(&spec(), &op("3"), deadline)
        .await
        .expect_err("hangs");
    assert!(late.is_outcome_unknown() && deadline.has_passed());
    assert_eq!(fake.instances().len(), 3);
    let found = fake
        .provision(&spec(), &op("1"), soon())
        .await
        .expect("found");
    assert_eq!(found.as_str(), "f-000001");
    assert_eq!((fake.acts().len(), fake.calls(Call::Provision)), (3, 6));
}

#[tokio::test(start_paused = true)]
async fn a_broken_cloud_is_broken_until_it_is_mended() {
    let fake = Fake::new();
    let down = ProvisionError::unavailable("down");
    fake.break_down(Fault::Refuse(down.clone()));
    for _ in 0..3 {
        assert_eq!(fake.check(soon()).await, Err(down.clone()));
    }
    fake.mend();
    assert_eq!(fake.check(soon()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_lagging_list_makes_a_second_one_where_only_tags_tell() {
    let lag = Duration::from_secs(10);
    let mut capabilities = Fake::new().capabilities();
    capabilities.list_lag = lag;
    capabilities.idempotency = Idempotency::ByTag;
    let fake = Fake::with(capabilities);
    let first = fake
        .provision(&spec(), &op("1"), soon())
        .await
        .expect("made");
    let second = fake
        .provision(&spec(), &op("1"), soon())
        .await
        .expect("made");
    assert_ne!(first, second);
    let list = || async {
        fake.describe(&Tags::new(), soon())
            .await
            .expect("listed")
            .len()
    };
    assert_eq!(list().await, 0);
    tokio::time::advance(lag).await;
    assert_eq!(list().await, 2);
    let third = fake
        .provision(&spec(), &op("1"), soon())
        .await
        .expect("found");
    assert_eq!(third, first);
    fake.destroy(&second, &op("2"), soon())
        .await
        .expect("destroyed");
    assert_eq!((list().await, fake.instances().len()), (2, 1));
    tokio::time::advance(lag).await;
    assert_eq!(list().await, 1);
}

#[tokio::test(start_paused = true)]
async fn machines_boot_crash_and_vanish() {
    let mut capabilities = Fake::new().capabilities();
    capabilities.boot_time = Duration::from_secs(30);
    let fake = Fake::with(capabilities);
    let id = fake
        .provision(&spec(), &op("1"), soon())
        .await
        .expect("made");
    let state = || fake.instances().first().map(|instance| instance.state);
    assert_eq!(state(), Some(InstanceState::Starting));
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(state(), Some(InstanceState::Running));
    assert!(fake.set_state(&id, InstanceState::Stopped));
    assert!(
        fake.prove_off(&id, soon())
            .await
            .expect("answered")
            .is_off()
    );
    assert!(fake.vanish(&id) && !fake.vanish(&id));
    assert_eq!(state(), None);
    assert_eq!(
        fake.acts().len(),
        1,
        "what happens by itself is no act of a client"
    );
}
