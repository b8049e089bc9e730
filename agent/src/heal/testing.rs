//! A world for tests: a fleet, what is seen of its machines, and an executor that can be told to fail.

use std::collections::{BTreeMap, BTreeSet};

use muster_flavors::Part;
use muster_mesh::identity::{Generation, MachineId};

use super::timing::WORKLOAD_STANDS_MS;
use super::*;
use crate::fleet::testing::{Fleet, SECRET, instance};
use crate::fleet::*;

/// Long enough that no grace period matters any more.
const CALM_MS: u64 = limits::DAY_MS;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) seen: BTreeMap<MachineId, MachineEvidence>,
    pub(crate) leader_since_ms: u64,
    pub(crate) watching_since_ms: u64,
    pub(crate) quorum_confirmed: bool,
    pub(crate) rivalled: bool,
    pub(crate) proven_gone: BTreeMap<MachineId, u64>,
    pub(crate) strangers: Vec<Stranger>,
}

impl World {
    /// A world in which all machines of these groups have been well for a day. Machine `seed-1`, without a group,
    /// leads.
    pub(crate) fn new(specs: &[GroupSpec]) -> Self {
        Self::of(Fleet::with(specs))
    }

    pub(crate) fn of(mut fleet: Fleet) -> Self {
        fleet.pass(CALM_MS);
        let mut world = Self {
            leader_since_ms: fleet.now_ms - CALM_MS,
            watching_since_ms: fleet.now_ms - CALM_MS,
            fleet,
            seen: BTreeMap::new(),
            quorum_confirmed: true,
            rivalled: false,
            proven_gone: BTreeMap::new(),
            strangers: Vec::new(),
        };
        let ids: Vec<_> = world.fleet.state.machines.keys().copied().collect();
        for id in ids {
            world.see(id, MemberStatus::Alive);
            world.say(id, ProviderWord::Running);
        }
        world.seen.values_mut().for_each(|seen| {
            seen.member.as_mut().unwrap().since_ms -= CALM_MS;
        });
        world
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.fleet.now_ms
    }

    /// The leader is new, and so is what it knows of the mesh, as after a whole site's power cut.
    pub(crate) fn begin_anew(&mut self) {
        self.leader_since_ms = self.now_ms();
        self.watching_since_ms = self.now_ms();
    }

    pub(crate) fn id(&self, name: &str) -> MachineId {
        self.fleet.id(name)
    }

    pub(crate) fn see(&mut self, id: MachineId, status: MemberStatus) {
        let since_ms = self.now_ms();
        let member = MemberEvidence {
            status,
            since_ms,
            generation: Generation(1),
        };
        self.seen.entry(id).or_default().member = Some(member);
    }

    pub(crate) fn say(&mut self, id: MachineId, word: ProviderWord) {
        let at_ms = self.now_ms();
        let provider = ProviderEvidence {
            word,
            can_prove_off: true,
            can_reboot: true,
            can_power_cycle: true,
            can_reimage: false,
            is_hardware: false,
            list_lag_ms: 0,
            at_ms,
        };
        self.seen.entry(id).or_default().provider = Some(provider);
    }

    pub(crate) fn witness(&mut self, id: MachineId, by: MachineId, answer: Answer) {
        let at_ms = self.now_ms();
        let report = WitnessEvidence {
            by,
            zone: None,
            rack: None,
            path: Path::Probe,
            answer,
            at_ms,
        };
        self.seen.entry(id).or_default().witnesses.push(report);
    }

    /// All machines that answer try this one, and get this.
    pub(crate) fn witnesses(&mut self, id: MachineId, answer: Answer) {
        for by in self.alive().into_iter().filter(|by| *by != id).take(3) {
            self.witness(id, by, answer);
        }
    }

    pub(crate) fn leaving(&mut self, id: MachineId, leaving: Leaving) {
        let record = RecordEvidence {
            health: Health::Ok,
            reasons: Vec::new(),
            workload: None,
            part: None,
            leaving: Some(leaving),
            version: None,
            as_of_ms: self.now_ms(),
        };
        self.seen.entry(id).or_default().record = Some(record);
    }

    /// The machine's process dies, and its provisioner can prove it.
    pub(crate) fn kill(&mut self, name: &str) -> MachineId {
        let id = self.id(name);
        self.see(id, MemberStatus::Down);
        self.say(id, ProviderWord::Stopped);
        self.witnesses(id, Answer::Refused);
        self.proven_gone.insert(id, self.now_ms());
        id
    }

