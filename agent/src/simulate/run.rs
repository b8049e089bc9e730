//! One simulation as it runs: a queue of what happens, and everything that it happens to.

mod begin;
mod clocks;
mod faults;
mod hands;
mod lead;
mod leases;
mod reader;
mod refounding;
mod seen;
mod standstill;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use muster_mesh::identity::MachineId;
use sha2::{Digest, Sha256};

use super::account::{Account, Ended, GroupEnd, Report};
use super::cloud::Cloud;
use super::invariants::{Leaderless, Sight, Watch};
use super::mesh::Mesh;
use super::random::Random;
use super::scenario::Scenario;
use crate::api::types::Status;
use crate::fleet::limits::SECOND_MS;
use crate::fleet::{
    Action, Cause, Command, Envelope, FleetState, Group, GroupId, InstanceId, IntentState, Machine,
    OperationId, Outcome, Progress, Proposal, Reply, Subject,
};

use clocks::Clocks;
use faults::Active;
use hands::Errand;
use lead::Lead;
use leases::Leases;
use reader::Reader;
use refounding::Founding;
use standstill::Standstill;

/// A leader looks so soon after news, in milliseconds: what comes together is looked at together.
const DEBOUNCE_MS: u64 = 20;

/// In fleets of so many machines at most, the state before each so manieth command is kept to be compared.
const SMALL: usize = 20;
const REMEMBERED_EVERY: u64 = 16;

/// A leader looks this often at most, in milliseconds.
const LOOKS_APART_MS: u64 = 100;

/// Something that happens at a time.
#[derive(Debug, Clone)]
enum Happening {
    /// A fault begins.
    Fault(usize),
    /// A fault ends.
    FaultEnds(usize),
    /// The leader looks, if it has not looked since this was planned.
    Look,
    /// Who is able to lead is looked at, and coordinators are replaced.
    Tick,
    /// The coordinators elect.
    Elect,
    /// The time of a step's next try has come.
    Due,
    /// A call arrives where it is carried out.
    Calls(Box<Errand>),
    /// A step has ended, in the term in which it began.
    StepEnds { term: u64, progress: Progress },
    /// A new machine asks to be let in.
    Boots(InstanceId),
    /// A machine that announced its leaving goes.
    Departs(MachineId),
    /// A machine that was rebooted is up again.
    Starts(MachineId),
}

/// What is the matter with a workload.
#[derive(Debug, Clone, Copy)]
struct Ailment {
    /// Since when, in milliseconds since 1970.
    since_ms: u64,
    /// Whether it works again after a restart.
    curable: bool,
}

/// A simulation as it runs.
pub(super) struct Run<'a> {
    scenario: &'a Scenario,
    random: Random,
    /// The real time, in milliseconds since 1970.
    now_ms: u64,
    began_ms: u64,
    state: FleetState,
    mesh: Mesh,
    cloud: Cloud,
    lead: Lead,
    founding: Founding,
    standstill: Standstill,
    leases: Leases,
    clocks: Clocks,
    reader: Reader,
    under_way: BTreeSet<OperationId>,
    /// What a provider that is late has been asked for.
    late: Vec<Errand>,
    /// Machines whose disk is full, and machines whose log is damaged.
    full: BTreeSet<MachineId>,
    torn: BTreeSet<MachineId>,
    /// Machines whose workload fails, or is said to.
    ailing: BTreeMap<MachineId, Ailment>,
    /// Since when workloads work that did not, in milliseconds since 1970.
    mended: BTreeMap<MachineId, u64>,
    active: BTreeMap<usize, Active>,
    last_wrong_ms: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    sequence: u64,
    look_at: Option<u64>,
    looked_ms: u64,
    watch: Watch,
    account: Account,
    commits: u64,
    trace: Sha256,
}

