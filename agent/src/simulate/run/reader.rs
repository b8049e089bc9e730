//! One machine that people ask. It follows the log while it reaches somebody who has it, and answers from its own copy, with
//! the shipped code, cut off or not.

use std::collections::BTreeMap;

use muster_mesh::identity::{Generation, MachineId, Peer};

use super::Run;
use crate::answers::{QuorumView, SeatsView, Snapshot};
use crate::fleet::limits::MINUTE_MS;
use crate::fleet::{FleetState, Machine};
use crate::node::world::{Seen, World};
use crate::simulate::invariants::Sight;

/// How often it is asked, in milliseconds.
const ASKED_EVERY_MS: u64 = MINUTE_MS;

/// The machine that people ask, and its copy of the state.
#[derive(Default)]
pub(super) struct Reader {
    who: Option<MachineId>,
    state: FleetState,
    /// Commands that were committed and that it has not heard of.
    missed: Vec<Vec<u8>>,
    /// When its copy was last known to be complete, in milliseconds since 1970.
    as_of_ms: u64,
    asked_ms: u64,
}

impl Reader {
    /// Something was committed.
    pub(super) fn committed(&mut self, bytes: &[u8]) {
        if self.who.is_some() {
            self.missed.push(bytes.to_vec());
        }
    }
}

impl Run<'_> {
    /// Once a second: the machine hears what was committed, if it can, and is asked now and then.
    pub(super) fn read(&mut self) {
        if self.state.machines.len() > super::SMALL {
            return;
        }
        let Some(who) = self.who_is_asked() else {
            return;
        };
        let complete = self
            .able_leader()
            .is_some_and(|leader| self.follows(who, leader));
        if complete {
            for bytes in std::mem::take(&mut self.reader.missed) {
                self.reader.state.apply_bytes(&bytes);
            }
            self.reader.as_of_ms = self.now_ms;
        }
        if self.now_ms.saturating_sub(self.reader.asked_ms) >= ASKED_EVERY_MS {
            self.reader.asked_ms = self.now_ms;
            self.ask_reader(who, complete);
        }
    }

    /// Who is asked, if it runs. Where it is off the roster, another one takes its place, and fetches the whole state.
    fn who_is_asked(&mut self) -> Option<MachineId> {
        let on_roster = |id: &MachineId| self.state.machines.contains_key(id);
        if !self.reader.who.as_ref().is_some_and(on_roster) {
            let runs = |machine: &&Machine| self.mesh.is_running(machine.id);
            let running: Vec<_> = self.state.electors().filter(runs).collect();
            let at = usize::try_from(self.scenario.seed).unwrap_or(0) % running.len().max(1);
            self.reader = Reader {
                who: running.get(at).map(|machine| machine.id),
                state: self.state.clone(),
                as_of_ms: self.now_ms,
                ..Reader::default()
            };
        }
        self.reader.who.filter(|who| self.mesh.is_running(*who))
    }

    /// Whether it reaches the leader, or somebody who does.
    fn follows(&self, who: MachineId, leader: MachineId) -> bool {
        let between = |id: MachineId| self.mesh.hears(who, id) && self.mesh.hears(id, leader);
        who == leader
            || self.mesh.hears(who, leader)
            || self.state.electors().any(|machine| between(machine.id))
    }

    fn ask_reader(&mut self, who: MachineId, complete: bool) {
        let Some(machine) = self.reader.state.machines.get(&who) else {
            return;
        };
        let world = self.world(machine);
        let skew_ms = self.clocks.ahead_ms(who, self.now_ms);
        let snapshot = Snapshot {
            state: &self.reader.state,
            world: &world,
            me: who,
            name: machine.name.as_str(),
            now_ms: self.clock_ms(who),
            as_of_ms: self.reader.as_of_ms.saturating_add_signed(skew_ms),
            leader: self.lead.leader,
            term: self.lead.term,
            seats: SeatsView::default(),
            quorum: QuorumView::default(),
        };
        let sight = Sight::Answered {
            snapshot: &snapshot,
            age_ms: self.now_ms.saturating_sub(self.reader.as_of_ms),
            present: complete.then_some(&self.state),
        };
        let at_ms = self.now_ms.saturating_sub(self.began_ms);
        self.watch.see(at_ms, &sight);
    }

    /// What a machine sees of the mesh.
    fn world(&self, me: &Machine) -> World {
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
        world
    }
}
