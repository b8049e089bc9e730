//! The flight recorder: the last minutes of the vitals that this machine happened to receive from its peers, so that a
//! dead machine's last words can be read from those that outlived it. The core does no I/O: time comes in as an argument.
//!
//! Nothing is sent for it: it keeps what gossip brings anyway. Each peer has a *track* of two pieces, written as
//! differences from frame to frame; when the newer piece is full it takes the older one's place. All tracks together
//! stay below a limit: those of machines that have been gone for an hour make room first, then those of the machines
//! that are most distant. Distance is that of the IDs, so that in a large fleet every machine is kept by those near it,
//! and whoever asks [knows](distance) whom to ask.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_mesh::identity::{Generation, MachineId};
use muster_mesh::records::Vitals;
use serde::{Deserialize, Serialize};

use self::track::Track;

mod track;

#[cfg(test)]
mod tests;

/// Memory for the tracks of all peers, in bytes, what the tables cost included.
pub const BYTES_MAX: usize = 256 * 1024;

/// A piece of a peer's track, in bytes. The older piece alone holds two minutes of a machine that reports as often as
/// machines do, every 5 s.
const PEER_PIECE: usize = 240;

/// A piece of this machine's own track, in bytes: some 20 minutes of what it finds every 5 s.
const OWN_PIECE: usize = 2048;

/// What a track costs besides its pieces, in bytes: its place in the table, and what the allocator adds.
const TRACK_COST: usize = 128;

/// A machine that has been gone for so long makes room first: by then somebody has asked, or nobody will.
const ENDED_KEPT: Duration = Duration::from_secs(3600);

/// How one machine was, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// When this machine heard of it, on its monotonic clock. Kept in tenths of a second.
    pub at: Duration,
    /// In which life the machine said it.
    pub generation: Generation,
    /// The number of the report in that life; 0 for what this machine found of itself and did not report.
    pub version: u64,
    /// What it said.
    pub vitals: Vitals,
}

/// What one machine holds of another's last words, as it tells others. Ages are in milliseconds before it told, so
/// that nobody's clock matters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// The frames, oldest first.
    pub frames: Vec<HeldFrame>,
    /// How long ago it saw the machine go, if it is gone.
    pub ended_age_ms: Option<u64>,
}

/// One frame, as it is told to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFrame {
    /// How long ago it was heard, in milliseconds.
    pub age_ms: u64,
    /// In which life the machine said it.
    pub generation: u64,
    /// The number of the report in that life; 0 for what a machine found of itself and did not report.
    pub version: u64,
    /// What it said.
    pub vitals: Vitals,
}

/// How far a machine's ID is from another's. A machine is kept longest by those that it is nearest to.
pub fn distance(one: MachineId, other: MachineId) -> u64 {
    one.get() ^ other.get()
}

/// The tracks of this machine and of its peers.
#[derive(Debug)]
pub struct FlightRecorder {
    me: MachineId,
    own: Track,
    /// By distance from this machine, which is as good as the machine's ID.
    peers: BTreeMap<u64, Track>,
    bytes: usize,
    bytes_max: usize,
}

impl FlightRecorder {
    /// A recorder that has heard nothing; peers' tracks take at most `bytes_max` bytes, [`BYTES_MAX`] by default.
    pub fn new(me: MachineId, bytes_max: usize) -> Self {
        Self {
            me,
            own: Track::default(),
            peers: BTreeMap::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Takes down what a machine said, or what this machine found of itself. Forgets others' words where there is no
    /// room, or these if nobody is more distant.
    pub fn handle_frame(&mut self, machine: MachineId, frame: &Frame) {
        if machine == self.me {
            return self.own.push(frame, OWN_PIECE);
        }
        let key = distance(self.me, machine);
        let track = self.peers.entry(key).or_insert_with(|| {
            self.bytes += TRACK_COST;
            Track::default()
        });
        self.bytes -= track.bytes();
        track.push(frame, PEER_PIECE);
        self.bytes += track.bytes();
        self.make_room(frame.at);
    }

    /// Takes down that a machine went, or that it is back.
    pub fn handle_ended(&mut self, machine: MachineId, ended: Option<Duration>) {
        if let Some(track) = self.peers.get_mut(&distance(self.me, machine)) {
            track.ended = ended;
        }
    }

    /// What is held of a machine's words, and when it went.
    pub fn held(&self, machine: MachineId, now: Duration) -> Held {
        let track = match distance(self.me, machine) {
            0 => Some(&self.own),
            key => self.peers.get(&key),
        };
        let Some(track) = track else {
            return Held::default();
        };
        let age_ms =
            |at: Duration| u64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(u64::MAX);
        let frames = track.frames().into_iter().map(|frame| HeldFrame {
            age_ms: age_ms(frame.at),
            generation: frame.generation.0,
            version: frame.version,
            vitals: frame.vitals,
        });
        Held {
            frames: frames.collect(),
            ended_age_ms: track.ended.map(age_ms),
        }
    }

    /// How many peers there are tracks of, and what they cost, in bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.peers.len(), self.bytes)
    }

    fn make_room(&mut self, now: Duration) {
        while self.bytes > self.bytes_max {
            let long_gone = self
                .peers
                .iter()
                .filter_map(|(key, track)| Some((track.ended?, *key)))
                .filter(|(ended, _)| now.saturating_sub(*ended) > ENDED_KEPT)
                .min();
            let farthest = || self.peers.last_key_value().map(|(key, _)| *key);
            let Some(key) = long_gone.map(|(_, key)| key).or_else(farthest) else {
                return;
            };
            if let Some(track) = self.peers.remove(&key) {
                self.bytes -= TRACK_COST + track.bytes();
            }
        }
    }
}
