//! Writing an instance anew in its place: another identity and another join configuration, the same disks and address.

use super::Inner;
use super::create::{Next, attach, check, clear, config_of};
use super::destroy::{Manner, end};
use super::files::{Lasting, make_directory, remove, write, write_json};
use super::record::{ProcessRecord, Record};
use crate::{Deadline, InstanceId, MachineSpec, OperationId, ProvisionError};

/// Ends everything of an instance, throws its state away, and makes it ready to be started as the machine of `spec`. What
/// this operation did before is not done again, except for a start that never came.
///
/// The record is written last: a crash before that leaves an instance that is off, and the next call does all of it.
pub(super) fn reimage(
    inner: &Inner,
    id: &InstanceId,
    spec: &MachineSpec,
    op: &OperationId,
    deadline: Deadline,
) -> Result<Next, ProvisionError> {
    let properties = check(spec)?;
    let (place, _lock) = inner.lock_instance(id, deadline)?;
    inner.refuse_if_stopping()?;
    let before = Record::read(&place)?.ok_or_else(|| ProvisionError::NotFound(id.clone()))?;
    if before.reimaged.as_ref() == Some(op) {
        if ProcessRecord::read(&place)?.is_some() {
            return Ok(Next::Nothing);
        }
        // A crash may have left it.
        remove(&place.stopped())?;
        inner.order_start(&place)?;
        return Ok(Next::Start);
    }
    // Its agent runs no more before anything of it is gone, and nobody starts it meanwhile.
    write(&place.stopped(), b"", Lasting::Durably)?;
    remove(&place.starting())?;
    end(inner, &place, Manner::AtOnce, deadline)?;
    remove(&place.process())?;
    clear(&place.state())?;
    clear(&place.path().join("disks"))?;
    make_directory(&place.state())?;
    let record = Record {
        reimaged: Some(op.clone()),
        spec: spec.clone(),
        tags: spec.tags_for(op),
        ..before
    };
    attach(inner, &record, &place)?;
    let config = config_of(inner, &record, spec, &properties);
    write(&place.config(), config.as_bytes(), Lasting::Durably)?;
    write_json(&place.record(), &record, Lasting::Durably)?;
    remove(&place.stopped())?;
    inner.order_start(&place)?;
    Ok(Next::Start)
}
