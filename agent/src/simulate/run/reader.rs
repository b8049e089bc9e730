//! One machine that people ask. It follows the log while it reaches somebody who has it, and answers from its own copy, with
//! the shipped code, cut off or not.

use muster_mesh::identity::MachineId;

use super::Run;
use super::standstill::Council;
use crate::fleet::limits::MINUTE_MS;
use crate::fleet::{FleetState, Machine};
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
    /// Who had a seat, and who led, when it last heard.
    council: Council,
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
            self.reader.council.voters.clone_from(&self.lead.voters);
            self.reader.council.leader = self.lead.leader;
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
                council: Council {
                    voters: self.lead.voters.clone(),
                    ..Council::default()
                },
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
        let age_ms = self.now_ms.saturating_sub(self.reader.as_of_ms);
        let council = Council {
            voters: self.reader.council.voters.clone(),
            leader: self.reader.council.leader,
            silent_ms: age_ms,
        };
        let as_of_ms = self.reader.as_of_ms.saturating_add_signed(skew_ms);
        let copy = (&self.reader.state, as_of_ms);
        let snapshot = self.snapshot(machine, copy, &world, &council);
        let sight = Sight::Answered {
            snapshot: &snapshot,
            age_ms,
            present: complete.then_some(&self.state),
            leaderless_ms: self.leaderless_ms(),
        };
        let at_ms = self.now_ms.saturating_sub(self.began_ms);
        self.watch.see(at_ms, &sight);
    }
}
