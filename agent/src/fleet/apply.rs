//! Applying commands: the only way in which the fleet state changes.
//!
//! One file for each kind of command. Every handler first checks everything, then changes the state without
//! anything left that could fail, so that a refused command leaves no trace.

mod admit;
mod adopt;
mod approve;
mod begun;
mod decide;
mod demands;
mod effect;
mod ensemble;
mod found;
mod groups;
mod lease;
mod ledger;
mod operators;
mod order;
mod orders;
mod orphans;
mod pauses;
mod progress;
mod quarantine;
mod recovery;
mod reimage;
mod roster;
mod seats;
mod spared;
mod specs;
mod tokens;
mod trial;
mod values;

use muster_mesh::identity::MachineId;

use super::command::{Command, Envelope};
use super::decision::DecisionId;
use super::event::{Event, EventKind};
use super::limits::{CLOCK_JUMP_MS_MAX, EVENTS_MAX};
use super::names::GroupId;
use super::pause::PauseKey;
use super::refusal::Refusal;
use super::reply::Reply;
use super::state::FleetState;
use super::text::Text;

type Applied = Result<Reply, Refusal>;

/// Who proposed a command, and when it is.
#[derive(Debug, Clone, Copy)]
struct Context<'a> {
    now_ms: u64,
    by: MachineId,
    term: u64,
    actor: Option<&'a Text>,
}

impl Context<'_> {
    /// ` by alice`, or nothing.
    fn by_whom(&self) -> String {
        self.actor
            .map_or_else(String::new, |actor| format!(" by {actor}"))
    }
}

impl FleetState {
    /// Applies a command as it came from the log. Bytes that are no command are refused like any other that makes
    /// no sense.
    pub fn apply_bytes(&mut self, command: &[u8]) -> Reply {
        match Envelope::decode(command) {
            Ok(envelope) => self.apply_envelope(envelope),
            Err(error) => Reply::Refused(Refusal::Unreadable(error.to_string().into())),
        }
    }

    /// Applies a command and says what came of it. A refused one changes nothing.
    pub fn apply_envelope(&mut self, envelope: Envelope) -> Reply {
        let Envelope {
            at_ms,
            by,
            term,
            actor,
            command,
        } = envelope;
        // Before the first command there is no time to compare with.
        let latest_ms = match self.clock_ms {
            0 => u64::MAX,
            clock_ms => clock_ms.saturating_add(CLOCK_JUMP_MS_MAX),
        };
        let now_ms = self.clock_ms.max(at_ms.min(latest_ms));
        let context = Context {
            now_ms,
            by,
            term,
            actor: actor.as_ref(),
        };
        let founding = matches!(command, Command::Found(_));
        let applied = match (&self.cluster, founding) {
            (None, false) => Err(Refusal::NotFounded),
            (Some(_), true) => Err(Refusal::AlreadyFounded),
            _ => self.dispatch(&context, command),
        };
        match applied {
            Ok(reply) => {
                self.clock_ms = now_ms;
                self.term = self.term.max(term);
                reply
            }
            Err(refusal) => Reply::Refused(refusal),
        }
    }

