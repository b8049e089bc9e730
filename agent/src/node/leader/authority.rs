//! Asking the roster for its acknowledgement.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use muster_mesh::clock::Monotonic;
use muster_mesh::consensus::LogGeneration;
use muster_mesh::identity::{MachineId, Peer};
use muster_mesh::transport::StreamKind;

use crate::node::authority::{Answer, Ballot, Tally};
use crate::node::shared::Shared;
use crate::node::{refounding, services};

/// Machines asked at the same time.
const ASKED_AT_ONCE: usize = 64;

/// How long one machine has to answer. Those that don't answer count as absent, not as refusing.
const ANSWER_DEADLINE: Duration = Duration::from_millis(1000);

/// Where all are asked at once, those that have not answered have so much longer once there are enough. Whoever is well is
/// counted then, and the majority is not short because one machine of it has just been replaced.
const LINGER: Duration = Duration::from_millis(50);

/// The first time a leader asks everybody, and those have so much longer. Whoever of them follows a log that an operator
/// ordered says so: most of the roster may not know of it.
const LINGER_FIRST: Duration = Duration::from_millis(500);

/// A fresh acknowledgement is renewed when less than this is left of its lease.
const RENEW_BELOW: Duration = Duration::from_secs(2);

/// The acknowledgements that one leader holds.
pub(super) struct Support {
    tally: Tally,
    clock: Monotonic,
    /// Whether the whole roster has been asked since this leader began to lead.
    asked_all: bool,
}

impl Support {
    pub(super) fn new(clock: Monotonic) -> Self {
        Self {
            tally: Tally::default(),
            clock,
            asked_all: false,
        }
    }

    /// Whether a machine has promised a later log to somebody.
    pub(super) fn is_contested(&self) -> bool {
        self.tally.superseded_by().is_some()
    }

    /// The machines of `electors` that stand behind this leader: all that answer at once where they are few, and of many the
    /// first time that they are asked; else as many as are needed. `None` where another may act in its place. Only machines that the mesh takes for alive are asked: the
    /// others would not answer.
    pub(super) async fn gather(
        &mut self,
        shared: &Shared,
        ballot: Ballot,
        electors: &BTreeSet<MachineId>,
    ) -> Option<BTreeSet<MachineId>> {
        self.tally.open(ballot);
        let mut poll = self
            .tally
            .poll(electors.clone(), self.clock.now() + RENEW_BELOW);
        let world = shared.mesh.look();
        let active = poll.absent().filter(|machine| world.is_active(*machine));
        let absent: Vec<Peer> = active.filter_map(|machine| world.peer(machine)).collect();
        let all_at_once = absent.len() <= ASKED_AT_ONCE;
        let clock = self.clock;
        let asking = stream::iter(absent).map(|peer| ask(shared, peer, ballot, clock.now()));
        let answers = asking.buffer_unordered(ASKED_AT_ONCE);
        let mut answers = pin!(answers.filter_map(std::future::ready));
        let mut heard = Vec::new();
        while !poll.suffices()
            && let Some((machine, answer, asked)) = answers.next().await
        {
            poll.note(machine, answer);
            heard.push((machine, answer, asked));
        }
        let linger = if self.asked_all { LINGER } else { LINGER_FIRST };
        if all_at_once || !self.asked_all {
            let rest = async {
                while let Some(one) = answers.next().await {
                    heard.push(one);
                }
            };
            let _ = tokio::time::timeout(linger, rest).await;
            self.asked_all = true;
        }
        for (machine, answer, asked) in heard {
            self.tally.record(ballot, machine, answer, asked);
            if let Answer::Refused { promised } = answer {
                // A later log acts only with more than half of the roster, and then this one has not got it. Where it was
                // tried and came to nothing, this one goes on. One that an operator ordered may act with fewer, and is looked
                // into.
                let later = LogGeneration(promised.generation);
                shared.refounding.note_refusal(machine, ballot, later);
            }
        }
        if let Some(rival) = self.tally.superseded_by() {
            tracing::warn!(
                leader = %rival.leader,
                generation = rival.generation,
                term = rival.term,
                "some machines have promised another leader"
            );
            if rival.generation == ballot.generation {
                // This log has another leader: this one must not act, however many still stand behind it.
                return None;
            }
        }
        if !refounding::is_unrivalled(shared).await {
            return None;
        }
        Some(self.standing(electors, self.clock.now()).collect())
    }

    /// The electors whose acknowledgement still counts at a time.
    fn standing<'a>(
        &'a self,
        electors: &'a BTreeSet<MachineId>,
        at: Duration,
    ) -> impl Iterator<Item = MachineId> + 'a {
        let fresh = self.tally.fresh(at);
        fresh.filter(|machine| electors.contains(machine))
    }
}

/// Whether one machine stands behind this leader, whether it counts or not.
pub(super) async fn ask_one(shared: &Shared, ballot: Ballot, machine: MachineId) -> bool {
    let Some(peer) = shared.mesh.look().peer(machine) else {
        return false;
    };
    let answer = ask(shared, peer, ballot, Duration::ZERO).await;
    matches!(answer, Some((_, Answer::Granted, _)))
}

/// One machine's answer, with when it was asked; `None` when there is none.
async fn ask(
    shared: &Shared,
    peer: Peer,
    ballot: Ballot,
    asked: Duration,
) -> Option<(MachineId, Answer, Duration)> {
    let answer = if peer.machine == shared.me {
        services::acknowledge(shared, ballot).await.ok()?
    } else {
        let body = Bytes::from(ballot.encode());
        let asking = shared
            .transport
            .request(peer, StreamKind::AUTHORITY, body, ANSWER_DEADLINE);
        Answer::decode(&asking.await.ok()?)?
    };
    Some((peer.machine, answer, asked))
}
