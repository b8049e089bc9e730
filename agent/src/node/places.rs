//! How many requests are served at once, by what they are for.
//!
//! What keeps the fleet alive does not queue behind what people ask: the coordinators' own requests have places of
//! their own, streams that may stay for hours are few for each peer, and draining, which takes long, is for two at a
//! time. Whoever finds no place is told so at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use muster_mesh::transport::{PeerIdentity, StreamKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::services::{DRAIN, REFOUND, STRIKE};

/// The coordinators' requests to each other, and the leader's questions to the roster.
const COUNCIL_MAX: usize = 64;
/// Machines that follow the log here, whatever they are told then.
const FOLLOWERS_MAX: usize = 128;
/// One machine follows over one stream; for a moment there may be its successor.
const FOLLOWERS_PER_PEER_MAX: usize = 2;
/// Operators' questions, `events -f` among them.
const OPERATORS_MAX: usize = 64;
/// Questions of one operator.
const PER_OPERATOR_MAX: usize = 16;
/// A machine is drained once; the second may be a new leader's.
const DRAINS_MAX: usize = 2;
/// All other requests.
const OTHERS_MAX: usize = 128;

/// What a request takes a place among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Council,
    Followers,
    Operators,
    Drains,
    Others,
}

impl Room {
    fn of(from: &PeerIdentity, kind: StreamKind) -> Self {
        match (kind, from) {
            (StreamKind::CONSENSUS | StreamKind::AUTHORITY | REFOUND, _) => Self::Council,
            (StreamKind::FOLLOW, _) => Self::Followers,
            (StreamKind::API, PeerIdentity::Operator(_)) => Self::Operators,
            (DRAIN | STRIKE, _) => Self::Drains,
            _ => Self::Others,
        }
    }

    /// Places for one peer, where that is limited.
    fn per_peer(self) -> Option<usize> {
        match self {
            Self::Followers => Some(FOLLOWERS_PER_PEER_MAX),
            Self::Operators => Some(PER_OPERATOR_MAX),
            Self::Council | Self::Drains | Self::Others => None,
        }
    }
}

/// All places.
#[derive(Debug, Clone)]
pub(super) struct Places {
    council: Arc<Semaphore>,
    followers: Arc<Semaphore>,
    operators: Arc<Semaphore>,
    drains: Arc<Semaphore>,
    others: Arc<Semaphore>,
    peers: Peers,
}

/// How many places each peer has that counts by peer.
type Peers = Arc<Mutex<BTreeMap<(&'static str, String), usize>>>;

impl Default for Places {
    fn default() -> Self {
        let room = |places| Arc::new(Semaphore::new(places));
        Self {
            council: room(COUNCIL_MAX),
            followers: room(FOLLOWERS_MAX),
            operators: room(OPERATORS_MAX),
            drains: room(DRAINS_MAX),
            others: room(OTHERS_MAX),
            peers: Peers::default(),
        }
    }
}

/// A place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Option<Share>,
}

impl Places {
    /// A place for a request, or what to tell the asker.
    ///
    /// # Errors
    /// When all places of its kind are taken, or all that this peer may have.
    pub(super) fn take(&self, from: &PeerIdentity, kind: StreamKind) -> Result<Place, String> {
        let room = Room::of(from, kind);
        let (name, places) = match room {
            Room::Council => ("coordinators' requests", &self.council),
            Room::Followers => ("followers of the log", &self.followers),
            Room::Operators => ("operators' questions", &self.operators),
            Room::Drains => ("requests to drain", &self.drains),
            Room::Others => ("requests", &self.others),
        };
        let share = match room.per_peer() {
            Some(most) => Some(self.share(name, from, most)?),
            None => None,
        };
        let permit = Arc::clone(places).try_acquire_owned().map_err(|_| {
            format!(
                "this machine serves as many {name} as it can; ask another machine, or again later"
            )
        })?;
        Ok(Place {
            _permit: permit,
            _share: share,
        })
    }

    fn share(&self, name: &'static str, from: &PeerIdentity, most: usize) -> Result<Share, String> {
        let key = (name, from.to_string());
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = peers.entry(key.clone()).or_default();
        if *taken >= most {
            return Err(format!(
                "{from} has {most} of this machine's places for {name} already; end one, such as an `events -f`"
            ));
        }
        *taken += 1;
        Ok(Share {
            peers: Arc::clone(&self.peers),
            key,
        })
    }
}

/// One place out of a peer's share.
#[derive(Debug)]
struct Share {
    peers: Peers,
    key: (&'static str, String),
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = peers.get_mut(&self.key) {
            *taken -= 1;
            if *taken == 0 {
                peers.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_mesh::identity::MachineId;

    use super::*;

    fn machine(number: u64) -> PeerIdentity {
        PeerIdentity::Machine(MachineId::new(number).expect("above zero"))
    }

    #[test]
    fn the_coordinators_find_a_place_when_all_others_are_taken() {
        let places = Places::default();
        let mut taken = Vec::new();
        for kind in [StreamKind::WITNESS, StreamKind::API, DRAIN] {
            while let Ok(place) = places.take(&machine(1), kind) {
                taken.push(place);
            }
        }
        let why = places
            .take(&machine(2), StreamKind::RENEW)
            .expect_err("full");
        assert!(why.contains("ask another machine"), "{why}");
        assert!(places.take(&machine(2), StreamKind::CONSENSUS).is_ok());
        assert!(places.take(&machine(2), StreamKind::AUTHORITY).is_ok());
        taken.clear();
        assert!(places.take(&machine(2), StreamKind::RENEW).is_ok());
    }

    #[test]
    fn draining_starves_nobody() {
        let places = Places::default();
        let drains: Vec<_> = (0..DRAINS_MAX)
            .map(|_| places.take(&machine(1), DRAIN).expect("free"))
            .collect();
        assert!(places.take(&machine(1), DRAIN).is_err());
        assert!(places.take(&machine(1), StreamKind::WITNESS).is_ok());
        drop(drains);
        assert!(places.take(&machine(1), DRAIN).is_ok());
    }

    #[test]
    fn one_peer_cannot_take_all_streams() {
        let places = Places::default();
        let one = PeerIdentity::Operator("ann".to_owned());
        let mut held: Vec<_> = (0..PER_OPERATOR_MAX)
            .map(|_| places.take(&one, StreamKind::API).expect("free"))
            .collect();
        let why = places.take(&one, StreamKind::API).expect_err("her share");
        assert!(why.contains("operator ann has 16"), "{why}");
        let other = PeerIdentity::Operator("bob".to_owned());
        assert!(places.take(&other, StreamKind::API).is_ok());
        held.pop();
        assert!(places.take(&one, StreamKind::API).is_ok());
        let _streams: Vec<_> = (0..FOLLOWERS_PER_PEER_MAX)
            .map(|_| places.take(&machine(1), StreamKind::FOLLOW).expect("free"))
            .collect();
        assert!(places.take(&machine(1), StreamKind::FOLLOW).is_err());
        drop(held);
        assert_eq!(places.peers.lock().expect("no panic").len(), 1, "no leak");
    }
}
