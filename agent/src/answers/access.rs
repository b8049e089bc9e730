//! What people have set: tokens and operators, as far as they may be shown, and pauses.

use super::snapshot::Snapshot;
use crate::api::types::{Listed, OperatorRow, PauseRow, TokenRow};
use crate::fleet::{PauseScope, Token};

/// All tokens that people made, without their secrets, oldest first.
pub(super) fn tokens(snapshot: &Snapshot<'_>) -> Listed<TokenRow> {
    let tokens = snapshot.state.tokens.values();
    let mut items: Vec<_> = tokens.map(|token| token_row(snapshot, token)).collect();
    items.sort_by(|one, other| (one.created_ms, &one.id).cmp(&(other.created_ms, &other.id)));
    Listed {
        as_of: snapshot.as_of(),
        items,
    }
}

fn token_row(snapshot: &Snapshot<'_>, token: &Token) -> TokenRow {
    let state = match token.uses_left {
        _ if token.expires_ms <= snapshot.now_ms => "expired",
        0 => "used",
        _ => "valid",
    };
    TokenRow {
        id: token.id.to_string(),
        created_ms: token.created_ms,
        expires_ms: token.expires_ms,
        uses_left: token.uses_left,
        used: token.used,
        group: token.group.as_ref().map(ToString::to_string),
        note: token.note.to_string(),
        state: state.to_owned(),
    }
}

/// All pauses in effect, the widest first.
pub(super) fn pauses(snapshot: &Snapshot<'_>) -> Listed<PauseRow> {
    let items = snapshot.pauses().map(|(key, pause)| {
        let (scope, of) = match &key.scope {
            PauseScope::Fleet => ("fleet", None),
            PauseScope::Group(id) => ("group", Some(id.to_string())),
            PauseScope::Zone(zone) => ("zone", Some(zone.clone())),
            PauseScope::Machine(name) => ("machine", Some(name.to_string())),
        };
        PauseRow {
            name: key.name.as_ref().map(ToString::to_string),
            scope: scope.to_owned(),
            of,
            reason: pause.reason.to_string(),
            by: pause.by.as_ref().map(ToString::to_string),
            since_ms: pause.since_ms,
            until_ms: pause.until_ms,
        }
    });
    Listed {
        as_of: snapshot.as_of(),
        items: items.collect(),
    }
}

/// All operators, by name.
pub(super) fn operators(snapshot: &Snapshot<'_>) -> Listed<OperatorRow> {
    let items = snapshot
        .state
        .operators
        .values()
        .map(|operator| OperatorRow {
            name: operator.name.to_string(),
            created_ms: operator.created_ms,
            expires_ms: operator.expires_ms,
            revoked: operator.revoked_ms.is_some(),
        })
        .collect();
    Listed {
        as_of: snapshot.as_of(),
        items,
    }
}
