//! Disks and addresses that two pets would share.

use std::collections::BTreeMap;

use super::Case;
use super::Severity::Error;
use crate::fleet::{Allocation, MachineName};

pub(super) fn look(case: &mut Case<'_>) {
    let specs = case.specs;
    let mut owners: BTreeMap<(&str, &str, &str), &MachineName> = BTreeMap::new();
    for (at, spec) in specs.iter().enumerate() {
        let Allocation::Pets { members } = &spec.allocation else {
            continue;
        };
        for (name, pet) in members {
            for attachment in &pet.attachments {
                let key = (
                    spec.instance.provisioner.as_str(),
                    attachment.kind.as_str(),
                    attachment.id.as_str(),
                );
                match owners.insert(key, name) {
                    Some(other) if other != name => {
                        let what = format!("`{}` belongs to {other} and to {name}", attachment.id);
                        let remedy = "give each pet its own";
                        case.find(Error, "shared-attachment", (at, "members"), what, remedy);
                    }
                    _ => {}
                }
            }
        }
    }
}
