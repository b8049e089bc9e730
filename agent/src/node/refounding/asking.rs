//! Asking the machines of the roster how things stand, and for their promise.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use muster_mesh::identity::{MachineId, Peer};

use super::answers::{self, Circle, Question, Said, ask_self};
use super::ballots::{Hold, Rosters, Stands};
use crate::node::authority::Ballot;
use crate::node::services::REFOUND;
use crate::node::shared::Shared;

/// How long one machine has for an answer.
const ANSWER_DEADLINE: Duration = Duration::from_millis(1500);

/// How long it has where the asking machine's own answer waits for it: less.
const QUICK_DEADLINE: Duration = Duration::from_secs(1);

/// A machine that promises may have a coordinator to stop first, and a log to read.
const PROMISE_DEADLINE: Duration = Duration::from_secs(5);

/// Machines asked at the same time.
const ASKED_AT_ONCE: usize = 64;

/// What all machines of the roster that answer say.
pub(super) async fn look(shared: &Arc<Shared>, circle: Circle) -> Stands {
    ask_roster(shared, circle, Question::Look, ANSWER_DEADLINE).await
}

/// The same, soon enough for one who waits for an answer of this machine's in turn.
pub(super) async fn look_quickly(shared: &Arc<Shared>, circle: Circle) -> Stands {
    ask_roster(shared, circle, Question::Look, QUICK_DEADLINE).await
}

/// What these machines say, as soon.
pub(super) async fn look_at(shared: &Arc<Shared>, machines: &[MachineId]) -> Stands {
    let machines = machines.iter().copied().collect();
    ask_machines(shared, &machines, Question::Look, QUICK_DEADLINE).await
}

/// Those that would promise.
pub(super) async fn willing(shared: &Arc<Shared>, circle: Circle, ballot: Ballot) -> Stands {
    ask_roster(shared, circle, Question::Would(ballot), ANSWER_DEADLINE).await
}

/// Those that promise.
pub(super) async fn promises(shared: &Arc<Shared>, circle: Circle, ballot: Ballot) -> Stands {
    ask_roster(shared, circle, Question::Promise(ballot), PROMISE_DEADLINE).await
}

async fn ask_roster(
    shared: &Arc<Shared>,
    circle: Circle,
    question: Question,
    deadline: Duration,
) -> Stands {
    ask_machines(shared, &circle.machines(shared), question, deadline).await
}

async fn ask_machines(
    shared: &Arc<Shared>,
    machines: &BTreeSet<MachineId>,
    question: Question,
    deadline: Duration,
) -> Stands {
    let world = shared.mesh.look();
    let peers: Vec<Peer> = world
        .active()
        .filter(|peer| machines.contains(&peer.machine))
        .collect();
    let asked = stream::iter(peers).map(|peer| {
        let question = question.clone();
        async move {
            let said = ask(shared, peer, question, deadline).await?;
            match said {
                Said::Stand(stand) => Some((peer.machine, stand)),
                Said::Refused(why) => {
                    tracing::info!(machine = %peer.machine, why, "does not promise");
                    None
                }
                Said::Roster(_) => None,
            }
        }
    });
    let answers = asked.buffer_unordered(ASKED_AT_ONCE);
    answers.filter_map(std::future::ready).collect().await
}

async fn ask(
    shared: &Arc<Shared>,
    peer: Peer,
    question: Question,
    deadline: Duration,
) -> Option<Said> {
    if peer.machine == shared.me {
        // A disk that hangs must not hold whoever asks. What is being written goes on, alone: nothing else is promised meanwhile.
        let own = Arc::clone(shared);
        let asking = tokio::spawn(async move { ask_self(&own, question).await });
        let answer = tokio::time::timeout(deadline, asking).await.ok()?;
        return answer.ok()?.ok();
    }
    let body = Bytes::from(question.encode());
    let asking = shared.transport.request(peer, REFOUND, body, deadline);
    Said::decode(&asking.await.ok()?)
}

/// The rosters of all that answered: ours, and each other one from a machine that has it.
pub(super) async fn rosters(shared: &Arc<Shared>, stands: &Stands) -> Result<Rosters, Hold> {
    let ours = answers::roster(shared);
    let mut rosters = Rosters::from([(answers::mark(&ours), ours)]);
    for (machine, stand) in stands {
        if rosters.contains_key(&stand.roster) {
            continue;
        }
        let peer = shared.peer(*machine).ok_or(Hold::UnknownRoster)?;
        let said = ask(shared, peer, Question::Roster, PROMISE_DEADLINE).await;
        if let Some(Said::Roster(machines)) = said {
            let roster: BTreeSet<_> = machines.into_iter().collect();
            rosters.insert(answers::mark(&roster), roster);
        }
    }
    Ok(rosters)
}
