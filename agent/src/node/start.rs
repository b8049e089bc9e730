//! Who this machine is: found on disk, founded, or given by a mesh that it joins.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use muster_mesh::clock::unix_ms;
use muster_mesh::consensus::{Coordinator, LogGeneration, Network, Seat, SeatNode};
use muster_mesh::identity::{ClusterId, Peer};
use muster_mesh::pki::{ClusterCa, Credentials, LeafKey, open_ca, public_key_hash, seal_ca};
use muster_mesh::state_dir::{FileKind, StateDir};
use muster_provisioners::{Deadline, Properties};
use rand::TryRng;
use serde::{Deserialize, Serialize};

use super::council;
use super::joining::{self, Asking};
use super::propose::propose;
use super::shared::Shared;
use super::workplace;
use crate::config::{AgentConfig, Seed};
use crate::fleet::{self, Command, Found, GroupId, KeyHash, MachineName, Member, Text};

/// The file with this machine's identity.
pub(super) const CREDENTIALS: &str = "identity";

/// How long a first-boot script may take.
const FIRST_BOOT_DEADLINE: Duration = Duration::from_secs(600);

/// How long the first election and the first command of a new mesh may take.
const FOUND_DEADLINE: Duration = Duration::from_secs(20);

const FOUNDING: FileKind = FileKind {
    tag: *b"FOND",
    version: 1,
    what: "the note about the mesh that this machine is founding",
    remedy: "Delete the whole directory and found the mesh again; it has no other members yet.",
    size_max: 64 * 1024,
};

const PEERS: FileKind = FileKind {
    tag: *b"PEER",
    version: 1,
    what: "the machines that this one was told about when it joined",
    remedy: "Delete it, and name some machines of the mesh as `seeds` in the configuration.",
    size_max: 16 * 1024,
};

const LEFT: FileKind = FileKind {
    tag: *b"LEFT",
    version: 1,
    what: "the note that this machine has left its mesh",
    remedy: "Delete the whole directory to have the machine join a mesh again.",
    size_max: 64,
};

/// Notes that this machine has left for good, so that its supervisor doesn't bring it back, and deletes what only a
/// coordinator may have.
///
/// # Errors
/// When the note can't be written.
pub(super) fn note_left(state_dir: &StateDir) -> anyhow::Result<()> {
    LEFT.write(&state_dir.file("left"), &[])?;
    for name in ["ca.sealed", "ca.kek"] {
        // There is nothing to delete on most machines.
        let _ = std::fs::remove_file(state_dir.file(name));
    }
    Ok(())
}

const FIRST_BOOT: FileKind = FileKind {
    tag: *b"BOOT",
    version: 1,
    what: "the note that the first boot is over",
    remedy: "Delete it to have the first-boot script run again.",
    size_max: 64,
};

/// A mesh that is to be founded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// The mesh's ID; drawn at random when absent.
    pub cluster: Option<ClusterId>,
    /// The mesh's name, for people.
    pub name: String,
}

/// Who this machine is.
pub(super) struct Identity {
    /// Its certificate and key.
    pub credentials: Credentials,
    /// Where it tells others to reach it.
    pub addr: SocketAddr,
    /// Its name in the mesh, where that was just told.
    pub name: String,
    /// The mesh's name, where that was just told.
    pub cluster_name: String,
    /// Machines of the mesh that it was told about when it joined.
    pub peers: Vec<Peer>,
    /// What is still to be done to found the mesh.
    pub(super) founding: Option<Founded>,
}

/// What is to be committed first in a new mesh.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Founded {
    cluster: ClusterId,
    name: String,
    key: [u8; 32],
}

/// Finds out who this machine is: from its directory, by founding a mesh, or by joining one.
///
/// # Errors
/// When the directory is damaged, or there is no identity and no way to get one.
pub(super) async fn identify(
    config: &AgentConfig,
    state_dir: &StateDir,
    founding: Option<Founding>,
) -> anyhow::Result<Identity> {
    let addr = advertised(config)?;
    ensure_not_left(state_dir)?;
    if let Some(credentials) = Credentials::load(&state_dir.file(CREDENTIALS))? {
        let founding = unfinished(state_dir)?;
        let identity = Identity {
            credentials,
            addr,
            name: String::new(),
            cluster_name: String::new(),
            peers: known_peers(state_dir)?,
            founding,
        };
        joining::forget_key(state_dir);
        if !identity.credentials.is_expired(unix_ms()) {
            return Ok(identity);
        }
        return match open_ca(&council::key_file(state_dir)?, &council::ca_path(state_dir))? {
            Some(ca) => renew_here(config, state_dir, identity, &ca),
            None => joining::rejoin(config, state_dir, identity).await,
        };
    }
    match founding.or_else(|| configured_founding(config)) {
        Some(founding) => found(config, state_dir, addr, founding),
        None => {
            let asking = Asking::logged(Some(joining::JOIN_PATIENCE));
            joining::join(config, state_dir, addr, asking).await
        }
    }
}

