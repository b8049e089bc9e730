//! The conformance suite against the in-memory back end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::conformance::{Harness, Trouble};
use muster_provisioners::fake::{Call, Fake, Fault};
use muster_provisioners::{
    Instance, InstanceId, InstanceState, Properties, ProvisionError, Provisioner,
};

struct FakeHarness(Fake);

#[async_trait]
impl Harness for FakeHarness {
    fn provisioner(&self) -> Arc<dyn Provisioner> {
        Arc::new(self.0.clone())
    }

    async fn another(&self) -> Arc<dyn Provisioner> {
        Arc::new(self.0.clone())
    }

    fn properties(&self) -> Properties {
        r#"{"size": "small"}"#.parse().expect("valid")
    }

    fn bad_properties(&self) -> Vec<(Properties, &'static str)> {
        vec![
            (r#"{"size": 5}"#.parse().expect("valid"), "size"),
            (
                r#"{"size": "x", "colour": "red"}"#.parse().expect("valid"),
                "colour",
            ),
        ]
    }

    fn missing(&self) -> InstanceId {
        "f-999999".parse().expect("valid")
    }

    async fn kill(&self, instance: &Instance) -> bool {
        self.0.set_state(&instance.id, InstanceState::Stopped)
    }

    async fn inject(&self, trouble: Trouble) -> bool {
        let fault = match trouble {
            Trouble::LostAnswers => {
                self.0.inject(Call::Provision, [Fault::LoseAnswer]);
                return true;
            }
            Trouble::Down => Fault::Refuse(ProvisionError::unavailable("down")),
            Trouble::Throttling => Fault::Refuse(ProvisionError::Throttled {
                retry_after: Some(Duration::from_millis(10)),
            }),
            Trouble::Hanging => Fault::Hang,
            Trouble::BadCredentials => Fault::Refuse(ProvisionError::denied("who are you?")),
        };
        self.0.break_down(fault);
        true
    }

    async fn mend(&self) {
        self.0.mend();
    }
}

mod at_once {
    use super::*;
    muster_provisioners::conformance_suite!(FakeHarness(Fake::new()));
}

mod slow_with_a_lagging_list {
    use super::*;

    fn slow() -> FakeHarness {
        let mut capabilities = Fake::new().capabilities();
        capabilities.list_lag = Duration::from_millis(60);
        capabilities.boot_time = Duration::from_millis(100);
        FakeHarness(Fake::with(capabilities))
    }

    muster_provisioners::conformance_suite!(slow());
}

mod of_hardware {
    use super::*;

    fn rack() -> FakeHarness {
        let mut capabilities = Fake::new().capabilities();
        capabilities.hardware = true;
        FakeHarness(Fake::with(capabilities))
    }

    muster_provisioners::conformance_suite!(rack());
}

mod without_most_capabilities {
    use super::*;

    fn poor() -> FakeHarness {
        let mut capabilities = Fake::new().capabilities();
        capabilities.reboot = false;
        capabilities.power_cycle = false;
        capabilities.reimage = false;
        capabilities.stop_start = false;
        capabilities.attach = false;
        capabilities.prove_off = false;
        FakeHarness(Fake::with(capabilities))
    }

    muster_provisioners::conformance_suite!(poor());
}
