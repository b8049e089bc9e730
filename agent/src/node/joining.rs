//! Getting in: a new machine with its token, and a member whose certificate ran out with its old key.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use muster_mesh::clock::unix_ms;
use muster_mesh::pki::{CaHash, Credentials, EnvelopeSigner, JoinToken, LeafKey};
use muster_mesh::state_dir::StateDir;
use muster_mesh::transport::DialError;
use muster_mesh::transport::joining::{self, JoinAttemptError, JoinError};
use tokio::time::Instant;

use super::admission::{JoinAnswer, JoinRequest, REJOIN_PURPOSE, Welcome};
use super::start::{CREDENTIALS, Identity, known_peers, store_peers};
use crate::cli::Progress;
use crate::config::{AgentConfig, ConfigError, Place, Problem, Seed};
use crate::fleet::FleetState;

/// How long one seed has to answer: it may have to wait for an election.
const ANSWER_DEADLINE: Duration = Duration::from_secs(25);

/// How long an agent with a token goes on asking to be let in; its supervisor may start it again.
pub(super) const JOIN_PATIENCE: Duration = Duration::from_secs(150);

/// The pause between rounds of asking while the mesh can't decide, doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// See [`PAUSE_MIN`]. The same reason is said this often, too.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Machines asked in one round by one that wants to come back.
const ASKED_MAX: usize = 16;

/// The file with the key that a new machine asks to be let in with.
const KEY: &str = "joining";

/// How a machine goes about asking.
pub(super) struct Asking {
    /// When it gives up; `None` for never.
    pub until: Option<Instant>,
    /// Hears, line by line, why the machine is not in yet.
    pub progress: Progress,
}

impl Asking {
    /// For an agent: says it in the log.
    pub(super) fn logged(patience: Option<Duration>) -> Self {
        Self {
            until: patience.map(|patience| Instant::now() + patience),
            progress: Arc::new(|why| tracing::warn!("{why}")),
        }
    }
}

/// Has a new machine let in with its token.
///
/// The key that it asks with is stored before the first question, and used again by the next start: a machine that
/// dies between its admission and the storing of its identity is the same machine when it asks again, and its token,
/// which may be good for one machine only, is not used up.
///
/// # Errors
/// When the address that its agent will serve can't be had, there is no token, the mesh refuses it, or nobody decides in
/// time.
pub(super) async fn join(
    config: &AgentConfig,
    state_dir: &StateDir,
    addr: SocketAddr,
    asking: Asking,
) -> anyhow::Result<Identity> {
    // Held until the machine is in: one whose agent could not start afterwards should not be on the roster.
    let _held = hold(config.machine.bind)?;
    let token = token(config)?;
    let key = LeafKey::waiting(&state_dir.file(KEY))?;
    let request = JoinRequest::New {
        token: token.reveal().to_string(),
        request: key.request()?,
        name: config.machine.name.clone(),
        advertise: addr,
        labels: config.machine.labels.clone(),
    };
    let seeds = &config.machine.seeds;
    ensure!(
        !seeds.is_empty(),
        "no seeds: say at which addresses the mesh can be asked (`seeds`, or `muster join ADDR...`)"
    );
    let body = encode(&request);
    let mut pace = Pace::of(asking);
    let welcome = loop {
        let asked = async {
            resolve(seeds)
                .await
                .ask(token.ca_hash(), body.clone())
                .await
        };
        match pace.within(asked).await? {
            Round::In(welcome) => break welcome,
            Round::Never(error) => return Err(error),
            Round::NotYet(why) => pace.rest(why).await?,
        }
    };
    let credentials = Credentials::assemble(&key, welcome.certificate, welcome.ca, unix_ms())?;
    // Peers first: with an identity and without them, the next start would not know where to begin.
    store_peers(state_dir, &welcome.peers)?;
    credentials.save(&state_dir.file(CREDENTIALS))?;
    forget_key(state_dir);
    tracing::info!(machine = %welcome.machine, name = welcome.name, "this machine has joined");
    Ok(Identity {
        credentials,
        addr,
        name: welcome.name,
        cluster_name: welcome.cluster_name,
        peers: welcome.peers,
        founding: None,
    })
}

