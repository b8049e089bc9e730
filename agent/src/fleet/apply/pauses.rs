//! Pausing and resuming.

use super::super::event::EventKind;
use super::super::limits::{PAUSES_MAX, SECOND_MS, WORD_BYTES_MAX};
use super::super::names::MachineName;
use super::super::pause::{Pause, PauseKey, PauseScope};
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::state::FleetState;
use super::super::text::{Text, span};
use super::values::{at_most, invalid};
use super::{About, Applied, Context};

impl FleetState {
    pub(super) fn pause(
        &mut self,
        context: &Context<'_>,
        key: PauseKey,
        reason: Text,
        until_ms: Option<u64>,
    ) -> Applied {
        self.check_scope(&key.scope)?;
        if until_ms.is_some_and(|until_ms| until_ms <= context.now_ms) {
            return Err(invalid("the pause would be over before it begins"));
        }
        let others = self
            .pauses
            .iter()
            .filter(|(other, pause)| **other != key && pause.is_on(context.now_ms));
        at_most("pauses", others.count() + 1, PAUSES_MAX)?;
        self.check_pause_name(context, &key)?;
        self.pauses.retain(|_, pause| pause.is_on(context.now_ms));
        let how_long = until_ms.map_or_else(
            || "until resumed".to_owned(),
            // A little of it went by on the way here.
            |until_ms| {
                let left_ms = until_ms.saturating_sub(context.now_ms);
                let left_ms = left_ms.div_ceil(SECOND_MS).saturating_mul(SECOND_MS);
                format!("for {}", span(left_ms))
            },
        );
        let scope = &key.scope;
        let named = key
            .name
            .as_ref()
            .map_or_else(String::new, |name| format!(" as `{name}`"));
        let why = match &*reason {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        let detail = format!("{scope} {how_long}{named}{}{why}", context.by_whom());
        let by = context.actor.cloned();
        let pause = Pause {
            reason,
            by,
            since_ms: context.now_ms,
            until_ms,
        };
        self.note_scope(context, EventKind::Paused, scope, detail);
        self.pauses.insert(key, pause);
        Ok(Reply::Done)
    }

    pub(super) fn resume(&mut self, context: &Context<'_>, scope: &PauseScope) -> Applied {
        self.check_scope(scope)?;
        let paused = self
            .pauses
            .iter()
            .any(|(key, pause)| key.scope == *scope && pause.is_on(context.now_ms));
        let covers = |id: &_| scope.covers(id, None, None);
        let backed_off = self
            .groups
            .iter()
            .any(|(id, group)| covers(id) && group.waits(context.now_ms));
        if !paused && !backed_off {
            return Err(Refusal::NotPaused(scope.clone()));
        }
        self.pauses.retain(|key, _| key.scope != *scope);
        for (_, group) in self.groups.iter_mut().filter(|(id, _)| covers(id)) {
            group.failures.clear();
            group.replaced.clear();
        }
        let detail = format!("{scope} goes on{}", context.by_whom());
        self.note_scope(context, EventKind::Resumed, scope, detail);
        Ok(Reply::Done)
    }

    pub(super) fn end_pause(&mut self, context: &Context<'_>, name: &MachineName) -> Applied {
        let key = self
            .pause_named(name)
            .filter(|(_, pause)| pause.is_on(context.now_ms))
            .map(|(key, _)| key.clone())
            .ok_or_else(|| Refusal::NoPause(name.clone()))?;
        self.pauses.remove(&key);
        let detail = format!("pause `{name}` of {} ends{}", key.scope, context.by_whom());
        self.note_scope(context, EventKind::Resumed, &key.scope, detail);
        Ok(Reply::Done)
    }

    /// A name stands for one pause.
    fn check_pause_name(&self, context: &Context<'_>, key: &PauseKey) -> Result<(), Refusal> {
        let Some(name) = &key.name else {
            return Ok(());
        };
        match self.pause_named(name) {
            Some((other, pause)) if other != key && pause.is_on(context.now_ms) => {
                Err(Refusal::PauseNameInUse {
                    name: name.clone(),
                    scope: other.scope.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    fn check_scope(&self, scope: &PauseScope) -> Result<(), Refusal> {
        match scope {
            PauseScope::Fleet => Ok(()),
            PauseScope::Group(id) if self.groups.contains_key(id) => Ok(()),
            PauseScope::Group(id) => Err(Refusal::NoGroup(id.clone())),
            PauseScope::Zone(zone) if zone.is_empty() => Err(invalid("a zone without a name")),
            PauseScope::Zone(zone) => at_most("bytes in a zone's name", zone.len(), WORD_BYTES_MAX),
            // It may just be missing between two lives.
            PauseScope::Machine(_) => Ok(()),
        }
    }

    fn note_scope(
        &mut self,
        context: &Context<'_>,
        kind: EventKind,
        scope: &PauseScope,
        detail: String,
    ) {
        let machine = match scope {
            PauseScope::Machine(name) => self.machine_by_name(name.as_str()).map(|known| known.id),
            _ => None,
        };
        let about = match (scope, machine) {
            (PauseScope::Group(group), _) => About::group(group, detail),
            (_, Some(machine)) => About::machine(machine, detail),
            _ => About::fleet(detail),
        };
        self.note(context, kind, about);
    }
}
