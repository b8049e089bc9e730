//! A fleet for tests: a state, a clock and a leader, and short words for common commands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use muster_mesh::identity::{ClusterId, MachineId};

use super::*;

/// When tests begin, in milliseconds since 1970.
pub(crate) const START_MS: u64 = 1_700_000_000_000;
const FOUNDER_KEY: KeyHash = KeyHash([1; 32]);
/// What every ordered machine's token hashes to in tests.
pub(crate) const SECRET: SecretHash = SecretHash([7; 32]);

pub(crate) fn cluster() -> ClusterId {
    ClusterId::new(0xfee1).unwrap()
}

pub(crate) fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 1, 1, last], 7000))
}

pub(crate) fn group(id: &str) -> GroupId {
    GroupId::new(id).unwrap()
}

pub(crate) fn name(name: &str) -> MachineName {
    MachineName::new(name).unwrap()
}

pub(crate) fn cattle(id: &str, size: u32) -> GroupSpec {
    GroupSpec {
        id: group(id),
        allocation: Allocation::Cattle { size },
        instance: InstanceSpec {
            provisioner: "process".into(),
            properties: Properties::new(),
        },
        flavor: FlavorSpec {
            name: "vanilla".into(),
            properties: Properties::new(),
        },
        labels: Labels::new(),
        placement: Placement {
            zones: BTreeSet::new(),
        },
        heal: HealPolicy::defaults("process"),
    }
}

pub(crate) fn pets(id: &str, members: &[&str]) -> GroupSpec {
    let members = members
        .iter()
        .map(|member| (name(member), PetSpec::default()))
        .collect();
    GroupSpec {
        allocation: Allocation::Pets { members },
        ..cattle(id, 0)
    }
}

pub(crate) fn instance(id: &str) -> Instance {
    Instance {
        provisioner: "process".into(),
        id: id.parse().unwrap(),
        properties: Properties::new(),
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) state: FleetState,
    pub(crate) now_ms: u64,
    pub(crate) term: u64,
    pub(crate) leader: MachineId,
}

impl Fleet {
    /// A fleet of one machine, `seed-1`, without a group.
    pub(crate) fn new() -> Self {
        let mut fleet = Self {
            state: FleetState::default(),
            now_ms: START_MS,
            term: 1,
            leader: machine_id(cluster(), 1).unwrap(),
        };
        fleet.ok(Command::Found(Box::new(found())));
        fleet
    }

    /// A fleet with groups, whose machines have been made and joined.
    pub(crate) fn with(specs: &[GroupSpec]) -> Self {
        let mut fleet = Self::new();
        for spec in specs {
            fleet.declare(spec.clone());
            fleet.fill(&spec.id);
        }
        fleet
    }

    pub(crate) fn apply(&mut self, command: Command) -> Reply {
        let envelope = Envelope {
            at_ms: self.now_ms,
            by: self.leader,
            term: self.term,
            actor: None,
            command,
        };
        let bytes = envelope.encode();
        assert_eq!(Envelope::decode(&bytes).as_ref(), Ok(&envelope));
        let before = self.state.clone();
        let reply = self.state.apply_bytes(&bytes);
        assert_eq!(Reply::decode(&reply.encode()).as_ref(), Ok(&reply));
        if let Reply::Refused(refusal) = &reply {
            assert_eq!(self.state, before, "refused and yet changed: {refusal}");
        }
        reply
    }

    #[track_caller]
    pub(crate) fn ok(&mut self, command: Command) -> Reply {
        let what = command.name();
        match self.apply(command) {
            Reply::Refused(refusal) => panic!("{what}: {refusal}"),
            reply => reply,
        }
    }

