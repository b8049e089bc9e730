//! The committed order to do something, step by step.
//!
//! An intent's plan is fixed when it is committed, and only committed [`Progress`](super::Command::Progress)
//! moves it on. So whoever leads next finds exactly what is left to do, and calls the provisioner with the same
//! operation ID as the one before.

use std::fmt;

use muster_mesh::identity::MachineId;
use serde::{Deserialize, Serialize};

use super::OperationId;
use super::decision::DecisionId;
use super::demand::DemandId;
use super::lease::Fenced;
use super::limits::{DRAIN_ATTEMPTS_MAX, RUNG_ATTEMPTS_MAX, STEP_ATTEMPTS_MAX};
use super::machine::{Machine, Phase};
use super::names::{GroupId, MachineName, Member};
use super::rule::{Rule, is_outdated};
use super::rung::Rung;
use super::spec::SpecRevision;
use super::text::Text;

/// A committed order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its ID: the idempotency token at the provisioner, and the tag on the instance that it makes.
    pub op: OperationId,
    /// The group concerned.
    pub group: GroupId,
    /// The member that is made, treated or taken away; for a replacement, the new one.
    pub member: Member,
    /// The name of the machine that is made; of the one that is treated or taken away where none is made.
    pub name: MachineName,
    /// What is done.
    pub action: Action,
    /// What the machine that is treated or taken away was before, for when that fails.
    pub was: Option<Phase>,
    /// Where the machine was that is treated or taken away: what its failure may have in common with others.
    pub origin: Option<Origin>,
    /// The steps, in order, with how each went.
    pub plan: Vec<StepRecord>,
    /// The decision that ordered it.
    pub decision: DecisionId,
    /// How it is known that the old machine's workload runs no more; `None` before that, and for cattle.
    pub fenced: Option<Fenced>,
    /// Whether its machine did not hand over its duties, or could not be asked to: then it is asked once more whether anybody
    /// gets an answer from it before it is taken away.
    pub undrained: bool,
    /// Whether it was paid for from the group's heal budget.
    pub paid: bool,
    /// For how long the machine that it makes is on trial once it joined, in milliseconds; zero where nothing checks what
    /// that machine does, and where none is made.
    pub trial_ms: u64,
    /// Whether the machine that it made does its work; `None` until its trial is over, and where none is made.
    pub works: Option<bool>,
    /// The order by hand that it carries out; `None` for what the fleet does by itself.
    pub asked: Option<DemandId>,
    /// When it was committed, in milliseconds since 1970.
    pub opened_ms: u64,
    /// Whether it is under way, and how it ended.
    pub state: IntentState,
}

impl Intent {
    /// What it does, and to whom: `replacement by web-4`, `provision of web-5`.
    pub fn words(&self) -> String {
        match (&self.action, &self.member) {
            // One of cattle gets another name.
            (Action::Replace { .. }, Member::Cattle(_)) => format!("replacement by {}", self.name),
            (action, _) => format!("{action} of {}", self.name),
        }
    }

    /// Whether it is under way.
    pub fn is_open(&self) -> bool {
        self.state == IntentState::Open
    }

    /// Since when the machine that it made has been on trial, in milliseconds since 1970; `None` before it joined, once it
    /// is known whether it works, and where none is made.
    pub fn on_trial_since_ms(&self) -> Option<u64> {
        match self.state {
            IntentState::Done { at_ms }
                if self.works.is_none() && self.action.makes().is_some() =>
            {
                Some(at_ms)
            }
            _ => None,
        }
    }

    /// The step that is to be done now; `None` when the intent has ended.
    pub fn current(&self) -> Option<&StepRecord> {
        self.is_open()
            .then(|| self.plan.iter().find(|record| record.ended_ms.is_none()))
            .flatten()
    }

    pub(super) fn current_mut(&mut self) -> Option<&mut StepRecord> {
        if !self.is_open() {
            return None;
        }
        self.plan
            .iter_mut()
            .find(|record| record.ended_ms.is_none())
    }