    #[allow(clippy::too_many_lines, reason = "a line for each command")]
    fn dispatch(&mut self, context: &Context<'_>, command: Command) -> Applied {
        match command {
            Command::Found(found) => self.found(context, *found),
            Command::ApplySpecs(changes) => self.apply_specs(context, changes),
            Command::ScaleGroup { group, size } => self.scale_group(context, &group, size),
            Command::DestroyGroup { group } => self.destroy_group(context, &group),
            Command::FreeGroup { group } => self.free_group(context, &group),
            Command::SetHealMode { group, mode } => self.set_heal_mode(context, &group, mode),
            Command::Pause {
                scope,
                name,
                reason,
                until_ms,
            } => self.pause(context, PauseKey { scope, name }, reason, until_ms),
            Command::Resume { scope } => self.resume(context, &scope),
            Command::EndPause { name } => self.end_pause(context, &name),
            Command::CreateToken {
                id,
                secret,
                note,
                group,
                expires_ms,
                uses,
            } => self.create_token(
                context,
                tokens::Request {
                    id,
                    secret,
                    note,
                    group,
                    expires_ms,
                    uses,
                },
            ),
            Command::RevokeToken { id } => self.revoke_token(context, id),
            Command::Admit(admit) => self.admit(context, *admit),
            Command::CreateOperator { name, expires_ms } => {
                self.create_operator(context, name, expires_ms)
            }
            Command::RevokeOperator { name } => self.revoke_operator(context, &name),
            Command::RevokeMachine { machine } => self.revoke_machine(context, machine),
            Command::Decide(proposals) => self.decide(context, proposals),
            Command::Progress(progress) => self.progress(context, progress),
            Command::TrialOver { op, works, detail } => {
                self.trial_over(context, &op, works, detail)
            }
            Command::EnsembleFormed { group } => self.ensemble_formed(context, &group),
            Command::MachineLeft { machine, life } => self.machine_left(context, machine, life),
            Command::MachineReturned { machine } => self.machine_returned(context, machine),
            Command::Forget { machine } => self.forget(context, machine),
            Command::TakeSeat { machine } => self.take_seat(context, machine),
            Command::FreeSeat { seat } => self.free_seat(context, seat),
            Command::Refound {
                generation,
                seat,
                machine,
                recovery,
            } => self.refound(context, (generation, seat, machine), recovery),
            Command::Account { machine } => self.account(context, machine),
            Command::RecordAddress { machine, addr } => self.record_address(context, machine, addr),
            Command::RecordOrphans(orphans) => self.record_orphans(context, orphans),
            Command::Quarantine(change) => self.change_quarantine(context, *change),
            Command::BindLease { machine, terms } => self.bind_lease(context, machine, terms),
            Command::RecordFencing(changes) => self.record_fencing(context, changes),
            Command::Approve { decision } => self.approve(context, decision),
            Command::Ask(asked) => self.ask(context, *asked),
            Command::Withdraw { demand } => self.withdraw(context, demand),
            Command::Expire { demand } => self.expire(context, demand),
            Command::Cordon { machine, reason } => self.cordon(context, machine, reason),
            Command::Uncordon { machine } => self.uncordon(context, machine),
            Command::WriteLedger(write) => self.write_ledger(*write),
            Command::Adopt(adopt) => self.adopt(context, *adopt),
        }
    }

    /// Puts something on the list of what happened. Name and group of `machine` are looked up.
    fn note(&mut self, context: &Context<'_>, kind: EventKind, about: About<'_>) {
        let machine = about.machine.and_then(|id| self.machines.get(&id));
        let event = Event {
            number: self.next_event,
            at_ms: context.now_ms,
            kind,
            machine: about.machine,
            name: machine.map(|machine| machine.name.clone()),
            group: about
                .group
                .or_else(|| machine.and_then(|machine| machine.group()))
                .cloned(),
            decision: about.decision,
            detail: about.detail,
        };
        self.next_event += 1;
        self.events.push_back(event);
        while self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }
}

/// What an event is about.
#[derive(Debug, Default)]
struct About<'a> {
    machine: Option<MachineId>,
    group: Option<&'a GroupId>,
    decision: Option<DecisionId>,
    detail: Text,
}

impl<'a> About<'a> {
    fn fleet(detail: impl Into<Text>) -> Self {
        Self {
            detail: detail.into(),
            ..Self::default()
        }
    }

    fn machine(machine: MachineId, detail: impl Into<Text>) -> Self {
        Self {
            machine: Some(machine),
            detail: detail.into(),
            ..Self::default()
        }
    }

    fn group(group: &'a GroupId, detail: impl Into<Text>) -> Self {
        Self {
            group: Some(group),
            detail: detail.into(),
            ..Self::default()
        }
    }

    fn decided(mut self, decision: DecisionId) -> Self {
        self.decision = Some(decision);
        self
    }
}
