//! What this machine sees of the mesh, as one immutable picture.
//!
//! The mesh task paints a new picture whenever something changed and publishes it; everybody else only reads.
//! Monotonic times of the membership core become wall-clock milliseconds here, once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use muster_flavors::Part;
use muster_mesh::identity::{Generation, MachineId, Peer};

use crate::fleet::{Leaving, MemberStatus, Workload};
use crate::health::{Level, Readings};

/// One picture of the mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// The machine that sees it.
    pub me: MachineId,
    /// When this was painted: by this machine's wall clock, in milliseconds since 1970, and by its monotonic clock.
    /// A wall clock that is set makes the times in here wrong by as much; see [`moment`](Self::moment).
    pub painted: (u64, Duration),
    /// Since when this machine has watched the mesh without a break, by its monotonic clock; `None` if it never heard
    /// anybody.
    pub attentive_since: Option<Duration>,
    /// All machines that it knows of, itself included.
    pub members: BTreeMap<MachineId, Seen>,
}

/// One machine, as this one sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Where its endpoint listens.
    pub addr: SocketAddr,
    /// Which of its lives this is about.
    pub generation: Generation,
    /// What is believed of it.
    pub status: MemberStatus,
    /// Since when, in milliseconds since 1970 by this machine's clock.
    pub since_ms: u64,
    /// How its death became known, in a few words; empty while it is not down.
    pub how: &'static str,
    /// What it last said of itself; `None` when nothing has arrived yet. Shared by all pictures until it says something
    /// else.
    pub said: Option<Arc<Said>>,
}

/// What a machine last said of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Its own health.
    pub health: Level,
    /// The figures behind it.
    pub readings: Readings,
    /// Why it is not `ok`, a few words each.
    pub reasons: Vec<String>,
    /// Whether its workload keeps failing and working again, so that this is the worst of the last seconds.
    pub workload_unsteady: bool,
    /// What its flavor's check says; `None` when there is none.
    pub workload: Option<Workload>,
    /// The part that its workload plays in its ensemble, if it is a member of one.
    pub part: Option<Part>,
    /// Whether it said that it is going away.
    pub leaving: Option<Leaving>,
    /// The agent's version.
    pub version: String,
    /// Its own name for itself, signed.
    pub name: String,
    /// Where its local API answers, for `--node`.
    pub api: Option<String>,
    /// The process ID of its agent, on its own computer.
    pub pid: Option<u32>,
    /// Whether it says that it coordinates.
    pub coordinates: bool,
    /// Whether it says that it can't read or write the log of the coordinator's seat that it has or had.
    pub log_failed: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When that arrived here, in milliseconds since 1970.
    pub received_ms: u64,
}

/// The present by one clock, beside a picture whose times are by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The present, in milliseconds since 1970.
    pub now_ms: u64,
    /// What has to be added to a time of the picture, in milliseconds.
    shift_ms: i64,
}

impl Moment {
    /// A time of the picture, by the clock of this moment.
    pub fn of(&self, at_ms: u64) -> u64 {
        at_ms.saturating_add_signed(self.shift_ms)
    }
}

impl World {
    /// The present `now_ms` by some clock, in milliseconds since 1970, and how the times in here are told by it. `now` is
    /// the present by the clock that this was painted by.
    pub fn moment(&self, now_ms: u64, now: Duration) -> Moment {
        let (painted_ms, painted) = self.painted;
        let elapsed_ms = i64::try_from(now.saturating_sub(painted).as_millis()).unwrap_or(i64::MAX);
        let difference = i128::from(now_ms) - i128::from(painted_ms) - i128::from(elapsed_ms);
        Moment {
            now_ms,
            shift_ms: i64::try_from(difference).unwrap_or(0),
        }
    }

    /// The same picture, its times told by the clock of a moment.
    pub(super) fn told_by(&self, moment: Moment) -> Self {
        let mut told = self.clone();
        told.painted.0 = moment.of(self.painted.0);
        for seen in told.members.values_mut() {
            seen.since_ms = moment.of(seen.since_ms);
            let Some(said) = &mut seen.said else { continue };
            let said = Arc::make_mut(said);
            said.received_ms = moment.of(said.received_ms);
            if let Some(Workload::Failed { since_ms, .. }) = &mut said.workload {
                *since_ms = moment.of(*since_ms);
            }
        }
        told
    }

    /// A picture of nothing but the machine itself.
    pub fn alone(me: Peer, generation: Generation, now_ms: u64) -> Self {
        let seen = Seen {
            addr: me.addr,
            generation,
            status: MemberStatus::Alive,
            since_ms: now_ms,
            how: "",
            said: None,
        };
        Self {
            me: me.machine,
            painted: (now_ms, Duration::ZERO),
            attentive_since: None,
            members: BTreeMap::from([(me.machine, seen)]),
        }
    }

    /// What is believed of a machine; `None` when it was never heard of.
    pub fn status(&self, machine: MachineId) -> Option<MemberStatus> {
        self.members.get(&machine).map(|seen| seen.status)
    }

    /// Whether a machine takes part: alive, or suspected and not yet given up.
    pub fn is_active(&self, machine: MachineId) -> bool {
        matches!(
            self.status(machine),
            Some(MemberStatus::Alive | MemberStatus::Suspect)
        )
    }

    /// Whether a machine takes part and says that it can't use its log: whatever seat it has counts for nothing.
    pub fn has_no_log(&self, machine: MachineId) -> bool {
        let said = self
            .members
            .get(&machine)
            .and_then(|seen| seen.said.as_ref());
        self.is_active(machine) && said.is_some_and(|said| said.log_failed)
    }

    /// A machine's address, as the mesh last knew it.
    pub fn peer(&self, machine: MachineId) -> Option<Peer> {
        self.members.get(&machine).map(|seen| Peer {
            machine,
            addr: seen.addr,
        })
    }

    /// All machines that take part, this one included.
    pub fn active(&self) -> impl Iterator<Item = Peer> + '_ {
        self.members
            .iter()
            .filter(|(_, seen)| matches!(seen.status, MemberStatus::Alive | MemberStatus::Suspect))
            .map(|(machine, seen)| Peer {
                machine: *machine,
                addr: seen.addr,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_told_by_another_clock_with_the_same_ages() {
        let machine = MachineId::new(1).expect("not zero");
        let addr = ([127, 0, 0, 1], 7000).into();
        let mut world = World::alone(Peer { machine, addr }, Generation(1), 1_000_000);
        world.painted.1 = Duration::from_secs(40);
        // 5 s later, and the other clock is 3.6 s behind.
        let (now_ms, now) = (1_005_000 - 3_600, Duration::from_secs(45));
        let told = world.told_by(world.moment(now_ms, now));
        assert_eq!(told.members[&machine].since_ms, now_ms - 5_000);
        assert_eq!(told.painted.0, now_ms - 5_000);
        let again = told.moment(now_ms, now);
        assert_eq!(again.of(7), 7, "it is told by that clock");
    }
}
