//! What was seen, and what must never be seen.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::identity::{Generation, MachineId};
use crate::membership::{Event, How, Member};

/// A machine that was cut off or stood still may be taken for dead this long after it is well again: the verdict was
/// on its way already.
const AFTERMATH: Duration = Duration::from_secs(20);

/// Something that must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A generation that was known became an earlier one.
    WentBack {
        /// Who saw it.
        observer: MachineId,
        /// Of whom.
        machine: MachineId,
        /// When.
        at: Duration,
    },
    /// A life that was dead or gone came up again.
    Resurrected {
        /// Who saw it.
        observer: MachineId,
        /// Of whom.
        machine: MachineId,
        /// When.
        at: Duration,
    },
    /// Suspected, refuted or died without having been up.
    OutOfOrder {
        /// Who saw it.
        observer: MachineId,
        /// Of whom.
        machine: MachineId,
        /// When.
        at: Duration,
    },
}

/// Somebody took a machine for dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// When.
    pub at: Duration,
    /// Who.
    pub observer: MachineId,
    /// Whom.
    pub machine: MachineId,
    /// In which life.
    pub generation: Generation,
    /// How it knew; `None` if it left as announced.
    pub how: Option<How>,
    /// Whether the machine was well at that time.
    pub wrong: bool,
}

/// The account of a simulation.
#[derive(Debug, Default)]
pub struct Findings {
    /// What must never happen, and did.
    pub violations: Vec<Violation>,
    /// Every death that anybody saw.
    pub deaths: Vec<Death>,
    /// Suspicions of machines that were well.
    pub wrong_suspicions: u64,
    /// New generations asked for.
    pub renewals: u64,
    /// When each machine died or stopped being well; none for one that is well.
    unwell: BTreeMap<MachineId, Duration>,
    /// When each machine was last unwell.
    excused_until: BTreeMap<MachineId, Duration>,
    /// By observer, and by machine, the life last seen and whether it was up.
    seen: BTreeMap<MachineId, BTreeMap<MachineId, (Generation, bool)>>,
}

impl Findings {
    /// Deaths of machines that were well.
    pub fn wrong_deaths(&self) -> impl Iterator<Item = &Death> {
        self.deaths.iter().filter(|death| death.wrong)
    }

    /// A new process of `machine`: its observations begin anew.
    pub(super) fn started(&mut self, machine: MachineId) {
        self.seen.remove(&machine);
    }

    pub(super) fn died(&mut self, now: Duration, machine: MachineId) {
        self.unwell.insert(machine, now);
    }

    pub(super) fn unwell(&mut self, now: Duration, machine: MachineId) {
        self.unwell.entry(machine).or_insert(now);
    }

    pub(super) fn well(&mut self, now: Duration, machine: MachineId) {
        if self.unwell.remove(&machine).is_some() {
            self.excused_until.insert(machine, now + AFTERMATH);
        }
    }

    fn is_well(&self, now: Duration, machine: MachineId) -> bool {
        !self.unwell.contains_key(&machine)
            && self
                .excused_until
                .get(&machine)
                .is_none_or(|until| now > *until)
    }

    pub(super) fn observe(&mut self, now: Duration, observer: MachineId, event: &Event) {
        match event {
            Event::Up { member, .. } => self.up(now, observer, member),
            Event::Suspect { member } => {
                self.still_up(now, observer, member);
                self.wrong_suspicions += u64::from(self.is_well(now, member.machine));
            }
            Event::Refuted { member } => self.still_up(now, observer, member),
            Event::Down { member, how } => self.death(now, observer, member, Some(*how)),
            Event::Left { member } => self.death(now, observer, member, None),
            Event::Renew { .. } => self.renewals += 1,
            Event::Hint { .. } => {}
        }
    }

    fn up(&mut self, at: Duration, observer: MachineId, member: &Member) {
        let machine = member.machine;
        let before = self.saw(observer, member, true);
        if let Some((generation, was_up)) = before {
            if generation > member.generation {
                self.violations.push(Violation::WentBack {
                    observer,
                    machine,
                    at,
                });
            } else if generation == member.generation && !was_up {
                self.violations.push(Violation::Resurrected {
                    observer,
                    machine,
                    at,
                });
            }
        }
    }

    /// Notes what an observer saw, and gives what it saw of that machine before.
    fn saw(
        &mut self,
        observer: MachineId,
        member: &Member,
        up: bool,
    ) -> Option<(Generation, bool)> {
        let seen = self.seen.entry(observer).or_default();
        seen.insert(member.machine, (member.generation, up))
    }

    fn still_up(&mut self, at: Duration, observer: MachineId, member: &Member) {
        let machine = member.machine;
        let seen = self.seen.get(&observer).and_then(|seen| seen.get(&machine));
        if seen != Some(&(member.generation, true)) {
            self.violations.push(Violation::OutOfOrder {
                observer,
                machine,
                at,
            });
        }
    }

    fn death(&mut self, at: Duration, observer: MachineId, member: &Member, how: Option<How>) {
        let machine = member.machine;
        match self.saw(observer, member, false) {
            Some((generation, _)) if generation > member.generation => {
                self.violations.push(Violation::WentBack {
                    observer,
                    machine,
                    at,
                });
            }
            Some((_, true)) => {}
            // A departure may be recognised as one after the death is known.
            Some((_, false)) if how.is_none() => return,
            _ => self.violations.push(Violation::OutOfOrder {
                observer,
                machine,
                at,
            }),
        }
        // An observer that is not well itself may see ghosts; what counts is that the mesh does not.
        let wrong = self.is_well(at, machine) && self.is_well(at, observer);
        let generation = member.generation;
        self.deaths.push(Death {
            at,
            observer,
            machine,
            generation,
            how,
            wrong,
        });
    }
}