/// Who has left stays away until a person decides otherwise.
fn ensure_not_left(state_dir: &StateDir) -> anyhow::Result<()> {
    ensure!(
        LEFT.read(&state_dir.file("left"))?.is_none(),
        "this machine has left its mesh for good; to have it join one again, delete {}",
        state_dir.path().display()
    );
    Ok(())
}

fn configured_founding(config: &AgentConfig) -> Option<Founding> {
    let name = config.found.name.clone()?;
    Some(Founding {
        cluster: config.found.cluster.as_deref()?.parse().ok(),
        name,
    })
}

/// Founds a mesh in a directory: `muster init`. The agent commits it at its first start.
///
/// # Errors
/// When the directory has an identity already, or can't be written.
pub(super) fn init(config: &AgentConfig, founding: Founding) -> anyhow::Result<Identity> {
    let state_dir = StateDir::open(&config.machine.data_dir)?;
    ensure!(
        Credentials::load(&state_dir.file(CREDENTIALS))?.is_none(),
        "{} belongs to a member of a mesh already; use another data_dir, or delete it to found a new mesh",
        config.machine.data_dir.display()
    );
    found(config, &state_dir, advertised(config)?, founding)
}

/// Joins a mesh: `muster join`. The agent takes part when it is started.
///
/// # Errors
/// When the directory has an identity already, the mesh doesn't let this machine in, or nobody decides in time.
pub(super) async fn join_mesh(config: &AgentConfig, asking: Asking) -> anyhow::Result<Identity> {
    let state_dir = StateDir::open(&config.machine.data_dir)?;
    ensure_not_left(&state_dir)?;
    ensure!(
        Credentials::load(&state_dir.file(CREDENTIALS))?.is_none(),
        "{} belongs to a member of a mesh already; `muster agent` starts it",
        config.machine.data_dir.display()
    );
    joining::join(config, &state_dir, advertised(config)?, asking).await
}

fn found(
    config: &AgentConfig,
    state_dir: &StateDir,
    addr: SocketAddr,
    founding: Founding,
) -> anyhow::Result<Identity> {
    let now_ms = unix_ms();
    let cluster = match founding.cluster {
        Some(cluster) => cluster,
        None => ClusterId::new(rand::rngs::SysRng.try_next_u64()?.max(1))
            .expect("at least one is not zero"),
    };
    let machine = fleet::machine_id(cluster, 1)
        .context("this cluster ID makes an empty machine ID; draw another one")?;
    let ca = ClusterCa::create(cluster, now_ms)?;
    let key = LeafKey::generate()?;
    let request = key.request()?;
    let lifetime = config.machine.certificate_lifetime;
    let leaf = ca.sign_machine_for(&request, machine, now_ms, lifetime)?;
    let credentials = Credentials::assemble(&key, leaf, ca.certificate().to_vec(), now_ms)?;
    let founded = Founded {
        cluster,
        name: founding.name,
        key: public_key_hash(&request)?,
    };
    // The identity comes last: without it the next start begins again from nothing.
    seal_ca(
        &ca,
        &council::key_file(state_dir)?,
        &council::ca_path(state_dir),
    )?;
    let note = postcard::to_stdvec(&founded).expect("plain data serializes into memory");
    FOUNDING.write(&state_dir.file("founding"), &note)?;
    credentials.save(&state_dir.file(CREDENTIALS))?;
    Ok(Identity {
        credentials,
        addr,
        name: String::new(),
        cluster_name: founded.name.clone(),
        peers: Vec::new(),
        founding: Some(founded),
    })
}

/// Remembers the machines that this one is told about when it joins.
///
/// # Errors
/// When the file can't be written.
pub(super) fn store_peers(state_dir: &StateDir, peers: &[Peer]) -> anyhow::Result<()> {
    let peers = postcard::to_stdvec(peers).expect("plain data serializes into memory");
    Ok(PEERS.write(&state_dir.file("peers"), &peers)?)
}

