//! Placements that do not survive the loss of a zone.

use std::collections::BTreeMap;

use super::Case;
use super::Severity::{Note, Warning};
use crate::fleet::GroupSpec;

pub(super) fn look(case: &mut Case<'_>) {
    for (at, spec) in case.specs.iter().enumerate() {
        let zones = &spec.placement.zones;
        let only = match (zones.len(), zones.first()) {
            (0, _) => written_zone(spec),
            (1, Some(zone)) => Some(("placement.zones", zone.clone())),
            _ => None,
        };
        if let Some((field, zone)) = only
            && spec.desired() > 1
        {
            let what = format!(
                "all {} machines are in zone `{zone}`, and are lost with it",
                spec.desired()
            );
            let remedy = match field {
                "placement.zones" => "name three zones, or more",
                _ => "name three zones, or more, in placement.zones",
            };
            case.find(Warning, "one-zone", (at, field), what, remedy);
        }
        if zones.len() > 1 && spec.desired() > 0 && spec.desired() < zones.len() {
            let what = format!(
                "{} machines don't reach {} zones",
                spec.desired(),
                zones.len()
            );
            let remedy = "have at least as many machines as zones, or name fewer";
            case.find(Note, "empty-zones", (at, "placement.zones"), what, remedy);
        }
        if !zones.is_empty() && spec.labels.contains_key("zone") {
            let what = "the label `zone` and the placement both say where machines are; the placement wins";
            case.find(
                Warning,
                "zone-twice",
                (at, "labels.zone"),
                what,
                "remove the label",
            );
        }
    }
    majority(case);
}

/// The zone that all machines of a group say they are in, where the placement says nothing.
fn written_zone(spec: &GroupSpec) -> Option<(&'static str, String)> {
    if let Some(zone) = spec.labels.get("zone") {
        return Some(("labels.zone", zone.clone()));
    }
    let local = spec.instance.provisioner == muster_provisioners::process::NAME;
    let properties = spec.instance.properties.to_value();
    let zone = properties.get("zone").filter(|_| local)?.as_str()?;
    Some(("instance.properties.zone", zone.to_owned()))
}

/// Where one zone has half of all machines or more, its loss leaves nobody who may act.
fn majority(case: &mut Case<'_>) {
    let placed = |spec: &&GroupSpec| spec.desired() > 0;
    let specs: Vec<&GroupSpec> = case.specs.iter().filter(placed).collect();
    let several = |spec: &&GroupSpec| spec.placement.zones.len() > 1;
    let total: usize = specs.iter().map(|spec| spec.desired()).sum();
    let Some(first) = case.specs.iter().position(|spec| several(&spec)) else {
        return;
    };
    let mut crowds: BTreeMap<&str, usize> = BTreeMap::new();
    for spec in &specs {
        let zones = &spec.placement.zones;
        for (at, zone) in zones.iter().enumerate() {
            // Spread evenly; the first get what is left over.
            let share =
                spec.desired() / zones.len() + usize::from(at < spec.desired() % zones.len());
            *crowds.entry(zone).or_default() += share;
        }
    }
    let largest = crowds.iter().max_by_key(|(_, crowd)| **crowd);
    if let Some((zone, crowd)) = largest.filter(|(_, crowd)| **crowd * 2 >= total && total > 2) {
        let what = format!(
            "zone `{zone}` has {crowd} of all {total} machines: when it is lost, no majority is left that may heal"
        );
        let remedy = "spread over three zones, so that any two have more than half";
        case.find(
            Warning,
            "zone-majority",
            (first, "placement.zones"),
            what,
            remedy,
        );
    }
}