/// Takes the address that this machine's agent is to serve.
fn hold(bind: SocketAddr) -> anyhow::Result<UdpSocket> {
    UdpSocket::bind(bind).map_err(|error| {
        anyhow::anyhow!(
            "cannot serve the mesh on {bind}, so this machine does not join: {error}; \
             set `bind` to a free address of this machine"
        )
    })
}

/// Deletes the key that a machine asked with, once it has an identity.
pub(super) fn forget_key(state_dir: &StateDir) {
    // There is none on most starts; one that stays does no harm.
    let _ = std::fs::remove_file(state_dir.file(KEY));
}

/// Comes back at a start with the old identity after its certificate has run out; asks for ever.
///
/// # Errors
/// When the mesh does not have this machine any more.
pub(super) async fn rejoin(
    config: &AgentConfig,
    state_dir: &StateDir,
    identity: Identity,
) -> anyhow::Result<Identity> {
    tracing::warn!(
        "this machine's certificate has run out while it was away; asking for a new one"
    );
    let (replica, _) = super::follow::load(state_dir).await;
    let mut known = replica.read(|state, _| known_addrs(state));
    known.extend(known_peers(state_dir)?.iter().map(|peer| peer.addr));
    let old = &identity.credentials;
    let mut pace = Pace::of(Asking::logged(None));
    let credentials = loop {
        match ask_back(old, &config.machine.seeds, known.clone()).await {
            Round::In(credentials) => break credentials,
            Round::Never(error) => return Err(error),
            Round::NotYet(why) => pace.rest(why).await?,
        }
    };
    credentials.save(&state_dir.file(CREDENTIALS))?;
    Ok(Identity {
        credentials,
        ..identity
    })
}

/// Where the roster says that machines are, coordinators first.
pub(super) fn known_addrs(state: &FleetState) -> Vec<SocketAddr> {
    let sits = |machine| state.seats.values().any(|holder| *holder == machine);
    let present = state.machines.values().filter(|one| one.belongs());
    let mut known: Vec<_> = present
        .filter_map(|machine| Some((!sits(machine.id), machine.addr?)))
        .collect();
    known.sort();
    known.into_iter().map(|(_, addr)| addr).collect()
}

/// What came of one round of asking.
pub(super) enum Round<T> {
    /// This machine is in.
    In(T),
    /// It will not be, however often it asks, and why.
    Never(anyhow::Error),
    /// Nobody decided, and why.
    NotYet(String),
}

/// Asks once for a new certificate for the key of one that has run out: at some of the addresses where machines of
/// the mesh were, and at the seeds.
pub(super) async fn ask_back(
    old: &Credentials,
    seeds: &[Seed],
    mut known: Vec<SocketAddr>,
) -> Round<Credentials> {
    // The first ones are coordinators; of all others, some each time.
    let coordinators = known.len().min(ASKED_MAX / 2);
    if let Some(others) = known
        .get_mut(coordinators..)
        .filter(|others| !others.is_empty())
    {
        others.rotate_left(rand::random_range(0..others.len()));
    }
    known.truncate(ASKED_MAX);
    let asked = async {
        let key = LeafKey::generate()?;
        let envelope = EnvelopeSigner::new(old)?.sign(REJOIN_PURPOSE, key.request()?)?;
        let request = JoinRequest::Back {
            envelope: envelope.encode(),
        };
        let mut asked = resolve(seeds).await;
        asked.addrs.splice(..0, known);
        let mut seen = std::collections::BTreeSet::new();
        asked.addrs.retain(|addr| seen.insert(*addr));
        anyhow::Ok((key, asked.ask(old.ca_hash(), encode(&request)).await))
    };
    let (key, round) = match asked.await {
        Ok(asked) => asked,
        Err(error) => return Round::NotYet(format!("{error:#}")),
    };
    match round {
        Round::In(welcome) if welcome.machine == old.machine() => {
            let ca = old.ca_certificate().to_vec();
            match Credentials::assemble(&key, welcome.certificate, ca, unix_ms()) {
                Ok(credentials) => Round::In(credentials),
                Err(error) => Round::NotYet(error.to_string()),
            }
        }
        Round::In(_) => Round::NotYet("the answer was another machine's certificate".to_owned()),
        Round::Never(error) => Round::Never(error),
        Round::NotYet(why) => Round::NotYet(why),
    }
}

