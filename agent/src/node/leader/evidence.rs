//! Gathering what is known of machines that may be in trouble: from the mesh, from what they last said, from their
//! provisioners, and from witnesses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use muster_mesh::clock::Steady;
use muster_mesh::identity::{MachineId, Peer};
use muster_mesh::transport::StreamKind;
use muster_provisioners::{Tags, tag};
use tokio::time::Instant;

use super::background::Background;
use super::lists::Lists;
use super::pace::Glimpse;
use crate::fleet::{
    Answer, DemandId, FleetState, Health, Leaving, MemberEvidence, MemberStatus, Path,
    ProviderEvidence, RecordEvidence, Text, WitnessEvidence, Workload,
};
use crate::heal::{self, Domain, MachineEvidence, Proofs, Stranger, Suspect};
use crate::health::Level;
use crate::node::services::{self, Testimony, WitnessAnswer};
use crate::node::shared::Shared;
use crate::node::world::{Moment, Seen, World};

/// How long a witness has, its own probe included.
const WITNESS_DEADLINE: Duration = Duration::from_millis(1500);

/// How long a witness's word is believed without asking again, at least.
const WITNESS_FRESH: Duration = Duration::from_secs(3);

/// Provisioners are asked as often as this, while who is in trouble has just changed,
const ASKED_MIN: Duration = Duration::from_millis(400);

/// and as rarely as this when it has not changed for long.
const ASKED_MAX: Duration = Duration::from_secs(10);

/// After who is in trouble has changed, any answer is news for so long, even if it says the same as before.
const MOVING: Duration = Duration::from_secs(3);

/// For how long it is known how often a machine fell silent.
const HOUR: Duration = Duration::from_secs(3600);

/// Suspects that are tried by witnesses at the same time.
const TRIED_AT_ONCE: usize = 64;

/// What one leader has gathered. A new leader starts anew.
///
/// Nobody is waited for: [`observe`](Self::observe) asks whoever has to be asked and gives what is known so far, and
/// [`next`](Self::next) takes in the answers.
pub(super) struct Observer {
    lists: Lists,
    asked: BTreeSet<String>,
    reports: BTreeMap<MachineId, (Instant, Vec<WitnessEvidence>)>,
    tried: Background<MachineId, Vec<WitnessEvidence>>,
    proofs: Proofs,
    /// Who was in trouble, or is to go, or has an order by hand, at the last look, and since when that has been so.
    troubled: (BTreeSet<(MachineId, bool, Option<DemandId>)>, Instant),
    /// The orders by hand that wait, with when they were first seen.
    demanded: BTreeMap<DemandId, Instant>,
    /// When a witness's word has to be renewed.
    stale_at: Option<Instant>,
}

/// What was seen.
#[derive(Clone)]
pub(super) struct Observed {
    pub(super) machines: BTreeMap<MachineId, MachineEvidence>,
    pub(super) strangers: Vec<Stranger>,
}

impl Observer {
    /// One that has gathered nothing yet. What it gathers is dated by this clock.
    pub(super) fn new(clock: Steady) -> Self {
        Self {
            lists: Lists::new(clock),
            asked: BTreeSet::new(),
            reports: BTreeMap::new(),
            tried: Background::default(),
            proofs: Proofs::default(),
            troubled: (BTreeSet::new(), Instant::now()),
            demanded: BTreeMap::new(),
            stale_at: None,
        }
    }

    /// What is known now; has provisioners and witnesses asked about machines that are not well.
    pub(super) fn observe(
        &mut self,
        shared: &Arc<Shared>,
        world: &World,
        glimpse: &Glimpse,
    ) -> Observed {
        let status = |machine| world.status(machine);
        let ill = |machine| glimpse.failing_since(machine).is_some();
        let suspects = shared
            .replica
            .read(|state, _| heal::suspects(state, status, ill));
        self.note_demands(&suspects);
        let of = |suspect: &Suspect| (suspect.machine, suspect.troubled, suspect.demand);
        let troubled = suspects
            .iter()
            .filter(|suspect| suspect.asked)
            .map(of)
            .collect();
        if self.troubled.0 != troubled {
            self.troubled = (troubled, Instant::now());
        }
        self.ask_provisioners(shared, &suspects);
        self.ask_witnesses(shared, world, &suspects);
        let moment = shared.mesh.moment(world);
        let announced = Announced::of(shared, moment.now_ms);
        let hour_ago = shared.mesh.clock().now().saturating_sub(HOUR);
        let silences = shared.events.silences_since(hour_ago);
        let mut machines = BTreeMap::new();
        for suspect in &suspects {
            let seen = world.members.get(&suspect.machine);
            let evidence = MachineEvidence {
                member: seen.map(|seen| member_evidence(seen, moment)),
                record: seen.and_then(|seen| {
                    let failing_since_ms = glimpse.failing_since(suspect.machine);
                    record_evidence(seen, failing_since_ms, (moment, announced))
                }),
                provider: self.provider_evidence(suspect),
                witnesses: self
                    .reports
                    .get(&suspect.machine)
                    .map(|(_, reports)| reports.clone())
                    .unwrap_or_default(),
                works_since_ms: glimpse.works_since(suspect.machine),
                silences: silences.get(&suspect.machine).copied().unwrap_or(0),
            };
            machines.insert(suspect.machine, evidence);
        }
        // The state is dated by the fleet's clock, and so has to be what is compared with it.
        let fleet_ms = shared.fleet_now_ms();
        let asked = machines.iter().filter(|(_, seen)| seen.provider.is_some());
        let dated = asked
            .map(|(machine, seen)| (*machine, seen.dated_by(moment.now_ms, fleet_ms)))
            .collect();
        let strangers = shared.replica.read(|state, _| {
            self.proofs.note(state, &dated, moment.now_ms);
            heal::strangers(state, self.lists.fresh())
        });
        Observed {
            machines,
            strangers,
        }
    }

