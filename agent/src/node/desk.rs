//! What the node lends to those who answer: its state, a way into the log, and a way to the leader.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use muster_mesh::clock::unix_ms;
use muster_mesh::consensus::coordinator::Status;
use muster_mesh::identity::MachineId;
use muster_mesh::pki::ClusterCa;
use muster_mesh::transport::{PeerIdentity, Responder, StreamKind};
use muster_provisioners::Provisioner;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::last_words;
use super::propose::{ProposeFailure, propose};
use super::quorum::{self, Sight};
use super::refounding::recover;
use super::route::{RouteError, Routed, ask_leader};
use super::shared::Shared;
use super::world::World;
use crate::answers::{Answers, Desk, Heard, LocalEvent, Seat, SeatsView, Snapshot};
use crate::api::server::{HungUp, LineSink, serve_one};
use crate::api::types::{RecoverOrder, Recovery, Reply as ApiReply};
use crate::api::{ApiError, Backend, Caller, ErrorKind, Request, Response};
use crate::fleet::{Command, Reply, Text};

/// How long the leader has for a request that was passed on to it.
const FORWARD_DEADLINE: Duration = Duration::from_secs(12);

/// A picture of the mesh is dated anew for an answer whose clock is further from the picture's than this, in milliseconds.
const CLOCKS_DIFFER_MS: u64 = 1000;

/// Characters of what another machine says of whom it asks for that are kept.
const ASKER_CHARS_MAX: usize = 80;

/// Addresses that `token create` suggests.
const ADDRESSES_MAX: usize = 3;

/// The node's side of the desk.
pub(super) struct NodeDesk {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
    metrics: Box<dyn Fn() -> String + Send + Sync>,
}

/// A request that one machine passes on to the leader for somebody.
#[derive(Serialize, Deserialize)]
struct Forwarded {
    caller: String,
    request: String,
}

impl NodeDesk {
    /// A desk whose `changes` follow the replica, the world and the local events, until the agent stops.
    pub(super) fn new(shared: Arc<Shared>, metrics: Box<dyn Fn() -> String + Send + Sync>) -> Self {
        let (changed, changes) = watch::channel(0_u64);
        let mut applied = shared.replica.watch();
        let mut world = shared.mesh.world();
        let mut events = shared.events.watch();
        let stop = shared.stop.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    result = applied.changed() => if result.is_err() { return },
                    result = world.changed() => if result.is_err() { return },
                    result = events.changed() => if result.is_err() { return },
                }
                changed.send_modify(|count| *count += 1);
            }
        });
        Self {
            shared,
            changes,
            metrics,
        }
    }
}

