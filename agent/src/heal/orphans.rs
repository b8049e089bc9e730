//! Finding orphans: instances that carry the fleet's tags, and that nobody runs on.
//!
//! Nothing is hurried. An instance that is just being made or destroyed is listed for a moment without a machine, so
//! only what is seen again a while later counts.

use std::collections::{BTreeMap, BTreeSet};

use muster_provisioners::{Instance, tag};

use super::observe::Listing;
use crate::fleet::limits::{MINUTE_MS, ORPHANS_MAX};
use crate::fleet::{Command, FleetState, InstanceId, Orphan};

/// How long an instance must have been without a machine before that counts, in milliseconds. Longer than any
/// provider's lists lag.
const ORPHAN_MS: u64 = MINUTE_MS;

type Key = (String, InstanceId);

/// What one leader has seen so far. The next one starts from what is on record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrphanWatch {
    /// Instances without a machine, with since when, in milliseconds since 1970.
    seen: BTreeMap<Key, u64>,
}

impl OrphanWatch {
    /// Looks through the lists of provisioners. Says what is to be put on record, if that has changed. Of a provisioner
    /// that can't say what there is, what is on record stays.
    pub fn look<'a>(
        &mut self,
        state: &FleetState,
        lists: impl IntoIterator<Item = (&'a str, &'a Listing)>,
        now_ms: u64,
    ) -> Option<Command> {
        let mut answered = BTreeSet::new();
        let mut found = BTreeMap::new();
        for (provisioner, listing) in lists {
            let Ok(instances) = &listing.said else {
                continue;
            };
            answered.insert(provisioner);
            for instance in instances {
                if belongs_to_nobody(state, provisioner, instance) {
                    found.insert((provisioner.to_owned(), instance.id.clone()), instance);
                }
            }
        }
        self.seen
            .retain(|key, _| found.contains_key(key) || !answered.contains(key.0.as_str()));
        let recorded = |key: &Key| {
            let known = state.orphans.iter();
            let mut same = known.filter(|orphan| orphan.key() == (key.0.as_str(), key.1.as_str()));
            same.next().map(|orphan| orphan.since_ms)
        };
        for key in found.keys() {
            let since_ms = recorded(key).unwrap_or(now_ms);
            self.seen.entry(key.clone()).or_insert(since_ms);
        }
        let lasting = found.iter().filter_map(|(key, instance)| {
            let since_ms = *self.seen.get(key)?;
            let lasts = recorded(key).is_some() || now_ms.saturating_sub(since_ms) >= ORPHAN_MS;
            lasts.then(|| orphan(&key.0, instance, since_ms))
        });
        let unheard = state.orphans.iter();
        let unheard = unheard.filter(|orphan| !answered.contains(orphan.provisioner.as_str()));
        let mut orphans: Vec<_> = lasting.chain(unheard.cloned()).collect();
        orphans.sort();
        orphans.truncate(ORPHANS_MAX);
        (orphans != state.orphans).then_some(Command::RecordOrphans(orphans))
    }

    /// Whether something was seen that is not certain yet, so that another look soon is worth it.
    pub fn is_curious(&self, state: &FleetState) -> bool {
        self.seen.len() > state.orphans.len()
    }
}

/// Whether an instance is no machine's, and nothing under way makes or destroys it.
fn belongs_to_nobody(state: &FleetState, provisioner: &str, instance: &Instance) -> bool {
    let op = instance.operation();
    let is_of_machine = state.machines.values().any(|machine| {
        let own = machine.instance.as_ref();
        let runs_on_it =
            own.is_some_and(|own| own.provisioner == provisioner && own.id == instance.id);
        runs_on_it || (op.is_some() && machine.order == op)
    });
    let intent = op.as_ref().and_then(|op| state.intent(op));
    let is_under_way = intent.is_some_and(crate::fleet::Intent::is_open);
    !is_of_machine && !is_under_way
}

fn orphan(provisioner: &str, instance: &Instance, since_ms: u64) -> Orphan {
    Orphan {
        provisioner: provisioner.to_owned(),
        id: instance.id.clone(),
        group: instance.tags.get(tag::GROUP).map(str::to_owned),
        op: instance.operation(),
        since_ms,
    }
}
