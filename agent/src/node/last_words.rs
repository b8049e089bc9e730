//! What this machine holds of its peers' last words, and asking those that outlived one for theirs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use muster_mesh::clock::unix_ms;
use muster_mesh::identity::{MachineId, Peer};
use muster_mesh::records::{Record, Vitals};
use muster_mesh::transport::StreamKind;

use super::shared::Shared;
use crate::answers::Heard;
use crate::flight::{self, BYTES_MAX, FlightRecorder, Frame, Held};

/// What a machine holds of another's last words.
pub(super) const LAST_WORDS: StreamKind = StreamKind(24);

/// Machines that are asked, this one not counted: those nearest to the one in question keep its words longest.
const ASKED_MAX: usize = 8;

/// How long each of them has, all at the same time.
const ASKED_DEADLINE: Duration = Duration::from_secs(2);

/// Frames of one machine's answer that are looked at; its own track has no more.
const FRAMES_MAX: usize = 2048;

/// The flight recorder, where the mesh task writes and those who answer read. Held for microseconds.
#[derive(Debug)]
pub(super) struct Flights(Mutex<FlightRecorder>);

impl Flights {
    /// A recorder that has heard nothing.
    pub(super) fn new(me: MachineId) -> Self {
        Self(Mutex::new(FlightRecorder::new(me, BYTES_MAX)))
    }

    /// Takes down what a peer's record says now.
    pub(super) fn note(&self, record: &Record) {
        let Some(vitals) = record.vitals else { return };
        let frame = Frame {
            at: record.vitals_received_at,
            generation: record.generation,
            version: record.vitals_version,
            vitals,
        };
        self.with(|recorder| recorder.handle_frame(record.machine, &frame));
    }

    /// Takes down what this machine found of itself, told to others or not.
    pub(super) fn note_own(&self, shared: &Shared, vitals: Vitals) {
        let world = shared.mesh.look();
        let Some(own) = world.members.get(&shared.me) else {
            return;
        };
        let frame = Frame {
            at: shared.mesh.clock().now(),
            generation: own.generation,
            version: 0,
            vitals,
        };
        self.with(|recorder| recorder.handle_frame(shared.me, &frame));
    }

    /// Takes down that a peer went at this time, or that it is back.
    pub(super) fn note_ended(&self, machine: MachineId, ended: Option<Duration>) {
        self.with(|recorder| recorder.handle_ended(machine, ended));
    }

    /// How many peers something is held of, and what that takes, in bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        self.with(|recorder| recorder.size())
    }

    fn held(&self, machine: MachineId, now: Duration) -> Held {
        self.with(|recorder| recorder.held(machine, now))
    }

    fn with<R>(&self, act: impl FnOnce(&mut FlightRecorder) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Answers another machine.
///
/// # Errors
/// When the question can't be read.
pub(super) fn answer(shared: &Shared, body: &[u8]) -> Result<Bytes, String> {
    let machine = postcard::from_bytes(body).map_err(|_| "that is no machine")?;
    let held = shared
        .mesh
        .flights()
        .held(machine, shared.mesh.clock().now());
    let bytes = postcard::to_stdvec(&held).expect("plain data serializes into memory");
    Ok(bytes.into())
}

/// Asks those that may hold a machine's last words, this one first; the machine itself too where it answers.
pub(super) async fn gather(shared: &Arc<Shared>, machine: MachineId) -> Vec<Heard> {
    let mine = Heard {
        by: shared.me,
        at_ms: unix_ms(),
        held: Some(
            shared
                .mesh
                .flights()
                .held(machine, shared.mesh.clock().now()),
        ),
    };
    let world = shared.mesh.look();
    let mut others: Vec<_> = world
        .active()
        .filter(|peer| peer.machine != shared.me)
        .collect();
    others.sort_by_key(|peer| flight::distance(peer.machine, machine));
    others.truncate(ASKED_MAX);
    let asked = others.into_iter().map(|peer| ask(shared, peer, machine));
    let mut heard = vec![mine];
    heard.extend(join_all(asked).await);
    heard
}

async fn ask(shared: &Shared, peer: Peer, machine: MachineId) -> Heard {
    let body = postcard::to_stdvec(&machine).expect("a number serializes into memory");
    let asked = shared
        .transport
        .request(peer, LAST_WORDS, body.into(), ASKED_DEADLINE);
    let held = match asked.await {
        Ok(answer) => postcard::from_bytes::<Held>(&answer).ok(),
        Err(error) => {
            tracing::debug!(%peer, %error, "did not tell a machine's last words");
            None
        }
    };
    Heard {
        by: peer.machine,
        at_ms: unix_ms(),
        held: held.map(|mut held| {
            held.frames.truncate(FRAMES_MAX);
            held
        }),
    }
}
