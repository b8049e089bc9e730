//! What may be spent on healing beyond one group: over the whole fleet, and in each zone.
//!
//! A group's budget keeps one bad specification from eating its group. These keep something that is wrong with all groups
//! at once from eating the fleet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::budget::Bucket;
use super::machine::Machine;
use super::state::FleetState;

/// At one time, in the whole fleet or in one zone: 10 % of its machines, and at least 3. A group that may have more by its
/// own budget may have them: who declared that has thought about it.
const AT_ONCE_SHARE: usize = 10;
const AT_ONCE_MIN: usize = 3;
/// Within an hour, in the whole fleet: 30 %, and at least 30. A zone's machines may all be replaced once within an hour, and
/// at least 30: a zone that is lost has to be made anew. Here too a group's larger budget counts.
const FLEET_PERCENT: usize = 30;
const PER_HOUR_MIN: usize = 30;

/// A bucket with the rate at which it was filled so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    per_hour: u32,
    bucket: Bucket,
}

impl Pool {
    fn full(per_hour: u32, now_ms: u64) -> Self {
        let bucket = Bucket::full(per_hour, now_ms);
        Self { per_hour, bucket }
    }

    /// The same with another rate from now on.
    fn at_rate(mut self, per_hour: u32, now_ms: u64) -> Self {
        self.bucket.settle(self.per_hour, now_ms);
        self.per_hour = per_hour;
        self
    }
}

/// The pools. Those that nothing was taken from yet are full, and not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    fleet: Option<Pool>,
    zones: BTreeMap<String, Pool>,
}

/// A limit beyond the group's, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The fleet, or which zone.
    pub scope: String,
    /// How many machines are being healed there.
    pub under_way: usize,
    /// How many may be at one time.
    pub at_once: usize,
    /// How many may still be within this hour.
    pub tokens: u32,
    /// How many may be within an hour.
    pub per_hour: u32,
    /// How long until there is one more, in milliseconds.
    pub wait_ms: u64,
}

impl Limit {
    /// Why it lets nobody be healed just now; `None` when it does.
    pub fn held(&self) -> Option<String> {
        let Self {
            scope,
            under_way,
            at_once,
            per_hour,
            ..
        } = self;
        if under_way >= at_once {
            return Some(format!(
                "{under_way} of {at_once} at once are under way in {scope}"
            ));
        }
        (self.tokens == 0)
            .then(|| format!("this hour's {per_hour} replacements of {scope} are spent"))
    }
}

impl FleetState {
    /// The limits that healing a machine is under besides its group's: the fleet's, and its zone's.
    pub fn limits_on(&self, machine: &Machine, now_ms: u64) -> Vec<Limit> {
        let mut limits = vec![self.limit(None, now_ms)];
        limits.extend(
            machine
                .known_zone()
                .map(|zone| self.limit(Some(zone), now_ms)),
        );
        limits
    }

    fn limit(&self, zone: Option<&str>, now_ms: u64) -> Limit {
        let (at_once, per_hour) = self.rates(zone);
        let kept = match zone {
            None => self.pools.fleet,
            Some(zone) => self.pools.zones.get(zone).copied(),
        };
        let pool = kept.map_or_else(
            || Pool::full(per_hour, now_ms),
            |pool| pool.at_rate(per_hour, now_ms),
        );
        let there = |origin: Option<&super::intent::Origin>| {
            zone.is_none() || origin.and_then(|origin| origin.zone.as_deref()) == zone
        };
        let healing = self
            .open_intents()
            .filter(|intent| intent.paid && there(intent.origin.as_ref()));
        Limit {
            scope: zone.map_or_else(|| "the fleet".to_owned(), |zone| format!("zone {zone}")),
            under_way: healing.count(),
            at_once,
            tokens: pool.bucket.tokens(per_hour, now_ms),
            per_hour,
            wait_ms: pool.bucket.wait_ms(per_hour, now_ms).unwrap_or_default(),
        }
    }

    /// How many machines may be healed in the fleet or a zone at one time, and how many within an hour.
    fn rates(&self, zone: Option<&str>) -> (usize, u32) {
        let there = |machine: &&Machine| {
            machine.place.is_some() && (zone.is_none() || machine.known_zone() == zone)
        };
        let size = self.machines.values().filter(there).count();
        let share = match zone {
            None => size.saturating_mul(FLEET_PERCENT) / 100,
            Some(_) => size,
        };
        let budgets = self
            .groups
            .values()
            .map(|group| (group.at_once(), group.per_hour()));
        let (at_once, per_hour) = budgets.fold((0, 0), |most, budget| {
            (most.0.max(budget.0), most.1.max(budget.1))
        });
        (
            at_once.max(size / AT_ONCE_SHARE).max(AT_ONCE_MIN),
            per_hour.max(u32::try_from(share.max(PER_HOUR_MIN)).unwrap_or(u32::MAX)),
        )
    }

