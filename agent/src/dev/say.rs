//! What `muster dev` has to say beside what the fleet says, in the form of the fleet's events.

use muster_mesh::clock::unix_ms;

use crate::api::types::EventRow;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{show, time};

/// Says what happens, one line each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Say {
    out: Output,
}

impl Say {
    pub(super) fn new(out: Output) -> Self {
        Self { out }
    }

    /// Something that `dev` did or saw. Its kinds begin with `dev_`, those of the fleet don't.
    pub(super) fn own(
        self,
        kind: &str,
        machine: Option<&str>,
        detail: impl Into<String>,
    ) -> Result<(), Failure> {
        let at_ms = unix_ms();
        self.event(&EventRow {
            seq: 0,
            at: time::rfc3339(at_ms),
            at_ms,
            kind: format!("dev_{kind}"),
            machine: machine.map(str::to_owned),
            group: None,
            decision: None,
            detail: detail.into(),
        })
    }

    /// Something that the fleet says.
    pub(super) fn event(self, event: &EventRow) -> Result<(), Failure> {
        self.out.either(event, show::event)
    }
}