    #[track_caller]
    pub(crate) fn refused(&mut self, command: Command) -> Refusal {
        match self.apply(command) {
            Reply::Refused(refusal) => refusal,
            reply => panic!("not refused: {reply:?}"),
        }
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    pub(crate) fn declare(&mut self, spec: GroupSpec) {
        let expected = self.state.groups.get(&spec.id).map(|group| group.revision);
        self.ok(Command::ApplySpecs(vec![SpecChange { spec, expected }]));
    }

    /// Has a group's missing machines made and joined.
    pub(crate) fn fill(&mut self, id: &GroupId) {
        while self.state.existing(id) < self.state.groups[id].desired() {
            let proposal = self.provision(id);
            let machine = self.act(proposal);
            self.made(machine);
            self.join(machine);
        }
    }

    pub(crate) fn id(&self, name: &str) -> MachineId {
        self.state
            .machine_by_name(name)
            .unwrap_or_else(|| panic!("no {name}"))
            .id
    }

    /// The rules that hold something in a group, as far as that is on record.
    pub(crate) fn held(&self, id: &GroupId) -> Vec<Rule> {
        let is_of = |subject: &Subject| match subject {
            Subject::Group(group) => group == id,
            Subject::Machine(machine) => self
                .state
                .machines
                .get(machine)
                .is_some_and(|machine| machine.group() == Some(id)),
        };
        let concerns = self.state.concerns.iter();
        let concerns = concerns.filter(|(subject, _)| is_of(subject));
        concerns
            .filter_map(|(_, concern)| match &concern.outcome {
                Outcome::Hold { rule, .. } => Some(*rule),
                Outcome::Observe { .. } | Outcome::AwaitApproval { .. } => Some(Rule::Mode),
                Outcome::Act { .. } | Outcome::Clear => None,
            })
            .collect()
    }

    /// The decisions about the machine of this name, newest first.
    pub(crate) fn decisions_on(&self, name: &str) -> Vec<&Decision> {
        let of_this_name =
            |decision: &&Decision| decision.name.as_ref().is_some_and(|of| of.as_str() == name);
        let newest_first = self.state.decisions.iter().rev();
        newest_first.filter(of_this_name).collect()
    }

    pub(crate) fn mandate(&self) -> Mandate {
        let roster = self.state.electors().count() as u32;
        Mandate {
            quorum_confirmed: true,
            acks: roster,
            roster,
            proven_gone: 0,
        }
    }

    /// The order for the next machine of a group.
    pub(crate) fn order(&self, id: &GroupId, member: Option<Member>) -> Order {
        let group = &self.state.groups[id];
        let sequence = self.state.sequence + 1;
        let vacant = |name: &&MachineName| !self.state.is_taken(id, &Member::Pet((*name).clone()));
        let next = || match &group.spec.allocation {
            Allocation::Cattle { .. } => Member::Cattle(group.next_ordinal),
            Allocation::Pets { members } => Member::Pet(
                members
                    .keys()
                    .find(vacant)
                    .expect("a vacant member")
                    .clone(),
            ),
        };
        Order {
            machine: machine_id(cluster(), sequence).unwrap(),
            sequence,
            member: member.unwrap_or_else(next),
            zone: None,
            revision: group.template,
            trial_ms: 0,
            token: Some(SECRET),
        }
    }

    pub(crate) fn provision(&self, id: &GroupId) -> Proposal {
        let order = self.order(id, None);
        let action = Action::Provision {
            machine: order.machine,
        };
        let group = &self.state.groups[id];
        let cause = Cause::TooFew {
            desired: group.desired() as u32,
            existing: self.state.existing(id) as u32,
        };
        self.proposal(id, Subject::Group(id.clone()), cause, action, Some(order))
    }

    pub(crate) fn replace(&self, old: MachineId, diagnosis: Diagnosis) -> Proposal {
        let machine = &self.state.machines[&old];
        let place = machine.place.clone().unwrap();
        let member = place.member.is_pet().then_some(place.member);
        let mut order = self.order_for(&place.group, member);
        order.revision = machine.revision.unwrap();
        let action = Action::Replace {
            old,
            new: order.machine,
        };
        let cause = self.diagnosed(diagnosis);
        self.proposal(
            &place.group,
            Subject::Machine(old),
            cause,
            action,
            Some(order),
        )
    }

    fn order_for(&self, id: &GroupId, member: Option<Member>) -> Order {
        let next = Member::Cattle(self.state.groups[id].next_ordinal);
        self.order(id, Some(member.unwrap_or(next)))
    }

    pub(crate) fn retire(&self, machine: MachineId, cause: Cause) -> Proposal {
        let place = self.state.machines[&machine].place.clone().unwrap();
        let action = Action::Retire { machine };
        self.proposal(&place.group, Subject::Machine(machine), cause, action, None)
    }

    pub(crate) fn treat(&self, id: MachineId, rung: Rung, diagnosis: Diagnosis) -> Proposal {
        let machine = &self.state.machines[&id];
        let place = machine.place.clone().unwrap();
        let action = Action::Treat {
            machine: id,
            rung,
            number: machine.treatments.count + 1,
        };
        let cause = self.diagnosed(diagnosis);
        self.proposal(&place.group, Subject::Machine(id), cause, action, None)
    }

    pub(crate) fn reimage(&self, old: MachineId, diagnosis: Diagnosis) -> Proposal {
        let machine = &self.state.machines[&old];
        let place = machine.place.clone().unwrap();
        let mut order = self.order(&place.group, Some(place.member));
        order.revision = machine.revision.unwrap();
        let action = Action::Reimage {
            old,
            new: order.machine,
        };
        let cause = self.diagnosed(diagnosis);
        let subject = Subject::Machine(old);
        self.proposal(&place.group, subject, cause, action, Some(order))
    }

    pub(crate) fn diagnosed(&self, diagnosis: Diagnosis) -> Cause {
        Cause::Diagnosed {
            diagnosis,
            since_ms: self.now_ms,
            summary: "as the test says".into(),
        }
    }

    fn proposal(
        &self,
        id: &GroupId,
        subject: Subject,
        cause: Cause,
        action: Action,
        order: Option<Order>,
    ) -> Proposal {
        let member = match (&order, action.finds()) {
            (Some(order), _) => (order.member.clone(), order.sequence),
            (None, Some(machine)) => {
                let place = self.state.machines[&machine].place.clone().unwrap();
                (place.member, place.generation)
            }
            (None, None) => unreachable!("a machine is made or removed"),
        };
        let op = operation_id(cluster(), id, &member.0, member.1, action);
        Proposal {
            subject,
            group: Some(id.clone()),
            cause,
            evidence: Vec::new(),
            checks: vec![Check::pass(Rule::Quorum, "all of them")],
            mandate: self.mandate(),
            outcome: Outcome::Act { op, action },
            order,
            strikes: false,
        }
    }

    pub(crate) fn hold(&self, machine: MachineId, diagnosis: Diagnosis, rule: Rule) -> Proposal {
        Proposal {
            subject: Subject::Machine(machine),
            group: self.state.machines[&machine].group().cloned(),
            cause: self.diagnosed(diagnosis),
            evidence: Vec::new(),
            checks: vec![Check::hold(rule, "not now")],
            mandate: self.mandate(),
            outcome: Outcome::Hold {
                rule,
                detail: "not now".into(),
                until_ms: None,
            },
            order: None,
            strikes: false,
        }
    }

    /// Commits an action; the machine that it makes, or else the one that it takes away.
    #[track_caller]
    pub(crate) fn act(&mut self, proposal: Proposal) -> MachineId {
        let Outcome::Act { action, .. } = proposal.outcome else {
            panic!("no action")
        };
        match self.ok(Command::Decide(vec![proposal])) {
            Reply::Decided(results) => assert!(results[0].is_ok(), "{results:?}"),
            reply => panic!("{reply:?}"),
        }
        action.makes().or(action.finds()).unwrap()
    }

    pub(crate) fn intent_of(&self, machine: MachineId) -> &Intent {
        let op = self.state.machines[&machine]
            .intent
            .as_ref()
            .expect("an open intent");
        &self.state.intents[op]
    }

    /// Reports how the current step of a machine's intent went.
    pub(crate) fn report(&mut self, machine: MachineId, result: StepResult) -> Reply {
        let intent = self.intent_of(machine);
        let record = intent.current().expect("open");
        let (op, step, attempt) = (intent.op.clone(), record.step, record.attempts);
        self.apply(Command::Progress(Progress {
            op,
            step,
            attempt,
            result,
        }))
    }

    #[track_caller]
    pub(crate) fn done(&mut self, machine: MachineId) {
        let reply = self.report(machine, StepResult::Done);
        assert_eq!(reply, Reply::Done);
    }

    #[track_caller]
    pub(crate) fn made(&mut self, machine: MachineId) {
        let result = StepResult::Provisioned(instance(&format!("p-{machine}")));
        assert_eq!(self.report(machine, result), Reply::Done);
    }

    pub(crate) fn admit(&self, machine: MachineId) -> Admit {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&machine.get().to_le_bytes());
        Admit {
            token: TokenId(machine.get()),
            secret: SECRET,
            key: KeyHash(key),
            name: None,
            addr: addr(2),
            labels: BTreeMap::new(),
        }
    }

    #[track_caller]
    pub(crate) fn join(&mut self, machine: MachineId) {
        let admit = self.admit(machine);
        self.ok(Command::Admit(Box::new(admit)));
    }

    pub(crate) fn phase(&self, machine: MachineId) -> Option<Phase> {
        self.state
            .machines
            .get(&machine)
            .map(|machine| machine.phase)
    }
}

pub(crate) fn found() -> Found {
    Found {
        cluster: cluster(),
        name: "test".into(),
        ca_der: vec![1, 2, 3],
        machine_name: name("seed-1"),
        addr: addr(1),
        labels: BTreeMap::new(),
        key: FOUNDER_KEY,
        place: None,
        instance: None,
    }
}