    /// Takes in the next answer. Says whether there is anything new in it; `None` while nobody is asked.
    pub(super) async fn next(&mut self) -> Option<bool> {
        tokio::select! {
            Some((_, news)) = self.lists.next() => Some(news || self.troubled.1.elapsed() < MOVING),
            Some((machine, reports)) = self.tried.next() => {
                self.reports.insert(machine, (Instant::now(), reports.unwrap_or_default()));
                Some(true)
            }
            else => None,
        }
    }

    /// How long until somebody has to be asked again.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let period = self.period();
        let lists = self
            .asked
            .iter()
            .filter_map(|name| self.lists.due_in(name, period));
        let witnesses = self
            .stale_at
            .map(|at| at.saturating_duration_since(Instant::now()));
        lists.chain(witnesses).min()
    }

    /// The longer nothing has changed, the more rarely provisioners are asked.
    fn period(&self) -> Duration {
        (self.troubled.1.elapsed() / 4).clamp(ASKED_MIN, ASKED_MAX)
    }

    /// The machines that their provisioners prove gone, with since when without a break.
    pub(super) fn proven_gone(&self) -> BTreeMap<MachineId, u64> {
        self.proofs.since().clone()
    }

    /// Asks each provisioner that made a machine in trouble, or that intents are open with, for its list.
    fn ask_provisioners(&mut self, shared: &Arc<Shared>, suspects: &[Suspect]) {
        self.asked = suspects
            .iter()
            .filter(|suspect| suspect.asked)
            .filter_map(|suspect| suspect.provisioner.clone())
            .collect();
        let cluster = shared
            .replica
            .read(|state, _| state.cluster.as_ref().map(|cluster| cluster.id.to_string()));
        let Some(cluster) = cluster else { return };
        let filter = Tags::new().with(tag::CLUSTER, cluster);
        let period = self.period();
        for name in &self.asked {
            self.lists.ask(&shared.provisioners, name, &filter, period);
        }
    }

    /// Has machines in different zones, and this one, try each suspect over a fresh path.
    fn ask_witnesses(&mut self, shared: &Arc<Shared>, world: &World, suspects: &[Suspect]) {
        let troubled: BTreeSet<_> = suspects
            .iter()
            .filter(|suspect| suspect.troubled)
            .map(|suspect| suspect.machine)
            .collect();
        self.reports.retain(|machine, _| troubled.contains(machine));
        let fresh_for = self.period().max(WITNESS_FRESH);
        for suspect in suspects.iter().filter(|suspect| suspect.troubled) {
            let known = self.reports.get(&suspect.machine);
            let fresh = known.is_some_and(|(at, _)| at.elapsed() <= fresh_for);
            let room = self.tried.len() < TRIED_AT_ONCE;
            if fresh || !room || self.tried.has(&suspect.machine) {
                continue;
            }
            let of_roster = || {
                let machine = suspect.machine;
                suspect.addr.map(|addr| Peer { machine, addr })
            };
            if let Some(peer) = world.peer(suspect.machine).or_else(of_roster) {
                let witnesses = choose_witnesses(shared, world, suspect);
                let asked = ask_all(Arc::clone(shared), witnesses, peer);
                self.tried.start(suspect.machine, asked);
            }
        }
        let waiting = self.reports.iter();
        let waiting = waiting.filter(|(machine, _)| !self.tried.has(machine));
        let oldest = waiting.map(|(_, (at, _))| *at).min();
        // With no room left the next answer is waited for.
        let room = self.tried.len() < TRIED_AT_ONCE;
        self.stale_at = oldest.filter(|_| room).map(|at| at + fresh_for);
    }

    fn provider_evidence(&self, suspect: &Suspect) -> Option<ProviderEvidence> {
        let name = suspect.provisioner.as_ref()?;
        let ordered = suspect.demand.and_then(|id| self.demanded.get(&id));
        let listing = match ordered {
            // What was said before may be about something that is over.
            Some(ordered) => self.lists.of_since(name, *ordered),
            None => self.lists.of(name),
        };
        suspect.word(listing?)
    }

    fn note_demands(&mut self, suspects: &[Suspect]) {
        let standing: BTreeSet<_> = suspects.iter().filter_map(|one| one.demand).collect();
        self.demanded.retain(|id, _| standing.contains(id));
        for id in standing {
            self.demanded.entry(id).or_insert_with(Instant::now);
        }
    }
}

