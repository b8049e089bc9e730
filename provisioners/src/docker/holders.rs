//! Who holds a volume or an address: the Engine itself would give one volume to any number of containers.

use bollard::models::ContainerSummary;

use super::engine::Engine;
use super::identity::{EngineName, instance_id};
use super::properties::{ADDRESS, kind_of};
use super::{labels, state};
use crate::{Attachment, ProvisionError};

/// Makes sure that no container but `own` (its whole ID, if it is made already) holds one of the attachments.
///
/// Each holder counts unless it is certain not to run: also one that was made a moment ago and not started yet, so that of
/// two that are made at the same moment at most one starts; and also one that is not ours.
///
/// # Errors
/// [`ProvisionError::Held`] with the first holder.
pub(super) async fn ensure_free(
    engine: &Engine,
    name: &EngineName,
    attachments: &[Attachment],
    own: Option<&str>,
) -> Result<(), ProvisionError> {
    if attachments.is_empty() {
        return Ok(());
    }
    for container in engine.list(Vec::new()).await? {
        let id = container.id.as_deref().unwrap_or_default();
        if Some(id) == own {
            continue;
        }
        let Some(held) = attachments.iter().find(|one| holds(&container, one)) else {
            continue;
        };
        // The list doesn't say whether it may be started again by itself. What has gone since holds nothing.
        let Some(now) = engine.inspect(id).await? else {
            continue;
        };
        if state::off(&now).is_err() {
            let made_on = labels::read(&container.labels.clone().unwrap_or_default());
            let engine = made_on.map_or_else(|_| name.clone(), |labels| labels.engine);
            return Err(ProvisionError::Held {
                attachment: held.id.clone(),
                holder: instance_id(engine.as_str(), id)?,
            });
        }
    }
    Ok(())
}

/// Whether a container has an attachment: a mounted volume of its name, or by our own labels.
fn holds(container: &ContainerSummary, attachment: &Attachment) -> bool {
    let is_address = kind_of(attachment) == ADDRESS;
    let mounted = container.mounts.iter().flatten();
    let is_mounted = || {
        mounted
            .clone()
            .any(|mount| mount.name.as_deref() == Some(&attachment.id))
    };
    let labels = container.labels.as_ref().map(labels::read);
    let is_labelled = labels.and_then(Result::ok).is_some_and(|labels| {
        let same =
            |one: &Attachment| one.id == attachment.id && (kind_of(one) == ADDRESS) == is_address;
        labels.attachments.iter().any(same)
    });
    is_labelled || (!is_address && is_mounted())
}

#[cfg(test)]
mod tests {
    use bollard::models::MountPoint;

    use super::*;
    use crate::docker::properties::Restart;
    use crate::{MachineSpec, OperationId, Properties};

    #[test]
    fn a_holder_is_known_by_its_labels_and_by_its_mounts() {
        let mut spec = MachineSpec::new("db-1", Properties::new());
        spec.attachments = vec![
            Attachment::new("vol-1", ""),
            Attachment::new("10.0.0.5", "address"),
        ];
        let op = OperationId::derive("c", "db", "db-1", 1, "provision");
        let engine = EngineName::parse("abc234").expect("valid");
        let ours = ContainerSummary {
            labels: Some(labels::write(&spec, &op, &engine, None, Restart::No)),
            ..ContainerSummary::default()
        };
        let stranger = ContainerSummary {
            mounts: Some(vec![MountPoint {
                name: Some("vol-1".into()),
                ..MountPoint::default()
            }]),
            ..ContainerSummary::default()
        };
        let disk = Attachment::new("vol-1", "disk");
        assert!(holds(&ours, &disk) && holds(&stranger, &disk));
        assert!(holds(&ours, &Attachment::new("10.0.0.5", "address")));
        for other in [
            Attachment::new("vol-2", "disk"),
            Attachment::new("vol-1", "address"),
        ] {
            assert!(
                !holds(&ours, &other) && !holds(&stranger, &other),
                "{other:?}"
            );
        }
    }
}
