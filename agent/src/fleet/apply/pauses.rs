//! Pausing and resuming.

use super::super::event::EventKind;
use super::super::limits::PAUSES_MAX;
use super::super::pause::{Pause, PauseScope};
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
        scope: PauseScope,
        reason: Text,
        until_ms: Option<u64>,
    ) -> Applied {
        self.check_scope(&scope)?;
        if until_ms.is_some_and(|until_ms| until_ms <= context.now_ms) {
            return Err(invalid("the pause would be over before it begins"));
        }
        let in_effect = self
            .pauses
            .values()
            .filter(|pause| pause.is_on(context.now_ms))
            .count();
        at_most("pauses", in_effect + 1, PAUSES_MAX)?;
        self.pauses.retain(|_, pause| pause.is_on(context.now_ms));
        let how_long = until_ms.map_or_else(
            || "until resumed".to_owned(),
            |until_ms| format!("for {}", span(until_ms - context.now_ms)),
        );
        let detail = format!("{scope} {how_long}{}: {reason}", context.by_whom());
        let by = context.actor.cloned();
        let pause = Pause {
            reason,
            by,
            since_ms: context.now_ms,
            until_ms,
        };
        self.note_scope(context, EventKind::Paused, &scope, detail);
        self.pauses.insert(scope, pause);
        Ok(Reply::Done)
    }

    pub(super) fn resume(&mut self, context: &Context<'_>, scope: &PauseScope) -> Applied {
        self.check_scope(scope)?;
        let paused = self
            .pauses
            .get(scope)
            .is_some_and(|pause| pause.is_on(context.now_ms));
        let covers = |id: &_| match scope {
            PauseScope::Fleet => true,
            PauseScope::Group(group) => group == id,
        };
        let backed_off = self
            .groups
            .iter()
            .any(|(id, group)| covers(id) && group.waits(context.now_ms));
        if !paused && !backed_off {
            return Err(Refusal::NotPaused(scope.clone()));
        }
        self.pauses.remove(scope);
        for (_, group) in self.groups.iter_mut().filter(|(id, _)| covers(id)) {
            group.failures.clear();
            group.replaced.clear();
        }
        let detail = format!("{scope} goes on{}", context.by_whom());
        self.note_scope(context, EventKind::Resumed, scope, detail);
        Ok(Reply::Done)
    }

    fn check_scope(&self, scope: &PauseScope) -> Result<(), Refusal> {
        match scope {
            PauseScope::Fleet => Ok(()),
            PauseScope::Group(id) if self.groups.contains_key(id) => Ok(()),
            PauseScope::Group(id) => Err(Refusal::NoGroup(id.clone())),
        }
    }

    fn note_scope(
        &mut self,
        context: &Context<'_>,
        kind: EventKind,
        scope: &PauseScope,
        detail: String,
    ) {
        let about = match scope {
            PauseScope::Fleet => About::fleet(detail),
            PauseScope::Group(group) => About::group(group, detail),
        };
        self.note(context, kind, about);
    }
}