/// Asking again and again, with growing, jittered pauses.
struct Pace {
    asking: Asking,
    pause: Duration,
    last: String,
    said_at: Option<Instant>,
}

impl Pace {
    fn of(asking: Asking) -> Self {
        Self {
            asking,
            pause: PAUSE_MIN,
            last: "nobody has answered".to_owned(),
            said_at: None,
        }
    }

    /// One round, if it ends in time.
    async fn within<T>(&self, round: impl Future<Output = T>) -> anyhow::Result<T> {
        let Some(until) = self.asking.until else {
            return Ok(round.await);
        };
        let ended = tokio::time::timeout_at(until, round).await;
        ended.map_err(|_| self.too_late())
    }

    /// Says why the last round brought nothing, and waits before the next one.
    async fn rest(&mut self, why: String) -> anyhow::Result<()> {
        let news = why != self.last || self.said_at.is_none_or(|at| at.elapsed() >= PAUSE_MAX);
        self.last = why;
        let mut wait = self.pause.mul_f64(0.75 + rand::random::<f64>() / 2.0);
        if let Some(until) = self.asking.until {
            let left = until.saturating_duration_since(Instant::now());
            if left <= PAUSE_MIN {
                return Err(self.too_late());
            }
            // So that there is a last time, too.
            wait = wait.min(left / 2);
        }
        let end = Instant::now() + wait;
        if news {
            self.said_at = Some(Instant::now());
            (self.asking.progress)(&format!("not in the mesh yet, asking again: {}", self.last));
        }
        tokio::time::sleep_until(end).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }

    fn too_late(&self) -> anyhow::Error {
        anyhow::anyhow!("could not join in time: {}", self.last)
    }
}

/// Asks at each address until one brings a decision.
async fn ask_once(addrs: &[SocketAddr], pinned: CaHash, body: Bytes) -> Round<Welcome> {
    match joining::join(addrs, pinned, body, ANSWER_DEADLINE).await {
        Ok(joined) => match postcard::from_bytes(&joined.reply) {
            Ok(JoinAnswer::Welcome(welcome)) => Round::In(*welcome),
            Ok(JoinAnswer::Refused(why)) => Round::Never(anyhow::anyhow!(
                "the mesh does not let this machine in: {why}"
            )),
            Ok(JoinAnswer::Unavailable(why)) => Round::NotYet(why),
            Err(_) => Round::NotYet("the answer can't be read; is it the same version?".to_owned()),
        },
        // Neither a wrong mesh nor a wrong token gets better by asking again.
        Err(error) if is_final(&error) => {
            Round::Never(anyhow::Error::new(error).context("could not join"))
        }
        Err(error) => Round::NotYet(error.to_string()),
    }
}

/// Whether every seed is of another mesh, or of none: asking again won't change that.
fn is_final(error: &JoinError) -> bool {
    !error.attempts.is_empty()
        && error.attempts.iter().all(|(_, attempt)| {
            matches!(
                attempt,
                JoinAttemptError::Dial(DialError::Peer(_) | DialError::NotMuster)
                    | JoinAttemptError::TooLong(_)
            )
        })
}

