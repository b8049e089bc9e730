//! How far a machine is from the coordinators, and who hangs on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::{BEAT, DEPTH_MAX, FOLLOWERS_MAX, FOLLOWERS_OF_COORDINATOR_MAX};
use crate::identity::{MachineId, Peer};

/// One machine's place in the tree, shared by its server and its client. Clones are handles to the same.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// All streams beat in step from here on, so that an idle machine wakes once for all of them.
    origin: Instant,
    place: Mutex<Place>,
    /// Counts how often the followers were sent away.
    dismissed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Place {
    /// `None` while the machine is not in the tree.
    depth: Option<u8>,
    upstream: Option<Peer>,
    /// Whether entries arrive: a machine that has lost its upstream keeps its depth for a while and takes no new
    /// followers.
    on_path: bool,
    followers: BTreeMap<u64, Peer>,
    sessions: u64,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            place: Mutex::default(),
            dismissed: watch::Sender::new(0),
        }
    }
}

/// A follower's place on this machine, for as long as it lives.
#[derive(Debug)]
pub(super) struct Admission {
    standing: Standing,
    session: u64,
    pub(super) depth: u8,
    /// Changes when all followers are sent away.
    pub(super) dismissed: watch::Receiver<u64>,
}

impl Standing {
    /// How many steps it is from a coordinator: 0 for one, `None` when it is not in the tree.
    pub fn depth(&self) -> Option<u8> {
        self.lock().depth
    }

    /// Whom it follows.
    pub fn upstream(&self) -> Option<Peer> {
        self.lock().upstream
    }

    /// How many follow it.
    pub fn followers(&self) -> usize {
        self.lock().followers.len()
    }

    /// When all streams beat next.
    pub(super) fn next_beat(&self) -> Instant {
        let origin = self.shared.origin;
        let beats = origin.elapsed().as_millis() / BEAT.as_millis() + 1;
        let after = u32::try_from(beats)
            .ok()
            .and_then(|beats| BEAT.checked_mul(beats));
        after
            .and_then(|after| origin.checked_add(after))
            .unwrap_or_else(|| Instant::now() + BEAT)
    }

    /// The machine feeds its replica as a coordinator.
    pub(super) fn lead(&self) {
        self.settle(0, None);
    }

    /// The machine follows `upstream`, whose depth is `depth`.
    pub(super) fn follow(&self, upstream: Peer, depth: u8) {
        self.settle(depth.saturating_add(1), Some(upstream));
    }

    fn settle(&self, depth: u8, upstream: Option<Peer>) {
        let mut place = self.lock();
        if place.depth.is_some_and(|now| now < depth) {
            self.dismiss(&mut place);
        }
        place.depth = Some(depth);
        place.upstream = upstream;
        place.on_path = true;
    }

    /// The upstream is gone. The followers may stay while another of a lower depth is looked for.
    pub(super) fn lose(&self) {
        let mut place = self.lock();
        place.upstream = None;
        place.on_path = false;
    }

    /// No other was found, or the machine is no coordinator any more: the followers have to look for others.
    pub(super) fn leave(&self) {
        let mut place = self.lock();
        self.dismiss(&mut place);
        place.depth = None;
        place.upstream = None;
        place.on_path = false;
    }

    fn dismiss(&self, place: &mut Place) {
        place.followers.clear();
        self.shared.dismissed.send_modify(|times| *times += 1);
    }

    /// Whether an upstream of depth `depth` may be followed: while there are followers, only one that does not make
    /// this machine's own depth grow.
    pub(super) fn may_follow(&self, depth: u8) -> bool {
        let place = self.lock();
        let ours = depth.saturating_add(1);
        ours <= DEPTH_MAX
            && (place.followers.is_empty() || place.depth.is_some_and(|now| ours <= now))
    }

    /// Takes `follower` on, if there is room; otherwise names others that may have.
    pub(super) fn admit(&self, follower: Peer) -> Result<Admission, Vec<Peer>> {
        let mut place = self.lock();
        let room = match place.depth {
            Some(0) => FOLLOWERS_OF_COORDINATOR_MAX,
            _ => FOLLOWERS_MAX,
        };
        let is_upstream = place
            .upstream
            .is_some_and(|up| up.machine == follower.machine);
        let depth = place
            .depth
            .filter(|depth| place.on_path && *depth < DEPTH_MAX);
        let Some(depth) = depth.filter(|_| place.followers.len() < room && !is_upstream) else {
            let others = place.followers.values().chain(&place.upstream);
            return Err(others
                .filter(|peer| peer.machine != follower.machine)
                .copied()
                .collect());
        };
        place.sessions += 1;
        let session = place.sessions;
        place.followers.insert(session, follower);
        Ok(Admission {
            standing: self.clone(),
            session,
            depth,
            dismissed: self.shared.dismissed.subscribe(),
        })
    }

    /// Whether `machine` follows this one.
    pub fn is_followed_by(&self, machine: MachineId) -> bool {
        self.lock()
            .followers
            .values()
            .any(|follower| follower.machine == machine)
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.shared
            .place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.standing.lock().followers.remove(&self.session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u64) -> Peer {
        Peer {
            machine: MachineId::new(number).expect("not zero"),
            addr: "127.0.0.1:1".parse().expect("an address"),
        }
    }

    #[test]
    fn followers_stay_while_the_depth_does_not_grow() {
        let standing = Standing::default();
        assert!(standing.admit(peer(2)).is_err(), "not in the tree yet");
        standing.follow(peer(9), 2);
        let mut admission = standing.admit(peer(2)).expect("room");
        assert_eq!(admission.depth, 3);
        standing.lose();
        assert!(standing.admit(peer(3)).is_err(), "not on the path");
        assert!(standing.may_follow(2) && standing.may_follow(0) && !standing.may_follow(3));
        standing.follow(peer(8), 1);
        assert!(!admission.dismissed.has_changed().expect("it lives"));
        standing.lose();
        standing.leave();
        assert!(admission.dismissed.has_changed().expect("it lives"));
        assert!(standing.may_follow(7), "nobody hangs on it any more");
        admission.dismissed.mark_unchanged();
        drop(admission);
        assert_eq!(standing.followers(), 0);
    }

    #[test]
    fn room_is_limited_and_the_own_upstream_is_not_taken_on() {
        let standing = Standing::default();
        standing.follow(peer(1000), 0);
        assert!(standing.admit(peer(1000)).is_err());
        let taken: Vec<_> = (1..=FOLLOWERS_MAX as u64)
            .map(|number| standing.admit(peer(number)))
            .collect();
        assert!(taken.iter().all(Result::is_ok));
        let others = standing.admit(peer(500)).expect_err("full");
        assert_eq!(
            others.len(),
            FOLLOWERS_MAX + 1,
            "its followers and its upstream"
        );
        standing.lead();
        assert!(
            standing.admit(peer(500)).is_ok(),
            "a coordinator has more room"
        );
    }
}