    /// The current step, when it is one for an executor and its time has come.
    pub fn due(&self, now_ms: u64) -> Option<&StepRecord> {
        self.current()
            .filter(|record| !record.step.is_waited_for() && record.next_attempt_ms <= now_ms)
    }
}

/// What a machine has in common with others that may fail with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The template that it was made from.
    pub revision: Option<SpecRevision>,
    /// Its zone.
    pub zone: Option<String>,
    /// Its rack, as its labels say.
    pub rack: Option<String>,
    /// The version of its agent, as its last record said; `None` where that is not known.
    pub version: Option<Text>,
    /// When it failed, in milliseconds since 1970; `None` where it did not.
    pub failed_ms: Option<u64>,
}

impl Origin {
    /// That of a machine whose agent is of this version, and which failed at that time.
    pub fn of(machine: &Machine, version: Option<Text>, failed_ms: Option<u64>) -> Self {
        Self {
            revision: machine.revision,
            zone: machine.known_zone().map(str::to_owned),
            rack: machine.labels.get("rack").cloned(),
            version,
            failed_ms,
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A machine is made.
    Provision {
        /// The new machine.
        machine: MachineId,
    },
    /// A machine is taken away and another one is made in its place.
    Replace {
        /// The machine that is taken away.
        old: MachineId,
        /// The new machine.
        new: MachineId,
    },
    /// A machine is taken away.
    Retire {
        /// The machine.
        machine: MachineId,
    },
    /// Something is done to a machine in its place.
    Treat {
        /// The machine.
        machine: MachineId,
        /// What.
        rung: Rung,
        /// The how-manieth treatment of this machine it is, from 1.
        number: u32,
    },
    /// The system of a machine is written anew, and another machine comes of it, on the same hardware and in the same place.
    Reimage {
        /// The machine that is no more when that is done.
        old: MachineId,
        /// The machine that comes of it.
        new: MachineId,
    },
    /// A machine's workload hands over its duties, and stays cordoned.
    Drain {
        /// The machine.
        machine: MachineId,
        /// The how-manieth treatment of this machine it is, from 1.
        number: u32,
    },
}

impl Action {
    /// The machine that is made.
    pub fn makes(self) -> Option<MachineId> {
        match self {
            Self::Provision { machine } => Some(machine),
            Self::Replace { new, .. } | Self::Reimage { new, .. } => Some(new),
            Self::Retire { .. } | Self::Treat { .. } | Self::Drain { .. } => None,
        }
    }

    /// The machine that is taken away.
    pub fn removes(self) -> Option<MachineId> {
        match self {
            Self::Provision { .. } | Self::Treat { .. } | Self::Drain { .. } => None,
            Self::Replace { old, .. } | Self::Reimage { old, .. } => Some(old),
            Self::Retire { machine } => Some(machine),
        }
    }

    /// The machine that something is done to in its place.
    pub fn treats(self) -> Option<MachineId> {
        match self {
            Self::Treat { machine, .. } | Self::Drain { machine, .. } => Some(machine),
            Self::Provision { .. }
            | Self::Replace { .. }
            | Self::Reimage { .. }
            | Self::Retire { .. } => None,
        }
    }

    /// The rung of the ladder that it is, below replacing.
    pub fn rung(self) -> Option<Rung> {
        match self {
            Self::Treat { rung, .. } => Some(rung),
            Self::Reimage { .. } => Some(Rung::Reimage),
            _ => None,
        }
    }

    /// Whether it is done because a machine failed, or is to be treated like one.
    pub fn heals(self) -> bool {
        matches!(self, Self::Replace { .. }) || self.rung().is_some()
    }

    /// The machine that was there before: the one that is treated or taken away.
    pub fn finds(self) -> Option<MachineId> {
        self.removes().or(self.treats())
    }

    /// The machine whose agent stops, for a while or for good.
    pub fn stops(self) -> Option<MachineId> {
        match self {
            Self::Treat {
                rung: Rung::RestartWorkload,
                ..
            }
            | Self::Drain { .. } => None,
            _ => self.finds(),
        }
    }

    /// The word that stands for it, also in the operation ID.
    pub fn word(self) -> &'static str {
        match self {
            Self::Provision { .. } => "provision",
            Self::Replace { .. } => "replace",
            Self::Reimage { .. } => Rung::Reimage.word(),
            Self::Retire { .. } => "retire",
            Self::Treat { rung, .. } => rung.word(),
            Self::Drain { .. } => "drain",
        }
    }

    /// The steps that the action takes.
    ///
    /// A machine that is replaced has failed, so it isn't drained; one that a person asks to have replaced (`asked`) may
    /// be well, so it is. A pet's old machine is proved off (`Fence`) before its successor is made, so that two copies
    /// never run. On one piece of hardware there is only one. One that has a part in an ensemble is struck off it
    /// (`strikes`) before anything is done to it.
    pub fn steps(self, pet: bool, asked: bool, strikes: bool) -> Vec<Step> {
        let mut steps = self.usual_steps(pet, asked).to_vec();
        let ends = |step: &Step| matches!(step, Step::Fence | Step::Destroy);
        if let Some(end) = steps.iter().position(ends).filter(|_| strikes) {
            steps.insert(end, Step::Strike);
        }
        steps
    }

    fn usual_steps(self, pet: bool, asked: bool) -> &'static [Step] {
        use Step::{
            AwaitJoin, AwaitWell, Destroy, Drain, Fence, PowerCycle, Provision, Reboot, Reimage,
        };
        match (self, pet) {
            (Self::Replace { .. }, false) if asked => &[Drain, Destroy, Provision, AwaitJoin],
            (Self::Replace { .. }, true) if asked => &[Drain, Fence, Destroy, Provision, AwaitJoin],
            (Self::Reimage { .. }, _) if asked => &[Drain, Reimage, AwaitJoin],
            (Self::Reimage { .. }, _) => &[Reimage, AwaitJoin],
            (Self::Provision { .. }, _) => &[Provision, AwaitJoin],
            (Self::Replace { .. }, false) => &[Destroy, Provision, AwaitJoin],
            (Self::Replace { .. }, true) => &[Fence, Destroy, Provision, AwaitJoin],
            (Self::Retire { .. }, false) => &[Drain, Destroy],
            (Self::Retire { .. }, true) => &[Drain, Fence, Destroy],
            (Self::Treat { rung, .. }, _) => match rung {
                Rung::RestartWorkload => &[Step::RestartWorkload, AwaitWell],
                Rung::Reboot => &[Reboot, AwaitWell],
                Rung::PowerCycle => &[PowerCycle, AwaitWell],
                // An action of its own: another machine comes of it.
                Rung::Reimage => &[Reimage, AwaitWell],
            },
            (Self::Drain { .. }, _) => &[Drain],
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One step of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Prove a pet's old machine off: ask first, else destroy it or cut its power, and prove it then.
    Fence,
    /// Let the machine finish what it does.
    Drain,
    /// Have another member of the group strike the machine off the ensemble of their workload.
    Strike,
    /// Destroy the old instance. *Already gone* is success.
    Destroy,
    /// Make the new instance.
    Provision,
    /// Wait until the new machine joins. Ends with its admission, or when heal gives it up.
    AwaitJoin,
    /// Have the machine's agent restart its workload.
    RestartWorkload,
    /// Restart the machine through its operating system.
    Reboot,
    /// Take the machine's power away and give it back.
    PowerCycle,
    /// Write the machine's system anew. Ends with the instance, or when the new machine joins.
    Reimage,
    /// Wait until the machine is well. Ends when heal finds it so, or gives it up.
    AwaitWell,
}

impl Step {
    /// How often the step is tried before the intent fails. A reimage that has begun is given its time instead.
    pub fn attempts_max(self) -> u32 {
        match self {
            Self::Drain => DRAIN_ATTEMPTS_MAX,
            Self::RestartWorkload | Self::Reboot | Self::PowerCycle | Self::Reimage => {
                RUNG_ATTEMPTS_MAX
            }
            _ => STEP_ATTEMPTS_MAX,
        }
    }

    /// Whether it ends a machine, or does something to it that a machine which is well should be spared.
    pub fn touches(self) -> bool {
        match self {
            Self::Fence
            | Self::Strike
            | Self::Destroy
            | Self::RestartWorkload
            | Self::Reboot
            | Self::PowerCycle
            | Self::Reimage => true,
            Self::Drain | Self::Provision | Self::AwaitJoin | Self::AwaitWell => false,
        }
    }

    /// Whether it goes on record that its call is about to be made: what has begun to end a machine, or to write it anew, is
    /// carried through.
    pub fn begins(self) -> bool {
        matches!(self, Self::Fence | Self::Destroy | Self::Reimage)
    }

    /// Whether nobody does anything: the step ends by what is seen.
    pub fn is_waited_for(self) -> bool {
        matches!(self, Self::AwaitJoin | Self::AwaitWell)
    }

    /// The step's name for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Drain => "drain",
            Self::Strike => "strike",
            Self::Destroy => "destroy",
            Self::Provision => "provision",
            Self::AwaitJoin => "await_join",
            Self::RestartWorkload => "restart_workload",
            Self::Reboot => "reboot",
            Self::PowerCycle => "power_cycle",
            Self::Reimage => "reimage",
            Self::AwaitWell => "await_well",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fence => "fence",
            Self::Drain => "drain",
            Self::Strike => "strike off",
            Self::Destroy => "destroy",
            Self::Provision => "provision",
            Self::AwaitJoin => "await join",
            Self::RestartWorkload => "restart workload",
            Self::Reboot => "reboot",
            Self::PowerCycle => "power-cycle",
            Self::Reimage => "reimage",
            Self::AwaitWell => "await well",
        })
    }
}

