//! Leases: machines of pets ask for them, a leader gives them, and the workload runs as long as they last.
//!
//! What is modelled is what a guard and the kernel make sure of: a workload under a lease does not outlive it, by the clock of
//! its machine, whatever has become of that. The clocks go at different paces (`clocks`).

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use super::Run;
use crate::fleet::{Command, LeaseTerms, Phase};

/// The leases of all machines, by the real time.
#[derive(Default)]
pub(super) struct Leases {
    /// When each was granted last, in milliseconds since 1970. Each leader counts those of its own reign only.
    granted: BTreeMap<MachineId, u64>,
    /// By when each machine's workload has ended, in milliseconds since 1970.
    ends: BTreeMap<MachineId, u64>,
}

impl Run<'_> {
    /// Each machine that is to have a lease asks for it; called more often than any lease has to be renewed.
    pub(super) fn renew_leases(&mut self) {
        let Some(leader) = self.able_leader() else {
            return;
        };
        let (heard, counted) = self.stand_behind(leader);
        if heard * 2 <= counted {
            return;
        }
        for (machine, terms, promised) in self.asking(leader) {
            if !promised {
                let terms = Some(terms);
                self.commit(leader, Command::BindLease { machine, terms });
            }
            let may_have = self.state.machines.get(&machine).is_some_and(|machine| {
                machine.lease.is_some() && !self.state.is_being_fenced(machine)
            });
            if may_have {
                let long = terms.lease_ms;
                let lasts_ms = self.clocks.real_ms(machine, long, &mut self.random);
                self.leases.granted.insert(machine, self.now_ms);
                self.leases.ends.insert(machine, self.now_ms + lasts_ms);
            }
        }
    }

    fn asking(&self, leader: MachineId) -> Vec<(MachineId, LeaseTerms, bool)> {
        let machines = self.state.machines.values();
        let asking = machines.filter_map(|machine| {
            let terms = self.state.groups.get(machine.group()?)?.spec.heal.lease?;
            let asks = machine.phase == Phase::Joined && self.mesh.hears(leader, machine.id);
            let promised = machine
                .lease
                .is_some_and(|known| known.or_longer(terms) == known);
            asks.then_some((machine.id, terms, promised))
        });
        asking.collect()
    }

    /// How long the leader has to wait until a lease is over, in milliseconds: those of its predecessors were granted before
    /// it began, at the latest.
    pub(super) fn lease_left_ms(
        &mut self,
        leader: MachineId,
        machine: MachineId,
        terms: LeaseTerms,
    ) -> u64 {
        let granted = self.leases.granted.get(&machine).copied().unwrap_or(0);
        let last_ms = granted.max(self.lead.since_ms);
        let over_ms = self
            .clocks
            .real_ms(leader, terms.over_ms(), &mut self.random);
        last_ms.saturating_add(over_ms).saturating_sub(self.now_ms)
    }

    /// Whether a machine whose instance runs runs its workload too: not when its lease has ended.
    pub(super) fn may_write(&self, machine: MachineId) -> bool {
        let ends_ms = self.leases.ends.get(&machine);
        ends_ms.is_none_or(|ends_ms| self.now_ms < *ends_ms)
    }
}
