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
use muster_provisioners::{Deadline, Provisioner, Tags, tag};
use tokio::time::Instant;

use crate::fleet::{
    Answer, FleetState, Health, MemberEvidence, MemberStatus, Path, ProviderEvidence,
    RecordEvidence, Text, WitnessEvidence,
};
use crate::heal::{self, Listing, MachineEvidence, Proofs, Stranger, Suspect};
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

/// How long a witness's word is believed without asking again.
const WITNESS_FRESH: Duration = Duration::from_secs(3);

/// What one leader has gathered. A new leader starts anew.
#[derive(Default)]
pub(super) struct Observer {
    lists: BTreeMap<String, Listed>,
    witnesses: BTreeMap<MachineId, (Instant, Vec<WitnessEvidence>)>,
    proofs: Proofs,
}

/// What a provisioner said, and when by a clock that nobody sets.
struct Listed {
    at: Instant,
    listing: Listing,
}

/// What was seen.
pub(super) struct Observed {
    pub(super) machines: BTreeMap<MachineId, MachineEvidence>,
    pub(super) strangers: Vec<Stranger>,
}

impl Observer {
    /// Gathers what is known now. Provisioners and witnesses are only asked about machines that are not well.
    pub(super) async fn observe(&mut self, shared: &Arc<Shared>, world: &World) -> Observed {
        let status = |machine| world.status(machine);
        let suspects = shared
            .replica
            .read(|state, _| heal::suspects(state, status));
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
            machines.insert(suspect.machine, evidence);
        }
        let strangers = shared.replica.read(|state, _| {
            self.proofs.note(state, &machines, unix_ms());
            self.strangers(state)
        });
        Observed {
            machines,
            strangers,
        }
    }

    /// The machines that their provisioners prove gone, with since when without a break.
    pub(super) fn proven_gone(&self) -> BTreeMap<MachineId, u64> {
        self.proofs.since().clone()
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
        let listed = self.lists.get(suspect.provisioner.as_ref()?)?;
        suspect.word(&listed.listing)
    }

    /// Instances with our tag that no machine of the roster runs on.
    fn strangers(&self, state: &FleetState) -> Vec<Stranger> {
        let fresh = self
            .lists
            .iter()
            .filter(|(_, listed)| listed.at.elapsed() <= LIST_FRESH)
            .map(|(name, listed)| (name.as_str(), &listed.listing));
        heal::strangers(state, fresh)
    }
}

async fn list(
    name: String,
    built: Option<Arc<dyn Provisioner>>,
    filter: &Tags,
) -> (String, Listed) {
    let at_ms = unix_ms();
    let (capabilities, said) = match &built {
        Some(provisioner) => {
            let said = provisioner
                .describe(filter, Deadline::after(DESCRIBE_DEADLINE))
                .await;
            (
                Some(provisioner.capabilities()),
                said.map_err(|error| error.to_string()),
            )
        }
        None => {
            let why = "this coordinator has no such provisioner";
            (None, Err(why.to_owned()))
        }
    };
    let lag = capabilities
        .as_ref()
        .map_or(Duration::ZERO, |can| can.list_lag);
    let listing = Listing {
        at_ms,
        list_lag_ms: u64::try_from(lag.as_millis()).unwrap_or(u64::MAX),
        can_prove_off: capabilities.is_some_and(|can| can.prove_off),
        said,
    };
    let at = Instant::now();
    (name, Listed { at, listing })
}

/// Who is to try a suspect: this machine and some of those that answer.
fn choose_witnesses(shared: &Shared, world: &World, suspect: &Suspect) -> Vec<MachineId> {
    let zone_of = |seen: &Seen| seen.said.as_ref()?.labels.get("zone").cloned();
    let answering = world
        .members
        .iter()
        .filter(|(_, seen)| seen.status == MemberStatus::Alive)
        .map(|(machine, seen)| (*machine, zone_of(seen)));
    heal::choose_witnesses(shared.me, suspect, answering)
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
        .read(|state, _| Some(state.machines.get(&witness)?.known_zone()?.to_owned()));
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