/// How one step went so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step.
    pub step: Step,
    /// When it became the current step, in milliseconds since 1970; `None` before.
    pub started_ms: Option<u64>,
    /// When it was done; `None` before.
    pub ended_ms: Option<u64>,
    /// How often it was tried without success.
    pub attempts: u32,
    /// Its call that may have been carried out, whatever was heard of it; `None` while none can have been. Put on record for
    /// steps that [begin](Step::begins): until then their machine can be spared.
    pub begun: Option<Begun>,
    /// What went wrong last.
    pub last_error: Option<Text>,
    /// When it is to be tried next, in milliseconds since 1970.
    pub next_attempt_ms: u64,
    /// The rule that kept it from being tried when that was last looked at.
    pub held: Option<Held>,
}

/// A rule that keeps a step from being tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The rule.
    pub rule: Rule,
    /// Why, in plain words with numbers.
    pub detail: Text,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// When it was put on record in these words, in milliseconds since 1970.
    pub recorded_ms: u64,
}

/// A call that may have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// How often the step had failed before it.
    pub attempt: u32,
    /// The term of the log in which its leader was about to make it.
    pub term: u64,
    /// When it was about to be made, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Held {
    /// Whether a hold by `rule` in these words is news: another rule or another pause, or other words once these have stood for
    /// a while.
    pub fn makes_news(&self, rule: Rule, detail: &Text, now_ms: u64) -> bool {
        let may_renew =
            || rule == Rule::Paused || is_outdated(self.since_ms, self.recorded_ms, now_ms);
        self.rule != rule || self.detail != *detail && may_renew()
    }
}

impl StepRecord {
    pub(super) fn new(step: Step) -> Self {
        Self {
            step,
            started_ms: None,
            ended_ms: None,
            attempts: 0,
            begun: None,
            last_error: None,
            next_attempt_ms: 0,
            held: None,
        }
    }
}

/// Whether an intent is under way, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentState {
    /// Under way.
    Open,
    /// It did what it was for.
    Done {
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
    /// It did not, and is not tried further. What is still to be done is decided anew.
    Failed {
        /// When, in milliseconds since 1970.
        at_ms: u64,
        /// The step that failed.
        step: Step,
        /// Why.
        error: Text,
        /// Whether it was given up with its machine untouched: that was back, or a rule had held it for too long.
        spared: bool,
    },
}
