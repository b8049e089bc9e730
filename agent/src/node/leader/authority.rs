//! Asking the roster for its acknowledgement.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use muster_mesh::clock::Monotonic;
use muster_mesh::identity::{MachineId, Peer};
use muster_mesh::transport::StreamKind;

use crate::node::authority::{Answer, Ballot, Tally};
use crate::node::services;
use crate::node::shared::Shared;

/// Machines asked at the same time.
const ASKED_AT_ONCE: usize = 64;

/// How long one machine has to answer. Those that don't answer count as absent, not as refusing.
const ANSWER_DEADLINE: Duration = Duration::from_millis(1000);

/// A fresh acknowledgement is renewed when less than this is left of its lease.
const RENEW_BELOW: Duration = Duration::from_secs(2);

/// The acknowledgements that one leader holds.
pub(super) struct Support {
    tally: Tally,
    clock: Monotonic,
}

impl Support {
    pub(super) fn new(clock: Monotonic) -> Self {
        Self {
            tally: Tally::default(),
            clock,
        }
    }

    /// Whether a machine has promised a later log to somebody.
    pub(super) fn is_contested(&self) -> bool {
        self.tally.superseded_by().is_some()
    }

    /// The machines of `electors` that stand behind this leader, asking as many as are needed. Only machines that the
    /// mesh takes for alive are asked: the others would not answer.
    pub(super) async fn gather(
        &mut self,
        shared: &Shared,
        term: u64,
        electors: &BTreeSet<MachineId>,
    ) -> BTreeSet<MachineId> {
        let ballot = Ballot {
            generation: shared.replica.generation().0,
            term,
            leader: shared.me,
        };
        self.tally.open(ballot);
        let soon = self.clock.now() + RENEW_BELOW;
        let fresh: BTreeSet<_> = self.tally.fresh(soon).collect();
        let world = shared.mesh.look();
        let absent: Vec<Peer> = electors
            .iter()
            .filter(|machine| !fresh.contains(machine) && world.is_active(**machine))
            .filter_map(|machine| world.peer(*machine))
            .collect();
        let mut absent = absent.into_iter();
        let mut answers = FuturesUnordered::new();
        for peer in absent.by_ref().take(ASKED_AT_ONCE) {
            answers.push(ask(shared, peer, ballot, self.clock.now()));
        }
        let mut heard = Vec::new();
        let needed = electors.len() / 2 + 1;
        let mut counted: BTreeSet<_> = self.tally.fresh(self.clock.now()).collect();
        while counted.len() < needed {
            let Some(answer) = answers.next().await else {
                break;
            };
            if let Some((machine, answer, asked)) = answer {
                counted.insert(machine);
                heard.push((machine, answer, asked));
            }
            if let Some(peer) = absent.next() {
                answers.push(ask(shared, peer, ballot, self.clock.now()));
            }
        }
        drop(answers);
        for (machine, answer, asked) in heard {
            self.tally.record(ballot, machine, answer, asked);
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
                return BTreeSet::new();
            }
            // A later log acts only with more than half of the roster, and then this one has not got it. Where it was
            // tried and came to nothing, this one goes on.
        }
        self.tally
            .fresh(self.clock.now())
            .filter(|machine| electors.contains(machine))
            .collect()
    }
}

/// Whether one machine stands behind this leader, whether it counts or not.
pub(super) async fn ask_one(shared: &Shared, term: u64, machine: MachineId) -> bool {
    let ballot = Ballot {
        generation: shared.replica.generation().0,
        term,
        leader: shared.me,
    };
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
