//! How a simulation begins: a fleet that was declared, filled, and has run for a day.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use muster_mesh::identity::{ClusterId, Generation, MachineId};
use sha2::{Digest, Sha256};

use super::lead::Lead;
use super::{Happening, Run};
use crate::fleet::limits::{DAY_MS, SECOND_MS};
use crate::fleet::{
    Admit, Allocation, Command, FleetState, Found, GroupSpec, Instance, KeyHash, Labels, Machine,
    Member, MemberEvidence, MemberStatus, Place, Progress, Properties, Proposal, Reply, SecretHash,
    SpecChange, Step, StepResult, TokenId, machine_id,
};
use crate::heal::{Authority, MachineEvidence, Situation, decide};
use crate::simulate::account::Account;
use crate::simulate::cloud::Cloud;
use crate::simulate::invariants::Watch;
use crate::simulate::mesh::Mesh;
use crate::simulate::random::Random;
use crate::simulate::scenario::{Safeguard, Scenario};

/// When simulations were founded, in milliseconds since 1970: in November 2023.
const FOUNDED_MS: u64 = 1_700_000_000_000;

/// What the token of every ordered machine hashes to.
const SECRET: SecretHash = SecretHash([7; 32]);

/// Rounds in which a fleet is filled. Each makes at least one machine of each group.
const ROUNDS_MAX: usize = 20_000;

impl<'a> Run<'a> {
    /// A fleet as declared, whose machines have run for a day.
    ///
    /// # Errors
    /// Why there can be no such fleet.
    pub(in crate::simulate) fn begin(scenario: &'a Scenario) -> Result<Self, String> {
        let (mut run, founder) = Self::before(scenario)?;
        run.start(founder);
        Ok(run)
    }

    /// Such a fleet's state, who leads it, and when that is.
    ///
    /// # Errors
    /// Why there can be no such fleet.
    pub(in crate::simulate) fn filled(
        scenario: &'a Scenario,
    ) -> Result<(FleetState, MachineId, u64), String> {
        let (run, founder) = Self::before(scenario)?;
        Ok((run.state, founder, run.now_ms))
    }

    fn before(scenario: &'a Scenario) -> Result<(Self, MachineId), String> {
        let mut random = Random::new(scenario.seed);
        let mesh = Mesh::new(random.number(), scenario.exact);
        let cluster = ClusterId::new(random.number().max(1)).ok_or("no cluster ID")?;
        let founder = machine_id(cluster, 1)
            .ok_or("this seed makes an empty machine ID; take another one")?;
        let mut run = Self {
            scenario,
            random,
            now_ms: FOUNDED_MS,
            began_ms: 0,
            state: FleetState::default(),
            mesh,
            cloud: Cloud::new(scenario.cloud),
            lead: Lead::new(founder, FOUNDED_MS),
            founding: super::refounding::Founding::new(founder),
            standstill: super::standstill::Standstill::default(),
            leases: super::leases::Leases::default(),
            clocks: super::clocks::Clocks::default(),
            reader: super::reader::Reader::default(),
            under_way: BTreeSet::new(),
            late: Vec::new(),
            full: BTreeSet::new(),
            torn: BTreeSet::new(),
            ailing: BTreeMap::new(),
            mended: BTreeMap::new(),
            active: BTreeMap::new(),
            last_wrong_ms: FOUNDED_MS,
            queue: std::collections::BinaryHeap::new(),
            happenings: BTreeMap::new(),
            sequence: 0,
            look_at: None,
            looked_ms: 0,
            watch: Watch::new(),
            account: Account::default(),
            commits: 0,
            trace: Sha256::new(),
        };
        run.cloud.remembers = scenario.left_out != Some(Safeguard::OperationId);
        run.found(cluster, founder)?;
        run.fill(founder)?;
        Ok((run, founder))
    }

    fn found(&mut self, cluster: ClusterId, founder: MachineId) -> Result<(), String> {
        let first = self
            .scenario
            .specs
            .iter()
            .find_map(|spec| Some((spec, first_member(spec)?)));
        let (spec, member) = first.ok_or("these specs have no machines")?;
        let place = Place {
            group: spec.id.clone(),
            member: member.clone(),
            generation: 1,
        };
        let provisioner = spec.instance.provisioner.clone();
        let instance = self.cloud.make(
            self.now_ms,
            None,
            (founder, place, provisioner.clone()),
            false,
        );
        let mut labels = spec.labels.clone();
        labels.extend(
            spec.placement
                .zones
                .first()
                .map(|zone| ("zone".to_owned(), zone.clone())),
        );
        let found = Found {
            cluster,
            name: "simulated".into(),
            ca_der: vec![0; 32],
            machine_name: member.machine_name(&spec.id),
            addr: address(founder),
            labels,
            key: key(founder),
            place: Some((spec.id.clone(), member)),
            instance: Some(Instance {
                provisioner,
                id: instance,
                properties: Properties::new(),
            }),
        };
        self.order(founder, Command::Found(Box::new(found)))?;
        let change = |spec: &GroupSpec| SpecChange {
            spec: spec.clone(),
            expected: None,
        };
        let batches = self
            .scenario
            .specs
            .chunks(crate::fleet::limits::SPECS_PER_COMMAND_MAX);
        for batch in batches {
            let changes = batch.iter().map(change).collect();
            self.order(founder, Command::ApplySpecs(changes))?;
        }
        Ok(())
    }

    fn order(&mut self, leader: MachineId, command: Command) -> Result<Reply, String> {
        self.commit(leader, command)
            .accepted()
            .map_err(|refusal| format!("the fleet refuses these specs: {refusal}"))
    }