    /// The machine falls silent, and nobody can say why.
    pub(crate) fn silence(&mut self, name: &str) -> MachineId {
        let id = self.id(name);
        self.see(id, MemberStatus::Down);
        self.say(id, ProviderWord::Running);
        self.witnesses(id, Answer::Silent);
        id
    }

    /// The machine's host refuses its port: its agent does not run.
    pub(crate) fn agent_down(&mut self, name: &str) -> MachineId {
        let id = self.id(name);
        self.see(id, MemberStatus::Down);
        self.say(id, ProviderWord::Running);
        self.witnesses(id, Answer::Refused);
        id
    }

    /// The machine's workload fails.
    pub(crate) fn ail(&mut self, name: &str) -> MachineId {
        let id = self.id(name);
        let workload = Workload::Failed {
            since_ms: self.now_ms() - WORKLOAD_STANDS_MS,
            detail: "exit code 1".into(),
        };
        let record = RecordEvidence {
            health: Health::Critical,
            reasons: vec!["the workload's health command failed".into()],
            workload: Some(workload),
            part: None,
            leaving: None,
            version: None,
            as_of_ms: self.now_ms(),
        };
        self.seen.entry(id).or_default().record = Some(record);
        id
    }

    /// The machine is well, and its workload plays this part in its ensemble.
    pub(crate) fn plays(&mut self, id: MachineId, part: Part) {
        let record = RecordEvidence {
            health: Health::Ok,
            reasons: Vec::new(),
            workload: None,
            part: Some(part),
            leaving: None,
            version: None,
            as_of_ms: self.now_ms(),
        };
        self.seen.entry(id).or_default().record = Some(record);
    }

    /// The machine answers again.
    pub(crate) fn revive(&mut self, id: MachineId) {
        self.see(id, MemberStatus::Alive);
        self.say(id, ProviderWord::Running);
        let seen = self.seen.get_mut(&id).unwrap();
        seen.witnesses.clear();
        // What it plays in its ensemble it plays again.
        seen.record.take_if(|record| record.part.is_none());
        self.proven_gone.remove(&id);
    }

    /// The machine's agent starts anew, in a life of its own.
    pub(crate) fn restart(&mut self, id: MachineId) {
        let life = self.seen[&id].member.unwrap().generation;
        self.revive(id);
        let seen = self.seen.get_mut(&id).unwrap();
        seen.record = None;
        seen.member.as_mut().unwrap().generation = Generation(life.0 + 1);
    }

    /// The machine says goodbye for good, and is gone.
    pub(crate) fn leave(&mut self, name: &str) -> MachineId {
        let id = self.id(name);
        self.leaving(id, Leaving::ForGood);
        self.see(id, MemberStatus::Left);
        self.say(id, ProviderWord::Stopped);
        id
    }

