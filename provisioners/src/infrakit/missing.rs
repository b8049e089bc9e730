//! How long instances have been missing from their plugin's list. Pure.
//!
//! One list that is too short says little: a plugin that is being restarted may give one. So the time counts only while the
//! instance is looked for again and again, and begins anew once it has been listed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::PluginName;
use super::instance::{Described, own_id};
use crate::InstanceId;

/// Instances that are missing and may still run. What has been missing for the shortest time is forgotten first.
const MISSING_MAX: usize = 4096;

/// How much later than after the time that has to pass the next look may come: nobody is punctual.
const LATE_MAX: Duration = Duration::from_secs(5);

/// Instances that were asked about and not listed.
#[derive(Debug, Default)]
pub(super) struct Missing(BTreeMap<InstanceId, Absence>);

#[derive(Debug, Clone, Copy)]
struct Absence {
    since: Instant,
    /// When it was last not listed.
    confirmed: Instant,
}

impl Absence {
    /// Whether it may have been there in between: nobody looked for longer than about `settle`.
    fn is_stale(self, settle: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.confirmed) > settle.saturating_add(LATE_MAX)
    }
}

impl Missing {
    /// What a plugin lists, sorted by ID, is not missing.
    pub(super) fn seen(&mut self, plugin: &PluginName, listed: &[Described]) {
        self.0.retain(|id, _| match own_id(id) {
            Some((of, own)) if of == *plugin => listed
                .binary_search_by(|one| one.id.as_str().cmp(&own))
                .is_err(),
            _ => true,
        });
    }

    /// A list of all that is ours was looked at, after [`seen`](Self::seen): what is missing from this plugin's still is.
    pub(super) fn confirm(&mut self, plugin: &PluginName, settle: Duration, now: Instant) {
        for (id, absence) in &mut self.0 {
            let is_its = own_id(id).is_some_and(|(of, _)| of == *plugin);
            if is_its && !absence.is_stale(settle, now) {
                absence.confirmed = now;
            }
        }
    }

    /// An instance was looked for and not listed.
    pub(super) fn miss(&mut self, id: &InstanceId, settle: Duration, now: Instant) {
        let begun = Absence {
            since: now,
            confirmed: now,
        };
        match self.0.get_mut(id) {
            Some(absence) if absence.is_stale(settle, now) => *absence = begun,
            Some(absence) => absence.confirmed = now,
            None => {
                if self.0.len() >= MISSING_MAX {
                    let newest = self.0.iter().max_by_key(|(_, absence)| absence.since);
                    let newest = newest.map(|(id, _)| id.clone());
                    newest.and_then(|id| self.0.remove(&id));
                }
                self.0.insert(id.clone(), begun);
            }
        }
    }

    /// How long it has been missing, until it was last looked for.
    pub(super) fn lasted(&self, id: &InstanceId) -> Duration {
        self.0.get(id).map_or(Duration::ZERO, |absence| {
            absence.confirmed.saturating_duration_since(absence.since)
        })
    }

    /// It was made.
    pub(super) fn forget(&mut self, id: &InstanceId) {
        self.0.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tags;
    use crate::infrakit::instance::instance_id;

    const SETTLE: Duration = Duration::from_secs(60);

    fn plugin() -> PluginName {
        "aws/vm".parse().expect("valid")
    }

    fn id(own: &str) -> InstanceId {
        instance_id(&plugin(), own).expect("short")
    }

    fn listed(own: &str) -> Described {
        Described {
            id: own.to_owned(),
            tags: Ok(Tags::new()),
            logical_id: None,
        }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn what_is_looked_for_again_and_again_is_missing_for_long() {
        let (mut missing, start) = (Missing::default(), Instant::now());
        for seconds in [0, 30, 60] {
            missing.miss(&id("a"), SETTLE, after(start, seconds));
            let lasted = missing.lasted(&id("a"));
            assert_eq!(lasted, Duration::from_secs(seconds));
        }
    }

    #[tokio::test]
    async fn what_was_listed_in_between_begins_anew() {
        let (mut missing, start) = (Missing::default(), Instant::now());
        missing.miss(&id("a b"), SETTLE, start);
        missing.miss(&id("c"), SETTLE, start);
        missing.seen(&"other".parse().expect("valid"), &[listed("c")]);
        missing.seen(&plugin(), &[listed("a b"), listed("x")]);
        for own in ["a b", "c"] {
            missing.miss(&id(own), SETTLE, after(start, 50));
        }
        assert_eq!(missing.lasted(&id("a b")), Duration::ZERO);
        assert_eq!(missing.lasted(&id("c")), Duration::from_secs(50));
    }

    #[tokio::test]
    async fn two_looks_that_are_far_apart_say_no_more_than_one() {
        let (mut missing, start) = (Missing::default(), Instant::now());
        missing.miss(&id("a"), SETTLE, start);
        // A list does not revive what nobody confirmed.
        missing.confirm(&plugin(), SETTLE, after(start, 300));
        missing.miss(&id("a"), SETTLE, after(start, 300));
        assert_eq!(missing.lasted(&id("a")), Duration::ZERO);
        for seconds in [350, 400] {
            missing.confirm(&plugin(), SETTLE, after(start, seconds));
        }
        missing.miss(&id("a"), SETTLE, after(start, 450));
        assert_eq!(missing.lasted(&id("a")), Duration::from_secs(150));
    }
}