fn encode(request: &JoinRequest) -> Bytes {
    Bytes::from(postcard::to_stdvec(request).expect("plain data serializes into memory"))
}

/// Where seeds are.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Their addresses.
    pub addrs: Vec<SocketAddr>,
    /// Of each seed whose name stands for no address: that, and why.
    pub nameless: Vec<String>,
}

/// The addresses of the seeds, names looked up anew each time: they may move.
pub(super) async fn resolve(seeds: &[Seed]) -> Resolved {
    let mut resolved = Resolved::default();
    for seed in seeds {
        match seed.literal() {
            Some(addr) => resolved.addrs.push(addr),
            None => match tokio::net::lookup_host((seed.host.as_str(), seed.port)).await {
                Ok(found) => resolved.addrs.extend(found),
                Err(error) => resolved
                    .nameless
                    .push(format!("the name in `{seed}` does not resolve: {error}")),
            },
        }
    }
    resolved
}

impl Resolved {
    /// Asks at each address until one brings a decision; where none does, the names that don't resolve are part of why.
    async fn ask(&self, pinned: CaHash, body: Bytes) -> Round<Welcome> {
        if self.addrs.is_empty() && !self.nameless.is_empty() {
            return Round::NotYet(self.nameless.join("; "));
        }
        match ask_once(&self.addrs, pinned, body).await {
            Round::NotYet(why) => {
                let mut reasons = vec![why];
                reasons.extend_from_slice(&self.nameless);
                Round::NotYet(reasons.join("; "))
            }
            decided => decided,
        }
    }
}

fn token(config: &AgentConfig) -> anyhow::Result<JoinToken> {
    let machine = &config.machine;
    let text = match (&machine.join_token, &machine.join_token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the join token from {}", path.display()))?,
        (None, None) => return Err(no_identity(config).into()),
    };
    Ok(text.trim().parse()?)
}

/// An agent that belongs to no mesh and was told of none: a matter of configuration, which no restart mends.
fn no_identity(config: &AgentConfig) -> ConfigError {
    let data_dir = config.machine.data_dir.display();
    ConfigError {
        problems: vec![Problem {
            place: Place::Whole,
            key: Some("join_token".to_owned()),
            what: format!("this machine has no identity in {data_dir} and no join token"),
            remedy:
                "found a mesh with `muster init`, or join one with `muster join ADDR... --token T`"
                    .to_owned(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use muster_mesh::identity::ClusterId;
    use muster_mesh::pki::ClusterCa;

    use super::*;

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_the_reason() {
        // Longer than a name may be, so that nobody is asked for it.
        let host = "x".repeat(64);
        let seed = Seed {
            host: host.clone(),
            port: 1,
        };
        let resolved = resolve(&[seed]).await;
        let ca = ClusterCa::create(ClusterId::new(1).expect("not zero"), unix_ms()).expect("made");
        let Round::NotYet(why) = resolved.ask(ca.hash(), Bytes::new()).await else {
            panic!("nobody can have decided");
        };
        let expected = format!("the name in `{host}:1` does not resolve: ");
        assert!(why.starts_with(&expected), "{why}");
    }

    #[tokio::test]
    async fn nobody_is_asked_by_a_machine_whose_address_is_in_use() {
        let folder = tempfile::tempdir().expect("a folder");
        let state_dir = StateDir::open(folder.path()).expect("opens");
        let taken = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let mut config = AgentConfig::default();
        config.machine.bind = taken.local_addr().expect("bound");
        let asking = Asking::logged(Some(Duration::ZERO));
        let joined = join(&config, &state_dir, config.machine.bind, asking).await;
        let Err(error) = joined else {
            panic!("it can't have joined");
        };
        let expected = format!("cannot serve the mesh on {}", config.machine.bind);
        assert!(error.to_string().starts_with(&expected), "{error:#}");
    }
}
