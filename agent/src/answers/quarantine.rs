//! Hardware on which nothing is made.

use super::snapshot::{Snapshot, shorten};
use crate::api::types::QuarantineRow;
use crate::api::{ApiError, ErrorKind};
use crate::fleet::{Command, Quarantine, QuarantineChange};

/// The hardware in quarantine that is wanted, the oldest first.
pub(super) fn rows(
    snapshot: &Snapshot<'_>,
    wanted: impl Fn(&Quarantine) -> bool,
) -> Vec<QuarantineRow> {
    let known = snapshot.state.quarantine.iter();
    known.filter(|known| wanted(known)).map(row).collect()
}

fn row(known: &Quarantine) -> QuarantineRow {
    let failed = known.failed.as_ref();
    QuarantineRow {
        provisioner: known.provisioner.clone(),
        hardware: known.hardware.clone(),
        why: known.why.to_string(),
        since_ms: known.since_ms,
        machine: failed.map(|failed| failed.machine.to_string()),
        group: failed.map(|failed| failed.group.to_string()),
        instance: failed.map(|failed| failed.instance.to_string()),
        released_ms: known.released_ms,
    }
}

/// The command that releases what a person calls by this name, with what is said of it.
pub(super) fn release(snapshot: &Snapshot<'_>, name: &str) -> Result<(Command, String), ApiError> {
    let known = snapshot.state.quarantine.iter();
    let mut called = known.filter(|known| known.is_called(name));
    let name = shorten(name);
    let Some(first) = called.next() else {
        let text = format!("nothing called `{name}` is in quarantine");
        return Err(ApiError::not_found(text).remedy("`muster status` shows what is"));
    };
    if let Some(other) = called.next() {
        let (one, two) = (words(first), words(other));
        let text = format!("`{name}` may be {one} or {two}");
        return Err(
            ApiError::new(ErrorKind::Invalid, text).remedy("name the hardware or the instance")
        );
    }
    let command = Command::Quarantine(Box::new(QuarantineChange::Release {
        provisioner: first.provisioner.clone(),
        hardware: first.hardware.clone(),
    }));
    let detail = format!(
        "{} is to be released from its quarantine; its provisioner is asked for that now, and `muster events` says when it is done",
        words(first)
    );
    Ok((command, detail))
}

fn words(known: &Quarantine) -> String {
    format!("{} of {}", known.hardware, known.provisioner)
}
