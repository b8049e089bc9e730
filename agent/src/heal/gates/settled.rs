//! `settled`: does the leader know the mesh, and has membership stood still for a moment?

use muster_mesh::identity::MachineId;

use super::Question;
use crate::fleet::{MemberStatus, Rule, Turn, count, span};
use crate::heal::gate::Gate;
use crate::heal::timing::{DETECTION_MS, MOVING_MS, RETURN_MS, STOOD_MS};

/// Two machines may fail at one moment by chance; more, and more than this share of a large roster, are an event
/// that may not have shown all of itself: one in a hundred.
const MOVING_SHARE: usize = 100;
/// More missing machines than a quarter of the roster, right after a change of leadership, look like a site that
/// comes back from a power cut.
const MISSING_SHARE: usize = 4;

pub(super) fn settled(question: &Question<'_>) -> Gate {
    let known = &question.board.settled;
    known.get_or_init(|| judge(question)).clone()
}

fn judge(question: &Question<'_>) -> Gate {
    let board = question.board;
    let situation = board.situation;
    let (now_ms, since_ms) = (board.now_ms, situation.leader_since_ms);
    let (silent, roster) = (&board.silences, board.mandate.roster as usize);
    if roster <= 1 {
        return Gate::pass(Rule::Settled, "there is one machine, and it leads");
    }
    // What it saw before it led counts: a coordinator watches the mesh as everybody does.
    let watching_ms = situation.watching_since_ms;
    if now_ms.saturating_sub(watching_ms) < DETECTION_MS {
        let margin = format!(
            "the leader has only begun to watch the mesh and may not have heard of everyone; it waits for {}",
            span(DETECTION_MS)
        );
        let until_ms = watching_ms.saturating_add(DETECTION_MS);
        return Gate::hold_until(Rule::Settled, margin, until_ms).turned_by(Turn::Rest);
    }
    let led_ms = now_ms.saturating_sub(since_ms);
    // Where most were there all the time, the old leader is what failed, and one of those that are missing.
    let missing_max = (roster / MISSING_SHARE).max(1) + usize::from(most_stood(question));
    if led_ms < RETURN_MS && silent.len() > missing_max {
        let until_ms = since_ms.saturating_add(RETURN_MS);
        let margin = format!(
            "{} of {roster} machines are missing since the leader changed; they have {} to return",
            silent.len(),
            span(RETURN_MS)
        );
        return Gate::hold_until(Rule::Settled, margin, until_ms).turned_by(Turn::Rest);
    }
    let just_now = |at_ms: &&u64| now_ms.saturating_sub(**at_ms) < MOVING_MS;
    let moving = silent.iter().filter(just_now).count();
    if moving > (roster / MOVING_SHARE).max(1) {
        let margin = format!(
            "{} fell silent within the last second",
            count(moving, "machine")
        );
        let at_ms = now_ms.saturating_add(MOVING_MS);
        return Gate::hold_and_look(Rule::Settled, margin, at_ms).turned_by(Turn::Rest);
    }
    Gate::pass(
        Rule::Settled,
        format!("the leader has led for {}", span(led_ms)),
    )
    .turned_by(Turn::Unrest)
}

/// Whether most coordinators, and most of the roster, had been there for a while when the leader changed. After a power cut
/// most have only just come back: had most coordinators been there, they would have had a leader.
fn most_stood(question: &Question<'_>) -> bool {
    let situation = question.board.situation;
    let before_ms = situation.leader_since_ms.saturating_sub(STOOD_MS);
    let stood = |id: &MachineId| {
        let member = situation.machines.get(id).and_then(|seen| seen.member);
        member.is_some_and(|one| one.status == MemberStatus::Alive && one.since_ms <= before_ms)
    };
    let state = question.state;
    let seats = state.seats.values().filter(|id| stood(id)).count();
    let electors = state
        .electors()
        .filter(|machine| stood(&machine.id))
        .count();
    seats * 2 > state.seats.len() && electors * 2 > state.electors().count()
}