    /// Time passes, and everything that is repeated is repeated.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.fleet.pass(ms);
        let now_ms = self.now_ms();
        for seen in self.seen.values_mut() {
            seen.provider
                .iter_mut()
                .for_each(|provider| provider.at_ms = now_ms);
            seen.witnesses
                .iter_mut()
                .for_each(|report| report.at_ms = now_ms);
        }
    }

    pub(crate) fn alive(&self) -> BTreeSet<MachineId> {
        let is_alive = |seen: &MachineEvidence| {
            seen.member
                .is_some_and(|member| member.status == MemberStatus::Alive)
        };
        self.seen
            .iter()
            .filter(|(_, seen)| is_alive(seen))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(crate) fn situation(&self) -> Situation {
        Situation {
            now_ms: self.now_ms(),
            leader: self.fleet.leader,
            term: self.fleet.term,
            leader_since_ms: self.leader_since_ms,
            watching_since_ms: self.watching_since_ms,
            authority: Authority {
                quorum_confirmed: self.quorum_confirmed,
                rivalled: self.rivalled,
                voters: 3,
                voters_reachable: if self.quorum_confirmed { 3 } else { 1 },
                acknowledged: self.alive(),
                proven_gone: self.proven_gone.clone(),
            },
            machines: self.seen.clone(),
            strangers: self.strangers.clone(),
        }
    }

    pub(crate) fn look(&self) -> Plan {
        let plan = decide(&self.fleet.state, &self.situation());
        assert_eq!(
            plan,
            decide(&self.fleet.state, &self.situation()),
            "the same twice"
        );
        plan
    }

    /// Decides and commits, until there is nothing new.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        for _ in 0..64 {
            let commands = fill_tokens(self.look()).into_commands();
            if commands.is_empty() {
                return;
            }
            for command in commands {
                match self.fleet.ok(command) {
                    Reply::Decided(results) => {
                        assert!(results.iter().all(Result::is_ok), "{results:?}");
                    }
                    reply => assert_eq!(reply, Reply::Done),
                }
            }
        }
        panic!(
            "deciding does not come to rest: {:#?}",
            self.look().proposals
        );
    }

    /// Does whatever is to be done, successfully, once.
    pub(crate) fn carry_out(&mut self) {
        let open: Vec<_> = self.fleet.state.open_intents().cloned().collect();
        for intent in open {
            let record = intent.current().unwrap();
            let result = match record.step {
                Step::Fence
                | Step::Drain
                | Step::Strike
                | Step::Destroy
                | Step::RestartWorkload
                | Step::Reboot
                | Step::PowerCycle => StepResult::Done,
                Step::AwaitWell => continue,
                Step::Reimage => {
                    self.say(intent.action.makes().unwrap(), ProviderWord::Running);
                    let old = intent.action.removes().unwrap();
                    let instance = self.fleet.state.machines[&old].instance.clone();
                    StepResult::Provisioned(instance.unwrap())
                }
                Step::Provision => {
                    let id = intent.action.makes().unwrap();
                    self.say(id, ProviderWord::Running);
                    StepResult::Provisioned(instance(&format!("p-{id}")))
                }
                Step::AwaitJoin => {
                    let id = intent.action.makes().unwrap();
                    self.fleet.join(id);
                    self.see(id, MemberStatus::Alive);
                    continue;
                }
            };
            let (op, step, attempt) = (intent.op.clone(), record.step, record.attempts);
            self.fleet.ok(Command::Progress(Progress {
                op,
                step,
                attempt,
                result,
            }));
        }
        let roster = &self.fleet.state.machines;
        self.seen.retain(|id, _| roster.contains_key(id));
        self.proven_gone.retain(|id, _| roster.contains_key(id));
    }

    /// Decides, commits and carries out until nothing more happens.
    #[track_caller]
    pub(crate) fn heal(&mut self) {
        for _ in 0..200 {
            self.settle();
            if self.fleet.state.open_intents().next().is_none() {
                return;
            }
            self.carry_out();
        }
        panic!("healing does not come to an end");
    }

    /// What stands on record about a machine.
    pub(crate) fn concern(&self, id: MachineId) -> Option<&Concern> {
        self.fleet.state.concern(id)
    }

    /// The rule that holds a machine's healing.
    pub(crate) fn held(&self, id: MachineId) -> Option<(Rule, String)> {
        match &self.concern(id)?.outcome {
            Outcome::Hold { rule, detail, .. } => Some((*rule, detail.to_string())),
            _ => None,
        }
    }

    #[track_caller]
    pub(crate) fn assert_held(&self, id: MachineId, rule: Rule, words: &str) {
        let (held, detail) = self
            .held(id)
            .unwrap_or_else(|| panic!("{:?}", self.concern(id)));
        assert_eq!(held, rule, "{detail}");
        assert!(detail.contains(words), "`{words}` is not in `{detail}`");
    }

    pub(crate) fn replacing(&self, id: MachineId) -> bool {
        self.fleet
            .state
            .open_intents()
            .any(|intent| matches!(intent.action, Action::Replace { old, .. } if old == id))
    }

    pub(crate) fn running(&self, group: &str) -> Vec<String> {
        let group = crate::fleet::testing::group(group);
        let joined = |machine: &&Machine| machine.phase == Phase::Joined;
        let names = self.fleet.state.group_machines(&group).filter(joined);
        let mut names: Vec<_> = names.map(|machine| machine.name.to_string()).collect();
        names.sort();
        names
    }
}

pub(crate) fn fill_tokens(mut plan: Plan) -> Plan {
    for (_, order) in plan.orders() {
        order.token = Some(SECRET);
    }
    plan
}
