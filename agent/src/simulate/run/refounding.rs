//! Founding the log anew. What former coordinators may do is said by the shipped rules (`node::refounding::ballots`), asked of
//! what each machine believes; that it takes them as long as it does is a model.

use std::collections::BTreeSet;

use muster_mesh::consensus::{LogGeneration, Seat};
use muster_mesh::identity::MachineId;

use super::Run;
use crate::fleet::limits::SECOND_MS;
use crate::fleet::{Command, MemberStatus};
use crate::node::refounding::ballots::{
    Hold, RosterMark, Rosters, Stand, Stands, majority, next_generation,
};
use crate::simulate::fault::FaultKind;

/// From when more than half of the roster finds most coordinators lost until the new log's leader leads, in milliseconds:
/// 5 s of doubt, 6 s until no older leader can act, and a second of asking around.
const FOUNDING_MS: u64 = 12 * SECOND_MS;

/// A former coordinator whose own log failed lets others go first for so long, in milliseconds.
const FAILED_WAITS_MS: u64 = 60 * SECOND_MS;

/// The only roster that there is here: all machines have the same copy.
const MARK: RosterMark = RosterMark([0; 16]);

/// Who founds the log anew, and what is needed to.
pub(super) struct Founding {
    /// Machines that have, or had, a seat, and so the CA's key.
    keys: BTreeSet<MachineId>,
    generation: LogGeneration,
    /// Who is about to, and since when, in milliseconds since 1970.
    begun: Option<(MachineId, u64)>,
}

impl Founding {
    pub(super) fn new(founder: MachineId) -> Self {
        Self {
            keys: BTreeSet::from([founder]),
            generation: LogGeneration::FIRST,
            begun: None,
        }
    }

    /// Whether a machine has what it takes.
    pub(super) fn may_found(&self, machine: MachineId) -> bool {
        self.keys.contains(&machine)
    }

    /// These have seats.
    pub(super) fn seated(&mut self, voters: &[MachineId]) {
        self.keys.extend(voters);
    }
}

impl Run<'_> {
    /// Once a second: a former coordinator goes on with a new log, if it may and has found so for long enough.
    pub(super) fn refound(&mut self) {
        let may = |machine: &MachineId| {
            self.mesh.is_running(*machine)
                && self.finds_lost(*machine)
                && self.founds(*machine).is_ok()
        };
        let begun = self.founding.begun;
        let before = begun.filter(|(machine, _)| may(machine));
        let Some((founder, since_ms)) = before.or_else(|| {
            let mut keys = self.founding.keys.iter().copied();
            keys.find(may).map(|machine| (machine, self.now_ms))
        }) else {
            self.founding.begun = None;
            return;
        };
        self.founding.begun = Some((founder, since_ms));
        let waits_ms = if self.torn.contains(&founder) {
            FAILED_WAITS_MS
        } else {
            FOUNDING_MS
        };
        if self.now_ms.saturating_sub(since_ms) >= waits_ms {
            self.found_anew(founder);
        }
    }

    fn found_anew(&mut self, founder: MachineId) {
        self.founding.begun = None;
        self.founding.generation.0 += 1;
        self.lead.voters = vec![founder];
        self.torn.clear();
        let (at_ms, name) = (self.elapsed_ms(), self.name(founder));
        let what = "founds the log anew";
        self.account.tell(at_ms, "leader", None, what, [name]);
        self.lead_by(founder);
        let command = Command::Refound {
            generation: self.founding.generation.0,
            seat: Seat(self.state.last_seat.0.saturating_add(1)),
            machine: founder,
            recovery: None,
        };
        self.commit(founder, command);
    }

    /// Why a machine that finds most coordinators lost does not found the log anew; `None` where they are not lost, or it is
    /// about to.
    pub(super) fn why_not_anew(&self, machine: MachineId) -> Option<String> {
        let hold = self.founds(machine).err();
        hold.filter(|_| self.finds_lost(machine))
            .map(|hold| hold.to_string())
    }

    /// Whether most coordinators are lost, as far as one machine can tell.
    fn finds_lost(&self, machine: MachineId) -> bool {
        let voters = &self.lead.voters;
        let lost = voters.iter().filter(|voter| self.is_lost(machine, **voter));
        (voters.len() - lost.count()) * 2 <= voters.len()
    }

    /// Without its log a coordinator can neither lead nor vote, however well it answers.
    fn is_lost(&self, observer: MachineId, voter: MachineId) -> bool {
        let is_back_soon = || {
            let mut faults = self.suffers(voter);
            faults.any(|fault| fault.kind == FaultKind::Reboot)
        };
        match self.mesh.belief(observer, voter, self.now_ms) {
            None => true,
            Some(belief) => match belief.status {
                MemberStatus::Down | MemberStatus::Left => !is_back_soon(),
                MemberStatus::Alive | MemberStatus::Suspect => !self.votes(voter),
            },
        }
    }

    /// Whether a machine may found the log anew, by what all that it hears say and promise.
    fn founds(&self, machine: MachineId) -> Result<LogGeneration, Hold> {
        if !self.founding.may_found(machine) {
            return Err(Hold::NoKey);
        }
        if self.full.contains(&machine) {
            return Err(Hold::Failed("its disk is full".to_owned()));
        }
        let roster: BTreeSet<MachineId> = self.state.electors().map(|elector| elector.id).collect();
        let answering = roster.iter().copied();
        let answering = answering.filter(|other| self.mesh.hears(machine, *other));
        let stands: Stands = answering.map(|other| (other, self.stand(other))).collect();
        let rosters = Rosters::from([(MARK, roster)]);
        let next = next_generation(self.founding.generation, &rosters, &stands)?;
        // What a full disk can't keep is not promised.
        let promise = stands.keys().filter(|other| !self.full.contains(other));
        majority(&rosters, &promise.copied().collect())?;
        Ok(next)
    }

    fn stand(&self, machine: MachineId) -> Stand {
        Stand {
            generation: self.founding.generation,
            at: None,
            promised: None,
            orphaned: self.finds_lost(machine),
            roster: MARK,
            has_key: self.founding.may_found(machine),
            recovered: None,
            given_up: false,
        }
    }
}
