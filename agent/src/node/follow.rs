//! Following the log where no coordinator runs, serving it to others, and keeping the copy across restarts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use muster_mesh::clock::unix_ms;
use muster_mesh::consensus::copy::{self, CopyKeeper};
use muster_mesh::consensus::follow::{
    FollowServer, Follower, FrameSink, FrameSource, Streams, View,
};
use muster_mesh::consensus::{CallError, Replica};
use muster_mesh::identity::{MachineId, Peer};
use muster_mesh::membership::Hint;
use muster_mesh::state_dir::StateDir;
use muster_mesh::transport::{FrameStream, Responder, StreamKind, Transport};
use tokio::sync::watch;

use super::shared::Shared;
use crate::fleet::FleetState;
use crate::observe::readiness::Latch;

/// The file with the copy.
const COPY: &str = "copy";

/// One wait for a frame; the follower itself decides when an upstream has been silent for too long.
const FRAME_WAIT: Duration = Duration::from_secs(3600);

/// The copy that this machine had when it stopped, with when that was current; an empty one when there is none.
///
/// A damaged copy is said and left aside: a new one is fetched.
pub(super) async fn load(state_dir: &StateDir) -> (Replica<FleetState>, u64) {
    match copy::load(state_dir.file(COPY)).await {
        Ok(Some(stored)) => match Replica::from_image(&stored.image) {
            Ok(replica) => return (replica, stored.as_of_ms),
            Err(error) => {
                tracing::warn!(%error, "the stored copy of the fleet's state is of no use")
            }
        },
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the stored copy of the fleet's state is of no use"),
    }
    (Replica::new(), 0)
}

/// Keeps this machine's copy up to date and on disk until the agent stops.
pub(super) async fn run(shared: Arc<Shared>, ready: Latch) {
    let keeper = {
        let shared = Arc::clone(&shared);
        let path = shared.state_dir.file(COPY);
        CopyKeeper::start(shared.replica.clone(), path, move || {
            shared.as_of_ms(shared.replica.at().map(|at| at.index), unix_ms())
        })
    };
    let (publish, view) = watch::channel(look(&shared));
    let follower = Follower::new(
        shared.me,
        shared.replica.clone(),
        shared.standing.clone(),
        MeshStreams {
            transport: shared.transport.clone(),
        },
        view,
        rand::random(),
    );
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = follower.run() => {}
        () = keep_view(&shared, publish) => {}
        () = open_when_copied(&shared, ready) => {}
    }
    keeper.stop().await;
}

/// Tells when the first copy is there, then nothing more.
async fn open_when_copied(shared: &Shared, ready: Latch) {
    let mut applied = shared.replica.watch();
    if applied.wait_for(Option::is_some).await.is_ok() {
        drop(ready);
    }
    std::future::pending().await
}

async fn keep_view(shared: &Shared, publish: watch::Sender<View>) {
    let mut world = shared.mesh.world();
    let mut hints = shared.hints.clone();
    let mut founded = shared.refounding.founded();
    // A hint comes every second, and nearly all of them say only that the leader is still there.
    let index = |hint: &Option<Hint>| hint.map(|hint| hint.index);
    loop {
        let known = index(&hints.borrow_and_update());
        publish.send_if_modified(|view| {
            let now = look(shared);
            let changed = *view != now;
            *view = now;
            changed
        });
        tokio::select! {
            changed = world.changed() => if changed.is_err() { return },
            news = hints.wait_for(|hint| index(hint) != known) => if news.is_err() { return },
            changed = founded.changed() => if changed.is_err() { return },
        }
    }
}

fn look(shared: &Shared) -> View {
    let world = shared.mesh.look();
    View {
        peers: world.active().collect(),
        coordinators: world
            .members
            .iter()
            .filter(|(_, seen)| seen.said.as_ref().is_some_and(|said| said.coordinates))
            .map(|(machine, _)| *machine)
            .collect(),
        newest: shared.hints.borrow().map(|hint| hint.index),
        generation: *shared.refounding.founded().borrow(),
    }
}

/// Serves the log to one follower.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    machine: MachineId,
    ask: Bytes,
    responder: Responder,
) {
    let Some(follower) = shared.peer(machine) else {
        return responder.fail("this machine does not know you").await;
    };
    let server = FollowServer::new(shared.replica.clone(), shared.standing.clone());
    let mut sink = ResponderSink(responder);
    tokio::select! {
        () = shared.stop.cancelled() => {}
        ended = server.serve(follower, ask, &mut sink) => if let Err(error) = ended {
            tracing::debug!(%follower, %error, "a follower is gone");
        }
    }
    sink.0.finish();
}

/// Streams over the mesh.
struct MeshStreams {
    transport: Transport,
}

#[async_trait]
impl Streams for MeshStreams {
    async fn open(
        &self,
        to: Peer,
        ask: Bytes,
        deadline: Duration,
    ) -> Result<Box<dyn FrameSource>, CallError> {
        let opened = self
            .transport
            .stream(to, StreamKind::FOLLOW, ask, deadline)
            .await;
        let stream = opened.map_err(|error| CallError::Unreachable(error.to_string()))?;
        Ok(Box::new(StreamSource(stream)))
    }
}

struct StreamSource(FrameStream);

#[async_trait]
impl FrameSource for StreamSource {
    async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        let frame = self.0.next(FRAME_WAIT).await;
        frame.map_err(|error| CallError::Unreachable(error.to_string()))
    }
}

struct ResponderSink(Responder);

#[async_trait]
impl FrameSink for ResponderSink {
    async fn send(&mut self, frame: Bytes) -> Result<(), CallError> {
        let sent = self.0.send(frame).await;
        sent.map_err(|error| CallError::Unreachable(error.to_string()))
    }

    async fn closed(&mut self) {
        self.0.gone().await;
    }
}