    /// Pays for healing a machine from the pools that it is under.
    pub(super) fn spend_from_pools(&mut self, machine: &Machine, now_ms: u64) {
        let take = |pool: Option<Pool>, per_hour: u32| {
            let full = || Pool::full(per_hour, now_ms);
            let mut pool = pool.map_or_else(full, |pool| pool.at_rate(per_hour, now_ms));
            pool.bucket.take(per_hour, now_ms);
            pool
        };
        let (_, per_hour) = self.rates(None);
        self.pools.fleet = Some(take(self.pools.fleet, per_hour));
        let Some(zone) = machine.known_zone() else {
            return;
        };
        let (_, per_hour) = self.rates(Some(zone));
        let kept = self.pools.zones.remove(zone);
        self.pools
            .zones
            .insert(zone.to_owned(), take(kept, per_hour));
        self.drop_full_pools(now_ms);
    }

    /// A zone's pool that has filled up is as good as none.
    fn drop_full_pools(&mut self, now_ms: u64) {
        self.pools.zones.retain(|_, pool| {
            let settled = pool.at_rate(pool.per_hour, now_ms);
            settled.bucket.tokens(pool.per_hour, now_ms) < pool.per_hour
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::fleet::limits::HOUR_MS;
    use crate::fleet::testing::{Fleet, cattle};
    use crate::fleet::*;

    /// Machines of many small groups, all in zone `a`, one of each gone.
    fn replace_one_each(fleet: &mut Fleet, groups: usize) -> Vec<Result<(), Refusal>> {
        let one = |number: usize| {
            let id = fleet.id(&format!("g{number}-1"));
            let proposal = fleet.replace(id, Diagnosis::Gone);
            match fleet.apply(Command::Decide(vec![proposal])) {
                Reply::Refused(refusal) => Err(refusal),
                _ => Ok(()),
            }
        };
        (0..groups).map(one).collect()
    }

    fn fleet(groups: usize) -> Fleet {
        let specs: Vec<_> = (0..groups)
            .map(|number| {
                let mut spec = cattle(&format!("g{number}"), 1);
                spec.placement.zones = ["a".to_owned()].into();
                spec
            })
            .collect();
        let mut fleet = Fleet::with(&specs);
        for machine in fleet.state.machines.values_mut() {
            machine.zone = Some("a".into());
        }
        fleet
    }

    #[test]
    fn many_groups_together_are_healed_three_at_once_or_a_tenth() {
        for (groups, at_once) in [(8, 3), (40, 4)] {
            let mut fleet = fleet(groups);
            let results = replace_one_each(&mut fleet, groups);
            let done = results.iter().filter(|result| result.is_ok()).count();
            assert_eq!(done, at_once, "of {groups}");
            let refusal = results.iter().find_map(|result| result.as_ref().err());
            let refusal = refusal.unwrap().to_string();
            assert!(
                refusal.contains("at once are under way in the fleet"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn an_hours_tokens_are_spent_once_whoever_leads_and_come_back() {
        let mut fleet = fleet(1);
        let machine = fleet.state.machines[&fleet.id("g0-1")].clone();
        let now_ms = fleet.now_ms;
        let left = |state: &FleetState, now_ms: u64| -> Vec<u32> {
            let limits = state.limits_on(&machine, now_ms);
            limits.iter().map(|limit| limit.tokens).collect()
        };
        assert_eq!(left(&fleet.state, now_ms), [30, 30]);
        for _ in 0..30 {
            fleet.state.spend_from_pools(&machine, now_ms);
        }
        assert_eq!(left(&fleet.state, now_ms), [0, 0]);
        let stored = FleetState::from_snapshot(&fleet.state.to_snapshot()).unwrap();
        assert_eq!(left(&stored, now_ms), [0, 0]);
        let held = stored.limits_on(&machine, now_ms)[1].held().unwrap();
        assert_eq!(held, "this hour's 30 replacements of zone a are spent");
        assert_eq!(left(&stored, now_ms + HOUR_MS / 30), [1, 1]);
        assert_eq!(left(&stored, now_ms + 2 * HOUR_MS), [30, 30]);
    }
}
