//! What the registry knows of the fake.

use std::sync::Arc;

use async_trait::async_trait;

use super::Fake;
use crate::{
    Deadline, Fields, Kind, Problem, Properties, ProvisionError, Provisioner, ProvisionerConfig,
};

pub(super) const KIND: Kind = Kind {
    name: "fake",
    about: "an in-memory cloud, for tests",
    configure: |_| Ok(Box::new(FakeConfig)),
    validate,
};

/// Accepts `zone` and `size`, texts, and nothing else.
pub(super) fn validate(properties: &Properties) -> Vec<Problem> {
    let mut fields = Fields::new(properties);
    fields.string("zone");
    fields.string("size");
    fields.finish()
}

#[derive(Debug)]
struct FakeConfig;

#[async_trait]
impl ProvisionerConfig for FakeConfig {
    fn validate(&self) -> Vec<Problem> {
        Vec::new()
    }

    async fn build(&self, _deadline: Deadline) -> Result<Arc<dyn Provisioner>, ProvisionError> {
        Ok(Arc::new(Fake::new()))
    }
}
