//! What this machine observed by itself: a bounded ring beside the replicated events.
//!
//! The log tells what was decided and done; this tells what this one machine saw of its peers, also while there is
//! nobody to decide anything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use muster_mesh::identity::MachineId;
use tokio::sync::watch;

/// Observations that are kept. At some 100 bytes each, 100 kB.
const KEPT_MAX: usize = 1024;

/// What was observed of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalKind {
    /// It is up.
    Up,
    /// It does not answer.
    Suspect,
    /// It answers again.
    Alive,
    /// It is down.
    Down,
    /// It left as it had said.
    Left,
}

impl LocalKind {
    /// Its name, as scripts see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "member_up",
            Self::Suspect => "member_suspect",
            Self::Alive => "member_alive",
            Self::Down => "member_down",
            Self::Left => "member_left",
        }
    }
}

impl fmt::Display for LocalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEvent {
    /// Grows by one with each observation of this run of the agent.
    pub number: u64,
    /// When, in milliseconds since 1970 by this machine's clock.
    pub at_ms: u64,
    /// When, by the mesh's monotonic clock.
    pub at: Duration,
    /// What.
    pub kind: LocalKind,
    /// Of which machine.
    pub machine: MachineId,
    /// The rest, for people.
    pub detail: String,
}

/// The ring.
#[derive(Debug)]
pub struct LocalEvents {
    kept: Mutex<VecDeque<LocalEvent>>,
    last: watch::Sender<u64>,
}

impl Default for LocalEvents {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            last: watch::Sender::new(0),
        }
    }
}

impl LocalEvents {
    /// Adds an observation, made at this time by the wall clock, in milliseconds since 1970, and by the mesh's monotonic
    /// clock; the oldest makes room.
    pub fn push(
        &self,
        (at_ms, at): (u64, Duration),
        kind: LocalKind,
        machine: MachineId,
        detail: &str,
    ) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *self.last.borrow() + 1;
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(LocalEvent {
            number,
            at_ms,
            at,
            kind,
            machine,
            detail: detail.to_owned(),
        });
        drop(kept);
        self.last.send_replace(number);
    }

    /// Those after number `after`, oldest first.
    pub fn after(&self, after: u64) -> Vec<LocalEvent> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .filter(|event| event.number > after)
            .cloned()
            .collect()
    }

    /// How often each machine fell silent since a time by the mesh's monotonic clock. Suspected and then down is once.
    pub fn silences_since(&self, since: Duration) -> BTreeMap<MachineId, u32> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut silent = BTreeSet::new();
        let mut counts = BTreeMap::new();
        for event in kept.iter().filter(|event| event.at >= since) {
            match event.kind {
                LocalKind::Suspect | LocalKind::Down => {
                    if silent.insert(event.machine) {
                        *counts.entry(event.machine).or_insert(0) += 1;
                    }
                }
                LocalKind::Up | LocalKind::Alive | LocalKind::Left => {
                    silent.remove(&event.machine);
                }
            }
        }
        counts
    }

    /// Wakes whenever something was added.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_silence_counts_once() {
        let events = LocalEvents::default();
        let [one, two] = [1, 2].map(|number| MachineId::new(number).expect("not zero"));
        let happened = [
            (10, LocalKind::Down, one),
            (20, LocalKind::Up, one),
            (30, LocalKind::Suspect, one),
            (40, LocalKind::Alive, one),
            (50, LocalKind::Suspect, one),
            (60, LocalKind::Down, one),
            (70, LocalKind::Down, two),
            (80, LocalKind::Left, two),
        ];
        for (at, kind, machine) in happened {
            // The wall clock goes backwards: it does not count.
            events.push((1000 - at, Duration::from_millis(at)), kind, machine, "");
        }
        let since = |ms| events.silences_since(Duration::from_millis(ms));
        assert_eq!(since(0), [(one, 3), (two, 1)].into());
        assert_eq!(since(30), [(one, 2), (two, 1)].into());
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_numbers_go_on() {
        let events = LocalEvents::default();
        let machine = MachineId::new(1).expect("not zero");
        for at_ms in 0..KEPT_MAX as u64 + 5 {
            events.push((at_ms, Duration::ZERO), LocalKind::Up, machine, "is up");
        }
        let all = events.after(0);
        assert_eq!(all.len(), KEPT_MAX);
        assert_eq!(all[0].number, 6);
        assert_eq!(events.after(KEPT_MAX as u64 + 4).len(), 1);
        assert_eq!(*events.watch().borrow(), KEPT_MAX as u64 + 5);
    }
}
