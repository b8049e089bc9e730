//! Gathering what is known of machines that may be in trouble: from the mesh, from what they last said, from their
//! provisioners, and from witnesses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use muster_mesh::clock::unix_ms;
use muster_mesh::identity::{MachineId, Peer};
use muster_mesh::transport::StreamKind;
use muster_provisioners::{
    Deadline, Instance, InstanceId, InstanceState, OperationId, Provisioner, Tags, tag,
};
use tokio::time::Instant;

use crate::fleet::{
    Allocation, Answer, FleetState, Health, Machine, MemberEvidence, MemberStatus, Path,
    ProviderEvidence, ProviderWord, RecordEvidence, Text, WitnessEvidence,
};
use crate::heal::{MachineEvidence, Stranger};
use crate::health::Level;
use crate::node::services::{self, WitnessAnswer};
use crate::node::shared::Shared;
use crate::node::world::{Seen, World};

/// How long a provisioner has to list its instances before it counts as unable to say.
const DESCRIBE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a provisioner's word is believed without asking again.
const WORD_FRESH: Duration = Duration::from_millis(400);

/// Older lists say nothing about instances that nobody knows: they may have been destroyed since.
const LIST_FRESH: Duration = Duration::from_secs(15);

/// How long a witness has, its own probe included.
const WITNESS_DEADLINE: Duration = Duration::from_millis(1500);

/// Machines that are asked to try a suspect, the leader not counted.
const WITNESSES_MAX: usize = 3;

/// How long a witness's word is believed without asking again.
const WITNESS_FRESH: Duration = Duration::from_secs(3);

/// What one leader has gathered. A new leader starts anew.
#[derive(Default)]
pub(super) struct Observer {
    lists: BTreeMap<String, Listed>,
    witnesses: BTreeMap<MachineId, (Instant, Vec<WitnessEvidence>)>,
    proven_gone: BTreeMap<MachineId, u64>,
}

/// What a provisioner said.
struct Listed {
    at: Instant,
    at_ms: u64,
    list_lag: Duration,
    can_prove_off: bool,
    said: Result<Vec<Instance>, String>,
}

/// What was seen.
pub(super) struct Observed {
    pub(super) machines: BTreeMap<MachineId, MachineEvidence>,
    pub(super) strangers: Vec<Stranger>,
}

/// A machine of the roster, as far as evidence is concerned.
struct Suspect {
    machine: MachineId,
    provisioner: Option<String>,
    instance: Option<InstanceId>,
    order: Option<OperationId>,
    zone: Option<String>,
    /// It doesn't answer, or never came.
    troubled: bool,
    /// Its provisioner's word is needed: it is in trouble, or is to be taken away.
    asked: bool,
}

impl Observer {
    /// Gathers what is known now. Provisioners and witnesses are only asked about machines that are not well.
    pub(super) async fn observe(&mut self, shared: &Arc<Shared>, world: &World) -> Observed {
        let suspects = shared.replica.read(|state, _| suspects(state, world));
        self.ask_provisioners(shared, &suspects).await;
        self.ask_witnesses(shared, world, &suspects).await;
        let shift_ms = world.shift_ms(unix_ms(), shared.mesh.clock().now());
        let mut machines = BTreeMap::new();
        for suspect in &suspects {
            let seen = world.members.get(&suspect.machine);
            let evidence = MachineEvidence {
                member: seen.map(|seen| member_evidence(seen, shift_ms)),
                record: seen.and_then(record_evidence),
                provider: self.provider_evidence(suspect),
                witnesses: self
                    .witnesses
                    .get(&suspect.machine)
                    .map(|(_, reports)| reports.clone())
                    .unwrap_or_default(),
            };
            self.note_proof(suspect.machine, &evidence);
            machines.insert(suspect.machine, evidence);
        }
        self.proven_gone
            .retain(|machine, _| machines.contains_key(machine));
        let strangers = shared.replica.read(|state, _| self.strangers(state));
        Observed {
            machines,
            strangers,
        }
    }

    /// The machines that their provisioners prove gone, with since when without a break.
    pub(super) fn proven_gone(&self) -> BTreeMap<MachineId, u64> {
        self.proven_gone.clone()
    }

    fn note_proof(&mut self, machine: MachineId, evidence: &MachineEvidence) {
        let word = evidence.provider.as_ref().map(|provider| &provider.word);
        match word {
            Some(ProviderWord::Stopped | ProviderWord::Unknown) => {
                self.proven_gone.entry(machine).or_insert_with(unix_ms);
            }
            _ => {
                self.proven_gone.remove(&machine);
            }
        }
    }