/// What this machine knows now, as answers are made from it.
pub(super) fn snapshot<R>(shared: &Shared, look: impl FnOnce(&Snapshot<'_>) -> R) -> R {
    let world = shared.mesh.look();
    let seats = shared.replica.seats();
    let status = shared
        .council
        .coordinator()
        .map(|coordinator| coordinator.status());
    let status = status.as_ref().map(|status| status.borrow().clone());
    // Whoever led and is known to be down, or to have no log, leads no more.
    let leader = shared
        .leader()
        .filter(|leader| world.is_active(*leader) && !world.has_no_log(*leader));
    let now_ms = now_ms(shared);
    let world = dated_by(world, now_ms, shared.mesh.clock().now());
    let name = shared.name(shared.me);
    shared.replica.read(|state, at| {
        let silent_ms = silent_ms(shared, status.as_ref(), now_ms);
        let quorum = quorum::judge(&Sight {
            state,
            seats: &seats,
            world: &world,
            leader,
            silent_ms,
            stuck: status
                .as_ref()
                .and_then(|status| shared.council.stuck(status)),
            hold: shared.refounding.hold(),
        });
        let seat = |seat: muster_mesh::consensus::Seat, machine: MachineId| Seat {
            number: seat.0,
            machine,
            log_index: status
                .as_ref()
                .and_then(|status| status.progress.get(&seat))
                .and_then(|progress| progress.stored),
        };
        look(&Snapshot {
            state,
            world: &world,
            me: shared.me,
            name: &name,
            now_ms,
            as_of_ms: shared.as_of_ms(at.map(|at| at.index), now_ms),
            leader: leader.filter(|_| quorum::may_lead(&quorum, silent_ms)),
            term: status.as_ref().map_or(state.term, |status| status.term),
            seats: SeatsView {
                voters: seats
                    .voters
                    .iter()
                    .map(|(n, node)| seat(*n, node.machine))
                    .collect(),
                learners: seats
                    .learners
                    .iter()
                    .map(|(n, node)| seat(*n, node.machine))
                    .collect(),
                last_index: status.as_ref().and_then(|status| status.last_log),
            },
            quorum,
        })
    })
}

/// The picture as told by the clock of the answer, by which ages are worked out. Clocks that hardly differ are not told
/// apart, so that times don't tremble.
fn dated_by(world: Arc<World>, now_ms: u64, now: Duration) -> Arc<World> {
    let moment = world.moment(now_ms, now);
    if moment.of(now_ms).abs_diff(now_ms) <= CLOCKS_DIFFER_MS {
        return world;
    }
    Arc::new(world.told_by(moment))
}

/// The present: by the fleet's clock where this machine leads, and so dates what it answers by what it orders.
fn now_ms(shared: &Shared) -> u64 {
    if shared.leads() {
        shared.fleet_now_ms()
    } else {
        unix_ms()
    }
}

/// How long ago the leader was last sure that it leads, in milliseconds, by its own word where it is another machine;
/// `None` where that was never heard.
fn silent_ms(shared: &Shared, status: Option<&Status>, now_ms: u64) -> Option<u64> {
    match status {
        Some(status) if status.leading_since.is_some() => {
            u64::try_from(status.quorum_silence().as_millis()).ok()
        }
        _ => {
            let hint = *shared.hints.borrow();
            hint.map(|hint| now_ms.saturating_sub(hint.leader_ms))
        }
    }
}

#[async_trait]
impl Desk for NodeDesk {
    fn snapshot<R>(&self, look: impl FnOnce(&Snapshot<'_>) -> R) -> R {
        snapshot(&self.shared, look)
    }

    fn leads(&self) -> bool {
        self.shared.leads()
    }

    async fn propose(&self, actor: Option<Text>, command: Command) -> Result<Reply, ApiError> {
        match propose(&self.shared, actor, command).await {
            Ok(reply) => Ok(reply),
            Err(ProposeFailure::Refused(refusal)) => Ok(Reply::Refused(refusal)),
            Err(ProposeFailure::NotProposed(why)) => Err(no_leader(why)),
            Err(error @ ProposeFailure::Unknown) => {
                Err(ApiError::new(ErrorKind::Timeout, error.to_string()))
            }
        }
    }

    async fn forward(&self, caller: &Caller, request: &Request) -> Result<Response, ApiError> {
        let request = serde_json::to_string(request)
            .map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
        let forwarded = Forwarded {
            caller: caller.to_string(),
            request,
        };
        let body = postcard::to_stdvec(&forwarded).expect("two texts serialize into memory");
        match ask_leader(
            &self.shared,
            StreamKind::API,
            Bytes::from(body),
            FORWARD_DEADLINE,
        )
        .await
        {
            Ok(answer) => match serde_json::from_slice(&answer) {
                Ok(ApiReply::Ok(response)) => Ok(response),
                Ok(ApiReply::Error(error)) => Err(error),
                Err(_) => Err(ApiError::new(
                    ErrorKind::Internal,
                    "the leader's answer can't be read",
                )),
            },
            Err(RouteError::NoLeader(why)) => Err(no_leader(why)),
            Err(RouteError::Refused(why)) => Err(ApiError::new(ErrorKind::Refused, why)),
            Err(error @ RouteError::Unknown) => {
                Err(ApiError::new(ErrorKind::Timeout, error.to_string())
                    .remedy("look at `muster events` before you try again"))
            }
        }
    }

    fn ca(&self) -> Option<Arc<ClusterCa>> {
        self.shared.council.ca()
    }

    fn advertised(&self) -> Vec<SocketAddr> {
        let world = self.shared.mesh.look();
        let seats = self.shared.replica.seats();
        let mut peers: Vec<_> = world.active().collect();
        peers.sort_by_key(|peer| (seats.of(peer.machine).is_none(), peer.machine));
        peers
            .into_iter()
            .take(ADDRESSES_MAX)
            .map(|peer| peer.addr)
            .collect()
    }

    fn provisioner(&self, name: &str) -> Option<Arc<dyn Provisioner>> {
        self.shared.provisioners.get(name).cloned()
    }

    async fn last_words(&self, machine: MachineId) -> Vec<Heard> {
        last_words::gather(&self.shared, machine).await
    }

    fn rtt(&self, machine: MachineId) -> Option<Duration> {
        self.shared.transport.rtt(machine)
    }

    async fn recovery(&self) -> Result<Recovery, ApiError> {
        recover::look(&self.shared).await
    }

    async fn recover(&self, by: Text, order: RecoverOrder) -> Result<Recovery, ApiError> {
        recover::order(&self.shared, by, order).await
    }

    async fn leave(&self) -> Result<(), ApiError> {
        self.shared.leave.cancel();
        Ok(())
    }

    fn log_filter(&self) -> String {
        self.shared.log.filter()
    }

    fn set_log_filter(&self, filter: &str) -> Result<String, String> {
        let before = self.shared.log.filter();
        self.shared
            .log
            .set_filter(filter)
            .map_err(|error| error.to_string())?;
        Ok(before)
    }

    fn metrics(&self) -> String {
        (self.metrics)()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    fn local_events(&self, after: u64) -> Vec<LocalEvent> {
        let kept = self.shared.events.after(after);
        kept.into_iter()
            .map(|event| LocalEvent {
                number: event.number,
                at_ms: event.at_ms,
                kind: event.kind.as_str(),
                machine: Some(event.machine),
                detail: event.detail,
            })
            .collect()
    }
}

fn no_leader(why: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::NoLeader, why).remedy(
        "wait for an election, a few seconds; `muster status` says whether there is a quorum",
    )
}

/// Serves one API request that came over the mesh.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    answers: &Arc<Answers<NodeDesk>>,
    from: PeerIdentity,
    body: Bytes,
    responder: Responder,
) {
    match from {
        PeerIdentity::Operator(name) => {
            let mut sink = FrameSink(responder);
            let caller = Caller::Operator(name);
            let _ = serve_one(&**answers, &caller, &body, &mut sink).await;
            sink.0.finish();
        }
        PeerIdentity::Machine(machine) => {
            let answer = answer_forwarded(shared, answers, machine, &body).await;
            let _ = responder.reply(answer.encode()).await;
        }
        PeerIdentity::Joiner => responder.fail("join first").await,
    }
}

async fn answer_forwarded(
    shared: &Shared,
    answers: &Answers<NodeDesk>,
    machine: MachineId,
    body: &[u8],
) -> Routed {
    if !shared.leads() {
        return Routed::NotLeader(shared.leader());
    }
    let Ok(forwarded) = postcard::from_bytes::<Forwarded>(body) else {
        return Routed::NotLeader(None);
    };
    let request = serde_json::from_str::<Request>(&forwarded.request).ok();
    // It is the other machine's word whom it asks for; long enough for a name and no longer.
    let asker = forwarded.caller.chars().take(ASKER_CHARS_MAX).collect();
    let reply = match request {
        // Streams and what concerns the asked machine alone are not for the leader.
        Some(request) if request.is_write() && !matches!(request, Request::Leave) => {
            match answers
                .call(&Caller::Machine { machine, asker }, request)
                .await
            {
                Ok(response) => ApiReply::Ok(response),
                Err(error) if error.kind == ErrorKind::NoLeader => {
                    return Routed::NotLeader(
                        shared.leader().filter(|leader| *leader != shared.me),
                    );
                }
                Err(error) => ApiReply::Error(error),
            }
        }
        _ => ApiReply::Error(ApiError::new(
            ErrorKind::Invalid,
            "that is no request for a leader",
        )),
    };
    Routed::Done(serde_json::to_vec(&reply).unwrap_or_default())
}

/// Answers as frames on a mesh stream.
struct FrameSink(Responder);

/// Bytes of a line per frame; far below the transport's limit, so that a long answer is sent piece by piece.
const PIECE: usize = 256 * 1024;

#[async_trait]
impl LineSink for FrameSink {
    async fn send(&mut self, mut line: Bytes) -> Result<(), HungUp> {
        while !line.is_empty() {
            let piece = line.split_to(line.len().min(PIECE));
            self.0.send(piece).await.map_err(|_| HungUp)?;
        }
        Ok(())
    }

    async fn hung_up(&mut self) {
        self.0.gone().await;
    }
}
