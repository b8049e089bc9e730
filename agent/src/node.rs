//! One agent's life: the wiring of all parts, and nothing else.
//!
//! [`run`] reads from top to bottom: open the directory, find out who this machine is, open the endpoint, start the
//! tasks, run, take leave.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use muster_mesh::clock::{Monotonic, unix_ms};
use muster_mesh::consensus::follow::Standing;
use muster_mesh::consensus::{LogGeneration, Network};
use muster_mesh::identity::{Generation, Peer};
use muster_mesh::membership::{self, Membership};
use muster_mesh::pki::{Credentials, Revocations};
use muster_mesh::records::Records;
use muster_mesh::state_dir::StateDir;
use muster_mesh::transport::{EndpointKeys, InboundRequest, Transport, TransportConfig};
use muster_provisioners::{Deadline, Provisioners, Registry};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use self::desk::NodeDesk;
use self::footprint::Files;
use self::local_events::LocalEvents;
use self::mesh::{Input, Mesh, MeshParts, MeshTask};
use self::shared::Shared;
use crate::answers::Answers;
use crate::api::server::Server;
use crate::config::{AgentConfig, TimingProfile};
use crate::health::{Report, Workload};
use crate::observe::log::LogHandle;
use crate::observe::readiness::Readiness;
use crate::spec::Registries;

pub use self::commands::ThisMachine;
pub use self::start::Founding;

pub mod authority;
pub mod local_events;
pub mod mesh;
pub mod world;

mod admission;
mod clock;
mod commands;
mod company;
mod council;
mod departure;
mod desk;
mod follow;
mod footprint;
mod hints;
mod joining;
mod last_words;
mod leader;
mod lease;
mod ledger;
mod notices;
mod places;
mod profile;
mod propose;
pub(crate) mod quorum;
pub(crate) mod recorder;
pub(crate) mod refounding;
mod renewal;
mod revocations;
mod route;
mod services;
mod shared;
mod stamp;
mod start;
mod statistics;
mod succession;
mod vitality;
mod watchdog;
mod workload;
mod workplace;

/// Inbound messages that wait for the mesh task.
const INBOUND_MAX: usize = 512;

/// How long tasks have to end after the goodbye.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// How long building a provisioner may take.
const BUILD_DEADLINE: Duration = Duration::from_secs(20);

/// How an agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop, and expects to be started again.
    Stopped,
    /// It left the mesh for good.
    Left,
}