    /// Asks each provisioner that made a machine in trouble, or that intents are open with, for its list.
    async fn ask_provisioners(&mut self, shared: &Arc<Shared>, suspects: &[Suspect]) {
        let names: BTreeSet<&str> = suspects
            .iter()
            .filter(|suspect| suspect.asked)
            .filter_map(|suspect| suspect.provisioner.as_deref())
            .collect();
        let cluster = shared
            .replica
            .read(|state, _| state.cluster.as_ref().map(|cluster| cluster.id.to_string()));
        let Some(cluster) = cluster else { return };
        let filter = Tags::new().with(tag::CLUSTER, cluster);
        let mut asked = Vec::new();
        for name in names {
            let stale = self
                .lists
                .get(name)
                .is_none_or(|listed| listed.at.elapsed() > WORD_FRESH);
            if stale {
                asked.push(list(
                    name.to_owned(),
                    shared.provisioners.get(name).cloned(),
                    &filter,
                ));
            }
        }
        for (name, listed) in join_all(asked).await {
            self.lists.insert(name, listed);
        }
    }

    /// Has machines in different zones, and this one, try each suspect over a fresh path.
    async fn ask_witnesses(&mut self, shared: &Arc<Shared>, world: &World, suspects: &[Suspect]) {
        self.witnesses.retain(|machine, _| {
            suspects
                .iter()
                .any(|suspect| suspect.machine == *machine && suspect.troubled)
        });
        let mut asked = Vec::new();
        for suspect in suspects.iter().filter(|suspect| suspect.troubled) {
            let known = self.witnesses.get(&suspect.machine);
            let fresh = known.is_some_and(|(at, _)| at.elapsed() <= WITNESS_FRESH);
            if let Some(peer) = world.peer(suspect.machine).filter(|_| !fresh) {
                asked.push(ask_all(
                    shared,
                    choose_witnesses(shared, world, suspect),
                    peer,
                ));
            }
        }
        for (machine, reports) in join_all(asked).await {
            self.witnesses.insert(machine, (Instant::now(), reports));
        }
    }

    fn provider_evidence(&self, suspect: &Suspect) -> Option<ProviderEvidence> {
        let provisioner = suspect.provisioner.as_ref()?;
        let listed = self.lists.get(provisioner).filter(|_| suspect.asked)?;
        let word = match &listed.said {
            Err(why) => ProviderWord::CannotSay {
                why: Text::from(why.clone()),
            },
            Ok(instances) => match instances.iter().find(|known| suspect.is(known)) {
                Some(known) => word(known.state),
                None => ProviderWord::Unknown,
            },
        };
        Some(ProviderEvidence {
            word,
            can_prove_off: listed.can_prove_off,
            list_lag_ms: u64::try_from(listed.list_lag.as_millis()).unwrap_or(u64::MAX),
            at_ms: listed.at_ms,
        })
    }

    /// Instances with our tag that no machine of the roster runs on.
    fn strangers(&self, state: &FleetState) -> Vec<Stranger> {
        let ours: BTreeSet<(&str, &str)> = state
            .machines
            .values()
            .filter_map(|machine| machine.instance.as_ref())
            .map(|instance| (instance.provisioner.as_str(), instance.id.as_str()))
            .collect();
        let mut strangers = Vec::new();
        let fresh = |listed: &Listed| listed.at.elapsed() <= LIST_FRESH;
        for (name, listed) in self.lists.iter().filter(|(_, listed)| fresh(listed)) {
            for instance in listed.said.iter().flatten() {
                if !ours.contains(&(name.as_str(), instance.id.as_str())) {
                    strangers.push(Stranger {
                        provisioner: name.clone(),
                        id: instance.id.clone(),
                        properties: instance.properties.clone(),
                        op: instance.operation(),
                        may_run: instance.state.may_run(),
                    });
                }
            }
        }
        strangers
    }
}

impl Suspect {
    /// Whether an instance is this machine's: by its ID, or by the order that made it when nobody lived to say the ID.
    fn is(&self, instance: &Instance) -> bool {
        match &self.instance {
            Some(id) => instance.id == *id,
            None => self.order.is_some() && instance.operation() == self.order,
        }
    }
}

/// Whether a machine is about to be taken away although it may be well.
fn is_to_go(state: &FleetState, machine: &Machine) -> bool {
    let Some(place) = &machine.place else {
        return false;
    };
    let Some(group) = state.groups.get(&place.group) else {
        return false;
    };
    let surplus = match &group.spec.allocation {
        Allocation::Cattle { .. } => state.existing(&place.group) > group.desired(),
        Allocation::Pets { members } => !members.keys().any(|name| *name == machine.name),
    };
    group.destroying || machine.intent.is_some() || surplus
}

fn suspects(state: &FleetState, world: &World) -> Vec<Suspect> {
    state
        .machines
        .values()
        .map(|machine| {
            let troubled = world.status(machine.id) != Some(MemberStatus::Alive);
            Suspect {
                machine: machine.id,
                provisioner: machine
                    .instance
                    .as_ref()
                    .map(|instance| instance.provisioner.clone())
                    .or_else(|| Some(state.template(machine)?.instance.provisioner.clone())),
                instance: machine
                    .instance
                    .as_ref()
                    .map(|instance| instance.id.clone()),
                order: machine.order.clone(),
                asked: troubled || is_to_go(state, machine),
                zone: machine
                    .zone
                    .clone()
                    .or_else(|| machine.labels.get("zone").cloned()),
                troubled,
            }
        })
        .collect()
}

