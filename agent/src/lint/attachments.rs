//! Disks and addresses that two pets would share.

use std::collections::BTreeMap;

use super::Case;
use super::Severity::Error;
use super::tasks::vanilla;
use crate::fleet::{Allocation, Attachment, GroupSpec, MachineName};

/// A disk by its provisioner, kind and ID.
type Key = (String, String, String);

pub(super) fn look(case: &mut Case<'_>) {
    let specs = case.specs;
    let mut owners: BTreeMap<Key, MachineName> = BTreeMap::new();
    for (at, spec) in specs.iter().enumerate() {
        let Allocation::Pets { members } = &spec.allocation else {
            continue;
        };
        for (name, pet) in members {
            let own = pet.attachments.iter().cloned().map(|own| ("members", own));
            let of_flavor = of_flavor(spec, name).into_iter();
            let of_flavor = of_flavor.map(|one| ("flavor.properties.attachments", one));
            for (field, attachment) in own.chain(of_flavor) {
                let provisioner = spec.instance.provisioner.clone();
                let key = (provisioner, attachment.kind, attachment.id.clone());
                match owners.insert(key, name.clone()) {
                    Some(other) if other != *name => {
                        let what = format!("`{}` belongs to {other} and to {name}", attachment.id);
                        let remedy = "give each pet its own";
                        case.find(Error, "shared-attachment", (at, field), what, remedy);
                    }
                    _ => {}
                }
            }
        }
    }
}

fn of_flavor(spec: &GroupSpec, member: &MachineName) -> Vec<Attachment> {
    let config = vanilla(spec);
    let group = spec.id.as_str();
    config.map_or_else(Vec::new, |config| {
        config.attachments_of(group, member.as_str()).collect()
    })
}
