//! Questions to the fleet state.

use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::consensus::Seat;
use muster_mesh::identity::{ClusterId, MachineId};

use super::command::QuarantineListing;
use super::decision::{Decision, DecisionId, Outcome, Subject};
use super::demand::{Demand, DemandId};
use super::intent::{Intent, Step};
use super::limits::APPROVAL_MS;
use super::machine::{Machine, Phase, Place};
use super::names::{GroupId, MachineName, Member};
use super::pause::{Pause, PauseKey};
use super::spec::{HealMode, Template};
use super::state::{Approval, Cluster, Concern, FleetState};
use super::{Group, OperationId};

impl FleetState {
    /// Whether a machine's workload is to run no more: the machine is being taken away, and past being drained and struck off.
    pub fn is_being_fenced(&self, machine: &Machine) -> bool {
        let intent = machine.intent.as_ref().and_then(|op| self.intents.get(op));
        let removing = intent.filter(|intent| intent.action.removes() == Some(machine.id));
        let step = removing.and_then(Intent::current).map(|record| record.step);
        step.is_some_and(|step| !matches!(step, Step::Drain | Step::Strike))
    }

    /// Which fleet this is; `None` until it is founded.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// The mesh's ID; `None` until the fleet is founded.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster.as_ref().map(|cluster| cluster.id)
    }

    // === machines ===

    /// The machine of this name. While one machine replaces another of the same name, the new one.
    pub fn machine_by_name(&self, name: &str) -> Option<&Machine> {
        let named = self
            .machines
            .values()
            .filter(|machine| machine.name.as_str() == name);
        named.max_by_key(|machine| machine.phase != Phase::Retiring)
    }

    /// All machines of a group, in whatever phase.
    pub fn group_machines<'a>(&'a self, id: &'a GroupId) -> impl Iterator<Item = &'a Machine> {
        self.machines
            .values()
            .filter(move |machine| machine.group() == Some(id))
    }

    /// How many machines a group has or is getting: those that count towards its size.
    pub fn existing(&self, id: &GroupId) -> usize {
        self.group_machines(id)
            .filter(|machine| machine.fills_its_slot())
            .count()
    }

    /// How many slots of machines that left for good, or were revoked, are not to be filled yet: outside of the mode
    /// `auto` a person decides about each, by letting it be cleared away or by forgetting it.
    pub fn slots_kept(&self, id: &GroupId) -> usize {
        let by_itself = |group: &Group| group.spec.heal.mode == HealMode::Auto;
        if self.groups.get(id).is_none_or(by_itself) {
            return 0;
        }
        let left = |machine: &&Machine| matches!(machine.phase, Phase::Left { .. });
        self.group_machines(id).filter(left).count()
    }

    /// The machines whose acknowledgement counts when a leader asks the roster.
    pub fn electors(&self) -> impl Iterator<Item = &Machine> {
        self.machines
            .values()
            .filter(|machine| machine.is_elector())
    }

    /// How many machines the fleet is meant to have: what the groups declare, and those that belong to no declared group
    /// and have not left.
    pub fn size_declared(&self) -> usize {
        let declared: usize = self.groups.values().map(Group::desired).sum();
        let is_by_itself = |machine: &&Machine| {
            machine.phase == Phase::Joined
                && !machine
                    .group()
                    .is_some_and(|id| self.groups.contains_key(id))
        };
        declared + self.electors().filter(is_by_itself).count()
    }

    /// What a machine was, or is to be, made from; `None` for machines without a declared group.
    pub fn template(&self, machine: &Machine) -> Option<&Template> {
        let group = self.groups.get(machine.group()?)?;
        let made_from = machine
            .revision
            .and_then(|revision| group.templates.get(&revision));
        made_from.or_else(|| group.templates.get(&group.template))
    }

    /// How many machines of the roster have a member's place.
    pub(super) fn holders(&self, id: &GroupId, member: &Member) -> usize {
        let is_there = |m: &&Machine| {
            m.place
                .as_ref()
                .is_some_and(|place| place.member == *member)
        };
        self.group_machines(id).filter(is_there).count()
    }

    /// Whether a member has a machine, in whatever phase.
    pub fn is_taken(&self, id: &GroupId, member: &Member) -> bool {
        self.holders(id, member) > 0
    }

    /// The first ordinal from `from` on whose machine name nobody has.
    pub fn free_ordinal(&self, id: &GroupId, from: u64) -> u64 {
        let is_free = |ordinal: &u64| {
            let name: MachineName = Member::Cattle(*ordinal).machine_name(id);
            self.machines.values().all(|machine| machine.name != name)
        };
        (from..).find(is_free).unwrap_or(from)
    }

    // === intents ===

    /// Intents that are under way.
    pub fn open_intents(&self) -> impl Iterator<Item = &Intent> {
        self.intents.values().filter(|intent| intent.is_open())
    }

    /// A group's intents that are under way.
    pub fn group_intents<'a>(&'a self, id: &'a GroupId) -> impl Iterator<Item = &'a Intent> {
        self.open_intents()
            .filter(move |intent| intent.group == *id)
    }

    /// How many machines of a group are being treated, replaced or taken away now; what the budget's *at once* counts.
    /// Machines that had left by themselves aren't counted.
    pub fn removals(&self, id: &GroupId) -> usize {
        let counts = |intent: &&Intent| {
            intent.action.finds().is_some() && !matches!(intent.was, Some(Phase::Left { .. }))
        };
        self.group_intents(id).filter(counts).count()
    }

    /// The intent of this operation ID, open or recently ended.
    pub fn intent(&self, op: &OperationId) -> Option<&Intent> {
        self.intents.get(op)
    }

    /// Whether the roster is what was declared and nothing is under way, on trial, on record as wrong, or about to be taken
    /// away. While it is, and every machine answers, there is nothing to decide. One pass over the roster.
    pub fn is_at_rest(&self) -> bool {
        let mut members: BTreeMap<&GroupId, Vec<&Member>> = BTreeMap::new();
        // Nobody takes care of machines that are not of a declared group.
        let declared = |place: &&Place| self.groups.contains_key(&place.group);
        for machine in self.machines.values() {
            let Some(place) = machine.place.as_ref().filter(declared) else {
                continue;
            };
            if machine.phase != Phase::Joined {
                return false;
            }
            members.entry(&place.group).or_default().push(&place.member);
        }
        let is_whole = |(id, group): (&GroupId, &Group)| {
            let members = members.get(id).map_or(&[][..], Vec::as_slice);
            !group.destroying && group.is_made_of(members)
        };
        self.concerns.is_empty()
            && self.open_intents().next().is_none()
            && self.trials().next().is_none()
            && !self.demands.values().any(Demand::is_open)
            && self.groups.iter().all(is_whole)
    }

    // === decisions ===

    /// The decision of this number, unless it was forgotten.
    pub fn decision(&self, id: DecisionId) -> Option<&Decision> {
        let at = self.decisions.partition_point(|decision| decision.id < id);
        self.decisions.get(at).filter(|decision| decision.id == id)
    }

    /// What stands on record about a machine.
    pub fn concern(&self, machine: MachineId) -> Option<&Concern> {
        self.concerns.get(&Subject::Machine(machine))
    }

    /// The pause that stops a group at this time, the wider one first.
    pub fn paused(&self, id: &GroupId, now_ms: u64) -> Option<(&PauseKey, &Pause)> {
        self.paused_in(id, None, None, now_ms)
    }

    /// The pause that stops, at this time, what is about a group and, where they are given, about a machine of it or a
    /// zone; the widest first.
    pub fn paused_in(
        &self,
        id: &GroupId,
        machine: Option<&Machine>,
        zone: Option<&str>,
        now_ms: u64,
    ) -> Option<(&PauseKey, &Pause)> {
        self.pauses
            .iter()
            .find(|(key, pause)| key.scope.covers(id, machine, zone) && pause.is_on(now_ms))
    }

    /// The pause that stops anything from being made for a group in any of its zones.
    pub fn paused_growth(&self, id: &GroupId, now_ms: u64) -> Option<(&PauseKey, &Pause)> {
        let zones = self.groups.get(id).map(|group| &group.spec.placement.zones);
        let paused = |zone: &String| self.paused_in(id, None, Some(zone), now_ms);
        let in_zones = || {
            let mut zones = zones?.iter().map(paused);
            let first = zones.next()??;
            zones.all(|other| other.is_some()).then_some(first)
        };
        self.paused(id, now_ms).or_else(in_zones)
    }

    /// The pause of this name, on or over.
    pub fn pause_named(&self, name: &MachineName) -> Option<(&PauseKey, &Pause)> {
        let has_it = |key: &PauseKey| key.name.as_ref() == Some(name);
        self.pauses.iter().find(|(key, _)| has_it(key))
    }

    /// A person's approval about a machine that has not run out. It is good for one diagnosis and one action only: see
    /// [`Approval::is_not_for`].
    pub fn approval(&self, machine: MachineId, now_ms: u64) -> Option<&Approval> {
        let approval = self.approvals.get(&machine)?;
        (now_ms < approval.at_ms.saturating_add(APPROVAL_MS)).then_some(approval)
    }

    /// The approval that a decision asks for, about which machine; `None` where it asks for none, or the same has not been
    /// asked since. Its number stays good while what was found and what would be done are the same: also when the same is
    /// asked anew, or another rule holds meanwhile.
    pub fn approvable(&self, id: DecisionId) -> Option<(MachineId, Approval)> {
        let decision = self.decision(id)?;
        let asked = &decision.proposal;
        let (Subject::Machine(machine), Outcome::AwaitApproval { would }) =
            (&asked.subject, &asked.outcome)
        else {
            return None;
        };
        // What was done since, or was over, was that failure; another one is asked about anew.
        let later = self.decisions.iter().rev().take_while(|one| one.id > id);
        let mut about = later.filter(|one| one.proposal.subject == asked.subject);
        let ends =
            |one: &Decision| matches!(one.proposal.outcome, Outcome::Act { .. } | Outcome::Clear);
        if about.any(ends) {
            return None;
        }
        let concern = self.concern(*machine)?;
        let asks_the_same = match concern.outcome {
            Outcome::AwaitApproval { would: now } => now == *would,
            Outcome::Hold { .. } => true,
            _ => false,
        };
        let diagnosis = asked.cause.diagnosis();
        let approval = Approval {
            decision: id,
            diagnosis,
            would: *would,
            by: None,
            at_ms: decision.at_ms,
        };
        (asks_the_same && concern.cause.diagnosis() == diagnosis).then_some((*machine, approval))
    }

    /// The last decision about a machine that asks for an approval and can be given it.
    pub fn awaits_approval(&self, machine: MachineId) -> Option<DecisionId> {
        let decisions = self.decisions.iter().rev();
        let about = decisions.filter(|one| one.proposal.subject == Subject::Machine(machine));
        let mut ids = about.map(|decision| decision.id);
        ids.find(|id| self.approvable(*id).is_some())
    }

    /// Whether exactly this has been approved already.
    pub fn is_approved(&self, machine: MachineId, wanted: &Approval, now_ms: u64) -> bool {
        let given = self.approval(machine, now_ms);
        given.is_some_and(|given| given.is_not_for(wanted.diagnosis, wanted.would).is_none())
    }

    /// The order by hand that waits for the rules to let it pass.
    pub fn demand_on(&self, machine: MachineId) -> Option<(DemandId, &Demand)> {
        let mut demands = self.demands.iter();
        demands
            .find(|(_, demand)| demand.machine == machine && demand.waits())
            .map(|(id, demand)| (*id, demand))
    }

    /// Whether a machine's workload has handed over its duties.
    pub fn is_drained(&self, machine: MachineId) -> bool {
        let machine = self.machines.get(&machine);
        machine.is_some_and(|machine| machine.drained_ms.is_some())
    }

    // === identities ===

    /// The seat that a machine has.
    pub fn seat_of(&self, machine: MachineId) -> Option<Seat> {
        self.seats
            .iter()
            .find(|(_, holder)| **holder == machine)
            .map(|(seat, _)| *seat)
    }

    /// Machines whose certificates are to be refused.
    pub fn revoked_machines(&self) -> BTreeSet<MachineId> {
        let condemned = self.machines.values().filter(|machine| machine.condemned);
        self.revoked
            .keys()
            .copied()
            .chain(condemned.map(|machine| machine.id))
            .collect()
    }

    /// Operators whose certificates are to be refused.
    pub fn revoked_operators(&self) -> impl Iterator<Item = &MachineName> {
        let revoked = self
            .operators
            .values()
            .filter(|operator| operator.revoked_ms.is_some());
        revoked.map(|operator| &operator.name)
    }

    /// Whether a provisioner has other hardware in quarantine than is on record.
    pub fn quarantine_differs(&self, listing: &QuarantineListing) -> bool {
        let known = self.quarantine.iter();
        let known = known.filter(|known| known.provisioner == listing.provisioner);
        let known: BTreeSet<_> = known.map(|known| known.hardware.as_str()).collect();
        let mut listed = listing.listed.iter();
        listed.any(|one| !known.contains(one.hardware.as_str()))
            || self.quarantine.iter().any(|known| listing.ends(known))
    }

    /// The group of this name.
    pub fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }
}
