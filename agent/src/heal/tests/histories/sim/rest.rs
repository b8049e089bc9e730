//! How a history ends: everything is mended, and the fleet comes to rest.

use muster_mesh::identity::MachineId;

use super::{Condition, Effect, Sim, Truth};
use crate::fleet::testing::cluster;
use crate::fleet::*;
use crate::heal::decide;

impl Sim {
    /// Everything that was broken is mended, except what is dead.
    pub(in super::super) fn mend(&mut self) {
        self.hears = None;
        self.provider_answers = true;
        self.skew_ms = 0;
        self.under_way.clear();
        self.elect(0, 0);
        let now_ms = self.fleet.now_ms;
        let roster = &self.fleet.state.machines;
        for (id, truth) in &mut self.truths {
            let dead = matches!(truth.condition, Condition::Dead | Condition::LeftForGood);
            // What nobody else can replace, a person starts again.
            let by_hand = roster
                .get(id)
                .is_some_and(|machine| machine.order.is_none());
            if !dead || by_hand {
                let life = truth.life + 1;
                *truth = Truth {
                    condition: Condition::Up,
                    since_ms: now_ms,
                    life,
                };
            }
        }
        self.start_if_most_are_dead();
        self.begun.clear();
        self.let_be();
        // A leader that was ahead has taken the fleet's clock along: wait until ours is there.
        let ahead_ms = self.fleet.state.clock_ms.saturating_sub(now_ms);
        self.pass(ahead_ms);
    }

    /// Half of the roster, or more, can't be made up for by the rest: a person starts what is dead again.
    fn start_if_most_are_dead(&mut self) {
        let now_ms = self.fleet.now_ms;
        let roster: Vec<_> = self.fleet.state.electors().map(|one| one.id).collect();
        let up = |id: &&MachineId| self.truth(**id).condition == Condition::Up;
        if roster.iter().filter(up).count() * 2 > roster.len() {
            return;
        }
        for id in roster {
            let Some(truth) = self.truths.get_mut(&id) else {
                continue;
            };
            if truth.condition == Condition::Dead {
                let order = self.fleet.state.machines[&id].order.as_ref();
                if let Some(made) = order.and_then(|op| self.made.get_mut(op)) {
                    made.running = true;
                }
                *truth = Truth {
                    condition: Condition::Up,
                    since_ms: now_ms,
                    life: truth.life + 1,
                };
            }
        }
    }

    /// The leader decides, and everything is committed, carried out and reported.
    pub(in super::super) fn round(&mut self) {
        self.look();
        self.arrive_all();
        for which in 0..short(self.fleet.state.open_intents().count()) {
            self.execute(which, Effect::Done);
        }
        (0..short(self.made.len())).for_each(|which| self.join(which));
        self.arrive_all();
    }

    fn arrive_all(&mut self) {
        while !self.under_way.is_empty() {
            self.arrive(0);
        }
    }

    /// Rounds until the fleet is what it should be.
    pub(in super::super) fn come_to_rest(&mut self) {
        for _ in 0..3000 {
            self.declare();
            self.round();
            if self.oracle.is_calm(&self.fleet.state, |id| self.serves(id)) {
                return;
            }
            self.pass(20_000);
        }
        let situation = self.situation();
        let state = &self.fleet.state;
        panic!(
            "the fleet does not come to rest: {:#?} {:#?} {:#?} {:#?}",
            state
                .machines
                .values()
                .filter(|machine| !self.serves(machine.id))
                .map(|machine| (machine, self.truth(machine.id)))
                .collect::<Vec<_>>(),
            state.concerns,
            state.open_intents().collect::<Vec<_>>(),
            decide(&self.fleet.state, &situation).proposals,
        );
    }

    fn serves(&self, id: MachineId) -> bool {
        let machine = &self.fleet.state.machines[&id];
        let made = machine.order.as_ref().map(|op| self.made.get(op));
        let runs = made.is_none_or(|made| made.is_some_and(|made| made.running));
        runs && machine.joined_ms.is_some() && self.truth(id).condition == Condition::Up
    }

    /// The log, applied to nothing, gives the same bytes.
    pub(in super::super) fn replay(&self) {
        let mut state = FleetState::default();
        for bytes in &self.oracle.log {
            state.apply_bytes(bytes);
        }
        let bytes = self.fleet.state.to_snapshot();
        assert!(state.to_snapshot() == bytes, "a replay gives another state");
        assert!(
            self.shadow.to_snapshot() == bytes,
            "the stored copy is another state"
        );
        assert_eq!(state.cluster_id(), Some(cluster()));
    }
}

fn short(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}
