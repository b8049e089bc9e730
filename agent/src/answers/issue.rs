//! Tokens and operators' certificates: made where the leader runs, with secrets that no log ever sees.

use std::time::Duration;

use muster_mesh::pki::{CaHash, IssueError, JoinToken, LeafKey, OperatorCredentials};

use super::desk::Desk;
use super::order::{actor, commit};
use super::snapshot::Snapshot;
use super::status::cluster_id;
use crate::api::types::{OperatorCreated, OperatorRequest, TokenCreated, TokenRequest};
use crate::api::{ApiError, Caller, ErrorKind};
use crate::fleet::limits::{DAY_MS, TOKEN_LIFETIME_MS_MAX, TOKEN_USES_MAX};
use crate::fleet::{Command, MachineName, SecretHash, Text, TokenId, span};

/// How long a token lasts unless its maker says otherwise: a working day and the night after it.
const TOKEN_MS: u64 = DAY_MS;

/// How long an operator's certificate lasts unless its maker says otherwise.
const OPERATOR_MS: u64 = 90 * DAY_MS;

/// How long an operator's certificate may last: whoever still needs it then can be asked to get a new one.
const OPERATOR_MS_MAX: u64 = 366 * DAY_MS;

/// Makes a join token. Its secret is in the answer and nowhere else.
pub(super) async fn token<D: Desk>(
    desk: &D,
    caller: &Caller,
    request: TokenRequest,
) -> Result<TokenCreated, ApiError> {
    let lifetime_ms = lifetime(request.ttl_ms, TOKEN_MS, TOKEN_LIFETIME_MS_MAX)?;
    let uses = request.uses.unwrap_or(TOKEN_USES_MAX);
    let (ca_hash, group, now_ms, by) = desk.snapshot(|snapshot| {
        let group = match &request.group {
            Some(id) => Some(snapshot.find_group(id)?.0.clone()),
            None => None,
        };
        let by = actor(snapshot, caller);
        Ok::<_, ApiError>((ca_hash(snapshot)?, group, clock(snapshot), by))
    })?;
    let token = JoinToken::generate(ca_hash);
    let id = TokenId(token.id().0);
    let expires_ms = now_ms.saturating_add(lifetime_ms);
    let command = Command::CreateToken {
        id,
        secret: SecretHash(token.hash().0),
        note: Text::new(request.note.unwrap_or_default()),
        group,
        expires_ms,
        uses,
    };
    commit(desk, by, command).await?;
    Ok(TokenCreated {
        id: id.to_string(),
        token: token.reveal().to_string(),
        expires_ms,
        uses,
        addresses: desk.advertised(),
    })
}

/// Makes an operator's key and certificate. They are in the answer and nowhere else.
pub(super) async fn operator<D: Desk>(
    desk: &D,
    caller: &Caller,
    request: OperatorRequest,
) -> Result<OperatorCreated, ApiError> {
    let lifetime_ms = lifetime(request.ttl_ms, OPERATOR_MS, OPERATOR_MS_MAX)?;
    let name = MachineName::new(request.name).map_err(|error| {
        ApiError::invalid(error.to_string().replace("machine name", "operator's name"))
    })?;
    let (cluster, now_ms, by) = desk.snapshot(|snapshot| {
        Ok::<_, ApiError>((
            cluster_id(snapshot)?,
            clock(snapshot),
            actor(snapshot, caller),
        ))
    })?;
    let ca = desk.ca().ok_or_else(no_key)?;
    let key = LeafKey::generate().map_err(|error| unsigned(&error))?;
    let certificate = key
        .request()
        .and_then(|request| {
            let lifetime = Duration::from_millis(lifetime_ms);
            ca.sign_operator(&request, name.as_str(), now_ms, lifetime)
        })
        .map_err(|error| unsigned(&error))?;
    let ca_der = ca.certificate().to_vec();
    let credentials =
        OperatorCredentials::assemble(&key, certificate, ca_der, now_ms).map_err(|error| {
            ApiError::internal(format!("the new certificate can't be used: {error}"))
        })?;
    let expires_ms = credentials.not_after_ms();
    // Only now: a name on record without a certificate couldn't be given out again.
    let command = Command::CreateOperator {
        name: name.clone(),
        expires_ms,
    };
    commit(desk, by, command).await?;
    Ok(OperatorCreated {
        name: name.to_string(),
        cluster,
        pem: credentials.to_pem().to_string(),
        expires_ms,
    })
}

fn lifetime(asked_ms: Option<u64>, default_ms: u64, max_ms: u64) -> Result<u64, ApiError> {
    match asked_ms.unwrap_or(default_ms) {
        0 => {
            Err(ApiError::invalid("it would end at once").remedy("give it a lifetime, such as 24h"))
        }
        ms if ms > max_ms => Err(ApiError::invalid(format!("{} is too long", span(ms)))
            .remedy(format!("ask for {} at most", span(max_ms)))),
        ms => Ok(ms),
    }
}

/// The leader's clock, as the state machine will see it.
fn clock(snapshot: &Snapshot<'_>) -> u64 {
    snapshot.now_ms.max(snapshot.state.clock_ms)
}

fn ca_hash(snapshot: &Snapshot<'_>) -> Result<CaHash, ApiError> {
    cluster_id(snapshot)?;
    let der = snapshot
        .state
        .cluster
        .as_ref()
        .map(|cluster| &cluster.ca_der);
    Ok(CaHash::of(der.map(Vec::as_slice).unwrap_or_default()))
}

fn no_key() -> ApiError {
    ApiError::new(
        ErrorKind::Unavailable,
        "this coordinator has not received the CA's key yet",
    )
    .remedy("try again in a few seconds")
}

fn unsigned(error: &IssueError) -> ApiError {
    ApiError::internal(format!("no certificate could be made: {error}"))
}