/// Lets the tasks end, then the coordinator, then the connections.
async fn wind_up(shared: &Shared, tasks: &mut JoinSet<()>) {
    let drained = tokio::time::timeout(DRAIN_GRACE, async {
        while tasks.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
    if let Some(coordinator) = shared.council.coordinator() {
        coordinator.stop().await;
    }
    shared.transport.close(Duration::from_millis(200)).await;
}

/// Runs an agent until it is told to stop or leaves.
///
/// Without an identity in its directory, the machine founds a mesh when `founding` says so, and joins with the
/// configured token otherwise.
///
/// # Errors
/// When it can't start; nothing has been changed then that a later start would trip over.
pub async fn run(
    config: AgentConfig,
    founding: Option<Founding>,
    log: LogHandle,
    stop: CancellationToken,
) -> anyhow::Result<Ended> {
    let files = Files::mapped_now();
    let state_dir = Arc::new(StateDir::open(&config.machine.data_dir)?);
    // Before anything that may take long: a workload may run under its guard since an earlier life.
    let watchdog = watchdog::Care::begin(config.watchdog.device.clone(), state_dir.path());
    let ended = live(config, (state_dir, files), founding, log, stop).await;
    watchdog.end().await;
    ended
}

/// One life of an agent, but for its watchdog.
async fn live(
    config: AgentConfig,
    (state_dir, files): (Arc<StateDir>, Files),
    founding: Option<Founding>,
    log: LogHandle,
    stop: CancellationToken,
) -> anyhow::Result<Ended> {
    let identity = tokio::select! {
        // Somebody who is to be let in may wait for long; whoever tells it to stop should not.
        () = stop.cancelled() => return Ok(Ended::Stopped),
        identity = async {
            workplace::prepare(&state_dir)
                .context("cannot make the directory that the machine's own commands run in")?;
            first_boot(&config, &state_dir).await?;
            start::identify(&config, &state_dir, founding).await
        } => identity?,
    };
    let generation = state_dir.begin_generation(unix_ms() / 1000)?;
    let me = Peer {
        machine: identity.credentials.machine(),
        addr: identity.addr,
    };
    tracing::info!(machine = %me.machine, %generation, addr = %me.addr, "starting");

    let Assembled {
        shared,
        task,
        network,
        requests,
        publish,
        revoke,
    } = assemble(
        config,
        state_dir,
        identity.credentials,
        me,
        generation,
        log,
        stop,
    )
    .await?;
    tokio::select! {
        () = shared.stop.cancelled() => return Ok(Ended::Stopped),
        seated = sit_down(&shared, identity.founding, Arc::clone(&network)) => seated?,
    }
    let mut tasks = JoinSet::new();
    let mut mesh_task = tokio::spawn(task.run());
    tasks.spawn(refounding::run(Arc::clone(&shared), Arc::clone(&network)));
    spawn_tasks(&mut tasks, &shared, requests, network, publish, revoke).await?;
    tasks.spawn(company::run(Arc::clone(&shared), identity.peers));
    tasks.spawn(
        shared
            .stop
            .clone()
            .run_until_cancelled_owned(files.keep_small())
            .map(drop),
    );
    let ended = run_until_told(&shared, &mut tasks, &mut mesh_task).await?;
    departure::say_goodbye(&shared, ended).await;
    shared.stop.cancel();
    wind_up(&shared, &mut tasks).await;
    mesh_task.abort();
    if ended == Ended::Left {
        start::note_left(&shared.state_dir)?;
    }
    tracing::info!(?ended, "the agent has ended");
    Ok(ended)
}

/// The parts of an agent, made and not yet running.
struct Assembled {
    shared: Arc<Shared>,
    task: MeshTask,
    network: Arc<dyn Network>,
    requests: mpsc::Receiver<InboundRequest>,
    publish: watch::Sender<Arc<Credentials>>,
    revoke: watch::Sender<Arc<Revocations>>,
}

/// Opens the endpoint and makes all parts.
async fn assemble(
    config: AgentConfig,
    state_dir: Arc<StateDir>,
    credentials: Credentials,
    me: Peer,
    generation: Generation,
    log: LogHandle,
    stop: CancellationToken,
) -> anyhow::Result<Assembled> {
    let (replica, as_of_ms) = follow::load(&state_dir).await;
    let (publish, credentials) = watch::channel(Arc::new(credentials));
    let (revoke, revoked) = watch::channel(Arc::new(Revocations::default()));
    let keys = EndpointKeys::load_or_create(&state_dir.file("endpoint"))?;
    let (inbound_tx, inbound) = mpsc::channel(INBOUND_MAX);
    let transport_config = TransportConfig::new(config.machine.bind, keys);
    let transport = Transport::bind(transport_config, credentials.clone(), revoked, inbound_tx)
        .with_context(|| format!("cannot serve the mesh on {}", config.machine.bind))?;

    let (requests_tx, requests) = mpsc::channel(services::WAITING_MAX);
    let (hints_tx, hints) = watch::channel(None);
    let refounding = refounding::Refounding::load(&state_dir, replica.generation())?;
    let events = Arc::new(LocalEvents::default());
    let signing = profile::Signing::new(credentials.clone());
    let seed = rand::random();
    let (task, mesh) = MeshTask::new(MeshParts {
        membership: Membership::new(timing(&config), me, generation, seed),
        records: Records::new(
            me,
            generation,
            seed,
            Box::new(signing.clone()),
            Box::new(signing),
        ),
        transport: transport.clone(),
        inbound,
        requests: requests_tx,
        hints: hints_tx,
        rumours: refounding.rumours(),
        replica: replica.clone(),
        events: Arc::clone(&events),
        state_dir: Arc::clone(&state_dir),
        clock: Monotonic::start(),
    });
    let network = council::MeshNetwork::of(&transport, &mesh);
    let ledgers = ledger::Ledgers::default();
    let shared = Arc::new(Shared {
        me: me.machine,
        provisioners: provisioners(&config, &ledgers).await?,
        config,
        state_dir,
        credentials,
        transport,
        mesh,
        replica,
        standing: Standing::default(),
        council: council::Council::default(),
        hints,
        events,
        leased: lease::Leased::default(),
        leases: leader::LeaseDesk::default(),
        clock: clock::FleetClock::default(),
        promised: services::Promised::default(),
        refounding,
        log,
        complete: shared::Complete::since(as_of_ms),
        leave: CancellationToken::new(),
        stop,
    });
    ledgers.open(&shared);
    Ok(Assembled {
        shared,
        task,
        network,
        requests,
        publish,
        revoke,
    })
}

/// Takes the seat among the coordinators that this machine had, or the first one of a mesh that it founds.
async fn sit_down(
    shared: &Arc<Shared>,
    founding: Option<start::Founded>,
    network: Arc<dyn Network>,
) -> anyhow::Result<()> {
    if let Some(founded) = founding {
        let here = Peer {
            machine: shared.me,
            addr: shared.here().addr,
        };
        return start::found_log(shared, founded, here, network).await;
    }
    let cluster = shared.credentials.borrow().cluster();
    let promised = services::stored_promise(&shared.state_dir)?.highest();
    let lowest = LogGeneration(promised.map_or(0, |ballot| ballot.generation));
    shared.council.supersede(lowest);
    let (state_dir, replica) = (&shared.state_dir, &shared.replica);
    match council::reopen(state_dir, cluster, lowest, replica, network).await {
        Ok(Some((coordinator, ca))) => shared.council.seat(coordinator, ca),
        Ok(None) => {}
        // It can still answer, follow and work; what it must not do is vote from a damaged log.
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "this machine can't take its seat among the coordinators; it follows as an ordinary machine"
            );
            shared.council.fail();
        }
    }
    Ok(())
}

