//! What is known of hardware in quarantine.

use super::super::command::{PutAside, QuarantineChange, QuarantineListing};
use super::super::event::EventKind;
use super::super::limits::{QUARANTINE_MAX, WORD_BYTES_MAX};
use super::super::quarantine::{FailedOn, Quarantine};
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::state::FleetState;
use super::values::{at_most, invalid};
use super::{About, Applied, Context};

impl FleetState {
    pub(super) fn change_quarantine(
        &mut self,
        context: &Context<'_>,
        change: QuarantineChange,
    ) -> Applied {
        match change {
            QuarantineChange::PutAside(aside) => self.put_aside(context, aside),
            QuarantineChange::Release {
                provisioner,
                hardware,
            } => self.release(context, &provisioner, &hardware),
            QuarantineChange::Listed(listing) => self.record_quarantine(context, listing),
        }
    }

    /// The hardware of a machine that failed was left out.
    fn put_aside(&mut self, context: &Context<'_>, aside: PutAside) -> Applied {
        let PutAside {
            op,
            provisioner,
            hardware,
            instance,
            why,
        } = aside;
        check_words(&provisioner, &hardware)?;
        let intent = self.intents.get(&op);
        let intent = intent.filter(|intent| intent.is_open());
        let intent = intent.ok_or_else(|| Refusal::NoIntent(op.clone()))?;
        let machine = intent.action.finds().and_then(|id| self.machines.get(&id));
        let machine = machine.ok_or_else(|| invalid("it concerns no machine"))?;
        let (id, decision) = (machine.id, intent.decision);
        let failed = FailedOn {
            machine: machine.name.clone(),
            group: intent.group.clone(),
            instance,
        };
        let detail = format!(
            "{} {} is in quarantine: nothing is made on {hardware} until `muster release {hardware}`",
            provisioner, failed.instance
        );
        let known = self
            .quarantine
            .iter_mut()
            .find(|known| known.key() == (provisioner.as_str(), hardware.as_str()));
        match known {
            Some(known) => {
                (known.failed, known.released_ms) = (Some(failed), None);
            }
            None => {
                self.quarantine.push(Quarantine {
                    provisioner,
                    hardware,
                    why,
                    since_ms: context.now_ms,
                    failed: Some(failed),
                    released_ms: None,
                });
                let about = About::machine(id, detail).decided(decision);
                self.note(context, EventKind::Quarantined, about);
            }
        }
        self.bound_quarantine();
        Ok(Reply::Done)
    }

    /// A person wants hardware to be released; the leader asks its provisioner for that.
    fn release(&mut self, context: &Context<'_>, provisioner: &str, hardware: &str) -> Applied {
        let known = self
            .quarantine
            .iter_mut()
            .find(|known| known.key() == (provisioner, hardware));
        let known = known.ok_or_else(|| Refusal::NotQuarantined(hardware.into()))?;
        known.released_ms.get_or_insert(context.now_ms);
        let group = known.failed.as_ref().map(|failed| failed.group.clone());
        let about = About {
            group: group.as_ref(),
            ..About::fleet(format!(
                "{provisioner} {hardware} is to be released from its quarantine{}",
                context.by_whom()
            ))
        };
        self.note(context, EventKind::Releasing, about);
        Ok(Reply::Done)
    }

    /// Puts on record what a provisioner has in quarantine.
    fn record_quarantine(&mut self, context: &Context<'_>, listing: QuarantineListing) -> Applied {
        let longest = listing.listed.len().max(listing.gone.len());
        at_most("pieces of hardware", longest, QUARANTINE_MAX)?;
        for one in &listing.listed {
            check_words(&listing.provisioner, &one.hardware)?;
        }
        if !self.quarantine_differs(&listing) {
            return Err(invalid("that is on record already"));
        }
        let (gone, mut kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.quarantine)
            .into_iter()
            .partition(|known| listing.ends(known));
        let QuarantineListing {
            provisioner,
            listed,
            ..
        } = listing;
        let stayed = kept.len();
        for one in listed {
            let key = (provisioner.as_str(), one.hardware.as_str());
            if kept.iter().any(|known| known.key() == key) {
                continue;
            }
            kept.push(Quarantine {
                provisioner: provisioner.clone(),
                hardware: one.hardware,
                why: one.why,
                since_ms: context.now_ms,
                failed: None,
                released_ms: None,
            });
        }
        self.quarantine = kept;
        for known in gone {
            let detail = format!("{provisioner} {} is out of quarantine", known.hardware);
            self.note(context, EventKind::Released, About::fleet(detail));
        }
        let new: Vec<_> = self.quarantine.iter().skip(stayed).cloned().collect();
        for known in new {
            let detail = format!(
                "{provisioner} {} is in quarantine, as its provisioner says: {}",
                known.hardware, known.why
            );
            self.note(context, EventKind::Quarantined, About::fleet(detail));
        }
        self.bound_quarantine();
        Ok(Reply::Done)
    }

    /// The oldest go first; that they are out of use their provisioner goes on knowing.
    fn bound_quarantine(&mut self) {
        let surplus = self.quarantine.len().saturating_sub(QUARANTINE_MAX);
        self.quarantine.drain(..surplus);
    }
}

fn check_words(provisioner: &str, hardware: &str) -> Result<(), Refusal> {
    let longest = provisioner.len().max(hardware.len());
    at_most("bytes in the name of hardware", longest, WORD_BYTES_MAX)
}
