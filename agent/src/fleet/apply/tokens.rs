//! Join tokens made by people.

use muster_mesh::identity::MachineId;

use super::super::event::EventKind;
use super::super::limits::{TOKEN_LIFETIME_MS_MAX, TOKEN_USES_MAX, TOKENS_MAX};
use super::super::names::GroupId;
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::state::FleetState;
use super::super::text::{Text, count, span};
use super::super::token::{SecretHash, Token, TokenId};
use super::values::{at_most, invalid};
use super::{About, Applied, Context};

/// What a new token should be.
pub(super) struct Request {
    pub(super) id: TokenId,
    pub(super) secret: SecretHash,
    pub(super) note: Text,
    pub(super) group: Option<GroupId>,
    pub(super) expires_ms: u64,
    pub(super) uses: u32,
}

impl FleetState {
    pub(super) fn create_token(&mut self, context: &Context<'_>, request: Request) -> Applied {
        let Request {
            id,
            secret,
            note,
            group,
            expires_ms,
            uses,
        } = request;
        let lifetime_ms = expires_ms.saturating_sub(context.now_ms);
        if !(1..=TOKEN_LIFETIME_MS_MAX).contains(&lifetime_ms) {
            return Err(invalid(
                "a token must expire in the future, and within a year",
            ));
        }
        if !(1..=TOKEN_USES_MAX).contains(&uses) {
            return Err(invalid(format!(
                "a token can be used 1 to {TOKEN_USES_MAX} times"
            )));
        }
        if let Some(group) = group
            .as_ref()
            .filter(|group| !self.groups.contains_key(*group))
        {
            return Err(Refusal::NoGroup(group.clone()));
        }
        // A machine's own token has its ID as number.
        let is_machine = MachineId::new(id.0).is_none_or(|id| self.machines.contains_key(&id));
        if is_machine || self.tokens.contains_key(&id) {
            return Err(Refusal::TokenExists(id));
        }
        let is_good = |token: &Token| token.expires_ms > context.now_ms && token.uses_left > 0;
        let good = self.tokens.values().filter(|token| is_good(token)).count();
        at_most("join tokens", good + 1, TOKENS_MAX)?;
        self.tokens.retain(|_, token| is_good(token));
        let detail = format!(
            "{id} for {}, good for {}{}: {note}",
            count(uses as usize, "use"),
            span(lifetime_ms),
            context.by_whom()
        );
        let created_ms = context.now_ms;
        let about = Token {
            id,
            secret,
            note,
            group: group.clone(),
            created_ms,
            expires_ms,
            uses_left: uses,
            used: 0,
        };
        self.tokens.insert(id, about);
        let about = About {
            group: group.as_ref(),
            ..About::fleet(detail)
        };
        self.note(context, EventKind::TokenCreated, about);
        Ok(Reply::Done)
    }

    pub(super) fn revoke_token(&mut self, context: &Context<'_>, id: TokenId) -> Applied {
        let token = self.tokens.remove(&id).ok_or(Refusal::TokenInvalid(id))?;
        let detail = format!(
            "{id}, used {}{}",
            count(token.used as usize, "time"),
            context.by_whom()
        );
        let about = About {
            group: token.group.as_ref(),
            ..About::fleet(detail)
        };
        self.note(context, EventKind::TokenRevoked, about);
        Ok(Reply::Done)
    }
}