impl Run<'_> {
    /// Lets everything happen, and tells.
    pub(super) fn finish(mut self, machines: usize) -> Report {
        let length_ms = u64::try_from(self.scenario.length.as_millis()).unwrap_or(u64::MAX);
        let end_ms = self.began_ms.saturating_add(length_ms);
        loop {
            let next_ms = self
                .queue
                .peek()
                .map_or(end_ms, |Reverse((at_ms, _))| *at_ms);
            self.pass_until(next_ms.min(end_ms));
            if self.now_ms >= end_ms {
                break;
            }
            while let Some(Reverse((at_ms, number))) = self.queue.peek().copied() {
                if at_ms > self.now_ms {
                    break;
                }
                self.queue.pop();
                if let Some(happening) = self.happenings.remove(&number) {
                    self.happen(happening);
                }
            }
        }
        self.close(machines, length_ms)
    }

    /// Lets time pass, until something happens or the leader has changed its mind about somebody.
    fn pass_until(&mut self, until_ms: u64) {
        while self.now_ms < until_ms {
            let limit = Duration::from_millis(until_ms - self.now_ms);
            let step = self.mesh.step(limit);
            self.now_ms += u64::try_from(step.as_millis()).unwrap_or(u64::MAX).max(1);
            if self.notice() {
                return;
            }
        }
    }

    fn schedule(&mut self, at_ms: u64, happening: Happening) {
        self.sequence += 1;
        self.queue
            .push(Reverse((at_ms.max(self.now_ms), self.sequence)));
        self.happenings.insert(self.sequence, happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Fault(number) => self.fault(number),
            Happening::FaultEnds(number) => self.fault_ends(number),
            Happening::Look => {
                if self.look_at.is_some_and(|at_ms| at_ms <= self.now_ms) {
                    self.look_at = None;
                    self.look();
                }
            }
            Happening::Tick => {
                self.tick();
                self.refound();
                self.tell_standstill();
                self.renew_leases();
                self.read();
                self.read_roster();
                self.schedule(self.now_ms + SECOND_MS, Happening::Tick);
            }
            Happening::Elect => self.elect(),
            Happening::Due => self.start_due(),
            Happening::Calls(errand) => self.calls(errand),
            Happening::StepEnds { term, progress } => self.step_ends(term, progress),
            Happening::Boots(instance) => self.boots(&instance),
            Happening::Departs(machine) => self.departs(machine),
            Happening::Starts(machine) => self.comes_back(machine),
        }
    }

    /// Something is new: the leader looks in a moment.
    fn news(&mut self) {
        let again_ms = self.looked_ms.saturating_add(LOOKS_APART_MS);
        self.look_by(again_ms.max(self.now_ms + DEBOUNCE_MS));
    }

    fn look_by(&mut self, at_ms: u64) {
        if self.look_at.is_none_or(|planned_ms| at_ms < planned_ms) {
            self.look_at = Some(at_ms);
            self.schedule(at_ms, Happening::Look);
        }
    }

    /// Since the beginning, in milliseconds.
    fn elapsed_ms(&self) -> u64 {
        self.now_ms.saturating_sub(self.began_ms)
    }

    fn name(&self, machine: MachineId) -> String {
        let known = self.state.machines.get(&machine);
        known.map_or_else(|| machine.to_string(), |known| known.name.to_string())
    }

    // === the log ===

    /// Commits a command, as the leader of this term, and says what came of it.
    fn commit(&mut self, leader: MachineId, command: Command) -> Reply {
        let envelope = Envelope {
            at_ms: self.clock_ms(leader),
            by: leader,
            term: self.lead.term,
            actor: None,
            command,
        };
        let bytes = envelope.encode();
        let before = self.is_remembered().then(|| self.state.clone());
        self.trace.update(self.now_ms.to_be_bytes());
        self.trace.update(&bytes);
        let reply = self.state.apply_bytes(&bytes);
        self.reader.committed(&bytes);
        let sight = Sight::Applied {
            before: before.as_ref(),
            state: &self.state,
            envelope: &envelope,
            bytes: &bytes,
            reply: &reply,
        };
        let at_ms = self.now_ms.saturating_sub(self.began_ms);
        self.watch.see(at_ms, &sight);
        if self.began_ms > 0 {
            self.note(&envelope.command, &reply);
        }
        self.news();
        reply
    }

    /// Whether the state is kept before the next command, to be compared: now and then, since that takes as long as all else.
    fn is_remembered(&mut self) -> bool {
        self.commits += 1;
        self.state.machines.len() <= SMALL && self.commits.is_multiple_of(REMEMBERED_EVERY)
    }

    /// Tells what a command did.
    fn note(&mut self, command: &Command, reply: &Reply) {
        let at_ms = self.elapsed_ms();
        match (command, reply) {
            (Command::Decide(proposals), Reply::Decided(results)) => {
                for (proposal, result) in proposals.iter().zip(results) {
                    if result.is_ok() {
                        self.note_decision(at_ms, proposal);
                    }
                }
            }
            (Command::Admit(admit), Reply::Admitted(_)) => {
                let Some(machine) = MachineId::new(admit.token.0) else {
                    return;
                };
                let group = self
                    .state
                    .machines
                    .get(&machine)
                    .and_then(Machine::group)
                    .cloned();
                let name = self.name(machine);
                self.account
                    .tell(at_ms, "joined", group.as_ref(), "joined", [name]);
                self.account.joined(at_ms, machine);
            }
            (Command::Progress(progress), Reply::Done) => {
                let intent = self.state.intents.get(&progress.op);
                if let Some(intent) = intent
                    && let IntentState::Failed { step, error, .. } = &intent.state
                {
                    let what = format!("`{step}` failed: {error}");
                    let name = intent.name.to_string();
                    self.account
                        .tell(at_ms, "failed", Some(&intent.group), what, [name]);
                }
            }
            _ => {}
        }
    }

    fn note_decision(&mut self, at_ms: u64, proposal: &Proposal) {
        let group = proposal.group.as_ref();
        let names = match &proposal.subject {
            Subject::Machine(machine) => vec![self.name(*machine)],
            Subject::Group(_) => Vec::new(),
        };
        match &proposal.outcome {
            Outcome::Act { op, action } => {
                if let (Action::Replace { .. } | Action::Reimage { .. }, Some((old, new))) =
                    (action, action.removes().zip(action.makes()))
                {
                    self.account.ordered(at_ms, old, new);
                }
                if let Some(machine) = action.finds() {
                    let word = action.to_string();
                    self.account.course.note_action(at_ms, machine, word);
                }
                let new = action.makes().map(|new| self.name(new));
                let names = if names.is_empty() {
                    new.into_iter().collect()
                } else {
                    names
                };
                let why = match &proposal.cause {
                    Cause::Diagnosed { diagnosis, .. } => format!("{action}: {diagnosis}"),
                    other => format!("{action}: {}", reason(other)),
                };
                self.account.tell(at_ms, "act", group, why, names);
                let paid = self.state.intents.get(op).is_some_and(|intent| intent.paid);
                self.note_spending(proposal, paid);
            }
            Outcome::Hold { rule, detail, .. } => {
                self.account.held(*rule, detail);
                self.account
                    .tell(at_ms, "hold", group, format!("held by {rule}"), names);
            }
            Outcome::Observe { would } => {
                self.account.tell(
                    at_ms,
                    "hold",
                    group,
                    format!("only observed: would {would}"),
                    names,
                );
            }
            Outcome::AwaitApproval { would } => {
                self.account.tell(
                    at_ms,
                    "hold",
                    group,
                    format!("waits for approval to {would}"),
                    names,
                );
            }
            Outcome::Clear => self
                .account
                .tell(at_ms, "clear", group, "well again", names),
        }
    }

    fn note_spending(&mut self, proposal: &Proposal, paid: bool) {
        let Some(id) = &proposal.group else { return };
        let Some(group) = self.state.groups.get(id) else {
            return;
        };
        let (removals, at_once, per_hour) =
            (self.state.removals(id), group.at_once(), group.per_hour());
        let spending = self.account.spending(id);
        spending.replacements += u64::from(paid);
        spending.at_once_most = spending.at_once_most.max(removals);
        (spending.at_once, spending.per_hour) = (at_once, per_hour);
    }

    // === the end ===

    fn works(&self, machine: &Machine) -> bool {
        let instance = self
            .cloud
            .instance_of(machine)
            .and_then(|id| self.cloud.get(id));
        instance.is_some_and(super::cloud::Made::runs)
            && machine.joined_ms.is_some()
            && !self.ailing.contains_key(&machine.id)
            && self.mesh.is_running(machine.id)
    }

    /// The most machines of the roster that a former coordinator hears and that keep what they promise, and how many there are.
    fn most_company(&self) -> (usize, usize) {
        let electors = || self.state.electors().map(|machine| machine.id);
        let promise = |me: MachineId| {
            electors()
                .filter(move |other| self.mesh.hears(me, *other) && !self.full.contains(other))
        };
        let founders = electors().filter(|me| self.founding.may_found(*me) && self.votes(*me));
        let most = founders.map(|me| promise(me).count()).max();
        (most.unwrap_or(0), electors().count())
    }

    fn close(mut self, machines: usize, length_ms: u64) -> Report {
        let of_groups = self
            .state
            .machines
            .values()
            .filter(|machine| machine.place.is_some());
        let broken: Vec<MachineId> = of_groups
            .filter(|machine| !self.works(machine))
            .map(|machine| machine.id)
            .collect();
        let calm_ms = if self.active.is_empty() {
            self.now_ms
                .saturating_sub(self.last_wrong_ms.max(self.lead.since_ms))
        } else {
            0
        };
        let at_ms = self.elapsed_ms();
        let said = self.somebody_says();
        let sight = Sight::Ended {
            state: &self.state,
            leaderless: self.leaderless_ms().is_some().then(|| Leaderless {
                said: said.as_ref(),
                company: self.most_company(),
            }),
            calm_ms,
            broken: &broken,
            now_ms: self.state.clock_ms.max(self.now_ms),
        };
        self.watch.see(at_ms, &sight);
        for violation in self.mesh.violations() {
            self.watch.broken(at_ms, "the mesh goes forward", violation);
        }
        self.trace.update(self.mesh.trace().to_be_bytes());
        self.trace.update(self.state.to_snapshot());
        let trace = data_encoding::HEXLOWER.encode(&self.trace.clone().finalize()[..8]);
        let holding = said.filter(|_| self.leaderless_ms().is_some());
        let groups = self.groups(holding.as_ref());
        let nobody_leads = self.leaderless_ms().is_some().then(|| {
            let hold = holding.as_ref().and_then(|said| said.holds.first());
            hold.map_or_else(|| "no machine runs".to_owned(), |hold| hold.detail.clone())
        });
        self.account.close(Ended {
            seed: self.scenario.seed,
            trace,
            machines,
            length_ms,
            groups,
            nobody_leads,
            wrong_deaths: self.mesh.wrong_deaths(),
            violations: self.watch.violations,
        })
    }

    /// How the groups stand; `holding` is what a machine says where nobody leads.
    fn groups(&self, holding: Option<&Status>) -> Vec<GroupEnd> {
        let waits = |id: &GroupId| {
            let mut groups = holding.into_iter().flat_map(|said| &said.groups);
            groups.any(|group| group.id == id.as_str() && !group.holds.is_empty())
        };
        let end = |(id, group): (&GroupId, &Group)| {
            let machines = || self.state.group_machines(id);
            let concerned = |machine: &&Machine| {
                let concern = self.state.concern(machine.id);
                let held = machine.intent.is_none()
                    && concern
                        .is_some_and(|concern| !matches!(concern.outcome, Outcome::Act { .. }));
                held || waits(id) && !self.works(machine)
            };
            GroupEnd {
                id: id.to_string(),
                desired: group.desired(),
                running: machines().filter(|machine| self.works(machine)).count(),
                open: self.state.group_intents(id).count(),
                held: machines().filter(concerned).count(),
            }
        };
        self.state.groups.iter().map(end).collect()
    }
}

fn reason(cause: &Cause) -> String {
    match cause {
        Cause::TooFew { .. } => "too few machines".to_owned(),
        Cause::TooMany { .. } => "too many machines".to_owned(),
        Cause::Destroyed => "the group is destroyed".to_owned(),
        Cause::Asked { .. } => "asked".to_owned(),
        Cause::Complete => "complete".to_owned(),
        Cause::Diagnosed { summary, .. } => summary.to_string(),
    }
}