    /// Has every declared machine made and joined, at once.
    fn fill(&mut self, leader: MachineId) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            let mut plan = decide(&self.state, &self.all_well(leader));
            for (_, order) in plan.orders() {
                order.token = Some(SECRET);
            }
            if let Some(refusal) = plan.refused.first() {
                return Err(format!("the groups can't be filled: {refusal}"));
            }
            if plan.proposals.is_empty() && self.state.open_intents().next().is_none() {
                return Ok(());
            }
            for command in plan.into_commands() {
                self.order(leader, command)?;
            }
            self.make_all(leader)?;
            self.now_ms += SECOND_MS;
        }
        Err("the groups can't be filled".to_owned())
    }

    fn make_all(&mut self, leader: MachineId) -> Result<(), String> {
        let open: Vec<_> = self.state.open_intents().cloned().collect();
        for intent in open {
            let Some(record) = intent
                .current()
                .filter(|record| record.step == Step::Provision)
            else {
                continue;
            };
            let machine = intent
                .action
                .makes()
                .and_then(|id| self.state.machines.get(&id));
            let Some((id, place)) =
                machine.and_then(|machine| Some((machine.id, machine.place.clone()?)))
            else {
                continue;
            };
            let provisioner = self.provisioner(id);
            let instance = self.cloud.make(
                self.now_ms,
                Some(intent.op.clone()),
                (id, place, provisioner.clone()),
                false,
            );
            let (op, step, attempt) = (intent.op.clone(), record.step, record.attempts);
            let instance = Instance {
                provisioner,
                id: instance,
                properties: Properties::new(),
            };
            let result = StepResult::Provisioned(instance);
            self.order(
                leader,
                Command::Progress(Progress {
                    op,
                    step,
                    attempt,
                    result,
                }),
            )?;
            let admit = self.admission(id);
            self.order(leader, Command::Admit(Box::new(admit)))?;
        }
        Ok(())
    }

    pub(super) fn provisioner(&self, machine: MachineId) -> String {
        let template = self
            .state
            .machines
            .get(&machine)
            .and_then(|machine| self.state.template(machine));
        template.map_or_else(
            || "process".to_owned(),
            |template| template.instance.provisioner.clone(),
        )
    }

    /// What a machine says when it asks to be let in.
    pub(super) fn admission(&self, machine: MachineId) -> Admit {
        let known = self.state.machines.get(&machine);
        let template = known.and_then(|known| self.state.template(known));
        let mut labels: Labels = template
            .map(|template| template.labels.clone())
            .unwrap_or_default();
        let zone = known.and_then(|known| known.zone.clone());
        labels.extend(zone.map(|zone| ("zone".to_owned(), zone)));
        Admit {
            token: TokenId(machine.get()),
            secret: SECRET,
            key: key(machine),
            name: None,
            addr: address(machine),
            labels,
        }
    }

    /// What a leader sees of a fleet in which all is well.
    fn all_well(&self, leader: MachineId) -> Situation {
        let joined = || {
            self.state
                .machines
                .values()
                .filter(|machine| machine.joined_ms.is_some())
        };
        let evidence = |machine: &Machine| MachineEvidence {
            member: Some(MemberEvidence {
                status: MemberStatus::Alive,
                since_ms: machine.joined_ms.unwrap_or(self.now_ms),
                generation: Generation(1),
            }),
            ..MachineEvidence::default()
        };
        Situation {
            now_ms: self.now_ms,
            leader,
            term: self.lead.term,
            leader_since_ms: FOUNDED_MS,
            watching_since_ms: FOUNDED_MS,
            authority: Authority {
                quorum_confirmed: true,
                rivalled: false,
                voters: 1,
                voters_reachable: 1,
                acknowledged: joined().map(|machine| machine.id).collect(),
                proven_gone: BTreeMap::new(),
            },
            machines: joined()
                .map(|machine| (machine.id, evidence(machine)))
                .collect(),
            strangers: Vec::new(),
        }
    }

    /// A day later: the mesh runs, coordinators are chosen, and what is to happen is planned.
    fn start(&mut self, founder: MachineId) {
        self.now_ms += DAY_MS;
        self.began_ms = self.now_ms;
        self.last_wrong_ms = self.now_ms;
        self.seat(self.choose_voters(founder));
        self.look_at = None;
        self.queue.clear();
        self.happenings.clear();
        let machines: Vec<MachineId> = self.state.machines.keys().copied().collect();
        self.mesh.begin(machines, self.scenario.loss);
        self.notice();
        self.schedule(self.now_ms + SECOND_MS, Happening::Tick);
        for (number, fault) in self.scenario.faults.iter().enumerate() {
            let at_ms = u64::try_from(fault.at.as_millis()).unwrap_or(u64::MAX);
            self.schedule(
                self.began_ms.saturating_add(at_ms),
                Happening::Fault(number),
            );
        }
        self.news();
    }
}

/// Fills in what a leader's key would give each ordered machine.
pub(super) fn fill_tokens(proposals: &mut [Proposal]) {
    for order in proposals
        .iter_mut()
        .filter_map(|proposal| proposal.order.as_mut())
    {
        order.token = Some(SECRET);
    }
}

fn first_member(spec: &GroupSpec) -> Option<Member> {
    match &spec.allocation {
        Allocation::Cattle { size: 0 } => None,
        Allocation::Cattle { .. } => Some(Member::Cattle(1)),
        Allocation::Pets { members } => members.keys().next().cloned().map(Member::Pet),
    }
}

fn address(machine: MachineId) -> SocketAddr {
    let [.., b, c, d] = machine.get().to_be_bytes();
    SocketAddr::from(([10, b, c, d], 6878))
}

fn key(machine: MachineId) -> KeyHash {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&machine.get().to_be_bytes());
    KeyHash(key)
}
