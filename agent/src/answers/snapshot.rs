//! All that an answer is made from.

use jiff::Timestamp;
use muster_mesh::identity::MachineId;

use crate::api::ApiError;
use crate::api::types::AsOf;
use crate::fleet::{
    Decision, DecisionId, FleetState, Group, GroupId, Machine, Pause, PauseKey, Phase, Subject,
};
use crate::node::world::World;

/// All that an answer is made from, at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    /// This machine's copy of the fleet state.
    pub state: &'a FleetState,
    /// What this machine sees of the mesh.
    pub world: &'a World,
    /// This machine.
    pub me: MachineId,
    /// Its name.
    pub name: &'a str,
    /// This machine's clock, in milliseconds since 1970.
    pub now_ms: u64,
    /// When the copy of the fleet state was last known to be complete, in milliseconds since 1970 by this
    /// machine's clock.
    pub as_of_ms: u64,
    /// Who leads, as far as this machine knows.
    pub leader: Option<MachineId>,
    /// The highest term of the coordinators' log that this machine knows.
    pub term: u64,
    /// Who coordinates.
    pub seats: SeatsView,
    /// Whether the fleet can act.
    pub quorum: QuorumView,
}

/// Who coordinates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeatsView {
    /// Those who vote.
    pub voters: Vec<Seat>,
    /// Those who are catching up, to vote later.
    pub learners: Vec<Seat>,
    /// The last entry of the log; `None` where this machine doesn't know, as only the leader surely does.
    pub last_index: Option<u64>,
}

/// One coordinator's seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The seat's number.
    pub number: u64,
    /// The machine in it.
    pub machine: MachineId,
    /// The last entry of the log that it is known to have; `None` where only the leader knows.
    pub log_index: Option<u64>,
}

/// Whether the fleet can act, as far as this machine can tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuorumView {
    /// Whether it can: a quorum of coordinators and more than half of the roster stand behind the leader.
    pub ok: bool,
    /// Whether too few coordinators answer for anything to be committed: waiting for an election doesn't help.
    pub lacking: bool,
    /// Why, or why not, in plain words with numbers: `1 of 3 coordinators answers; 2 are needed`.
    pub detail: String,
}

impl<'a> Snapshot<'a> {
    /// Who answers, and how old the answer is.
    pub(super) fn as_of(&self) -> AsOf {
        AsOf::new(self.name, self.as_of_ms, self.now_ms)
    }

    /// What people call a machine, also one that is no more; its ID where nobody knows.
    pub(super) fn name_of(&self, id: MachineId) -> String {
        if id == self.me {
            return self.name.to_owned();
        }
        self.name_on_roster(id)
            .or_else(|| self.name_in_mesh(id))
            .or_else(|| self.name_on_record(id))
            .unwrap_or_else(|| id.to_string())
    }

    pub(super) fn name_on_roster(&self, id: MachineId) -> Option<String> {
        self.state
            .machines
            .get(&id)
            .map(|machine| machine.name.to_string())
    }

    fn name_in_mesh(&self, id: MachineId) -> Option<String> {
        let said = self.world.members.get(&id)?.said.as_ref()?;
        Some(said.name.clone())
    }

    /// From the rings of what was decided and what happened, latest first.
    fn name_on_record(&self, id: MachineId) -> Option<String> {
        let decided = |decision: &Decision| {
            (decision.proposal.subject == Subject::Machine(id)).then(|| decision.name.clone())?
        };
        let decisions = &self.state.decisions;
        let events = &self.state.events;
        decisions
            .iter()
            .rev()
            .find_map(decided)
            .or_else(|| {
                let mut about = events.iter().rev();
                about.find_map(|event| (event.machine == Some(id)).then(|| event.name.clone())?)
            })
            .map(|name| name.to_string())
    }

    /// The machine of the roster that goes by this name or ID. While one replaces another of the same name, it is
    /// the new one.
    pub(super) fn find_machine(&self, text: &str) -> Option<&'a Machine> {
        if let Ok(id) = text.parse()
            && let Some(machine) = self.state.machines.get(&id)
        {
            return Some(machine);
        }
        self.state
            .machines
            .values()
            .filter(|machine| machine.name.as_str() == text)
            .max_by_key(|machine| {
                let stays = !matches!(machine.phase, Phase::Retiring | Phase::Left { .. });
                (stays, machine.ordered_ms, machine.id)
            })
    }

    /// The group of this name.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub(super) fn find_group(&self, text: &str) -> Result<(&'a GroupId, &'a Group), ApiError> {
        self.state.groups.get_key_value(text).ok_or_else(|| {
            ApiError::not_found(format!("there is no group `{}`", shorten(text)))
                .remedy("`muster group list` shows the groups")
        })
    }

    /// The decision of this number, while it is on record.
    pub(super) fn decision(&self, id: DecisionId) -> Option<&'a Decision> {
        let decisions = &self.state.decisions;
        let at = decisions
            .binary_search_by_key(&id, |decision| decision.id)
            .ok()?;
        decisions.get(at)
    }

    /// The pause that stops a group, if one is in effect: the fleet's, else its own.
    pub(super) fn pause_of(&self, group: &GroupId) -> Option<(&'a PauseKey, &'a Pause)> {
        self.state.paused(group, self.now_ms)
    }

    /// The pause that stops what is about a machine, if one is in effect: the widest.
    pub(super) fn pause_over(&self, machine: &Machine) -> Option<(&'a PauseKey, &'a Pause)> {
        self.state
            .paused_in(machine.group()?, Some(machine), None, self.now_ms)
    }

    /// All pauses in effect, the widest first.
    pub(super) fn pauses(&self) -> impl Iterator<Item = (&'a PauseKey, &'a Pause)> {
        let now_ms = self.now_ms;
        let pauses = self.state.pauses.iter();
        pauses.filter(move |(_, pause)| pause.is_on(now_ms))
    }

    /// Whether a machine is a voting coordinator.
    pub(super) fn coordinates(&self, id: MachineId) -> bool {
        self.seats.voters.iter().any(|seat| seat.machine == id)
    }
}

/// A time in milliseconds since 1970 as RFC 3339 text, in UTC and always of the same length.
pub(super) fn at(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string()
}

/// A number that fits, for answers that count in 32 bits.
pub(super) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A text from outside, short enough to be repeated in an error.
pub(super) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(CHARS_MAX)
        .collect()
}
