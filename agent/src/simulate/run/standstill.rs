//! What machines say while nobody can lead: nothing gets on record then, so whoever is asked says it by itself, with the
//! shipped code.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_mesh::consensus::{Seat, SeatNode, Seats};
use muster_mesh::identity::{Generation, MachineId, Peer};

use super::Run;
use crate::answers::{QuorumView, SeatsView, Snapshot, status};
use crate::api::types::Status;
use crate::fleet::limits::SECOND_MS;
use crate::fleet::{FleetState, GroupId, Machine, Rule};
use crate::health::{Level, Readings};
use crate::node::quorum::{Sight, judge};
use crate::node::world::{Said, Seen, World};

/// Elections are no news: a fleet stands still when nobody has been able to lead for so long, in milliseconds.
const STANDSTILL_MS: u64 = 10 * SECOND_MS;

/// How often machines are asked then, in milliseconds.
const ASKED_EVERY_MS: u64 = 10 * SECOND_MS;

/// What is known of a fleet that stands still.
#[derive(Default)]
pub(super) struct Standstill {
    /// When somebody was asked last, in milliseconds since 1970.
    asked_ms: u64,
    /// Groups whose hold has been told since.
    told: BTreeSet<GroupId>,
}

/// What one machine knows of the coordinators.
#[derive(Default)]
pub(super) struct Council {
    pub(super) voters: Vec<MachineId>,
    pub(super) leader: Option<MachineId>,
    /// How long ago the leader was last heard to lead, in milliseconds.
    pub(super) silent_ms: u64,
}

impl Run<'_> {
    /// How long nobody has been able to lead, in milliseconds; `None` while somebody is.
    pub(super) fn leaderless_ms(&self) -> Option<u64> {
        let since_ms = self.lead.since_ms;
        let leads = self.able_leader().is_some();
        (!leads).then(|| self.now_ms.saturating_sub(since_ms))
    }

    /// Once a second: where nobody leads, the groups that wait for that are told of.
    pub(super) fn tell_standstill(&mut self) {
        if self.leaderless_ms().is_none_or(|ms| ms < STANDSTILL_MS) {
            self.standstill = Standstill::default();
            return;
        }
        let asked_ms = self.standstill.asked_ms;
        if self.now_ms.saturating_sub(asked_ms) < ASKED_EVERY_MS {
            return;
        }
        self.standstill.asked_ms = self.now_ms;
        let Some(status) = self.somebody_says() else {
            return;
        };
        let at_ms = self.elapsed_ms();
        let rule = Rule::Quorum.to_string();
        for group in &status.groups {
            let hold = group.holds.iter().find(|hold| hold.rule == rule);
            let id = GroupId::new(group.id.as_str()).ok();
            if let (Some(hold), Some(id)) = (hold, id)
                && self.standstill.told.insert(id.clone())
            {
                self.account.held(Rule::Quorum, &hold.detail);
                let machines = self.state.group_machines(&id);
                let broken = machines.filter(|machine| !self.works(machine));
                let names: Vec<_> = broken.map(|machine| machine.name.to_string()).collect();
                let what = format!("held by {rule}: nobody leads");
                self.account.tell(at_ms, "hold", Some(&id), what, names);
            }
        }
    }

    /// What `muster status` says on a machine that runs; `None` where none does.
    pub(super) fn somebody_says(&self) -> Option<Status> {
        let runs = |machine: &&Machine| self.mesh.is_running(machine.id);
        let asked = self.state.electors().find(runs)?;
        let world = self.world(asked);
        let council = Council {
            voters: self.lead.voters.clone(),
            leader: self.able_leader(),
            silent_ms: self.leaderless_ms().unwrap_or(0),
        };
        let now_ms = self.clock_ms(asked.id);
        let snapshot = self.snapshot(asked, (&self.state, now_ms), &world, &council);
        status(&snapshot).ok()
    }

    /// All that a machine answers from, with a copy of the state that was complete at a time by its clock.
    pub(super) fn snapshot<'s>(
        &self,
        me: &'s Machine,
        (state, as_of_ms): (&'s FleetState, u64),
        world: &'s World,
        council: &Council,
    ) -> Snapshot<'s> {
        Snapshot {
            state,
            world,
            me: me.id,
            name: me.name.as_str(),
            now_ms: self.clock_ms(me.id),
            as_of_ms,
            leader: council.leader,
            term: self.lead.term,
            seats: SeatsView::default(),
            quorum: self.quorum(me.id, state, world, council),
        }
    }

    fn quorum(
        &self,
        me: MachineId,
        state: &FleetState,
        world: &World,
        council: &Council,
    ) -> QuorumView {
        let node = |machine: &MachineId| {
            let addr = world.peer(*machine)?.addr;
            let machine = *machine;
            Some(SeatNode { machine, addr })
        };
        let nodes = council.voters.iter().filter_map(node);
        let seats = Seats {
            voters: (1..).map(Seat).zip(nodes).collect(),
            ..Seats::default()
        };
        let leads = |leader: &MachineId| world.is_active(*leader) && !world.has_no_log(*leader);
        judge(&Sight {
            state,
            seats: &seats,
            world,
            leader: council.leader.filter(leads),
            silent_ms: Some(council.silent_ms),
            stuck: None,
            hold: self.why_not_anew(me),
        })
    }

    /// What a machine sees of the mesh.
    pub(super) fn world(&self, me: &Machine) -> World {
        let now_ms = self.clock_ms(me.id);
        let peer = Peer {
            machine: me.id,
            addr: me.addr.unwrap_or_else(|| ([127, 0, 0, 1], 0).into()),
        };
        let mut world = World::alone(peer, Generation(1), now_ms);
        let others = self
            .state
            .machines
            .values()
            .filter(|other| other.id != me.id);
        let seen = others.filter_map(|other| {
            let belief = self.mesh.belief(me.id, other.id, now_ms)?;
            let seen = Seen {
                addr: other.addr?,
                generation: belief.generation,
                status: belief.status,
                since_ms: belief.since_ms,
                how: "",
                said: None,
            };
            Some((other.id, seen))
        });
        let seen: BTreeMap<_, _> = seen.collect();
        world.members.extend(seen);
        for voter in self.lead.voters.iter().filter(|voter| !self.votes(**voter)) {
            if let Some(seen) = world.members.get_mut(voter) {
                seen.said = Some(Arc::new(log_failed(now_ms)));
            }
        }
        world
    }
}

/// What a coordinator says of itself that can't use its log.
fn log_failed(now_ms: u64) -> Said {
    Said {
        health: Level::Critical,
        readings: Readings::default(),
        reasons: Vec::new(),
        part: None,
        workload_unsteady: false,
        workload: None,
        leaving: None,
        version: String::new(),
        name: String::new(),
        api: None,
        pid: None,
        coordinates: true,
        log_failed: true,
        labels: BTreeMap::new(),
        received_ms: now_ms,
    }
}