async fn list(
    name: String,
    built: Option<Arc<dyn Provisioner>>,
    filter: &Tags,
) -> (String, Listed) {
    let at = Instant::now();
    let at_ms = unix_ms();
    let Some(provisioner) = built else {
        let said = Err("this coordinator has no such provisioner".to_owned());
        return (
            name,
            Listed {
                at,
                at_ms,
                list_lag: Duration::ZERO,
                can_prove_off: false,
                said,
            },
        );
    };
    let capabilities = provisioner.capabilities();
    let said = provisioner
        .describe(filter, Deadline::after(DESCRIBE_DEADLINE))
        .await;
    let listed = Listed {
        at: Instant::now(),
        at_ms,
        list_lag: capabilities.list_lag,
        can_prove_off: capabilities.prove_off,
        said: said.map_err(|error| error.to_string()),
    };
    (name, listed)
}

fn word(state: InstanceState) -> ProviderWord {
    match state {
        InstanceState::Starting | InstanceState::Running | InstanceState::Stopping => {
            ProviderWord::Running
        }
        InstanceState::Stopped => ProviderWord::Stopped,
        InstanceState::Unknown => ProviderWord::CannotSay {
            why: Text::from("the provider does not know its state".to_owned()),
        },
    }
}

/// This machine and up to [`WITNESSES_MAX`] others that answer, from as many different zones as there are, none from
/// the suspect's own zone as long as there are others.
fn choose_witnesses(shared: &Shared, world: &World, suspect: &Suspect) -> Vec<MachineId> {
    let zone_of = |machine: &MachineId| {
        let said = world.members.get(machine)?.said.as_ref()?;
        said.labels.get("zone").cloned()
    };
    let mut others: Vec<MachineId> = world
        .members
        .iter()
        .filter(|(machine, seen)| {
            seen.status == MemberStatus::Alive
                && **machine != shared.me
                && **machine != suspect.machine
        })
        .map(|(machine, _)| *machine)
        .collect();
    // Which ones differs from suspect to suspect, so that no machine is everybody's witness.
    others.sort_by_key(|machine| machine.get() ^ suspect.machine.get());
    let mut zones = BTreeSet::from([suspect.zone.clone()]);
    let (mut chosen, rest): (Vec<_>, Vec<_>) = others
        .into_iter()
        .partition(|machine| zones.insert(zone_of(machine)));
    chosen.extend(rest);
    chosen.truncate(WITNESSES_MAX);
    chosen.push(shared.me);
    chosen
}

async fn ask_all(
    shared: &Shared,
    witnesses: Vec<MachineId>,
    suspect: Peer,
) -> (MachineId, Vec<WitnessEvidence>) {
    let mut asked = Vec::new();
    for witness in witnesses {
        asked.push(ask(shared, witness, suspect));
    }
    let reports = join_all(asked).await.into_iter().flatten().collect();
    (suspect.machine, reports)
}

async fn ask(shared: &Shared, witness: MachineId, suspect: Peer) -> Option<WitnessEvidence> {
    let answer = if witness == shared.me {
        services::witness(shared, suspect).await
    } else {
        let peer = shared.peer(witness)?;
        let body = Bytes::from(services::encode_peer(suspect));
        let asked = shared
            .transport
            .request(peer, StreamKind::WITNESS, body, WITNESS_DEADLINE);
        WitnessAnswer::decode(&asked.await.ok()?)?
    };
    let zone = shared
        .replica
        .read(|state, _| state.machines.get(&witness)?.zone.clone());
    Some(WitnessEvidence {
        by: witness,
        zone: zone.map(Text::from),
        path: Path::Probe,
        answer: match answer {
            WitnessAnswer::Answered => Answer::Answered,
            WitnessAnswer::Refused => Answer::Refused,
            WitnessAnswer::Silent => Answer::Silent,
        },
        at_ms: unix_ms(),
    })
}

/// `shift_ms` is by how much the wall clock was set since the picture was painted.
fn member_evidence(seen: &Seen, shift_ms: i64) -> MemberEvidence {
    MemberEvidence {
        status: seen.status,
        since_ms: seen.since_ms.saturating_add_signed(shift_ms),
        generation: seen.generation,
    }
}

fn record_evidence(seen: &Seen) -> Option<RecordEvidence> {
    let said = seen.said.as_ref()?;
    Some(RecordEvidence {
        health: match said.health {
            Level::Ok => Health::Ok,
            Level::Warning => Health::Warning,
            Level::Critical => Health::Critical,
        },
        reasons: said.reasons.iter().cloned().map(Text::from).collect(),
        workload: said.workload.clone(),
        leaving: said.leaving,
        as_of_ms: said.received_ms,
    })
}
