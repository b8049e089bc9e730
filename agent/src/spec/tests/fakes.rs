//! A provisioner and a flavor under the usual names that understand no properties at all.

use std::sync::Arc;

use async_trait::async_trait;
use muster_flavors::{self as flavors, Flavor, FlavorError, Health, HealthPlan, Place, Workload};
use muster_provisioners::{
    self as provisioners, Deadline, Fields, MachineSpec, Problem, Properties,
};

use super::Registries;

pub(super) fn registries() -> Registries {
    let mut registries = Registries {
        provisioners: provisioners::Registry::empty(),
        flavors: flavors::Registry::empty(),
    };
    registries.provisioners.add(provisioners::Kind {
        name: "process",
        about: "",
        configure: |_| Err(Vec::new()),
        validate,
    });
    registries.flavors.add(flavors::Kind {
        name: "vanilla",
        about: "",
        build: |properties, _| match validate(properties) {
            problems if problems.is_empty() => Ok(Arc::new(Nothing)),
            problems => Err(problems),
        },
    });
    registries
}

fn validate(properties: &Properties) -> Vec<Problem> {
    Fields::new(properties).finish()
}

#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Flavor for Nothing {
    fn prepare(&self, spec: MachineSpec, _: &Place<'_>) -> Result<MachineSpec, Vec<Problem>> {
        Ok(spec)
    }

    fn health_plan(&self) -> Option<HealthPlan> {
        None
    }

    async fn healthy(&self, _: &Workload) -> Health {
        unreachable!("specs are only read")
    }

    fn can_drain(&self) -> bool {
        false
    }

    async fn drain(&self, _: &Workload, _: Deadline) -> Result<(), FlavorError> {
        Ok(())
    }

    async fn stop(&self, _: &Workload, _: Deadline) -> Result<(), FlavorError> {
        Ok(())
    }

    fn can_stop(&self) -> bool {
        false
    }

    fn can_restart(&self) -> bool {
        false
    }

    async fn restart(&self, _: &Workload, _: Deadline) -> Result<(), FlavorError> {
        Ok(())
    }

    fn may_be_missing(&self, members: usize) -> usize {
        members
    }
}
