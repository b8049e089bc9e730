//! What happens to machines and to the provider, and how it ends.

use std::time::Duration;

use muster_mesh::identity::MachineId;
use muster_mesh::simulator::{Condition, Way};

use super::{Ailment, Happening, Run};
use crate::fleet::limits::MINUTE_MS;
use crate::fleet::{Ask, Command, GroupId, Machine, Rule, Would};
use crate::simulate::fault::{Fault, FaultKind, Target};

/// A machine announces its leaving so long before it goes, in milliseconds.
const GOODBYE_MS: u64 = 2000;

/// What a person asks for stands for so long, in milliseconds.
const ORDER_STANDS_MS: u64 = 10 * MINUTE_MS;

/// A share in parts of a million.
fn ppm(share: f64) -> i64 {
    (share * 1_000_000.0) as i64
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A fault that is in effect.
pub(super) struct Active {
    machines: Vec<MachineId>,
    cut: Option<u64>,
}

impl Run<'_> {
    pub(super) fn fault(&mut self, number: usize) {
        let Some(fault) = self.scenario.faults.get(number) else {
            return;
        };
        let machines = self.resolve(&fault.target);
        let kind = fault.kind;
        let at_ms = self.elapsed_ms();
        self.account.course.note_fault(at_ms, number, &machines);
        self.last_wrong_ms = self.now_ms;
        let mut cut = None;
        match kind {
            FaultKind::Partition => cut = Some(self.mesh.cut(&machines)),
            FaultKind::ProviderDown => self.cloud.down += 1,
            FaultKind::ProviderLate => self.cloud.late += 1,
            FaultKind::ProviderSlow(by) => self.cloud.slower_ms += millis(by),
            FaultKind::ProviderErrors(share) => self.cloud.failing += share,
            _ => machines
                .iter()
                .for_each(|machine| self.befall(*machine, kind)),
        }
        let what = self.describe(&fault.target, kind, &machines);
        let names: Vec<String> = machines.iter().map(|machine| self.name(*machine)).collect();
        self.account
            .tell(self.elapsed_ms(), "fault", None, what, names);
        let ends = fault.lasts;
        let lost = kind.is_for_good() || kind == FaultKind::Silence && ends.is_none();
        if !lost {
            self.active.insert(number, Active { machines, cut });
        }
        if let Some(lasts) = ends {
            let end_ms = self.now_ms.saturating_add(millis(lasts));
            self.schedule(end_ms, Happening::FaultEnds(number));
        }
        self.check_leader();
        self.news();
    }

    fn describe(&self, target: &Target, kind: FaultKind, machines: &[MachineId]) -> String {
        match target {
            Target::Nobody => kind.to_string(),
            _ if machines.is_empty() => format!("{target}: nobody is left to be {kind}"),
            _ => format!("{target} {kind}"),
        }
    }

    fn befall(&mut self, machine: MachineId, kind: FaultKind) {
        match kind {
            FaultKind::Kill => {
                self.lose(machine);
                self.stop_instance(machine);
                // The host of a process stays, and says that nothing listens.
                if self.provisioner(machine) == muster_provisioners::process::NAME {
                    self.mesh.kill(machine);
                } else {
                    self.mesh.power_off(machine);
                }
            }
            FaultKind::Silence => {
                self.lose(machine);
                self.mesh.power_off(machine);
            }
            FaultKind::Crash => self.mesh.kill(machine),
            FaultKind::Pause | FaultKind::Hang => self.mesh.pause(machine),
            FaultKind::Reboot => self.mesh.power_off(machine),
            FaultKind::Leave => {
                self.mesh.announce_leaving(machine);
                self.schedule(self.now_ms + GOODBYE_MS, Happening::Departs(machine));
            }
            FaultKind::Loss(share) => self.mesh.lose_at(machine, share),
            FaultKind::Deaf => self.mesh.block(machine, Way::In, true),
            FaultKind::Mute => self.mesh.block(machine, Way::Out, true),
            FaultKind::DiskFull => {
                self.full.insert(machine);
            }
            FaultKind::Torn => {
                // A copy that no vote depends on is fetched anew.
                if self.lead.voters.contains(&machine) {
                    self.torn.insert(machine);
                }
                self.mesh.kill(machine);
            }
            FaultKind::Workload | FaultKind::HealthCheck => {
                let ailment = Ailment {
                    since_ms: self.now_ms,
                    curable: kind == FaultKind::Workload,
                };
                self.ailing.insert(machine, ailment);
                self.mended.remove(&machine);
            }
            FaultKind::ClockAhead(by) => self.set_clock(machine, millis(by), false),
            FaultKind::ClockBehind(by) => self.set_clock(machine, millis(by), true),
            FaultKind::ClockFast(share) => self.clocks.disturb(machine, self.now_ms, 0, ppm(share)),
            FaultKind::ClockSlow(share) => {
                self.clocks.disturb(machine, self.now_ms, 0, -ppm(share));
            }
            FaultKind::Order { what, force } => self.ask(machine, what, force),
            FaultKind::Cordon => {
                let reason = "simulated".into();
                self.by_hand(Command::Cordon { machine, reason });
            }
            FaultKind::Complains(_)
            | FaultKind::Disowned
            | FaultKind::Partition
            | FaultKind::ProviderDown
            | FaultKind::ProviderSlow(_)
            | FaultKind::ProviderLate
            | FaultKind::ProviderErrors(_) => {}
        }
    }

    fn lose(&mut self, machine: MachineId) {
        let at_ms = self.elapsed_ms();
        let known = self.state.machines.get(&machine);
        let group = known.and_then(Machine::group);
        self.account.lost(at_ms, machine, group);
    }

    /// A bad check is part of what its group, zone or fleet is given: whoever joins that has it, too.
    pub(super) fn inherit_checks(&mut self, machine: MachineId) {
        let Some(known) = self.state.machines.get(&machine) else {
            return;
        };
        let has = |target: &Target| match target {
            Target::All => true,
            Target::Zone(zone) => known.known_zone() == Some(zone.as_str()),
            Target::Group(group) => known.group().map(GroupId::as_str) == Some(group),
            _ => false,
        };
        let inherited = |number: &usize| {
            let fault = self.scenario.faults.get(*number);
            fault.is_some_and(|fault| fault.kind == FaultKind::HealthCheck && has(&fault.target))
        };
        let numbers: Vec<usize> = self.active.keys().copied().filter(inherited).collect();
        let at_ms = self.elapsed_ms();
        for number in numbers {
            if let Some(active) = self.active.get_mut(&number) {
                active.machines.push(machine);
            }
            let course = &mut self.account.course;
            course.note_fault(at_ms, number, &[machine]);
            self.befall(machine, FaultKind::HealthCheck);
        }
    }

    fn set_clock(&mut self, machine: MachineId, by_ms: u64, behind: bool) {
        let by_ms = i64::try_from(by_ms).unwrap_or(i64::MAX);
        let by_ms = if behind { -by_ms } else { by_ms };
        self.clocks.disturb(machine, self.now_ms, by_ms, 0);
    }

    // === people ===

    fn ask(&mut self, machine: MachineId, what: Would, force: Option<Rule>) {
        let Some(leader) = self.lead.leader else {
            return;
        };
        let until_ms = self.fleet_ms(leader).saturating_add(ORDER_STANDS_MS);
        self.by_hand(Command::Ask(Box::new(Ask {
            machine,
            what,
            reason: "simulated".into(),
            until_ms,
            forced: force.into_iter().collect(),
        })));
    }

    /// Has what a person wants put on record, if there is a leader that can; refusals are theirs to read.
    fn by_hand(&mut self, command: Command) {
        if let Some(leader) = self.able_leader() {
            self.commit(leader, command);
        }
    }

    /// The workload of a machine is started anew.
    pub(super) fn works_again(&mut self, machine: MachineId) {
        let cured = |ailment: &Ailment| ailment.curable;
        if self.mesh.is_running(machine) && self.ailing.get(&machine).is_some_and(cured) {
            self.mend(machine);
        }
    }

    fn mend(&mut self, machine: MachineId) {
        self.ailing.remove(&machine);
        self.mended.insert(machine, self.now_ms);
    }

    /// The faults of which a machine suffers now.
    pub(super) fn suffers(&self, machine: MachineId) -> impl Iterator<Item = &Fault> {
        let faults = self.active.iter();
        faults
            .filter(move |(_, active)| active.machines.contains(&machine))
            .filter_map(|(number, _)| self.scenario.faults.get(*number))
    }

    /// Whether something is the matter that a leader hears of although the machine answers.
    pub(super) fn is_talked_of(&self) -> bool {
        let faults = self.active.keys();
        let mut faults = faults.filter_map(|number| self.scenario.faults.get(*number));
        faults.any(|fault| {
            let clock = matches!(
                fault.kind,
                FaultKind::ClockAhead(_)
                    | FaultKind::ClockBehind(_)
                    | FaultKind::ClockFast(_)
                    | FaultKind::ClockSlow(_)
            );
            clock || matches!(fault.kind, FaultKind::Complains(_) | FaultKind::Disowned)
        })
    }

    fn stop_instance(&mut self, machine: MachineId) {
        let known = self.state.machines.get(&machine);
        let instance = known
            .and_then(|known| self.cloud.instance_of(known))
            .cloned();
        if let Some(instance) = instance {
            self.cloud.stop(self.now_ms, &instance);
        }
    }

    pub(super) fn departs(&mut self, machine: MachineId) {
        if self.mesh.is_running(machine) {
            self.mesh.depart(machine);
            self.stop_instance(machine);
            self.check_leader();
            self.news();
        }
    }

    pub(super) fn fault_ends(&mut self, number: usize) {
        let (Some(active), Some(fault)) = (
            self.active.remove(&number),
            self.scenario.faults.get(number),
        ) else {
            return;
        };
        self.last_wrong_ms = self.now_ms;
        match fault.kind {
            FaultKind::Partition => active.cut.into_iter().for_each(|cut| self.mesh.mend(cut)),
            FaultKind::ProviderDown => self.cloud.down = self.cloud.down.saturating_sub(1),
            FaultKind::ProviderLate => {
                self.cloud.late = self.cloud.late.saturating_sub(1);
                self.carry_out_late();
            }
            FaultKind::ProviderSlow(by) => {
                self.cloud.slower_ms = self.cloud.slower_ms.saturating_sub(millis(by));
            }
            FaultKind::ProviderErrors(share) => {
                self.cloud.failing = (self.cloud.failing - share).max(0.0)
            }
            kind => active
                .machines
                .iter()
                .for_each(|machine| self.recovers(*machine, kind)),
        }
        let what = match &fault.target {
            Target::Nobody => format!("no longer {}", fault.kind),
            target => format!("{target} no longer {}", fault.kind),
        };
        let names: Vec<String> = active
            .machines
            .iter()
            .map(|machine| self.name(*machine))
            .collect();
        self.account
            .tell(self.elapsed_ms(), "end", None, what, names);
        self.check_leader();
        self.news();
    }

    fn recovers(&mut self, machine: MachineId, kind: FaultKind) {
        match kind {
            FaultKind::Loss(_) => self.mesh.lose_at(machine, 0.0),
            FaultKind::Deaf => self.mesh.block(machine, Way::In, false),
            FaultKind::Mute => self.mesh.block(machine, Way::Out, false),
            FaultKind::DiskFull => {
                self.full.remove(&machine);
            }
            FaultKind::Workload | FaultKind::HealthCheck => self.mend(machine),
            FaultKind::ClockAhead(_)
            | FaultKind::ClockBehind(_)
            | FaultKind::ClockFast(_)
            | FaultKind::ClockSlow(_) => self.clocks.put_right(machine),
            FaultKind::Cordon => self.by_hand(Command::Uncordon { machine }),
            FaultKind::Pause
            | FaultKind::Hang
            | FaultKind::Reboot
            | FaultKind::Crash
            | FaultKind::Torn
            | FaultKind::Silence => {
                self.comes_back(machine);
            }
            _ => {}
        }
    }

    /// A machine goes on, or starts again, if it still exists and nobody has replaced it: one that was replaced is
    /// refused by everyone.
    pub(super) fn comes_back(&mut self, machine: MachineId) {
        let known = self
            .state
            .machines
            .get(&machine)
            .filter(|known| !known.condemned);
        let instance = known.and_then(|known| self.cloud.instance_of(known));
        let runs = instance
            .and_then(|id| self.cloud.get(id))
            .is_some_and(crate::simulate::cloud::Made::runs);
        match (self.mesh.condition(machine), runs) {
            (Condition::Paused, true) => self.mesh.resume(machine),
            (Condition::Paused, false) => self.mesh.power_off(machine),
            (Condition::Killed | Condition::Off, true) => self.mesh.start(machine),
            _ => return,
        }
        if runs {
            self.account.returned(machine);
        }
    }

    // === whom ===

    fn resolve(&mut self, target: &Target) -> Vec<MachineId> {
        let running = |machine: &&Machine| self.mesh.is_running(machine.id);
        let machines: Vec<&Machine> = self.state.machines.values().filter(running).collect();
        let those = |is: &dyn Fn(&Machine) -> bool| -> Vec<MachineId> {
            let chosen = machines.iter().filter(|machine| is(machine));
            chosen.map(|machine| machine.id).collect()
        };
        match target {
            Target::Nobody => Vec::new(),
            Target::All => those(&|_| true),
            Target::Zone(zone) => those(&|machine| machine.known_zone() == Some(zone.as_str())),
            Target::Group(group) => {
                those(&|machine| machine.group().map(GroupId::as_str) == Some(group))
            }
            Target::Name(name) => those(&|machine| machine.name.as_str() == name),
            Target::Leader => self.lead.leader.into_iter().collect(),
            Target::Coordinators => those(&|machine| self.lead.voters.contains(&machine.id)),
            Target::Any(count) => {
                let all = those(&|_| true);
                self.random.some(all, *count as usize)
            }
            Target::Share(share) => {
                let all = those(&|_| true);
                let count = (all.len() as f64 * share).ceil() as usize;
                self.random.some(all, count)
            }
        }
    }
}