/// The machines that this one was told about when it joined; none on a founder.
///
/// # Errors
/// When the file is damaged or can't be read.
pub(super) fn known_peers(state_dir: &StateDir) -> anyhow::Result<Vec<Peer>> {
    let path = state_dir.file("peers");
    let Some(bytes) = PEERS.read(&path)? else {
        return Ok(Vec::new());
    };
    let peers = postcard::from_bytes(&bytes);
    Ok(peers.map_err(|_| PEERS.damaged(&path, "its content makes no sense"))?)
}

fn unfinished(state_dir: &StateDir) -> anyhow::Result<Option<Founded>> {
    let path = state_dir.file("founding");
    let Some(bytes) = FOUNDING.read(&path)? else {
        return Ok(None);
    };
    let founded = postcard::from_bytes(&bytes)
        .map_err(|_| FOUNDING.damaged(&path, "its content makes no sense"))?;
    Ok(Some(founded))
}

/// Begins the log of a new mesh, or goes on where an earlier start was cut off.
///
/// # Errors
/// When the log can't be made, or its first command isn't committed.
pub(super) async fn found_log(
    shared: &Arc<Shared>,
    founded: Founded,
    here: Peer,
    network: Arc<dyn Network>,
) -> anyhow::Result<()> {
    let state_dir = &shared.state_dir;
    let ca = open_ca(&council::key_file(state_dir)?, &council::ca_path(state_dir))?
        .context("the CA's key is missing; delete the directory and found the mesh again")?;
    let config = council::coordinator_config(
        state_dir,
        founded.cluster,
        Seat::FIRST,
        LogGeneration::FIRST,
    );
    let coordinator = if council::stored_seat(state_dir)?.is_some() {
        Coordinator::open(config, shared.replica.clone(), network).await?
    } else {
        // A log without the note about the seat is of a start that was cut off before anything was in it.
        let _ = tokio::fs::remove_file(&config.path).await;
        let made = Coordinator::create(config, shared.replica.clone(), network).await?;
        council::store_seat(state_dir, Seat::FIRST, LogGeneration::FIRST)?;
        made
    };
    let node = SeatNode {
        machine: here.machine,
        addr: here.addr,
    };
    match coordinator.found(node).await {
        Ok(()) | Err(muster_mesh::consensus::coordinator::FoundError::Exists) => {}
        Err(error) => return Err(error.into()),
    }
    shared.council.seat(coordinator, Arc::new(ca));
    let deadline = tokio::time::Instant::now() + FOUND_DEADLINE;
    let command = first_command(shared, &founded, here).await?;
    while shared.replica.read(|state, _| state.cluster.is_none()) {
        if let Err(error) = propose(shared, None, command.clone()).await {
            tracing::debug!(%error, "the mesh is not founded yet");
            ensure!(
                tokio::time::Instant::now() < deadline,
                "could not found the mesh: {error}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    tokio::fs::remove_file(state_dir.file("founding")).await?;
    tracing::info!(cluster = %founded.cluster, name = founded.name, "the mesh is founded");
    Ok(())
}

async fn first_command(shared: &Shared, founded: &Founded, here: Peer) -> anyhow::Result<Command> {
    let config = &shared.config;
    let machine_name: MachineName = machine_name(config)?.parse()?;
    let place = match (&config.instance.group, &config.instance.member) {
        (Some(group), Some(member)) => {
            let group: GroupId = group.parse()?;
            let member = founding_member(&group, member, config.found.pet)?;
            Some((group, member))
        }
        _ => None,
    };
    let instance = match (&config.instance.provisioner, &config.instance.id) {
        (Some(provisioner), Some(id)) => Some(fleet::Instance {
            provisioner: provisioner.clone(),
            id: id.parse()?,
            properties: own_properties(shared, provisioner).await,
        }),
        _ => None,
    };
    Ok(Command::Found(Box::new(Found {
        cluster: founded.cluster,
        name: Text::from(founded.name.clone()),
        ca_der: shared.credentials.borrow().ca_certificate().to_vec(),
        machine_name,
        addr: here.addr,
        labels: config.machine.labels.clone(),
        key: KeyHash(founded.key),
        place,
        instance,
    })))
}

/// What the founding machine's provisioner says of it; nothing when it can't be asked now, which does no harm.
async fn own_properties(shared: &Shared, provisioner: &str) -> Properties {
    let config = &shared.config.instance;
    let operation = config.operation.as_deref().and_then(|op| op.parse().ok());
    let (Some(op), Some(built)) = (operation, shared.provisioners.get(provisioner)) else {
        return Properties::new();
    };
    let made = built.made_by(&op, Deadline::after(FOUND_DEADLINE)).await;
    let mut made = made.unwrap_or_default().into_iter();
    let own = made.find(|instance| Some(instance.id.as_str()) == config.id.as_deref());
    own.map(|instance| instance.properties).unwrap_or_default()
}

/// Which member of its group the founding machine is: a pet by its name, cattle by its number.
fn founding_member(group: &GroupId, member: &str, pet: bool) -> anyhow::Result<Member> {
    if pet {
        return Ok(Member::Pet(member.parse()?));
    }
    let ordinal = member.parse().ok();
    Ok(Member::Cattle(ordinal.with_context(|| {
        format!("`{member}` is no member of the cattle group `{group}`: its members are numbers")
    })?))
}

/// The name that this machine would like to have: the configured one, else the host's.
pub(super) fn machine_name(config: &AgentConfig) -> anyhow::Result<String> {
    match &config.machine.name {
        Some(name) => Ok(name.clone()),
        None => {
            let host = rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .to_lowercase();
            Ok(host.split('.').next().unwrap_or_default().to_owned())
        }
    }
}

/// Signs a coordinator's own certificate anew after a fleet was switched off for longer than certificates live: it has
/// the CA's key, and there is nobody else to ask until somebody is back.
fn renew_here(
    config: &AgentConfig,
    state_dir: &StateDir,
    identity: Identity,
    ca: &ClusterCa,
) -> anyhow::Result<Identity> {
    tracing::warn!(
        "this coordinator's certificate has run out while it was away; signing a new one"
    );
    let credentials = sign_own(config, &identity.credentials, ca)?;
    credentials.save(&state_dir.file(CREDENTIALS))?;
    Ok(Identity {
        credentials,
        ..identity
    })
}

/// A new certificate for a coordinator, from itself.
///
/// # Errors
/// When the cryptographic library fails, or the key is not of the CA that the old certificate is from.
pub(super) fn sign_own(
    config: &AgentConfig,
    old: &Credentials,
    ca: &ClusterCa,
) -> anyhow::Result<Credentials> {
    let (key, now_ms) = (LeafKey::generate()?, unix_ms());
    let lifetime = config.machine.certificate_lifetime;
    let leaf = ca.sign_machine_for(&key.request()?, old.machine(), now_ms, lifetime)?;
    let ca = old.ca_certificate().to_vec();
    Ok(Credentials::assemble(&key, leaf, ca, now_ms)?)
}

/// Where others reach this machine.
fn advertised(config: &AgentConfig) -> anyhow::Result<SocketAddr> {
    let machine = &config.machine;
    if let Some(advertise) = machine.advertise {
        return Ok(advertise);
    }
    if !machine.bind.ip().is_unspecified() {
        return Ok(machine.bind);
    }
    let towards = machine.seeds.iter().find_map(Seed::literal);
    let ip = route_source(towards, machine.bind.ip()).context(
        "bind is a wildcard and there is no route to tell which address others reach this machine at; \
         set `advertise`",
    )?;
    Ok(SocketAddr::new(ip, machine.bind.port()))
}

/// The source address of packets towards `towards`, or along the default route. Sends nothing.
fn route_source(towards: Option<SocketAddr>, bind: IpAddr) -> Option<IpAddr> {
    // 192.0.2.0/24 and 2001:db8::/32 are for documentation (RFC 5737, RFC 3849): nobody is there to be disturbed.
    let default = if bind.is_ipv4() {
        "192.0.2.1:9"
    } else {
        "[2001:db8::1]:9"
    };
    let towards = towards.or_else(|| default.parse().ok())?;
    let socket = UdpSocket::bind(SocketAddr::new(bind, 0)).ok()?;
    socket.connect(towards).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

/// Runs the first-boot script once in the life of a directory.
///
/// # Errors
/// When it fails or takes too long; it is run again at the next start then.
pub(super) async fn first_boot(script: &str, state_dir: &StateDir) -> anyhow::Result<()> {
    let note = state_dir.file("booted");
    if FIRST_BOOT.read(&note)?.is_some() {
        return Ok(());
    }
    tracing::info!("running the first-boot script");
    let mut shell = tokio::process::Command::new("/bin/sh");
    shell
        .arg("-e")
        .arg("-c")
        .arg(script)
        .current_dir(workplace::workplace(state_dir))
        .kill_on_drop(true);
    let status = tokio::time::timeout(FIRST_BOOT_DEADLINE, shell.status())
        .await
        .context("the first-boot script took longer than ten minutes")??;
    ensure!(status.success(), "the first-boot script failed: {status}");
    FIRST_BOOT.write(&note, &[])?;
    Ok(())
}