async fn spawn_tasks(
    tasks: &mut JoinSet<()>,
    shared: &Arc<Shared>,
    requests: mpsc::Receiver<InboundRequest>,
    network: Arc<dyn Network>,
    publish: watch::Sender<Arc<Credentials>>,
    revoke: watch::Sender<Arc<Revocations>>,
) -> anyhow::Result<()> {
    let readiness = Readiness::default();
    let (verdict, workload) = watch::channel(Workload::Unknown);
    let (announce, announced) = watch::channel(false);
    let (latest, report) = watch::channel(Report::default());
    let metrics = statistics::renderer(shared, report);
    let desk = NodeDesk::new(Arc::clone(shared), Box::new(metrics.clone()));
    let answers = Arc::new(Answers::new(Arc::new(desk), Registries::builtin()));
    let server = Server::bind(&shared.config.api_socket()).await?;
    if let Some(listen) = shared.config.metrics.listen {
        let listener = crate::observe::http::bind(listen)
            .await
            .with_context(|| format!("cannot serve metrics on {listen}"))?;
        let until = shared.stop.clone();
        let metrics = metrics.clone();
        let scrape = move || std::future::ready(metrics());
        let serving = crate::observe::http::serve(listener, readiness.clone(), scrape);
        tasks.spawn(async move {
            tokio::select! { () = until.cancelled() => {}, () = serving => {} }
        });
    }
    let until = shared.stop.clone();
    let backend: Arc<dyn crate::api::Backend> = answers.clone();
    tasks.spawn(async move {
        tokio::select! { () = until.cancelled() => {}, () = server.serve(backend) => {} }
    });
    tasks.spawn(services::run(Arc::clone(shared), answers, requests));
    tasks.spawn(council::run(Arc::clone(shared), network));
    tasks.spawn(leader::run(Arc::clone(shared)));
    tasks.spawn(succession::run(Arc::clone(shared)));
    tasks.spawn(follow::run(
        Arc::clone(shared),
        readiness.latch("a copy of the fleet's state"),
    ));
    tasks.spawn(renewal::run(Arc::clone(shared), publish));
    tasks.spawn(revocations::run(Arc::clone(shared), revoke));
    tasks.spawn(profile::run(Arc::clone(shared)));
    tasks.spawn(lease::run(Arc::clone(shared)));
    tasks.spawn(workload::run(Arc::clone(shared), verdict));
    tasks.spawn(notices::run(Arc::clone(shared), announce));
    tasks.spawn(vitality::run(
        Arc::clone(shared),
        workload,
        announced,
        latest,
    ));
    Ok(())
}

/// Waits until the agent is told to stop or to leave. A task that ends before that is a defect, and ends the agent:
/// its supervisor starts a whole one.
async fn run_until_told(
    shared: &Shared,
    tasks: &mut JoinSet<()>,
    mesh: &mut JoinHandle<()>,
) -> anyhow::Result<Ended> {
    loop {
        tokio::select! {
            // What was asked for comes before what follows from it.
            biased;
            () = shared.stop.cancelled() => return Ok(Ended::Stopped),
            () = shared.leave.cancelled() => return Ok(Ended::Left),
            ended = &mut *mesh => {
                ended.context("the mesh task has failed")?;
                anyhow::bail!("the mesh task has ended, because the endpoint was closed");
            }
            Some(ended) = tasks.join_next() => {
                ended.context("a part of the agent has failed")?;
                let told = shared.stop.is_cancelled() || shared.leave.is_cancelled();
                anyhow::ensure!(told, "a part of the agent has ended by itself");
            }
        }
    }
}

/// Runs the first-boot script, once in the life of this directory.
async fn first_boot(config: &AgentConfig, state_dir: &StateDir) -> anyhow::Result<()> {
    match &config.machine.first_boot {
        Some(script) => start::first_boot(script, state_dir).await,
        None => Ok(()),
    }
}

/// The provisioners that this machine could use if it led.
async fn provisioners(
    config: &AgentConfig,
    ledgers: &ledger::Ledgers,
) -> anyhow::Result<Provisioners> {
    let mut provisioners = Provisioners::new().with_settings(config.handed_on());
    for (name, settings) in config.provisioner_settings() {
        let configured = Registry::builtin()
            .configure(&name, &settings)
            .map_err(|problems| {
                let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
                anyhow::anyhow!("provisioner {name}: {}", all.join("; "))
            })?;
        let deadline = Deadline::after(BUILD_DEADLINE);
        match configured.build_with(ledgers.of(&name), deadline).await {
            Ok(built) => provisioners.insert(name, built),
            // The rest of the agent works without it, and status says so when it is needed.
            Err(error) => tracing::error!(name, %error, "a provisioner can't be used"),
        }
    }
    Ok(provisioners)
}

fn timing(config: &AgentConfig) -> membership::Config {
    match config.timing.profile {
        TimingProfile::Lan => membership::Config::default(),
        TimingProfile::Wan => membership::Config::wan(),
    }
}

/// Tells the mesh task to take leave, and waits until it has.
async fn leave_mesh(mesh: &Mesh) {
    let (said, heard) = oneshot::channel();
    mesh.tell(Input::Leave(said)).await;
    let _ = heard.await;
}