/// Who is to try a suspect: this machine and some of those that answer.
fn choose_witnesses(shared: &Shared, world: &World, suspect: &Suspect) -> Vec<MachineId> {
    let domain_of = |seen: &Seen| {
        let label = |key: &str| seen.said.as_ref()?.labels.get(key).cloned();
        Domain {
            zone: label("zone"),
            rack: label("rack"),
        }
    };
    let answering = world
        .members
        .iter()
        .filter(|(_, seen)| seen.status == MemberStatus::Alive)
        .map(|(machine, seen)| (*machine, domain_of(seen)));
    heal::choose_witnesses(shared.me, suspect, answering)
}

async fn ask_all(
    shared: Arc<Shared>,
    witnesses: Vec<MachineId>,
    suspect: Peer,
) -> Vec<WitnessEvidence> {
    let asked = witnesses
        .into_iter()
        .map(|witness| ask(&shared, witness, suspect));
    join_all(asked).await.concat()
}

/// What one witness got over each path; nothing when it did not answer in time.
async fn ask(shared: &Shared, witness: MachineId, suspect: Peer) -> Vec<WitnessEvidence> {
    match testimony(shared, witness, suspect).await {
        Some(testimony) => evidence_of(shared, witness, testimony),
        None => Vec::new(),
    }
}

async fn testimony(shared: &Shared, witness: MachineId, suspect: Peer) -> Option<Testimony> {
    if witness == shared.me {
        Some(services::witness(shared, suspect).await)
    } else {
        let peer = shared.peer(witness)?;
        let body = Bytes::from(services::encode_peer(suspect));
        let asked = shared
            .transport
            .request(peer, StreamKind::WITNESS, body, WITNESS_DEADLINE);
        Testimony::decode(&asked.await.ok()?)
    }
}

fn evidence_of(shared: &Shared, witness: MachineId, testimony: Testimony) -> Vec<WitnessEvidence> {
    let of_roster = |state: &FleetState| state.machines.get(&witness).map(Domain::of);
    let domain = shared.replica.read(|state, _| of_roster(state));
    let domain = domain.unwrap_or_default();
    let paths = [
        (Path::Probe, testimony.port),
        (Path::Handshake, testimony.handshake),
    ];
    let at_ms = shared.mesh.steady().now_ms();
    paths
        .into_iter()
        .map(|(path, answer)| WitnessEvidence {
            by: witness,
            zone: domain.zone.clone().map(Text::from),
            rack: domain.rack.clone().map(Text::from),
            path,
            answer: match answer {
                WitnessAnswer::Answered => Answer::Answered,
                WitnessAnswer::Refused => Answer::Refused,
                WitnessAnswer::Silent => Answer::Silent,
                WitnessAnswer::Stranger => Answer::Stranger,
            },
            at_ms,
        })
        .collect()
}

fn member_evidence(seen: &Seen, moment: Moment) -> MemberEvidence {
    MemberEvidence {
        status: seen.status,
        since_ms: moment.of(seen.since_ms),
        generation: seen.generation,
    }
}

/// How times that machines announce, by clocks that are about right, are told by the leader's steady one.
#[derive(Debug, Clone, Copy)]
struct Announced {
    /// How far the steady clock is ahead of the right time, in milliseconds.
    ahead_ms: i64,
}

impl Announced {
    fn of(shared: &Shared, steady_ms: u64) -> Self {
        let ahead_ms = i128::from(steady_ms) - i128::from(shared.clock.right_ms());
        Self {
            ahead_ms: i64::try_from(ahead_ms).unwrap_or(0),
        }
    }

    fn leaving(self, leaving: Leaving) -> Leaving {
        match leaving {
            Leaving::Rebooting { until_ms } => Leaving::Rebooting {
                until_ms: until_ms.saturating_add_signed(self.ahead_ms),
            },
            Leaving::ForGood => Leaving::ForGood,
        }
    }
}

/// What a machine last said of itself; `failing_since_ms` is since when it has said that its workload fails.
fn record_evidence(
    seen: &Seen,
    failing_since_ms: Option<u64>,
    (moment, announced): (Moment, Announced),
) -> Option<RecordEvidence> {
    let said = seen.said.as_ref()?;
    let mut workload = said.workload.clone();
    if let (Some(Workload::Failed { since_ms, .. }), Some(first_ms)) =
        (&mut workload, failing_since_ms)
    {
        *since_ms = first_ms;
    }
    Some(RecordEvidence {
        health: match said.health {
            Level::Ok => Health::Ok,
            Level::Warning => Health::Warning,
            Level::Critical => Health::Critical,
        },
        reasons: said.reasons.iter().cloned().map(Text::from).collect(),
        workload,
        part: said.part,
        leaving: said.leaving.map(|leaving| announced.leaving(leaving)),
        version: Some(Text::from(said.version.clone())),
        as_of_ms: moment.of(said.received_ms),
    })
}
