//! The timer table: every deadline of the membership in one place, and the earliest of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::identity::MachineId;

/// Everything that happens by itself. Each is armed at most once, so the table is bounded by the number of
/// inquiries and suspicions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Take the next step of an inquiry: repeat a ping, ask others, check the port, give up.
    Inquiry(MachineId),
    /// A suspicion ends.
    Verdict(MachineId),
    /// Probe the next member.
    Probe,
    /// Pass on updates. Armed only while there are any.
    Gossip,
    /// Compare the table's hash with a random member.
    Sync,
    /// Try to reach somebody believed dead, or anybody when alone.
    Rejoin,
    /// See anew when to knock at whom: somebody is dead who was not, or the other way round.
    Plan,
    /// Forget the dead whose time has come.
    Forget,
    /// Ask for a new generation, delayed so as not to flap.
    Renew,
}

/// Deadlines by timer, and ordered by time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    deadlines: BTreeMap<Timer, Duration>,
    order: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    /// Arms `timer`, in place of an earlier arming.
    pub(super) fn set(&mut self, timer: Timer, at: Duration) {
        if let Some(before) = self.deadlines.insert(timer, at) {
            self.order.remove(&(before, timer));
        }
        self.order.insert((at, timer));
    }

    /// Arms `timer` unless it is armed for an earlier time.
    pub(super) fn set_no_later(&mut self, timer: Timer, at: Duration) {
        if self.get(timer).is_none_or(|before| before > at) {
            self.set(timer, at);
        }
    }

    pub(super) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.deadlines.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Duration> {
        self.deadlines.get(&timer).copied()
    }

    /// The earliest deadline.
    pub(super) fn earliest(&self) -> Option<Duration> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Disarms and returns what is due at `now`, earliest first. Timers armed while these are handled wait for the
    /// next call, so that handling always ends.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<Timer> {
        let mut due = Vec::new();
        while let Some(&(at, timer)) = self.order.first() {
            if at > now {
                break;
            }
            self.cancel(timer);
            due.push(timer);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn arming_again_replaces_and_the_earliest_comes_first() {
        let mut timers = Timers::default();
        timers.set(Timer::Probe, SECOND);
        timers.set(Timer::Gossip, 2 * SECOND);
        timers.set(Timer::Probe, 3 * SECOND);
        assert_eq!(timers.earliest(), Some(2 * SECOND));
        timers.set_no_later(Timer::Gossip, 5 * SECOND);
        assert_eq!(timers.get(Timer::Gossip), Some(2 * SECOND));
        assert_eq!(timers.take_due(3 * SECOND), [Timer::Gossip, Timer::Probe]);
        assert_eq!(timers.earliest(), None);
    }
}
